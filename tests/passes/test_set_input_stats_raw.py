"""`set-input-stats --mode feed-raw` on small models: what is put between raw bytes and the model, and what is folded into weights."""

from __future__ import annotations

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution
from tests.passes.input_stats import MEAN, STD, cast, float_model, fully_connected, graph, operators, outputs, run, stored
from tests.runtime import needs_runtime
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Metadata, Model, Tensor


@needs_runtime
@pytest.mark.parametrize("read", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("bias", [1, None])
def test_normalization_folded_into_weights(read: str, bias: float | None) -> None:
    """A convolution without bias gets one (by itself, the runtime does not run it)."""
    model = float_model(read, bias=bias or 0)
    folded = run(float_model(read, bias=bias), mode="feed-raw", mean=MEAN, std=STD, fold=True).model
    assert [o.op_name for o in folded.subgraphs[0].operators] == ["DEQUANTIZE", read]
    image = np.random.default_rng(1).integers(0, 256, (1, 5, 5, 3)).astype(np.uint8)
    before = outputs(model, ((image - np.array(MEAN)) / np.array(STD)).astype(np.float32))[0]
    after = outputs(folded, image)[0]
    assert np.abs(before).max() > 1
    np.testing.assert_allclose(after, before, atol=2e-6 * np.abs(before).max() * 10)
    assert not np.allclose(outputs(folded, image[..., ::-1])[0], before, atol=0.1)


def shared_weights(model: Model) -> None:
    g = model.subgraphs[0]
    y = g.tensor("y")
    other = g.add_tensor(Tensor(name="x2", shape=(1, 5, 5, 3), buffer=model.buffers[0]))
    out = g.add_tensor(Tensor(name="y2", shape=y.shape, buffer=model.buffers[0]))
    first = g.operators[0]
    g.operators.append(tk.Operator(opcode=first.opcode, inputs=[other, *first.inputs[1:]], outputs=[out], builtin_options=first.builtin_options))
    g.inputs.append(other)
    g.outputs.append(out)


def test_weights_that_others_read_are_copied() -> None:
    model = float_model()
    shared_weights(model)
    made = run(model, mode="feed-raw", mean=10, std=2, fold=True, input="x").model
    first, second = (o for o in made.subgraphs[0].operators if o.op_name == "CONV_2D")
    assert second.inputs[1] is not None
    assert first.inputs[1] is not None
    np.testing.assert_array_equal(second.inputs[1].numpy(), model.subgraphs[0].tensor("w").numpy())
    np.testing.assert_array_equal(first.inputs[1].numpy(), second.inputs[1].numpy() / np.float32(2))


def test_what_cannot_be_folded_is_refused_with_the_reason() -> None:
    bare = float_model()
    bare.subgraphs[0].operators[0].inputs = bare.subgraphs[0].operators[0].inputs[:1]
    for model, message in (
        (bare, "its weights are no plain float constant"),
        (float_model(padding="SAME"), "its padding is not VALID"), (convolution(), "--fold changes float weights"),
        (graph(cast, "FLOAT32"), "it is no convolution"),
    ):  # fmt: skip
        with pytest.raises(tk.RefusedError, match=message):
            run(model, mode="feed-raw", mean=1, std=1, fold=True)
    with pytest.raises(tk.EditError, match="2 means and 1 stds: expected one of each, or one for each channel"):
        run(float_model(), mode="feed-raw", mean=(1, 2), std=1, fold=True)
    with pytest.raises(tk.EditError, match="one scale and zero point cannot hold"):
        run(float_model(), mode="feed-raw", mean=MEAN, std=STD)


def test_exact_normalization_is_put_in_once() -> None:
    made = run(float_model(), mode="feed-raw", mean=MEAN, std=STD, exact=True).model
    assert [o.op_name for o in made.subgraphs[0].operators] == ["DEQUANTIZE", "SUB", "MUL", "CONV_2D"]
    assert run(made, mode="feed-raw", mean=MEAN, std=STD, exact=True).changes == ()
    assert run(made, mode="feed-raw", mean=MEAN, std=1, exact=True).changes


def test_grouped_convolutions_are_not_folded() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 5, 5, 4], "FLOAT32")
    operands = [x, g.constant("w", np.ones((6, 2, 2, 2), np.float32)), g.constant("b", np.ones(6, np.float32))]
    g.output(g.apply("CONV_2D", operands, TensorSpec("y", [1, 4, 4, 6], "FLOAT32"), padding="VALID", stride_w=1, stride_h=1))
    with pytest.raises(tk.RefusedError, match="it is grouped"):
        run(builder.build(), mode="feed-raw", mean=1, std=1, fold=True)


def test_a_raw_input_keeps_name_index_and_signature() -> None:
    model = float_model()
    model.metadata = [
        Metadata(name=b"min_runtime_version", buffer=model.add_buffer(b"1.5.0".ljust(16, b"\0"))),
        Metadata(name=b"model_control_dependencies", buffer=model.add_buffer(b"stale")),
    ]
    result = run(model, mode="feed-raw", mean=127.5, std=127.5)
    g = result.model.subgraphs[0]
    assert (g.inputs[0] is g.tensors[0], g.inputs[0].name_str, g.inputs[0].type.name) == (True, "x", "UINT8")  # type: ignore[union-attr]
    named = result.model.signature_defs[0].inputs[0]
    assert (named.name, named.tensor is g.inputs[0]) == (b"image", True)
    assert operators(result.model) == ["DEQUANTIZE x", "CONV_2D x_normalized w b"]
    (entry,) = result.model.metadata
    assert (entry.name, bytes(entry.buffer.data or b"").rstrip(b"\0")) == (b"min_runtime_version", b"1.13.1")  # type: ignore[union-attr]
    assert any("-0.5 codes" in note.text and "--exact" in note.text for note in result.notes)
    assert run(result.model, mode="feed-raw", mean=127.5, std=127.5).changes == ()


@needs_runtime
def test_an_input_that_was_called_a_variable_is_computed_now() -> None:
    """The runtime dies of an operator that writes a variable tensor."""
    builder = ModelBuilder()
    g = builder.subgraph("main")
    a, b = g.input("a", [1, 3], "FLOAT32"), g.input("b", [1, 3], "FLOAT32", is_variable=True)
    g.output(g.apply("SUB", [a, b], TensorSpec("c", [1, 3], "FLOAT32")))
    made = run(builder.build(), mode="feed-raw", input="b", mean=1.5, std=2, exact=True).model
    np.testing.assert_array_equal(outputs(made, np.zeros((1, 3), np.float32), np.uint8([[0, 1, 255]]))[0], [[0.75, 0.25, -126.75]])


def test_quantize_behind_a_float_input_reads_the_codes_itself() -> None:
    def build(g: SubGraphBuilder, x: Tensor) -> Tensor:
        return fully_connected(g, g.apply("QUANTIZE", [x], TensorSpec("q", [1, 4], "INT8", quantize(0.5, 3))))

    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(build(g, g.input("x", [1, 4], "FLOAT32")))
    result = run(builder.build(), mode="feed-raw", mean=128, std=4)
    assert operators(result.model)[0] == "QUANTIZE x"
    assert [t.name_str for t in result.model.subgraphs[0].tensors] == ["x", "q", "w", "b", "y"]
    assert stored(result.model, "x") == (0.25, 128)
    doubled = run(builder.build(), mode="reinterpret", scale=1, zero_point=3).model
    assert (stored(doubled, "q"), doubled.subgraphs[0].tensor("x").type.name) == ((1.0, 3), "FLOAT32")


def test_bytes_that_the_quantize_behind_them_clips_are_told() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(g.apply("QUANTIZE", [g.input("x", [1, 4], "FLOAT32")], TensorSpec("y", [1, 4], "INT8", quantize(1, 3))))
    for mean, told in ((131, []), (130, []), (132, []), (128.5, ["the model holds -131 to 124: of -129 to 126, the rest is clipped"]), (133, [
        "the model holds -131 to 124: of -133 to 122, the rest is clipped",
    ])):
        notes = run(builder.build(), mode="feed-raw", mean=mean, std=1).notes
        assert [note.text for note in notes if "clipped" in note.text] == told, mean


def test_parameters_that_are_there_are_left() -> None:
    result = run(convolution(), mode="feed-raw", mean=3, std=2, dtype="int8")
    assert (result.changes, [note.kind for note in result.notes]) == ((), ["remark"])


def test_plain_integers_are_fed_raw_already() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(g.apply("CAST", [g.input("x", [1, 4], "UINT8")], TensorSpec("y", [1, 4], "FLOAT32")))
    with pytest.raises(tk.RefusedError, match=r"'x' is UINT8 without parameters: it takes plain numbers already"):
        run(builder.build(), mode="feed-raw", mean=1, std=1, input="x")
