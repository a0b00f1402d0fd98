"""What the modes of `set-input-stats` share: which input is meant, and the parameters that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from .._base import Dangling
from .._schema import TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, Operator, OperatorCode, SignatureDef, SubGraph, Tensor
from ..quant import affine
from ..quant.affine import Affine, Derived
from ..types import text
from .base import Notes
from .surgery import drop_control_dependencies, place, raise_min_runtime, references

if TYPE_CHECKING:
    from .set_input_stats import SetInputStats

CODES = (TensorType.UINT8, TensorType.INT8, TensorType.INT16)


def called_subgraphs(model: Model) -> dict[SubGraph, str]:
    """The subgraphs that operators run, with the name of such an operator: their inputs and outputs are tied to those of the operator."""
    found: dict[SubGraph, str] = {}
    owners = {options: operator for operator in model.operators() if (options := operator.options) is not None}
    for table, _, _, target in references(model):
        if isinstance(target, SubGraph) and not isinstance(table, SignatureDef):
            owner = owners.get(table)
            found.setdefault(target, owner.op_name if isinstance(owner, Operator) else type(table).__name__)
    return found


def entry_inputs(model: Model) -> dict[Tensor, SubGraph]:
    """The inputs of subgraph 0 and of the subgraphs of signatures."""
    subgraphs = dict.fromkeys([*model.subgraphs[:1], *(s.subgraph for s in model.signature_defs if s.subgraph in model.subgraphs)])
    return {tensor: g for g in subgraphs if g is not None for tensor in g.inputs if tensor is not None and not isinstance(tensor, Dangling)}


def chosen_input(model: Model, name: str, fits: Callable[[Tensor], bool], what: str) -> tuple[SubGraph, Tensor]:
    """The input that is meant, with its subgraph: the named one, else the only one that fits; EditError or RefusedError if there is no such one."""
    inputs = entry_inputs(model)
    if name:
        aliases = [(text(e.name), e.tensor) for s in model.signature_defs for e in s.inputs if e.tensor in inputs]
        places = {f"{place(model.subgraphs, g)}:{place(g.tensors, t)}": t for t, g in inputs.items()}
        found = dict.fromkeys([t for t in inputs if t.name_str == name] or [t for alias, t in aliases if alias == name and t is not None])
        found = found or dict.fromkeys(t for where, t in places.items() if where == name)
        if not found:
            known = list(dict.fromkeys([t.name_str for t in inputs] + [alias for alias, _ in aliases]))
            near = get_close_matches(name, known, 1)
            raise EditError(f"no input is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else f". Inputs: {', '.join(map(repr, known))}"))
        if len(found) > 1:
            ways = [where for where, t in places.items() if t in found]
            raise EditError(f"{len(found)} inputs are named {name!r}; give SUBGRAPH:INDEX instead, one of {', '.join(ways)}")
    else:
        found = dict.fromkeys(t for t in inputs if fits(t))
        if len(found) > 1:
            raise EditError(f"which input? Give --input with one of {', '.join(repr(t.name_str) for t in found)}, or SUBGRAPH:INDEX")
        if not found:
            listed = ", ".join(f"{t.name_str!r} ({t.type.name})" for t in inputs) or "none"
            raise RefusedError(f"no input of this model {what}. Inputs: {listed}")
    tensor = next(iter(found))
    subgraph = inputs[tensor]
    caller = called_subgraphs(model).get(subgraph)
    if caller is not None:
        raise RefusedError(f"input {tensor.name_str!r} belongs to a subgraph that {caller} runs too: what it is fed there would be misread")
    return subgraph, tensor


def stored_affine(tensor: Tensor) -> Affine | None:
    """The parameters of a tensor as one scale and zero point of a code type; None where it has none such."""
    q = tensor.quantization
    if q is None or q.details is not None or len(q.scale) != 1 or len(q.zero_point) > 1 or tensor.type not in CODES:
        return None
    try:
        return Affine(q.scale[0], int(q.zero_point[0]) if len(q.zero_point) else 0, tensor.type)
    except EditError:
        return None


def keep_up(model: Model, before: dict[Operator, OperatorCode | None], notes: Notes) -> None:
    """Let metadata follow operators that were put in, or have another operator code, since `before`, which `operators_of` gave."""
    changed = [operator for operator in model.operators() if operator not in before or operator.opcode is not before[operator]]
    if raised := raise_min_runtime(model, [operator.opcode for operator in changed if operator.opcode is not None]):
        notes.changed("metadata", f"min_runtime_version {raised[0]} raised to {raised[1]}")
    if any(operator not in before for operator in changed) and drop_control_dependencies(model):
        notes.changed("metadata", "model_control_dependencies taken out: it lists operators by position, and those moved")


def operators_of(model: Model) -> dict[Operator, OperatorCode | None]:
    """All operators with their operator codes."""
    return {operator: operator.opcode for operator in model.operators()}


def single(value: float | tuple[float, ...] | None) -> float:
    """The number of an option that was given, and is one."""
    if value is None or isinstance(value, tuple):
        raise EditError("one number for all channels is needed here")
    return float(value)


def derived(options: SetInputStats, type_: TensorType) -> Derived:
    """What is asked for, in codes of a type, and the nearest that a file can hold."""
    if options.mean is not None:
        return affine.from_mean_std(single(options.mean), single(options.std), type_)
    if options.min is not None and options.max is not None:
        return affine.from_range(options.min, options.max, type_)
    return affine.from_scale(single(options.scale), int(options.zero_point or 0), type_)


def parameters_text(stored: Affine) -> str:
    """Stored parameters in words, exact."""
    low, high = stored.range()
    return f"scale {float(stored.scale)!r} ({float(stored.scale).hex()}), zero point {stored.zero_point}: {low:.6g} to {high:.6g}"


def residual_text(asked: Derived) -> str:
    """What of the asked parameters cannot be held, in words: the part of the mean between two integers, a range that is not symmetric. "" if all."""
    widened = ""
    if asked.widened_from is not None:
        widened = f"the range {asked.widened_from.min:.6g} to {asked.widened_from.max:.6g} is widened: {asked.stored.type.name} codes are symmetric"
    if abs(asked.residual) < 1e-9:
        return widened
    return (
        f"the mean {asked.mean:.9g} lies between two codes, and zero point {asked.stored.zero_point} is stored. Residual: every real value is off by "
        f"{asked.residual:+.6g} codes, {asked.residual * asked.scale:+.6g}"
    )
