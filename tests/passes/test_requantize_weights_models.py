"""`requantize-weights` in the runtimes, on models of single operators, and on all real models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import RESOLVERS
from tests.passes.weight_models import errors, halved, single, weights
from tests.runtime import needs_runtime
from tflitekit.graph import Model
from tflitekit.passes import RequantizeWeights
from tflitekit.quant.rules import LITERT

# ---- runtimes ----

FORMS = [
    ("FULLY_CONNECTED", "int8", "per-tensor"), ("FULLY_CONNECTED", "int8", "per-channel"), ("FULLY_CONNECTED", "int4", "per-tensor"),
    ("FULLY_CONNECTED", "int4", "per-channel"), ("FULLY_CONNECTED", "int2", "per-tensor"), ("FULLY_CONNECTED", "int2", "per-channel"),
    ("FULLY_CONNECTED", "int4", "blockwise-32"), ("CONV_2D", "int8", "per-tensor"), ("CONV_2D", "int8", "per-channel"),
    ("CONV_2D", "int4", "per-channel"), ("CONV_2D", "int4", "per-tensor"), ("DEPTHWISE_CONV_2D", "int8", "per-channel"),
    ("TRANSPOSE_CONV", "int8", "per-tensor"), ("TRANSPOSE_CONV", "int8", "per-channel"), ("BATCH_MATMUL", "int8", "per-tensor"),
    ("BATCH_MATMUL", "int8", "per-channel"), ("EMBEDDING_LOOKUP", "int8", "per-tensor"), ("EMBEDDING_LOOKUP", "int8", "per-channel"),
    ("EMBEDDING_LOOKUP", "int4", "per-channel"), ("EMBEDDING_LOOKUP", "int2", "per-channel"), ("EMBEDDING_LOOKUP", "int4", "blockwise-32"),
]  # fmt: skip
OPERATORS = list(dict.fromkeys(operator for operator, _, _ in FORMS))


def outputs(model: Model, resolver: str) -> np.ndarray | None:
    data = np.int32([0, 3, 7]) if model.subgraphs[0].inputs[0].type.name == "INT32" else None
    outcome = runtime.run(tk.serialize(model), resolver, **({"inputs": {0: data}} if data is not None else {}))
    return np.frombuffer(outcome.outputs[0][2], np.float32) if outcome.ok else None


def agrees(found: np.ndarray | None, expected: np.ndarray, tolerance: float) -> bool:
    return found is not None and float(np.abs(found - expected).max()) <= tolerance * float(np.abs(expected).max())




def runtimes_of(model: Model, to: str, granularity: str) -> tuple[list[str], list[str]]:
    """The runtimes that the pass says compute its weights right, and those that do."""
    result = tk.run(model, RequantizeWeights(to=to, granularity=granularity, form="hybrid"))
    assert not result.refused
    plain = tk.run(result.model, RequantizeWeights(to="float32")).model
    expected = outputs(plain, runtime.REFERENCE)
    assert expected is not None
    note = next(note for note in result.notes if note.name == "w")
    return note.data["runtimes"], [r.value for r in LITERT if agrees(outputs(result.model, RESOLVERS[r]), expected, 0.05)]


@needs_runtime
@pytest.mark.parametrize(("operator", "to", "granularity"), FORMS)
def test_hybrid_forms_run_in_exactly_the_runtimes_of_the_rule_table(operator: str, to: str, granularity: str) -> None:
    """Against the same values as floats: 5 % of the largest output covers the rounding of the inputs to 8 bits, and no wrong scale."""
    told, right = runtimes_of(single(operator), to, granularity)
    assert told == right


@needs_runtime
@pytest.mark.parametrize(("to", "more", "weights"), [
    ("float32", {}, "FLOAT32"), ("float16", {}, "FLOAT32"), ("int8", {"form": "explicit"}, "FLOAT32"),
    ("int4", {"granularity": "blockwise-32"}, "INT4 blockwise"), ("int4", {}, ""),
])  # fmt: skip
def test_weights_stay_where_the_fused_activation_would_be_refused_or_left_out(to: str, more: dict[str, str], weights: str) -> None:
    """Kernels of FULLY_CONNECTED apply TANH where weights are hybrid ones, and only there."""
    model = tk.run(single("FULLY_CONNECTED"), RequantizeWeights(to="int8")).model
    model.subgraphs[0].operators[0].options.fused_activation_function = "TANH"
    result = tk.run(model, RequantizeWeights(to=to, **more))
    reason = f"stays INT8: FULLY_CONNECTED does not apply its fused activation TANH with {weights} weights"
    assert [note.text for note in result.refused] == ([reason] if weights else [])
    found = outputs(result.model, runtime.NO_DELEGATES)
    result.model.subgraphs[0].operators[0].options.fused_activation_function = "NONE"
    assert bool(result.changes) != bool(weights) and agrees(found, np.tanh(outputs(result.model, runtime.NO_DELEGATES)), 1e-5)


@needs_runtime
@pytest.mark.parametrize(("to", "granularity"), [("int8", "per-channel"), ("int4", "per-channel"), ("int4", "blockwise-32")])
@pytest.mark.parametrize("fused", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_fused_activations_are_thought_of(to: str, granularity: str, fused: str) -> None:
    model = single("FULLY_CONNECTED")
    model.subgraphs[0].operators[0].options.fused_activation_function = fused
    told, right = runtimes_of(model, to, granularity)
    assert told == right


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
def test_an_activation_that_is_left_out_anyway_is_in_no_ones_way(operator: str) -> None:
    model = single(operator)
    model.subgraphs[0].operators[0].options.fused_activation_function = "TANH"
    result = tk.run(model, RequantizeWeights(to="int8"))
    assert not result.refused and weights(result.model).type.name == "INT8"


def test_blocks_with_an_activation_need_a_bias_that_is_known() -> None:
    """Else XNNPACK, which alone applies it, leaves the operator to the other kernels."""
    for model in (single("FULLY_CONNECTED"), halved(single("FULLY_CONNECTED"))):
        main = model.subgraphs[0]
        dense = main.operators[-1]
        dense.options.fused_activation_function = "RELU"
        blocks = RequantizeWeights(to="int4", granularity="blockwise-32", tensor=("w",))
        assert tk.run(model, blocks).notes[0].data["runtimes"] == ["XNNPACK"]
        bias = tk.Tensor(name="given", shape=dense.inputs[2].shape, buffer=model.buffers[0])
        dense.inputs[2] = main.add_tensor(bias)
        main.inputs = [*main.inputs, bias]
        (note,) = tk.run(model, blocks).refused
        assert note.text.endswith("FULLY_CONNECTED does not apply its fused activation RELU with INT4 blockwise weights")


@needs_runtime
@pytest.mark.parametrize("form", ["hybrid", "explicit"])
@pytest.mark.parametrize("operator", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
def test_weights_of_float16_models_run_in_all_runtimes(operator: str, form: str) -> None:
    """XNNPACK refuses to prepare hybrid operators with a bias that DEQUANTIZE makes of FLOAT16."""
    model = halved(single(operator))
    expected = outputs(model, runtime.REFERENCE)
    result = tk.run(model, RequantizeWeights(to="int8", form=form, tensor=("w",)))
    assert weights(result.model).type.name == "INT8" and expected is not None
    assert all(agrees(outputs(result.model, RESOLVERS[r]), expected, 0.05) for r in LITERT)


@needs_runtime
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("options", [
    {"to": "int8"}, {"to": "int8", "granularity": "per-tensor", "asymmetric": True}, {"to": "int4"}, {"to": "int2"}, {"to": "float16"},
    {"to": "int8", "asymmetric": True}, {"to": "int4", "asymmetric": True},
], ids=str)  # fmt: skip
def test_explicit_forms_run_everywhere(operator: str, options: dict[str, Any]) -> None:
    result = tk.run(single(operator), RequantizeWeights(form="explicit", **options))
    assert not result.refused
    expected = outputs(tk.run(result.model, RequantizeWeights(to="float32")).model, runtime.REFERENCE)
    assert expected is not None
    assert [r for r in LITERT if agrees(outputs(result.model, RESOLVERS[r]), expected, 1e-4)] == list(LITERT)


# ---- real models ----

QUICK = ({"to": "int4"},)
EVERY = [
    {"to": to, "granularity": granularity, "form": form}
    for to in ("int8", "int4", "int2") for granularity in ("per-tensor", "per-channel", "blockwise-32") for form in ("hybrid", "explicit")
] + [
    {"to": "int4", "range": "mse"}, {"to": "float32"}, {"to": "float16"}, {"to": "int8", "asymmetric": True},
    {"to": "int4", "asymmetric": True, "form": "explicit"},
]  # fmt: skip


def check_choices(path: Path, choices: Any) -> None:
    model = tk.read(path)
    before = errors(model)
    for options in choices:
        result = tk.run(model, RequantizeWeights(no_errors=True, **options))
        told = [note for note in result.notes if note.kind in ("changed", "refused")]
        assert bool(result.changes) == any(note.kind == "changed" for note in told)
        if result.changes:
            assert not errors(result.model) - before, options
            tk.parse(tk.serialize(result.model))
        again = tk.run(result.model, RequantizeWeights(no_errors=True, **options))
        assert not again.changes, options


def test_real_models_run_or_are_refused_and_the_audit_finds_nothing_new(model_path: Path) -> None:
    check_choices(model_path, QUICK)


@pytest.mark.slow
def test_every_choice_on_every_real_model(model_path: Path) -> None:
    check_choices(model_path, EVERY)


FLOAT_MODELS = (
    "aeq_conv_fc_mnist", "mlct_vww_96_float", "mlct_pretrainedResnet", "litert_torchaudio_conformer", "tfls_regex_one_embedding_with_metadata",
)  # fmt: skip


def measured(model: Model, **options: Any) -> tuple[float, float]:
    """(signal, noise) of all weights that are encoded."""
    total = tk.run(model, RequantizeWeights(**options)).notes[-1].data
    return total["signal"], total["noise"]


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_clipping_beats_the_full_range_at_int4_on_real_models(models: Path, name: str) -> None:
    model = tk.read(models / f"{name}.tflite")
    signal, full = measured(model, to="int4")
    clipped = measured(model, to="int4", range="mse")[1]
    print(f"{name}: INT4 per channel, min-max {10 * math.log10(signal / full):.1f} dB, mse {10 * math.log10(signal / clipped):.1f} dB")
    assert clipped < 0.97 * full


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_real_weights_come_back_from_int8_within_half_a_scale(models: Path, name: str) -> None:
    model = tk.read(models / f"{name}.tflite")
    made = tk.run(model, RequantizeWeights(to="int8", form="explicit"))
    back = tk.run(made.model, RequantizeWeights(to="float32")).model
    changed = 0
    for before, coded, after in zip(model.subgraphs[0].tensors, made.model.subgraphs[0].tensors, back.subgraphs[0].tensors, strict=False):
        if before.type != coded.type and before.is_constant:
            q = coded.quantization
            assert q is not None and after.type.name == "FLOAT32"
            shape = [-1 if d == q.quantized_dimension and len(q.scale) > 1 else 1 for d in range(len(before.shape))]
            assert (np.abs(after.numpy() - before.numpy()) <= q.scale.reshape(shape) * np.float32(0.50001)).all()
            changed += 1
    assert changed
    half = tk.run(model, RequantizeWeights(to="float16")).model
    for before, after in zip(half.subgraphs[0].tensors, tk.run(half, RequantizeWeights(to="float32")).model.subgraphs[0].tensors, strict=False):
        if before.type.name == "FLOAT16":
            assert np.array_equal(after.numpy(), before.numpy().astype(np.float32))
