"""The operator rules: what the kernels, XNNPACK and TFLite Micro make of quantization, as data.

    rule = rule_for(operator)
    rule.weights.quantized_dimension, rule.fixed_for(TensorType.INT8), rule.about(Topic.WEIGHTS_ZERO_POINT, TensorType.INT8)

Each fact stands once and says where it comes from; `Fact.source` explains the words. Nothing here needs numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._schema import BuiltinOperator
from .facts import FACTS, FACTS_OF, GENERAL_FACTS
from .model import (
    LITERT,
    Behaviour,
    BiasRule,
    Fact,
    FixedParameters,
    Granularity,
    Need,
    Operand,
    OpRule,
    Reaction,
    Role,
    Runtime,
    SameParameters,
    Sharing,
    Topic,
    Versions,
    WeightForm,
    WeightsRule,
)
from .plain import ACTIVATIONS, ARITHMETIC, CONVERSIONS, FIXED_OUTPUTS, MOVEMENT, OTHER, REDUCTIONS
from .versions import first_met, needs_of_types, operand, required_version
from .weighted import CONVOLUTIONS, RECURRENT

if TYPE_CHECKING:
    from ...graph import Operator

__all__ = [
    "FACTS",
    "FACTS_OF",
    "GENERAL_FACTS",
    "LITERT",
    "RULES",
    "Behaviour",
    "BiasRule",
    "Fact",
    "FixedParameters",
    "Granularity",
    "Need",
    "OpRule",
    "Operand",
    "Reaction",
    "Role",
    "Runtime",
    "SameParameters",
    "Sharing",
    "Topic",
    "Versions",
    "WeightForm",
    "WeightsRule",
    "first_met",
    "needs_of_types",
    "operand",
    "required_version",
    "rule_for",
]

RULES: dict[BuiltinOperator, OpRule] = {
    rule.operator: rule
    for family in (CONVOLUTIONS, RECURRENT, FIXED_OUTPUTS, ARITHMETIC, ACTIVATIONS, REDUCTIONS, MOVEMENT, CONVERSIONS, OTHER)
    for rule in family
}


def rule_for(operator: Operator | BuiltinOperator) -> OpRule | None:
    """The rule of an operator of a graph, or of a builtin operator; None for operators that the table does not cover, such as custom ones."""
    if isinstance(operator, BuiltinOperator):
        return RULES.get(operator)
    return None if operator.opcode is None else RULES.get(operator.opcode.code)
