"""Parameters that no activation can have: scales that are no step, zero points that are no code, several scales where kernels read one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..._schema import TensorType
from ...graph import QuantizationParameters, Tensor
from ...quant.rules import Fact, Topic
from ...types import INTEGER_RANGES
from ..execution import CODE_TYPES, is_code
from ..findings import ERROR, WARNING, Finding, Scene, Step, reactions_of, worst
from .prepared import SMALLEST_NORMAL, amended


def values(step: Step) -> Iterator[tuple[str, Tensor]]:
    """The activations of an operator that hold codes, with the words by which facts name them."""
    weights = set(step.run.weights)
    for position, tensor in enumerate(step.operator.inputs):
        if tensor is not None and is_code(tensor) and tensor not in weights:
            yield ("first", "second")[min(position, 1)], tensor
    for tensor in step.outputs:
        if is_code(tensor):
            yield "output", tensor


def about(step: Step, topic: Topic, word: str) -> tuple[Fact, ...]:
    """The facts on a topic that concern an operand, named by a word such as "first"."""
    found = step.rule.about(topic, step.activation)
    return tuple(f for f in found if not f.operand or f.operand == "all" or word in f.operand.split())


def scale_topic(scale: float) -> Topic | None:
    """What is wrong with a scale, None if nothing is."""
    if not math.isfinite(scale):
        return Topic.NAN_SCALE
    if scale == 0:
        return Topic.ZERO_SCALE
    if scale < 0:
        return Topic.NEGATIVE_SCALE
    return Topic.SUBNORMAL_SCALE if scale < SMALLEST_NORMAL else None


def invalid_parameters(scene: Scene) -> Iterator[Finding]:
    """Q101 to Q104, for every activation of every operator."""
    suspects = set(_suspects(scene))
    if not suspects:
        return
    for step in scene.steps():
        if suspects.isdisjoint(step.operator.inputs) and suspects.isdisjoint(step.outputs):
            continue
        for word, tensor in values(step):
            quantization = tensor.quantization
            if tensor not in suspects or quantization is None:
                continue
            if len(quantization.scale) > 1 and not tensor.is_constant:
                yield _several(step, word, tensor, len(quantization.scale))
                continue
            bad = [float(s) for s in quantization.scale if not SMALLEST_NORMAL <= s < math.inf]
            if bad:
                yield _scale(step, word, tensor, bad[0])
            low, high = INTEGER_RANGES[tensor.type]
            odd = [int(z) for z in quantization.zero_point if not low <= z <= high]
            first = int(quantization.zero_point[0]) if len(quantization.zero_point) == 1 else 0
            if odd or first:
                yield from _zero_point(step, word, tensor, odd[0] if odd else first)


def _suspects(scene: Scene) -> Iterator[Tensor]:
    """Tensors whose parameters are not beyond doubt: looked at once each, where operators would look at them again and again."""
    smallest, inf, known = SMALLEST_NORMAL, math.inf, scene.parameters
    ranges = {**INTEGER_RANGES, TensorType.INT16: (0, 0)}
    for _, subgraph in scene.subgraphs():
        for tensor in subgraph.tensors:
            if tensor in known:
                scale, zero_point = known[tensor]
                low, high = ranges.get(tensor.type, (0, 0))
                if not (smallest <= scale < inf and low <= zero_point <= high):
                    yield tensor
            elif tensor.quantization is not None and (count := len(tensor.quantization.scale)) and (
                count == 1 or not tensor.is_constant or _beyond(tensor.quantization, ranges.get(tensor.type, (0, 0)))
            ):
                yield tensor


def _beyond(quantization: QuantizationParameters, codes: tuple[int, int]) -> bool:
    """Whether one of several scales is no step, or one of the zero points no code."""
    scales, zero_points = quantization.scale, quantization.zero_point
    sound = bool(np.isfinite(scales).all() and scales.min() >= np.float32(SMALLEST_NORMAL))
    return not sound or bool(len(zero_points) and not codes[0] <= zero_points.min() <= zero_points.max() <= codes[1])


def _scale(step: Step, word: str, tensor: Tensor, scale: float) -> Finding:
    topic = scale_topic(scale)
    known, source = reactions_of(about(step, topic, word)) if topic is not None else ({}, "")
    reactions = amended(step, known)
    return step.scene.finding(
        "Q101", tensor, f"the scale is {scale!r} ({step.label})", worst(reactions), found=scale, expected="a positive normal number",
        operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip


def _zero_point(step: Step, word: str, tensor: Tensor, zero_point: int) -> Iterator[Finding]:
    low, high = INTEGER_RANGES[tensor.type]
    if tensor.type == TensorType.INT16:
        reactions, source = reactions_of(about(step, Topic.INT16_ZERO_POINT, word))
        # Operators that widen or change the type on the way have zero points of their own; nothing is known against them.
        kinds = {t.type for t in step.outputs}
        if reactions and (kinds <= ({TensorType.INT16} if step.rule.pairs else CODE_TYPES) or step.rule.name == "DEQUANTIZE"):
            yield step.scene.finding(
                "Q103", tensor, f"the zero point of an INT16 tensor is {zero_point} ({step.label})", worst(reactions), found=zero_point,
                expected=0, operator=step.path, reactions=reactions, source=source,
            )  # fmt: skip
    elif not low <= zero_point <= high:
        known, source = reactions_of(about(step, Topic.ZERO_POINT_RANGE, word))
        reactions = amended(step, known)
        message = f"the zero point {zero_point} is no {tensor.type.name} code: {_range(tensor, zero_point)} ({step.label})"
        yield step.scene.finding(
            "Q102", tensor, message, worst(reactions, ERROR), found=zero_point, expected=(low, high), operator=step.path, reactions=reactions,
            source=source,
        )  # fmt: skip


def _range(tensor: Tensor, zero_point: int) -> str:
    """The real values that a tensor can hold, without the 0 that kernels need for padding and for what is left out."""
    assert tensor.quantization is not None
    low, high = ((code - zero_point) * float(tensor.quantization.scale[0]) for code in INTEGER_RANGES[tensor.type])
    return f"its range [{low:.6g}, {high:.6g}] does not hold 0"


def _several(step: Step, word: str, tensor: Tensor, count: int) -> Finding:
    known, source = reactions_of(about(step, Topic.PER_CHANNEL_ACTIVATION, word))
    reactions = amended(step, known)
    return step.scene.finding(
        "Q104", tensor, f"an activation with {count} scales ({step.label})", worst(reactions, WARNING), found=count, expected=1,
        operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip
