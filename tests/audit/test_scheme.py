"""The scheme of every real model, against what is known of it and against verdicts made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.verdicts import VERDICTS
from tests.conftest import INVALID, REPOSITORY
from tflitekit.audit.scheme import SCHEMES, classify
from tflitekit.build import ModelBuilder, TensorSpec, quantize

F32 = "FLOAT32"
INT8_WEIGHTS = {(), ("INT8",), ("FLOAT32", "INT8")}
PER = {(), ("per-channel",), ("per-tensor",), ("per-channel", "per-tensor")}

# Manifest class -> admissible schemes, activation types, weight types, granularities, and a word on inputs and outputs.
ADMISSIBLE = {
    "float32": ({"float32", "no-weights"}, {F32}, {(), (F32,)}, {()}, "float"),
    "float16-weights": ({"float16-weights"}, {F32}, {("FLOAT16",), ("FLOAT16", "FLOAT32"), ("FLOAT16", "INT8")}, {()}, "float"),
    "dynamic-range": ({"dynamic-range"}, {F32}, {("INT8",), ("FLOAT32", "INT8")}, PER, "float"),
    "weight-only-int8": ({"weight-only"}, {F32}, {("INT8",)}, PER, "float"),
    "full-int8": ({"full-integer"}, {"INT8"}, INT8_WEIGHTS | {("INT16", "INT8")}, PER, "integer"),
    "int8-float-io": ({"full-integer", "mixed"}, {"INT8"}, INT8_WEIGHTS, PER, "any"),
    "legacy-uint8": ({"full-integer"}, {"UINT8"}, {(), ("UINT8",)}, {(), ("per-tensor",)}, "any"),
    "int16x8": ({"full-integer", "mixed"}, {"INT16"}, INT8_WEIGHTS, PER, "integer"),
    "int4": ({"dynamic-range", "weight-only"}, {F32}, {("INT4",), ("FLOAT32", "INT4")}, {("per-channel",)}, "float"),
    "int2": ({"dynamic-range"}, {F32}, {("INT2",), ("FLOAT32", "INT2")}, {("per-channel",)}, "float"),
    "blockwise": ({"dynamic-range"}, {F32}, {("INT4",), ("FLOAT32", "INT4")}, {("blockwise",)}, "float"),
    "mixed": ({"mixed"}, {"mixed"}, {(), ("FLOAT32", "INT8")}, PER, "any"),
    "no-weights": ({"no-weights", "float32"}, None, {(), (F32,)}, {()}, "any"),
    "npu-compiled": ({"compiled"}, None, {()}, {()}, "any"),
    "other": (set(SCHEMES), None, None, None, "any"),
}

# Models whose class, a guess from tensor types, does not say what the operators do.
EXCEPTIONS = {
    "litert_add_quantized_int8": "its ADDs have a FLOAT32 tensor between INT8 ones: mixed",
    "litert_quantized": "one operator on constants only: there is no activation",
}


def known() -> dict[str, str]:
    """Model -> class, from the manifest; empty where there is none."""
    from tests.conftest import MODELS

    manifest = MODELS / "manifest.json"
    return {m["name"]: m["class"] for m in json.loads(manifest.read_text()) if m["name"] != INVALID} if manifest.exists() else {}


def test_scheme_fits_what_is_known(model_path: Path) -> None:
    classes = known()
    if model_path.name not in classes:
        pytest.skip("no manifest entry")
    found = classify(tk.read(model_path))
    assert found.name in SCHEMES
    if model_path.stem in EXCEPTIONS:
        return
    schemes, activations, weights, granularity, io = ADMISSIBLE[classes[model_path.name]]
    assert found.name in schemes
    assert activations is None or found.activation in activations
    assert weights is None or found.weights in weights
    assert granularity is None or found.granularity in granularity
    floats = [t.startswith("FLOAT") for t in (*found.inputs, *found.outputs)]
    assert io == "any" or (any(floats) if io == "float" else not any(floats))


def test_exceptions_are_still_exceptions() -> None:
    classes = known()
    if not classes:
        pytest.skip("no models")
    from tests.conftest import MODELS

    for name in EXCEPTIONS:
        schemes, activations, *_ = ADMISSIBLE[classes[f"{name}.tflite"]]
        found = classify(tk.read(MODELS / f"{name}.tflite"))
        assert found.name not in schemes or (activations is not None and found.activation not in activations), f"{name} fits now"


@pytest.mark.parametrize("name", list(VERDICTS))
def test_hand_made_verdicts(name: str, models: Path) -> None:
    found = classify(tk.read(models / f"{name}.tflite"))
    got = (found.name, found.activation, found.weights, found.granularity, found.inputs, found.outputs)
    assert got == tuple(VERDICTS[name])


def test_the_example_models() -> None:
    folder = REPOSITORY / "examples" / "models"
    dynamic = classify(tk.read(folder / "classifier_dynamic_range.tflite"))
    assert (dynamic.name, dynamic.activation, dynamic.inputs, dynamic.outputs) == ("dynamic-range", F32, (F32,), (F32,))
    assert dynamic.weights == ("INT8",) and dynamic.granularity == ("per-channel",) and not dynamic.float_io
    uint8 = classify(tk.read(folder / "classifier_uint8_placeholder.tflite"))
    assert (uint8.name, uint8.activation, uint8.inputs, uint8.outputs) == ("full-integer", "UINT8", ("UINT8",), ("UINT8",))


def mixed_model() -> tk.Model:
    """Integer ADD, then DEQUANTIZE, a float TANH, QUANTIZE, and an integer ADD again; a raw INT8 table beside it."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    q = quantize(0.5, 0)
    x = main.input("x", [1, 4], "INT8", q)
    a = main.apply("ADD", [x, x], TensorSpec("a", [1, 4], "INT8", q))
    f = main.apply("DEQUANTIZE", [a], TensorSpec("f", [1, 4], "FLOAT32"))
    t = main.apply("TANH", [f], TensorSpec("t", [1, 4], "FLOAT32"))
    b = main.apply("QUANTIZE", [t], TensorSpec("b", [1, 4], "INT8", q))
    main.output(main.apply("ADD", [b, a], TensorSpec("y", [1, 4], "INT8", q)))
    main.constant("table", np.arange(4, dtype=np.int8))
    return builder.build()


def test_islands_say_what_enters_and_leaves() -> None:
    found = classify(mixed_model())
    assert found.name == "mixed" and len(found.islands) == 1
    island = found.islands[0]
    assert [run.operator.op_name for run in island.operators] == ["TANH"]
    assert [(c.tensor.name, c.operator and c.operator.operator.op_name) for c in island.enters] == [(b"f", "DEQUANTIZE")]
    assert [(c.tensor.name, c.operator and c.operator.operator.op_name) for c in island.leaves] == [(b"t", "QUANTIZE")]


def test_coverage_counts_shared_weights_once_and_knows_macs() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [2, 8], "FLOAT32")
    weights = main.constant("w", np.ones((4, 8), np.int8), quantization=quantize(0.1))
    for name in ("a", "b"):
        main.output(main.apply("FULLY_CONNECTED", [x, weights, None], TensorSpec(name, [2, 4], "FLOAT32")))
    found = classify(builder.build())
    (share,) = found.coverage
    assert (share.mode, share.operators, share.weight_bytes, share.macs) == ("hybrid", 2, 32, 2 * 2 * 4 * 8)


@pytest.mark.parametrize("kind", ["ranges", "raw"])
def test_what_is_not_quantized_is_not_taken_for_it(kind: str) -> None:
    """Calibration ranges alone, and INT8 data without a scale, quantize nothing."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "FLOAT32" if kind == "ranges" else "INT8")
    if kind == "ranges":
        x.quantization = tk.QuantizationParameters(min=[-1.0], max=[1.0])
    main.output(main.apply("RESHAPE", [x], TensorSpec("y", [4], "FLOAT32" if kind == "ranges" else "INT8")))
    found = classify(builder.build())
    assert found.name == "no-weights"
    assert [share.mode for share in found.coverage] == ["float" if kind == "ranges" else "index"]


def test_odd_graphs_are_classified_without_failing() -> None:
    model = tk.Model(version=3)
    assert classify(model).name == "no-weights"
    model.subgraphs = [tk.SubGraph(operators=[tk.Operator()])]
    assert classify(model).coverage[0].mode == "opaque"
