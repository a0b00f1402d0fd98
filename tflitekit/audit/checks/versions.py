"""Operator versions against the types they are used with, and operators that TensorFlow Lite Micro lacks."""

from __future__ import annotations

from collections.abc import Iterator

from ...graph import OperatorCode
from ...quant.rules import GENERAL_FACTS, Need, Runtime, Topic, first_met, needs_of_types
from ..execution import HYBRID, Kind
from ..findings import ERROR, INFO, Finding, Scene, Step, reactions_of


def versions(scene: Scene) -> Iterator[Finding]:
    """Q701 and Q702, once per operator code: versions are shared by all operators of a code."""
    needed: dict[OperatorCode, tuple[int, str]] = {}
    needs: dict[Kind, tuple[Need, ...]] = {}
    for step in scene.steps():
        code = step.operator.opcode
        if code is None:
            continue
        known = step.rule.versions
        if code not in needed and not known.lowest <= code.version <= known.highest:
            reactions, source = reactions_of(f for f in GENERAL_FACTS if f.name == "load-version")
            yield Finding(
                "Q702", ERROR, step.path, "", f"{code.op_name} version {code.version}; known are {known.lowest} to {known.highest}",
                found=code.version, expected=(known.lowest, known.highest), operator=step.path, reactions=reactions, source=source,
            )  # fmt: skip
        elif code not in needed and code.version > known.reference_highest:
            yield _beyond_reference(step, code)
        kind = step.run.kind
        if kind not in needs:
            needs[kind] = needs_of_types(step.operator, known)
        if code in needed and max(need.version for need in needs[kind]) <= needed[code][0]:
            continue
        version = first_met(step.operator, needs[kind])
        if version > needed.get(code, (0, ""))[0]:
            needed[code] = version, step.path
    for code, (version, path) in needed.items():
        if code.version < version:
            yield Finding(
                "Q701", INFO, path, "", f"{code.op_name} version {code.version}, its types need {version}", found=code.version, expected=version,
                operator=path,
            )  # fmt: skip


def _beyond_reference(step: Step, code: OperatorCode) -> Finding:
    """A version that the default resolver has, but not that of the reference kernels: worth a note, since that one serves tests only."""
    highest = step.rule.versions.reference_highest
    message = f"{code.op_name} version {code.version}; the reference kernels have " + (f"it up to {highest}" if highest else "no such operator")
    reactions, source = reactions_of(f for f in GENERAL_FACTS if f.name == "load-version")
    return Finding(
        "Q702", INFO, step.path, "", message, found=code.version, expected=(step.rule.versions.lowest, highest), operator=step.path,
        reactions={Runtime.REFERENCE: reactions[Runtime.REFERENCE]}, source=source,
    )  # fmt: skip


def hybrid_operators(scene: Scene) -> Iterator[Finding]:
    """Q601: hybrid operators, with what TensorFlow Lite Micro says to them."""
    for step in scene.steps(HYBRID):
        facts = step.rule.about(Topic.WEIGHTS_TYPE, step.activation, step.run.weights[0].type if step.run.weights else None)
        reactions, source = reactions_of(f for f in facts if set(f.reactions) == {Runtime.TFLM})
        if not reactions:
            continue
        tensor = step.run.weights[0]
        yield scene.finding(
            "Q601", tensor, f"{step.label} is hybrid: {step.run.reason}", INFO, found=step.run.mode, expected="integer or float",
            operator=step.path, reactions=reactions, source=source,
        )  # fmt: skip
