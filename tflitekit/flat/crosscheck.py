"""Compares a file with the independent readers of the `tflite` package: a second opinion on what this package reads. Never used for writing.

The package has one accessor class per table, generated from an older schema. What it does not know is skipped: newer tables and fields, and
deprecated ones, for which no accessors are generated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import _schema, graph
from .._base import Dangling, Field, OpaqueUnion, Table, fields_of, table_name
from ..errors import TFLiteKitError

LIMIT = 100  # differences that are listed; more would say nothing new


def cross_check(path: str | Path) -> list[str]:
    """The differences between this package's reading of a file and the `tflite` package's, in words; empty if there are none.

    Every table and field that both know is compared, floats by their bits, indices by position. Raises what `read` raises, and TFLiteKitError if
    the `tflite` package is missing.
    """
    from .codec import read

    return cross_check_model(read(path))


def cross_check_model(model: graph.Model) -> list[str]:
    """The same for a model as it was read: `model.source` has the bytes that are compared with."""
    root = _accessor("Model")
    if root is None:
        raise TFLiteKitError("the independent readers are missing. Install them: pip install tflite")
    comparison = _Comparison(model)
    comparison.table(model, root.GetRootAs(model.source.data, 0), "model")
    found = comparison.differences
    if len(found) > LIMIT:
        found = [*found[:LIMIT], f"and {len(found) - LIMIT} more"]
    return found


@cache
def _accessor(table: str) -> Any:
    """The accessor class of a table, None where the installed package has none."""
    try:
        return getattr(import_module(f"tflite.{table}"), table)
    except ImportError:
        return None


@cache
def _method(field: str) -> str:
    """A field's accessor name: snake_case to CamelCase."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_"))


def _stored_code(code: Any) -> int:
    """OperatorCode.builtin_code as stored. The package's own accessor answers with the deprecated field instead, for codes below 127."""
    from flatbuffers.number_types import Int32Flags

    table = code._tab
    offset = table.Offset(10)
    return int(table.Get(Int32Flags, table.Pos + offset)) if offset else 0


def _positions(items: Sequence[Any]) -> dict[int, int]:
    return {id(item): position for position, item in enumerate(items)}


class _Comparison:
    """One walk over both readings, side by side."""

    def __init__(self, model: graph.Model) -> None:
        self.differences: list[str] = []
        self._file = model.source.data
        self._positions = {
            "Buffer": _positions(model.buffers),
            "SubGraph": _positions(model.subgraphs),
            "OperatorCode": _positions(model.operator_codes),
            "ExternalBufferGroup": _positions(model.external_buffer_groups),
            "Tensor": {},
        }
        self._kinds: dict[str, Callable[[Field, Any, Any, str], None]] = {
            "scalar": self._scalar,
            "string": self._string,
            "vector": self._vector,
            "table": self._child,
            "tables": self._children,
            "union": self._union,
        }

    def table(self, ours: Table, theirs: Any, path: str) -> None:
        """Compare one table, field by field."""
        owner = ours if isinstance(ours, graph.SubGraph) else ours.subgraph if isinstance(ours, graph.SignatureDef) else None
        if isinstance(ours, (graph.SubGraph, graph.SignatureDef)):
            self._positions["Tensor"] = _positions(owner.tensors) if owner is not None else {}
        if isinstance(ours, graph.Buffer) and ours.out_of_line:
            self._out_of_line(ours, theirs, path)
            return
        for field in fields_of(type(ours)):
            self._kinds[field.kind](field, ours, theirs, f"{path}.{field.name}")

    def _expect(self, path: str, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            self.differences.append(f"{path}: tflitekit reads {_short(ours)}, tflite reads {_short(theirs)}")

    def _out_of_line(self, ours: graph.Buffer, theirs: Any, path: str) -> None:
        if not hasattr(theirs, "Offset"):
            return
        start, size = theirs.Offset(), theirs.Size()
        if ours.data is None or ours.data != self._file[start : start + size]:
            mine = "nothing" if ours.data is None else f"{len(ours.data)} bytes that differ or start elsewhere"
            self.differences.append(f"{path}.data: tflitekit reads {mine}, tflite {size} bytes at {start}")

    def _index(self, field: Field, item: Any) -> Any:
        """The number that the file stores for a reference."""
        if item is None:
            return 0 if field.type.startswith("uint") else -1
        if isinstance(item, Dangling):
            return item.index
        if field.refers_to == "ExternalBuffer.id":
            return item.id
        return self._positions[field.refers_to].get(id(item), "an object outside the model")

    def _scalar(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        method = getattr(theirs, _method(field.name), None)
        if method is None:
            return
        value, other = getattr(ours, field.attribute), _stored_code(theirs) if path.endswith(".builtin_code") else method()
        if field.refers_to:
            self._expect(path, self._index(field, value), other)
        elif field.type.startswith("float"):
            if struct.pack("<d", value) != struct.pack("<d", other):
                self.differences.append(f"{path}: tflitekit reads {value!r}, tflite reads {other!r}")
        else:
            self._expect(path, int(value), int(other))

    def _string(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        method = getattr(theirs, _method(field.name), None)
        if method is not None:
            self._expect(path, getattr(ours, field.attribute), method())

    def _vector(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        name = _method(field.name)
        if not hasattr(theirs, f"{name}IsNone"):
            return
        value = getattr(ours, field.attribute)
        present = not getattr(theirs, f"{name}IsNone")()
        self._expect(f"{path} (present)", ours.has(field.attribute), present)
        other = getattr(theirs, f"{name}AsNumpy")() if present else np.empty(0, field.type)
        if field.refers_to:
            value = [self._index(field, item) for item in value]
        elif value is None:
            value = b""
        if isinstance(value, (bytes, memoryview)):
            value = np.frombuffer(value, np.uint8)
        mine = np.asarray(value, other.dtype)
        if mine.shape != other.shape or mine.tobytes() != other.tobytes():
            self._expect(path, mine.tolist(), other.tolist())

    def _child(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        method = getattr(theirs, _method(field.name), None)
        if method is not None:
            self._pair(getattr(ours, field.attribute), method(), path)

    def _children(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        name = _method(field.name)
        if not hasattr(theirs, f"{name}Length"):
            return
        items, count = getattr(ours, field.attribute), getattr(theirs, f"{name}Length")()
        self._expect(f"{path} (present)", ours.has(field.attribute), not getattr(theirs, f"{name}IsNone")())
        self._expect(f"{path} (length)", len(items), count)
        get = getattr(theirs, name)
        for position, item in enumerate(items[:count]):
            self._pair(item, get(position), f"{path}[{position}]")

    def _union(self, field: Field, ours: Table, theirs: Any, path: str) -> None:
        name = _method(field.name)
        if not hasattr(theirs, f"{name}Type"):
            return
        value, number, content = getattr(ours, field.attribute), getattr(theirs, f"{name}Type")(), getattr(theirs, name)()
        members = _schema.UNIONS[field.type]
        if isinstance(value, OpaqueUnion):
            self._expect(f"{path}_type", value.type, number)
            self._expect(f"{path} (present)", value.has_table, content is not None)
            return
        self._expect(f"{path}_type", None if value is None else table_name(type(value)), members.get(number))
        accessor = _accessor(members.get(number, ""))
        if value is None or content is None or accessor is None:
            self._expect(f"{path} (present)", value is not None, content is not None)
            return
        typed = accessor()
        typed.Init(content.Bytes, content.Pos)
        self.table(value, typed, path)

    def _pair(self, ours: Table | None, theirs: Any, path: str) -> None:
        if ours is None or theirs is None:
            self._expect(f"{path} (present)", ours is not None, theirs is not None)
        else:
            self.table(ours, theirs, path)


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
