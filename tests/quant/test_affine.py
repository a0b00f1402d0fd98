"""(mean, std), (min, max), (scale, zero point): worked numbers, rounding, refusals, and properties of all conversions."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tflitekit._schema import TensorType
from tflitekit.errors import EditError
from tflitekit.quant.affine import SYMMETRIC, Affine, Derived, Rounding, code_range, from_mean_std, from_range, from_scale, rounded
from tflitekit.types import INTEGER_RANGES, numpy_dtype

UINT8, INT8, INT16 = TensorType.UINT8, TensorType.INT8, TensorType.INT16
unhurried = settings(deadline=None)
ALL = [TensorType(type) for type in INTEGER_RANGES]
NARROW = [type for type in ALL if type not in (TensorType.INT64, TensorType.UINT64)]
types = st.sampled_from(NARROW)
byte_types = st.sampled_from([UINT8, INT8])
ends = st.floats(1e-6, 1e6)
scales = st.floats(2.0**-126, 2.0**100, width=32)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[float, float]:
    """A range that includes 0 and is not a point; often symmetric, where zero points are decided by the last bit."""
    below, above = draw(st.one_of(st.tuples(ends, ends), ends.map(lambda x: (x, x)), st.tuples(st.just(0.0), ends), st.tuples(ends, st.just(0.0))))
    return 0.0 - below, above


@st.composite
def affines(draw: st.DrawFn, among: st.SearchStrategy[TensorType] = types) -> Affine:
    type = draw(among)
    low, high = code_range(type)
    return Affine(np.float32(draw(scales)), draw(st.integers(low, high)), type)


# (mean, std) or (min, max), type, scale, zero point, representable range
WORKED = [
    (from_mean_std(0, 255, UINT8), 0.003921568859368563, 0, (0, 1)),
    (from_mean_std(0, 255, INT8), 0.003921568859368563, 0, (-0.50196, 0.49804)),
    (from_mean_std(-128, 255, INT8), 0.003921568859368563, -128, (0, 1)),
    (from_range(0, 1, UINT8), 0.003921568859368563, 0, (0, 1)),
    (from_range(0, 1, INT8), 0.003921568859368563, -128, (0, 1)),
    (from_range(-100, 100, UINT8), 0.7843137383460999, 128, (-100.39216, 99.60784)),
    (from_range(-100, 100, INT8), 0.7843137383460999, -1, (-99.60784, 100.39216)),
    (from_mean_std(127.5, 127.5, UINT8), 0.007843137718737125, 128, (-1.003922, 0.996078)),
    (from_range(-1, 1, UINT8), 0.007843137718737125, 128, (-1.003922, 0.996078)),
    (from_range(-1, 1, INT8), 0.007843137718737125, -1, (-0.996078, 1.003922)),
    (from_mean_std(128, 127, UINT8), 0.007874015718698502, 128, (-1.007874, 1.0)),
    (from_mean_std(128, 128, UINT8), 0.0078125, 128, (-1, 0.992188)),
    (from_mean_std(0, 1, UINT8), 1.0, 0, (0, 255)),
    (from_mean_std(127, 1 / 128, UINT8), 128.0, 127, (-16256, 16384)),
    (from_mean_std(126.5, 1, UINT8), 1.0, 127, (-127, 128)),
    (from_range(-1, 1, INT16), 3.0518509447574615e-05, 0, (-1.000031, 1)),
    (from_range(-2, 1, INT16), 6.103701889514923e-05, 0, (-2.000061, 2)),
    (from_range(-8, 7, TensorType.INT4), 1.0, 0, (-8, 7)),
    (from_range(0, 30, TensorType.UINT4), 2.0, 0, (0, 30)),
]


@pytest.mark.parametrize(("derived", "scale", "zero_point", "bounds"), WORKED)
def test_worked_numbers(derived: Derived, scale: float, zero_point: int, bounds: tuple[float, float]) -> None:
    assert (float(derived.stored.scale), derived.stored.zero_point) == (scale, zero_point)
    assert derived.stored.range() == pytest.approx(bounds, rel=1e-5, abs=1e-6)


def test_range_of_the_placeholder_statistics() -> None:
    low, high = from_range(-100, 100, UINT8).stored.range()
    assert (round(low, 3), round(high, 3)) == (-100.392, 99.608)


def test_the_zero_point_is_not_taken_from_the_stored_scale() -> None:
    stored = from_range(-100, 100, UINT8).stored
    assert rounded(100 / float(stored.scale)) == 127
    assert stored.zero_point == 128


def test_residual_of_a_mean_that_is_no_integer() -> None:
    derived = from_mean_std(127.5, 127.5, UINT8)
    assert derived.residual == -0.5
    stored, asked = derived.stored.range(), derived.range
    scale_error = 128 * abs(float(derived.stored.scale) - derived.scale)
    assert stored.min - asked.min == pytest.approx(derived.residual / 127.5, abs=scale_error)
    assert stored.max - asked.max == pytest.approx(derived.residual / 127.5, abs=scale_error)
    assert scale_error < 1e-7
    assert from_mean_std(-0.5, 127.5, INT8).residual == 0.5
    assert from_mean_std(0, 255, UINT8).residual == 0


def test_mean_and_std_of_what_is_stored() -> None:
    assert Affine(np.float32(0.0078125), 128, UINT8).mean_std() == (128, 128)
    assert from_mean_std(0, 255, UINT8).stored.mean_std() == pytest.approx((0, 255))


def test_scale_is_rounded_to_float32_once() -> None:
    derived = from_scale(0.0039, 3, UINT8)
    assert derived.scale == 0.0039
    assert derived.stored.scale == np.float32(0.0039)
    assert type(derived.stored.scale) is np.float32
    assert derived.range == (-3 * 0.0039, 252 * 0.0039)


# ---- rounding ----


@pytest.mark.parametrize(
    ("value", "away", "even", "up"),
    [
        (-0.5, -1, 0, 0), (0.5, 1, 0, 1), (126.5, 127, 126, 127), (127.5, 128, 128, 128), (-126.5, -127, -126, -126), (-1.5, -2, -2, -1),
        (2.4999999, 2, 2, 2), (0.49999999999999994, 0, 0, 0), (-0.49999999999999994, 0, 0, 0), (4503599627370497.0, *[4503599627370497] * 3),
        (math.inf, *[math.inf] * 3), (-math.inf, *[-math.inf] * 3),
    ],
)  # fmt: skip
def test_rounding_modes(value: float, away: float, even: float, up: float) -> None:
    assert [rounded(value, mode) for mode in (Rounding.HALF_AWAY, Rounding.HALF_EVEN, Rounding.HALF_UP)] == [away, even, up]


@unhurried
@given(st.one_of(st.floats(-1e17, 1e17), st.integers(-(2**52), 2**52).map(lambda n: n / 2)))
def test_rounding_equals_decimal_arithmetic(value: float) -> None:
    one = Decimal(1)
    assert int(rounded(value)) == int(Decimal(value).quantize(one, ROUND_HALF_UP))  # which is half away from zero in `decimal`
    assert int(rounded(value, Rounding.HALF_EVEN)) == int(Decimal(value).quantize(one, ROUND_HALF_EVEN))
    assert int(rounded(value, Rounding.HALF_UP)) == math.floor(Fraction(value) + Fraction(1, 2))


def test_rounding_mode_reaches_the_codes() -> None:
    half = Affine(np.float32(1), 0, INT8)
    values = [-1.5, -0.5, 0.5, 2.5]
    assert half.quantize(values).tolist() == [-2, -1, 1, 3]
    assert half.quantize(values, Rounding.HALF_EVEN).tolist() == [-2, 0, 0, 2]
    assert half.quantize(values, Rounding.HALF_UP).tolist() == [-1, 0, 1, 3]


# ---- refusals ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_mean_std(128, 128, INT8), r"outside -128 to 127.*-2 to -0\.0078125.*for INT8 that is 0"),
        (lambda: from_mean_std(-128, 255, UINT8), r"outside 0 to 255.*for UINT8 that is 0"),
        (lambda: from_mean_std(300, 255, UINT8), "outside 0 to 255"),
        (lambda: from_mean_std(1, 255, INT16), "symmetric"),
        (lambda: from_mean_std(0, 0, UINT8), "greater than 0"),
        (lambda: from_mean_std(0, -1, UINT8), "greater than 0"),
        (lambda: from_mean_std(math.nan, 1, UINT8), "mean is nan"),
        (lambda: from_mean_std(0, math.inf, UINT8), "std is inf"),
        (lambda: from_mean_std(0, 1e60, UINT8), "float32"),
        (lambda: from_mean_std(0, 1e-60, UINT8), "float32"),
        (lambda: from_mean_std(0, 5e-324, UINT8), "float32"),
        (lambda: from_range(2, 5, UINT8), "does not include 0"),
        (lambda: from_range(-5, -2, INT16), "does not include 0"),
        (lambda: from_range(1, -1, UINT8), "greater than max"),
        (lambda: from_range(0, 0, UINT8), "no width"),
        (lambda: from_range(-math.inf, 1, UINT8), "min is -inf"),
        (lambda: from_range(-1e308, 1e308, UINT8), "float32"),
        (lambda: from_range(0, 1, TensorType.FLOAT32), "no integer codes"),
        (lambda: from_scale(1, 3, INT16), "symmetric"),
        (lambda: from_scale(0, 0, UINT8), "positive"),
        (lambda: Affine(np.float32(-1), 0, UINT8), "positive"),
        (lambda: Affine(np.float32(math.nan), 0, UINT8), "positive"),
        (lambda: Affine(np.float32(1), 256, UINT8), r"no code of UINT8 \(0 to 255\)"),
        (lambda: Affine(np.float32(1), 1.5, UINT8), "no integer"),  # type: ignore[arg-type]
        (lambda: Affine(np.float32(1), 2**63, TensorType.UINT64), "no code"),
        (lambda: Affine(np.float32(1), 0, UINT8).shifted(INT16), "only INT8"),
        (lambda: Affine(np.float32(1), 0, TensorType.INT2).shifted(UINT8), "no type does"),
        (lambda: Affine(np.float32(1), 0, UINT8).quantize([1.0, math.nan]), "NaN"),
    ],
)
def test_refusals(make: object, message: str) -> None:
    with pytest.raises(EditError, match=message):
        make()  # type: ignore[operator]


def test_widening_is_stated() -> None:
    derived = from_range(2, 5, UINT8, widen=True)
    assert (derived.range, derived.widened_from) == ((0, 5), (2, 5))
    derived = from_range(-5, -2, INT8, widen=True)
    assert (derived.range, derived.widened_from, derived.stored.zero_point) == ((-5, 0), (-5, -2), 127)
    derived = from_range(-2, 1, INT16)
    assert (derived.range, derived.widened_from) == ((-2, 2), (-2, 1))
    assert from_range(-2, 2, INT16).widened_from is None
    assert from_range(-2, 1, UINT8, widen=True).widened_from is None


# ---- properties ----


@unhurried
@given(ranges(), types)
def test_a_derived_range_includes_zero_and_is_moved_by_half_a_scale_at_most(bounds: tuple[float, float], type: TensorType) -> None:
    derived = from_range(*bounds, type)
    low, high = derived.stored.range()
    assert low <= 0 <= high
    assert derived.stored.dequantize(derived.stored.zero_point) == 0
    assert abs(derived.residual) <= 0.5 + 1e-6
    qmin, qmax = code_range(type)
    slack = float(derived.stored.scale) * (0.5 + 1e-6) + (high - low) * 2.0**-23
    asked = derived.range
    if type in SYMMETRIC:
        assert asked.min == -asked.max == -max(-bounds[0], bounds[1])
        assert float(derived.stored.scale) * qmax == pytest.approx(asked.max, rel=1e-6)
    else:
        assert asked == bounds
        assert abs(low - asked.min) <= slack
        assert abs(high - asked.max) <= slack
    assert high - low == pytest.approx(float(derived.stored.scale) * (qmax - qmin))


@unhurried
@given(ranges(), byte_types)
def test_nudging_equals_exact_arithmetic(bounds: tuple[float, float], type: TensorType) -> None:
    """Against fractions: the zero point is that of the exact mean, except where float64 cannot tell on which side of a half it lies."""
    low, high = map(Fraction, bounds)
    qmin, _ = code_range(type)
    exact = qmin - low * 255 / (high - low)
    stored = from_range(*bounds, type).stored
    assert stored.scale == pytest.approx(float((high - low) / 255), rel=2.0**-23)
    if abs(abs(exact - math.trunc(exact)) - Fraction(1, 2)) > Fraction(1, 10**11):
        assert stored.zero_point == int(rounded(float(exact)))
    else:
        assert abs(stored.zero_point - exact) <= Fraction(1, 2) + Fraction(1, 10**11)


@pytest.mark.parametrize("bound", [0.25, 0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 32, 100, 128, 1000])
def test_symmetric_ranges_lie_halfway_and_go_away_from_zero(bound: float) -> None:
    assert from_range(-bound, bound, UINT8).stored.zero_point == 128
    assert from_range(-bound, bound, INT8).stored.zero_point == -1


def test_the_last_bit_of_float64_decides_next_to_a_half_as_in_converters() -> None:
    derived = from_range(-33, 33, UINT8)
    assert derived.mean == 33 / (66 / 255) == 127.49999999999999
    assert derived.stored.zero_point == 127
    assert from_mean_std(127.5, 255 / 66, UINT8).stored.zero_point == 128


@unhurried
@given(affines())
def test_deriving_from_what_is_stored_changes_nothing(affine: Affine) -> None:
    assume(affine.type not in SYMMETRIC or affine.zero_point == 0)
    assert from_scale(float(affine.scale), affine.zero_point, affine.type).stored == affine
    assert from_mean_std(*affine.mean_std(), affine.type).stored == affine
    if affine.type not in SYMMETRIC:
        assert from_range(*affine.range(), affine.type).stored == affine


@unhurried
@given(st.floats(0, 255), st.floats(1e-3, 1e6))
def test_mean_and_std_give_the_range_they_mean(mean: float, std: float) -> None:
    derived = from_mean_std(mean, std, UINT8)
    assert derived.range == (-mean / std, (255 - mean) / std)
    again = from_range(*derived.range, UINT8)
    assert (again.mean, again.std) == (pytest.approx(mean, rel=1e-9, abs=1e-9), pytest.approx(std))


@unhurried
@given(affines(byte_types), st.lists(st.floats(-1e6, 1e6), max_size=8))
def test_int8_and_uint8_differ_by_128(affine: Affine, values: list[float]) -> None:
    other = affine.shifted(INT8 if affine.type == UINT8 else UINT8)
    sign = 1 if other.type == INT8 else -1
    assert affine.zero_point - other.zero_point == 128 * sign
    assert other.scale == affine.scale
    assert other.range() == affine.range()
    assert (affine.quantize(values).astype(int) - other.quantize(values).astype(int) == 128 * sign).all()
    assert other.shifted(affine.type) == affine


def test_shifting_is_not_deriving_anew() -> None:
    unsigned = from_range(-1, 1, UINT8).stored
    assert unsigned.shifted(INT8).zero_point == 0
    assert from_range(-1, 1, INT8).stored.zero_point == -1


@unhurried
@given(affines(st.sampled_from([t for t in NARROW if code_range(t)[1] < 2**16])), st.sampled_from(Rounding), st.data())
def test_codes_survive_a_round_trip(affine: Affine, mode: Rounding, data: st.DataObject) -> None:
    low, high = code_range(affine.type)
    codes = np.array(data.draw(st.lists(st.integers(low, high), min_size=1, max_size=16)))
    real = affine.dequantize(codes.astype(numpy_dtype(affine.type)))
    assert real.dtype == np.float32
    found = affine.quantize(real, mode)
    assert found.dtype == numpy_dtype(affine.type)
    assert found.astype(int).tolist() == codes.tolist()


@unhurried
@given(affines(), st.floats(0, 1))
def test_quantizing_errs_by_half_a_scale_at_most_and_clips_outside(affine: Affine, position: float) -> None:
    low, high = affine.range()
    value = low + (high - low) * position
    real = (int(affine.quantize(value)) - affine.zero_point) * float(affine.scale)
    assert abs(real - value) <= float(affine.scale) * 0.5000001 + (high - low) * 2.0**-50
    qmin, qmax = code_range(affine.type)
    assert affine.quantize([-math.inf, low * 2 - high, high * 2 - low, math.inf]).astype(int).tolist() == [qmin, qmin, qmax, qmax]


@pytest.mark.parametrize("type", ALL)
def test_every_integer_type_holds_its_extremes(type: TensorType) -> None:
    low, high = code_range(type)
    affine = Affine(np.float32(1), 0, type)
    found = affine.quantize([-1e30, 1e30])
    assert found.dtype == numpy_dtype(type)
    assert int(found[0]) == low
    assert int(found[1]) == (high if abs(high) < 2**53 else int(math.nextafter(float(high), 0)))


def test_shapes_are_kept() -> None:
    affine = from_range(-1, 1, UINT8).stored
    assert affine.quantize(np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert affine.quantize(0.25).shape == ()
    assert affine.dequantize(np.zeros((2, 3), np.uint8)).shape == (2, 3)
