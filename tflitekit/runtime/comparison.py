"""`compare`: both models on the same real inputs, each in its own child process, and how far their outputs are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import EditError, RuntimeCheckError
from .codes import Array
from .data import Data, Slot
from .execution import Pair, as_data, real, run_sample
from .interface import Interface, Port, Shapes, Subject, check_shape_names, interfaces, subject
from .layers import Layers, compare_layers
from .metrics import Errors, Tolerance, Variation, parse_tolerance
from .process import DEFAULT_LIMITS, Limits, Process


@dataclass
class InputReport:
    """What was fed to an input: `low` and `high` finite real values over all samples, and how many each model had to clip to its codes."""

    slot: Slot
    how: str = ""
    low: float | None = None
    high: float | None = None
    elements: int = 0
    clipped: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, values: Array, how: str) -> None:
        """Count the values of another sample."""
        self.how = how
        self.elements += values.size
        finite = values[np.isfinite(values)]
        if finite.size:
            self.low = float(finite.min()) if self.low is None else min(self.low, float(finite.min()))
            self.high = float(finite.max()) if self.high is None else max(self.high, float(finite.max()))
        for which, port in enumerate(self.slot.ports):
            if port.codes is not None and self.slot.is_real:
                self.clipped[which] += port.codes.clipped(values)


@dataclass
class OutputReport:
    """How far an output of b is from that of a.

    `lsb` is the step of b's output scale in real values, that of a where b has none, that of the DEQUANTIZE before a float output; None without
    any. `varies` says for (a, b) whether the output was ever different from that of the first sample, None where there was one sample only.
    `within` is the verdict of the tolerance.
    """

    name: str
    ports: tuple[Port, Port]
    lsb: float | None
    exact: bool
    errors: Errors = field(default_factory=Errors)
    variations: tuple[Variation, Variation] = field(default_factory=lambda: (Variation(), Variation()))
    within: bool | None = None

    @property
    def varies(self) -> tuple[bool | None, bool | None]:
        """Of a and of b."""
        return self.variations[0].varies, self.variations[1].varies

    @property
    def max_lsb(self) -> float | None:
        """The largest error in steps."""
        return None if self.lsb is None else self.errors.max / self.lsb

    @property
    def mean_lsb(self) -> float | None:
        """The mean error in steps."""
        return None if self.lsb is None else self.errors.mean / self.lsb


@dataclass
class InterfaceReport:
    """The comparison of a signature, or of subgraph 0 (`key` None). `matched` says how inputs and outputs were paired: "name" or "position"."""

    key: str | None
    matched: str
    inputs: list[InputReport]
    outputs: list[OutputReport]
    samples: int = 0
    layers: Layers | None = None


@dataclass
class Comparison:
    """The result of `compare`. `missing` are the keys of signatures that only one of the models has, with which: ("b", "serve")."""

    a: Subject
    b: Subject
    resolver: str
    data: Data
    tolerance: Tolerance | None
    interfaces: list[InterfaceReport] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)

    @property
    def outputs(self) -> list[OutputReport]:
        """The outputs of all interfaces."""
        return [output for interface in self.interfaces for output in interface.outputs]

    @property
    def within(self) -> bool | None:
        """Whether all outputs are within the tolerance and no signature is missing; None without a tolerance."""
        return None if self.tolerance is None else not self.missing and all(output.within for output in self.outputs)

    @property
    def equal(self) -> bool:
        """Whether no output differs at all, as real values."""
        return not self.missing and not any(output.errors.differing for output in self.outputs)

    @property
    def shows(self) -> bool | None:
        """Whether the inputs change some output of both models: else equality says nothing. None where there was one sample only."""
        seen = [side for output in self.outputs for side in output.varies]
        if not seen or any(side is None for side in seen):
            return None if seen else False
        return any(all(output.varies) for output in self.outputs)


def compare(
    a: Any, b: Any, data: Data | Iterable[Any] | None = None, *, resolver: str = "default", signature: str | None = None,
    shapes: Shapes | None = None, tolerance: Tolerance | str | None = None, layers: bool = False, limits: Limits = DEFAULT_LIMITS,
) -> Comparison:  # fmt: skip
    """Run two models on the same real values and compare their outputs.

    a, b: paths, bytes, or Models. data: RandomData, FileData, ArrayData, or arrays as ArrayData takes them; without, 4 random samples. Inputs are
    drawn or read as real values; each model gets them as its own codes (float32 division, half away from zero, clipped), outputs become real values
    again. resolver: "default" (optimized kernels, XNNPACK), "optimized" or "reference". Signatures are paired by key, inputs and outputs by name,
    or all by position. shapes: of inputs, by name. tolerance: see `parse_tolerance`. layers: also compare all tensors, see `Layers`.

    Samples run one after the other in one interpreter, so variables keep their state. EditError for inputs that do not fit; RuntimeCheckError
    where a model is refused, crashes, or takes too long.
    """
    first, second = subject(a), subject(b)
    if first.name == second.name:
        first, second = (Subject(f"{s.name} ({letter})", s.model, s.content) for s, letter in ((first, "A"), (second, "B")))
    data = as_data(data)
    bounds = parse_tolerance(tolerance) if isinstance(tolerance, str) else tolerance
    pairs, missing = pair_interfaces(first, second, shapes, signature)
    result = Comparison(first, second, resolver, data, bounds, missing=missing)
    with ExitStack() as stack:
        processes = [stack.enter_context(Process(s.name, s.content, resolver, limits)) for s in (first, second)]
        for pair in pairs:
            result.interfaces.append(_compare(pair, processes, data))
    for report in result.outputs if bounds is not None else ():
        assert bounds is not None
        report.within = bounds.holds(report.name, report.errors, report.lsb, report.exact)
    if layers:
        for report_, pair in zip(result.interfaces, pairs, strict=True):
            report_.layers = compare_layers((first, second), pair, data, resolver, limits, bounds)
    return result


# ---- pairs ----


def pair_interfaces(
    a: Subject, b: Subject, shapes: Shapes | None = None, signature: str | None = None
) -> tuple[list[Pair], list[tuple[str, str]]]:  # fmt: skip
    """The interfaces that both models have, and the keys that only one has."""
    sides = [interfaces(each, shapes, signature) for each in (a, b)]
    check_shape_names(shapes, [*sides[0], *sides[1]])
    if any(side[0].key is None for side in sides):
        model_a, model_b = (side[0] if side[0].key is None else _unsigned(each, shapes) for each, side in zip((a, b), sides, strict=True))
        return [_pair(model_a, model_b)], []
    keyed = [{interface.key: interface for interface in side} for side in sides]
    missing = [("a", key) for key in keyed[0] if key not in keyed[1]] + [("b", key) for key in keyed[1] if key not in keyed[0]]
    common = [key for key in keyed[0] if key in keyed[1]]
    if not common and len(keyed[0]) == len(keyed[1]) == 1:
        return [_pair(sides[0][0], sides[1][0])], []
    if not common:
        raise EditError(f"the models share no signature: {a.name} has {_keys(keyed[0])}, {b.name} {_keys(keyed[1])}")
    return [_pair(keyed[0][key], keyed[1][key]) for key in common], [(side, str(key)) for side, key in missing]


def _keys(found: Mapping[str | None, Interface]) -> str:
    return ", ".join(map(repr, found))


def _unsigned(each: Subject, shapes: Shapes | None) -> Interface:
    """Subgraph 0 of a model with signatures, for a comparison with one that has none."""
    return interfaces(each, shapes, by_position=True)[0]


def _pair(a: Interface, b: Interface) -> Pair:
    by_name = a.key is not None and all({p.name for p in x} == {p.name for p in y} for x, y in ((a.inputs, b.inputs), (a.outputs, b.outputs)))
    inputs, outputs = (_matched(x, y, side, by_name) for x, y, side in ((a.inputs, b.inputs, "inputs"), (a.outputs, b.outputs, "outputs")))
    for x, y in inputs:
        if x.shape != y.shape:
            dynamic = any(-1 in port.tensor.shape_signature for port in (x, y))
            hint = f"--shape {x.name}=... sets that of a dynamic input" if dynamic else "The same values cannot be fed to both"
            raise EditError(f"input {x.name!r} has the shape {list(x.shape)} in A and {list(y.shape)} in B. {hint}")
        if x.is_real != y.is_real and {x.tensor.type.name, y.tensor.type.name} & {"BOOL"}:
            raise EditError(f"input {x.name!r} is {x.tensor.type.name} in A and {y.tensor.type.name} in B; there is no common value for both")
    slots = tuple(Slot(x.name, (x, y)) for x, y in inputs)
    return Pair(a, b, "name" if by_name else "position", slots, tuple(outputs))


def _matched(a: Sequence[Port], b: Sequence[Port], side: str, by_name: bool) -> list[tuple[Port, Port]]:
    if len(a) != len(b):
        raise EditError(f"A has {len(a)} {side} and B {len(b)}: there is nothing to compare")
    if not by_name:
        return list(zip(a, b, strict=True))
    named = {port.name: port for port in b}
    return [(port, named[port.name]) for port in a]


# ---- runs ----


def _compare(pair: Pair, processes: Sequence[Process], data: Data) -> InterfaceReport:
    inputs = [InputReport(slot) for slot in pair.slots]
    outputs = [OutputReport(x.name, (x, y), _lsb(x, y), not (x.is_real or y.is_real)) for x, y in pair.outputs]
    report = InterfaceReport(pair.a.key, pair.matched, inputs, outputs)
    for sample in data.samples(pair.slots):
        for entry, values, how in zip(inputs, sample.values, sample.how, strict=True):
            entry.add(values, how)
        found = [run_sample(process, which, pair, sample)[0] for which, process in enumerate(processes)]
        for output, a, b in zip(outputs, *found, strict=True):
            _add(output, a, b, report.samples)
        report.samples += 1
    return report


def _lsb(a: Port, b: Port) -> float | None:
    grid = b.codes or a.codes or b.grid or a.grid
    return None if grid is None else grid.step


def _add(output: OutputReport, a: Array, b: Array, sample: int) -> None:
    output.variations[0].add(a)
    output.variations[1].add(b)
    if a.shape != b.shape:
        raise RuntimeCheckError(f"output {output.name!r} has the shape {list(a.shape)} in A and {list(b.shape)} in B", "differs")
    top1 = not output.exact and a.ndim > 0 and a.shape[-1] > 1
    output.errors.add(real(output.ports[0].codes, a), real(output.ports[1].codes, b), sample, top1)
