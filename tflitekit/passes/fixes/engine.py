"""Runs repairs on a copy, and keeps them only if the audit then finds what was repaired no longer, and nothing new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..._copy import copied
from ...audit import CODES, ERROR, INFO, WARNING, Finding
from ...errors import EditError, TFLiteKitError
from ...graph import Model, Operator, OperatorCode
from ..base import Notes
from ..surgery import keep_up, operators_of
from .bench import Bench, Fixer, UnfixableError, audited

if TYPE_CHECKING:
    from ..fix_quantization import FixQuantization

TOLD = frozenset({"Q501", "Q502"})  # what a sound model is told of its ranges; a repair may make it sound enough to be told
ROUNDS = 3  # a repair may bring up what another can repair: a fixed output, then the group that it belongs to


def repair(options: FixQuantization, model: Model, notes: Notes) -> None:
    """Repair all findings, or those of the chosen codes, until nothing more can be done."""
    from .table import FIXERS

    for code in options.code:
        if code not in FIXERS:
            known = f"fix-quantization does not repair it. {CODES[code].fix}" if code in CODES else "there is no such finding"
            raise EditError(f"--code {code}: {known}. Repaired are {', '.join(sorted(FIXERS))}")
    chosen = [code for code in FIXERS if not options.code or code in options.code]
    refused: dict[tuple[str, str, str], str] = {}
    for _ in range(ROUNDS):
        progress = False
        for code in chosen:
            progress |= _repair_code(options, model, code, FIXERS[code], notes, refused)
        if not progress:
            break
    left = audited(model)
    for finding in left:
        reason = refused.get(_key(finding)) if finding.code in chosen else None
        if reason is None and not options.code and finding.severity != INFO and finding.code not in FIXERS:
            reason = CODES[finding.code].fix
        if reason is not None:
            notes.refused(finding.path, f"{finding.code} {finding.message}. Not repaired: {reason}", code=finding.code)


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.path, finding.operator


def _repair_code(
    options: FixQuantization, model: Model, code: str, fixer: Fixer, notes: Notes, refused: dict[tuple[str, str, str], str]
) -> bool:
    """Repair the findings of one code together, or one by one where that would break something; True if the model changed."""
    before = audited(model)
    found = _of(code, before)
    if not found:
        return False
    if _attempt(options, model, found, before, fixer, notes, refused):
        return True
    progress = False
    if len(found) > 1:
        for finding in found:
            before = audited(model)
            if any(_key(f) == _key(finding) for f in _of(code, before)):
                progress |= _attempt(options, model, [finding], before, fixer, notes, refused)
    return progress


def _of(code: str, findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.code == code]


def _attempt(
    options: FixQuantization, model: Model, found: Sequence[Finding], before: Sequence[Finding], fixer: Fixer, notes: Notes,
    refused: dict[tuple[str, str, str], str],
) -> bool:  # fmt: skip
    """Repair some of the findings that there were before on a copy; take it over if that was right."""
    trial = copied(model)
    bench, claimed = Bench(trial, options.bias, found, before), []
    operators = operators_of(trial)
    for finding in found:
        try:
            fixer(bench, finding)
            claimed.append(finding)
        except (UnfixableError, TFLiteKitError) as reason:
            refused[_key(finding)] = str(reason)
    if not claimed or not bench.said:
        return False
    _keep_up(bench, operators)
    after = audited(trial)
    kept = Counter(_name(f, bench.copies) for f in after)
    old = Counter(_name(f) for f in before)
    stay = [f for f in claimed if kept[_name(f)] >= old[_name(f)]]
    new = [f for f in after if f.severity in (ERROR, WARNING) and f.code not in TOLD and kept[name := _name(f, bench.copies)] > old[name]]
    if stay or new:
        for finding in claimed:
            what = f"it would bring up {new[0].code} ({new[0].message})" if new else "the repair does not help"
            refused[_key(finding)] = what
        return False
    _take_over(model, trial)
    for finding in claimed:
        refused.pop(_key(finding), None)
    for what, text, data in bench.said:
        notes.changed(what, text, **data)
    return True


def _keep_up(bench: Bench, operators: dict[Operator, OperatorCode | None]) -> None:
    """Let metadata that speaks of operators follow the repairs, and say so."""
    notes = Notes()
    keep_up(bench.model, operators, notes)
    bench.said += [(note.path, note.text, dict(note.data)) for note in notes.resolved(bench.model)]


def _name(finding: Finding, copies: Mapping[str, str] = MappingProxyType({})) -> tuple[str, str, str]:
    """What makes two findings the same while operators move: code, severity, tensor, or what that is a copy of."""
    return finding.code, finding.severity, copies.get(finding.name, finding.name)


def _take_over(model: Model, trial: Model) -> None:
    """Make `model` what `trial` is."""
    for slot in dict.fromkeys(s for base in type(model).__mro__ for s in vars(base).get("__slots__", ())):
        object.__setattr__(model, slot, getattr(trial, slot))


