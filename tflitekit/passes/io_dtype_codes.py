"""What the codes of an input or output become in another type, and which QUANTIZE operators lead from one to the other."""

from __future__ import annotations

import numpy as np

from .._schema import BuiltinOperator, TensorType
from ..errors import EditError, RefusedError
from ..graph import Operator, QuantizationParameters, Tensor
from ..quant.affine import SYMMETRIC, Affine
from ..quant.rules import RULES
from .surgery import parameters

FLOAT = TensorType.FLOAT32
WIDTHS = {TensorType.INT8: 8, TensorType.UINT8: 8, TensorType.INT16: 16}
INTERFACE = frozenset({FLOAT, *WIDTHS})
WIDER = 256  # codes of 16 bits in one of 8
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max) / WIDER / WIDER


def codes_of(tensor: Tensor) -> Affine:
    """Type, scale and zero point of a tensor of codes; RefusedError, with the reason alone, for what QUANTIZE and DEQUANTIZE do not take."""
    q = tensor.quantization
    if tensor.type not in WIDTHS:
        raise RefusedError(f"it is {tensor.type.name}")
    if q is None or not q.is_quantized:
        raise RefusedError(f"it is {tensor.type.name} without a scale, so its codes stand for no real values")
    if q.details is not None or len(q.scale) != 1 or len(q.zero_point) != 1:
        raise RefusedError(f"its quantization is {q.kind}, with {len(q.scale)} scales and {len(q.zero_point)} zero points; one of each is needed")
    try:
        found = Affine(q.scale[0], int(q.zero_point[0]), tensor.type)
    except EditError as error:
        raise RefusedError(str(error)) from None
    if not _SMALLEST <= float(found.scale) <= _LARGEST:
        raise RefusedError(f"its scale {float(found.scale)!r} is {'subnormal' if float(found.scale) < 1 else 'too large for other codes'}")
    if found.type in SYMMETRIC and found.zero_point:
        raise RefusedError(f"it is {found.type.name} with zero point {found.zero_point}; only 0 can be converted")
    return found


def in_type(core: Affine, type_: TensorType) -> Affine:
    """The codes of another type for the same real values.

    8 bits to 8 bits: a shift by 128. 8 to 16 bits: the same scale, zero point 0. 16 to 8 bits: 256 times the scale, so that the range stays.
    """
    if WIDTHS[type_] == WIDTHS[core.type]:
        return core.shifted(type_)
    if WIDTHS[type_] > WIDTHS[core.type]:
        return Affine(core.scale, 0, type_)
    return Affine(np.float32(float(core.scale) * WIDER), 0, TensorType.INT8).shifted(type_)


def is_view(outer: Affine, core: Affine) -> bool:
    """Whether a tensor at the boundary has just the codes that `in_type` makes of those behind it."""
    return in_type(core, outer.type) == outer


def leads_inward(outer: Affine, core: Affine, wanted: TensorType) -> bool:
    """Whether the tensor behind a boundary QUANTIZE is what the wanted type is to be made of.

    It is where the boundary is a mere view of it, and where the wanted type has the width of the tensor behind and not that of the boundary.
    """
    if is_view(outer, core):
        return True
    return wanted in WIDTHS and WIDTHS[wanted] == WIDTHS[core.type] != WIDTHS[outer.type]


def table(codes: Affine, like: QuantizationParameters | None = None) -> QuantizationParameters:
    """Parameters for a file. The stored ranges of `like` are real values and stay, where they are given."""
    made = parameters(codes.scale, codes.zero_point)
    for attribute in ("min", "max") if like is not None else ():
        values = getattr(like, attribute)
        if len(values) == 1:
            setattr(made, attribute, values)
    return made


def can_quantize(source: TensorType, target: TensorType) -> bool:
    """Whether one QUANTIZE leads from one type to another."""
    pairs = RULES[BuiltinOperator.QUANTIZE].pairs
    return (source, target) in pairs


def is_unary(operator: Operator, code: BuiltinOperator) -> bool:
    """Whether this is an operator of that kind from one tensor to one other."""
    plain = len(operator.inputs) == len(operator.outputs) == 1 and operator.inputs[0] is not None and operator.outputs[0] is not None
    return plain and operator.opcode is not None and operator.opcode.code == code
