"""`set-input-stats --mode reinterpret` on small models: what follows the input, what is kept apart from it, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution
from tests.passes.input_stats import cast, fully_connected, graph, operators, outputs, reinterpret, run, stored, two_inputs
from tests.runtime import needs_runtime
from tflitekit._schema import BuiltinOperator
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Metadata, Model, Tensor
from tflitekit.passes.bias import product
from tflitekit.quant.rules import RULES


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
    with pytest.raises(tk.RefusedError, match=r"bias 'b': .* does not fit in INT32.*`set-quantization --keep codes` sets that tensor alone"):
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
