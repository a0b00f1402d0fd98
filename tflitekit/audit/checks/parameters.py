"""Parameters that must be something: fixed by the operator, or equal within a group of operands."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..._schema import TensorType
from ...graph import Tensor
from ...quant.rules import Fact, SameParameters, Sharing, Topic
from ...quant.rules.basic_cell import CODED, SOURCE
from ...types import INTEGER_RANGES
from ..execution import is_code
from ..findings import ERROR, WARNING, Finding, Scene, Step, reactions_of, worst
from .prepared import amended

# A wrong scale that moves the largest code by no more than this many steps is reported, but is no error: rounding does as much.
NEGLIGIBLE_STEPS = 1.0


def fixed_outputs(scene: Scene) -> Iterator[Finding]:
    """Q401: outputs of operators whose parameters are hard-coded in kernels."""
    for step in scene.steps():
        if not step.rule.fixed:
            if step.rule.alternatives and step.is_basic_cell and step.activation == TensorType.UINT8:
                yield from _of_basic_cell(step)
            continue
        for position, tensor in enumerate(step.operator.outputs):
            stored = scene.parameters.get(tensor) if tensor is not None else None
            if tensor is None or stored is None or tensor.type != step.activation:
                continue  # kernels that change the type on the way have other parameters
            fixed = step.rule.fixed_for(tensor.type, position)
            if fixed is None:
                continue
            scale, zero_point = stored
            # What is not a number passes where kernels ask whether it is far off, and fails where they ask whether it is equal.
            near = abs(scale - fixed.scale) <= fixed.relative_tolerance * fixed.scale or (fixed.relative_tolerance > 0 and math.isnan(scale))
            scale_wrong = not near
            if not scale_wrong and zero_point == fixed.zero_point:
                continue
            topics = ([Topic.FIXED_SCALE] if scale_wrong else []) + ([Topic.FIXED_ZERO_POINT] if zero_point != fixed.zero_point else [])
            reactions, source = reactions_of(fact for topic in topics for fact in step.rule.about(topic, tensor.type))
            severity = worst(reactions)
            low, high = INTEGER_RANGES[tensor.type]
            if severity == ERROR and zero_point == fixed.zero_point and all(r.outcome == "runs" for r in reactions.values()):
                severity = WARNING if abs(scale / fixed.scale - 1) * (high - low) <= NEGLIGIBLE_STEPS else ERROR
            yield scene.finding(
                "Q401", tensor, f"({scale!r}, {zero_point}) where {step.label} gives ({fixed.scale!r}, {fixed.zero_point})", severity, found=stored,
                expected=(fixed.scale, fixed.zero_point), operator=step.path, reactions=reactions, source=source or fixed.source,
            )  # fmt: skip


def _of_basic_cell(step: Step) -> Iterator[Finding]:
    """Q401 of inputs too: the UINT8 form of the LSTM cell of five inputs reads the scale of one output, and no other of its activations'."""
    for name, coded in CODED.items():
        for tensor in step.operand(name):
            stored = step.scene.parameters.get(tensor)
            expected = coded.expected(stored) if stored is not None else None
            if stored is None or expected is None or stored == expected:
                continue
            near = name == "out0" and stored[1] == expected[1] and abs(stored[0] / expected[0] - 1) * 255 <= NEGLIGIBLE_STEPS
            yield step.scene.finding(
                "Q401", tensor, f"{stored} where {step.label} takes codes of {expected}", WARNING if near else ERROR, found=stored,
                expected=expected, operator=step.path, reactions=coded.reactions(stored), source=SOURCE,
            )  # fmt: skip


def shared_parameters(scene: Scene) -> Iterator[Finding]:
    """Q402: operands that kernels take to be on one scale."""
    for step in scene.steps():
        for group in step.rule.same_parameters:
            if group.sharing != Sharing.RESCALED and step.activation in group.types:
                yield from _group(step, group)


def _group(step: Step, group: SameParameters) -> Iterator[Finding]:
    members = list(dict.fromkeys(tensor for name in group.group for tensor in step.operand(name)))
    outputs = [t for t in members if t in step.outputs]
    leader = (outputs or members)[:1]
    if not leader or not is_code(leader[0]):
        return
    known = step.scene.parameters
    wanted = known.get(leader[0])
    if wanted is None:
        return
    for tensor in members:
        stored = known.get(tensor)
        if stored is None or stored == wanted or tensor.type != leader[0].type:
            continue
        facts = step.rule.about(Topic.SAME_PARAMETERS, tensor.type)
        word = "first" if step.operator.inputs[:1] == [tensor] else "constant"
        facts = tuple(f for f in facts if f.operand not in ("first", "constant") or f.operand == word)
        only_zero_point = stored[0] == wanted[0]
        facts = tuple(f for f in facts if ("zero-point" in f.name) == only_zero_point) or facts
        told, source = reactions_of(facts)
        reactions = amended(step, told)
        severity = worst(reactions)
        if severity == ERROR and group.sharing == Sharing.COPIED and _steps_off(stored, wanted) <= NEGLIGIBLE_STEPS:
            severity = WARNING
        yield step.scene.finding(
            "Q402", tensor, f"{stored} where {leader[0].name_str!r} has {wanted}: {step.label} does not convert", severity, found=stored,
            expected=wanted, operator=step.path, reactions=reactions, source=source or group.source,
        )  # fmt: skip


def absent_facts(step: Step, tensor: Tensor) -> tuple[Fact, ...]:
    """Facts about parameters that are compared with others, and that a tensor without any fails: kernels see 0."""
    found: tuple[Fact, ...] = ()
    if step.outputs[:1] == [tensor] and step.rule.fixed_for(tensor.type) is not None and tensor.type == step.activation:
        found += step.rule.about(Topic.FIXED_SCALE, tensor.type) + step.rule.about(Topic.FIXED_ZERO_POINT, tensor.type)
    for group in step.rule.same_parameters:
        if group.sharing == Sharing.EXACT and tensor.type in group.types and any(tensor in step.operand(name) for name in group.group):
            found += tuple(f for f in step.rule.about(Topic.SAME_PARAMETERS, tensor.type) if f.operand != "first")
    return found


def _steps_off(one: tuple[float, int], other: tuple[float, int]) -> float:
    """By how many steps the largest 8-bit code means something else."""
    ratio = one[0] / other[0] if other[0] else float("inf")
    return abs(ratio - 1) * 255 + abs(one[1] - other[1])
