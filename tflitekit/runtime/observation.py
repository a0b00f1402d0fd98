"""`observe`: the real range of every tensor on the user's own samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .codes import Array
from .data import Data, Slot
from .execution import Computed, as_data, computed_tensors, run_interface
from .interface import Interface, Shapes, Subject, check_shape_names, interfaces, subject
from .process import DEFAULT_LIMITS, Limits, Process

Progress = Callable[[int, int | None, str], None]


@dataclass
class Seen:
    """The real values of a tensor over all samples: from `low` to `high`, None where there were none.

    `at_low` and `at_high` count elements that have the lowest or highest code of a quantized tensor, where values beyond would be clipped to;
    `non_finite` counts NaN and infinities, which are left out of the range; `clipped` those values of samples that an input has no code for.
    """

    tensor: Computed
    low: float | None = None
    high: float | None = None
    elements: int = 0
    at_low: int = 0
    at_high: int = 0
    non_finite: int = 0
    clipped: int = 0

    def add(self, array: Array, given: Array | None = None) -> None:
        """Look at another sample, as the runtime has it; `given` are the real values that an input was fed, before they became codes."""
        self.elements += array.size
        codes = self.tensor.codes
        if codes is not None:
            low, high = codes.limits
            self.at_low += int((array == low).sum())
            self.at_high += int((array == high).sum())
            array = codes.decode(array) if given is None else given
            self.clipped += 0 if given is None else codes.clipped(given)
        finite = np.isfinite(array)
        if not finite.all():
            self.non_finite += int(array.size - finite.sum())
            array = array[finite]
        if array.size:
            low_, high_ = float(array.min()), float(array.max())
            self.low = low_ if self.low is None else min(self.low, low_)
            self.high = high_ if self.high is None else max(self.high, high_)


@dataclass
class Observed:
    """What was seen of a signature, or of subgraph 0 (`key` None): its inputs and all computed tensors with real values, in order of execution."""

    key: str | None
    subgraph: int
    tensors: list[Seen]
    samples: int = 0
    how: list[str] = field(default_factory=list)
    unreadable: int = 0


@dataclass
class Observation:
    """The result of `observe`. `resolver` is what was used: "optimized" (without delegates, so that all tensors are kept) or "reference"."""

    subject: Subject
    resolver: str
    data: Data
    interfaces: list[Observed] = field(default_factory=list)


def observe(
    model: Any, data: Data | Iterable[Any], *, resolver: str = "optimized", signature: str | None = None, shapes: Shapes | None = None,
    limits: Limits = DEFAULT_LIMITS, progress: Progress | None = None,
) -> Observation:  # fmt: skip
    """Run a model on samples and note the real range of every tensor: running minimum and maximum over all samples.

    model, data, signature, shapes, limits, errors: as for `compare`. `progress` is told how many samples are done, of how many (None where
    that is not known), and what the last one was. A range says as much as the samples do: they should be what the model meets in
    use. A quantized tensor shows no value outside of what it claims; the share of values at its lowest and highest code tells whether that clips.
    """
    tested, data = subject(model), as_data(data)
    found = interfaces(tested, shapes, signature)
    check_shape_names(shapes, found)
    resolver = "optimized" if resolver == "default" else resolver
    result = Observation(tested, resolver, data)
    with Process(tested.name, tested.content, resolver, limits, preserve=True) as process:
        for interface in found:
            result.interfaces.append(_observe(process, tested, interface, data, progress))
    return result


def _observe(process: Process, tested: Subject, interface: Interface, data: Data, progress: Progress | None) -> Observed:
    slots = [Slot(port.name, (port,)) for port in interface.inputs]
    seen = [Seen(tensor) for tensor in computed_tensors(tested.model.subgraphs[interface.subgraph], interface) if tensor.is_real]
    inputs = {each.tensor.index: each for each in seen if each.tensor.position < 0}
    inside = [each for each in seen if each.tensor.position >= 0]
    result = Observed(interface.key, interface.subgraph, seen)
    for sample in data.samples(slots):
        fed = [slot.feed(values, 0) for slot, values in zip(slots, sample.values, strict=True)]
        for port, values, array in zip(interface.inputs, sample.values, fed, strict=True):
            if port.index in inputs:
                inputs[port.index].add(array, values)
        _, arrays = run_interface(process, interface, fed, [each.tensor.index for each in inside])
        for each, array in zip(inside, arrays, strict=True):
            if array is not None:
                each.add(array)
        result.samples += 1
        if progress is not None:
            progress(result.samples, getattr(data, "count", None) or getattr(data, "limit", None), sample.origin)
        result.how = sample.how
    result.unreadable = sum(1 for each in seen if not each.elements)
    return result
