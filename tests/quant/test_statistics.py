"""Statistics of constants against plain numpy over the whole array, in every way of cutting it into blocks."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, quantize, quantize_blockwise
from tflitekit.graph import Model, Tensor
from tflitekit.quant import statistics as module
from tflitekit.quant.statistics import CodeStatistics, NumberStatistics, scale_statistics, statistics
from tflitekit.types import INTEGER_RANGES


def constant(values: Any, type_: str, quantization: Any = None) -> tuple[Model, Tensor]:
    builder = ModelBuilder()
    made = builder.subgraph("main").constant("w", values, type_, quantization)
    return builder.model, made


@pytest.mark.parametrize("block", [1, 5, 64, 1 << 18])
@pytest.mark.parametrize("type_", ["INT8", "UINT8", "INT16", "INT4", "UINT4", "INT2"])
@pytest.mark.parametrize(("shape", "axis"), [((3, 5, 7), 0), ((3, 5, 7), 1), ((3, 5, 7), 2), ((1, 3, 3, 4), 3), ((11,), 0), ((3, 5), None)])
def test_codes(monkeypatch: pytest.MonkeyPatch, block: int, type_: str, shape: tuple[int, ...], axis: int | None) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    low, high = INTEGER_RANGES[TensorType[type_]]
    rng = np.random.default_rng(len(shape) + block)
    codes = rng.integers(low, high + 1, shape).astype(np.int32)
    channels = 1 if axis is None else shape[axis]
    zero_points = rng.integers(low, high + 1, channels)
    _, tensor = constant(codes.astype(np.uint8 if low == 0 else np.int16 if type_ == "INT16" else np.int8), type_, quantize(
        np.full(channels, 0.5, np.float32), zero_points, axis))  # fmt: skip
    found = statistics(tensor)
    assert isinstance(found, CodeStatistics)
    rows = np.moveaxis(codes, axis, 0).reshape(channels, -1) if axis is not None and channels > 1 else codes.reshape(1, -1)
    assert found.lowest.tolist() == rows.min(1).tolist() and found.highest.tolist() == rows.max(1).tolist()
    assert found.zeros.tolist() == (rows == zero_points[:, None]).sum(1).tolist()
    assert found.ends.tolist() == (np.isin(rows, [low, high] + ([low + 1] if low < 0 else []))).sum(1).tolist()
    assert found.counts.tolist() == np.bincount(codes.reshape(-1) - low, minlength=high - low + 1).tolist()
    assert found.reach.tolist() == np.abs(rows - zero_points[:, None]).max(1).tolist()
    assert found.levels == len(np.unique(codes)) and found.used == (codes.min(), codes.max()) and found.size == codes.size
    assert found.count(int(codes.reshape(-1)[0])) == (codes == codes.reshape(-1)[0]).sum()


def test_dead_channels_are_those_of_zero_points() -> None:
    codes = np.array([[5, 5], [0, 0], [5, 0]], np.int8)
    _, tensor = constant(codes, "INT8", quantize([0.5, 0.5, 0.5], [5, 5, 0], 0))
    found = statistics(tensor)
    assert isinstance(found, CodeStatistics)
    assert found.dead.tolist() == [0] and found.sparsity == 3 / 6


def test_channels_of_a_tensor_with_one_scale_are_asked_for() -> None:
    _, tensor = constant(np.array([[1, 2, 3], [4, 5, 6]], np.int8), "INT8", quantize(0.5, 0))
    whole, rows = statistics(tensor), statistics(tensor, 0)
    assert isinstance(whole, CodeStatistics) and isinstance(rows, CodeStatistics)
    assert (whole.lowest.tolist(), rows.lowest.tolist()) == ([1], [1, 4])


def test_blockwise_codes_have_no_channels() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    scales = main.constant("scales", np.full((2, 2), 0.5, np.float16))
    tensor = main.constant("w", np.arange(16).reshape(2, 8) % 16 - 8, "INT4", quantize_blockwise(scales, 4))
    found = statistics(tensor)
    assert isinstance(found, CodeStatistics) and found.axis is None and found.levels == 16


@pytest.mark.parametrize("block", [7, 1 << 18])
@pytest.mark.parametrize("type_", ["FLOAT32", "FLOAT16", "BFLOAT16", "INT32", "INT64"])
def test_numbers(monkeypatch: pytest.MonkeyPatch, block: int, type_: str) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    values = np.random.default_rng(3).integers(-40, 41, 500).astype(np.float64)
    _, tensor = constant(values.astype(tk.types.numpy_dtype(TensorType[type_])), type_)
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics)
    assert (found.minimum, found.maximum, found.zeros, found.not_finite) == (values.min(), values.max(), (values == 0).sum(), 0)
    assert found.counts.tolist() == np.histogram(values, module.BINS)[0].tolist()


def test_signalling_nans_are_counted_without_a_word() -> None:
    tensor = tk.Tensor(name="t", shape=[2], type="FLOAT32", buffer=tk.Buffer(data=np.uint32([0x7F800001, 0x3F800000]).tobytes()))
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics) and found.not_finite == 1


def test_numbers_that_are_none() -> None:
    _, tensor = constant(np.array([np.nan, 1, -np.inf, 3, 0], np.float32), "FLOAT32")
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics)
    assert (found.minimum, found.maximum, found.zeros, found.not_finite, int(found.counts.sum())) == (0, 3, 1, 2, 3)
    _, tensor = constant(np.array([np.nan, np.inf], np.float32), "FLOAT32")
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics) and (found.not_finite, found.counts.tolist()) == (2, [0])
    _, tensor = constant(np.array([1.7e308, -1.7e308]), "FLOAT64")
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics) and (found.counts[0], found.counts[-1]) == (1, 1)
    _, tensor = constant(np.full(9, 2.5, np.float32), "FLOAT32")
    found = statistics(tensor)
    assert isinstance(found, NumberStatistics) and (found.minimum, found.counts.tolist()) == (2.5, [9])


@pytest.mark.parametrize(("values", "type_"), [
    (["a", "b"], "STRING"), (np.zeros((0, 3), np.float32), "FLOAT32"), (np.ones(2, np.complex64), "COMPLEX64"),
])
def test_what_has_no_statistics_is_refused(values: Any, type_: str) -> None:
    _, tensor = constant(values, type_)
    with pytest.raises(tk.EditError, match=r"'w'"):
        statistics(tensor)


def test_spread_of_scales() -> None:
    found = scale_statistics(np.float32([0.5, 0.25, 8, 0, np.nan, -1]))
    assert found is not None
    assert (found.size, found.unusable, found.minimum, found.maximum, found.spread, int(found.counts.sum())) == (6, 3, 0.25, 8, 32, 3)
    assert found.counts[0] == found.counts[-1] == 1
    assert scale_statistics(np.float32([0.5, 0])) is None


def test_memory_stays_small() -> None:
    _, tensor = constant(np.zeros((1 << 12, 1 << 12), np.int8), "INT4", quantize(np.full(1 << 12, 0.5, np.float32), 0, 0))
    tracemalloc.start()
    try:
        statistics(tensor)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20
