"""The `copy` report and its facts."""

from __future__ import annotations

from pathlib import Path

from .report import KeyValues, Report, Value
from .values import Facts, size_text

HOW = {"source": "the bytes of the input, unchanged", "patch": "the bytes of the input with values replaced", "rebuild": "a new layout"}


def copied_facts(source: Path, before: int, output: Path, after: int, writer: str) -> Facts:
    """What was written.

    input, output   path, name, size in bytes
    writer          source (the bytes of the input), patch (those bytes with values replaced) or rebuild (a new layout)
    """
    return {
        "input": {"path": str(source), "name": source.name, "size": before},
        "output": {"path": str(output), "name": output.name, "size": after},
        "writer": writer,
    }


def copied_report(facts: Facts) -> Report:
    """Both files with their sizes, and how the second came about."""
    difference = facts["output"]["size"] - facts["input"]["size"]
    rows: list[tuple[str, Value]] = [
        ("writer", f"{facts['writer']}: {HOW[facts['writer']]}"),
        ("before", size_text(facts["input"]["size"])),
        ("after", size_text(facts["output"]["size"]) + (f", {difference:+d}" if difference else "")),
    ]
    return Report(f"{facts['input']['name']} -> {facts['output']['path']}", [KeyValues("", rows)])
