"""Element types: numpy dtypes, bit widths, packing of small integers, string buffers, text of names."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflitekit import types
from tflitekit._schema import TensorType
from tflitekit.errors import EditError

PACKED = [TensorType.INT4, TensorType.UINT4, TensorType.INT2]
NOT_NUMERIC = {TensorType.STRING, TensorType.RESOURCE, TensorType.VARIANT}
NUMERIC = [t for t in TensorType if t not in NOT_NUMERIC]


# ---- dtypes ----


@pytest.mark.parametrize("type_", NUMERIC)
def test_dtypes_go_both_ways_and_have_the_stated_width(type_: TensorType) -> None:
    dtype = types.numpy_dtype(type_)
    assert types.tensor_type(dtype) == type_
    assert types.BITS[type_] == 8 * dtype.itemsize or type_ in PACKED
    assert dtype.byteorder in "=<|"


@pytest.mark.parametrize("type_", [*NOT_NUMERIC, TensorType(99)])
def test_types_without_numbers_have_neither_dtype_nor_size(type_: TensorType) -> None:
    with pytest.raises(EditError, match=type_.name):
        types.numpy_dtype(type_)
    assert types.byte_size(type_, (2, 3)) is None


def test_every_schema_type_is_accounted_for() -> None:
    assert set(types.BITS) == set(NUMERIC)
    assert set(types.INTEGER_RANGES) | types.FLOAT_TYPES < set(types.BITS)
    assert not set(types.INTEGER_RANGES) & types.FLOAT_TYPES


@pytest.mark.parametrize("type_", list(types.INTEGER_RANGES))
def test_integer_ranges_are_those_of_the_dtype(type_: TensorType) -> None:
    dtype = types.numpy_dtype(type_)
    info = ml_dtypes.iinfo(dtype)
    assert types.INTEGER_RANGES[type_] == (int(info.min), int(info.max))


def test_text_arrays_are_strings_and_structures_are_nothing() -> None:
    assert types.tensor_type("U5") == types.tensor_type("S3") == types.tensor_type(object) == TensorType.STRING
    with pytest.raises(EditError):
        types.tensor_type(np.dtype([("a", "i4")]))


# ---- sizes ----


@pytest.mark.parametrize(
    ("shape", "count"), [((), 1), ((0,), 0), ((3, 0, 2), 0), ((2, 3), 6), ((-1, 4), 0), ((-2, -2), 0), ((2**31 - 1,) * 4, (2**31 - 1) ** 4)]
)
def test_element_count_never_overflows(shape: tuple[int, ...], count: int) -> None:
    assert types.element_count(shape) == count


@given(st.sampled_from(NUMERIC), st.lists(st.integers(0, 7), max_size=4))
def test_byte_size_is_that_of_the_array_packed_without_row_padding(type_: TensorType, shape: list[int]) -> None:
    expected = (types.element_count(shape) * types.BITS[type_] + 7) // 8
    if type_ not in PACKED:
        assert expected == np.zeros(shape, types.numpy_dtype(type_)).nbytes
    assert types.byte_size(type_, shape) == expected


# ---- packing ----


@st.composite
def codes(draw: st.DrawFn) -> tuple[TensorType, np.ndarray]:
    type_ = draw(st.sampled_from(PACKED))
    low, high = types.INTEGER_RANGES[type_]
    return type_, np.array(draw(st.lists(st.integers(low, high), max_size=40)), np.int64)


@given(codes(), st.sampled_from(["i1", "i2", "i4", "i8"]))
def test_packed_codes_come_back(case: tuple[TensorType, np.ndarray], dtype: str) -> None:
    type_, values = case
    packed = types.pack(values.astype(dtype), type_)
    assert packed.dtype == np.uint8
    assert len(packed) == types.byte_size(type_, values.shape)
    back = types.unpack(packed, type_, len(values))
    assert back.dtype == types.numpy_dtype(type_)
    assert np.array_equal(back.astype(np.int64), values)


@given(st.sampled_from(PACKED), st.binary(max_size=40))
def test_packed_bytes_come_back(type_: TensorType, data: bytes) -> None:
    raw = np.frombuffer(data, np.uint8)
    count = len(data) * 8 // types.BITS[type_]
    assert types.pack(types.unpack(raw, type_, count), type_).tobytes() == data


@given(codes())
def test_the_first_element_is_in_the_low_bits(case: tuple[TensorType, np.ndarray]) -> None:
    """Against a loop over single bits."""
    type_, values = case
    bits = types.BITS[type_]
    expected = bytearray((len(values) * bits + 7) // 8)
    for position, value in enumerate(values.tolist()):
        for bit in range(bits):
            at = position * bits + bit
            expected[at // 8] |= (value >> bit & 1) << at % 8
    assert types.pack(values, type_).tobytes() == bytes(expected)


# Numbers that a cast to fewer bits would turn into a code.
WRAPPING = st.builds(lambda code, turns, bits: code + turns * 2**bits, st.integers(-8, 15), st.integers(-3, 3), st.sampled_from([8, 16, 32]))


@given(st.sampled_from(PACKED), WRAPPING | st.integers(-(2**63), 2**63 - 1), st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]))
def test_codes_outside_the_range_are_refused(type_: TensorType, value: int, dtype: str) -> None:
    """For every integer dtype, also where a narrower one would wrap around into the range."""
    info = np.iinfo(dtype)
    if not info.min <= value <= info.max:
        return
    low, high = types.INTEGER_RANGES[type_]
    array = np.array([0, value], dtype)
    if low <= value <= high:
        assert types.unpack(types.pack(array, type_), type_, 2).astype(np.int64).tolist() == [0, value]
    else:
        with pytest.raises(EditError, match="do not fit"):
            types.pack(array, type_)


@pytest.mark.parametrize("value", [1.5, float("nan"), 1e30])
def test_fractions_are_not_cut_off(value: float) -> None:
    with pytest.raises(EditError):
        types.pack(np.array([value]), TensorType.INT4)


@pytest.mark.parametrize("type_", PACKED)
def test_codes_in_their_own_dtype_are_packed(type_: TensorType) -> None:
    low, high = types.INTEGER_RANGES[type_]
    values = np.arange(low, high + 1)
    assert types.pack(values.astype(types.numpy_dtype(type_)), type_).tobytes() == types.pack(values, type_).tobytes()


# ---- strings ----


@given(st.lists(st.binary(max_size=20), max_size=12))
def test_strings_come_back(values: list[bytes]) -> None:
    data = types.encode_strings(values)
    assert types.decode_strings(data) == values
    assert types.decode_strings(memoryview(data)) == values


def test_string_layout_is_the_documented_one() -> None:
    expected = np.array([2, 16, 17, 19], "<i4").tobytes() + b"a" + "\N{POUND SIGN}".encode()
    assert types.encode_strings(["a", "\N{POUND SIGN}"]) == expected


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        values = types.decode_strings(data)
    except EditError:
        return
    assert sum(map(len, values)) <= len(data)


@pytest.mark.parametrize("words", [[-1], [1], [1, 12], [1, 8, 9], [1, 12, 8], [1, 12, 99], [2, 16, 12, 16], [2**31 - 1, 0, 0], [1, -4, 12]])
def test_broken_string_buffers_are_refused(words: list[int]) -> None:
    with pytest.raises(EditError):
        types.decode_strings(np.array(words, "<i4").tobytes())


def test_names_as_text() -> None:
    assert types.text(None) == ""
    assert types.text(b"a\xffb") == "a\\xffb"
    assert types.text("\N{SNOWMAN}".encode()) == "\N{SNOWMAN}"
