"""Signatures, metadata and input statistics against the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tflitekit as tk
from tests.audit.checks.models import codes, of_code, path_of, spec, started
from tests.forge import pack_metadata
from tflitekit._metadata_schema import (
    Content,
    FeatureProperties,
    ImageProperties,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    SubGraphMetadata,
    TensorMetadata,
)
from tflitekit.audit.checks.runtime_version import as_numbers
from tflitekit.build import quantize
from tflitekit.graph import Model, Tensor

SHAPE = (1, 32, 32, 3)


def image(type: str = "UINT8", scale: float = 1 / 255, zero_point: int = 0, shape: tuple[int, ...] = SHAPE) -> Model:
    """A model of one operator on an image."""
    builder, main = started()
    x = main.input("x", shape, type, None if type == "FLOAT32" else quantize(scale, zero_point))
    main.output(main.apply("RELU", [x], spec("y", type, None if type == "FLOAT32" else 0.1, shape=shape), version=2))
    return builder.build()


def stated(*units: Any, properties: Any = None, inputs: int = 1, outputs: int = 1) -> ModelMetadata:
    content = Content(content_properties=properties) if properties is not None else None
    about = TensorMetadata(name=b"x", content=content, process_units=[ProcessUnit(options=unit) for unit in units])
    graph = SubGraphMetadata(input_tensor_metadata=[about] * inputs, output_tensor_metadata=[TensorMetadata()] * outputs)
    return ModelMetadata(subgraph_metadata=[graph])


def normalized(mean: tuple[float, ...], std: tuple[float, ...], properties: Any = None) -> ModelMetadata:
    return stated(NormalizationOptions(mean=mean, std=std), properties=properties)


# ---- input statistics ----


@pytest.mark.parametrize(
    ("type", "scale", "zero_point"),
    [("UINT8", 1 / 255, 0), ("INT8", 1 / 255, -128), ("UINT8", 1 / 127.5, 128), ("INT8", 1 / 127.5, -1), ("UINT8", 1.0, 0), ("UINT8", 0.00386, 0)],
)
def test_usual_inputs_are_silent(type: str, scale: float, zero_point: int) -> None:
    assert codes(image(type, scale, zero_point)) == []


def test_an_unusual_input_is_told_with_its_range() -> None:
    model = image("INT8", 0.04, -2)
    (finding,) = of_code(model, "Q502")
    assert (finding.severity, finding.path, finding.name) == ("info", path_of(model, "x"), "x")
    assert finding.message.startswith("(mean, std) = (-2, 25) and real values [-5.04, 5.16]; nothing usual is near that")
    assert finding.found == (-2, pytest.approx(25))


def test_the_nearest_usual_preprocessing_is_named_where_it_is_near() -> None:
    (finding,) = of_code(image("UINT8", 1.1 / 255, 0), "Q502")
    assert "the nearest usual one, image scaled to [0, 1], is 25.5 steps off" in finding.message
    assert finding.expected == "(mean, std) = (0, 255): pixel / 255"


def test_an_inverted_std() -> None:
    """(mean, std) = (127, 1/128), as in a question of 2018: the range is [-16256, 16384]."""
    (finding,) = of_code(image("UINT8", 128.0, 127), "Q502")
    assert finding.severity == "warning" and "[-16256, 16384]" in finding.message
    assert "Perhaps std was given as scale: 1/std is 128" in finding.message


@pytest.mark.parametrize("shape", [(1, 49, 10, 1), (1, 40), (1, 3, 40), (1, 128, 128, 16), (1, 96, 20, 1)])
def test_what_is_no_image_may_have_any_numbers(shape: tuple[int, ...]) -> None:
    assert codes(image("INT8", 0.04, -2, shape)) == []


def test_metadata_decide_what_an_image_is() -> None:
    assert of_code(image("INT8", 0.04, -2), "Q502", metadata=stated(properties=FeatureProperties())) == []
    assert of_code(image("INT8", 0.04, -2, (1, 96, 20, 1)), "Q502", metadata=stated(properties=ImageProperties()))


def test_a_float_input_that_the_graph_quantizes() -> None:
    builder, main = started()
    x = main.input("x", SHAPE, "FLOAT32")
    q = main.apply("QUANTIZE", [x], spec("q", "INT8", 0.04, -2, SHAPE))
    main.output(main.apply("RELU", [q], spec("y", "INT8", shape=SHAPE), version=2))
    model = builder.build()
    (finding,) = of_code(model, "Q502")
    assert finding.name == "x" and "[-5.04, 5.16]" in finding.message
    main.output(main.apply("RELU", [x], spec("z", "FLOAT32", None, shape=SHAPE)))
    assert of_code(builder.build(), "Q502") == []


# ---- metadata ----


def test_metadata_for_another_number_of_tensors() -> None:
    found = of_code(image(), "Q902", metadata=stated(inputs=2, outputs=1))
    assert [(f.path, f.message, f.found, f.expected) for f in found] == [
        ("metadata", "the metadata describes 2 input(s) of subgraph 0, which has 1", 2, 1)
    ]
    assert of_code(image(), "Q902", metadata=stated(outputs=0)) == []


def test_a_normalization_that_the_input_cannot_hold() -> None:
    model = image("UINT8", 1 / 255, 0)
    (finding,) = of_code(model, "Q903", metadata=normalized((127.5,), (127.5,)))
    assert (finding.severity, finding.path) == ("warning", path_of(model, "x"))
    assert finding.message.startswith("normalized bytes go from -1 to 1, the tensor from 0 to 1: 127 of the 256 bytes are clipped")
    assert finding.found == pytest.approx((0, 1)) and finding.expected == pytest.approx((-1, 1))


def test_a_normalization_that_fits_explains_unusual_numbers() -> None:
    model = image("INT8", 10 / 255, -1)
    assert codes(model) == ["Q502"]
    assert codes(model, metadata=normalized((127.5,), (25.5,))) == []


@pytest.mark.parametrize(
    ("mean", "std", "why"),
    [
        ((127.5,), (0.0,), "a std is 0, by which nothing can be divided (mean [127.5], std [0.0])"),
        ((1.0, 2.0), (1.0, 2.0), "it is for 2 channels, the tensor has 3 (mean [1.0, 2.0], std [1.0, 2.0])"),
        ((), (1.0,), "it has no mean or no std (mean [], std [1.0])"),
    ],
)
@pytest.mark.parametrize("type", ["UINT8", "FLOAT32"])
def test_a_normalization_that_cannot_be_applied(type: str, mean: tuple[float, ...], std: tuple[float, ...], why: str) -> None:
    (finding,) = of_code(image(type), "Q904", metadata=normalized(mean, std))
    assert (finding.severity, finding.name, finding.message) == ("warning", "x", why)


def test_an_image_of_floats_needs_a_normalization() -> None:
    (finding,) = of_code(image("FLOAT32"), "Q905", metadata=stated(properties=ImageProperties()))
    assert (finding.severity, finding.name) == ("info", "x")
    assert codes(image("FLOAT32"), metadata=normalized((0,), (255,), ImageProperties())) == []
    assert codes(image("UINT8"), metadata=stated(properties=ImageProperties())) == []


def test_the_public_function_reads_the_metadata_by_itself() -> None:
    model = image()
    entry = tk.Metadata(name="TFLITE_METADATA", buffer=model.add_buffer(pack_metadata(normalized((127.5,), (127.5,)))))
    model.metadata = [entry]
    assert [f.code for f in tk.audit(model).findings] == ["Q903"]
    entry.buffer = model.add_buffer(b"\x10\0\0\0M001" + bytes(8))
    (finding,) = tk.audit(model).findings
    assert (finding.code, finding.severity) == ("Q906", "warning") and "TFLITE_METADATA" in finding.message


# ---- signatures ----


def with_signature(inputs: dict[str, str], outputs: dict[str, str]) -> Model:
    """A model with inputs a and b, output y, and a tensor m between, and a signature of the given names."""
    builder, main = started()
    a, b = (main.input(name, [1, 4], "FLOAT32") for name in "ab")
    m = main.apply("ADD", [a, b], spec("m", "FLOAT32", None))
    main.output(main.apply("RELU", [m], spec("y", "FLOAT32", None)))

    def named(names: dict[str, str]) -> dict[str, Tensor]:
        return {key: main.subgraph.tensor(tensor) for key, tensor in names.items()}

    builder.signature("serving_default", named(inputs), named(outputs))
    return builder.build()


def test_a_signature_that_says_what_the_subgraph_says() -> None:
    assert codes(with_signature({"p": "a", "q": "b"}, {"r": "y"})) == []
    assert codes(with_signature({"q": "b", "p": "a"}, {"r": "y"})) == []


def test_a_signature_that_leaves_out_an_input() -> None:
    (finding,) = of_code(with_signature({"p": "a"}, {"r": "y"}), "Q901")
    assert (finding.severity, finding.path, finding.found, finding.expected) == ("warning", "signature_defs[0].inputs", 1, 2)


def test_a_signature_that_names_another_tensor() -> None:
    (finding,) = of_code(with_signature({"p": "a", "q": "b"}, {"r": "m"}), "Q901")
    assert (finding.path, finding.name) == ("signature_defs[0].outputs[0].tensor", "m")
    assert finding.message == "is not among the outputs of the subgraph"


# ---- min_runtime_version ----


def entry(model: Model, text: bytes) -> Model:
    model.metadata = [*model.metadata, tk.Metadata(name="min_runtime_version", buffer=model.add_buffer(text.ljust(16, b"\0")))]
    return model


def test_a_runtime_version_that_is_too_old() -> None:
    (finding,) = of_code(entry(image(), b"1.5.0"), "Q703")
    assert (finding.severity, finding.path, finding.found, finding.expected) == ("info", "metadata[0]", "1.5.0", "2.1.0")
    assert finding.message == "min_runtime_version is 1.5.0; RELU version 2 came with 2.1.0"


def test_types_ask_for_a_runtime_too() -> None:
    """The operator code says version 1, its INT4 weights need version 10 of it."""
    builder, main = started()
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 0))
    w = main.constant("w", np.ones((4, 4), ml_dtypes.int4), quantization=quantize(0.1, 0))
    b = main.constant("b", np.zeros(4, np.int32), quantization=quantize(0.05, 0))
    main.output(main.apply("FULLY_CONNECTED", [x, w, b], spec("y")))
    model = entry(builder.build(), b"2.10.1")
    (finding,) = of_code(model, "Q703")
    assert finding.message == "min_runtime_version is 2.10.1; FULLY_CONNECTED version 10 came with 2.11.0"
    model.metadata = []
    assert of_code(entry(model, b"2.11.0"), "Q703") == []


@pytest.mark.parametrize("text", [b"2.1.0", b"2.3", b"10.0.0", b""])
def test_runtime_versions_that_are_new_enough(text: bytes) -> None:
    assert codes(entry(image(), text)) == []


def test_a_runtime_version_that_is_none() -> None:
    (finding,) = of_code(entry(image(), b"v2 \xff"), "Q703")
    assert (finding.severity, finding.found) == ("info", "v2 \ufffd")


def test_versions_compare_as_numbers() -> None:
    assert as_numbers("2.10.0") > as_numbers("2.9.1") and as_numbers("1.13.1") < as_numbers("1.14")


# ---- real models ----

STATISTICS = {"tflm_simple_add_model"}  # an addition of two random tensors of image shape
SIGNATURES = {"aeq_embedding_lookup"}  # its signature has no outputs


def test_real_models(model_path: Path) -> None:
    found = {f.code for f in tk.audit(tk.read(model_path)).findings if f.code == "Q502" or f.code.startswith("Q9")}
    expected = ({"Q502"} if model_path.stem in STATISTICS else set()) | ({"Q901"} if model_path.stem in SIGNATURES else set())
    assert found == expected
