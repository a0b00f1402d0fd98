"""Builds the LSTM cell of five inputs and four outputs, on floats or in its UINT8 form, and computes it with numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, quantize
from tflitekit.graph import Operator, Tensor

from .single import dequantize

SIZE = 4  # of data, activation and state
NAMES = ("in0", "in1", "in2", "in3", "in4", "out0", "out1", "out2", "out3")
TYPES = {
    "FLOAT32": dict.fromkeys(NAMES, "FLOAT32"),
    "UINT8": dict(zip(NAMES, ["UINT8", "UINT8", "UINT8", "INT32", "INT16", "UINT8", "INT16", "UINT8", "INT16"], strict=True)),
}
# Weights follow the file, and so does what comes of the bias; everything else is as the kernel has it.
WEIGHTS, STATE = 0.4 / 255, 2**-11
PARAMETERS: dict[str, tuple[float, int]] = {
    "in0": (2**-7, 128), "in1": (2**-7, 128), "in2": (WEIGHTS, 127), "in3": (2**-7 * WEIGHTS, 0), "in4": (STATE, 0), "out0": (2**-7, 128),
    "out1": (STATE, 0), "out2": (2**-7, 128), "out3": (2**-12, 0),
}  # fmt: skip
Parameters = Mapping[str, tuple[float, int] | None]
NO: Parameters = MappingProxyType({})


def basic_cell(kind: str = "FLOAT32", fused: str = "TANH", *, fed: bool = False, type: tuple[str, str] = ("", ""), other: Parameters = NO) -> bytes:
    """A cell whose states are variables, or inputs if they are to be `fed`; one operand may get another `type`, and `other` parameters."""
    rng, builder = np.random.default_rng(4), ModelBuilder()
    main = builder.subgraph("main")
    weights, bias = rng.uniform(-0.2, 0.2, (4 * SIZE, 2 * SIZE)), rng.uniform(-1, 1, 4 * SIZE)
    if kind == "UINT8":
        weights, bias = np.clip(np.rint(weights / WEIGHTS) + 127, 0, 255), np.rint(bias / PARAMETERS["in3"][0])
    types = {**TYPES[kind], type[0]: type[1]}
    with np.errstate(all="ignore"):
        weights, bias = weights.astype(types["in2"].lower()), bias.astype(types["in3"].lower())
    known: dict[str, Any] = {**(PARAMETERS if kind == "UINT8" else dict.fromkeys(NAMES)), **other}
    q = {name: None if known[name] is None else quantize(*known[name]) for name in NAMES}
    state = main.input if fed else main.variable
    inputs = [
        main.input("x", [1, SIZE], types["in0"], q["in0"]), state("h", [1, SIZE], types["in1"], q["in1"]),
        main.constant("w", weights, quantization=q["in2"]), main.constant("b", bias, quantization=q["in3"]),
        state("c", [1, SIZE], types["in4"], q["in4"]),
    ]  # fmt: skip
    sizes = (("y", SIZE), ("c2", SIZE), ("joined", 2 * SIZE), ("gates", 4 * SIZE))
    outputs = [main.tensor(name, [1, size], types[f"out{n}"], q[f"out{n}"]) for n, (name, size) in enumerate(sizes)]
    main.operator("LSTM", inputs, outputs, version=2, kernel_type="BASIC", fused_activation_function=fused)
    main.output(*outputs[:2])
    return tk.serialize(builder.build())


def cell_of(data: bytes) -> Operator:
    """The cell in a model."""
    return next(operator for operator in tk.parse(data).subgraphs[0].operators if operator.op_name == "LSTM")


def real(tensor: Tensor, codes: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """What codes of a tensor mean by the file; without parameters, by the kernel."""
    if tensor.type == TensorType.FLOAT32:
        return codes.astype(np.float64)
    q = tensor.quantization
    by_kernel = (STATE, 0) if tensor.type == TensorType.INT16 else (2**-7, 128)
    scale, zero_point = (float(q.scale[0]), int(q.zero_point[0])) if q is not None and len(q.scale) else by_kernel
    return (codes.astype(np.float64) - zero_point) * scale


def step(data: bytes, fed: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Activation and state after a step from (data, activation, state), in real values as the file says them."""
    x, h, weights, bias, c = cell_of(data).inputs
    assert x is not None and h is not None and weights is not None and bias is not None and c is not None
    joined = np.concatenate([real(x, fed[0]), real(h, fed[1])], 1)
    w, b = (t.numpy() if t.type == TensorType.FLOAT32 else dequantize(t) for t in (weights, bias))
    gates = [1 / (1 + np.exp(-g)) if n != 1 else np.tanh(g) for n, g in enumerate(np.split(joined @ w.T + b, 4, 1))]
    state = gates[2] * real(c, fed[2]) + gates[0] * gates[1]
    return gates[3] * np.tanh(state), state
