"""What the weights of a model hold: statistics of every stored weight tensor, by channels of the operator that reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import EditError
from ..graph import Tensor
from ..quant.rules import WeightsRule
from ..quant.statistics import CodeStatistics, NumberStatistics, ScaleStatistics, scale_statistics, statistics
from .execution import Execution


class WeightScan(NamedTuple):
    """One weight tensor: where it is, the first operator that reads it, its statistics, or the problem with reading it.

    Channels are those of its scales; of a tensor with one scale those of the operator's output.
    """

    tensor: Tensor
    path: str
    run: Execution
    statistics: CodeStatistics | NumberStatistics | None
    scales: ScaleStatistics | None
    problem: str = ""


def scan_weights(runs: Iterable[Execution], paths: Mapping[Tensor, str]) -> tuple[WeightScan, ...]:
    """Every weight tensor once, in the order of the operators that read them."""
    firsts: dict[Tensor, Execution] = {}
    for run in runs:
        for tensor in run.weights:
            firsts.setdefault(tensor, run)
    return tuple(_scan(tensor, paths.get(tensor, "?"), run) for tensor, run in firsts.items())


def _scan(tensor: Tensor, path: str, run: Execution) -> WeightScan:
    quantization = tensor.quantization
    scales = scale_statistics(quantization.scale) if quantization is not None and len(quantization.scale) > 1 else None
    rule = run.rule.weights if run.rule is not None else None
    axis = channel_axis(rule, run, tensor) if rule is not None and scales is None else None
    try:
        return WeightScan(tensor, path, run, statistics(tensor, axis), scales)
    except EditError as error:
        return WeightScan(tensor, path, run, None, scales, str(error))


def channel_axis(rule: WeightsRule, run: Execution, tensor: Tensor) -> int | None:
    """The dimension of the weights along which the outputs of an operator lie, where it has scales of its own for each."""
    axis = rule.quantized_dimension
    if rule.transposed_by and getattr(run.operator.options, rule.transposed_by, False) and rule.transposed_dimension is not None:
        axis = rule.transposed_dimension
    return axis % len(tensor.shape) if axis is not None and tensor.shape else None
