"""Placeholder ranges: activations that all claim the same range, because nobody measured any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..._schema import ActivationFunctionType, BuiltinOperator, TensorType
from ...graph import Tensor
from ...quant.affine import float32_scale
from ...quant.rules import OpRule, Sharing
from ...types import INTEGER_RANGES
from ..execution import INTEGER, Kind, is_code
from ..findings import WARNING, Finding, Scene, Step

# So many activations that are free to differ, and such a share of them, have to agree.
LEAST, SHARE = 4, 0.6
RELU6_MAX = 6.0
# A range that ends where the fused activation does is measured, or might as well be. In steps.
NEAR = 1.5
_BOUNDS = {
    ActivationFunctionType.RELU6: (0.0, RELU6_MAX), ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0), ActivationFunctionType.TANH: (-1.0, 1.0),
}  # fmt: skip
# What 0 to 6 gives where it is typed in; the averages of training end a little below.
_SIX = float(float32_scale(RELU6_MAX / 255))
_TYPED_IN = {TensorType.UINT8: (_SIX, 0), TensorType.INT8: (_SIX, -128)}


def placeholder_ranges(scene: Scene) -> Iterator[Finding]:
    """Q501: most activations that no rule ties together have one (scale, zero point)."""
    free: dict[Tensor, Step] = {}
    known = scene.parameters
    determined: dict[tuple[Kind, TensorType], bool] = {}
    for step in scene.steps(INTEGER):
        for tensor in step.outputs:
            if tensor not in known or tensor in free or not is_code(tensor):
                continue
            key = step.run.kind, tensor.type
            if key not in determined:
                determined[key] = _is_determined(step.rule, tensor.type)
            if not determined[key] and not _is_bounded(step, tensor, known[tensor]):
                free[tensor] = step
    if len(free) < LEAST:
        return
    counted = Counter((tensor.type, known[tensor]) for tensor in free)
    (type_, shared), count = counted.most_common(1)[0]
    if count < LEAST or count < SHARE * len(free):
        return
    if _is_learned(type_, shared) and (count < len(free) or shared != _TYPED_IN.get(type_)):
        return
    scale, zero_point = shared
    low, high = INTEGER_RANGES[type_]
    lowest, highest = (low - zero_point) * scale, (high - zero_point) * scale
    levels = min(high, round(RELU6_MAX / scale) + zero_point) - zero_point + 1 if scale > 0 else 0
    first = next(t for t in free if (t.type, known[t]) == (type_, shared))
    yield scene.finding(
        "Q501", first,
        f"{count} of {len(free)} activations that no rule ties together have ({scale!r}, {zero_point}), that is [{lowest:.6g}, {highest:.6g}]: "
        f"a ReLU6 keeps {levels} levels of {high - low + 1}. Only calibration repairs this",
        WARNING, found=count, expected="ranges measured per tensor",
    )  # fmt: skip


def _is_determined(rule: OpRule, type_: TensorType) -> bool:
    """Whether an operator fixes the parameters of its outputs, or takes them from its inputs."""
    return rule.fixed_for(type_) is not None or any(g.sharing != Sharing.RESCALED and type_ in g.types for g in rule.same_parameters)


def _is_bounded(step: Step, tensor: Tensor, stored: tuple[float, int]) -> bool:
    """Whether the parameters are those that the activation function determines."""
    code = step.run.kind.code
    fused = getattr(step.operator.options, "fused_activation_function", ActivationFunctionType.NONE)
    bounds = _BOUNDS.get(ActivationFunctionType.RELU6 if code == BuiltinOperator.RELU6 else fused)
    if bounds is None:
        return False
    return _ends_at(bounds, tensor.type, stored)


def _ends_at(bounds: tuple[float, float], type_: TensorType, stored: tuple[float, int]) -> bool:
    scale, zero_point = stored
    low, high = INTEGER_RANGES[type_]
    ends = (low - zero_point) * scale, (high - zero_point) * scale
    return all(abs(end - bound) <= NEAR * abs(scale) for end, bound in zip(ends, bounds, strict=True))


def _is_learned(type_: TensorType, stored: tuple[float, int]) -> bool:
    """Whether a range may be that of ReLU6 that were trained with: TOCO leaves them out where codes end at the same values anyway."""
    return _ends_at(_BOUNDS[ActivationFunctionType.RELU6], type_, stored)
