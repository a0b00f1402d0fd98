"""What the rest of a file says about parameters that are missing or cannot be right.

A scale or zero point is only restored from one of these: what the operator fixes, what an operator demands to be equal, the equation
bias = input x weights, the range that the file states for the tensor, and symmetric types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._schema import TensorType
from ...errors import EditError
from ...graph import Operator, Tensor
from ...quant.affine import from_range
from ...quant.rules import BiasRule, OpRule, Sharing, operand
from .bench import Bench, is_code, sound

BY_BIASES = "the scales of biases and weights imply it"
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Evidence:
    """A scale and zero point (None where nothing is said about it), and where they come from, in words."""

    scale: float
    zero_point: int | None
    why: str


def evidence(bench: Bench, tensor: Tensor) -> Iterator[Evidence]:
    """What the file says about the parameters of an activation, the strongest first."""
    yield from _fixed(bench, tensor)
    yield from _shared(bench, tensor)
    yield from _from_bias(bench, tensor)
    yield from _stated_range(tensor)


def _fixed(bench: Bench, tensor: Tensor) -> Iterator[Evidence]:
    for operator, rule in bench.around(tensor):
        for position, output in enumerate(operator.outputs):
            fixed = rule.fixed_for(tensor.type, position) if output is tensor else None
            if fixed is not None and _activation_type(operator) == tensor.type:
                yield Evidence(fixed.scale, fixed.zero_point, f"{operator.op_name} gives exactly these")


def _activation_type(operator: Operator) -> TensorType | None:
    return next((t.type for t in operator.inputs if t is not None and is_code(t)), None)


def _shared(bench: Bench, tensor: Tensor) -> Iterator[Evidence]:
    """Parameters of tensors that must have the same: those on which all others of the group agree."""
    for operator, rule in bench.around(tensor):
        for group in rule.same_parameters:
            if group.sharing == Sharing.RESCALED or tensor.type not in group.types:
                continue
            members = [t for name in group.group for t in members_of(operator, name)]
            if not any(t is tensor for t in members):
                continue
            others = {_pair(t) for t in members if t is not tensor and t.type == tensor.type and is_code(t)} - {None}
            if len(others) == 1:
                scale, zero_point = next(iter(others))  # type: ignore[misc]
                yield Evidence(scale, zero_point, f"{operator.op_name} needs the same as its other operands have")


def members_of(operator: Operator, name: str) -> list[Tensor]:
    """The tensors that a rule calls "in0", "out0" or "in*"."""
    if name.endswith("*"):
        return [t for t in (operator.inputs if name.startswith("in") else operator.outputs) if t is not None]
    found = operand(operator, name)
    return [] if found is None else [found]


def _pair(tensor: Tensor) -> tuple[float, int] | None:
    q = tensor.quantization
    if q is None or len(q.scale) != 1 or len(q.zero_point) != 1 or not sound(q.scale).all():
        return None
    return float(q.scale[0]), int(q.zero_point[0])


def _from_bias(bench: Bench, tensor: Tensor) -> Iterator[Evidence]:
    """The input scale that biases and weights imply, where all channels of all consumers agree on it."""
    found: list[Vector] = []
    for operator, rule in bench.around(tensor):
        for one in plain_biases(rule):
            if operand(operator, one.factors[0]) is tensor:
                implied = implied_scale(operator, one, factor=0)
                if implied is not None:
                    found.append(implied)
    values = np.concatenate(found) if found else np.empty(0, np.float32)
    values = values[sound(values)]
    if len(values) and float(values.max() / values.min() - 1) < 1e-5:
        yield Evidence(_best(bench, tensor, values), None, BY_BIASES)


def _best(bench: Bench, tensor: Tensor, values: Vector) -> float:
    """Of the neighbouring float32 numbers the one that gives back the most bias scales bit by bit."""
    middle = np.float32(np.median(values))
    nearby = [middle]
    for direction in (np.float32(-np.inf), np.float32(np.inf)):
        value = middle
        for _ in range(4):
            value = np.nextafter(value, direction)
            nearby.append(value)

    def hits(value: np.float32) -> int:
        count = 0
        for operator, rule in bench.around(tensor):
            for one in rule.biases:
                if operand(operator, one.factors[0]) is tensor and one.operand < len(operator.inputs):
                    w, b = _scales(operand(operator, one.factors[1])), _scales(operator.inputs[one.operand])
                    if len(w) == len(b):
                        count += int(((value * w).astype(np.float32) == b).sum())
        return count

    return float(max(nearby, key=lambda value: (hits(value), -abs(float(value) - float(middle)))))


def plain_biases(rule: OpRule) -> tuple[BiasRule, ...]:
    """The bias of an operator that has one. Recurrent operators have several, whose scales depend on more than two tensors."""
    return rule.biases if len(rule.biases) == 1 else ()


def _scales(tensor: Tensor | None) -> Vector:
    return np.empty(0, np.float32) if tensor is None or tensor.quantization is None else tensor.quantization.scale


def implied_scale(operator: Operator, rule: BiasRule, factor: int) -> Vector | None:
    """The scales that one factor of a bias must have, by the bias and the other factor: bias / other, one for each channel; None if unknown."""
    other = operand(operator, rule.factors[1 - factor])
    bias = operator.inputs[rule.operand] if rule.operand < len(operator.inputs) else None
    if other is None or bias is None or other.quantization is None or bias.quantization is None or not bias.is_constant:
        return None
    b, o = bias.quantization.scale, other.quantization.scale
    if not len(b) or not len(o) or (len(o) != 1 and len(b) not in (1, len(o))):
        return None
    with np.errstate(all="ignore"):
        found: Vector = (b.astype(np.float64) / (o.astype(np.float64) * rule.constant_factor)).astype(np.float32)
    return found


def exact_factor(implied: Any, other: Any, bias: Any) -> np.float32:
    """The float32 near `implied` whose product with `other` is `bias` bit by bit, else `implied` itself."""
    value = np.float32(implied)
    nearby = [value, np.nextafter(value, np.float32(0)), np.nextafter(value, np.float32(np.inf))]
    with np.errstate(all="ignore"):
        return next((v for v in nearby if np.float32(v * np.float32(other)) == np.float32(bias)), value)


def _stated_range(tensor: Tensor) -> Iterator[Evidence]:
    q = tensor.quantization
    if q is None or len(q.min) != 1 or len(q.max) != 1:
        return
    try:
        stored = from_range(float(q.min[0]), float(q.max[0]), tensor.type, widen=True).stored
    except EditError:
        return
    yield Evidence(float(stored.scale), stored.zero_point, "the range that the file states for it")
