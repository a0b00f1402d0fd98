"""Files of newer formats: kept as they are, and refused by a rebuild, which could not keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import forge
from tflitekit._base import Table
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model


def small() -> Model:
    """One ADD with a quantized input, a constant, options, a signature and metadata."""
    builder = ModelBuilder("small")
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 3))
    one = main.constant("one", np.array([1], np.int8), quantization=quantize(0.5))
    main.output(main.apply("ADD", [x, one], TensorSpec("y", [1, 4], "INT8", quantize(0.5, 3)), version=2))
    builder.signature("serving_default")
    builder.metadata("note", b"text")
    return builder.build()


OWNERS: dict[str, Callable[[Model], Table]] = {
    path: lambda model, path=path: model.at(path)  # type: ignore[misc]
    for path in (
        "model", "operator_codes[0]", "subgraphs[0]", "subgraphs[0].tensors[1]", "subgraphs[0].tensors[1].quantization", "subgraphs[0].operators[0]",
        "subgraphs[0].operators[0].builtin_options", "buffers[1]", "metadata[0]", "signature_defs[0]", "signature_defs[0].inputs[0]",
    )
}  # fmt: skip


@pytest.mark.parametrize("content", [("int32", 7), ("bool", True), b"bytes", "text", {0: ("int64", 1)}, [{0: ("int8", 1)}, {}]], ids=str)
@pytest.mark.parametrize("path", ["buffers[1]", "subgraphs[0].tensors[1]"])
def test_fields_of_newer_schemas_of_every_kind(path: str, content: Any) -> None:
    model = small()
    data = forge.pack(model, forge.unknown_field(OWNERS[path](model), content))
    assert_kept_or_refused(data)


@pytest.mark.parametrize("path", OWNERS)
def test_fields_of_newer_schemas_in_every_table(path: str) -> None:
    model = small()
    owner = OWNERS[path](model) if path != "model" else model
    assert_kept_or_refused(forge.pack(model, forge.unknown_field(owner)))


@pytest.mark.parametrize(
    ("path", "field"), [("subgraphs[0].operators[0]", "builtin_options"), ("subgraphs[0].operators[0]", "builtin_options_2"),
                        ("subgraphs[0].tensors[1].quantization", "details")],
)  # fmt: skip
def test_union_members_of_newer_schemas(path: str, field: str) -> None:
    model = small()
    data = forge.pack(model, forge.unknown_union(model.at(path), field))
    assert getattr(tk.parse(data).at(path), field).type == 250
    assert_kept_or_refused(data)


def test_a_zero_in_an_unknown_slot_is_nothing_to_lose() -> None:
    model = small()
    data = forge.pack(model, forge.unknown_field(model.buffers[1], None))
    assert data == forge.pack(model)
    tk.serialize(tk.parse(data), rebuild=True)


@pytest.mark.parametrize(
    ("path", "field"),
    [("operator_codes[0]", "builtin_code"), ("subgraphs[0].tensors[0]", "has_rank"), ("subgraphs[0].tensors[1].quantization", "quantized_dimension"),
     ("subgraphs[0].operators[0].builtin_options", "fused_activation_function"), ("subgraphs[0].operators[0]", "debug_metadata_index"),
     ("subgraphs[0].tensors[0]", "buffer"), ("metadata[0]", "buffer")],
)  # fmt: skip
def test_explicit_defaults_survive_a_rebuild(path: str, field: str) -> None:
    model = small()
    if path == "metadata[0]":
        model.metadata[0].buffer = model.buffers[0]
    plain = forge.pack(model)
    read = tk.parse(forge.pack(model, forge.explicit_default(model.at(path), field)))
    assert read.at(path).has(field) and not tk.parse(plain).at(path).has(field)
    rebuilt = tk.parse(tk.serialize(read, rebuild=True))
    assert rebuilt.at(path).has(field) and tk.diff(read, rebuilt) == []
    assert len(tk.diff(read, tk.parse(plain))) == 1


def assert_kept_or_refused(data: bytes) -> None:
    """Untouched it comes back; a rebuild refuses, or drops it on request and nothing else."""
    model = tk.parse(data)
    assert bytes(tk.serialize(model)) == data
    with pytest.raises(tk.LossyWriteError):
        tk.serialize(model, rebuild=True)
    dropped = tk.serialize(model, rebuild=True, drop_unknown=True)
    tk.serialize(tk.parse(dropped), rebuild=True)
