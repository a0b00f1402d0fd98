"""Graph -> the flatbuffer part of a file without the buffers' data: tables, vectors and strings, laid out parents first.

Positions are counted from the end of the vtables, which come first in the file and are complete only when all tables are laid out. So each kind of
table is laid out first and its bytes are emitted later, all tables of a kind at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import reduce
from itertools import accumulate, chain, compress
from operator import and_, attrgetter, or_
from typing import Any

import numpy as np

from .._base import ARRAYS, UNREADABLE, Field, OpaqueUnion, table_name, walk
from .._schema import UNIONS
from .._walk import joined_bytes
from ..errors import LossyWriteError, SerializeError
from ..graph import Deferred, Model
from .batches import FEW, LONG, MAX_OFFSET, SIZES, Ints, distinct_of, plan, ranges
from .few import lay_out_few
from .groups import OUTSIDE, VIEWS, Column, Group, Mask, Out, attribute_of, is_blob, nowhere, union_numbers
from .references import References, path_of

_present = attrgetter("_present")


class Layout:
    """Lays out a model. After `run`: `size` bytes, to be had from `emit`; then `inline` and `outside` data have to follow."""

    def __init__(self, model: Model, drop_unknown: bool) -> None:
        self.model, self.drop_unknown = model, drop_unknown
        self.cursor = 0
        self.vtables: dict[bytes, int] = {}
        self.vtable_bytes = bytearray()
        self.emitters: list[Callable[[Out], None]] = []
        self.lost: list[tuple[Any, str]] = []
        self.references = References(model)
        # Set by the buffers' group: inline data in file order with the positions of the fields that point to it, and data kept outside.
        self.inline: list[memoryview | Deferred] = []
        self.inline_at: Ints = np.zeros(0, np.int64)
        self.outside: list[memoryview | Deferred] = []
        self.outside_at: list[Callable[[Out, list[int]], None]] = []
        self.move_outside = False

    def run(self) -> Layout:
        """Assign every position; raises LossyWriteError or SerializeError before anything is emitted."""
        total = sum(len(b.data) for b in self.model.buffers if b.data is not None and not b.out_of_line)
        self.move_outside = total > MAX_OFFSET - (1 << 26)
        self.root = Group("Model", [self.model], np.full(1, -1, np.int64))
        queue = [self.root]
        for group in queue:
            queue += self._lay_out(group)
        if self.lost and not self.drop_unknown:
            raise LossyWriteError(_lost_message(self.model, self.lost))
        self.base = -(-(8 + len(self.vtable_bytes)) // 16) * 16
        self.size = self.base + self.cursor
        return self

    def emit(self) -> Out:
        """The bytes of the flatbuffer up to the buffers' data; offsets to that data are left to the caller."""
        out = Out(self.size, self.base)
        vtables = np.frombuffer(bytes(self.vtable_bytes), np.uint8)
        out.bytes[8 : 8 + len(vtables)] = vtables
        out.bytes[:8] = np.frombuffer(struct.pack("<I4s", int(self.root.positions[0]) + self.base, b"TFL3"), np.uint8)
        for emit in self.emitters:
            emit(out)
        return out

    def release(self) -> None:
        """Let go of what was to be emitted, which refers back to here: the circle would keep the model and its file until a full collection."""
        self.emitters.clear()
        self.outside_at.clear()

    # ---- tables ----

    def _lay_out(self, group: Group) -> list[Group]:
        """Assign positions to the tables of a group and to what their vectors hold; returns the groups of their sub-tables."""
        bits = self._present(group)
        patterns = set(bits)
        stored, always = reduce(or_, patterns), reduce(and_, patterns)
        if len(group.objects) <= FEW and group.name not in OUTSIDE:
            few = lay_out_few(self, group, bits, stored)
            if few is not None:
                return few
        present = np.array(bits, np.int64)
        children: list[Group] = []
        columns: list[Column] = []
        later: list[Callable[[], None]] = []
        for field in plan(group.name).fields:
            if field.name in OUTSIDE.get(group.name, ()):
                continue
            values = attribute_of(group, field.attribute)
            if nowhere(field, values, stored):
                continue
            slot = field.slot - (field.kind == "union")
            explicit = _mask(len(bits), present, slot, stored, always)
            if field.kind == "scalar":
                columns.append(self._scalar(group, field, values, explicit))
            elif field.kind == "union":
                columns += self._union(group, field, values, explicit, children)
            elif field.kind == "table":
                columns.append(self._child(group, field, values, children))
            else:
                columns.append(self._vector(group, field, values, explicit, children, later))
        if group.name in OUTSIDE:
            columns += self._outside_columns(group, present, stored)
        self._place(group, [c for c in columns if c.rows is None or c.rows.any()])
        for step in later:
            step()
        return children

    def _present(self, group: Group) -> list[int]:
        bits = list(map(_present, group.objects))
        known = plan(group.name).known
        for value in set(bits):
            if value & ~known:
                what = "a deprecated field that cannot be decoded" if value & UNREADABLE else "a field newer than the schema"
                self.lost += [(o, f"{group.name} has {what}") for o, b in zip(group.objects, bits, strict=True) if b == value]
        return [b & known for b in bits] if self.lost else bits

    def _place(self, group: Group, columns: list[Column]) -> None:
        """Give every table its place: one vtable per set of stored fields, wide fields first, tables of 8-byte fields at 4 mod 8."""
        count = len(group.objects)
        key = np.zeros(count, np.int64)
        for i, column in enumerate(columns):
            if column.rows is not None:
                key += column.rows * (1 << i)
        full = sum(1 << i for i, column in enumerate(columns) if column.rows is None)
        distinct, inverse = distinct_of(key)
        unit = 8 if any(c.size == 8 for c in columns) else 4
        wide_first = sorted(range(len(columns)), key=lambda i: -columns[i].size)
        offsets = np.zeros((len(distinct), max(len(columns), 1)), np.int64)
        strides, vtables = np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.int64)
        for row, bits in enumerate(distinct.tolist()):
            stored = [i for i in wide_first if (bits | full) >> i & 1]
            ends = list(accumulate([columns[i].size for i in stored], initial=4))
            offsets[row, stored] = ends[:-1]
            strides[row] = -(-ends[-1] // unit) * unit
            vtables[row] = self.vtable({columns[i].slot: end for i, end in zip(stored, ends, strict=False)}, ends[-1])
        if unit == 8:
            self.cursor += (4 - self.cursor) % 8
        if len(distinct) == 1:
            stride = int(strides[0])
            positions = np.arange(self.cursor, self.cursor + count * stride, stride, dtype=np.int64)
            self.cursor += count * stride
        else:
            sizes = strides[inverse]
            positions = self.cursor + np.cumsum(sizes) - sizes
            self.cursor += int(sizes.sum())
        group.positions = positions

        def emit(out: Out) -> None:
            alike = len(distinct) == 1
            out.put(positions + out.base, positions + (out.base - 8) - (vtables[0] if alike else vtables[inverse]), 4)
            for i, column in enumerate(columns):
                at = positions + (offsets[0, i] if alike else offsets[inverse, i])
                column.emit(out, at if column.rows is None else at[column.rows])

        self.emitters.append(emit)

    def vtable(self, fields: dict[int, int], size: int) -> int:
        """Position of a vtable, given the field offsets by slot and the size of the table; shared with all tables of the same layout."""
        used = max(fields, default=-1) + 1
        data = struct.pack(f"<{used + 2}H", 4 + 2 * used, size, *[fields.get(slot, 0) for slot in range(used)])
        if data not in self.vtables:
            self.vtables[data] = len(self.vtable_bytes)
            self.vtable_bytes += data
        return self.vtables[data]

    # ---- fields ----

    def _scalar(self, group: Group, field: Field, values: list[Any], explicit: Mask | bool) -> Column:
        size, default = SIZES[field.type], field.default
        if field.refers_to:
            numbers = self.references.of(group, field, values, group.scope)
        elif values.count(default) == len(values):
            numbers = np.full(len(values), default)
        else:
            numbers = _numbers(field, values)
        rows = None if explicit is True else _filled((numbers != default) | explicit)
        stored = (numbers if rows is None else numbers[rows]).astype("u1" if field.type == "bool" else field.type)
        return Column(field.slot, size, rows, lambda out, at: out.put(at + out.base, stored.view(VIEWS[size]), size))

    def _child(self, group: Group, field: Field, values: list[Any], children: list[Group]) -> Column:
        rows, kept = _not_none(values)
        child = Group(field.type, kept, group.scope if rows is None else group.scope[rows])
        children.append(child)
        return Column(field.slot, 4, rows, lambda out, at: out.link(at, child.positions))

    def _union(self, group: Group, field: Field, values: list[Any], explicit: Mask | bool, children: list[Group]) -> list[Column]:
        types = np.zeros(len(values), np.uint8)
        by_class: dict[type[Any], list[int]] = {}
        for row, value in enumerate(values):
            if value is not None:
                by_class.setdefault(type(value), []).append(row)
        by_type: dict[int, list[int]] = {}
        for held, rows in by_class.items():
            if held is OpaqueUnion:
                for row in rows:
                    types[row] = 0 if values[row].has_table else values[row].type
                newer = [(group.objects[row], values[row].type) for row in rows if values[row].has_table]
                self.lost += [(made, f"{group.name}.{field.attribute} is of type {number}, newer than the schema") for made, number in newer]
                continue
            number = union_numbers(field.type).get(table_name(held))
            if number is None:
                raise SerializeError(f"{path_of(self.model, group.objects[rows[0]])}.{field.attribute}: {held.__name__} is no member")
            by_type[number] = rows
            types[rows] = number
        members: list[tuple[Ints, Group]] = []
        has_table = np.zeros(len(values), bool)
        for number, rows in sorted(by_type.items()):
            at = np.array(rows)
            child = Group(UNIONS[field.type][number], [values[row] for row in rows], group.scope[at])
            members.append((at, child))
            children.append(child)
            has_table[at] = True
        typed, filled = _filled((types != 0) | explicit), _filled(has_table)
        targets = np.zeros(len(values), np.int64)

        def link(out: Out, at: Ints) -> None:
            for rows_of, child in members:
                targets[rows_of] = child.positions
            out.link(at, targets if filled is None else targets[filled])

        stored = types if typed is None else types[typed]
        return [
            Column(field.slot - 1, 1, typed, lambda out, at: out.put(at + out.base, stored, 1)),
            Column(field.slot, 4, filled, link),
        ]

    def _vector(
        self, group: Group, field: Field, values: list[Any], explicit: Mask | bool, children: list[Group], later: list[Callable[[], None]]
    ) -> Column:
        """A vector or string: its place is assigned after the tables of the group, since offsets only point forward."""
        blob = is_blob(field)
        if blob:
            rows, kept = _not_none(values)
            count = np.array(list(map(len, kept)), np.int64)
        else:
            kept, count = values, np.array(list(map(len, values)), np.int64)
            rows = None if explicit is True else _filled((count > 0) | explicit)
            if rows is not None:
                kept, count = list(compress(values, rows.tolist())), count[rows]
        starts = np.zeros(len(count), np.int64)
        child: Group | None = None
        flat: Any = None
        if not blob:
            scope = group.scope if rows is None else group.scope[rows]
            child, flat = self.elements(group, field, kept, np.repeat(scope, count), children)

        def place() -> None:
            if blob:
                starts[:] = self.place_blobs(kept, count.tolist(), field)
                return
            starts[:] = self._place_elements(count, 4 if child else SIZES[field.type])
            self.emitters.append(lambda out: _emit_elements(out, starts, count, flat, child))

        later.append(place)
        return Column(field.slot, 4, rows, lambda out, at: out.link(at, starts))

    def elements(self, group: Group, field: Field, values: list[Any], scope: Ints, children: list[Group]) -> tuple[Group | None, Any]:
        """What the vectors of a field hold, one after the other: a group, for tables, or numbers; `scope` is that of each element."""
        if field.kind != "tables":
            return None, self._flatten(group, field, values, scope)
        child = Group(field.type, list(chain.from_iterable(values)), self._child_scope(group, field, scope))
        if child.objects:
            children.append(child)
        return child, None

    def _child_scope(self, group: Group, field: Field, inherited: Ints) -> Ints:
        if field.type == "SubGraph":
            return np.arange(len(inherited))
        if field.type == "SignatureDef":
            indices = [self.references.codes.get(s.subgraph, -1) for s in self.model.signature_defs]
            return np.array([i if 0 <= i < len(self.model.subgraphs) else -1 for i in indices], np.int64)
        return inherited

    def _flatten(self, group: Group, field: Field, values: list[Any], scope: Ints) -> Any:
        """All elements of a vector field, concatenated, in the type they are stored in; where arrays are long, the arrays themselves."""
        if field.refers_to:
            return self.references.of(group, field, list(chain.from_iterable(values)), scope).astype(field.type)
        if (group.name, field.name) in ARRAYS:
            if SIZES[field.type] >= 4 and sum(map(len, values)) > LONG * len(values):
                return values
            return np.frombuffer(joined_bytes(values), field.type)
        return _numbers(field, list(chain.from_iterable(values)))

    def _place_elements(self, count: Ints, size: int) -> Ints:
        """Places for vectors of 2-, 4- or 8-byte elements, their length words first; 8-byte elements are aligned to 8."""
        if size == 8:
            self.cursor += (4 - self.cursor) % 8
            sizes = 8 * (count + 1)
        else:
            sizes = 4 + (size * count + 3 & ~3)
        starts = self.cursor + np.cumsum(sizes) - sizes
        self.cursor += int(sizes.sum())
        return starts

    def place_blobs(self, blobs: list[bytes], count: list[int], field: Field) -> list[int]:
        """Places for strings and byte vectors, with a zero behind strings; their bytes are joined and emitted at once."""
        align = max(field.align, 4)
        tail = 1 if field.kind == "string" else 0
        parts: list[bytes] = []
        begin = self.cursor = self.cursor + (-self.cursor) % 4
        starts = []
        for blob, length in zip(blobs, count, strict=True):
            if align > 4:
                gap = (-(self.cursor + 4)) % align
                parts.append(bytes(gap))
                self.cursor += gap
            starts.append(self.cursor)
            fill = tail + (-(length + tail)) % 4
            parts += (length.to_bytes(4, "little"), blob, _ZEROS[fill])
            self.cursor += 4 + length + fill
        joined = b"".join(parts)

        def emit(out: Out) -> None:
            out.bytes[begin + out.base : begin + out.base + len(joined)] = np.frombuffer(joined, np.uint8)

        self.emitters.append(emit)
        return starts

    # ---- buffers and large custom options ----

    def _outside_columns(self, group: Group, present: Ints, stored: int) -> list[Column]:
        """Fields of data that may lie outside the flatbuffer: Buffer.data, offset and size, and large custom options."""
        buffers = group.name == "Buffer"
        data = attribute_of(group, "data" if buffers else "large_custom_options")
        others = {name: attribute_of(group, name) for name in OUTSIDE[group.name] if name != "data"}
        plain = not any(map(any, others.values())) and not any(stored >> OUTSIDE[group.name][name].slot & 1 for name in others)
        if plain and not buffers and data.count(None) == len(data):
            return []
        moved = np.array([d is not None for d in data])
        columns: list[Column] = []
        if buffers:
            inside = ~np.array(attribute_of(group, "out_of_line"))
            if self.move_outside:
                described = {entry.buffer for entry in self.model.metadata}  # readers of metadata look only inside the flatbuffer
                inside &= np.array([not d or b in described for b, d in zip(group.objects, data, strict=True)])
            inline = moved & inside
            moved &= ~inside
            self.inline = list(compress(data, inline.tolist()))

            def remember(out: Out, at: Ints) -> None:
                self.inline_at = at

            columns.append(Column(0, 4, _filled(inline), remember))
            if plain and not moved.any():
                return columns
        first, views = len(self.outside), list(compress(data, moved.tolist()))
        self.outside += views
        stale = ~moved & (np.array(others["offset" if buffers else "large_custom_options_offset"], np.uint64) > 1)
        if buffers:
            stale &= ~inline  # inline data wins, and an offset beside it means nothing
        self.lost += [(group.objects[i], "refers to bytes at a file offset that is not valid") for i in np.flatnonzero(stale).tolist()]
        for name, values in others.items():
            field = OUTSIDE[group.name][name]
            numbers = np.array(values, np.uint64)
            numbers[stale] = 0  # after a rebuild it could lead to other bytes
            if not name.endswith("offset"):
                numbers[moved] = [len(v) for v in views]
            rows = (numbers != 0) | (present >> field.slot & 1).astype(bool) | moved
            if rows.any():
                columns.append(Column(field.slot, 8, _filled(rows), self._emit_outside(name, numbers[rows], moved[rows], first)))
        return columns

    def _emit_outside(self, name: str, numbers: Any, moved: Mask, first: int) -> Callable[[Out, Ints], None]:
        def emit(out: Out, at: Ints) -> None:
            out.put(at + out.base, numbers, 8)
            if name.endswith("offset") and moved.any():
                absolute = at[moved] + out.base
                self.outside_at.append(lambda final, offsets: final.put(absolute, offsets[first : first + len(absolute)], 8))

        return emit


_ZEROS = [bytes(n) for n in range(17)]


def _mask(count: int, present: Ints, slot: int, stored: int, always: int) -> Mask | bool:
    """Which tables have the bit of a slot; True or False where that is the same for all."""
    return always >> slot & 1 == 1 if (stored ^ always) >> slot & 1 == 0 else (present >> slot & 1).astype(bool)


def _filled(rows: Mask) -> Mask | None:
    """None for all rows."""
    return None if rows.all() else rows


def _not_none(values: list[Any]) -> tuple[Mask | None, list[Any]]:
    """The rows (None: all) that have a value, and these values."""
    if None not in values:
        return None, values
    rows = [v is not None for v in values]
    return np.array(rows), list(compress(values, rows))


def _numbers(field: Field, values: list[Any]) -> Any:
    """Numbers in the type they are stored in."""
    return np.array(list(map(int, values)) if field.enum else values, "u1" if field.type == "bool" else field.type)


def _emit_elements(out: Out, starts: Ints, count: Ints, flat: Any, child: Group | None) -> None:
    if not len(starts):
        return
    if isinstance(flat, list):
        return _emit_arrays(out, int(starts[0]) + out.base, count, flat)
    out.put(starts + out.base, count, 4)
    if child is not None:
        at = ranges(starts + 4, count, 4)
        if len(at):
            out.link(at, child.positions)
        return
    size = flat.dtype.itemsize
    at = ranges(starts + 4, count, size)
    if len(at):
        out.put(at + out.base, flat.view(VIEWS[size]), size)


def _emit_arrays(out: Out, begin: int, count: Ints, arrays: list[Any]) -> None:
    """Vectors that are arrays of 4- or 8-byte elements, which lie one behind the other."""
    lengths, fill = count.astype("<u4").tobytes(), _ZEROS[4 if arrays[0].dtype.itemsize == 8 else 0]
    parts: list[Any] = []
    for number, array in enumerate(arrays):
        parts += (lengths[4 * number : 4 * number + 4], array, fill)
    joined = joined_bytes(parts)
    out.bytes[begin : begin + len(joined)] = np.frombuffer(joined, np.uint8)


def _lost_message(model: Model, lost: list[tuple[Any, str]]) -> str:
    def lines() -> Iterator[str]:
        wanted = {id(o): what for o, what in lost}
        for path, table in walk(model):
            if id(table) in wanted:
                yield f"{path}: {wanted[id(table)]}"

    found = list(lines())
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return f"{shown}. A rebuild would lose this. Make a change that keeps sizes, or allow the loss with drop_unknown (--drop-unknown)"
