"""Normalization that metadata states for an input, and whether the input's quantization can hold what comes out of it.

    real = (x - mean) / std        x is an image byte, 0 to 255; mean and std are one for all channels, or one per channel

The quantized tensor then stores code = round(real / scale) + zero_point. Where scale = 1 / std and the zero point is the mean (less 128 for int8),
the two cancel, and codes are image bytes. They need not cancel, but what is normalized must fit in the codes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .affine import Affine, MeanStd, Range
from .preprocessing import BYTE_SHIFT

BYTES = 256
# Judgement: calibration on real images cuts off a few extreme bytes and leaves some margin, another normalization more than this.
MOST_CLIPPED = 25
LEAST_SHARE = 0.75


class Normalization(NamedTuple):
    """Mean and std as metadata states them: each one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def problem(self, channels: int | None = None) -> str | None:
        """Why it cannot be applied to a tensor with that many channels (None: not known); None if it can."""
        if not self.mean or not self.std:
            return "it has no mean or no std"
        counts = {len(self.mean), len(self.std)} - {1}
        if len(counts) > 1:
            return f"it has {len(self.mean)} means and {len(self.std)} stds"
        if counts and channels is not None and counts != {channels}:
            return f"it is for {counts.pop()} channels, the tensor has {channels}"
        if not all(map(math.isfinite, self.mean + self.std)):
            return "a mean or std is not finite"
        return "a std is 0, by which nothing can be divided" if 0 in self.std else None

    def channels(self) -> list[MeanStd]:
        """(mean, std) of each channel; a single number serves all."""
        count = max(len(self.mean), len(self.std))
        means, stds = (values * count if len(values) == 1 else values for values in (self.mean, self.std))
        return [MeanStd(*pair) for pair in zip(means, stds, strict=True)]

    def range(self) -> Range:
        """The real values that bytes 0 to 255 become, over all channels."""
        ends = [(byte - mean) / std for mean, std in self.channels() for byte in (0, BYTES - 1)]
        return Range(min(ends), max(ends))


class Agreement(NamedTuple):
    """What becomes of the 256 image bytes when they are normalized and then quantized; of several channels, the worst.

    `clipped` bytes lie more than one code outside the range; `share` of the tensor's range is used (of its larger half if that is symmetric);
    `codes` are the different codes that come out, from `low` to `high`. `deviation` is the largest difference between a code and its byte (less 128
    for int8), None for types that have no byte codes.
    """

    clipped: int
    share: float
    codes: int
    low: int
    high: int
    deviation: int | None

    @property
    def verdict(self) -> str:
        """`bytes`: codes are image bytes within 1; `fits`: other codes, but the values fit; `contradicts`: they do not, or leave much unused."""
        if self.clipped > MOST_CLIPPED or self.share < LEAST_SHARE:
            return "contradicts"
        return "bytes" if self.deviation is not None and self.deviation <= 1 else "fits"

    def contradiction(self, affine: Affine, normalization: Normalization) -> str:
        """In words, both ranges and what is lost."""
        low, high = affine.range()
        least, most = normalization.range()
        lost = f"{self.clipped} of the 256 bytes are clipped" if self.clipped else f"only {self.share:.0%} of that is used"
        return f"normalized bytes go from {least:.6g} to {most:.6g}, the tensor from {low:.6g} to {high:.6g}: {lost}"


def agreement(affine: Affine, normalization: Normalization) -> Agreement:
    """Normalize and quantize every image byte. The normalization must have no `problem`."""
    image = np.arange(BYTES)
    low, high = affine.range()
    scale = float(affine.scale)
    clipped, codes = 0, BYTES
    lows: list[int] = []
    highs: list[int] = []
    deviations: list[int] = []
    for mean, std in normalization.channels():
        real = (image - mean) / std  # cannot overflow: mean and std are float32
        stored = affine.quantize(real).astype(np.int64)
        outside = int(((real < low - 1.001 * scale) | (real > high + 1.001 * scale)).sum())
        clipped = max(clipped, outside)
        codes = min(codes, len(set(stored.tolist())))
        lows.append(int(stored.min()))
        highs.append(int(stored.max()))
        if affine.type in BYTE_SHIFT:
            deviations.append(int(abs(stored - (image + BYTE_SHIFT[affine.type])).max()))
    return Agreement(clipped, _share(affine, normalization.range()), codes, min(lows), max(highs), max(deviations, default=None))


def _share(affine: Affine, used: Range) -> float:
    """The part of the tensor's range that is used, 0 to 1. Symmetric codes have to reach as far on the other side of 0."""
    low, high = affine.range()
    if affine.zero_point == 0 and low < 0:
        return min(1.0, max(map(abs, used)) / max(map(abs, (low, high))))
    return max(0.0, min(high, used.max) - max(low, used.min)) / (high - low)


class ByteRule(NamedTuple):
    """Image byte b is the code b + offset.

    `deviation`: LSB by which the tensor's real value of that code differs from (b - mean) / std at worst; `exact`: it differs only by the rounding
    of the scale to float32.
    """

    offset: int
    mean: float
    std: float
    deviation: float
    exact: bool


def byte_rule(affine: Affine, mean: float, std: float) -> ByteRule | None:
    """The rule for bytes that are meant as (b - mean) / std; None for types other than uint8 and int8. std must not be 0."""
    offset = BYTE_SHIFT.get(affine.type)
    if offset is None:
        return None
    scale, zero = float(affine.scale), affine.zero_point - offset
    deviation = max(abs(scale * (byte - zero) - (byte - mean) / std) / scale for byte in (0, BYTES - 1))
    with np.errstate(over="ignore", under="ignore"):
        exact = bool(np.float32(1 / std) == affine.scale) and mean == zero
    return ByteRule(offset, mean, std, deviation, exact)
