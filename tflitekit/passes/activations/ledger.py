"""What every constant held before the conversion, operand by operand, and what it lost when that is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import EditError
from ...graph import Buffer, Model, Operator, QuantizationParameters, Tensor
from ...quant import grid as grids
from ...quant import loss
from ...quant.rules import rule_for
from ...types import BITS, INTEGER_RANGES, byte_size
from ..bias import Scales, bias_uses
from ..costs import BIAS, CONSTANT, WEIGHTS, Cost
from ..fixes.vectors import weights_axis
from ..weights.encode import Stored, stored
from .encode import sound_parameters
from .plan import held, is_code, readable


class Place(NamedTuple):
    """An operand of the model as it was: operators are told by their positions, which a copy of the model has too."""

    subgraph: int
    operator: int
    operand: int


class _Was(NamedTuple):
    source: Stored
    buffer: Buffer | None


@dataclass(eq=False)
class Entry:
    """A constant that changed: what it costs, and the operands that read it."""

    cost: Cost
    places: list[Place] = field(default_factory=list)


class Ledger:
    """Remembers all constants of a model with codes, and biases with what their codes mean to the kernel."""

    def __init__(self, model: Model) -> None:
        self.operators = {
            operator: (s, o) for s, subgraph in enumerate(model.subgraphs) for o, operator in enumerate(subgraph.operators)
        }  # fmt: skip
        self._operands: dict[tuple[Operator, int], _Was] = {}
        self._tensors: dict[Tensor, _Was] = {}
        for operator, operand, tensor, scales in _constants(model):
            source = _stored(tensor, scales)
            if source is not None:
                self._tensors.setdefault(tensor, _Was(source, tensor.buffer))
                if operator is not None:
                    self._operands[operator, operand] = _Was(source, tensor.buffer)

    def entries(self, model: Model, how: Mapping[Tensor, str]) -> list[Entry]:
        """All that is stored differently now, with `how` where that is told of a tensor."""
        found: dict[Tensor, Entry] = {}
        for operator, operand, tensor, scales in _constants(model):
            if tensor not in found:
                was = self._operands.get((operator, operand)) if operator is not None else None
                was = self._tensors.get(tensor) if was is None else was
                now = _stored(tensor, scales)
                if was is None or now is None or _equal(was.source, now):
                    continue
                found[tensor] = Entry(_cost(was, now, operator, tensor, scales is not None, how.get(tensor, "")))
            if operator in self.operators:
                found[tensor].places.append(Place(*self.operators[operator], operand))
        return list(found.values())


def _constants(model: Model) -> Iterator[tuple[Operator | None, int, Tensor, Scales | None]]:
    """Every constant operand that holds codes, for a bias with the scales of its codes; then all such tensors by themselves."""
    biases = {(use.operator, use.rule.operand): use.scales for use in bias_uses(model)}
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            for operand, tensor in enumerate(operator.inputs):
                scales = biases.get((operator, operand))
                if tensor is not None and _told(tensor, scales):
                    yield operator, operand, tensor, scales
    for subgraph in model.subgraphs:
        yield from ((None, -1, tensor, None) for tensor in subgraph.tensors if tensor.type.name not in ("INT32", "INT64") and _told(tensor, None))


def _told(tensor: Tensor, scales: Scales | None) -> bool:
    return tensor.is_constant and tensor.type in INTEGER_RANGES and readable(tensor) and (scales is not None or is_code(tensor))


def _stored(tensor: Tensor, scales: Scales | None) -> Stored | None:
    """How a constant is stored, a bias at `scales`; None where that gives no real values."""
    try:
        if scales is None:
            quantization = sound_parameters(tensor)
        else:
            axis = max(0, len(tensor.shape) - 1) if len(scales) > 1 else 0
            quantization = QuantizationParameters(scale=scales, zero_point=np.zeros(len(scales), np.int64), quantized_dimension=axis)
        return stored(Tensor(shape=tensor.shape, type=tensor.type, buffer=tensor.buffer, quantization=quantization))
    except EditError:
        return None


def _equal(a: Stored, b: Stored) -> bool:
    assert a.parameters is not None
    assert b.parameters is not None
    if a.type != b.type or a.parameters.scale.tobytes() != b.parameters.scale.tobytes():
        return False
    return np.array_equal(a.parameters.zero_point, b.parameters.zero_point) and (a.data is b.data or np.array_equal(a.raw(), b.raw()))


def _cost(was: _Was, now: Stored, operator: Operator | None, tensor: Tensor, bias: bool, how: str) -> Cost:
    rule = rule_for(operator) if operator is not None else None
    form = BIAS if bias else WEIGHTS if operator is not None and any(tensor is t for t in held(operator, rule)) else CONSTANT
    axis = weights_axis(operator, rule, tensor) if form == WEIGHTS and operator is not None and rule is not None else None
    report = grids.per_tensor(tensor.shape) if axis is None else grids.per_channel(tensor.shape, axis)
    assert now.parameters is not None
    with np.errstate(over="ignore", invalid="ignore"):  # scales may be as large as float32 has them
        lost = loss.measure(_real(was.source), _real(now), report, *((None, None) if bias else (now.parameters.scale, now.grid)))
    lost.levels = loss.levels(now.raw(), 1 << BITS[now.type])
    size, made = (byte_size(one.type, one.shape) or 0 for one in (was.source, now))
    several = "per-channel" if len(now.parameters.scale) > 1 else "per-tensor"
    return Cost(tensor, now.type, several, form, size, made, (was.buffer, tensor.buffer), lost, not lost.noise, how=how)


def _real(source: Stored) -> npt.NDArray[np.float64]:
    """The real values, flat; in float64, since INT32 and INT64 codes have more digits than float32."""
    assert source.parameters is not None
    grid, (scale, point) = source.grid, (values.astype(np.float64)[:, None] for values in (source.parameters.scale, source.parameters.zero_point))
    return np.asarray(((source.raw().reshape(grid.outer, grid.channels, grid.inner) - point) * scale).reshape(-1), np.float64)
