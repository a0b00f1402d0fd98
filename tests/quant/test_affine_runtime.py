"""The installed runtime quantizes and dequantizes as `Affine` says, halves included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests import runtime
from tests.runtime import needs_runtime
from tflitekit import build
from tflitekit._schema import TensorType
from tflitekit.quant.affine import Affine, Rounding, code_range, from_range

pytestmark = needs_runtime

UINT8, INT8, INT16 = TensorType.UINT8, TensorType.INT8, TensorType.INT16
HALVES = Affine(np.float32(0.25), 3, INT8)  # a power of two: halves stay halves in float32


def one_operator(code: str, given: Affine | None, wanted: Affine | None, size: int, version: int = 1) -> bytes:
    """A model of one QUANTIZE or DEQUANTIZE; None stands for float32."""
    builder = build.ModelBuilder()
    graph = builder.subgraph()
    made = [
        (side.type, build.quantize(side.scale, side.zero_point)) if side is not None else (TensorType.FLOAT32, None) for side in (given, wanted)
    ]
    output = graph.tensor("output", [size], *made[1])
    graph.operator(code, [graph.input("input", [size], *made[0])], [output], version=version)
    graph.output(output)
    return tk.serialize(builder.build())


def outcome(model: bytes, values: npt.NDArray[np.generic], resolver: str) -> npt.NDArray[np.generic]:
    found = runtime.run(model, resolver, inputs={0: values}, recipe=3)
    assert found.ok, found.message
    dtype, shape, data = found.outputs[0]
    return np.frombuffer(data, dtype).reshape(shape)


@pytest.mark.parametrize("type", [UINT8, INT8, INT16])
@pytest.mark.parametrize("resolver", [runtime.REFERENCE, runtime.NO_DELEGATES, runtime.DEFAULT])
def test_dequantize_to_the_last_bit(type: TensorType, resolver: str) -> None:
    low, high = code_range(type)
    affine = from_range(-1.7, 2.3, type).stored
    codes = np.arange(low, high + 1).astype(affine.quantize(0).dtype)
    found = outcome(one_operator("DEQUANTIZE", affine, None, codes.size, 3 if type == INT16 else 2), codes, resolver)
    expected = affine.dequantize(codes)
    if resolver == runtime.NO_DELEGATES:  # computes scale * q - scale * zero_point, each rounded
        assert np.abs(found - expected).max() <= 4 * 2.0**-23
    else:
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("type", [UINT8, INT8, INT16])
@pytest.mark.parametrize("resolver", [runtime.REFERENCE, runtime.NO_DELEGATES, runtime.DEFAULT])
def test_quantize_agrees_away_from_halves(type: TensorType, resolver: str) -> None:
    affine = from_range(-1.7, 2.3, type).stored
    values = np.random.default_rng(1).uniform(-2, 2.6, 4096).astype(np.float32)
    exact = values.astype(np.float64) / float(affine.scale)
    clear = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) > 0.01
    found = outcome(one_operator("QUANTIZE", None, affine, values.size, 2 if type == INT16 else 1), values, resolver)
    assert clear.sum() > 3000
    assert (found == affine.quantize(values))[clear].all()


@pytest.mark.parametrize(
    ("resolver", "mode"),
    [(runtime.REFERENCE, Rounding.HALF_AWAY), (runtime.NO_DELEGATES, Rounding.HALF_EVEN), (runtime.DEFAULT, Rounding.HALF_EVEN)],
)
def test_which_kernel_rounds_halves_how(resolver: str, mode: Rounding) -> None:
    values = (np.arange(-256, 256, dtype=np.float32) / 2) * HALVES.scale  # a multiple of any vector length, since tails are rounded by other code
    found = outcome(one_operator("QUANTIZE", None, HALVES, values.size), values, resolver)
    assert [other for other in Rounding if found.tolist() == HALVES.quantize(values, other).tolist()] == [mode]


def test_requantizing_rounds_halves_up() -> None:
    coarse = Affine(np.float32(0.5), 0, INT8)
    fine = Affine(np.float32(0.25), 0, INT8)
    codes = np.arange(-128, 128).astype(np.int8)
    found = outcome(one_operator("QUANTIZE", fine, coarse, codes.size), codes, runtime.REFERENCE)
    assert found.tolist() == coarse.quantize(fine.dequantize(codes), Rounding.HALF_UP).tolist()


def test_shifting_is_a_requantization_without_loss() -> None:
    signed = Affine(np.float32(0.1), -7, INT8)
    codes = np.arange(-128, 128).astype(np.int8)
    model = one_operator("QUANTIZE", signed, signed.shifted(UINT8), codes.size)
    for resolver in (runtime.REFERENCE, runtime.DEFAULT):
        assert outcome(model, codes, resolver).tolist() == (codes.astype(int) + 128).tolist()
