"""The `summary` and `tensors` reports of several files: one row each, and a total."""

from __future__ import annotations

from collections import Counter

from .audit_words import joined
from .report import Cell, Column, Note, Report, Table
from .values import Facts, plural, size_text

SHOWN = 3  # inputs and outputs of a model in its row


def files_facts(models: list[Facts], unreadable: list[Facts]) -> Facts:
    """The facts of several files.

    models      those of each file that could be read, in the order given, as for a single file
    unreadable  path, message of each that could not
    """
    return {"models": models, "unreadable": unreadable}


def _report(facts: Facts, table: Table, total: str, command: str) -> Report:
    for lost in facts["unreadable"]:
        table.rows.append([lost["path"], *[""] * (len(table.columns) - 2), Cell(lost["message"], "error")])
    lost = [f"{len(facts['unreadable'])} unreadable"] * bool(facts["unreadable"])
    title = ", ".join([plural(len(facts["models"]) + len(facts["unreadable"]), "file"), *lost, total])
    return Report(title, [table, Note(f"`tflitekit {command} FILE` shows one file in full.", "note")])


def summaries_report(facts: Facts) -> Report:
    """A row per file: size, operators, tensors, how many of them are quantized, and what goes in and out."""
    table = Table("", [
        Column("file", priority=5, style="name", least=20), Column("size", "right"), Column("operators", "right"), Column("tensors", "right"),
        Column("quantized", "right"), Column("inputs and outputs", priority=9, own_line=True),
    ])  # fmt: skip
    total = 0
    for model in facts["models"]:
        total += model["file"]["size"] or 0
        count = sum(subgraph["tensors"] for subgraph in model["subgraphs"])
        row = [model["file"]["name"], size_text(model["file"]["size"]).partition(" (")[0]]
        table.rows.append([*row, str(sum(s["operators"] for s in model["subgraphs"])), str(count), _quantized(model), _ends(model)])
    return _report(facts, table, size_text(total), "summary")


def _quantized(model: Facts) -> str:
    counts = model["quantization"]
    return str(counts["quantized"]) if isinstance(counts, dict) and "quantized" in counts else "-"


def _ends(model: Facts) -> str:
    if not model["subgraphs"]:
        return "no subgraph"
    first = model["subgraphs"][0]
    return " -> ".join(joined([_shown(tensor) for tensor in first[side][:SHOWN]]) or "none" for side in ("inputs", "outputs"))


def _shown(tensor: Facts) -> str:
    return f"{tensor['type']} {'x'.join(map(str, tensor['shape'])) or 'scalar'}"


def tensors_many_report(facts: Facts) -> Report:
    """A row per file: how many tensors pass the filter, how many are quantized and constant, how many bytes they store, and their types."""
    table = Table("", [
        Column("file", priority=5, style="name", least=20), Column("tensors", "right"), Column("quantized", "right"), Column("constant", "right"),
        Column("stored", "right"), Column("types", priority=9, own_line=True),
    ])  # fmt: skip
    total = 0
    for model in facts["models"]:
        tensors = model["tensors"]
        stored = sum(t["stored_bytes"] or 0 for t in tensors)
        total += len(tensors)
        kinds = Counter(t["type"] for t in tensors)
        table.rows.append([
            model["file"]["name"], str(len(tensors)), str(sum(t["quantized"] for t in tensors)), str(sum(t["constant"] for t in tensors)),
            size_text(stored).partition(" (")[0], ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()),
        ])  # fmt: skip
    return _report(facts, table, plural(total, "tensor"), "tensors")
