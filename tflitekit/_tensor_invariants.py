"""Invariants of tensors and buffers: types, shapes, byte sizes, where data lies, quantization."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import types
from ._facts import Facts, Problem, Quantized, Scope
from ._schema import BlockwiseQuantization, MultiAxisQuantization, TensorType
from ._walk import joined_bytes
from .errors import EditError
from .graph import Tensor, view_of

# ---- type and shape ----


def tensor_types(facts: Facts) -> Iterator[Problem]:
    """Element types are those of the schema."""
    known = frozenset(map(int, TensorType))
    for scope in facts.scopes:
        unknown = {tensor.type for tensor in scope.subgraph.tensors} - known
        for index, tensor in enumerate(scope.subgraph.tensors) if unknown else ():
            if tensor.type in unknown:
                yield scope.tensor(index, "error", "tensor-type", f"type {int(tensor.type)} is unknown; a newer runtime may know it", "type")


def shapes(facts: Facts) -> Iterator[Problem]:
    """Dimensions are not negative, and the number of bytes fits in 64 bits."""
    for scope in facts.scopes:
        suspects = {s for s in {tensor.shape for tensor in scope.subgraph.tensors} if s and (min(s) < 0 or math.prod(s) >> 60)}
        for index, tensor in enumerate(scope.subgraph.tensors) if suspects else ():
            shape = tensor.shape
            if shape not in suspects:
                continue
            if min(shape) < 0:
                severity = "error" if tensor.type in types.BITS else "warning"
                message = f"negative dimension in {list(shape)}; a dynamic dimension is 1 here and -1 in shape_signature"
                yield scope.tensor(index, severity, "negative-shape", message, "shape")
            elif math.prod(shape) * types.BITS.get(tensor.type, 8) >> 67:
                yield scope.tensor(index, "error", "huge-shape", f"{list(shape)} needs more bytes than 64 bits can count", "shape")


def shape_signatures(facts: Facts) -> Iterator[Problem]:
    """A shape signature has the rank of the shape, and differs from it only where it is -1."""
    for scope in facts.scopes:
        for index, tensor in enumerate(scope.subgraph.tensors):
            signature = tensor.shape_signature
            if not signature or signature == tensor.shape:
                continue
            shown = f"{list(signature)} does not go with shape {list(tensor.shape)}"
            if len(signature) != len(tensor.shape):
                yield scope.tensor(index, "warning", "shape-signature", f"{shown}: the ranks differ", "shape_signature")
            elif any(s not in (-1, d) for s, d in zip(signature, tensor.shape, strict=True)):
                yield scope.tensor(index, "info", "shape-signature", f"{shown}: only -1 may differ", "shape_signature")


# ---- data ----


def buffer_sentinel(facts: Facts) -> Iterator[Problem]:
    """Buffer 0 is empty: runtimes take a reference to it as 'no data'."""
    buffers = facts.model.buffers
    if buffers and buffers[0].data:
        users = sum(1 for tensor in facts.model.tensors() if tensor.buffer is buffers[0])
        message = f"buffer 0 holds {len(buffers[0].data)} bytes, which runtimes ignore ({users} tensors use it). Move the data to another buffer."
        yield Problem("warning", "buffer-sentinel", "buffers[0]", "", message)


def out_of_line_data(facts: Facts) -> Iterator[Problem]:
    """Data outside the flatbuffer lies inside the file; inline data has no offset beside it."""
    size = getattr(facts.model.source, "size", None)
    end = "the end of the file" if size is None else f"the end of the file ({size} bytes)"
    for index, buffer in enumerate(facts.model.buffers):
        if not (buffer.offset or buffer.size) or buffer.out_of_line:
            continue
        path = f"buffers[{index}]"
        if buffer.data is not None:
            yield Problem("info", "offset-ignored", path, "", f"offset {buffer.offset} is ignored, since the buffer has data inline")
        elif buffer.offset > 1:
            message = f"offset {buffer.offset} and size {buffer.size} reach beyond {end}: the data is lost"
            yield Problem("error", "buffer-offset", path, "", message)
        elif buffer.size:
            yield Problem("warning", "buffer-offset", path, "", f"size {buffer.size} without an offset: the writer never filled it in")
    for scope in facts.scopes:
        for index, operator in enumerate(scope.subgraph.operators):
            if operator.large_custom_options_offset > 1 and operator.large_custom_options is None:
                place = f"offset {operator.large_custom_options_offset} and size {operator.large_custom_options_size}"
                yield scope.operator(index, "error", "options-offset", f"has custom options at {place}, beyond {end}")


def data_sizes(facts: Facts) -> Iterator[Problem]:
    """Constant data has the bytes that type and shape need; sparse tensors hold less."""
    bits = types.BITS
    for scope, index, tensor, data in facts.constants:
        width = bits.get(tensor.type)
        if width is None or (math.prod(tensor.shape) * width + 7) >> 3 == len(data):
            continue
        needed = types.byte_size(tensor.type, tensor.shape) or 0
        if tensor.sparsity is not None or len(data) == needed or any(d < 0 for d in tensor.shape):
            continue
        message = f"{tensor.type.name} {list(tensor.shape)} needs {needed} bytes, its buffer has {len(data)}"
        if len(data) < needed:
            empty = " Empty data differs from none: set the buffer's data to None if the tensor is computed." if not len(data) else ""
            yield scope.tensor(index, "error", "data-short", f"{message}.{empty}", "buffer")
        else:
            yield scope.tensor(index, "info", "data-long", f"{message}; the rest is ignored", "buffer")


def string_layout(facts: Facts) -> Iterator[Problem]:
    """The buffer of a string tensor has a count, offsets that stay inside it, and as many strings as the shape has elements."""
    for scope, index, tensor, data in facts.constants:
        if tensor.type != TensorType.STRING:
            continue
        try:
            count = len(types.decode_strings(view_of(data)))
        except EditError as error:
            yield scope.tensor(index, "error", "string-layout", str(error), "buffer")
            continue
        if count != types.element_count(tensor.shape):
            yield scope.tensor(index, "warning", "string-count", f"shape {list(tensor.shape)}, but the buffer has {count} strings", "buffer")


def variables(facts: Facts) -> Iterator[Problem]:
    """Variable tensors have no data: their state lives in the interpreter."""
    for scope, index, tensor, _ in facts.constants:
        if tensor.is_variable:
            message = "a variable tensor has constant data. Clear is_variable or the buffer's data."
            yield scope.tensor(index, "error", "variable-data", message, "is_variable")


def external_data(facts: Facts) -> Iterator[Problem]:
    """A tensor has its data in one place; external data is as long as needed; ids are unique and not 0."""
    with_data = {tensor for _, _, tensor, _ in facts.constants}
    for scope in facts.scopes:
        for index, tensor in enumerate(scope.subgraph.tensors):
            external = tensor.external_buffer
            if external is None:
                continue
            if tensor in with_data or tensor.is_variable:
                what = "constant data" if tensor in with_data else "is_variable"
                yield scope.tensor(index, "error", "external-and-data", f"has both {what} and an external buffer", "external_buffer")
            needed = types.byte_size(tensor.type, tensor.shape)
            if needed is not None and external in facts.positions.of["ExternalBuffer"] and external.length < needed and tensor.sparsity is None:
                message = f"{tensor.type.name} {list(tensor.shape)} needs {needed} bytes, its external buffer has {external.length}"
                yield scope.tensor(index, "warning", "external-short", message, "external_buffer")
    seen: set[int] = set()
    for index, external in enumerate(facts.model.external_buffers):
        if external.id in seen or not external.id:
            what = "already taken" if external.id else "reserved for 'none'"
            yield Problem("warning", "external-id", f"external_buffers[{index}].id", "", f"id {external.id} is {what}")
        seen.add(external.id)


# ---- quantization ----


def quantization_lengths(facts: Facts) -> Iterator[Problem]:
    """There are as many zero points as scales, as the runtime demands; ranges go with them."""
    for scope, index, _, q in _entries(facts.uneven):
        if not len(q.zero_point):
            yield scope.tensor(index, "error", "zero-point-missing", "has scales but no zero points", "quantization.zero_point")
        elif len(q.zero_point) != len(q.scale):
            message = f"{len(q.scale)} scales but {len(q.zero_point)} zero points; runtimes demand as many"
            yield scope.tensor(index, "error", "zero-point-count", message, "quantization.zero_point")
    ranges = [(scope, [entry for entry in entries if len(entry[2].min) or len(entry[2].max)]) for scope, entries in facts.quantized]
    for scope, index, _, q in _entries(ranges):
        lengths = len(q.min), len(q.max), len(q.scale)
        if lengths[0] != lengths[1] or (lengths[2] and lengths[0] not in (1, lengths[2])):
            message = "min, max and scale have {}, {} and {} values".format(*lengths)
            yield scope.tensor(index, "info", "range-count", message, "quantization")


def quantized_axis(facts: Facts) -> Iterator[Problem]:
    """quantized_dimension is an axis of the tensor, also for a single scale, and there is one scale, or one for each slice along it."""
    for scope, index, tensor, q in _entries(facts.uneven):
        axis, rank, count = q.quantized_dimension, len(tensor.shape), len(q.scale)
        if not rank:
            if count > 1:
                yield scope.tensor(index, "warning", "scalar-scales", f"a scalar with {count} scales: runtimes read none", "quantization.scale")
        elif not 0 <= axis < rank:
            message = f"quantized_dimension {axis} is not an axis of shape {list(tensor.shape)} (0 to {rank - 1})"
            yield scope.tensor(index, "error", "quantized-dimension", message, "quantization.quantized_dimension")
        elif count not in (1, tensor.shape[axis]):
            message = f"{count} scales for the {tensor.shape[axis]} slices along axis {axis} of shape {list(tensor.shape)}"
            yield scope.tensor(index, "error", "scale-count", message, "quantization.scale")


def scale_values(facts: Facts) -> Iterator[Problem]:
    """Scales are finite and above zero. Runtimes load others, and compute nonsense or refuse single operators."""
    for scope, entries in facts.affine:
        if not entries:
            continue
        joined = np.frombuffer(joined_bytes([q.scale for _, _, q in entries]), np.float32)
        if bool(((joined > 0) & (joined < np.inf)).all()):
            continue
        for index, _, q in entries:
            bad = np.flatnonzero(~((q.scale > 0) & (q.scale < np.inf)))
            if len(bad):
                message = (
                    f"scale {q.scale[bad[0]]!s} at {bad[0]}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "") + ": not above zero and finite"
                )
                yield scope.tensor(index, "warning", "scale-value", message, "quantization.scale")


def zero_point_values(facts: Facts) -> Iterator[Problem]:
    """Zero points are codes of the tensor's type. Runtimes load others and disagree about what they mean."""
    for scope, entries in facts.affine:
        ranges = {t: _zero_point_range(t) for t in {tensor.type for _, tensor, _ in entries} if t in types.INTEGER_RANGES}
        joined = np.frombuffer(joined_bytes([q.zero_point for _, _, q in entries]), np.int64)
        if not ranges or not joined.size:
            continue
        if joined.min() >= max(low for low, _ in ranges.values()) and joined.max() <= min(high for _, high in ranges.values()):
            continue  # within the range of every type that occurs, as nearly always
        for index, tensor, q in entries:
            if tensor.type not in ranges:
                continue
            low, high = ranges[tensor.type]
            bad = q.zero_point[(q.zero_point < low) | (q.zero_point > high)]
            if len(bad):
                message = f"zero point {bad[0]} is outside {tensor.type.name} ({low} to {high})"
                yield scope.tensor(index, "warning", "zero-point-value", message, "quantization.zero_point")


def _zero_point_range(type_: int) -> tuple[int, int]:
    """Codes of a type that a zero point can name: runtimes keep zero points in 32 bits."""
    low, high = types.INTEGER_RANGES[type_]
    return max(low, -(2**31)), min(high, 2**31 - 1)


def quantization_details(facts: Facts) -> Iterator[Problem]:
    """Block sizes are positive, axes are axes of the tensor, and scale tensors hold constants."""
    for scope, index, tensor, q in _entries(facts.detailed):
        details = q.details
        if not isinstance(details, (BlockwiseQuantization, MultiAxisQuantization)):
            continue
        multi = isinstance(details, MultiAxisQuantization)
        if details.block_size < 0 or (not multi and details.block_size == 0):
            message = f"block_size {details.block_size} is not a number of elements"
            yield scope.tensor(index, "error" if multi else "warning", "block-size", message, "quantization.details.block_size")
        if isinstance(details, MultiAxisQuantization):
            yield from _multi_axis(scope, index, tensor, details)
        held = details.scales
        if held in scope.tensors and held is not None and (held.buffer is None or not held.buffer.data) and held.external_buffer is None:
            yield scope.tensor(index, "warning", "scales-not-constant", "its tensor of scales has no data", "quantization.details.scales")


def _multi_axis(scope: Scope, index: int, tensor: Tensor, details: MultiAxisQuantization) -> Iterator[Problem]:
    axes, rank = details.quantized_dimensions, len(tensor.shape)
    if any(not 0 <= axis < rank for axis in axes) or len(set(axes)) != len(axes):
        message = f"quantized_dimensions {list(axes)} are not distinct axes of shape {list(tensor.shape)}"
        yield scope.tensor(index, "error", "quantized-dimension", message, "quantization.details.quantized_dimensions")


def _entries(groups: list[tuple[Scope, Quantized]]) -> Iterator[tuple[Scope, int, Tensor, Any]]:
    for scope, entries in groups:
        for index, tensor, q in entries:
            yield scope, index, tensor, q


INVARIANTS = (
    tensor_types, shapes, shape_signatures, buffer_sentinel, out_of_line_data, data_sizes, string_layout, variables, external_data,
    quantization_lengths, quantized_axis, scale_values, zero_point_values, quantization_details,
)  # fmt: skip
