"""The options of a pass: dataclass fields that know their flag, their help text, and how a text becomes their value. Numpy-free.

A field is declared with `option(...)`. The command line makes flags of the fields, `apply` reads them from `pass{name=value,...}`, and the library
takes them as keyword arguments; all three end in the same dataclass, whose `__post_init__` checks what belongs together.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import EditError

if TYPE_CHECKING:
    from .base import Pass


@dataclass(frozen=True)
class Option:
    """How a field is given as text.

    `parse` turns one text into a value (ValueError with a reason for what it cannot read). A `repeated` option may be given several times and holds a
    tuple; one without `parse` is a flag.
    """

    name: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = str
    repeated: bool = False
    default: Any = None

    @property
    def flag(self) -> str:
        """The option on the command line, such as `--zero-point`."""
        return "--" + self.name.rstrip("_").replace("_", "-")

    def read(self, text: str) -> Any:
        """The value of one text; EditError for what the option cannot hold."""
        if self.choices and text not in self.choices:
            raise EditError(f"{self.flag}: expected one of {', '.join(self.choices)}, got {text!r}")
        if self.parse is None:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
            raise EditError(f"{self.flag}: expected true or false, got {text!r}")
        try:
            return self.parse(text)
        except EditError:
            raise
        except ValueError as error:
            kind = {float: "a number", int: "an integer"}.get(self.parse)  # type: ignore[call-overload]
            raise EditError(f"{self.flag}: expected {kind}, got {text!r}" if kind else f"{self.flag}: {error}") from None


def option(
    default: Any,
    help: str,
    *,
    metavar: str = "",
    choices: Sequence[str] = (),
    parse: Callable[[str], Any] | None = str,
    repeated: bool = False,
) -> Any:
    """A dataclass field that is an option. A default of False with no other `parse` makes a flag, a tuple a repeated option."""
    if default is False:
        parse = None
    return dataclasses.field(default=default, metadata={"option": Option("", help, metavar, tuple(choices), parse, repeated)})


def options_of(cls: type[Pass]) -> tuple[Option, ...]:
    """The options of a pass class, in the order of its fields."""
    found = []
    for field in dataclasses.fields(cls):
        declared = field.metadata.get("option")
        if declared is not None:
            found.append(dataclasses.replace(declared, name=field.name, default=field.default))
    return tuple(found)


_SPEC = re.compile(r"^\s*(?P<name>[\w-]+)\s*(?:\{(?P<body>.*)\})?\s*$", re.DOTALL)


def parse_spec(text: str) -> Pass:
    """A pass from a text such as `set-io-dtype{inputs=int8, outputs=int8}`; a value with commas or braces is put in quotes."""
    from .registry import load

    match = _SPEC.match(text)
    if match is None:
        raise EditError(f"pass {text!r}: expected NAME or NAME{{option=value,...}}")
    cls = load(match["name"])
    known = {entry.name.rstrip("_").replace("_", "-"): entry for entry in options_of(cls)}
    given: dict[str, list[str]] = {}
    for item in _split(match["body"] or ""):
        key, equals, value = item.partition("=")
        key = key.strip().removeprefix("--").replace("_", "-")
        if key not in known:
            raise EditError(f"{match['name']} has no option {key!r}. Options: {', '.join(known)}")
        given.setdefault(key, []).append(_unquoted(value.strip()) if equals else "true")
    return build(cls, {known[key].name: texts for key, texts in given.items()})


def build(cls: type[Pass], texts: Mapping[str, Sequence[str]]) -> Pass:
    """A pass from the texts of its options, by field name; what is not given has its default."""
    known = {entry.name: entry for entry in options_of(cls)}
    values: dict[str, Any] = {}
    for name, given in texts.items():
        entry = known[name]
        if len(given) > 1 and not entry.repeated:
            raise EditError(f"{entry.flag} is given twice")
        read = tuple(entry.read(text) for text in given)
        values[name] = read if entry.repeated else read[0]
    return cls(**values)


def _split(body: str) -> list[str]:
    """The items of a list separated by commas; those inside quotes, brackets or parentheses do not count. EditError for quotes that do not end."""
    items, depth, quote, current = [], 0, "", ""
    for character in body:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[({") - (character in "])}")
        if character == "," and not depth and not quote:
            items.append(current)
            current = ""
        else:
            current += character
    if quote:
        raise EditError(f"{body!r}: the quote {quote} is not closed")
    return [item.strip() for item in (*items, current) if item.strip()]


def quoted(value: str) -> str:
    """A value as it stands in the text of a pass: in quotes where it would be taken apart or stripped. A quote in it is doubled."""
    plain = value == value.strip() and not re.search(r"""[,{}\[\]()"']""", value)
    return value if plain else '"' + value.replace('"', '""') + '"'


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1].replace(value[0] * 2, value[0])
    return value
