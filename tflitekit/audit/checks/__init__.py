"""The checks, by family. Each finds where a rule is broken; the rules say what runtimes make of it."""

from __future__ import annotations

from ...quant.rules import Runtime
from ..findings import Check
from .activations import invalid_parameters
from .alignment import buffers, wide_elements
from .bias import biases, dequantized_biases
from .blocks import blocks
from .edge_tpu import edge_tpu
from .ends import inputs
from .fused import fused_activations
from .load import load_rules
from .microcontrollers import microcontrollers
from .operands import missing_parameters, operand_types
from .parameters import fixed_outputs, shared_parameters
from .placeholder import placeholder_ranges
from .reach import reach
from .runtime_version import runtime_version
from .signatures import signatures
from .structure import constant_outputs, conversions, simulated
from .versions import hybrid_operators, versions
from .weight_values import weight_values
from .weights import weights

CHECKS: tuple[Check, ...] = (
    load_rules, wide_elements, operand_types, missing_parameters, invalid_parameters, reach, fused_activations, weights, blocks, biases,
    dequantized_biases, fixed_outputs, shared_parameters, placeholder_ranges, inputs, hybrid_operators, versions, runtime_version, conversions,
    simulated, constant_outputs, signatures,
)  # fmt: skip

# Checks that read all weights: made only if asked for.
OF_WEIGHTS: tuple[Check, ...] = (weight_values,)

# Checks about one runtime alone: not made where another is asked for.
ABOUT: dict[Check, Runtime] = {hybrid_operators: Runtime.TFLM}

# Checks for a runtime that few models are meant for: made only where it is asked for.
ON_REQUEST: dict[Runtime | None, tuple[Check, ...]] = {Runtime.EDGETPU: (edge_tpu,), Runtime.TFLM: (buffers, microcontrollers)}
