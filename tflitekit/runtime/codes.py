"""Real values as the codes of a tensor, and back, in the float32 arithmetic of TFLite's QUANTIZE and DEQUANTIZE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import types
from .._schema import TensorType
from ..graph import Tensor

Array = npt.NDArray[Any]
NUMPY_CODES = frozenset({
    TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.UINT16, TensorType.INT32, TensorType.UINT32, TensorType.INT64,
})  # fmt: skip
REAL_TYPES = frozenset({TensorType.FLOAT32, TensorType.FLOAT16, TensorType.FLOAT64})


@dataclass(frozen=True)
class Codes:
    """What the integers of a tensor mean: real = scale * (q - zero_point), with one scale, or one for each slice of `axis`."""

    type: TensorType
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    axis: int = 0

    @property
    def step(self) -> float:
        """The largest scale: one LSB."""
        return float(self.scale.max())

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return types.INTEGER_RANGES[self.type]

    def range(self) -> tuple[float, float]:
        """The real values that all slices can hold."""
        low, high = self.limits
        scale = self.scale.astype(np.float64)
        return float((scale * (low - self.zero_point)).max()), float((scale * (high - self.zero_point)).min())

    def encode(self, real: Array) -> Array:
        """The codes of real values: divided in float32, rounded half away from zero, zero point added, clipped to the type. NaN becomes 0."""
        scale, zero_point = self._along(real.ndim)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = real.astype(np.float32) / scale
            whole = np.trunc(steps)
            whole = np.where(np.abs(steps - whole) >= 0.5, whole + np.copysign(np.float32(1), steps), whole).astype(np.float64)
        low, high = self.limits
        return np.asarray(np.clip(np.nan_to_num(whole) + zero_point, low, high)).astype(types.numpy_dtype(self.type))

    def decode(self, codes: Array) -> Array:
        """The real values of codes, as float32."""
        scale, zero_point = self._along(codes.ndim)
        return np.asarray(scale * (codes.astype(np.int64) - zero_point).astype(np.float32))

    def clipped(self, real: Array) -> int:
        """How many real values lie more than half a step beyond the codes."""
        low, high = self.limits
        scale, zero_point = self._along(real.ndim)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = real / scale.astype(np.float64) + zero_point
            return int(((steps < low - 0.5) | (steps > high + 0.5)).sum())

    def _along(self, rank: int) -> tuple[Array, Array]:
        if self.scale.size == 1 or not 0 <= self.axis < rank:
            return self.scale.reshape(-1)[:1].reshape(()), self.zero_point.reshape(-1)[:1].reshape(())
        shape = tuple(-1 if axis == self.axis else 1 for axis in range(rank))
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def codes_of(tensor: Tensor) -> Codes | None:
    """How the integers of a tensor become real values; None where they do not, or not in a way that can be computed here."""
    quantization = tensor.quantization
    if quantization is None or tensor.type not in NUMPY_CODES or quantization.details is not None or not len(quantization.scale):
        return None
    scale = np.asarray(quantization.scale, np.float32)
    if not all(math.isfinite(value) and value > 0 for value in scale.tolist()) or len(quantization.zero_point) not in (1, len(scale)):
        return None
    zero_point = np.broadcast_to(np.asarray(quantization.zero_point, np.int64), scale.shape)
    if len(scale) > 1 and not (0 <= quantization.quantized_dimension < len(tensor.shape)):
        return None
    return Codes(tensor.type, scale, zero_point, quantization.quantized_dimension)
