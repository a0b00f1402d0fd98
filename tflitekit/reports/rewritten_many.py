"""The report of the rewriting commands on several files: one row each, or one for each choice that is tried, and a total."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..passes.base import CHANGED, REFUSED
from .many import lost_rows, names_of, short_size, titled
from .report import Cell, Column, Report, Table, Value
from .requantized import decibels
from .values import Facts, plural


def rewritten_many_report(facts: Facts) -> Report:
    """A row per file: tensors (or operators) that were changed and left, sizes, signal to noise, findings of the audit, and where it is now."""
    models = facts["models"]
    if any("choice" in data for model in models for data in _totals(model)):
        return _tried(facts)
    sqnr = Column("SQNR", "right", optional=True)
    table = Table("", [
        Column("file", priority=5, style="name", least=20), Column("changed", "right"), Column("refused", "right"),
        Column("bytes before", "right"), Column("after", "right"), sqnr,
        Column("new findings", "right", optional=True), Column("outcome", priority=9, own_line=True),
    ])  # fmt: skip
    for name, model in zip(names_of([model["input"] for model in models]), models, strict=True):
        counts = [str(_count(model, kind)) for kind in (CHANGED, REFUSED)]
        new = str(len(model["findings"]["new"])) if model["findings"]["new"] else ""
        before = str(model["input"]["size"])
        table.rows.append([name, *counts, before, _after(model), _noise(_totals(model)), Cell(new, "warning"), _outcome(model)])
    lost_rows(facts, table)
    return titled(facts, [table], _title(facts), "failed")


def _title(facts: Facts) -> str:
    """What was done to the files: how many were written and refused, their sizes, and the signal to noise ratio of all."""
    models = facts["models"]
    written, refused = [model for model in models if model["output"]], sum(model["refused"] for model in models)
    parts = [f"{len(written)} written"] + [f"{refused} refused"] * bool(refused)
    if written:
        sizes = [sum(model[end]["size"] or 0 for model in written) for end in ("input", "output")]
        parts.append(" -> ".join(map(short_size, sizes)))
    noise = _noise([data for model in models for data in _totals(model)])
    return ", ".join([*parts, *([f"SQNR {noise}"] if noise else [])])


def _count(model: Facts, kind: str) -> int:
    """How many things were changed or refused, each once."""
    notes = [note for step in model["passes"] for note in step["notes"] if note["kind"] == kind]
    return len({note["path"] for note in notes if note["path"]}) + sum(not note["path"] for note in notes)


def _totals(model: Facts) -> list[Facts]:
    """What passes say of all constants together."""
    return [note["data"] for step in model["passes"] for note in step["notes"] if note["data"].get("total")]


def _noise(totals: Sequence[Facts]) -> str:
    """The signal to noise ratio of all; empty where it was not measured."""
    known = [data for data in totals if "noise" in data]
    if not known:
        return ""
    signal, noise = (sum(float(data[key]) for data in known) for key in ("signal", "noise"))
    if not noise:
        return "exact"
    return decibels(10 * math.log10(signal / noise) if signal > 0 and math.isfinite(signal / noise) else None)


def _after(model: Facts) -> str:
    return str(model["output"]["size"]) if model["output"] else "-"


def _outcome(model: Facts) -> Value:
    """Where the result is, or the first reason why there is none."""
    reasons = [note["text"] for step in model["passes"] for note in step["notes"] if note["kind"] == REFUSED]
    if model["refused"]:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return Cell(f"refused: {reasons[0]}{more}", "warning")
    if not model["output"]:
        return f"not written, {plural(len(model['changes']), 'change')}"
    return str(model["output"]["path"]) + ("" if model["changes"] else ", unchanged")


def _tried(facts: Facts) -> Report:
    """A row for every choice and file, and the choices over all files."""
    names = ("tensors", "SQNR", "bytes before", "after")
    table = Table("", [
        Column("file", priority=5, style="name", least=20), Column("choice"), *(Column(name, "right") for name in names),
        Column("worst tensor", priority=9, own_line=True, style="name"),
    ])  # fmt: skip
    choices: dict[str, list[Facts]] = {}
    for name, model in zip(names_of([model["input"] for model in facts["models"]]), facts["models"], strict=True):
        for data in _totals(model):
            choices.setdefault(data["choice"], []).append(data)
            table.rows.append([name, data["choice"], *_figures([data]), data.get("worst_tensor", "")])
    lost_rows(facts, table)
    total = Table("all files", [Column("choice"), *(Column(name, "right") for name in names)])
    total.rows = [[choice, *_figures(found)] for choice, found in choices.items()]
    return titled(facts, [table, total], "nothing written", "failed")


def _figures(totals: Sequence[Facts]) -> list[str]:
    """Tensors, signal to noise ratio and bytes of weights before and after."""
    tensors, before, after = (sum(data[key] for data in totals) for key in ("tensors", "bytes_before", "bytes_after"))
    return [str(tensors), _noise(totals) or "-", str(before), str(after)]
