"""The `copy` report and its facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .report import KeyValues, Report, Value
from .values import Facts, plural, size_text

HOW = {"source": "the bytes of the input, unchanged", "patch": "the bytes of the input with values replaced", "rebuild": "a new layout"}


def copied_facts(source: str, before: int, output: Path, written: Any) -> Facts:
    """What was written: `input` (path, name, size in bytes), and what `output_facts` says."""
    return {"input": {"path": source, "name": Path(source).name, "size": before}, **output_facts(output, written)}


def output_facts(output: str | Path | None, written: Any) -> Facts:
    """How a model was written by `flat.codec.write`, or would be: where `output` is None, nothing was.

    output          path, name, size in bytes; null where nothing was written
    writer          source (the bytes of the input), patch (those bytes with values replaced) or rebuild (a new layout)
    changed_bytes   how many bytes a patch replaces; null for a rebuild
    in_place        whether the input itself was edited, and not replaced
    backup          where the file that was replaced is kept, or null
    """
    return {
        "output": None if output is None else {"path": str(output), "name": Path(output).name, "size": written.size},
        "writer": written.writer,
        "changed_bytes": written.changed,
        "in_place": written.in_place,
        "backup": None if written.backup is None else str(written.backup),
    }


def copied_report(facts: Facts) -> Report:
    """Both files with their sizes, and how the second came about."""
    difference = facts["output"]["size"] - facts["input"]["size"]
    changed = f", {plural(facts['changed_bytes'], 'byte')}" if facts["changed_bytes"] else ""
    where = ", in place" if facts["in_place"] else ""
    rows: list[tuple[str, Value]] = [
        ("writer", f"{facts['writer']}: {HOW[facts['writer']]}{changed}{where}"),
        ("before", size_text(facts["input"]["size"])),
        ("after", size_text(facts["output"]["size"]) + (f", {difference:+d}" if difference else "")),
    ]
    if facts["backup"]:
        rows.append(("backup", facts["backup"]))
    return Report(f"{facts['input']['name']} -> {facts['output']['path']}", [KeyValues("", rows)])
