"""Which finding is repaired by what, in the order of repair: what loads, types and parameters, weights, biases, outputs, groups, versions."""

from __future__ import annotations

from . import biases, chains, outputs, vectors, weights
from .bench import Fixer

FIXERS: dict[str, Fixer] = {
    "Q001": vectors.zero_points,
    "Q002": vectors.dimension,
    "Q105": vectors.element_type,
    "Q104": vectors.several_scales,
    "Q106": vectors.missing_parameters,
    "Q401": outputs.fixed,
    "Q101": vectors.activation_scale,
    "Q102": vectors.activation_zero_point,
    "Q103": vectors.int16_zero_point,
    "Q203": vectors.dimension,
    "Q204": weights.scale,
    "Q201": weights.zero_point,
    "Q302": biases.element_type,
    "Q303": biases.zero_point,
    "Q301": biases.scale,
    "Q402": outputs.shared,
    "Q801": chains.round_trip,
    "Q803": chains.twice_quantized,
    "Q804": chains.twice_dequantized,
    "Q701": outputs.versions,
    "Q703": chains.runtime_version,
}

# Why there is no repair.
UNFIXABLE: dict[str, str] = {
    "Q003": "the missing bytes are not in the file",
    "Q004": "which tensor was meant is not in the file",
    "Q202": "use requantize-weights to store the weights in a form that the operator takes",
    "Q501": "the real ranges are not in the file; convert again with a representative dataset",
    "Q601": "use requantize-weights --to float32, or convert again with a representative dataset",
    "Q702": "a version is never lowered",
}
