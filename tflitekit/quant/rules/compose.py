"""Short forms for the rules of operators, which find their versions and facts by name."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from ..._schema import BuiltinOperator, TensorType
from .facts import FACTS_OF
from .model import LITERT, BiasRule, FixedParameters, Granularity, OpRule, Runtime, SameParameters, Sharing, WeightForm
from .notation import operands, types
from .version_table import VERSIONS

ALL, EIGHT_BIT, SIGNED = "INT8 UINT8 INT16", "INT8 UINT8", "INT8 INT16"


def forms(source: str, *lines: str, runtimes: tuple[Runtime, ...] = LITERT, condition: str = "") -> tuple[WeightForm, ...]:
    """Forms of weights, one line for each pair of types: "INT8 INT4 per-tensor|per-channel" (activation, weights, granularities)."""
    made = []
    for line in lines:
        activation, weights, granularities = line.split()
        for granularity in granularities.split("|"):
            made.append(WeightForm(TensorType[activation], TensorType[weights], Granularity(granularity), source, runtimes, condition))
    return tuple(made)


def same(group: str, types_: str, sharing: Sharing, source: str) -> SameParameters:
    """A group of operands, separated by blanks."""
    return SameParameters(tuple(group.split()), types(types_), sharing, source)


def fixed(source: str, *lines: tuple[str, float, int, float]) -> tuple[FixedParameters, ...]:
    """Fixed parameters of output 0: (type, scale, zero point, relative tolerance of the scale)."""
    return tuple(FixedParameters(TensorType[name], scale, zero_point, tolerance, source) for name, scale, zero_point, tolerance in lines)


def bias(
    operand: int, factors: str, source: str, *lines: str, required: bool = False, selector: str = "", constant: float = 1.0, unless: str = ""
) -> BiasRule:
    """A bias; each line is an activation type and the types of the bias: "INT16 INT32|INT64"."""
    allowed = {}
    for line in lines:
        activation, _, names_ = line.partition(" ")
        allowed[TensorType[activation]] = tuple(TensorType[name] for name in names_.split("|"))
    first, second = factors.split()
    return BiasRule(operand, MappingProxyType(allowed), (first, second), source, required, selector, constant, unless)


def rule(
    name: str,
    inputs: str,
    outputs: str,
    types_: str,
    source: str,
    *,
    delegated: str = "",
    alternatives: tuple[str, ...] = (),
    **more: Any,
) -> OpRule:
    """The rule of an operator; its versions and facts are found by its name. `delegated` defaults to nothing."""
    return OpRule(
        operator=BuiltinOperator[name],
        inputs=operands(inputs),
        outputs=operands(outputs),
        types=types(types_),
        versions=VERSIONS[name],
        source=source,
        alternatives=tuple(operands(text) for text in alternatives),
        delegated=types(delegated),
        facts=FACTS_OF.get(name, ()),
        **more,
    )
