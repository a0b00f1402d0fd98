"""What the invariants of `verify` look at: the form of a problem, and facts about a model that several invariants share, computed once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from ._schema import BlockwiseQuantization, MultiAxisQuantization
from ._walk import Positions, printable
from .graph import Deferred, Model, QuantizationParameters, SubGraph, Tensor
from .types import text


class Problem(NamedTuple):
    """One broken invariant. `severity` is `error`, `warning` or `info`; `path` works with `Model.at`; `name` is the tensor's, '' if none is meant."""

    severity: str
    code: str
    path: str
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.path} '{printable(self.name)}': {self.message}" if self.name else f"{self.path}: {self.message}"


class Scope:
    """A subgraph with the sets that its tensors and operators are checked against."""

    def __init__(self, number: int, subgraph: SubGraph) -> None:
        self.subgraph = subgraph
        self.path = f"subgraphs[{number}]"
        self.tensors: set[Any] = set(subgraph.tensors)
        self.inputs: set[Any] = set(subgraph.inputs)
        self.produced: set[Any] = set(chain.from_iterable([operator.outputs for operator in subgraph.operators]))
        self.produced.discard(None)

    def tensor(self, index: int, severity: str, code: str, message: str, field: str = "") -> Problem:
        """A problem of the tensor at an index, or of one of its fields."""
        path = f"{self.path}.tensors[{index}]{'.' if field else ''}{field}"
        return Problem(severity, code, path, text(self.subgraph.tensors[index].name), message)

    def operator(self, index: int, severity: str, code: str, message: str, field: str = "") -> Problem:
        """A problem of the operator at an index; its name goes in front of the message."""
        path = f"{self.path}.operators[{index}]{'.' if field else ''}{field}"
        return Problem(severity, code, path, "", f"{printable(self.subgraph.operators[index].op_name)} {message}")

    def indices(self, tensors: Iterable[Tensor]) -> list[tuple[int, Tensor]]:
        """The tensors of a set, with their indices, in order."""
        wanted = set(tensors)
        return [(index, tensor) for index, tensor in enumerate(self.subgraph.tensors) if tensor in wanted] if wanted else []


Quantized = list[tuple[int, Tensor, QuantizationParameters]]


class Facts:
    """A model, its subgraphs as scopes, and the tensors that have data or quantization."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.positions = Positions(model)
        self.scopes = [Scope(number, subgraph) for number, subgraph in enumerate(model.subgraphs)]
        self.scope_of = {scope.subgraph: scope for scope in self.scopes}

    @cached_property
    def constants(self) -> list[tuple[Scope, int, Tensor, memoryview | Deferred]]:
        """Tensors with data in a buffer, also empty data. Buffer 0 stands for no data, whatever it holds."""
        sentinel = self.model.buffers[0] if self.model.buffers else None
        return [
            (scope, index, tensor, buffer.data)
            for scope in self.scopes
            for index, tensor in enumerate(scope.subgraph.tensors)
            if (buffer := tensor.buffer) is not None and buffer.data is not None and buffer is not sentinel
        ]

    @cached_property
    def quantized(self) -> list[tuple[Scope, Quantized]]:
        """Per subgraph, the tensors with a quantization table."""
        return [
            (scope, [(i, tensor, q) for i, tensor in enumerate(scope.subgraph.tensors) if (q := tensor.quantization) is not None])
            for scope in self.scopes
        ]

    @cached_property
    def detailed(self) -> list[tuple[Scope, Quantized]]:
        """Those of `quantized` with details beyond scale and zero point."""
        return [(scope, [entry for entry in entries if entry[2].details is not None]) for scope, entries in self.quantized]

    @cached_property
    def affine(self) -> list[tuple[Scope, Quantized]]:
        """Those that the runtime reads as scale and zero point: a scale, and no details that replace it."""
        return [
            (scope, [e for e in entries if len(e[2].scale) and (e[2].details is None or not replaces_scale(e[2].details))])
            for scope, entries in self.quantized
        ]

    @cached_property
    def uneven(self) -> list[tuple[Scope, Quantized]]:
        """Those of `affine` that are not simply one scale and one zero point for all of a tensor with dimensions."""
        return [
            (scope, [e for e in entries if not (len(e[2].scale) == 1 == len(e[2].zero_point) and e[2].quantized_dimension == 0 and e[1].shape)])
            for scope, entries in self.affine
        ]


def replaces_scale(details: Any) -> bool:
    """Whether details make the runtime ignore scale and zero_point; custom and unknown ones do not."""
    return isinstance(details, (BlockwiseQuantization, MultiAxisQuantization))
