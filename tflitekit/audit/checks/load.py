"""Load rules: what the interpreter checks of every tensor's quantization before any operator is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..._base import Dangling
from ..._schema import BlockwiseQuantization, MultiAxisQuantization
from ...graph import QuantizationParameters, Tensor
from ...quant.rules import GENERAL_FACTS, Fact
from ...types import BITS, byte_size
from ..findings import Finding, Scene, reactions_of, worst

_FACTS: dict[str, Fact] = {fact.name: fact for fact in GENERAL_FACTS}


def load_rules(scene: Scene) -> Iterator[Finding]:
    """Q001 to Q004: quantization vectors and constant data that the interpreter refuses."""
    for _, subgraph in scene.subgraphs():
        for tensor in subgraph.tensors:
            quantization = tensor.quantization
            if quantization is not None and (len(quantization.scale) or quantization.details is not None):
                yield from _quantization(scene, tensor, quantization)
            if tensor.buffer is not None and tensor.buffer.data is not None and len(tensor.buffer.data):
                yield from _data(scene, tensor, len(tensor.buffer.data))


def _finding(scene: Scene, code: str, fact: str, tensor: Tensor, message: str, found: Any, expected: Any) -> Finding:
    reactions, source = reactions_of([_FACTS[fact]])
    return scene.finding(code, tensor, message, worst(reactions), found=found, expected=expected, reactions=reactions, source=source)


def _quantization(scene: Scene, tensor: Tensor, quantization: QuantizationParameters) -> Iterator[Finding]:
    if quantization.details is not None:
        details = quantization.details
        if isinstance(details, (BlockwiseQuantization, MultiAxisQuantization)) and (details.scales is None or isinstance(details.scales, Dangling)):
            yield _finding(scene, "Q004", "load-multi-axis-index", tensor, "its scales are no tensor of the subgraph", "none", "a tensor")
        return
    scales, zero_points, rank = len(quantization.scale), len(quantization.zero_point), len(tensor.shape)
    if not zero_points:
        yield _finding(scene, "Q001", "load-no-zero-point", tensor, f"{scales} scales and no zero point", 0, scales)
    elif zero_points != scales:
        yield _finding(scene, "Q001", "load-counts-differ", tensor, f"{scales} scales and {zero_points} zero points", zero_points, scales)
    dimension = quantization.quantized_dimension
    if rank and not 0 <= dimension < rank:
        message = f"quantized_dimension {dimension} of a tensor of rank {rank}"
        yield _finding(scene, "Q002", "load-dimension-range", tensor, message, dimension, (0, rank - 1))
    elif rank and scales not in (1, tensor.shape[dimension]):
        message = f"{scales} scales along dimension {dimension}, which has {tensor.shape[dimension]}"
        yield _finding(scene, "Q002", "load-scale-count", tensor, message, scales, tensor.shape[dimension])
    elif not rank and scales > 1:
        yield _finding(scene, "Q002", "load-scales-rank-0", tensor, f"{scales} scales of a scalar", scales, 1)


def _data(scene: Scene, tensor: Tensor, size: int) -> Iterator[Finding]:
    needed = byte_size(tensor.type, tensor.shape) if tensor.type in BITS and tensor.sparsity is None else None
    if needed is not None and size < needed:
        message = f"{tensor.type.name} {list(tensor.shape)} needs {needed} bytes, the buffer has {size}"
        yield _finding(scene, "Q003", "load-short-buffer", tensor, message, size, needed)
    elif needed is not None and size > needed:
        message = f"{tensor.type.name} {list(tensor.shape)} needs {needed} bytes, the buffer has {size}: the rest is not read"
        yield _finding(scene, "Q003", "load-long-buffer", tensor, message, size, needed)
    elif tensor.is_variable:
        yield _finding(scene, "Q003", "load-constant-variable", tensor, "a variable tensor with constant data", size, 0)
