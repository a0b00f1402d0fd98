"""The object graph: values of tensors, shared buffers, names, paths and lookups."""

from __future__ import annotations

import gc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tflitekit as tk
from tests.generated import rare_parts
from tflitekit import _schema, types
from tflitekit._base import Table, class_of
from tflitekit._placeholders import dangling
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.errors import EditError
from tflitekit.graph import Buffer, Model, SubGraph, Tensor

# ---- values of tensors ----


@pytest.mark.parametrize("type_", [t for t in TensorType if t not in (TensorType.STRING, TensorType.RESOURCE, TensorType.VARIANT)])
def test_values_come_back_in_their_dtype(type_: TensorType) -> None:
    dtype = types.numpy_dtype(type_)
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    model = Model(subgraphs=[SubGraph(tensors=[Tensor(shape=(2, 3), type=type_)])], buffers=[Buffer()])
    tensor = model.subgraphs[0].tensors[0]
    model.set_data(tensor, values)
    assert tensor.buffer is model.buffers[1]
    back = tensor.numpy()
    assert back.dtype == dtype
    assert back.shape == (2, 3)
    assert np.array_equal(back.astype(np.complex128), values.astype(np.complex128))
    assert tensor.is_constant


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("FLOAT32", np.zeros((3, 2), np.float32)), ("FLOAT32", np.zeros(6, np.float32)), ("FLOAT32", np.zeros((2, 3))),
        ("FLOAT32", np.zeros((2, 3), ">f4")), ("INT8", np.zeros((2, 3), np.uint8)), ("INT8", [[1, 2, 3], [4, 5, 6]]),
        ("INT4", np.full((2, 3), 8, np.int8)), ("INT4", np.full((2, 3), 2**16, np.int32)), ("INT4", np.zeros((2, 3), np.float32)),
        ("INT4", np.zeros((2, 3), ml_dtypes.uint4)), ("BFLOAT16", np.zeros((2, 3), np.float16)), ("RESOURCE", np.zeros((2, 3))), ("INT8", 0),
    ],
)  # fmt: skip
def test_values_of_another_shape_or_dtype_are_refused(type_: str, values: Any) -> None:
    model = Model(subgraphs=[SubGraph(tensors=[Tensor(shape=(2, 3), type=TensorType[type_])])], buffers=[Buffer()])
    tensor = model.subgraphs[0].tensors[0]
    with pytest.raises(EditError):
        model.set_data(tensor, values)
    assert tensor.buffer is None
    assert len(model.buffers) == 1


def test_a_shared_buffer_is_edited_only_on_purpose() -> None:
    builder = ModelBuilder()
    main = builder.subgraph()
    first = main.constant("first", np.zeros(2, np.float32))
    second = main.tensor("second", [2], buffer=first.buffer)
    model = builder.build()
    model.set_data(first, np.ones(2, np.float32))
    assert first.buffer is not second.buffer
    assert second.numpy().tolist() == [0, 0]
    second.buffer = first.buffer
    model.set_data(first, np.full(2, 2, np.float32), shared=True)
    assert second.numpy().tolist() == [2, 2]
    own = first.buffer
    second.buffer = None
    model.set_data(first, np.full(2, 3, np.float32))
    assert first.buffer is own
    builder.metadata("note", b"").buffer = own
    model.set_data(first, np.full(2, 4, np.float32))
    assert first.buffer is not own
    assert model.buffers[0].data is None


def test_buffer_zero_is_never_filled() -> None:
    builder = ModelBuilder()
    tensor = builder.subgraph().tensor("t", [1])
    builder.build().set_data(tensor, np.ones(1, np.float32))
    assert builder.no_data.data is None
    assert tensor.numpy().tolist() == [1]


def test_strings_of_a_tensor() -> None:
    builder = ModelBuilder()
    tensor = builder.subgraph().constant("s", ["a", "\N{SNOWMAN}"])
    assert tensor.strings() == [b"a", "\N{SNOWMAN}".encode()]
    with pytest.raises(EditError, match=r"strings\(\)"):
        tensor.numpy()
    with pytest.raises(EditError, match="not STRING"):
        Tensor(name="t").strings()


def test_what_has_no_values_says_why() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no constant data", {}), ("no constant data", {"buffer": Buffer()}), ("external", {"external_buffer": tk.ExternalBuffer(id=1)}),
        ("sparse", {"buffer": Buffer(data=b"1"), "sparsity": _schema.SparsityParameters()}),
        ("needs 8 bytes, the buffer has 3", {"buffer": Buffer(data=b"123"), "shape": [2]}),
        ("RESOURCE", {"buffer": Buffer(data=b"1"), "type": TensorType.RESOURCE}), ("needs", {"buffer": Buffer(data=b"1234"), "shape": [-1]}),
    ]  # fmt: skip
    for text, fields in cases:
        with pytest.raises(EditError, match=text):
            Tensor(name="t", **fields).numpy()


# ---- lookups ----


def network() -> tuple[Model, list[Tensor]]:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [2])
    y = main.apply("ADD", [x, x], TensorSpec("y", [2]))
    z = main.apply("ADD", [y, None], TensorSpec("z", [2]))
    main.output(z)
    return builder.build(), [x, y, z]


def test_producers_and_consumers() -> None:
    model, (x, y, z) = network()
    main = model.subgraphs[0]
    first, second = main.operators
    assert (x.producer(), y.producer(), z.producer()) == (None, first, second)
    assert (x.consumers(), y.consumers(), z.consumers()) == ([first], [second], [])
    assert main.producers() == {y: first, z: second}
    assert main.consumers() == {x: [first], y: [second]}
    with pytest.raises(EditError, match="add_tensor"):
        Tensor(name="alone").producer()


def test_tensors_are_found_by_their_only_name() -> None:
    model, (x, y, _) = network()
    main = model.subgraphs[0]
    assert main.tensor("x") is main.tensor(b"x") is x
    y.name = b"x"
    for name in ("x", "nothing"):
        with pytest.raises(EditError, match=name):
            main.tensor(name)
    assert Tensor(name=b"\xff").name_str == "\\xff"
    assert Tensor().name_str == ""


def test_paths() -> None:
    model, (x, _, _) = network()
    assert model.at("subgraphs[0].operators[0].inputs[1]") is x
    assert model.at("model.subgraphs[0].tensors[0].shape") == (2,)
    assert model.at("") is model
    for wrong in ("subgraphs[1]", "subgraphs[0].colour", "version[0]", "subgraphs[0].tensors[99]"):
        with pytest.raises(EditError, match="no such element"):
            model.at(wrong)


def test_users_of_buffers() -> None:
    model, (x, y, z) = network()
    assert model.buffer_users() == {model.buffers[0]: [x, y, z]}
    assert list(model.tensors()) == [x, y, z]
    assert len(list(model.operators())) == 2


def test_every_path_of_a_model_can_be_found_again() -> None:
    model = rare_parts()
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            assert model.at(f"subgraphs[{number}].tensors[{index}]") is tensor


def test_placeholders_keep_their_index() -> None:
    for name in ("Tensor", "Buffer", "SubGraph", "OperatorCode", "ExternalBuffer", "ExternalBufferGroup"):
        value = dangling(name, -7)
        assert isinstance(value, class_of(name))
        assert isinstance(value, Table)
        assert value.index == -7


def test_a_signature_takes_names_with_tensors() -> None:
    tensor = Tensor(name="t")
    signature = tk.SignatureDef(signature_key="k", inputs={"a": tensor}, outputs=[tk.TensorMap(name="b", tensor=tensor)])
    assert [(m.name, m.tensor) for m in (*signature.inputs, *signature.outputs)] == [(b"a", tensor), (b"b", tensor)]


def test_a_dropped_model_is_freed_without_the_collector() -> None:
    """Tensors refer to their subgraph weakly: large models do not pile up until the next collection."""
    import weakref

    model, _ = network()
    watched = weakref.ref(model.subgraphs[0])
    gc.disable()
    try:
        del model, _
        assert watched() is None
    finally:
        gc.enable()
