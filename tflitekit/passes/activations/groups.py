"""Operands that must share parameters in the new type: a QUANTIZE in front of those that do not, where the old type did not demand it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import SameParameters, Sharing
from ..base import Notes
from ..fixes.evidence import members_of
from ..parameters import encoded_again
from ..surgery import convert, copied_parameters, place, redirect, same_parameters, tensor_like
from .plan import Plan, is_code


def equalise(model: Model, made: Plan) -> Callable[[Notes], Iterator[str]]:
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

    def repair(notes: Notes) -> Iterator[str]:
        for subgraph, operator, group in wanted:
            members = [t for name in group.group for t in members_of(operator, name) if is_code(t)]
            leader = next((t for t in members if any(t is o for o in operator.outputs)), members[0] if members else None)
            for tensor in members:
                if leader is None or tensor is leader or same_parameters(tensor, leader):
                    continue
                if any(tensor is o for o in operator.outputs):
                    tensor.quantization = copied_parameters(leader)
                    continue
                _in_front(model, subgraph, operator, tensor, leader)
                yield f"{operator.op_name}: {tensor.name_str!r} converted to the parameters of {leader.name_str!r}, which {tensor.type.name} demands"

    return repair


def _in_front(model: Model, subgraph: SubGraph, operator: Operator, tensor: Tensor, leader: Tensor) -> None:
    parameters = copied_parameters(leader)
    new = tensor_like(model, subgraph, tensor, "_requantized", tensor.type, parameters)
    if tensor.is_constant and tensor.quantization is not None and parameters is not None:
        new.buffer = tensor.buffer
        encoded_again(model, new, tensor.quantization, parameters)
    else:
        convert(model, subgraph, tensor, new, place(subgraph.operators, operator))
    redirect([operator], tensor, new)
