"""Edits that keep every size: new bytes for places of the source file, found from the paths of a diff.

What can be patched: scalar fields that are stored, vectors of numbers, strings and constant data of unchanged length. Everything else (fields
that are absent because they are defaults, references, anything longer or shorter) needs a rebuild; so do bytes that something else uses too, and
fields that say where data lie outside the flatbuffer.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base import ARRAYS, UNREADABLE, Field, Table, cache, table_name
from ..diff import LAYOUT, Change
from ..graph import Buffer, Model, Operator
from .batches import OF_OFFSETS, SCALARS, SIZES, Batch, Bytes, Ints, plan
from .verifier import Verifier

Edit = tuple[int, bytes]  # position in the file, new bytes


def edits_for(model: Model, changes: list[Change], verifier: Verifier) -> list[Edit] | None:
    """The edits of the source file that make it say what the model says, or None if a rebuild is needed. `verifier` has run over the source.

    No edit touches a byte that this run has read (see `_alone`), and its verdict depends on nothing else: a run over the result reads the same
    bytes, follows the same offsets, and ends the same way. So the result is as valid as the source, without being verified anew.
    """
    edits, beyond = [], []
    for path in dict.fromkeys(change.path for change in changes):
        found = _edit(model, verifier.batches, path)
        if found is None:
            return None
        edits.append(found[0])
        beyond.append(found[1])
    return edits if _alone(model, verifier, edits, np.array(beyond, bool)) else None


def apply(data: memoryview, edits: list[Edit]) -> list[bytes | bytearray | memoryview]:
    """The pieces of the file with the edits made: views of the source around the new bytes."""
    pieces: list[bytes | bytearray | memoryview] = []
    cursor = 0
    for start, new in sorted(edits):
        pieces += [data[cursor:start], new]
        cursor = start + len(new)
    return [*pieces, data[cursor:]]


def _edit(model: Model, batches: list[Batch], path: str) -> tuple[Edit, bool] | None:
    """The edit for one changed field, and whether it is of data outside the flatbuffer. None if it cannot be patched."""
    owner_path, _, attribute = path.rpartition(".")
    if attribute in LAYOUT:
        return None
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
            return outside, True
    field = next((f for f in plan(name).fields if f.attribute == attribute), None)
    if field is None or field.refers_to or field.kind in ("table", "tables", "union"):
        return None
    value = getattr(owner, attribute)
    if field.kind == "scalar":
        offset = int(batch.offsets[batch.inv[row], field.slot])
        if value == field.default and not owner.has(attribute):
            return None  # stored in the file, elided in the model
        if not offset or _overlaid(batch, row, field, offset):
            return None
        return (int(batch.pos[row]) + offset, SCALARS[field.type].pack(value)), False
    start, count = (int(a[row]) for a in batch.vectors[field.slot])
    if not start or not count or value is None or len(value) != count:
        return None
    return (start, _encode(name, field, value)), False


def _overlaid(batch: Batch, row: int, field: Field, offset: int) -> bool:
    """Whether the table has something else in the bytes of a scalar field, which only a crafted vtable says."""
    stored = batch.offsets[batch.inv[row]].tolist()
    end = offset + SIZES[field.type]
    others = ((stored[slot], stored[slot] + size) for slot, size in _inline(batch.name) if stored[slot] and slot != field.slot)
    return offset < 4 or any(a < end and b > offset for a, b in others)


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


@cache
def _inline(name: str) -> tuple[tuple[int, int], ...]:
    """The slots of a table, with the bytes that each takes inside the table. Deprecated fields count: they are decoded."""
    sizes = {field.slot: SIZES[field.type] if field.kind == "scalar" else 4 for field in plan(name).fields}
    return tuple(sorted((sizes | {field.slot - 1: 1 for field in plan(name).fields if field.kind == "union"}).items()))


@cache
def _inline_columns(name: str) -> tuple[Ints, Ints]:
    """The same as arrays of slots and sizes."""
    pairs = np.array(_inline(name), np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


class _Ranges:
    """Many (start, end), none of them empty."""

    def __init__(self) -> None:
        self.starts: list[Ints] = []
        self.ends: list[Ints] = []

    def add(self, starts: Ints, ends: Ints) -> None:
        self.starts.append(starts)
        self.ends.append(ends)

    def across(self, starts: Ints, ends: Ints) -> Ints:
        """For each of other ranges: how many of these have bytes of it."""
        mine, until = np.concatenate(self.starts), np.concatenate(self.ends)
        if len(starts) <= _FEW_EDITS:
            return np.array([np.count_nonzero((mine < end) & (until > start)) for start, end in zip(starts, ends, strict=True)])
        return np.searchsorted(np.sort(mine), ends, "left") - np.searchsorted(np.sort(until), starts, "right")


_FEW_EDITS = 16  # up to here, sorting costs more than it saves


def _alone(model: Model, run: Verifier, edits: list[Edit], beyond: npt.NDArray[np.bool_]) -> bool:
    """Whether one field has the bytes of each edit for itself, and the run has read none of them.

    An edit is of a scalar of one table, of all elements of one vector of plain values, or of data outside the flatbuffer (`beyond`). What the run
    reads are the first bytes of the file, vtables, and in tables and vectors all but these: the offsets, lengths, ends of strings and types of
    unions. So it has read an edited byte only as part of another table or vector, or as another field of the same table (see `_overlaid`).
    """
    starts = np.array([start for start, _ in edits], np.int64)
    ends = starts + np.array([len(new) for _, new in edits], np.int64)
    held, read = _visits(run)
    outside = _Ranges()
    ranges = np.array([(a, b) for a, b in model.source.container.outside if a < b] or [(-1, 0)], np.int64)
    outside.add(ranges[:, 0], ranges[:, 1])
    uses = held.across(starts, ends), outside.across(starts, ends)
    return bool((uses[0] == ~beyond).all() and (uses[1] == beyond).all() and not read.across(starts, ends).any())


def _visits(run: Verifier) -> tuple[_Ranges, _Ranges]:
    """What a run has visited: each table, with all that its fields take inside it, and each vector; and what it has read beside them."""
    held, read = _Ranges(), _Ranges()
    read.add(np.zeros(1, np.int64), np.full(1, 8))
    vectors = list[tuple[Ints, Ints, int, int]]()  # starts of the elements, counts, size of an element, bytes that follow
    for batch in run.batches:
        slots, sizes = _inline_columns(batch.name)
        stored = batch.offsets[:, slots]
        ends = np.where(stored, stored + sizes, 4).max(axis=1, initial=4)
        held.add(batch.pos, batch.pos + (int(ends[0]) if batch.uniform else ends[batch.inv]))
        for field in plan(batch.name).offsets:
            if batch.stored >> field.slot & 1 and field.slot in batch.vectors:
                vectors.append((*batch.vectors[field.slot], 4 if field.kind in OF_OFFSETS else SIZES[field.type], field.kind == "string"))
            if field.slot in batch.strings:
                vectors.append((*batch.strings[field.slot], 1, 1))
            if field.deprecated and any(mask & UNREADABLE for mask in batch.masks):
                _undecoded(run.bytes, batch, field, read)
    pos = np.concatenate(held.starts)
    vtables = pos - run.bytes.i32[pos >> 2]
    read.add(vtables, vtables + np.maximum(run.bytes.u16[vtables >> 1], 2))
    if vectors:
        start, count = (np.concatenate([vector[i] for vector in vectors]) for i in (0, 1))
        size, after = np.repeat([vector[2:] for vector in vectors], [len(vector[0]) for vector in vectors], axis=0).T
        held.add(start - 4, start + count * size + after)
    return held, read


def _undecoded(raw: Bytes, batch: Batch, field: Field, read: _Ranges) -> None:
    """Add what was read of deprecated strings, some of which turned out not to be decodable."""
    for row in np.flatnonzero(batch.offsets[batch.inv, field.slot]).tolist():
        at = int(batch.pos[row]) + int(batch.offsets[batch.inv[row], field.slot])
        target = at + int(raw.u32[at >> 2]) if at % 4 == 0 and at + 4 <= raw.size else raw.size
        if target % 4 == 0 and target + 4 <= raw.size:
            end = target + 4 + int(raw.u32[target >> 2])
            read.add(np.array([target, end]), np.array([target + 4, end + 1]))
