"""Which version an operator needs for its types and options."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from ..._schema import ActivationFunctionType, FullyConnectedOptionsWeightsFormat, LSTMKernelType, TensorType
from ...errors import EditError
from .model import Need, Versions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ...graph import Operator, Tensor


def required_version(operator: Operator, versions: Versions) -> int:
    """The version that TFLite's converter would give an operator: the first need that matches, else the lowest version.

    An operator code is shared, so its version is the highest that its operators need. It is never lowered by anyone: a version says what the
    kernel must understand, not what it must not.
    """
    return first_met(operator, needs_of_types(operator, versions))


def needs_of_types(operator: Operator, versions: Versions) -> tuple[Need, ...]:
    """The needs that may be the first to match operators with these types, the last of them unconditional: in the end the lowest version."""
    found = []
    for need in versions.needs:
        if _types_match(need, operator):
            found.append(need)
            if not need.conditions:
                return tuple(found)
    return *found, Need(versions.lowest, {})


def first_met(operator: Operator, needs: tuple[Need, ...]) -> int:
    """The version of the first need whose conditions hold; the last has none."""
    return next(need.version for need in needs if all(CONDITIONS[name](operator) for name in need.conditions))


def _types_match(need: Need, operator: Operator) -> bool:
    for name, allowed in need.types.items():
        tensor = operand(operator, name)
        if tensor is None or tensor.type not in allowed:
            return False
    return True


def operand(operator: Operator, name: str) -> Tensor | None:
    """The tensor called "in0", "out1" or "intermediate4"; None if it is absent."""
    attribute, index = _place(name)
    tensors: list[Tensor | None] = getattr(operator, attribute)
    return tensors[index] if index < len(tensors) else None


@cache
def _place(name: str) -> tuple[str, int]:
    """The list of an operand and its position there."""
    for prefix, attribute in (("intermediate", "intermediates"), ("in", "inputs"), ("out", "outputs")):
        if name.startswith(prefix) and name[len(prefix) :].isdigit():
            return attribute, int(name[len(prefix) :])
    raise ValueError(f"operand: expected in0, out0 or intermediate0, got {name!r}")


def option(operator: Operator, name: str, default: Any = 0) -> Any:
    """A field of the options table; the default where there is no such table or field."""
    return getattr(operator.options, name, default)


def values_of(tensor: Tensor | None) -> npt.NDArray[np.int64] | None:
    """The numbers of a small constant; None if it is none, or damaged."""
    try:
        return None if tensor is None or not tensor.is_constant else tensor.numpy().astype("int64")
    except (EditError, ValueError):
        return None


def _rank(operator: Operator, name: str = "in0") -> int:
    tensor = operand(operator, name)
    return 0 if tensor is None else len(tensor.shape)


def _sizes(operator: Operator, name: str) -> tuple[int, ...]:
    tensor = operand(operator, name)
    return () if tensor is None else tuple(tensor.shape)


def _scales(operator: Operator, name: str) -> list[float]:
    tensor = operand(operator, name)
    if tensor is None or tensor.quantization is None:
        return []
    return [float(value) for value in tensor.quantization.scale]


def _has_table(operator: Operator, name: str) -> bool:
    """The converter asks for the quantization table, not for scales in it."""
    tensor = operand(operator, name)
    return tensor is not None and tensor.quantization is not None


def _per_channel(name: str, *, several: bool) -> Callable[[Operator], bool]:
    """As many scales as the quantized dimension is long; `several` asks for more than one besides."""

    def found(operator: Operator) -> bool:
        tensor = operand(operator, name)
        if tensor is None or tensor.quantization is None:
            return False
        axis, shape, count = tensor.quantization.quantized_dimension, tensor.shape, len(tensor.quantization.scale)
        return 0 <= axis < len(shape) and count > 0 and count == shape[axis] and (count > 1 or not several)

    return found


def _per_channel_weights(operator: Operator) -> bool:
    return _per_channel("in1", several=operator.op_name == "EMBEDDING_LOOKUP")(operator)


def _rank_above(limit: int) -> Callable[[Operator], bool]:
    return lambda operator: _rank(operator) > limit


def _large_product(operator: Operator) -> bool:
    """MUL whose scales need a multiplier of 1 or more."""
    first, second, out = (_scales(operator, name) for name in ("in0", "in1", "out0"))
    return bool(first and second and out and out[0] and first[0] * second[0] / out[0] >= 1)


def _broadcast_above_4(operator: Operator) -> bool:
    sizes = _sizes(operator, "in0"), _sizes(operator, "in1")
    return sizes[0] != sizes[1] and max(map(len, sizes)) > 4


def _grouped(operator: Operator) -> bool:
    data, weights = _sizes(operator, "in0"), _sizes(operator, "in1")
    return len(data) == 4 and len(weights) == 4 and data[3] != weights[3]


def _flag(name: str) -> Callable[[Operator], bool]:
    return lambda operator: bool(option(operator, name))


CONDITIONS: dict[str, Callable[[Operator], bool]] = {
    **{name: _flag(name) for name in ("align_corners", "batch_dims", "half_pixel_centers", "keep_num_dims", "offset")},
    "asymmetric_inputs": _flag("asymmetric_quantize_inputs"),
    "basic_kernel": lambda operator: option(operator, "kernel_type") == LSTMKernelType.BASIC,
    "full_kernel": lambda operator: option(operator, "kernel_type") == LSTMKernelType.FULL,
    "bias": lambda operator: operand(operator, "in3") is not None,
    "bias_type_option": lambda operator: option(operator, "quantized_bias_type", TensorType.FLOAT32) != TensorType.FLOAT32,
    "broadcast_above_4": _broadcast_above_4,
    "diagonal_recurrent": _flag("diagonal_recurrent_tensors"),
    "dilated": lambda operator: option(operator, "dilation_w_factor", 1) != 1 or option(operator, "dilation_h_factor", 1) != 1,
    "ellipsis_or_new_axis": lambda operator: bool(option(operator, "ellipsis_mask") or option(operator, "new_axis_mask")),
    "fused_activation": lambda operator: option(operator, "fused_activation_function") != ActivationFunctionType.NONE,
    "grouped": _grouped,
    "large_product": _large_product,
    "not_power_of_two_option": lambda operator: not option(operator, "pot_scale_int16", True),
    "per_channel_in0": _per_channel("in0", several=True),
    "per_channel_in1": _per_channel_weights,
    "per_channel_out0": _per_channel("out0", several=True),
    "quantized_in0": lambda operator: _has_table(operator, "in0"),
    "unquantized_in0": lambda operator: not _has_table(operator, "in0"),
    "unquantized_inputs": lambda operator: not _has_table(operator, "in0") and not _has_table(operator, "in1"),
    "rank_above_4": _rank_above(4),
    "rank_above_5": _rank_above(5),
    "rank_above_6": _rank_above(6),
    "rank_is_5": lambda operator: 5 in (_rank(operator, "in0"), _rank(operator, "in1"), _rank(operator, "in2")),
    "rank_not_4": lambda operator: _rank(operator) != 4,
    "shuffled": lambda operator: option(operator, "weights_format") == FullyConnectedOptionsWeightsFormat.SHUFFLED4x16INT8,
    "sparse": lambda operator: (weights := operand(operator, "in1")) is not None and weights.sparsity is not None,
    "two_inputs": lambda operator: len(operator.inputs) == 2,
}
