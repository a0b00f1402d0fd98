"""The values of weights: dead channels, clipping, codes that a kernel gets wrong, channels that use few levels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...quant.rules import Behaviour, Topic
from ...quant.statistics import FEW, CodeStatistics
from ...types import BITS
from ..execution import FLOAT, HYBRID, INTEGER
from ..findings import INFO, WARNING, Finding, Scene, Step, reactions_of, worst
from ..weight_scan import WeightScan
from .weights import granularity_of

CLIPPED = 0.01  # share of codes at the ends, besides the two for each scale that its range puts there; and at least one more for each scale
SPIKE = 4.0  # how often an end occurs, compared with the codes next to it
NEAR_ENDS = 4  # codes compared, on either side
MANY_CHANNELS = 0.1  # share of channels that use few levels, from which it is a warning


def weight_values(scene: Scene) -> Iterator[Finding]:
    """Q211 to Q214: of every weight tensor once, and Q213 of every operator that computes with it."""
    scans = {scan.tensor: scan for scan in scene.weights}
    for scan in scene.weights:
        if isinstance(scan.statistics, CodeStatistics):
            yield from _dead(scene, scan, scan.statistics)
            yield from _clipped(scene, scan, scan.statistics)
            yield from _few_levels(scene, scan, scan.statistics)
    for step in scene.steps(INTEGER, HYBRID, FLOAT):
        for tensor in step.run.weights:
            if any(tensor is operand for operand in step.operator.inputs):
                yield from _lowest_code(step, scans[tensor])


def _dead(scene: Scene, scan: WeightScan, codes: CodeStatistics) -> Iterator[Finding]:
    dead = codes.dead
    if len(dead):
        yield scene.finding(
            "Q211", scan.tensor, f"{len(dead)} of {len(codes.lowest)} channels hold nothing but 0, first {int(dead[0])}", INFO,
            found=len(dead), expected=0, operator=scan.run.path,
        )  # fmt: skip


def _clipped(scene: Scene, scan: WeightScan, codes: CodeStatistics) -> Iterator[Finding]:
    """More codes at an end than a scale from the largest weight explains, and than a broad distribution has."""
    if BITS[codes.type] < 8:
        return
    scales = max(1, len(scan.tensor.quantization.scale)) if scan.tensor.quantization is not None else 1
    ends = int(codes.ends.sum())
    if ends - 2 * scales < max(scales, CLIPPED * codes.size):
        return
    first = 2 if codes.limits[0] < 0 else 1  # what lies between the ends
    near = np.concatenate([codes.counts[first : first + NEAR_ENDS], codes.counts[-1 - NEAR_ENDS : -1]])
    if ends / 2 >= SPIKE * max(1.0, float(near.mean())):
        yield scene.finding(
            "Q212", scan.tensor, f"{ends} of {codes.size} codes ({codes.saturation:.2%}) are at the ends of the range; the codes next to them occur "
            f"{near.mean():.1f} times each", WARNING, found=ends, expected=2 * scales, operator=scan.run.path,
        )  # fmt: skip


def _few_levels(scene: Scene, scan: WeightScan, codes: CodeStatistics) -> Iterator[Finding]:
    reach, few = codes.reach, codes.few_levels
    if not len(few):
        return
    worst_one = int(few[np.argmin(reach[few])])
    levels = 2 * int(reach[worst_one]) + 1
    yield scene.finding(
        "Q214", scan.tensor, f"{len(few)} of {len(reach)} channels stay within {FEW} of the zero point; channel {worst_one} has {levels} levels",
        WARNING if len(few) >= MANY_CHANNELS * len(reach) else INFO, found=len(few), expected=0, operator=scan.run.path,
    )  # fmt: skip


def _lowest_code(step: Step, scan: WeightScan) -> Iterator[Finding]:
    codes, tensor = scan.statistics, scan.tensor
    if not isinstance(codes, CodeStatistics) or tensor.quantization is None:
        return
    low = codes.limits[0]
    count = codes.count(low)
    if not count or low >= 0:
        return
    facts = step.rule.about(Topic.WEIGHTS_VALUES, step.activation, tensor.type, granularity_of(tensor.quantization))
    reactions, source = reactions_of(fact for fact in facts if fact.concerns(tensor.shape))
    if all(r.behaviour in (Behaviour.FINE, Behaviour.IGNORES) for r in reactions.values()):
        return
    yield step.scene.finding(
        "Q213", tensor, f"code {low} occurs {count} times in {codes.size} weights of {step.label}", worst(reactions), found=count, expected=0,
        operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip
