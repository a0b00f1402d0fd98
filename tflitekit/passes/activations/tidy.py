"""What a conversion leaves to do around operators: values that the old codes cut off at 0, QUANTIZE operators that convert nothing any more."""

from __future__ import annotations

from collections.abc import Iterator

from ..._schema import ActivationFunctionType, BuiltinOperator, TensorType
from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import Sharing
from ...types import INTEGER_RANGES
from ..fixes.evidence import members_of
from ..surgery import (
    copied_parameters,
    make_operator,
    pinned,
    place,
    redirect,
    redirect_output,
    remove_operators,
    remove_unused,
    remove_unused_codes,
    same_parameters,
    tensor_like,
)
from .plan import Plan, is_code

_NOT_NEGATIVE = frozenset(BuiltinOperator[name] for name in ("RELU", "RELU6", "ABS", "SQRT", "RSQRT", "EXP"))  # whatever goes in


def cut_off(made: Plan) -> list[tuple[SubGraph, Operator, Tensor]]:
    """Operators whose results the old codes cut off at 0, the lowest of them: converters leave out a ReLU there. INT16 codes go below 0."""
    found, changing = [], set(made.activations)
    for subgraph, operator, rule in made.converts if made.target == TensorType.INT16 else ():
        output = operator.outputs[0] if operator.outputs else None
        if rule is None or output is None or output not in changing or not _from_zero(output, made.source):
            continue
        given = [t for t in operator.inputs if t is not None and is_code(t)]
        groups = [group.group for group in rule.same_parameters if group.sharing != Sharing.RESCALED and made.target in group.types]
        copied = any(t is output for group in groups for name in group for t in members_of(operator, name))
        above = rule.weights is None and rule.operator != BuiltinOperator.SUB and all(_from_zero(t, t.type) for t in given)
        if copied or above or rule.fixed or rule.operator in _NOT_NEGATIVE or not given:
            continue
        if getattr(operator.options, "fused_activation_function", ActivationFunctionType.NONE) == ActivationFunctionType.NONE:
            found.append((subgraph, operator, output))
    return found


def _from_zero(tensor: Tensor, type_: TensorType) -> bool:
    """Whether the lowest code of a tensor means 0."""
    q = tensor.quantization
    return tensor.type == type_ in INTEGER_RANGES and q is not None and q.zero_point.tolist() == [INTEGER_RANGES[type_][0]]


def keep_cut_off(model: Model, made: Plan, found: list[tuple[SubGraph, Operator, Tensor]]) -> Iterator[str]:
    """Let these operators have a ReLU: fused where their options can say so, else an operator of its own."""
    for subgraph, operator, output in found:
        name = f"{operator.op_name} {output.name_str!r}"
        if hasattr(operator.options, "fused_activation_function"):
            operator.options.fused_activation_function = ActivationFunctionType.RELU  # type: ignore[union-attr]
            yield f"{name}: RELU fused, since {made.source.name} codes ended at 0"
            continue
        raw = tensor_like(model, subgraph, output, "_unbounded", output.type, copied_parameters(output))
        redirect_output(operator, output, raw)
        relu = make_operator(model, BuiltinOperator.RELU, [raw], [output])
        subgraph.operators.insert(place(subgraph.operators, operator) + 1, relu)
        yield f"{name}: RELU behind it, since {made.source.name} codes ended at 0"


def drop_identities(model: Model, made: Plan) -> Iterator[str]:
    """Take out QUANTIZE operators whose two sides are the same now, where nobody else knows the tensor behind them."""
    seen, codes = pinned(model), []
    for subgraph, operator, _ in made.converts:
        if operator.op_name != BuiltinOperator.QUANTIZE.name or len(operator.inputs) != 1 or len(operator.outputs) != 1:
            continue
        source, target = operator.inputs[0], operator.outputs[0]
        if source is None or target is None or target in seen or source.type != target.type or not same_parameters(source, target):
            continue
        redirect(subgraph.operators, target, source)
        remove_operators(subgraph, [operator])
        remove_unused(model, subgraph, [target])
        codes.append(operator.opcode)
        yield f"QUANTIZE in front of {target.name_str!r} taken out: both sides are {source.type.name} of the same parameters now"
    remove_unused_codes(model, codes)
