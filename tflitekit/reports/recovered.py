"""The `recover` report and its facts."""

from __future__ import annotations

from .report import KeyValues, Report, Value
from .values import Facts

OUTCOMES = {
    "none": "no edit was interrupted; there is nothing to do",
    "unbegun": "an edit was interrupted before its first byte; the model is as it was",
    "complete": "an edit was interrupted after its last byte; the model is the edited one",
    "restored": "an edit was interrupted half-way; the model was restored to what it was before",
    "discarded": "the undo record was removed; the model was not touched",
}


def recovered_facts(file: str, record: str, outcome: str, restored: int, reason: str) -> Facts:
    """What was found of an interrupted edit.

    file, record    paths of the model and of its undo record
    outcome         a key of `OUTCOMES`, or foreign: the record is for another file
    restored        bytes put back
    text            the outcome in words
    """
    foreign = f"the undo record {reason}. Nothing was touched. If the model is as it should be, --discard removes the record"
    return {"file": file, "record": record, "outcome": outcome, "restored": restored, "text": OUTCOMES.get(outcome, foreign)}


def recovered_report(facts: Facts) -> Report:
    """The outcome in words, and the record it is about."""
    rows: list[tuple[str, Value]] = [("outcome", facts["text"])]
    if facts["restored"]:
        rows.append(("restored", f"{facts['restored']} bytes"))
    if facts["outcome"] != "none":
        rows.append(("record", facts["record"]))
    return Report(facts["file"], [KeyValues("", rows)])
