"""The `observe` report."""

from __future__ import annotations

import shlex

from .compare import data_text, signature_titles
from .report import Cell, Code, Column, KeyValues, Note, Report, Section, Table, Value
from .stats import bounds_text, digits
from .values import Facts, plural, shape_text, share_text, short

STYLES = {"fits": "good", "wide": "warning", "clips": "error", "full": "warning"}
WORDS = {
    "fits": "the claim fits what was seen", "wide": "the claim is more than twice as wide as what was seen: steps are coarser than they need be",
    "clips": "of the samples' values are beyond the claim and were clipped", "full": "of the values have an end code: what is beyond is clipped",
}  # fmt: skip
LIMITS = "A range says as much as the samples do."
FULL = "full: over 1 % of the values have an end code that is not 0. Either they were clipped, or an activation such as RELU6 ends there."


def observe_report(facts: Facts) -> Report:
    """Inputs and outputs in full, then a table of all tensors."""
    sections: list[Section] = []
    for title, signature in zip(signature_titles(facts), facts["signatures"], strict=True):
        rows: list[tuple[str, Value]] = [("signature", signature["signature"])] if title else []
        rows += [("samples", f"{signature['samples']} {data_text(facts['data'])}"), ("resolver", f"{facts['resolver']} kernels, no delegates")]
        sections.append(KeyValues(title.rstrip(", "), rows))
        ends = [tensor for tensor in signature["tensors"] if tensor["role"] != "inside"]
        sections += [KeyValues(title + tensor["role"], _end(tensor)) for tensor in ends]
        if len(ends) < len(signature["tensors"]):
            sections.append(_table(signature["tensors"], title))
        if signature["unreadable"]:
            sections.append(Note(f"{plural(signature['unreadable'], 'tensor')} could not be read.", "warning"))
    if facts["data"]["kind"] == "random":
        sections.append(Note("Random inputs say little about real ranges: only your own samples do, with --data.", "warning"))
    if facts.get("export"):
        sections += _exported(facts)
    full = any(tensor["verdict"] == "full" for signature in facts["signatures"] for tensor in signature["tensors"])
    sections.append(Note(f"{LIMITS} {FULL}" if full else LIMITS, "note"))
    return Report(facts["file"]["name"], sections)


def _exported(facts: Facts) -> list[Section]:
    """What was written for `set-quantization`, and the command that takes it."""
    export, model = facts["export"], facts["file"]["path"] or "MODEL"
    left = f"; {export['kept']} keep theirs, which are fixed or shared with tensors that were not observed" if export["kept"] else ""
    next_ = f"tflitekit set-quantization {shlex.quote(model)} --from {shlex.quote(export['path'])} --keep real"
    return [KeyValues("exported", [("to", export["path"]), ("tensors", f"{export['tensors']}{left}")]), Code("To store these parameters:", next_)]


def _end(tensor: Facts) -> list[tuple[str, Value]]:
    """An input or output: what was seen, claimed and is implied."""
    name = Cell(f"{tensor['index']}, {tensor['name'] or '(no name)'}", "name")
    rows: list[tuple[str, Value]] = [("tensor", name), ("type", f"{tensor['type']} {shape_text(tensor['shape'])}")]
    if tensor["how"]:
        rows.append(("samples", tensor["how"]))
    rows.append(("seen", _range(tensor["seen"])))
    claimed, implied = tensor["claimed"], tensor["implied"]
    if claimed is not None:
        means = f"mean {claimed['zero_point']}, std {short(1 / claimed['scale'])}"
        rows.append(("claimed", f"{_range(claimed)}: scale {digits(claimed['scale'])}, zero point {claimed['zero_point']}, {means}"))
    if implied is not None:
        rows.append(("implied", Cell(f"{_range(implied)}: {_parameters(implied)}", "quantized")))
    if tensor["verdict"] is not None:
        rows.append(("verdict", Cell(_share(tensor) + WORDS[tensor["verdict"]], STYLES[tensor["verdict"]])))
    return rows


def _range(value: Facts) -> str:
    return "nothing finite" if value["min"] is None else bounds_text(value["min"], value["max"])


def _parameters(implied: Facts, exact: bool = True) -> str:
    scale = digits(implied["scale"]) if exact else short(implied["scale"])
    return f"{implied['dtype']} scale {scale}, zero point {implied['zero_point']}, mean {short(implied['mean'])}, std {short(implied['std'])}"


def _share(tensor: Facts) -> str:
    """Which part of the values a verdict is about."""
    seen = tensor["seen"]
    count = {"clips": seen["clipped"], "full": seen["at_lowest"] + seen["at_highest"]}.get(tensor["verdict"])
    return "" if count is None else f"{share_text(count, seen['elements'])} "


def _table(tensors: list[Facts], title: str) -> Table:
    table = Table(f"{title}all tensors", [
        Column("#", "right"), Column("operator"), Column("seen"), Column("claimed", optional=True), Column("verdict", optional=True),
        Column("implied", priority=9, own_line=True, mark="-> ", style="quantized"), Column("tensor", priority=8, own_line=True, style="name"),
    ])  # fmt: skip
    for tensor in tensors:
        claimed, implied, verdict = tensor["claimed"], tensor["implied"], tensor["verdict"]
        table.rows.append([
            "" if tensor["position"] < 0 else str(tensor["position"]), tensor["operator"], _range(tensor["seen"]),
            "" if claimed is None else _range(claimed), "" if verdict is None else Cell(verdict, STYLES[verdict]),
            "" if implied is None else _parameters(implied, exact=False), tensor["name"] or "(no name)",
        ])  # fmt: skip
    return table
