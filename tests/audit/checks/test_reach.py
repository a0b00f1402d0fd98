"""Outputs that inputs do not reach, scales too fine for kernels, blocks that kernels do not see: found by the numbers, and true in the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.checks.models import codes, of_code, path_of, spec, started
from tests.quant.deviations import blockwise
from tests.runtime import needs_runtime
from tflitekit.audit.findings import INFO, WARNING
from tflitekit.build import quantize
from tflitekit.graph import Model
from tflitekit.quant.rules import Behaviour, Runtime

RESOLVERS = {Runtime.XNNPACK: runtime.DEFAULT, Runtime.OPTIMIZED: runtime.NO_DELEGATES, Runtime.REFERENCE: runtime.REFERENCE}
BIAS = (40, -30, 20)


def dense(source: float = 0.5, weights: Any = 0.01, output: float = 0.25, *, bias: bool = True, type: str = "INT8") -> Model:
    """FULLY_CONNECTED of 4 inputs and 3 units."""
    builder, main = started()
    x = main.input("x", [1, 4], type, quantize(source, 0))
    scales = np.float32(weights) if np.ndim(weights) else np.full(1, weights, np.float32)
    w = main.constant("w", np.full((3, 4), 127, np.int8), quantization=quantize(scales, np.zeros(len(scales), np.int64), 0))
    held = np.array(BIAS, np.int32 if type == "INT8" else np.int64)
    product = (np.float32(source) * scales).astype(np.float32)
    b = main.constant("b", held, quantization=quantize(product, np.zeros(len(product), np.int64), 0)) if bias else None
    main.output(main.apply("FULLY_CONNECTED", [x, w, b], spec("y", type, output, shape=(1, 3)), version=4))
    return builder.build()


def sliced(begin: Any, end: Any, strides: Any, shape: tuple[int, ...], scale: float = 0.25, dynamic: bool = False, **options: Any) -> Model:
    """STRIDED_SLICE of a 4x4 input of scale 0.5."""
    builder, main = started()
    x = main.input("x", [4, 4], "INT8", quantize(0.5, 3))
    places = [main.constant(name, np.array(values, np.int32)) for name, values in (("begin", begin), ("end", end), ("strides", strides))]
    if dynamic:
        places[0] = main.input("b", [len(begin)], "INT32")
    main.output(main.apply("STRIDED_SLICE", [x, *places], spec("y", scale=scale, zero_point=3, shape=shape), version=2, **options))
    return builder.build()


SLICES: dict[str, tuple[Model, bool]] = {
    "plain": (sliced([0, 0], [2, 4], [1, 1], (2, 4)), True),
    "masked": (sliced([2, -2], [4, 4], [1, 1], (4, 2), begin_mask=1, end_mask=2), True),
    "strides": (sliced([0, 0], [4, 4], [1, 2], (4, 2)), False),
    "shrunk": (sliced([1, 0], [2, 4], [1, 1], (4,), shrink_axis_mask=1), False),
    "new axis": (sliced([0, 0, 0], [0, 4, 4], [1, 1, 1], (1, 4, 4), new_axis_mask=1), False),
    "ellipsis": (sliced([0, 0], [4, 4], [1, 1], (4, 4), ellipsis_mask=1), False),
    "fewer places": (sliced([1], [3], [1], (2, 4)), False),
    "computed": (sliced([0, 0], [2, 4], [1, 1], (2, 4), dynamic=True), False),
    "sound": (sliced([0, 0], [2, 4], [1, 1], (2, 4), scale=0.5), False),
}


@needs_runtime
@pytest.mark.parametrize("name", list(SLICES))
def test_slices_that_xnnpack_takes_must_keep_their_parameters(name: str) -> None:
    """Those that it leaves alone are only wrong."""
    model, refused = SLICES[name]
    (kept,) = {f.reactions[Runtime.XNNPACK].outcome for f in of_code(model, "Q402")} or {"runs"}
    assert (kept == "refuses") == refused
    data = tk.serialize(model)
    assert runtime.run(data).ok != refused and runtime.run(data, runtime.NO_DELEGATES).ok


def outputs(model: Model, resolver: str = runtime.REFERENCE) -> set[bytes]:
    """What comes out for the lowest, the highest and some other input."""
    kind = model.subgraphs[0].inputs[0]
    assert kind is not None
    dtype = np.int8 if kind.type.name == "INT8" else np.int16
    limits = np.iinfo(dtype)
    made = [np.full(kind.shape, value, dtype) for value in (limits.min, limits.max, 3)]
    found = [runtime.run(tk.serialize(model), resolver, inputs=dict.fromkeys(range(len(model.subgraphs[0].inputs)), x)) for x in made]
    assert all(outcome.ok for outcome in found), found
    return {outcome.outputs[0][2] for outcome in found}


DEAD: dict[str, Callable[[], Model]] = {
    "output scale": lambda: dense(output=4000.0),
    "input scale": lambda: dense(source=1e-5),
    "weight scale": lambda: dense(weights=1e-7),
    "all channels": lambda: dense(weights=[1e-7, 1e-8, 2e-7]),
    "multiplier of 0": lambda: dense(output=1e12, type="INT16"),
    "no bias": lambda: dense(output=4000.0, bias=False),
}


@pytest.mark.parametrize("name", DEAD)
def test_what_no_input_reaches(name: str) -> None:
    model = DEAD[name]()
    (finding,) = of_code(model, "Q107")
    assert (finding.severity, finding.path, finding.operator) == (WARNING, path_of(model, "y"), "subgraphs[0].operators[0]")
    assert ("one code comes out" if name == "no bias" else "only the bias comes out") in finding.message


@needs_runtime
@pytest.mark.parametrize("name", DEAD)
def test_nothing_reaches_it_indeed(name: str) -> None:
    assert len(outputs(DEAD[name]())) == 1


@pytest.mark.parametrize(
    "model",
    [dense(), dense(output=250.0), dense(weights=[0.01, 1e-9, 0.0039]), dense(weights=[7.9e-12, 0.01, 0.01]), dense(source=1e-3, output=1e-3)],
)
def test_what_some_input_reaches(model: Model) -> None:
    """A channel of zeros has a tiny scale, and is no finding by itself."""
    assert of_code(model, "Q107") == []


@needs_runtime
def test_the_bound_is_near() -> None:
    """The largest sum is 4 * 128 * 127 * 0.005: a little above half a step of the output it still moves it, a little below it does not."""
    most = 4 * 128 * 127 * 0.005
    assert len(outputs(dense(output=1.9 * most, bias=False))) > 1 and of_code(dense(output=1.9 * most, bias=False), "Q107") == []
    assert len(outputs(dense(output=2.1 * most, bias=False))) == 1 and of_code(dense(output=2.1 * most, bias=False), "Q107")


def test_what_every_input_exceeds() -> None:
    (finding,) = of_code(dense(output=1e-5), "Q107")
    assert finding.message.startswith("one step of input times weights is 0.004999999888") and finding.found == pytest.approx(1e-5)
    assert of_code(dense(weights=[0.01, 1e-9, 0.01], output=1e-5), "Q107") == []


def pair(operator: str, first: float, second: float, output: float, **options: Any) -> Model:
    builder, main = started()
    a, b = main.input("a", [1, 4], "INT8", quantize(first, 0)), main.input("b", [1, 4], "INT8", quantize(second, 0))
    main.output(main.apply(operator, [a, b], spec("y", scale=output), version=2, **options))
    return builder.build()


@pytest.mark.parametrize(
    ("operator", "first", "second", "output", "found"),
    [
        ("ADD", 0.1, 0.1, 60.0, True), ("ADD", 0.1, 0.2, 60.0, False), ("SUB", 0.1, 0.1, 60.0, True), ("SUB", 0.1, 3.0, 60.0, False),
        ("MUL", 0.1, 0.1, 400.0, True), ("MUL", 0.1, 0.1, 200.0, False), ("MUL", 0.001, 100.0, 200.0, False),
    ],
)  # fmt: skip
def test_two_inputs(operator: str, first: float, second: float, output: float, found: bool) -> None:
    model = pair(operator, first, second, output)
    assert bool(of_code(model, "Q107")) == found
    if runtime.available():
        assert (len(outputs(model)) == 1) == found


def single(operator: str, source: float, output: float) -> Model:
    builder, main = started()
    x = main.input("x", [1, 4], "INT8", quantize(source, 0))
    main.output(main.apply(operator, [x], spec("y", scale=output), version={"LEAKY_RELU": 2, "RELU": 2}.get(operator, 1)))
    return builder.build()


def test_one_input() -> None:
    assert of_code(single("RELU", 0.1, 30.0), "Q107") and of_code(single("RELU", 0.1, 20.0), "Q107") == []


@needs_runtime
@pytest.mark.parametrize(
    ("model", "sound"),
    [(pair("ADD", 1.0, 3.0, 5.7e-6), pair("ADD", 1.0, 3.0, 5.8e-6)), (single("HARD_SWISH", 12.9, 0.1), single("HARD_SWISH", 12.7, 0.1))],
)
def test_scales_too_fine_for_the_kernel(model: Model, sound: Model) -> None:
    (finding,) = of_code(model, "Q108")
    assert finding.severity == "error" and of_code(sound, "Q108") == []
    for kind, resolver in RESOLVERS.items():
        outcome = runtime.run(tk.serialize(model), resolver)
        assert ("crashes" if outcome.status.startswith("SIG") else "runs" if outcome.ok else "refuses") == finding.reactions[kind].outcome
        assert runtime.run(tk.serialize(sound), resolver).ok


# ---- blocks ----


@pytest.mark.parametrize(
    ("how", "message", "severity"),
    [
        ({}, "INT4 in blocks of 32", INFO),
        ({"block": 16}, "blocks of 16, no multiple of 32", INFO),
        ({"units": 2}, "2 units of depth 64 in blocks of 32, too few for the builtin kernel that knows blocks", "error"),
        ({"depth": 16, "block": 16}, "4 units of depth 16 in blocks of 16, too few for the builtin kernel that knows blocks", "error"),
        ({"depth": 33, "block": 11}, "4 units of depth 33 in blocks of 11, too few for the builtin kernel that knows blocks", "error"),
        ({"scales": "FLOAT32"}, "scales of FLOAT32", "error"),
        ({"block_size": 64}, "8 scales for blocks of 64, 256 weights need 4 scales", "error"),
        ({"weights": "INT2"}, "INT2 in blocks", "error"),
    ],
)
def test_blocks(how: dict[str, Any], message: str, severity: str) -> None:
    (finding,) = of_code(tk.parse(blockwise(**how)), "Q205")
    assert (finding.message, finding.severity) == (f"{message} (FULLY_CONNECTED 0)", severity)
    assert finding.reactions[Runtime.REFERENCE].behaviour == Behaviour.WRONG


@needs_runtime
@pytest.mark.parametrize("how", [{}, {"block": 16}, {"units": 2}, {"depth": 16, "block": 16}, {"depth": 33, "block": 11}, {"units": 2, "block": 16}])
def test_who_returns_the_bias_alone(how: dict[str, Any]) -> None:
    data = blockwise(**how)
    (finding,) = of_code(tk.parse(data), "Q205")
    depth = how.get("depth", 64)
    x = np.random.default_rng(1).uniform(-1, 1, (2, depth)).astype(np.float32)
    for kind, resolver in RESOLVERS.items():
        outcome = runtime.run(data, resolver, inputs={0: x})
        rows = np.frombuffer(outcome.outputs[0][2], np.float32).reshape(2, -1)
        assert np.array_equal(rows[0], rows[1]) == (finding.reactions[kind].behaviour == Behaviour.WRONG), (kind, rows)


def test_weights_per_channel_are_silent() -> None:
    assert "Q205" not in codes(dense())


def test_real_models(model_path: Path) -> None:
    found = [f for f in tk.audit(tk.read(model_path)).findings if f.code in ("Q107", "Q108", "Q205")]
    blocks = {"gen_mnist_dyn_i4_b32": 2, "litert_qwen_fc_blockwise_quantized": 1}
    assert [(f.code, f.severity) for f in found] == [("Q205", INFO)] * blocks.get(model_path.stem, 0)
