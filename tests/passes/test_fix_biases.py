"""`fix-quantization` of biases: FLOAT16 behind DEQUANTIZE, and scales that contradict the input's."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.checks.test_interface import normalized
from tests.audit.test_findings import requantize
from tests.forge import pack_metadata
from tests.passes.test_fix_quantization import findings, fix
from tests.passes.weight_models import floats, halved, single
from tests.runtime import needs_runtime
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor
from tflitekit.passes import SetQuantization, surgery
from tflitekit.passes.options import parse_spec
from tflitekit.quant.rules import RULES

OTHERS = (runtime.NO_DELEGATES, runtime.REFERENCE)  # what runs a model with a FLOAT16 bias


def hybrid(operator: str = "FULLY_CONNECTED", spec: str = "int8") -> Model:
    """An operator with weights "w" of a type and a FLOAT16 bias "b" behind DEQUANTIZE."""
    return halved(tk.run(single(operator), parse_spec(f"requantize-weights{{to={spec}}}")).model)


def layers(count: int, shared: bool = False) -> Model:
    """Several hybrid FULLY_CONNECTED in a row, with FLOAT16 biases "b0", "b1"... or one for all."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x, bias = main.input("x", [3, 8]), main.constant("b", floats(8)) if shared else None
    for number in range(count):
        weights = main.constant(f"w{number}", np.eye(8, dtype=np.int8) * 100, quantization=quantize(0.01))
        given = bias or main.constant(f"b{number}", floats(8) + number)
        x = main.apply("FULLY_CONNECTED", [x, weights, given], TensorSpec(f"y{number}", [3, 8]))
    main.output(x)
    return halved(builder.build())


def named(model: Model, name: str) -> Tensor:
    return model.subgraphs[0].tensor(name)


def shape_of(model: Model) -> list[tuple[str, list[str]]]:
    """The operators with what they read."""
    return [(o.op_name, ["" if t is None else t.name_str for t in o.inputs]) for o in model.operators()]


def runs_as(model: Model, result: Model) -> bool:
    """Whether what a model computes without XNNPACK is what comes out after the repair, and XNNPACK takes that too."""
    before, after = ([runtime.run(tk.serialize(m), resolver) for resolver in OTHERS] for m in (model, result))
    return all(one.ok and one.outputs == other.outputs for one, other in zip(before, after, strict=True)) and runtime.run(tk.serialize(result)).ok


@needs_runtime
@pytest.mark.parametrize(("operator", "spec"), [
    ("CONV_2D", "int8"), ("CONV_2D", "int8,granularity=per-tensor"), ("FULLY_CONNECTED", "int8"), ("FULLY_CONNECTED", "int4"),
    ("FULLY_CONNECTED", "int2"), ("FULLY_CONNECTED", "int4,granularity=blockwise-32"),
])  # fmt: skip
def test_a_float16_bias_becomes_a_float32_constant(operator: str, spec: str) -> None:
    model = hybrid(operator, spec)
    assert "Q304" in findings(model) and not runtime.run(tk.serialize(model)).ok
    values, result = named(model, "b").numpy(), fix(model, "Q304").model
    bias = named(result, "b")
    assert bias.type == TensorType.FLOAT32 and bias.is_constant and np.array_equal(bias.numpy(), values.astype(np.float32))
    assert shape_of(result) == [(operator, ["x", "w", "b"])]
    assert [t.name for t in result.tensors()] == [t.name for t in model.tensors() if t.name != b"b_dequantize"]
    assert "Q304" not in findings(result) and tk.verify(result) == [] and fix(result, "Q304").changes == ()
    assert named(model, "b").type == TensorType.FLOAT16 and runs_as(model, result)


@pytest.mark.parametrize(("operator", "spec"), [("DEPTHWISE_CONV_2D", "int8"), ("TRANSPOSE_CONV", "int8"), ("CONV_2D", "int8,form=explicit")])
def test_where_nothing_minds_it_a_float16_bias_stays(operator: str, spec: str) -> None:
    assert fix(hybrid(operator, spec)).changes == ()


@needs_runtime
def test_all_of_many_are_repaired_at_once_and_the_list_of_positions_goes() -> None:
    model = layers(7)
    model.metadata.append(tk.Metadata(name="model_control_dependencies", buffer=model.add_buffer(b"stale")))
    result = fix(model)
    assert findings(model).count("Q304") == 7 and "Q304" not in findings(result.model)
    assert shape_of(result.model)[1:3] == [("FULLY_CONNECTED", ["y0", "w1", "b1"]), ("FULLY_CONNECTED", ["y1", "w2", "b2"])]
    assert result.model.metadata == [] and sum("model_control_dependencies taken out" in n.text for n in result.notes) == 1
    assert runs_as(model, result.model)


@needs_runtime
def test_operators_that_share_a_bias_go_on_doing_so() -> None:
    model = layers(3, shared=True)
    made = fix(model)
    result = made.model
    assert sum(note.text.startswith("Q304") for note in made.notes) == 1
    assert shape_of(result) == [("FULLY_CONNECTED", [read, f"w{n}", "b"]) for n, read in enumerate(("x", "y0", "y1"))]
    assert runs_as(model, result)


def test_biases_that_share_their_data_go_on_doing_so() -> None:
    """Also where one of them stays FLOAT16, since it is an output."""
    model = layers(4)
    named(model, "b1").buffer = named(model, "b3").buffer = named(model, "b0").buffer
    model = tk.parse(tk.serialize(model, rebuild=True))
    result = fix(model).model
    assert named(result, "b0").buffer is named(result, "b1").buffer is named(result, "b3").buffer is not named(result, "b2").buffer
    main = model.subgraphs[0]
    main.outputs = [*main.outputs, named(model, "b1")]
    result = fix(model)
    assert [note.text.rpartition(": ")[2] for note in result.refused] == ["it is an input or output of its subgraph"]
    assert [named(result.model, f"b{n}").type.name for n in range(4)] == ["FLOAT32", "FLOAT16", "FLOAT32", "FLOAT32"]
    first, second, third = (named(result.model, name).buffer for name in ("b0", "b1", "b3"))
    assert first is third is not second and tk.verify(result.model) == []


def add_reader(model: Model) -> None:
    """Another operator reads what DEQUANTIZE makes."""
    main = model.subgraphs[0]
    made = Tensor(name="sum", shape=(3, 8), buffer=model.buffers[0])
    y = main.outputs[0]
    main.operators.append(surgery.make_operator(
        model, BuiltinOperator.ADD, [y, named(model, "b_dequantize")], [main.add_tensor(made)], fused_activation_function="NONE",
    ))  # fmt: skip
    main.outputs = [made]


def add_second_dequantize(model: Model) -> None:
    """Another DEQUANTIZE reads the FLOAT16 numbers, for another operator."""
    main = model.subgraphs[0]
    add_reader(model)
    own = surgery.tensor_like(model, main, named(model, "b_dequantize"), "_2", TensorType.FLOAT32, None)
    surgery.convert(model, main, named(model, "b"), own, 0)
    main.operators[-1].inputs[1] = own


def add_sharer(model: Model) -> None:
    """Another tensor has the same buffer, and is read."""
    main, bias = model.subgraphs[0], named(model, "b")
    other = main.add_tensor(Tensor(name="b2", shape=bias.shape, type=bias.type, buffer=bias.buffer))
    add_reader(model)
    own = surgery.tensor_like(model, main, other, "_dequantize", TensorType.FLOAT32, None)
    surgery.convert(model, main, other, own, 0)
    main.operators[-1].inputs[1] = own


def add_cast(model: Model) -> None:
    """An operator reads the FLOAT16 numbers themselves."""
    main = model.subgraphs[0]
    wide = main.add_tensor(Tensor(name="wide", shape=(8,), buffer=model.buffers[0]))
    main.operators.append(surgery.make_operator(
        model, BuiltinOperator.CAST, [named(model, "b")], [wide], in_data_type=TensorType.FLOAT16, out_data_type=TensorType.FLOAT32,
    ))  # fmt: skip
    main.outputs = [*main.outputs, wide]


def show(model: Model) -> None:
    """The dequantized numbers are an output of the graph."""
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, "b_dequantize")]


BESIDE: dict[str, tuple[Callable[[Model], None], list[str], list[str]]] = {
    "reads what DEQUANTIZE makes": (add_reader, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b", "b_1"]),
    "has a DEQUANTIZE of its own": (add_second_dequantize, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b", "b_1"]),
    "has the same buffer": (add_sharer, ["DEQUANTIZE", "FULLY_CONNECTED", "ADD"], ["b2", "b"]),
    "reads FLOAT16": (add_cast, ["FULLY_CONNECTED", "CAST"], ["b", "b_1"]),
    "is an output": (show, ["FULLY_CONNECTED"], ["", "b"]),
}


@needs_runtime
@pytest.mark.parametrize("who", list(BESIDE))
def test_who_else_reads_it_sees_no_change(who: str) -> None:
    edit, expected, (half, whole) = BESIDE[who]
    model = hybrid()
    edit(model)
    before, values = tk.serialize(model), named(model, "b").numpy()
    made = fix(model)
    result, note = made.model, made.notes[0]
    assert note.name == whole and note.text.startswith(f"Q304: {'FLOAT32' if whole == 'b' else 'a copy of ' + repr('b') + ' in FLOAT32'}, read")
    assert "Q304" not in findings(result) and tk.verify(result) == [] and tk.serialize(model) == before
    assert [o.op_name for o in result.operators()] == expected
    dense = next(o for o in result.operators() if o.op_name == "FULLY_CONNECTED")
    assert dense.inputs[2] is named(result, whole) and np.array_equal(named(result, whole).numpy(), values.astype(np.float32))
    if half:
        assert named(result, half).type == TensorType.FLOAT16 and np.array_equal(named(result, half).numpy(), values)
    assert runs_as(model, result)


def test_a_bias_can_become_float_whatever_the_weights_need_for_the_activation() -> None:
    model = hybrid()
    model.subgraphs[0].operators[-1].options.fused_activation_function = "TANH"  # which no kernel applies beside float weights
    assert named(fix(model).model, "b").type == TensorType.FLOAT32


def test_a_bias_that_cannot_be_stored_otherwise_is_left_with_the_reason() -> None:
    model = hybrid()
    model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, "b")]
    result = fix(model)
    assert result.changes == () and "Not repaired: it is an input or output of its subgraph" in result.refused[0].text


# ---- the scale of the input against those of biases ----


def photo(
    type: str = "INT8", scales: int = 4, scale: float = 1 / 255, front: bool = False, convolutions: int = 1, size: int = 32, ranged: bool = False
) -> Model:
    """Integer CONV_2D operators on an image "x", with so many scales of their weights; `front`: QUANTIZE makes it of floats."""
    builder, rng = ModelBuilder(), np.random.default_rng(5)
    main = builder.subgraph("main")
    half, version = (128, 1) if type == "UINT8" else (0, 3)
    x = TensorSpec("x", [1, size, size, 3], type, quantize(scale, half - 128))
    read = main.apply("QUANTIZE", [main.input("pixels", x.shape)], x, version=2) if front else main.input("x", x.shape, type, x.quantization)
    if ranged:
        read.quantization.min, read.quantization.max = np.float32([0]), np.float32([255 * scale])
    for number in range(convolutions):
        steps = rng.uniform(0.004, 0.02, scales).astype(np.float32)
        codes = rng.integers(-127, 128, (4, 3, 3, 3)) + half
        weights = main.constant(f"w{number}", codes.astype(type.lower()), quantization=quantize(steps, np.full(scales, half), 0))
        products = quantize(np.float32(scale) * steps, np.zeros(scales, np.int64), 0)
        bias = main.constant(f"b{number}", rng.integers(-20000, 20000, 4).astype(np.int32), quantization=products)
        made = TensorSpec(f"y{number}", [1, size // 2, size // 2, 4], type, quantize(scale * 30, half))
        window = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
        main.output(main.apply("CONV_2D", [read, weights, bias], made, version=version, **window))
    return builder.build()


def states(model: Model, scale: float) -> Model:
    """The model with another scale of its input, and nothing else."""
    requantize(model, "x", scale=[scale])
    return model


def steps_apart(model: Model, sound: Model) -> int:
    """How far the outputs of a model are from those of another at the most, in LSBs, on the same pixels, in all ways to run it."""
    pixels = np.random.default_rng(9).integers(0, 256, sound.subgraphs[0].inputs[0].shape)
    given = {"UINT8": pixels.astype(np.uint8), "INT8": (pixels - 128).astype(np.int8), "FLOAT32": (pixels / 255).astype(np.float32)}
    inputs = {0: given[sound.subgraphs[0].inputs[0].type.name]}
    dtype, worst = sound.subgraphs[0].outputs[0].type.name.lower(), 0
    for resolver in (runtime.DEFAULT, *OTHERS):
        both = [runtime.run(tk.serialize(m), resolver, inputs=inputs) for m in (model, sound)]
        assert all(outcome.ok for outcome in both)
        for one, other in zip(*(outcome.outputs for outcome in both), strict=True):
            codes = [np.frombuffer(data, dtype).astype(int) for _, _, data in (one, other)]
            worst = max(worst, int(np.abs(codes[0] - codes[1]).max()))
    return worst


@needs_runtime
@pytest.mark.parametrize("how", [
    {}, {"scales": 1}, {"type": "UINT8", "scales": 1}, {"scales": 1, "convolutions": 2}, {"front": True}, {"front": True, "scales": 1},
], ids=str)  # fmt: skip
def test_an_input_that_is_unusual_and_contradicts_a_bias_is_what_is_wrong(how: dict[str, Any]) -> None:
    """The repaired model computes what the sound one does, which it did not where the bias was taken for what is wrong."""
    model = states(photo(**how), 0.04)
    assert {"Q301", "Q502"} <= set(findings(model)) and steps_apart(model, photo(**how)) > 40
    result = fix(model).model
    assert tk.diff(photo(**how), result) == [] and findings(result) == [] and steps_apart(result, photo(**how)) == 0
    assert tk.diff(photo(**how), fix(model, bias="retag").model) != []


def test_several_biases_are_believed_of_an_input_that_is_unusual_either_way() -> None:
    sound = photo(scale=0.03)
    result = fix(states(photo(scale=0.03), 0.04)).model
    assert tk.diff(sound, result) == [] and findings(result) == ["Q502"]


def test_a_bias_that_contradicts_a_usual_input_is_what_is_wrong() -> None:
    for how in ({"scales": 1}, {"scales": 1, "type": "UINT8"}, {"scales": 1, "convolutions": 2}):
        model = photo(**how)
        requantize(model, "b0", scale=named(model, "b0").quantization.scale * 2)
        assert findings(model) == ["Q301"]
        assert tk.diff(photo(**how), fix(model).model) == []


@pytest.mark.parametrize("name", ["x", "", "w0", "an image*", "it's", "\x1b[31m"])
def test_one_unusual_number_against_another_is_left_and_what_is_advised_helps(name: str) -> None:
    """The input is 0.04 of which the bias says 0.03: both are no usual preprocessing, so either may be what the model was trained with."""
    model = states(photo(scales=1, scale=0.03), 0.04)
    for tensor in model.tensors() if not name else [named(model, "x")]:
        tensor.name = name
    assert findings(photo(scales=1, scale=0.03)) == ["Q502"]
    result = fix(model)
    (note,) = [note for note in result.refused if note.data["code"] == "Q301"]
    assert result.changes == () and "told by Q502, and so would be the one that the bias implies, 0.03000000" in note.text
    words = shlex.split(note.text.partition("if the bias is, ")[2].removesuffix(" states the input's"))
    advised = tk.run(model, SetQuantization(tensor=(words[2],), keep=words[4], scale=words[6])).model
    assert [c.path for c in tk.diff(model, advised)] == ["subgraphs[0].tensors[0].quantization.scale"] and findings(advised) == ["Q502"]
    assert "--bias retag" in note.text and "Q301" not in findings(fix(model, bias="retag").model)


@pytest.mark.parametrize("how", [{}, {"convolutions": 2}, {"scales": 1, "convolutions": 2}, {"front": True}], ids=str)
def test_a_usual_input_is_not_made_unusual_because_several_biases_contradict_it(how: dict[str, Any]) -> None:
    """They have the same factor too much: who wrote them may have got one number wrong, as whoever wrote the input may."""
    model = photo(**how)
    for bias in (t for t in model.tensors() if t.name_str.startswith("b")):
        requantize(model, bias.name_str, scale=bias.quantization.scale * 2)
    assert set(findings(model)) == {"Q301"}
    result = fix(model)
    assert result.changes == () and len(result.refused) == findings(model).count("Q301")
    for note in result.refused:
        assert "nothing about that of the input, but Q502 would tell the one that the biases imply, 0.00784313" in note.text
    assert tk.diff(photo(**how), fix(model, bias="retag").model) == []


@needs_runtime
@pytest.mark.parametrize("bias", ["encode", "retag"])
@pytest.mark.parametrize("who", ["output", "operator without a rule"])
def test_who_else_reads_the_codes_of_a_bias_goes_on_reading_them(bias: str, who: str) -> None:
    model = photo(scales=1)
    main, stated = model.subgraphs[0], named(model, "b0")
    shown = stated
    if who != "output":
        shown = main.add_tensor(Tensor(name="twice", shape=(4,), type=TensorType.INT32, buffer=model.buffers[0]))
        assert BuiltinOperator.ADD_N not in RULES
        model.operator_codes.append(tk.OperatorCode(builtin_code=BuiltinOperator.ADD_N, version=1))
        main.operators.append(tk.Operator(opcode=model.operator_codes[-1], inputs=[stated, stated], outputs=[shown]))
    main.outputs = [*main.outputs, shown]
    requantize(model, "b0", scale=stated.quantization.scale * 2)
    result = fix(model, bias=bias).model
    assert findings(result) == [] and result.subgraphs[0].outputs[1].name == shown.name
    before, after = (runtime.run(tk.serialize(m)).outputs[1] for m in (model, result))
    assert before == after and named(result, "b0").quantization.scale[0] == stated.quantization.scale[0]


def test_an_input_of_which_nothing_is_clear_stays_while_other_biases_are_repaired() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    read = main.input("x", [1, 32, 32, 3], "INT8", quantize(0.04, -128))
    for number in range(2):  # the first bias says that the input is 0.03, the second that "y0" is 0.3, which nobody else says
        weights = main.constant(f"w{number}", np.ones((3, 1, 1, 3), np.int8), quantization=quantize(0.01, 0))
        bias = main.constant(f"b{number}", np.int32([100, 200, 300]), quantization=quantize((0.0003, 0.003)[number], 0))
        made = TensorSpec(f"y{number}", [1, 32, 32, 3], "INT8", quantize(0.5, 0))
        read = main.apply("CONV_2D", [read, weights, bias], made, version=3, padding="SAME", stride_w=1, stride_h=1)
    main.output(read)
    model = builder.build()
    assert findings(model) == ["Q301", "Q301", "Q502"]
    result = fix(model)
    place = model.subgraphs[0].tensors.index(named(model, "b1"))
    assert [c.path for c in tk.diff(model, result.model)] == [f"subgraphs[0].tensors[{place}].quantization.scale"]
    assert [note.data["code"] for note in result.refused] == ["Q301"] and findings(result.model) == ["Q301", "Q502"]


def test_a_difference_of_less_than_a_step_is_the_biases() -> None:
    model = states(photo(scales=1, scale=0.03), 0.03 * (1 + 1e-4))
    result = fix(model).model
    assert findings(model) == ["Q301", "Q502"] and findings(result) == ["Q502"]
    assert [c.path for c in tk.diff(model, result)] == ["subgraphs[0].tensors[2].quantization.scale"]


def test_what_else_the_file_says_of_the_input_counts() -> None:
    """A range that is stated beside the scale, and metadata that say how pixels are normalized."""
    small = {"scales": 1, "size": 8, "ranged": True}  # too small for an image, so nothing is unusual
    model = states(photo(**small), 0.04)
    assert findings(model) == ["Q301"] and tk.diff(photo(**small), fix(model).model) == []
    model = photo(**small | {"scales": 4})
    requantize(model, "b0", scale=named(model, "b0").quantization.scale * 2)
    assert findings(model) == ["Q301"] and tk.diff(photo(**small | {"scales": 4}), fix(model).model) == []
    right = states(photo(scales=1, size=8), 0.04)
    assert [c.path for c in tk.diff(right, fix(right).model)] == ["subgraphs[0].tensors[2].quantization.scale"]
    for std, restated in ((255, True), (100, False)):
        model = states(photo(scales=1), 2 / 255)
        about = pack_metadata(normalized((0.0,), (float(std),)))
        model.metadata.append(tk.Metadata(name="TFLITE_METADATA", buffer=model.add_buffer(about)))
        assert "Q903" in findings(model)
        assert (named(fix(model).model, "x").quantization.scale[0] == np.float32(1 / 255)) == restated


@needs_runtime
def test_requantize_weights_leaves_an_output_of_dequantized_values_as_an_output() -> None:
    """DEQUANTIZE takes no FLOAT32: the output is the constant itself."""
    for spec, names in (("to=float32", "wb"), ("to=int8", "b")):
        model = halved(single("FULLY_CONNECTED"))
        for name in names:
            model.subgraphs[0].outputs = [*model.subgraphs[0].outputs, named(model, f"{name}_dequantize")]
        result = tk.run(model, parse_spec(f"requantize-weights{{{spec}}}")).model
        outcomes = [runtime.run(tk.serialize(result), resolver) for resolver in (runtime.DEFAULT, *OTHERS)]
        assert all(outcome.ok and outcome.outputs[-1][2] == named(model, "b").numpy().astype(np.float32).tobytes() for outcome in outcomes), spec


def in_int16(model: Model, bias: Tensor) -> None:
    bias.type, bias.buffer.data = TensorType.INT16, bias.numpy().astype(np.int16).tobytes()


def in_floats(model: Model, bias: Tensor) -> None:
    bias.buffer.data, bias.type = (bias.numpy() * bias.quantization.scale).astype(np.float32).tobytes(), TensorType.FLOAT32
    bias.quantization = None


def misnamed(model: Model, bias: Tensor) -> None:
    bias.type = TensorType.FLOAT32


def moved(model: Model, bias: Tensor) -> None:
    requantize(model, "b0", zero_point=[5])


@needs_runtime
@pytest.mark.parametrize("mode", ["encode", "retag"])
@pytest.mark.parametrize("who", ["output", "operator without a rule"])
@pytest.mark.parametrize(("code", "damage"), [("Q302", in_int16), ("Q302", in_floats), ("Q302", misnamed), ("Q303", moved)])
def test_who_else_reads_a_bias_of_another_type_or_zero_point_sees_no_change(
    code: str, damage: Callable[[Model, Tensor], None], who: str, mode: str
) -> None:
    """The operator gets a copy, also where the tensor is shown or read as something else than a bias."""
    model = photo(scales=1)
    main, stated = model.subgraphs[0], named(model, "b0")
    damage(model, stated)
    if who == "output":
        main.outputs = [*main.outputs, stated]
    else:
        model.operator_codes.append(tk.OperatorCode(builtin_code=BuiltinOperator.ADD_N, version=1))
        made = main.add_tensor(Tensor(name="twice", shape=(4,), type=stated.type, buffer=model.buffers[0]))
        main.operators.append(tk.Operator(opcode=model.operator_codes[-1], inputs=[stated, stated], outputs=[made]))
    before = stated.type, stated.buffer.data, stated.quantization and (list(stated.quantization.scale), list(stated.quantization.zero_point))
    assert code in findings(model)
    result = fix(model, bias=mode).model
    left, read = named(result, "b0"), next(o for o in result.operators() if o.op_name == "CONV_2D").inputs[2]
    assert (left.type, left.buffer.data, left.quantization and (list(left.quantization.scale), list(left.quantization.zero_point))) == before
    assert read is not left and read.type == TensorType.INT32 and code not in findings(result) and tk.verify(result) == []
    alone = photo(scales=1)
    damage(alone, named(alone, "b0"))
    expected = named(fix(alone, bias=mode).model, "b0")
    assert np.array_equal(read.numpy(), expected.numpy()) and read.quantization.zero_point[0] == expected.quantization.zero_point[0] == 0
    outcomes = [runtime.run(tk.serialize(m), runtime.NO_DELEGATES).outputs for m in (result, fix(alone, bias=mode).model)]
    assert who != "output" or outcomes[0][0] == outcomes[1][0]


@pytest.mark.parametrize("mode", ["encode", "retag"])
def test_operators_that_share_a_bias_with_a_zero_point_all_get_it_without(mode: str) -> None:
    model = photo(scales=1, convolutions=3)
    moved(model, named(model, "b0"))
    for operator in model.operators():
        operator.inputs[2] = named(model, "b0")
    assert findings(model).count("Q303") == 3
    values, result = named(model, "b0").numpy() - 5 * (mode == "encode"), fix(model, "Q303", bias=mode).model
    assert "Q303" not in findings(result) and all(np.array_equal(o.inputs[2].numpy(), values) for o in result.operators())
