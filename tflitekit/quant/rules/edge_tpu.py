"""What the Edge TPU compiler maps to the accelerator, by its published requirements. Its source is closed: nothing of this can be verified here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..._schema import ActivationFunctionType, BuiltinOperator, FullyConnectedOptionsWeightsFormat, TensorType
from .model import Role
from .versions import operand, option, values_of

if TYPE_CHECKING:
    from ...graph import Operator

SOURCE = "coral.ai, TensorFlow models on the Edge TPU: model requirements and supported operations, compiler 16.0; not verifiable here"
REFUSAL = "Model not quantized"  # what the compiler says to a model without integers
EIGHT_BIT = frozenset({TensorType.INT8, TensorType.UINT8})
MAPPED_DIMENSIONS = 3  # only the innermost ones may be larger than 1
MOST_SOFTMAX = 16_000
_CHANNELS = 4  # a reduction along the innermost dimension wants a multiple of this

Condition = Callable[["Operator"], str]  # why an operator stays on the CPU, "" if nothing speaks against it


def _no_activation(operator: Operator) -> str:
    fused = option(operator, "fused_activation_function")
    return f"fused {ActivationFunctionType(fused).name}" if fused != ActivationFunctionType.NONE else ""


def _same_dilation(operator: Operator) -> str:
    width, height = option(operator, "dilation_w_factor", 1), option(operator, "dilation_h_factor", 1)
    return f"dilations {height} and {width} differ" if width != height else ""


def _zero_padding_only(operator: Operator) -> str:
    """CONCATENATION may append a constant of zeros, and nothing else that is constant."""
    constant = [t for t in operator.inputs if t is not None and t.is_constant]
    if not constant:
        return ""
    if len(operator.inputs) != 2:
        return "a constant among more than 2 inputs"
    quantization, codes = constant[0].quantization, values_of(constant[0])
    zero_point = int(quantization.zero_point[0]) if quantization is not None and len(quantization.zero_point) else 0
    return "a constant that is not all zeros" if codes is None or (codes != zero_point).any() else ""


def _default_weights(operator: Operator) -> str:
    wanted = FullyConnectedOptionsWeightsFormat.DEFAULT
    return "shuffled weights" if option(operator, "weights_format", wanted) != wanted else ""


def _one_dimension(name: str) -> Condition:
    def check(operator: Operator) -> str:
        tensor = operand(operator, name)
        return "" if tensor is None or _innermost_only(tensor.shape) else f"{list(tensor.shape)} has several dimensions larger than 1"

    return check


def _innermost_only(shape: tuple[int, ...]) -> bool:
    return all(size == 1 for size in shape[:-1])


def _few_elements(operator: Operator) -> str:
    tensor = operand(operator, "in0")
    return f"more than {MOST_SOFTMAX} elements" if tensor is not None and tensor.shape and tensor.shape[-1] > MOST_SOFTMAX else ""


def _axes_inside(axes: str, data: str = "in0") -> Condition:
    """The axes, a constant operand or an option, leave the batch alone."""

    def check(operator: Operator) -> str:
        tensor, held = operand(operator, data), option(operator, "axis", None) if axes == "option" else values_of(operand(operator, axes))
        if tensor is None or held is None:
            return "axes that are not constant"
        rank = len(tensor.shape)
        outer = [int(axis) for axis in np.ravel(held) if 0 <= int(axis) % max(rank, 1) < rank - MAPPED_DIMENSIONS]
        return f"axis {outer[0]} is the batch" if outer else ""

    return check


def _multiple_of_4(operator: Operator) -> str:
    tensor, axes = operand(operator, "in0"), values_of(operand(operator, "in1"))
    if tensor is None or axes is None or not tensor.shape:
        return ""
    innermost = any(int(axis) % len(tensor.shape) == len(tensor.shape) - 1 for axis in np.ravel(axes))
    return f"reduces {tensor.shape[-1]} channels, no multiple of 4" if innermost and tensor.shape[-1] % _CHANNELS else ""


def _padding_inside(operator: Operator) -> str:
    tensor, padding = operand(operator, "in0"), values_of(operand(operator, "in1"))
    if tensor is None or padding is None:
        return "padding that is not constant"
    return "padding of the batch" if padding.reshape(-1, 2)[: max(0, len(tensor.shape) - MAPPED_DIMENSIONS)].any() else ""


def _leading_ones(operator: Operator) -> str:
    """SQUEEZE may drop leading dimensions of 1 only, so that nothing has to be moved."""
    tensor = operand(operator, "in0")
    if tensor is None or not tensor.shape:
        return ""
    rank = len(tensor.shape)
    dropped = [int(d) % rank for d in option(operator, "squeeze_dims", ())] or [d for d, size in enumerate(tensor.shape) if size == 1]
    first = next((d for d, size in enumerate(tensor.shape) if size != 1), rank)
    return f"drops a dimension inside {list(tensor.shape)}" if any(d > first for d in dropped) else ""


def _plain_slice(operator: Operator) -> str:
    strides = values_of(operand(operator, "in3"))
    if strides is None or (strides != 1).any():
        return "strides other than 1"
    return "ellipsis or new axis" if option(operator, "ellipsis_mask") or option(operator, "new_axis_mask") else ""


_INSIDE = _axes_inside("in1")
MAPPED: dict[BuiltinOperator, tuple[Condition, ...]] = {
    **{
        BuiltinOperator[name]: ()
        for name in (
            "ADD", "EXPAND_DIMS", "L2_NORMALIZATION", "LEAKY_RELU", "LOGISTIC", "LSTM", "MAXIMUM", "MINIMUM", "MUL", "QUANTIZE", "RELU", "RELU6",
            "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE",
            "SUB", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
        )
    },
    BuiltinOperator.AVERAGE_POOL_2D: (_no_activation,),
    BuiltinOperator.CONCATENATION: (_no_activation, _zero_padding_only),
    BuiltinOperator.CONV_2D: (_same_dilation,),
    BuiltinOperator.DEPTHWISE_CONV_2D: (_same_dilation,),
    BuiltinOperator.FULLY_CONNECTED: (_default_weights, _one_dimension("out0")),
    BuiltinOperator.MAX_POOL_2D: (_no_activation,),
    BuiltinOperator.MEAN: (_INSIDE, _multiple_of_4),
    BuiltinOperator.PACK: (_axes_inside("option", "out0"),),
    BuiltinOperator.PAD: (_padding_inside,),
    BuiltinOperator.PRELU: (_one_dimension("in1"),),
    BuiltinOperator.REDUCE_MAX: (_INSIDE,),
    BuiltinOperator.REDUCE_MIN: (_INSIDE,),
    BuiltinOperator.SOFTMAX: (_one_dimension("in0"), _few_elements),
    BuiltinOperator.SPLIT: (_axes_inside("in0", "in1"),),
    BuiltinOperator.SQUEEZE: (_leading_ones,),
    BuiltinOperator.STRIDED_SLICE: (_plain_slice,),
    BuiltinOperator.SUM: (_INSIDE,),
}  # fmt: skip
# What has to be known when the model is compiled.
_PARAMETERS = frozenset({Role.WEIGHTS, Role.BIAS})


def left_because(operator: Operator, roles: tuple[Role, ...] = (), *, static: bool = False) -> str:
    """Why the compiler leaves an operator to the CPU, or "". `roles` are those of its inputs, where they are known.

    `static` takes the shapes as they stand, which is what they would be if the model had been converted for fixed sizes.
    """
    conditions = MAPPED.get(operator.opcode.code) if operator.opcode is not None else None
    if conditions is None:
        return "the operator is not among those that are supported"
    values = [t for t in operator.inputs if t is not None and not t.is_constant and not t.is_variable]
    for tensor in (*values, *(t for t in operator.outputs if t is not None)):
        if tensor.type not in EIGHT_BIT:
            return f"{tensor.type.name} instead of INT8 or UINT8"
        if not static and (-1 in tensor.shape_signature or any(size < 0 for size in tensor.shape)):
            return f"dynamic shape {list(tensor.shape_signature or tensor.shape)}"
        if any(size > 1 for size in tensor.shape[:-MAPPED_DIMENSIONS]):
            return f"{list(tensor.shape)}: only the innermost 3 dimensions may be larger than 1"
    for given, role in zip(operator.inputs, roles, strict=False):
        if given is not None and role in _PARAMETERS and not given.is_constant:
            return f"{role.value} that are computed" if role is Role.WEIGHTS else f"{role.value} that is computed"
    return next((reason for condition in conditions if (reason := condition(operator))), "")
