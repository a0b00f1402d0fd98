"""The report of the rewriting commands, and its facts: what was done, why, what it costs, and whether runtimes still take it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..audit import ERROR, WARNING, Finding, audit
from ..graph import Model
from ..passes.base import CHANGED, KINDS, REFUSED, Note, PassResult
from .bars import ASCII_BLOCKS
from .changes import changes_facts, changes_report
from .compare import summary
from .copied import HOW
from .report import Cell, Column, KeyValues, Report, Table, Value
from .report import Note as Paragraph
from .requantized import costs, is_cost
from .values import Facts, file_facts, number, plural, size_text

_STYLES = {CHANGED: "new", REFUSED: "warning"}


def rewritten_facts(before: Model, result: PassResult) -> Facts:
    """What a rewriting did; to be asked before the result is written, since an edit in place also shows in the model that was read.

    input           path, name, size in bytes
    passes          pass (with its options), seconds, notes (kind, path, name, text, data)
    changes         path, old, new, as in `diff`
    problems        what `verify` says of the result: errors and warnings
    findings        gone and new: what `audit` no longer says, or says only now, of errors and warnings (code, severity, path, name, message)
    refused         whether all that was asked for was refused, so that there is nothing to write
    """
    found = changes_facts(before, result.model, result.changes)
    gone, new = _findings(before, result)
    return {
        "input": file_facts(before),
        "passes": [
            {"pass": step.of.describe(), "seconds": step.seconds, "notes": [_note(note) for note in step.notes]} for step in result.steps
        ],
        "changes": found["changes"],
        "problems": [
            {"severity": p.severity, "code": p.code, "path": p.path, "name": p.name, "message": p.message}
            for p in result.problems if p.severity in (ERROR, WARNING)
        ],
        "findings": {"gone": gone, "new": new},
        "refused": any(step.of.writes for step in result.steps) and bool(result.refused) and not result.changes,
    }  # fmt: skip


def _note(note: Note) -> Facts:
    return {"kind": note.kind, "path": note.path, "name": note.name, "text": note.text, "data": _data(note.data)}


def _data(value: Any) -> Any:
    """Numbers of a note as JSON can hold them."""
    if isinstance(value, Mapping):
        return {key: _data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_data(item) for item in value]
    return number(value) if isinstance(value, float) else value


def _findings(before: Model, result: PassResult) -> tuple[list[Facts], list[Facts]]:
    """What the audit no longer says, and what it says only now; findings are the same if code, severity and tensor name are."""
    if not result.changes:
        return [], []
    old, new = (_serious(audit(model).findings) for model in (before, result.model))
    return _beyond(old, new), _beyond(new, old)


def _serious(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity in (ERROR, WARNING)]


def _beyond(findings: Sequence[Finding], others: Sequence[Finding]) -> list[Facts]:
    left = Counter((f.code, f.severity, f.name) for f in others)
    found = []
    for finding in findings:
        key = (finding.code, finding.severity, finding.name)
        left[key] -= 1
        if left[key] < 0:
            keys = ("code", "severity", "path", "name", "message")
            found.append({key: getattr(finding, key) for key in keys})
    return found


def rewritten_report(facts: Facts, *, changes: bool = False, blocks: str = ASCII_BLOCKS) -> Report:
    """What was written and how, the notes of the passes, what the audit says differently; with `changes` the diff too."""
    output = facts["output"]
    target = output["path"] if output else "(nothing written)"
    report = Report(f"{facts['input']['name']} -> {target}", [KeyValues("", _rows(facts))])
    for step in facts["passes"]:
        told = [note for note in step["notes"] if not is_cost(note)]
        report.sections += costs(step["notes"], blocks)
        report.sections += _notes(step | {"notes": told}) if told or not step["notes"] else []
    for title, key, style in (("Findings of the audit that are gone", "gone", "good"), ("New findings of the audit", "new", "warning")):
        if facts["findings"][key]:
            table = Table(title, [Column("code"), Column("where", priority=8, style="name"), Column("what", priority=9, own_line=True)])
            table.rows = [[Cell(f["code"], style), f["name"] or f["path"], f["message"]] for f in facts["findings"][key]]
            report.sections.append(table)
    if changes and facts["changes"]:
        pair = {"a": facts["input"], "b": output or facts["input"], "equal": False, "changes": facts["changes"]}
        report.sections += [Paragraph("Every change, by path:"), *changes_report(pair).sections]
    return report


def _rows(facts: Facts) -> list[tuple[str, Value]]:
    writer, count = facts["writer"], facts["changed_bytes"]
    how = f"{writer}: {HOW[writer]}" + (f", {plural(count, 'byte')}" if count else "") + (", in place" if facts["in_place"] else "")
    rows: list[tuple[str, Value]] = [("writer", how), ("changes", plural(len(facts["changes"]), "field"))]
    if facts["output"]:
        before, after = facts["input"]["size"] or 0, facts["output"]["size"]
        rows.append(("size", size_text(after) + (f", {after - before:+d}" if after != before else ", as before")))
    if facts["backup"]:
        rows.append(("backup", facts["backup"]))
    if facts.get("check"):
        rows.append(("check", summary(facts["check"])))
    return rows


def _notes(step: Facts) -> list[Table | Paragraph]:
    """The notes of one pass: what it changed, what it refused, what it remarks."""
    if not step["notes"]:
        return [Paragraph(f"{step['pass']}: nothing to do")]
    titles = dict(zip(KINDS, ("changed", "refused", "remarks"), strict=True))
    found: list[Table | Paragraph] = []
    for kind in KINDS:
        notes = [note for note in step["notes"] if note["kind"] == kind]
        if notes:
            columns = [Column("where", priority=8, style="name"), Column("what", priority=9, own_line=True)]
            table = Table(f"{step['pass']}: {titles[kind]}", columns)
            table.rows = [[note["name"] or note["path"] or "model", Cell(note["text"], _STYLES.get(kind, ""))] for note in notes]
            found.append(table)
    return found
