"""What a change of stored values costs, in real values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .grid import Grid, Spread, reduced, squares
from .kernels import SCRATCH, Floats

# An error above half a scale, and above what rounding in float32 explains, means that the code was clipped.
_HALF = np.float32(0.5 + 2.0**-12)
_Reals = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass
class Loss:
    """Errors of one tensor, or of several.

    `signal` and `noise` are sums of squares of the values and of the errors, `largest` is the greatest absolute error; all in real values. `clipped`
    counts values beyond the outermost codes, `levels` the codes that occur (0: not an integer type). `channel_sqnr` is in dB, for each channel.
    """

    elements: int = 0
    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    clipped: int = 0
    levels: int = 0
    channel_sqnr: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    channel_largest: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def rms(self) -> float:
        """The root of the mean square error."""
        return math.sqrt(self.noise / self.elements) if self.elements else 0.0

    @property
    def sqnr(self) -> float:
        """Signal to quantization noise in dB: infinite if nothing was lost."""
        return float(decibels(np.array([self.signal]), np.array([self.noise]))[0])

    def worst(self, count: int) -> list[tuple[int, float, float]]:
        """The channels with the lowest ratio of signal to noise: (channel, dB, largest error)."""
        order = np.argsort(self.channel_sqnr, kind="stable")[:count]
        return [(int(c), float(self.channel_sqnr[c]), float(self.channel_largest[c])) for c in order]


def decibels(signal: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """10 log10(signal / noise); infinite without noise, minus infinite where there is only noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(signal / noise)
    return np.where(noise == 0, np.inf, ratio)


def total(losses: list[Loss]) -> Loss:
    """All tensors as one."""
    return Loss(
        elements=sum(x.elements for x in losses), signal=math.fsum(x.signal for x in losses), noise=math.fsum(x.noise for x in losses),
        largest=max((x.largest for x in losses), default=0.0), clipped=sum(x.clipped for x in losses),
    )  # fmt: skip


def measure(before: _Reals, after: _Reals, channels: Grid, scale: Floats | None = None, scales: Grid | None = None) -> Loss:
    """Compare values with what they became. `channels` are those to report; `scale` and `scales` those of the new codes, to count clipped ones."""
    signal, noise = np.zeros(channels.channels), np.zeros(channels.channels)
    largest = np.zeros(channels.channels)
    for block in channels.blocks():
        part, span = before[block.start : block.stop], slice(block.first, block.first + block.channels)
        error = SCRATCH.array(0, block)
        np.subtract(part, after[block.start : block.stop], out=error)
        with np.errstate(over="ignore"):  # values may be as large as float32 has them
            signal[span] += squares(block, part)
            noise[span] += squares(block, error)
        np.abs(error, out=error)
        np.maximum(largest[span], reduced(block, error, np.maximum), out=largest[span])
    made = Loss(
        elements=channels.size, signal=float(signal.sum()), noise=float(noise.sum()), largest=float(largest.max(initial=0.0)),
        channel_sqnr=decibels(signal, noise), channel_largest=largest,
    )  # fmt: skip
    if scale is not None and scales is not None and made.largest > 0.5 * float(scale.min(initial=np.inf)):
        made.clipped = _clipped(before, after, scales, scale)
    return made


def _clipped(before: _Reals, after: _Reals, grid: Grid, scale: Floats) -> int:
    limits = Spread(scale * _HALF)
    count = 0
    for block in grid.blocks():
        error = SCRATCH.array(0, block)
        np.subtract(before[block.start : block.stop], after[block.start : block.stop], out=error)
        np.abs(error, out=error)
        count += int(np.count_nonzero(error.reshape(block.shape) > limits.over(block)))
    return count


def levels(codes: npt.NDArray[Any], possible: int) -> int:
    """How many different codes occur; of those of 8 bits and less, stops looking when `possible` have been seen."""
    if codes.itemsize > 1:
        return len(np.unique(codes))
    seen = np.zeros(256, bool)
    for start in range(0, len(codes), 1 << 18):
        mark(codes[start : start + (1 << 18)], seen)
        if np.count_nonzero(seen) >= possible:
            break
    return int(np.count_nonzero(seen))


def mark(codes: npt.NDArray[np.int8] | npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]) -> None:
    """Note which codes of 8 bits and less occur, in an array of 256."""
    seen |= np.bincount(codes.view(np.uint8), minlength=256) > 0
