"""Converts all subgraphs: parameters and codes, then islands, biases, groups, options and versions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..._copy import copied
from ..._schema import BuiltinOperator, TensorType
from ...errors import RefusedError
from ...graph import Model, Operator, SubGraph, Tensor, new_options
from ...quant.rules import rule_for
from ..base import Notes
from ..bias import BiasKeeper
from ..bounds import Changed, keep_bounds
from ..costs import beyond, tell, tell_total
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
from .ledger import Entry, Ledger, Place
from .plan import NEEDS_ONE, STEERING, Plan, held, is_code, plan
from .tidy import cut_off, drop_identities, keep_cut_off

if TYPE_CHECKING:
    from ..convert_activations import ConvertActivations

_EIGHT = (TensorType.INT8, TensorType.UINT8)


def convert(options: ConvertActivations, model: Model, notes: Notes) -> None:
    """Convert the model, in two steps where UINT8 goes to INT16; what its constants lose is said, and what would lose too much is kept."""
    kept = _too_much(options, model) if options.min_sqnr is not None or options.max_error is not None else {}
    operators = {at: _operator(model, at) for at in kept}
    entries = _converted(options, model, notes, frozenset(operators.values()))
    for entry in entries:
        tell(entry.cost, notes)
    stays: dict[Tensor, list[Place]] = {}
    for at, operator in operators.items():
        stays.setdefault(operator.inputs[at.operand], []).append(at)  # type: ignore[arg-type]
    for tensor, places in stays.items():
        names = ", ".join(dict.fromkeys(operators[at].op_name for at in places))
        notes.refused(tensor, f"stays {tensor.type.name}, as does its {names}, between QUANTIZE operators: {kept[places[0]]}")
    if entries:
        tell_total([entry.cost for entry in entries], notes)


def _operator(model: Model, at: Place) -> Operator:
    return model.subgraphs[at.subgraph].operators[at.operator]


def _too_much(options: ConvertActivations, model: Model) -> dict[Place, str]:
    """The operands that would lose more than the options allow, with the reason; found on copies, until all that is left loses less.

    RefusedError where no operator that reads such a constant can stay.
    """
    kept: dict[Place, str] = {}
    while True:
        copy = copied(model)
        entries = _converted(options, copy, Notes(), frozenset(_operator(copy, at) for at in kept))
        found = [(entry, beyond(entry.cost.loss, entry.cost.type, options.min_sqnr, options.max_error)) for entry in entries]
        over = [(entry, reason) for entry, reason in found if reason]
        if not over:
            return kept
        stay = {at[:2] for at in kept}
        for entry, reason in over:
            fresh = [at for at in entry.places if at[:2] not in stay and _may_stay(_operator(model, at))]
            if not fresh:
                raise RefusedError(
                    f"{entry.cost.tensor.name_str!r}: {reason}, and it cannot stay as it is: it is an output, or handed to another subgraph"
                )
            kept |= dict.fromkeys(fresh, reason)


def _may_stay(operator: Operator) -> bool:
    return operator.opcode is not None and operator.opcode.code not in STEERING


def _converted(options: ConvertActivations, model: Model, notes: Notes, kept: frozenset[Operator]) -> list[Entry]:
    """Convert all but the operators that are kept; returns the constants that changed."""
    target = TensorType[options.to.upper()]
    found = Counter(t.type for t in _codes(model))
    if not found:
        raise RefusedError("no operator computes on integers: there are no activations to convert. `audit` says what the model is")
    if set(found) <= {target}:
        return []
    if target != TensorType.INT16 and not any(found[t] for t in _EIGHT if t != target) and found[TensorType.INT16] > found[target]:
        raise RefusedError(f"activations are INT16: {target.name} has fewer codes, and which ranges they need is not in the file")
    ends, ledger, how = _ends(model), Ledger(model), dict[Tensor, str]()
    if found[TensorType.UINT8] and target != TensorType.UINT8:
        how |= _step(model, TensorType.UINT8, TensorType.INT8, options.per_tensor, notes, kept)
        found[TensorType.INT8] += 1
    if found[TensorType.INT8] and target != TensorType.INT8:
        how |= _step(model, TensorType.INT8, target, options.per_tensor, notes, kept)
    changed = [one for one in ends if one.before is not None and one.before.type != one.tensor.type]
    if changed:
        keep_bounds(model, changed, notes)
    return ledger.entries(model, how)


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


def _step(
    model: Model, source: TensorType, target: TensorType, per_tensor: bool, notes: Notes, kept: frozenset[Operator]
) -> dict[Tensor, str]:  # fmt: skip
    """From one type to the next; returns what was done to the scales of weights."""
    made = plan(model, source, target, per_tensor=per_tensor, kept=kept)
    several = [operator for operator, reason in made.stays.items() if reason.startswith(NEEDS_ONE)]
    if several:
        names = Counter(operator.op_name for operator in several)
        shown = ", ".join(f"{count} {name}" for name, count in names.items())
        raise RefusedError(f"{shown}: weights with several scales, which {target.name} kernels do not take. --per-tensor makes them one, at a cost")
    if not made.activations:
        return {}
    keeper, groups, repair, before = BiasKeeper(model), equalise(model, made), meet(model), operators_of(model)
    fixed, cut = fixed_parameters(made), cut_off(made)
    islands = _islands(model, made)
    _activations(model, made, fixed, notes)
    how = {}
    for tensor, (operator, rule) in made.weights.items():
        if target != TensorType.INT16:
            how[tensor] = weights(model, tensor, target, channel_axis(rule, operator, tensor))
    _finish(model, made, islands, notes)
    keeper.restore(None, TensorType.INT64 if target == TensorType.INT16 else None, {operator for _, operator, _ in made.converts})
    for line in (*keep_cut_off(model, made, cut), *groups(), *repair(), *drop_identities(model, made)):
        notes.changed(None, line)
    raised = raise_versions(model)
    for code, old in raised:
        notes.changed(None, f"{code.op_name}: version {code.version}, was {old}")
    keep_up(model, before, notes, [code for code, _ in raised])
    return how


def _activations(model: Model, made: Plan, fixed: dict[Tensor, tuple[float, int]], notes: Notes) -> None:
    """Give the activations their new type, and say how far the codes of both types are apart."""
    errors = [activation(model, tensor, made.target, fixed.get(tensor)) for tensor in made.activations]
    error, steps = (max(values, default=0.0) for values in zip(*errors, strict=True))
    said = f"off by at most {steps:.2g} of their step, {error:.3g} in real values" if error else "exactly"
    said += "" if error or made.target == TensorType.INT16 else ": codes and zero points move by 128"
    notes.changed(
        None, f"{len(made.activations)} activations {made.source.name} to {made.target.name}, {said}",
        activations=len(made.activations), max_error=error, max_steps=steps, exact=not error,
    )  # fmt: skip


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
        if operator not in made.kept:
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
