"""Edits through the object graph end in the file that the graph describes, or in an error of this package that names the place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import forge, generated
from tests.generated import rare_parts
from tflitekit._copy import copied
from tflitekit._placeholders import dangling
from tflitekit._schema import TensorType
from tflitekit.errors import EditError
from tflitekit.flat import layout
from tflitekit.flat.codec import encode
from tflitekit.graph import Deferred, Model

A, B = b"A" * 32, b"B" * 32


def two_outside(*, out_of_line: bool = True, large_custom_options: bytes | None = None) -> Model:
    """Two constants of 32 bytes each behind the flatbuffer, and an operator that reads the second."""
    model = tk.Model(version=3, operator_codes=[tk.OperatorCode(builtin_code=32, custom_code="c")])
    first, second = (tk.Buffer(data=data, out_of_line=out_of_line) for data in (A, B))
    model.buffers = [tk.Buffer(), first, second]
    tensors = [tk.Tensor(name=name, shape=[32], type=TensorType.UINT8, buffer=b) for name, b in (("a", first), ("b", second))]
    operator = tk.Operator(opcode=model.operator_codes[0], inputs=[tensors[1]], large_custom_options=large_custom_options)
    model.subgraphs = [tk.SubGraph(tensors=tensors, outputs=[tensors[0]], operators=[operator])]
    return model


def again(model: Model, **options: bool) -> Model:
    """The model written and read, which must be the same."""
    read = tk.parse(tk.serialize(model, **options))
    assert [str(change) for change in tk.diff(model, read)] == []
    return read


# ---- data outside the flatbuffer ----


def test_buffers_that_change_places_take_their_data_along() -> None:
    model = tk.parse(tk.serialize(two_outside()))
    model.buffers[1:] = model.buffers[:0:-1]
    for tensor, buffer in zip(model.subgraphs[0].tensors, model.buffers[1:], strict=True):
        tensor.buffer = buffer
    assert [bytes(b.data or b"") for b in again(model).buffers] == [b"", B, A]


def test_a_buffer_from_another_file_is_not_written_at_its_offset_there() -> None:
    other = two_outside()  # with the same layout, so that the offset there is that of the second buffer here
    other.buffers[2].data = b"C" * 32
    model, foreign = tk.parse(tk.serialize(two_outside())), tk.parse(tk.serialize(other)).buffers[2]
    model.buffers[1] = model.subgraphs[0].tensors[0].buffer = foreign
    assert [bytes(b.data or b"") for b in again(model).buffers] == [b"", b"C" * 32, B]


def test_data_outside_can_be_taken_away() -> None:
    model = tk.parse(tk.serialize(two_outside(large_custom_options=b"options" * 5)))
    model.buffers[1].data = None
    model.subgraphs[0].operators[0].large_custom_options = None
    read = again(model)
    assert [b.data and bytes(b.data) for b in read.buffers] == [None, None, B]
    assert (read.buffers[1].offset, read.subgraphs[0].operators[0].large_custom_options_offset) == (0, 0)


def test_data_can_be_moved_inside() -> None:
    """The place that it had outside goes, too: nothing is said of an offset that is not there."""
    model = tk.parse(tk.serialize(two_outside()))
    model.buffers[2].out_of_line = False
    assert (model.buffers[2].offset, model.buffers[2].size, bytes(model.buffers[2].data or b"")) == (0, 0, B)
    assert [str(p) for p in tk.verify(again(model))] == [str(p) for p in tk.verify(model)]


def test_large_custom_options_are_bytes() -> None:
    operator = two_outside(large_custom_options=b"x").subgraphs[0].operators[0]
    for wrong in ("text", 5, np.zeros(4, np.int32)):
        with pytest.raises(tk.EditError, match="large_custom_options"):
            operator.large_custom_options = wrong  # type: ignore[assignment]
    assert operator.large_custom_options == b"x"


def test_an_offset_beside_inline_data_means_nothing_and_stays() -> None:
    made = two_outside(out_of_line=False)
    data = forge.pack(made, {made.buffers[1]: {1: ("uint64", 64), 2: ("uint64", 8)}})
    read = again(tk.parse(data), rebuild=True)
    assert (bytes(read.buffers[1].data or b""), read.buffers[1].offset, read.buffers[1].out_of_line) == (A, 64, False)


def test_an_offset_that_leads_nowhere_is_refused_or_dropped_but_never_led_elsewhere() -> None:
    made = two_outside(out_of_line=False)
    size = len(tk.serialize(made))
    model = tk.parse(forge.pack(made, {made.buffers[1]: {0: None, 1: ("uint64", size - 8), 2: ("uint64", 1 << 20)}}))
    with pytest.raises(tk.LossyWriteError, match=r"buffers\[1\]: refers to bytes at a file offset"):
        tk.serialize(model, rebuild=True)
    dropped = tk.parse(tk.serialize(model, rebuild=True, drop_unknown=True)).buffers[1]
    assert (dropped.offset, dropped.size, dropped.data) == (0, 0, None)


def test_metadata_stays_inside_when_data_moves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_outside(out_of_line=False)
    model.metadata.append(tk.Metadata(name="m", buffer=model.add_buffer(b"described")))
    monkeypatch.setattr(layout, "MAX_OFFSET", (1 << 26) + 10)
    assert [b.out_of_line for b in again(model).buffers] == [False, True, True, False]


# ---- presence ----


def test_a_default_that_the_file_stores_and_the_model_elides_is_not_patched() -> None:
    made = two_outside(out_of_line=False)
    made.subgraphs[0].tensors[0].quantization = old = tk.QuantizationParameters(scale=[1.0], zero_point=[0])
    model = tk.parse(forge.pack(made, forge.explicit_default(old, "quantized_dimension")))
    model.subgraphs[0].tensors[0].quantization = tk.QuantizationParameters(scale=[1.0], zero_point=[0])
    assert encode(model).writer == "rebuild"
    again(model)


# ---- lists that hold the wrong things ----


def _append(path: str, value: Any) -> Callable[[Model], str]:
    def edit(model: Model) -> str:
        model.at(path).append(value(model) if callable(value) else value)
        return f"{path}[{len(model.at(path)) - 1}]" if "puts" not in path else path

    return edit


WRONG = {
    "no tensor": _append("subgraphs[0].tensors", None),
    "text as tensor": _append("subgraphs[0].tensors", "x"),
    "list as tensor": _append("subgraphs[0].tensors", []),
    "no buffer": _append("buffers", None),
    "tensor as buffer": _append("buffers", lambda m: tk.Tensor()),
    "buffer as operator code": _append("operator_codes", lambda m: m.buffers[0]),
    "no operator": _append("subgraphs[0].operators", None),
    "index as input": _append("subgraphs[0].operators[0].inputs", 1),
    "list as input": _append("subgraphs[0].operators[0].inputs", []),
    "buffer as input": _append("subgraphs[0].operators[0].inputs", lambda m: m.buffers[1]),
    "tensor of nobody": _append("subgraphs[0].inputs", lambda m: tk.Tensor()),
    "number as variant": _append("subgraphs[0].tensors[0].variant_tensors", 3),
}


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_objects_in_lists_are_refused_by_their_place(name: str, rebuild: bool) -> None:
    model = tk.parse(tk.serialize(rare_parts()))
    place = WRONG[name](model)
    with pytest.raises(tk.SerializeError if rebuild else (tk.SerializeError, tk.EditError)) as caught:
        tk.serialize(model, rebuild=rebuild)
    assert place in str(caught.value)


def test_diff_names_the_object_that_it_cannot_compare() -> None:
    model = two_outside()
    model.subgraphs[0].tensors[1] = None  # type: ignore[call-overload]
    with pytest.raises(tk.EditError, match=r"subgraphs\[0\]\.tensors\[1\]: expected Tensor, got NoneType"):
        tk.diff(two_outside(), model)


# ---- references ----


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda m: setattr(m.subgraphs[0].operators[0], "opcode", None), r"subgraphs\[0\]\.operators\[0\]\.opcode"),
        (lambda m: m.metadata.append(tk.Metadata(name="x")), r"metadata\[0\]\.buffer"),
        (lambda m: m.external_buffers.append(tk.ExternalBuffer(id=1)), r"external_buffers\[0\]\.group"),
        (lambda m: m.signature_defs.append(tk.SignatureDef(signature_key="s")), r"signature_defs\[0\]\.subgraph"),
    ],
    ids=["opcode", "metadata", "group", "signature"],
)
def test_references_that_cannot_be_absent(edit: Any, where: str) -> None:
    model = tk.parse(tk.serialize(two_outside()))
    edit(model)
    with pytest.raises(tk.SerializeError, match=where):
        tk.serialize(model)
    assert [p.code for p in tk.verify(model) if p.severity == "error" and p.path == where.replace("\\", "")] == ["reference-missing"]


def test_metadata_of_a_model_without_buffers_keeps_its_index() -> None:
    model = tk.Model(version=3, metadata=[tk.Metadata(name="x", buffer=dangling("Buffer", 0))], metadata_buffer=[dangling("Buffer", 0)])
    read = again(tk.parse(forge.pack(model)), rebuild=True)
    assert (read.metadata[0].buffer.index, read.metadata_buffer[0].index) == (0, 0)  # type: ignore[union-attr]


def test_a_placeholder_does_not_come_to_point_at_something_else() -> None:
    made = two_outside()
    made.subgraphs[0].operators[0].inputs = [dangling("Tensor", 2)]
    made.subgraphs[0].tensors[0].buffer = dangling("Buffer", 3)
    model = again(tk.parse(forge.pack(made)), rebuild=True)
    new = model.subgraphs[0].add_tensor(tk.Tensor(name="new"))
    with pytest.raises(tk.SerializeError, match=r"operators\[0\]\.inputs: Tensor index 2 pointed at nothing"):
        tk.serialize(model)
    model.subgraphs[0].operators[0].inputs = [new]
    again(model)
    model.add_buffer(b"new")
    with pytest.raises(tk.SerializeError, match=r"tensors\[0\]\.buffer: Buffer index 3 pointed at nothing"):
        tk.serialize(model)


def test_ids_of_external_buffers_lead_to_the_one_that_is_meant() -> None:
    model = two_outside()
    group = tk.ExternalBufferGroup(name="f")
    first, second, unnumbered = (tk.ExternalBuffer(id=id, group=group) for id in (3, 3, 0))
    model.external_buffer_groups, model.external_buffers = [group], [first, second, unnumbered]
    tensor = model.subgraphs[0].tensors[0]
    tensor.external_buffer = second
    assert again(model).subgraphs[0].tensors[0].external_buffer is not None
    for wrong, why in ((first, "id 3 too"), (unnumbered, "id 0, which says none")):
        tensor.external_buffer = wrong
        with pytest.raises(tk.SerializeError, match=rf"tensors\[0\]\.external_buffer: .*{why}"):
            tk.serialize(model)
    tensor.external_buffer = dangling("ExternalBuffer", 3)
    with pytest.raises(tk.SerializeError, match="id 3 was unknown and is now taken"):
        tk.serialize(model)


# ---- values ----


def test_the_first_data_of_a_model_does_not_become_buffer_0() -> None:
    model = tk.Model(version=3, subgraphs=[tk.SubGraph(tensors=[tk.Tensor(name="a", shape=[2], type=TensorType.INT8)])])
    model.set_data(model.subgraphs[0].tensors[0], np.array([1, 2], np.int8))
    read = again(model)
    assert read.subgraphs[0].tensors[0].numpy().tolist() == [1, 2]
    assert [b.data and bytes(b.data) for b in read.buffers] == [None, b"\1\2"]
    assert tk.verify(read) == []


def test_strings_have_the_shape_of_their_tensor() -> None:
    tensor = tk.Tensor(name="s", shape=[2, 1], type=TensorType.STRING)
    assert tensor.encode(["a", b"bc"]) == tensor.encode(np.array([["a"], ["bc"]])) == tensor.encode([["a"], ["bc"]])
    for wrong in (["a"], "ab", [5, 6], [None, "a"], 5, [["a", "b"]], [[["a"]], [["b"]]]):
        with pytest.raises(tk.EditError):
            tensor.encode(wrong)


def test_what_numpy_or_the_layout_cannot_hold_is_an_edit_error() -> None:
    deep = tk.Tensor(name="deep", shape=[1] * 70, type=TensorType.INT8, buffer=tk.Buffer(data=b"a"))
    with pytest.raises(tk.EditError, match="70 dimensions"):
        deep.numpy()
    wrapping = tk.Tensor(name="s", shape=[1], type=TensorType.STRING, buffer=tk.Buffer(data=np.array([1, 12, -2147483640], "<i4").tobytes()))
    with pytest.raises(tk.EditError, match="offsets outside"):
        wrapping.strings()
    with pytest.raises(tk.EditError, match="no field nope"):
        deep.has("nope")


def test_deferred_data_is_computed_when_it_is_written_and_not_before(tmp_path: Path) -> None:
    calls = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(1 << 18, dtype=np.uint32).view(np.uint8)

    model = tk.parse(tk.serialize(generated.float_weights(1 << 21)))
    tensor = next(t for t in model.tensors() if t.is_constant)
    tensor.type, tensor.shape = TensorType.UINT32, (1 << 18,)
    tensor.buffer.data = Deferred(1 << 20, compute)
    assert tensor.is_constant and len(tensor.buffer.data) == 1 << 20 and tk.verify(model) is not None
    other = copied(model)
    assert tk.diff(model, other) == []
    assert any(change.path.endswith(".data") and "1048576 bytes" in str(change) for change in tk.diff(tk.parse(bytes(model.source.data)), model))
    assert not calls
    tk.write(other, tmp_path / "out.tflite")
    assert len(calls) == 1
    read = tk.read(tmp_path / "out.tflite")
    assert tk.serialize(model) == (tmp_path / "out.tflite").read_bytes()
    assert next(t for t in read.tensors() if t.is_constant).numpy().tolist() == list(range(1 << 18))
    assert tensor.numpy()[-1] == (1 << 18) - 1 and bytes(tensor.buffer.data[:4]) == bytes(4)

    def fill(put: Callable[[int, np.ndarray], None]) -> None:
        for start in reversed(range(0, 1 << 20, 4096)):
            put(start, compute()[start : start + 4096])

    tensor.buffer.data = Deferred(1 << 20, fill=fill)
    calls.clear()
    tk.write(model, tmp_path / "parts.tflite")
    assert len(calls) == 256 and (tmp_path / "parts.tflite").read_bytes() == (tmp_path / "out.tflite").read_bytes()
    assert bytes(tensor.buffer.data) == compute().tobytes()
    half = 1 << 19
    apart = "do not join"
    beyond = f"{2 * half + 1} computed"
    for places, words in ((0,), f"{half} computed"), ((0, half + 1), beyond), ((0, half // 2), apart), ((half,), apart), ((0, half, -half), apart):

        def wrong(put: Callable[[int, np.ndarray], None], places: tuple[int, ...] = places) -> None:
            for place in places:
                put(place, np.zeros(half, np.uint8))

        tensor.buffer.data = Deferred(1 << 20, fill=wrong)
        with pytest.raises(EditError, match=f"1048576 bytes were announced, .*{words}"):
            tk.write(model, tmp_path / "wrong.tflite")
    with pytest.raises(EditError, match="either compute or fill"):
        Deferred(1 << 20)
    assert {path.name for path in tmp_path.iterdir()} == {"out.tflite", "parts.tflite"}
    tensor.buffer.data = Deferred(5, compute)
    with pytest.raises(EditError, match="5 bytes were announced, 1048576 computed"):
        bytes(tensor.buffer.data)
