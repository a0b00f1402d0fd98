"""All facts, and those of each operator."""

from __future__ import annotations

from . import facts_groups, facts_load, facts_tflm, facts_values, facts_weights
from .model import Fact

FACTS: tuple[Fact, ...] = (
    *facts_load.LOAD_FACTS,
    *facts_load.XNNPACK_FACTS,
    *facts_values.SCALE_FACTS,
    *facts_values.RATIO_FACTS,
    *facts_values.ABSENT_FACTS,
    *facts_values.PER_CHANNEL_FACTS,
    *facts_values.VALUE_FACTS,
    *facts_values.TYPE_FACTS,
    *facts_groups.SAME_FACTS,
    *facts_groups.FIXED_FACTS,
    *facts_groups.INT16_FACTS,
    *facts_weights.ZERO_POINT_FACTS,
    *facts_weights.TYPE_FACTS,
    *facts_weights.GRANULARITY_FACTS,
    *facts_weights.BLOCK_FACTS,
    *facts_weights.BIAS_FACTS,
    *facts_tflm.TFLM_FACTS,
)


def _by_operator() -> dict[str, tuple[Fact, ...]]:
    found: dict[str, list[Fact]] = {}
    for fact in FACTS:
        for name in fact.operators:
            found.setdefault(name, []).append(fact)
    return {name: tuple(facts) for name, facts in found.items()}


GENERAL_FACTS: tuple[Fact, ...] = tuple(fact for fact in FACTS if not fact.operators)  # of tensors and versions, whatever the operator
FACTS_OF: dict[str, tuple[Fact, ...]] = _by_operator()
