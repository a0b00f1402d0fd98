"""The metadata entry min_runtime_version against the operators: whoever reads it decides by it whether a runtime is new enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from ..._base import Dangling
from ...graph import Model
from ...quant.rules import Need, first_met, needs_of_types
from ..execution import Kind
from ..findings import INFO, Finding, Scene

ENTRY = b"min_runtime_version"
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def stated_version(model: Model) -> tuple[str, str] | None:
    """(path, text) of the entry, without the zeros that fill it up; None if the model has none, or one without data."""
    for number, entry in enumerate(model.metadata):
        if entry.name == ENTRY and entry.buffer is not None and not isinstance(entry.buffer, Dangling) and entry.buffer.data is not None:
            return f"metadata[{number}]", bytes(entry.buffer.data[:64]).rstrip(b"\0").decode("ascii", "replace")
    return None


@cache
def as_numbers(version: str) -> tuple[int, ...]:
    """A version as numbers, which is how versions compare: "2.10.0" is after "2.9.0"."""
    return tuple(int(part) for part in version.split("."))


def runtime_version(scene: Scene) -> Iterator[Finding]:
    """Q703: the entry is older than what an operator needs, or is no version."""
    found = stated_version(scene.model)
    if found is None:
        return
    path, stated = found
    if not _NUMBERS.fullmatch(stated):
        if stated:
            yield Finding("Q703", INFO, path, "", f"min_runtime_version is {stated!r}, which is no version", found=stated, expected="such as 2.3.0")
        return
    limit = as_numbers(stated)
    needs: dict[Kind, tuple[Need, ...]] = {}
    needed, operator, where, source = "", "", "", ""
    for step in scene.steps():
        code, known = step.operator.opcode, step.rule.versions
        if code is None or not known.minimum_runtime or as_numbers(known.minimum_runtime[-1]) <= limit:
            continue
        kind = step.run.kind
        if kind not in needs:
            needs[kind] = needs_of_types(step.operator, known)
        version = max(code.version, first_met(step.operator, needs[kind]))
        since = known.runtime_for(version)
        if since is not None and as_numbers(since) > limit:
            needed, operator, where, source, limit = since, f"{code.op_name} version {version}", step.path, known.source, as_numbers(since)
    if needed:
        message = f"min_runtime_version is {stated}; {operator} came with {needed}"
        yield Finding("Q703", INFO, path, "", message, found=stated, expected=needed, operator=where, source=source)
