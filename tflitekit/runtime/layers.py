"""All tensors that two models share, compared in the order of execution: where they depart, and how the error grows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from .data import Data
from .execution import Computed, Pair, computed_tensors, real, run_sample
from .interface import Subject
from .metrics import Errors, Tolerance
from .process import Limits, Process


@dataclass
class Layer:
    """A tensor that both models compute.

    `a` and `b` are that tensor in each. `matched` is "name", or "position" for one that was paired by operator, shape and order. `lsb` is the step of
    b's scale, or a's. `drop` is the signal to noise in dB that the operator loses against the worst compared tensor that it reads: infinite where
    it departs first, None where nothing that it reads was compared.
    """

    a: Computed
    b: Computed
    matched: str
    errors: Errors = field(default_factory=Errors)
    departs: bool = False
    drop: float | None = None

    @property
    def lsb(self) -> float | None:
        """One step in real values."""
        codes = self.b.codes or self.a.codes
        return None if codes is None else codes.step


@dataclass
class Layers:
    """The layers of an interface, in the order in which b computes them; inputs come first.

    `resolver` is what was used: a runtime with delegates does not keep intermediate tensors. `unmatched` counts the tensors of (a, b) without a
    counterpart, `unreadable` the pairs of which one could not be read or has another shape. Tensors inside bodies of control flow are not seen.
    """

    resolver: str
    layers: list[Layer]
    unmatched: tuple[int, int]
    unreadable: int = 0

    @property
    def first(self) -> Layer | None:
        """The first layer that departs: beyond the tolerance, or, without one, in any value."""
        return next((layer for layer in self.layers if layer.departs), None)


def compare_layers(subjects: Sequence[Subject], pair: Pair, data: Data, resolver: str, limits: Limits, tolerance: Tolerance | None) -> Layers:
    """Run both models again, with every tensor kept, and compare those that they share."""
    resolver = "optimized" if resolver == "default" else resolver
    sides = [computed_tensors(s.model.subgraphs[i.subgraph], i) for s, i in zip(subjects, (pair.a, pair.b), strict=True)]
    layers = match(*sides)
    wanted = [[layer.a.index for layer in layers], [layer.b.index for layer in layers]]
    unreadable: set[int] = set()
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(s.name, s.content, resolver, limits, preserve=True)) for s in subjects]
        for number, sample in enumerate(data.samples(pair.slots)):
            read = [run_sample(process, which, pair, sample, wanted[which])[1] for which, process in enumerate(processes)]
            for place, (layer, a, b) in enumerate(zip(layers, *read, strict=True)):
                if a is None or b is None or a.shape != b.shape:
                    unreadable.add(place)
                else:
                    layer.errors.add(real(layer.a.codes, a), real(layer.b.codes, b), number)
    kept = [layer for place, layer in enumerate(layers) if place not in unreadable]
    _judge(kept, tolerance)
    return Layers(resolver, kept, (len(sides[0]) - len(layers), len(sides[1]) - len(layers)), len(unreadable))


def match(a: Sequence[Computed], b: Sequence[Computed]) -> list[Layer]:
    """Pairs of tensors, in b's order: by names that are unique in both, the rest by the order of equal operators and shapes."""
    unique = [{name for name, count in Counter(t.name for t in side).items() if name and count == 1} for side in (a, b)]
    shared = unique[0] & unique[1]
    named = {t.name: t for t in a if t.name in shared}
    pairs = {t.index: Layer(named[t.name], t, "name") for t in b if t.name in shared and len(named[t.name].shape) == len(t.shape)}
    taken = {layer.a.index for layer in pairs.values()}
    left, right = [t for t in a if t.index not in taken], [t for t in b if t.index not in pairs]
    keys = [[(t.operator, t.shape) for t in side] for side in (left, right)]
    for block in SequenceMatcher(a=keys[0], b=keys[1], autojunk=False).get_matching_blocks():
        for x, y in zip(left[block.a : block.a + block.size], right[block.b : block.b + block.size], strict=True):
            pairs[y.index] = Layer(x, y, "position")
    return [pairs[t.index] for t in b if t.index in pairs]


def _judge(layers: Sequence[Layer], tolerance: Tolerance | None) -> None:
    known = {layer.b.index: layer.errors.sqnr for layer in layers}
    for layer in layers:
        verdict = None if tolerance is None else tolerance.verdict(layer.errors, layer.lsb, not layer.b.is_real)
        layer.departs = layer.errors.differing > 0 if verdict is None else not verdict
        before = [known[index] for index in layer.b.reads if index in known]
        if before:
            worst, now = min(before), layer.errors.sqnr
            layer.drop = 0.0 if math.isinf(worst) and worst == now else worst - now
