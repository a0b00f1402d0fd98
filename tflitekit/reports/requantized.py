"""What encoding constants again costs, as tables with bars: tensor by tensor, or choice by choice where several are tried."""

from __future__ import annotations

from collections.abc import Sequence

from ..passes.costs import BIAS, CONSTANT, WEIGHTS
from .bars import ASCII_BLOCKS
from .report import Cell, Column, KeyValues, Section, Table, Value
from .values import Facts, plural, rough, size_text

_BAR, _FULL = 10, 60.0  # cells, and the dB that fill them
_POOR = 10.0  # dB below which a tensor has lost most of its meaning


def is_cost(note: Facts) -> bool:
    """Whether a note says what encoding a tensor, or all, costs."""
    return "bytes_after" in note["data"]


def costs(notes: Sequence[Facts], blocks: str = ASCII_BLOCKS) -> list[Section]:
    """The sections for the notes that say what encoding costs."""
    told = [note for note in notes if is_cost(note)]
    totals = [note["data"] for note in told if note["data"].get("total")]
    each = [note for note in told if not note["data"].get("total")]
    if any("choice" in note["data"] for note in told):
        return [_choices(totals, blocks), *_by_choice(each)]
    return [*([_tensors(each, blocks)] if each else []), *([_total(totals[0], blocks)] if totals else [])]


def _tensors(notes: Sequence[Facts], blocks: str) -> Table:
    title = "constants" if any(note["data"]["form"] in (BIAS, CONSTANT) for note in notes) else "weights"
    table = Table(title, [
        Column("stored as", priority=7, own_line=True), Column("SQNR", "right"), Column("", optional=True),
        Column("max error", "right", optional=True), Column("RMS", "right", optional=True), Column("clipped", "right", optional=True),
        Column("levels", "right", optional=True), Column("bytes", "right"), Column("how", priority=8, own_line=True, optional=True),
        Column("tensor", priority=8, own_line=True, style="name"),
        Column("worst channels", priority=9, own_line=True, mark="worst channels ", optional=True),
        Column("computed right by", priority=10, own_line=True, mark="computed right by ", optional=True),
    ])  # fmt: skip
    for note in notes:
        data = note["data"]
        where = "" if len(data["runtimes"]) == 3 else ", ".join(data["runtimes"])
        worst = ", ".join(f"{channel}: {decibels(db)}" for channel, db, _ in data.get("worst", ()) if db is not None)
        table.rows.append([
            _stored_as(data), *_figures(data, blocks),
            str(data["levels"]) if data.get("levels") else "", _bytes(data), data.get("how", ""), note["name"], worst,
            Cell(where, "warning"),
        ])  # fmt: skip
    return table


def _stored_as(data: Facts) -> str:
    """Type, granularity and form; of biases and other constants the granularity follows, and weights need not be called so."""
    form = data["form"]
    return " ".join(filter(None, (data["to"], "" if form in (BIAS, CONSTANT) else data["granularity"], "" if form == WEIGHTS else form)))


def _bytes(data: Facts) -> str:
    before, after = data["bytes_before"], data["bytes_after"]
    return f"{before}" if before == after else f"{before} -> {after}"


def _figures(data: Facts, blocks: str) -> list[Value]:
    """SQNR, its bar, the largest error, RMS, clipped values; empty where errors were not measured."""
    if "noise" not in data:
        return ["exact" if data.get("exact") else "-", "", "", "", ""]
    if not data["noise"]:
        return [Cell("exact", "good"), Cell(blocks[-1] * _BAR, "good"), "0", "0", ""]
    style = "warning" if data["sqnr"] is None or data["sqnr"] < _POOR else ""
    bar = Cell(_bar(data["sqnr"] or 0.0, blocks), style)
    errors = (rough(data[key]) for key in ("max_error", "rms"))
    return [Cell(decibels(data["sqnr"]), style), bar, *errors, str(data["clipped"]) if data["clipped"] else ""]


def _bar(decibels: float, blocks: str) -> str:
    """A bar of the signal to noise ratio."""
    steps = len(blocks) - 1
    filled = round(min(max(decibels / _FULL, 0.0), 1.0) * _BAR * steps)
    return blocks[-1] * (filled // steps) + (blocks[filled % steps] if filled % steps else "")


def decibels(value: float | None) -> str:
    """A signal to noise ratio."""
    return "no signal" if value is None else f"{value:.1f} dB"


def _total(data: Facts, blocks: str) -> KeyValues:
    before, after = size_text(data["bytes_before"]), size_text(data["bytes_after"])
    ratio, bar, largest, rms, clipped = (value.text if isinstance(value, Cell) else value for value in _figures(data, blocks))
    rows: list[tuple[str, Value]] = [("size", f"{after}, as before" if before == after else f"{before} -> {after}")]
    if bar:
        rows += [("SQNR", f"{ratio}  {bar}"), ("error", f"at most {largest}, RMS {rms}" + (f", {clipped} clipped" if clipped else ""))]
    if "worst_tensor" in data:
        rows.append(("worst tensor", Cell(data["worst_tensor"], "name")))
    return KeyValues(f"in total, {plural(data['tensors'], 'tensor')}", rows)


def _choices(totals: Sequence[Facts], blocks: str) -> Table:
    table = Table("choices", [
        Column("choice"), Column("tensors", "right"), Column("SQNR", "right"), Column("", optional=True), Column("max error", "right"),
        Column("RMS", "right"), Column("clipped", "right", optional=True), Column("bytes", "right"),
        Column("worst tensor", priority=8, own_line=True, mark="worst tensor ", optional=True, style="name"),
    ])  # fmt: skip
    for data in totals:
        table.rows.append([data["choice"], str(data["tensors"]), *_figures(data, blocks), _bytes(data), data.get("worst_tensor", "")])
    return table


def _by_choice(notes: Sequence[Facts]) -> list[Section]:
    """The signal to noise ratio of every tensor under every choice."""
    choices = list(dict.fromkeys(note["data"]["choice"] for note in notes))
    found: dict[str, dict[str, Value]] = {}
    for note in notes:
        found.setdefault(note["name"] or note["path"], {})[note["data"]["choice"]] = _figures(note["data"], ASCII_BLOCKS)[0]
    if not found:
        return []
    columns = [Column("tensor", priority=8, style="name"), *(Column(choice, "right") for choice in choices)]
    rows: list[list[Value]] = [[name, *(cells.get(choice, "-") for choice in choices)] for name, cells in found.items()]
    return [Table("SQNR of each tensor", columns, rows)]
