"""Source text that quantizes and dequantizes, for users to paste: the computation of `Affine`, bit for bit, in numpy and in C.

Rounds halves away from zero and clips to the type, in float64 as the scale is written. Every line is shorter than 80 columns if the name is at most
20 characters.
"""

from __future__ import annotations

from .._schema import TensorType
from .affine import Affine, code_range

NUMPY_HEAD = "import numpy as np"
C_HEAD = "#include <math.h>\n#include <stdint.h>"

# Types whose codes are exact in float64 and have a type of their own in numpy and in C.
TYPES = frozenset({TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.UINT16, TensorType.INT32, TensorType.UINT32})


def numpy_quantize(affine: Affine, name: str) -> str:
    """A numpy function: real values (array or number, not NaN) -> codes."""
    low, high = (code - affine.zero_point for code in code_range(affine.type))
    return (
        f"def {name}(real):\n"
        f"    x = np.asarray(real, np.float64) / {float(affine.scale)!r}\n"
        f"    x = np.clip(x, {low}, {high})\n"
        f"    x = np.trunc(x) + np.trunc(2 * (x - np.trunc(x)))  # round half away from 0\n"
        f"    return {_sum('x', affine.zero_point)}.astype(np.{affine.type.name.lower()})"
    )


def numpy_dequantize(affine: Affine, name: str) -> str:
    """A numpy function: codes (array or number) -> float32 real values."""
    return (
        f"def {name}(codes):\n"
        f"    codes = np.asarray(codes, np.float64)\n"
        f"    return ({_sum('codes', -affine.zero_point)} * {float(affine.scale)!r}).astype(np.float32)"
    )


def numpy_bytes(affine: Affine, name: str, offset: int) -> str:
    """A numpy function: uint8 image -> codes, each the byte plus `offset`."""
    codes = f"{_sum('np.asarray(image, np.int16)', offset)}.astype(np.{affine.type.name.lower()})" if offset else "np.asarray(image, np.uint8)"
    return f"def {name}(image):\n    return {codes}"


def c_quantize(affine: Affine, name: str) -> str:
    """A C function: real value -> code; NaN becomes the lowest code."""
    low, high = code_range(affine.type)
    type = f"{affine.type.name.lower()}_t"
    return (
        f"{type} {name}(double real) {{\n"
        f"  double code = {_plus(f'round(real / {float(affine.scale)!r})', affine.zero_point)};\n"
        f"  if (!(code > {low})) return {low};\n"
        f"  return ({type})(code < {high} ? code : {high});\n"
        f"}}"
    )


def c_dequantize(affine: Affine, name: str) -> str:
    """A C function: code -> real value as float."""
    type = f"{affine.type.name.lower()}_t"
    return (
        f"float {name}({type} code) {{\n"
        f"  return (float)({_sum('(double)code', -affine.zero_point)} * {float(affine.scale)!r});\n"
        f"}}"
    )


def c_bytes(affine: Affine, name: str, offset: int) -> str:
    """A C function: image byte -> code, the byte plus `offset`."""
    type = f"{affine.type.name.lower()}_t"
    return f"{type} {name}(uint8_t byte) {{\n  return ({type}){_sum('byte', offset)};\n}}"


def _plus(text: str, number: int) -> str:
    """`text + number`; for 0 the text alone."""
    return f"{text} {'-' if number < 0 else '+'} {abs(number)}" if number else text


def _sum(text: str, number: int) -> str:
    """`(text + number)`; for 0 the text alone."""
    return f"({_plus(text, number)})" if number else text
