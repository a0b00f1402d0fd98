"""Laying out a few tables of a kind one by one: the same bytes as columns of numpy arrays give, which cost more than they save there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import Field
from .batches import SCALARS, SIZES, plan
from .groups import VIEWS, Group, Out, attribute_of, is_blob, nowhere

if TYPE_CHECKING:
    from .layout import Layout

# Of one field of one table: inline size, slot, column, and its bytes or (what has the position that it points at, index in that).
Entry = tuple[int, int, int, Any]

_U32, _I32 = struct.Struct("<I"), struct.Struct("<i")


def lay_out_few(layout: Layout, group: Group, bits: list[int], stored: int) -> list[Group] | None:
    """What `Layout` does for a group by columns: returns the groups of sub-tables. None for groups that need columns, since they have unions."""
    children: list[Group] = []
    later: list[Callable[[], None]] = []
    rows: list[list[Entry]] = [[] for _ in bits]
    for column, field in enumerate(plan(group.name).fields):
        values = attribute_of(group, field.attribute)
        if nowhere(field, values, stored):
            continue
        if field.kind == "union":
            return None
        size, slot = (SIZES[field.type] if field.kind == "scalar" else 4), field.slot
        if field.kind == "scalar":
            numbers = layout.references.of(group, field, values, group.scope).tolist() if field.refers_to else values
            pack, default = SCALARS[field.type].pack, field.default
            contents = [pack(number) if number != default or b >> slot & 1 else None for number, b in zip(numbers, bits, strict=True)]
        elif field.kind == "table":
            contents = _sub_tables(group, field, values, children)
        else:
            keep = [v is not None if is_blob(field) else bool(len(v) or b >> slot & 1) for v, b in zip(values, bits, strict=True)]
            contents = _vectors(layout, group, field, values, keep, children, later)
        for row, content in zip(rows, contents, strict=True):
            if content is not None:
                row.append((size, slot, column, content))
    _place(layout, group, rows)
    for step in later:
        step()
    return children


def _place(layout: Layout, group: Group, rows: list[list[Entry]]) -> None:
    """Give every table its place: one vtable per set of stored fields, wide fields first, tables of 8-byte fields at 4 mod 8."""
    unit = 8 if any(entry[0] == 8 for row in rows for entry in row) else 4
    if unit == 8:
        layout.cursor += (4 - layout.cursor) % 8
    by_key: dict[int, tuple[int, int]] = {}
    keys = [sum(1 << entry[2] for entry in row) for row in rows]
    ordered = [sorted(row, key=lambda entry: -entry[0]) for row in rows]
    for key, row in sorted(zip(keys, ordered, strict=True), key=lambda pair: pair[0]):
        if key not in by_key:
            fields, end = {}, 4
            for size, slot, _, _ in row:
                fields[slot] = end
                end += size
            by_key[key] = layout.vtable(fields, end), end
    placed: list[tuple[int, int, list[Entry]]] = []
    for number, (key, row) in enumerate(zip(keys, ordered, strict=True)):
        vtable, end = by_key[key]
        group.positions[number] = layout.cursor
        placed.append((layout.cursor, vtable + 8, row))
        layout.cursor += end + -end % unit

    def emit(out: Out) -> None:
        data: Any = out.bytes.data
        for position, vtable, row in placed:
            start = at = position + out.base
            _I32.pack_into(data, at, start - vtable)
            at += 4
            for size, _, _, content in row:
                if isinstance(content, bytes):
                    data[at : at + size] = content
                else:
                    holder, index = content
                    target = int(holder.positions[index]) if isinstance(holder, Group) else holder[index]
                    _U32.pack_into(data, at, target + out.base - at)
                at += size

    layout.emitters.append(emit)


def _sub_tables(group: Group, field: Field, values: list[Any], children: list[Group]) -> list[Any]:
    kept = [row for row, value in enumerate(values) if value is not None]
    child = Group(field.type, [values[row] for row in kept], group.scope[kept])
    children.append(child)
    found: list[Any] = [None] * len(values)
    for index, row in enumerate(kept):
        found[row] = child, index
    return found


def _vectors(
    layout: Layout, group: Group, field: Field, values: list[Any], keep: list[bool], children: list[Group], later: list[Callable[[], None]]
) -> list[Any]:
    """Where the vectors or strings of a field will start: they come after the tables of the group, since offsets only point forward."""
    kept = [value for value, stored in zip(values, keep, strict=True) if stored]
    counts = list(map(len, kept))
    starts: list[int] = []
    if is_blob(field):
        later.append(lambda: starts.extend(layout.place_blobs(kept, counts, field)))
    else:
        child, flat = layout.elements(group, field, kept, np.repeat(group.scope[keep], counts), children)
        size = 4 if child else SIZES[field.type]

        def place() -> None:
            if size == 8:
                layout.cursor += (4 - layout.cursor) % 8
            for count in counts:
                starts.append(layout.cursor)
                layout.cursor += 8 * (count + 1) if size == 8 else 4 + (size * count + 3 & ~3)
            layout.emitters.append(lambda out: _emit_vectors(out, starts, counts, size, flat, child))

        later.append(place)
    numbers = iter(range(len(kept)))
    return [(starts, next(numbers)) if stored else None for stored in keep]


def _emit_vectors(out: Out, starts: list[int], counts: list[int], size: int, flat: Any, child: Group | None) -> None:
    view, done = out.views[size], 0
    for number, (start, count) in enumerate(zip(starts, counts, strict=True)):
        at = start + out.base
        _U32.pack_into(out.bytes.data, at, count)
        at += 4
        if child is not None:
            view[at // 4 : at // 4 + count] = child.positions[done : done + count] - np.arange(start + 4, start + 4 + 4 * count, 4)
        else:
            part = flat[number] if isinstance(flat, list) else flat[done : done + count]
            view[at // size : at // size + count] = part.view(VIEWS[size])
        done += count
