"""Which finding is repaired by what, in the order of repair: what loads, types and parameters, weights, biases, outputs, groups, versions."""

from __future__ import annotations

from . import biases, chains, outputs, types, vectors, weights
from .bench import Fixer

FIXERS: dict[str, Fixer] = {
    "Q003": types.bytes_of_another,
    "Q001": vectors.zero_points,
    "Q002": vectors.dimension,
    "Q105": types.odd_one_out,
    "Q104": vectors.several_scales,
    "Q106": vectors.missing_parameters,
    "Q401": outputs.fixed,
    "Q101": vectors.activation_scale,
    "Q102": vectors.activation_zero_point,
    "Q103": vectors.int16_zero_point,
    "Q202": types.bytes_of_another,
    "Q203": vectors.dimension,
    "Q204": weights.scale,
    "Q201": weights.zero_point,
    "Q302": biases.element_type,
    "Q303": biases.zero_point,
    "Q301": biases.scale,
    "Q304": biases.dequantized,
    "Q402": outputs.shared,
    "Q801": chains.round_trip,
    "Q803": chains.twice_quantized,
    "Q804": chains.twice_dequantized,
    "Q701": outputs.versions,
    "Q703": chains.runtime_version,
}
