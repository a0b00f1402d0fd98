"""The `io` report: what to feed each input, how to read each output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._schema import TensorType
from ..quant.affine import code_range
from ..quant.snippets import C_HEAD, NUMPY_HEAD
from .facts_metadata import normalization_text
from .report import Cell, Code, KeyValues, Note, Report, Section, Value
from .stats import bounds_text, digits, match_text
from .tensors import axis_text, index_text, scale_text, shape_cell, zero_point_text
from .values import Facts, short, span

NO_NORMALIZATION = "Libraries that read the metadata refuse a float32 image without normalization."
SIDES = ("inputs", "outputs")
Rows = list[tuple[str, Value]]


def io_report(facts: Facts) -> Report:
    """The contract of each input and output from `io_facts`, then the code for all of them."""
    sections: list[Section] = [KeyValues("", _model_rows(facts)), *(Note(problem, "warning") for problem in facts["problems"])]
    several = len(facts["interfaces"]) > 1
    for number, interface in enumerate(facts["interfaces"]):
        for side in SIDES:
            for position, entry in enumerate(interface[side]):
                where = f"signature {number}, " if several else ""
                sections.append(KeyValues(f"{where}{side[:-1]} {position}", _rows(interface, side[:-1], entry)))
    if not any(interface[side] for interface in facts["interfaces"] for side in SIDES):
        sections.append(Note("The model has no inputs and no outputs.", "warning"))
    for language, title in (("numpy", "numpy"), ("c", "C")):
        text = code_text(facts, language)
        if text:
            sections.append(Code(title, text))
    return Report(facts["file"]["name"], sections)


def entries(facts: Facts) -> Iterator[Facts]:
    """All inputs and outputs, of all signatures."""
    for interface in facts["interfaces"]:
        for side in SIDES:
            yield from interface[side]


def code_text(facts: Facts, language: str) -> str:
    """The functions for all inputs and outputs as one source text, `numpy` or `c`; empty where nothing is quantized."""
    functions = dict.fromkeys(entry["code"][language] for entry in entries(facts) if entry["code"] is not None)
    if not functions:
        return ""
    gap = "\n\n\n" if language == "numpy" else "\n\n"
    return gap.join([NUMPY_HEAD if language == "numpy" else C_HEAD, *functions])


def _model_rows(facts: Facts) -> Rows:
    metadata = facts["metadata"]
    if metadata is None:
        return []
    rows: Rows = [(name, metadata[name]) for name in ("name", "description", "version", "author", "license") if metadata[name]]
    return rows + ([("files", ", ".join(metadata["associated_files"]))] if metadata["associated_files"] else [])


def _rows(interface: Facts, side: str, entry: Facts) -> Rows:
    rows: Rows = []
    if interface["signature"] is not None:
        rows.append(("signature", f"{interface['signature'] or '(no key)'}, as {entry['name'] or '(no name)'}"))
    tensor = entry["tensor"]
    if tensor is None:
        return [*rows, ("tensor", Cell("(no such tensor)", "error"))]
    number = index_text(tensor["index"]) + (f" of subgraph {tensor['subgraph']}" if tensor["subgraph"] > 0 else "")
    shape = shape_cell(tensor)
    rows += [
        ("tensor", Cell(f"{number}, {tensor['name'] or '(no name)'}", "name")),
        ("type", Cell(f"{tensor['type']} {shape.text}", shape.style)),
    ]
    rows += _quantization_rows(entry)
    rows += _metadata_rows(entry)
    rows.append(("feed", Cell(_feed(entry), "good")) if side == "input" else ("read", Cell(_read(entry), "good")))
    return rows


def _quantization_rows(entry: Facts) -> Rows:
    tensor = entry["tensor"]
    rows: Rows = []
    if tensor["quantized"]:
        axis = axis_text(tensor)
        rows.append(("scale", Cell(scale_text(tensor, exact=True) + (f", axis {axis}" if axis else ""), "quantized")))
        rows.append(("zero point", Cell(zero_point_text(tensor), "quantized")))
    if entry["unusable"] is not None:
        rows.append(("not usable", Cell(entry["unusable"], "warning")))
    if entry["range"] is not None:
        mean_std = entry["mean_std"]
        rows.append(("real range", bounds_text(entry["range"]["min"], entry["range"]["max"])))
        rows.append(("mean, std", f"{digits(mean_std['mean'])}, {short(mean_std['std'])}"))
    if entry["recognised"]:
        rows.append(("recognised", match_text(entry["recognised"][0])))
    inside = entry["inside"]
    if inside is not None:
        values = f"scale {digits(inside['scale'])}, zero point {inside['zero_point']}, range {bounds_text(inside['min'], inside['max'])}"
        way = "becomes" if inside["operator"] == "QUANTIZE" else "comes from"
        rows.append(("inside", f"{way} {inside['type']} by {inside['operator']}: {values}"))
    return rows


# ---- what the metadata says ----


def _metadata_rows(entry: Facts) -> Rows:
    metadata = entry["metadata"]
    rows: Rows = []
    if metadata is None:
        return rows
    named = ": ".join(text for text in (metadata["name"], metadata["description"]) if text)
    if named:
        rows.append(("metadata", named))
    if metadata["min"] or metadata["max"]:
        rows.append(("values", f"from {span(metadata['min']) or '?'} to {span(metadata['max']) or '?'} by the metadata"))
    if metadata["normalization"] is not None:
        rows.append(("normalize", f"{normalization_text(metadata['normalization'])} by the metadata"))
    rows += _agreement_rows(entry)
    if metadata["score_threshold"] is not None:
        rows.append(("threshold", f"{short(metadata['score_threshold'])}: drop results with lower scores"))
    rows += [("file", f"{file['name']} ({file['type']})") for file in metadata["associated_files"]]
    return rows


def _agreement_rows(entry: Facts) -> Rows:
    """Whether normalization and quantization go together."""
    check = entry["normalization"]
    if check is None or check["verdict"] == "float":
        return []
    offset = -128 if entry["tensor"]["type"] == "INT8" else 0
    if check["verdict"] == "missing":
        return [("normalize", Cell(NO_NORMALIZATION, "warning"))]
    if check["verdict"] == "unusable":
        return [("agreement", Cell(f"the normalization cannot be applied: {check['reason']}", "error"))]
    if check["verdict"] == "contradicts":
        return [("agreement", Cell(f"the quantization contradicts it: {check['reason']}", "error"))]
    if check["verdict"] == "bytes":
        near = "" if check["deviation"] == 0 else ", within 1"
        return [("agreement", Cell(f"normalizing and then quantizing gives {_plus('the image byte', offset)}{near}", "good"))]
    clipped = f", {check['clipped']} of the 256 bytes are clipped" if check["clipped"] else ""
    return [("agreement", f"fits: image bytes become {check['codes']} codes from {check['low']} to {check['high']}{clipped}")]


# ---- what to do ----


def _feed(entry: Facts) -> str:
    kind, check = entry["tensor"]["type"].lower(), entry["normalization"]
    if entry["image_bytes"] is not None:
        return _feed_bytes(entry, entry["image_bytes"])
    if entry["range"] is not None:
        low, high = code_range(TensorType[entry["tensor"]["type"]])
        rule = f"q = {_plus(f'round(real / {_scale(entry)})', _zero_point(entry))}, clipped to {low}..{high}"
        return rule if entry["code"] is None else f"{rule}: {entry['code']['function']}(real)"
    if entry["tensor"]["quantized"]:
        return f"{kind} codes"
    if check is not None and check["verdict"] == "float":
        return f"{kind}: {normalization_text(entry['metadata']['normalization'])}, which gives {bounds_text(check['min'], check['max'])}"
    if not kind.startswith(("float", "bfloat")):
        return f"{kind} values as they are"
    if entry["inside"] is not None:
        return f"{kind} real values; beyond {bounds_text(entry['inside']['min'], entry['inside']['max'])} they are clipped"
    stated = entry["metadata"] is not None and (entry["metadata"]["min"] or entry["metadata"]["max"])
    return f"{kind} real values" + ("" if stated else "; the file does not say in which range")


def _scale(entry: Facts) -> str:
    return digits(entry["tensor"]["quantization"]["scale"][0])


def _zero_point(entry: Facts) -> int:
    found: int = entry["tensor"]["quantization"]["zero_point"][0]
    return found


def _plus(text: str, number: int) -> str:
    return f"{text} {'-' if number < 0 else '+'} {abs(number)}" if number else text


def _feed_bytes(entry: Facts, rule: Facts) -> str:
    """`image byte b as the code b - 128, exactly: ...`."""
    code = _plus("b", rule["offset"])
    scale, zero_point = _scale_fraction(entry), _zero_point(entry)
    formula = rule["formula"].replace("pixel", "b")
    if rule["exact"]:
        what = f"exactly, because (scale, zero point) = ({scale}, {zero_point}) is {formula}"
    else:
        what = f"within {rule['deviation_lsb']:.2f} LSB of {formula}"
    return f"image byte b as the {entry['tensor']['type'].lower()} code {code}, {what}"


def _scale_fraction(entry: Facts) -> str:
    """`1/255` where the scale is the float32 next to that, else its digits."""
    scale = entry["tensor"]["quantization"]["scale"][0]
    std = np.rint(2 / scale) / 2
    return f"1/{std:g}" if std > 1 and float(np.float32(1 / std)) == scale else digits(scale)


def _read(entry: Facts) -> str:
    kind = entry["tensor"]["type"].lower()
    if entry["range"] is None:
        return f"{kind} codes" if entry["tensor"]["quantized"] else f"{kind} {'real values' if 'float' in kind else 'values as they are'}"
    zero_point = _zero_point(entry)
    codes = f"({_plus('q', -zero_point)})" if zero_point else "q"
    rule = f"real = {_scale(entry)} * {codes}"
    return rule if entry["code"] is None else f"{rule}: {entry['code']['function']}(codes)"
