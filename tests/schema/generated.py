"""What a module of FlatBuffers-generated Python says about its tables, found in its source: slots, kinds, types and defaults."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

_ADD = re.compile(r"^def (\w+?)Add(\w+)\(builder, \w+\):\n    builder\.Prepend(\w+)Slot\((\d+), (.*), ([^,\n]+)\)$", re.MULTILINE)
_ACCESSOR = re.compile(r"^    def (\w+)\(self(?:, j)?\):\n((?:^(?:        .*|)\n)+)", re.MULTILINE)
_CLASS = re.compile(r"^class (\w+)\(object\):\n    __slots__ = \['_tab'\]\n(.*?)(?=^(?:class|def) |\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Described:
    """A field: `kind` as in `_schema.FIELDS`; `type` is a scalar type, or the name of a table (empty for strings and unions)."""

    slot: int
    kind: str
    type: str
    default: Any


def scalar(flags: str) -> str:
    """Int8 -> int8."""
    return flags.lower()


def tables(source: str) -> dict[str, dict[str, Described]]:
    """Table -> field (in CamelCase) -> description."""
    bodies = dict(_CLASS.findall(source))
    found: dict[str, dict[str, Described]] = {name: {} for name in bodies}
    for table, field, prepend, slot, _, default in _ADD.findall(source):
        if table not in found:
            continue
        accessors = dict(_ACCESSOR.findall(bodies[table]))
        kind, type_ = _kind(accessors.get(field, ""), prepend)
        value = ast.literal_eval(default) if kind == "scalar" else None
        found[table][field] = Described(int(slot), kind, type_, value)
    return found


def _kind(body: str, prepend: str) -> tuple[str, str]:
    if prepend != "UOffsetTRelative":
        return "scalar", scalar(prepend)
    if "self._tab.String(" in body:
        return "string", ""
    if "self._tab.Union(" in body:
        return "union", ""
    made = re.search(r"obj = (\w+)\(\)", body)
    if made:
        return ("tables" if "self._tab.Vector(" in body else "table"), made[1]
    flags = re.search(r"self\._tab\.Get\(flatbuffers\.number_types\.(\w+)Flags", body)
    assert flags, body
    return "vector", scalar(flags[1])


def enums(module: Any) -> dict[str, dict[str, int]]:
    """Enum and union classes of a module: name -> member -> number."""
    return {
        name: {member: number for member, number in vars(cls).items() if not member.startswith("_") and isinstance(number, int)}
        for name, cls in vars(module).items()
        if isinstance(cls, type) and not hasattr(cls, "__slots__") and not hasattr(cls, "InitFromObj")
    }


def camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
