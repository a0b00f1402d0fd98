"""What TensorFlow Lite Micro lacks. Only made where this runtime is asked for: few models are meant for it."""

from __future__ import annotations

from collections.abc import Iterator

from ..._schema import BuiltinOperator, TensorType
from ...graph import Tensor
from ...quant.rules import Fact, Granularity, Runtime, Topic
from ..execution import HYBRID, INTEGER, Kind
from ..findings import ERROR, INFO, Finding, Scene, Step, reactions_of
from .weights import granularity_of

FIXED_IN = "May 2024"  # tflite-micro#2602


def microcontrollers(scene: Scene) -> Iterator[Finding]:
    """Q602 and Q607."""
    known: dict[tuple[Kind, Granularity | None], tuple[str, list[Fact]]] = {}
    for step in scene.steps():
        weights = next((t for t in step.run.weights if any(t is i for i in step.operator.inputs)), None)
        granularity = granularity_of(weights.quantization) if weights is not None and weights.quantization is not None else None
        key = step.run.kind, granularity
        if key not in known:
            known[key] = _lacking(step, weights, granularity)
        what, facts = known[key]
        if facts:
            reactions, source = reactions_of(facts)
            yield Finding(
                "Q607", ERROR, step.path, "", f"{step.label}: {what}", found=what, expected="what TensorFlow Lite Micro has", operator=step.path,
                reactions=reactions, source=source,
            )  # fmt: skip
    steps = [step for step in scene.steps(INTEGER) if _per_channel_dense(step)]
    if steps:
        tensor = steps[0].run.weights[0]
        count = f"{len(steps)} FULLY_CONNECTED operator{'' if len(steps) == 1 else 's'} with"
        message = f"{count} per-channel weights: computed with one scale by versions before {FIXED_IN}"
        yield scene.finding(
            "Q602", tensor, message, INFO, found="per-channel", expected="per-tensor", operator=steps[0].path, source="tflite-micro#2602",
        )  # fmt: skip


def _per_channel_dense(step: Step) -> bool:
    weights = step.run.weights[0] if step.run.weights else None
    if step.rule.operator != BuiltinOperator.FULLY_CONNECTED or step.activation != TensorType.INT8 or weights is None:
        return False
    return weights.quantization is not None and len(weights.quantization.scale) > 1


def _lacking(step: Step, weights: Tensor | None, granularity: Granularity | None) -> tuple[str, list[Fact]]:
    """What there is no kernel for, in words, with the facts about it: the operator, its type of activations, or its form of weights."""
    rule, activation = step.rule, step.activation
    groups = [("no such operator", rule.about(Topic.VERSION))]
    if activation is not None:
        groups.append((f"{activation.name} activations", rule.about(Topic.ACTIVATION_TYPE, activation)))
        if weights is not None and granularity is not None and step.run.mode != HYBRID:  # hybrid: Q601
            shown = f"{weights.type.name} {granularity.value} weights with {activation.name} activations"
            groups += [
                (shown, rule.about(topic, activation, weights.type, granularity)) for topic in (Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY)
            ]
    for what, facts in groups:
        known = [fact for fact in facts if set(fact.reactions) == {Runtime.TFLM}]
        if known:
            return what, known
    return "", []
