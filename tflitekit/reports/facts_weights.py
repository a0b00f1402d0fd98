"""Facts of what constants hold: codes, numbers and scales, with histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..audit import WeightScan
from ..errors import EditError
from ..graph import QuantizationParameters, Tensor
from ..quant.statistics import CodeStatistics, NumberStatistics, ScaleStatistics, scale_statistics, statistics
from ..types import FLOAT_TYPES
from .values import Facts, number

LONGEST = 256  # elements of a histogram


def values_facts(tensor: Tensor) -> Facts | None:
    """What a constant holds: see `statistics_facts`; null for tensors without data, and for shapes, axes and the like, which nobody wants counted.

    problem   why it cannot be read, or empty
    values    see `statistics_facts`, or null
    scales    see `scales_facts`, or null
    """
    if not tensor.is_constant or not (tensor.is_quantized or tensor.type in FLOAT_TYPES):
        return None
    quantization = tensor.quantization
    scales = scale_statistics(quantization.scale) if quantization is not None else None
    try:
        found = statistics(tensor)
    except EditError as error:
        return {"problem": str(error), "values": None, "scales": scales_facts(scales)}
    return {"problem": "", "values": statistics_facts(found, quantization), "scales": scales_facts(scales)}


def weights_facts(scans: Sequence[WeightScan]) -> list[Facts]:
    """The weights of an audit that read them, in the order of the operators.

    path, name, type, shape; operator (path of the first that reads it), operator_name; kind (of quantization); problem, values, scales as of
    `values_facts`
    """
    return [
        {
            "path": scan.path,
            "name": scan.tensor.name_str,
            "type": scan.tensor.type.name,
            "shape": list(scan.tensor.shape),
            "operator": scan.run.path,
            "operator_name": scan.run.operator.op_name,
            "kind": "none" if scan.tensor.quantization is None else scan.tensor.quantization.kind,
            "problem": scan.problem,
            "values": None if scan.statistics is None else statistics_facts(scan.statistics, scan.tensor.quantization),
            "scales": scales_facts(scan.scales),
        }
        for scan in scans
    ]


def statistics_facts(found: CodeStatistics | NumberStatistics, quantization: QuantizationParameters | None) -> Facts:
    """Statistics as data.

    what         codes or numbers
    elements     how many
    zeros        how many that stand for 0
    histogram    counts of equal bins; first and step: the value at the lower end of the first, and the width of a bin (1 for codes, 256 for INT16)

    Of codes: limits (of the type), lowest, highest, levels (different codes), possible (levels of the type), at_ends (how many); channels: count,
    axis (null for one), dead (how many hold only 0), few_levels (how many stay within 7 of the zero point); real: lowest and highest real value,
    null where scales are not vectors. Of numbers: lowest, highest, not_finite.
    """
    if isinstance(found, NumberStatistics):
        step = (found.maximum - found.minimum) / len(found.counts)
        return {
            "what": "numbers",
            "elements": found.size,
            "lowest": number(found.minimum),
            "highest": number(found.maximum),
            "zeros": found.zeros,
            "not_finite": found.not_finite,
            "histogram": {"first": number(found.minimum), "step": number(step), "counts": found.counts.tolist()},
        }
    lowest, highest = found.used
    step = max(1, len(found.counts) // LONGEST)
    return {
        "what": "codes",
        "elements": found.size,
        "limits": list(found.limits),
        "lowest": lowest,
        "highest": highest,
        "levels": found.levels,
        "possible": len(found.counts),
        "zeros": int(found.zeros.sum()),
        "at_ends": int(found.ends.sum()),
        "channels": {
            "count": len(found.lowest), "axis": found.axis, "dead": len(found.dead), "few_levels": len(found.few_levels),
        },
        "real": _real(found, quantization),
        "histogram": {"first": found.limits[0], "step": step, "counts": found.counts.reshape(-1, step).sum(axis=1).tolist()},
    }  # fmt: skip


def _real(found: CodeStatistics, quantization: QuantizationParameters | None) -> list[float | str] | None:
    """The lowest and highest real value."""
    if quantization is None or quantization.details is not None or len(quantization.scale) not in (1, len(found.lowest)):
        return None
    scale = quantization.scale.astype(np.float64)
    with np.errstate(all="ignore"):
        ends = np.concatenate([(found.lowest - found.zero_points) * scale, (found.highest - found.zero_points) * scale])
    return [number(float(ends.min())), number(float(ends.max()))]


def scales_facts(scales: ScaleStatistics | None) -> Facts | None:
    """Several scales: count, unusable (zero, negative or not finite), lowest, highest, spread (highest / lowest), log2_counts (of equal bins)."""
    if scales is None:
        return None
    return {
        "count": scales.size, "unusable": scales.unusable, "lowest": scales.minimum, "highest": scales.maximum, "spread": number(scales.spread),
        "log2_counts": scales.counts.tolist(),
    }  # fmt: skip
