"""The `audit` report of one model."""

from __future__ import annotations

import re
from typing import Any

from .audit_words import LISTED, RUNTIMES, joined
from .bars import ASCII_BLOCKS, bar
from .report import Cell, Column, KeyValues, Note, Report, Section, Table, Value
from .stats import bounds_text, digits
from .values import Facts, plural, share_text
from .weights import weights_table

SHOWN_ISLANDS = 8
SHOWN_NAMES = 4
WORTH_TELLING, SOME = 0.1, 1024  # part of the bytes of all constants; bytes
MEASURES = {"operators": "operators", "weight_bytes": "weight bytes", "macs": "MACs"}
STYLES = {"integer": "quantized", "hybrid": "dynamic", "boundary": "quantized"}
BEHAVIOURS = {
    "fine": "computes the right values", "ignores": "does not look at it", "leaves": "leaves it to the CPU",
    "wrong": "returns wrong values without a word",
    "undefined": "reads memory that is not there", "refuses": "refuses", "crashes": "crashes",
}  # fmt: skip
# Names of operators with their position or version, and numbers: what may differ between findings that say the same.
_VARYING = re.compile(r"\b[A-Z][A-Z0-9_]+ (?:version )?\d+\b|[-+]?\b(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)\b")


def audit_report(facts: Facts, blocks: str = ASCII_BLOCKS) -> Report:
    """The verdict, its reasons, coverage as bars of `blocks`, islands, what the weights hold, findings by kind, and what to do next."""
    sections: list[Section] = [
        *_texts("why", facts["why"]),
        *([_required(facts["required"])] if facts["required"] else []),
        _interface(facts),
        _coverage(facts, blocks),
        *_other_constants(facts),
        *_islands(facts),
        *weights_table(facts["weights"] or [], blocks),
        *_findings(facts),
        *_texts("next", facts["next"]),
    ]
    return Report(f"{facts['file']['name']}: {facts['verdict']['sentence']}", sections)


def _texts(title: str, texts: list[str]) -> list[Section]:
    return [KeyValues(title, [("-", text) for text in texts])] if texts else []


def _required(required: Facts) -> KeyValues:
    met = "met" if required["met"] else "not met: " + "; ".join(required["differences"])
    return KeyValues("required", [(required["text"], Cell(met, "good" if required["met"] else "error"))])


def _interface(facts: Facts) -> Table:
    table = Table("inputs and outputs", [
        Column(""), Column("name", priority=9, own_line=True, style="name"), Column("type"), Column("scale", optional=True, style="quantized"),
        Column("zero point", "right", optional=True, style="quantized"), Column("real values", optional=True),
    ])  # fmt: skip
    for end in facts["interface"]:
        known = end["scale"] is not None
        numbers = [digits(end["scale"]), str(end["zero_point"]), bounds_text(end["min"], end["max"])] if known else ["", "", ""]
        table.rows.append([end["side"], end["name"] or "(no name)", end["type"], *numbers])
    return table


def _coverage(facts: Facts, blocks: str) -> Table:
    table = Table("coverage", [Column("share of"), Column("mode"), Column(""), Column("", "right"), Column("", "right")])
    for measure, label in MEASURES.items():
        rows = sorted((row for row in facts["coverage"] if row[measure]), key=lambda row: -int(row[measure]))
        total = sum(row[measure] for row in rows)
        for position, row in enumerate(rows):
            style = STYLES.get(row["mode"], "")
            head = label if position == 0 else ""
            drawn = Cell(bar(row[measure], total, blocks), style)
            table.rows.append([head, Cell(row["mode"], style), drawn, share_text(row[measure], total), str(row[measure])])
    return table


def _other_constants(facts: Facts) -> list[Section]:
    """What the weight bytes leave out, where it is not little."""
    other = facts["other_constants"]
    total = sum(row["weight_bytes"] for row in facts["coverage"])
    if other is None or other["bytes"] < SOME or other["bytes"] < WORTH_TELLING * (other["bytes"] + total):
        return []
    largest = other["largest"]
    name = f"'{largest['name']}'" if largest["name"] else largest["path"]
    readers = f" that {joined(largest['operators'])} read{'s' * (len(largest['operators']) == 1)}" if largest["operators"] else ""
    text = f"Weight bytes leave out {other['bytes']} bytes of other constants; the largest is {name}, {largest['bytes']} bytes of {largest['type']}"
    return [Note(f"{text}{readers}.", "note")]


# ---- what is computed in float ----


def _islands(facts: Facts) -> list[Section]:
    islands = facts["islands"]
    if not islands:
        return []
    table = Table("float islands", [
        Column("#", "right"), Column("operators"), Column("enters", priority=9, own_line=True, mark="in   ", style="name"),
        Column("leaves", priority=9, own_line=True, mark="out  ", style="name"),
    ])  # fmt: skip
    for number, island in enumerate(islands[:SHOWN_ISLANDS]):
        shores = ["; ".join(_crossing(c, word) for c in island[side][:SHOWN_NAMES]) for side, word in (("enters", "from"), ("leaves", "to"))]
        more = [f"; {len(island[side]) - SHOWN_NAMES} more" if len(island[side]) > SHOWN_NAMES else "" for side in ("enters", "leaves")]
        table.rows.append([str(number), _island_operators(island), shores[0] + more[0], shores[1] + more[1]])
    sections: list[Section] = [table]
    if len(islands) > SHOWN_ISLANDS:
        sections.append(Note(f"{len(islands) - SHOWN_ISLANDS} more islands; --json lists all of them."))
    return sections


def _island_operators(island: Facts) -> str:
    counts: dict[str, int] = {}
    for operator in island["operators"]:
        counts[operator["name"]] = counts.get(operator["name"], 0) + 1
    names = [name if count == 1 else f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])]
    shown = ", ".join(names[:SHOWN_NAMES]) + (f" and {len(names) - SHOWN_NAMES} more kinds" if len(names) > SHOWN_NAMES else "")
    return f"{shown}, first {island['operators'][0]['path']}"


def _crossing(crossing: Facts, word: str) -> str:
    name = f"'{crossing['name']}'" if crossing["name"] else crossing["path"]
    return f"{name} {word} {crossing['operator'] or 'the caller'}"


# ---- findings ----


def shape_of(finding: Facts) -> str:
    """The message without its numbers and operators: findings of one code and shape are told once."""
    return _VARYING.sub("#", finding["message"])


def finding_groups(findings: list[Facts]) -> list[list[Facts]]:
    """Findings of one code, severity and shape together, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[Facts]] = {}
    for finding in findings:
        reactions = tuple(sorted((runtime, reaction["behaviour"]) for runtime, reaction in finding["reactions"].items()))
        groups.setdefault((finding["code"], finding["severity"], shape_of(finding), reactions), []).append(finding)
    return list(groups.values())


def counts_text(counts: Facts) -> str:
    """`1 error, 2 warnings`, or `none`."""
    return ", ".join(f"{count} info" if severity == "info" else plural(count, severity) for severity, count in counts.items() if count) or "none"


def _findings(facts: Facts) -> list[Section]:
    label = f"for {RUNTIMES[facts['runtime']]}" if facts["runtime"] else "total"
    found = counts_text(facts["counts"])
    worst = next((severity for severity, count in facts["counts"].items() if count), "good")
    sections: list[Section] = [KeyValues("findings", [(label, Cell(found, worst))])]
    for group in finding_groups(facts["findings"]):
        sections.append(_group(group, facts["runtime"]))
    return sections


def _group(group: list[Facts], runtime: str | None) -> KeyValues:
    first = group[0]
    times = f" ({len(group)} times)" if len(group) > 1 else ""
    rows: list[tuple[str, Value]] = [
        (first["severity"], Cell(first["title"], first["severity"])),
        ("found", first["message"]),
        ("where", Cell(_places(group), "name")),
    ]
    reactions = reactions_text(first["reactions"], runtime)
    if reactions:
        rows.append(("runtimes" if runtime is None else RUNTIMES[runtime], reactions))
    rows.append(("fix", first["fix"]))
    return KeyValues(first["code"] + times, rows)


def _places(group: list[Facts]) -> str:
    texts = list(dict.fromkeys(place_text(finding) for finding in group))
    return joined(texts) if len(texts) <= LISTED else f"{', '.join(texts[:LISTED])} and {len(texts) - LISTED} more"


def place_text(finding: Facts) -> str:
    """Path and tensor name of a finding."""
    return (finding["path"] or "model") + (f" '{finding['name']}'" if finding["name"] else "")


def reactions_text(reactions: Facts, runtime: str | None = None) -> str:
    """What each runtime does, those that do the same together; of one runtime, only that."""
    said: dict[str, list[str]] = {}
    for name, reaction in reactions.items():
        if runtime is None or name == runtime:
            text = BEHAVIOURS.get(reaction["behaviour"], reaction["meaning"])
            said.setdefault(text + (f" ({reaction['text']})" if reaction["text"] else ""), []).append(RUNTIMES.get(name, name))
    if runtime is not None:
        return "".join(said)
    return "; ".join(f"{joined(names)}: {text}" for text, names in said.items())
