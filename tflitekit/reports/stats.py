"""The `stats` report and its facts."""

from __future__ import annotations

import math
from typing import Any

from .._schema import TensorType
from ..quant.affine import SYMMETRIC, Affine, Derived, code_range, from_range
from ..quant.formulas import CLAIMS, producers
from ..quant.preprocessing import BYTE_SHIFT, Match, recognise
from .report import Cell, Column, KeyValues, Note, Report, Section, Table, Value
from .values import Facts, short

BYTE_TYPES = {type.name.lower(): type for type in BYTE_SHIFT}
EXACT = 1e-6  # LSB: a smaller residual is the rounding of float64
INVERTED = 1000  # a real range beyond this, with a std below 1, has its std upside down
SMALLEST_NORMAL = 2.0**-126  # float32
SHOWN_MATCHES = 3
VERDICTS = {"right": "good", "wrong": "error"}
FORM_TEXTS = {"mean_std": "mean {mean}, std {std}", "range": "range {min} to {max}", "scale": "scale {scale}, zero point {mean}"}


def stats_facts(derived: Derived, form: str, explain: bool = False) -> Facts:
    """What a pair of numbers means as quantization of a whole tensor.

    dtype         uint8, int8 or int16
    form          what was given: mean_std, range or scale
    asked         scale, mean, std, min, max before anything is rounded (float64); min and max after widening
    widened_from  min and max as given, where the range was extended to include 0 or to be symmetric; else null
    stored        scale (float32), zero_point, mean, std, min, max as a file holds them
    residual      lsb: mean - zero_point; real: what that adds to every real value
    recognised    usual preprocessings that fit, nearest first: name, formula, mean, std, kind, deviation_lsb
    other_dtype   the same real values in the type of the other sign: dtype, scale, zero_point, derived_zero_point (what deriving the
                  range anew would give); null for int16
    hints         texts: what the numbers suggest was meant
    explain       null, or formulas (statement, verdict, reason, here) and producers (arithmetic, used_by, scale, zero_point)
    """
    stored = derived.stored
    low, high = stored.range()
    mean, std = stored.mean_std()
    return {
        "dtype": stored.type.name.lower(),
        "form": form,
        "asked": {"scale": derived.scale, "mean": derived.mean, "std": derived.std, "min": derived.range.min, "max": derived.range.max},
        "stored": {"scale": float(stored.scale), "zero_point": stored.zero_point, "mean": mean, "std": std, "min": low, "max": high},
        "residual": {"lsb": derived.residual, "real": derived.residual * float(stored.scale)},
        "widened_from": None if derived.widened_from is None else derived.widened_from._asdict(),
        "recognised": [match_facts(match) for match in recognise(stored)],
        "other_dtype": _other(derived),
        "hints": _hints(derived, form),
        "explain": _explain(derived) if explain else None,
    }


def match_facts(match: Match) -> Facts:
    """A preprocessing that fits: name, formula, mean, std, kind, deviation_lsb."""
    preprocessing = match.preprocessing
    names = ("name", "formula", "mean", "std", "kind")
    return {**{name: getattr(preprocessing, name) for name in names}, "deviation_lsb": match.deviation}


def _other(derived: Derived) -> Facts | None:
    stored = derived.stored
    other = {TensorType.UINT8: TensorType.INT8, TensorType.INT8: TensorType.UINT8}.get(stored.type)
    if other is None:
        return None
    shifted = stored.shifted(other)
    anew = from_range(*derived.range, other).stored
    return {"dtype": other.name.lower(), "scale": float(shifted.scale), "zero_point": shifted.zero_point, "derived_zero_point": anew.zero_point}


def _hints(derived: Derived, form: str) -> list[str]:
    """What was probably meant, where the numbers look like a usual mistake."""
    stored, hints = derived.stored, []
    std = derived.std
    if form == "mean_std" and std < 1 and max(map(abs, derived.range)) > INVERTED:
        hints.append(f"The range is so large because std is a divisor: real = (q - mean) / std. If a factor was meant, std is {derived.scale:.6g}.")
    if form == "mean_std" and stored.type == TensorType.INT8 and derived.mean >= 0:
        found = recognise(Affine(stored.scale, stored.zero_point, TensorType.UINT8), EXACT * 1000)
        if found:
            meant = f"mean {derived.mean - 128:g}, std {std:g}"
            hints.append(f"If mean and std were meant for uint8 ({found[0].preprocessing.name}), int8 needs {meant}.")
    if float(stored.scale) < SMALLEST_NORMAL:
        hints.append("The scale is subnormal in float32. XNNPACK refuses such a model.")
    return hints


def _explain(derived: Derived) -> Facts:
    bytes_ = derived.stored.type in BYTE_SHIFT
    formulas = [
        {
            "statement": claim.statement,
            "verdict": claim.verdict,
            "reason": claim.reason,
            "here": claim.worked(derived) if claim.worked is not None and bytes_ else None,
        }
        for claim in CLAIMS
    ]
    ways = [{"arithmetic": p.arithmetic, "used_by": p.used_by, "scale": p.scale, "zero_point": p.zero_point} for p in producers(derived)]
    return {"formulas": formulas, "producers": ways}


# ---- the report ----


def stats_report(facts: Facts) -> Report:
    """The parameters to write into a file first, then all forms, then what they stand for."""
    form = FORM_TEXTS[facts["form"]].format(**{name: digits(value) for name, value in _given(facts).items()})
    sections: list[Section] = [_result(facts), _forms(facts), *(Note(hint, "warning") for hint in facts["hints"])]
    if facts["explain"] is not None:
        sections += _explain_sections(facts)
    return Report(f"{facts['dtype']}, {form}", sections)


def _given(facts: Facts) -> dict[str, float]:
    return {**facts["asked"], **(facts["widened_from"] or {})}


def digits(value: float) -> str:
    """All digits that float64 needs; whole numbers without a point."""
    return repr(int(value)) if value == int(value) and abs(value) < 1e16 else repr(value)


def bounds_text(low: float, high: float) -> str:
    """`[-100.392, 99.608]`: six significant digits of the larger bound, and as many decimals for the other."""
    largest = max(abs(low), abs(high))
    decimals = 5 - math.floor(math.log10(largest)) if largest > 0 else 0
    if not 0 <= decimals <= 10:
        return f"[{short(low)}, {short(high)}]"
    return f"[{', '.join(digits(round(value, decimals) + 0.0) for value in (low, high))}]"


def _result(facts: Facts) -> KeyValues:
    stored = facts["stored"]
    low, high = code_range(TensorType[facts["dtype"].upper()])
    offset = "q" if stored["zero_point"] == 0 else f"(q {'-' if stored['zero_point'] > 0 else '+'} {abs(stored['zero_point'])})"
    rows: list[tuple[str, Value]] = [
        ("scale", Cell(digits(stored["scale"]), "quantized")),
        ("zero point", Cell(str(stored["zero_point"]), "quantized")),
        ("range", bounds_text(stored["min"], stored["max"])),
        ("rule", f"real = {digits(stored['scale'])} * {offset}, q from {low} to {high}"),
        ("residual", _residual_text(facts)),
    ]
    if facts["widened_from"] is not None:
        rows.append(("widened", Cell(f"to {digits(facts['asked']['min'])} to {digits(facts['asked']['max'])}, {_widened_why(facts)}", "warning")))
    rows += _recognised_rows(facts)
    rows.append(_other_row(facts))
    return KeyValues("", rows)


def _widened_why(facts: Facts) -> str:
    return "as int16 is symmetric" if TensorType[facts["dtype"].upper()] in SYMMETRIC else "to include 0"


def _residual_text(facts: Facts) -> str:
    """What the integer zero point costs."""
    lsb, real = facts["residual"]["lsb"], facts["residual"]["real"]
    if abs(lsb) < EXACT:
        return "none: the mean is an integer"
    mean, direction = short(facts["asked"]["mean"]), "higher" if lsb > 0 else "lower"
    return f"mean {mean} is no integer: every real value is {short(abs(real))} ({short(abs(lsb))} LSB) {direction} than asked"


def _recognised_rows(facts: Facts) -> list[tuple[str, Value]]:
    matches = facts["recognised"]
    if not matches:
        return [("recognised", Cell("no usual preprocessing", "warning"))]
    rows: list[tuple[str, Value]] = [("recognised", Cell(match_text(matches[0]), "good"))]
    others = matches[1 : 1 + SHOWN_MATCHES]
    more = f"; {len(matches) - 1 - SHOWN_MATCHES} more" if len(matches) > 1 + SHOWN_MATCHES else ""
    return rows + ([("similar", "; ".join(f"{m['formula']} ({m['deviation_lsb']:.2f} LSB off)" for m in others) + more)] if others else [])


def match_text(match: Facts) -> str:
    """`image scaled to [0, 1]: pixel / 255`, with how far off it is."""
    off = f", {match['deviation_lsb']:.2f} LSB off" if match["deviation_lsb"] >= 0.005 else ""
    return f"{match['name']}: {match['formula']}{off}"


def _other_row(facts: Facts) -> tuple[str, Value]:
    other = facts["other_dtype"]
    if other is None:
        return "8 bits", "no shift to them: derive their parameters from the range"
    sign = "+" if other["dtype"] == "uint8" else "-"
    text = f"same scale and range, zero point {other['zero_point']}, codes q {sign} 128"
    if other["derived_zero_point"] != other["zero_point"]:
        text += f" (deriving the range anew would give {other['derived_zero_point']}, another range)"
    return f"as {other['dtype']}", text


def _forms(facts: Facts) -> Table:
    asked: dict[str, Any] = {**facts["asked"], "zero point": facts["asked"]["mean"]}
    stored: dict[str, Any] = {**facts["stored"], "zero point": facts["stored"]["zero_point"]}
    table = Table("all forms", [Column(""), Column("asked for", "right"), Column("in a file", "right", style="quantized")])
    for name in ("scale", "zero point", "min", "max", "mean", "std"):
        table.rows.append([Cell(name, "label"), digits(asked[name]), digits(stored[name])])
    return table


def _explain_sections(facts: Facts) -> list[Section]:
    formulas = Table("formulas in circulation", [
        Column("statement", priority=5), Column("verdict"), Column("why", priority=9, own_line=True),
    ])  # fmt: skip
    for claim in facts["explain"]["formulas"]:
        why = claim["reason"] if claim["here"] is None else f"{claim['reason']} {claim['here']}"
        formulas.rows.append([claim["statement"], Cell(claim["verdict"], VERDICTS.get(claim["verdict"], "warning")), why])
    ways = facts["explain"]["producers"]
    if not ways:
        return [formulas, Note(f"Every producer uses the zero point 0 for {facts['dtype']}.")]
    table = Table("the same range by other producers", [
        Column("zero point", "right", style="quantized"), Column("scale", style="quantized"), Column("used by"),
        Column("arithmetic", priority=9, own_line=True),
    ])  # fmt: skip
    for way in ways:
        style = "" if way["zero_point"] == ways[0]["zero_point"] else "warning"
        table.rows.append([Cell(str(way["zero_point"]), style), digits(way["scale"]), way["used_by"], way["arithmetic"]])
    return [formulas, table, Note(_agreement(ways))]


def _agreement(ways: list[Facts]) -> str:
    others = sorted({way["zero_point"] for way in ways[1:]} - {ways[0]["zero_point"]})
    if not others:
        return "All of them arrive at the same zero point here. Ranges symmetric around 0 are where they differ, since the mean then lies halfway."
    found = f"{' or '.join(map(str, others))} instead of {ways[0]['zero_point']}"
    return f"The mean is so close to halfway between two codes that the arithmetic decides: {found}. Either is half a step off."
