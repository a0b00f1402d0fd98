"""What TensorFlow Lite Micro lacks is told where it is asked for, and to nobody else."""

from __future__ import annotations

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.checks.models import of_code, spec, started
from tests.quant.deviations import weighted
from tests.quant.single import build
from tflitekit.audit import ERROR, INFO
from tflitekit.build import quantize
from tflitekit.graph import Model
from tflitekit.quant.rules import Behaviour, Runtime


def hybrid(operator: str, weights: str = "INT8", per_channel: bool = False) -> Model:
    return tk.parse(build(operator, "FLOAT32", **weighted(operator, "FLOAT32", weights, per_channel)))


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        ("CONV_2D", "Hybrid models are not supported"), ("TRANSPOSE_CONV", "Hybrid models are not supported"), ("FULLY_CONNECTED", "not supported"),
        ("BATCH_MATMUL", "lhs_data->type == rhs_data->type"), ("SVDF", "weights_feature->type"), ("LSTM", "Didn't find op"),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", "Didn't find op"), ("UNIDIRECTIONAL_SEQUENCE_LSTM", ""),
    ],
)  # fmt: skip
def test_every_hybrid_operator_is_told(operator: str, text: str) -> None:
    (finding,) = of_code(hybrid(operator), "Q601")
    reaction = finding.reactions[Runtime.TFLM]
    assert finding.severity == INFO and reaction.text.startswith(text)
    assert reaction.behaviour == (Behaviour.REFUSES if text else Behaviour.UNDEFINED)


def test_hybrid_operators_are_not_told_to_those_who_ask_about_another_runtime() -> None:
    assert of_code(hybrid("CONV_2D"), "Q601", runtime=Runtime.TFLM)
    assert not any(of_code(hybrid("CONV_2D"), "Q601", runtime=runtime) for runtime in Runtime if runtime != Runtime.TFLM)


def test_depthwise_and_lookup() -> None:
    assert of_code(hybrid("DEPTHWISE_CONV_2D", per_channel=True), "Q601") and of_code(hybrid("EMBEDDING_LOOKUP", "INT4"), "Q601")
    assert of_code(hybrid("EMBEDDING_LOOKUP"), "Q601") == []  # the one that it has


@pytest.mark.parametrize(
    ("operator", "type", "found"),
    [
        ("GELU", "INT8", "no such operator"), ("GELU", "FLOAT32", "no such operator"), ("RELU", "UINT8", "UINT8 activations"),
        ("EXP", "INT8", "INT8 activations"), ("GATHER", "INT16", "INT16 activations"), ("RELU", "INT8", ""), ("GATHER", "INT8", ""),
        ("ADD", "INT16", ""), ("RESHAPE", "UINT8", ""),
    ],
)  # fmt: skip
def test_what_is_lacking(operator: str, type: str, found: str) -> None:
    model = tk.parse(build(operator, type))
    assert [(f.found, f.severity) for f in of_code(model, "Q607", runtime=Runtime.TFLM)] == ([(found, ERROR)] if found else [])
    for runtime in (None, Runtime.XNNPACK, Runtime.EDGETPU):
        assert of_code(model, "Q607", runtime=runtime) == []


@pytest.mark.parametrize(
    ("activation", "weights", "per_channel", "found"),
    [
        ("INT8", "INT4", True, "INT4 per-channel weights with INT8 activations"), ("INT8", "INT4", False, None),
        ("INT16", "INT4", False, "INT4 per-tensor weights with INT16 activations"),
        ("INT8", "INT2", False, "INT2 per-tensor weights with INT8 activations"),
        ("INT16", "INT8", True, None),
    ],
)  # fmt: skip
def test_forms_of_weights(activation: str, weights: str, per_channel: bool, found: str | None) -> None:
    model = tk.parse(build("FULLY_CONNECTED", activation, **weighted("FULLY_CONNECTED", activation, weights, per_channel)))
    assert [f.found for f in of_code(model, "Q607", runtime=Runtime.TFLM)] == ([] if found is None else [found])


def test_weights_behind_dequantize_are_floats() -> None:
    builder, main = started()
    x = main.input("x", [1, 4])
    codes = main.constant("w", np.ones((3, 4), np.int8), quantization=quantize(0.1, 0))
    w = main.apply("DEQUANTIZE", [codes], spec("f", "FLOAT32", None, shape=(3, 4)))
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], spec("y", "FLOAT32", None, shape=(1, 3))))
    assert of_code(builder.build(), "Q607", runtime=Runtime.TFLM) == []


def test_per_channel_fully_connected_on_old_versions() -> None:
    model = tk.parse(build("FULLY_CONNECTED", "INT8", **weighted("FULLY_CONNECTED", "INT8", "INT8", True)))
    (finding,) = of_code(model, "Q602", runtime=Runtime.TFLM)
    assert finding.severity == INFO
    assert finding.message == "1 FULLY_CONNECTED operator with per-channel weights: computed with one scale by versions before May 2024"
    assert of_code(model, "Q602") == []
    single = tk.parse(build("FULLY_CONNECTED", "INT8", **weighted("FULLY_CONNECTED", "INT8", "INT8", False)))
    assert of_code(single, "Q602", runtime=Runtime.TFLM) == []
