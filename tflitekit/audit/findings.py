"""What is wrong with a model's quantization, what each runtime makes of it, and what to do.

A check is a function of a `Scene` that yields findings. What a runtime does comes from the operator rules; a check only finds where a rule is broken,
and says so with the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from .._metadata_schema import ModelMetadata
from .._schema import BuiltinOperator, TensorType
from ..graph import Model, Operator, SubGraph, Tensor
from ..quant.rules import LITERT, Behaviour, Fact, OpRule, Reaction, Role, Runtime, operand
from ..quant.rules.basic_cell import is_basic
from ..quant.rules.taken import Mismatch
from .codes import CODES, Code
from .execution import CODE_TYPES, INTEGER, Execution, Kind
from .scheme import Scheme
from .weight_scan import WeightScan, scan_weights

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)
_HARMFUL = frozenset({Behaviour.REFUSES, Behaviour.CRASHES, Behaviour.WRONG, Behaviour.UNDEFINED})


class Finding(NamedTuple):
    """One finding.

    `path` is the tensor or operator that is at fault, `name` its tensor name as text, `operator` the path of the operator whose rule is broken ("" if
    none is). `found` and `expected` are exact values (floats are float32 values widened). `reactions` tell what each runtime does, where it is known.
    """

    code: str
    severity: str
    path: str
    name: str
    message: str
    found: Any = None
    expected: Any = None
    operator: str = ""
    reactions: Mapping[Runtime, Reaction] = MappingProxyType({})
    source: str = ""

    @property
    def about(self) -> Code:
        """The description of the code: title, explanation, fix."""
        return CODES[self.code]

    def severity_for(self, runtime: Runtime) -> str:
        """The severity in one runtime: what it refuses or dies of is an error there, what it does not mind at most a warning."""
        reaction = self.reactions.get(runtime)
        if reaction is None:
            return self.severity
        if reaction.behaviour in (Behaviour.REFUSES, Behaviour.CRASHES):
            return ERROR
        return WARNING if self.severity == ERROR and reaction.behaviour not in _HARMFUL else self.severity

    def __str__(self) -> str:
        shown = f" {self.name!r}" if self.name else ""
        return f"{self.code} {self.severity}: {self.path}{shown}: {self.message}"


class Scene:
    """What checks look at: the model, its scheme, its metadata or why they cannot be read, and operators with their rules."""

    def __init__(self, model: Model, scheme: Scheme, metadata: ModelMetadata | None = None, problem: str | None = None) -> None:
        self.model, self.scheme, self.metadata, self.problem = model, scheme, metadata, problem
        self._steps = [Step(self, run, run.rule) for run in scheme.executions if run.rule is not None]

    @cached_property
    def paths(self) -> dict[Tensor, str]:
        """Where each tensor is; made for the first finding, since most audits have few."""
        found: dict[Tensor, str] = {}
        for number, subgraph in self.subgraphs():
            for index, tensor in enumerate(subgraph.tensors):
                found.setdefault(tensor, f"subgraphs[{number}].tensors[{index}]")
        return found

    @cached_property
    def parameters(self) -> dict[Tensor, tuple[float, int]]:
        """(scale, zero point) of every tensor that has one of each, whatever its type."""
        found = {}
        for _, subgraph in self.subgraphs():
            for tensor in subgraph.tensors:
                quantization = tensor.quantization
                if quantization is not None and len(quantization.scale) == 1 and len(quantization.zero_point) == 1:
                    found[tensor] = float(quantization.scale[0]), int(quantization.zero_point[0])
        return found

    @cached_property
    def weights(self) -> tuple[WeightScan, ...]:
        """What the weights hold; reading them takes time, so nothing but checks of their values asks for it."""
        return scan_weights(self.scheme.executions, self.paths)

    def release(self) -> None:
        """Let go of the steps, which refer back to the scene: the circle would keep the model and its mapped file until a full collection."""
        self._steps.clear()

    def steps(self, *modes: str) -> Iterator[Step]:
        """The operators that have a rule, in the given modes (all, if none is given)."""
        return (step for step in self._steps if step.run.mode in modes) if modes else iter(self._steps)

    def each_kind(self, check: Callable[[Step], Iterator[Finding]], *modes: str) -> Iterator[Finding]:
        """What a check finds that looks at operator codes and types alone: where it finds nothing, it is not asked of the same kind again."""
        silent: set[Kind] = set()
        for step in self.steps(*modes):
            if step.run.kind not in silent:
                found = list(check(step))
                if not found:
                    silent.add(step.run.kind)
                yield from found

    def subgraphs(self) -> Iterator[tuple[int, SubGraph]]:
        """The subgraphs with their numbers."""
        return enumerate(self.model.subgraphs)

    def path(self, tensor: Tensor) -> str:
        """Where a tensor is."""
        return self.paths.get(tensor, "?")

    def finding(self, code: str, tensor: Tensor, message: str, severity: str = ERROR, **rest: Any) -> Finding:
        """A finding about a tensor."""
        return Finding(code, severity, self.path(tensor), tensor.name_str, message, **rest)


class Step:
    """One operator with its rule; `outputs` are those that are there."""

    __slots__ = ("activation", "mismatches", "operator", "outputs", "rule", "run", "scene")

    def __init__(self, scene: Scene, run: Execution, rule: OpRule) -> None:
        self.scene, self.run, self.rule = scene, run, rule
        self.operator: Operator = run.operator
        self.outputs = [t for t in self.operator.outputs if t is not None]
        self.activation: TensorType | None = run.kind.activation
        self.mismatches: tuple[Mismatch, ...] = ()  # operands of types that do not go together, once they are known

    @property
    def path(self) -> str:
        """Where the operator is."""
        return self.run.path

    @property
    def label(self) -> str:
        """The operator's name and number."""
        return f"{self.operator.op_name} {self.run.index}"

    def inputs(self, role: Role) -> list[Tensor]:
        """The inputs of a role that are there."""
        return [t for t, r in zip(self.operator.inputs, self.run.roles, strict=False) if t is not None and r == role]

    def operand(self, name: str) -> list[Tensor]:
        """The tensors of an operand as rules name it: "in0", "out0", "in*"."""
        if name.endswith("*"):
            return [t for t in (self.operator.inputs if name == "in*" else self.outputs) if t is not None]
        found = operand(self.operator, name)
        return [found] if found is not None else []

    def refusal(self, position: int, known: Mapping[Runtime, Reaction]) -> Mapping[Runtime, Reaction]:
        """What is known of an input's deviation, with what the runtimes do to its type where nothing else is."""
        found = {runtime: m.reaction(runtime) for m in self.mismatches if m.operand == f"in{position}" for runtime in LITERT}
        refused = {runtime: reaction for runtime, reaction in found.items() if reaction.outcome != "runs"}
        return MappingProxyType({**found, **known, **refused})

    @property
    def is_basic_cell(self) -> bool:
        """Whether the operator is an LSTM cell of five inputs, which is not what the rule's biases and types are about."""
        return self.rule.operator == BuiltinOperator.LSTM and is_basic(self.operator)

    @property
    def per_channel(self) -> bool:
        """Whether the weights that the operator takes have several scales."""
        weights = self.run.weights
        quantization = weights[0].quantization if weights else None
        return quantization is not None and len(quantization.scale) > 1

    @property
    def is_integer(self) -> bool:
        """Whether the operator computes on integer codes."""
        return self.run.mode == INTEGER and self.activation in CODE_TYPES


def reactions_of(facts: Iterable[Fact]) -> tuple[Mapping[Runtime, Reaction], str]:
    """What the runtimes do by some facts together (the first that knows a runtime counts), and the sources."""
    merged: dict[Runtime, Reaction] = {}
    sources = []
    for fact in facts:
        for runtime, reaction in fact.reactions.items():
            merged.setdefault(runtime, reaction)
        sources.append(f"{fact.name}: {fact.source}")
    return MappingProxyType(merged), "; ".join(sources)


def worst(reactions: Mapping[Runtime, Reaction], unknown: str = WARNING) -> str:
    """The severity of a deviation: an error if some runtime minds it, else a warning; `unknown` where nothing is known."""
    if not reactions:
        return unknown
    return ERROR if any(r.behaviour in _HARMFUL for r in reactions.values()) else WARNING


_NUMBERS = re.compile(r"\[(\d+)\]")


def foretold(findings: Iterable[Finding], runtime: Runtime) -> str:
    """What a runtime will do with the model: "refuses", "crashes" or "runs".

    What comes first counts: what reading the model refuses, then operators in their order. One that does both crashes.
    """
    first: tuple[tuple[int, ...], str] | None = None
    for finding in findings:
        reaction = finding.reactions.get(runtime)
        if reaction is None or reaction.outcome == "runs":
            continue
        reading = not finding.operator or finding.code == "Q702"
        order = (0,) if reading else (1, *map(int, _NUMBERS.findall(finding.operator)))
        found = order, reaction.outcome  # "crashes" is before "refuses" in the alphabet too
        first = found if first is None else min(first, found)
    return "runs" if first is None else first[1]


Check = Callable[[Scene], Iterator[Finding]]
