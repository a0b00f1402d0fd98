"""What was assigned to a model since it was read, told from the run of the verifier that reading has kept, without decoding the file once more.

The columns of values that reading stored in the graph are still there; where nothing was assigned, the graph holds the very same objects. This is
`diff` for the most frequent case: some values differ, and nothing else does.
"""

from __future__ import annotations

from itertools import accumulate, chain, repeat
from operator import attrgetter, is_
from typing import Any

import numpy as np

from .._base import ARRAYS, Field, Table, class_of
from .._walk import SUBGRAPH_SHIFT, Positions, collector_paused, joined_bytes
from ..diff import Change, Place, Values, below, inside, top
from ..graph import Model
from .batches import Batch
from .reader import Reader, Slot, slots_of
from .verifier import Verifier


def revisions(run: Verifier, model: Model) -> list[Change] | None:
    """What `diff` says of the model that decoding `run` would give, and of `model` as it is now.

    None if more than plain values changed (what there is, what refers to what, which fields are stored), and for some rare parts of the format: that
    takes the whole comparison.
    """
    compared = _Compared(run)
    try:
        with collector_paused():
            return compared.values.changes() if compared.agrees(model) else None
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return None  # an object that its list cannot hold; `diff` says which
    finally:
        compared.release()


class _Compared(Reader):
    """A walk over the batches of a run and, beside each, the objects of the graph that were made of it."""

    def __init__(self, run: Verifier) -> None:
        super().__init__(run)
        self.values = Values()
        self.found: dict[int, tuple[list[Any], Place]] = {}  # by the number of the batch in memory

    def agrees(self, model: Model) -> bool:
        """Whether the model is what was read but for values, whose changes are collected."""
        self.count_tensors()
        self.positions = Positions(model)
        self.found[id(self.batches[0])] = [model], top
        return all(self._tables(batch) for batch in self.batches)

    def _tables(self, batch: Batch) -> bool:
        objects, place = self.found[id(batch)]
        cls = class_of(batch.name)
        if set(map(type, objects)) != {cls} or not self._where_fields_say(batch, cls, objects):
            return False
        if [x._present for x in objects] != list(map(batch.masks.__getitem__, batch.inv.tolist())):
            return False
        for slot in slots_of(cls):
            now = map(attrgetter(slot.field.attribute), objects)
            absent = not batch.stored & slot.bits
            if absent and slot.absent is None and slot.field.kind != "scalar":
                if any(now):  # lists
                    return False
            elif slot.lasting or (absent and slot.absent is not None):
                if not all(map(is_, now, self._column(batch, cls, slot))) and not self._field(batch, cls, slot, objects, place):
                    return False
            elif not self._field(batch, cls, slot, objects, place):
                return False
        return True

    def _where_fields_say(self, batch: Batch, cls: type[Table], objects: list[Any]) -> bool:
        """Whether all data lie in the vectors of their tables, none at an offset of the file. The ids of external buffers are not followed either."""
        if batch.name not in ("Buffer", "Operator"):
            return batch.name != "ExternalBuffer"
        name, beside = ("offset", "out_of_line") if batch.name == "Buffer" else ("large_custom_options_offset", "large_custom_options")
        offsets = self._read(batch, cls, next(slot for slot in slots_of(cls) if slot.field.name == name))
        return max(offsets) <= 1 and {getattr(x, beside) for x in objects} <= {None, False}

    def _read(self, batch: Batch, cls: type[Table], slot: Slot) -> list[Any]:
        """The values of a field as they were read."""
        column = self._column(batch, cls, slot)
        return [next(column)] * batch.count if isinstance(column, repeat) else list(column)

    def _field(self, batch: Batch, cls: type[Table], slot: Slot, objects: list[Any], place: Place) -> bool:
        """Whether one field of all tables agrees but for values."""
        field = slot.field
        now = list(map(attrgetter(field.attribute), objects))
        if field.refers_to:
            return self._references(batch, field, now)
        if field.kind == "tables":
            lengths = list(map(len, now))
            starts = [0, *accumulate(lengths)]
            if lengths != batch.vectors[field.slot][1].tolist():
                return False
            if field.slot in batch.children:
                self.found[id(batch.children[field.slot])] = list(chain.from_iterable(now)), inside(place, starts, field)
            return True
        if field.kind == "table":
            child = batch.children.get(field.slot)
            return self._members([] if child is None else [(batch.child_rows[field.slot], child)], field, now, place)
        if field.kind == "union":
            types, members = batch.unions[field.slot]
            decoded = sum(member.count for _, member in members.values()) == np.count_nonzero(types)  # no member is newer than the schema
            return bool(decoded) and self._members(list(members.values()), field, now, place)
        if (batch.name, field.name) in ARRAYS:
            start, count = batch.vectors[field.slot]
            if list(map(len, now)) == count.tolist() and joined_bytes(now) == self._elements(field, start, count).tobytes():
                return True
        self.values.plain(cls, field, self._read(batch, cls, slot), now, place)
        return True

    def _members(self, children: list[tuple[Any, Batch]], field: Field, now: list[Any], place: Place) -> bool:
        """Note single tables: each batch has those of some rows, and in the other rows there is none."""
        total = 0
        for chosen, child in children:
            rows = np.arange(len(now))[chosen].tolist()
            total += len(rows)
            self.found[id(child)] = [now[row] for row in rows], below(place, rows, field)
        return total == len(now) - now.count(None)

    def _references(self, batch: Batch, field: Field, now: list[Any]) -> bool:
        """Whether references are to the objects at the same places as the stored indices."""
        scope = self._scope(batch) if field.refers_to == "Tensor" else None
        if field.kind == "vector":
            start, count = batch.vectors[field.slot]
            if list(map(len, now)) != count.tolist():
                return False
            indices, now = self._elements(field, start, count).astype(np.int64), list(chain.from_iterable(now))
            scope = None if scope is None else np.repeat(scope, count)
        else:
            indices = self._numbers(batch, field).astype(np.int64)
        # Where the scope is no subgraph, the reference to that has already disagreed, being to nothing in the model.
        keys = indices if scope is None or not scope.any() else np.where(indices == -1, -1, indices + (scope << SUBGRAPH_SHIFT))
        return self.positions.column(field, now) == list(keys.tolist())
