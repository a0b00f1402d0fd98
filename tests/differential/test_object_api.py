"""Our reader against the object API that the LiteRT wheel generates (`ModelT`): every field of every table of every real model."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit import graph
from tflitekit._base import Dangling, Field, OpaqueUnion, Table, fields_of, table_name

litert = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the runtime extra")


@cache
def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class Walk:
    """Compares two readings; `seen` counts compared values by table and field, so that a test can tell that something was compared."""

    def __init__(self, model: graph.Model, data: memoryview) -> None:
        self.model, self.data = model, data
        self.differences: list[str] = []
        self.seen: dict[tuple[str, str], int] = {}
        self.tensors: list[graph.Tensor] = []

    def differ(self, path: str, ours: Any, theirs: Any) -> None:
        self.differences.append(f"{path}: {ours!r:.100} != {theirs!r:.100}")

    def index(self, field: Field, item: Any) -> int:
        """Search the list that owns the object, so that a wrong map of positions cannot hide."""
        if item is None:
            return 0 if field.type.startswith("uint") else -1
        if isinstance(item, Dangling):
            return item.index
        if field.refers_to == "ExternalBuffer.id":
            return int(item.id)
        owners: dict[str, list[Any]] = {
            "Tensor": self.tensors,
            "Buffer": self.model.buffers,
            "SubGraph": self.model.subgraphs,
            "OperatorCode": self.model.operator_codes,
            "ExternalBufferGroup": self.model.external_buffer_groups,
        }
        return owners[field.refers_to].index(item)

    def table(self, ours: Table | None, theirs: Any, path: str) -> None:
        if ours is None or theirs is None:
            if ours is not None or theirs is not None:
                self.differ(path, ours, theirs)
            return
        assert type(theirs).__name__ == table_name(type(ours)) + "T", path
        if isinstance(ours, graph.SubGraph):
            self.tensors = ours.tensors
        if isinstance(ours, graph.SignatureDef):
            self.tensors = ours.subgraph.tensors if ours.subgraph else []
        known = set(vars(theirs))
        for field in fields_of(type(ours)):
            name = camel(field.name)
            if field.deprecated:
                assert name not in known, f"{path}.{field.name}: not deprecated for LiteRT"
                continue
            known -= {name, f"{name}Type"}
            key = (table_name(type(ours)), field.name)
            self.seen[key] = self.seen.get(key, 0) + 1
            if key == ("Buffer", "data") and ours.out_of_line:  # type: ignore[attr-defined]
                self.out_of_line(ours, theirs, path)
            else:
                compare = self.child if field.kind == "table" else getattr(self, field.kind)
                compare(field, getattr(ours, field.attribute), getattr(theirs, name), f"{path}.{field.name}", theirs)
        assert not known, f"{path}: fields that we do not know: {known}"

    def out_of_line(self, ours: Any, theirs: Any, path: str) -> None:
        if theirs.data is not None or bytes(ours.data) != bytes(self.data[theirs.offset : theirs.offset + theirs.size]):
            self.differ(f"{path}.data", ours.data, (theirs.offset, theirs.size))

    def scalar(self, field: Field, ours: Any, theirs: Any, path: str, _: Any) -> None:
        if field.refers_to:
            ours = self.index(field, ours)
        floating = field.type.startswith("float")
        same = struct.pack("<d", ours) == struct.pack("<d", theirs) if floating else type(theirs)(ours) == theirs
        if not same:
            self.differ(path, ours, theirs)

    def string(self, field: Field, ours: Any, theirs: Any, path: str, _: Any) -> None:
        if ours != theirs or type(ours) is not type(theirs):
            self.differ(path, ours, theirs)

    def vector(self, field: Field, ours: Any, theirs: Any, path: str, parent: Any) -> None:
        if theirs is None:
            if ours is not None and len(ours):
                self.differ(path, ours, None)
            return
        if ours is None:
            self.differ(path, None, theirs)
            return
        expected = np.asarray(theirs)
        if field.refers_to:
            ours = [self.index(field, item) for item in ours]
        got = np.frombuffer(ours, np.uint8) if field.type == "uint8" else np.array(ours, expected.dtype)
        if got.shape != expected.shape or got.tobytes() != expected.tobytes():
            self.differ(path, got, expected)

    def tables(self, field: Field, ours: Any, theirs: Any, path: str, _: Any) -> None:
        if len(ours) != len(theirs or ()):
            self.differ(path, len(ours), len(theirs or ()))
        for position, (mine, other) in enumerate(zip(ours, theirs or (), strict=False)):
            self.table(mine, other, f"{path}[{position}]")

    def union(self, field: Field, ours: Any, theirs: Any, path: str, parent: Any) -> None:
        number = getattr(parent, camel(field.name) + "Type")
        if ours is None:
            if number or theirs is not None:
                self.differ(path, None, number)
        elif isinstance(ours, OpaqueUnion):
            if ours.type != number:
                self.differ(path, ours.type, number)
        elif theirs is None:
            self.differ(path, ours, None)
        else:
            names = getattr(litert, field.type)
            if getattr(names, table_name(type(ours))) != number:
                self.differ(path, table_name(type(ours)), number)
            self.table(ours, theirs, path)

    def child(self, field: Field, ours: Any, theirs: Any, path: str, _: Any) -> None:
        self.table(ours, theirs, path)


def walk(model: tk.Model, data: bytes) -> Walk:
    compared = Walk(model, memoryview(data))
    compared.table(model, litert.ModelT.InitFromPackedBuf(data, 0), "model")
    return compared


def test_every_field_equals_the_object_api(model_path: Path) -> None:
    data = model_path.read_bytes()
    compared = walk(tk.read(model_path), data)
    assert not compared.differences, "\n".join(compared.differences[:20])
    assert compared.seen


def test_absent_and_empty_vectors_are_told_apart_like_the_object_api(model_path: Path) -> None:
    """`has` of every vector is what ModelT shows as None or a list."""
    data = model_path.read_bytes()
    wrong: list[str] = []

    def visit(ours: Any, theirs: Any, path: str) -> None:
        for field in fields_of(type(ours)):
            value, other = getattr(ours, field.attribute), getattr(theirs, camel(field.name), None)
            where = f"{path}.{field.name}"
            if field.deprecated:
                continue
            if field.kind in ("vector", "tables") and not getattr(ours, "out_of_line", False) and ours.has(field.attribute) != (other is not None):
                wrong.append(where)
            if field.kind == "tables":
                for position, (a, b) in enumerate(zip(value, other or (), strict=False)):
                    visit(a, b, f"{where}[{position}]")
            elif field.kind in ("table", "union") and isinstance(value, Table) and other is not None:
                visit(value, other, where)

    visit(tk.read(model_path), litert.ModelT.InitFromPackedBuf(data, 0), "model")
    assert not wrong


def test_the_comparison_sees_a_wrong_value(models: Path) -> None:
    """A control: one changed value of each kind is found, by its path."""
    path = models / "aeq_conv_fc_mnist_srq_a8w8.tflite"
    data = path.read_bytes()
    model = tk.read(path)
    subgraph = model.subgraphs[0]
    subgraph.tensors[0].name = b"other"
    subgraph.tensors[1].shape = (9, 9)
    subgraph.operators[0].inputs[0] = subgraph.tensors[-1]
    found = "\n".join(walk(model, data).differences)
    for place in ("tensors[0].name", "tensors[1].shape", "operators[0].inputs"):
        assert f"model.subgraphs[0].{place}" in found
