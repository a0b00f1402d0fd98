"""Which usual preprocessing of images or sound a tensor's quantization stands for."""

from __future__ import annotations

import math
from typing import NamedTuple

from .._schema import TensorType
from .affine import Affine

BYTE_SHIFT = {TensorType.UINT8: 0, TensorType.INT8: -128}  # code - image byte
IMAGE, RANGE, SAMPLES = "image", "range", "samples"


class Preprocessing(NamedTuple):
    """A usual way to make real inputs from stored numbers: real = (number - mean) / std.

    `kind` says what the numbers are. `image`: bytes 0 to 255, which are the codes of a uint8 tensor (less 128 for int8). `range`: bytes too, but
    normalised by another mean and std in each channel; (mean, std) then spread 8 bits over all channels, and codes are no image bytes.
    `samples`: signed 16-bit sound.
    """

    name: str
    mean: float
    std: float
    kind: str = IMAGE

    @property
    def formula(self) -> str:
        """The computation as text, in terms of `pixel` or `sample`."""
        number = "sample" if self.kind == SAMPLES else "pixel"
        if self.kind == RANGE:
            return f"from {-self.mean / self.std:.4g} to {(255 - self.mean) / self.std:.4g}, another mean and std in each channel"
        moved = f"{number} - {self.mean:g}" if self.mean else number
        if self.std == 1:
            return moved
        return f"({moved}) / {self.std:g}" if self.mean else f"{moved} / {self.std:g}"


class Match(NamedTuple):
    """A preprocessing that fits, and how far off it is at worst, in LSBs: steps of one image byte (of one 16-bit sample for sound)."""

    preprocessing: Preprocessing
    deviation: float


def _channels(name: str, means: tuple[float, ...], stds: tuple[float, ...]) -> Preprocessing:
    """Bytes with mean and std by channel, as one (mean, std) for the range of all channels together."""
    low = min(-mean / std for mean, std in zip(means, stds, strict=True))
    high = max((255 - mean) / std for mean, std in zip(means, stds, strict=True))
    std = 255 / (high - low)
    return Preprocessing(name, -low * std, std, RANGE)


# Among equal matches the first is the likeliest.
PREPROCESSINGS = (
    Preprocessing("image scaled to [0, 1]", 0, 255),
    Preprocessing("image scaled to [-1, 1]", 127.5, 127.5),
    Preprocessing("image bytes as they are, 0 to 255", 0, 1),
    Preprocessing("image scaled to [-1, 1), mean 128 and std 128", 128, 128),
    Preprocessing("image scaled to about [-1, 1], mean 128 and std 127", 128, 127),
    Preprocessing("image scaled to about [-1, 1], mean 127 and std 127", 127, 127),
    Preprocessing("image scaled to (-1, 1), mean 127.5 and std 128", 127.5, 128),
    Preprocessing("image scaled to (-1, 1], mean 127 and std 128", 127, 128),
    Preprocessing("image scaled to [0, 1), by 256", 0, 256),
    Preprocessing("image scaled to [-0.5, 0.5]", 127.5, 255),
    Preprocessing("image scaled to [-0.5, 0.5), by 256", 128, 256),
    Preprocessing("image bytes less 128", 128, 1),
    Preprocessing("image bytes less 127.5", 127.5, 1),
    _channels("ImageNet mean and std by channel", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Preprocessing("ImageNet mean and std, one for all channels", 114.495, 57.63),
    _channels("ImageNet mean by channel, not scaled (Caffe)", (123.68, 116.779, 103.939), (1, 1, 1)),
    Preprocessing("MNIST mean and std", 0.1307 * 255, 0.3081 * 255),
    Preprocessing("16-bit samples scaled to [-1, 1)", 0, 32768, SAMPLES),
    Preprocessing("16-bit samples as they are", 0, 1, SAMPLES),
)


def recognise(affine: Affine, tolerance: float = 1.0) -> tuple[Match, ...]:
    """The usual preprocessings whose real values differ from the tensor's by at most `tolerance` LSBs anywhere, the nearest first.

    uint8 and int8 are compared at both ends of the byte range; where the mean is no integer, both neighbouring zero points count as exact. For
    int16 only the largest magnitude is comparable, so all preprocessings of images that reach the same one match alike. Other types match nothing.
    """
    found = [Match(candidate, deviation(affine, candidate)) for candidate in PREPROCESSINGS]
    return tuple(sorted((match for match in found if match.deviation <= tolerance), key=lambda match: match.deviation))


def deviation(affine: Affine, candidate: Preprocessing) -> float:
    """The largest difference of real values between the tensor and the preprocessing, in LSBs; infinite where they cannot be compared."""
    scale = float(affine.scale)
    if candidate.kind == SAMPLES:
        fits = affine.type == TensorType.INT16 and affine.zero_point == 0
        return abs(scale * candidate.std - 1) * 32767 if fits else math.inf
    if affine.type == TensorType.INT16:
        bound = max(candidate.mean, 255 - candidate.mean) / candidate.std
        return abs(scale * 32767 - bound) * candidate.std if affine.zero_point == 0 else math.inf
    if affine.type not in BYTE_SHIFT:
        return math.inf
    zero_point = affine.zero_point - BYTE_SHIFT[affine.type]

    def worst(expected: int) -> float:
        return max(abs(scale * (byte - zero_point) * candidate.std - (byte - expected)) for byte in (0, 255))

    return min(worst(math.floor(candidate.mean)), worst(math.ceil(candidate.mean)))
