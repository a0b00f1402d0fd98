"""Element types: TensorType <-> numpy dtype, bit widths, packing of 4- and 2-bit values, text of names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ._schema import TensorType
from .errors import EditError

# Bits per element; types without numeric buffers (strings, resources, variants) are missing.
BITS: dict[int, int] = {
    TensorType.FLOAT32: 32, TensorType.FLOAT16: 16, TensorType.INT32: 32, TensorType.UINT8: 8, TensorType.INT64: 64,
    TensorType.BOOL: 8, TensorType.INT16: 16, TensorType.COMPLEX64: 64, TensorType.INT8: 8, TensorType.FLOAT64: 64,
    TensorType.COMPLEX128: 128, TensorType.UINT64: 64, TensorType.UINT32: 32, TensorType.UINT16: 16, TensorType.INT4: 4,
    TensorType.BFLOAT16: 16, TensorType.INT2: 2, TensorType.UINT4: 4, TensorType.FLOAT8_E4M3FN: 8, TensorType.FLOAT8_E5M2: 8,
}  # fmt: skip

_NUMPY = {
    TensorType.FLOAT32: "<f4", TensorType.FLOAT16: "<f2", TensorType.INT32: "<i4", TensorType.UINT8: "u1", TensorType.INT64: "<i8",
    TensorType.BOOL: "?", TensorType.INT16: "<i2", TensorType.COMPLEX64: "<c8", TensorType.INT8: "i1", TensorType.FLOAT64: "<f8",
    TensorType.COMPLEX128: "<c16", TensorType.UINT64: "<u8", TensorType.UINT32: "<u4", TensorType.UINT16: "<u2",
}  # fmt: skip
_ML_DTYPES = {
    TensorType.INT4: "int4", TensorType.BFLOAT16: "bfloat16", TensorType.INT2: "int2", TensorType.UINT4: "uint4",
    TensorType.FLOAT8_E4M3FN: "float8_e4m3fn", TensorType.FLOAT8_E5M2: "float8_e5m2",
}  # fmt: skip

# Integer types that quantized tensors use, with their code range.
INTEGER_RANGES: dict[int, tuple[int, int]] = {
    TensorType.INT2: (-2, 1), TensorType.INT4: (-8, 7), TensorType.UINT4: (0, 15), TensorType.INT8: (-128, 127),
    TensorType.UINT8: (0, 255), TensorType.INT16: (-(2**15), 2**15 - 1), TensorType.UINT16: (0, 2**16 - 1),
    TensorType.INT32: (-(2**31), 2**31 - 1), TensorType.UINT32: (0, 2**32 - 1), TensorType.INT64: (-(2**63), 2**63 - 1),
    TensorType.UINT64: (0, 2**64 - 1),
}  # fmt: skip
FLOAT_TYPES = frozenset({
    TensorType.FLOAT32, TensorType.FLOAT16, TensorType.FLOAT64, TensorType.BFLOAT16, TensorType.FLOAT8_E4M3FN, TensorType.FLOAT8_E5M2,
})  # fmt: skip

# An integer as wide as all the values of one byte when they take a byte each, and how many of them are worked on at once.
_LANES: dict[int, np.dtype[Any]] = {4: np.dtype("<u2"), 2: np.dtype("<u4")}
_BLOCK = 1 << 17


def text(value: bytes | None) -> str:
    """A name as text: UTF-8, with undecodable bytes shown as escapes; None is ''."""
    return "" if value is None else value.decode("utf-8", "backslashreplace")


@cache
def numpy_dtype(type_: TensorType) -> np.dtype[Any]:
    """The numpy (or ml_dtypes) dtype of an element type; EditError for STRING, RESOURCE, VARIANT and unknown types."""
    if type_ in _NUMPY:
        return np.dtype(_NUMPY[type_])
    if type_ in _ML_DTYPES:
        import ml_dtypes

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[type_]))
        return extended
    raise EditError(f"{type_.name} has no numpy dtype")


@cache
def tensor_type(dtype: Any) -> TensorType:
    """The element type of a numpy or ml_dtypes dtype."""
    wanted = np.dtype(dtype)
    if wanted.kind in "SUO":
        return TensorType.STRING
    for type_ in (*_NUMPY, *_ML_DTYPES):
        if numpy_dtype(type_) == wanted:
            return type_
    raise EditError(f"no TensorType for numpy dtype {wanted}")


def element_count(shape: Sequence[int]) -> int:
    """Product of the dimensions (1 for a scalar), without overflow; a negative dimension gives 0."""
    return 0 if any(d < 0 for d in shape) else math.prod(shape)


def byte_size(type_: TensorType, shape: Sequence[int]) -> int | None:
    """Bytes that dense data of this type and shape occupies, sub-byte types packed; None where the size is not fixed."""
    bits = BITS.get(type_)
    return None if bits is None else (element_count(shape) * bits + 7) // 8


def unpack_codes(data: npt.NDArray[np.uint8], bits: int, count: int, signed: bool) -> npt.NDArray[np.int8]:
    """The first `count` of packed 4- or 2-bit values as int8, one a byte."""
    per_byte, lane = 8 // bits, _LANES[bits]
    codes = np.empty(len(data) * per_byte, np.int8)
    low = np.array(sum((1 << bits) - 1 << 8 * i for i in range(per_byte)), lane)
    half = np.int8(1 << bits - 1)
    wide, shifted = (np.empty(min(_BLOCK, len(data)), lane) for _ in range(2))
    for start in range(0, len(data), _BLOCK):
        part = data[start : start + _BLOCK]
        spread, moved = wide[: len(part)], shifted[: len(part)]
        np.copyto(spread, part)
        for i in range(1, per_byte):  # value i of a byte goes to byte i of the lane
            np.left_shift(part, lane.type(i * (8 - bits)), out=moved, dtype=lane)
            np.bitwise_or(spread, moved, out=spread)
        np.bitwise_and(spread, low, out=spread)
        target = codes[start * per_byte : (start + len(part)) * per_byte]
        if signed:
            np.bitwise_xor(spread.view(np.int8), half, out=target)
            np.subtract(target, half, out=target)
        else:
            np.copyto(target, spread.view(np.int8))
    return codes[:count]


def pack_codes(codes: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    """Pack int8 or uint8 values, of which only the low bits count, into 4 or 2 bits each; what is left of the last byte is 0."""
    per_byte, lane = 8 // bits, _LANES[bits]
    flat = np.ascontiguousarray(codes).reshape(-1)
    whole = len(flat) // per_byte
    packed = np.empty(-(-len(flat) // per_byte), np.uint8)
    lanes = flat[: whole * per_byte].view(lane)
    low = np.array(sum((1 << bits) - 1 << 8 * i for i in range(per_byte)), lane)
    masked, merged, moved = (np.empty(min(_BLOCK, whole), lane) for _ in range(3))
    for start in range(0, whole, _BLOCK):
        part = lanes[start : start + _BLOCK]
        each, sums, term = masked[: len(part)], merged[: len(part)], moved[: len(part)]
        np.bitwise_and(part, low, out=each)
        np.right_shift(each, lane.type(8 - bits), out=sums)
        np.bitwise_or(each, sums, out=sums)
        for i in range(2, per_byte):
            np.right_shift(each, lane.type(i * (8 - bits)), out=term)
            np.bitwise_or(sums, term, out=sums)
        np.copyto(packed[start : start + len(part)], sums, casting="unsafe")  # the low byte
    if whole < len(packed):
        mask = (1 << bits) - 1
        packed[whole] = sum((int(code) & mask) << i * bits for i, code in enumerate(flat[whole * per_byte :]))
    return packed


def unpack(data: npt.NDArray[np.uint8], type_: TensorType, count: int) -> npt.NDArray[Any]:
    """Decode packed 4- or 2-bit values (first element in the low bits, no row padding) to `count` values of the ml_dtypes dtype."""
    return unpack_codes(data, BITS[type_], count, type_ != TensorType.UINT4).astype(numpy_dtype(type_))


def pack(values: npt.NDArray[Any], type_: TensorType) -> npt.NDArray[np.uint8]:
    """Pack integer values into 4 or 2 bits each; values outside the type's range raise EditError."""
    low, high = INTEGER_RANGES[type_]
    wide = values.reshape(-1)
    if wide.dtype == numpy_dtype(type_):
        wide = wide.astype(np.int8)
    if wide.dtype.kind not in "iu":
        raise EditError(f"expected integers for {type_.name}, got {values.dtype}")
    if wide.size and (wide.min() < low or wide.max() > high):
        raise EditError(f"values {wide.min()} to {wide.max()} do not fit in {type_.name} ({low} to {high})")
    return pack_codes(wide.astype(np.int8, copy=False), BITS[type_])


def encode_strings(values: Sequence[bytes | str]) -> bytes:
    """The buffer of a STRING tensor: int32 count, count + 1 offsets from the start of the buffer, then the bytes."""
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)) or not all(isinstance(v, (str, bytes)) for v in values):
        raise EditError("expected a flat list of str or bytes for a STRING tensor")
    try:
        parts = [v.encode() if isinstance(v, str) else bytes(v) for v in values]
    except UnicodeEncodeError as error:
        raise EditError(f"not encodable as UTF-8 ({error.reason}); use bytes instead") from None
    ends = np.cumsum([4 * (len(parts) + 2), *map(len, parts)])
    if ends[-1] >= 1 << 31:
        raise EditError(f"strings of {ends[-1]} bytes in all; the offsets of a STRING tensor reach {(1 << 31) - 1}")
    return np.concatenate([[len(parts)], ends]).astype("<i4").tobytes() + b"".join(parts)


def decode_strings(data: bytes | memoryview) -> list[bytes]:
    """The strings in a STRING tensor's buffer; EditError where the layout does not hold."""
    raw = bytes(data)
    if not raw:
        return []
    count = int.from_bytes(raw[:4], "little", signed=True)
    if count < 0 or 4 * (count + 2) > len(raw):
        raise EditError(f"string buffer of {len(raw)} bytes cannot hold {count} strings")
    ends = np.frombuffer(raw, "<i4", count + 1, 4).astype(np.int64)  # differences of int32 would wrap around
    if (np.diff(ends) < 0).any() or ends[0] < 4 * (count + 2) or ends[-1] > len(raw):
        raise EditError("string buffer with offsets outside the data")
    return [raw[a:b] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
