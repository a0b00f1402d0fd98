"""What subgraphs and variables hand to each other: both sides keep equal parameters, by a QUANTIZE where an operator fixes those of one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..._schema import BuiltinOperator
from ...graph import Model, Operator, SubGraph, Tensor
from ..surgery import convert, copied_parameters, replace_io, same_parameters, tensor_like
from .groups import in_front
from .plan import is_code


class Border(NamedTuple):
    """A tensor that is handed over. `inner` of `callee` is given to or taken from `outer` of an operator of `caller`; callee None: a variable."""

    caller: SubGraph
    operator: Operator
    outer: Tensor
    callee: SubGraph | None
    inner: Tensor
    inwards: bool


def borders(model: Model) -> Iterator[Border]:
    """Everything that operators hand to the subgraphs that they run, or take from them, and what is stored in variables."""
    for caller in model.subgraphs:
        for operator in caller.operators:
            first = 1 if operator.op_name == BuiltinOperator.IF.name else 0
            for name in ("then_subgraph", "else_subgraph", "cond_subgraph", "body_subgraph", "decomposition_subgraph"):
                callee = getattr(operator.options, name, None)
                if not isinstance(callee, SubGraph):
                    continue
                sides = [(operator.inputs[first:], callee.inputs, True)]
                sides += [(operator.outputs, callee.outputs, False)] if name != "cond_subgraph" else []
                for outer, inner, inwards in sides:
                    for a, b in zip(outer, inner, strict=False):
                        if a is not None and b is not None:
                            yield Border(caller, operator, a, callee, b, inwards)
    yield from _variables(model)


def _variables(model: Model) -> Iterator[Border]:
    """What is stored in each variable beside the first tensor that is read from it; variables are told apart by the names of their handles."""
    read: dict[Any, Tensor] = {}
    stored: list[tuple[Any, SubGraph, Operator, Tensor]] = []
    for subgraph in model.subgraphs:
        handles: dict[Tensor | None, Any] = {
            tensor: (getattr(operator.options, "container", None), getattr(operator.options, "shared_name", None))
            for operator in subgraph.operators if operator.op_name == BuiltinOperator.VAR_HANDLE.name for tensor in operator.outputs
        }  # fmt: skip
        for operator in subgraph.operators:
            name = handles.get(operator.inputs[0]) if operator.inputs else None
            if name is None:
                continue
            if operator.op_name == BuiltinOperator.READ_VARIABLE.name and operator.outputs and operator.outputs[0] is not None:
                read.setdefault(name, operator.outputs[0])
            elif operator.op_name == BuiltinOperator.ASSIGN_VARIABLE.name and len(operator.inputs) > 1 and operator.inputs[1] is not None:
                stored.append((name, subgraph, operator, operator.inputs[1]))
    for name, subgraph, operator, tensor in stored:
        if name in read:
            yield Border(subgraph, operator, tensor, None, read[name], True)


def meet(model: Model) -> Callable[[], Iterator[str]]:
    """Note which borders have equal parameters on both sides before the conversion; the function returned makes them equal again afterwards."""
    equal = [b for b in borders(model) if is_code(b.outer) and is_code(b.inner) and same_parameters(b.outer, b.inner)]

    def repair() -> Iterator[str]:
        done: dict[tuple[SubGraph, Tensor], Tensor] = {}
        for one in equal:
            if same_parameters(one.outer, one.inner) or one.outer.type != one.inner.type:
                continue
            if one.inwards:
                in_front(model, one.caller, one.operator, one.outer, one.inner)
            elif one.callee is not None and (one.callee, one.inner) not in done:
                new = tensor_like(model, one.callee, one.inner, "_handed_over", one.outer.type, copied_parameters(one.outer))
                convert(model, one.callee, one.inner, new, len(one.callee.operators))
                replace_io(model, one.callee, one.inner, new, side="outputs")
                done[one.callee, one.inner] = new
            else:
                continue
            yield f"{one.operator.op_name}: {one.outer.name_str!r} and {one.inner.name_str!r} kept at equal parameters by a QUANTIZE between them"

    return repair
