"""Small models with float weights for the tests of `requantize-weights`, and what is read from the results."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

import tflitekit as tk
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.graph import Model, Tensor
from tflitekit.passes.surgery import convert, redirect, tensor_like


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(math.prod(shape)).standard_normal(shape).astype(np.float32)


def dense(weights: Any = None, units: int = 8, depth: int = 64) -> Model:
    """FULLY_CONNECTED with float weights "w" and bias "b"."""
    weights = floats(units, depth) if weights is None else weights
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x, w = main.input("x", [3, weights.shape[1]]), main.constant("w", weights)
    b = main.constant("b", floats(weights.shape[0]))
    main.output(main.apply("FULLY_CONNECTED", [x, w, b], TensorSpec("y", [3, weights.shape[0]])))
    return builder.build()


def single(operator: str) -> Model:
    """One operator with float weights "w" of 8 channels."""
    if operator == "FULLY_CONNECTED":
        return dense()
    builder = ModelBuilder()
    main = builder.subgraph("main")
    window = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
    if operator == "EMBEDDING_LOOKUP":
        ids = main.input("x", [3], "INT32")
        main.output(main.apply(operator, [ids, main.constant("w", floats(8, 64))], TensorSpec("y", [3, 64])))
        return builder.build()
    if operator == "BATCH_MATMUL":
        x = main.input("x", [1, 3, 16])
        main.output(main.apply(operator, [x, main.constant("w", floats(1, 16, 8))], TensorSpec("y", [1, 3, 8])))
        return builder.build()
    x = main.input("x", [1, 5, 5, 8])
    out = TensorSpec("y", [1, 5, 5, 8])
    bias = main.constant("b", floats(8))
    if operator == "CONV_2D":
        main.output(main.apply(operator, [x, main.constant("w", floats(8, 3, 3, 8)), bias], out, **window))
    elif operator == "DEPTHWISE_CONV_2D":
        main.output(main.apply(operator, [x, main.constant("w", floats(1, 3, 3, 8)), bias], out, depth_multiplier=1, **window))
    else:
        shape = main.constant("shape", np.array([1, 5, 5, 8], np.int32))
        main.output(main.apply(operator, [shape, main.constant("w", floats(8, 3, 3, 8)), x, bias], out, version=3, **window))
    return builder.build()


def halved(model: Model) -> Model:
    """The model as converters make it with float16 as the supported type: every FLOAT32 constant is FLOAT16, biases too, with DEQUANTIZE behind."""
    graph = model.subgraphs[0]
    for tensor in [t for t in graph.tensors if t.is_constant and t.type == TensorType.FLOAT32]:
        target = tensor_like(model, graph, tensor, "_dequantize", tensor.type, None)
        redirect(graph.operators, tensor, target)
        tensor.buffer.data, tensor.type = tensor.numpy().astype(np.float16).tobytes(), TensorType.FLOAT16
        convert(model, graph, tensor, target, 0)
    return model


def weights(model: Model, name: str = "w") -> Tensor:
    return model.subgraphs[0].tensor(name)


def errors(model: Model) -> Counter[tuple[str, str]]:
    return Counter((finding.code, finding.name) for finding in tk.audit(model).findings if finding.severity == "error")
