"""Graph -> the flatbuffer part of a file without the buffers' data: tables, vectors and strings, laid out parents first.

Positions are counted from the end of the vtables, which come first in the file and are complete only when all tables are laid out. So each kind of
table is laid out first and its bytes are emitted later, all tables of a kind at once.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base import ARRAYS, UNREADABLE, Dangling, Field, OpaqueUnion, Table, class_of, table_name, walk
from .._schema import UNIONS
from .._walk import ZERO_IS_NONE, joined_bytes, misplaced
from ..errors import LossyWriteError, SerializeError
from ..graph import Deferred, Model
from .verifier import FEW, MAX_OFFSET, SCALARS, SIZES, Ints, distinct_of, plan, ranges

Mask = npt.NDArray[np.bool_]

# Codes in reference columns: no object, and (from RAW - 2**31 on) the index of a placeholder.
_NONE, _RAW = -(1 << 40), 1 << 40
_PRESENT: Any = vars(Table)["_present"]
_VIEWS = {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}


class Group:
    """All tables that one field of one batch of parents leads to, with their positions once laid out."""

    __slots__ = ("name", "objects", "positions", "scope")

    def __init__(self, name: str, objects: list[Any], scope: Ints) -> None:
        self.name, self.objects, self.scope = name, objects, scope
        self.positions: Ints = np.zeros(len(objects), np.int64)


class Column:
    """One field of a group: which rows store it, how wide it is inline, and what to put there."""

    __slots__ = ("at", "emit", "rows", "size", "slot")

    def __init__(self, slot: int, size: int, rows: Mask, emit: Callable[[Out, Ints], None]) -> None:
        self.slot, self.size, self.rows, self.emit = slot, size, rows, emit


class Out:
    """The bytes being emitted, with views of each width; positions given to its users are already absolute."""

    __slots__ = ("base", "bytes", "views")

    def __init__(self, size: int, base: int) -> None:
        self.bytes, self.base = np.zeros(-(-size // 16) * 16, np.uint8), base
        self.views = {width: self.bytes.view(kind) for width, kind in _VIEWS.items()}

    def put(self, at: Ints, values: Any, width: int) -> None:
        """Write values of the given width in bytes; positions are absolute."""
        self.views[width][at >> width.bit_length() - 1] = values

    def link(self, at: Ints, target: Ints) -> None:
        """Write forward offsets; both positions are relative."""
        self.views[4][at + self.base >> 2] = target - at


class Layout:
    """Lays out a model. After `run`: `size` bytes, to be had from `emit`; then `inline` and `outside` data have to follow."""

    def __init__(self, model: Model, drop_unknown: bool) -> None:
        self.model, self.drop_unknown = model, drop_unknown
        self.cursor = 0
        self.vtables: dict[bytes, int] = {}
        self.vtable_bytes = bytearray()
        self.emitters: list[Callable[[Out], None]] = []
        self.lost: list[tuple[Any, str]] = []
        self.index = _Index(model)
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
        present = self._present(group)
        stored = int(np.bitwise_or.reduce(present))
        fields = _numbers_only(group.name)
        if fields is not None and len(group.objects) <= FEW:
            self._lay_out_few(group, fields, present)
            return []
        children: list[Group] = []
        columns: list[Column] = []
        later: list[Callable[[], None]] = []
        for field in plan(group.name).fields:
            if field.name in _OUTSIDE[group.name]:
                continue
            values = _attribute(group, field.attribute)
            if _nowhere(field, values, stored):
                continue
            explicit = (present >> field.slot & 1).astype(bool)
            if field.kind == "scalar":
                columns.append(self._scalar(group, field, values, explicit))
            elif field.kind == "union":
                columns += self._union(group, field, values, (present >> field.slot - 1 & 1).astype(bool), children)
            elif field.kind == "table":
                columns.append(self._child(group, field, values, children))
            else:
                columns.append(self._vector(group, field, values, explicit, children, later))
        if group.name == "Buffer" or group.name == "Operator":
            columns += self._outside_columns(group, present)
        self._place(group, [c for c in columns if c.rows.any()])
        for step in later:
            step()
        return children

    def _lay_out_few(self, group: Group, fields: tuple[Field, ...], present: Ints) -> None:
        """A few tables of numbers only (options, mostly), one by one: the same bytes as `_place` makes, without the cost of columns."""
        rows: list[tuple[list[Field], Any]] = []
        for made, bits in zip(group.objects, present.tolist(), strict=True):
            rows.append(([f for f in fields if getattr(made, f.attribute) != f.default or bits >> f.slot & 1], made))
        unit = 8 if any(SIZES[f.type] == 8 for stored, _ in rows for f in stored) else 4
        self.cursor += (4 - self.cursor) % 8 if unit == 8 else 0
        first, parts = self.cursor, []
        for row, (stored, made) in enumerate(rows):
            slots, end, body = [0] * 64, 4, b""
            for field in stored:
                slots[field.slot] = end
                body += SCALARS[field.type].pack(getattr(made, field.attribute))
                end += SIZES[field.type]
            used = max((f.slot + 1 for f in stored), default=0)
            vtable = self._vtable(struct.pack(f"<{used + 2}H", 4 + 2 * used, end, *slots[:used]))
            group.positions[row] = self.cursor
            parts.append((self.cursor - vtable - 8, body + bytes(-end % unit)))
            self.cursor += end + -end % unit

        def emit(out: Out) -> None:
            joined = b"".join((offset + out.base).to_bytes(4, "little") + body for offset, body in parts)
            out.bytes[first + out.base : first + out.base + len(joined)] = np.frombuffer(joined, np.uint8)

        self.emitters.append(emit)

    def _present(self, group: Group) -> Ints:
        bits = list(map(_PRESENT.__get__, group.objects))
        known = plan(group.name).known
        for value in set(bits):
            if value & ~known:
                what = "a deprecated field that cannot be decoded" if value & UNREADABLE else "a field newer than the schema"
                self.lost += [(o, f"{group.name} has {what}") for o, b in zip(group.objects, bits, strict=True) if b == value]
        return np.array([b & known for b in bits] if self.lost else bits, np.int64)

    def _place(self, group: Group, columns: list[Column]) -> None:
        """Give every table its place: one vtable per set of stored fields, wide fields first, tables of 8-byte fields at 4 mod 8."""
        count = len(group.objects)
        key = np.zeros(count, np.int64)
        for i, column in enumerate(columns):
            key |= column.rows.astype(np.int64) << i
        distinct, inverse = distinct_of(key)
        unit = 8 if any(c.size == 8 for c in columns) else 4
        offsets = np.zeros((len(distinct), max(len(columns), 1)), np.int64)
        strides, vtables = np.zeros(len(distinct), np.int64), np.zeros(len(distinct), np.int64)
        for row, bits in enumerate(distinct.tolist()):
            end, slots = 4, [0] * 64
            for i in sorted((i for i in range(len(columns)) if bits >> i & 1), key=lambda i: -columns[i].size):
                offsets[row, i] = slots[columns[i].slot] = end
                end += columns[i].size
            strides[row] = -(-end // unit) * unit
            used = max((s + 1 for s in range(64) if slots[s]), default=0)
            vtables[row] = self._vtable(struct.pack(f"<{used + 2}H", 4 + 2 * used, end, *slots[:used]))
        if unit == 8:
            self.cursor += (4 - self.cursor) % 8
        sizes = strides[inverse]
        positions = self.cursor + np.cumsum(sizes) - sizes
        self.cursor += int(sizes.sum())
        group.positions = positions

        def emit(out: Out) -> None:
            out.put(positions + out.base, positions + out.base - (vtables[inverse] + 8), 4)
            for i, column in enumerate(columns):
                rows = column.rows
                at = positions + offsets[inverse, i]
                column.emit(out, at if rows.all() else at[rows])

        self.emitters.append(emit)

    def _vtable(self, data: bytes) -> int:
        """Position of a vtable, shared with all tables of the same layout."""
        if data not in self.vtables:
            self.vtables[data] = len(self.vtable_bytes)
            self.vtable_bytes += data
        return self.vtables[data]

    # ---- fields ----

    def _scalar(self, group: Group, field: Field, values: list[Any], explicit: Mask) -> Column:
        size = SIZES[field.type]
        default = field.default
        if field.refers_to:
            numbers = self._references(group, field, values, group.scope)
        elif values.count(default) == len(values):
            numbers = np.full(len(values), default)
        else:
            numbers = np.array(values, "?" if field.type == "bool" else field.type)
        rows = (numbers != default) | explicit
        stored = numbers[rows].astype("u1" if field.type == "bool" else field.type)
        return Column(field.slot, size, rows, lambda out, at: out.put(at + out.base, stored.view(_VIEWS[size]), size))

    def _child(self, group: Group, field: Field, values: list[Any], children: list[Group]) -> Column:
        rows = np.array([v is not None for v in values])
        child = Group(field.type, [v for v in values if v is not None], group.scope[rows])
        if child.objects:
            children.append(child)
        return Column(field.slot, 4, rows, lambda out, at: out.link(at, child.positions))

    def _union(self, group: Group, field: Field, values: list[Any], explicit: Mask, children: list[Group]) -> list[Column]:
        numbers = {name: number for number, name in UNIONS[field.type].items()}
        types = np.zeros(len(values), np.uint8)
        by_type: dict[int, list[int]] = {}
        for row, value in enumerate(values):
            if value is None:
                continue
            if isinstance(value, OpaqueUnion):
                if value.has_table:
                    self.lost.append((group.objects[row], f"{group.name}.{field.attribute} is of type {value.type}, newer than the schema"))
                else:
                    types[row] = value.type
                continue
            number = numbers.get(table_name(type(value)))
            if number is None:
                raise SerializeError(f"{path_of(self.model, group.objects[row])}.{field.attribute}: {type(value).__name__} is no member")
            types[row] = number
            by_type.setdefault(number, []).append(row)
        members: list[tuple[Ints, Group]] = []
        for number in sorted(by_type):
            rows = np.array(by_type[number])
            child = Group(UNIONS[field.type][number], [values[r] for r in by_type[number]], group.scope[rows])
            members.append((rows, child))
            children.append(child)
        has_table = np.zeros(len(values), bool)
        for rows, _ in members:
            has_table[rows] = True
        typed = (types != 0) | explicit
        targets = np.zeros(len(values), np.int64)

        def link(out: Out, at: Ints) -> None:
            for rows, child in members:
                targets[rows] = child.positions
            out.link(at, targets[has_table])

        stored = types[typed]
        return [
            Column(field.slot - 1, 1, typed, lambda out, at: out.put(at + out.base, stored, 1)),
            Column(field.slot, 4, has_table, link),
        ]

    def _vector(
        self, group: Group, field: Field, values: list[Any], explicit: Mask, children: list[Group], later: list[Callable[[], None]]
    ) -> Column:
        """A vector or string: its place is assigned after the tables of the group, since offsets only point forward."""
        blob = field.kind == "string" or (field.type == "uint8" and field.kind == "vector")
        if blob:
            rows = np.array([v is not None for v in values])
            kept = [v for v in values if v is not None]
            count = np.array(list(map(len, kept)), np.int64)
        else:
            lengths = np.array(list(map(len, values)), np.int64)
            rows = (lengths > 0) | explicit
            kept, count = values, lengths[rows]
        starts = np.zeros(len(count), np.int64)
        child: Group | None = None
        flat: Any = None
        if field.kind == "tables":
            child = Group(field.type, list(chain.from_iterable(kept)), self._child_scope(group, field, np.repeat(group.scope[rows], count)))
            if child.objects:
                children.append(child)
        elif not blob:
            flat = self._flatten(group, field, kept, np.repeat(group.scope[rows], count))

        def place() -> None:
            if blob:
                starts[:] = self._place_blobs(kept, count, field)
                return
            starts[:] = self._place_elements(count, 4 if child else SIZES[field.type])
            self.emitters.append(lambda out: _emit_elements(out, starts, count, flat, child))

        later.append(place)
        return Column(field.slot, 4, rows, lambda out, at: out.link(at, starts))

    def _child_scope(self, group: Group, field: Field, inherited: Ints) -> Ints:
        if field.type == "SubGraph":
            return np.arange(len(inherited))
        if field.type == "SignatureDef":
            indices = [self.index.codes.get(s.subgraph, -1) for s in self.model.signature_defs]
            return np.array([i if 0 <= i < len(self.model.subgraphs) else -1 for i in indices], np.int64)
        return inherited

    def _flatten(self, group: Group, field: Field, values: list[Any], scope: Ints) -> Any:
        """All elements of a vector field, concatenated, in the type they are stored in."""
        if field.refers_to:
            return self._references(group, field, list(chain.from_iterable(values)), scope).astype(field.type)
        if (group.name, field.name) in ARRAYS:
            return np.frombuffer(joined_bytes(values), field.type)
        flat = list(chain.from_iterable(values))
        return np.array(flat, "u1" if field.type == "bool" else field.type)

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

    def _place_blobs(self, blobs: list[bytes], count: Ints, field: Field) -> Ints:
        """Places for strings and byte vectors, with a zero behind strings; their bytes are joined and emitted at once."""
        align = max(field.align, 4)
        tail = 1 if field.kind == "string" else 0
        parts: list[bytes] = []
        begin = self.cursor = self.cursor + (-self.cursor) % 4
        starts = []
        for blob, length in zip(blobs, count.tolist(), strict=True):
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
        return np.array(starts, np.int64)

    # ---- references ----

    def _references(self, group: Group, field: Field, values: list[Any], scope: Ints) -> Ints:
        """Indices of objects; SerializeError for objects that are not in the list that indices count in."""
        try:
            codes = np.array(list(map(self.index.codes.__getitem__, values)), np.int64)
        except KeyError as error:
            raise SerializeError(self._foreign(group, field, error.args[0])) from None
        kind = field.refers_to
        if kind == "ExternalBuffer.id":
            return self._external_ids(group, field, values)
        if field.kind == "vector":
            self._of_class(group, field, values)
        none, raw = codes == _NONE, codes > _RAW >> 1
        own = ~(none | raw)
        if raw.any():
            self._still_dangling(group, field, values, codes - _RAW, scope)
        if kind == "Tensor":
            local = codes - np.where(scope >= 0, self.index.bases[scope], 0) if len(self.index.bases) else codes
            inside = (scope >= 0) & (local >= 0) & (local < (self.index.counts[scope] if len(self.index.counts) else 0))
            if (own & ~inside).any():
                raise SerializeError(self._foreign(group, field, values[int(np.flatnonzero(own & ~inside)[0])]))
            codes = np.where(own, local, codes)
        if none.any() and field.type.startswith("u") and field not in ZERO_IS_NONE:
            where = next(o for o in group.objects if getattr(o, field.attribute) is None)
            raise SerializeError(f"{path_of(self.model, where)}.{field.attribute} is None, and the format has no way to say so")
        return np.where(none, 0 if field.type.startswith("u") else -1, np.where(raw, codes - _RAW, codes))

    def _external_ids(self, group: Group, field: Field, values: list[Any]) -> Ints:
        """Ids of external buffers; SerializeError for an id that leads elsewhere: 0 says none, and of equal ones the last counts."""
        meant = {buffer.id: buffer for buffer in self.model.external_buffers}
        for value in set(values):
            if isinstance(value, Dangling):
                problem = f"external buffer id {value.index} was unknown and is now taken" if value.index in meant else ""
            elif value is None or (value.id and meant[value.id] is value):
                continue
            else:
                problem = f"another external buffer has id {value.id} too" if value.id else "its external buffer has id 0, which says none"
            if problem:
                raise SerializeError(f"{self._owner(group, field, value)}: {problem}; give it an id of its own")
        return np.array([0 if v is None else v.index if isinstance(v, Dangling) else v.id for v in values], np.int64)

    def _of_class(self, group: Group, field: Field, values: list[Any]) -> None:
        """SerializeError for an object of the wrong class, which appending lets in: its index would be taken for another's."""
        wanted = class_of(field.refers_to)
        for held in set(map(type, values)):
            if not issubclass(held, (wanted, type(None))):
                wrong = next(v for v in values if type(v) is held)
                raise SerializeError(f"{self._owner(group, field, wrong)}: expected {wanted.__name__}, got {held.__name__}")

    def _still_dangling(self, group: Group, field: Field, values: list[Any], indices: Ints, scope: Ints) -> None:
        """SerializeError for a placeholder whose index has come to point at something: what it was read as must not change its meaning."""
        if field.refers_to == "Tensor":
            there = np.where(scope >= 0, self.index.counts[scope] if len(self.index.counts) else 0, 0)
        else:
            there = np.full(len(indices), self.index.lengths[field.refers_to])
        taken = np.flatnonzero((indices >= 0) & (indices < there) & np.array([isinstance(v, Dangling) for v in values]))
        if len(taken):
            value = values[int(taken[0])]
            raise SerializeError(
                f"{self._owner(group, field, value)}: {field.refers_to} index {value.index} pointed at nothing when it was read, and now would "
                "point at something; assign the object that is meant"
            )

    def _owner(self, group: Group, field: Field, value: Any) -> str:
        """The path of the field that refers to `value`."""
        held = ((o, getattr(o, field.attribute)) for o in group.objects)
        owner = next(o for o, v in held if v is value or (isinstance(v, list) and any(x is value for x in v)))
        return f"{path_of(self.model, owner)}.{field.attribute}"

    def _foreign(self, group: Group, field: Field, value: Any) -> str:
        lists = {"Tensor": "the tensors of its subgraph", "Buffer": "model.buffers", "OperatorCode": "model.operator_codes"}
        kind = field.refers_to.partition(".")[0]
        text = f" {value.name_str!r}" if kind == "Tensor" and hasattr(value, "name_str") else ""
        return f"{self._owner(group, field, value)}: {type(value).__name__}{text} is not in {lists.get(kind, 'the model')}; add it there"

    # ---- buffers and large custom options ----

    def _outside_columns(self, group: Group, present: Ints) -> list[Column]:
        """Fields of data that may lie outside the flatbuffer: Buffer.data, offset and size, and large custom options."""
        buffers = group.name == "Buffer"
        data = _attribute(group, "data" if buffers else "large_custom_options")
        moved = np.array([d is not None for d in data])
        columns: list[Column] = []
        if buffers:
            inside = ~np.array(_attribute(group, "out_of_line"))
            if self.move_outside:
                described = {entry.buffer for entry in self.model.metadata}  # readers of metadata look only inside the flatbuffer
                inside &= np.array([not d or b in described for b, d in zip(group.objects, data, strict=True)])
            inline = moved & inside
            moved &= ~inside
            self.inline = [d for d, keep in zip(data, inline.tolist(), strict=True) if keep]

            def remember(out: Out, at: Ints) -> None:
                self.inline_at = at

            columns.append(Column(0, 4, inline, remember))
        first, views = len(self.outside), [d for d, out in zip(data, moved.tolist(), strict=True) if out]
        self.outside += views
        stale = ~moved & (np.array(_attribute(group, "offset" if buffers else "large_custom_options_offset"), np.uint64) > 1)
        if buffers:
            stale &= ~inline  # inline data wins, and an offset beside it means nothing
        self.lost += [(group.objects[i], "refers to bytes at a file offset that is not valid") for i in np.flatnonzero(stale).tolist()]
        for name, field in _OUTSIDE[group.name].items():
            if name == "data":
                continue
            numbers = np.array(_attribute(group, name), np.uint64)
            numbers[stale] = 0  # after a rebuild it could lead to other bytes
            if not name.endswith("offset"):
                numbers[moved] = [len(v) for v in views]
            rows = (numbers != 0) | (present >> field.slot & 1).astype(bool) | moved
            columns.append(Column(field.slot, 8, rows, self._emit_outside(name, numbers[rows], moved[rows], first)))
        return columns

    def _emit_outside(self, name: str, numbers: Any, moved: Mask, first: int) -> Callable[[Out, Ints], None]:
        def emit(out: Out, at: Ints) -> None:
            out.put(at + out.base, numbers, 8)
            if name.endswith("offset") and moved.any():
                absolute = at[moved] + out.base
                self.outside_at.append(lambda final, offsets: final.put(absolute, offsets[first : first + len(absolute)], 8))

        return emit


@cache
def _numbers_only(name: str) -> tuple[Field, ...] | None:
    """The fields of a table that has nothing but numbers, wide ones first; None if it has anything else."""
    fields = plan(name).fields
    if any(f.kind != "scalar" or f.refers_to for f in fields):
        return None
    return tuple(sorted(fields, key=lambda f: -SIZES[f.type]))


# Fields of data that may lie outside the flatbuffer, by table.
_OUTSIDE: defaultdict[str, dict[str, Field]] = defaultdict(dict)
_OUTSIDE["Buffer"] = {f.name: f for f in plan("Buffer").fields}
_OUTSIDE["Operator"] = {f.name: f for f in plan("Operator").fields if f.name.startswith("large_")}


def _nowhere(field: Field, values: list[Any], stored: int) -> bool:
    """Whether no table of a group has a field; `stored` are the bits of all of them together."""
    if field.kind == "scalar":
        return not stored >> field.slot & 1 and not field.refers_to and values.count(field.default) == len(values)
    if field.kind == "union":
        return not stored >> field.slot - 1 & 1 and values.count(None) == len(values)
    if field.kind in ("table", "string") or field.type == "uint8":
        return values.count(None) == len(values)
    return not stored >> field.slot & 1 and not any(map(len, values))


def _attribute(group: Group, name: str) -> list[Any]:
    return list(map(getattr(class_of(group.name), name).__get__, group.objects))


_ZEROS = [bytes(n) for n in range(17)]


class _Index:
    """Position of every object that others refer to; tensors count through all subgraphs."""

    def __init__(self, model: Model) -> None:
        codes: dict[Any, int] = {None: _NONE}
        lists: list[tuple[str, list[Any]]] = [
            ("buffers", model.buffers), ("operator_codes", model.operator_codes), ("subgraphs", model.subgraphs),
            ("external_buffers", model.external_buffers), ("external_buffer_groups", model.external_buffer_groups),
            ("tensors", list(model.tensors())),
        ]  # fmt: skip
        for name, items in lists:
            before = len(codes)
            codes.update(zip(items, range(len(items)), strict=True))
            if len(codes) != before + len(items):
                raise SerializeError("; ".join(misplaced(model)) or f"model: the same object is listed twice in {name}")
        self.lengths = {"Buffer": len(model.buffers), "OperatorCode": len(model.operator_codes), "SubGraph": len(model.subgraphs)}
        self.lengths["ExternalBufferGroup"] = len(model.external_buffer_groups)
        self.codes = _Codes(codes)
        self.counts = np.array([len(s.tensors) for s in model.subgraphs], np.int64)
        self.bases = np.cumsum(self.counts) - self.counts


class _Codes(dict[Any, int]):
    """Object -> code; placeholders answer with the index they stand for."""

    def __missing__(self, key: Any) -> int:
        if isinstance(key, Dangling):
            return _RAW + key.index
        raise KeyError(key)


def _emit_elements(out: Out, starts: Ints, count: Ints, flat: Any, child: Group | None) -> None:
    if not len(starts):
        return
    out.put(starts + out.base, count, 4)
    if child is not None:
        at = ranges(starts + 4, count, 4)
        if len(at):
            out.link(at, child.positions)
        return
    size = flat.dtype.itemsize
    at = ranges(starts + 4, count, size)
    if len(at):
        out.put(at + out.base, flat.view(_VIEWS[size]), size)


def path_of(model: Model, wanted: Any) -> str:
    """Where in the model a table is; for messages only, since it searches."""
    return next((path for path, table in walk(model) if table is wanted), type(wanted).__name__)


def _lost_message(model: Model, lost: list[tuple[Any, str]]) -> str:
    def lines() -> Iterator[str]:
        wanted = {id(o): what for o, what in lost}
        for path, table in walk(model):
            if id(table) in wanted:
                yield f"{path}: {wanted[id(table)]}"

    found = list(lines())
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return f"{shown}. A rebuild would lose this. Make a change that keeps sizes, or allow the loss with drop_unknown (--drop-unknown)"
