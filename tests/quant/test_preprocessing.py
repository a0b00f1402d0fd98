"""Usual preprocessings are recognised from what converters store for them, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tflitekit._schema import TensorType
from tflitekit.quant.affine import Affine, from_mean_std, from_range
from tflitekit.quant.preprocessing import IMAGE, PREPROCESSINGS, RANGE, SAMPLES, Preprocessing, deviation, recognise

UINT8, INT8, INT16 = TensorType.UINT8, TensorType.INT8, TensorType.INT16
BYTES = [p for p in PREPROCESSINGS if p.kind in (IMAGE, RANGE)]


def name(*arguments: float, type: TensorType = UINT8) -> str | None:
    scale, zero_point = arguments
    found = recognise(Affine(np.float32(scale), int(zero_point), type))
    return f"{found[0].preprocessing.mean:g}, {found[0].preprocessing.std:g}" if found else None


@pytest.mark.parametrize("candidate", BYTES, ids=lambda p: p.name)
@pytest.mark.parametrize("type", [UINT8, INT8])
def test_what_a_converter_stores_is_recognised(candidate: Preprocessing, type: TensorType) -> None:
    mean = candidate.mean - (128 if type == INT8 else 0)
    stored = from_mean_std(mean, candidate.std, type).stored
    fitting = {match.preprocessing.name: match.deviation for match in recognise(stored)}
    assert fitting[candidate.name] < 1e-4
    others = [p for p in BYTES if fitting.get(p.name, math.inf) < 1e-4]
    # Only a mean between two zero points leaves a choice: 127.5 may be stored like 127 and 128.
    assert all(p.std == candidate.std and abs(p.mean - candidate.mean) <= 0.5 for p in others)


@pytest.mark.parametrize(
    ("scale", "zero_point", "type", "mean_std"),
    [
        (0.003921568859368563, 0, UINT8, "0, 255"), (0.003921568859368563, -128, INT8, "0, 255"),
        (0.003921286668628454, -128, INT8, "0, 255"),  # calibrated on data that reached 0.99993
        (0.00392200006172061, 0, UINT8, "0, 255"), (0.007843137718737125, 128, UINT8, "127.5, 127.5"),
        (0.007843137718737125, 127, UINT8, "127.5, 127.5"), (0.007843137718737125, 0, INT8, "127.5, 127.5"),
        (0.007843137718737125, -1, INT8, "127.5, 127.5"), (0.0078125, 128, UINT8, "128, 128"), (0.007874015718698502, 128, UINT8, "128, 127"),
        (1.0, 0, UINT8, "0, 1"), (1.0, -128, INT8, "0, 1"), (1.0, 0, INT8, "128, 1"), (1 / 256, 0, UINT8, "0, 256"),
        (0.5847029089927673, 83, INT8, None), (0.7843137383460999, 128, UINT8, None), (128.0, 127, UINT8, None), (1 / 255, 17, UINT8, None),
        (1 / 32768, 0, INT16, "0, 32768"), (1.0, 0, INT16, "0, 1"), (1 / 32767, 0, INT16, "127.5, 127.5"), (1 / 32767, 5, INT16, None),
        (1.0, 0, TensorType.INT4, None),
    ],
)  # fmt: skip
def test_the_nearest_comes_first(scale: float, zero_point: int, type: TensorType, mean_std: str | None) -> None:
    assert name(scale, zero_point, type=type) == mean_std


def test_imagenet_by_channel() -> None:
    stored = from_range(-123.675 / 58.395, (255 - 103.53) / 57.375, UINT8).stored
    best = recognise(stored)[0]
    assert (best.preprocessing.kind, "ImageNet" in best.preprocessing.name) == (RANGE, True)
    assert best.preprocessing.formula.startswith("from -2.118 to 2.64")


def test_tolerance_is_in_steps_of_a_byte() -> None:
    shifted = Affine(np.float32(1 / 255), 1, UINT8)  # one step off [0, 1] everywhere
    unit = Preprocessing("unit", 0, 255)
    assert deviation(shifted, unit) == pytest.approx(1, abs=1e-4)
    assert not recognise(shifted, 0.9)
    assert [m.preprocessing.std for m in recognise(shifted, 1.001)] == [255]
    stretched = from_range(0, 1.02, UINT8).stored
    assert deviation(stretched, unit) == pytest.approx(0.02 * 255, rel=1e-3)


@pytest.mark.parametrize("candidate", PREPROCESSINGS, ids=lambda p: p.name)
def test_formulas_compute_the_mean_and_std(candidate: Preprocessing) -> None:
    if candidate.kind == RANGE:
        ends = candidate.formula.split()
        assert (float(ends[1]), float(ends[3].rstrip(","))) == pytest.approx(
            (-candidate.mean / candidate.std, (255 - candidate.mean) / candidate.std), rel=1e-3
        )
        return
    number = "sample" if candidate.kind == SAMPLES else "pixel"
    for value in (0, 1, 77):
        assert eval(candidate.formula, {number: value}) == pytest.approx((value - candidate.mean) / candidate.std, rel=1e-4, abs=1e-6)


def test_matches_are_sorted_and_names_are_unique() -> None:
    found = [match.deviation for match in recognise(Affine(np.float32(0.0078125), 128, UINT8))]
    assert found == sorted(found)
    assert len(found) > 1
    assert len({p.name for p in PREPROCESSINGS}) == len(PREPROCESSINGS)
