"""Errors, variation and tolerances, on numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tflitekit.errors import EditError
from tflitekit.runtime.metrics import Errors, Variation, parse_tolerance


def errors(a: list[float], b: list[float], top1: bool = False) -> Errors:
    found = Errors()
    found.add(np.array(a), np.array(b), 0, top1)
    return found


def test_errors_by_hand() -> None:
    found = errors([3, 0, 4, 0], [3, 0, 3, 1])
    assert (found.elements, found.differing, found.max, found.mean, found.largest) == (4, 2, 1.0, 0.5, 4.0)
    assert found.at == (0, (2,))
    assert found.sqnr == pytest.approx(10 * math.log10(25 / 2))
    assert found.cosine == pytest.approx(21 / math.sqrt(25 * 19))


def test_samples_add_up() -> None:
    found = errors([1, 2], [1, 2])
    assert (found.sqnr, found.cosine, found.at) == (math.inf, 1.0, None)
    found.add(np.array([[5.0], [-9.0]]), np.array([[5.0], [-6.0]]), 1)
    assert (found.elements, found.differing, found.max, found.at, found.largest) == (4, 1, 3.0, (1, (1, 0)), 9.0)
    assert found.mean == 0.75


def test_zeros() -> None:
    assert (errors([0, 0], [0, 0]).cosine, errors([0, 0], [0, 0]).sqnr) == (1.0, math.inf)
    assert (errors([0, 0], [0, 1]).cosine, errors([0, 0], [0, 1]).sqnr) == (None, -math.inf)
    assert errors([], []).mean == 0.0


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    found = errors([math.nan, math.inf, 1, math.nan, 2], [math.nan, math.inf, math.inf, 3, 2.5])
    assert (found.differing, found.non_finite, found.max, found.sqnr) == (3, 2, 0.5, -math.inf)
    assert not parse_tolerance("1e9").holds("y", found, None, False)
    assert errors([math.nan, -math.inf], [math.nan, -math.inf]).sqnr == math.inf


def test_top1_counts_a_shared_highest_element_as_agreement() -> None:
    found = Errors()
    found.add(np.array([[1, 5, 5], [9, 0, 0], [0, 1, 2]]), np.array([[0, 3, 9], [1, 2, 0], [0, 1, 1]]), 0, True)
    assert (found.top1_agree, found.top1_rows) == (2, 3)


def test_variation_needs_two_samples() -> None:
    seen = Variation()
    seen.add(np.zeros(3))
    assert seen.varies is None
    seen.add(np.zeros(3))
    assert seen.varies is False
    seen.add(np.ones(3))
    seen.add(np.zeros(3))
    assert seen.varies is True


@pytest.mark.parametrize(
    ("text", "lsb", "exact", "verdict"),
    [
        ("1lsb", 0.5, False, True), ("0.9LSB", 0.5, False, False), ("0.5", None, False, True), ("0.4", 0.5, False, False), ("13%", None, False, True),
        ("12%", None, False, False), ("17dB", None, False, True), ("19db", None, False, False), ("0.4,1lsb", 0.5, False, True),
        ("1lsb,0.4", None, False, False), ("0", 0.5, False, False), ("1lsb", None, True, False), ("0.5", None, True, True),
        ("-3dB", None, False, True),
    ],
)  # fmt: skip
def test_tolerances(text: str, lsb: float | None, exact: bool, verdict: bool) -> None:
    assert parse_tolerance(text).holds("y", errors([4, 0], [3.5, 0]), lsb, exact) is verdict


def test_neighbouring_codes_are_one_step_apart_whatever_float32_makes_of_them() -> None:
    lsb = np.float32(0.1)
    real = lsb * np.arange(-300, 300).astype(np.float32)
    found = Errors()
    found.add(real[:-1], real[1:], 0)
    assert found.max > lsb  # by its last bits
    assert parse_tolerance("1lsb").holds("y", found, float(lsb), False) and not parse_tolerance("0.999lsb").holds("y", found, float(lsb), False)
    assert not parse_tolerance("0lsb").holds("y", errors([1], [1 + 1e-7]), 0.1, False)


def test_an_lsb_of_a_float_output_is_refused() -> None:
    with pytest.raises(EditError, match="no scale says what its LSB is"):
        parse_tolerance("1lsb").holds("y", errors([1], [1]), None, False)


@pytest.mark.parametrize("text", ["", "lsb", "-1", "nan", "1e400", "1 bit", "1lsb,", "-1lsb", "infdB"])
def test_what_is_no_tolerance(text: str) -> None:
    with pytest.raises(EditError, match="write 1lsb"):
        parse_tolerance(text)
    assert parse_tolerance("1lsb, 0.1%,40db,1e-3").text() == "1lsb,0.1%,40dB,0.001"
