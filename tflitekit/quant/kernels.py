"""Quantize and dequantize arrays: blocked to the cache, in float32, with scratch memory that is allocated once.

    real = scale * (q - zero_point)

Values are divided by the scale, which is not the same as multiplying by its reciprocal, and rounded half away from zero (TensorFlow's tools) or half
to even (litert-quantizer). An asymmetric zero point is added after rounding half away and before rounding half to even, as those tools do it.
Arrays are flat and contiguous; a `Grid` says which scale is whose. Infinities and NaN have no code: look for them first (`not_finite`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _crew as crew
from ..errors import EditError
from .affine import Rounding
from .grid import BLOCK, Block, Grid, Spread, reduced

Floats = npt.NDArray[np.float32]
# Elements of a block where several threads take turns: with smaller ones they hinder each other more than the cache helps.
_READ, _PUT = 2 * BLOCK, 4 * BLOCK
FLOAT16_MAX = np.float32(65504)
# The bits of -0.0 and of the largest float32 below 0.5. Adding that with the sign of x and cutting the fraction off rounds halves away from 0; adding
# 0.5 itself would turn 0.49999997 into 1.
_SIGN, _ALMOST_HALF = np.uint32(0x8000_0000), np.uint32(0x3EFF_FFFF)


class Parameters(NamedTuple):
    """A scale and a zero point for each channel of a grid."""

    scale: Floats
    zero_point: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Codes:
    """The integers that values become: from `low` to `high`, in arrays of `dtype`, and how halves are rounded."""

    low: int
    high: int
    dtype: Any = np.int8
    rounding: Rounding = Rounding.HALF_AWAY

    def __post_init__(self) -> None:
        if self.rounding is Rounding.HALF_UP:
            raise EditError("rounding half-up is what runtimes do between integers; weights are rounded half-away or half-even")


class Scratch(threading.local):
    """Working arrays for the blocks of a walk, which each thread makes once and keeps: at most a few of the size of a block."""

    def __init__(self) -> None:
        self._arrays: dict[int, Floats] = {}

    def array(self, number: int, block: Block) -> Floats:
        """Working array `number`, flat, with the length of the block; its contents hold until this thread asks for it again."""
        length = block.stop - block.start
        held = self._arrays.get(number)
        if held is None or len(held) < length:
            held = self._arrays[number] = np.empty(length, np.float32)
        return held[:length]


SCRATCH = Scratch()


def not_finite(values: npt.NDArray[Any]) -> tuple[int, int] | None:
    """How many values are infinite or NaN, and the position of the first; None if all are finite."""
    count, first = 0, -1
    for start in range(0, values.size, BLOCK):
        bad = ~np.isfinite(values[start : start + BLOCK])
        found = int(np.count_nonzero(bad))
        if found and first < 0:
            first = start + int(bad.argmax())
        count += found
    return (count, first) if count else None


def extremes(values: Floats, grid: Grid) -> tuple[Floats, Floats]:
    """The least and the greatest value of each channel; 0 for channels without elements. NaN and infinities come through."""
    if not grid.size:
        return np.zeros(grid.channels, np.float32), np.zeros(grid.channels, np.float32)

    def seen(blocks: Iterator[Block]) -> tuple[Floats, Floats]:
        least, most = np.full(grid.channels, np.inf, np.float32), np.full(grid.channels, -np.inf, np.float32)
        for block in blocks:
            part, span = values[block.start : block.stop], slice(block.first, block.first + block.channels)
            np.minimum(least[span], reduced(block, part, np.minimum), out=least[span])
            np.maximum(most[span], reduced(block, part, np.maximum), out=most[span])
        return least, most

    least, most = zip(*crew.share(grid.blocks(_READ), seen, grid.size), strict=True)
    return np.minimum.reduce(least), np.maximum.reduce(most)


def round_half_away(values: Floats, scratch: Floats) -> None:
    """Prepare values, in place, for an integer cast (or np.trunc) to round them half away from zero. Exact below 2^22."""
    halves = scratch.view(np.uint32)
    np.bitwise_and(values.view(np.uint32), _SIGN, out=halves)
    np.bitwise_or(halves, _ALMOST_HALF, out=halves)
    np.add(values, scratch, out=values)


def quantize(
    values: Floats, grid: Grid, parameters: Parameters, codes: Codes, out: npt.NDArray[Any] | None = None, *, clip: bool = True
) -> npt.NDArray[Any]:
    """The codes of finite values, clipped to the range of `codes`; flat, one a byte for types of 8 bits and less. In `out`, if that is given.

    Without `clip` it is the caller who knows that no value is beyond the outermost codes by half a step.
    """
    result = np.empty(grid.size, codes.dtype) if out is None else out

    def fill(blocks: Iterator[Block]) -> None:
        encoder = _Encoder(parameters, codes, clip)
        for block in blocks:
            np.copyto(result[block.start : block.stop], encoder.whole(values, block), casting="unsafe")

    crew.share(grid.blocks(), fill, grid.size)
    return result


def put_codes(
    put: Callable[[int, npt.NDArray[Any]], None], values: Floats, grid: Grid, parameters: Parameters, codes: Codes, *, clip: bool = True
) -> None:
    """What `quantize` makes, block by block: `put` gets the position of the first code and the codes, from several threads and in any order.

    The memory is used again, so that it stays in the cache. Positions are multiples of 4 where `grid.inner` is one.
    """

    def work(blocks: Iterator[Block]) -> None:
        encoder, made = _Encoder(parameters, codes, clip), np.empty(0, codes.dtype)
        for block in blocks:
            length = block.stop - block.start
            if len(made) < length:
                made = np.empty(length, codes.dtype)
            np.copyto(made[:length], encoder.whole(values, block), casting="unsafe")
            put(block.start, made[:length])

    crew.share(grid.blocks(_PUT), work, grid.size)


class _Encoder:
    """Values of a block -> whole numbers in float32, in working memory of its own."""

    def __init__(self, parameters: Parameters, codes: Codes, clip: bool) -> None:
        self.codes, self.clip = codes, clip
        self.shifted = bool(np.any(parameters.zero_point))
        self.scales, self.zero_points = Spread(parameters.scale), Spread(parameters.zero_point.astype(np.float32))

    def whole(self, values: Floats, block: Block) -> Floats:
        """The codes of a block, before the cast; valid until the next block."""
        scaled = SCRATCH.array(0, block)
        self.scales.apply(np.divide, block, values[block.start : block.stop], scaled)
        if self.codes.rounding is Rounding.HALF_EVEN:
            if self.shifted:
                self.zero_points.apply(np.add, block, scaled, scaled)
            np.rint(scaled, out=scaled)
        else:
            round_half_away(scaled, SCRATCH.array(1, block))
            if self.shifted:
                np.trunc(scaled, out=scaled)
                self.zero_points.apply(np.add, block, scaled, scaled)
        if self.clip:
            np.clip(scaled, self.codes.low, self.codes.high, out=scaled)
        return scaled


def dequantize(codes: npt.NDArray[Any], grid: Grid, parameters: Parameters, out: Floats | None = None) -> Floats:
    """The real values of codes of at most 16 bits: scale * (q - zero_point), rounded to float32 once. In `out`, if that is given."""
    result = np.empty(grid.size, np.float32) if out is None else out
    shifted = bool(np.any(parameters.zero_point))

    def fill(blocks: Iterator[Block]) -> None:
        scales, zero_points = Spread(parameters.scale), Spread(parameters.zero_point.astype(np.float32))
        for block in blocks:
            real = result[block.start : block.stop]
            np.copyto(real, codes[block.start : block.stop])
            if shifted:
                zero_points.apply(np.subtract, block, real, real)
            scales.apply(np.multiply, block, real, real)

    crew.share(grid.blocks(), fill, grid.size)
    return result


def to_float16(values: Floats) -> npt.NDArray[np.float16]:
    """The nearest float16 values; what exceeds their range becomes the largest, as TensorFlow's tools do it."""
    result = np.empty(values.size, np.float16)
    scratch = np.empty(min(BLOCK, values.size), np.float32)
    for start in range(0, values.size, BLOCK):
        part = values[start : start + BLOCK]
        clipped = scratch[: len(part)]
        np.clip(part, -FLOAT16_MAX, FLOAT16_MAX, out=clipped)
        np.copyto(result[start : start + BLOCK], clipped, casting="same_kind")
    return result
