"""Choosing scales and zero points for values: from their least and greatest, or so that the mean square error is least."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .._crew import share
from ..errors import EditError
from .affine import Rounding, rounded
from .grid import Grid, Spread, squares
from .kernels import SCRATCH, Codes, Floats, Parameters, extremes, not_finite, quantize

# litert-quantizer takes no range to be narrower than this; a channel of zeros gets a scale from it everywhere.
NARROWEST = np.float32(1e-9)
_NORMAL = np.float32(np.finfo(np.float32).tiny)
# FLOAT16 scales that XNNPACK takes and that bfloat16 holds as well: from the smallest normal one to the largest with 8 bits of precision.
HALF_SCALES = np.float32(2.0**-14), np.float32(65280)
# Elements that `fit` takes at once.
PIECE = 1 << 20
# Shares of the full range that are tried: first these, then those between the best one's neighbours.
_COARSE = 2.0 ** (-np.arange(13) / 4)
_FINE = 2.0 ** (np.array([-3, -2, -1, 1, 2, 3]) / 16)


class Range(enum.Enum):
    """How much of the values' range the codes cover."""

    MINMAX = "minmax"  # all of it
    MSE = "mse"  # what makes the mean square error least: clipping the outermost values makes the steps finer for all others


def choose(values: Floats, grid: Grid, codes: Codes, *, method: Range = Range.MINMAX, symmetric: bool = True, half: bool = False) -> Parameters:
    """Scales and zero points (0 if symmetric) for the channels of `grid`; `half` makes scales that FLOAT16 and bfloat16 hold exactly.

    EditError if a value is infinite or NaN, or a range too wide.
    """
    least, most = extremes(values, grid)
    if not (np.isfinite(least).all() and np.isfinite(most).all()):
        count, first = not_finite(values) or (0, 0)
        raise EditError(f"{count} of {values.size} values are infinite or NaN, the first at position {first}; they have no code")
    derive = _Derivation(codes, symmetric, half)
    whole = derive(least, most)
    if method is Range.MINMAX or not grid.size:
        return whole
    best, error = np.ones(grid.channels), _errors(values, grid, [whole], codes)[0]
    for steps in (np.broadcast_to(_COARSE[1:, None], (len(_COARSE) - 1, 1)), _FINE[:, None]):
        ratios = np.minimum(best * steps, 1.0)
        tried = [derive((least * r).astype(np.float32), (most * r).astype(np.float32)) for r in ratios]
        errors = _errors(values, grid, tried, codes)
        found = errors.argmin(axis=0)
        least_error = np.take_along_axis(errors, found[None], 0)[0]
        better = least_error < error
        best = np.where(better, np.take_along_axis(ratios, found[None], 0)[0], best)
        error = np.where(better, least_error, error)
    return derive((least * best).astype(np.float32), (most * best).astype(np.float32))


def clips(method: Range, symmetric: bool) -> bool:
    """Whether codes of such a range may have to be clipped: not where the greatest magnitude divided by its scale rounds to the highest code."""
    return method is not Range.MINMAX or not symmetric


def fit(
    values: Floats, grid: Grid, codes: Codes, *, method: Range = Range.MINMAX, symmetric: bool = True, half: bool = False
) -> tuple[Parameters, npt.NDArray[Any]]:
    """`choose`, and the codes: piece by piece where channels lie one after the other, so that each is quantized while it is in the cache."""
    made, clip = np.empty(grid.size, codes.dtype), clips(method, symmetric)
    if grid.outer != 1 or not grid.size or grid.inner > PIECE:
        whole = choose(values, grid, codes, method=method, symmetric=symmetric, half=half)
        return whole, quantize(values, grid, whole, codes, made, clip=clip)
    step, chosen = PIECE // grid.inner, dict[int, Parameters]()

    def work(starts: Iterator[int]) -> None:
        for first in starts:
            part = Grid(1, min(step, grid.channels - first), grid.inner)
            span = slice(first * grid.inner, first * grid.inner + part.size)
            chosen[first] = choose(values[span], part, codes, method=method, symmetric=symmetric, half=half)
            quantize(values[span], part, chosen[first], codes, made[span], clip=clip)

    try:
        share(range(0, grid.channels, step), work, grid.size)
    except EditError:
        choose(values, grid, codes, symmetric=symmetric, half=half)  # the same complaint, about all of it
        raise
    return Parameters(*(np.concatenate(column) for column in zip(*(chosen[first] for first in sorted(chosen)), strict=True))), made


class _Derivation:
    """(least, greatest) of each channel -> parameters. Float32 throughout, in the order of operations of litert-quantizer."""

    def __init__(self, codes: Codes, symmetric: bool, half: bool) -> None:
        self.codes, self.symmetric, self.half = codes, symmetric, half

    def __call__(self, least: Floats, most: Floats) -> Parameters:
        span = np.float32(self.codes.high) if self.symmetric else np.float32(self.codes.high - self.codes.low)
        low, high = np.minimum(least, np.float32(0)), np.maximum(most, np.float32(0))
        with np.errstate(over="ignore"):
            bound = np.maximum(np.abs(least), np.abs(most)) if self.symmetric else high - low
        if not np.isfinite(bound).all():
            raise EditError("the range of the values is wider than float32 can hold")
        held = bound >= (NARROWEST if self.codes.rounding is Rounding.HALF_EVEN else _NORMAL * span)
        scale = self._rounded((np.where(held, bound, NARROWEST) / span).astype(np.float32))
        if self.symmetric:
            return Parameters(scale, np.zeros(len(scale), np.int64))
        exact = np.float32(self.codes.low) - low / scale
        return Parameters(scale, np.clip(rounded(exact, self.codes.rounding), self.codes.low, self.codes.high).astype(np.int64))

    def _rounded(self, scale: Floats) -> Floats:
        if not self.half:
            return scale
        if len(scale) and scale.max() > HALF_SCALES[1]:
            raise EditError(f"scale {scale.max():g} is beyond {HALF_SCALES[1]:g}, the largest that FLOAT16 block scales can have")
        import ml_dtypes

        return np.maximum(scale.astype(ml_dtypes.bfloat16).astype(np.float32), HALF_SCALES[0])


def _errors(values: Floats, grid: Grid, tried: list[Parameters], codes: Codes) -> npt.NDArray[np.float64]:
    """The sum of squared errors of every channel for each of the parameters."""
    found = np.zeros((len(tried), grid.channels))
    spreads = [(Spread(p.scale), Spread(p.zero_point.astype(np.float32)) if p.zero_point.any() else None) for p in tried]
    for block in grid.blocks():
        part = values[block.start : block.stop]
        exact, whole = SCRATCH.array(0, block), SCRATCH.array(1, block)
        for row, (scales, zero_points) in enumerate(spreads):
            scales.apply(np.divide, block, part, exact)
            if zero_points is not None:
                zero_points.apply(np.add, block, exact, exact)
            np.rint(exact, out=whole)
            np.clip(whole, codes.low, codes.high, out=whole)
            np.subtract(exact, whole, out=exact)
            found[row, block.first : block.first + block.channels] += squares(block, exact)
    return found * np.square([p.scale for p in tried], dtype=np.float64)
