"""Operands as kernels want them: types that the kernel takes together, parameters on every quantized type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from ..._schema import TensorType
from ...graph import Tensor
from ...quant.rules import LITERT, Behaviour, Fact, Reaction, Role, Runtime, Topic
from ...quant.rules.basic_cell import SOURCE as CELL_SOURCE
from ...quant.rules.basic_cell import absent
from ...quant.rules.notation import IGNORES
from ...quant.rules.taken import BASIC_CELL, FORCED, SOURCE, Mismatch, forced_output, mismatches
from ...quant.rules.versions import option
from ..execution import CODE_TYPES, HYBRID, INTEGER, Kind, is_code
from ..findings import Finding, Scene, Step, reactions_of, worst
from .parameters import absent_facts
from .prepared import amended

_HARMLESS = (Behaviour.FINE, Behaviour.IGNORES)
_CODES = {Role.WEIGHTS: "Q202", Role.BIAS: "Q302"}


def operand_types(scene: Scene) -> Iterator[Finding]:
    """Q105: activations of a type that the operator has no kernel for, or operands of types that do not go together."""
    forced: dict[Tensor, TensorType] = {}  # what kernels make of outputs, where the file says otherwise
    silent: set[Kind] = set()
    for step in scene.steps():
        if not forced and step.run.kind in silent:
            continue
        operator, name = step.operator, step.rule.name
        if name == "LSTM" and step.is_basic_cell:
            name = BASIC_CELL
        inputs = tuple([None if t is None else forced.get(t, t.type) for t in operator.inputs])
        outputs = tuple([None if t is None else t.type for t in operator.outputs])
        known = name != BASIC_CELL and step.rule.types and step.activation in CODE_TYPES and step.activation not in step.rule.types
        if not known and not mismatches(name, inputs, outputs, True):
            silent.add(step.run.kind)
            continue
        coded = any(is_code(t) for t in (*operator.inputs, *operator.outputs) if t is not None)
        step.mismatches = mismatches(name, inputs, outputs, step.per_channel, coded)
        for mismatch in step.mismatches:
            yield from _mismatched(step, mismatch)
        if step.mismatches and name in FORCED and operator.outputs and operator.outputs[0] is not None:
            forced[operator.outputs[0]] = forced_output(name, inputs, operator.outputs[0].type)
        if known and not step.mismatches:
            values = step.inputs(Role.ACTIVATION) or step.outputs
            yield from _unknown(step, values[0], step.rule.about(Topic.ACTIVATION_TYPE, step.activation))


def _mismatched(step: Step, mismatch: Mismatch) -> Iterator[Finding]:
    tensor = step.operand(mismatch.operand)[0]
    position = int(mismatch.operand[2:]) if mismatch.operand.startswith("in") else -1
    role = step.run.roles[position] if 0 <= position < len(step.run.roles) else Role.ACTIVATION
    told = role == Role.BIAS or (is_code(tensor) and step.rule.weights is not None and position == step.rule.weights.operands[0])
    if role in _CODES and tensor.is_constant and step.run.mode in (INTEGER, HYBRID) and told:
        return  # the checks of weights and biases say more
    given = mismatch.option and len(option(step.operator, mismatch.option, ()))
    reactions = MappingProxyType({runtime: IGNORES if given else mismatch.reaction(runtime) for runtime in LITERT})
    expected = " or ".join(sorted(t.name for t in mismatch.expected))
    yield step.scene.finding(
        _CODES.get(role, "Q105"), tensor, f"{tensor.type.name} where {step.label} has {expected}", worst(reactions), found=tensor.type.name,
        expected=expected, operator=step.path, reactions=reactions, source=SOURCE,
    )  # fmt: skip


def _unknown(step: Step, tensor: Tensor, facts: tuple[Fact, ...]) -> Iterator[Finding]:
    """A type without a kernel, where the rules know that some runtime minds."""
    reactions, source = reactions_of(facts)
    if _minded(reactions.values()):
        yield step.scene.finding(
            "Q105", tensor, f"{step.label} has no {tensor.type.name} kernel", worst(reactions), found=tensor.type.name,
            expected=" or ".join(sorted(t.name for t in step.rule.types)) or "?", operator=step.path, reactions=reactions, source=source,
        )  # fmt: skip


def _minded(reactions: Iterable[Reaction]) -> bool:
    return any(r.behaviour not in _HARMLESS for r in reactions)


def missing_parameters(scene: Scene) -> Iterator[Finding]:
    """Q106: operands of a quantized type without parameters, in operators that compute on codes."""
    return scene.each_kind(_missing)


def _missing(step: Step) -> Iterator[Finding]:
    coded = any(t is not None and is_code(t) for t in (*step.operator.inputs, *step.outputs)) or bool(step.rule.pairs)
    for word, tensor in _described(step):
        if tensor.type not in CODE_TYPES or is_code(tensor):
            continue
        known, source = _absent(step, word, tensor)
        reactions = amended(step, known)
        if not (coded or word == "weights") and all(r.outcome == "runs" for r in reactions.values()):
            continue  # plain integers
        if not reactions or _minded(reactions.values()):
            yield step.scene.finding(
                "Q106", tensor, f"{tensor.type.name} without scale and zero point ({step.label})", worst(reactions), found="none",
                expected="scale and zero point", operator=step.path, reactions=reactions, source=source,
            )  # fmt: skip


def _described(step: Step) -> Iterator[tuple[str, Tensor]]:
    """The operands that have parameters if they are codes, with the words by which facts name them."""
    values = 0
    for tensor, role in zip(step.operator.inputs, step.run.roles, strict=False):
        if tensor is None:
            continue
        if role == Role.WEIGHTS:
            yield "weights", tensor
        elif role == Role.STATE:
            yield "state", tensor
        elif role in (Role.ACTIVATION, Role.CONSTANT):
            yield ("first", "second")[min(values, 1)], tensor
            values += 1
    for operand, tensor in zip(step.rule.output_roles(len(step.outputs)) or (), step.outputs, strict=False):
        if operand.role == Role.ACTIVATION:
            yield "output", tensor


def _absent(step: Step, word: str, tensor: Tensor) -> tuple[Mapping[Runtime, Reaction], str]:
    """What the runtimes do where an operand has no parameters."""
    if step.is_basic_cell and word != "weights":
        return absent(step.operator, tensor), CELL_SOURCE
    weights = tensor.type if word == "weights" else None
    activation = tensor.type if step.rule.pairs else step.activation
    facts = step.rule.about(Topic.QUANTIZATION_ABSENT, activation, weights)
    known, source = reactions_of(f for f in facts if not f.operand or word in f.operand.split())
    compared, more = reactions_of(absent_facts(step, tensor))
    if compared:  # XNNPACK leaves operands without parameters to the kernels
        compared = {**compared, Runtime.XNNPACK: compared[Runtime.OPTIMIZED]}
    return {**compared, **known}, source or more
