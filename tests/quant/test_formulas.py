"""Each claim is computed: the right ones hold, the wrong ones do not, and the numbers in their reasons are what the arithmetic gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflitekit._schema import TensorType
from tflitekit.quant.affine import Affine, Derived, from_mean_std, from_range
from tflitekit.quant.formulas import (
    CLAIMS,
    RIGHT,
    UINT8,
    UNRELIABLE,
    WRONG,
    Claim,
    divided_std,
    multiplied_code,
    multiplied_range,
    producers,
    uint8_mean,
    zero_point_of_stored_scale,
)

U8, I8, I16 = TensorType.UINT8, TensorType.INT8, TensorType.INT16
unhurried = settings(deadline=None)
FOUNDING = from_mean_std(0, 255, U8)
PLACEHOLDER = from_range(-100, 100, U8)


def claim(start: str) -> Claim:
    (found,) = [c for c in CLAIMS if c.statement.startswith(start)]
    return found


def text(start: str) -> str:
    return claim(start).reason


def here(start: str, derived: Derived) -> str:
    worked = claim(start).worked
    assert worked is not None
    return worked(derived)


@unhurried
@given(st.integers(0, 255), st.floats(1e-3, 1e5), st.integers(0, 255))
def test_the_definition_holds(mean: int, std: float, code: int) -> None:
    assert claim("real = (q").verdict == claim("scale = 1").verdict == RIGHT
    stored = from_mean_std(mean, std, U8).stored
    assert stored.dequantize(code) == pytest.approx((code - mean) / std, rel=1e-6)


@unhurried
@given(st.floats(-1e3, 0), st.floats(1e-3, 1e3))
def test_mean_of_a_range_holds_for_uint8_only(low: float, high: float) -> None:
    assert claim("std = 255 / (max").verdict == UINT8
    unsigned, signed = from_range(low, high, U8), from_range(low, high, I8)
    assert uint8_mean(unsigned) == pytest.approx(unsigned.mean, abs=1e-9)
    assert unsigned.std == signed.std == pytest.approx(255 / (high - low))
    assert uint8_mean(signed) == pytest.approx(signed.mean + 128, abs=1e-9)
    assert signed.mean == pytest.approx(-128 - low * signed.std, abs=1e-9)


@unhurried
@given(st.floats(-1e3, 0), st.floats(1e-3, 1e3))
def test_what_solves_the_divided_pair_is_the_scale(low: float, high: float) -> None:
    assert claim("min / std").verdict == WRONG
    derived = from_range(low, high, U8)
    std = divided_std(derived)
    mean = -low / std
    assert (low / std + mean, high / std + mean) == (pytest.approx(0, abs=1e-9), pytest.approx(255))
    assert std == pytest.approx(derived.scale)
    assert low * derived.std + derived.mean == pytest.approx(0, abs=1e-9)
    assert high * derived.std + derived.mean == pytest.approx(255)


def test_multiplying_by_std_is_wrong() -> None:
    assert claim("min = -mean").verdict == claim("q = real / std").verdict == WRONG
    assert multiplied_range(FOUNDING) == (0, 65025)
    assert multiplied_code(FOUNDING) == 65025
    assert here("min = -mean", FOUNDING) == "Here it gives 0 to 65025 instead of 0 to 1."
    assert here("q = real / std", FOUNDING) == "Here it gives 65025 for code 255 instead of 1 for code 255."
    assert here("min = -mean", from_mean_std(0, 1, U8)) == "Here both give 0 to 255."
    assert here("min / std", PLACEHOLDER) == "Here it gives std 0.784314 instead of std 1.275."
    assert here("std = 255 / (max", from_range(-1, 1, I8)) == "Here it gives mean 127.5 instead of mean -0.5."
    assert here("zero_point = round", PLACEHOLDER) == "Here it gives zero point 127 instead of zero point 128."
    scale = from_mean_std(5, 0.25, U8)
    assert multiplied_range(Derived(scale.std, scale.mean, scale.scale, scale.range, scale.stored)) == pytest.approx(scale.range)


def test_numbers_in_the_reasons() -> None:
    low, high = from_mean_std(0, 255, I8).stored.range()
    assert f"[{low:.5f}, {high:.5f}]" in text("the same mean")
    assert from_mean_std(-128, 255, I8).stored.range() == pytest.approx((0, 1))
    assert "(-128, 255)" in text("the same mean")
    older = from_mean_std(128, 127, U8).stored
    assert f"({float(older.scale)!r}, {older.zero_point})" in text("mean 128 and std 127")
    assert f"({float(FOUNDING.stored.scale)!r}, 0)" in text("mean 128 and std 127")
    assert "{:.6g} to {:.6g}.".format(*older.range()) in text("images in [-1, 1]")
    exact = from_mean_std(127.5, 127.5, U8).stored
    assert f"{float(exact.scale)!r} and {exact.zero_point}: {exact.range().min:.6g} to {exact.range().max:.6g}." in text("images in [-1, 1]")
    inverted = from_mean_std(127, 1 / 128, U8).stored
    assert "the scale {:g} and the range {:g} to {:g}.".format(inverted.scale, *inverted.range()) in text("std is a factor")
    assert [from_range(-1, 1, t).stored.zero_point for t in (U8, I8)] == [128, -1]
    assert "128 for uint8 and -1 for int8" in text("deriving a range anew")
    assert (zero_point_of_stored_scale(PLACEHOLDER), PLACEHOLDER.stored.zero_point) == (127, 128)
    assert "gives 127 so, and is 128" in text("zero_point = round")
    assert [round(-0.5), round(126.5), int(np.round(-0.5)), int(np.round(126.5))] == [0, 126, 0, 126]
    assert "-0.5 to 0 and 126.5 to 126" in text("round() of Python")
    assert claim("float32 gives").verdict == UNRELIABLE
    assert [p.zero_point for p in producers(from_range(-1, 1, U8))][:2] == [128, 127]
    assert "gives 127, and 128 in float64" in text("float32 gives")


@pytest.mark.parametrize(
    ("bounds", "type", "zero_points"),
    [
        ((-100, 100), U8, [128, 128, 128, 127]), ((-100, 100), I8, [-1, -1, 0, -1]), ((-1, 1), U8, [128, 127, 127, 127]),
        ((-1, 1), I8, [-1, -1, -1, -1]), ((0, 6), U8, [0, 0, 0, 0]), ((0, 6), I8, [-128, -128, -128, -128]),
    ],
)  # fmt: skip
def test_producers(bounds: tuple[float, float], type: TensorType, zero_points: list[int]) -> None:
    found = producers(from_range(*bounds, type))
    assert [p.zero_point for p in found] == zero_points
    assert {p.scale for p in found} == {float(from_range(*bounds, type).stored.scale)}


@unhurried
@given(st.floats(-1e3, 0), st.floats(1e-3, 1e3), st.sampled_from([U8, I8]))
def test_producers_never_differ_by_more_than_one(low: float, high: float, type: TensorType) -> None:
    derived = from_range(low, high, type)
    found = [p.zero_point for p in producers(derived)]
    assert found[0] == derived.stored.zero_point
    assert max(found) - min(found) <= 1


def test_converters_may_lose_a_half_on_the_way_from_mean_and_std_to_a_range() -> None:
    derived = from_mean_std(127.5, 255 / 66, U8)
    found = producers(derived)
    assert [(p.used_by, p.zero_point) for p in found[:2]] == [("here", 128), ("TOCO, the MLIR converter, kernels", 127)]
    assert len(found) == 5


def test_symmetric_types_and_float32_overflow() -> None:
    assert producers(from_range(-1, 1, I16)) == ()
    huge = Affine(np.float32(3e38), 0, U8)
    assert len(producers(from_range(*huge.range(), U8))) == 2
