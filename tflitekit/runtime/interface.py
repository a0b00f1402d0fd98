"""What can be run of a model: its signatures, or its first subgraph, with their inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import types
from .._schema import TensorType
from ..errors import EditError, RuntimeCheckError
from ..flat.codec import encode, parse, read
from ..graph import Model, SignatureDef, SubGraph, Tensor, view_of
from .codes import NUMPY_CODES, REAL_TYPES, Codes, codes_of

Shapes = Mapping[str, Sequence[int]]
PLAIN = frozenset({*NUMPY_CODES, TensorType.BOOL, TensorType.UINT64})


@dataclass(frozen=True)
class Subject:
    """A model to run: how messages call it, its graph, and the file or the bytes that the runtime gets."""

    name: str
    model: Model
    content: Path | bytes


@dataclass(frozen=True)
class Port:
    """An input or an output.

    `name` is the signature's, or the tensor's. `codes` tell what integers mean. `grid` are those codes, or for a float tensor those of the QUANTIZE
    that alone reads it or of the DEQUANTIZE that writes it: what the model can tell apart.
    """

    name: str
    tensor: Tensor
    index: int
    shape: tuple[int, ...]
    codes: Codes | None
    grid: Codes | None

    @property
    def is_real(self) -> bool:
        """Whether its values stand for real numbers: it is of a float type, or quantized."""
        return self.tensor.type in REAL_TYPES or self.codes is not None


@dataclass(frozen=True)
class Interface:
    """One way to run a model. `key` is the signature's, None for the inputs and outputs of subgraph 0 by their position."""

    key: str | None
    subgraph: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def title(self) -> str:
        """For messages."""
        return "the model" if self.key is None else f"signature {self.key!r}"


def subject(value: Any, name: str | None = None) -> Subject:
    """A path, the bytes of a file, or a Model (which is serialized unless it is as its file) as a Subject."""
    if isinstance(value, Subject):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return Subject(name or "the model", parse(data), data)
    if isinstance(value, Model):
        output = encode(value)
        path = None if value.source is None else value.source.path
        if output.writer == "source" and path is not None:
            return Subject(name or path.name, value, path)
        data = b"".join(map(view_of, output.pieces))
        return Subject(name or "the model", value, data)
    if not isinstance(value, (str, os.PathLike)):
        raise EditError(f"expected a path, bytes or a Model, got {type(value).__name__}")
    path = Path(value)
    return Subject(name or path.name, read(path), path)


def interfaces(
    subject: Subject, shapes: Shapes | None = None, signature: str | None = None, by_position: bool = False
) -> list[Interface]:  # fmt: skip
    """All signatures that can be run, or subgraph 0 (where there are none, or `by_position`); only that of the key `signature`, if given.

    `shapes` are shapes of inputs by name, that of the signature or that of the tensor; a dynamic dimension without one is what the file stores,
    usually 1. EditError for unknown names, RuntimeCheckError for inputs or outputs that cannot be fed or read: strings, resources, types that numpy
    lacks.
    """
    model = subject.model
    if not model.subgraphs:
        raise RuntimeCheckError(f"{subject.name}: the model has no subgraph to run", "refused")
    found = [] if by_position else [_of_signature(model, each) for each in model.signature_defs if _is_usable(model, each)]
    if signature is not None:
        found = [each for each in found if each.key == signature]
        if not found:
            keys = ", ".join(repr(types.text(each.signature_key)) for each in model.signature_defs) or "none"
            raise EditError(f"{subject.name}: no signature {signature!r} that can be run. Its signatures: {keys}")
    found = found or [_of_subgraph(model)]
    for each in found:
        _check_types(subject, each)
    return [_with_shapes(each, shapes or {}) for each in found]


def check_shape_names(shapes: Shapes | None, found: Sequence[Interface]) -> None:
    """EditError for a shape whose name no input has."""
    ports = [port for each in found for port in each.inputs]
    names = [port.name for port in ports]
    for name in shapes or {}:
        if name not in names and name not in [port.tensor.name_str for port in ports]:
            raise EditError(f"--shape: no input is named {name!r}. Inputs: {', '.join(map(repr, dict.fromkeys(names))) or 'none'}")


def _is_usable(model: Model, signature: SignatureDef) -> bool:
    """Whether it has a key and names each input of its subgraph once, so that the runtime can run it by name."""
    subgraph = signature.subgraph
    if not signature.signature_key or not isinstance(subgraph, SubGraph) or subgraph not in model.subgraphs:
        return False
    entries = [*signature.inputs, *signature.outputs]
    if not signature.outputs or not all(isinstance(e.tensor, Tensor) and e.tensor in subgraph.tensors and e.name for e in entries):
        return False
    named = [entry.tensor for entry in signature.inputs]
    return len(named) == len(set(named)) and set(named) == set(subgraph.inputs)


def _of_signature(model: Model, signature: SignatureDef) -> Interface:
    subgraph = signature.subgraph
    assert subgraph is not None
    places = {tensor: index for index, tensor in enumerate(subgraph.tensors)}
    sides = [
        tuple(_port(types.text(e.name), e.tensor, places, is_input) for e in entries if e.tensor is not None)
        for entries, is_input in ((signature.inputs, True), (signature.outputs, False))
    ]
    return Interface(types.text(signature.signature_key), model.subgraphs.index(subgraph), *sides)


def _of_subgraph(model: Model) -> Interface:
    subgraph = model.subgraphs[0]
    places = {tensor: index for index, tensor in enumerate(subgraph.tensors)}
    sides = []
    for tensors, is_input in ((subgraph.inputs, True), (subgraph.outputs, False)):
        if not all(tensor in places for tensor in tensors):
            raise RuntimeCheckError("subgraphs[0]: an input or output points at no tensor; tflitekit verify says which", "refused")
        sides.append(tuple(_port(t.name_str, t, places, is_input) for t in tensors if t is not None))
    return Interface(None, 0, *sides)


def _port(name: str, tensor: Tensor, places: Mapping[Tensor, int], is_input: bool) -> Port:
    codes = codes_of(tensor)
    return Port(name, tensor, places[tensor], tensor.shape, codes, codes if tensor.type not in REAL_TYPES else _inside(tensor, is_input))


def _inside(tensor: Tensor, is_input: bool) -> Codes | None:
    """The codes on the other side of the QUANTIZE or DEQUANTIZE at the boundary, where that is all that touches the tensor."""
    if is_input:
        readers = tensor.consumers()
        if len(readers) != 1 or readers[0].op_name != "QUANTIZE" or not readers[0].outputs:
            return None
        other = readers[0].outputs[0]
    else:
        writer = tensor.producer()
        if writer is None or writer.op_name != "DEQUANTIZE" or not writer.inputs:
            return None
        other = writer.inputs[0]
    return None if not isinstance(other, Tensor) else codes_of(other)


def _check_types(subject: Subject, interface: Interface) -> None:
    for side, ports in (("input", interface.inputs), ("output", interface.outputs)):
        for port in ports:
            if port.tensor.type not in REAL_TYPES | PLAIN:
                what = f"{subject.name}: {side} {port.name!r} of {interface.title} is {port.tensor.type.name}"
                raise RuntimeCheckError(f"{what}; only numbers and booleans can be fed and read here", "refused")


def _with_shapes(interface: Interface, shapes: Shapes) -> Interface:
    def resized(port: Port) -> Port:
        wanted = shapes.get(port.name, shapes.get(port.tensor.name_str))
        return port if wanted is None else replace(port, shape=tuple(wanted))

    return replace(interface, inputs=tuple(map(resized, interface.inputs)))
