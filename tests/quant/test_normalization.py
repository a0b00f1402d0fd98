"""Normalization by metadata against quantization: worked cases, and every byte against the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tflitekit._schema import TensorType
from tflitekit.quant.affine import Affine, MeanStd
from tflitekit.quant.normalization import Normalization, agreement, byte_rule

UINT8, INT8, INT16 = TensorType.UINT8, TensorType.INT8, TensorType.INT16


def affine(scale: float, zero_point: int, type: TensorType = UINT8) -> Affine:
    return Affine(np.float32(scale), zero_point, type)


def one(mean: float, std: float) -> Normalization:
    return Normalization((mean,), (std,))


@pytest.mark.parametrize(
    ("quantization", "normalization", "verdict", "deviation"),
    [
        (affine(1 / 255, 0), one(0, 255), "bytes", 0),
        (affine(1 / 255, -128, INT8), one(0, 255), "bytes", 0),
        (affine(1 / 127.5, 128), one(127.5, 127.5), "bytes", 1),
        (affine(1 / 127.5, -1, INT8), one(127.5, 127.5), "bytes", 1),
        (affine(1 / 128, 128), one(127.5, 127.5), "bytes", 1),
        (affine(1, 0), one(0, 1), "bytes", 0),
        (affine(1.2 / 255, 10), one(0, 255), "fits", 32),  # 1 / 1.2 of the range: 255 becomes 213 + 10
        (affine(1 / 127, 0, INT8), one(0, 255), "fits", 128),  # symmetric: the negative half cannot be used
        (affine(1 / 32768, 0, INT16), one(127.5, 127.5), "fits", None),
        (affine(1 / 32768, 0, INT16), one(0, 255), "fits", None),
        (affine(2 / 255, 64), one(0, 255), "contradicts", 64),  # half of the range
        (affine(1 / 127.5, 128), one(0, 255), "contradicts", 128),  # [0, 1] into [-1, 1]
        (affine(1 / 255, 0), one(127.5, 127.5), "contradicts", 127),  # [-1, 1] into [0, 1]
        (affine(1 / 255, 0), one(0, 1), "contradicts", 254),
        (affine(1, 0), one(0, 255), "contradicts", 254),  # [0, 1] into [0, 255]
        (affine(1 / 255, 0, INT8), one(0, 255), "contradicts", 128),  # a zero point meant for uint8
    ],
)  # fmt: skip
def test_verdicts(quantization: Affine, normalization: Normalization, verdict: str, deviation: int | None) -> None:
    found = agreement(quantization, normalization)
    assert (found.verdict, found.deviation) == (verdict, deviation)


def test_every_byte_against_the_definition() -> None:
    """By whole-number arithmetic: scale 1/64, mean 10, std 128, so that a byte is exactly (byte - 10) / 2 codes above the zero point."""
    found = agreement(affine(1 / 64, 20), one(10, 128))
    codes = [min(max(math.floor(abs(b - 10) / 2 + 0.5) * (1 if b >= 10 else -1) + 20, 0), 255) for b in range(256)]
    assert (found.low, found.high, found.codes) == (min(codes), max(codes), len(set(codes)))
    assert found.deviation == max(abs(code - byte) for byte, code in enumerate(codes))
    assert found.clipped == 0
    clipping = agreement(affine(1 / 64, 0), one(30, 64))  # a byte is byte - 30: those below 29 are clipped by more than one
    assert (clipping.clipped, clipping.low, clipping.high) == (29, 0, 225)


def test_the_worst_channel_decides() -> None:
    good, bad = one(0, 255), one(127.5, 127.5)
    both = Normalization((0, 127.5), (255, 127.5))
    alone = [agreement(affine(1 / 255, 0), n) for n in (good, bad)]
    assert agreement(affine(1 / 255, 0), both).clipped == max(a.clipped for a in alone)
    assert agreement(affine(1 / 255, 0), both).codes == min(a.codes for a in alone)


def test_channels_and_range() -> None:
    assert Normalization((1, 2, 3), (4,)).channels() == [MeanStd(1, 4), MeanStd(2, 4), MeanStd(3, 4)]
    assert Normalization((0, 127.5), (255, 127.5)).range() == (-1, 1)


@pytest.mark.parametrize(
    ("mean", "std", "channels", "problem"),
    [
        ((), (1,), 3, "no mean or no std"), ((1,), (), None, "no mean or no std"), ((1, 2), (1, 2, 3), 3, "2 means and 3 stds"),
        ((1, 2), (1,), 3, "2 channels, the tensor has 3"), ((math.nan,), (1,), 3, "not finite"), ((1,), (math.inf,), 3, "not finite"),
        ((255,), (0,), 3, "a std is 0"), ((1, 2, 3), (1, 2, 0), 3, "a std is 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_applied(mean: tuple[float, ...], std: tuple[float, ...], channels: int | None, problem: str) -> None:
    assert problem in (Normalization(mean, std).problem(channels) or "")


@pytest.mark.parametrize(("mean", "std", "channels"), [((1,), (1,), 7), ((1, 2, 3), (1,), 3), ((1, 2, 3), (4, 5, 6), None)])
def test_what_can_be_applied(mean: tuple[float, ...], std: tuple[float, ...], channels: int | None) -> None:
    assert Normalization(mean, std).problem(channels) is None


def test_extreme_numbers_do_not_warn() -> None:
    for mean, std in ((3e38, 1e-45), (-3e38, -1e-45), (0, 1e-45)):
        for quantization in (affine(1e-45, 0), affine(3e38, 255), affine(1, 0, INT16)):
            assert agreement(quantization, one(mean, std)).codes >= 1
            byte_rule(quantization, mean, std)


def test_byte_rules() -> None:
    exact = byte_rule(affine(1 / 255, -128, INT8), 0, 255)
    assert exact is not None
    assert (exact.offset, exact.exact) == (-128, True)
    assert exact.deviation < 1e-4
    half = byte_rule(affine(1 / 127.5, 128), 127.5, 127.5)
    assert half is not None
    assert (half.offset, half.exact) == (0, False)
    assert half.deviation == pytest.approx(0.5, abs=1e-4)
    assert byte_rule(affine(1, 0, INT16), 0, 1) is None
