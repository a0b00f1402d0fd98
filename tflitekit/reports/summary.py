"""The `summary` report."""

from __future__ import annotations

from typing import Any

from .bars import ASCII_BLOCKS, bar
from .facts_metadata import normalization_text
from .report import Cell, Column, KeyValues, Note, Report, Section, Table, Value
from .subgraphs import tree_table
from .tensors import IDLE_SCALE, axis_text, index_text, scale_text, shape_cell, zero_point_text
from .values import Facts, plural, share_text, size_text


def summary_report(facts: Facts, blocks: str = ASCII_BLOCKS) -> Report:
    """The overview of a model from `summary_facts`, with bars made of `blocks`."""
    sections: list[Section] = [
        _overview(facts),
        _interface(facts),
        _quantization(facts),
        *_idle_scales(facts),
        _constants(facts, blocks),
        _operators(facts),
        _subgraphs(facts),
        _signatures(facts),
        _metadata(facts),
        *(Note(entry["problem"], "warning") for entry in facts["metadata"] if entry["problem"]),
    ]
    return Report(facts["file"]["name"], sections)


def _overview(facts: Facts) -> KeyValues:
    subgraphs = facts["subgraphs"]
    totals = [plural(sum(s[what] for s in subgraphs), what[:-1]) for what in ("tensors", "operators")]
    rows: list[tuple[str, Value]] = []
    if facts["file"]["size"] is not None:
        rows.append(("size", size_text(facts["file"]["size"])))
    rows.append(("schema version", str(facts["version"])))
    if facts["description"]:
        rows.append(("description", facts["description"]))
    if facts["min_runtime_version"] is not None:
        rows.append(("minimum runtime", facts["min_runtime_version"]))
    named = f" ({subgraphs[0]['name']})" if len(subgraphs) == 1 and subgraphs[0]["name"] else ""
    rows.append(("contents", ", ".join([plural(len(subgraphs), "subgraph") + named, *totals])))
    quantization = facts["quantization"]
    share = f"{quantization['quantized']} of {plural(quantization['tensors'], 'tensor')}"
    if quantization["constant_bytes"]:
        share += f", {share_text(quantization['quantized_constant_bytes'], quantization['constant_bytes'])} of the constant bytes"
    rows.append(("quantized", Cell(share, "quantized" if quantization["quantized"] else "")))
    rows += _container(facts["container"])
    return KeyValues("", rows)


def _container(container: Facts | None) -> list[tuple[str, Value]]:
    """What lies behind the model, one row each."""
    if container is None:
        return []
    found: list[tuple[str, Value]] = []
    if container["offset_bytes"]:
        found.append(("offset buffers", size_text(container["offset_bytes"])))
    archive = container["zip"]
    if archive is not None:
        names = ", ".join(archive["names"]) or "no files"
        found.append(("associated files", f"{names} (zip, {size_text(archive['end'] - archive['start'])})"))
    if container["padding"]:
        found.append(("padding", size_text(container["padding"])))
    unexplained = container["unexplained"]
    if unexplained is not None:
        size = size_text(unexplained["end"] - unexplained["start"])
        found.append(("unexplained", Cell(f"{size} from byte {unexplained['start']}, to which nothing refers", "warning")))
    return found or [("behind the model", "nothing")]


def _interface(facts: Facts) -> Table:
    several = len(facts["subgraphs"]) > 1
    table = Table("inputs and outputs", [
        *([Column("subgraph", "right")] if several else []),
        Column(""),
        Column("tensor", "right"),
        Column("name", priority=9, own_line=True, style="name"),
        Column("type"),
        Column("shape", priority=3),
        Column("scale", priority=5, optional=True, style="quantized"),
        Column("zero point", "right", optional=True, style="quantized"),
        Column("axis", "right", optional=True),
        Column("by the metadata", priority=10, own_line=True, mark="by the metadata ", optional=True),
    ])  # fmt: skip
    for subgraph in facts["subgraphs"]:
        for side in ("inputs", "outputs"):
            for tensor in subgraph[side]:
                table.rows.append([*([str(subgraph["index"])] if several else []), side[:-1], *_interface_row(tensor)])
    return table


def _interface_row(tensor: Facts | None) -> list[Value]:
    if tensor is None:
        return ["-", "(none)", "", "", "", "", "", ""]
    if "missing" in tensor:
        return [str(tensor["index"]), Cell("(no such tensor)", "error"), "", "", "", "", "", ""]
    return [
        index_text(tensor["index"]),
        tensor["name"] or "(no name)",
        tensor["type"],
        shape_cell(tensor),
        scale_text(tensor, exact=True),
        zero_point_text(tensor),
        axis_text(tensor),
        normalization_text(tensor["normalization"]) if tensor.get("normalization") else "",
    ]


def _quantization(facts: Facts) -> Table:
    table = Table("quantization of tensors", [
        Column("kind"), Column("type"), Column("constants", "right"), Column("constant bytes", "right"), Column("activations", "right"),
    ])  # fmt: skip
    for group in facts["quantization"]["groups"]:
        style = "quantized" if group["quantized"] else ""
        kind = {"ranges": "ranges only", "none": "not quantized"}.get(group["kind"], group["kind"])
        counts = [str(group[name]) if group[name] else "-" for name in ("constants", "constant_bytes", "activations")]
        table.rows.append([Cell(kind, style), group["type"], *counts])
    return table


def _idle_scales(facts: Facts) -> list[Note]:
    idle = any(not g["quantized"] and g["kind"] not in ("none", "ranges") for g in facts["quantization"]["groups"])
    return [Note(IDLE_SCALE, "note")] if idle else []


def _constants(facts: Facts, blocks: str) -> Table:
    constants = facts["constants"]
    total = constants["bytes"] + constants["metadata_bytes"] + constants["custom_options_bytes"] + constants["unused_bytes"]
    table = Table("stored data", [
        Column("type"), Column("tensors", "right", optional=True), Column("buffers", "right", optional=True), Column("bytes", "right"),
        Column("share", "right"), Column("", optional=True, spare=True),
    ])  # fmt: skip

    kinds = [*constants["by_type"], *filter(None, (constants[key] for key in ("metadata_bytes", "custom_options_bytes", "unused_bytes")))]

    def add(label: str, tensors: Any, buffers: Any, size: int) -> None:
        drawn = "" if label == "total" or len(kinds) < 2 else bar(size, total, blocks)
        table.rows.append([label, str(tensors), str(buffers), str(size), share_text(size, total), drawn])

    for row in constants["by_type"]:
        add(row["type"], row["tensors"], row["buffers"], row["bytes"])
    for label, key in (("metadata", "metadata_bytes"), ("custom options", "custom_options_bytes"), ("unused buffers", "unused_bytes")):
        if constants[key]:
            add(label, "", "", constants[key])
    if len(table.rows) > 1:
        add("total", "", "", total)
    return table


def _operators(facts: Facts) -> Table:
    table = Table("operators", [Column("operator", priority=5), Column("version", "right"), Column("count", "right")])
    for row in facts["operators"]:
        name = row["name"] + (" (custom)" if row["custom"] else "")
        table.rows.append([name, "-" if row["version"] is None else str(row["version"]), str(row["count"])])
    return table


def _subgraphs(facts: Facts) -> Table:
    rows = facts["subgraphs"] if len(facts["subgraphs"]) > 1 else []
    counts: list[list[Value]] = [[str(row["tensors"]), str(row["operators"]), str(len(row["inputs"])), str(len(row["outputs"]))] for row in rows]
    return tree_table(rows, [Column(name, "right") for name in ("tensors", "operators", "inputs", "outputs")], counts)


def _signatures(facts: Facts) -> Table:
    table = Table("signatures", [
        Column("key", priority=6, style="name"), Column("subgraph", "right"), Column(""), Column("name", priority=9, style="name"),
        Column("tensor", "right"),
    ])  # fmt: skip
    for signature in facts["signatures"]:
        head: list[Value] = [signature["key"] or "(no key)", index_text(signature["subgraph"])]
        entries = [(side[:-1], entry) for side in ("inputs", "outputs") for entry in signature[side]]
        for position, (side, entry) in enumerate(entries):
            table.rows.append([*(head if position == 0 else ["", ""]), side, entry["name"], index_text(entry["tensor"])])
        if not entries:
            table.rows.append([*head, "", "(no inputs, no outputs)", ""])
    return table


def _metadata(facts: Facts) -> Table:
    table = Table("metadata", [Column("name", priority=9, style="name"), Column("bytes", "right")])
    for row in facts["metadata"]:
        table.rows.append([row["name"] or "(no name)", "no buffer" if row["bytes"] is None else str(row["bytes"])])
    return table
