"""A second reading with nothing but struct: which vtable slots every table of a file fills, and the values of deprecated fields."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tflitekit import _schema
from tflitekit._base import Field, OpaqueUnion, Table, fields_of, table_name


class RawTable:
    """A table at a position: `slots` maps slot numbers to the positions of their values (absent ones are missing)."""

    def __init__(self, data: memoryview, position: int) -> None:
        self.data, self.position = data, position
        vtable = position - struct.unpack_from("<i", data, position)[0]
        (size,) = struct.unpack_from("<H", data, vtable)
        offsets = struct.unpack_from(f"<{(size - 4) // 2}H", data, vtable + 4)
        self.slots: dict[int, int] = {slot: position + offset for slot, offset in enumerate(offsets) if offset}

    def target(self, slot: int) -> int:
        """Where the offset stored in a slot points."""
        at = self.slots[slot]
        (offset,) = struct.unpack_from("<I", self.data, at)
        return at + int(offset)

    def child(self, slot: int) -> RawTable:
        return RawTable(self.data, self.target(slot))

    def children(self, slot: int) -> list[RawTable]:
        start = self.target(slot)
        (count,) = struct.unpack_from("<I", self.data, start)
        places = range(start + 4, start + 4 + 4 * count, 4)
        return [RawTable(self.data, at + struct.unpack_from("<I", self.data, at)[0]) for at in places]

    def string(self, slot: int) -> bytes:
        start = self.target(slot)
        (count,) = struct.unpack_from("<I", self.data, start)
        return bytes(self.data[start + 4 : start + 4 + int(count)])

    def blob(self, slot: int) -> tuple[int, int]:
        """Where the bytes of a vector start, and how many there are."""
        start = self.target(slot)
        return start + 4, int(struct.unpack_from("<I", self.data, start)[0])


def root(data: bytes | memoryview) -> RawTable:
    """The model table of a file."""
    view = memoryview(data)
    return RawTable(view, struct.unpack_from("<I", view)[0])


def pairs(ours: Table, theirs: RawTable, path: str = "model") -> Iterator[tuple[str, Table, RawTable]]:
    """Every table of a graph with its raw counterpart, depth first."""
    yield path, ours, theirs
    for field in fields_of(type(ours)):
        value: Any = getattr(ours, field.attribute)
        where = f"{path}.{field.attribute}"
        if field.slot not in theirs.slots:
            continue
        if field.kind == "tables":
            for number, (mine, raw) in enumerate(zip(value, theirs.children(field.slot), strict=True)):
                yield from pairs(mine, raw, f"{where}[{number}]")
        elif field.kind in ("table", "union") and isinstance(value, Table) and not isinstance(value, OpaqueUnion):
            yield from pairs(value, theirs.child(field.slot), where)


def known_slots(table: Table) -> dict[int, Field]:
    """The fields of a table by slot; the type byte of a union is not among them."""
    return {field.slot: field for field in fields_of(type(table))}


def buffer_data(data: bytes | memoryview) -> list[tuple[int, int]]:
    """Position and length of every buffer's inline data, in order; (0, 0) where there is none."""
    fields = {field[0]: field[2] for field in _schema.FIELDS["Model"]}
    return [table.blob(0) if 0 in table.slots else (0, 0) for table in root(data).children(fields["buffers"])]


__all__ = ["RawTable", "buffer_data", "known_slots", "pairs", "root", "table_name"]
