"""The `diff` report and its facts."""

from __future__ import annotations

from collections.abc import Sequence

from ..diff import Change
from ..graph import Model
from .report import Column, Report, Table
from .values import Facts, Places, change_pair, file_facts, pair_texts, plural


def changes_facts(a: Model, b: Model, changes: Sequence[Change]) -> Facts:
    """How model B differs from model A.

    a, b     the files: path (null without a file), name, size in bytes
    equal    whether there is no change
    changes  path, old, new; null means absent. References are paths, tables have their name as `table`, bytes are summarised as bytes (length),
             differing (count, on the new side) and first (position of the first difference), vectors of more than 64 elements likewise as elements,
             differing, first.
    """
    places = Places(a), Places(b)
    found = []
    for change in changes:
        old, new = change_pair(change.path, change.old, change.new, *places)
        found.append({"path": change.path, "old": old, "new": new})
    return {"a": file_facts(a), "b": file_facts(b), "equal": not changes, "changes": found}


def changes_report(facts: Facts) -> Report:
    """A table of the changes."""
    count = "no differences" if facts["equal"] else plural(len(facts["changes"]), "difference")
    report = Report(f"{facts['a']['name']} -> {facts['b']['name']}: {count}")
    if facts["changes"]:
        table = Table("", [
            Column("path", style="name"),
            Column("old", priority=9, own_line=True, mark="- ", style="old"),
            Column("new", priority=9, own_line=True, mark="+ ", style="new"),
        ])  # fmt: skip
        table.rows += [[c["path"], *pair_texts(c["old"], c["new"])] for c in facts["changes"]]
        report.sections.append(table)
    return report
