"""The indices that stand for objects in a file: where each object is, and what is refused because no index can say it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import Dangling, Field, class_of, walk
from .._walk import ZERO_IS_NONE, misplaced
from ..errors import SerializeError
from ..graph import Model
from .batches import Ints
from .groups import Group

# Codes of what has no index: no object, and (from RAW - 2**31 on) the index of a placeholder.
_NONE, _RAW = -(1 << 40), 1 << 40


class References:
    """Position of every object that others refer to; tensors count through all subgraphs."""

    def __init__(self, model: Model) -> None:
        self.model = model
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

    def of(self, group: Group, field: Field, values: list[Any], scope: Ints) -> Ints:
        """Indices of objects; SerializeError for objects that are not in the list that indices count in."""
        try:
            codes = np.array(list(map(self.codes.__getitem__, values)), np.int64)
        except KeyError as error:
            raise SerializeError(self._foreign(group, field, error.args[0])) from None
        kind = field.refers_to
        if kind == "ExternalBuffer.id":
            return self._external_ids(group, field, values)
        if field.kind == "vector":
            self._of_class(group, field, values)
        if len(codes) and int(np.minimum.reduce(codes)) >= 0:
            end = int(self.counts[0]) if kind == "Tensor" and len(self.counts) == 1 and not scope.any() else 0
            if int(np.maximum.reduce(codes)) < (_RAW >> 1 if kind != "Tensor" else end):
                return codes
        none, raw = codes == _NONE, codes > _RAW >> 1
        own = ~(none | raw)
        if raw.any():
            self._still_dangling(group, field, values, codes - _RAW, scope)
        if kind == "Tensor":
            local = codes - np.where(scope >= 0, self.bases[scope], 0) if len(self.bases) else codes
            inside = (scope >= 0) & (local >= 0) & (local < (self.counts[scope] if len(self.counts) else 0))
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
            there = np.where(scope >= 0, self.counts[scope] if len(self.counts) else 0, 0)
        else:
            there = np.full(len(indices), self.lengths[field.refers_to])
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


class _Codes(dict[Any, int]):
    """Object -> code; placeholders answer with the index they stand for."""

    def __missing__(self, key: Any) -> int:
        if isinstance(key, Dangling):
            return _RAW + key.index
        raise KeyError(key)


def path_of(model: Model, wanted: Any) -> str:
    """Where in the model a table is; for messages only, since it searches."""
    return next((path for path, table in walk(model) if table is wanted), type(wanted).__name__)
