"""Structural verification of untrusted bytes, table kind by table kind.

The verdict is that of the C++ flatbuffers Verifier as LiteRT calls it (identifier and alignment checked): every offset, vtable, vector and string
lies inside the file; deprecated fields, element alignment of vectors, UTF-8 and meaning are not looked at. Beyond that, budgets refuse small files
that expand to far more than their size: tables are counted per visit, not per address, since that is what a reader has to build.

All tables that are reached through the same field are checked at once with numpy; such a `Batch` keeps what decoding needs, so that the reader
never repeats a check and can never reach a byte that was not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from .._base import UNREADABLE, Field, fields_of, members_of
from ..errors import CorruptError, LimitError

Ints = npt.NDArray[np.int64]

IDENTIFIER = b"TFL3"
ROOTS = {"Model": "model", "ModelMetadata": "metadata"}  # root tables, with what they are called in messages
MAX_TABLES = 1_000_000  # the C++ Verifier's default, which LiteRT uses
ALIGNMENT = 16  # of all constant data, as the schema forces for Buffer.data
MAX_OFFSET = 2**31  # offsets from here on are refused: they would be negative as signed numbers


SCALARS = {
    "bool": struct.Struct("<?"), "int8": struct.Struct("<b"), "uint8": struct.Struct("<B"), "int16": struct.Struct("<h"),
    "uint16": struct.Struct("<H"), "int32": struct.Struct("<i"), "uint32": struct.Struct("<I"), "float32": struct.Struct("<f"),
    "int64": struct.Struct("<q"), "uint64": struct.Struct("<Q"), "float64": struct.Struct("<d"),
}  # fmt: skip
SIZES = {name: scalar.size for name, scalar in SCALARS.items()}
OF_OFFSETS = ("tables", "strings")  # kinds of vectors whose elements are offsets

# Batches up to this many tables are checked and decoded one by one; measured: numpy pays from about twice this on.
FEW = 12

_TABLE_OUTSIDE = "the table is outside the file or misaligned"
_VTABLE_OUTSIDE = "the vtable is outside the file or misaligned"
_VTABLE_SIZE = "the vtable has an odd size or reaches beyond the file"
_TABLE_BEYOND = "the table reaches beyond the file"
_MISALIGNED = "a field is misaligned"
_OFFSET = "the offset is zero or points outside the file"
_VECTOR_OUTSIDE = "the vector is outside the file or misaligned"
_UNTERMINATED = "the string has no terminating zero"

_U16, _U32, _I32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from, struct.Struct("<i").unpack_from


def _too_long(count: int, size: int) -> str:
    return f"{count} elements of {size} bytes do not fit in the file"


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
    inline: tuple[tuple[int, int], ...]  # slots whose inline bytes are checked, with their sizes
    checked: Ints  # the same, as arrays
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
    pairs = tuple(sorted(inline.items()))
    checked = np.array([slot for slot, _ in pairs], np.int64)
    sizes = np.array([size for _, size in pairs], np.int64)
    return Plan(fields, slots, pairs, checked, sizes, 8 in inline.values(), tuple(f for f in fields if f.kind != "scalar"), known)


class Batch:
    """All tables reached through one field, in file order of their parents.

    `pos` are their positions; `inv` maps each to its row of `offsets`, the field offsets (0: absent) of each distinct vtable, and of `masks`, the
    bits of its filled slots. `vectors[slot]` is (start of the elements, count) per table; `children[slot]` the batch of sub-tables, with
    `child_rows[slot]` the rows that have one (single tables only); `unions[slot]` the type byte per table, and per known type (rows, batch);
    `strings[slot]` (start, count) per string of a vector of strings, in the order of `vectors[slot]`.
    """

    __slots__ = (
        "child_rows", "children", "columns", "count", "inv", "masks", "name", "objects", "offsets", "parent", "pos", "strings", "uniform", "unions",
        "vectors", "via",
    )  # fmt: skip

    def __init__(self, name: str, pos: Ints, parent: Batch | None, via: Field | None) -> None:
        self.name, self.pos, self.parent, self.via, self.count = name, pos, parent, via, len(pos)
        self.vectors: dict[int, tuple[Ints, Ints]] = {}
        self.children: dict[int, Batch] = {}
        self.child_rows: dict[int, Any] = {}
        self.unions: dict[int, tuple[Ints, dict[int, tuple[Any, Batch]]]] = {}
        self.strings: dict[int, tuple[Ints, Ints]] = {}
        self.objects: list[Any] = []  # filled by the reader
        self.columns: dict[int, Iterable[Any]] = {}  # values by slot, as far as the reader keeps them
        self.inv: Any = None
        self.offsets: Ints = np.empty((0, 0), np.int64)
        self.masks: list[int] = []
        self.uniform = False

    def at(self, slot: int) -> tuple[Any, Ints]:
        """(rows that have the field, positions of the field); rows is a slice when all have it."""
        if self.uniform:
            offset = int(self.offsets[0, slot])
            return (slice(None), self.pos + offset) if offset else (slice(0, 0), self.pos[:0])
        column = self.offsets[:, slot]
        stored = [mask >> slot & 1 for mask in self.masks]
        if 0 not in stored:
            return slice(None), self.pos + column[self.inv]
        if 1 not in stored:
            return slice(0, 0), self.pos[:0]
        offsets = column[self.inv]
        rows = offsets.nonzero()[0]
        return rows, self.pos[rows] + offsets[rows]

    def below(self) -> list[Batch]:
        """The batches of the tables that those of this one hold."""
        return [*self.children.values(), *(member for _, members in self.unions.values() for _, member in members.values())]

    def path(self, row: int) -> str:
        """Where in the model the table of this row is."""
        if self.parent is None or self.via is None:
            return ROOTS[self.name]
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
    """One run over one flatbuffer. `run` returns all batches, parents first; `end` is then the last byte that the flatbuffer reaches.

    `root` and `identifier` say what it should be: a model, or one of the other `ROOTS`.
    """

    def __init__(self, data: memoryview, root: str = "Model", identifier: bytes = IDENTIFIER) -> None:
        self.root, self.identifier = root, identifier
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
            raise CorruptError(f"{size} bytes are too few for a flatbuffer", size, ROOTS[self.root])
        found = bytes(self.bytes.data[4:8])
        if found != self.identifier:
            raise CorruptError(f"the file identifier is {found!r}, expected {self.identifier!r}", 4, ROOTS[self.root])
        root = int(self.bytes.u32[0])
        if not 0 < root < min(MAX_OFFSET, size):
            raise CorruptError(f"the offset of the root table is {root}, the file has {size} bytes", 0, ROOTS[self.root])
        self.batches.append(Batch(self.root, np.array([root], np.int64), None, None))
        for batch in self.batches:
            self._check(batch)
            self.batches += batch.below()
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

    def _fail(self, batch: Batch, bad: Any, rows: Any, at: Any, field: Field | None, what: str) -> NoReturn:
        first = int(np.flatnonzero(bad)[0])
        self._fail_row(batch, int(np.arange(batch.count)[rows][first]), int(np.asarray(at)[first]), field, what)

    def _fail_row(self, batch: Batch, row: int, at: int, field: Field | None, what: str) -> NoReturn:
        raise CorruptError(what, at, batch.path(row) + (f".{field.attribute}" if field else ""))

    def _check(self, batch: Batch) -> None:
        table = plan(batch.name)
        few = batch.count <= FEW
        if few:
            self._tables_few(batch, table)
        else:
            self._vtables(batch, table)
            if table.slots:
                self._inline(batch, table)
        for field in table.offsets:
            if field.deprecated:
                self._deprecated(batch, field)
            elif field.kind == "union":
                self._union(batch, field)
            elif few:
                self._pointers_few(batch, field)
            else:
                self._pointers(batch, field)

    # ---- the same checks for few tables, one by one: numpy costs more than it saves there ----

    def _tables_few(self, batch: Batch, table: Plan) -> None:
        """What `_vtables` and `_inline` check and fill in."""
        data, size = self.bytes.data, self.bytes.size
        rows: list[list[int]] = []
        for row, pos in enumerate(batch.pos.tolist()):
            if pos & 3 or pos > size - 4:
                self._fail_row(batch, row, pos, None, _TABLE_OUTSIDE)
            vtable = pos - _I32(data, pos)[0]
            if vtable < 0 or vtable & 1 or vtable > size - 2:
                self._fail_row(batch, row, pos, None, _VTABLE_OUTSIDE)
            length = _U16(data, vtable)[0]
            if length & 1 or vtable + length > size:
                self._fail_row(batch, row, vtable, None, _VTABLE_SIZE)
            stored = struct.unpack_from(f"<{max(0, length - 4) // 2}H", data, vtable + 4) if length > 4 else ()
            offsets = [*stored[: table.slots], *([0] * (table.slots - len(stored)))]
            end = pos + 4
            for slot, width in table.inline:
                offset = offsets[slot]
                if offset:
                    end = max(end, pos + offset + width)
                    if offset & (min(width, 4) - 1) or (width == 8 and (pos + offset) & 7):
                        self._fail_row(batch, row, pos, None, _MISALIGNED)
            if end > size:
                self._fail_row(batch, row, pos, None, _TABLE_BEYOND)
            self.end = max(self.end, end, vtable + length)
            mask = 0
            for slot, offset in enumerate(stored):
                mask |= (offset != 0) << slot
            batch.masks.append(mask)
            rows.append(offsets)
        batch.offsets = np.array(rows, np.int64).reshape(batch.count, table.slots)
        batch.inv, batch.uniform = np.arange(batch.count), batch.count == 1

    def _pointers_few(self, batch: Batch, field: Field) -> None:
        """What `_pointers` checks and fills in."""
        data, size = self.bytes.data, self.bytes.size
        starts, counts, rows, targets = [0] * batch.count, [0] * batch.count, [], []
        string, total = field.kind == "string", 0
        element = 4 if field.kind in OF_OFFSETS else SIZES.get(field.type, 0)
        for row, (pos, offset) in enumerate(zip(batch.pos.tolist(), batch.offsets[:, field.slot].tolist(), strict=True)):
            if not offset:
                continue
            jump = _U32(data, pos + offset)[0]
            target = pos + offset + jump
            if not 0 < jump < MAX_OFFSET or target >= size:
                self._fail_row(batch, row, pos + offset, field, _OFFSET)
            if field.kind == "table":
                rows.append(row)
                targets.append(target)
                continue
            if target & 3 or target > size - 4:
                self._fail_row(batch, row, target, field, _VECTOR_OUTSIDE)
            length = _U32(data, target)[0]
            end = target + 4 + length * element
            if end + string > size:
                self._fail_row(batch, row, target, field, _too_long(length, element))
            if string and data[end]:
                self._fail_row(batch, row, end, field, _UNTERMINATED)
            self.end = max(self.end, end + string)
            total += end + string - target
            starts[row], counts[row] = target + 4, length
        if field.kind == "table":
            if rows:
                self._add_children(batch, field, np.array(rows), np.array(targets, np.int64))
            return
        self._count_bytes(batch, field, total)
        batch.vectors[field.slot] = start, count = np.array(starts, np.int64), np.array(counts, np.int64)
        if field.kind == "tables":
            self._elements(batch, field, start, count)
        elif field.kind == "strings":
            self._strings(batch, field, start, count)

    # ---- all tables of a batch at once ----

    def _vtables(self, batch: Batch, table: Plan) -> None:
        """Check where the tables and their vtables are; fill inv, offsets and masks."""
        raw, pos = self.bytes, batch.pos
        bad = (pos & 3 != 0) | (pos > raw.size - 4)
        if bad.any():
            self._fail(batch, bad, slice(None), pos, None, _TABLE_OUTSIDE)
        vtable = pos - raw.i32[pos >> 2]
        bad = (vtable < 0) | (vtable & 1 != 0) | (vtable > raw.size - 2)
        if bad.any():
            self._fail(batch, bad, slice(None), pos, None, _VTABLE_OUTSIDE)
        distinct, inverse = distinct_of(vtable)
        sizes = raw.u16[distinct >> 1].astype(np.int64)
        bad = (sizes & 1 != 0) | (distinct + sizes > raw.size)
        if bad.any():
            bad = bad[inverse]
            self._fail(batch, bad, slice(None), vtable, None, _VTABLE_SIZE)
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

    def _inline(self, batch: Batch, table: Plan) -> None:
        """Check that the inline bytes of all fields are aligned and inside the file."""
        raw = self.bytes
        offsets = batch.offsets[:, table.checked]
        filled = offsets != 0
        ends = np.where(filled, offsets + table.sizes, 0).max(axis=1)
        reach = batch.pos + (int(ends[0]) if batch.uniform else ends[batch.inv])
        furthest = int(reach.max())
        if furthest > raw.size:
            self._fail(batch, reach > raw.size, slice(None), batch.pos, None, _TABLE_BEYOND)
        self.end = max(self.end, furthest)
        bad = (filled & (offsets & (np.minimum(table.sizes, 4) - 1) != 0)).any(axis=1)
        if bad.any():
            self._fail(batch, bad[batch.inv], slice(None), batch.pos, None, _MISALIGNED)
        if table.wide:
            for slot in table.checked[table.sizes == 8].tolist():
                rows, at = batch.at(slot)
                if (at & 7 != 0).any():
                    self._fail(batch, at & 7 != 0, rows, at, None, _MISALIGNED)

    def _pointers(self, batch: Batch, field: Field) -> None:
        """Check what one field of all tables points at."""
        raw = self.bytes
        rows, at = batch.at(field.slot)
        if not len(at):
            if field.kind != "table":
                batch.vectors[field.slot] = _no_vectors(batch.count)
            return
        target = self._follow(batch, field, rows, at)
        if field.kind == "table":
            self._add_children(batch, field, rows, target)
            return
        element = 4 if field.kind in OF_OFFSETS else SIZES[field.type]
        bad = (target & 3 != 0) | (target > raw.size - 4)
        if bad.any():
            self._fail(batch, bad, rows, at, field, _VECTOR_OUTSIDE)
        length: Ints = raw.u32[target >> 2].astype(np.int64)
        ends = target + 4 + length * element
        last = ends + 1 if field.kind == "string" else ends
        furthest = int(last.max())
        if furthest > raw.size:
            bad = last > raw.size
            wanted = int(length[np.flatnonzero(bad)[0]])
            self._fail(batch, bad, rows, target, field, _too_long(wanted, element))
        self.end = max(self.end, furthest)
        if field.kind == "string":
            bad = raw.u8[ends] != 0
            if bad.any():
                self._fail(batch, bad, rows, ends, field, _UNTERMINATED)
        self._count_bytes(batch, field, int(last.sum() - target.sum()))
        start: Ints = target + 4
        count = length
        if not isinstance(rows, slice):
            start, count = _no_vectors(batch.count)
            start[rows], count[rows] = target + 4, length
        batch.vectors[field.slot] = start, count
        if field.kind == "tables":
            self._elements(batch, field, start, count)
        elif field.kind == "strings":
            self._strings(batch, field, start, count)

    def _add_children(self, batch: Batch, field: Field, rows: Any, target: Ints) -> None:
        """Queue the tables that single-table fields point at."""
        self._count_tables(batch, field, len(target))
        batch.child_rows[field.slot] = rows
        batch.children[field.slot] = Batch(field.type, target, batch, field)

    def _elements(self, batch: Batch, field: Field, start: Ints, count: Ints) -> None:
        """Queue the tables of a vector of tables."""
        total = int(count.sum())
        self._count_tables(batch, field, total)
        if total:
            at = ranges(start, count, 4)
            batch.children[field.slot] = Batch(field.type, at + self.bytes.u32[at >> 2], batch, field)

    def _strings(self, batch: Batch, field: Field, start: Ints, count: Ints) -> None:
        """Check the strings of vectors of strings, one by one (models have none, their metadata few)."""
        data, size = self.bytes.data, self.bytes.size
        rows = np.repeat(np.arange(batch.count), count).tolist()
        starts, counts = [], []
        for row, at in zip(rows, ranges(start, count, 4).tolist(), strict=True):
            jump = _U32(data, at)[0]
            target = at + jump
            if not 0 < jump < MAX_OFFSET or target >= size:
                self._fail_row(batch, row, at, field, _OFFSET)
            if target & 3 or target > size - 4:
                self._fail_row(batch, row, target, field, _VECTOR_OUTSIDE)
            length = _U32(data, target)[0]
            end = target + 4 + length
            if end + 1 > size:
                self._fail_row(batch, row, target, field, _too_long(length, 1))
            if data[end]:
                self._fail_row(batch, row, end, field, _UNTERMINATED)
            self._count_bytes(batch, field, length + 5)
            self.end = max(self.end, end + 1)
            starts.append(target + 4)
            counts.append(length)
        batch.strings[field.slot] = np.array(starts, np.int64), np.array(counts, np.int64)

    def _follow(self, batch: Batch, field: Field, rows: Any, at: Ints) -> Ints:
        offset: Ints = self.bytes.u32[at >> 2].astype(np.int64)
        target = at + offset
        bad = (offset == 0) | (offset >= MAX_OFFSET) | (target >= self.bytes.size)
        if bad.any():
            self._fail(batch, bad, rows, at, field, _OFFSET)
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
                name = members_of(field.type).get(kind)
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
