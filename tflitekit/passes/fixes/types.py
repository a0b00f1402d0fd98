"""Repairs of element types that one tensor alone has (Q105), and of constants whose bytes are those of another type (Q003, Q202)."""

from __future__ import annotations

from collections.abc import Iterator

from ..._schema import TensorType
from ...audit import Finding
from ...graph import Operator, Tensor
from ...quant.rules import OpRule, Role
from ...types import INTEGER_RANGES, byte_size
from .bench import CODES, Bench, UnfixableError, affine

CONVERSION = "insert a conversion (set-io-dtype), or change the whole model (convert-activations)"
_VALUES = frozenset({Role.ACTIVATION, Role.CONSTANT})
_TYPES = CODES | {TensorType.FLOAT32}


def _values(operator: Operator, rule: OpRule) -> Iterator[Tensor]:
    """The activations that an operator reads and writes."""
    sides = (operator.inputs, rule.input_roles(len(operator.inputs))), (operator.outputs, rule.output_roles(len(operator.outputs)))
    for tensors, roles in sides:
        yield from (t for t, place in zip(tensors, roles or (), strict=False) if t is not None and place.role in _VALUES)


def _neighbours(bench: Bench, tensor: Tensor) -> set[TensorType]:
    """The types of the other activations of the operators around a tensor; those that convert say nothing."""
    found: set[TensorType] = set()
    for operator, rule in bench.around(tensor):
        if not rule.pairs and operator.op_name != "CAST":
            found |= {other.type for other in _values(operator, rule) if other is not tensor}
    return found


def odd_one_out(bench: Bench, finding: Finding) -> None:
    """Q105: the type that everything around has, where a single operand has another and its parameters fit."""
    operator = bench.operator(finding)
    rule = next((r for o, r in bench.around(bench.tensor(finding)) if o is operator), None)
    if rule is None:
        raise UnfixableError(CONVERSION)
    if not bench.once(operator, "types"):
        return
    suspects = []
    for tensor in dict.fromkeys(_values(operator, rule)):
        types = _neighbours(bench, tensor)
        if len(types) == 1 and types != {tensor.type} and types <= _TYPES and not tensor.is_constant and _fits(tensor, next(iter(types))):
            suspects.append((tensor, next(iter(types))))
    if len(suspects) != 1:
        raise UnfixableError(CONVERSION)
    tensor, wanted = suspects[0]
    old, tensor.type = tensor.type, wanted
    bench.say(tensor, finding, f"type {wanted.name}, not {old.name}: everything around it has that")


def _fits(tensor: Tensor, wanted: TensorType) -> bool:
    """Whether the parameters of a tensor can be those of another type: a zero point that is a code, and none where there are no codes."""
    q = tensor.quantization
    if wanted == TensorType.FLOAT32:
        return q is None or not len(q.scale)
    low, high = INTEGER_RANGES[wanted]
    return q is not None and len(q.scale) == 1 and len(q.zero_point) == 1 and low <= int(q.zero_point[0]) <= high


def bytes_of_another(bench: Bench, finding: Finding) -> None:
    """Q003 and Q202: weights whose bytes and parameters are those of INT8, under the name of a type that needs others."""
    tensor = bench.tensor(finding)
    reason = "the missing bytes are not in the file" if finding.code == "Q003" else "use requantize-weights to store them in a form that it takes"
    if not bench.once(tensor, "bytes"):
        return
    operator, rule = next(((o, r) for o, r in bench.around(tensor) if r.weights is not None), (None, None))
    if operator is None or rule is None or rule.weights is None or tensor.type == TensorType.INT8:
        raise UnfixableError(reason)
    if not any(p < len(operator.inputs) and operator.inputs[p] is tensor for p in rule.weights.operands):
        raise UnfixableError(reason)
    activation = next((t.type for t in _values(operator, rule)), None)
    data = tensor.buffer.data if tensor.buffer is not None else None
    q = affine(tensor)
    if activation is None or data is None or len(data) != byte_size(TensorType.INT8, tensor.shape) or not len(q.scale) or q.zero_point.any():
        raise UnfixableError(reason)
    if TensorType.INT8 not in rule.weights.types(activation) or (tensor.type == TensorType.UINT8 and activation == TensorType.FLOAT32):
        raise UnfixableError(reason)
    old, tensor.type = tensor.type, TensorType.INT8
    bench.say(tensor, finding, f"type INT8, not {old.name}: its bytes and parameters are those of INT8 weights")
