"""The `explain` report: what a finding code means, why it matters and what repairs it."""

from __future__ import annotations

from collections.abc import Sequence

from ..audit import CODES
from ..errors import EditError
from .report import Cell, Column, KeyValues, Report, Section, Table, Value
from .values import Facts, plural


def explain_facts(codes: Sequence[str] = ()) -> Facts:
    """The descriptions of finding codes, of all without `codes`; EditError for one that does not exist.

    codes   one object each: code, title, explanation, fix
    """
    wanted = [_known(code) for code in codes] or list(CODES)
    keys = ("code", "title", "explanation", "fix")
    return {"codes": [{key: getattr(CODES[code], key) for key in keys} for code in dict.fromkeys(wanted)]}


def _known(code: str) -> str:
    if code.upper() in CODES:
        return code.upper()
    near = [known for known in CODES if known[:2] == code.upper()[:2]]
    hint = f"Near it: {', '.join(near)}" if near else "`tflitekit explain` lists them all"
    if not code.isalnum():
        hint = "What in a model makes a runtime print a message, `tflitekit audit MODEL` finds"
    raise EditError(f"no finding has the code {code!r}. {hint}")


def explain_report(facts: Facts, every: bool) -> Report:
    """The whole description of single codes; of `every` code a table of titles."""
    codes = facts["codes"]
    if not every:
        if len(codes) == 1:
            return Report(f"{codes[0]['code']}: {codes[0]['title']}", [KeyValues("", _rows(codes[0]))])
        sections: list[Section] = [KeyValues(code["code"], [("what is found", code["title"]), *_rows(code)]) for code in codes]
        return Report(plural(len(codes), "finding code"), sections)
    table = Table("", [Column("code", style="label"), Column("what is found", priority=9)])
    table.rows += [[Cell(code["code"], "label"), code["title"]] for code in codes]
    return Report(f"{plural(len(codes), 'finding code')}; tflitekit explain CODE tells why one matters and what repairs it", [table])


def _rows(code: Facts) -> list[tuple[str, Value]]:
    return [("why it matters", code["explanation"]), ("what repairs it", code["fix"])]
