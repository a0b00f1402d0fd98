"""The `tensors` report."""

from __future__ import annotations

from .bars import ASCII_BLOCKS
from .facts_tensors import kind_of
from .report import Cell, Column, Note, Report, Section, Table, Value
from .values import Facts, plural, shape_text, short, span
from .weights import AT_ENDS, picture

SUBGRAPH_INDEX = "# is subgraph:index."
IDLE_SCALE = "Tensors of a float type that carry a scale are not counted as quantized: their values are real numbers already."


def tensors_report(facts: Facts, channels: bool = False, exact: bool = False, blocks: str = ASCII_BLOCKS) -> Report:
    """A table of tensors from `tensors_facts`, and histograms made of `blocks` where the facts have them.

    channels: one line per scale; exact: all digits of float32 values.
    """
    several = facts["subgraphs"] > 1
    tensors = facts["tensors"]
    table = Table("", _columns(exact))
    for tensor in tensors:
        table.rows.append(_row(tensor, several, exact))
        if channels:
            table.rows += _channels(tensor, len(table.columns), exact)
    count = plural(facts["total"], "tensor") if len(tensors) == facts["total"] else f"{len(tensors)} of {plural(facts['total'], 'tensor')}"
    quantized = sum(t["quantized"] for t in tensors)
    pictures = [section for tensor in tensors if tensor.get("holds") for section in _picture(tensor, several, blocks)]
    coded = any(tensor["holds"]["values"]["what"] == "codes" for tensor in tensors if tensor.get("holds") and tensor["holds"]["values"])
    notes: list[Section] = [Note(AT_ENDS, "note")] if coded else []
    if facts["total"] and not tensors:
        notes.append(Note("No tensor passes the filter. --name takes a part of a name, or a shell pattern for all of it.", "note"))
    return Report(f"{facts['file']['name']}: {count}, {quantized} of them quantized", [table, *_notes(tensors, several), *pictures, *notes])


def _picture(tensor: Facts, several: bool, blocks: str) -> list[Section]:
    kind = kind_of(tensor)
    words = [tensor["type"], shape_cell(tensor).text, *([kind] if kind != "none" else [])]
    head: list[tuple[str, Value]] = [("name", Cell(tensor["name"] or "(no name)", "name")), ("type", ", ".join(words))]
    return picture(f"tensor {_number(tensor, several)}", head, tensor["holds"], blocks)


def _number(tensor: Facts, several: bool) -> str:
    return f"{tensor['subgraph']}:{tensor['index']}" if several else str(tensor["index"])


def _columns(exact: bool) -> list[Column]:
    return [
        Column("#", "right"),
        Column("type"),
        Column("shape", priority=2, least=9),
        Column("bytes", "right"),
        Column("data", optional=True),
        Column("kind", priority=3, least=7, optional=True),
        Column("scale", priority=7 if exact else 5, least=13, own_line=exact, mark="scale ", optional=True),
        Column("zero point", "right", optional=True),
        Column("axis", "right", optional=True),
        Column("details", priority=10, own_line=True, optional=True),
        Column("name", priority=9, own_line=True, style="name"),
    ]


def _row(tensor: Facts, several: bool, exact: bool) -> list[Value]:
    kind = kind_of(tensor)
    size = tensor["bytes"] if tensor["stored_bytes"] is None else tensor["stored_bytes"]
    scale, zero_point, axis = scale_text(tensor, exact), zero_point_text(tensor), axis_text(tensor)
    return [
        _number(tensor, several),
        tensor["type"],
        shape_cell(tensor),
        "?" if size is None else str(size),
        data_text(tensor),
        Cell("" if kind == "none" else kind, "quantized" if tensor["quantized"] else ""),
        scale,
        zero_point,
        axis,
        _details_text(tensor, exact),
        tensor["name"] or "(no name)",
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
        row[-6] = f"channel {channel}"
        row[-5] = short(scale, exact)
        row[-4] = str(zero_points[channel]) if channel < len(zero_points) else str(zero_points[0]) if len(zero_points) == 1 else "-"
        rows.append(row)
    return rows


def _notes(tensors: list[Facts], several: bool) -> list[Note]:
    notes = [Note(SUBGRAPH_INDEX, "note")] if several else []
    if any("?" in shape_cell(t).text for t in tensors):
        notes.append(Note("? is a dynamic dimension; bytes count it as 1.", "note"))
    if any(kind_of(t) == "ranges" for t in tensors):
        notes.append(Note("ranges: min and max were recorded, but there is no scale: the tensor is not quantized.", "note"))
    if any(has_idle_scale(t) for t in tensors):
        notes.append(Note(IDLE_SCALE, "note"))
    return notes


def has_idle_scale(tensor: Facts) -> bool:
    """Whether a tensor of a float type carries a scale."""
    return not tensor["quantized"] and kind_of(tensor) not in ("none", "ranges")


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
    """The scale; several as `N scales`, whose range is one of the details; empty without."""
    quantization = tensor["quantization"]
    if quantization is None or not quantization["scale"]:
        return ""
    scale = quantization["scale"]
    return short(scale[0], exact) if len(scale) == 1 else f"{len(scale)} scales"


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
    """The range of several scales, what the details table says, and recorded ranges."""
    quantization = tensor["quantization"]
    if quantization is None:
        return ""
    texts = [f"scales {span(quantization['scale'], exact)}"] if len(quantization["scale"]) > 1 else []
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
