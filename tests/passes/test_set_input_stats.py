"""`set-input-stats`: the question it was made for, its options, how inputs are named, and what it says in the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import convolution
from tests.conftest import REPOSITORY
from tests.passes.input_stats import MEAN, STD, float_model, reinterpret, run, stored, two_inputs
from tests.runtime import needs_runtime
from tflitekit._metadata_schema import (
    Content,
    ImageProperties,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    Stats,
    SubGraphMetadata,
    TensorMetadata,
)
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.cli.main import main
from tflitekit.graph import Metadata, Model
from tflitekit.passes.options import parse_spec

EXAMPLE = REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite"


def test_the_founding_question() -> None:
    """A placeholder's claim of (0, 255) for images that were normalized by (127.5, 127.5)."""
    model = tk.read(EXAMPLE)
    result = run(model, mode="reinterpret", mean=127.5, std=127.5)
    assert stored(result.model, "input_1_1") == (float(np.float32(1 / 127.5)), 128)
    assert any("Residual: every real value is off by -0.5 codes" in note.text for note in result.notes)
    assert result.writer == "patch"
    conv = next(o for o in model.subgraphs[0].operators if o.op_name == "CONV_2D")
    assert conv.inputs[2] is not None
    name = conv.inputs[2].name_str
    old, new = (m.subgraphs[0].tensor(name) for m in (model, result.model))
    assert old.quantization is not None
    assert new.quantization is not None
    np.testing.assert_allclose(new.quantization.scale, 2 * old.quantization.scale, rtol=1e-6)
    real = [t.numpy() * t.quantization.scale.astype(float) for t in (old, new) if t.quantization is not None]
    assert np.abs(real[0] - real[1]).max() <= 0.5001 * new.quantization.scale.max()
    assert run(result.model, mode="reinterpret", mean=127.5, std=127.5).changes == ()


@needs_runtime
def test_the_founding_question_in_the_runtime() -> None:
    """Images from 0 to 1 have codes in both; the first convolution makes the same of them, which it does not where the scale alone is edited.

    Its output, whose placeholder range takes up 5 codes, is seen through a scale 32 times finer.
    """
    model = tk.read(EXAMPLE)
    new = run(model, mode="reinterpret", mean=127.5, std=127.5).model
    naive = tk.run(model, tk.passes.SetQuantization(tensor=("input_1_1",), scale="2/255", zero_point="128", keep="codes")).model
    conv = model.subgraphs[0].operators[0].outputs[0]
    assert conv is not None
    finer = tk.passes.SetQuantization(tensor=(conv.name_str,), scale=(stored(model, conv.name_str)[0] / 32).hex(), keep="codes")
    at = model.subgraphs[0].tensors.index(conv)
    k = np.random.default_rng(5).integers(0, 128, (1, 128, 128, 3))
    made = []
    for one, codes in ((model, 2 * k), (new, 128 + k), (naive, 128 + k)):
        job = runtime.Job(tk.serialize(tk.run(one, finer).model), runtime.NO_DELEGATES, frames=[{0: codes.astype(np.uint8)}], tensors=((0, at),))
        outcome = runtime.pool().run([job])[0]
        assert outcome.ok
        made.append(np.frombuffer(outcome.outputs[-1][2], np.uint8).astype(int))
    assert len(set(made[0].tolist())) > 20
    assert np.abs(made[0] - made[1]).max() <= 1
    assert np.abs(made[0] - made[2]).max() > 1


def test_the_command_prints_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.tflite"
    assert main(["set-input-stats", str(EXAMPLE), "--mode", "reinterpret", "--mean", "127.5", "--std", "127.5", "-o", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "0.007843137718737125" in printed
    assert "Residual" in printed
    assert stored(tk.read(target), "input_1_1") == (float(np.float32(1 / 127.5)), 128)


# ---- options ----


def test_options_that_do_not_go_together_are_refused() -> None:
    for options, message in (
        ({"mean": 1.0, "std": 1.0}, "--mode is missing: `reinterpret`"), ({"mode": "reinterpret"}, "give one pair: --mean and --std, or --min"),
        ({"mode": "reinterpret", "mean": 1.0}, "give one pair"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 1.0, "min": 0.0, "max": 1.0}, "one pair"),
        ({"mode": "reinterpret", "mean": (1.0, 2.0), "std": 1.0}, "one scale for all channels"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 1.0, "exact": True}, "--exact and --fold go with --mode feed-raw"),
        ({"mode": "feed-raw", "min": 0.0, "max": 1.0, "fold": True}, "--exact and --fold go with"),
        ({"metadata_only": True, "mode": "feed-raw", "mean": 1.0, "std": 1.0}, "--metadata-only goes without --mode"),
        ({"metadata_only": True, "min": 0.0, "max": 1.0}, "--metadata-only takes --mean and --std"),
        ({"mode": "reinterpret", "mean": 1.0, "std": 0.0}, "a std must be above zero"),
    ):  # fmt: skip
        with pytest.raises(tk.EditError, match=message):
            tk.passes.SetInputStats(**options)


@pytest.mark.parametrize("text", ["mode=reinterpret,mean=127.5,std=255/2", "mode=feed-raw,mean='1,2,3',std=0x1p3,exact"])
def test_options_survive_the_text_of_a_pass(text: str) -> None:
    one = parse_spec(f"set-input-stats{{{text}}}")
    assert parse_spec(one.describe()) == one


@pytest.mark.parametrize("text", ["x", "1/0", "nan", "1e999", "1,,2"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(tk.EditError, match=r"is no number|is not finite"):
        parse_spec(f"set-input-stats{{mode=feed-raw,mean='{text}',std=1}}")


@pytest.mark.parametrize("name", ["z", "second", "s:second", "1", "0:1"])
def test_inputs_have_several_names(name: str) -> None:
    model = two_inputs()
    with pytest.raises(tk.EditError, match=r"which input.*'x' \(0:0\), 'z' \(0:1\)"):
        reinterpret(model)
    g = model.subgraphs[0]
    model.signature_defs.append(tk.SignatureDef(signature_key="s", subgraph=g, inputs={"second": g.tensors[1]}))
    assert stored(reinterpret(model, 0.5, 0, input=name).model, "z") == (0.5, 0)
    with pytest.raises(tk.EditError, match=r"no input is named 'secnd'; did you mean 'second'"):
        reinterpret(model, input="secnd")


def test_inputs_that_have_no_parameters_are_refused_with_a_way_out() -> None:
    builder = ModelBuilder()
    g = builder.subgraph("main")
    g.output(g.apply("RELU", [g.input("x", [1, 4], "FLOAT32")], TensorSpec("y", [1, 4], "FLOAT32")))
    with pytest.raises(tk.RefusedError, match=r"no input of this model is quantized.*'x' \(FLOAT32\)"):
        reinterpret(builder.build())
    with pytest.raises(tk.RefusedError, match=r"`--mode feed-raw` makes an input of raw bytes"):
        reinterpret(builder.build(), input="x")
    with pytest.raises(tk.EditError, match="the input holds INT8 codes"):
        reinterpret(convolution(), dtype="int16", zero_point=0)


# ---- metadata ----


def described(model: Model, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (255.0,)) -> Model:
    units = [ProcessUnit(options=NormalizationOptions(mean=mean, std=std))]
    content, stats = Content(content_properties=ImageProperties()), Stats(max=(1.0,), min=(-1.0,))
    about = SubGraphMetadata(input_tensor_metadata=[TensorMetadata(name=b"image", content=content, process_units=units, stats=stats)])
    tk.write_metadata(model, ModelMetadata(name=b"m", subgraph_metadata=[about], min_parser_version=b"1.3.0"))
    return model


def stated(model: Model) -> tuple[Any, ...]:
    metadata = tk.read_metadata(model)
    assert metadata is not None
    about = metadata.subgraph_metadata[0].input_tensor_metadata[0]
    options = next(unit.options for unit in about.process_units if isinstance(unit.options, NormalizationOptions))
    stats = about.stats
    return options.mean, options.std, () if stats is None else stats.min, () if stats is None else stats.max


def test_normalization_and_quantization_go_together() -> None:
    """A byte that is normalized and then quantized with the input's parameters gives the code of that byte."""
    cases: list[tuple[Model, dict[str, Any], tuple[Any, ...]]] = [
        (convolution(), {"mode": "reinterpret", "mean": -0.5, "std": 127.5}, ((127.5,), (127.5,), (-1,), (1,))),
        (convolution("UINT8"), {"mode": "reinterpret", "mean": 127.5, "std": 127.5}, ((127.5,), (127.5,), (-1,), (1,))),
        (float_model(), {"mode": "feed-raw", "mean": 127.5, "std": 127.5}, ((127.5,), (127.5,), (0,), (255,))),
        (float_model(), {"mode": "feed-raw", "mean": -0.5, "std": 127.5, "dtype": "int8"}, ((127.5,), (127.5,), (-128,), (127,))),
        (float_model(), {"mode": "feed-raw", "mean": 127.5, "std": 127.5, "exact": True}, ((0,), (1,), (0,), (255,))),
        (float_model(), {"mode": "feed-raw", "mean": MEAN, "std": STD, "fold": True}, ((0,), (1,), (0,), (255,))),
    ]
    for model, options, expected in cases:
        made = run(described(model), **options).model
        assert stated(made) == expected, options
        metadata = tk.read_metadata(made)
        assert metadata is not None
        assert (metadata.name, metadata.min_parser_version) == (b"m", b"1.3.0")
        facts = [f.code for f in tk.audit(made).findings if f.code.startswith("Q90")]
        assert facts == [], options


def test_nothing_is_stated_where_nothing_was() -> None:
    model = convolution()
    tk.write_metadata(model, ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[TensorMetadata(name=b"x")])]))
    before = tk.serialize(model)
    made = reinterpret(tk.parse(before)).model
    metadata = tk.read_metadata(made)
    assert metadata is not None
    assert metadata.subgraph_metadata[0].input_tensor_metadata[0].process_units == []


def test_damaged_metadata_is_left() -> None:
    model = convolution()
    model.metadata.append(Metadata(name=b"TFLITE_METADATA", buffer=model.add_buffer(bytes(64))))
    result = reinterpret(model)
    assert any("the metadata is left as it is" in note.text for note in result.notes)
    assert bytes(result.model.metadata[0].buffer.data or b"") == bytes(64)  # type: ignore[union-attr]


def test_normalization_can_be_set_alone() -> None:
    made = run(float_model(), metadata_only=True, mean=MEAN, std=STD)
    assert {change.path.partition("[")[0] for change in made.changes} == {"metadata", "buffers"}
    assert stated(made.model)[0] == pytest.approx(MEAN)
    assert run(made.model, metadata_only=True, mean=MEAN, std=STD).changes == ()
    again = run(made.model, metadata_only=True, mean=1, std=2)
    assert stated(again.model)[:2] == ((1.0,), (2.0,))
    with pytest.raises(tk.RefusedError, match="it is for 2 channels, the tensor has 3"):
        run(float_model(), metadata_only=True, mean=(1, 2), std=(1, 2))
