"""Small models for the tests of checks, and what the audit finds in them."""

from __future__ import annotations

from typing import Any

import tflitekit as tk
from tflitekit.audit import Finding, audit
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor


def of_code(model: Model, code: str, **how: Any) -> list[Finding]:
    """The findings of one code."""
    return [finding for finding in audit(model, **how).findings if finding.code == code]


def codes(model: Model, **how: Any) -> list[str]:
    """The codes of all findings, the worst first."""
    return [finding.code for finding in audit(model, **how).findings]


def started() -> tuple[ModelBuilder, SubGraphBuilder]:
    """A builder with an empty first subgraph."""
    builder = ModelBuilder()
    return builder, builder.subgraph("main")


def spec(name: str, type: str = "INT8", scale: float | None = 0.5, zero_point: int = 0, shape: tuple[int, ...] = (1, 4)) -> TensorSpec:
    """A tensor to be computed; without a scale it is not quantized."""
    return TensorSpec(name, shape, type, None if scale is None else quantize(scale, zero_point))


def chain(source: Tensor, main: SubGraphBuilder, *steps: tuple[str, TensorSpec]) -> Tensor:
    """Operators of one input in a row."""
    for name, made in steps:
        source = main.apply(name, [source], made, version={"QUANTIZE": 2, "DEQUANTIZE": 2}.get(name, 1))
    return source


def path_of(model: Model, name: str) -> str:
    """Where a tensor of the first subgraph is."""
    main = model.subgraphs[0]
    return f"subgraphs[0].tensors[{main.tensors.index(main.tensor(name))}]"


def read_back(model: Model) -> Model:
    """The model as it is read from its bytes."""
    return tk.parse(tk.serialize(model))
