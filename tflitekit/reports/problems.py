"""The `verify` report and its facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..graph import Model
from ..verify import Problem
from .report import Cell, Column, Note, Report, Table
from .values import Facts, file_facts, plural

SEVERITIES = ("error", "warning", "info")


def problems_facts(model: Model, problems: Sequence[Problem], differences: Sequence[str] | None = None) -> Facts:
    """What `verify` found.

    file         path (null without a file), name, size in bytes
    counts       number of problems by severity: error, warning, info
    problems     severity, code, path, name (of the tensor, or empty), message; errors first
    cross_check  texts of differences to the independent reader, or null where it was not asked for
    """
    counts = Counter(problem.severity for problem in problems)
    ordered = sorted(problems, key=lambda problem: SEVERITIES.index(problem.severity))
    keys = ("severity", "code", "path", "name", "message")
    return {
        "file": file_facts(model),
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "problems": [{key: getattr(problem, key) for key in keys} for problem in ordered],
        "cross_check": None if differences is None else list(differences),
    }


def problems_report(facts: Facts) -> Report:
    """A table of the problems, and of what the cross-check found."""
    counts = facts["counts"]
    found = [plural(counts[s], s) if s != "info" else f"{counts[s]} info" for s in SEVERITIES if counts[s]]
    report = Report(f"{facts['file']['name']}: {', '.join(found) or 'no problems'}")
    if facts["problems"]:
        table = Table("", [
            Column("severity"), Column("code"), Column("where", priority=8, style="name"), Column("what is wrong", priority=9, own_line=True),
        ])  # fmt: skip
        for problem in facts["problems"]:
            where = (problem["path"] or "model") + (f" '{problem['name']}'" if problem["name"] else "")
            table.rows.append([Cell(problem["severity"], problem["severity"]), problem["code"], where, problem["message"]])
        report.sections.append(table)
    if facts["cross_check"] is not None:
        differences = facts["cross_check"]
        text = "an independent reader sees the same model" if not differences else "an independent reader sees it differently:"
        report.sections.append(Note(f"Cross-check: {text}", "good" if not differences else "error"))
        report.sections += [Note(difference) for difference in differences]
    return report
