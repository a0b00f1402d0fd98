"""New parameters and codes: of activations, of weights, of both between INT8 and UINT8 and from them to INT16."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..._schema import BuiltinOperator, TensorType
from ...errors import RefusedError
from ...graph import Model, Operator, QuantizationParameters, Tensor
from ...quant.affine import rounded
from ...quant.rules import Granularity, OpRule
from ...types import INTEGER_RANGES
from ..fixes.vectors import weights_axis
from ..surgery import copied_parameters

SHIFT = 128
WIDE = INTEGER_RANGES[TensorType.INT16][1]
NARROW = INTEGER_RANGES[TensorType.INT8][1]


def sound_parameters(tensor: Tensor) -> QuantizationParameters:
    """A copy of the parameters, with a zero point where none is stored, and a dimension that the tensor has."""
    made = copied_parameters(tensor)
    assert made is not None
    if not len(made.zero_point):
        made.zero_point = np.zeros(len(made.scale), np.int64)
    if not 0 <= made.quantized_dimension < max(1, len(tensor.shape)):
        made.quantized_dimension = 0
    return made


def new_parameters(tensor: Tensor, target: TensorType, fixed: tuple[float, int] | None = None) -> QuantizationParameters:
    """The parameters of an activation in the new type.

    INT8 and UINT8: the zero point moves by 128, the scale keeps its bits. INT16: zero point 0, and the scale at which 32767 codes hold the larger end
    of the range that the tensor had; float64 rounded to float32 once. `fixed` are the parameters that an operator gives.
    """
    made = sound_parameters(tensor)
    scale, zero_point = float(made.scale[0]), int(made.zero_point[0])
    if fixed is not None:
        made.scale, made.zero_point = np.array([fixed[0]], np.float32), np.array([fixed[1]])
    elif target == TensorType.INT16:
        low, high = INTEGER_RANGES[tensor.type]
        wide = np.float32(max(abs(low - zero_point), abs(high - zero_point)) * scale / WIDE)
        if not wide:
            raise RefusedError(f"{tensor.name_str!r} has the scale {scale!r}: float32 holds none so small as its INT16 codes need")
        made.scale, made.zero_point = np.array([wide]), np.array([0])
    else:
        made.zero_point = np.array([zero_point + (SHIFT if target == TensorType.UINT8 else -SHIFT)])
    return made


def activation(model: Model, tensor: Tensor, target: TensorType, fixed: tuple[float, int] | None) -> tuple[float, float]:
    """Give a tensor its new type and parameters, and a constant its new codes.

    Returns how far the nearest new code is from a code that operators may exchange, at most: in real values, and in steps that the tensor had.
    """
    made, old = new_parameters(tensor, target, fixed), sound_parameters(tensor)
    low, high = INTEGER_RANGES[tensor.type]
    codes = tensor.numpy().astype(np.int64) if tensor.is_constant else np.arange(low, high + 1)
    real = (codes - int(old.zero_point[0])) * float(old.scale[0])
    low, high = INTEGER_RANGES[target]
    if target == TensorType.INT16 or fixed is not None:
        codes = np.clip(rounded(real / float(made.scale[0])) + int(made.zero_point[0]), low, high).astype(np.int64)
    else:
        codes = codes + (SHIFT if target == TensorType.UINT8 else -SHIFT)
    constant, error = tensor.is_constant, float(np.abs((codes - int(made.zero_point[0])) * float(made.scale[0]) - real).max(initial=0.0))
    tensor.type = target
    if constant:
        model.set_data(tensor, codes.astype({TensorType.INT16: np.int16, TensorType.UINT8: np.uint8}.get(target, np.int8)))
    tensor.quantization = made
    return (0.0, 0.0) if constant else (error, error / float(old.scale[0]))


def weights(model: Model, tensor: Tensor, target: TensorType, axis: int | None) -> str:
    """Weights for INT8 or UINT8 activations: INT8 symmetric, or UINT8 moved by 128. `axis` is that along which there may be several scales.

    Returns what was done to scales, in words.
    """
    old = tensor.quantization
    assert old is not None
    if target == TensorType.UINT8:
        return _to_uint8(model, tensor, old)
    return _to_int8(model, tensor, old, axis) if tensor.type == TensorType.UINT8 else ""


def _to_uint8(model: Model, tensor: Tensor, old: QuantizationParameters) -> str:
    codes, scale, text = tensor.numpy().astype(np.int64), old.scale, ""
    point = int(old.zero_point[0]) if len(set(old.zero_point.tolist())) == 1 else 0
    if len(scale) > 1:
        shape = _shape(tensor, old.quantized_dimension)
        points = old.zero_point.reshape(shape if len(old.zero_point) > 1 else [1] * codes.ndim) if len(old.zero_point) else np.int64(0)
        real = (codes - points) * scale.astype(np.float64).reshape(shape)
        step = np.float32(np.abs(real).max(initial=0.0) / NARROW) or np.float32(scale.max())
        codes, point = np.clip(rounded(real / float(step)), -NARROW, NARROW).astype(np.int64), 0
        text = f"one scale in place of {len(scale)}, {_levels(codes, shape)} levels in the poorest channel"
        scale = np.array([step], np.float32)
    tensor.type = TensorType.UINT8
    model.set_data(tensor, (codes + SHIFT).astype(np.uint8))
    tensor.quantization = QuantizationParameters(scale=scale, zero_point=[point + SHIFT])
    return text


def _levels(codes: npt.NDArray[np.int64], shape: list[int]) -> int:
    axis = next((i for i, n in enumerate(shape) if n == -1), 0)
    spans = np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], -1)
    return int((spans.max(axis=1) - spans.min(axis=1) + 1).min(initial=256))


def _shape(tensor: Tensor, axis: int) -> list[int]:
    shape = [1] * len(tensor.shape)
    shape[axis] = -1
    return shape


def _to_int8(model: Model, tensor: Tensor, old: QuantizationParameters, axis: int | None) -> str:
    """Centre asymmetric codes: exact where code - zero point fits in -127 to 127, else at larger scales, only of the channels that need it."""
    codes = tensor.numpy().astype(np.int64) - (int(old.zero_point[0]) if len(old.zero_point) else 0)
    scale = float(old.scale[0])
    axes = tuple(i for i in range(codes.ndim) if i != axis) if axis is not None else None
    largest = np.atleast_1d(np.abs(codes).max(axis=axes, initial=0)).astype(np.float64)
    steps = np.full(len(largest), scale).astype(np.float32)
    grown = largest > NARROW
    steps[grown] = (largest[grown] * scale / NARROW).astype(np.float32)
    if not grown.any():
        steps = steps[:1]
    shape = _shape(tensor, axis) if axis is not None and len(steps) > 1 else [1] * codes.ndim
    wide = steps.astype(np.float64).reshape(shape)
    exact = ~grown.reshape(shape) if len(steps) > 1 else not grown.any()
    stored = np.where(exact, codes, np.clip(rounded(codes * scale / wide), -NARROW, NARROW)).astype(np.int64)
    tensor.type = TensorType.INT8
    model.set_data(tensor, stored.astype(np.int8))
    tensor.quantization = QuantizationParameters(
        scale=steps, zero_point=np.zeros(len(steps), np.int64), quantized_dimension=axis if axis is not None and len(steps) > 1 else 0
    )
    if len(grown) == 1:
        return "one larger scale" if grown[0] else ""
    return f"{int(grown.sum())} of {len(grown)} channels at larger scales" if grown.any() else ""


def channel_axis(rule: OpRule, operator: Operator, tensor: Tensor) -> int | None:
    """The axis along which weights may get several scales with INT8 activations; None where they get one only.

    FULLY_CONNECTED gets one: versions of TensorFlow Lite Micro before its pull request 2602 read the first scale for all (Q602).
    """
    several = rule.weights is not None and rule.weights.form(TensorType.INT8, TensorType.INT8, Granularity.PER_CHANNEL) is not None
    return weights_axis(operator, rule, tensor) if several and rule.operator != BuiltinOperator.FULLY_CONNECTED else None
