"""Placeholder ranges: activations that all claim the same range, because nobody measured any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..._schema import ActivationFunctionType
from ...graph import Tensor
from ...quant.rules import Sharing
from ...types import INTEGER_RANGES
from ..execution import INTEGER, is_code
from ..findings import WARNING, Finding, Scene, Step
from .parameters import parameters

# So many activations that are free to differ, and such a share of them, have to agree.
LEAST, SHARE = 4, 0.6
RELU6_MAX = 6.0
# A range that ends where the fused activation does is measured, or might as well be. In steps.
NEAR = 1.5
_BOUNDS = {
    ActivationFunctionType.RELU6: (0.0, RELU6_MAX), ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0), ActivationFunctionType.TANH: (-1.0, 1.0),
}  # fmt: skip


def placeholder_ranges(scene: Scene) -> Iterator[Finding]:
    """Q501: most activations that no rule ties together have one (scale, zero point)."""
    free: dict[Tensor, Step] = {}
    for step in scene.steps(INTEGER):
        for tensor in step.outputs:
            if is_code(tensor) and tensor not in free and _is_free(step, tensor):
                free[tensor] = step
    if len(free) < LEAST:
        return
    counted = Counter((tensor.type, parameters(tensor)) for tensor in free)
    (type_, shared), count = counted.most_common(1)[0]
    if shared is None or count < LEAST or count < SHARE * len(free):
        return
    scale, zero_point = shared
    low, high = INTEGER_RANGES[type_]
    lowest, highest = (low - zero_point) * scale, (high - zero_point) * scale
    levels = min(high, round(RELU6_MAX / scale) + zero_point) - zero_point + 1 if scale > 0 else 0
    first = next(t for t in free if (t.type, parameters(t)) == (type_, shared))
    yield scene.finding(
        "Q501", first,
        f"{count} of {len(free)} activations that no rule ties together have ({scale!r}, {zero_point}), that is [{lowest:.6g}, {highest:.6g}]: "
        f"a ReLU6 keeps {levels} levels of {high - low + 1}. Only calibration repairs this",
        WARNING, found=count, expected="ranges measured per tensor",
    )  # fmt: skip


def _is_free(step: Step, tensor: Tensor) -> bool:
    """Whether nothing in the operator determines the parameters of its output."""
    if step.rule.fixed_for(tensor.type) is not None:
        return False
    if any(g.sharing != Sharing.RESCALED and tensor.type in g.types for g in step.rule.same_parameters):
        return False
    stored = parameters(tensor)
    if stored is None:
        return False
    scale, zero_point = stored
    low, high = INTEGER_RANGES[tensor.type]
    fused = getattr(step.operator.options, "fused_activation_function", ActivationFunctionType.NONE)
    bounds = _BOUNDS.get(ActivationFunctionType.RELU6 if step.operator.op_name == "RELU6" else fused)
    if bounds is None:
        return True
    ends = (low - zero_point) * scale, (high - zero_point) * scale
    return any(abs(end - bound) > NEAR * abs(scale) for end, bound in zip(ends, bounds, strict=True))
