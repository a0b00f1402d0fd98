"""`observe`: ranges against numpy's, over samples, in real values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.reports.facts_observe import observe_facts
from tflitekit.runtime import Observation, RandomData, Seen

from ..runtime import needs_runtime
from .models import BIAS, IN, WEIGHT_SCALE, WEIGHTS, dense, elementwise, float_dense

pytestmark = needs_runtime


def seen(result: Observation, name: str) -> Seen:
    return next(each for observed in result.interfaces for each in observed.tensors if each.tensor.name == name)


def samples(count: int = 5) -> np.ndarray:
    return np.random.default_rng(2).uniform(-2, 1.5, (count, 8)).astype(np.float32)


def test_ranges_of_a_float_model_are_those_of_numpy() -> None:
    x = samples()
    expected = x @ (WEIGHTS * np.float32(WEIGHT_SCALE)).T + BIAS * np.float32(IN[0]) * np.float32(WEIGHT_SCALE)
    result = tk.runtime.observe(float_dense(), [x])
    assert (result.interfaces[0].samples, result.resolver) == (5, "optimized")
    assert (seen(result, "x").low, seen(result, "x").high, seen(result, "x").elements) == (x.min(), x.max(), 40)
    assert (seen(result, "y").low, seen(result, "y").high) == pytest.approx((expected.min(), expected.max()), rel=1e-5)
    one = tk.runtime.observe(float_dense(), [x[3:4]])
    assert seen(one, "y").high == pytest.approx(expected[3].max(), rel=1e-5)


def test_ranges_of_a_quantized_model_are_real_values() -> None:
    x = samples()
    real, quantized = (tk.runtime.observe(model, [x]) for model in (float_dense(), dense("UINT8")))
    a, b = seen(real, "y"), seen(quantized, "dense")
    assert a.low is not None and a.high is not None
    assert (b.low, b.high) == pytest.approx((a.low, a.high), abs=0.2)
    assert seen(quantized, "x_int8").tensor.operator == "QUANTIZE"
    assert (seen(quantized, "x").low, seen(quantized, "x").high) == (x.min(), x.max())  # as given, not as its codes have it


def test_values_at_the_ends_of_the_codes_are_counted() -> None:
    x = np.full((1, 8), 50.0, np.float32)
    result = tk.runtime.observe(dense(), [x])
    entry = seen(result, "x")
    assert (entry.low, entry.high, entry.clipped, entry.at_high, entry.at_low) == (50, 50, 8, 8, 0)
    facts = observe_facts(result)["signatures"][0]["tensors"][0]
    assert (facts["verdict"], facts["claimed"]["max"], facts["implied"]["max"]) == ("clips", pytest.approx(2.44), pytest.approx(50))


def test_what_is_not_finite_is_left_out_of_ranges() -> None:
    result = tk.runtime.observe(elementwise("SQRT", (1, 3)), [np.array([[4.0, -1.0, np.inf]], np.float32)])
    entry = seen(result, "out")
    assert (entry.low, entry.high, entry.non_finite, entry.elements) == (2, 2, 2, 3)
    assert (seen(result, "a").low, seen(result, "a").high) == (-1, 4)


def test_every_computed_tensor_of_a_real_model_is_seen(models: Path) -> None:
    result = tk.runtime.observe(models / "mlct_vww_96_int8.tflite", RandomData(2))
    (observed,) = result.interfaces
    assert observed.unreadable == 0 and len(observed.tensors) == 32
    for each in observed.tensors:
        assert each.tensor.codes is not None and each.low is not None and each.high is not None
        low, high = each.tensor.codes.range()
        assert low - 1e-4 <= each.low <= each.high <= high + 1e-4
    facts = observe_facts(result, "int16", "*Relu*")["signatures"][0]["tensors"]
    assert len(facts) == 27 and {f["implied"]["dtype"] for f in facts} == {"int16"} and {f["implied"]["zero_point"] for f in facts} == {0}


def test_signatures_have_their_own_ranges(models: Path) -> None:
    result = tk.runtime.observe(models / "aeq_two_signatures_a8w8.tflite", RandomData(2))
    assert [(o.key, o.subgraph, len(o.tensors)) for o in result.interfaces] == [("add", 0, 2), ("multiply", 1, 2)]
    assert all(each.elements for observed in result.interfaces for each in observed.tensors)


def test_plain_integers_have_no_range(models: Path) -> None:
    assert tk.runtime.observe(elementwise("ABS", (1, 3), "INT32"), RandomData(1)).interfaces[0].tensors == []
