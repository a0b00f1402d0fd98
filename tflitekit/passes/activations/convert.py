"""Converts all subgraphs: parameters and codes, then islands, biases, groups, options and versions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..._schema import BuiltinOperator, TensorType
from ...errors import RefusedError
from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import RULES
from ..base import Notes
from ..bias import BiasKeeper
from ..surgery import convert as put_conversion
from ..surgery import copied_parameters, place, raise_versions, tensor_like
from .encode import activation, channel_axis, weights
from .groups import equalise
from .plan import NEEDS_ONE, Plan, is_code, plan, weight_operands

if TYPE_CHECKING:
    from ..convert_activations import ConvertActivations

_EIGHT = (TensorType.INT8, TensorType.UINT8)


def convert(options: ConvertActivations, model: Model, notes: Notes) -> None:
    """Convert the model, in two steps where UINT8 goes to INT16."""
    target = TensorType[options.to.upper()]
    found = Counter(t.type for t in _codes(model))
    if not found:
        raise RefusedError("no operator computes on integers: there are no activations to convert. `audit` says what the model is")
    if set(found) <= {target}:
        return
    if target != TensorType.INT16 and not any(found[t] for t in _EIGHT if t != target) and found[TensorType.INT16] > found[target]:
        raise RefusedError(f"activations are INT16: {target.name} has fewer codes, and which ranges they need is not in the file")
    if found[TensorType.UINT8] and target != TensorType.UINT8:
        _step(model, TensorType.UINT8, TensorType.INT8, options.per_tensor, notes)
        found[TensorType.INT8] += 1
    if found[TensorType.INT8] and target != TensorType.INT8:
        _step(model, TensorType.INT8, target, options.per_tensor, notes)


def _codes(model: Model) -> list[Tensor]:
    """The activations that integer operators exchange."""
    found: dict[Tensor, None] = {}
    for operator in model.operators():
        rule = None if operator.opcode is None else RULES.get(operator.opcode.code)
        held = {tensor for _, tensor in weight_operands(operator, rule)}
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and tensor not in held and is_code(tensor) and not tensor.is_constant and not tensor.is_variable:
                found |= {tensor: None} if tensor.type in (*_EIGHT, TensorType.INT16) else {}
    return list(found)


def _step(model: Model, source: TensorType, target: TensorType, per_tensor: bool, notes: Notes) -> None:
    made = plan(model, source, target, per_tensor=per_tensor)
    several = [operator for operator, reason in made.stays.items() if reason.startswith(NEEDS_ONE)]
    if several:
        names = Counter(operator.op_name for operator in several)
        shown = ", ".join(f"{count} {name}" for name, count in names.items())
        raise RefusedError(f"{shown}: weights with several scales, which {target.name} kernels do not take. --per-tensor makes them one, at a cost")
    if not made.activations:
        return
    keeper, groups = BiasKeeper(model), equalise(model, made)
    islands = _islands(model, made)
    fixed = _fixed(made)
    error = max([activation(model, tensor, target, fixed.get(tensor)) for tensor in made.activations], default=0.0)
    text = f"{len(made.activations)} activations {source.name} to {target.name}, " + (f"constants off by at most {error:.3g}" if error else "exactly")
    notes.changed(None, text, activations=len(made.activations), max_error=error)
    for tensor, (operator, rule) in made.weights.items():
        if target != TensorType.INT16:
            axis = channel_axis(rule, operator, tensor)
            weights(model, tensor, target, axis, axis is not None and operator.op_name != "FULLY_CONNECTED", notes)
    _finish(model, made, islands, notes)
    keeper.restore(notes, TensorType.INT64 if target == TensorType.INT16 else None, {operator for _, operator, _ in made.converts})
    for line in groups(notes):
        notes.changed(None, line)
    for code, old in raise_versions(model):
        notes.changed(None, f"{code.op_name}: version {code.version}, was {old}")


def _fixed(made: Plan) -> dict[Tensor, tuple[float, int]]:
    """The outputs whose parameters operators give in the new type."""
    found = {}
    for _, operator, rule in made.converts:
        for position, tensor in enumerate(operator.outputs):
            given = rule.fixed_for(made.target, position) if rule is not None else None
            if tensor is not None and given is not None:
                found[tensor] = (given.scale, given.zero_point)
    return found


def _islands(model: Model, made: Plan) -> list[tuple[SubGraph, Operator, dict[Tensor, Tensor]]]:
    """For every operator that stays: tensors of the old type and parameters in place of those that change."""
    changing = set(made.activations) | set(made.weights)
    found = []
    for subgraph in model.subgraphs:
        for operator in list(subgraph.operators):
            if operator not in made.stays:
                continue
            kept = {}
            for tensor in dict.fromkeys((*operator.inputs, *operator.outputs)):
                if tensor is None or tensor not in changing:
                    continue
                if tensor.is_variable:
                    why = f"{operator.op_name} keeps {made.source.name} ({made.stays[operator]})"
                    raise RefusedError(f"{why}, but operators that change use its state {tensor.name_str!r} too")
                old = tensor_like(model, subgraph, tensor, f"_{made.source.name.lower()}", tensor.type, copied_parameters(tensor))
                if tensor.is_constant:
                    old.buffer = tensor.buffer
                kept[tensor] = old
            found.append((subgraph, operator, kept))
    return found


def _finish(model: Model, made: Plan, islands: list[tuple[SubGraph, Operator, dict[Tensor, Tensor]]], notes: Notes) -> None:
    """Put the operators that stay between QUANTIZE operators, one for each tensor that changes, and set what INT16 kernels need."""
    ready: dict[Tensor, Tensor] = {}  # converted tensor -> the same in the old type, where it is already computed
    for subgraph, operator, kept in islands:
        for tensor, old in kept.items():
            outgoing = any(t is tensor for t in operator.outputs)
            if outgoing:
                operator.outputs = [old if t is tensor else t for t in operator.outputs]
                put_conversion(model, subgraph, old, tensor, place(subgraph.operators, operator) + 1)
                ready[tensor] = old
                continue
            if not tensor.is_constant:
                if tensor not in ready:
                    put_conversion(model, subgraph, tensor, old, place(subgraph.operators, operator))
                    ready[tensor] = old
                else:
                    subgraph.tensors = [t for t in subgraph.tensors if t is not old]
            use = old if tensor.is_constant else ready[tensor]
            operator.inputs = [use if t is tensor else t for t in operator.inputs]
        notes.remark(operator, f"{operator.op_name} stays {made.source.name}: {made.stays[operator]}")
    _drop_dead_conversions(islands)
    if made.target == TensorType.INT16:
        for _, operator, _ in made.converts:
            if operator.options is not None and hasattr(operator.options, "pot_scale_int16"):
                operator.options.pot_scale_int16 = False


def _drop_dead_conversions(islands: list[tuple[SubGraph, Operator, dict[Tensor, Tensor]]]) -> None:
    """Between two islands nothing reads the converted tensor: the QUANTIZE that computes it goes."""
    for subgraph in dict.fromkeys(subgraph for subgraph, _, _ in islands):
        read = {t for operator in subgraph.operators for t in operator.inputs} | set(subgraph.outputs)
        olds = {old for owner, _, kept in islands if owner is subgraph for old in kept.values()}
        dead = [
            operator for operator in subgraph.operators
            if operator.opcode is not None and operator.opcode.code == BuiltinOperator.QUANTIZE and operator.inputs[0] in olds
            and operator.outputs[0] not in read
        ]  # fmt: skip
        subgraph.operators = [operator for operator in subgraph.operators if operator not in dead]
        gone = {operator.outputs[0] for operator in dead}
        subgraph.tensors = [tensor for tensor in subgraph.tensors if tensor not in gone]
