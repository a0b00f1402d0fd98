"""Tables of a format without indices -> its flatbuffer: how what `reader.decode_nested` reads is written back."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types

from .._base import UNREADABLE, Field, OpaqueUnion, Table, fields_of, members_of, table_name, walk
from ..errors import LossyWriteError
from .batches import SIZES, plan

_UNSIGNED = {name: name.replace("ui", "Ui") for name in ("uint8", "uint16", "uint32", "uint64")}
_FLAGS = {name: getattr(number_types, f"{_UNSIGNED.get(name, name.capitalize())}Flags") for name in SIZES}
_OFFSET = "offset"


def encode_nested(root: Table, identifier: bytes) -> bytes:
    """A flatbuffer of the table and all below it.

    The same objects give the same bytes, and what is read of those bytes gives them again: absent and empty vectors, elided and stored defaults are
    kept apart. LossyWriteError for fields and union members of a newer schema, whose content is not known.
    """
    lost = [f"{path}: {what}" for path, table in walk(root, "metadata") for what in _newer(table)]
    if lost:
        more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise LossyWriteError(f"{'; '.join(lost[:5])}{more}. Writing it again would lose this")
    builder = flatbuffers.Builder(1024)
    builder.Finish(_table(builder, root), file_identifier=identifier)
    return bytes(builder.Output())


def _newer(table: Table) -> list[str]:
    """What a table holds that cannot be written."""
    name = table_name(type(table))
    found = []
    if table._present & ~plan(name).known:
        found.append("a deprecated field that cannot be decoded" if table._present & UNREADABLE else "a field newer than the schema")
    for field in fields_of(type(table)):
        value = getattr(table, field.attribute)
        if isinstance(value, OpaqueUnion) and value.has_table:
            found.append(f"{field.attribute} is of type {value.type}, newer than the schema")
    return found


def _table(builder: Any, table: Table) -> int:
    """The offset of a table; what it refers to is written before it, and wide fields lie first, so that there are few gaps."""
    slots: list[tuple[int, str, Any]] = []
    for field in plan(table_name(type(table))).fields:
        slots += _slots(builder, table, field)
    builder.StartObject(max((slot for slot, _, _ in slots), default=-1) + 1)
    for slot, kind, value in sorted(slots, key=lambda entry: (-SIZES.get(entry[1], 4), entry[0])):
        if kind == _OFFSET:
            builder.PrependUOffsetTRelative(value)
        else:
            builder.Prepend(_FLAGS[kind], value)
        builder.Slot(slot)
    return int(builder.EndObject())


def _slots(builder: Any, table: Table, field: Field) -> list[tuple[int, str, Any]]:
    """(slot, type, value) of what a field stores: nothing, one slot, or two for a union."""
    value, stored = getattr(table, field.attribute), bool(table._present >> field.slot & 1)
    if field.kind == "scalar":
        return [(field.slot, field.type, value)] if stored or value != field.default else []
    if field.kind == "union":
        return _union(builder, table, field, value)
    if value is None or (field.kind != "string" and not isinstance(value, (bytes, Table)) and not len(value) and not stored):
        return []
    return [(field.slot, _OFFSET, _child(builder, field, value))]


def _union(builder: Any, table: Table, field: Field, value: Any) -> list[tuple[int, str, Any]]:
    if value is None:
        return [(field.slot - 1, "uint8", 0)] if table._present >> field.slot - 1 & 1 else []
    if isinstance(value, OpaqueUnion):
        return [(field.slot - 1, "uint8", value.type)]
    number = next(number for number, name in members_of(field.type).items() if name == table_name(type(value)))
    return [(field.slot - 1, "uint8", number), (field.slot, _OFFSET, _table(builder, value))]


def _child(builder: Any, field: Field, value: Any) -> int:
    """The offset of a string, table or vector."""
    if field.kind == "string":
        return int(builder.CreateString(value))
    if field.kind == "table":
        return _table(builder, value)
    if field.kind in ("strings", "tables"):
        return _offsets(builder, [builder.CreateString(item) if field.kind == "strings" else _table(builder, item) for item in value])
    array = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else np.asarray(value, np.dtype(field.type).newbyteorder("<"))
    data = array.tobytes()
    builder.StartVector(array.itemsize, len(array), field.align or array.itemsize)
    start = builder.Head() - len(data)
    builder.head = start
    builder.Bytes[start : start + len(data)] = data
    return int(builder.EndVector())


def _offsets(builder: Any, positions: list[int]) -> int:
    builder.StartVector(4, len(positions), 4)
    for position in reversed(positions):
        builder.PrependUOffsetTRelative(position)
    return int(builder.EndVector())
