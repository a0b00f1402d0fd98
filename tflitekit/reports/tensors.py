"""The `tensors` report."""

from __future__ import annotations

from .facts_tensors import kind_of
from .report import Cell, Column, Note, Report, Table, Value
from .values import Facts, plural, shape_text, short, span


def tensors_report(facts: Facts, channels: bool = False, exact: bool = False) -> Report:
    """A table of tensors from `tensors_facts`. channels: one line per scale; exact: all digits of float32 values."""
    several = facts["subgraphs"] > 1
    tensors = facts["tensors"]
    table = Table("", _columns(several))
    for tensor in tensors:
        table.rows.append(_row(tensor, several, exact))
        if channels:
            table.rows += _channels(tensor, len(table.columns), exact)
    count = plural(facts["total"], "tensor") if len(tensors) == facts["total"] else f"{len(tensors)} of {plural(facts['total'], 'tensor')}"
    quantized = sum(kind_of(t) not in ("none", "ranges") for t in tensors)
    return Report(f"{facts['file']['name']}: {count}, {quantized} of them quantized", [table, *_notes(tensors)])


def _columns(several: bool) -> list[Column]:
    return [
        *([Column("subgraph", "right", optional=True)] if several else []),
        Column("#", "right"),
        Column("name", priority=9, own_line=True, style="name"),
        Column("type"),
        Column("shape", priority=2),
        Column("bytes", "right"),
        Column("data", optional=True),
        Column("quantization", optional=True, style="quantized"),
        Column("scale", priority=5),
        Column("zero point", "right"),
        Column("axis", "right", optional=True),
        Column("details", priority=8, own_line=True, optional=True),
    ]


def _row(tensor: Facts, several: bool, exact: bool) -> list[Value]:
    kind = kind_of(tensor)
    size = tensor["bytes"] if tensor["stored_bytes"] is None else tensor["stored_bytes"]
    scale, zero_point, axis = scale_text(tensor, exact), zero_point_text(tensor), axis_text(tensor)
    return [
        *([str(tensor["subgraph"])] if several else []),
        index_text(tensor["index"]),
        tensor["name"] or "(no name)",
        tensor["type"],
        shape_cell(tensor),
        "?" if size is None else str(size),
        data_text(tensor),
        Cell("" if kind == "none" else kind, "" if kind == "ranges" else "quantized"),
        scale,
        zero_point,
        axis,
        _details_text(tensor, exact),
    ]


def _channels(tensor: Facts, width: int, exact: bool) -> list[list[Value]]:
    """One row per scale of a tensor with several."""
    quantization = tensor["quantization"]
    if quantization is None or len(quantization["scale"]) < 2:
        return []
    zero_points = quantization["zero_point"]
    rows: list[list[Value]] = []
    for channel, scale in enumerate(quantization["scale"]):
        row: list[Value] = [""] * width
        row[-5] = f"channel {channel}"
        row[-4] = short(scale, exact)
        row[-3] = str(zero_points[channel]) if channel < len(zero_points) else str(zero_points[0]) if len(zero_points) == 1 else "-"
        rows.append(row)
    return rows


def _notes(tensors: list[Facts]) -> list[Note]:
    notes = []
    if any(-1 in t["shape_signature"] for t in tensors):
        notes.append(Note("? is a dynamic dimension; bytes count it as 1.", "note"))
    if any(kind_of(t) == "ranges" for t in tensors):
        notes.append(Note("ranges: min and max were recorded, but there is no scale: the tensor is not quantized.", "note"))
    return notes


# ---- texts that other reports share ----


def index_text(index: int | None) -> str:
    """An index, or `-` for none."""
    return "-" if index is None else str(index)


def shape_cell(tensor: Facts) -> Cell:
    """The shape, dynamic dimensions as `?`."""
    return Cell(shape_text(tensor["shape"], tensor["shape_signature"]), "dynamic" if -1 in tensor["shape_signature"] else "")


def data_text(tensor: Facts) -> str:
    """Where the values come from: empty for computed ones."""
    words = ["sparse"] if tensor["sparse"] else []
    words += ["external"] if tensor["external"] else ["const"] if tensor["constant"] else []
    return " ".join(words + (["variable"] if tensor["variable"] else []))


def scale_text(tensor: Facts, exact: bool = False) -> str:
    """The scale; several as `N scales lowest..highest`; empty without."""
    quantization = tensor["quantization"]
    if quantization is None or not quantization["scale"]:
        return ""
    scale = quantization["scale"]
    return short(scale[0], exact) if len(scale) == 1 else f"{len(scale)} scales {span(scale, exact)}"


def zero_point_text(tensor: Facts) -> str:
    """The zero point; several as `lowest..highest`; empty without a scale, `-` where a scale has none."""
    quantization = tensor["quantization"]
    if quantization is None or not (quantization["scale"] or quantization["zero_point"]):
        return ""
    zero_points = quantization["zero_point"]
    if not zero_points:
        return "-"
    low, high = min(zero_points), max(zero_points)
    return str(low) if low == high else f"{low}..{high}"


def axis_text(tensor: Facts) -> str:
    """The quantized dimension, where there is more than one scale."""
    quantization = tensor["quantization"]
    return str(quantization["quantized_dimension"]) if quantization is not None and len(quantization["scale"]) > 1 else ""


def _details_text(tensor: Facts, exact: bool) -> str:
    """What the details table and recorded ranges say."""
    quantization = tensor["quantization"]
    if quantization is None:
        return ""
    texts = []
    details = quantization["details"]
    if details is not None:
        fields = [f"{name} {value}" for name, value in details.items() if name not in ("table", "scales", "zero_points", "custom")]
        fields += [f"{name} in tensor {details[name]}" for name in ("scales", "zero_points") if name in details]
        fields += [plural(details["custom"]["bytes"], "byte")] if "custom" in details else []
        texts.append(", ".join(fields) or details["table"])
    if quantization["min"] or quantization["max"]:
        low, high = (span(quantization[side], exact) or "-" for side in ("min", "max"))
        texts.append(f"min {low}, max {high}")
    return "; ".join(texts)
