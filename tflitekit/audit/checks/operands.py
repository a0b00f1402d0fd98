"""Operands as kernels want them: a type that there is a kernel for, the same type throughout, parameters on every quantized type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...graph import Tensor
from ...quant.rules import Behaviour, Fact, Reaction, Role, Topic
from ..execution import CODE_TYPES, is_code
from ..findings import Finding, Scene, Step, reactions_of, worst
from .activations import about

_HARMLESS = (Behaviour.FINE, Behaviour.IGNORES)


def operand_types(scene: Scene) -> Iterator[Finding]:
    """Q105: activations of a type that the operator has no kernel for, or of different types."""
    return scene.each_kind(_types)


def _types(step: Step) -> Iterator[Finding]:
    activation = step.activation
    values = step.inputs(Role.ACTIVATION) or step.outputs
    if activation not in CODE_TYPES or not values:
        return
    if step.rule.types and activation not in step.rule.types:
        yield from _told(step, values[0], step.rule.about(Topic.ACTIVATION_TYPE, activation), f"{step.label} has no {activation.name} kernel")
    for word, tensor in (("second", values[1] if len(values) > 1 else None), ("output", step.outputs[0] if step.outputs else None)):
        if tensor is not None and tensor.type != activation:
            message = f"{tensor.type.name} with {activation.name} ({step.label})"
            yield from _told(step, tensor, about(step, Topic.MIXED_TYPES, word), message)


def _told(step: Step, tensor: Tensor, facts: tuple[Fact, ...], message: str) -> Iterator[Finding]:
    """A finding, where the rules know that some runtime minds."""
    reactions, source = reactions_of(facts)
    if _minded(reactions.values()):
        yield step.scene.finding(
            "Q105", tensor, message, worst(reactions), found=tensor.type.name, expected=" or ".join(sorted(t.name for t in step.rule.types)) or "?",
            operator=step.path, reactions=reactions, source=source,
        )  # fmt: skip


def _minded(reactions: Iterable[Reaction]) -> bool:
    return any(r.behaviour not in _HARMLESS for r in reactions)


def missing_parameters(scene: Scene) -> Iterator[Finding]:
    """Q106: operands of a quantized type without parameters, in operators that compute on codes."""
    return scene.each_kind(_missing)


def _missing(step: Step) -> Iterator[Finding]:
    if step.activation not in CODE_TYPES:
        return
    values = step.inputs(Role.ACTIVATION)
    named = [("first", values[0] if values else None), ("second", values[1] if len(values) > 1 else None)]
    named += [("output", step.outputs[0] if step.outputs else None)]
    if not any(t is not None and is_code(t) for t in (*step.operator.inputs, *step.outputs)):
        return  # plain integers
    weights = [("weights", t) for t in step.inputs(Role.WEIGHTS)]
    for word, tensor in (*named, *weights):
        if tensor is None or tensor.type not in CODE_TYPES or is_code(tensor):
            continue
        reactions, source = reactions_of(about(step, Topic.QUANTIZATION_ABSENT, word))
        if _minded(reactions.values()):
            yield step.scene.finding(
                "Q106", tensor, f"{tensor.type.name} without scale and zero point ({step.label})", worst(reactions), found="none",
                expected="scale and zero point", operator=step.path, reactions=reactions, source=source,
            )  # fmt: skip
