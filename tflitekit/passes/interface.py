"""The inputs and outputs that callers see: which there are, which one a name means, and which subgraphs operators call besides."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

from .._base import Dangling
from ..errors import EditError
from ..graph import Model, SignatureDef, SubGraph, Tensor
from ..types import text
from .surgery import references


def entries(model: Model) -> list[SubGraph]:
    """The subgraphs that callers run: the first one, and those of signatures."""
    found = [*model.subgraphs[:1], *(signature.subgraph for signature in model.signature_defs)]
    return [subgraph for subgraph in dict.fromkeys(found) if subgraph is not None and not isinstance(subgraph, Dangling)]


def ends(model: Model, side: str) -> dict[Tensor, tuple[SubGraph, int]]:
    """The "inputs" or "outputs" of all entries, each once, with their subgraph and position."""
    return {tensor: (subgraph, position) for subgraph in entries(model) for tensor, position in _listed(subgraph, side)}


def _listed(subgraph: SubGraph, side: str) -> Iterator[tuple[Tensor, int]]:
    """The inputs or outputs of a subgraph, each once, with their positions."""
    seen: set[Tensor] = set()
    for position, tensor in enumerate(getattr(subgraph, side)):
        if tensor is not None and not isinstance(tensor, Dangling) and tensor not in seen:
            seen.add(tensor)
            yield tensor, position


def matching(model: Model, side: str, name: str, everyone: dict[Tensor, tuple[SubGraph, int]], flag: str) -> list[Tensor]:
    """The tensors that a name means: a tensor's own, that of a signature, KEY:NAME, a position (0, or SUBGRAPH:0), or a pattern of tensor names."""
    shown = [(signature, entry.name, entry.tensor) for signature in model.signature_defs for entry in getattr(signature, side)]
    positions = {f"{n}:{i}": tensor for n, g in enumerate(model.subgraphs) for i, tensor in enumerate(getattr(g, side))}
    attempts = (
        [tensor for tensor in everyone if tensor.name_str == name],
        [tensor for _, label, tensor in shown if text(label) == name],
        [tensor for signature, label, tensor in shown if f"{text(signature.signature_key)}:{text(label)}" == name],
        [positions[key] for key in (name, f"0:{name}") if key in positions],
        [tensor for tensor in everyone if fnmatchcase(tensor.name_str, name)],
    )
    for attempt in attempts:
        found = [tensor for tensor in attempt if tensor in everyone]
        if found:
            return found
    known = [tensor.name_str for tensor in everyone] + [text(label) for _, label, _ in shown]
    near = get_close_matches(name, known, 1)
    raise EditError(f"{flag}: no {side[:-1]} is named {name!r}" + (f"; did you mean {near[0]!r}?" if near else ". `io` lists them"))


def callers(model: Model) -> dict[SubGraph, str]:
    """The subgraphs that operators call, each with one of the operators in words."""
    found: dict[SubGraph, str] = {}
    names = {operator.options: f"{operator.op_name} (subgraphs[{n}].operators[{i}])"
             for n, g in enumerate(model.subgraphs) for i, operator in enumerate(g.operators) if operator.options is not None}  # fmt: skip
    for table, _, _, target in references(model):
        if isinstance(target, SubGraph) and not isinstance(table, SignatureDef):
            found.setdefault(target, names.get(table, "an operator"))
    return found
