"""What repairs work with: the model under repair, what they say, and how they look up what a finding is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..._schema import TensorType
from ...audit import Finding, audit
from ...errors import EditError
from ...flat.metadata import metadata_or_problem
from ...graph import Model, Operator, QuantizationParameters, SubGraph, Tensor
from ...quant.rules import RULES, OpRule

SMALLEST_NORMAL = np.float32(2.0**-126)
CODES = frozenset({TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.INT4, TensorType.INT2, TensorType.UINT4})


class UnfixableError(Exception):
    """Why a finding cannot be repaired; caught by the engine, which notes it."""


class Bench:
    """The model under repair, what is asked to be repaired together, and all that was found in it.

    `said` are the notes of the repairs that were made: (object, text, numbers). `verdicts` say of tensors, once they are judged, what is wrong with
    them, or what is in the way of a repair. `copies` are the names of copies that operators got, with those of what they read before.
    """

    def __init__(self, model: Model, bias: str, asked: Sequence[Finding] = (), known: Sequence[Finding] = ()) -> None:
        self.model, self.bias, self.asked, self.known = model, bias, asked, known
        # Looked up before the first repair: afterwards, numbers in paths may be those of others.
        self._objects = {path: _named(model, path) for finding in asked for path in (finding.path, finding.operator)}
        self.said: list[tuple[Any, str, dict[str, Any]]] = []
        self.verdicts: dict[Tensor, str] = {}
        self.copies: dict[str, str] = {}
        self._done: set[tuple[int, str]] = set()

    def say(self, what: Any, finding: Finding, text: str, **data: Any) -> None:
        """Note a repair."""
        self.said.append((what, f"{finding.code}: {text}", {"code": finding.code, **data}))

    def once(self, what: object, kind: str) -> bool:
        """Whether this object is to be repaired in this way for the first time: several operators may complain of one tensor."""
        key = (id(what), kind)
        fresh = key not in self._done
        self._done.add(key)
        return fresh

    def tensor(self, finding: Finding) -> Tensor:
        """The tensor of a finding."""
        found = self.named(finding.path)
        if not isinstance(found, Tensor):
            raise UnfixableError("the finding names no tensor")
        return found

    def operator(self, finding: Finding) -> Operator:
        """The operator of a finding."""
        found = self.named(finding.operator)
        if not isinstance(found, Operator):
            raise UnfixableError("the finding names no operator")
        if not any(operator is found for operator in self.model.operators()):
            raise UnfixableError("the operator is gone, by the repair of another finding")
        return found

    def named(self, path: str) -> Any:
        """What a path named before the first repair."""
        return self._objects[path] if path in self._objects else _named(self.model, path)

    def subgraph(self, tensor: Tensor) -> SubGraph:
        """The subgraph of a tensor."""
        owner = tensor.subgraph
        if owner is None:
            raise UnfixableError("the tensor is in no subgraph")
        return owner

    def around(self, tensor: Tensor) -> Iterator[tuple[Operator, OpRule]]:
        """The operators with rules that read or write a tensor."""
        for operator in self.subgraph(tensor).operators:
            rule = rule_of(operator)
            if rule is not None and any(t is tensor for t in (*operator.inputs, *operator.outputs)):
                yield operator, rule


def _named(model: Model, path: str) -> Any:
    try:
        return model.at(path) if path else None
    except EditError:
        return None


def audited(model: Model) -> tuple[Finding, ...]:
    """What the audit finds in a model, with what its metadata says of it."""
    return audit(model, (), *metadata_or_problem(model)).findings


Fixer = Callable[[Bench, Finding], None]


def rule_of(operator: Operator) -> OpRule | None:
    """The rule of an operator."""
    return None if operator.opcode is None else RULES.get(operator.opcode.code)


def affine(tensor: Tensor) -> QuantizationParameters:
    """The affine parameters of a tensor."""
    if tensor.quantization is None or tensor.quantization.details is not None:
        raise UnfixableError("it has no affine parameters")
    return tensor.quantization


def is_code(tensor: Tensor | None) -> bool:
    """Whether a tensor holds codes with affine parameters."""
    return tensor is not None and tensor.type in CODES and tensor.quantization is not None and bool(len(tensor.quantization.scale))


def sound(scale: Any) -> Any:
    """Which scales are positive normal numbers."""
    values = np.asarray(scale, np.float32)
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values >= SMALLEST_NORMAL)


def force(q: QuantizationParameters, scale: Any = None, zero_point: Any = None, axis: int | None = None) -> None:
    """Set parameters, those that are given."""
    if scale is not None:
        q.scale = np.atleast_1d(np.asarray(scale, np.float32))
    if zero_point is not None:
        q.zero_point = np.atleast_1d(np.asarray(zero_point, np.int64))
    if axis is not None:
        q.quantized_dimension = axis
