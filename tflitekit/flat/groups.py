"""What layouts are made of: groups of tables, their columns, and the bytes that are emitted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base import Field, members_of
from .._walk import ZERO_IS_NONE
from .batches import Ints, plan

Mask = npt.NDArray[np.bool_]

VIEWS = {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}


class Group:
    """All tables that one field of one batch of parents leads to, with their positions once laid out."""

    __slots__ = ("name", "objects", "positions", "scope")

    def __init__(self, name: str, objects: list[Any], scope: Ints) -> None:
        self.name, self.objects, self.scope = name, objects, scope
        self.positions: Ints = np.zeros(len(objects), np.int64)


class Column:
    """One field of a group: which rows store it (None: all), how wide it is inline, and what to put there."""

    __slots__ = ("at", "emit", "rows", "size", "slot")

    def __init__(self, slot: int, size: int, rows: Mask | None, emit: Callable[[Out, Ints], None]) -> None:
        self.slot, self.size, self.rows, self.emit = slot, size, rows, emit


class Out:
    """The bytes being emitted, with views of each width; positions given to its users are already absolute."""

    __slots__ = ("base", "bytes", "views")

    def __init__(self, size: int, base: int) -> None:
        self.bytes, self.base = np.zeros(-(-size // 16) * 16, np.uint8), base
        self.views = {width: self.bytes.view(kind) for width, kind in VIEWS.items()}

    def put(self, at: Ints, values: Any, width: int) -> None:
        """Write values of the given width in bytes; positions are absolute."""
        self.views[width][at >> width.bit_length() - 1] = values

    def link(self, at: Ints, target: Ints) -> None:
        """Write forward offsets; both positions are relative."""
        self.views[4][at + self.base >> 2] = target - at


# Fields of data that may lie outside the flatbuffer, by table.
OUTSIDE = {
    "Buffer": {field.name: field for field in plan("Buffer").fields},
    "Operator": {field.name: field for field in plan("Operator").fields if field.name.startswith("large_")},
}


@cache
def union_numbers(name: str) -> dict[str, int]:
    """The types of a union by the names of their tables."""
    return {member: number for number, member in members_of(name).items()}


def is_blob(field: Field) -> bool:
    """Whether values of a field are bytes: strings and vectors of bytes."""
    return field.kind == "string" or (field.type == "uint8" and field.kind == "vector")


def nowhere(field: Field, values: list[Any], stored: int) -> bool:
    """Whether no table of a group has a field; `stored` are the bits of all of them together."""
    if field.kind == "scalar":
        if stored >> field.slot & 1 or values.count(None if field.refers_to else field.default) < len(values):
            return False
        return not field.refers_to or field.default == -1 or field in ZERO_IS_NONE
    if field.kind == "union":
        return not stored >> field.slot - 1 & 1 and values.count(None) == len(values)
    if field.kind in ("table", "string") or field.type == "uint8":
        return values.count(None) == len(values)
    return not stored >> field.slot & 1 and not any(map(len, values))


def attribute_of(group: Group, name: str) -> list[Any]:
    """The values of an attribute of all tables of a group."""
    return list(map(_getter(name), group.objects))


_getter = cache(attrgetter)
