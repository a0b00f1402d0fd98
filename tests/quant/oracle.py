"""Whether a runtime computes an operator right: its outputs beside those of the same operator on real values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tests.runtime import DEFAULT, NO_DELEGATES, REFERENCE, Job, Outcome, pool
from tflitekit.quant.rules import Runtime

from .single import FIXED, Over, build, float_twin

RESOLVERS = {Runtime.REFERENCE: REFERENCE, Runtime.OPTIMIZED: NO_DELEGATES, Runtime.XNNPACK: DEFAULT}
CODES: dict[str, Any] = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16}
POSITIVE = ("SQRT", "RSQRT", "LOG", "DIV", "REDUCE_PROD")  # undefined, or unstable, around zero
ANY, ZEROS = "any values", "zeros"  # instead of an operator's name, where its own inputs would not show a deviation
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
SCALED = {  # operators whose output may have any scale: it is made to fit the values
    "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MEAN",
    "SUM", "REDUCE_PROD", "EXP", "LOG", "SQRT", "RSQRT", "ABS", "ELU", "GELU", "HARD_SWISH", "PRELU", "LEAKY_RELU", "RELU", "RELU6", "RELU_0_TO_1",
    "RELU_N1_TO_1",
}  # fmt: skip
LEVELS = 100  # the largest real output is this many codes from the zero point
LSB, HYBRID = 1.5, 0.03  # tolerances: in units of the output's scale; relative to the largest output


def feeds(name: str, data: bytes, spread: int = 30, seed: int = 3) -> tuple[dict[int, Any], dict[int, Any]]:
    """Inputs by position, as codes for the model and as real values for its twin: at most `spread` codes from the zero point."""
    rng, codes, reals = np.random.default_rng(seed), {}, {}
    for position, tensor in enumerate(tk.parse(data).subgraphs[0].inputs):
        assert tensor is not None
        shape, dtype = tensor.shape, CODES.get(tensor.type.name)
        if dtype is None:
            reals[position] = rng.uniform(-1, 1, shape).astype(np.float32)
            codes[position] = reals[position].astype(np.float16 if tensor.type.name == "FLOAT16" else np.float32)
            continue
        parameters = tensor.quantization
        known = parameters is not None and len(parameters.scale) > 0 and len(parameters.zero_point) > 0
        zero_point, scale = (int(parameters.zero_point[0]), parameters.scale[0]) if known and parameters is not None else (0, np.float32(0))
        steps = rng.integers(1 if name in POSITIVE else -spread, spread + 1, shape) if name != ZEROS else np.zeros(shape, np.int64)
        clipped = np.clip(steps + zero_point, np.iinfo(dtype).min, np.iinfo(dtype).max)
        codes[position] = clipped.astype(dtype)
        reals[position] = ((clipped - zero_point) * np.float64(scale)).astype(np.float32)
    return codes, reals


def run_all(data: bytes, inputs: Mapping[int, Any], runtimes: Sequence[Runtime] = tuple(RESOLVERS)) -> dict[Runtime, Outcome]:
    """The outcome in each runtime."""
    outcomes = pool().run([Job(data, RESOLVERS[runtime], inputs=dict(inputs), recipe=0) for runtime in runtimes])
    return dict(zip(runtimes, outcomes, strict=True))


def array(outcome: Outcome) -> npt.NDArray[Any]:
    """The first output."""
    dtype, shape, content = outcome.outputs[0]
    return np.frombuffer(content, dtype).reshape(shape)


@dataclass(frozen=True)
class Comparison:
    """What came out of each runtime, and how far from the real values: in LSB for quantized outputs, else relative to the largest value."""

    outcomes: Mapping[Runtime, Outcome]
    errors: Mapping[Runtime, float]
    tolerance: float

    def right(self, runtime: Runtime) -> bool:
        return self.errors[runtime] <= self.tolerance


def compare(name: str, type: str, spread: int = 30, **how: Any) -> Comparison:
    """Run an operator and its twin of real values. Where no output is asked for, its scale is made to fit the values."""
    data = build(name, type, **how)
    if name in SCALED and type in CODES and "out0" not in how:
        wanted = _on_real_values(name, data, spread)
        data = build(name, type, **how, out0=Over(scale=max(1e-3, float(np.abs(wanted).max()) / LEVELS)))
    return judge(name, data, spread)


def judge(name: str, data: bytes, spread: int = 30) -> Comparison:
    """Run a model of one operator and its twin of real values."""
    wanted = _on_real_values(name, data, spread)
    output = tk.parse(data).subgraphs[0].outputs[0]
    assert output is not None
    outcomes = run_all(data, feeds(name, data, spread)[0])
    errors = {runtime: error_of(array(outcome), wanted, output) for runtime, outcome in outcomes.items() if outcome.ok}
    return Comparison(outcomes, errors, LSB if output.type.name in CODES and output.quantization is not None else HYBRID)


def _on_real_values(name: str, data: bytes, spread: int) -> npt.NDArray[np.float64]:
    if name in CONVERSIONS:
        return np.asarray(feeds(name, data, spread)[1][0], np.float64)
    twin = pool().run([Job(float_twin(data), NO_DELEGATES, inputs=feeds(name, data, spread)[1], recipe=0)])[0]
    assert twin.ok, f"{name} on real values: {twin.message}"
    return array(twin).astype(np.float64)


def error_of(values: npt.NDArray[Any], wanted: npt.NDArray[np.float64], output: tk.Tensor) -> float:
    """How far the values of an output are from real ones: in LSB for quantized outputs, else relative to the largest value."""
    got, parameters = values.astype(np.float64), output.quantization
    if output.type.name in CODES and parameters is not None and len(parameters.scale):
        info = np.iinfo(CODES[output.type.name])
        wanted = np.clip(wanted / np.float64(parameters.scale[0]) + float(parameters.zero_point[0]), info.min, info.max)
        return float(np.abs(got - wanted).max())
    error = float(np.abs(got - wanted).max() / max(1e-9, float(np.abs(wanted).max())))
    return error if np.isfinite(error) else float("inf")


def default_scale(name: str, type: str) -> float:
    """The scale that `build` gives the output."""
    return FIXED.get(name, {}).get(type, (0.1, 0))[0]
