"""Copies of whole models: every table is new, constant data and arrays are shared, since they are never edited in place."""

from __future__ import annotations

import weakref
from typing import Any

from ._base import Table, cache, fields_of
from ._walk import collector_paused
from .graph import Model, SubGraph, Tensor

_WEAK = frozenset({"__weakref__", "_subgraph"})


def copied(model: Model) -> Model:
    """An independent copy of a model: editing one does not change the other. References to objects outside the model stay what they are."""
    with collector_paused():
        made: dict[Table, Table] = {}
        result: Model = _table(model, made)
        for old, new in made.items():
            for attribute, many in _shape(type(old))[2]:
                value = getattr(old, attribute)
                object.__setattr__(new, attribute, [made.get(x, x) for x in value] if many else made.get(value, value))
        for subgraph in made.values():
            if isinstance(subgraph, SubGraph):
                owner = weakref.ref(subgraph)
                for tensor in subgraph.tensors:
                    if isinstance(tensor, Tensor):
                        object.__setattr__(tensor, "_subgraph", owner)
    return result


@cache
def _shape(cls: type[Table]) -> tuple[tuple[str, ...], tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """The attributes of a class that are shared, that are owned tables, and that refer to tables owned elsewhere; with whether they are lists."""
    owned, references = [], []
    for field in fields_of(cls):
        if field.refers_to:
            references.append((field.attribute, field.kind == "vector"))
        elif field.kind in ("table", "tables", "union"):
            owned.append((field.attribute, field.kind == "tables"))
    special = {attribute for attribute, _ in (*owned, *references)} | _WEAK
    slots = dict.fromkeys(slot for base in cls.__mro__ for slot in vars(base).get("__slots__", ()))
    return tuple(slot for slot in slots if slot not in special), tuple(owned), tuple(references)


def _table(old: Any, made: dict[Table, Table]) -> Any:
    if not isinstance(old, Table):
        return old  # None, or a union member that the schema does not know: it is never edited
    if old in made:
        return made[old]
    cls = type(old)
    new = cls.__new__(cls)
    made[old] = new
    shared, owned, _ = _shape(cls)
    for slot in shared:
        object.__setattr__(new, slot, getattr(old, slot))
    if isinstance(old, Tensor):
        object.__setattr__(new, "_subgraph", None)
    for attribute, many in owned:
        value = getattr(old, attribute)
        object.__setattr__(new, attribute, [_table(item, made) for item in value] if many else _table(value, made))
    return new
