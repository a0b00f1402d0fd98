"""What is asked for: a type, a granularity, a form and so on, for all weights or, by a recipe, for single ones. Numpy-free."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..._schema import TensorType
from ...errors import EditError, InputError
from ...quant.rules import Granularity
from ..limits import check_limits

TARGETS = ("float32", "float16", "int8", "int4", "int2")
AUTO, HYBRID, EXPLICIT = "auto", "hybrid", "explicit"
FORMS, RANGES, ROUNDINGS = (AUTO, HYBRID, EXPLICIT), ("minmax", "mse"), ("half-away", "half-even")
BLOCKS = (32, 64, 128, 256)
GRANULARITIES = (AUTO, "per-tensor", "per-channel", *(f"blockwise-{block}" for block in BLOCKS))


@dataclass(frozen=True)
class Choice:
    """What weights become. `to` "" leaves them as they are; thresholds of None ask for nothing.

    `granularity` "auto" is per channel where the operator has such a form, else per tensor.
    """

    to: str = ""
    granularity: str = AUTO
    form: str = AUTO
    range: str = "minmax"
    rounding: str = "half-away"
    asymmetric: bool = False
    min_sqnr: float | None = None
    max_error: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("to", ("", *TARGETS)), ("granularity", GRANULARITIES), ("form", FORMS), ("range", RANGES), ("rounding", ROUNDINGS)):
            if getattr(self, name) not in allowed:
                raise EditError(f"{name}: expected one of {', '.join(filter(None, allowed))}, got {getattr(self, name)!r}")
        check_limits(self.min_sqnr, self.max_error)

    @property
    def type(self) -> TensorType:
        """The element type that is asked for."""
        return TensorType[self.to.upper()]

    @property
    def block(self) -> int:
        """The length of blocks, 0 if not blockwise."""
        return int(self.granularity.partition("-")[2]) if self.granularity.startswith("blockwise") else 0

    @property
    def granularities(self) -> tuple[Granularity, ...]:
        """Those that would do, the best first."""
        if self.granularity == AUTO:
            return Granularity.PER_CHANNEL, Granularity.PER_TENSOR
        return (Granularity.BLOCKWISE if self.block else Granularity(self.granularity),)

    def __str__(self) -> str:
        """Such as `int4/blockwise-32`, as `parse_choice` takes it."""
        given = [getattr(self, name) for name in ("granularity", "form", "range", "rounding")]
        defaults = [AUTO, AUTO, "minmax", "half-away"]
        parts = [self.to, *(value for value, default in zip(given, defaults, strict=True) if value != default)]
        return "/".join([*parts, "asymmetric"] if self.asymmetric else parts)


def parse_choice(text: str, base: Choice) -> Choice:
    """A choice from words in any order with slashes between: "int4/blockwise-32/mse"; what is not said is taken from `base`."""
    changes: dict[str, Any] = {}
    places = {"to": TARGETS, "granularity": GRANULARITIES[1:], "form": FORMS[1:], "range": RANGES, "rounding": ROUNDINGS}
    for word in text.strip().split("/"):
        name = next((name for name, words in places.items() if word in words), "asymmetric" if word == "asymmetric" else None)
        if name is None:
            raise EditError(f"choice {text!r}: {word!r} is no type, granularity, form, range or rounding")
        if name in changes:
            raise EditError(f"choice {text!r}: {word!r} is a second {name}")
        changes[name] = word if name != "asymmetric" else True
    if "to" not in changes:
        raise EditError(f"choice {text!r}: no type. Use one of {', '.join(TARGETS)}")
    return dataclasses.replace(base, **changes)


class Choices(tuple[Choice, ...]):
    """Choices to compare; as a text, with commas between."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(map(str, self))


def parse_choices(text: str) -> Choices:
    """Choices from a text with commas between; EditError for one that cannot be meant."""
    return Choices(parse_choice(item, Choice()) for item in text.split(",") if item.strip())


# ---- recipes ----

_SELECTORS = ("tensor", "operator")
_FIELDS = {field.name: field for field in dataclasses.fields(Choice)}


@dataclass(frozen=True)
class Rule:
    """One entry of a recipe: patterns of tensor names and operator types (empty: any), and what is different for what matches all of them."""

    tensors: tuple[str, ...]
    operators: tuple[str, ...]
    changes: Mapping[str, Any]

    def matches(self, tensor: str, operators: frozenset[str]) -> bool:
        """Whether the entry is about a tensor that these operators read."""
        named = not self.tensors or any(fnmatchcase(tensor, pattern) for pattern in self.tensors)
        return named and (not self.operators or any(operator in self.operators for operator in operators))


class Recipe(tuple[Rule, ...]):
    """The entries of a recipe; as a text, the name of its file."""

    name = ""

    def __str__(self) -> str:
        return self.name


def choice_for(base: Choice, rules: tuple[Rule, ...], tensor: str, operators: frozenset[str]) -> Choice:
    """What is asked for a tensor: the changes of every entry that matches, later ones over earlier ones."""
    changes: dict[str, Any] = {}
    for rule in rules:
        if rule.matches(tensor, operators):
            changes |= rule.changes
    return dataclasses.replace(base, **changes) if changes else base


def read_recipe(name: str) -> Recipe:
    """The entries of a recipe file, a TOML document of [[weights]] tables; InputError for a file that cannot be read as such, EditError for what
    cannot be meant."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(Path(name).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{name}: not a TOML document ({error})") from None
    tables = document.get("weights")
    if set(document) - {"weights"} or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise EditError(f"{name}: expected tables named [[weights]], and nothing else")
    recipe = Recipe(_rule(table, f"{name}: entry {number}") for number, table in enumerate(tables, 1))
    recipe.name = name
    return recipe


def _rule(table: Mapping[str, Any], where: str) -> Rule:
    known = (*_SELECTORS, *_FIELDS, "keep")
    for key in table:
        if key not in known:
            raise EditError(f"{where}: unknown key {key!r}; expected {', '.join(known)}")
    tensors, operators = (_patterns(table.get(key, ()), f"{where}, {key}") for key in _SELECTORS)
    changes = {key: _value(key, value, where) for key, value in table.items() if key in _FIELDS}
    if table.get("keep", False) is True:
        changes["to"] = ""
    elif "keep" in table and table["keep"] is not False:
        raise EditError(f"{where}: keep must be true or false")
    try:
        Choice(**changes)
    except EditError as error:
        raise EditError(f"{where}: {error}") from None
    return Rule(tensors, tuple(operator.upper() for operator in operators), changes)


def _patterns(value: Any, where: str) -> tuple[str, ...]:
    patterns = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (None,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise EditError(f"{where}: expected a text or a list of texts")
    return patterns


def _value(key: str, value: Any, where: str) -> Any:
    if key in ("min_sqnr", "max_error"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise EditError(f"{where}: {key} must be a number")
        return float(value)
    wanted = bool if key == "asymmetric" else str
    if not isinstance(value, wanted):
        raise EditError(f"{where}: {key} must be {'true or false' if wanted is bool else 'a text'}")
    return value


def size(text: str) -> int:
    """A count of elements: "1024", "64k", "2M" (powers of two)."""
    match = re.fullmatch(r"(\d+)([kM]?)", text.strip())
    if match is None:
        raise ValueError(f"expected a number such as 1024 or 64k, got {text!r}")
    return int(match[1]) << {"": 0, "k": 10, "M": 20}[match[2]]
