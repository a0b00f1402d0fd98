"""Biases: the type that the kernel reads, input scale times weight scale, zero point 0, no FLOAT16 beside hybrid weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from ..._schema import TensorType
from ...graph import Tensor
from ...quant.rules import BiasRule, Granularity, Reaction, Runtime, Topic
from ...quant.rules.basic_cell import BIAS, MISREAD
from ...quant.rules.basic_cell import SOURCE as CELL_SOURCE
from ...quant.rules.scale_test import SOURCE
from ..execution import HYBRID, INTEGER, is_code
from ..findings import ERROR, INFO, WARNING, Finding, Scene, Step, reactions_of, worst
from .prepared import amended, refusals

# Converters round the product in different orders: up to this much is rounding, and not a different scale.
RELATIVE_TOLERANCE = 1e-6
NEGLIGIBLE = 1 / 255  # the largest of 8-bit codes moves by one step
_CHECKED = "bias-scale-checked"  # facts that hold where the scales together fail the kernels' test


def biases(scene: Scene) -> Iterator[Finding]:
    """Q301, Q302 and Q303 for every constant bias of an operator that computes on integers (and the type for hybrid ones)."""
    for step in scene.steps(INTEGER, HYBRID):
        for rule in (BIAS,) if step.rule.biases and step.is_basic_cell else step.rule.biases:
            tensor = step.operator.inputs[rule.operand] if rule.operand < len(step.operator.inputs) else None
            if tensor is None or not tensor.is_constant:
                continue
            yield from _type(step, rule, tensor)
            if step.is_integer:
                yield from _scale(step, rule, tensor)
                yield from _absent(step, tensor)
                yield from _zero_point(step, rule, tensor)


def dequantized_biases(scene: Scene) -> Iterator[Finding]:
    """Q304: FLOAT16 biases that hybrid operators get through DEQUANTIZE."""
    made: dict[Tensor, Tensor] | None = None
    for step in scene.steps(HYBRID):
        weights = step.run.weights[0] if step.run.weights else None
        facts = step.rule.about(Topic.BIAS_DEQUANTIZED, step.activation, weights.type, _granularity(step)) if weights is not None else ()
        for rule in step.rule.biases if facts else ():
            bias = step.operator.inputs[rule.operand] if rule.operand < len(step.operator.inputs) else None
            if bias is None or bias.is_constant:
                continue
            if made is None:
                made = {s.outputs[0]: s.operand("in0")[0] for s in scene.steps() if s.rule.name == "DEQUANTIZE" and s.outputs and s.operand("in0")}
            source = made.get(bias)
            reactions, where = reactions_of(facts)
            if source is None or not source.is_constant or source.type != TensorType.FLOAT16 or worst(reactions) != ERROR:
                continue
            yield scene.finding(
                "Q304", source, f"{step.label} is hybrid, and its bias FLOAT16 with a DEQUANTIZE behind", ERROR, found="FLOAT16", expected="FLOAT32",
                operator=step.path, reactions=reactions, source=where,
            )  # fmt: skip


def _type(step: Step, rule: BiasRule, tensor: Tensor) -> Iterator[Finding]:
    allowed = rule.types.get(step.activation) if step.activation is not None else None
    if not allowed:
        return
    chosen = getattr(step.operator.options, rule.selector, TensorType.FLOAT32) if rule.selector else TensorType.FLOAT32
    weights = step.run.weights[0].type if step.run.weights else None
    if step.activation == TensorType.INT16 and TensorType.INT32 in allowed:
        # The option chooses what is read; unset, it is INT64, but INT32 with INT16 weights.
        unset = TensorType.INT32 if weights == TensorType.INT16 else TensorType.INT64
        allowed = (chosen if chosen in (TensorType.INT32, TensorType.INT64) else unset,)
    if tensor.type in allowed:
        return
    facts = step.rule.about(Topic.BIAS_TYPE, step.activation, weights)
    if step.activation == TensorType.INT16:
        wanted = "contradicts" if chosen in (TensorType.INT32, TensorType.INT64) else "unselected"
        facts = tuple(f for f in facts if (wanted in f.name or "depthwise" in f.name) and tensor.type in (TensorType.INT32, TensorType.INT64))
    known, source = reactions_of(facts)
    reactions = step.refusal(rule.operand, known)
    names = " or ".join(t.name for t in allowed)
    yield step.scene.finding(
        "Q302", tensor, f"the bias is {tensor.type.name}; {step.label} reads {names}", worst(reactions, ERROR), found=tensor.type.name,
        expected=names, operator=step.path, reactions=reactions, source=source or rule.source,
    )  # fmt: skip


def _absent(step: Step, tensor: Tensor) -> Iterator[Finding]:
    """A bias without a scale: no kernel reads it, but some compare it, and then see 0."""
    if tensor.quantization is None or not len(tensor.quantization.scale):
        reactions = MISREAD if step.is_basic_cell else refusals(step)
        if reactions:
            use = "takes for" if step.is_basic_cell else "compares with"
            yield step.scene.finding(
                "Q106", tensor, f"a bias without scale, which {step.label} {use} input x weights", ERROR, found="none",
                expected="input x weights", operator=step.path, reactions=reactions, source=CELL_SOURCE if step.is_basic_cell else SOURCE,
            )  # fmt: skip


def expected_scale(step: Step, rule: BiasRule) -> npt.NDArray[np.float32] | None:
    """Input scale x weight scale in float32, one per channel or one; None where either is missing, or the operator's form asks for another scale."""
    if rule.unless and step.operand(rule.unless):
        return None
    factors = []
    for name in rule.factors:
        tensors = step.operand(name)
        if not tensors or tensors[0].quantization is None or not len(tensors[0].quantization.scale):
            return None
        factors.append(tensors[0].quantization.scale)
    if len(factors[0]) != 1 != len(factors[1]) and len(factors[0]) != len(factors[1]):
        return None
    with np.errstate(all="ignore"):  # broken scales give a broken product, which is reported as such
        product: npt.NDArray[np.float32] = (factors[0] * factors[1] * np.float32(rule.constant_factor)).astype(np.float32)
    return product


def _scale(step: Step, rule: BiasRule, tensor: Tensor) -> Iterator[Finding]:
    expected = expected_scale(step, rule)
    quantization = tensor.quantization
    if expected is None or quantization is None or not len(quantization.scale) or not is_bias_code(tensor):
        return
    stored = quantization.scale.astype(np.float64)
    wanted = expected.astype(np.float64)
    if len(stored) not in (1, len(wanted)) and len(wanted) != 1:
        return
    with np.errstate(all="ignore"):
        gap = np.abs(stored - wanted)
        bad = ~(gap <= RELATIVE_TOLERANCE * np.abs(wanted))
    if not bad.any():
        return
    first = int(np.flatnonzero(bad)[0])
    found, right = float(stored[min(first, len(stored) - 1)]), float(wanted[min(first, len(wanted) - 1)])
    reactions, source = _scale_reactions(step, tensor)
    severity = WARNING if step.is_basic_cell and (gap <= NEGLIGIBLE * wanted).all() else worst(reactions)
    where = f" in {int(bad.sum())} of {len(bad)} channels, first {first}" if len(bad) > 1 else ""
    yield step.scene.finding(
        "Q301", tensor, f"the scale is {found!r}, input x weights is {right!r}{where} ({step.label})", severity, found=found, expected=right,
        operator=step.path, reactions=reactions, source=source or rule.source,
    )  # fmt: skip


def _scale_reactions(step: Step, tensor: Tensor) -> tuple[Mapping[Runtime, Reaction], str]:
    if step.is_basic_cell:
        return MISREAD, CELL_SOURCE
    weights = step.run.weights[0] if step.run.weights else None
    facts = step.rule.about(Topic.BIAS_SCALE, step.activation, weights.type if weights is not None else None, _granularity(step))
    single = tensor.quantization is not None and len(tensor.quantization.scale) == 1 and step.per_channel
    kept = [f for f in facts if (f.name != "bias-per-tensor" or single) and not f.name.startswith(_CHECKED)]
    kept.sort(key=lambda f: f.name != "bias-per-tensor")
    known, source = reactions_of(kept)
    reactions = amended(step, known)
    return reactions, source or (SOURCE if reactions else "")


def _granularity(step: Step) -> Granularity:
    """That of the weights."""
    return Granularity.PER_CHANNEL if step.per_channel else Granularity.PER_TENSOR


def is_bias_code(tensor: Tensor) -> bool:
    """Whether a bias holds integer codes."""
    return tensor.type in (TensorType.INT32, TensorType.INT64, TensorType.INT16) or is_code(tensor)


def _zero_point(step: Step, rule: BiasRule, tensor: Tensor) -> Iterator[Finding]:
    quantization = tensor.quantization
    if quantization is None or not len(quantization.zero_point.nonzero()[0]):
        return
    weights = step.run.weights[0] if step.run.weights else None
    granularity = Granularity.PER_CHANNEL if len(quantization.scale) > 1 else Granularity.PER_TENSOR  # of the bias itself
    facts = step.rule.about(Topic.BIAS_ZERO_POINT, step.activation, weights.type if weights is not None else None, granularity)
    reactions, source = reactions_of(facts)
    value = int(quantization.zero_point[quantization.zero_point.nonzero()[0][0]])
    yield step.scene.finding(
        "Q303", tensor, f"the bias has zero point {value} ({step.label})", worst(reactions, WARNING if reactions else INFO), found=value,
        expected=0, operator=step.path, reactions=reactions, source=source or rule.source,
    )  # fmt: skip
