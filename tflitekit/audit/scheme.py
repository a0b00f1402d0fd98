"""What kind of quantized model this is, and how much of it: the scheme, coverage by operators, weight bytes and MACs, float islands."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ..graph import Model, SubGraph, Tensor
from ..types import FLOAT_TYPES
from .execution import (
    ARITHMETIC,
    FLOAT,
    FLOAT16,
    HYBRID,
    INTEGER,
    MODES,
    Execution,
    activations,
    executions,
    is_code,
    is_compiled,
    stored_bytes,
)

FULL_INTEGER, DYNAMIC_RANGE, WEIGHT_ONLY, FLOAT16_WEIGHTS = "full-integer", "dynamic-range", "weight-only", "float16-weights"
FLOAT32, MIXED, COMPILED, NO_WEIGHTS = "float32", "mixed", "compiled", "no-weights"
SCHEMES = (FLOAT32, FLOAT16_WEIGHTS, WEIGHT_ONLY, DYNAMIC_RANGE, FULL_INTEGER, MIXED, COMPILED, NO_WEIGHTS)


class Share(NamedTuple):
    """One row of coverage: how many operators run in a mode, with how many bytes of weights and multiply-accumulates."""

    mode: str
    operators: int
    weight_bytes: int
    macs: int


class Crossing(NamedTuple):
    """A tensor that enters or leaves an island, and the operator on the other side (None: the caller)."""

    tensor: Tensor
    operator: Execution | None


class Island(NamedTuple):
    """Connected operators that compute in float inside a model that otherwise computes on integers."""

    operators: tuple[Execution, ...]
    enters: tuple[Crossing, ...]
    leaves: tuple[Crossing, ...]


@dataclass(frozen=True)
class Scheme:
    """The verdict.

    `activation` is the type that arithmetic runs on (`mixed` if there are several), `inputs` and `outputs` the types callers see, `weights` the
    element types of stored weights and `granularity` how finely those that are integers are scaled, each sorted.
    """

    name: str
    activation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    granularity: tuple[str, ...]
    coverage: tuple[Share, ...]
    islands: tuple[Island, ...]
    executions: tuple[Execution, ...] = field(repr=False)

    @property
    def float_io(self) -> bool:
        """Whether callers exchange floats with a model that computes on integers."""
        return self.name == FULL_INTEGER and any(t.startswith("FLOAT") for t in (*self.inputs, *self.outputs))


def classify(model: Model) -> Scheme:
    """The scheme of a model, from how its operators compute."""
    runs = [run for number, subgraph in enumerate(model.subgraphs) for run in executions(subgraph, number)]
    weights = list(dict.fromkeys(t for run in runs for t in run.weights))
    name = _name(runs, weights)
    main = model.subgraphs[0] if model.subgraphs else SubGraph()
    islands = tuple(_islands(model, runs)) if name in (FULL_INTEGER, MIXED) else ()
    return Scheme(
        name=name,
        activation=_activation(runs),
        inputs=tuple(t.type.name for t in main.inputs if t is not None),
        outputs=tuple(t.type.name for t in main.outputs if t is not None),
        weights=tuple(sorted({t.type.name for t in weights})),
        granularity=tuple(sorted({t.quantization.kind for t in weights if is_code(t) and t.quantization is not None})),
        coverage=_coverage(runs),
        islands=islands,
        executions=tuple(runs),
    )


def _name(runs: list[Execution], weights: list[Tensor]) -> str:
    if any(is_compiled(run.operator) for run in runs):
        return COMPILED
    modes = {run.mode for run in runs}
    arithmetic = modes & ARITHMETIC
    codes = any(is_code(t) for t in weights)
    if INTEGER in arithmetic:
        return FULL_INTEGER if arithmetic == {INTEGER} else MIXED
    if any(run.mode == FLOAT and run.reason.startswith("mixes") for run in runs):
        return MIXED
    if HYBRID in arithmetic:
        return DYNAMIC_RANGE
    if codes:
        return WEIGHT_ONLY
    if FLOAT16 in arithmetic:
        return FLOAT16_WEIGHTS
    return FLOAT32 if any(t.type in FLOAT_TYPES for t in weights) else NO_WEIGHTS


def _activation(runs: list[Execution]) -> str:
    """The type of the activations that arithmetic runs on; operators with weights decide where there are any."""
    found: Counter[str] = Counter()
    weighted = [run for run in runs if run.mode in ARITHMETIC and run.weights]
    for run in weighted or [run for run in runs if run.mode in ARITHMETIC]:
        values = activations(run) or [t for t in run.operator.outputs if t is not None]
        if run.mode == INTEGER:
            names = {t.type.name for t in values if is_code(t)}
        else:
            names = {t.type.name for t in values if t.type in FLOAT_TYPES or is_code(t)}
        found.update(names)
    if not found:
        return "none"
    return next(iter(found)) if len(found) == 1 else "mixed"


def _coverage(runs: list[Execution]) -> tuple[Share, ...]:
    counted: set[Tensor] = set()
    rows = {mode: [0, 0, 0] for mode in MODES}
    for run in runs:
        fresh = [t for t in run.weights if t not in counted]
        counted.update(fresh)
        row = rows[run.mode]
        row[0] += 1
        row[1] += sum(stored_bytes(t) for t in fresh)
        row[2] += run.macs
    return tuple(Share(mode, *row) for mode, row in rows.items() if row[0])


def _islands(model: Model, runs: list[Execution]) -> list[Island]:
    """Groups of connected float operators, each with what crosses its shore."""
    found = []
    for number, subgraph in enumerate(model.subgraphs):
        own = [run for run in runs if run.subgraph == number]
        makers = {t: run for run in own for t in run.operator.outputs if t is not None}
        readers: dict[Tensor, list[Execution]] = {}
        for run in own:
            for tensor in run.operator.inputs:
                if tensor is not None:
                    readers.setdefault(tensor, []).append(run)
        left = {run for run in own if run.mode in (FLOAT, FLOAT16, HYBRID)}
        for start in own:
            if start in left:
                found.append(_island(subgraph, _connected(start, left, makers, readers), makers, readers))
    return found


def _connected(start: Execution, left: set[Execution], makers: dict[Tensor, Execution], readers: dict[Tensor, list[Execution]]) -> set[Execution]:
    """The float operators reachable from one through tensors, in both directions; they are taken out of `left`."""
    group, queue = {start}, [start]
    left.discard(start)
    while queue:
        run = queue.pop()
        around = [makers.get(t) for t in run.operator.inputs if t is not None]
        around += [reader for t in run.operator.outputs if t is not None for reader in readers.get(t, [])]
        for other in around:
            if other is not None and other in left:
                left.discard(other)
                group.add(other)
                queue.append(other)
    return group


def _island(
    subgraph: SubGraph, group: set[Execution], makers: dict[Tensor, Execution], readers: dict[Tensor, list[Execution]]
) -> Island:
    ordered = tuple(sorted(group, key=lambda run: run.index))
    enters: dict[Tensor, Crossing] = {}
    leaves: dict[Tensor, Crossing] = {}
    results = set(subgraph.outputs)
    for run in ordered:
        for tensor in run.operator.inputs:
            if tensor is not None and not tensor.is_constant and makers.get(tensor) not in group:
                enters.setdefault(tensor, Crossing(tensor, makers.get(tensor)))
        for tensor in run.operator.outputs:
            if tensor is None:
                continue
            outside = [reader for reader in readers.get(tensor, []) if reader not in group]
            if outside or tensor in results:
                leaves.setdefault(tensor, Crossing(tensor, outside[0] if outside else None))
    return Island(ordered, tuple(enters.values()), tuple(leaves.values()))
