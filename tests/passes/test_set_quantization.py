"""`set-quantization`: parameters as stored, data encoded again or not, biases, tables of parameters, zero points of TensorFlow Lite Micro."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import convolution
from tests.conftest import VALID_PATHS
from tests.runtime import needs_runtime
from tflitekit._schema import TensorType
from tflitekit.errors import EditError, InputError, RefusedError
from tflitekit.graph import Model, QuantizationParameters, Tensor
from tflitekit.passes.options import parse_spec
from tflitekit.passes.parameters import encode_table, parse_scales, read_table, table


def quantization(model: Model, name: str) -> QuantizationParameters:
    found = model.subgraphs[0].tensor(name).quantization
    assert found is not None
    return found


def apply(model: Model, *tensors: str, **options: Any) -> Any:
    return tk.run(model, tk.passes.SetQuantization(tensor=tensors, **options))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1/256", 0.00390625), ("0x1p-7", 0.0078125), ("0.1", 0.10000000149011612), ("1e-3", 0.0010000000474974513), ("1/255", 0.003921568859368563),
        # halfway between two float32 but for digits that float64 drops: rounded once it goes up, through float64 it would go to the even one
        ("1.00000005960464477540", 1.0000001192092896), (" 2 ", 2.0),
    ],
)  # fmt: skip
def test_scales_are_rounded_once(text: str, value: float) -> None:
    assert parse_scales(text) == (value,)


@given(st.floats(min_value=float(np.float32(1e-30)), max_value=float(np.float32(1e30)), width=32))
def test_every_float32_scale_survives_every_notation(value: float) -> None:
    numerator, denominator = value.as_integer_ratio()
    for text in (repr(value), value.hex(), f"{numerator}/{denominator}", str(np.float32(value))):
        assert parse_scales(text) == (value,)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1/0", "x", "1,", "1e-60", "1e60", "1e999999999", "0x"])
def test_what_is_no_scale_is_refused(text: str) -> None:
    with pytest.raises(EditError):
        parse_scales(text)


def test_keeping_codes_changes_what_they_mean_and_nothing_else() -> None:
    model = convolution()
    result = apply(model, "x", scale="1/128", zero_point="-128", keep="codes")
    assert [change.path for change in result.changes] == [f"subgraphs[0].tensors[0].quantization.{name}" for name in ("scale", "zero_point")]
    q = quantization(result.model, "x")
    assert (q.scale.tolist(), q.zero_point.tolist()) == ([0.0078125], [-128])
    assert "0.0078125 (0x1.0000000000000p-7), zero point -128" in result.notes[0].text
    assert any("codes mean input scale x weight scale" in note.text and note.name == "b" for note in result.notes)


def test_keeping_real_values_encodes_data_and_bias_again() -> None:
    model = convolution()
    before = model.subgraphs[0].tensor("w").numpy() * np.float64([0.01, 0.02, 0.03]).reshape(3, 1, 1, 1)
    bias = model.subgraphs[0].tensor("b")
    assert bias.quantization is not None
    real_bias = bias.numpy() * bias.quantization.scale.astype(float)
    result = apply(model, "w", scale="0.02,0.02,0.02", keep="real")
    weights, bias = result.model.subgraphs[0].tensor("w"), result.model.subgraphs[0].tensor("b")
    assert np.abs(weights.numpy() * 0.02 - before).max() <= 0.01 + 1e-9
    assert result.notes[0].data["max_error"] == pytest.approx(np.abs(weights.numpy() * np.float64(np.float32(0.02)) - before).max(), abs=1e-7)
    assert bias.quantization is not None
    np.testing.assert_array_equal(bias.quantization.scale, np.float32(0.5) * np.float32([0.02] * 3))
    assert np.abs(bias.numpy() * bias.quantization.scale.astype(float) - real_bias).max() <= 0.005 + 1e-9
    assert tk.audit(result.model).findings == ()


def test_values_that_do_not_fit_are_clipped_and_counted() -> None:
    result = apply(convolution(), "w", scale="0.0001", keep="real")
    assert result.notes[0].data["clipped"] > 0
    assert "values clipped" in result.notes[0].text


def test_a_bias_that_overflows_is_refused() -> None:
    model = convolution()
    model.set_data(model.subgraphs[0].tensor("b"), np.int32([2**30, 0, 0]))
    with pytest.raises(RefusedError, match=r"bias 'b': .* does not fit in INT32"):
        apply(model, "x", scale="0.1", keep="real")


def test_twice_is_once() -> None:
    once = apply(convolution(), "x", "w", scale="0.25", zero_point="0", keep="real").model
    again = apply(once, "x", "w", scale="0.25", zero_point="0", keep="real")
    assert again.changes == () and {note.text for note in again.notes} == {"has these parameters already"}


def test_two_scales_may_go_along_another_axis() -> None:
    model = convolution()
    codes = QuantizationParameters(scale=[0.5, 0.25], zero_point=[0, 0])
    model.subgraphs[0].add_tensor(Tensor(name="m", shape=[2, 2], type=TensorType.INT8, quantization=codes))
    model.set_data(model.subgraphs[0].tensor("m"), np.int8([[1, 2], [4, 8]]))
    result = apply(model, "m", axis=1, keep="real")
    assert quantization(result.model, "m").quantized_dimension == 1
    assert result.model.subgraphs[0].tensor("m").numpy().tolist() == [[1, 4], [2, 8]]
    assert apply(model, "m", scale="1/2,1/4", axis=1, keep="codes").changes


def test_zero_points_shrink_for_microcontrollers_and_expand_again(tmp_path: Path) -> None:
    model = convolution()
    shrunk = apply(model, "w", zero_points="one", keep="codes").model
    assert quantization(shrunk, "w").zero_point.tolist() == [0]
    assert [f.code for f in tk.audit(shrunk).findings if f.severity == "error"] == ["Q001"]
    again = apply(shrunk, "w", zero_points="each", keep="codes").model
    assert tk.diff(model, again) == []
    if runtime.available():
        assert [runtime.run(tk.serialize(m)).ok for m in (model, shrunk, again)] == [True, False, True]
    quantization(model, "w").zero_point = [0, 1, 0]
    with pytest.raises(EditError, match="zero points differ"):
        apply(model, "w", zero_points="one", keep="codes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "0.1,0.2", "keep": "codes"}, "2 scales, expected one or 3 along axis 0"),
        ({"axis": 4, "keep": "codes"}, "axis 4, expected 0 to 3"),
        ({"zero_point": "128", "keep": "codes"}, "zero point 128 is no code of INT8"),
        ({"zero_point": "1,2", "keep": "codes"}, "2 zero points for 3 scales"),
        ({"axis": 3, "keep": "codes"}, "3 scales, expected one or 2 along axis 3"),
        ({"scale": "0.1"}, "--keep is missing"),
        ({"keep": "real"}, "give --scale"),
        ({"zero_point": "x", "keep": "real"}, "expected integers"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_in_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EditError, match=message):
        apply(convolution(), "w", **options)


def test_tensors_are_named_in_three_ways() -> None:
    for name in ("x", "0:0", "[x]"):
        assert len(apply(convolution(), name, scale="2", keep="codes").changes) == 1
    for name in ("weigths", "\u00b2:0"):
        with pytest.raises(EditError, match=f"no tensor is named '{name}'"):
            apply(convolution(), name, scale="2", keep="codes")


def test_floats_and_details_are_refused() -> None:
    model = convolution()
    model.subgraphs[0].add_tensor(Tensor(name="f", shape=[1]))
    with pytest.raises(RefusedError, match="'f' is FLOAT32: real values"):
        apply(model, "f", scale="1", keep="real")


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_table_of_parameters_goes_out_and_comes_back(tmp_path: Path, suffix: str) -> None:
    model = convolution()
    path = tmp_path / f"table{suffix}"
    path.write_bytes(encode_table(table(model, model.tensors()), suffix))
    rows = read_table(str(path))
    assert [row["name"] for row in rows] == ["x", "w", "b", "c", "y"]
    assert tk.run(model, tk.passes.SetQuantization(from_=rows, keep="codes")).changes == ()
    assert np.float32(rows[1]["scale"]).tobytes() == quantization(model, "w").scale.tobytes()


def test_an_edited_table_is_applied(tmp_path: Path) -> None:
    model, path = convolution(), tmp_path / "t.json"
    path.write_bytes(encode_table(table(model, model.tensors()), ".json"))
    found = json.loads(path.read_text())
    found["tensors"] = [{"name": "x", "scale": "1/64"}, {"subgraph": 0, "index": 3, "name": "c", "scale": [0.5], "zero_point": [7]}]
    path.write_text(json.dumps(found))
    made = tk.run(model, tk.passes.SetQuantization(from_=read_table(str(path)), keep="codes")).model
    assert (quantization(made, "x").scale.tolist(), quantization(made, "x").zero_point.tolist()) == ([1 / 64], [3])
    assert (quantization(made, "c").scale.tolist(), quantization(made, "c").zero_point.tolist()) == ([0.5], [7])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a table"), ("[1]", "not a table"), ('{"tensors": 3}', "not a table"), ('[{"index": 99}]', "has no tensor 99"),
        ('[{"index": 0, "name": "w"}]', "is 'x', the table says 'w'"), ('[{"name": "x", "scale": [0]}]', "not a positive"),
        ('[{"name": "x", "scale": ["a"]}]', "expected a number"), ('[{"name": "x", "zero_point": ["a"]}]', "invalid literal"),
        ('[{"name": "x", "zero_point": [1.5]}]', "expected an integer, got 1.5"), ('[{"name": "x", "axis": 1e999}]', "expected an integer, got inf"),
        ('[{"index": -1}]', "has no tensor -1"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_refused_in_words(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(InputError if message == "not a table" else EditError, match=message):
        tk.run(convolution(), tk.passes.SetQuantization(from_=read_table(str(path)), keep="codes"))


@needs_runtime
def test_real_values_stay_in_the_runtime() -> None:
    """Weights on a grid twice as fine, which holds every value exactly: outputs do not change by a bit."""
    model = convolution()
    codes = model.subgraphs[0].tensor("w").numpy()
    assert np.abs(codes).max() <= 63
    scales = ",".join(float(np.float32(s) / np.float32(2)).hex() for s in (0.01, 0.02, 0.03))
    made = apply(model, "w", scale=scales, keep="real").model
    np.testing.assert_array_equal(made.subgraphs[0].tensor("w").numpy(), codes * 2)
    before, after = (runtime.run(tk.serialize(m), runtime.REFERENCE) for m in (model, made))
    assert before.ok and before.outputs == after.outputs


@pytest.mark.usefixtures("models")
def test_every_real_model_takes_it_or_says_why_not() -> None:
    """Real values stay: the second run changes nothing, only declared fields change, and what is written reads back."""
    ran = 0
    for path in VALID_PATHS:
        model = tk.read(path)
        tensors = [t for g in model.subgraphs for t in g.tensors if t.quantization is not None and len(t.quantization.scale) == 1 and t.is_constant]
        if not tensors or path.stat().st_size > 1_500_000:
            continue
        place = f"{model.subgraphs.index(tensors[0].subgraph)}:{tensors[0].subgraph.tensors.index(tensors[0])}"  # type: ignore[union-attr, arg-type]
        scale = float(tensors[0].quantization.scale[0]) * 1.5  # type: ignore[union-attr]
        try:
            result = apply(model, place, scale=repr(scale), keep="real")
            assert apply(result.model, place, scale=repr(scale), keep="real").changes == (), path.name
            assert tk.diff(tk.parse(tk.serialize(result.model)), result.model) == [], path.name
            ran += 1
        except (RefusedError, tk.LossyWriteError):
            continue
    assert ran > 15


def both_scaled(model: Model, keep: str) -> Model:
    rows = table(model, model.tensors())
    for row, factor in zip(rows, (0.5, 1, 0.5, 1, 1), strict=True):
        row["scale"] = [scale * factor for scale in row["scale"]]
    return tk.run(model, tk.passes.SetQuantization(from_=tuple(rows), keep=keep)).model


def test_a_bias_is_encoded_once_where_a_table_scales_its_factors_too() -> None:
    model = convolution()
    made = both_scaled(model, "real")
    np.testing.assert_array_equal(made.subgraphs[0].tensor("b").numpy(), model.subgraphs[0].tensor("b").numpy() * 2)
    assert quantization(made, "b").scale.tolist() == (quantization(model, "b").scale * np.float32(0.5)).tolist()
    assert both_scaled(made, "codes").subgraphs[0].tensor("b").numpy().tolist() == made.subgraphs[0].tensor("b").numpy().tolist()


def test_another_scale_of_a_bias_is_told_what_kernels_make_of_it() -> None:
    result = apply(convolution(), "b", scale="0.5", keep="real")
    assert "kernels take its codes for input scale x weight scale, whatever its own scale is" in [note.text for note in result.notes]


@pytest.mark.parametrize(
    "broken", [{"zero_point": np.array([1, 2])}, {"scale": np.float32([1, 2])}, {"scale": np.float32([np.nan] * 3)}, {"quantized_dimension": 9}]
)  # fmt: skip
def test_codes_without_real_values_are_refused(broken: dict[str, Any]) -> None:
    model = convolution()
    for name, value in broken.items():
        object.__setattr__(quantization(model, "w"), name, value)  # as a file may have it
    options = {"scale": "0.1,0.1,0.1", "axis": 0, "zero_point": "0"}
    with pytest.raises(RefusedError, match="give its codes no real values"):
        apply(model, "w", keep="real", **options)
    made = apply(model, "w", keep="codes", **options).model
    assert quantization(made, "w").scale.tolist() == [float(np.float32(0.1))] * 3


def test_an_axis_outside_the_shape_is_no_obstacle_where_one_scale_is_stored() -> None:
    model = convolution()
    quantization(model, "x").quantized_dimension = 9
    assert quantization(apply(model, "x", scale="1", keep="codes").model, "x").scale.tolist() == [1]


def test_one_zero_point_for_all_stays_one() -> None:
    shrunk = apply(convolution(), "w", zero_points="one", keep="codes").model
    made = apply(shrunk, "w", scale="0.1,0.1,0.1", keep="codes").model
    assert quantization(made, "w").zero_point.tolist() == [0]
    per_channel = apply(apply(shrunk, "w", scale="0.1", keep="codes").model, "w", scale="0.1,0.1,0.1", keep="codes").model
    assert quantization(per_channel, "w").zero_point.tolist() == [0, 0, 0]


def test_the_highest_code_of_wide_types_is_stored() -> None:
    model = convolution()
    wide = QuantizationParameters(scale=[1], zero_point=[0])
    model.subgraphs[0].add_tensor(Tensor(name="wide", shape=[2], type=TensorType.INT64, quantization=wide))
    model.set_data(model.subgraphs[0].tensor("wide"), np.array([1, -1]))
    result = apply(model, "wide", scale="1e-30", keep="real")
    assert result.model.subgraphs[0].tensor("wide").numpy().tolist() == [2**63 - 1024, -(2**63)]
    assert result.notes[0].data["clipped"] == 2
    unsigned = model.subgraphs[0].add_tensor(Tensor(name="u", shape=[1], type=TensorType.UINT64))
    with pytest.raises(EditError, match="is no code of UINT64"):
        apply(model, unsigned.name_str, scale="1", zero_point=str(2**63), keep="codes")


def test_stored_ranges_follow_the_codes_or_go() -> None:
    model = convolution()
    q = quantization(model, "x")
    q.min, q.max = [-65.5], [62]
    kept = quantization(apply(model, "x", scale="0.25", zero_point="5", keep="codes").model, "x")
    assert (kept.min.tolist(), kept.max.tolist()) == ([-33.25], [30.5])
    assert quantization(apply(model, "x", scale="0.25", keep="real").model, "x").min.tolist() == [-65.5]
    object.__setattr__(q, "scale", np.float32([0]))  # as a file may have it
    gone = quantization(apply(model, "x", scale="0.25", keep="codes").model, "x")
    assert (len(gone.min), len(gone.max)) == (0, 0)


def test_a_table_of_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(encode_table(table(convolution(), convolution().tensors()), ".json"))
    one = tk.passes.SetQuantization(from_=read_table(str(path)), keep="codes")
    assert one.describe() == f"set-quantization{{keep=codes,from={path}}}"
    assert parse_spec(one.describe()) == one


def test_constants_are_encoded_around_their_new_zero_point() -> None:
    model = convolution()
    codes = QuantizationParameters(scale=[0.5], zero_point=[3])
    model.subgraphs[0].add_tensor(Tensor(name="k", shape=[3], type=TensorType.INT8, quantization=codes))
    model.set_data(model.subgraphs[0].tensor("k"), np.int8([3, 5, -7]))  # 0, 1, -5
    result = apply(model, "k", scale="0.25", zero_point="-10", keep="real")
    assert result.model.subgraphs[0].tensor("k").numpy().tolist() == [-10, -6, -30]
    assert result.notes[0].data["max_error"] == 0


def test_a_table_keeps_one_zero_point_for_all() -> None:
    shrunk = apply(convolution(), "w", zero_points="one", keep="codes").model
    rows = table(shrunk, [shrunk.subgraphs[0].tensor("w")])
    rows[0]["scale"] = [0.5, 0.5, 0.5]
    made = tk.run(shrunk, tk.passes.SetQuantization(from_=tuple(rows), keep="codes")).model
    assert (quantization(made, "w").scale.tolist(), quantization(made, "w").zero_point.tolist()) == ([0.5] * 3, [0])
