"""Converts all subgraphs: parameters and codes, then islands, biases, groups, options and versions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..._schema import BuiltinOperator, TensorType
from ...errors import RefusedError
from ...graph import Model, Operator, SubGraph, Tensor, new_options
from ...quant.rules import rule_for
from ..base import Notes
from ..bias import BiasKeeper
from ..bounds import Changed, keep_bounds
from ..input_stats import stored_affine
from ..surgery import convert as put_conversion
from ..surgery import (
    keep_up,
    operators_of,
    pinned,
    place,
    raise_versions,
    remove_operators,
    remove_unused,
    remove_unused_codes,
    tensor_like,
)
from .borders import meet
from .encode import activation, channel_axis, sound_parameters, weights
from .groups import equalise, fixed_parameters
from .plan import NEEDS_ONE, Plan, held, is_code, plan
from .tidy import cut_off, drop_identities, keep_cut_off

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
    ends = _ends(model)
    if found[TensorType.UINT8] and target != TensorType.UINT8:
        _step(model, TensorType.UINT8, TensorType.INT8, options.per_tensor, notes)
        found[TensorType.INT8] += 1
    if found[TensorType.INT8] and target != TensorType.INT8:
        _step(model, TensorType.INT8, target, options.per_tensor, notes)
    changed = [one for one in ends if one.before is not None and one.before.type != one.tensor.type]
    if changed:
        keep_bounds(model, changed, notes)


def _ends(model: Model) -> list[Changed]:
    """All inputs and outputs with the codes that they have now."""
    return [
        Changed(subgraph, side, position, tensor, stored_affine(tensor))
        for subgraph in model.subgraphs for side in ("inputs", "outputs")
        for position, tensor in enumerate(getattr(subgraph, side)) if tensor is not None
    ]  # fmt: skip


def _codes(model: Model) -> list[Tensor]:
    """The activations that integer operators exchange."""
    found: dict[Tensor, None] = {}
    for operator in model.operators():
        weights = set(held(operator, rule_for(operator)))
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and tensor not in weights and is_code(tensor) and not tensor.is_constant and not tensor.is_variable:
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
    keeper, groups, repair, before = BiasKeeper(model), equalise(model, made), meet(model), operators_of(model)
    fixed, cut = fixed_parameters(made), cut_off(made)
    islands = _islands(model, made)
    error = max([activation(model, tensor, target, fixed.get(tensor)) for tensor in made.activations], default=0.0)
    text = f"{len(made.activations)} activations {source.name} to {target.name}, " + (f"constants off by at most {error:.3g}" if error else "exactly")
    notes.changed(None, text, activations=len(made.activations), max_error=error)
    for tensor, (operator, rule) in made.weights.items():
        if target != TensorType.INT16:
            weights(model, tensor, target, channel_axis(rule, operator, tensor), notes)
    _finish(model, made, islands, notes)
    keeper.restore(notes, TensorType.INT64 if target == TensorType.INT16 else None, {operator for _, operator, _ in made.converts})
    for line in (*keep_cut_off(model, made, cut), *groups(), *repair(), *drop_identities(model, made)):
        notes.changed(None, line)
    raised = raise_versions(model)
    for code, old in raised:
        notes.changed(None, f"{code.op_name}: version {code.version}, was {old}")
    keep_up(model, before, notes, [code for code, _ in raised])


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
                old = tensor_like(model, subgraph, tensor, f"_{made.source.name.lower()}", tensor.type, sound_parameters(tensor))
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
    _drop_dead_conversions(model, islands)
    if made.target == TensorType.INT16:
        for _, operator, _ in made.converts:
            _options_for_int16(operator)


def _options_for_int16(operator: Operator) -> None:
    """Scales need be no powers of two, and a bias is INT64, whatever the old type let stand there."""
    if operator.opcode is not None and operator.op_name in ("ADD", "SUB") and operator.options is None:
        operator.builtin_options = new_options(operator.opcode.code)
    if hasattr(operator.options, "pot_scale_int16"):
        operator.options.pot_scale_int16 = False  # type: ignore[union-attr]
    chosen = getattr(operator.options, "quantized_bias_type", None)
    computed = len(operator.inputs) > 1 and operator.inputs[1] is not None and operator.inputs[1].type == TensorType.INT16
    if chosen is not None and (chosen != TensorType.FLOAT32 or (computed and len(operator.inputs) > 2 and operator.inputs[2] is not None)):
        operator.options.quantized_bias_type = TensorType.INT64  # type: ignore[union-attr]


def _drop_dead_conversions(model: Model, islands: list[tuple[SubGraph, Operator, dict[Tensor, Tensor]]]) -> None:
    """Between two islands nothing reads the converted tensor: the QUANTIZE that computes it goes."""
    seen, codes = pinned(model), []
    for subgraph in dict.fromkeys(subgraph for subgraph, _, _ in islands):
        read = {t for operator in subgraph.operators for t in operator.inputs} | seen
        olds = {old for owner, _, kept in islands if owner is subgraph for old in kept.values()}
        dead = [
            operator for operator in subgraph.operators
            if operator.op_name == BuiltinOperator.QUANTIZE.name and any(t in olds for t in operator.inputs) and not read & {*operator.outputs}
        ]  # fmt: skip
        codes += [operator.opcode for operator in dead]
        remove_operators(subgraph, dead)
        remove_unused(model, subgraph, [t for operator in dead for t in operator.outputs if t is not None])
    remove_unused_codes(model, codes)
