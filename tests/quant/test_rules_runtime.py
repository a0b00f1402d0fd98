"""The facts of the rule table, put to the installed runtime: each fact's deviation is built, run in three resolvers, and must do what the fact says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tests.runtime import Outcome, available
from tflitekit.quant.rules import FACTS, LITERT, RULES, Behaviour, Fact, Reaction, Runtime, Topic

from .deviations import MEANINGLESS, Deviation, deviations
from .oracle import Comparison, array, feeds, judge, run_all

pytestmark = pytest.mark.skipif(not available(), reason="the runtime extra is not installed")

TESTED = [fact for fact in FACTS if set(fact.reactions) & set(LITERT) and next(deviations(fact), None) is not None]


def outcome_fits(outcome: Outcome, reaction: Reaction) -> str | None:
    """What is wrong with an outcome, seen from outside."""
    if reaction.behaviour == Behaviour.REFUSES:
        fits = outcome.status == "error" and reaction.text in outcome.message
    elif reaction.behaviour == Behaviour.CRASHES:
        fits = outcome.status == reaction.text
    elif reaction.behaviour == Behaviour.UNDEFINED:
        fits = outcome.ok or outcome.status.startswith("SIG")
    else:
        fits = outcome.ok
    return None if fits else f"expected {reaction.behaviour.name} {reaction.text!r}, got {outcome.status} {outcome.message[-160:]!r}"


def failures(fact: Fact, cases: Sequence[Deviation]) -> Iterator[str]:
    """Everything in which the runtime does otherwise than the fact says."""
    for case in cases:
        data = case.build()
        comparison: Comparison | None = None
        runs = {b for r in LITERT if r in fact.reactions for b in [fact.reactions[r].behaviour]}
        if case.twin and runs & {Behaviour.FINE, Behaviour.WRONG, Behaviour.UNDEFINED} and (fact.topic not in MEANINGLESS or Behaviour.FINE in runs):
            comparison = judge(case.operator, data)
            outcomes = comparison.outcomes
        else:
            outcomes = run_all(data, feeds(case.feed or case.operator, data)[0])
        for runtime in LITERT:
            if runtime in fact.reactions:
                found = outcome_fits(outcomes[runtime], fact.reactions[runtime]) or _values(fact, case, runtime, outcomes[runtime], comparison)
                if found:
                    yield f"{fact.name}: {case.label}, {runtime.value}: {found}"


def _values(fact: Fact, case: Deviation, runtime: Runtime, outcome: Outcome, comparison: Comparison | None) -> str | None:
    """What is wrong with the values that came out."""
    behaviour = fact.reactions[runtime].behaviour
    if not outcome.ok:
        return None
    if behaviour == Behaviour.FINE:
        assert comparison is not None
        return None if comparison.right(runtime) else f"values are {comparison.errors[runtime]:.3g} off"
    if behaviour in (Behaviour.WRONG, Behaviour.UNDEFINED) and comparison is not None and fact.topic not in MEANINGLESS:
        return "values are right" if comparison.right(runtime) else None
    if behaviour not in (Behaviour.IGNORES, Behaviour.WRONG):
        return None
    sound = run_all(case.build_sound(), feeds(case.feed or case.operator, case.build())[0], [runtime])[runtime]
    if not sound.ok:
        return f"the sound model does not run: {sound.message[-160:]}"
    # resolvers may round differently where a deviation only changes who computes
    near = np.abs(array(sound).astype(np.float64) - array(outcome)).max() <= (1 if behaviour == Behaviour.IGNORES else 0)
    if behaviour == Behaviour.IGNORES:
        return None if near else "values depend on it"
    return "values are those of a sound model" if near else None
