"""Small models for the tests of `set-input-stats`, and what these tests do to them and read from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tflitekit as tk
from tests import runtime
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor


def run(model: Model, **options: Any) -> tk.PassResult:
    return tk.run(model, tk.passes.SetInputStats(**options))


def reinterpret(model: Model, scale: float = 1.0, zero_point: int = 3, **options: Any) -> tk.PassResult:
    return run(model, mode="reinterpret", scale=scale, zero_point=zero_point, **options)


def stored(model: Model, name: str) -> tuple[float, int]:
    q = model.subgraphs[0].tensor(name).quantization
    assert q is not None
    return float(q.scale[0]), int(q.zero_point[0])


def operators(model: Model) -> list[str]:
    return [f"{o.op_name} {' '.join(t.name_str for t in o.inputs if t is not None)}" for o in model.subgraphs[0].operators]


def outputs(model: Model, *inputs: Any) -> list[Any]:
    outcome = runtime.run(tk.serialize(model), runtime.NO_DELEGATES, inputs=dict(enumerate(inputs)))
    assert outcome.ok, outcome.message
    return [np.frombuffer(data, dtype).reshape(shape) for dtype, shape, data in outcome.outputs]


def graph(build: Callable[[SubGraphBuilder, Tensor], Tensor], type_: str = "INT8", scale: float = 0.5, zero_point: int = 3) -> Model:
    """An input x of shape [1, 4], and what `build` makes of it as the output."""
    builder = ModelBuilder()
    main_graph = builder.subgraph("main")
    x = main_graph.input("x", [1, 4], type_, quantize(scale, zero_point))
    main_graph.output(build(main_graph, x))
    return builder.build()


def fully_connected(g: SubGraphBuilder, x: Tensor, bias: int = 1000) -> Tensor:
    weights = g.constant("w", (np.arange(2 * x.shape[1]) % 7 - 3).astype(np.int8).reshape(2, -1), quantization=quantize(0.02, 0))
    b = g.constant("b", np.array([bias, -bias], np.int32), quantization=quantize(np.float32(0.5) * np.float32(0.02), 0))
    return g.apply("FULLY_CONNECTED", [x, weights, b], TensorSpec("y", [1, 2], x.type, quantize(0.1, 1)), version=4)


def cast(g: SubGraphBuilder, x: Tensor) -> Tensor:
    return g.apply("CAST", [x], TensorSpec("y", [1, 4], "FLOAT32"))


def joined(g: SubGraphBuilder, x: Tensor) -> Tensor:
    """CONCATENATION of x and something else that was computed, which must have its parameters."""
    y = g.apply("RELU", [g.subgraph.inputs[1] or x], TensorSpec("other", [1, 4], x.type, quantize(0.5, 3)), version=2)
    return fully_connected(g, g.apply("CONCATENATION", [y, x], TensorSpec("c", [1, 8], x.type, quantize(0.5, 3)), version=2, axis=1))


def two_inputs() -> Model:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 4], "INT8", quantize(0.5, 3))
    g.input("z", [1, 4], "INT8", quantize(0.25, 0))
    g.output(joined(g, x))
    return builder.build()


def float_model(read: str = "CONV_2D", padding: str = "VALID", bias: float | None = 1) -> Model:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    x = g.input("x", [1, 5, 5, 3], "FLOAT32")
    rng = np.random.default_rng(3)
    depthwise = read == "DEPTHWISE_CONV_2D"
    shape = (1, 2, 2, 6) if depthwise else (6, 2, 2, 3)
    more = {"depth_multiplier": 2} if depthwise else {}
    operands = [x, g.constant("w", rng.normal(size=shape).astype(np.float32))]
    if bias is not None:
        operands.append(g.constant("b", rng.normal(size=6).astype(np.float32) * np.float32(bias)))
    side = 4 if padding == "VALID" else 5
    g.output(g.apply(read, operands, TensorSpec("y", [1, side, side, 6], "FLOAT32"), padding=padding, stride_w=1, stride_h=1, **more))
    builder.signature("serving_default", {"image": x})
    return builder.build()


MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
