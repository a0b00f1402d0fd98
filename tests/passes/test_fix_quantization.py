"""`fix-quantization`: what is repaired and what is not, that repairs help, that the runtime computes what the sound model does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import BREAK, convolution, requantize, tensor
from tests.conftest import VALID_PATHS
from tests.runtime import needs_runtime
from tflitekit._schema import TensorType
from tflitekit.audit import CODES
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.errors import EditError
from tflitekit.graph import Model, Tensor
from tflitekit.passes.fixes import engine, table
from tflitekit.passes.fixes.bench import Bench


def fix(model: Model, *codes: str, **options: Any) -> Any:
    return tk.run(model, tk.passes.FixQuantization(code=codes, **options))


def findings(model: Model) -> list[str]:
    return [finding.code for finding in tk.audit(model).findings]


# What cannot follow from the file: the scale of an activation that nothing else depends on, missing bytes, a zero point of an input.
LOST = {"short data", "zero scale", "nan scale", "zero point", "per-channel activation"}


@pytest.mark.parametrize("name", list(BREAK))
def test_what_follows_from_the_file_is_restored_and_the_rest_is_refused(name: str) -> None:
    code, _, edit = BREAK[name]
    model = convolution()
    edit(model)
    result = fix(model)
    if name in LOST:
        assert result.changes == ()
        assert any(note.data["code"] == code and "Not repaired: " in note.text for note in result.refused)
        return
    assert findings(result.model) == []
    assert result.notes and all(note.data["code"] for note in result.notes)
    expected = convolution()
    if name == "weights zero point":  # real values stay, so the codes move
        codes = tensor(expected, "w").numpy().copy()
        codes[1] -= 5
        expected.set_data(tensor(expected, "w"), codes)
    assert [str(c) for c in tk.diff(expected, result.model) if c.path != "buffers[1].data" or name != "weights zero point"] == []
    np.testing.assert_array_equal(tensor(result.model, "w").numpy(), tensor(expected, "w").numpy())
    assert fix(result.model).changes == ()


@needs_runtime
@pytest.mark.parametrize("name", [name for name in BREAK if name not in LOST and name != "weights zero point"])
def test_the_repaired_model_computes_what_the_sound_one_does(name: str) -> None:
    model = convolution()
    BREAK[name][2](model)
    repaired, sound = tk.serialize(fix(model).model), tk.serialize(convolution())
    for resolver in (runtime.REFERENCE, runtime.DEFAULT):
        outcomes = [runtime.run(data, resolver) for data in (repaired, sound)]
        assert outcomes[0].ok and outcomes[0].outputs == outcomes[1].outputs


def test_only_the_chosen_codes_are_repaired() -> None:
    model = convolution()
    requantize(model, "y", scale=[0.01])
    requantize(model, "b", zero_point=[0, 1, 0])
    assert findings(fix(model, "Q303").model) == ["Q401"]
    for code, message in (("Q501", "does not repair it. Nothing in the file"), ("Q999", "there is no such finding")):
        with pytest.raises(EditError, match=message):
            fix(model, code)


def test_legal_oddities_stay() -> None:
    model = convolution()
    requantize(model, "x", scale=[0.25], zero_point=[-7])
    requantize(model, "b", scale=np.float32(0.25) * np.float32([0.01, 0.02, 0.03]))
    requantize(model, "c", scale=[3.5], zero_point=[100])
    assert findings(model) == []
    result = fix(model)
    assert result.model is model and result.notes == ()


def test_an_input_scale_that_all_biases_contradict_is_what_is_wrong() -> None:
    model = convolution()
    requantize(model, "x", scale=[1.0])
    result = fix(model)
    assert tk.diff(convolution(), result.model) == []
    assert "the scales of biases and weights imply it, in 3 places" in result.notes[0].text
    retagged = fix(model, bias="retag").model
    assert [c.path for c in tk.diff(model, retagged)] == ["subgraphs[0].tensors[2].quantization.scale"]
    assert findings(retagged) == []


def test_a_bias_can_be_encoded_again_instead() -> None:
    model = convolution()
    model.set_data(tensor(model, "b"), np.int32([100, 200, 300]))
    requantize(model, "b", scale=np.float32([0.01, 0.02, 0.03]))  # twice what it is read at
    made = fix(model, bias="encode").model
    assert tensor(made, "b").numpy().tolist() == [200, 400, 600]
    assert findings(made) == []
    shifted = convolution()
    requantize(shifted, "b", zero_point=[0, 1, 0])
    assert tensor(fix(shifted, bias="encode").model, "b").numpy().tolist() == [0, 0, 2]


def test_weights_that_do_not_fit_when_shifted_get_larger_scales_and_the_bias_follows() -> None:
    model = convolution()
    codes = np.linspace(-128, 127, 24).astype(np.int8).reshape(3, 2, 2, 2)
    model.set_data(tensor(model, "w"), codes)
    requantize(model, "w", zero_point=[100, 0, 0])
    real = (codes.astype(np.float64) - np.array([100, 0, 0]).reshape(3, 1, 1, 1)) * np.float32([0.01, 0.02, 0.03]).astype(float).reshape(3, 1, 1, 1)
    result = fix(model)
    weights, bias = tensor(result.model, "w"), tensor(result.model, "b")
    assert weights.quantization is not None and bias.quantization is not None
    assert np.abs(weights.numpy() * weights.quantization.scale.astype(float).reshape(3, 1, 1, 1) - real).max() <= weights.quantization.scale.max() / 2
    np.testing.assert_array_equal(bias.quantization.scale, np.float32(0.5) * weights.quantization.scale)
    assert findings(result.model) == [] and weights.quantization.zero_point.tolist() == [0, 0, 0]


def test_a_dead_channel_of_any_codes_stays_zero() -> None:
    model = convolution()
    requantize(model, "w", scale=[0.01, 1e-40, 0.03])
    requantize(model, "b", scale=np.float32(0.5) * np.float32([0.01, 1e-40, 0.03]))
    result = fix(model)
    assert not tensor(result.model, "w").numpy()[1].any()
    assert tensor(result.model, "b").numpy().tolist() == [0, 0, 2]
    assert findings(result.model) == []


def test_missing_parameters_are_restored_from_what_depends_on_them() -> None:
    model = convolution()
    tensor(model, "w").quantization = None
    assert "Q106" in findings(model)
    assert [str(c) for c in tk.diff(convolution(), fix(model).model)] == []
    model = convolution()
    tensor(model, "c").quantization = None
    assert fix(model).changes == ()


def chain(build: Callable[[SubGraphBuilder, Tensor], Tensor]) -> Model:
    """INT8 input, what a test builds, MUL, output: conversions in the middle of a graph."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 8], "INT8", quantize(0.5, 3))
    middle = build(main, main.apply("RELU", [x], TensorSpec("r", [1, 8], "INT8", quantize(0.5, 3)), version=2))
    main.output(main.apply("RELU", [middle], TensorSpec("y", [1, 8], middle.type, quantize(0.25, 0)), version=2))
    return builder.build()


def floats(main: SubGraphBuilder, x: Tensor, name: str = "f") -> Tensor:
    return main.apply("DEQUANTIZE", [x], TensorSpec(name, [1, 8], "FLOAT32"), version=2)


def codes(main: SubGraphBuilder, x: Tensor, type_: str, zero_point: int, scale: float = 0.5, name: str = "q") -> Tensor:
    return main.apply("QUANTIZE", [x], TensorSpec(name, [1, 8], type_, quantize(scale, zero_point)), version=2)


CHAINS: dict[str, tuple[str, list[str], Callable[[SubGraphBuilder, Tensor], Tensor]]] = {
    "there and back": ("Q801", ["RELU", "RELU"], lambda m, x: codes(m, floats(m, x), "INT8", 3)),
    "there and back, shifted": ("Q801", ["RELU", "QUANTIZE", "RELU"], lambda m, x: codes(m, floats(m, x), "UINT8", 131)),
    "two shifts": ("Q803", ["RELU", "RELU"], lambda m, x: codes(m, codes(m, x, "UINT8", 131), "INT8", 3, name="q2")),
    "rounded and shifted": ("Q803", ["RELU", "QUANTIZE", "RELU"], lambda m, x: codes(m, codes(m, x, "INT8", 0, 0.25), "UINT8", 128, 0.25, name="q2")),
}


@pytest.mark.parametrize("name", list(CHAINS))
def test_conversions_that_change_no_value_are_left_out(name: str) -> None:
    code, expected, build = CHAINS[name]
    model = chain(build)
    assert code in findings(model)
    result = fix(model)
    assert [o.op_name for o in result.model.operators()] == expected
    assert code not in findings(result.model) and tk.verify(result.model) == []
    used = {t for o in result.model.operators() for t in (*o.inputs, *o.outputs)}
    assert set(result.model.subgraphs[0].tensors) == used
    if runtime.available():
        before, after = (runtime.run(tk.serialize(m), runtime.REFERENCE) for m in (model, result.model))
        assert before.ok and before.outputs == after.outputs


def test_many_conversions_are_left_out_at_once() -> None:
    """Positions move with each of them."""
    def several(main: SubGraphBuilder, x: Tensor) -> Tensor:
        for n in range(6):
            x = codes(main, floats(main, x, f"f{n}"), "INT8", 3, name=f"q{n}")
            x = main.apply("RELU", [x], TensorSpec(f"r{n}", [1, 8], "INT8", quantize(0.5, 3)), version=2)
        return x

    result = fix(chain(several))
    assert [o.op_name for o in result.model.operators()] == ["RELU"] * 8
    assert sum(note.text.startswith("Q801: codes stay codes") for note in result.notes) == 6 and not [n for n in result.refused if "Q801" in n.text]


def test_conversions_that_round_stay() -> None:
    model = chain(lambda m, x: codes(m, floats(m, x), "INT8", 0, 0.25))
    result = fix(model)
    assert result.changes == () and "other values" in result.refused[0].text


def test_an_output_of_the_graph_keeps_its_tensor() -> None:
    model = chain(lambda m, x: codes(m, floats(m, x), "INT8", 3))
    graph = model.subgraphs[0]
    graph.operators.pop()
    graph.outputs = [graph.tensor("q")]
    result = fix(model)
    assert [(o.op_name, o.outputs[0].name) for o in result.model.operators()] == [("RELU", b"q")]
    assert tk.verify(result.model) == []


def test_one_dequantize_serves_all() -> None:
    def twice(main: SubGraphBuilder, x: Tensor) -> Tensor:
        a, b = floats(main, x, "f1"), floats(main, x, "f2")
        return codes(main, main.apply("ADD", [a, b], TensorSpec("s", [1, 8], "FLOAT32"), fused_activation_function="NONE"), "INT8", 3)

    result = fix(chain(twice))
    assert [o.op_name for o in result.model.operators()] == ["RELU", "DEQUANTIZE", "ADD", "QUANTIZE", "RELU"]
    add = result.model.subgraphs[0].operators[2]
    assert add.inputs[0] is add.inputs[1]


def test_unequal_groups_get_a_quantize() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    a, b = (main.input(n, [1, 4], "INT8", quantize(s, 0)) for n, s in (("a", 0.5), ("b", 0.25)))
    joined = main.apply("CONCATENATION", [a, b], TensorSpec("j", [1, 8], "INT8", quantize(0.5, 0)), version=2, axis=1)
    pooled = main.apply("RESHAPE", [joined], TensorSpec("r", [1, 2, 2, 2], "INT8", quantize(0.5, 0)), new_shape=(1, 2, 2, 2))
    main.output(main.apply(
        "MAX_POOL_2D", [pooled], TensorSpec("p", [1, 1, 1, 2], "INT8", quantize(0.25, 5)), version=2, padding="VALID", stride_w=2, stride_h=2,
        filter_width=2, filter_height=2,
    ))  # fmt: skip
    model = builder.build()
    result = fix(model)
    assert [o.op_name for o in result.model.operators()] == ["QUANTIZE", "CONCATENATION", "RESHAPE", "MAX_POOL_2D", "QUANTIZE"]
    assert findings(result.model) == []
    assert result.model.subgraphs[0].outputs[0].name == b"p"
    if runtime.available():
        given = {0: np.int8([[1, 2, 3, 4]]), 1: np.int8([[8, 16, 24, 25]])}
        outcome = runtime.run(tk.serialize(result.model), inputs=given)
        real = np.concatenate([given[0] * 0.5, given[1] * 0.25]).reshape(2, 2, 2).max(axis=(0, 1))
        found = (np.frombuffer(outcome.outputs[0][2], np.int8).astype(float) - 5) * 0.25
        assert outcome.ok and np.abs(found - real).max() <= 0.5


def test_a_constant_of_a_group_is_encoded_again() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    a = main.input("a", [1, 2], "INT8", quantize(0.5, 0))
    b = main.constant("b", np.int8([[8, 16]]), quantization=quantize(0.25, 0))
    main.output(main.apply("CONCATENATION", [a, b], TensorSpec("j", [1, 4], "INT8", quantize(0.5, 0)), version=2, axis=1))
    result = fix(builder.build())
    assert [o.op_name for o in result.model.operators()] == ["CONCATENATION"]
    assert result.model.subgraphs[0].operators[0].inputs[1].numpy().tolist() == [[4, 8]]
    assert findings(result.model) == []


def test_versions_are_raised_and_never_lowered() -> None:
    model = convolution()
    model.operator_codes[0].version = 1
    model.operator_codes[1].version = 3
    made = fix(model).model
    assert [code.version for code in made.operator_codes] == [3, 3]
    model.metadata.append(tk.Metadata(name="min_runtime_version", buffer=model.add_buffer(b"1.5.0".ljust(16, b"\0"))))
    made = fix(model).model
    assert bytes(made.metadata[0].buffer.data).rstrip(b"\0").decode() >= "2.3.0"


def test_a_repair_that_does_not_help_or_harms_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolution()
    requantize(model, "y", scale=[0.01])

    def useless(bench: Bench, finding: Any) -> None:
        bench.tensor(finding).name = b"z"
        bench.tensor(finding).name = b"y"
        bench.say(None, finding, "nothing")

    def harmful(bench: Bench, finding: Any) -> None:
        table.outputs.fixed(bench, finding)
        requantize(bench.model, "b", zero_point=[0, 1, 0])

    for fixer, reason in ((useless, "does not help"), (harmful, "bring up Q303")):
        monkeypatch.setitem(table.FIXERS, "Q401", fixer)
        result = fix(model, "Q401")
        assert result.changes == () and reason in result.refused[0].text


def test_every_repair_is_of_a_finding() -> None:
    assert set(CODES) >= set(table.FIXERS)
    assert engine.ROUNDS >= 2


@pytest.mark.usefixtures("models")
def test_every_real_model_is_repaired_or_left_with_reasons() -> None:
    """Twice is once; what is written reads back; nothing new of severity error or warning."""
    for path in VALID_PATHS:
        model = tk.read(path)
        result = fix(model)
        if not result.changes:
            continue
        assert fix(result.model).changes == (), path.name
        assert tk.diff(tk.parse(tk.serialize(result.model)), result.model) == [], path.name
        before, after = ([f.code for f in tk.audit(m).findings if f.severity != "info"] for m in (model, result.model))
        assert not set(after) - set(before), path.name


def test_types_that_only_one_tensor_has_are_restored() -> None:
    model = convolution()
    tensor(model, "c").type = TensorType.UINT8
    result = fix(model)
    assert tk.diff(convolution(), result.model) == []
