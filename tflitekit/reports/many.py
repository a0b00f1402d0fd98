"""The `summary` and `tensors` reports of several files: one row each, and a total; and what the reports of rewritten files share with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .audit_words import joined
from .report import Cell, Column, Note, Report, Section, Table
from .values import Facts, plural, size_text

SHOWN = 3  # inputs and outputs of a model in its row


def files_facts(models: list[Facts], unreadable: list[Facts]) -> Facts:
    """The facts of several files.

    models      those of each file that could be read, in the order given, as for a single file
    unreadable  path, message of each that could not
    """
    return {"models": models, "unreadable": unreadable}


def lost_rows(facts: Facts, table: Table) -> None:
    """Add rows for the files that came to nothing, with the reason in the last column."""
    for lost in facts["unreadable"]:
        table.rows.append([lost["path"], *[""] * (len(table.columns) - 2), Cell(reason(lost), "error")])


def reason(lost: Facts) -> str:
    """Why a file came to nothing, without its path in front."""
    return str(lost["message"]).removeprefix(f"{lost['path']}: ")


def names_of(files: Sequence[Facts]) -> list[str]:
    """The names of files; paths for those that have the same."""
    counts = Counter(file["name"] for file in files)
    return [str(file["name"] if counts[file["name"]] == 1 or file["path"] is None else file["path"]) for file in files]


def titled(facts: Facts, tables: Sequence[Section], total: str, lost: str = "unreadable") -> Report:
    """A report whose title has the number of files, how many came to nothing (by the word for that), and the total."""
    count = len(facts["unreadable"])
    title = ", ".join([plural(len(facts["models"]) + count, "file"), *([f"{count} {lost}"] if count else []), total])
    return Report(title, [*tables])


def _report(facts: Facts, table: Table, total: str, command: str) -> Report:
    lost_rows(facts, table)
    return titled(facts, [table, Note(f"`tflitekit {command} FILE` shows one file in full.", "note")], total)


def _table(*columns: str) -> Table:
    """A row per file: its name, numbers, and at last what gets lines of its own."""
    numbers = [Column(column, "right") for column in columns[:-1]]
    return Table("", [Column("file", priority=5, style="name", least=20), *numbers, Column(columns[-1], priority=9, own_line=True)])


def short_size(size: int | None) -> str:
    """A size without its number of bytes."""
    return size_text(size).partition(" (")[0]


def summaries_report(facts: Facts) -> Report:
    """A row per file: size, operators, tensors, how many of them are quantized, and what goes in and out."""
    table = _table("size", "operators", "tensors", "quantized", "inputs and outputs")
    for name, model in zip(names_of([model["file"] for model in facts["models"]]), facts["models"], strict=True):
        operators, tensors = (str(sum(subgraph[key] for subgraph in model["subgraphs"])) for key in ("operators", "tensors"))
        file, quantized = model["file"], str(model["quantization"]["quantized"])
        table.rows.append([name, short_size(file["size"]), operators, tensors, quantized, _ends(model)])
    return _report(facts, table, size_text(sum(model["file"]["size"] or 0 for model in facts["models"])), "summary")


def _ends(model: Facts) -> str:
    if not model["subgraphs"]:
        return "no subgraph"
    first = model["subgraphs"][0]
    return " -> ".join(joined([_shown(tensor) for tensor in first[side][:SHOWN]]) or "none" for side in ("inputs", "outputs"))


def _shown(tensor: Facts) -> str:
    return f"{tensor['type']} {'x'.join(map(str, tensor['shape'])) or 'scalar'}"


def tensors_many_report(facts: Facts) -> Report:
    """A row per file: how many tensors pass the filter, how many are quantized and constant, how many bytes they store, and their types."""
    table = _table("tensors", "quantized", "constant", "stored", "types")
    for name, model in zip(names_of([model["file"] for model in facts["models"]]), facts["models"], strict=True):
        tensors = model["tensors"]
        kinds = Counter(t["type"] for t in tensors)
        counts = [str(len(tensors)), *(str(sum(t[key] for t in tensors)) for key in ("quantized", "constant"))]
        stored = short_size(sum(t["stored_bytes"] or 0 for t in tensors))
        table.rows.append([name, *counts, stored, ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())])
    return _report(facts, table, plural(sum(len(model["tensors"]) for model in facts["models"]), "tensor"), "tensors")
