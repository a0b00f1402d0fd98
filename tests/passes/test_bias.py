"""Biases that follow the scales around them: which they are, what their codes mean, and what becomes of parameters and sharing."""

from __future__ import annotations

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution
from tflitekit._base import fields_of
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.errors import RefusedError
from tflitekit.graph import Model, Operator, QuantizationParameters, Tensor
from tflitekit.passes.base import Notes
from tflitekit.passes.bias import BiasKeeper, bias_uses, reencoded


def two_readers() -> Model:
    """FULLY_CONNECTED operators on inputs of two scales that share weights and bias."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    w = main.constant("w", np.ones((3, 4), np.int8), quantization=quantize(0.25))
    b = main.constant("b", np.array([100, -50, 7], np.int32), quantization=quantize(0.125))
    for name in "xy":
        given = main.input(name, [1, 4], "INT8", quantize(0.5))
        main.output(main.apply("FULLY_CONNECTED", [given, w, b], TensorSpec(f"{name}_out", [1, 3], "INT8", quantize(1.0))))
    return builder.build()


def parameters(tensor: Tensor) -> QuantizationParameters:
    assert tensor.quantization is not None
    return tensor.quantization


def bias_of(operator: Operator) -> Tensor:
    assert operator.inputs[2] is not None
    return operator.inputs[2]


def halved(model: Model, name: str = "x") -> Notes:
    keeper, notes = BiasKeeper(model), Notes()
    q = parameters(model.subgraphs[0].tensor(name))
    q.scale = q.scale / 2
    keeper.restore(notes)
    return notes


def test_a_bias_that_two_operators_read_at_other_scales_becomes_two() -> None:
    model = two_readers()
    halved(model)
    first, second = (bias_of(operator) for operator in model.operators())
    assert (first.numpy().tolist(), parameters(first).scale.tolist()) == ([200, -100, 14], [0.0625])
    assert (second.numpy().tolist(), parameters(second).scale.tolist(), second.name) == ([100, -50, 7], [0.125], b"b")
    assert first.name == b"b_1" and first.buffer is not second.buffer


def test_what_is_stored_of_a_bias_stays_stored() -> None:
    """Files from `flatc --force-defaults` store a dimension of 0; dropping it would need a new layout."""
    model = convolution()
    stored = parameters(model.subgraphs[0].tensor("b"))
    slot = next(field.slot for field in fields_of(QuantizationParameters) if field.attribute == "quantized_dimension")
    object.__setattr__(stored, "_present", stored._present | 1 << slot)
    model = tk.parse(tk.serialize(model))
    halved(model)
    assert parameters(model.subgraphs[0].tensor("b")).has("quantized_dimension")
    assert {change.path.rpartition(".")[2] for change in tk.diff(tk.parse(model.source.data), model)} == {"scale", "data"}


def test_a_bias_that_one_operator_reads_is_edited_where_it_is() -> None:
    model = convolution()
    before, count = model.subgraphs[0].tensor("b").numpy().tolist(), len(model.subgraphs[0].tensors)
    assert len(halved(model)) == 1
    assert model.subgraphs[0].tensor("b").numpy().tolist() == [2 * code for code in before]
    assert len(model.subgraphs[0].tensors) == count


def test_scales_that_stay_bit_by_bit_leave_the_bias_alone() -> None:
    model, notes = convolution(), Notes()
    assert BiasKeeper(model).restore(notes) == 0
    assert len(notes) == 0


@pytest.mark.parametrize("stored", [None, [], [3.0, 3.0, 3.0]])
def test_what_is_stored_beside_the_product_follows_in_proportion(stored: list[float] | None) -> None:
    model = convolution()
    bias = model.subgraphs[0].tensor("b")
    before = bias.numpy().tolist()
    bias.quantization = None if stored is None else QuantizationParameters(scale=stored, zero_point=[0] * len(stored), min=[-1], max=[1])
    halved(model)
    assert bias.numpy().tolist() == [2 * code for code in before]
    if stored:
        q = parameters(bias)
        assert (q.scale.tolist(), q.zero_point.tolist(), q.min.tolist()) == ([1.5] * 3, [0] * 3, [-1])
    else:
        assert bias.quantization is None or not len(bias.quantization.scale)


@pytest.mark.parametrize(("points", "expected"), [([0], [0]), ([0, 0, 0], [0, 0, 0]), ([5, 0, 0], [0, 0, 0])])
def test_zero_points_of_a_bias_are_zero_and_as_many_as_they_were(points: list[int], expected: list[int]) -> None:
    model = convolution()
    parameters(model.subgraphs[0].tensor("b")).zero_point = points
    halved(model)
    assert parameters(model.subgraphs[0].tensor("b")).zero_point.tolist() == expected


@pytest.mark.parametrize("name", ["x", "w"])
def test_without_both_factors_nothing_is_known_of_a_bias(name: str) -> None:
    model = convolution()
    assert len(list(bias_uses(model))) == 1
    model.subgraphs[0].tensor(name).quantization = None
    assert list(bias_uses(model)) == []
    model.subgraphs[0].operators[0].opcode = None
    assert list(bias_uses(model)) == []


def test_a_new_type_is_for_the_operators_that_are_named() -> None:
    model, notes = two_readers(), Notes()
    keeper, (first, second) = BiasKeeper(model), list(model.operators())
    keeper.restore(notes, TensorType.INT64, {first})
    assert (bias_of(first).type, bias_of(first).numpy().tolist()) == (TensorType.INT64, [100, -50, 7])
    assert bias_of(second).type == TensorType.INT32


@pytest.mark.parametrize(("type_", "fits", "beyond"), [("INT32", 2.0**31 - 1, 2.0**31), ("INT64", 2.0**63 - 1024, 2.0**63)])
def test_codes_are_rounded_half_away_and_fit_or_are_refused(type_: str, fits: float, beyond: float) -> None:
    bias = Tensor(name="b", shape=[2], type=TensorType.INT32)
    ModelBuilder().subgraph("main").subgraph.add_tensor(bias)
    model = Model()
    model.set_data(bias, np.array([1, -1], np.int32))
    kind = TensorType[type_]
    codes, error = reencoded(bias, np.float32([2.5]), np.float32([1]), kind)
    assert (codes.tolist(), error) == ([3, -3], 0.5)
    for value in (fits, -fits):
        made, _ = reencoded(bias, np.array([value]), np.array([1.0]), kind)  # type: ignore[arg-type]
        assert abs(int(made[0])) == int(fits)
    with pytest.raises(RefusedError, match=rf"bias 'b': .* does not fit in {type_}"):
        reencoded(bias, np.array([beyond]), np.array([1.0]), kind)  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="does not fit"):
        reencoded(bias, np.float32([np.nan]), np.float32([1]), kind)
