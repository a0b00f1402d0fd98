"""The example models are what their script builds, and what they are said to be; the example scripts run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import REPOSITORY
from tests.runtime import needs_runtime
from tflitekit.graph import Model, QuantizationParameters, Tensor

EXAMPLES = REPOSITORY / "examples"
DYNAMIC, UINT8 = "classifier_dynamic_range.tflite", "classifier_uint8_placeholder.tflite"
resolvers = pytest.mark.parametrize("resolver", [runtime.DEFAULT, runtime.REFERENCE, runtime.NO_DELEGATES])

DETAILS = """
import json, sys
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1])
interpreter.allocate_tensors()
show = lambda d: [d["name"], d["shape"].tolist(), d["dtype"].__name__, *d["quantization"]]
print(json.dumps([show(interpreter.get_input_details()[0]), show(interpreter.get_output_details()[0]), interpreter.get_signature_list()]))
"""


@cache
def script(name: str) -> ModuleType:
    """An example script as a module."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def example(name: str) -> Model:
    return tk.read(EXAMPLES / "models" / name)


def run_script(*arguments: Any) -> str:
    """The output of an example script, run as its docstring says."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=120, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pictures() -> list[np.ndarray[Any, Any]]:
    """Four pictures [1, 128, 128, 3] of codes 0..255: noise, a ramp, a chess board, coloured blocks."""
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, (1, 128, 128, 3))
    ramp = np.broadcast_to(np.arange(128)[None, :, None, None] * 2, noise.shape)
    board = np.indices((128, 128)).sum(0)[None, :, :, None] // 16 % 2 * np.array([255, 127, 51])
    blocks = rng.integers(0, 256, (1, 4, 4, 3)).repeat(32, 1).repeat(32, 2)
    return [np.ascontiguousarray(picture, np.uint8) for picture in (noise, ramp, board, blocks)]


def scores(name: str, picture: np.ndarray[Any, Any], resolver: str) -> np.ndarray[Any, Any]:
    """The real values of the 156 outputs of an example model."""
    given = picture if name == UINT8 else picture.astype(np.float32) / np.float32(255)
    outcome = runtime.run(EXAMPLES / "models" / name, resolver, inputs={0: given}, timeout=60.0)
    assert outcome.ok, outcome.message
    dtype, shape, data = outcome.outputs[0]
    assert shape == (1, 156)
    values = np.frombuffer(data, dtype).astype(np.float64)
    return values if name == DYNAMIC else (values - 128) * 0.7843137383460999


# ---- the files ----


@pytest.mark.parametrize("name", [DYNAMIC, UINT8])
def test_the_script_builds_the_checked_in_bytes(name: str, tmp_path: Path) -> None:
    script("build_models").main(tmp_path)
    checked_in = (EXAMPLES / "models" / name).read_bytes()
    assert (tmp_path / name).read_bytes() == checked_in, "run: python examples/build_models.py"
    assert len(checked_in) < 120_000


def test_there_are_no_other_models() -> None:
    assert sorted(path.name for path in (EXAMPLES / "models").iterdir()) == [DYNAMIC, UINT8]


@pytest.mark.parametrize("name", [DYNAMIC, UINT8])
def test_the_models_have_no_problems(name: str) -> None:
    assert [str(problem) for problem in tk.verify(example(name)) if problem.severity != "info"] == []


@pytest.mark.parametrize("name", [DYNAMIC, UINT8])
def test_input_and_output(name: str) -> None:
    main = example(name).subgraphs[0]
    assert [(t.name, t.shape) for t in main.inputs if t] == [(b"input_1_1", (1, 128, 128, 3))]
    assert [(t.name, t.shape) for t in main.outputs if t] == [(b"global_average_pooling2d_1_1/Mean", (1, 156))]
    assert [s.signature_key for s in example(name).signature_defs] == [b"serving_default"]


def test_dynamic_range_has_int8_weights_and_float_activations() -> None:
    main = example(DYNAMIC).subgraphs[0]
    for operator in main.operators[:-1]:
        x, weights, bias = operator.inputs
        y = operator.outputs[0]
        assert x and weights and bias and y
        assert [t.type.name for t in (x, weights, bias, y)] == ["FLOAT32", "INT8", "FLOAT32", "FLOAT32"]
        assert not (x.is_quantized or bias.is_quantized or y.is_quantized)
        axis = 3 if operator.op_name == "DEPTHWISE_CONV_2D" else 0
        parameters = quantization(weights)
        assert parameters.quantized_dimension == axis and len(parameters.scale) == weights.shape[axis] == bias.shape[0]
        assert not parameters.zero_point.any()
        assert np.abs(weights.numpy().astype(int)).max(axis=tuple(a for a in range(4) if a != axis)).tolist() == [127] * weights.shape[axis]


def test_uint8_has_the_placeholder_range_everywhere() -> None:
    main = example(UINT8).subgraphs[0]
    assert exact(main.inputs[0]) == (0.003921568859368563, 0)
    for operator in main.operators:
        assert exact(operator.outputs[0]) == (0.7843137383460999, 128)
        assert (quantization(operator.outputs[0]).min[0], quantization(operator.outputs[0]).max[0]) == (-100, 100)
    assert {t.type.name for t in main.tensors} == {"UINT8", "INT32"}


def test_uint8_biases_have_the_scale_that_runtimes_assume() -> None:
    for operator in example(UINT8).subgraphs[0].operators[:-1]:
        x, weights, bias = map(quantization, operator.inputs)
        assert bias.scale[0] == x.scale[0] * weights.scale[0] and bias.scale.dtype == np.float32
        assert bias.zero_point.tolist() == [0] and weights.kind == "per-tensor"


def test_both_have_the_same_float_weights() -> None:
    """What the codes of both mean differs by no more than half a step of each."""
    for a, b in zip(example(DYNAMIC).subgraphs[0].operators[:-1], example(UINT8).subgraphs[0].operators[:-1], strict=True):
        reals, steps = [], []
        for tensor in (a.inputs[1], b.inputs[1]):
            assert tensor is not None
            parameters = quantization(tensor)
            along = [1] * 4
            along[parameters.quantized_dimension] = -1
            scale = parameters.scale.astype(np.float64).reshape(along)
            reals.append((tensor.numpy().astype(np.float64) - parameters.zero_point[0]) * scale)
            steps.append(scale)
        # the range of uint8 is nudged to hold zero exactly, which can cost half a step more at its ends
        assert (np.abs(reals[0] - reals[1]) <= steps[0] * 0.501 + steps[1] * 1.001).all()


def quantization(tensor: Tensor | None) -> QuantizationParameters:
    assert tensor is not None and tensor.quantization is not None
    return tensor.quantization


def exact(tensor: Tensor | None) -> tuple[float, int]:
    parameters = quantization(tensor)
    assert len(parameters.scale) == len(parameters.zero_point) == 1
    return float(parameters.scale[0]), int(parameters.zero_point[0])


# ---- in the runtime ----


@needs_runtime
@pytest.mark.parametrize(("name", "wanted"), [(DYNAMIC, ["float32", 0.0, 0]), (UINT8, ["uint8", None, None])])
def test_what_the_interpreter_says(name: str, wanted: list[Any]) -> None:
    done = subprocess.run([sys.executable, "-c", DETAILS, str(EXAMPLES / "models" / name)], capture_output=True, text=True, timeout=60, check=True)
    given, made, signatures = json.loads(done.stdout)
    assert given == ["input_1_1", [1, 128, 128, 3], *(wanted if name == DYNAMIC else ["uint8", 0.003921568859368563, 0])]
    assert made == ["global_average_pooling2d_1_1/Mean", [1, 156], *(wanted if name == DYNAMIC else ["uint8", 0.7843137383460999, 128])]
    assert signatures == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}


@needs_runtime
@resolvers
@pytest.mark.parametrize("name", [DYNAMIC, UINT8])
def test_the_models_run_and_tell_pictures_apart(name: str, resolver: str) -> None:
    found = [scores(name, picture, resolver) for picture in pictures()]
    assert all(np.isfinite(values).all() and values.std() > 0.5 for values in found)
    assert len({int(values.argmax()) for values in found}) >= 3


@needs_runtime
@resolvers
def test_the_placeholder_range_costs_accuracy(resolver: str) -> None:
    """The same weights: yet the uint8 outputs lie far from the others, in units of the spread of those."""
    for picture in pictures():
        good, bad = (scores(name, picture, resolver) for name in (DYNAMIC, UINT8))
        assert np.sqrt(np.mean((good - bad) ** 2)) > 0.2 * good.std()


# ---- the scripts ----


def test_inspect_quantization() -> None:
    said = run_script(EXAMPLES / "inspect_quantization.py")
    assert "10 constant INT8, quantization per-channel" in said
    assert "16 scales" in said and "along axis 3" in said
    said = run_script(EXAMPLES / "inspect_quantization.py", EXAMPLES / "models" / UINT8)
    assert "scale 0.003921568859368563, zero point 0" in said
    assert "12 computed UINT8, quantization per-tensor" in said


def test_edit_graph(tmp_path: Path) -> None:
    output = tmp_path / "edited.tflite"
    said = run_script(EXAMPLES / "edit_graph.py", output)
    assert "input_1_1" in said and "features" in said
    edited = tk.read(output)
    assert [t.name for t in edited.subgraphs[0].inputs if t] == [b"image"]
    assert [t.name for t in edited.subgraphs[0].outputs if t] == [b"global_average_pooling2d_1_1/Mean", b"features"]
    assert [m.name for m in edited.signature_defs[0].outputs] == [b"scores", b"features"]
    if runtime.available():
        before = runtime.run(EXAMPLES / "models" / UINT8)
        after = runtime.run(output)
        assert after.ok and after.outputs[0] == before.outputs[0]
        assert after.outputs[1][1] == (1, 8, 8, 156)


def test_scripts_say_how_they_are_called() -> None:
    for path in sorted(EXAMPLES.glob("*.py")):
        assert f"python examples/{path.name}" in path.read_text().partition("from __future__")[0]
