"""Weights: a form that some kernel computes, symmetric where kernels take them to be, scaled along the operator's axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...graph import QuantizationParameters, Tensor
from ...quant.rules import Behaviour, Granularity, Reaction, Runtime, Topic, WeightsRule
from ...types import INTEGER_RANGES
from ..execution import FLOAT, HYBRID, INTEGER, is_code
from ..findings import ERROR, WARNING, Finding, Scene, Step, reactions_of, worst
from ..weight_scan import channel_axis
from .activations import scale_topic
from .prepared import SMALLEST_NORMAL, amended


def weights(scene: Scene) -> Iterator[Finding]:
    """Q201 to Q204 for every weight operand that the operator takes directly."""
    for step in scene.steps(INTEGER, HYBRID, FLOAT):
        rule = step.rule.weights
        if rule is None or step.activation is None:
            continue
        for position in rule.operands:
            tensor = step.operator.inputs[position] if position < len(step.operator.inputs) else None
            if tensor is None or not tensor.is_constant or not is_code(tensor) or tensor.quantization is None:
                continue
            granularity = granularity_of(tensor.quantization)
            if granularity is None:
                continue
            # Forms are told by the first; others (the time weights of SVDF) have types of their own, and that of a basic LSTM cell is its state.
            if position == rule.operands[0] and not step.is_basic_cell:
                yield from _form(step, rule, tensor, granularity, position)
            yield from _zero_points(step, tensor, tensor.quantization, granularity)
            yield from _axis(step, rule, tensor, tensor.quantization)
            yield from _scales(step, tensor, tensor.quantization, granularity)


def granularity_of(quantization: QuantizationParameters) -> Granularity | None:
    """How finely weights are scaled; None for kinds that no rule knows."""
    names = {"per-tensor": Granularity.PER_TENSOR, "per-channel": Granularity.PER_CHANNEL, "blockwise": Granularity.BLOCKWISE}
    return names.get(quantization.kind)


def _form(step: Step, rule: WeightsRule, tensor: Tensor, granularity: Granularity, position: int) -> Iterator[Finding]:
    activation = step.activation
    assert activation is not None
    if not rule.forms or rule.form(activation, tensor.type, granularity) is not None:
        return
    topics = (Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY, Topic.WEIGHTS_BLOCKS)
    facts = [fact for topic in topics for fact in step.rule.about(topic, activation, tensor.type, granularity) if len(fact.reactions) > 1]
    known, source = reactions_of(facts)
    reactions = step.refusal(position, known)
    if reactions and all(r.behaviour in (Behaviour.FINE, Behaviour.IGNORES) for r in reactions.values()):
        return
    taken = ", ".join(f"{f.weights.name} {f.granularity.value}" for f in rule.forms if f.activation == activation) or "none"
    yield step.scene.finding(
        "Q202", tensor,
        f"{tensor.type.name} {granularity.value} weights with {activation.name} activations: {step.label} computes {taken}",
        worst(reactions), found=f"{tensor.type.name} {granularity.value}", expected=taken, operator=step.path, reactions=reactions,
        source=source or rule.source,
    )  # fmt: skip


def _zero_points(step: Step, tensor: Tensor, quantization: QuantizationParameters, granularity: Granularity) -> Iterator[Finding]:
    bad = quantization.zero_point.nonzero()[0]
    if not len(bad):
        return
    facts = step.rule.about(Topic.WEIGHTS_ZERO_POINT, step.activation, tensor.type, granularity)
    # Some look at the first zero point only, or take the operator by it and fail on the others.
    unmet = "-others" if quantization.zero_point[0] else "-first"
    reactions, source = reactions_of(f for f in facts if not f.name.endswith(unmet))
    yield from _no_code(step, tensor, quantization, reactions, source)
    if not reactions or all(r.behaviour == Behaviour.FINE for r in reactions.values()):
        return
    first = int(quantization.zero_point[bad[0]])
    where = "" if len(quantization.zero_point) == 1 else f" in {len(bad)} of {len(quantization.zero_point)} channels, first {int(bad[0])}"
    yield step.scene.finding(
        "Q201", tensor, f"zero point {first}{where}; {step.label} takes weights to be symmetric", worst(reactions), found=first, expected=0,
        operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip


def _no_code(
    step: Step, tensor: Tensor, quantization: QuantizationParameters, reactions: Mapping[Runtime, Reaction], source: str
) -> Iterator[Finding]:
    low, high = INTEGER_RANGES[tensor.type]
    odd = ((quantization.zero_point < low) | (quantization.zero_point > high)).nonzero()[0]
    if len(odd):
        value = int(quantization.zero_point[odd[0]])
        yield step.scene.finding(
            "Q102", tensor, f"the zero point {value} is no {tensor.type.name} code ({step.label})", worst(reactions, ERROR), found=value,
            expected=(low, high), operator=step.path, reactions=reactions, source=source,
        )  # fmt: skip


def _axis(step: Step, rule: WeightsRule, tensor: Tensor, quantization: QuantizationParameters) -> Iterator[Finding]:
    axis = channel_axis(rule, step.run, tensor)
    if len(quantization.scale) < 2 or axis is None:
        return
    if quantization.quantized_dimension != axis:
        yield step.scene.finding(
            "Q203", tensor, f"scales along dimension {quantization.quantized_dimension}; {step.label} wants {axis}", ERROR,
            found=quantization.quantized_dimension, expected=axis, operator=step.path, source=rule.source,
        )  # fmt: skip


def _scales(step: Step, tensor: Tensor, quantization: QuantizationParameters, granularity: Granularity) -> Iterator[Finding]:
    scale = quantization.scale
    bad = (~(np.isfinite(scale) & (scale >= np.float32(SMALLEST_NORMAL)))).nonzero()[0]
    if not len(bad):
        return
    value = float(scale[bad[0]])
    topic = scale_topic(value)
    assert topic is not None
    found = step.rule.about(topic, step.activation, tensor.type, granularity)
    known, source = reactions_of(f for f in found if f.operand == "weights")
    reactions = amended(step, known)
    yield step.scene.finding(
        "Q204", tensor, f"scale {value!r} in {len(bad)} of {len(scale)} channels, first {int(bad[0])} ({step.label})",
        worst(reactions, ERROR if topic in (Topic.NAN_SCALE, Topic.NEGATIVE_SCALE) else WARNING), found=value,
        expected="a positive normal number", operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip

