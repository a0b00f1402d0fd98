"""Files that the writer would never make, and an independent writer to compare it with.

`pack` turns a graph into bytes with the `flatbuffers` Builder, slowly and as directly as the schema reads. `overrides` replace or add single vtable
slots of single objects: fields that no schema knows, members that no union knows, wrong types, explicit defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types

from tflitekit._base import Dangling, Field, OpaqueUnion, Table, fields_of, members_of, table_name
from tflitekit._metadata_schema import ModelMetadata
from tflitekit.graph import Buffer, Model, Operator

Slots = Mapping[int, Any]
"""Slot -> value: a scalar as ("int32", 5), bytes for a vector of bytes, str for a string, another Slots for a table, a list of Slots for a vector of
tables, None to leave the slot out."""

PLACEHOLDER_OFFSET = 1  # of data behind the flatbuffer, until its place is known; invalid on purpose
ALIGNMENT = 16
_FLAGS = {
    name: getattr(number_types, f"{name.capitalize() if not name.startswith('u') else 'Uint' + name[4:]}Flags")
    for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
}


def pack(model: Model, overrides: Mapping[Table, Slots] | None = None, *, identifier: bytes = b"TFL3", size_prefix: bool = False) -> bytes:
    """The model as a TFLite file. Data out of line comes behind the flatbuffer in the order of the graph, each at a multiple of 16."""
    tails = _tails(model)
    places = dict.fromkeys(tails, PLACEHOLDER_OFFSET)
    body = _Packer(model, overrides or {}, places).finish(identifier, size_prefix)
    if not tails:
        return body
    end = len(body)
    for key, data in tails.items():
        places[key] = end = -(-end // ALIGNMENT) * ALIGNMENT
        end += len(data)
    out = bytearray(_Packer(model, overrides or {}, places).finish(identifier, size_prefix))
    assert len(out) == len(body), "offsets must not change the layout"
    for key, data in tails.items():
        out += bytes(places[key] - len(out)) + data
    return bytes(out)


def pack_metadata(metadata: ModelMetadata, overrides: Mapping[Table, Slots] | None = None, *, identifier: bytes = b"M001") -> bytes:
    """TFLite Metadata as the bytes of its own flatbuffer."""
    return _Packer(Model(), overrides or {}, {}).finish(identifier, False, metadata)


def _tails(model: Model) -> dict[Table, bytes]:
    """What lies behind the flatbuffer, by the object that refers to it."""
    found: dict[Table, bytes] = {b: bytes(b.data) for b in model.buffers if b.out_of_line and b.data is not None}
    found.update((o, bytes(o.large_custom_options)) for o in model.operators() if o.large_custom_options is not None)
    return found


class _Packer:
    """One pass over the graph; children are written before their parents, as the Builder wants it."""

    def __init__(self, model: Model, overrides: Mapping[Table, Slots], places: Mapping[Table, int]) -> None:
        self.model, self.overrides, self.places = model, overrides, places
        self.builder = flatbuffers.Builder(1024)
        self.positions: dict[Table, int] = {}
        lists: list[Any] = [model.operator_codes, model.subgraphs, model.buffers, model.external_buffer_groups]
        for owner in (*lists, *(s.tensors for s in model.subgraphs)):
            self.positions.update((item, position) for position, item in enumerate(owner))

    def finish(self, identifier: bytes, size_prefix: bool, top: Table | None = None) -> bytes:
        root = self.table(top or self.model)
        finish = self.builder.FinishSizePrefixed if size_prefix else self.builder.Finish
        finish(root, file_identifier=identifier)
        return bytes(self.builder.Output())

    def table(self, value: Table) -> int:
        """Write a table of the graph and return its offset."""
        slots: dict[int, Any] = {}
        for field in fields_of(type(value)):
            slots.update(self.field(value, field))
        slots.update(self.behind(value))
        for slot, override in self.overrides.get(value, {}).items():
            slots[slot] = None if override is None else self.raw(override)
        return self.close(slots)

    def close(self, slots: Mapping[int, Any]) -> int:
        """Write a table of prepared slots: ("offset", position) or (scalar type, value), wide ones first to leave few gaps."""
        kept = {slot: item for slot, item in slots.items() if item is not None}
        self.builder.StartObject(max(kept, default=-1) + 1)
        for slot, (kind, value) in sorted(kept.items(), key=lambda entry: -_width(entry[1][0])):
            if kind == "offset":
                self.builder.PrependUOffsetTRelative(value)
            else:
                self.builder.Prepend(_FLAGS[kind], value)
            self.builder.Slot(slot)
        return int(self.builder.EndObject())

    def raw(self, value: Any) -> tuple[str, Any]:
        """A slot of `Slots`."""
        if isinstance(value, tuple):
            return value[0], value[1]
        if isinstance(value, str):
            return "offset", self.builder.CreateString(value)
        if isinstance(value, (bytes, bytearray)):
            return "offset", self.vector(value, 1, 1)
        if isinstance(value, list):
            return "offset", self.offsets([self.raw(item)[1] for item in value])
        return "offset", self.close({slot: self.raw(item) for slot, item in value.items() if item is not None})

    def field(self, owner: Table, field: Field) -> dict[int, Any]:
        """The slots of one field: none if it is absent or an elided default, two for a union."""
        value = getattr(owner, field.attribute)
        if field.kind == "scalar":
            number = self.index(owner, field, value) if field.refers_to else value
            return {field.slot: (field.type, number)} if number != field.default or owner.has(field.attribute) else {}
        if field.kind == "union":
            if value is None:
                return {}
            if isinstance(value, OpaqueUnion):
                return {field.slot - 1: ("uint8", value.type)}
            number = next(n for n, name in members_of(field.type).items() if name == table_name(type(value)))
            return {field.slot - 1: ("uint8", number), field.slot: ("offset", self.table(value))}
        if value is None or (isinstance(value, (list, tuple, np.ndarray)) and not len(value) and not owner.has(field.attribute)):
            return {}
        if isinstance(owner, Buffer) and owner in self.places:
            return {}
        return {field.slot: ("offset", self.child(owner, field, value))}

    def child(self, owner: Table, field: Field, value: Any) -> int:
        """The offset of a string, vector, table or vector of tables."""
        if field.kind == "string":
            return int(self.builder.CreateString(value))
        if field.kind == "table":
            return self.table(value)
        if field.kind == "strings":
            return self.offsets([self.builder.CreateString(item) for item in value])
        if field.kind == "tables":
            return self.offsets([self.table(item) for item in value])
        if isinstance(value, (bytes, memoryview)):
            return self.vector(value, 1, field.align or 1)
        if field.refers_to:
            value = [self.index(owner, field, item) for item in value]
        array = np.asarray(value, np.dtype(field.type).newbyteorder("<"))
        return self.vector(array.tobytes(), array.itemsize, field.align or array.itemsize)

    def behind(self, owner: Table) -> dict[int, Any]:
        """The offset and size fields of data behind the flatbuffer."""
        if owner not in self.places:
            return {}
        slots = {f.name: f.slot for f in fields_of(type(owner))}
        prefix = "large_custom_options_" if isinstance(owner, Operator) else ""
        data = owner.large_custom_options if isinstance(owner, Operator) else getattr(owner, "data", None)
        assert data is not None
        return {slots[prefix + "offset"]: ("uint64", self.places[owner]), slots[prefix + "size"]: ("uint64", len(data))}

    def index(self, owner: Table, field: Field, value: Any) -> int:
        """The number that a reference becomes."""
        if isinstance(value, Dangling):
            return value.index
        if value is None:
            return -1 if field.type.startswith("int") else 0
        return int(value.id) if field.refers_to == "ExternalBuffer.id" else self.positions[value]

    def vector(self, data: Any, width: int, alignment: int) -> int:
        """A vector of scalars from its bytes."""
        count = len(data) // width
        self.builder.StartVector(width, count, alignment)
        head = self.builder.Head() - len(data)
        self.builder.head = head
        self.builder.Bytes[head : head + len(data)] = bytes(data)
        return int(self.builder.EndVector())

    def offsets(self, positions: list[int]) -> int:
        """A vector of tables."""
        self.builder.StartVector(4, len(positions), 4)
        for position in reversed(positions):
            self.builder.PrependUOffsetTRelative(position)
        return int(self.builder.EndVector())


def _width(kind: str) -> int:
    return 4 if kind == "offset" else int(_FLAGS[kind].bytewidth)


def slot_of(value: Table, name: str) -> int:
    """The vtable slot of a schema field; of a union, that of its value (its type byte is one before)."""
    return next(f.slot for f in fields_of(type(value)) if name in (f.name, f.attribute))


def first_unknown_slot(value: Table) -> int:
    """The first slot that the schema does not define: where a newer format puts its next field."""
    return max((f.slot for f in fields_of(type(value))), default=-1) + 1


def unknown_field(value: Table, content: Any = ("int32", 7)) -> dict[Table, Slots]:
    """Overrides that give an object a field of a newer schema."""
    return {value: {first_unknown_slot(value): content}}


def unknown_union(value: Table, name: str, member: int = 250) -> dict[Table, Slots]:
    """Overrides that make a union hold a member of a newer schema, with a table of two fields."""
    slot = slot_of(value, name)
    return {value: {slot - 1: ("uint8", member), slot: {0: ("int32", 11), 1: "newer"}}}


def explicit_default(value: Table, name: str) -> dict[Table, Slots]:
    """Overrides that store a scalar although it has its default value."""
    field = next(f for f in fields_of(type(value)) if name in (f.name, f.attribute))
    return {value: {field.slot: (field.type, field.default)}}
