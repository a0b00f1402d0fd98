"""What constants hold, as histograms: a picture of one tensor, a line for each of many."""

from __future__ import annotations

from .bars import ASCII_BLOCKS, spark
from .report import Cell, Column, Histogram, KeyValues, Note, Section, Table, Value
from .values import Facts, plural, share_text, short

LINE = 16  # cells of a histogram in a table
SCALES_SHOWN = 8  # so many scales make a picture of their own
SCALES_HEIGHT = 2
AT_ENDS = (
    "At the ends are the highest and the lowest code, of signed types also the one above the lowest; scales from the largest weight put one there."
)


def picture(title: str, head: list[tuple[str, Value]], facts: Facts, blocks: str = ASCII_BLOCKS) -> list[Section]:
    """One tensor of `values_facts`: what it holds in words, a histogram, and one of its scales if there are many."""
    values, scales = facts["values"], facts["scales"]
    rows = [*head, *([("problem", Cell(facts["problem"], "warning"))] if facts["problem"] else _words(values))]
    sections: list[Section] = []
    if scales is not None:
        rows.append(("scales", _scales_words(scales)))
    sections.append(KeyValues(title, rows))
    if values is not None and values["lowest"] != values["highest"]:
        sections.append(_histogram(values, blocks))
    if scales is not None and scales["count"] >= SCALES_SHOWN:
        ends = short(scales["lowest"]), short(scales["highest"])
        sections.append(Histogram(scales["log2_counts"], *ends, blocks, "scales, by their logarithm", SCALES_HEIGHT, "dynamic"))
    return sections


def _words(values: Facts) -> list[tuple[str, Value]]:
    size = values["elements"]
    zeros = f"{share_text(values['zeros'], size)} are 0"
    if values["what"] == "numbers":
        odd = f", {values['not_finite']} not finite" if values["not_finite"] else ""
        return [("numbers", f"{size}, {short(values['lowest'])}..{short(values['highest'])}; {zeros}{odd}")]
    rows: list[tuple[str, Value]] = [
        ("codes", f"{size}, {values['lowest']}..{values['highest']}; {_levels(values)} levels"),
        ("shares", f"{share_text(values['at_ends'], size)} at the ends, {zeros}"),
    ]
    if values["real"] is not None:
        rows.append(("real values", f"{short(values['real'][0])}..{short(values['real'][1])}"))
    odd = _odd_channels(values)
    return [*rows, ("channels", Cell(odd, "warning"))] if odd else rows


def _levels(values: Facts) -> str:
    return f"{values['levels']} of {values['possible']}"


def _odd_channels(values: Facts) -> str:
    channels = values["channels"]
    said = [f"{channels['dead']} of {plural(channels['count'], 'channel')} hold nothing but 0"] * bool(channels["dead"])
    said += [f"{channels['few_levels']} of {plural(channels['count'], 'channel')} use few levels"] * bool(channels["few_levels"])
    return "; ".join(said)


def _scales_words(scales: Facts) -> str:
    lost = f", {scales['unusable']} unusable" if scales["unusable"] else ""
    return f"{scales['count']}, {short(scales['lowest'])}..{short(scales['highest'])}: {_spread(scales)} apart{lost}"


def _spread(scales: Facts) -> str:
    spread = scales["spread"]
    return spread if isinstance(spread, str) else f"{float(f'{spread:.3g}'):g}x"


def _histogram(values: Facts, blocks: str) -> Histogram:
    counts, bins = values["histogram"]["counts"], values["histogram"]
    if values["what"] == "numbers":
        return Histogram(counts, short(values["lowest"]), short(values["highest"]), blocks, style="info")
    low, high = values["limits"]
    zero = -low // bins["step"] if low < 0 else None
    return Histogram(counts, str(low), str(high), blocks, style="quantized", zero=zero, ends="warning")


def weights_table(weights: list[Facts], blocks: str = ASCII_BLOCKS) -> list[Section]:
    """A line for each weight tensor of `weights_facts`."""
    if not weights:
        return []
    table = Table("weights", [
        Column("#", "right"), Column("type"), Column("codes", priority=6, least=8), Column("levels", "right", optional=True),
        Column("at ends", "right", optional=True), Column("zeros", "right"), Column("scales", "right", optional=True),
        Column("histogram", priority=7, own_line=True),
        Column("remark", priority=8, own_line=True, optional=True, style="warning"), Column("name", priority=9, own_line=True, style="name"),
    ])  # fmt: skip
    several = any(not facts["path"].startswith("subgraphs[0]") for facts in weights)
    table.rows = [_row(facts, several, blocks) for facts in weights]
    notes: list[Section] = [Note("scales: the largest divided by the smallest. " + AT_ENDS, "note")]
    return [table, *(notes if any(facts["values"] and facts["values"]["what"] == "codes" for facts in weights) else [])]


def _row(facts: Facts, several: bool, blocks: str) -> list[Value]:
    values, scales = facts["values"], facts["scales"]
    graph, _, index = facts["path"].removeprefix("subgraphs[").removesuffix("]").partition("].tensors[")
    number = f"{graph}:{index}" if several else index
    spread = _spread(scales) if scales is not None else ""
    if values is None:
        return [number, facts["type"], "", "", "", "", spread, "", facts["problem"], facts["name"] or "(no name)"]
    size = values["elements"]
    coded = values["what"] == "codes"
    ends = Cell(share_text(values["at_ends"], size)) if coded else ""
    span = f"{values['lowest']}..{values['highest']}" if coded else f"{short(values['lowest'])}..{short(values['highest'])}"
    remark = _odd_channels(values) if coded else f"{plural(values['not_finite'], 'value')} not finite" if values["not_finite"] else ""
    line = Cell(spark(values["histogram"]["counts"], LINE, blocks), "quantized" if coded else "info")
    levels = _levels(values) if coded else ""
    return [number, facts["type"], span, levels, ends, share_text(values["zeros"], size), spread, line, remark, facts["name"] or "(no name)"]
