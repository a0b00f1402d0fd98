"""Feeding samples to a model and reading what comes out; `run` for one model alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import RuntimeCheckError
from ..graph import SubGraph
from .codes import NUMPY_CODES, REAL_TYPES, Array, Codes, codes_of
from .data import ArrayData, Data, FileData, RandomData, Sample, Slot
from .interface import Interface, Port, Shapes, check_shape_names, interfaces, subject
from .process import DEFAULT_LIMITS, Limits, Process


@dataclass(frozen=True)
class Pair:
    """The interfaces of both models that are compared; slots and outputs are in the order of the first. `matched`: by "name" or "position"."""

    a: Interface
    b: Interface
    matched: str
    slots: tuple[Slot, ...]
    outputs: tuple[tuple[Port, Port], ...]


@dataclass(frozen=True)
class Computed:
    """A tensor that an operator writes, or an input (`position` -1, `operator` "input"); `reads` are the indices of what the operator reads."""

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    position: int
    operator: str
    reads: tuple[int, ...]
    codes: Codes | None
    is_real: bool


def as_data(data: Data | Iterable[Any] | None) -> Data:
    """Arrays as ArrayData, None as RandomData."""
    if data is None or isinstance(data, (RandomData, FileData, ArrayData)):
        return RandomData() if data is None else data
    return ArrayData(list(data))


def real(codes: Codes | None, array: Array) -> Array:
    """Real values; complex numbers as pairs of them."""
    if codes is not None:
        return codes.decode(array)
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


def run_interface(process: Process, interface: Interface, inputs: Sequence[Array], tensors: Sequence[int] = ()) -> tuple[list[Array], list[Any]]:
    """Run an interface with inputs in its order: its outputs, and tensors of its subgraph, None for those that cannot be read."""
    outputs, found = process.run(
        inputs, signature=interface.key, names=[port.name for port in interface.inputs], outputs=[port.name for port in interface.outputs],
        subgraph=interface.subgraph, tensors=tensors,
    )  # fmt: skip
    if len(outputs) != len(interface.outputs):
        raise RuntimeCheckError(f"{process.name}: the runtime has {len(outputs)} outputs, the file {len(interface.outputs)}", "refused")
    return outputs, found


def run_sample(process: Process, which: int, pair: Pair, sample: Sample, tensors: Sequence[int] = ()) -> tuple[list[Array], list[Any]]:
    """Run model number `which` of a pair: its outputs in the order of the pair, and tensors."""
    interface = (pair.a, pair.b)[which]
    fed = {slot.ports[which].index: slot.feed(values, which) for slot, values in zip(pair.slots, sample.values, strict=True)}
    outputs, found = run_interface(process, interface, [fed[port.index] for port in interface.inputs], tensors)
    places = {id(port): number for number, port in enumerate(interface.outputs)}
    return [outputs[places[id(ports[which])]] for ports in pair.outputs], found


def computed_tensors(subgraph: SubGraph, interface: Interface) -> list[Computed]:
    """The inputs of an interface, then every tensor that an operator of its subgraph writes, in the order of execution; numeric types only."""
    places = {tensor: index for index, tensor in enumerate(subgraph.tensors)}
    ends: list[tuple[int, str, Any, Sequence[Any]]] = [(-1, "input", port.tensor, ()) for port in interface.inputs]
    ends += [(number, op.op_name, tensor, op.inputs) for number, op in enumerate(subgraph.operators) for tensor in op.outputs]
    found: dict[int, Computed] = {}
    for position, operator, tensor, reads in ends:
        index = places.get(tensor)
        if index is None or tensor.type not in REAL_TYPES | NUMPY_CODES:
            continue
        codes = codes_of(tensor)
        found[index] = Computed(
            index, tensor.name_str, tensor.shape, tensor.type.name, position, operator, tuple(places[t] for t in reads if t in places), codes,
            codes is not None or tensor.type in REAL_TYPES,
        )  # fmt: skip
    return list(found.values())


def run(
    model: Any, data: Data | Iterable[Any] | None = None, *, resolver: str = "default", signature: str | None = None, shapes: Shapes | None = None,
    decode: bool = False, limits: Limits = DEFAULT_LIMITS,
) -> list[dict[str, Array]]:  # fmt: skip
    """Run one model in a child process: for each sample the outputs by name, as the runtime gives them.

    model, data, resolver, shapes: as for `compare`; inputs are given as real values (or codes, see ArrayData). Without `signature` the first one
    runs, or subgraph 0 if there is none. decode: give real values instead of codes. Outputs without a name of their own are called by their position.
    """
    tested = subject(model)
    found = interfaces(tested, shapes, signature)
    check_shape_names(shapes, found)
    interface = found[0]
    slots = [Slot(port.name, (port,)) for port in interface.inputs]
    names = [port.name for port in interface.outputs]
    names = [name if name and names.count(name) == 1 else str(number) for number, name in enumerate(names)]
    results = []
    with Process(tested.name, tested.content, resolver, limits) as process:
        for sample in as_data(data).samples(slots):
            fed = [slot.feed(values, 0) for slot, values in zip(slots, sample.values, strict=True)]
            outputs, _ = run_interface(process, interface, fed)
            pairs = zip(outputs, interface.outputs, strict=True)
            results.append(dict(zip(names, (real(port.codes, out) if decode else out for out, port in pairs), strict=True)))
    return results
