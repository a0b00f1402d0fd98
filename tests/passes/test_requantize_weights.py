"""`requantize-weights` on small models: what is asked for, what is legal, what is written, what it costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import convolution
from tests.passes.weight_models import dense, errors, floats, halved, single, weights
from tests.quant.deviations import constant_output
from tests.runtime import needs_runtime
from tflitekit import _crew
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.errors import EditError, InputError
from tflitekit.graph import Deferred, Model, Tensor
from tflitekit.passes import RequantizeWeights
from tflitekit.passes.options import parse_spec
from tflitekit.passes.weights import encode, engine
from tflitekit.passes.weights.choices import Choice, parse_choice, parse_choices, read_recipe
from tflitekit.quant import kernels


def real(tensor: Tensor) -> np.ndarray:
    return encode.stored(tensor).real().reshape(tensor.shape)


# ---- what is asked for ----


def test_choices_are_words_in_any_order() -> None:
    base = Choice(range="mse")
    assert parse_choice("int4/blockwise-32", base) == Choice("int4", "blockwise-32", range="mse")
    assert parse_choice("explicit/int8/asymmetric/per-tensor/half-even", base) == Choice("int8", "per-tensor", "explicit", "mse", "half-even", True)
    assert str(Choice("int4", "blockwise-64", range="mse", asymmetric=True)) == "int4/blockwise-64/mse/asymmetric"
    for text, message in (("int5", "int5"), ("int8/int4", "second to"), ("mse", "no type"), ("", "no type")):
        with pytest.raises(EditError, match=message):
            parse_choice(text, Choice())


def test_options_that_make_no_sense_are_refused() -> None:
    for options, message in (({}, "--to is missing"), ({"to": "int16"}, "to: expected"), ({"to": "int8", "granularity": "x"}, "granularity")):
        with pytest.raises(EditError, match=message):
            RequantizeWeights(**options)
    with pytest.raises(EditError, match="--try CHOICES only compares"):
        parse_spec("requantize-weights{to=int8,try=int4}")
    with pytest.raises(EditError, match="no tensor is named"):
        tk.run(dense(), RequantizeWeights(to="int8", tensor=("missing",)))
    with pytest.raises(EditError, match="no weights of an operator"):
        tk.run(dense(), RequantizeWeights(to="int8", tensor=("x",)))
    one = parse_spec("requantize-weights{to=int4, min-elements=64k, min-sqnr=20.5, tensor=a*, tensor=b}")
    assert one == RequantizeWeights(to="int4", min_elements=65536, min_sqnr=20.5, tensor=("a*", "b"))


def two_layers() -> Model:
    """CONV_2D, RESHAPE, FULLY_CONNECTED with float weights "conv" and "dense"."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4, 4, 2])
    conv = main.constant("conv", floats(4, 3, 3, 2))
    y = main.apply("CONV_2D", [x, conv, None], TensorSpec("c", [1, 4, 4, 4]), padding="SAME", stride_w=1, stride_h=1)
    flat = main.apply("RESHAPE", [y, main.constant("shape", np.array([1, 64], np.int32))], TensorSpec("flat", [1, 64]))
    main.output(main.apply("FULLY_CONNECTED", [flat, main.constant("dense", floats(10, 64)), None], TensorSpec("y", [1, 10])))
    return builder.build()


def test_weights_are_selected_by_name_operator_and_size() -> None:
    for options, changed in (
        ({}, {"conv", "dense"}), ({"tensor": ("d*",)}, {"dense"}), ({"operator": ("conv_2d",)}, {"conv"}), ({"min_elements": 100}, {"dense"}),
    ):  # fmt: skip
        result = tk.run(two_layers(), RequantizeWeights(to="int8", **options))
        assert {note.name for note in result.notes if note.kind == "changed"} == changed
        assert {t.name_str for t in result.model.tensors() if t.type.name == "INT8"} == changed


def test_a_recipe_says_what_is_different(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[weights]]\noperator = "FULLY_CONNECTED"\nto = "int4"\ngranularity = "blockwise-32"\n[[weights]]\ntensor = ["con*"]\nkeep = true\n'
    )
    result = tk.run(two_layers(), RequantizeWeights(to="int8", recipe=read_recipe(str(recipe))))
    assert weights(result.model, "conv").type.name == "FLOAT32"
    assert (weights(result.model, "dense").type.name, weights(result.model, "dense").quantization.kind) == ("INT4", "blockwise")
    assert tk.run(two_layers(), RequantizeWeights(recipe=read_recipe(str(recipe)))).changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("to = 1", "expected tables"), ("[[weights]]\nfoo = 1", "entry 1: unknown key 'foo'"), ("[[weights]]\nto = 'int9'", "expected one of"),
        ("[[weights]]\nmin_sqnr = 'x'", "must be a number"), ("[[weights]]\ntensor = 3", "list of texts"), ("[[weights]", "not a TOML document"),
        ("[[weights]]\nkeep = 'no'", "true or false"), ("[[weights]]\nrange = 3", "must be a text"), ("weights = 3", "expected tables"),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_meant(tmp_path: Path, text: str, message: str) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    with pytest.raises(InputError if message == "not a TOML document" else EditError, match=message):
        read_recipe(str(recipe))
    with pytest.raises(InputError, match="No such file"):
        read_recipe(str(tmp_path / "missing.toml"))


# ---- what is written ----


@pytest.mark.parametrize(("to", "high"), [("int8", 127), ("int4", 7), ("int2", 1)])
def test_codes_and_scales(to: str, high: int) -> None:
    model = dense()
    values = weights(model).numpy()
    result = tk.run(model, RequantizeWeights(to=to))
    tensor = weights(result.model)
    scale = (np.abs(values).max(axis=1) / np.float32(high)).astype(np.float32)
    assert (tensor.type.name, tensor.quantization.quantized_dimension) == (to.upper(), 0)
    assert tensor.quantization.scale.tobytes() == scale.tobytes() and not tensor.quantization.zero_point.any()
    scaled = (values / scale[:, None]).astype(np.float64)
    assert np.array_equal(tensor.numpy().astype(int), np.sign(scaled) * np.floor(np.abs(scaled) + 0.5))
    assert weights(model).type.name == "FLOAT32"
    note = next(note for note in result.notes if note.name == "w")
    error = real(tensor).astype(np.float64) - values
    assert note.data["max_error"] == pytest.approx(np.abs(error).max())
    assert note.data["rms"] == pytest.approx(math.sqrt(np.square(error).mean()), rel=1e-5)
    assert note.data["sqnr"] == pytest.approx(10 * math.log10(np.square(values, dtype=np.float64).sum() / np.square(error).sum()), rel=1e-5)
    assert (note.data["clipped"], note.data["levels"]) == (0, len(np.unique(tensor.numpy().astype(int))))
    assert (note.data["bytes_before"], note.data["bytes_after"]) == (values.nbytes, len(tensor.buffer.data))
    channels = 10 * np.log10(np.square(values, dtype=np.float64).sum(axis=1) / np.square(error).sum(axis=1))
    assert [entry[0] for entry in note.data["worst"]] == np.argsort(channels)[:3].tolist()
    assert result.notes[-1].data["total"] and result.notes[-1].data["noise"] == pytest.approx(note.data["noise"])


def test_an_explicit_form_has_a_dequantize_and_goes_back_without_trace() -> None:
    model = dense()
    result = tk.run(model, RequantizeWeights(to="int8", form="explicit"))
    operators = result.model.subgraphs[0].operators
    assert [o.op_name for o in operators] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert operators[0].inputs == [weights(result.model)] and operators[1].inputs[1] is operators[0].outputs[0]
    hybrid = tk.run(result.model, RequantizeWeights(to="int8", form="hybrid"))
    assert [o.op_name for o in hybrid.model.subgraphs[0].operators] == ["FULLY_CONNECTED"]
    assert weights(hybrid.model).numpy().tobytes() == weights(result.model).numpy().tobytes()
    back = tk.run(result.model, RequantizeWeights(to="float32"))
    assert [o.op_name for o in back.model.subgraphs[0].operators] == ["FULLY_CONNECTED"]
    assert len(back.model.subgraphs[0].tensors) == len(model.subgraphs[0].tensors)
    scale = weights(result.model).quantization.scale
    assert (np.abs(weights(back.model).numpy() - weights(model).numpy()) <= scale[:, None] * np.float32(0.50001)).all()


def test_float16_to_float32_is_exact_and_float16_needs_a_dequantize() -> None:
    half = tk.run(dense(), RequantizeWeights(to="float16"))
    assert [o.op_name for o in half.model.subgraphs[0].operators] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert half.model.subgraphs[0].operators[0].opcode.version == 3
    back = tk.run(half.model, RequantizeWeights(to="float32"))
    assert np.array_equal(weights(back.model).numpy(), weights(half.model).numpy().astype(np.float32))
    assert next(note for note in back.notes if note.name == "w").data["sqnr"] is None
    refused = tk.run(dense(), RequantizeWeights(to="float16", form="hybrid"))
    assert not refused.changes and "DEQUANTIZE" in refused.refused[0].text


def test_float16_biases_are_never_codes_and_are_float32_beside_hybrid_weights() -> None:
    """They come through DEQUANTIZE as the weights do, but a bias in 8 bits costs more than all of the weights."""
    for spec, expected in (("to=int8", "FLOAT32"), ("to=int8,tensor=w", "FLOAT32"), ("to=int8,form=explicit", "FLOAT16")):
        before = halved(dense())
        result = tk.run(before, parse_spec(f"requantize-weights{{{spec}}}"))
        assert weights(result.model).type.name == "INT8"
        bias = weights(result.model, "b")
        assert bias.type.name == expected and np.array_equal(bias.numpy(), weights(before, "b").numpy())
        assert [note.name for note in result.refused] == (["b"] if expected == "FLOAT16" else [])
    kept = tk.run(halved(dense()), RequantizeWeights(to="int4", min_sqnr=99.0))
    assert not kept.changes and weights(kept.model, "b").type.name == "FLOAT16"
    tried = tk.run(halved(dense()), RequantizeWeights(try_="int8,int8/explicit"))
    assert [note.name for note in tried.notes if "sqnr" in note.data and note.name] == ["w", "b", "w"]


@needs_runtime
@pytest.mark.parametrize("to", ["int8", "float16", "int4", "float32"])
@pytest.mark.parametrize("source", ["float32", "float16", "uint8", "int4"])
def test_constants_that_are_outputs_become_nothing_that_xnnpack_does_not_write(source: str, to: str) -> None:
    """They are stored in a type in which they come out, or stay as they are with the reason."""
    model = constant_output(source.upper(), "FULLY_CONNECTED")
    result = tk.run(model, RequantizeWeights(to=to, form="explicit" if to.startswith("int") else "auto"))
    if source != "float32":
        assert ("which XNNPACK does not write" in "".join(note.text for note in result.refused)) == (to in ("int8", "float16"))
    if source != "float16" or to in ("int4", "float32"):
        assert "Q807" not in [f.code for f in tk.audit(result.model).findings]
        mine, right = (runtime.run(tk.serialize(result.model), resolver) for resolver in (runtime.DEFAULT, runtime.NO_DELEGATES))
        assert mine.ok and mine.outputs[0] == right.outputs[0]


def test_metadata_follow_operators_that_go_and_versions_that_rise() -> None:
    model = halved(dense())
    for name, data in (("model_control_dependencies", b"stale"), ("min_runtime_version", b"1.5.0".ljust(16, b"\0"))):
        model.metadata.append(tk.Metadata(name=name, buffer=model.add_buffer(data)))
    result = tk.run(model, RequantizeWeights(to="int8"))
    (entry,) = result.model.metadata
    assert any("FULLY_CONNECTED: version 1 raised" in note.text for note in result.notes)
    assert entry.name == b"min_runtime_version" and "Q703" not in {finding.code for finding in tk.audit(result.model).findings}
    assert {note.path for note in result.notes if "metadata" in note.path} == {"metadata"}
    assert len(tk.run(model, RequantizeWeights(to="int8", tensor=("b",))).model.metadata) == 2


@pytest.mark.parametrize("block", [32, 64])
def test_block_scales_are_a_tensor_and_go_with_the_blocks(block: int) -> None:
    result = tk.run(dense(), RequantizeWeights(to="int4", granularity=f"blockwise-{block}"))
    details = weights(result.model).quantization.details
    assert (details.block_size, details.scales.type.name, details.scales.shape) == (block, "FLOAT16", (8, 64 // block))
    note = next(note for note in result.notes if note.name == "w")
    assert note.data["runtimes"] == ["builtin optimized", "XNNPACK"] and "right only in" in note.text
    assert note.data["bytes_after"] == 8 * 64 // 2 + 2 * 8 * 64 // block
    back = tk.run(result.model, RequantizeWeights(to="float32"))
    assert not [t for t in back.model.tensors() if t.type.name == "FLOAT16"]


def test_codes_that_need_not_change_stay() -> None:
    four = tk.run(dense(), RequantizeWeights(to="int4")).model
    eight = tk.run(four, RequantizeWeights(to="int8"))
    assert np.array_equal(real(weights(eight.model)), real(weights(four)))
    again = tk.run(eight.model, RequantizeWeights(to="int4"))
    assert weights(again.model).numpy().tobytes() == weights(four).numpy().tobytes()
    one = tk.run(dense(), RequantizeWeights(to="int8", granularity="per-tensor")).model
    many = tk.run(one, RequantizeWeights(to="int8", granularity="per-channel"))
    assert len(weights(many.model).quantization.scale) == 8 and np.array_equal(real(weights(many.model)), real(weights(one)))
    assert not tk.run(one, RequantizeWeights(to="int8")).changes


@pytest.mark.parametrize(("type_", "lowest"), [("int8", -128), ("int4", -8)])
def test_weights_that_pass_through_floats_leave_the_lowest_code(type_: str, lowest: int) -> None:
    model = tk.run(dense(), RequantizeWeights(to=type_)).model
    weights = model.subgraphs[0].operators[0].inputs[1]
    assert weights is not None
    codes = weights.numpy().copy()
    codes[0, 0] = lowest
    model.set_data(weights, codes)
    anew = tk.run(model, RequantizeWeights(to="float32"), RequantizeWeights(to=type_)).model.subgraphs[0].operators[0].inputs[1]
    assert int(codes.min()) == lowest and anew is not None and int(anew.numpy().astype(int).min()) == lowest + 1


def test_mean_square_error_is_less_than_with_the_full_range() -> None:
    noise = [tk.run(dense(), RequantizeWeights(to="int4", range=r)).notes[-1].data["noise"] for r in ("minmax", "mse")]
    assert noise[1] < 0.9 * noise[0]
    note = next(n for n in tk.run(dense(), RequantizeWeights(to="int4", range="mse")).notes if n.name == "w")
    assert note.data["clipped"] > 0


def test_thresholds_keep_a_tensor_as_it_was() -> None:
    for limit, word in (({"min_sqnr": 30.0}, "SQNR would be"), ({"max_error": 1e-3}, "largest error would be")):
        result = tk.run(dense(), RequantizeWeights(to="int4", no_errors=True, **limit))
        assert not result.changes and word in result.refused[0].text
    assert tk.run(dense(), RequantizeWeights(to="int8", min_sqnr=30.0)).changes


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("to", ["int8", "float16"])
def test_values_without_code_are_refused_with_their_place(value: float, to: str) -> None:
    values = floats(8, 64)
    values[2, 5] = value
    result = tk.run(dense(values), RequantizeWeights(to=to))
    assert not result.changes and "1 of 512 values are infinite or NaN, the first at position 133" in result.refused[0].text


def test_choices_are_tried_without_a_change() -> None:
    model = dense()
    result = tk.run(model, parse_spec('requantize-weights{try="int8,int4,int4/blockwise-32,int2/blockwise-32", range=mse}'))
    assert result.model is model and not result.steps[0].of.writes
    totals = [note.data for note in result.notes if note.data.get("total")]
    assert [data["choice"] for data in totals] == ["int8/mse", "int4/mse", "int4/blockwise-32/mse"]
    assert totals[0]["sqnr"] > totals[2]["sqnr"] > totals[1]["sqnr"] and totals[0]["bytes_after"] > totals[2]["bytes_after"]
    assert [note.data["choice"] for note in result.refused] == ["int2/blockwise-32/mse"] and "nobody computes it" in result.refused[0].text


# ---- shared data ----


def sharing(*, same_operator: bool) -> Model:
    """Two operators on two tensors of one buffer: two FULLY_CONNECTED, or the second an ADD."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x, w = main.input("x", [1, 64]), main.constant("w", floats(64, 64))
    other = main.tensor("other", [64, 64], buffer=w.buffer)
    y = main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 64]))
    second = ("FULLY_CONNECTED", [y, other, None], TensorSpec("z", [1, 64])) if same_operator else ("ADD", [y, other], TensorSpec("z", [64, 64]))
    main.output(main.apply(*second))
    return builder.build()


def test_users_of_one_buffer_that_agree_share_the_new_data() -> None:
    model = tk.run(sharing(same_operator=True), RequantizeWeights(to="int8")).model
    assert weights(model).buffer is weights(model, "other").buffer and len(weights(model).buffer.data) == 64 * 64
    assert sum(len(buffer.data or b"") for buffer in model.buffers) == 64 * 64


def test_a_tensor_whose_buffer_others_use_gets_its_own() -> None:
    for model, options in ((sharing(same_operator=False), {}), (sharing(same_operator=True), {"tensor": ("w",)})):
        result = tk.run(model, RequantizeWeights(to="int8", **options)).model
        assert weights(result).type.name == "INT8" and len(weights(result).buffer.data) == 64 * 64
        assert np.array_equal(weights(result, "other").numpy(), floats(64, 64))


# ---- integer models ----


def test_biases_follow_the_scales_of_integer_models() -> None:
    model = convolution()
    before = model.subgraphs[0].tensor("b").numpy() * model.subgraphs[0].tensor("b").quantization.scale
    result = tk.run(model, RequantizeWeights(to="int8", granularity="per-tensor"))
    bias, kernel = weights(result.model, "b"), weights(result.model)
    assert len(kernel.quantization.scale) == len(bias.quantization.scale) == 1
    assert bias.quantization.scale[0] == np.float32(0.5) * kernel.quantization.scale[0]
    assert np.abs(bias.numpy() * bias.quantization.scale - before).max() <= bias.quantization.scale[0] / 2
    assert errors(result.model) == errors(model)


def test_a_channel_of_zeros_gets_a_scale_that_its_bias_fits_to() -> None:
    model = convolution()
    codes = weights(model).numpy().copy()
    codes[1] = 0
    codes[0, 0, 0, 0] = 120  # no INT4 code, so that scales are chosen anew
    model.set_data(weights(model), codes)
    model.set_data(weights(model, "b"), np.array([5, 1 << 30, 7], np.int32))
    result = tk.run(model, RequantizeWeights(to="int4"))
    bias = weights(result.model, "b")
    before = np.array([5, 1 << 30, 7]) * weights(model, "b").quantization.scale.astype(np.float64)
    assert np.allclose(bias.numpy() * bias.quantization.scale.astype(np.float64), before, rtol=1e-6, atol=bias.quantization.scale.max())


def test_scales_are_wide_enough_for_a_bias_at_the_limit_of_its_type() -> None:
    model = convolution()
    model.set_data(weights(model, "b"), np.array([2**31 - 1, 0, 0], np.int32))
    model.set_data(weights(model), np.concatenate([np.full((1, 2, 2, 2), 9, np.int8), weights(model).numpy()[1:]]))
    before = (2**31 - 1) * float(weights(model, "b").quantization.scale[0])
    plain = np.float32(9) * weights(model).quantization.scale[0] / np.float32(7)
    after = tk.run(model, RequantizeWeights(to="int4")).model
    scale = weights(after).quantization.scale[0]
    assert scale > plain and weights(after, "b").numpy()[0] <= 2**30
    assert weights(after, "b").numpy()[0] * float(weights(after, "b").quantization.scale[0]) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize(("options", "reason"), [
    ({"to": "float32"}, "takes no floats"), ({"to": "int2"}, "only INT8 per-tensor"),
    ({"to": "int4", "granularity": "blockwise-32"}, "no multiple of 32"), ({"to": "int8", "asymmetric": True}, "to be symmetric"),
])  # fmt: skip
def test_what_integer_kernels_do_not_compute_is_refused(options: dict[str, Any], reason: str) -> None:
    result = tk.run(convolution(), RequantizeWeights(**options))
    assert not result.changes and reason in result.refused[0].text


def test_integer_operators_have_the_direct_form_alone() -> None:
    there = tk.run(convolution(), RequantizeWeights(to="int8", form="explicit"))
    assert not there.changes and not there.refused
    made = tk.run(convolution(), RequantizeWeights(to="int4", form="explicit")).model
    assert ([o.op_name for o in made.subgraphs[0].operators], weights(made).type.name) == (["CONV_2D", "SOFTMAX"], "INT4")


def test_a_choice_that_is_there_already_is_told_from_one_that_cannot_be() -> None:
    tried = RequantizeWeights(try_=parse_choices("int8,int8/per-tensor"))
    texts = [note.text for note in tk.run(tk.run(dense(), RequantizeWeights(to="int8")).model, tried).notes if note.kind == "remark"]
    assert texts[0] == "int8: what can be encoded so is already"
    convolved = tk.run(single("CONV_2D"), RequantizeWeights(try_=parse_choices("int4/blockwise-32")))
    assert "int4/blockwise-32: nothing can be encoded so" in [note.text for note in convolved.notes]


def test_only_codes_for_float_activations_are_called_hybrid() -> None:
    hybrid = tk.run(dense(), RequantizeWeights(to="int8"))
    back, half = (tk.run(hybrid.model, RequantizeWeights(to=to)) for to in ("float32", "float16"))
    integer = tk.run(convolution(), RequantizeWeights(to="int4"))
    forms = [{note.data["form"] for note in one.notes if "form" in note.data and not note.data.get("total")} for one in (hybrid, back, half, integer)]
    assert forms == [{"hybrid"}, {"weights"}, {"explicit"}, {"weights"}]


def test_weights_of_uint8_operators_lead_to_the_pass_that_changes_both() -> None:
    model = tk.read(Path(__file__).parents[2] / "examples" / "models" / "classifier_uint8_placeholder.tflite")
    result = tk.run(model, RequantizeWeights(to="int8"))
    assert not result.changes and result.refused
    for note in result.refused:
        assert note.text.endswith(" with UINT8 activations takes UINT8 weights; convert-activations --to int8 changes both")
    assert tk.run(model, tk.passes.ConvertActivations(to="int8")).changes


def test_small_blockwise_products_and_int2_convolutions_are_refused() -> None:
    for model, options, reason in (
        (dense(units=3), {"to": "int4", "granularity": "blockwise-32"}, "at least 4 units"),
        (single("CONV_2D"), {"to": "int2", "form": "hybrid"}, "computes no INT2"),
        (dense(units=8, depth=40), {"to": "int4", "granularity": "blockwise-32"}, "no multiple of 32"),
        (single("DEPTHWISE_CONV_2D"), {"to": "int8", "form": "hybrid", "granularity": "per-tensor"}, "only INT8 per-channel"),
    ):
        result = tk.run(model, RequantizeWeights(**options))
        assert not result.changes and reason in result.refused[0].text


def recurrent(second: np.ndarray | None = None) -> Model:
    """RNN with float weights "w" and "r"."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x, state = main.input("x", [1, 8]), main.variable("state", [1, 4])
    r = main.constant("r", floats(4, 4) if second is None else second)
    inputs = [x, main.constant("w", floats(4, 8)), r, main.constant("b", floats(4)), state]
    main.output(main.apply("RNN", inputs, TensorSpec("y", [1, 4]), fused_activation_function="TANH"))
    return builder.build()


def test_recurrent_operators_take_their_weights_in_one_type_or_none() -> None:
    both = tk.run(recurrent(), RequantizeWeights(to="int8", form="hybrid"))
    assert [weights(both.model, name).type.name for name in "wr"] == ["INT8", "INT8"]
    one = tk.run(recurrent(), RequantizeWeights(to="int8", form="hybrid", tensor=("w",)))
    assert not one.changes and "in one type, and 'r' stays" in one.refused[0].text
    bad = tk.run(recurrent(np.full((4, 4), np.nan, np.float32)), RequantizeWeights(to="int8", form="hybrid"))
    assert not bad.changes and {note.name for note in bad.refused} == {"w", "r"}
    assert tk.run(recurrent(), RequantizeWeights(to="int8", form="explicit", tensor=("w",))).changes


@pytest.mark.parametrize(("options", "version"), [
    ({"to": "int8"}, 12), ({"to": "int8", "granularity": "per-tensor"}, 3), ({"to": "float32"}, 1), ({"to": "float16"}, 1),
])  # fmt: skip
def test_versions_suit_the_new_types(options: dict[str, Any], version: int) -> None:
    model = tk.run(dense(), RequantizeWeights(**options)).model
    (code,) = [code for code in model.operator_codes if code.op_name == "FULLY_CONNECTED"]
    assert code.version == version


# ---- large weights ----


def test_large_results_are_computed_when_they_are_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same bytes and the same figures as when everything is computed at once."""
    odd = {"to": "int4", "granularity": "per-channel"}
    blocks, whole = {"to": "int4", "granularity": "blockwise-32"}, {"to": "int8", "granularity": "per-tensor"}
    for options in (odd, blocks, whole, {"to": "int2"}, {"to": "float16"}, {"to": "int8"}):
        model = dense(units=320, depth=1023 if options is odd else 1024)  # files join data below 64 KB
        at_once = tk.run(model, RequantizeWeights(**options))
        with monkeypatch.context() as patch:
            patch.setattr(engine, "KEPT", 0)
            patch.setattr(encode, "_PART", 5000)
            later = tk.run(model, RequantizeWeights(**options))
            patch.setattr(kernels, "_PUT", 3100)  # pieces of 3 rows
            patch.setattr(_crew, "LARGE", 0)
            patch.setattr(_crew, "_usable", lambda: 3)
            assert tk.serialize(tk.run(model, RequantizeWeights(**options)).model) == tk.serialize(at_once.model)
            tk.write(later.model, tmp_path / "pieces.tflite", overwrite=True)
        assert isinstance(weights(later.model).buffer.data, Deferred)
        assert tk.serialize(later.model) == tk.serialize(at_once.model)
        for mine, other in zip(later.notes, at_once.notes, strict=True):
            keys = ("max_error", "rms", "sqnr", "clipped", "levels")
            assert [mine.data.get(k) for k in keys] == pytest.approx([other.data.get(k) for k in keys])
        tk.write(later.model, tmp_path / "out.tflite", overwrite=True)
        assert (tmp_path / "out.tflite").read_bytes() == (tmp_path / "pieces.tflite").read_bytes() == tk.serialize(at_once.model)
        assert tk.diff(tk.read(tmp_path / "out.tflite"), at_once.model) == []


def test_what_is_asked_for_and_not_there_is_said(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[[weights]]\ntensor = "nope"\noperator = "CONV_2D"\nto = "int4"\n[[weights]]\ntensor = "w*"\nto = "int8"\n')
    unmatched = "entry 1 of the recipe matches no weights: tensor 'nope' and operator 'CONV_2D'"
    for options, said in (
        (RequantizeWeights(to="int8", recipe=read_recipe(str(recipe))), unmatched),
        (RequantizeWeights(to="int8", operator=("conv_2d",)), "no weights are read by CONV_2D, but by FULLY_CONNECTED"),
    ):
        texts = [note.text for note in tk.run(dense(), options).notes]
        assert said in texts and not [text for text in texts if text.startswith("entry 2")]
