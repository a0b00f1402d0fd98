"""The `audit` report of several models: one row each, and the findings by code."""

from __future__ import annotations

from typing import Any

from ..audit import CODES, SEVERITIES
from .audit import counts_text
from .audit_words import joined
from .many import names_of, reason
from .report import Cell, Column, Note, Report, Table
from .values import Facts, plural


def audits_facts(models: list[Facts], unreadable: list[Facts], runtime: str | None = None) -> Facts:
    """The audits of one or more models.

    runtime     the runtime that severities are for, or null
    models      `audit_facts` of each file that could be read, in the order given
    unreadable  path, message of each that could not
    """
    return {"runtime": runtime, "models": models, "unreadable": unreadable}


def audits_report(facts: Facts) -> Report:
    """A row per model with its scheme and findings, types and differences below; what could not be read; and how often each code was found."""
    models, unreadable = facts["models"], facts["unreadable"]
    unmet = sum(model["required"] is not None and not model["required"]["met"] for model in models)
    totals = {severity: sum(model["counts"][severity] for model in models) for severity in SEVERITIES}
    parts = [plural(len(models) + len(unreadable), "model")]
    parts += [f"{len(unreadable)} unreadable"] * bool(unreadable) + [f"{unmet} not as required"] * bool(unmet)
    title = f"{', '.join(parts)}; findings: {counts_text(totals)}"
    return Report(title, [_models(facts), _codes(models), Note("`tflitekit audit FILE` shows one model in full.", "note")])


def _models(facts: Facts) -> Table:
    table = Table("", [
        Column("model", priority=5, style="name", least=20), Column("scheme", priority=4), *(Column(s, "right") for s in SEVERITIES),
        Column("types", priority=8, own_line=True), Column("remark", priority=9, own_line=True, optional=True),
    ])  # fmt: skip
    for name, model in zip(names_of([model["file"] for model in facts["models"]]), facts["models"], strict=True):
        verdict, required = model["verdict"], model["required"]
        counts = [Cell(str(count), severity) if count else "-" for severity, count in model["counts"].items()]
        remarks = [f"not as required: {'; '.join(required['differences'])}"] if required is not None and not required["met"] else []
        remarks += ["placeholder ranges"] if verdict["placeholder_ranges"] else []
        types = f"{verdict['activation']} activations, {_weights(verdict)} weights, io {_io(verdict)}"
        table.rows.append([name, verdict["scheme"], *counts, types, Cell("; ".join(remarks), "warning")])
    for lost in facts["unreadable"]:
        table.rows.append([lost["path"], Cell("unreadable", "error"), "", "", "", "", Cell(reason(lost), "error")])
    return table


def _weights(verdict: Facts) -> str:
    return joined(verdict["weights"]) + (f" {joined(verdict['granularity'])}" if verdict["granularity"] else "") or "no"


def _io(verdict: Facts) -> str:
    ends = [joined(list(dict.fromkeys(verdict[side]))) or "none" for side in ("inputs", "outputs")]
    return ends[0] if ends[0] == ends[1] else " -> ".join(ends)


def _codes(models: list[Facts]) -> Table:
    table = Table("findings by code", [
        Column("code"), Column("severity"), Column("findings", "right"), Column("models", "right"), Column("what", priority=9),
    ])  # fmt: skip
    found: dict[tuple[str, str], list[Any]] = {}
    for position, model in enumerate(models):
        for finding in model["findings"]:
            found.setdefault((finding["severity"], finding["code"]), []).append(position)
    for (severity, code), where in sorted(found.items(), key=lambda item: (SEVERITIES.index(item[0][0]), item[0][1])):
        table.rows.append([code, Cell(severity, severity), str(len(where)), str(len(set(where))), CODES[code].title])
    return table
