"""Edits that keep every size: new bytes for places of the source file, found from the paths of a diff.

What can be patched: scalar fields that are stored, vectors of numbers, strings and constant data of unchanged length. Everything else (fields
that are absent because they are defaults, references, anything longer or shorter) needs a rebuild; so do bytes that something else uses too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._base import ARRAYS, Field, Table, table_name
from ..diff import Change
from ..graph import Buffer, Model, Operator
from .verifier import SCALARS, SIZES, Batch, Bytes, Verifier, plan

Edit = tuple[int, bytes]  # position in the file, new bytes


def edits_for(model: Model, changes: list[Change], verifier: Verifier) -> list[Edit] | None:
    """The edits of the source file that make it say what the model says, or None if a rebuild is needed. `verifier` has run over the source."""
    batches = verifier.batches
    edits = []
    for path in dict.fromkeys(change.path for change in changes):
        edit = _edit(model, batches, path)
        if edit is None or not _alone(model, verifier.bytes, batches, edit):
            return None
        edits.append(edit)
    return edits


def apply(data: memoryview, edits: list[Edit]) -> list[bytes | bytearray | memoryview]:
    """The pieces of the file with the edits made: views of the source around the new bytes."""
    pieces: list[bytes | bytearray | memoryview] = []
    cursor = 0
    for start, new in sorted(edits):
        pieces += [data[cursor:start], new]
        cursor = start + len(new)
    return [*pieces, data[cursor:]]


def _edit(model: Model, batches: list[Batch], path: str) -> Edit | None:
    """The edit for one changed field, None if it cannot be patched."""
    owner_path, _, attribute = path.rpartition(".")
    try:
        owner = model.at(owner_path) if owner_path else model
    except ValueError:
        return None
    if not isinstance(owner, Table):
        return None
    name = table_name(type(owner))
    found = _locate(batches[0], owner_path)
    if found is None:
        return None
    batch, row = found
    if isinstance(owner, (Buffer, Operator)) and attribute in ("data", "large_custom_options"):
        outside = _outside(model.source.data, owner, batch, row)
        if outside is not None:
            return outside
    field = next((f for f in plan(name).fields if f.attribute == attribute), None)
    if field is None or field.refers_to or field.kind in ("table", "tables", "union"):
        return None
    value = getattr(owner, attribute)
    if field.kind == "scalar":
        offset = int(batch.offsets[batch.inv[row], field.slot])
        if value == field.default and not owner.has(attribute):
            return None  # stored in the file, elided in the model
        return (int(batch.pos[row]) + offset, SCALARS[field.type].pack(value)) if offset else None
    start, count = (int(a[row]) for a in batch.vectors[field.slot])
    if not start or value is None or len(value) != count:
        return None
    return start, _encode(name, field, value)


def _encode(name: str, field: Field, value: Any) -> bytes:
    if (name, field.name) in ARRAYS:
        encoded: bytes = value.tobytes()
        return encoded
    if field.kind == "string" or field.type == "uint8":
        return bytes(value)
    return struct.pack(f"<{len(value)}{SCALARS[field.type].format[1:]}", *value)


def _outside(source: memoryview, owner: Buffer | Operator, batch: Batch, row: int) -> Edit | None:
    """An edit of data that lies outside the flatbuffer, at the offset that the file itself states.

    The object's own offset does not count: it may have come from another place of the file, or from another file.
    """
    if isinstance(owner, Buffer):
        prefix, data = "", owner.data if owner.out_of_line and not batch.vectors[0][0][row] else None
    else:
        prefix, data = "large_custom_options_", owner.large_custom_options
    stored = {}
    for field in plan(batch.name).fields:
        if field.name in (f"{prefix}offset", f"{prefix}size"):
            place = int(batch.offsets[batch.inv[row], field.slot])
            stored[field.name] = SCALARS[field.type].unpack_from(source, int(batch.pos[row]) + place)[0] if place else 0
    offset, size = stored[f"{prefix}offset"], stored[f"{prefix}size"]
    if data is None or offset <= 1 or len(data) != size or offset + size > len(source):
        return None
    return offset, bytes(data)


def _locate(root: Batch, path: str) -> tuple[Batch, int] | None:
    """The batch and row of the table at a path."""
    batch, row = root, 0
    for attribute, index in re.findall(r"(\w+)(?:\[(\d+)\])?(?:\.|$)", path):
        field = next((f for f in plan(batch.name).fields if f.attribute == attribute), None)
        if field is None:
            return None
        if field.kind == "tables":
            start = int(batch.vectors[field.slot][1][:row].sum())
            if not index or int(index) >= int(batch.vectors[field.slot][1][row]):
                return None
            batch, row = batch.children[field.slot], start + int(index)
            continue
        candidates: Iterator[tuple[Any, Batch]] = iter(
            batch.unions[field.slot][1].values()
            if field.kind == "union"
            else [(batch.child_rows[field.slot], batch.children[field.slot])] if field.slot in batch.children else []
        )
        for rows, child in candidates:
            hits = np.flatnonzero(np.arange(batch.count)[rows] == row)
            if len(hits):
                batch, row = child, int(hits[0])
                break
        else:
            return None
    return batch, row


_NO_VECTORS = np.zeros(0, np.int64), np.zeros(0, np.int64)


def _alone(model: Model, raw: Bytes, batches: list[Batch], edit: Edit) -> bool:
    """Whether nothing but the edited field reads these bytes: one visit of one table or vector, no vtable, no other outside data."""
    start, end = edit[0], edit[0] + len(edit[1])
    uses = 0
    for batch in batches:
        if not batch.count:
            continue
        table = plan(batch.name)
        widths = np.where(batch.offsets[:, table.checked] != 0, batch.offsets[:, table.checked] + table.sizes, 4)
        ends = batch.pos + (widths.max(axis=1) if widths.shape[1] else np.full(len(widths), 4))[batch.inv]
        uses += int(np.count_nonzero((batch.pos < end) & (ends > start)))
        vtables = batch.pos - raw.i32[batch.pos >> 2]
        if np.count_nonzero((vtables < end) & (vtables + raw.u16[vtables >> 1] > start)):
            return False
        for field in table.offsets:
            first, count = batch.vectors.get(field.slot, _NO_VECTORS)
            if np.count_nonzero(first):
                last = first + count * (4 if field.kind == "tables" else SIZES[field.type])
                uses += int(np.count_nonzero((first - 4 < end) & (last > start) & (first > 0)))
    container = model.source.container
    if start >= container.body_end:
        uses += sum(1 for a, b in container.outside if a < end and b > start)
    return uses == 1
