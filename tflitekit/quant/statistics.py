"""What constant tensors hold: histograms of codes and of numbers, saturation, zeros, the reach of every channel, the spread of scales.

Data is read in blocks, so that memory stays at a few megabytes whatever the tensor's size. Nothing here judges; the audit does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import types
from .._schema import TensorType
from ..errors import EditError
from ..graph import QuantizationParameters, Tensor

Counts = npt.NDArray[np.int64]

BLOCK = 1 << 18  # elements looked at together
BINS = 256  # of histograms of numbers
SCALE_BINS = 64
FEW = 7  # codes that stay within this of the zero point have 15 levels at most
CODE_TYPES = frozenset({TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.INT4, TensorType.INT2, TensorType.UINT4})
_SIGNED = frozenset({TensorType.INT8, TensorType.INT16, TensorType.INT4, TensorType.INT2})


class CodeStatistics(NamedTuple):
    """The codes of a quantized constant.

    `counts` is how often each code occurs, from the lowest that the type has. The vectors have one element for each slice along `axis`, or a single
    one: the zero point, the lowest and highest code that occurs, how many codes equal the zero point, and how many are at the ends of the range. The
    ends are the highest code and the lowest; for signed types also the one above the lowest, which is the end of the narrow range.
    """

    type: TensorType
    axis: int | None
    size: int
    counts: Counts
    zero_points: Counts
    lowest: Counts
    highest: Counts
    zeros: Counts
    ends: Counts

    @property
    def limits(self) -> tuple[int, int]:
        """The lowest and highest code of the type."""
        return types.INTEGER_RANGES[self.type]

    @property
    def used(self) -> tuple[int, int]:
        """The lowest and highest code that occurs."""
        return int(self.lowest.min()), int(self.highest.max())

    @property
    def levels(self) -> int:
        """How many different codes occur."""
        return int(np.count_nonzero(self.counts))

    @property
    def saturation(self) -> float:
        """The share of codes at the ends. Scales from the largest weight put at least one code of each channel there."""
        return float(self.ends.sum()) / self.size

    @property
    def sparsity(self) -> float:
        """The share of codes that stand for 0."""
        return float(self.zeros.sum()) / self.size

    @property
    def dead(self) -> Counts:
        """The channels in which every code stands for 0."""
        return np.flatnonzero(self.reach == 0)

    @property
    def reach(self) -> Counts:
        """How far the codes of each channel get from its zero point; 0 in a dead channel."""
        reach: Counts = np.maximum(self.highest - self.zero_points, self.zero_points - self.lowest)
        return reach

    @property
    def few_levels(self) -> Counts:
        """The channels that use few levels, of types that have many: all codes are within FEW of the zero point, not all of them 0."""
        return np.flatnonzero((self.reach > 0) & (self.reach <= FEW)) if types.BITS[self.type] >= 8 else np.zeros(0, np.int64)

    def count(self, code: int) -> int:
        """How often a code occurs."""
        return int(self.counts[code - self.limits[0]])


class NumberStatistics(NamedTuple):
    """The values of a constant that holds numbers: floats, or wide integers such as biases.

    `counts` are those of equal bins from `minimum` to `maximum`, of the finite values; one bin if they are all the same.
    """

    type: TensorType
    size: int
    counts: Counts
    minimum: float
    maximum: float
    zeros: int
    not_finite: int


class ScaleStatistics(NamedTuple):
    """Several scales: how many, how many that are not positive and finite, and of the rest the extremes and equal bins of their logarithms."""

    size: int
    unusable: int
    minimum: float
    maximum: float
    counts: Counts

    @property
    def spread(self) -> float:
        """The largest scale divided by the smallest."""
        return self.maximum / self.minimum


def statistics(tensor: Tensor, axis: int | None = None) -> CodeStatistics | NumberStatistics:
    """The statistics of a constant tensor: of its codes if it is quantized to at most 16 bits, else of its numbers.

    `axis` is the dimension of channels; without it that of per-channel scales, if there are as many as slices. EditError for tensors without dense
    numeric data, or without elements.
    """
    raw = tensor.dense_bytes()
    size = types.element_count(tensor.shape)
    if not size:
        raise EditError(f"tensor {tensor.name_str!r} has no elements")
    quantization = tensor.quantization
    if tensor.type in CODE_TYPES and quantization is not None and quantization.is_quantized:
        return _codes(tensor, quantization, raw, _channel_axis(tensor, quantization) if axis is None else axis)
    if np.dtype(types.numpy_dtype(tensor.type)).kind == "c":
        raise EditError(f"tensor {tensor.name_str!r} is {tensor.type.name}: no range orders its values")
    return _numbers(tensor.type, raw, size)


def scale_statistics(scales: npt.NDArray[np.float32]) -> ScaleStatistics | None:
    """The spread of several scales; None if fewer than two can be used."""
    usable = scales[np.isfinite(scales) & (scales > 0)].astype(np.float64)
    if len(usable) < 2:
        return None
    low, high = float(usable.min()), float(usable.max())
    counts = _histogram(np.log2(usable), float(np.log2(low)), float(np.log2(high)), SCALE_BINS)
    return ScaleStatistics(len(scales), len(scales) - len(usable), low, high, counts)


def _channel_axis(tensor: Tensor, quantization: QuantizationParameters) -> int | None:
    axis, scales = quantization.quantized_dimension, len(quantization.scale)
    return axis if scales > 1 and 0 <= axis < len(tensor.shape) and tensor.shape[axis] == scales else None


# ---- codes ----


def _codes(tensor: Tensor, quantization: QuantizationParameters, raw: npt.NDArray[np.uint8], axis: int | None) -> CodeStatistics:
    low, high = types.INTEGER_RANGES[tensor.type]
    shape = tensor.shape
    channels = 1 if axis is None else shape[axis]
    outer, inner = (1, types.element_count(shape)) if axis is None else (types.element_count(shape[:axis]), types.element_count(shape[axis + 1 :]))
    zero_points = quantization.zero_point if len(quantization.zero_point) == channels else quantization.zero_point[:1]
    zero_point = np.broadcast_to(zero_points if len(zero_points) else np.zeros(1, np.int64), channels)
    counts = np.zeros(high - low + 1, np.int64)
    lowest, highest = np.full(channels, high, np.int64), np.full(channels, low, np.int64)
    zeros, ends = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    second = low + 1 if tensor.type in _SIGNED else low
    for start, block, here in _blocks(tensor.type, raw, (outer, channels, inner)):
        at = slice(start, start + block.shape[1])
        counts += np.bincount(block.reshape(-1).astype(np.int64) - low, minlength=len(counts))
        lowest[at] = np.minimum(lowest[at], block.min(axis=here))
        highest[at] = np.maximum(highest[at], block.max(axis=here))
        zeros[at] += np.count_nonzero(block == zero_point[at, None], axis=here)
        ends[at] += np.count_nonzero((block <= second) | (block == high), axis=here)
    return CodeStatistics(tensor.type, axis, outer * channels * inner, counts, zero_point, lowest, highest, zeros, ends)


def _blocks(
    type_: TensorType, raw: npt.NDArray[np.uint8], shape: tuple[int, int, int]
) -> Iterator[tuple[int, npt.NDArray[Any], tuple[int, int]]]:
    """Codes in pieces of at most BLOCK: (first channel, array [outer, channels, inner], the axes to reduce). Pieces are contiguous in the file."""
    outer, channels, inner = shape
    if channels * inner <= BLOCK:
        steps = max(1, BLOCK // (channels * inner))
        pieces = ((0, (o * channels) * inner, (min(steps, outer - o), channels, inner)) for o in range(0, outer, steps))
    elif inner <= BLOCK:
        steps = BLOCK // inner
        pieces = (
            (c, (o * channels + c) * inner, (1, min(steps, channels - c), inner)) for o in range(outer) for c in range(0, channels, steps)
        )
    else:
        pieces = (
            (c, (o * channels + c) * inner + i, (1, 1, min(BLOCK, inner - i)))
            for o in range(outer) for c in range(channels) for i in range(0, inner, BLOCK)
        )  # fmt: skip
    for channel, start, size in pieces:
        yield channel, _decoded(type_, raw, start, types.element_count(size)).reshape(size), (0, 2)


def _decoded(type_: TensorType, raw: npt.NDArray[np.uint8], start: int, count: int) -> npt.NDArray[Any]:
    """Elements `start` to `start + count`; 4- and 2-bit ones as int8."""
    bits = types.BITS[type_]
    if bits >= 8:
        width = bits // 8
        return raw[start * width : (start + count) * width].view(types.numpy_dtype(type_))
    first, skipped = divmod(start * bits, 8)
    skipped //= bits
    last = -(-(start + count) * bits // 8)
    return types.unpack(raw[first:last], type_, skipped + count)[skipped:].astype(np.int8)


# ---- numbers ----


def _numbers(type_: TensorType, raw: npt.NDArray[np.uint8], size: int) -> NumberStatistics:
    low, high, zeros, finite = np.inf, -np.inf, 0, 0
    for block in _number_blocks(type_, raw, size):
        usable = block[np.isfinite(block)]
        if len(usable):
            low, high = min(low, float(usable.min())), max(high, float(usable.max()))
            zeros += len(usable) - int(np.count_nonzero(usable))
            finite += len(usable)
    counts = np.zeros(1, np.int64)
    if finite:
        counts = np.zeros(BINS if high > low else 1, np.int64)
        for block in _number_blocks(type_, raw, size):
            counts += _histogram(block[np.isfinite(block)], low, high, BINS)
    return NumberStatistics(type_, size, counts, low if finite else 0.0, high if finite else 0.0, zeros, size - finite)


def _number_blocks(type_: TensorType, raw: npt.NDArray[np.uint8], size: int) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, size, BLOCK):
        with np.errstate(invalid="ignore"):  # signalling NaNs
            block = _decoded(type_, raw, start, min(BLOCK, size - start)).astype(np.float64)
        yield block


def _histogram(values: npt.NDArray[np.float64], low: float, high: float, bins: int) -> Counts:
    """Counts in equal bins from `low` to `high`; a single bin if those are equal."""
    if not high > low:
        return np.array([len(values)], np.int64)
    # Halved, since the difference of two float64 may exceed the largest.
    place = (values / 2 - low / 2) / (high / 2 - low / 2) * bins
    return np.bincount(np.clip(place, 0, bins - 1).astype(np.int64), minlength=bins)
