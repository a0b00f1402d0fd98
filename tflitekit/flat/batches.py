"""A file taken apart by the fields of the schema: batches of tables with what checking and decoding them needs.

All tables that are reached through the same field are one `Batch`: the verifier fills it, and the reader decodes it, so that no check is repeated and
no byte is reached that was not checked.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base import Field, fields_of

Ints = npt.NDArray[np.int64]

ROOTS = {"Model": "model", "ModelMetadata": "metadata"}  # root tables, with what they are called in messages
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
FEW = 24

# Vectors of more elements than this, on average, are copied one by one.
LONG = 64


def element_size(field: Field) -> int:
    """Bytes of an element of a vector or string; 0 for other fields."""
    return 4 if field.kind in OF_OFFSETS else SIZES.get(field.type, 0)


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
    wide: tuple[int, ...]  # slots of 8-byte scalars
    offsets: tuple[Field, ...]  # fields that point elsewhere, and deprecated ones
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
    wide = tuple(slot for slot, size in pairs if size == 8)
    return Plan(fields, slots, pairs, checked, sizes, wide, tuple(f for f in fields if f.kind != "scalar" or f.deprecated), known)


class Batch:
    """All tables reached through one field, in file order of their parents.

    `pos` are their positions; `inv` maps each to its row of `offsets`, the field offsets (0: absent) of each distinct vtable, and of `masks`, the
    bits of its filled slots. `vectors[slot]` is (start of the elements, count) per table; `children[slot]` the batch of sub-tables, with
    `child_rows[slot]` the rows that have one (single tables only); `unions[slot]` the type byte per table, and per known type (rows, batch);
    `strings[slot]` (start, count) per string of a vector of strings, in the order of `vectors[slot]`. `stored` are the bits of all masks; `heads`,
    of few tables, position and field offsets of each.
    """

    __slots__ = (
        "child_rows", "children", "columns", "count", "heads", "inv", "masks", "name", "objects", "offsets", "parent", "pos", "stored", "strings",
        "uniform", "unions", "vectors", "via",
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
        self.heads: list[tuple[int, tuple[int, ...]]] | None = None
        self.inv: Any = None
        self.offsets: Ints = np.empty((0, 0), np.int64)
        self.masks: list[int] = []
        self.stored = 0
        self.uniform = False

    def at(self, slot: int) -> tuple[Any, Ints]:
        """(rows that have the field, positions of the field); rows is a slice when all have it."""
        if self.uniform:
            offset = int(self.offsets[0, slot])
            return (slice(None), self.pos + offset) if offset else (slice(0, 0), self.pos[:0])
        if not self.stored >> slot & 1:
            return slice(0, 0), self.pos[:0]
        column = self.offsets[:, slot]
        if all(mask >> slot & 1 for mask in self.masks):
            return slice(None), self.pos + column[self.inv]
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


def distinct_of(values: Ints) -> tuple[Ints, Ints]:
    """(distinct values ascending, row of each value in them), in time linear in the count where the values lie close together."""
    if len(values) <= 1:
        return values, np.zeros(1, np.int64)
    return distinct_between(values, int(np.minimum.reduce(values)), int(np.maximum.reduce(values)))


def distinct_between(values: Ints, low: int, high: int) -> tuple[Ints, Ints]:
    """The same, where the least and the greatest are known."""
    if low == high:
        return values[:1], np.zeros(len(values), np.int64)
    if high - low < 32 * len(values) + 4096:
        seen = np.zeros(high - low + 1, bool)
        seen[values - low] = True
        found = seen.nonzero()[0]
        rank = np.empty(high - low + 1, np.int64)
        rank[found] = np.arange(len(found))
        return found + low, rank[values - low]
    distinct, inverse = np.unique(values, return_inverse=True)
    return distinct, inverse.reshape(-1)


def ranges(start: Ints, count: Ints, step: int) -> Ints:
    """The concatenation of start[i], start[i] + step, ... (count[i] terms) over all i."""
    if len(start) == 1:
        first = int(start[0])
        return np.arange(first, first + int(count[0]) * step, step, dtype=np.int64)
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    base = np.repeat(start - (ends - count) * step, count)
    return base + np.arange(total, dtype=np.int64) * step
