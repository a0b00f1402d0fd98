"""Which operators can compute in another activation type, by the operator rules, and which tensors change with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ..._schema import BuiltinOperator, TensorType
from ...errors import RefusedError
from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import Behaviour, Granularity, OpRule, Role, Sharing, Topic, rule_for
from ...quant.rules.basic_cell import is_basic
from ...types import INTEGER_RANGES, byte_size
from ..parameters import fits
from ..surgery import own_copy

_CONVERSIONS = (BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE)
# Operators that hand tensors to other subgraphs, where all of that type are converted too.
STEERING = frozenset(
    BuiltinOperator[name] for name in ("IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE")
)


@dataclass(eq=False)
class Plan:
    """What is converted. `stays` are the operators that keep the old type, with the reason; `weights` the weight tensors of those that change.

    `kept` are those that could change, and stay for what their constants would lose.
    """

    source: TensorType
    target: TensorType
    converts: list[tuple[SubGraph, Operator, OpRule | None]] = field(default_factory=list)
    stays: dict[Operator, str] = field(default_factory=dict)
    weights: dict[Tensor, tuple[Operator, OpRule]] = field(default_factory=dict)
    activations: list[Tensor] = field(default_factory=list)
    kept: frozenset[Operator] = frozenset()


def is_code(tensor: Tensor | None) -> bool:
    """Whether a tensor holds codes with one scale or several."""
    return tensor is not None and tensor.quantization is not None and len(tensor.quantization.scale) > 0 and tensor.quantization.details is None


def held(operator: Operator, rule: OpRule | None) -> list[Tensor]:
    """The constant weights of an operator."""
    positions = rule.weights.operands if rule is not None and rule.weights is not None else ()
    found = (operator.inputs[position] for position in positions if position < len(operator.inputs))
    return [tensor for tensor in found if tensor is not None and tensor.is_constant]


def own_weights(operator: Operator, rule: OpRule | None) -> list[Tensor]:
    """The constant weights of an operator whose parameters are their own: not those of a table whose rows are its output."""
    if rule is None or rule.weights is None:
        return []
    shared = {name for group in rule.same_parameters for name in group.group}
    tied = [operator.inputs[p] for p in rule.weights.operands if f"in{p}" in shared and p < len(operator.inputs)]
    return [tensor for tensor in held(operator, rule) if all(tensor is not t for t in tied)]


def sound(tensor: Tensor) -> bool:
    """Whether the one scale of an activation is a step, and its zero point a code."""
    q = tensor.quantization
    if q is None or len(q.scale) != 1 or len(q.zero_point) > 1:
        return False
    low, high = INTEGER_RANGES.get(tensor.type, (0, 0))
    return bool(np.isfinite(q.scale[0]) and q.scale[0] > 0 and all(low <= z <= high for z in q.zero_point.tolist()))


def readable(tensor: Tensor) -> bool:
    """Whether the data of a constant is in the file, whole and dense."""
    if tensor.external_buffer is not None or tensor.sparsity is not None or tensor.buffer is None or tensor.buffer.data is None:
        return False
    return min(tensor.shape, default=0) >= 0 and len(tensor.buffer.data) >= (byte_size(tensor.type, tensor.shape) or 0)


def plan(model: Model, source: TensorType, target: TensorType, *, per_tensor: bool, kept: frozenset[Operator]) -> Plan:
    """Sort the operators into those that change and those that stay. Weights that are read in several ways get a tensor for each."""
    made = Plan(source, target, kept=kept)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            rule = rule_for(operator)
            weights = held(operator, rule)
            values = [t for t in (*operator.inputs, *operator.outputs) if t is not None and all(t is not w for w in weights)]
            if not any(t.type == source and is_code(t) for t in values):
                continue
            own = own_weights(operator, rule)
            values = [t for t in (*operator.inputs, *operator.outputs) if t is not None and all(t is not w for w in own)]
            reason = KEPT if operator in kept else _reason(operator, rule, source, target, values, own, per_tensor)
            if reason:
                made.stays[operator] = reason
            else:
                made.converts.append((subgraph, operator, rule))
    _separate(model, made)
    made.activations = list(_activations(model, made))
    return made


def _separate(model: Model, made: Plan) -> None:
    """Fill in the weights. What else reads the same tensor, as an activation, with floats or along another axis, keeps it, and a copy is made."""
    changing = {operator for _, operator, _ in made.converts}
    plain = {
        tensor for operator in model.operators() if operator not in made.stays for tensor in operator.inputs
        if tensor is not None and (operator not in changing or all(tensor is not w for w in own_weights(operator, rule_for(operator))))
    }  # fmt: skip
    ways: dict[tuple[Tensor, int | None], Tensor] = {}
    for subgraph, operator, rule in made.converts:
        if rule is None:
            continue
        for tensor in own_weights(operator, rule):
            if not is_code(tensor):
                continue
            way = tensor, rule.weights.axis(operator.options) if rule.weights is not None else None
            if way not in ways:
                taken = any(known is tensor for known, _ in ways) or tensor in plain or tensor in subgraph.outputs
                ways[way] = own_copy(subgraph, tensor) if taken else tensor
                made.weights[ways[way]] = operator, rule
            if ways[way] is not tensor:
                operator.inputs = [ways[way] if t is tensor else t for t in operator.inputs]


def _reason(
    operator: Operator, rule: OpRule | None, source: TensorType, target: TensorType, values: list[Tensor], weights: list[Tensor], per_tensor: bool
) -> str:
    """Why an operator cannot compute in the new type; "" if it can."""
    code = operator.opcode.code if operator.opcode is not None else None
    codes = [t for t in values if t.type == source and is_code(t)]
    if code in STEERING:
        bad = next((t for t in codes if not sound(t)), None)
        if bad is not None:
            raise RefusedError(f"{operator.op_name} hands over {bad.name_str!r}, whose parameters are no scale and zero point")
        return ""
    if rule is None or rule.takes_codes:
        return "it reads codes as they are" if rule is not None else "what it makes of other types is not known"
    unread = next((t for t in (*codes, *weights) if t.is_constant and not readable(t)), None)
    if unread is not None:
        return f"the data of {unread.name_str!r} is not in the file, or sparse"
    if any(len(t.quantization.scale) > 1 for t in codes if t.quantization is not None):
        return "an activation has several scales"
    if not all(sound(t) for t in codes):
        return "the parameters of an activation are no scale and zero point"
    if code in _CONVERSIONS:
        if not operator.inputs or not operator.outputs:
            return "it lacks operands"
        types = [target if t.type == source and is_code(t) else t.type for t in (operator.inputs[0], operator.outputs[0]) if t is not None]
        return "" if tuple(types) in rule.pairs else f"no kernel converts {' to '.join(t.name for t in types)}"
    if is_basic(operator):
        return "the basic LSTM cell has only this type"
    if target not in rule.types:
        return f"it has no {target.name} kernel"
    if any(t.type != source or not is_code(t) for t in _operands(operator, rule)):
        return "its operands differ in type, or lack parameters"
    if any(group.sharing == Sharing.COPIED and group.group == ("in0", "in1") and target in group.types for group in rule.same_parameters):
        return "its INT16 kernel compares codes of one scale only"
    return _computed_reason(operator, rule, source, target) or _weights_reason(rule, source, target, weights, per_tensor)


def _computed_reason(operator: Operator, rule: OpRule, source: TensorType, target: TensorType) -> str:
    """What keeps operators whose weights or bias are computed: no kernel for weights of the new type, or none that takes their zero point."""
    for one in rule.biases:
        bias = operator.inputs[one.operand] if one.operand < len(operator.inputs) else None
        if bias is not None and not bias.is_constant:
            return "its bias is computed"
    for position in rule.weights.operands if rule.weights is not None else ():
        tensor = operator.inputs[position] if position < len(operator.inputs) else None
        if tensor is None or tensor.is_constant or rule.weights is None:
            continue
        if tensor.type != source or rule.weights.form(target, target, Granularity.PER_TENSOR) is None:
            return f"its weights are computed, and no kernel takes {target.name} ones with {target.name} activations"
        point = int(tensor.quantization.zero_point[0]) if tensor.quantization is not None and len(tensor.quantization.zero_point) else 0
        moved = point + INTEGER_RANGES[target][0] - INTEGER_RANGES[source][0]
        facts = rule.about(Topic.WEIGHTS_ZERO_POINT, target, target, Granularity.PER_TENSOR)
        if target == TensorType.INT8 and moved and any(r.behaviour != Behaviour.FINE for fact in facts for r in fact.reactions.values()):
            return "its weights are computed, and kernels take INT8 ones for symmetric"
    return ""


def _weights_reason(rule: OpRule, source: TensorType, target: TensorType, weights: list[Tensor], per_tensor: bool) -> str:
    if rule.weights is None:
        return ""
    for tensor in weights:
        kind, quantization = new_weight_type(tensor.type, target), tensor.quantization
        if quantization is None or not is_code(tensor):
            return "its weights are no plain codes"
        if not fits(tensor, quantization) or not (quantization.scale > 0).all() or tensor.type not in INTEGER_RANGES:
            return "the parameters of its weights do not fit them"
        if tensor.type == TensorType.UINT8 and len(quantization.scale) > 1:
            return "no kernel takes UINT8 weights with several scales"
        granularity = Granularity.PER_CHANNEL if len(quantization.scale) > 1 else Granularity.PER_TENSOR
        if rule.weights.form(target, kind, granularity) is not None:
            continue
        if granularity == Granularity.PER_CHANNEL and rule.weights.form(target, kind, Granularity.PER_TENSOR) is not None:
            if per_tensor:
                continue
            return f"{NEEDS_ONE}: {target.name} kernels take weights with one scale only"
        return f"no kernel takes {kind.name} weights with {target.name} activations"
    return ""


def _operands(operator: Operator, rule: OpRule) -> Iterator[Tensor]:
    """The activations that an operator reads and writes."""
    sides = (operator.inputs, rule.input_roles(len(operator.inputs))), (operator.outputs, rule.output_roles(len(operator.outputs)))
    for tensors, roles in sides:
        for tensor, operand in zip(tensors, roles or (), strict=False):
            if tensor is not None and operand.role in (Role.ACTIVATION, Role.CONSTANT):
                yield tensor


NEEDS_ONE, KEPT = "several scales", "its constants would lose too much"


def new_weight_type(old: TensorType, target: TensorType) -> TensorType:
    """The type of weights with activations of the target type: of one sign with 8-bit ones, INT8 or narrower with INT16."""
    if target == TensorType.UINT8:
        return TensorType.UINT8
    return TensorType.INT8 if old == TensorType.UINT8 else old


def _activations(model: Model, made: Plan) -> Iterator[Tensor]:
    """Everything of the old type that is no weight: what operators hand to each other, what callers see, and constants.

    What only operators that stay use, stays.
    """
    for subgraph in model.subgraphs:
        users: dict[Tensor, list[Operator]] = {}
        for operator in subgraph.operators:
            for tensor in (*operator.inputs, *operator.outputs, *operator.intermediates):
                if tensor is not None:
                    users.setdefault(tensor, []).append(operator)
        seen = {*subgraph.inputs, *subgraph.outputs}
        for tensor in subgraph.tensors:
            if tensor.type == made.source and is_code(tensor) and tensor not in made.weights and sound(tensor):
                if tensor.is_constant and (not readable(tensor) or _floats(made, users.get(tensor, []), tensor)):
                    continue
                if tensor in seen or not _stays(users.get(tensor, []), made):
                    yield tensor


def _stays(users: list[Operator], made: Plan) -> bool:
    """Whether all users of a tensor stay, or are the QUANTIZE between it and the new type."""
    return any(user in made.stays for user in users) and all(user in made.stays or _crosses(user, made) for user in users)


def _crosses(operator: Operator, made: Plan) -> bool:
    """Whether an operator is a QUANTIZE from another integer type to the old one or back."""
    types = {t.type for t in (*operator.inputs, *operator.outputs) if t is not None}
    return operator.op_name == BuiltinOperator.QUANTIZE.name and len(types) == 2 and made.source in types and TensorType.FLOAT32 not in types


def _floats(made: Plan, users: list[Operator], tensor: Tensor) -> bool:
    """Whether all users of a constant make floats of it, or read it as the weights of what computes on floats."""
    changing = {operator for _, operator, _ in made.converts}
    return bool(users) and all(
        user.op_name == BuiltinOperator.DEQUANTIZE.name or (user not in changing and any(tensor is t for t in held(user, rule_for(user))))
        for user in users
    )
