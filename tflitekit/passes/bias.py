"""Biases that keep their real values while the scales around them change.

Kernels add the codes of a bias to the accumulator of input times weights, so a code means input scale x weight scale, whatever the bias's own scale
says. When one of those scales changes, the codes must change with it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._schema import TensorType
from ..errors import RefusedError
from ..graph import Model, Operator, QuantizationParameters, SubGraph, Tensor
from ..quant.affine import rounded
from ..quant.rules import RULES, BiasRule, operand
from ..types import INTEGER_RANGES, numpy_dtype
from .base import Notes
from .surgery import own_copy

Scales = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class BiasUse:
    """A constant integer bias of an operator, and the scales of one code as the kernel reads it: one, or one for each channel (float32)."""

    subgraph: SubGraph
    operator: Operator
    rule: BiasRule
    tensor: Tensor
    scales: Scales


def product(operator: Operator, rule: BiasRule) -> Scales | None:
    """Input scale x weight scale, each product rounded to float32; None where a factor has no affine scale, or the rule does not hold."""
    found: list[Any] = []
    if rule.unless and operand(operator, rule.unless) is not None:
        return None
    for name in rule.factors:
        tensor = operand(operator, name)
        if tensor is None or tensor.quantization is None or not len(tensor.quantization.scale):
            return None
        found.append(tensor.quantization.scale)
    if len(found[0]) > 1 and len(found[1]) > 1 and len(found[0]) != len(found[1]):
        return None
    with np.errstate(all="ignore"):
        scales: Scales = (found[0] * found[1] * np.float32(rule.constant_factor)).astype(np.float32)
    return scales


def bias_uses(model: Model) -> Iterator[BiasUse]:
    """Every constant integer bias of an operator that has a rule for it."""
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            rule = None if operator.opcode is None else RULES.get(operator.opcode.code)
            for one in rule.biases if rule is not None else ():
                tensor = operator.inputs[one.operand] if one.operand < len(operator.inputs) else None
                if tensor is not None and tensor.is_constant and tensor.type.name in ("INT32", "INT64"):
                    scales = _scales_of(operator, one, tensor)
                    if scales is not None:
                        yield BiasUse(subgraph, operator, one, tensor, scales)


def _scales_of(operator: Operator, rule: BiasRule, bias: Tensor) -> Scales | None:
    """The scales of one code of a bias; None where they are not known, or are neither one nor one for each value."""
    scales = product(operator, rule)
    return scales if scales is None or len(scales) in (1, bias.shape[-1] if bias.shape else 1) else None


class BiasKeeper:
    """Remembers what every bias code means, so that `restore` can encode the biases again after scales have changed."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.before = list(bias_uses(model))

    def restore(self, notes: Notes | None, type_: TensorType | None = None, operators: Container[Operator] | None = None) -> float:
        """Encode every bias whose scale changed; returns the largest rounding error in real values.

        `notes` None: the caller tells what biases lose. `type_` is the type that the biases of `operators` have to have from now on (None: the one
        that they have). RefusedError if a code would not fit in its type: the scales are too small for this bias. A bias that other operators read
        at other scales gets a tensor of its own.
        """
        worst = 0.0
        for use in self.before:
            scales = _scales_of(use.operator, use.rule, use.tensor)
            wanted = type_ if type_ is not None and operators is not None and use.operator in operators else use.tensor.type
            if scales is None or (scales.tobytes() == use.scales.tobytes() and wanted == use.tensor.type):
                continue
            worst = max(worst, self._encode(use, scales, wanted, notes))
        return worst

    def _encode(self, use: BiasUse, scales: Scales, type_: TensorType, notes: Notes | None) -> float:
        tensor = use.operator.inputs[use.rule.operand]
        assert tensor is not None
        codes, error = reencoded(tensor, use.scales, scales, type_)
        if sum(1 for other in self.before if other.tensor is tensor) > 1 or len(tensor.consumers()) > 1:
            tensor = own_copy(use.subgraph, tensor)
            use.operator.inputs[use.rule.operand] = tensor
        if tensor.quantization is not None and len(tensor.quantization.scale):
            _follow(tensor.quantization, use.scales, scales)
        tensor.type = type_
        self.model.set_data(tensor, codes)
        if notes is not None:
            notes.changed(
                tensor, f"bias of {use.operator.op_name} encoded again at input scale x weight scale; rounding error at most {error:.3g}",
                max_error=error, scale=[float(s) for s in scales],
            )  # fmt: skip
        return error


def reencoded(tensor: Tensor, old: Scales, new: Scales, type_: TensorType | None = None) -> tuple[npt.NDArray[Any], float]:
    """(the codes that mean the same at scales `new` as the stored ones at `old`, the largest rounding error in real values).

    Computed in float64, rounded half away from zero; the lowest code is not used, as in converters. RefusedError where a code does not fit.
    """
    codes = tensor.numpy()
    if {len(old), len(new)} - {1, codes.size}:
        raise RefusedError(f"bias {tensor.name_str!r}: {max(len(old), len(new))} scales do not fit its {codes.size} values")
    real = codes.astype(np.float64) * old.astype(np.float64)
    with np.errstate(all="ignore"):
        wanted = rounded(real / new.astype(np.float64))
    type_ = tensor.type if type_ is None else type_
    bad = ~(np.abs(wanted) < float(INTEGER_RANGES[type_][1] + 1))  # a power of two, so exact in float64
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise RefusedError(
            f"bias {tensor.name_str!r}: {float(real.reshape(-1)[first])!r} does not fit in {type_.name} at scale {float(new.min())!r} "
            f"({int(bad.sum())} of {bad.size} values)"
        )
    return wanted.astype(numpy_dtype(type_)), float(np.max(np.abs(wanted * new.astype(np.float64) - real), initial=0.0))


def _follow(q: QuantizationParameters, old: Scales, new: Scales) -> None:
    """Change the stored parameters of a bias as its scales have changed. A stored scale beside the product stays as far beside it as it was."""
    scale = new
    if q.scale.tobytes() != old.tobytes() and len(q.scale) in (1, len(new)):
        with np.errstate(all="ignore"):
            kept = (q.scale.astype(np.float64) * (new.astype(np.float64) / old.astype(np.float64))).astype(np.float32)
        if (np.isfinite(kept) & (kept > 0)).all() and (len(kept) == len(q.scale)):
            scale = kept
    kept_points = not q.zero_point.any() and len(q.zero_point) and len(q.scale) == len(scale)
    if not kept_points:
        q.zero_point = np.zeros(len(scale), np.int64)
    q.scale = scale
