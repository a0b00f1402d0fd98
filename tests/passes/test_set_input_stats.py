"""`set-input-stats` on small models: what follows the input, what is kept apart from it, what is refused; raw inputs; metadata; options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import convolution
from tests.conftest import REPOSITORY
from tflitekit._metadata_schema import (
    Content,
    ImageProperties,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    Stats,
    SubGraphMetadata,
    TensorMetadata,
)
from tflitekit._schema import BuiltinOperator
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.cli.main import main
from tflitekit.graph import Metadata, Model, Tensor
from tflitekit.passes.bias import product
from tflitekit.passes.options import parse_spec
from tflitekit.quant.rules import RULES

needs_runtime = pytest.mark.skipif(not runtime.available(), reason="needs the extra `runtime`")
EXAMPLE = REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite"


def run(model: Model, **options: Any) -> tk.PassResult:
    return tk.run(model, tk.passes.SetInputStats(**options))


def reinterpret(model: Model, scale: float = 1.0, zero_point: int = 3, **options: Any) -> tk.PassResult:
    return run(model, mode="reinterpret", scale=scale, zero_point=zero_point, **options)


def stored(model: Model, name: str) -> tuple[float, int]:
    q = model.subgraphs[0].tensor(name).quantization
    assert q is not None
    return float(q.scale[0]), int(q.zero_point[0])


def operators(model: Model) -> list[str]:
    return [f"{o.op_name} {' '.join(t.name_str for t in o.inputs if t is not None)}" for o in model.subgraphs[0].operators]


def outputs(model: Model, *inputs: Any, resolver: str = runtime.NO_DELEGATES) -> list[Any]:
    outcome = runtime.run(tk.serialize(model), resolver, inputs=dict(enumerate(inputs)))
    assert outcome.ok, outcome.message
    return [np.frombuffer(data, dtype).reshape(shape) for dtype, shape, data in outcome.outputs]


def graph(build: Callable[[SubGraphBuilder, Tensor], Tensor], type_: str = "INT8", scale: float = 0.5, zero_point: int = 3) -> Model:
    """An input x of shape [1, 4], and what `build` makes of it as the output."""
    builder = ModelBuilder()
    main_graph = builder.subgraph("main")
    x = main_graph.input("x", [1, 4], type_, quantize(scale, zero_point))
    main_graph.output(build(main_graph, x))
    return builder.build()


def fully_connected(g: SubGraphBuilder, x: Tensor, scale: float = 0.5, bias: int = 1000) -> Tensor:
    weights = g.constant("w", (np.arange(2 * x.shape[1]) % 7 - 3).astype(np.int8).reshape(2, -1), quantization=quantize(0.02, 0))
    b = g.constant("b", np.array([bias, -bias], np.int32), quantization=quantize(np.float32(scale) * np.float32(0.02), 0))
    return g.apply("FULLY_CONNECTED", [x, weights, b], TensorSpec("y", [1, 2], x.type, quantize(0.1, 1)), version=4)


# ---- reinterpret ----


def test_the_founding_question() -> None:
    """A placeholder's claim of (0, 255) for images that were normalized by (127.5, 127.5)."""
    model = tk.read(EXAMPLE)
    result = run(model, mode="reinterpret", mean=127.5, std=127.5)
    assert stored(result.model, "input_1_1") == (float(np.float32(1 / 127.5)), 128)
    assert any("Residual: every real value is off by -0.5 codes" in note.text for note in result.notes)
    assert result.writer == "patch"
    conv = next(o for o in model.subgraphs[0].operators if o.op_name == "CONV_2D")
    assert conv.inputs[2] is not None
    name = conv.inputs[2].name_str
    old, new = (m.subgraphs[0].tensor(name) for m in (model, result.model))
    assert old.quantization is not None
    assert new.quantization is not None
    np.testing.assert_allclose(new.quantization.scale, 2 * old.quantization.scale, rtol=1e-6)
    real = [t.numpy() * t.quantization.scale.astype(float) for t in (old, new) if t.quantization is not None]
    assert np.abs(real[0] - real[1]).max() <= 0.5001 * new.quantization.scale.max()
    assert run(result.model, mode="reinterpret", mean=127.5, std=127.5).changes == ()


@needs_runtime
def test_the_founding_question_in_the_runtime() -> None:
    """Images from 0 to 1 have codes in both; the first convolution makes the same of them, which it does not where the scale alone is edited.

    Its output, whose placeholder range takes up 5 codes, is seen through a scale 32 times finer.
    """
    model = tk.read(EXAMPLE)
    new = run(model, mode="reinterpret", mean=127.5, std=127.5).model
    naive = tk.run(model, tk.passes.SetQuantization(tensor=("input_1_1",), scale="2/255", zero_point="128", keep="codes")).model
    conv = model.subgraphs[0].operators[0].outputs[0]
    assert conv is not None
    finer = tk.passes.SetQuantization(tensor=(conv.name_str,), scale=(stored(model, conv.name_str)[0] / 32).hex(), keep="codes")
    at = model.subgraphs[0].tensors.index(conv)
    k = np.random.default_rng(5).integers(0, 128, (1, 128, 128, 3))
    made = []
    for one, codes in ((model, 2 * k), (new, 128 + k), (naive, 128 + k)):
        job = runtime.Job(tk.serialize(tk.run(one, finer).model), runtime.NO_DELEGATES, frames=[{0: codes.astype(np.uint8)}], tensors=((0, at),))
        outcome = runtime.pool().run([job])[0]
        assert outcome.ok
        made.append(np.frombuffer(outcome.outputs[-1][2], np.uint8).astype(int))
    assert len(set(made[0].tolist())) > 20
    assert np.abs(made[0] - made[1]).max() <= 1
    assert np.abs(made[0] - made[2]).max() > 1


def test_the_command_prints_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.tflite"
    assert main(["set-input-stats", str(EXAMPLE), "--mode", "reinterpret", "--mean", "127.5", "--std", "127.5", "-o", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "0.007843137718737125" in printed
    assert "Residual" in printed
    assert stored(tk.read(target), "input_1_1") == (float(np.float32(1 / 127.5)), 128)


def test_biases_are_encoded_again_and_nothing_else_changes() -> None:
    result = reinterpret(convolution())
    assert {c.path for c in result.changes} == {
        "subgraphs[0].tensors[0].quantization.scale", "subgraphs[0].tensors[2].quantization.scale", "buffers[2].data",
    }  # fmt: skip
    bias = result.model.subgraphs[0].tensor("b")
    assert bias.numpy().tolist() == [0, 1, 1]  # half of 0, 1, 2, away from zero
    assert max(note.data.get("max_bias_error", 0) for note in result.notes) == pytest.approx(0.5 * 1.0 * 0.02)
    back = reinterpret(result.model, 0.5)
    assert stored(back.model, "x") == (0.5, 3)
    scales = [m.subgraphs[0].tensor("b").quantization.scale.tobytes() for m in (back.model, convolution())]  # type: ignore[union-attr]
    assert scales[0] == scales[1]


def test_a_bias_that_overflows_is_refused() -> None:
    with pytest.raises(tk.RefusedError, match=r"bias 'b': .* does not fit in INT32"):
        reinterpret(graph(lambda g, x: fully_connected(g, x, bias=2**30)), 1e-4)


def test_a_bias_scale_beside_the_product_stays_beside_it() -> None:
    model = convolution()
    bias = model.subgraphs[0].tensor("b")
    assert bias.quantization is not None
    kept = np.nextafter(bias.quantization.scale, np.float32(1))
    bias.quantization.scale, bias.quantization.min, bias.quantization.max = kept, np.float32([-1]), np.float32([2])
    there = reinterpret(model).model
    q = reinterpret(there, 0.5).model.subgraphs[0].tensor("b").quantization
    assert q is not None
    assert (q.scale.tobytes(), q.min.tolist(), q.max.tolist()) == (kept.tobytes(), [-1], [2])


def test_the_zero_point_may_move_and_ranges_follow() -> None:
    model = convolution()
    x = model.subgraphs[0].inputs[0]
    assert x is not None
    assert x.quantization is not None
    x.quantization.min, x.quantization.max = np.float32([-60]), np.float32([60])
    made = run(model, mode="reinterpret", mean=127.5, std=127.5, dtype="uint8").model
    q = made.subgraphs[0].tensor("x").quantization
    assert q is not None
    assert (q.scale.tolist(), q.zero_point.tolist()) == ([float(np.float32(1 / 127.5))], [0])  # 127.5 is 128 in UINT8, 0 in INT8
    np.testing.assert_allclose([q.min[0], q.max[0]], [-128 / 127.5, 127 / 127.5], rtol=1e-6)


def padded(g: SubGraphBuilder, x: Tensor, fill: int = 5) -> Tensor:
    shape = g.constant("shape", np.array([1, 2, 2, 1], np.int32))
    square = g.apply("RESHAPE", [x, shape], TensorSpec("r", [1, 2, 2, 1], x.type, quantize(0.5, 3)))
    sizes = g.constant("sizes", np.array([[0, 0], [1, 1], [0, 0], [0, 0]], np.int32))
    value = g.constant("fill", np.array([fill], np.int8), quantization=quantize(0.5, 3))
    wide = g.apply("PADV2", [square, sizes, value], TensorSpec("p", [1, 4, 2, 1], x.type, quantize(0.5, 3)), version=2)
    flat = g.apply("RESHAPE", [wide, g.constant("flat", np.array([1, 8], np.int32))], TensorSpec("f", [1, 8], x.type, quantize(0.5, 3)))
    return fully_connected(g, flat)


@needs_runtime
def test_parameters_travel_and_constants_follow() -> None:
    model = graph(padded)
    result = reinterpret(model)
    for name in ("x", "r", "p", "f", "fill"):
        assert stored(result.model, name) == (1.0, 3), name
    assert result.model.subgraphs[0].tensor("fill").numpy().tolist() == [4]  # (5 - 3) * 0.5 = 1
    assert stored(result.model, "y") == stored(model, "y")
    q = np.int8([[-9, 0, 4, 21]])
    before, after = outputs(model, 3 + 2 * (q - 3))[0], outputs(result.model, q)[0]
    assert np.abs(before.astype(int) - after).max() <= 1
    assert not np.array_equal(before, outputs(model, q)[0])


def joined(g: SubGraphBuilder, x: Tensor) -> Tensor:
    """CONCATENATION of x and something else that was computed, which must have its parameters."""
    y = g.apply("RELU", [g.subgraph.inputs[1] or x], TensorSpec("other", [1, 4], x.type, quantize(0.5, 3)), version=2)
    return fully_connected(g, g.apply("CONCATENATION", [y, x], TensorSpec("c", [1, 8], x.type, quantize(0.5, 3)), version=2, axis=1))


def two_inputs() -> Model:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 4], "INT8", quantize(0.5, 3))
    g.input("z", [1, 4], "INT8", quantize(0.25, 0))
    g.output(joined(g, x))
    return builder.build()


@needs_runtime
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_what_comes_from_elsewhere_is_kept_apart_by_a_quantize(scale: float) -> None:
    """A wider range is taken over by the group, a narrower one is brought into the old one; either way the rest keeps its values."""
    model = two_inputs()
    result = reinterpret(model, scale, input="x")
    assert operators(result.model)[0 if scale < 0.5 else 1] == ("QUANTIZE x" if scale < 0.5 else "QUANTIZE other")
    assert stored(result.model, "c") == ((0.5, 3) if scale < 0.5 else (1.0, 3))
    assert stored(result.model, "other") == (0.5, 3)
    q, z = np.int8([[-9, 0, 4, 20]]), np.int8([[4, 8, 12, 40]])
    old = (3 + (q.astype(int) - 3) * scale / 0.5).round().astype(np.int8)
    before, after = outputs(model, old, z)[0], outputs(result.model, q, z)[0]
    assert np.abs(before.astype(int) - after).max() <= 1
    assert len(set(before.ravel().tolist())) > 1
    assert reinterpret(result.model, scale, input="x").changes == ()


def test_ranges_that_do_not_hold_each_other_are_refused_with_both() -> None:
    message = r"CONCATENATION .* cannot follow: 'other', .* comes from elsewhere.* -94 to 33\.5 and the old one -65\.5 to 62\. .*set-quantization"
    with pytest.raises(tk.RefusedError, match=message):
        reinterpret(two_inputs(), 0.5, 60, input="x")


def test_a_constant_that_does_not_fit_keeps_the_operator_apart() -> None:
    model = graph(lambda g, x: padded(g, x, fill=120))
    narrow = reinterpret(model, 0.25).model
    assert operators(narrow)[1:3] == ["QUANTIZE r", "PADV2 r_requantized sizes fill"]
    assert stored(narrow, "r") == (0.25, 3)
    assert (stored(narrow, "r_requantized"), stored(narrow, "fill"), stored(narrow, "p")) == ((0.5, 3),) * 3


def custom(g: SubGraphBuilder, x: Tensor) -> Tensor:
    y = g.tensor("y", [1, 4], "INT8", quantize(0.1, 0))
    g.custom("thing", [x], [y])
    return y


def cast(g: SubGraphBuilder, x: Tensor) -> Tensor:
    return g.apply("CAST", [x], TensorSpec("y", [1, 4], "FLOAT32"))


def basic_lstm(g: SubGraphBuilder, x: Tensor) -> Tensor:
    state = g.constant("h", np.zeros((1, 2), np.uint8), quantization=quantize(1 / 128, 128))
    weights = g.constant("w", np.zeros((8, 6), np.uint8), quantization=quantize(0.01, 100))
    bias = g.constant("b", np.zeros(8, np.int32), quantization=quantize(0.005, 0))
    cell = g.constant("c", np.zeros((1, 2), np.int16), quantization=quantize(1 / 2048, 0))
    y = g.tensor("y", [1, 2], "UINT8", quantize(1 / 128, 128))
    g.operator("LSTM", [x, state, weights, bias, cell], [y], kernel_type="BASIC")
    return y


def unknown(g: SubGraphBuilder, x: Tensor) -> Tensor:
    return g.apply("UNIQUE", [x], TensorSpec("y", [1, 4], "INT8", quantize(0.1, 0)))


@pytest.mark.parametrize(
    ("build", "type_", "message"),
    [
        (custom, "INT8", r"thing \(subgraphs\[0\].operators\[0\]\) reads 'x' and cannot follow: what it computes is not in the file"),
        (cast, "INT8", "CAST .* it takes codes as plain numbers"), (basic_lstm, "UINT8", "LSTM .* the basic LSTM cell"),
        (unknown, "INT8", "UNIQUE .* what it makes of parameters is not known"),
    ],
)  # fmt: skip
def test_operators_that_cannot_follow_are_named(build: Any, type_: str, message: str) -> None:
    model = graph(build, type_)
    with pytest.raises(tk.RefusedError, match=f"{message}.* would clip: the new range"):
        reinterpret(model)
    narrow = reinterpret(model, 0.25).model
    assert operators(narrow)[0] == "QUANTIZE x"
    assert (stored(narrow, "x"), stored(narrow, "x_requantized")) == ((0.25, 3), (0.5, 3))
    assert reinterpret(narrow, 0.25).changes == ()


def test_a_computed_bias_cannot_follow() -> None:
    def build(g: SubGraphBuilder, x: Tensor) -> Tensor:
        bias = g.apply("CAST", [x], TensorSpec("b", [2], "INT32", quantize(0.01, 0)))
        weights = g.constant("w", np.ones((2, 4), np.int8), quantization=quantize(0.02, 0))
        return g.apply("FULLY_CONNECTED", [g.subgraph.inputs[1] or x, weights, bias], TensorSpec("y", [1, 2], "INT8", quantize(0.1, 1)), version=4)

    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 4], "INT8", quantize(0.5, 3))
    g.input("z", [1, 4], "INT8", quantize(0.5, 3))
    g.output(build(g, x))
    with pytest.raises(tk.RefusedError, match=r"FULLY_CONNECTED .* its bias 'b' cannot be encoded again"):
        reinterpret(builder.build(), input="z")


def test_a_higher_version_is_given_to_the_operator_that_needs_it() -> None:
    """MUL needs another version where input scale x other scale is no less than the output scale."""
    def build(g: SubGraphBuilder, x: Tensor) -> Tensor:
        other = g.constant("k", np.array([[5]], np.int8), quantization=quantize(0.02, 0))
        first = g.apply("MUL", [x, other], TensorSpec("m", [1, 4], "INT8", quantize(0.1, 0)), version=2)
        return g.apply("MUL", [first, other], TensorSpec("y", [1, 4], "INT8", quantize(0.1, 0)), version=2)

    model = graph(build)
    model.metadata.append(Metadata(name=b"min_runtime_version", buffer=model.add_buffer(b"1.5.0".ljust(16, b"\0"))))
    made = reinterpret(model, 10.0).model
    versions = [o.opcode.version for o in made.subgraphs[0].operators if o.opcode is not None]
    assert versions == [3, 2]
    assert bytes(made.metadata[0].buffer.data or b"").rstrip(b"\0") != b"1.5.0"  # type: ignore[union-attr]
    assert [o.opcode.version for o in reinterpret(model, 1.0).model.subgraphs[0].operators if o.opcode is not None] == [2, 2]


def test_a_constant_that_others_read_is_copied() -> None:
    def build(g: SubGraphBuilder, x: Tensor) -> Tensor:
        fill = g.constant("fill", np.array([[5, 5, 7, 9]], np.int8), quantization=quantize(0.5, 3))
        g.output(g.apply("RELU", [fill], TensorSpec("side", [1, 4], "INT8", quantize(0.5, 3)), version=2))
        return g.apply("MAXIMUM", [x, fill], TensorSpec("y", [1, 4], "INT8", quantize(0.5, 3)), version=2)

    made = reinterpret(graph(build)).model
    assert operators(made) == ["RELU fill", "MAXIMUM x fill_requantized"]
    assert (stored(made, "fill"), stored(made, "fill_requantized"), stored(made, "y")) == ((0.5, 3), (1.0, 3), (1.0, 3))
    values = [made.subgraphs[0].tensor(name).numpy().tolist() for name in ("fill", "fill_requantized")]
    assert values == [[[5, 5, 7, 9]], [[4, 4, 5, 6]]]


def as_weights(code: str) -> Model:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [2, 4], "INT8", quantize(0.5, 0))
    data = g.input("data", [1, 4], "INT8", quantize(0.5, 0))
    more = {"adj_y": True} if code == "BATCH_MATMUL" else {}
    g.output(g.apply(code, [data, x], TensorSpec("y", [1, 2], "INT8", quantize(0.5, 0)), version=4, **more))
    return builder.build()


def test_inputs_that_serve_as_weights_keep_zero_point_0() -> None:
    with pytest.raises(tk.RefusedError, match=r"FULLY_CONNECTED .* it serves as weights, whose zero point is 0"):
        reinterpret(as_weights("FULLY_CONNECTED"), 2.0, 5, input="x")
    assert stored(reinterpret(as_weights("FULLY_CONNECTED"), 2.0, 0, input="x").model, "x") == (2.0, 0)
    assert stored(reinterpret(as_weights("BATCH_MATMUL"), 2.0, 5, input="x").model, "x") == (2.0, 5)


def test_types_without_a_kernel_are_not_guessed_at() -> None:
    def build(g: SubGraphBuilder, x: Tensor) -> Tensor:
        return g.apply("SQUARED_DIFFERENCE", [x, x], TensorSpec("y", [1, 4], "UINT8", quantize(0.5, 3)), version=2)

    with pytest.raises(tk.RefusedError, match=r"SQUARED_DIFFERENCE .* no kernel is known that computes UINT8"):
        reinterpret(graph(build, "UINT8"))


def test_subgraphs_that_operators_run_are_left_alone() -> None:
    builder = ModelBuilder()
    g, body = builder.subgraph("main"), builder.subgraph("body")
    inner = body.input("i", [1, 4], "INT8", quantize(0.5, 3))
    body.output(body.apply("RELU", [inner], TensorSpec("o", [1, 4], "INT8", quantize(0.5, 3)), version=2))
    x = g.input("x", [1, 4], "INT8", quantize(0.5, 3))
    y = g.tensor("y", [1, 4], "INT8", quantize(0.5, 3))
    g.operator("CALL", [x], [y], subgraph=body)
    g.output(y)
    builder.signature("body", {"i": inner}, {}, body)
    model = builder.build()
    for options in ({"mode": "reinterpret", "scale": 1.0, "zero_point": 3}, {"mode": "feed-raw", "mean": 0, "std": 255}):
        with pytest.raises(tk.RefusedError, match=r"input 'i' belongs to a subgraph that CALL \(.*\) runs too"):
            run(model, input="i", **options)
    with pytest.raises(tk.RefusedError, match=r"CALL .* reads 'x' and cannot follow"):
        reinterpret(model, input="x")


def test_variables_do_not_lead_out_of_a_subgraph_that_is_run() -> None:
    model = assigned(False)
    init = model.subgraphs[1]
    handle = next(t for o in init.operators for t in o.outputs if t is not None)
    out = init.add_tensor(Tensor(name="out", shape=(1, 4), type="INT8", quantization=quantize(0.5, 3), buffer=model.buffers[0]))  # type: ignore[arg-type]
    read = next(o for o in model.subgraphs[0].operators if o.op_name == "READ_VARIABLE")
    init.operators.append(tk.Operator(opcode=read.opcode, inputs=[handle], outputs=[out]))
    init.outputs.append(out)
    with pytest.raises(tk.RefusedError, match=r"'out' is an input or output of a subgraph that CALL_ONCE .* runs"):
        reinterpret(model)


def test_a_bias_after_layer_normalization_depends_on_no_input() -> None:
    rule = RULES[BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM].biases[0]
    one = Tensor(name="t", shape=(1,), type="INT8", quantization=quantize(0.5, 0))  # type: ignore[arg-type]
    assert product(tk.Operator(inputs=[one] * 20), rule) is not None
    assert product(tk.Operator(inputs=[one] * 24), rule) is None


def test_a_bias_without_parameters_gets_none() -> None:
    model = convolution()
    model.subgraphs[0].tensor("b").quantization = None
    bias = reinterpret(model).model.subgraphs[0].tensor("b")
    assert (bias.quantization, bias.numpy().tolist()) == (None, [0, 1, 1])


def test_quantize_that_only_changes_the_sign_passes_parameters_on() -> None:
    model = graph(lambda g, x: fully_connected(g, g.apply("QUANTIZE", [x], TensorSpec("s", [1, 4], "INT8", quantize(0.5, -128)))), "UINT8", 0.5, 0)
    made = run(model, mode="reinterpret", mean=128, std=128).model
    assert (stored(made, "x"), stored(made, "s")) == ((1 / 128, 128), (1 / 128, 0))


def test_quantize_that_clips_is_told() -> None:
    model = graph(lambda g, x: g.apply("QUANTIZE", [x], TensorSpec("s", [1, 4], "INT8", quantize(0.1, 0))))
    notes = [note.text for note in reinterpret(model).notes if note.kind == "remark"]
    assert any(text.startswith("clips -131 to 124 to -12.8 to 12.7") for text in notes), notes


def assigned(twice: bool) -> Model:
    """A variable that holds the input of the run before, or what is made of its own value if `twice`."""
    builder = ModelBuilder()
    g, init = builder.subgraph("main"), builder.subgraph("init")
    start = init.constant("zero", np.full((1, 4), 3, np.int8), quantization=quantize(0.5, 3))
    init.operator("ASSIGN_VARIABLE", [init.apply("VAR_HANDLE", [], TensorSpec("v0", [], "RESOURCE"), shared_name="state"), start], [])
    x = g.input("x", [1, 4], "INT8", quantize(0.5, 3))
    g.operator("CALL_ONCE", [], [], init_subgraph=init)
    handle = g.apply("VAR_HANDLE", [], TensorSpec("v1", [], "RESOURCE"), shared_name="state")
    old = g.apply("READ_VARIABLE", [handle], TensorSpec("old", [1, 4], "INT8", quantize(0.5, 3)))
    if twice:
        other = g.apply("RELU", [old], TensorSpec("other", [1, 4], "INT8", quantize(0.5, 3)), version=2)
        g.operator("ASSIGN_VARIABLE", [handle, other], [])
    g.operator("ASSIGN_VARIABLE", [handle, x], [])
    g.output(fully_connected(g, old))
    return builder.build()


def test_variables_follow_in_all_subgraphs() -> None:
    made = reinterpret(assigned(False)).model
    assert (stored(made, "x"), stored(made, "old")) == ((1.0, 3), (1.0, 3))
    zero = made.subgraphs[1].tensor("zero")
    assert zero.quantization is not None
    assert (zero.quantization.scale.tolist(), zero.numpy().tolist()) == ([1.0], [[3] * 4])


def test_variables_that_hold_something_else_are_kept_apart() -> None:
    wide = reinterpret(assigned(True)).model
    assert "ASSIGN_VARIABLE v1 other_requantized" in operators(wide)
    assert (stored(wide, "old"), stored(wide, "other"), stored(wide, "other_requantized")) == ((1.0, 3), (0.5, 3), (1.0, 3))
    narrow = reinterpret(assigned(True), 0.25).model
    assert "ASSIGN_VARIABLE v1 x_requantized" in operators(narrow)
    assert (stored(narrow, "old"), stored(narrow, "x")) == ((0.5, 3), (0.25, 3))


def test_options_that_do_not_go_together_are_refused() -> None:
    for options, message in (
        ({"mean": 1.0, "std": 1.0}, "--mode is missing: `reinterpret`"), ({"mode": "reinterpret"}, "give one pair of --mean and --std or"),
        ({"mode": "reinterpret", "mean": 1.0}, "give one pair"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 1.0, "min": 0.0, "max": 1.0}, "one pair"),
        ({"mode": "reinterpret", "mean": (1.0, 2.0), "std": 1.0}, "one scale for all channels"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 1.0, "exact": True}, "--exact and --fold go with --mode feed-raw"),
        ({"mode": "feed-raw", "min": 0.0, "max": 1.0, "fold": True}, "--exact and --fold go with"),
        ({"metadata_only": True, "mode": "feed-raw", "mean": 1.0, "std": 1.0}, "--metadata-only goes without --mode"),
        ({"metadata_only": True, "min": 0.0, "max": 1.0}, "--metadata-only takes --mean and --std"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 0.0}, "a std must be above zero"),
    ):  # fmt: skip
        with pytest.raises(tk.EditError, match=message):
            tk.passes.SetInputStats(**options)


@pytest.mark.parametrize("text", ["mode=reinterpret,mean=127.5,std=255/2", "mode=feed-raw,mean='1,2,3',std=0x1p3,exact"])
def test_options_survive_the_text_of_a_pass(text: str) -> None:
    one = parse_spec(f"set-input-stats{{{text}}}")
    assert parse_spec(one.describe()) == one


@pytest.mark.parametrize("text", ["x", "1/0", "nan", "1e999", "1,,2"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(tk.EditError, match=r"is no number|is not finite"):
        parse_spec(f"set-input-stats{{mode=feed-raw,mean='{text}',std=1}}")


@pytest.mark.parametrize("name", ["z", "second", "s:second", "1", "0:1"])
def test_inputs_have_several_names(name: str) -> None:
    model = two_inputs()
    with pytest.raises(tk.EditError, match=r"which input.*'x' \(0:0\), 'z' \(0:1\)"):
        reinterpret(model)
    g = model.subgraphs[0]
    model.signature_defs.append(tk.SignatureDef(signature_key="s", subgraph=g, inputs={"second": g.tensors[1]}))
    assert stored(reinterpret(model, 0.5, 0, input=name).model, "z") == (0.5, 0)
    with pytest.raises(tk.EditError, match=r"no input is named 'secnd'; did you mean 'second'"):
        reinterpret(model, input="secnd")


def test_inputs_that_have_no_parameters_are_refused_with_a_way_out() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(g.apply("RELU", [g.input("x", [1, 4], "FLOAT32")], TensorSpec("y", [1, 4], "FLOAT32")))
    with pytest.raises(tk.RefusedError, match=r"no input of this model is quantized.*'x' \(FLOAT32\)"):
        reinterpret(builder.build())
    with pytest.raises(tk.RefusedError, match=r"`--mode feed-raw` makes an input of raw bytes"):
        reinterpret(builder.build(), input="x")
    with pytest.raises(tk.EditError, match="the input holds INT8 codes"):
        reinterpret(convolution(), dtype="int16", zero_point=0)


# ---- feed-raw ----


def float_model(read: str = "CONV_2D", padding: str = "VALID", bias: float | None = 1) -> Model:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 5, 5, 3], "FLOAT32")
    rng = np.random.default_rng(3)
    depthwise = read == "DEPTHWISE_CONV_2D"
    shape = (1, 2, 2, 6) if depthwise else (6, 2, 2, 3)
    more = {"depth_multiplier": 2} if depthwise else {}
    operands = [x, g.constant("w", rng.normal(size=shape).astype(np.float32))]
    if bias is not None:
        operands.append(g.constant("b", rng.normal(size=6).astype(np.float32) * np.float32(bias)))
    side = 4 if padding == "VALID" else 5
    g.output(g.apply(read, operands, TensorSpec("y", [1, side, side, 6], "FLOAT32"), padding=padding, stride_w=1, stride_h=1, **more))
    builder.signature("serving_default", {"image": x})
    return builder.build()


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


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


def test_parameters_that_are_there_are_left() -> None:
    result = run(convolution(), mode="feed-raw", mean=3, std=2, dtype="int8")
    assert (result.changes, [note.kind for note in result.notes]) == ((), ["remark"])


def test_plain_integers_are_fed_raw_already() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(g.apply("CAST", [g.input("x", [1, 4], "UINT8")], TensorSpec("y", [1, 4], "FLOAT32")))
    with pytest.raises(tk.RefusedError, match=r"'x' is UINT8 without parameters: it takes plain numbers already"):
        run(builder.build(), mode="feed-raw", mean=1, std=1, input="x")


# ---- metadata ----


def described(model: Model, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (255.0,)) -> Model:
    units = [ProcessUnit(options=NormalizationOptions(mean=mean, std=std))]
    content, stats = Content(content_properties=ImageProperties()), Stats(max=(1.0,), min=(-1.0,))
    about = SubGraphMetadata(input_tensor_metadata=[TensorMetadata(name=b"image", content=content, process_units=units, stats=stats)])
    tk.write_metadata(model, ModelMetadata(name=b"m", subgraph_metadata=[about], min_parser_version=b"1.3.0"))
    return model


def stated(model: Model) -> tuple[Any, ...]:
    metadata = tk.read_metadata(model)
    assert metadata is not None
    about = metadata.subgraph_metadata[0].input_tensor_metadata[0]
    options = next(unit.options for unit in about.process_units if isinstance(unit.options, NormalizationOptions))
    stats = about.stats
    return options.mean, options.std, () if stats is None else stats.min, () if stats is None else stats.max


def test_normalization_and_quantization_go_together() -> None:
    """A byte that is normalized and then quantized with the input's parameters gives the code of that byte."""
    cases: list[tuple[Model, dict[str, Any], tuple[Any, ...]]] = [
        (convolution(), {"mode": "reinterpret", "mean": -0.5, "std": 127.5}, ((127.5,), (127.5,), (-1,), (1,))),
        (convolution("UINT8"), {"mode": "reinterpret", "mean": 127.5, "std": 127.5}, ((127.5,), (127.5,), (-1,), (1,))),
        (float_model(), {"mode": "feed-raw", "mean": 127.5, "std": 127.5}, ((127.5,), (127.5,), (0,), (255,))),
        (float_model(), {"mode": "feed-raw", "mean": -0.5, "std": 127.5, "dtype": "int8"}, ((127.5,), (127.5,), (-128,), (127,))),
        (float_model(), {"mode": "feed-raw", "mean": 127.5, "std": 127.5, "exact": True}, ((0,), (1,), (0,), (255,))),
        (float_model(), {"mode": "feed-raw", "mean": MEAN, "std": STD, "fold": True}, ((0,), (1,), (0,), (255,))),
    ]
    for model, options, expected in cases:
        made = run(described(model), **options).model
        assert stated(made) == expected, options
        metadata = tk.read_metadata(made)
        assert metadata is not None
        assert (metadata.name, metadata.min_parser_version) == (b"m", b"1.3.0")
        facts = [f.code for f in tk.audit(made).findings if f.code.startswith("Q90")]
        assert facts == [], options


def test_nothing_is_stated_where_nothing_was() -> None:
    model = convolution()
    tk.write_metadata(model, ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[TensorMetadata(name=b"x")])]))
    before = tk.serialize(model)
    made = reinterpret(tk.parse(before)).model
    metadata = tk.read_metadata(made)
    assert metadata is not None
    assert metadata.subgraph_metadata[0].input_tensor_metadata[0].process_units == []


def test_damaged_metadata_is_left() -> None:
    model = convolution()
    model.metadata.append(Metadata(name=b"TFLITE_METADATA", buffer=model.add_buffer(bytes(64))))
    result = reinterpret(model)
    assert any("the metadata is left as it is" in note.text for note in result.notes)
    assert bytes(result.model.metadata[0].buffer.data or b"") == bytes(64)  # type: ignore[union-attr]


def test_normalization_can_be_set_alone() -> None:
    made = run(float_model(), metadata_only=True, mean=MEAN, std=STD)
    assert {change.path.partition("[")[0] for change in made.changes} == {"metadata", "buffers"}
    assert stated(made.model)[0] == pytest.approx(MEAN)
    assert run(made.model, metadata_only=True, mean=MEAN, std=STD).changes == ()
    again = run(made.model, metadata_only=True, mean=1, std=2)
    assert stated(again.model)[:2] == ((1.0,), (2.0,))
    with pytest.raises(tk.RefusedError, match="it is for 2 channels, the tensor has 3"):
        run(float_model(), metadata_only=True, mean=(1, 2), std=(1, 2))
