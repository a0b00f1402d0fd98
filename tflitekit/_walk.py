"""What verify and diff share: which fields refer to other objects, where each object sits in its list, and text that is safe to print."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ._base import Dangling, Field, Table, class_of, fields_of, table_name
from .errors import TFLiteKitError
from .graph import Model
from .types import text

# Room for tensor numbers below the subgraph number, in a tensor's key.
SUBGRAPH_SHIFT = 32


_REFERENCE_FIELDS: dict[type[Table], tuple[Field, ...]] = {}


def reference_fields(cls: type[Table]) -> tuple[Field, ...]:
    """The fields of a table class that hold indices on disk, and objects in the graph."""
    if cls not in _REFERENCE_FIELDS:
        _REFERENCE_FIELDS[cls] = tuple(field for field in fields_of(cls) if field.refers_to)
    return _REFERENCE_FIELDS[cls]


def target_of(field: Field) -> str:
    """The table that a reference field points at: `Buffer`, `ExternalBuffer`, ..."""
    return field.refers_to.partition(".")[0]


# Unsigned indices for which 0 stands for none. Other unsigned indices cannot say none.
ZERO_IS_NONE = frozenset(field for field in fields_of("Tensor") if field.name in ("buffer", "external_buffer"))


def none_index(field: Field) -> int:
    """What a file has in place of no reference: 0 where that means none, else -1 (which no element has, also where the file cannot say none)."""
    return 0 if field in ZERO_IS_NONE else -1


class Positions:
    """Where every object of a model sits in the list that owns it: what the file stores in place of the object.

    A tensor's key is `subgraph << 32 | tensor`, since tensor indices count from the start of their subgraph; an external buffer's key is its id.
    """

    def __init__(self, model: Model) -> None:
        tensors: dict[Any, int] = {}
        for number, subgraph in enumerate(model.subgraphs):
            first = number << SUBGRAPH_SHIFT
            tensors.update(zip(subgraph.tensors, range(first, first + len(subgraph.tensors)), strict=True))
        self.of: dict[str, dict[Any, int]] = {
            "Tensor": tensors,
            "Buffer": _numbered(model.buffers),
            "OperatorCode": _numbered(model.operator_codes),
            "SubGraph": _numbered(model.subgraphs),
            "ExternalBufferGroup": _numbered(model.external_buffer_groups),
            "ExternalBuffer": {buffer: buffer.id for buffer in model.external_buffers},
        }

    def stored(self, field: Field, value: Any) -> Any:
        """What identifies the target of a reference: its key; for None the index that the file has in its place; the index of a placeholder.

        An object that is not part of the model stands for itself.
        """
        if value is None:
            return none_index(field)
        key = self.of[target_of(field)].get(value)
        if key is not None:
            return key
        return ("dangling", value.index) if isinstance(value, Dangling) else value

    def column(self, field: Field, values: Iterable[Any]) -> list[Any] | None:
        """`stored` of many values at once; None if one of them is not part of the model."""
        positions = self.of[target_of(field)]
        positions[None] = none_index(field)
        try:
            return list(map(positions.__getitem__, values))
        except KeyError:
            return None
        finally:
            del positions[None]

    def describe(self, field: Field, value: Any) -> str | None:
        """A reference as text, such as `subgraphs[0].tensors[3]`; None for None."""
        if value is None:
            return None
        target = target_of(field)
        if isinstance(value, Dangling):
            return f"no {target} {value.index}"
        key = self.of[target].get(value)
        return f"{target} outside the model" if key is None else PATHS[target].format(key >> SUBGRAPH_SHIFT, key & (1 << SUBGRAPH_SHIFT) - 1)


# Path of an object with the key (high, low).
PATHS = {
    "Tensor": "subgraphs[{0}].tensors[{1}]",
    "Buffer": "buffers[{1}]",
    "OperatorCode": "operator_codes[{1}]",
    "SubGraph": "subgraphs[{1}]",
    "ExternalBufferGroup": "external_buffer_groups[{1}]",
    "ExternalBuffer": "external buffer {1}",
}


def _numbered(items: list[Any]) -> dict[Any, int]:
    return dict(zip(items, range(len(items)), strict=True))


def misplaced(table: Table, path: str = "") -> Iterator[str]:
    """What sits in a list below this table that the list cannot hold, in words. Assignment sees to that, appending does not."""
    for field in fields_of(type(table)):
        value = getattr(table, field.attribute)
        below = f"{path}.{field.attribute}" if path else field.attribute
        if field.kind == "tables" or (field.kind == "vector" and field.refers_to):
            wanted = class_of(target_of(field) or field.type)
            for index, item in enumerate(value):
                if not isinstance(item, wanted) and not (field.refers_to and item is None):
                    yield f"{below}[{index}]: expected {wanted.__name__}, got {type(item).__name__}"
                elif field.kind == "tables":
                    yield from misplaced(item, f"{below}[{index}]")
        elif field.kind in ("table", "union") and isinstance(value, Table):
            yield from misplaced(value, below)


@contextmanager
def explained(error: type[TFLiteKitError], *models: Model) -> Iterator[None]:
    """Raise `error` with the place of an object that its list cannot hold, instead of whatever failed on it. Costs nothing where all is well."""
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as failure:
        found = [] if isinstance(failure, TFLiteKitError) else [text for model in models for text in misplaced(model)]
        if not found:
            raise
        raise error("; ".join(found[:5])) from failure


def kind_name(value: Any) -> str:
    """The schema's name of an object's table, or its Python type."""
    return table_name(type(value)) if isinstance(value, Table) else type(value).__name__


def printable(value: str | bytes | None) -> str:
    """A name from a file with everything escaped that could act on a terminal (control, format and bidirectional characters)."""
    shown = value if isinstance(value, str) else text(value)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def joined_bytes(arrays: list[Any]) -> bytes:
    """The bytes of many arrays (or bytes), one behind the other; several times faster than concatenating small arrays."""
    try:
        return b"".join(arrays)
    except BufferError:  # an array that is not contiguous
        return b"".join(array if isinstance(array, bytes) else array.tobytes() for array in arrays)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: it would walk a large graph again and again, and what is made here holds no cycles.

    What was made counts as old afterwards, or the first collection would walk all of it; freezing and thawing moves it there without a look.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            if not gc.get_freeze_count():  # else the caller has frozen objects, which must stay so
                gc.freeze()
                gc.unfreeze()
            gc.enable()
