"""What `observe --export` writes: the parameters that the seen ranges imply, as a table for `set-quantization --from`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .._schema import TensorType
from ..errors import EditError
from ..graph import Model, SubGraph, Tensor
from ..passes.chain import shared
from ..quant.affine import from_range
from ..quant.rules import rule_for
from ..runtime.observation import Observation
from .facts_observe import DERIVABLE
from .facts_tensors import matches
from .values import Facts

Range = tuple[float, float]


def implied_table(result: Observation, name: str | None = None) -> tuple[list[Facts], int]:
    """Rows as of `passes.parameters.table` for the tensors with one 8- or 16-bit scale that were seen, and how many such tensors keep what they have.

    Tensors that operators take to be on one scale get that of all they hold. What an operator fixes stays, and so does what shares its parameters
    with a tensor that was not seen, such as a constant, or was 0 throughout. `name`: only tensors whose name matches, and those that share parameters
    with them.
    """
    model = result.subject.model
    ranges = _ranges(result)
    rows: list[Facts] = []
    kept = 0
    for group in _groups(model, ranges):
        if name is not None and not any(matches(tensor.name_str, name) for tensor in group):
            continue
        made = _rows(model, group, ranges)
        kept += 0 if made else sum(tensor in ranges for tensor in group)
        rows += made
    return sorted(rows, key=lambda row: (row["subgraph"], row["index"])), kept


def _ranges(result: Observation) -> dict[Tensor, Range | None]:
    """The seen range of every tensor with one scale, over all signatures; None where nothing finite was seen."""
    found: dict[Tensor, Range | None] = {}
    for observed in result.interfaces:
        tensors = result.subject.model.subgraphs[observed.subgraph].tensors
        for seen in observed.tensors:
            tensor = tensors[seen.tensor.index]
            q = tensor.quantization
            if tensor.type not in DERIVABLE or q is None or len(q.scale) != 1:
                continue
            before = found.get(tensor)
            now = None if seen.low is None or seen.high is None else (seen.low, seen.high)
            found[tensor] = before if now is None else now if before is None else (min(before[0], now[0]), max(before[1], now[1]))
    return found


def _groups(model: Model, tensors: Iterable[Tensor]) -> Iterator[set[Tensor]]:
    """The tensors in groups that operators take to be on one scale, with those members that are not among them."""
    near: dict[Tensor, set[Tensor]] = {}
    for operator in model.operators():
        rule = rule_for(operator)
        for tensor in (*operator.inputs, *operator.outputs) if rule is not None else ():
            if tensor is not None and rule is not None:
                near.setdefault(tensor, set()).update(shared(rule, operator, tensor))
    done: set[Tensor] = set()
    for start in tensors:
        if start in done:
            continue
        group, queue = {start}, [start]
        for tensor in queue:
            more = near.get(tensor, set()) - group
            group |= more
            queue += more
        done |= group
        yield group


def _rows(model: Model, group: set[Tensor], ranges: dict[Tensor, Range | None]) -> list[Facts]:
    """The rows of a group; none if its parameters have to stay."""
    seen = [found for tensor in group if (found := ranges.get(tensor)) is not None]
    if len(seen) < len(group) or any(_is_fixed(tensor) for tensor in group):
        return []
    low, high = min(low for low, _ in seen), max(high for _, high in seen)
    rows = []
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if tensor not in group:
                continue
            try:
                stored = from_range(low, high, TensorType(tensor.type), widen=True).stored
            except EditError:  # 0 throughout, or so narrow that its scale is none
                return []
            rows.append({
                "subgraph": number, "index": index, "name": tensor.name_str, "type": tensor.type.name, "scale": [float(stored.scale)],
                "zero_point": [stored.zero_point], "axis": 0,
            })  # fmt: skip
    return rows


def _is_fixed(tensor: Tensor) -> bool:
    """Whether the operator that computes a tensor fixes its parameters."""
    producer = tensor.producer() if isinstance(tensor.subgraph, SubGraph) else None
    rule = rule_for(producer) if producer is not None else None
    if producer is None or rule is None:
        return False
    return rule.fixed_for(TensorType(tensor.type), next(i for i, output in enumerate(producer.outputs) if output is tensor)) is not None
