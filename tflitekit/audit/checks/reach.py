"""Scales of inputs against that of the output: whether anything that goes in can be seen in what comes out, and whether kernels can compute it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..._schema import BuiltinOperator, TensorType
from ...graph import Tensor
from ...quant.rules import FACTS_OF, OpRule, Topic
from ...types import INTEGER_RANGES, element_count
from ..execution import INTEGER
from ..findings import WARNING, Finding, Scene, Step, reactions_of, worst

# The multiplier of input to output is a fraction of 31 bits and a shift; below this, kernels make 0 of it (quantization_util.cc:81-94).
SMALLEST_MULTIPLIER = 2.0**-32
BYTE = 255  # steps of an 8-bit range
# Where output over input is within these, an output is reached whatever the zero points and the number of weights.
LEAST_RATIO, LEAST_PRODUCT = 1 / 254, 1 / 254 / 127
# ADD computes in steps of its larger input over 2^20, twice that has to be finer than the output (add.cc:183-191); HARD_SWISH has 7 bits for it.
_LIMITS = {BuiltinOperator.ADD: 2.0**19, BuiltinOperator.HARD_SWISH: 128.0}
_EIGHT_BIT = frozenset({TensorType.INT8, TensorType.UINT8})
_SUMS = frozenset({BuiltinOperator.ADD, BuiltinOperator.SUB})
# Operators whose output is nowhere larger than their input.
_SHRINKING = frozenset(BuiltinOperator[name] for name in ("RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "MEAN", "ABS"))


def reach(scene: Scene) -> Iterator[Finding]:
    """Q107 and Q108, for operators that compute on integers and rescale. Few are looked at closely: those whose scales are far apart."""
    known = scene.parameters
    positions: dict[OpRule, tuple[int, ...]] = {}
    for step in scene.steps(INTEGER):
        rule = step.rule
        places = positions.get(rule)
        if places is None:
            places = positions[rule] = _positions(rule)
        if not places or not step.outputs:
            continue
        inputs, output = step.operator.inputs, known.get(step.outputs[0])
        if output is None or output[0] <= 0 or len(inputs) <= places[-1]:
            continue  # Q101
        first, second = inputs[places[0]], inputs[places[-1]]
        if first not in known or second is None:
            continue
        source = known[first][0]
        if rule.biases:
            if step.is_basic_cell:
                continue  # whose second input is no weight
            weights = second.quantization
            if weights is not None and len(weights.scale) and not LEAST_PRODUCT < source * float(weights.scale[0]) / output[0] < BYTE:
                yield from _weighted(step, first, second, output[0])
        elif second in known:
            other = known[second][0]
            ratio = (source * other * 127 if rule.operator == BuiltinOperator.MUL else max(source, other)) / output[0]
            if not LEAST_RATIO < ratio < BYTE / 2:
                yield from _elementwise(step, [first] if len(places) == 1 else [first, second], output[0])


def _positions(rule: OpRule) -> tuple[int, ...]:
    """The inputs whose scales count: values and weights, or values alone."""
    if rule.biases:
        return tuple(int(name[2:]) for name in rule.biases[0].factors) if all(name.startswith("in") for name in rule.biases[0].factors) else ()
    if rule.operator in _SUMS or rule.operator == BuiltinOperator.MUL:
        return 0, 1
    return (0,) if rule.operator in _SHRINKING else ()


def _elementwise(step: Step, inputs: list[Tensor], scale: float) -> Iterator[Finding]:
    operator, known = step.rule.operator, step.scene.parameters
    limit, largest = _LIMITS.get(operator), max(known[t][0] for t in inputs)
    if limit is not None and step.activation in _EIGHT_BIT and largest >= limit * scale:
        yield _too_fine(step, scale, largest, limit)
    amplitudes = [_amplitude(step.scene, t) for t in inputs]
    most = amplitudes[0] * amplitudes[-1] if operator == BuiltinOperator.MUL else sum(amplitudes) if operator in _SUMS else amplitudes[0]
    if most < scale / 2:
        yield _unreached(step, scale, most)


def _amplitude(scene: Scene, tensor: Tensor) -> float:
    """The largest magnitude that a tensor can hold; floats have no bound."""
    if tensor.type not in INTEGER_RANGES:
        return math.inf
    scale, zero_point = scene.parameters[tensor]
    low, high = INTEGER_RANGES[tensor.type]
    return abs(scale) * max(high - zero_point, zero_point - low)


def _weighted(step: Step, first: Tensor, second: Tensor, scale: float) -> Iterator[Finding]:
    """Sums of products: with the largest weight scale, every input and weight at the end of its range, and as many of them as there are."""
    assert second.quantization is not None
    weights, source = second.quantization.scale, step.scene.parameters[first][0]
    largest, smallest = float(weights.max()), float(weights.min())
    axis = -1 if step.rule.operator == BuiltinOperator.DEPTHWISE_CONV_2D else 0
    terms = element_count(second.shape) // max(1, second.shape[axis]) if second.shape else 1
    low, high = INTEGER_RANGES.get(second.type, INTEGER_RANGES[TensorType.INT8])
    most = terms * _amplitude(step.scene, first) * largest * max(-low, high)
    if 0 <= source * largest / scale < SMALLEST_MULTIPLIER or most < scale / 2:
        yield _unreached(step, scale, most)
    elif step.activation in _EIGHT_BIT and source * smallest > BYTE * scale:
        message = f"one step of input times weights is {source * smallest!r}, the whole range of the output {BYTE * scale!r} ({step.label})"
        yield step.scene.finding(
            "Q107", step.outputs[0], message, WARNING, found=scale, expected=f"more than {source * smallest / BYTE!r}", operator=step.path,
        )  # fmt: skip


def _unreached(step: Step, scale: float, most: float) -> Finding:
    """Q107: nothing but the bias, if there is one, comes out."""
    places = [rule.operand for rule in step.rule.biases[:1]]
    bias = any(t is not None for place in places for t in step.operator.inputs[place : place + 1])
    what = "only the bias comes out" if bias else "one code comes out"
    message = f"the inputs give at most {most!r}, one step of the output is {scale!r}: {what} ({step.label})"
    return step.scene.finding(
        "Q107", step.outputs[0], message, WARNING, found=scale, expected=f"less than {2 * most!r}", operator=step.path,
    )  # fmt: skip


def _too_fine(step: Step, scale: float, largest: float, limit: float) -> Finding:
    """Q108: kernels abort or refuse."""
    facts = [f for f in FACTS_OF.get(step.rule.name, ()) if f.topic == Topic.SCALE_RATIO and f.applies(step.activation) and f.operand == "output"]
    reactions, source = reactions_of(facts)
    message = f"the input scale {largest!r} is {largest / scale:.6g} times the output scale {scale!r} ({step.label})"
    return step.scene.finding(
        "Q108", step.outputs[0], message, worst(reactions), found=scale, expected=f"more than {largest / limit!r}", operator=step.path,
        reactions=reactions, source=source,
    )  # fmt: skip
