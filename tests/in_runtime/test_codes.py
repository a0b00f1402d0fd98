"""Real values to codes and back: against the runtime's own QUANTIZE and DEQUANTIZE, and on the rules that are stated."""

from __future__ import annotations

import numpy as np
import pytest

import tflitekit as tk
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Tensor
from tflitekit.runtime.codes import Codes, codes_of

from ..runtime import needs_runtime


def codes(type_: TensorType, scale: float | list[float], zero_point: int | list[int], axis: int = 0) -> Codes:
    return Codes(type_, np.atleast_1d(np.array(scale, np.float32)), np.atleast_1d(np.array(zero_point, np.int64)), axis)


@needs_runtime
@pytest.mark.parametrize(("name", "scale", "zero_point"), [("INT8", 0.1, -7), ("UINT8", 0.0078125, 128), ("INT16", 3e-4, 0)])
def test_encoding_and_decoding_is_that_of_the_reference_kernels(name: str, scale: float, zero_point: int) -> None:
    real = np.random.default_rng(1).uniform(-20, 20, 3000).astype(np.float32)
    real[:500] = (np.arange(500, dtype=np.float32) - 250) * np.float32(scale) + np.float32(scale / 2)  # halves
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", real.shape)
    q = graph.apply("QUANTIZE", [x], TensorSpec("q", real.shape, name, quantize(scale, zero_point)), version=2 if name == "INT16" else 1)
    graph.output(q, graph.apply("DEQUANTIZE", [q], TensorSpec("r", real.shape), version=3 if name == "INT16" else 1))
    (found,) = tk.runtime.run(builder.build(), [real], resolver="reference")
    ours = codes(TensorType[name], scale, zero_point)
    np.testing.assert_array_equal(ours.encode(real), found["q"])
    np.testing.assert_array_equal(ours.decode(found["q"]), found["r"])


def test_halves_are_rounded_away_from_zero_and_excess_is_clipped() -> None:
    found = codes(TensorType.INT8, 1.0, 0).encode(np.array([0.5, 1.5, -0.5, -2.5, 0.49999997, 1e9, -1e9, np.nan], np.float32))
    assert found.tolist() == [1, 2, -1, -3, 0, 127, -128, 0]


def test_clipped_counts_what_is_more_than_half_a_step_beyond() -> None:
    assert codes(TensorType.UINT8, 1.0, 0).clipped(np.array([-0.4, -0.6, 255.4, 255.6, 7.0])) == 2


def test_slices_along_an_axis_have_their_own_scale() -> None:
    each = codes(TensorType.INT8, [1.0, 0.5], [0, 10], axis=1)
    real = np.array([[4.0, 4.0], [-3.0, -3.0]], np.float32)
    assert each.encode(real).tolist() == [[4, 18], [-3, 4]]
    np.testing.assert_array_equal(each.decode(each.encode(real)), real)
    assert each.range() == (-69.0, 58.5)  # what both slices hold


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(type=TensorType.INT8), Tensor(type=TensorType.FLOAT32, quantization=quantize(0.1)),
        Tensor(type=TensorType.INT4, quantization=quantize(1)), Tensor(type=TensorType.INT8, shape=(), quantization=quantize([0.1, 0.2], axis=0)),
    ],
)  # fmt: skip
def test_what_has_no_codes(tensor: Tensor) -> None:
    assert codes_of(tensor) is None
