"""`fix-quantization` of biases: FLOAT16 behind DEQUANTIZE, and scales that contradict the input's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.passes.test_fix_quantization import findings, fix
from tests.passes.weight_models import floats, halved, single
from tests.runtime import needs_runtime
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor
from tflitekit.passes import surgery
from tflitekit.passes.options import parse_spec

OTHERS = (runtime.NO_DELEGATES, runtime.REFERENCE)  # what runs a model with a FLOAT16 bias


def hybrid(operator: str = "FULLY_CONNECTED", spec: str = "int8") -> Model:
    """An operator with weights "w" of a type and a FLOAT16 bias "b" behind DEQUANTIZE."""
    return halved(tk.run(single(operator), parse_spec(f"requantize-weights{{to={spec}}}")).model)


def layers(count: int, shared: bool = False) -> Model:
    """Several hybrid FULLY_CONNECTED in a row, with FLOAT16 biases "b0", "b1"... or one for all."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x, bias = main.input("x", [3, 8]), main.constant("b", floats(8)) if shared else None
    for number in range(count):
        weights = main.constant(f"w{number}", np.eye(8, dtype=np.int8) * 100, quantization=quantize(0.01))
        given = bias or main.constant(f"b{number}", floats(8) + number)
        x = main.apply("FULLY_CONNECTED", [x, weights, given], TensorSpec(f"y{number}", [3, 8]))
    main.output(x)
    return halved(builder.build())


def named(model: Model, name: str) -> Tensor:
    return model.subgraphs[0].tensor(name)


def shape_of(model: Model) -> list[tuple[str, list[str]]]:
    """The operators with what they read."""
    return [(o.op_name, ["" if t is None else t.name_str for t in o.inputs]) for o in model.operators()]


def runs_as(model: Model, result: Model) -> bool:
    """Whether what a model computes without XNNPACK is what comes out after the repair, and XNNPACK takes that too."""
    before, after = ([runtime.run(tk.serialize(m), resolver) for resolver in OTHERS] for m in (model, result))
    return all(one.ok and one.outputs == other.outputs for one, other in zip(before, after, strict=True)) and runtime.run(tk.serialize(result)).ok


@needs_runtime
@pytest.mark.parametrize(("operator", "spec"), [
    ("CONV_2D", "int8"), ("CONV_2D", "int8,granularity=per-tensor"), ("FULLY_CONNECTED", "int8"), ("FULLY_CONNECTED", "int4"),
    ("FULLY_CONNECTED", "int2"), ("FULLY_CONNECTED", "int4,granularity=blockwise-32"),
])  # fmt: skip
def test_a_float16_bias_becomes_a_float32_constant(operator: str, spec: str) -> None:
    model = hybrid(operator, spec)
    assert "Q304" in findings(model) and not runtime.run(tk.serialize(model)).ok
    values, result = named(model, "b").numpy(), fix(model, "Q304").model
    bias = named(result, "b")
    assert bias.type == TensorType.FLOAT32 and bias.is_constant and np.array_equal(bias.numpy(), values.astype(np.float32))
    assert shape_of(result) == [(operator, ["x", "w", "b"])]
    assert [t.name for t in result.tensors()] == [t.name for t in model.tensors() if t.name != b"b_dequantize"]
    assert "Q304" not in findings(result) and tk.verify(result) == [] and fix(result, "Q304").changes == ()
    assert named(model, "b").type == TensorType.FLOAT16 and runs_as(model, result)


@pytest.mark.parametrize(("operator", "spec"), [("DEPTHWISE_CONV_2D", "int8"), ("TRANSPOSE_CONV", "int8"), ("CONV_2D", "int8,form=explicit")])
def test_where_nothing_minds_it_a_float16_bias_stays(operator: str, spec: str) -> None:
    assert fix(hybrid(operator, spec)).changes == ()


@needs_runtime
def test_all_of_many_are_repaired_at_once_and_the_list_of_positions_goes() -> None:
    model = layers(7)
    model.metadata.append(tk.Metadata(name="model_control_dependencies", buffer=model.add_buffer(b"stale")))
    result = fix(model)
    assert findings(model).count("Q304") == 7 and "Q304" not in findings(result.model)
    assert shape_of(result.model)[1:3] == [("FULLY_CONNECTED", ["y0", "w1", "b1"]), ("FULLY_CONNECTED", ["y1", "w2", "b2"])]
    assert result.model.metadata == [] and sum("model_control_dependencies taken out" in n.text for n in result.notes) == 1
    assert runs_as(model, result.model)


@needs_runtime
def test_operators_that_share_a_bias_go_on_doing_so() -> None:
    model = layers(3, shared=True)
    result = fix(model).model
    assert shape_of(result) == [("FULLY_CONNECTED", [read, f"w{n}", "b"]) for n, read in enumerate(("x", "y0", "y1"))]
    assert runs_as(model, result)


def add_reader(model: Model) -> None:
    """Another operator reads what DEQUANTIZE makes."""
    main = model.subgraphs[0]
    made = Tensor(name="sum", shape=(3, 8), buffer=model.buffers[0])
    y = main.outputs[0]
    main.operators.append(surgery.make_operator(
        model, BuiltinOperator.ADD, [y, named(model, "b_dequantize")], [main.add_tensor(made)], fused_activation_function="NONE",
    ))  # fmt: skip
    main.outputs = [made]


def add_second_dequantize(model: Model) -> None:
    """Another DEQUANTIZE reads the FLOAT16 numbers, for another operator."""
    main = model.subgraphs[0]
    add_reader(model)
    own = surgery.tensor_like(model, main, named(model, "b_dequantize"), "_2", TensorType.FLOAT32, None)
    surgery.convert(model, main, named(model, "b"), own, 0)
    main.operators[-1].inputs[1] = own


def add_sharer(model: Model) -> None:
    """Another tensor has the same buffer, and is read."""
    main, bias = model.subgraphs[0], named(model, "b")
    other = main.add_tensor(Tensor(name="b2", shape=bias.shape, type=bias.type, buffer=bias.buffer))
    add_reader(model)
    own = surgery.tensor_like(model, main, other, "_dequantize", TensorType.FLOAT32, None)
    surgery.convert(model, main, other, own, 0)
    main.operators[-1].inputs[1] = own


def add_cast(model: Model) -> None:
    """An operator reads the FLOAT16 numbers themselves."""
    main = model.subgraphs[0]
    wide = main.add_tensor(Tensor(name="wide", shape=(8,), buffer=model.buffers[0]))
    main.operators.append(surgery.make_operator(
        model, BuiltinOperator.CAST, [named(model, "b")], [wide], in_data_type=TensorType.FLOAT16, out_data_type=TensorType.FLOAT32,
    ))  # fmt: skip
    main.outputs = [*main.outputs, wide]


def show(model: Model) -> None:
    """The dequantized numbers are an output of the graph."""
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, "b_dequantize")]


BESIDE: dict[str, tuple[Callable[[Model], None], list[str], list[str]]] = {
    "reads what DEQUANTIZE makes": (add_reader, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b", "b_1"]),
    "has a DEQUANTIZE of its own": (add_second_dequantize, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b", "b_1"]),
    "has the same buffer": (add_sharer, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b2", "b"]),
    "reads FLOAT16": (add_cast, ["FULLY_CONNECTED", "CAST"], ["b", "b_1"]),
    "is an output": (show, ["FULLY_CONNECTED"], ["", "b"]),
}


@needs_runtime
@pytest.mark.parametrize("who", list(BESIDE))
def test_who_else_reads_it_sees_no_change(who: str) -> None:
    edit, expected, (half, whole) = BESIDE[who]
    model = hybrid()
    edit(model)
    before, values = tk.serialize(model), named(model, "b").numpy()
    result = fix(model).model
    assert "Q304" not in findings(result) and tk.verify(result) == [] and tk.serialize(model) == before
    assert [o.op_name for o in result.operators()] == expected
    dense = next(o for o in result.operators() if o.op_name == "FULLY_CONNECTED")
    assert dense.inputs[2] is named(result, whole) and np.array_equal(named(result, whole).numpy(), values.astype(np.float32))
    if half:
        assert named(result, half).type == TensorType.FLOAT16 and np.array_equal(named(result, half).numpy(), values)
    assert runs_as(model, result)


def test_a_bias_that_cannot_be_stored_otherwise_is_left_with_the_reason() -> None:
    model = hybrid()
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, "b")]
    result = fix(model)
    assert result.changes == () and "Not repaired: it is an input or output of its subgraph" in result.refused[0].text


@needs_runtime
def test_requantize_weights_leaves_an_output_of_dequantized_values_as_an_output() -> None:
    """DEQUANTIZE takes no FLOAT32: the output is the constant itself."""
    model = halved(single("FULLY_CONNECTED"))
    for name in ("w", "b"):
        model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, f"{name}_dequantize")]
    for spec in ("to=float32", "to=int8"):
        result = tk.run(model, parse_spec(f"requantize-weights{{{spec}}}")).model
        outcomes = [runtime.run(tk.serialize(result), resolver) for resolver in (runtime.DEFAULT, *OTHERS)]
        assert all(outcome.ok and outcome.outputs[2][2] == named(model, "b").numpy().astype(np.float32).tobytes() for outcome in outcomes), spec
