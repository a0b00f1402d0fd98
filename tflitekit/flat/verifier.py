"""Structural verification of untrusted bytes, table kind by table kind.

The verdict is that of the C++ flatbuffers Verifier as LiteRT calls it (identifier and alignment checked): every offset, vtable, vector and string
lies inside the file; deprecated fields, element alignment of vectors, UTF-8 and meaning are not looked at. Beyond that, budgets refuse small files
that expand to far more than their size: tables are counted per visit, not per address, since that is what a reader has to build.

All tables that are reached through the same field are checked at once with numpy; such a `Batch` keeps what decoding needs, so that the reader
never repeats a check and can never reach a byte that was not checked.
"""

from __future__ import annotations

import struct
from functools import lru_cache, reduce
from itertools import accumulate
from operator import or_
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .._base import UNREADABLE, Field, members_of
from ..errors import CorruptError, LimitError
from .batches import FEW, MAX_OFFSET, ROOTS, SIZES, Batch, Bytes, Ints, Plan, distinct_between, distinct_of, element_size, plan, ranges

IDENTIFIER = b"TFL3"
MAX_TABLES = 1_000_000  # the C++ Verifier's default, which LiteRT uses

# The fields of batches up to this many tables are followed together.
TOGETHER = 4096

_TABLE_OUTSIDE = "the table is outside the file or misaligned"
_VTABLE_OUTSIDE = "the vtable is outside the file or misaligned"
_VTABLE_SIZE = "the vtable has an odd size or reaches beyond the file"
_TABLE_BEYOND = "the table reaches beyond the file"
_MISALIGNED = "a field is misaligned"
_OFFSET = "the offset is zero or points outside the file"
_VECTOR_OUTSIDE = "the vector is outside the file or misaligned"
_UNTERMINATED = "the string has no terminating zero"

_most, _bits = np.maximum.reduce, np.bitwise_or.reduce  # without the detour of the methods, which costs as much as a short array
_U16, _U32, _I32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from, struct.Struct("<i").unpack_from


# Bytes of vtables up to which what they mean is remembered; the longest of the schema has 38.
_USUAL = 128


class VTable(NamedTuple):
    """Field offsets by slot (0: absent), bits of the filled slots, bytes up to the last field's end, and whether all fields can be aligned."""

    offsets: tuple[int, ...]
    mask: int
    end: int
    aligned: bool


@lru_cache(2048)
def _meaning(name: str, content: bytes) -> VTable:
    """What the bytes of a vtable behind its two sizes mean, for a kind of table."""
    table = plan(name)
    stored = struct.unpack(f"<{len(content) // 2}H", content)
    offsets = *stored[: table.slots], *(0,) * (table.slots - len(stored))
    filled = [(offsets[slot], width) for slot, width in table.inline if offsets[slot]]
    mask = sum(1 << slot for slot, offset in enumerate(stored) if offset)
    aligned = not any(offset & (min(width, 4) - 1) for offset, width in filled)
    return VTable(offsets, mask, max([4, *(offset + width for offset, width in filled)]), aligned)


def _too_long(count: int, size: int) -> str:
    return f"{count} elements of {size} bytes do not fit in the file"


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
        (self._tables_few if batch.count <= FEW else self._tables)(batch, table)
        nothing = _no_vectors(batch.count)
        pointed: list[Field] = []
        for field in table.offsets:
            if field.kind == "union":
                if batch.stored >> field.slot - 1 & 3:
                    self._union(batch, field)
                else:
                    batch.unions[field.slot] = nothing[0], {}
            elif not batch.stored >> field.slot & 1:
                if field.kind not in ("table", "scalar"):
                    batch.vectors[field.slot] = nothing
            elif field.kind == "scalar":
                self._deprecated_scalar(batch, field)
            elif field.deprecated:
                self._deprecated(batch, field)
            elif batch.heads is not None:
                self._pointers_few(batch, field, batch.heads)
            elif batch.count > TOGETHER:
                self._pointers(batch, [field])
            else:
                pointed.append(field)
        if pointed:
            self._pointers(batch, pointed)

    def _vtable(self, at: int, name: str) -> VTable | None:
        """What a vtable says; None if it reaches beyond the file."""
        data = self.bytes.data
        length = _U16(data, at)[0]
        if length & 1 or at + length > self.bytes.size:
            return None
        self.end = max(self.end, at + length)
        return (_meaning if length <= _USUAL else _meaning.__wrapped__)(name, bytes(data[at + 4 : at + length]))

    # ---- the same checks for few tables, one by one: numpy costs more than it saves there ----

    def _tables_few(self, batch: Batch, table: Plan) -> None:
        """What `_tables` checks and fills in, and `heads`."""
        data, size = self.bytes.data, self.bytes.size
        known: dict[int, int] = {}
        vtables: list[VTable] = []
        inv, heads = [], []
        for row, pos in enumerate(batch.pos.tolist()):
            if pos & 3 or pos > size - 4:
                self._fail_row(batch, row, pos, None, _TABLE_OUTSIDE)
            vtable = pos - _I32(data, pos)[0]
            if vtable not in known:
                if vtable < 0 or vtable & 1 or vtable > size - 2:
                    self._fail_row(batch, row, pos, None, _VTABLE_OUTSIDE)
                found = self._vtable(vtable, batch.name)
                if found is None:
                    self._fail_row(batch, row, vtable, None, _VTABLE_SIZE)
                known[vtable] = len(vtables)
                vtables.append(found)
            which = known[vtable]
            offsets, _, end, aligned = vtables[which]
            if not aligned or (table.wide and any(offsets[slot] and (pos + offsets[slot]) & 7 for slot in table.wide)):
                self._fail_row(batch, row, pos, None, _MISALIGNED)
            if pos + end > size:
                self._fail_row(batch, row, pos, None, _TABLE_BEYOND)
            self.end = max(self.end, pos + end)
            inv.append(which)
            heads.append((pos, offsets))
        batch.masks = [v.mask for v in vtables]
        batch.offsets = np.array([v.offsets for v in vtables], np.int64).reshape(len(vtables), table.slots)
        batch.inv, batch.uniform, batch.stored, batch.heads = np.array(inv), len(vtables) == 1, reduce(or_, batch.masks), heads

    def _pointers_few(self, batch: Batch, field: Field, heads: list[tuple[int, tuple[int, ...]]]) -> None:
        """What `_pointers` checks and fills in, of one field."""
        data, size = self.bytes.data, self.bytes.size
        starts, counts, rows, targets = [0] * batch.count, [0] * batch.count, [], []
        string, total = field.kind == "string", 0
        element = element_size(field)
        for row, (pos, offsets) in enumerate(heads):
            offset = offsets[field.slot]
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
            self._add_children(batch, field, np.array(rows), np.array(targets, np.int64))
            return
        self._count_bytes(batch, field, total)
        batch.vectors[field.slot] = np.array(starts, np.int64), np.array(counts, np.int64)
        self._below_vectors(batch, field)

    # ---- all tables of a batch at once ----

    def _tables(self, batch: Batch, table: Plan) -> None:
        """Check where the tables, their vtables and the inline bytes of their fields are, and that these are aligned; fill inv, offsets and masks."""
        raw, pos = self.bytes, batch.pos
        last = int(_most(pos))
        if last > raw.size - 4 or int(_bits(pos)) & 3:
            self._fail(batch, (pos & 3 != 0) | (pos > raw.size - 4), slice(None), pos, None, _TABLE_OUTSIDE)
        vtable = pos - raw.i32[pos >> 2]
        low, high = int(np.minimum.reduce(vtable)), int(_most(vtable))
        if low < 0 or high > raw.size - 2 or int(_bits(vtable)) & 1:
            bad = (vtable < 0) | (vtable & 1 != 0) | (vtable > raw.size - 2)
            self._fail(batch, bad, slice(None), pos, None, _VTABLE_OUTSIDE)
        distinct, batch.inv = distinct_between(vtable, low, high)
        batch.uniform = len(distinct) == 1
        ends, aligned = (self._vtables_few if len(distinct) <= FEW else self._vtables)(batch, table, distinct, vtable)
        batch.stored = reduce(or_, batch.masks)
        if last + max(ends) > self.end:
            reach = pos + np.array(ends)[batch.inv]
            furthest = int(_most(reach))
            if furthest > raw.size:
                self._fail(batch, reach > raw.size, slice(None), pos, None, _TABLE_BEYOND)
            self.end = max(self.end, furthest)
        if not all(aligned):
            self._fail(batch, ~np.array(aligned)[batch.inv], slice(None), pos, None, _MISALIGNED)
        for slot in table.wide:
            rows, at = batch.at(slot)
            if len(at) and int(_bits(at)) & 7:
                self._fail(batch, at & 7 != 0, rows, at, None, _MISALIGNED)

    def _vtables_few(self, batch: Batch, table: Plan, distinct: Ints, vtable: Ints) -> tuple[list[int], list[bool]]:
        """Offsets and masks of a few distinct vtables; returns how far their tables reach, and whether the fields can be aligned."""
        vtables = [self._vtable(at, batch.name) for at in distinct.tolist()]
        found = [v for v in vtables if v is not None]
        if len(found) < len(vtables):
            self._fail(batch, np.array([v is None for v in vtables])[batch.inv], slice(None), vtable, None, _VTABLE_SIZE)
        batch.masks = [v.mask for v in found]
        batch.offsets = np.array([v.offsets for v in found], np.int64).reshape(len(found), table.slots)
        return [v.end for v in found], [v.aligned for v in found]

    def _vtables(self, batch: Batch, table: Plan, distinct: Ints, vtable: Ints) -> tuple[list[int], list[bool]]:
        """The same of many distinct vtables."""
        raw = self.bytes
        sizes = raw.u16[distinct >> 1].astype(np.int64)
        bad = (sizes & 1 != 0) | (distinct + sizes > raw.size)
        if bad.any():
            self._fail(batch, bad[batch.inv], slice(None), vtable, None, _VTABLE_SIZE)
        self.end = max(self.end, int((distinct + sizes).max()))
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
        offsets = batch.offsets[:, table.checked]
        filled = offsets != 0
        ends = np.where(filled, offsets + table.sizes, 4).max(axis=1, initial=4)
        return ends.tolist(), (~(filled & (offsets & (np.minimum(table.sizes, 4) - 1) != 0)).any(axis=1)).tolist()

    def _pointers(self, batch: Batch, fields: list[Field]) -> None:
        """Check what fields of all tables point at, together; if anything is wrong, one field after the other, to say what."""
        raw = self.bytes
        vectors = [field for field in fields if field.kind != "table"]
        ordered = vectors if len(vectors) == len(fields) else [*vectors, *(field for field in fields if field.kind == "table")]
        places = [batch.at(field.slot) for field in ordered]
        bounds = [0, *accumulate([len(at) for _, at in places])]
        rows, at = places[0]
        if len(fields) > 1:
            at = np.concatenate([at for _, at in places])
        target, outside = self._follow(at)
        if outside:
            return self._wrong(batch, fields, rows, at, (target <= at) | (target - at >= MAX_OFFSET) | (target >= raw.size), _OFFSET)
        length = goal = target[: bounds[len(vectors)]]
        if vectors:
            if int(_most(goal)) > raw.size - 4 or int(_bits(goal)) & 3:
                return self._wrong(batch, fields, rows, goal, (goal & 3 != 0) | (goal > raw.size - 4), _VECTOR_OUTSIDE)
            length = raw.u32[goal >> 2].astype(np.int64)
            last = goal + 4
            for field, a, b in zip(vectors, bounds, bounds[1:], strict=False):
                last[a:b] += length[a:b] * element_size(field) + (field.kind == "string")
            furthest = int(_most(last))
            if furthest > raw.size:
                bad = last > raw.size
                wanted = _too_long(int(length[np.flatnonzero(bad)[0]]), element_size(fields[0]))
                return self._wrong(batch, fields, rows, goal, bad, wanted)
            for field, a, b in zip(vectors, bounds, bounds[1:], strict=False):
                if field.kind == "string" and _most(raw.u8[last[a:b] - 1]):
                    return self._wrong(batch, fields, rows, last - 1, raw.u8[last - 1] != 0, _UNTERMINATED)
            total = int((last - goal).sum())
            if len(fields) > 1 and self.materialized + total > self.max_bytes:
                return self._wrong(batch, fields, rows, at, None, "")
            self._count_bytes(batch, fields[0], total)
            self.end = max(self.end, furthest)
        found = zip(ordered, places, bounds, bounds[1:], strict=False)
        for field, (rows, _), a, b in found if ordered is vectors else sorted(found, key=lambda entry: entry[0].slot):
            if field.kind == "table":
                self._add_children(batch, field, rows, target[a:b])
                continue
            start, count = goal[a:b] + 4, length[a:b]
            if not isinstance(rows, slice):
                start, count = _no_vectors(batch.count)
                start[rows], count[rows] = goal[a:b] + 4, length[a:b]
            batch.vectors[field.slot] = start, count
            self._below_vectors(batch, field)

    def _wrong(self, batch: Batch, fields: list[Field], rows: Any, at: Ints, bad: Any, what: str) -> None:
        """Fail because of one field, or find out because of which."""
        if len(fields) == 1:
            self._fail(batch, bad, rows, at, fields[0], what)
        for field in fields:
            self._pointers(batch, [field])

    def _below_vectors(self, batch: Batch, field: Field) -> None:
        if field.kind == "tables":
            self._elements(batch, field, *batch.vectors[field.slot])
        elif field.kind == "strings":
            self._strings(batch, field, *batch.vectors[field.slot])

    def _add_children(self, batch: Batch, field: Field, rows: Any, target: Ints) -> None:
        """Queue the tables that single-table fields point at."""
        self._count_tables(batch, field, len(target))
        batch.child_rows[field.slot] = rows
        batch.children[field.slot] = Batch(field.type, target, batch, field)

    def _elements(self, batch: Batch, field: Field, start: Ints, count: Ints) -> None:
        """Queue the tables of a vector of tables."""
        total = int(np.add.reduce(count))
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

    def _follow(self, at: Ints) -> tuple[Ints, bool]:
        """Where offsets lead, and whether one of them is zero or leads outside."""
        offset = self.bytes.u32[at >> 2]
        target: Ints = at + offset
        return target, int(_most(target)) >= self.bytes.size or int(_most(offset - 1)) >= MAX_OFFSET - 1  # 0 - 1 is the greatest number

    def _union(self, batch: Batch, field: Field) -> None:
        types = np.zeros(batch.count, np.int64)
        rows, at = batch.at(field.slot - 1)
        types[rows] = self.bytes.u8[at]
        members: dict[int, tuple[Any, Batch]] = {}
        rows, at = batch.at(field.slot)
        if len(at):
            target, bad = self._follow(at)
            if bad:
                outside = (target <= at) | (target - at >= MAX_OFFSET) | (target >= self.bytes.size)
                self._fail(batch, outside, rows, at, field, _OFFSET)
            kinds = types[rows]
            numbers = np.arange(batch.count)[rows]
            for kind in sorted(set(kinds.tolist())):
                name = members_of(field.type).get(kind)
                if name is not None:
                    chosen = (kinds == kind).nonzero()[0]
                    self._count_tables(batch, field, len(chosen))
                    members[kind] = numbers[chosen], Batch(name, target[chosen], batch, field)
        batch.unions[field.slot] = types, members

    def _deprecated(self, batch: Batch, field: Field) -> None:
        """Take a deprecated string where it can be decoded. C++ does not look at it, so damage is marked and not an error."""
        start, count = _no_vectors(batch.count)
        batch.vectors[field.slot] = start, count
        raw, damaged = self.bytes, []
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
                damaged.append(row)
        _mark(batch, damaged, 0)

    def _deprecated_scalar(self, batch: Batch, field: Field) -> None:
        """The same of a deprecated number: where it is misaligned or outside the file, it is taken for absent, and the table is marked."""
        rows, at = batch.at(field.slot)
        size = SIZES[field.type]
        bad = (at & (size - 1) != 0) | (at > self.bytes.size - size)
        if not bad.all():
            self.end = max(self.end, int(at[~bad].max()) + size)
        _mark(batch, np.arange(batch.count)[rows][bad].tolist(), 1 << field.slot)


def _mark(batch: Batch, rows: list[int], without: int) -> None:
    """Mark tables as having a field that cannot be decoded, and take fields away; they get vtables of their own, which others may share with them."""
    if not rows:
        return
    distinct, inverse = distinct_of(np.asarray(batch.inv)[rows])
    first = len(batch.masks)
    batch.masks += [(batch.masks[which] & ~without) | UNREADABLE for which in distinct.tolist()]
    added = batch.offsets[distinct]
    if without:
        added[:, without.bit_length() - 1] = 0
    batch.offsets = np.vstack([batch.offsets, added])
    batch.inv = batch.inv.copy()
    batch.inv[rows] = first + inverse
    if batch.heads is not None:
        batch.heads = list(zip(batch.pos.tolist(), map(tuple, batch.offsets[batch.inv].tolist()), strict=True))
    batch.uniform = False


def _no_vectors(count: int) -> tuple[Ints, Ints]:
    return np.zeros(count, np.int64), np.zeros(count, np.int64)


def _masks(offsets: Ints) -> list[int]:
    """Bits of the filled slots of each vtable."""
    if not offsets.shape[1]:
        return [0] * len(offsets)
    masks: list[int] = ((offsets != 0) @ (1 << np.arange(offsets.shape[1]))).tolist()
    return masks
