"""Structural verification of untrusted bytes, table kind by table kind.

The verdict is that of the C++ flatbuffers Verifier as LiteRT calls it (identifier and alignment checked): every offset, vtable, vector and string
lies inside the file; deprecated fields, element alignment of vectors, UTF-8 and meaning are not looked at. Beyond that, budgets refuse small files
that expand to far more than their size: tables are counted per visit, not per address, since that is what a reader has to build.

All tables that are reached through the same field are checked at once with numpy; such a `Batch` keeps what decoding needs, so that the reader
never repeats a check and can never reach a byte that was not checked.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base import UNREADABLE, Field, fields_of
from .._schema import UNIONS
from ..errors import CorruptError, LimitError

Ints = npt.NDArray[np.int64]

IDENTIFIER = b"TFL3"
MAX_TABLES = 1_000_000  # the C++ Verifier's default, which LiteRT uses
MAX_OFFSET = 2**31  # offsets from here on are refused: they would be negative as signed numbers

SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip


class Bytes:
    """The file as numpy views of each width. Positions are checked before they are used, and always aligned."""

    __slots__ = ("data", "i32", "size", "u8", "u16", "u32", "u64")

    def __init__(self, data: memoryview) -> None:
        self.data, self.size = data, len(data)
        self.u8 = np.frombuffer(data, np.uint8)
        self.u16 = self.u8[: self.size & ~1].view("<u2")
        self.u32 = self.u8[: self.size & ~3].view("<u4")
        self.i32 = self.u8[: self.size & ~3].view("<i4")
        self.u64 = self.u8[: self.size & ~7].view("<u8")


class Plan(NamedTuple):
    """What checking a kind of table needs, from its field list."""

    fields: tuple[Field, ...]
    slots: int
    checked: Ints  # slots whose inline bytes are checked, with their sizes
    sizes: Ints
    wide: bool  # has 8-byte scalars
    offsets: tuple[Field, ...]  # fields that point elsewhere
    known: int  # bits of the slots the schema knows


@cache
def plan(name: str) -> Plan:
    """The check plan of a table kind."""
    fields = fields_of(name)
    inline: dict[int, int] = {}
    for field in fields:
        if not field.deprecated:
            inline[field.slot] = SIZES[field.type] if field.kind == "scalar" else 4
        if field.kind == "union":
            inline[field.slot - 1] = 1
    known = 0
    for field in fields:
        known |= 1 << field.slot | (1 << field.slot - 1 if field.kind == "union" else 0)
    slots = max((f.slot for f in fields), default=-1) + 1
    checked = np.array(sorted(inline), np.int64)
    sizes = np.array([inline[s] for s in sorted(inline)], np.int64)
    return Plan(fields, slots, checked, sizes, 8 in inline.values(), tuple(f for f in fields if f.kind != "scalar"), known)


class Batch:
    """All tables reached through one field, in file order of their parents.

    `pos` are their positions; `inv` maps each to its row of `offsets`, the field offsets (0: absent) of each distinct vtable, and of `masks`, the
    bits of its filled slots. `vectors[slot]` is (start of the elements, count) per table; `children[slot]` the batch of sub-tables, with
    `child_rows[slot]` the rows that have one (single tables only); `unions[slot]` the type byte per table, and per known type (rows, batch).
    """

    __slots__ = (
        "child_rows", "children", "count", "inv", "masks", "name", "objects", "offsets", "parent", "pos", "uniform", "unions", "vectors", "via",
    )  # fmt: skip

    def __init__(self, name: str, pos: Ints, parent: Batch | None, via: Field | None) -> None:
        self.name, self.pos, self.parent, self.via, self.count = name, pos, parent, via, len(pos)
        self.vectors: dict[int, tuple[Ints, Ints]] = {}
        self.children: dict[int, Batch] = {}
        self.child_rows: dict[int, Any] = {}
        self.unions: dict[int, tuple[Ints, dict[int, tuple[Any, Batch]]]] = {}
        self.objects: list[Any] = []  # filled by the reader
        self.inv: Any = None
        self.offsets: Ints = np.empty((0, 0), np.int64)
        self.masks: list[int] = []
        self.uniform = False

    def at(self, slot: int) -> tuple[Any, Ints]:
        """(rows that have the field, positions of the field); rows is a slice when all have it."""
        if self.uniform:
            offset = int(self.offsets[0, slot])
            return (slice(None), self.pos + offset) if offset else (slice(0, 0), self.pos[:0])
        offsets = self.offsets[:, slot][self.inv]
        rows = np.flatnonzero(offsets)
        if len(rows) == self.count:
            return slice(None), self.pos + offsets
        return rows, self.pos[rows] + offsets[rows]

    def path(self, row: int) -> str:
        """Where in the model the table of this row is."""
        if self.parent is None or self.via is None:
            return "model"
        slot = self.via.slot
        if self.via.kind == "tables":
            ends = np.cumsum(self.parent.vectors[slot][1])
            parent_row = int(np.searchsorted(ends, row, "right"))
            index = row - (int(ends[parent_row - 1]) if parent_row else 0)
            return f"{self.parent.path(parent_row)}.{self.via.attribute}[{index}]"
        rows = self.parent.child_rows.get(slot)
        if self.via.kind == "union":
            rows = next(rows for rows, batch in self.parent.unions[slot][1].values() if batch is self)
        return f"{self.parent.path(int(np.arange(self.parent.count)[rows][row]))}.{self.via.attribute}"


class Verifier:
    """One run over one file. `run` returns all batches, parents first; `end` is then the last byte that the flatbuffer reaches."""

    def __init__(self, data: memoryview) -> None:
        self.bytes = Bytes(data)
        self.end = 8
        self.batches: list[Batch] = []
        self.tables = 0
        self.materialized = 0
        self.max_tables = min(len(data) // 4 + 64, MAX_TABLES)
        self.max_bytes = 2 * len(data) + 1024

    def run(self) -> list[Batch]:
        """Check everything that is reachable; raises CorruptError or LimitError."""
        size = self.bytes.size
        if size < 8:
            raise CorruptError(f"{size} bytes cannot hold a model", size)
        found = bytes(self.bytes.data[4:8])
        if found != IDENTIFIER:
            raise CorruptError(f"the file identifier is {found!r}, expected {IDENTIFIER!r}", 4)
        root = int(self.bytes.u32[0])
        if not 0 < root < min(MAX_OFFSET, size):
            raise CorruptError(f"the offset of the root table is {root}, the file has {size} bytes")
        self.batches.append(Batch("Model", np.array([root], np.int64), None, None))
        for batch in self.batches:
            self._check(batch)
            self.batches += batch.children.values()
            for _, members in batch.unions.values():
                self.batches += [member for _, member in members.values()]
        return self.batches

    def _count_tables(self, batch: Batch, field: Field, count: int) -> None:
        self.tables += count
        if self.tables > self.max_tables:
            raise LimitError(
                f"{batch.path(0)}.{field.attribute}: the file of {self.bytes.size} bytes expands to more than {self.max_tables} tables; "
                "likely crafted"
            )

    def _count_bytes(self, batch: Batch, field: Field, count: int) -> None:
        self.materialized += count
        if self.materialized > self.max_bytes:
            raise LimitError(
                f"{batch.path(0)}.{field.attribute}: the file of {self.bytes.size} bytes shares data that expands to more than "
                f"{self.max_bytes} bytes; likely crafted"
            )

    def _fail(self, batch: Batch, bad: Any, rows: Any, at: Any, field: Field | None, what: str) -> None:
        first = int(np.flatnonzero(bad)[0])
        row = int(np.arange(batch.count)[rows][first])
        where = batch.path(row) + (f".{field.attribute}" if field else "")
        raise CorruptError(what, int(np.asarray(at)[first]), where)

    def _check(self, batch: Batch) -> None:
        table = plan(batch.name)
        vtables = self._vtables(batch, table)
        if table.slots:
            self._inline(batch, table, vtables)
        for field in table.offsets:
            if field.deprecated:
                self._deprecated(batch, field)
            else:
                self._pointers(batch, field)

    def _vtables(self, batch: Batch, table: Plan) -> tuple[Ints, Ints]:
        """Check where the tables and their vtables are; fill inv, offsets and masks. Returns (vtable positions, their sizes), distinct."""
        raw, pos = self.bytes, batch.pos
        bad = (pos & 3 != 0) | (pos > raw.size - 4)
        if bad.any():
            self._fail(batch, bad, slice(None), pos, None, f"the table is outside the file of {raw.size} bytes or misaligned")
        vtable = pos - raw.i32[pos >> 2]
        bad = (vtable < 0) | (vtable & 1 != 0) | (vtable > raw.size - 2)
        if bad.any():
            self._fail(batch, bad, slice(None), pos, None, "the vtable is outside the file or misaligned")
        distinct, inverse = distinct_of(vtable)
        sizes = raw.u16[distinct >> 1].astype(np.int64)
        bad = (sizes & 1 != 0) | (distinct + sizes > raw.size)
        if bad.any():
            bad = bad[inverse]
            self._fail(batch, bad, slice(None), vtable, None, "the vtable has an odd size or reaches beyond the file")
        batch.inv, batch.uniform = inverse, len(distinct) == 1
        self.end = max(self.end, int((distinct + sizes).max()), int(pos.max()) + 4)
        slots = np.arange(table.slots)
        filled = slots * 2 + 4 < sizes[:, None]
        index = np.minimum((distinct >> 1)[:, None] + 2 + slots, len(raw.u16) - 1)
        batch.offsets = np.where(filled, raw.u16[index], 0).astype(np.int64)
        batch.masks = _masks(batch.offsets)
        for row in np.flatnonzero(sizes > 4 + 2 * table.slots).tolist():
            start = int(distinct[row] >> 1) + 2 + table.slots
            extra = raw.u16[start : int(distinct[row] + sizes[row]) >> 1] != 0
            if extra.any():
                batch.masks[row] |= int.from_bytes(np.packbits(extra, bitorder="little").tobytes(), "little") << table.slots
        return distinct, sizes

    def _inline(self, batch: Batch, table: Plan, vtables: tuple[Ints, Ints]) -> None:
        """Check that the inline bytes of all fields are aligned and inside the file."""
        raw = self.bytes
        offsets = batch.offsets[:, table.checked]
        filled = offsets != 0
        ends = np.where(filled, offsets + table.sizes, 0).max(axis=1)
        reach = batch.pos + (int(ends[0]) if batch.uniform else ends[batch.inv])
        furthest = int(reach.max())
        if furthest > raw.size:
            self._fail(batch, reach > raw.size, slice(None), batch.pos, None, f"the table reaches beyond the file of {raw.size} bytes")
        self.end = max(self.end, furthest)
        bad = (filled & (offsets & (np.minimum(table.sizes, 4) - 1) != 0)).any(axis=1)
        if bad.any():
            self._fail(batch, bad[batch.inv], slice(None), batch.pos, None, "a field is misaligned")
        if table.wide:
            for slot in table.checked[table.sizes == 8].tolist():
                rows, at = batch.at(slot)
                if (at & 7 != 0).any():
                    self._fail(batch, at & 7 != 0, rows, at, None, "a field of 8 bytes is misaligned")

    def _pointers(self, batch: Batch, field: Field) -> None:
        """Check what one field of all tables points at."""
        raw = self.bytes
        if field.kind == "union":
            self._union(batch, field)
            return
        rows, at = batch.at(field.slot)
        if not len(at):
            if field.kind != "table":
                batch.vectors[field.slot] = _no_vectors(batch.count)
            return
        target = self._follow(batch, field, rows, at)
        if field.kind == "table":
            self._count_tables(batch, field, len(target))
            batch.child_rows[field.slot] = rows
            batch.children[field.slot] = Batch(field.type, target, batch, field)
            return
        element = 4 if field.kind == "tables" else SIZES[field.type]
        bad = (target & 3 != 0) | (target > raw.size - 4)
        if bad.any():
            self._fail(batch, bad, rows, at, field, "the vector is outside the file or misaligned")
        length: Ints = raw.u32[target >> 2].astype(np.int64)
        ends = target + 4 + length * element
        last = ends + 1 if field.kind == "string" else ends
        furthest = int(last.max())
        if furthest > raw.size:
            bad = last > raw.size
            wanted = int(length[np.flatnonzero(bad)[0]])
            self._fail(batch, bad, rows, target, field, f"{wanted} elements of {element} bytes do not fit in the file of {raw.size} bytes")
        self.end = max(self.end, furthest)
        if field.kind == "string":
            bad = raw.u8[ends] != 0
            if bad.any():
                self._fail(batch, bad, rows, ends, field, "the string has no terminating zero")
        self._count_bytes(batch, field, int(last.sum() - target.sum()))
        start: Ints = target + 4
        count = length
        if not isinstance(rows, slice):
            start, count = _no_vectors(batch.count)
            start[rows], count[rows] = target + 4, length
        batch.vectors[field.slot] = start, count
        if field.kind == "tables":
            self._elements(batch, field, start, count)

    def _elements(self, batch: Batch, field: Field, start: Ints, count: Ints) -> None:
        """Queue the tables of a vector of tables."""
        total = int(count.sum())
        self._count_tables(batch, field, total)
        if total:
            at = ranges(start, count, 4)
            batch.children[field.slot] = Batch(field.type, at + self.bytes.u32[at >> 2], batch, field)

    def _follow(self, batch: Batch, field: Field, rows: Any, at: Ints) -> Ints:
        offset: Ints = self.bytes.u32[at >> 2].astype(np.int64)
        target = at + offset
        bad = (offset == 0) | (offset >= MAX_OFFSET) | (target >= self.bytes.size)
        if bad.any():
            self._fail(batch, bad, rows, at, field, f"the offset is zero or points outside the file of {self.bytes.size} bytes")
        return target

    def _union(self, batch: Batch, field: Field) -> None:
        types = np.zeros(batch.count, np.int64)
        rows, at = batch.at(field.slot - 1)
        types[rows] = self.bytes.u8[at]
        members: dict[int, tuple[Any, Batch]] = {}
        rows, at = batch.at(field.slot)
        if len(at):
            target = self._follow(batch, field, rows, at)
            kinds = types[rows]
            numbers = np.arange(batch.count)[rows]
            for kind in sorted(set(kinds.tolist())):
                name = UNIONS[field.type].get(kind)
                if name is not None:
                    chosen = kinds == kind
                    self._count_tables(batch, field, int(chosen.sum()))
                    members[kind] = numbers[chosen], Batch(name, target[chosen], batch, field)
        batch.unions[field.slot] = types, members

    def _deprecated(self, batch: Batch, field: Field) -> None:
        """Take a deprecated string where it can be decoded. C++ does not look at it, so damage is marked and not an error."""
        start, count = _no_vectors(batch.count)
        batch.vectors[field.slot] = start, count
        raw = self.bytes
        for row, offset in enumerate(batch.offsets[batch.inv, field.slot].tolist()):
            if not offset:
                continue
            found: tuple[int, int] | None = None
            at = int(batch.pos[row]) + offset
            if at % 4 == 0 and at + 4 <= raw.size:
                target = at + int(raw.u32[at >> 2])
                if target % 4 == 0 and target + 4 <= raw.size:
                    length = int(raw.u32[target >> 2])
                    if target + 4 + length < raw.size and raw.u8[target + 4 + length] == 0:
                        found = target + 4, length
            if found:
                start[row], count[row] = found
                self._count_bytes(batch, field, found[1] + 5)
                self.end = max(self.end, found[0] + found[1] + 1)
            else:
                # The vtable may be shared with tables that are fine: give this one its own row.
                batch.masks.append(batch.masks[int(batch.inv[row])] | UNREADABLE)
                batch.offsets = np.vstack([batch.offsets, batch.offsets[batch.inv[row]]])
                batch.inv = batch.inv.copy()
                batch.inv[row] = len(batch.masks) - 1
                batch.uniform = False


def _no_vectors(count: int) -> tuple[Ints, Ints]:
    return np.zeros(count, np.int64), np.zeros(count, np.int64)


def _masks(offsets: Ints) -> list[int]:
    """Bits of the filled slots of each vtable."""
    if not offsets.shape[1]:
        return [0] * len(offsets)
    masks: list[int] = ((offsets != 0) @ (1 << np.arange(offsets.shape[1]))).tolist()
    return masks


def distinct_of(values: Ints) -> tuple[Ints, Ints]:
    """(distinct values ascending, row of each value in them), in time linear in the count where the values lie close together."""
    if len(values) == 1:
        return values, np.zeros(1, np.int64)
    low, high = int(values.min()), int(values.max())
    if low == high:
        return values[:1], np.zeros(len(values), np.int64)
    if high - low < 32 * len(values) + 4096:
        seen = np.zeros(high - low + 1, bool)
        seen[values - low] = True
        found = np.flatnonzero(seen)
        rank = np.empty(high - low + 1, np.int64)
        rank[found] = np.arange(len(found))
        return found + low, rank[values - low]
    distinct, inverse = np.unique(values, return_inverse=True)
    return distinct, inverse.reshape(-1)


def ranges(start: Ints, count: Ints, step: int) -> Ints:
    """The concatenation of start[i], start[i] + step, ... (count[i] terms) over all i."""
    if len(start) == 1:
        return np.arange(int(count[0]), dtype=np.int64) * step + int(start[0])
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    base = np.repeat(start - (ends - count) * step, count)
    return base + np.arange(total, dtype=np.int64) * step
