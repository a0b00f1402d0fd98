"""Hypothesis strategies: random models that are valid as files, and edits of a model that keep it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tflitekit as tk
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.types import numpy_dtype

NAMES = st.one_of(
    st.none(), st.binary(max_size=12), st.sampled_from([b"x", b"", b"\xff\xfe", b"[red]", b"\x1b[0m", b"a\0b", "\N{SNOWMAN}".encode()])
)  # fmt: skip
TYPES = st.sampled_from([TensorType[name] for name in ("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL", "FLOAT16", "INT4")])
SHAPES = st.lists(st.integers(0, 4), max_size=4)
SCALES = st.floats(2.0**-100, 2.0**100, width=32)
DATA = st.binary(max_size=40)


@st.composite
def parameters(draw: st.DrawFn, shape: list[int]) -> tk.QuantizationParameters | None:
    """Nothing, one scale, one for each channel, parameters without scales, or only a range."""
    kind = draw(st.sampled_from(["none", "tensor", "channel", "empty", "range"]))
    if kind == "tensor":
        return quantize(draw(SCALES), draw(st.integers(-(2**40), 2**40)))
    if kind == "channel" and shape:
        axis = draw(st.integers(0, len(shape) - 1))
        count = max(1, shape[axis])
        zero_points = draw(st.lists(st.integers(-128, 127), min_size=count, max_size=count))
        return quantize(draw(st.lists(SCALES, min_size=count, max_size=count)), zero_points, axis)
    if kind == "range":
        return tk.QuantizationParameters(min=[-1.0], max=[draw(SCALES)])
    return tk.QuantizationParameters() if kind == "empty" else None


def _tensor(draw: st.DrawFn, main: SubGraphBuilder) -> tk.Tensor:
    shape, type_, name = draw(SHAPES), draw(TYPES), draw(NAMES)
    if type_ != TensorType.INT4 and draw(st.booleans()):
        codes = np.zeros(shape, numpy_dtype(type_)) + numpy_dtype(type_).type(draw(st.integers(0, 1)))
        return main.constant(name, codes, type_, draw(parameters(shape)), out_of_line=draw(st.booleans()))
    return main.tensor(name, shape, type_, draw(parameters(shape)))


def _operator(draw: st.DrawFn, main: SubGraphBuilder, tensors: list[tk.Tensor]) -> None:
    operands = draw(st.lists(st.one_of(st.none(), st.sampled_from(tensors)), max_size=4)) if tensors else []
    made = TensorSpec(draw(NAMES), draw(SHAPES), draw(TYPES), draw(parameters([])))
    kind = draw(st.sampled_from(["ADD", "CONV_2D", "RESHAPE", "NEG", "custom"]))
    if kind == "custom":
        found = main.custom("Mine", operands, [made], custom_options=draw(st.one_of(st.none(), DATA)), version=draw(st.integers(1, 300)))
    elif kind == "RESHAPE":
        found = main.operator(kind, operands, [made], new_shape=tuple(draw(SHAPES)))
    else:
        found = main.operator(kind, operands, [made], version=draw(st.integers(1, 300)))
    tensors += [t for t in found.outputs if t is not None]


@st.composite
def models(draw: st.DrawFn) -> tk.Model:
    """Any graph of up to two subgraphs: tensors of all kinds, operators over any of them, signatures, metadata."""
    builder = ModelBuilder(draw(NAMES))
    for _ in range(draw(st.integers(0, 2))):
        main = builder.subgraph(draw(NAMES))
        tensors = [_tensor(draw, main) for _ in range(draw(st.integers(0, 4)))]
        for _ in range(draw(st.integers(0, 3))):
            _operator(draw, main, tensors)
        if tensors:
            main.subgraph.inputs = draw(st.lists(st.sampled_from(tensors), max_size=2))
            main.subgraph.outputs = draw(st.lists(st.sampled_from(tensors), max_size=2))
        if draw(st.booleans()):
            builder.signature(f"signature {len(builder.model.signature_defs)}", {f"in{i}": t for i, t in enumerate(main.subgraph.inputs)}, {}, main)
    for data in draw(st.lists(DATA, max_size=2)):
        builder.metadata(draw(st.sampled_from(["a", "b"])), data)
    return builder.build()


# ---- edits: each takes the model and a way to draw, and changes something or nothing ----

Draw = Callable[[Any], Any]


def _any_tensor(model: tk.Model, draw: Draw) -> tuple[tk.SubGraph, tk.Tensor] | None:
    found = [(s, t) for s in model.subgraphs for t in s.tensors]
    return draw(st.sampled_from(found)) if found else None


def rename(model: tk.Model, draw: Draw) -> None:
    if place := _any_tensor(model, draw):
        place[1].name = draw(NAMES)


def reshape(model: tk.Model, draw: Draw) -> None:
    if place := _any_tensor(model, draw):
        place[1].shape = tuple(draw(SHAPES))


def requantize(model: tk.Model, draw: Draw) -> None:
    if place := _any_tensor(model, draw):
        place[1].quantization = draw(parameters(list(place[1].shape)))


def rescale(model: tk.Model, draw: Draw) -> None:
    """Of the same size: what the patch writer does."""
    found = [t.quantization for t in model.tensors() if t.quantization is not None and len(t.quantization.scale)]
    if found:
        q = draw(st.sampled_from(found))
        q.scale = np.full(len(q.scale), draw(SCALES), np.float32)


def refill(model: tk.Model, draw: Draw) -> None:
    """Other data in a buffer, of the same size or another."""
    if len(model.buffers) > 1:
        buffer = draw(st.sampled_from(model.buffers[1:]))
        old = bytes(buffer.data or b"")
        buffer.data = draw(st.one_of(st.just(old[::-1]), DATA, st.none()))


def share(model: tk.Model, draw: Draw) -> None:
    """Two tensors on one buffer."""
    first, second = _any_tensor(model, draw), _any_tensor(model, draw)
    if first and second:
        first[1].buffer = second[1].buffer


def add(model: tk.Model, draw: Draw) -> None:
    if model.subgraphs:
        subgraph = draw(st.sampled_from(model.subgraphs))
        made = tk.Tensor(name=draw(NAMES), shape=tuple(draw(SHAPES)), type=draw(TYPES), buffer=model.add_buffer(draw(DATA)))
        subgraph.tensors.insert(draw(st.integers(0, len(subgraph.tensors))), made)


def remove(model: tk.Model, draw: Draw) -> None:
    """A tensor that nothing refers to, or an operator."""
    if not model.subgraphs:
        return
    subgraph = draw(st.sampled_from(model.subgraphs))
    held = {id(t) for o in subgraph.operators for t in (*o.inputs, *o.outputs)} | {id(t) for t in (*subgraph.inputs, *subgraph.outputs)}
    held |= {id(entry.tensor) for signature in model.signature_defs for entry in (*signature.inputs, *signature.outputs)}
    free = [t for t in subgraph.tensors if id(t) not in held]
    if free:
        subgraph.tensors.remove(draw(st.sampled_from(free)))
    elif subgraph.operators:
        del subgraph.operators[draw(st.integers(0, len(subgraph.operators) - 1))]


def rewire(model: tk.Model, draw: Draw) -> None:
    found = [(s, o) for s in model.subgraphs for o in s.operators if s.tensors]
    if found:
        subgraph, operator = draw(st.sampled_from(found))
        operator.inputs = draw(st.lists(st.one_of(st.none(), st.sampled_from(subgraph.tensors)), max_size=4))


def shuffle(model: tk.Model, draw: Draw) -> None:
    """Tensors, buffers and codes in another order: every index in the file changes."""
    for subgraph in model.subgraphs:
        subgraph.tensors[:] = draw(st.permutations(subgraph.tensors))
    model.buffers[1:] = draw(st.permutations(model.buffers[1:]))
    model.operator_codes[:] = draw(st.permutations(model.operator_codes))


def describe(model: tk.Model, draw: Draw) -> None:
    model.description = draw(NAMES)


def move(model: tk.Model, draw: Draw) -> None:
    """Data of a buffer behind the flatbuffer, or into it."""
    filled = [b for b in model.buffers[1:] if b.data is not None and len(b.data)]
    if filled:
        buffer = draw(st.sampled_from(filled))
        buffer.out_of_line = not buffer.out_of_line


EDITS = (rename, reshape, requantize, rescale, rescale, refill, share, add, remove, rewire, shuffle, describe, move)
