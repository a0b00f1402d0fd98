"""Models for the runtime tests: one dense layer with any type of inputs and outputs, and one that crashes the interpreter."""

from __future__ import annotations

import numpy as np

import tflitekit as tk
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model, QuantizationParameters, Tensor

IN, OUT = (0.02, 5), (0.2, -7)  # scale and zero point of the int8 activations
WEIGHT_SCALE = 0.01
RNG = np.random.default_rng(3)
WEIGHTS = RNG.integers(-127, 128, (6, 8)).astype(np.int8)
BIAS = RNG.integers(-2000, 2000, 6).astype(np.int32)


def _boundary(type_: str, parameters: tuple[float, int]) -> QuantizationParameters | None:
    """What an input or output of this type carries to mean the same as the int8 tensor behind it."""
    scale, zero_point = parameters
    if type_ == "FLOAT32":
        return None
    return quantize(scale, zero_point + (128 if type_ == "UINT8" else 0))


def dense(io: str = "INT8", signature: str | None = None, weights: np.ndarray = WEIGHTS, in_scale: float = IN[0]) -> Model:
    """An int8 FULLY_CONNECTED with RELU-less output; other types of `io` get a QUANTIZE or DEQUANTIZE at the boundary."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    given = graph.input("x", (1, 8), io, _boundary(io, (in_scale, IN[1])))
    x = given
    if io != "INT8":
        x = graph.apply("QUANTIZE", [given], TensorSpec("x_int8", (1, 8), "INT8", quantize(in_scale, IN[1])))
    y = _fully_connected(graph, x, weights, in_scale)
    result = y
    if io == "FLOAT32":
        result = graph.apply("DEQUANTIZE", [y], TensorSpec("y", (1, 6)))
    elif io != "INT8":
        result = graph.apply("QUANTIZE", [y], TensorSpec("y", (1, 6), io, _boundary(io, OUT)))
    graph.output(result)
    if signature is not None:
        builder.signature(signature, {"given": given}, {"result": result}, graph)
    return builder.build()


def _fully_connected(graph: SubGraphBuilder, x: Tensor, weights: np.ndarray, in_scale: float) -> Tensor:
    kernel = graph.constant("kernel", weights, quantization=quantize(WEIGHT_SCALE))
    bias = graph.constant("bias", BIAS, quantization=quantize(float(np.float32(in_scale)) * float(np.float32(WEIGHT_SCALE))))
    return graph.apply("FULLY_CONNECTED", [x, kernel, bias], TensorSpec("dense", (1, 6), "INT8", quantize(*OUT)), version=4)


def float_dense() -> Model:
    """The same layer in float32: what `dense` approximates."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (1, 8))
    kernel = graph.constant("kernel", (WEIGHTS * np.float32(WEIGHT_SCALE)).astype(np.float32))
    bias = graph.constant("bias", (BIAS * (np.float32(IN[0]) * np.float32(WEIGHT_SCALE))).astype(np.float32))
    graph.output(graph.apply("FULLY_CONNECTED", [x, kernel, bias], TensorSpec("y", (1, 6))))
    return builder.build()


def requantizer(scale: float = 0.2, zero_point: int = 0) -> bytes:
    """A QUANTIZE from int8 to int8. XNNPACK crashes where the scale of its output is 0."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (1, 4), "INT8", quantize(0.1, 0))
    graph.output(graph.apply("QUANTIZE", [x], TensorSpec("y", (1, 4), "INT8", quantize(0.2, zero_point))))
    model = builder.build()
    parameters = model.subgraphs[0].tensors[1].quantization
    assert parameters is not None
    object.__setattr__(parameters, "scale", np.array([scale], np.float32))
    return tk.serialize(model)


def endless() -> Model:
    """A WHILE whose condition is always true."""
    builder = ModelBuilder()
    main, condition, body = (builder.subgraph(name) for name in ("main", "condition", "body"))
    x, seen, again = (graph.input("x", (1,)) for graph in (main, condition, body))
    condition.output(condition.apply("EQUAL", [seen, seen], TensorSpec("same", (1,), "BOOL")))
    body.output(body.apply("ABS", [again], TensorSpec("y", (1,))))
    main.output(main.apply("WHILE", [x], TensorSpec("out", (1,)), cond_subgraph=condition, body_subgraph=body))
    return builder.build()


def elementwise(name: str, shape: tuple[int, ...], type_: str = "FLOAT32", *, inputs: int = 1) -> Model:
    """One operator on tensors of one shape, such as ABS or ADD; inputs are called a, b, .."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    given = [graph.input("abc"[i], shape, type_) for i in range(inputs)]
    graph.output(graph.apply(name, given, TensorSpec("out", shape, type_)))
    return builder.build()


def times_zero() -> Model:
    """MUL by 0: an output that no input changes."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (1, 4))
    zero = graph.constant("zero", np.zeros((1, 4), np.float32))
    graph.output(graph.apply("MUL", [x, zero], TensorSpec("y", (1, 4))))
    return builder.build()
