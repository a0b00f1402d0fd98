"""The ends of a model, where callers meet it: the parameters of an input or output."""

from __future__ import annotations

import math

from ..graph import Tensor
from ..quant.affine import Affine
from .execution import is_code


def affine_of(tensor: Tensor) -> Affine | None:
    """The parameters of a tensor of codes; None if it has not exactly one scale, or they make no range."""
    quantization = tensor.quantization
    if not is_code(tensor) or quantization is None or len(quantization.scale) != 1 or len(quantization.zero_point) > 1:
        return None
    zero_point = int(quantization.zero_point[0]) if len(quantization.zero_point) else 0
    scale = float(quantization.scale[0])
    if not (math.isfinite(scale) and scale > 0):
        return None
    try:
        return Affine(quantization.scale[0], zero_point, tensor.type)
    except ValueError:
        return None
