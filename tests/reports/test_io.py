"""The contract of inputs and outputs: metadata, what it contradicts, names in signatures, and the texts of worked cases."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.forge import pack_metadata
from tflitekit._metadata_schema import (
    AssociatedFile,
    AssociatedFileType,
    Content,
    FeatureProperties,
    ImageProperties,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    ScoreThresholdingOptions,
    Stats,
    SubGraphMetadata,
    TensorMetadata,
)
from tflitekit._placeholders import dangling
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.cli.main import main
from tflitekit.flat.codec import write
from tflitekit.graph import Buffer, Metadata, Model, Operator, OperatorCode, QuantizationParameters, SignatureDef, SubGraph, Tensor
from tflitekit.reports.facts_io import io_facts
from tflitekit.reports.facts_summary import summary_facts
from tflitekit.reports.io import code_text, io_report
from tflitekit.reports.layout import lay_out
from tflitekit.reports.render import plain
from tflitekit.reports.summary import summary_report
from tflitekit.reports.to_json import to_json

UINT8, INT8, FLOAT32 = TensorType.UINT8, TensorType.INT8, TensorType.FLOAT32
IMAGE = (1, 8, 8, 3)


def quantized(scale: float, zero_point: int) -> QuantizationParameters:
    return QuantizationParameters(scale=[scale], zero_point=[zero_point])


def model_of(*inputs: Tensor, outputs: tuple[Tensor, ...] = ()) -> Model:
    main = SubGraph(tensors=[*inputs, *outputs], inputs=list(inputs), outputs=list(outputs))
    return Model(version=3, buffers=[Buffer()], subgraphs=[main])


def image(type: TensorType = UINT8, scale: float = 1 / 255, zero_point: int = 0, shape: tuple[int, ...] = IMAGE) -> Tensor:
    return Tensor(name="image", shape=shape, type=type, quantization=None if type == FLOAT32 else quantized(scale, zero_point))


def about(mean: tuple[float, ...] = (0,), std: tuple[float, ...] = (255,), content: Any = None, **more: Any) -> ModelMetadata:
    units = [ProcessUnit(options=NormalizationOptions(mean=mean, std=std))] if mean else []
    held = Content(content_properties=ImageProperties() if content is None else content)
    tensor = TensorMetadata(name=b"picture", content=held, process_units=units, **more)
    return ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[tensor])])


def rows(facts: dict[str, Any], title: str = "input 0") -> dict[str, str]:
    """The labelled texts of one input or output in the report."""
    section = next(s for s in io_report(facts).sections if getattr(s, "title", None) == title)
    return {label: value if isinstance(value, str) else value.text for label, value in section.rows}  # type: ignore[union-attr,misc,str-unpack]


def text(facts: dict[str, Any]) -> str:
    return "".join(plain(line) + "\n" for line in lay_out(io_report(facts), 80))


# ---- what to feed ----


@pytest.mark.parametrize(
    ("tensor", "feed"),
    [
        (image(INT8, 1 / 255, -128), "image byte b as the int8 code b - 128, exactly, because (scale, zero point) = (1/255, -128) is b / 255"),
        (image(), "image byte b as the uint8 code b, exactly, because (scale, zero point) = (1/255, 0) is b / 255"),
        (image(UINT8, 1 / 128, 128), "image byte b as the uint8 code b, exactly, because (scale, zero point) = (1/128, 128) is (b - 128) / 128"),
        (image(UINT8, 1 / 127.5, 128), "image byte b as the uint8 code b, within 0.50 LSB of (b - 127.5) / 127.5"),
        (image(INT8, 1 / 127.5, 0), "image byte b as the int8 code b - 128, within 0.50 LSB of (b - 127.5) / 127.5"),
        (image(UINT8, 0.3, 7), "q = round(real / 0.30000001192092896) + 7, clipped to 0..255: quantize_input_0(real)"),
        (image(UINT8, 1 / 255, 0, (1, 10)), "q = round(real / 0.003921568859368563), clipped to 0..255: quantize_input_0(real)"),
        (image(TensorType.INT4, 0.5, -1), "q = round(real / 0.5) - 1, clipped to -8..7"),
        (image(FLOAT32), "float32 real values; the file does not say in which range"),
        (Tensor(type=TensorType.INT32, shape=(1,)), "int32 values as they are"),
        (Tensor(type=TensorType.STRING), "string values as they are"),
    ],
)
def test_what_to_feed(tensor: Tensor, feed: str) -> None:
    assert rows(io_facts(model_of(tensor)))["feed"] == feed


def test_preprocessings_of_images_are_recognised_for_images_only() -> None:
    assert "recognised" in rows(io_facts(model_of(image())))
    assert "recognised" not in rows(io_facts(model_of(image(shape=(1, 10)))))
    features = about(content=FeatureProperties())
    assert "recognised" not in rows(io_facts(model_of(image()), features))
    assert "recognised" in rows(io_facts(model_of(image(shape=(1, 1, 1, 3))), about()))


@pytest.mark.parametrize(
    ("quantization", "reason"),
    [
        (QuantizationParameters(scale=[0.1, 0.2], zero_point=[0, 0]), "per-channel quantization, not one scale"),
        (QuantizationParameters(scale=[0.1], zero_point=[]), "one scale, but 0 zero points"),
        (QuantizationParameters(scale=[0.1], zero_point=[300]), "zero point 300 is no code of UINT8"),
    ],
)
def test_unusable_quantization_is_said_and_gets_no_code(quantization: QuantizationParameters, reason: str) -> None:
    facts = io_facts(model_of(Tensor(shape=IMAGE, type=UINT8, quantization=quantization)))
    assert reason in rows(facts)["not usable"]
    assert code_text(facts, "c") == code_text(facts, "numpy") == ""
    assert json.loads(to_json(facts))["interfaces"][0]["inputs"][0]["range"] is None


def test_float_inputs_and_outputs_around_an_integer_model() -> None:
    """The graph's own QUANTIZE and DEQUANTIZE say what range is kept."""
    before, after = Tensor(shape=(1, 4), type=FLOAT32), Tensor(shape=(1, 4), type=FLOAT32)
    inner = Tensor(shape=(1, 4), type=INT8, quantization=quantized(0.5, -28))
    model = model_of(before, outputs=(after,))
    quantize, dequantize = (OperatorCode(builtin_code=BuiltinOperator[name]) for name in ("QUANTIZE", "DEQUANTIZE"))
    model.operator_codes = [quantize, dequantize]
    model.subgraphs[0].tensors.append(inner)
    model.subgraphs[0].operators = [
        Operator(opcode=quantize, inputs=[before], outputs=[inner]),
        Operator(opcode=dequantize, inputs=[inner], outputs=[after]),
    ]
    facts = io_facts(model)
    assert facts["interfaces"][0]["inputs"][0]["inside"] == {
        "operator": "QUANTIZE", "type": "INT8", "scale": 0.5, "zero_point": -28, "min": -50.0, "max": 77.5,
    }  # fmt: skip
    assert rows(facts)["feed"] == "float32 real values; beyond [-50, 77.5] they are clipped"
    assert rows(facts, "output 0")["inside"].startswith("comes from INT8 by DEQUANTIZE: scale 0.5, zero point -28")


# ---- metadata ----


@pytest.mark.parametrize(
    ("tensor", "metadata", "verdict", "says"),
    [
        (image(), about(), "bytes", "gives the image byte"),
        (image(INT8, 1 / 255, -128), about(), "bytes", "gives the image byte - 128"),
        (image(UINT8, 1 / 128, 128), about((127.5,), (127.5,)), "bytes", "the image byte, within 1"),
        (image(UINT8, 1.2 / 255, 10), about(), "fits", "fits: image bytes become 214 codes from 10 to 223"),
        (image(), about((127.5,), (127.5,)), "contradicts", "from -1 to 1, the tensor from 0 to 1: 127 of the 256 bytes are clipped"),
        (image(UINT8, 1 / 127.5, 128), about(), "contradicts", "from 0 to 1, the tensor from -1.00392 to 0.996078: only 50% of that is used"),
        (image(), about((255,), (0,)), "unusable", "a std is 0"),
        (image(), about((1, 2), (3, 4)), "unusable", "for 2 channels, the tensor has 3"),
        (image(FLOAT32), about(()), "missing", "refuse a float32 image without normalization"),
    ],
)  # fmt: skip
def test_agreement_of_metadata_and_quantization(tensor: Tensor, metadata: ModelMetadata, verdict: str, says: str) -> None:
    facts = io_facts(model_of(tensor), metadata)
    assert facts["interfaces"][0]["inputs"][0]["normalization"]["verdict"] == verdict
    shown = rows(facts)
    assert says in (shown["normalize"] if verdict == "missing" else shown["agreement"])
    to_json(facts)


def test_floats_are_normalized_by_the_metadata() -> None:
    facts = io_facts(model_of(image(FLOAT32)), about((127.5,), (127.5,), stats=Stats(min=(-1,), max=(1,))))
    assert rows(facts)["feed"] == "float32: (pixel - 127.5) / 127.5, which gives [-1, 1]"
    assert rows(facts)["values"] == "from -1 to 1 by the metadata"
    assert "agreement" not in rows(facts)
    channels = about((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    assert rows(io_facts(model_of(image(FLOAT32)), channels))["normalize"].startswith("(pixel - [123.675, 116.28, 103.53]) / [58.395, ")


def test_numbers_that_are_not_finite_are_texts() -> None:
    facts = io_facts(model_of(image()), about((float("nan"),), (float("inf"),), stats=Stats(min=(float("-inf"),), max=())))
    json.loads(to_json(facts))
    assert rows(facts)["values"] == "from -Infinity to ? by the metadata"


def test_outputs_show_their_files_and_threshold() -> None:
    scores = Tensor(name="s", shape=(1, 3), type=UINT8, quantization=quantized(1 / 256, 0))
    described = TensorMetadata(
        associated_files=[AssociatedFile(name=b"labels.txt", type=AssociatedFileType.TENSOR_AXIS_LABELS)],
        process_units=[ProcessUnit(options=ScoreThresholdingOptions(global_score_threshold=0.5))],
    )
    metadata = ModelMetadata(name=b"m", subgraph_metadata=[SubGraphMetadata(output_tensor_metadata=[described])])
    shown = rows(io_facts(model_of(outputs=(scores,)), metadata), "output 0")
    assert shown["file"] == "labels.txt (TENSOR_AXIS_LABELS)"
    assert shown["threshold"].startswith("0.5")
    assert shown["read"] == "real = 0.00390625 * q: dequantize_output_0(codes)"


def test_another_number_of_inputs_is_a_problem() -> None:
    facts = io_facts(model_of(image(), image()), about())
    assert facts["problems"] == ["the metadata describes 1 input(s) of subgraph 0, which has 2"]
    assert facts["problems"][0] in text(facts)
    assert [entry["metadata"] is None for entry in facts["interfaces"][0]["inputs"]] == [False, True]


def test_hostile_texts_are_escaped() -> None:
    """Names from signatures, tensors and metadata, in every place that shows one."""
    nasty = b"[red]\x1b[31m\xe2\x80\xae\xff\n"
    tensor = image(FLOAT32)
    object.__setattr__(tensor, "name", nasty)
    described = TensorMetadata(name=nasty, description=nasty, associated_files=[AssociatedFile(name=nasty)])
    about_it = SubGraphMetadata(input_tensor_metadata=[described] * 2)
    metadata = ModelMetadata(
        name=nasty, description=nasty, version=nasty, author=nasty, license=nasty, associated_files=[AssociatedFile(name=nasty)],
        subgraph_metadata=[about_it],
    )  # fmt: skip
    model = model_of(tensor)
    model.signature_defs = [SignatureDef(signature_key=nasty, subgraph=model.subgraphs[0], inputs={nasty: tensor})]  # type: ignore[dict-item]
    shown = text(io_facts(model, metadata, nasty.decode("utf-8", "backslashreplace")))
    assert shown.count("[red]\\x1b[31m\\u202e\\xff\\x0a") >= 10
    assert not {"\x1b", "\u202e"} & set(shown)


# ---- signatures ----


def test_signatures_name_tensors_of_any_subgraph_and_share_code() -> None:
    shared, other = image(), image(INT8, 0.5, 3)
    result = Tensor(name="r", type=UINT8, shape=(2,), quantization=quantized(0.25, 9))
    first = SubGraph(tensors=[shared, result], inputs=[shared], outputs=[result])
    second = SubGraph(tensors=[other], inputs=[other], outputs=[other])
    model = Model(version=3, buffers=[Buffer()], subgraphs=[first, second])
    model.signature_defs = [
        SignatureDef(signature_key="a", subgraph=first, inputs={"x": shared}, outputs={"y": result}),
        SignatureDef(signature_key="b", subgraph=second, inputs={"x": other}, outputs={"y": other}),
        SignatureDef(signature_key="c", subgraph=first, inputs={"z": shared}, outputs={"lost": dangling("Tensor", 9)}),
    ]
    facts = io_facts(model)
    entries = [[entry["code"] and entry["code"]["function"] for entry in (*i["inputs"], *i["outputs"])] for i in facts["interfaces"]]
    assert entries == [
        ["quantize_input_0", "dequantize_output_0"], ["quantize_input_1", "dequantize_output_1"], ["quantize_input_0", None],
    ]  # fmt: skip
    assert code_text(facts, "numpy").count("def quantize_input_0(") == 1
    assert rows(facts, "signature 2, input 0")["signature"] == "c, as z"
    assert rows(facts, "signature 1, input 0")["tensor"] == "0 of subgraph 1, image"
    assert rows(facts, "signature 2, output 0")["tensor"] == "(no such tensor)"


def test_a_model_without_inputs_and_outputs_says_so() -> None:
    for model in (Model(), Model(subgraphs=[SubGraph()])):
        assert "no inputs and no outputs" in text(io_facts(model))


# ---- the command, and the summary ----


def stored(tmp_path: Any, data: bytes, tensor: Tensor) -> Any:
    model = model_of(tensor)
    tensor.buffer = model.buffers[0]
    model.metadata = [Metadata(name="TFLITE_METADATA", buffer=model.add_buffer(data))]
    path = tmp_path / "m.tflite"
    write(model, path)
    return path


def test_damaged_metadata_is_a_problem_and_no_error(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path, b"\xff" * 64, image())
    assert main(["io", str(path)]) == 0
    out = capsys.readouterr().out
    assert "TFLITE_METADATA: damaged at byte 4" in out
    assert "quantize_input_0" in out
    assert main(["summary", str(path), "--json"]) == 0
    assert "damaged at byte 4" in json.loads(capsys.readouterr().out)["metadata"][0]["problem"]


def test_the_command_reads_the_metadata(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path, pack_metadata(about()), image())
    assert main(["io", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["interfaces"][0]["inputs"][0]["metadata"]["normalization"] == {"mean": [0.0], "std": [255.0]}


def test_code_only_is_one_source_file(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path, pack_metadata(about()), image(INT8, 1 / 255, -128))
    assert main(["io", str(path), "--code", "numpy"]) == 0
    scope: dict[str, Any] = {}
    exec(capsys.readouterr().out, scope)
    pixels = np.arange(256, dtype=np.uint8)
    assert (scope["image_to_input_0"](pixels) == scope["quantize_input_0"](pixels / 255)).all()
    assert main(["io", str(path), "--code", "c"]) == 0
    assert capsys.readouterr().out.startswith("#include <math.h>\n")
    assert main(["io", str(path), "--code", "c", "--json"]) == 2


def test_code_of_a_float_model_is_empty_and_says_why(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path, pack_metadata(about()), image(FLOAT32))
    capsys.readouterr()
    assert main(["io", str(path), "--code", "numpy"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_the_summary_shows_the_normalization() -> None:
    facts = summary_facts(model_of(image()), about((127.5,), (127.5,)))
    assert facts["subgraphs"][0]["inputs"][0]["normalization"] == {"mean": [127.5], "std": [127.5]}
    shown = "".join(plain(line) for line in lay_out(summary_report(facts), None))
    assert "(pixel - 127.5) / 127.5" in shown
    assert "by the metadata" not in "".join(plain(line) for line in lay_out(summary_report(summary_facts(model_of(image()))), None))
