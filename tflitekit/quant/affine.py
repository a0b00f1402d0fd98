"""Affine quantization of a whole tensor: (scale, zero point) <-> (min, max) <-> (mean, std).

    real = scale * (q - zero_point) = (q - mean) / std        scale = 1 / std, zero_point = mean
    min = scale * (qmin - zero_point)                         max = scale * (qmax - zero_point)

A file holds the scale as float32 and the zero point as an integer, so most (mean, std) and (min, max) can only be held approximately.
Everything is computed in float64 with the unrounded scale. The zero point is rounded half away from zero; the scale is rounded to float32
last, and the zero point is never computed again from the rounded scale: for the range -100 to 100 that would give 127 instead of 128.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import types
from .._schema import TensorType
from ..errors import EditError

# The activation kernels of these types demand the zero point 0.
SYMMETRIC = frozenset({TensorType.INT16, TensorType.INT32, TensorType.INT64})
# A zero point is stored as int64.
_ZERO_POINTS = types.INTEGER_RANGES[TensorType.INT64]
_TWINS = {
    TensorType.INT8: TensorType.UINT8,
    TensorType.INT4: TensorType.UINT4,
    TensorType.INT16: TensorType.UINT16,
    TensorType.INT32: TensorType.UINT32,
}
_TWINS |= {unsigned: signed for signed, unsigned in _TWINS.items()}


class Rounding(enum.Enum):
    """What becomes of a value halfway between two codes. Tools and kernels disagree, by one code."""

    HALF_AWAY = "half-away"  # C's round: -0.5 -> -1, 126.5 -> 127. TensorFlow's tools, the reference QUANTIZE kernel
    HALF_EVEN = "half-even"  # IEEE, Python's round, numpy.rint: -0.5 -> 0, 126.5 -> 126. Optimized QUANTIZE kernels, XNNPACK, litert-quantizer
    HALF_UP = "half-up"  # toward +infinity: -0.5 -> 0, 126.5 -> 127. QUANTIZE from one integer type to another


def rounded(values: npt.ArrayLike, mode: Rounding = Rounding.HALF_AWAY) -> npt.NDArray[np.float64]:
    """The nearest integers as float64; `mode` decides halves. Infinities and NaN stay what they are."""
    real = np.asarray(values, np.float64)
    if mode is Rounding.HALF_EVEN:
        return np.asarray(np.rint(real))
    # x - floor(x) and x - trunc(x) are exact. floor(x + 0.5) is not: it turns 0.49999999999999994 into 1.
    with np.errstate(invalid="ignore"):
        if mode is Rounding.HALF_UP:
            whole = np.floor(real)
            return np.asarray(np.where(real - whole >= 0.5, whole + 1, whole))
        whole = np.trunc(real)
        return np.asarray(np.where(np.abs(real - whole) >= 0.5, whole + np.copysign(1.0, real), whole))


class Range(NamedTuple):
    """Real values from `min` to `max`, both included."""

    min: float
    max: float


class MeanStd(NamedTuple):
    """The code that stands for 0, and the number of codes per unit: real = (q - mean) / std."""

    mean: float
    std: float


def code_range(type: TensorType) -> tuple[int, int]:
    """The lowest and the highest code of an integer type; EditError for any other."""
    limits = types.INTEGER_RANGES.get(type)
    if limits is None:
        names = ", ".join(TensorType(t).name for t in types.INTEGER_RANGES)
        raise EditError(f"{TensorType(type).name} has no integer codes. Use one of {names}.")
    return limits


@dataclass(frozen=True)
class Affine:
    """The quantization of a tensor by one scale and one zero point, as a file holds it: real = scale * (q - zero_point).

    `scale` is rounded to float32 here, once. EditError for a scale that is not positive and finite in float32, for a zero point that is no
    integer or no code of `type`, and for a type without codes.
    """

    scale: np.float32
    zero_point: int
    type: TensorType

    def __post_init__(self) -> None:
        low, high = code_range(self.type)
        object.__setattr__(self, "type", TensorType(self.type))
        object.__setattr__(self, "scale", float32_scale(self.scale))
        if not isinstance(self.zero_point, (int, np.integer)) and not float(self.zero_point).is_integer():
            raise EditError(f"zero point {self.zero_point} is no integer. Round it; what is lost is at most half a scale.")
        object.__setattr__(self, "zero_point", int(self.zero_point))
        low, high = max(low, _ZERO_POINTS[0]), min(high, _ZERO_POINTS[1])
        if not low <= self.zero_point <= high:
            raise EditError(f"zero point {self.zero_point} is no code of {self.type.name} ({low} to {high})")

    def range(self) -> Range:
        """The real values of the lowest and the highest code, exactly as the stored scale gives them (float64)."""
        low, high = code_range(self.type)
        return Range(float(self.scale) * (low - self.zero_point), float(self.scale) * (high - self.zero_point))

    def mean_std(self) -> MeanStd:
        """The (mean, std) that mean the same: (zero_point, 1 / scale), in float64."""
        return MeanStd(float(self.zero_point), 1.0 / float(self.scale))

    def shifted(self, type: TensorType) -> Affine:
        """The same real values in the type of the same width and other sign: int8 <-> uint8 moves codes and zero point by 128.

        Deriving the parameters anew from the range would not do: -1 to 1 gives 128 for uint8 and -1 for int8, which is another range.
        """
        if type == self.type:
            return self
        if _TWINS.get(self.type) != type:
            twin = _TWINS.get(self.type)
            what = f"only {twin.name} holds the same values" if twin is not None else "no type does"
            raise EditError(f"{self.type.name} cannot be shifted to {TensorType(type).name}: {what}. Derive its parameters from the range.")
        return Affine(self.scale, self.zero_point + code_range(type)[0] - code_range(self.type)[0], type)

    def quantize(self, values: npt.ArrayLike, rounding: Rounding = Rounding.HALF_AWAY) -> npt.NDArray[Any]:
        """The codes of real values, in the numpy dtype of `type`: divided in float64, rounded, zero point added, clipped to the type.

        A runtime that computes in float32 may differ by one code next to a half. NaN has no code: EditError.
        """
        real = np.asarray(values, np.float64)
        if np.isnan(real).any():
            raise EditError("NaN has no code")
        low, high = code_range(self.type)
        with np.errstate(over="ignore"):
            codes = rounded(real / float(self.scale), rounding) + self.zero_point
        # Codes of 32 bits and less are exact in float64; the highest int64 is not, and the next higher float64 would not fit.
        top = float(high) if int(float(high)) <= high else math.nextafter(float(high), 0.0)
        dtype = types.numpy_dtype(self.type)
        wide = np.uint64 if low == 0 else np.int64
        return np.asarray(np.clip(codes, float(low), top)).astype(wide).astype(dtype)

    def dequantize(self, codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The real values of codes: scale * (q - zero_point), rounded to float32 once. Where that exceeds float32 it is infinite."""
        with np.errstate(over="ignore"):
            return np.asarray((np.asarray(codes).astype(np.float64) - self.zero_point) * float(self.scale)).astype(np.float32)


def float32_scale(scale: Any) -> np.float32:
    """The scale as float32; EditError where it is not positive and finite there."""
    with np.errstate(over="ignore", under="ignore"):
        stored = np.float32(scale)
    if not (np.isfinite(stored) and stored > 0):
        kept = "" if float(stored) == float(scale) or math.isnan(stored) else f" (as float32: {float(stored)})"
        raise EditError(f"scale {float(scale)}{kept} is not a positive, finite float32 number")
    return stored


class Derived(NamedTuple):
    """What was asked for, exactly, and the nearest that a file can hold.

    `scale`, `mean`, `std` and `range` are the asked values in float64, before anything is rounded. `widened_from` is None, or the given range
    where `range` was extended: to include 0, or to reach as far below 0 as above it where `stored.type` is symmetric.
    """

    scale: float
    mean: float
    std: float
    range: Range
    stored: Affine
    widened_from: Range | None = None

    @property
    def residual(self) -> float:
        """Codes (LSB) by which the stored real values differ from the asked ones, since a zero point is an integer: mean - zero_point.

        Times the scale, it is what is added to every real value. Never more than half a code in magnitude, but for the last bits of the arithmetic.
        """
        return self.mean - self.stored.zero_point


def _finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise EditError(f"{name} is {value}; it must be a finite number")


def _zero_point(mean: float, type: TensorType) -> int:
    low, high = code_range(type)
    return min(max(int(rounded(mean)), low, _ZERO_POINTS[0]), high, _ZERO_POINTS[1])


def from_mean_std(mean: float, std: float, type: TensorType) -> Derived:
    """The quantization for which real = (q - mean) / std.

    `mean` is the code that stands for 0: between 0 and 255 for uint8, between -128 and 127 for int8. `std` is in codes per unit. EditError where
    the mean is no possible code, since then 0 is not representable; for symmetric types it must be 0.
    """
    _finite(mean=mean, std=std)
    if std <= 0:
        raise EditError(f"std {std:g} must be greater than 0: it is the number of codes per unit, 1 / scale")
    low, high = code_range(type)
    if type in SYMMETRIC and mean != 0:
        raise EditError(f"mean {mean:g}: {TensorType(type).name} is symmetric, its mean and zero point are 0")
    bounds = Range((low - mean) / std, (high - mean) / std)
    if not low <= mean <= high:
        raise EditError(
            f"mean {mean:g} is outside {low} to {high}, the codes of {TensorType(type).name}: the real range would be {bounds.min:.6g} to "
            f"{bounds.max:.6g}, without 0. {_mean_hint(mean, type)}"
        )
    scale = 1.0 / std
    return Derived(scale, mean + 0.0, std, bounds, Affine(float32_scale(scale), _zero_point(mean, type), type))


def _mean_hint(mean: float, type: TensorType) -> str:
    twin = _TWINS.get(type)
    if twin is None or not code_range(twin)[0] <= mean <= code_range(twin)[1]:
        return "The mean is the code that stands for 0."
    offset = code_range(type)[0] - code_range(twin)[0]
    return f"It looks like a mean for {twin.name}; for {TensorType(type).name} that is {mean + offset:g}."


def from_range(min: float, max: float, type: TensorType, widen: bool = False) -> Derived:
    """The quantization whose codes spread over the real values from `min` to `max`, nudged so that 0 is a code.

    scale = (max - min) / (qmax - qmin). The mean follows from the end whose terms are smaller in magnitude, as it carries less rounding error, and
    is rounded half away from zero; so the representable range is moved by up to half a scale. A symmetric type gets
    scale = max(|min|, |max|) / qmax. EditError for a range of no width, and for one without 0 unless `widen` extends it.

    Each step is one float64 operation, in the order of the converters, so that their zero points come out also where the mean lies halfway between
    two codes and the last bit decides: -1 to 1 gives 128 for uint8, -33 to 33 gives 127.
    """
    _finite(min=min, max=max)
    if min > max:
        raise EditError(f"min {min:g} is greater than max {max:g}")
    asked = Range(min + 0.0, max + 0.0)
    if not min <= 0 <= max:
        asked = Range(min + 0.0 if min < 0 else 0.0, max + 0.0 if max > 0 else 0.0)
        if not widen:
            why = f"the range {min:g} to {max:g} does not include 0, which needs a code (for padding and ReLU)"
            raise EditError(f"{why}. Give {asked.min:g} to {asked.max:g} instead")
    if asked.min == asked.max:
        raise EditError("the range 0 to 0 has no width, so it has no scale")
    if type in SYMMETRIC:
        return _symmetric(min, max, asked, type)
    qmin, qmax = code_range(type)
    scale = (asked.max - asked.min) / (qmax - qmin)
    stored = float32_scale(scale)
    from_min, from_max = asked.min / scale, asked.max / scale
    mean = qmin - from_min if abs(qmin) + abs(from_min) < abs(qmax) + abs(from_max) else qmax - from_max
    std = (qmax - qmin) / (asked.max - asked.min)
    return Derived(scale, mean, std, asked, Affine(stored, _zero_point(mean, type), type), None if asked == (min, max) else Range(min, max))


def _symmetric(min: float, max: float, asked: Range, type: TensorType) -> Derived:
    bound = -asked.min if -asked.min > asked.max else asked.max
    scale = bound / code_range(type)[1]
    stored, widened = Affine(float32_scale(scale), 0, type), Range(-bound, bound)
    return Derived(scale, 0.0, code_range(type)[1] / bound, widened, stored, None if widened == (min, max) else Range(min, max))


def from_scale(scale: float, zero_point: int, type: TensorType) -> Derived:
    """The quantization with that scale, rounded to float32, and that zero point."""
    stored = Affine(float32_scale(scale), zero_point, type)
    if type in SYMMETRIC and stored.zero_point != 0:
        raise EditError(f"zero point {zero_point}: {stored.type.name} is symmetric, its zero point is 0")
    low, high = code_range(type)
    exact, mean = float(scale), stored.zero_point
    return Derived(exact, float(mean), 1 / exact, Range((low - mean) * exact, (high - mean) * exact), stored)
