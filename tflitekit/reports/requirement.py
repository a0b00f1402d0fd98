"""What a model is required to be, and how it differs from that: `full-integer,io=int8,weights=int8`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from .._schema import TensorType
from ..audit import SCHEMES, Scheme
from ..errors import EditError

# Property -> what of a model it is compared with.
PROPERTIES = ("io", "inputs", "outputs", "activation", "weights", "granularity")
GRANULARITIES = ("per-tensor", "per-channel", "blockwise")
# Types of inputs and outputs that carry indices, flags or text: quantization does not apply, so they fulfil any required type.
_PLAIN = frozenset({"INT32", "INT64", "UINT32", "UINT64", "BOOL", "STRING", "RESOURCE", "VARIANT"})


class Requirement(NamedTuple):
    """A scheme and properties; `text` is how it was written."""

    scheme: str
    properties: tuple[tuple[str, str], ...]
    text: str


def parse_requirement(text: str) -> Requirement:
    """The requirement in `SCHEME[,property=value]...`; EditError says what is wrong with it."""
    scheme, *rest = (part.strip() for part in text.split(","))
    scheme = _one_of(scheme.lower(), SCHEMES, "scheme")
    properties = []
    for part in rest:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise EditError(f"{part!r} is no requirement; write property=value with one of {', '.join(PROPERTIES)}")
        name = _one_of(name.lower(), PROPERTIES, "property")
        if name == "granularity":
            value = _one_of(value.lower(), GRANULARITIES, "granularity")
        else:
            value = _one_of(value.upper(), tuple(TensorType.__members__), "type")
        properties.append((name, value))
    return Requirement(scheme, tuple(properties), text)


def _one_of(value: str, known: Sequence[str], kind: str) -> str:
    if value in known:
        return value
    near = get_close_matches(value, known, 1)
    raise EditError(f"no {kind} {value!r}. " + (f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}"))


def differences(required: Requirement, verdict: Scheme) -> list[str]:
    """How a model differs from what is required, one text each; empty if it fulfils it."""
    found = [] if required.scheme == verdict.name else [f"the scheme is {verdict.name}, not {required.scheme}"]
    for name, value in required.properties:
        if name == "activation":
            if verdict.activation != value:
                found.append(f"activations are {verdict.activation}, not {value}")
        elif name == "weights":
            found += _all(verdict.weights, value, "weights")
        elif name == "granularity":
            found += _all(verdict.granularity, value, "weights")
        if name in ("io", "inputs"):
            found += _ends(verdict.inputs, value, "input")
        if name in ("io", "outputs"):
            found += _ends(verdict.outputs, value, "output")
    return found


def _all(stored: Sequence[str], value: str, what: str) -> list[str]:
    others = [one for one in stored if one != value]
    if not stored:
        return [f"no {what} are {value}"]
    if not others:
        return []
    also, only = ("also ", "only ") if value in stored else ("", "")
    return [f"{what} are {also}{' and '.join(others)}, not {only}{value}"]


def _ends(types: Sequence[str], value: str, side: str) -> list[str]:
    """Differences of the inputs or outputs; those that carry no quantizable values count only where nothing else is there."""
    values = [type for type in types if type not in _PLAIN or value in _PLAIN]
    if not values:
        return [f"no {side} carries {value}"]
    return [f"{side} {number} is {type}, not {value}" for number, type in enumerate(types) if type != value and type in values]
