"""Operands that must share parameters in the new type: a QUANTIZE in front of those that do not, where the old type did not demand it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import SameParameters, Sharing
from ..fixes.evidence import members_of
from ..parameters import encoded_again
from ..surgery import convert, copied_parameters, place, redirect, remove_unused, same_parameters, tensor_like
from .plan import Plan, is_code


def equalise(model: Model, made: Plan) -> Callable[[], Iterator[str]]:
    """Note which groups agree before the conversion; the function returned repairs afterwards those that then have to and do not."""
    wanted: list[tuple[SubGraph, Operator, SameParameters]] = []
    for subgraph, operator, rule in made.converts:
        for group in rule.same_parameters if rule is not None else ():
            if made.target not in group.types or group.sharing == Sharing.RESCALED:
                continue
            before = next((g for g in rule.same_parameters if g.group == group.group and made.source in g.types), None) if rule is not None else None
            members = [t for name in group.group for t in members_of(operator, name) if is_code(t)]
            demanded = before is not None and before.sharing != Sharing.RESCALED
            if not demanded or all(same_parameters(members[0], t) for t in members[1:]):
                wanted.append((subgraph, operator, group))

    def repair() -> Iterator[str]:
        for subgraph, operator, group in wanted:
            members = [t for name in group.group for t in members_of(operator, name) if is_code(t)]
            leader = next((t for t in members if any(t is o for o in operator.outputs)), members[0] if members else None)
            for tensor in dict.fromkeys(members):
                if leader is None or tensor is leader or same_parameters(tensor, leader):
                    continue
                if any(tensor is o for o in operator.outputs):
                    tensor.quantization = copied_parameters(leader)
                    continue
                error = in_front(model, subgraph, operator, tensor, leader)
                cost = f"; constant off by at most {error:.3g}" if error else ""
                why = f"which {tensor.type.name} demands{cost}"
                yield f"{operator.op_name}: {tensor.name_str!r} converted to the parameters of {leader.name_str!r}, {why}"

    return repair


def fixed_parameters(made: Plan) -> dict[Tensor, tuple[float, int]]:
    """The parameters that operators give their outputs in the new type, and those that operators which pass codes on must have as well."""
    found: dict[Tensor, tuple[float, int]] = {}
    for _, operator, rule in made.converts:
        for position, tensor in enumerate(operator.outputs):
            given = rule.fixed_for(made.target, position) if rule is not None else None
            if tensor is not None and given is not None and is_code(tensor):
                found[tensor] = (given.scale, given.zero_point)
    count = -1
    while count != len(found):
        count = len(found)
        for _, operator, rule in made.converts:
            for group in rule.same_parameters if rule is not None else ():
                if made.target in group.types and group.sharing != Sharing.RESCALED:
                    _spread([t for name in group.group for t in members_of(operator, name) if is_code(t)], operator, found)
    return found


def _spread(members: list[Tensor], operator: Operator, found: dict[Tensor, tuple[float, int]]) -> None:
    """Where all that goes in has the same fixed parameters, so has what comes out, and constants beside it."""
    computed = [t for t in members if not t.is_constant]
    leading = [t for t in computed if not any(t is o for o in operator.outputs)] or computed
    given = {found.get(t) for t in leading}
    if len(given) == 1 and None not in given and all(same_parameters(members[0], t) for t in members[1:]):
        for tensor in members:
            found.setdefault(tensor, given.copy().pop())  # type: ignore[arg-type]


def in_front(model: Model, subgraph: SubGraph, operator: Operator, tensor: Tensor, leader: Tensor) -> float:
    """Let an operator read a tensor at the parameters of another: a constant encoded again, else through a QUANTIZE. Returns a constant's error."""
    error, parameters = 0.0, copied_parameters(leader)
    new = tensor_like(model, subgraph, tensor, "_requantized", tensor.type, parameters)
    if tensor.is_constant and tensor.quantization is not None and parameters is not None:
        new.buffer = tensor.buffer
        error, _ = encoded_again(model, new, tensor.quantization, parameters)
    else:
        convert(model, subgraph, tensor, new, place(subgraph.operators, operator))
    redirect([operator], tensor, new)
    if tensor.is_constant:
        remove_unused(model, subgraph, [tensor])
    return error
