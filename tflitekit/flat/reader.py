"""Verified batches -> Model.

First an object is made for every table, then each field is decoded for all tables of a batch at once and stored by the slot descriptors, past the
checks of assignment: a broken model has to load as it is.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate, pairwise, repeat
from typing import Any, NamedTuple

import numpy as np

from .._base import ARRAYS, Field, OpaqueUnion, Table, absent_value, cache, class_of, enum_class, table_name
from .._placeholders import dangling
from .._walk import ZERO_IS_NONE, collector_paused
from ..graph import Model
from .batches import ALIGNMENT, LONG, SCALARS, SIZES, Batch, Bytes, Ints, plan, ranges
from .verifier import Verifier

_SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}


def decode(data: memoryview, verified: Verifier | None = None) -> tuple[Model, Verifier]:
    """Verify a file and decode it. Returns the model (without source) and the verifier run, whose `end` is the end of the flatbuffer.

    `verified` is a former run over the same bytes, for decoding them again.
    """
    verifier = verified or Verifier(data)
    with collector_paused():
        model = Reader(verifier).read()
    return model, verifier


def alignments(verifier: Verifier) -> Ints:
    """By which power of two, at most ALIGNMENT, the position of each buffer's data in the flatbuffer can be divided; ALIGNMENT without data there."""
    batch = next((b for b in verifier.batches if b.name == "Buffer"), None)
    slot = next(field.slot for field in plan("Buffer").fields if field.attribute == "data")
    if batch is None or slot not in batch.vectors:
        return np.full(0 if batch is None else batch.count, ALIGNMENT, np.int64)
    start, count = batch.vectors[slot]
    at = np.where(count > 0, start, 0)
    return np.where(at % ALIGNMENT, at & -at, ALIGNMENT)


def decode_nested(data: memoryview, root: str, identifier: bytes) -> Table:
    """Verify a flatbuffer of another format, one without indices into the model, and decode it. `root` is one of `verifier.ROOTS`."""
    return Reader(Verifier(data, root, identifier)).read_tables()


def _store(objects: list[Any], setter: Callable[[Any, Any], None], values: Iterable[Any]) -> None:
    deque(map(setter, objects, values), maxlen=0)


class Slot(NamedTuple):
    """How the values of a field are decoded and stored: the bits that say that a table has it, what fills the attribute where no table does (None:
    that has to be made each time), and whether its values can be kept for the next reader, since nobody can change them."""

    field: Field
    setter: Callable[[Any, Any], None]
    bits: int
    absent: Iterable[Any] | None
    lasting: bool


@cache
def slots_of(cls: type[Table]) -> tuple[Slot, ...]:
    """The slots of a class, in the order of its fields."""
    slots = []
    for field in plan(table_name(cls)).fields:
        array = (table_name(cls), field.name) in ARRAYS
        lists = field.kind == "tables" or (field.kind == "vector" and field.refers_to)
        absent = None if lists or field.refers_to else repeat(_read_only(absent_value(cls, field)))
        lasting = not field.refers_to and field.kind in ("scalar", "string", "strings", "vector") and not array
        bits = 3 << field.slot - 1 if field.kind == "union" else 1 << field.slot
        slots.append(Slot(field, getattr(cls, field.attribute).__set__, bits, absent, lasting))
    return tuple(slots)


@cache
def _setters(cls: type[Table], attributes: tuple[str, ...]) -> tuple[Callable[[Any, Any], None], ...]:
    return tuple(getattr(cls, attribute).__set__ for attribute in attributes)


# Tables up to which what was found is kept with the model, to be decoded once more for the first diff; it takes less than half of the graph's memory.
KEPT = 10_000

# When this many tables of a kind have been read, of one model or several, the objects of more are filled by a function made for the class: two to
# three times as fast, but made in 0.1 ms.
MANY = 100
_met: dict[type[Table], int] = {}


def _in_bulk(batch: Batch, cls: type[Table]) -> bool:
    """Whether a batch is filled by a function made for the class; classes that take weak references cannot change their objects' class."""
    met = _met[cls] = _met.get(cls, 0) + batch.count
    return met >= MANY and "__weakref__" not in vars(cls)["__slots__"]


@cache
def _unchecked(cls: type[Table]) -> type[Table]:
    """A twin of a class without checked assignment. Instances have the same memory layout and are turned into instances of `cls` when filled."""
    return type(cls.__name__, (Table,), {"__slots__": vars(cls)["__slots__"], "__setattr__": object.__setattr__})


@cache
def _filler(cls: type[Table], attributes: tuple[str, ...]) -> Callable[..., None]:
    """A function (objects, *columns) that stores all attributes of all objects in one loop, as fast as the interpreter can."""
    names = ", ".join(f"c{i}" for i in range(len(attributes)))
    stores = "; ".join(f"o.{attribute} = c{i}" for i, attribute in enumerate(attributes))
    scope: dict[str, Any] = {"cls": cls}
    exec(f"def fill(objects, {names}):\n for o, {names} in zip(objects, {names}):\n  {stores}; o.__class__ = cls", scope)
    made: Callable[..., None] = scope["fill"]
    return made


class Reader:
    """Decodes the batches of a verifier's run, which has to be released afterwards."""

    def __init__(self, verifier: Verifier) -> None:
        self.batches = verifier.batches or verifier.run()
        for batch in self.batches:
            for child in batch.below():
                child.parent = batch  # which a former reader has let go of
        self.keeps = verifier.tables <= KEPT
        self.raw: Bytes = verifier.bytes
        self.scopes: dict[int, Ints] = {}
        self.placeholders: dict[tuple[str, int, int], Any] = {}
        self.pools: dict[str, list[Any]] = {}

    def read(self) -> Model:
        """The model."""
        self._make_objects()
        self._make_pools()
        self._fill()
        model: Model = self.batches[0].objects[0]
        self._finish(model)
        self.release()
        return model

    def read_tables(self) -> Table:
        """The root of a format whose tables hold no indices."""
        self._make_objects()
        self._fill()
        root: Table = self.batches[0].objects[0]
        self.release()
        return root

    def release(self) -> None:
        """Let go of the objects: batches refer to each other in circles, and would keep a model and its mapped file until a full collection."""
        for batch in self.batches:
            batch.objects, batch.parent = [], None
        self.pools.clear()

    def _make_objects(self) -> None:
        for batch in self.batches:
            cls = class_of(batch.name)
            raw = _unchecked(cls) if _in_bulk(batch, cls) else cls
            batch.objects = list(map(raw.__new__, repeat(raw, batch.count)))

    def _fill(self) -> None:
        for batch in self.batches:
            masks = batch.masks
            values = repeat(masks[0]) if len(masks) == 1 else map(masks.__getitem__, batch.inv.tolist())
            cls = class_of(batch.name)
            beside = {"_present": values, **self._beside_the_schema(batch)}
            slots = slots_of(cls)
            columns = [self._column(batch, cls, slot) for slot in slots]
            if type(batch.objects[0]) is not cls:
                attributes = *beside, *(slot.field.attribute for slot in slots)
                _filler(cls, attributes)(batch.objects, *beside.values(), *columns)
                continue
            for setter, column in zip(_setters(cls, tuple(beside)), beside.values(), strict=True):
                _store(batch.objects, setter, column)
            for slot, column in zip(slots, columns, strict=True):
                _store(batch.objects, slot.setter, column)

    def _beside_the_schema(self, batch: Batch) -> dict[str, Iterable[Any]]:
        """Columns of attributes that are no schema fields; `_finish` corrects the few that say more."""
        if batch.name == "Tensor":
            owners = [weakref.ref(subgraph) for subgraph in self.pools["SubGraph"][:-1]]
            return {"_subgraph": map(owners.__getitem__, self._scope(batch).tolist())}
        constant = {"Model": "source", "Buffer": "out_of_line", "Operator": "large_custom_options"}.get(batch.name)
        return {constant: repeat(False if batch.name == "Buffer" else None)} if constant else {}

    # ---- what indices refer to ----

    def _make_pools(self) -> None:
        root = self.batches[0]
        slots = {f.name: f.slot for f in plan("Model").fields}
        for kind, name in (
            ("Buffer", "buffers"), ("OperatorCode", "operator_codes"), ("SubGraph", "subgraphs"), ("ExternalBufferGroup", "external_buffer_groups"),
            ("ExternalBuffer", "external_buffers"),
        ):  # fmt: skip
            batch = root.children.get(slots[name])
            self.pools[kind] = [*(batch.objects if batch else ()), None]
        tensors = self.count_tensors()
        self.pools["Tensor"] = [*(tensors.objects if tensors else ()), None]

    def count_tensors(self) -> Batch | None:
        """Note how many tensors each subgraph has; returns the batch of all."""
        subgraphs = next((b for b in self.batches if b.name == "SubGraph"), None)
        slot = plan("SubGraph").fields[0].slot
        self.tensor_counts = subgraphs.vectors[slot][1] if subgraphs else np.zeros(0, np.int64)
        self.tensor_bases = np.cumsum(self.tensor_counts) - self.tensor_counts
        return subgraphs.children.get(slot) if subgraphs else None

    def _scope(self, batch: Batch) -> Ints:
        """The subgraph that the tensor indices of each row are relative to; -1 where there is none."""
        found = self.scopes.get(id(batch))
        if found is not None:
            return found
        parent, via = batch.parent, batch.via
        if parent is None or via is None:
            scope = np.full(batch.count, -1, np.int64)
        elif batch.name == "SubGraph":
            scope = np.arange(batch.count)
        elif batch.name == "SignatureDef":
            scope = self._numbers(batch, next(f for f in plan(batch.name).fields if f.refers_to)).astype(np.int64)
            scope = np.where(scope < len(self.tensor_counts), scope, -1)
        elif via.kind == "tables":
            scope = np.repeat(self._scope(parent), parent.vectors[via.slot][1])
        elif via.kind == "table":
            scope = self._scope(parent)[parent.child_rows[via.slot]]
        else:
            rows = next(rows for rows, member in parent.unions[via.slot][1].values() if member is batch)
            scope = self._scope(parent)[rows]
        self.scopes[id(batch)] = scope
        return scope

    def _refer(self, batch: Batch, field: Field, indices: Ints, count: Ints | None = None) -> list[Any]:
        """The objects that indices stand for: None for -1, a placeholder where there is no such object. `count` are the indices of each table, if
        they are those of vectors."""
        if field.refers_to == "ExternalBuffer.id":
            return self._external(indices)
        kind = field.refers_to
        pool = self.pools[kind]
        scope = self._scope(batch) if kind == "Tensor" else None
        if int(np.minimum.reduce(indices)) >= -1 and int(np.maximum.reduce(indices)) < len(pool) - 1 and not self._several(scope):
            return list(map(pool.__getitem__, indices.tolist()))  # None is the last of the pool
        if scope is not None and count is not None:
            scope = np.repeat(scope, count)
        if scope is not None and len(self.tensor_counts):
            inside = (indices >= 0) & (scope >= 0)
            inside &= indices < self.tensor_counts[scope]
            where = np.where(inside, indices + self.tensor_bases[scope], -1)
        else:
            inside = (indices >= 0) & (indices < len(pool) - 1)
            where = np.where(inside, indices, -1)
        found = list(map(pool.__getitem__, where.tolist()))
        if not inside.all():
            # A tensor without data has buffer 0 also in a model without buffers.
            empty_sentinel = field in ZERO_IS_NONE and len(pool) == 1
            for i in np.flatnonzero(~inside & (indices != -1)).tolist():
                if not (empty_sentinel and indices[i] == 0):
                    found[i] = self._placeholder(kind, int(scope[i]) if scope is not None else -1, int(indices[i]))
        return found

    def _several(self, scope: Ints | None) -> bool:
        """Whether tensor indices are relative to other subgraphs than the first, or to none."""
        return scope is not None and (len(self.tensor_counts) != 1 or bool(scope.any()))

    def _placeholder(self, kind: str, scope: int, index: int) -> Any:
        key = kind, scope, index
        if key not in self.placeholders:
            self.placeholders[key] = dangling(kind, index)
        return self.placeholders[key]

    def _external(self, ids: Ints) -> list[Any]:
        if not ids.any():
            return [None] * len(ids)
        id_field = plan("ExternalBuffer").fields[0]
        batch = next((b for b in self.batches if b.name == "ExternalBuffer"), None)
        known = dict(zip(self._numbers(batch, id_field).tolist(), batch.objects, strict=True)) if batch else {}
        known[0] = None
        return [known[i] if i in known else self._placeholder("ExternalBuffer", -1, i) for i in ids.tolist()]

    # ---- columns ----

    def _column(self, batch: Batch, cls: type[Table], slot: Slot) -> Iterable[Any]:
        """The values of one field for all tables of a batch, kept for the next reader of these batches where that may be."""
        if not batch.stored & slot.bits:
            return self._absent(batch, slot.field) if slot.absent is None else slot.absent
        if not slot.lasting or not self.keeps:
            return self._stored(batch, cls, slot)
        number = slot.field.slot
        if number not in batch.columns:
            column = self._stored(batch, cls, slot)
            batch.columns[number] = column if isinstance(column, repeat) else list(column)
        return batch.columns[number]

    def _stored(self, batch: Batch, cls: type[Table], slot: Slot) -> Iterable[Any]:
        """The values of a field that some table has."""
        field = slot.field
        if field.kind == "scalar":
            return self._scalars(batch, cls, field)
        if field.kind == "table":
            return _scatter(batch.count, batch.child_rows.get(field.slot), batch.children.get(field.slot))
        if field.kind == "union":
            return self._unions(batch, field)
        start, count = batch.vectors[field.slot]
        if field.kind == "tables":
            child = batch.children.get(field.slot)
            return _split(child.objects if child else [], count)
        if field.kind == "strings":
            return self._strings(batch, field, count)
        if field.type == "uint8":
            return self._blobs(batch, start, count)
        if not count.any():
            return self._absent(batch, field) if slot.absent is None else slot.absent
        if field.refers_to:
            return _split(self._refer(batch, field, self._elements(field, start, count), count), count)
        if (batch.name, field.name) in ARRAYS:
            return self._arrays(field, start, count)
        flat: Iterable[Any] = self._elements(field, start, count).tolist()
        if field.enum:
            flat = map(enum_class(field.enum), flat)
        return _split(tuple(flat), count)

    def _absent(self, batch: Batch, field: Field) -> Iterable[Any]:
        """References and lists where no table of a batch has a field, or all vectors of it are empty."""
        if field.kind != "scalar":
            return [[] for _ in range(batch.count)]
        if field.refers_to == "Tensor":
            return self._refer(batch, field, np.full(batch.count, field.default))
        return repeat(self._refer(batch, field, np.full(1, field.default))[0])

    def _numbers(self, batch: Batch, field: Field) -> Ints:
        """A scalar field as numbers, defaults filled in."""
        rows, at = batch.at(field.slot)
        size = SIZES[field.type]
        views = {1: self.raw.u8, 2: self.raw.u16, 4: self.raw.u32, 8: self.raw.u64}
        kind = "?" if field.type == "bool" else field.type
        stored: Ints = views[size][at >> _SHIFT[size]].view("u1" if kind == "?" else kind)
        if isinstance(rows, slice) and len(at) == batch.count:
            return stored
        values: Ints = np.full(batch.count, field.default, stored.dtype)
        values[rows] = stored
        return values

    def _scalars(self, batch: Batch, cls: type[Table], field: Field) -> Iterable[Any]:
        if batch.heads is not None and not field.refers_to:
            return self._few_scalars(batch.heads, cls, field)
        numbers = self._numbers(batch, field)
        if field.refers_to:
            return self._refer(batch, field, numbers.astype(np.int64))
        values: list[Any] = (numbers != 0).tolist() if field.type == "bool" else numbers.tolist()
        if field.enum:
            kind = enum_class(field.enum)
            members = {v: kind(v) for v in set(values)}
            return map(members.__getitem__, values)
        return values

    def _few_scalars(self, heads: list[tuple[int, tuple[int, ...]]], cls: type[Table], field: Field) -> list[Any]:
        """A scalar field of a few tables, one by one."""
        unpack, data, slot = SCALARS[field.type].unpack_from, self.raw.data, field.slot
        absent = absent_value(cls, field)
        if field.enum:
            convert = enum_class(field.enum)
            return [convert(unpack(data, pos + offsets[slot])[0]) if offsets[slot] else absent for pos, offsets in heads]
        return [unpack(data, pos + offsets[slot])[0] if offsets[slot] else absent for pos, offsets in heads]

    def _elements(self, field: Field, start: Ints, count: Ints) -> Any:
        """All elements of one vector field, concatenated. 8-byte elements need not be aligned to more than 4."""
        size = SIZES[field.type]
        if size >= 4 and int(np.add.reduce(count)) > LONG * len(count):
            pairs = zip((start >> 2).tolist(), (start + size * count >> 2).tolist(), strict=True)
            return np.concatenate([self.raw.u32[a:b] for a, b in pairs]).view(field.type)
        at = ranges(start, count, size)
        if size == 8:
            at >>= 2
            words = np.stack([self.raw.u32[at], self.raw.u32[at + 1]], axis=1)
            return words.reshape(-1).view(field.type)
        view = {1: self.raw.u8, 2: self.raw.u16, 4: self.raw.u32}[size]
        flat = view[at >> _SHIFT[size]]
        return flat != 0 if field.type == "bool" else flat.view(field.type)

    def _arrays(self, field: Field, start: Ints, count: Ints) -> Iterable[Any]:
        """Read-only arrays, one per table, that share one array of all elements."""
        flat = _read_only(self._elements(field, start, count))
        if int(count.min()) == 1 == int(count.max()):
            rows: list[Any] = list(flat[:, None])
            return rows
        empty = flat[:0]
        ends = list(accumulate(count.tolist(), initial=0))
        return [flat[a:b] if b > a else empty for a, b in pairwise(ends)]

    def _blobs(self, batch: Batch, start: Ints, count: Ints) -> Iterable[Any]:
        """Bytes of strings and byte vectors, None where absent; the data of buffers stays a view of the file."""
        data = self.raw.data
        pairs = zip(start.tolist(), (start + count).tolist(), strict=True)
        if batch.name == "Buffer":
            return [data[a:b] if a else None for a, b in pairs]
        return [bytes(data[a:b]) if a else None for a, b in pairs]

    def _strings(self, batch: Batch, field: Field, count: Ints) -> Iterable[Any]:
        """Tuples of bytes of a vector of strings."""
        if field.slot not in batch.strings:
            return repeat(())
        data = self.raw.data
        pairs = zip(*(array.tolist() for array in batch.strings[field.slot]), strict=True)
        return _split(tuple([bytes(data[start : start + length]) for start, length in pairs]), count)

    def _unions(self, batch: Batch, field: Field) -> Iterable[Any]:
        types, members = batch.unions[field.slot]
        values: list[Any] = [None] * batch.count
        known = np.zeros(batch.count, bool)
        for rows, child in members.values():
            known[rows] = True
            for row, made in zip(rows.tolist(), child.objects, strict=True):
                values[row] = made
        has_table = np.zeros(batch.count, bool)
        has_table[batch.at(field.slot)[0]] = True
        for row in np.flatnonzero(~known & ((types != 0) | has_table)).tolist():
            values[row] = OpaqueUnion(int(types[row]), bool(has_table[row]))
        return values

    # ---- what lies outside the tables ----

    def _finish(self, model: Model) -> None:
        for buffer in model.buffers:
            if buffer.data is None and buffer.offset > 1:
                view = self._outside(buffer.offset, buffer.size)
                if view is not None:
                    object.__setattr__(buffer, "data", view)
                    object.__setattr__(buffer, "out_of_line", True)
        for subgraph in model.subgraphs:
            for operator in subgraph.operators:
                if operator.large_custom_options_offset > 1:
                    view = self._outside(operator.large_custom_options_offset, operator.large_custom_options_size)
                    object.__setattr__(operator, "large_custom_options", view)

    def _outside(self, offset: int, size: int) -> memoryview | None:
        """The bytes at an absolute file offset, None where they are not all there."""
        return self.raw.data[offset : offset + size] if offset + size <= self.raw.size else None


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


def _scatter(count: int, rows: Any, child: Batch | None) -> Iterable[Any]:
    """Sub-tables in the rows that have one, None elsewhere."""
    if child is None:
        return repeat(None)
    if isinstance(rows, slice):
        return child.objects
    values: list[Any] = [None] * count
    for row, made in zip(rows.tolist(), child.objects, strict=True):
        values[row] = made
    return values


def _split(flat: Any, count: Ints) -> Iterable[Any]:
    """Cut a concatenation into lists or tuples of the given lengths."""
    ends = list(accumulate(count.tolist(), initial=0))
    return [flat[a:b] for a, b in pairwise(ends)]
