"""Which operators can compute in another activation type, by the operator rules, and which tensors change with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..._schema import BuiltinOperator, LSTMKernelType, TensorType
from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import RULES, Granularity, OpRule, Role, Sharing

_CONVERSIONS = (BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE)
# Operators that take codes for numbers of their own: there the codes must stay what they are.
_RAW = frozenset({BuiltinOperator.CAST, BuiltinOperator.BITCAST, BuiltinOperator.BITWISE_XOR, BuiltinOperator.RIGHT_SHIFT})
# Operators that hand tensors to other subgraphs, where all of that type are converted too.
_STEERING = frozenset(
    BuiltinOperator[name] for name in ("IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_COMPOSITE", "VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE")
)


@dataclass(eq=False)
class Plan:
    """What is converted. `stays` are the operators that keep the old type, with the reason; `weights` the weight tensors of those that change."""

    source: TensorType
    target: TensorType
    converts: list[tuple[SubGraph, Operator, OpRule | None]] = field(default_factory=list)
    stays: dict[Operator, str] = field(default_factory=dict)
    weights: dict[Tensor, tuple[Operator, OpRule]] = field(default_factory=dict)
    activations: list[Tensor] = field(default_factory=list)


def is_code(tensor: Tensor | None) -> bool:
    """Whether a tensor holds codes with one scale or several."""
    return tensor is not None and tensor.quantization is not None and len(tensor.quantization.scale) > 0 and tensor.quantization.details is None


def weight_operands(operator: Operator, rule: OpRule | None) -> Iterator[tuple[int, Tensor]]:
    """The constant weights of an operator with their positions."""
    for position in rule.weights.operands if rule is not None and rule.weights is not None else ():
        tensor = operator.inputs[position] if position < len(operator.inputs) else None
        if tensor is not None and tensor.is_constant:
            yield position, tensor


def plan(model: Model, source: TensorType, target: TensorType, *, per_tensor: bool) -> Plan:
    """Sort the operators into those that change and those that stay."""
    made = Plan(source, target)
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            rule = None if operator.opcode is None else RULES.get(operator.opcode.code)
            weights = [tensor for _, tensor in weight_operands(operator, rule)]
            values = [t for t in (*operator.inputs, *operator.outputs) if t is not None and all(t is not w for w in weights)]
            if not any(t.type == source and is_code(t) for t in values):
                continue
            reason = _reason(operator, rule, source, target, values, weights, per_tensor)
            if reason:
                made.stays[operator] = reason
                continue
            made.converts.append((subgraph, operator, rule))
            if rule is not None:
                made.weights |= {tensor: (operator, rule) for tensor in weights if is_code(tensor)}
    made.activations = list(_activations(model, made))
    return made


def _reason(
    operator: Operator, rule: OpRule | None, source: TensorType, target: TensorType, values: list[Tensor], weights: list[Tensor], per_tensor: bool
) -> str:
    """Why an operator cannot compute in the new type; "" if it can."""
    code = operator.opcode.code if operator.opcode is not None else None
    if code in _STEERING:
        return ""
    if rule is None or code in _RAW:
        return "it reads codes as they are" if code in _RAW else "what it makes of other types is not known"
    if code in _CONVERSIONS:
        types = [target if t.type == source and is_code(t) else t.type for t in (operator.inputs[0], operator.outputs[0]) if t is not None]
        return "" if tuple(types) in rule.pairs else f"no kernel converts {' to '.join(t.name for t in types)}"
    if any(t.type == source and is_code(t) and t.quantization is not None and len(t.quantization.scale) > 1 for t in values):
        return "an activation has several scales"
    if target not in rule.types:
        return f"it has no {target.name} kernel"
    if any(t.type != source or not is_code(t) for t in _operands(operator, rule)):
        return "its operands differ in type, or lack parameters"
    if getattr(operator.options, "kernel_type", None) == LSTMKernelType.BASIC:
        return "the basic LSTM cell has only this type"
    if any(group.sharing == Sharing.COPIED and group.group == ("in0", "in1") and target in group.types for group in rule.same_parameters):
        return "its INT16 kernel compares codes of one scale only"
    return _weights_reason(rule, source, target, weights, per_tensor)


def _weights_reason(rule: OpRule, source: TensorType, target: TensorType, weights: list[Tensor], per_tensor: bool) -> str:
    if rule.weights is None:
        return ""
    for tensor in weights:
        kind, quantization = new_weight_type(tensor.type, target), tensor.quantization
        if quantization is None or not is_code(tensor):
            return "its weights are no plain codes"
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


NEEDS_ONE = "several scales"


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
            q = tensor.quantization
            if tensor.type == made.source and is_code(tensor) and tensor not in made.weights and q is not None and len(q.scale) == 1:
                if tensor.is_constant and users.get(tensor) and all(_only_weights(user, tensor) for user in users[tensor]):
                    continue  # weights of operators that compute on floats
                if tensor in seen or not _stays(users.get(tensor, []), made):
                    yield tensor


def _stays(users: list[Operator], made: Plan) -> bool:
    """Whether all users of a tensor stay, or are the QUANTIZE between it and the new type."""
    return any(user in made.stays for user in users) and all(user in made.stays or _crosses(user, made) for user in users)


def _crosses(operator: Operator, made: Plan) -> bool:
    """Whether an operator is a QUANTIZE from another integer type to the old one or back."""
    types = {t.type for t in (*operator.inputs, *operator.outputs) if t is not None}
    return operator.op_name == "QUANTIZE" and len(types) == 2 and made.source in types and TensorType.FLOAT32 not in types


def _only_weights(operator: Operator, tensor: Tensor) -> bool:
    rule = None if operator.opcode is None else RULES.get(operator.opcode.code)
    if operator.opcode is not None and operator.opcode.code == BuiltinOperator.DEQUANTIZE:
        return True
    if rule is None:
        return False
    roles = [operand.role for operand in rule.input_roles(len(operator.inputs)) or ()]
    return all(role == Role.WEIGHTS for given, role in zip(operator.inputs, roles, strict=False) if given is tensor)
