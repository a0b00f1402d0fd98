"""Short forms in which the table is written: operand lists, sets of types, facts, versions."""

from __future__ import annotations

from functools import cache
from types import MappingProxyType

from ..._schema import TensorType
from .model import Behaviour, Fact, Granularity, Need, Operand, Reaction, Role, Runtime, Topic, Versions

FINE, IGNORES = Reaction(Behaviour.FINE), Reaction(Behaviour.IGNORES)
WRONG, UNDEFINED = Reaction(Behaviour.WRONG), Reaction(Behaviour.UNDEFINED)
ABORTS, SEGFAULTS = Reaction(Behaviour.CRASHES, "SIGABRT"), Reaction(Behaviour.CRASHES, "SIGSEGV")


@cache
def refuses(text: str) -> Reaction:
    """An error whose message contains `text`."""
    return Reaction(Behaviour.REFUSES, text)


@cache
def types(names: str) -> frozenset[TensorType]:
    """Element types by name, separated by blanks."""
    return frozenset(TensorType[name] for name in names.split())


@cache
def names(text: str) -> frozenset[str]:
    """Operator names, separated by blanks."""
    return frozenset(text.split())


@cache
def operands(text: str) -> tuple[Operand, ...]:
    """Roles in order: "activation weights bias?"; `?` may be absent, `*` repeats to the end, `:3` stands three times."""
    made: list[Operand] = []
    for word in text.split():
        word, _, times = word.partition(":")
        role = Role(word.rstrip("?*"))
        made += [Operand(role, "?" in word, "*" in word)] * int(times or 1)
    return tuple(made)


def fact(
    name: str,
    topic: Topic,
    operators: str,
    what: str,
    source: str,
    *,
    every: Reaction | None = None,
    cpu: Reaction | None = None,
    ref: Reaction | None = None,
    opt: Reaction | None = None,
    xnn: Reaction | None = None,
    tflm: Reaction | None = None,
    operand: str = "",
    activation: str = "",
    weights: str = "",
    granularity: str = "",
    least: tuple[int, int] = (1, 1),
    even_columns: bool = False,
) -> Fact:
    """A fact. `every` is all of LiteRT, `cpu` both builtin resolvers; the single runtimes go before them."""
    reactions = {
        Runtime.REFERENCE: ref or cpu or every,
        Runtime.OPTIMIZED: opt or cpu or every,
        Runtime.XNNPACK: xnn or every,
        Runtime.TFLM: tflm,
    }
    return Fact(
        name=name,
        topic=topic,
        what=what,
        reactions=MappingProxyType({runtime: reaction for runtime, reaction in reactions.items() if reaction is not None}),
        source=source,
        operators=names(operators),
        operand=operand,
        activation=types(activation),
        weights=types(weights),
        granularity=frozenset(Granularity(word) for word in granularity.split()),
        least=least,
        even_columns=even_columns,
    )


@cache
def need(version: int, text: str = "") -> Need:
    """A version and when it is needed: "in0=INT16 in1=INT8|INT4 grouped" are operand types and names of conditions."""
    wanted: dict[str, frozenset[TensorType]] = {}
    conditions: list[str] = []
    for word in text.split():
        operand, equals, allowed = word.partition("=")
        if equals:
            wanted[operand] = types(allowed.replace("|", " "))
        else:
            conditions.append(word)
    return Need(version, MappingProxyType(wanted), tuple(conditions))


def versions(lowest: int, highest: int, reference: int, runtimes: str, *needs: str, source: str) -> Versions:
    """Versions; each of `needs` starts with the version: "3 in0=INT8"."""
    made = []
    for text in needs:
        number, _, conditions = text.partition(" ")
        made.append(need(int(number), conditions))
    return Versions(lowest, highest, reference, tuple(runtimes.split()), tuple(made), source)
