"""`compare`: the same model, other types of inputs and outputs, float against quantized, signatures, shapes, and comparisons that show nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.errors import EditError, RuntimeCheckError
from tflitekit.graph import Model
from tflitekit.runtime import Comparison, RandomData

from ..runtime import needs_runtime
from .models import WEIGHTS, dense, elementwise, float_dense, times_zero

pytestmark = needs_runtime

SOME = ("aeq_two_signatures_a8w8", "gen_mnist_a16w8")


def only(result: Comparison) -> Any:
    (output,) = result.outputs
    return output


# ---- the same model ----


@pytest.mark.parametrize("name", SOME)
def test_a_model_is_equal_to_itself_in_every_resolver(models: Path, name: str) -> None:
    for resolver in ("default", "reference"):
        result = tk.runtime.compare(models / f"{name}.tflite", models / f"{name}.tflite", RandomData(2), resolver=resolver, tolerance="0")
        assert (result.equal, result.within, result.shows, result.missing) == (True, True, True, [])
        assert all(output.errors.elements and output.errors.sqnr == float("inf") for output in result.outputs)


@pytest.mark.slow
def test_every_model_is_equal_to_itself_or_refused(model_path: Path) -> None:
    for resolver in ("default", "reference"):
        try:
            result = tk.runtime.compare(model_path, model_path, RandomData(2), resolver=resolver, limits=tk.runtime.Limits(memory=8192))
        except RuntimeCheckError as error:
            status = error.status
        else:
            status = "equal" if result.equal else "differs"
        assert status in ("equal", "refused")


def test_a_changed_weight_shows() -> None:
    weights = WEIGHTS.copy()
    weights[2, 3] = 127 if weights[2, 3] < 0 else -127
    output = only(tk.runtime.compare(dense(), dense(weights=weights)))
    assert output.errors.at[1] == (0, 2)
    assert output.max_lsb > 5 and output.errors.differing <= 4


# ---- other types of inputs and outputs ----


@pytest.mark.parametrize(
    ("a", "b", "resolver"),
    [("INT8", "UINT8", "default"), ("UINT8", "INT16", "reference"), ("INT8", "FLOAT32", "default"), ("FLOAT32", "UINT8", "reference")],
)
def test_the_same_layer_with_other_types_is_equal_in_real_values(a: str, b: str, resolver: str) -> None:
    result = tk.runtime.compare(dense(a), dense(b), RandomData(3), resolver=resolver)
    assert (result.equal, result.shows, only(result).lsb) == (True, True, float(np.float32(0.2)))


def test_codes_are_not_compared_as_numbers() -> None:
    """A control: the codes of both types do differ."""
    (a,), (b,) = (list(tk.runtime.run(dense(io), RandomData(1))[0].values()) for io in ("INT8", "UINT8"))
    assert (a.astype(int) + 128 == b).all() and (a != b).any()


def test_float_against_quantized_is_within_half_a_step() -> None:
    for a, b in ((float_dense(), dense("FLOAT32")), (dense("UINT8"), float_dense())):
        output = only(tk.runtime.compare(a, b, RandomData(8)))
        assert 0.1 < output.max_lsb < 0.55 and output.lsb == float(np.float32(0.2))
        assert 25 < output.errors.sqnr < 60 and output.errors.cosine > 0.999
        assert output.errors.top1_agree >= 7 and output.errors.top1_rows == 8


def test_a_naive_change_of_the_input_scale_shows() -> None:
    wrong = dense()
    parameters = wrong.subgraphs[0].inputs[0].quantization  # type: ignore[union-attr]
    assert parameters is not None
    parameters.scale = np.float32(0.04)  # twice; the bias keeps its own
    result = tk.runtime.compare(dense(), wrong, RandomData(8), tolerance="1lsb")
    assert result.within is False and only(result).max_lsb > 1.5


def test_given_values_that_a_model_cannot_hold_are_counted() -> None:
    values = np.linspace(-4, 4, 8, dtype=np.float32)[None]
    (entry,) = tk.runtime.compare(dense(), float_dense(), [values]).interfaces[0].inputs
    assert (entry.low, entry.high, entry.elements, entry.how) == (-4, 4, 8, "real values")
    assert entry.clipped == [4, 0]  # -4, -2.86, 2.86 and 4 are beyond -2.66 and 2.44
    assert entry.slot.ports[0].codes is not None


# ---- signatures, shapes ----


def test_signatures_are_run_by_name_each(models: Path) -> None:
    path = models / "litert_multi_signature_model.tflite"
    result = tk.runtime.compare(path, path, RandomData(1))
    assert [(each.key, each.matched, [i.slot.name for i in each.inputs]) for each in result.interfaces] == [
        ("add", "name", ["a", "b"]), ("mul", "name", ["a", "b"]), ("sub", "name", ["a", "b"]),
    ]  # fmt: skip
    found = tk.runtime.run(path, [{"a": np.full((10, 10), 3.0), "b": np.full((10, 10), 2.0)}], signature="sub")
    assert found[0]["output"].flat[0] == 1.0


def test_a_missing_signature_is_never_within(models: Path) -> None:
    path = models / "litert_multi_signature_model.tflite"
    less = tk.read(path)
    del less.signature_defs[1]
    result = tk.runtime.compare(path, less, RandomData(1), tolerance="0")
    assert (result.missing, result.within, result.equal, len(result.interfaces)) == ([("a", "mul")], False, False, 2)
    with pytest.raises(EditError, match=r"no signature 'div' that can be run\. Its signatures: 'add', 'mul', 'sub'"):
        tk.runtime.compare(path, path, signature="div")
    assert [each.key for each in tk.runtime.compare(path, path, RandomData(1), signature="mul").interfaces] == ["mul"]


def test_a_renamed_or_dropped_signature_still_compares() -> None:
    for other in (dense("UINT8", "serve"), dense("UINT8")):
        assert tk.runtime.compare(dense(signature="main"), other, RandomData(1)).equal


def test_inputs_are_paired_by_their_names_in_the_signature() -> None:
    def model(swapped: bool) -> Model:
        builder = ModelBuilder()
        graph = builder.subgraph()
        x, y = (graph.input(name, (1, 4)) for name in "xy")
        graph.output(graph.apply("SUB", [y, x] if swapped else [x, y], TensorSpec("out", (1, 4))))
        builder.signature("serve", {"b": x, "a": y} if swapped else {"a": x, "b": y}, {"out": graph.subgraph.outputs[0]}, graph)  # type: ignore[dict-item]
        return builder.build()

    assert tk.runtime.compare(model(False), model(True)).equal
    a, b = model(False), model(True)
    a.signature_defs = b.signature_defs = []
    assert not tk.runtime.compare(a, b).equal  # by position it is another function


def test_a_shape_may_name_the_tensor_of_an_input() -> None:
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (-1, 3))
    graph.output(graph.apply("ABS", [x], TensorSpec("out", (-1, 3))))
    builder.signature("serve", {"caller": x}, {"result": graph.subgraph.outputs[0]}, graph)
    model = builder.build()
    for name in ("caller", "x"):
        assert tk.runtime.run(model, RandomData(1), shapes={name: (5, 3)})[0]["result"].shape == (5, 3)
    with pytest.raises(EditError, match=r"no input is named 'out'\. Inputs: 'caller'"):
        tk.runtime.run(model, shapes={"out": (5, 3)})


def test_dynamic_dimensions_are_one_unless_a_shape_is_given() -> None:
    model = elementwise("ABS", (-1, 3))
    assert tk.runtime.run(model, RandomData(1))[0]["out"].shape == (1, 3)
    result = tk.runtime.compare(model, model, RandomData(1), shapes={"a": (5, 3)})
    assert only(result).errors.elements == 15 and result.equal
    with pytest.raises(EditError, match=r"no input is named 'b'\. Inputs: 'a'"):
        tk.runtime.compare(model, model, shapes={"b": (1, 3)})


# ---- what cannot be compared ----


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (elementwise("ABS", (1, 4)), elementwise("ABS", (1, 5)), r"input 'a' has the shape \[1, 4\] in A and \[1, 5\] in B\. The same values"),
        (elementwise("ABS", (-1, 4)), elementwise("ABS", (1, 5)), r"in B\. --shape a=\.\.\. sets that of a dynamic input"),
        (elementwise("ABS", (1, 4)), elementwise("ADD", (1, 4), inputs=2), "A has 1 inputs and B 2"),
        (dense(), elementwise("LOGICAL_NOT", (1, 8), "BOOL"), "no common value"),
    ],
)
def test_models_that_do_not_go_together(a: Model, b: Model, message: str) -> None:
    with pytest.raises(EditError, match=message):
        tk.runtime.compare(a, b)


def test_strings_are_refused(models: Path) -> None:
    path = models / "litert_string.tflite"
    with pytest.raises(RuntimeCheckError, match="input 'string_input' of the model is STRING; only numbers and booleans can be fed"):
        tk.runtime.compare(path, path)


def test_a_tolerance_in_steps_needs_steps() -> None:
    with pytest.raises(EditError, match="no scale says what its LSB is"):
        tk.runtime.compare(float_dense(), float_dense(), tolerance="1lsb")


# ---- comparisons that show nothing ----


def test_outputs_that_no_input_changes_are_told() -> None:
    model = times_zero()
    dead = tk.runtime.compare(model, model, [np.full((1, 4), v, np.float32) for v in (1, 2, 3)])
    assert (dead.equal, dead.shows, only(dead).varies) == (True, False, (False, False))
    assert tk.runtime.compare(model, elementwise("ABS", (1, 4))).shows is False  # one of both is not enough


def test_a_model_without_inputs() -> None:
    builder = ModelBuilder()
    graph = builder.subgraph()
    codes = graph.constant("c", np.array([[1, 2]], np.int8), quantization=quantize(0.5))
    graph.output(graph.apply("DEQUANTIZE", [codes], TensorSpec("y", (1, 2)), version=2))
    result = tk.runtime.compare(builder.build(), builder.build(), resolver="reference")
    assert (result.equal, result.shows, only(result).lsb) == (True, False, 0.5)


# ---- run ----


def test_run_feeds_codes_or_real_values_and_decodes() -> None:
    x = np.array([[3, -100, 5, 0, 7, 120, -2, 1]], np.int8)
    real = ((x.astype(np.int64) - 5) * np.float32(0.02)).astype(np.float32)
    (codes,), (decoded,) = tk.runtime.run(dense(), [x]), tk.runtime.run(dense(), [real], decode=True)
    np.testing.assert_array_equal((codes["dense"].astype(np.float32) + 7) * np.float32(0.2), decoded["dense"])
    (expected,) = tk.runtime.run(float_dense(), [real])
    np.testing.assert_allclose(decoded["dense"], expected["y"], atol=0.101)


def test_edited_models_are_run_as_edited(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    tk.write(dense(), path)
    model = tk.read(path)
    kernel = model.subgraphs[0].tensor("kernel")
    model.set_data(kernel, np.zeros((6, 8), np.int8))
    assert not tk.runtime.compare(path, model, RandomData(1)).equal
    assert tk.runtime.compare(tk.serialize(model), model, RandomData(1)).equal
    with pytest.raises(EditError, match="expected a path, bytes or a Model, got int"):
        tk.runtime.compare(path, 3)
