"""The `compare` report."""

from __future__ import annotations

from collections.abc import Iterator

from .report import Cell, Column, KeyValues, Note, Report, Section, Table, Value
from .values import Facts, short

RESOLVERS = {
    "default": "default (optimized kernels, XNNPACK)", "optimized": "optimized (optimized kernels, no delegates)",
    "reference": "reference (reference kernels)",
}  # fmt: skip
FAR = 1.0  # LSB: a larger error is coloured
SHOWN = 4  # errors in a line
LOSS = 3.0  # dB: an operator that loses more is coloured
ENCODING = "Each model gets the same real values as its own codes: divided by the scale in float32, rounded half away from zero, clipped."


def compare_report(facts: Facts) -> Report:
    """The verdict, how it was run, inputs and outputs, and the layers if they were compared."""
    sections: list[Section] = [KeyValues("", [*_verdict(facts), *_how(facts), *signature_rows(facts)])]
    titled = list(zip(signature_titles(facts), facts["signatures"], strict=True))
    for title, signature in titled:
        sections += [_inputs(signature, title), _outputs(signature, title)]
    sections += _notes(facts)
    for title, signature in titled:
        if signature["layers"] is not None:
            sections += _layers(signature["layers"], title)
    return Report(f"{facts['a']['name']} -> {facts['b']['name']}", sections)


def signature_titles(facts: Facts) -> list[str]:
    """What the titles about each signature begin with: nothing, if there is only one."""
    count = len(facts["signatures"])
    return [f"signature {number}, " for number in range(count)] if count > 1 else [""]


def signature_rows(facts: Facts) -> list[tuple[str, Value]]:
    """The keys of several signatures."""
    titles = signature_titles(facts)
    return [(title.rstrip(", "), s["signature"]) for title, s in zip(titles, facts["signatures"], strict=True) if title]


def outputs_of(facts: Facts) -> Iterator[Facts]:
    """The outputs of all signatures."""
    for signature in facts["signatures"]:
        yield from signature["outputs"]


def headline(facts: Facts) -> Cell:
    """The verdict in a few words."""
    outputs = list(outputs_of(facts))
    differing = sum(output["differing"] > 0 for output in outputs)
    if facts["within"] is False:
        return Cell(f"beyond the tolerance of {facts['tolerance']}", "error")
    if facts["within"] and not facts["equal"]:
        return Cell(f"within the tolerance of {facts['tolerance']}", "good")
    if facts["equal"]:
        return Cell("the same outputs" if outputs else "no outputs", "good" if facts["shows"] else "warning")
    return Cell("the output differs" if len(outputs) == 1 else f"{differing} of {len(outputs)} outputs differ", "warning")


def worst(facts: Facts) -> str:
    """What is beyond the tolerance, in one line."""
    texts = [f"signature {each['signature']!r} is only in {each['model'].upper()}" for each in facts["missing"]]
    for output in outputs_of(facts):
        if output["within"] is False:
            odd = f", {output['non_finite']} NaN or infinite on one side only" if output["non_finite"] else ""
            texts.append(f"output {output['name']!r} is off by {_error(output)}, {_decibels(output['sqnr_db'])} dB{odd}")
    return "; ".join(texts)


def summary(facts: Facts) -> Cell:
    """A comparison in one line: the verdict, the largest errors, and what was run."""
    text, style = headline(facts)
    errors = [_error(output) for output in outputs_of(facts)]
    largest = "" if facts["equal"] else f", largest errors {', '.join(errors[:SHOWN])}" + (", ..." if len(errors) > SHOWN else "")
    nothing = "; the inputs do not change the outputs, so it shows next to nothing" if facts["shows"] is False else ""
    return Cell(f"{text}{largest}; {_samples(facts)}, resolver {facts['resolver']}{nothing}", "warning" if nothing else style)


def _error(output: Facts) -> str:
    return short(output["max_abs"]) + ("" if output["max_lsb"] is None else f" ({_steps(output['max_lsb'])} LSB)")


def _verdict(facts: Facts) -> list[tuple[str, Value]]:
    rows: list[tuple[str, Value]] = [("verdict", headline(facts))]
    if facts["within"] is False:
        rows.append(("because", Cell(worst(facts), "error")))
    elif facts["missing"]:
        rows.append(("missing", Cell(worst(facts), "warning")))
    return rows


def _how(facts: Facts) -> list[tuple[str, Value]]:
    return [("samples", _samples(facts)), ("resolver", RESOLVERS[facts["resolver"]])]


def _samples(facts: Facts) -> str:
    counts = sorted({signature["samples"] for signature in facts["signatures"]})
    return f"{' or '.join(map(str, counts))} {data_text(facts['data'])}"


def data_text(data: Facts) -> str:
    """Where the inputs are from, in words."""
    if data["kind"] == "random":
        return f"random samples, seed {data['seed']}"
    if data["kind"] == "arrays":
        return "given samples"
    names = data["paths"]
    return f"samples from {names[0]}" if len(names) == 1 else f"samples from {len(names)} files and folders"


def _inputs(signature: Facts, title: str) -> Table:
    table = Table(f"{title}inputs", [
        Column("name", priority=9, own_line=True, style="name"), Column("A"), Column("B"), Column("lowest", "right"), Column("highest", "right"),
        Column("clipped in A", "right", optional=True), Column("in B", "right", optional=True), Column("values", priority=10, own_line=True),
    ])  # fmt: skip
    for entry in signature["inputs"]:
        ends = ["-" if entry[end] is None else short(entry[end]) for end in ("low", "high")]
        clipped = [_clipped(entry, side) for side in ("a", "b")]
        table.rows.append([entry["name"] or "(no name)", entry["a"]["type"], entry["b"]["type"], *ends, *clipped, entry["how"]])
    return table


def _clipped(entry: Facts, side: str) -> Value:
    count = entry["clipped"][side]
    return Cell(f"{count / entry['elements']:.2%}", "warning") if count else ""


def _outputs(signature: Facts, title: str) -> Table:
    table = Table(f"{title}outputs", [
        Column("name", priority=9, own_line=True, style="name"), Column("A", priority=5, least=5), Column("B", priority=5, least=5),
        Column("max LSB", "right", optional=True), Column("mean LSB", "right", optional=True), Column("max error", "right"),
        Column("mean error", "right", optional=True), Column("SQNR dB", "right"), Column("cosine", "right"), Column("top-1", "right", optional=True),
        Column("", optional=True),
    ])  # fmt: skip
    for output in signature["outputs"]:
        style = "good" if not output["differing"] else "error" if output["within"] is False else ""
        mean = _steps(output["mean_abs"]) if output["mean_lsb"] is None else ""
        numbers = [_steps(output["max_lsb"]), _steps(output["mean_lsb"]), short(output["max_abs"]), mean]
        table.rows.append([
            output["name"] or "(no name)", output["a"]["type"], output["b"]["type"], *(Cell(text, style) for text in numbers),
            Cell(_decibels(output["sqnr_db"]), style), _cosine(output["cosine"]), _top1(output), _remark(output),
        ])  # fmt: skip
    return table


def _steps(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def _cosine(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.6f}"


def _decibels(value: float | str) -> str:
    return {"Infinity": "inf", "-Infinity": "-inf"}.get(value, value) if isinstance(value, str) else f"{value:.1f}"


def _top1(output: Facts) -> Value:
    top = output["top1"]
    if top is None:
        return ""
    return Cell(f"{top['agree']}/{top['rows']}", "" if top["agree"] == top["rows"] else "warning")


def _remark(output: Facts) -> Value:
    if output["non_finite"]:
        return Cell(f"{output['non_finite']} not finite", "error")
    if not all(side is not False for side in output["varies"].values()):
        return Cell("constant", "warning")
    return "" if output["within"] is None else Cell("within", "good") if output["within"] else Cell("beyond", "error")


def _notes(facts: Facts) -> list[Section]:
    notes: list[Section] = []
    texts = []
    if facts["shows"] is False:
        what = "The outputs are the same for all inputs" if any(s["inputs"] for s in facts["signatures"]) else "The models have no inputs"
        notes.append(Note(f"{what}: this comparison shows next to nothing. Give other inputs, with --data.", "warning"))
    elif facts["shows"] is None and any(facts["signatures"]):
        notes.append(Note("With one sample it cannot be seen whether the inputs change the outputs at all.", "note"))
    if any(entry[side]["scale"] is not None for signature in facts["signatures"] for entry in signature["inputs"] for side in ("a", "b")):
        texts.append(ENCODING)
    if any(signature["matched"] == "position" and _renamed(signature) for signature in facts["signatures"]):
        texts.append("Inputs and outputs are paired by position: their names differ.")
    return [*notes, Note(" ".join(texts), "note")] if texts else notes


def _renamed(signature: Facts) -> bool:
    return any(entry["a"]["name"] != entry["b"]["name"] for side in ("inputs", "outputs") for entry in signature[side])


# ---- layers ----


def _layers(layers: Facts, title: str) -> list[Section]:
    rows = layers["layers"]
    first = layers["first"]
    lost = f"; {layers['unreadable']} pairs could not be read" if layers["unreadable"] else ""
    alone = ", ".join(f"{count} of {side.upper()}" for side, count in layers["unmatched"].items() if count)
    compared = f"{len(rows)} tensors, {layers['resolver']} kernels without delegates"
    facts: list[tuple[str, Value]] = [
        ("compared", compared + (f"; without a counterpart: {alone}" if alone else "") + lost),
        ("departs", Cell("nowhere: all are the same", "good") if first is None else Cell(_where(rows[first]), "warning")),
    ]
    worst_drop = _worst_drop(rows, first)
    if worst_drop is not None:
        facts.append(("largest loss", f"{worst_drop['drop_db']:.1f} dB in {_where(worst_drop)}"))
    if first is None:
        return [KeyValues(f"{title}layers", facts)]
    quiet = first - 1 if first > 1 else 0
    table = Table(f"{title}from the first departure on" if quiet else f"{title}all layers", [
        Column("#", "right"), Column("operator", priority=3, least=10), Column("max LSB", "right", optional=True), Column("max error", "right"),
        Column("SQNR dB", "right"), Column("lost dB", "right"), Column("tensor", priority=9, own_line=True, style="name"),
    ])  # fmt: skip
    table.rows = [_layer(layer) for layer in rows[quiet:]]
    notes = [Note(f"The {quiet} before are the same, or not beyond the tolerance.", "note")] if quiet else []
    return [KeyValues(f"{title}layers", facts), table, *notes, Note("lost: against the worst compared tensor that the operator reads.", "note")]


def _worst_drop(rows: list[Facts], first: int | None) -> Facts | None:
    """The operator behind the first departure that loses most, if that is much."""
    found = [row for row in rows if isinstance(row["drop_db"], float) and row["drop_db"] >= LOSS]
    return max(found, key=lambda row: float(row["drop_db"]), default=None) if first is not None else None


def _where(layer: Facts) -> str:
    at = "input" if layer["position"] < 0 else f"operator {layer['position']}, {layer['operator']}"
    return f"{at}, tensor {layer['b']} {layer['name'] or '(no name)'}"


def _layer(layer: Facts) -> list[Value]:
    drop = layer["drop_db"]
    lost = "" if drop is None else "all" if isinstance(drop, str) else f"{drop:.1f}" if abs(drop) >= 0.05 else ""
    steps = layer["max_lsb"]
    renamed = f" (A: {layer['name_a']})" if layer["name_a"] != layer["name"] else ""
    return [
        "" if layer["position"] < 0 else str(layer["position"]),
        layer["operator"],
        Cell(_steps(steps), "warning" if isinstance(steps, str) or (steps is not None and steps > FAR) else ""),
        _steps(layer["max_abs"]),
        _decibels(layer["sqnr_db"]),
        Cell(lost, "warning" if isinstance(drop, str) or (drop is not None and drop >= LOSS) else ""),
        (layer["name"] or "(no name)") + renamed,
    ]
