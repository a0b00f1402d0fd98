"""What builtin kernels compute from scales when they are prepared, and refuse: the product test of convolutions, the bound of a fused activation.

They read one scale of a tensor, and 0 where it has none or several.
"""

from __future__ import annotations

import math

from ..._schema import ActivationFunctionType, TensorType
from .notation import names, types

# LiteRT kernel_util.cc:271-276, fully_connected.cc:566-569, batch_matmul.cc; measured. The types of activations for which scales are compared.
COMPARED: dict[str, frozenset[TensorType]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), types("UINT8")),
    "FULLY_CONNECTED": types("UINT8 INT8 INT16"),
    "BATCH_MATMUL": types("INT8 INT16"),
}
TOLERANCE = 0.02  # |input x weights - bias| / output
# Operators with a fused activation whose bounds are codes of the output (LiteRT kernel_util.cc:343-352; measured).
BOUNDED = names("CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED ADD SUB MUL DIV")
_BOUNDS = {ActivationFunctionType.RELU: (0.0,), ActivationFunctionType.RELU6: (0.0, 6.0), ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0)}
SOURCE = "LiteRT kernel_util.cc:297-352; measured"


def product_refused(data: float, weights: float, output: float, bias: float | None) -> bool:
    """Whether a kernel refuses the scales: a negative product, or a bias that is too far from it. Not-a-number fails both comparisons."""
    product = data * weights
    if bias is not None:
        gap = abs(product - bias)
        ratio = gap / output if output else (math.nan if not gap else math.inf)
        if not ratio <= TOLERANCE:
            return True
    return not product >= 0


def bound_refused(name: str, fused: ActivationFunctionType, output: float) -> bool:
    """Whether a bound of the fused activation is no 32-bit code in this scale."""
    if name not in BOUNDED:
        return False
    return any(not (output and abs(bound / output) < 2**31) for bound in _BOUNDS.get(fused, ()))
