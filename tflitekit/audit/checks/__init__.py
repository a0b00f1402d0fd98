"""The checks, by family. Each finds where a rule is broken; the rules say what runtimes make of it."""

from __future__ import annotations

from ..findings import Check
from .activations import invalid_parameters
from .bias import biases
from .load import load_rules
from .operands import missing_parameters, operand_types
from .parameters import fixed_outputs, shared_parameters
from .placeholder import placeholder_ranges
from .versions import hybrid_operators, versions
from .weights import weights

CHECKS: tuple[Check, ...] = (
    load_rules, operand_types, missing_parameters, invalid_parameters, weights, biases, fixed_outputs, shared_parameters, placeholder_ranges,
    hybrid_operators, versions,
)  # fmt: skip
