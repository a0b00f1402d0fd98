"""`convert-activations` where operators hang together: what codes cut off, shared tensors, fixed parameters, subgraphs, variables, odd files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.passes.boundary_models import bounds, metadata_model
from tests.passes.test_convert_activations import Both, affine, apply, needs_runtime, run_both, tensor
from tflitekit._schema import ActivationFunctionType, TensorType
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.errors import RefusedError
from tflitekit.graph import Model, Tensor
from tflitekit.types import numpy_dtype

LIMITS = {runtime.REFERENCE: 1.0, runtime.NO_DELEGATES: 1.0}


def started(type_: str = "INT8", shape: tuple[int, ...] = (1, 8), scale: float = 0.5) -> tuple[ModelBuilder, SubGraphBuilder, Tensor]:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    return builder, main, main.input("x", shape, type_, quantize(scale, 3 if type_ == "INT8" else 131))


def names(model: Model, subgraph: int = 0) -> list[str]:
    return [operator.op_name for operator in model.subgraphs[subgraph].operators]


def check(before: Model, after: Model, least: float = 5) -> None:
    """Both compute the same, of which `least` steps of the first output are used."""
    for resolver, limit in LIMITS.items():
        both = run_both(before, after, resolver)
        assert isinstance(both, Both), both
        assert np.ptp(both.before[0]) >= least * both.steps[0]
        assert both.lsb <= limit, (resolver, both.lsb)


def weighted(code: str, shape: tuple[int, ...], weights: tuple[int, ...], out: tuple[int, ...], **options: Any) -> Model:
    """An operator with weights whose results below 0 the lowest code cuts off."""
    builder, main, x = started(shape=shape)
    codes = np.random.default_rng(1).integers(-127, 128, weights).astype(np.int8)
    w = main.constant("w", codes, quantization=quantize(0.01))
    bias = main.constant("b", np.zeros(out[-1], np.int32), quantization=quantize(np.float32(0.5) * np.float32(0.01)))
    spec = TensorSpec("y", out, "INT8", quantize(1.5, -128))
    given: list[Tensor | None] = [x, w, bias]
    if code == "TRANSPOSE_CONV":
        given = [main.constant("s", np.array(out, np.int32)), w, x]
    elif code == "BATCH_MATMUL":
        given = [x, w]
    main.output(main.apply(code, given, spec, **options))
    return builder.build()


def arithmetic(code: str) -> Model:
    builder, main, x = started()
    other = main.constant("c", np.array([[-9, 20, 100, -100, 5, 77, -30, 1]], np.int8), quantization=quantize(0.25, 2))
    main.output(main.apply(code, [x, other], TensorSpec("y", [1, 8], "INT8", quantize(0.5, -128)), fused_activation_function="NONE"))
    return builder.build()


STRIDES = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
def difference() -> Model:
    """SUB of what never is below 0."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    a, b = (main.input(name, [1, 8], "INT8", quantize(0.5, -128)) for name in "ab")
    main.output(main.apply("SUB", [a, b], TensorSpec("y", [1, 8], "INT8", quantize(0.5, -128)), fused_activation_function="NONE"))
    return builder.build()


CUT: dict[str, Callable[[], Model]] = {
    "CONV_2D": lambda: weighted("CONV_2D", (1, 4, 4, 2), (3, 2, 2, 2), (1, 4, 4, 3), **STRIDES),
    "DEPTHWISE_CONV_2D": lambda: weighted("DEPTHWISE_CONV_2D", (1, 4, 4, 2), (1, 2, 2, 2), (1, 4, 4, 2), depth_multiplier=1, **STRIDES),
    "TRANSPOSE_CONV": lambda: weighted("TRANSPOSE_CONV", (1, 4, 4, 2), (3, 2, 2, 2), (1, 4, 4, 3), **STRIDES),
    "FULLY_CONNECTED": lambda: weighted("FULLY_CONNECTED", (1, 8), (6, 8), (1, 6)),
    "BATCH_MATMUL": lambda: weighted("BATCH_MATMUL", (1, 8), (8, 6), (1, 6)),
    **{code: (lambda code=code: arithmetic(code)) for code in ("ADD", "MUL")}, "SUB": difference,  # type: ignore[misc]
}


@needs_runtime
@pytest.mark.parametrize("code", CUT)
def test_what_codes_cut_off_at_zero_is_cut_off_in_int16_too(code: str) -> None:
    model = CUT[code]()
    result = apply(model, "int16")
    assert names(result.model) == [code, "RELU"] if code == "BATCH_MATMUL" else [code]
    assert any("since INT8 codes ended at 0" in note.text for note in result.notes)
    check(model, result.model)
    without = tk.parse(tk.serialize(result.model))
    operator = without.subgraphs[0].operators[0]
    if code != "BATCH_MATMUL":
        operator.options.fused_activation_function = ActivationFunctionType.NONE  # type: ignore[union-attr]
        both = run_both(model, without, runtime.REFERENCE)
        assert isinstance(both, Both) and both.lsb > 5
    assert [f.code for f in tk.audit(result.model).findings if f.severity == "error"] == []


def test_nothing_is_cut_off_where_values_only_move_or_start_above_zero() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4, 4, 2], "INT8", quantize(0.5, -128))
    pooled = main.apply(
        "AVERAGE_POOL_2D", [x], TensorSpec("p", [1, 2, 2, 2], "INT8", quantize(0.5, -128)), version=2, padding="VALID", stride_w=2, stride_h=2,
        filter_width=2, filter_height=2,
    )  # fmt: skip
    axes = main.constant("axes", np.array([1, 2], np.int32))
    main.output(main.apply("MEAN", [pooled, axes], TensorSpec("y", [1, 2], "INT8", quantize(0.25, -128)), version=2))
    result = apply(builder.build(), "int16")
    assert not any("ended at 0" in note.text for note in result.notes) and names(result.model) == ["AVERAGE_POOL_2D", "MEAN"]


def test_metadata_follows() -> None:
    builder, main, x = started()
    h = main.apply("HARD_SWISH", [x], TensorSpec("h", [1, 8], "INT8", quantize(0.25, 0)))
    main.output(main.apply("LOGISTIC", [h], TensorSpec("y", [1, 8], "INT8", quantize(1 / 256, -128)), version=2))
    builder.metadata("model_control_dependencies", b"\0")
    builder.metadata("min_runtime_version", b"1.14.0".ljust(16, b"\0"))
    made = apply(builder.build(), "int16").model
    assert [entry.name for entry in made.metadata] == [b"min_runtime_version"]
    assert made.metadata[0].buffer is not None and bytes(made.metadata[0].buffer.data or b"").rstrip(b"\0") == b"2.3.0"


def test_a_quantize_between_the_two_types_goes() -> None:
    builder, main, x = started("UINT8")
    q = main.apply("QUANTIZE", [x], TensorSpec("q", [1, 8], "INT8", quantize(0.5, 3)))
    r = main.apply("RELU", [q], TensorSpec("r", [1, 8], "INT8", quantize(0.25, -1)), version=2)
    main.output(r, main.apply("QUANTIZE", [r], TensorSpec("y", [1, 8], "UINT8", quantize(0.25, 127))))
    made = apply(builder.build(), "int8").model
    assert names(made) == ["RELU", "QUANTIZE"]  # the other one is an output beside its input
    assert [t.name for t in made.subgraphs[0].tensors] == [b"x", b"r", b"y"]
    assert tensor(made, "x").consumers()[0].op_name == "RELU"


@needs_runtime
def test_a_tensor_that_is_weights_and_activation_becomes_two() -> None:
    builder, main, x = started("UINT8")
    codes = np.random.default_rng(2).integers(0, 256, (8, 8)).astype(np.uint8)
    w = main.constant("w", codes, quantization=quantize(0.02, 40))
    added = main.apply("ADD", [x, w], TensorSpec("s", [8, 8], "UINT8", quantize(0.6, 120)), fused_activation_function="NONE")
    y = main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 8], "UINT8", quantize(4, 128)))
    main.output(y, added)
    model = builder.build()
    made = apply(model, "int8").model
    assert affine(tensor(made, "w")) == ([float(np.float32(0.02))], [40 - 128])
    np.testing.assert_array_equal(tensor(made, "w").numpy(), codes.astype(int) - 128)
    assert affine(tensor(made, "w_1"))[1] == [0]
    check(model, made)


def test_weights_of_floats_and_of_codes_are_two_tensors() -> None:
    builder, main, x = started()
    f = main.input("f", [1, 8])
    w = main.constant("w", np.full((8, 8), 3, np.int8), quantization=quantize(0.02))
    main.output(main.apply("FULLY_CONNECTED", [f, w, None], TensorSpec("g", [1, 8])))
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 8], "INT8", quantize(4, 0))))
    made = apply(builder.build(), "uint8").model
    hybrid, integer = made.subgraphs[0].operators
    assert hybrid.inputs[1] is not None and integer.inputs[1] is not None
    assert (hybrid.inputs[1].type, integer.inputs[1].type) == (TensorType.INT8, TensorType.UINT8)


def test_weights_along_two_axes_are_two_tensors() -> None:
    builder, main, x = started("UINT8", (1, 4, 4, 2))
    codes = np.zeros((2, 1, 1, 2), np.uint8)
    codes[0, 0, 0, 0] = 255
    w = main.constant("w", codes, quantization=quantize(0.01, 0))
    main.output(main.apply("CONV_2D", [x, w, None], TensorSpec("c", [1, 4, 4, 2], "UINT8", quantize(1.0, 128)), **STRIDES))
    out = TensorSpec("d", [1, 4, 4, 2], "UINT8", quantize(1.0, 128))
    main.output(main.apply("DEPTHWISE_CONV_2D", [x, w, None], out, depth_multiplier=1, **STRIDES))
    made = apply(builder.build(), "int8").model
    found = [o.inputs[1].quantization for o in made.operators() if o.inputs[1] is not None]
    assert [q.quantized_dimension for q in found if q is not None] == [0, 3]


@needs_runtime
@pytest.mark.parametrize(("source", "to"), [("UINT8", "int8"), ("INT8", "uint8"), ("INT8", "int16")])
def test_the_rows_of_a_table_keep_the_parameters_of_the_output(source: str, to: str) -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    ids = main.constant("ids", np.array([2, 0], np.int32))
    codes = np.arange(24).reshape(3, 8).astype(numpy_dtype(TensorType[source]))
    table = main.constant("table", codes, quantization=quantize(0.5, 7))
    rows = main.apply("EMBEDDING_LOOKUP", [ids, table], TensorSpec("rows", [2, 8], source, quantize(0.5, 7)))
    main.output(main.apply("RELU", [rows], TensorSpec("y", [2, 8], source, quantize(0.1, 7)), version=2))
    model = builder.build()
    result = apply(model, to)
    assert names(result.model) == ["EMBEDDING_LOOKUP", "RELU"]
    assert affine(tensor(result.model, "table")) == affine(tensor(result.model, "rows"))
    check(model, result.model)


@needs_runtime
def test_computed_weights() -> None:
    """Matrix products take them in INT16, where the bias must be declared INT64; convolutions do not and stay."""
    builder, main, x = started()
    other = main.input("w", [8, 8], "INT8", quantize(0.05, 0))
    bias = main.constant("b", np.arange(8, dtype=np.int32) * 100, quantization=quantize(np.float32(0.5) * np.float32(0.05)))
    main.output(main.apply("FULLY_CONNECTED", [x, other, bias], TensorSpec("y", [1, 8], "INT8", quantize(4, 1)), version=4))
    model = builder.build()
    made = apply(model, "int16").model
    operator = made.subgraphs[0].operators[0]
    assert (operator.options.quantized_bias_type, tensor(made, "b").type) == (TensorType.INT64, TensorType.INT64)  # type: ignore[union-attr]
    check(model, made)
    builder, main, x = started(shape=(1, 4, 4, 2))
    kernel = main.input("w", [3, 2, 2, 2], "INT8", quantize(0.01, 0))
    bias = main.constant("b", np.zeros(3, np.int32), quantization=quantize(np.float32(0.5) * np.float32(0.01)))
    out = TensorSpec("y", [1, 4, 4, 3], "INT8", quantize(1.0, 1))
    main.output(main.apply("CONV_2D", [x, kernel, bias], out, **STRIDES))
    result = apply(builder.build(), "int16")
    assert any("CONV_2D stays INT8: its weights are computed" in note.text for note in result.notes)
    assert tensor(result.model, "b").type == TensorType.INT32
    check(builder.build(), result.model)


def test_what_must_stay_says_why() -> None:
    def built(edit: Callable[[Model], object]) -> Model:
        model = weighted("FULLY_CONNECTED", (1, 8), (6, 8), (1, 6))
        edit(model)
        return model

    def scale(name: str, value: Any) -> Callable[[Model], object]:
        return lambda m: object.__setattr__(tensor(m, name).quantization, "scale", np.float32(value))

    def computed(model: Model) -> None:
        tensor(model, "b").buffer = model.buffers[0]

    def external(model: Model) -> None:
        other = ModelBuilder()
        tensor(model, "w").external_buffer = other.external_buffer("f.bin", 0, 48)
        model.external_buffer_groups, model.external_buffers = other.model.external_buffer_groups, other.model.external_buffers

    for edit, why in (
        (scale("x", [np.nan]), "the parameters of an activation are no scale and zero point"), (scale("x", [0]), "no scale and zero point"),
        (scale("x", [1, 2]), "an activation has several scales"), (scale("w", [1, 2, 3]), "the parameters of its weights do not fit them"),
        (scale("w", [-1]), "do not fit them"), (computed, "its bias is computed"), (external, "the data of 'w' is not in the file"),
        (lambda m: setattr(tensor(m, "w"), "quantization", None), "its weights are no plain codes"),
    ):  # fmt: skip
        result = apply(built(edit), "int16")
        assert any(note.text.startswith("FULLY_CONNECTED stays INT8: ") and why in note.text for note in result.notes), why
        assert names(result.model)[-1] in ("FULLY_CONNECTED", "QUANTIZE")


def test_odd_models_are_no_trouble() -> None:
    builder, main, x = started("UINT8")
    constant = main.constant("c", np.full((1, 8), 200, np.uint8), quantization=quantize(0.25, 0))
    y = main.apply("ADD", [x, constant], TensorSpec("y", [1, 8], "UINT8", quantize(1, 0)), fused_activation_function="NONE")
    main.output(y)
    main.operator("QUANTIZE", [], [])
    main.operator("QUANTIZE", [y], [TensorSpec("z", [1, 8], "UINT8", quantize(1, 0))]).opcode = None
    model = builder.build()
    assert constant.quantization is not None
    constant.quantization.zero_point = None
    constant.quantization.quantized_dimension = 9
    model.subgraphs[0].operators[0].builtin_options = None
    made = apply(model, "int16").model
    assert tensor(made, "c").numpy().tolist() == [[round(50 / (float(np.float32(0.25)) * 255 / 32767))] * 8]
    assert made.subgraphs[0].operators[0].options.pot_scale_int16 is False  # type: ignore[union-attr]


def test_zero_points_of_channels_count_when_scales_become_one() -> None:
    model = weighted("FULLY_CONNECTED", (1, 8), (6, 8), (1, 6))
    q = tensor(model, "w").quantization
    assert q is not None
    q.scale, q.zero_point = [0.01] * 5 + [0.02], [1, 2, 3, 4, 5, 6]
    real = (tensor(model, "w").numpy() - q.zero_point.reshape(6, 1)) * q.scale.astype(float).reshape(6, 1)
    result = apply(model, "uint8", per_tensor=True)
    made = tensor(result.model, "w")
    (step,), (point,) = affine(made)
    error = float(np.abs((made.numpy().astype(int) - point) * step - real).max())
    assert 0 < error <= step / 2 + 1e-9
    note = next(note for note in result.notes if note.name == "w")
    assert note.data["max_error"] == pytest.approx(error, rel=1e-6)
    assert f"{min(int(np.ptp(row)) + 1 for row in made.numpy())} levels in the poorest channel" in note.text


def test_a_bias_is_declared_what_it_is() -> None:
    model = CUT["CONV_2D"]()
    model.subgraphs[0].operators[0].options.quantized_bias_type = TensorType.INT32  # type: ignore[union-attr]
    made = apply(model, "int16").model
    assert made.subgraphs[0].operators[0].options.quantized_bias_type == TensorType.INT64  # type: ignore[union-attr]
    if runtime.available():
        check(model, made)


def test_a_bias_of_another_length_is_left_alone() -> None:
    model = CUT["FULLY_CONNECTED"]()
    q = tensor(model, "w").quantization
    assert q is not None
    q.scale, q.zero_point = [0.01] * 6, [0] * 6
    tensor(model, "b").shape = (5,)
    result = tk.run(model, tk.passes.SetQuantization(tensor=("x",), scale="0.25", keep="real"))
    assert [change.path for change in result.changes] == ["subgraphs[0].tensors[0].quantization.scale"]


@needs_runtime
def test_fixed_parameters_travel_through_what_moves_codes() -> None:
    builder, main, x = started()
    y = main.apply("LOGISTIC", [x], TensorSpec("l", [1, 8], "INT8", quantize(1 / 256, -128)), version=2)
    shape = main.constant("shape", np.array([2, 4], np.int32))
    y = main.apply("RESHAPE", [y, shape], TensorSpec("r", [2, 4], "INT8", quantize(1 / 256, -128)))
    pads, zero = main.constant("pads", np.array([[0, 0], [1, 1]], np.int32)), np.array([-64], np.int8)
    value = main.constant("value", zero, quantization=quantize(1 / 256, -128))
    y = main.apply("PADV2", [y, pads, value], TensorSpec("p", [2, 6], "INT8", quantize(1 / 256, -128)), version=2)
    main.output(y)
    model = builder.build()
    made = apply(model, "int16").model
    assert names(made) == ["LOGISTIC", "RESHAPE", "PADV2"]
    assert {tuple(affine(tensor(made, name))[0]) for name in ("l", "r", "value", "p")} == {(1 / 32768,)}
    assert tensor(made, "value").numpy().tolist() == [8192]
    check(model, made)


def test_an_operand_that_is_given_twice_is_converted_once() -> None:
    builder, main, x = started("UINT8")
    out = TensorSpec("y", [2, 8], "UINT8", quantize(0.7, 100))
    main.output(main.apply("CONCATENATION", [x, x], out, axis=0, fused_activation_function="NONE"))
    made = apply(builder.build(), "int8").model
    assert names(made) == ["QUANTIZE", "CONCATENATION"]
    (inner,) = set(made.subgraphs[0].operators[1].inputs)
    assert inner is not None and affine(inner) == affine(tensor(made, "y"))


def branches() -> Model:
    """IF of two bodies; what one returns has the parameters that LOGISTIC gives."""
    builder, main, x = started()
    bodies = []
    q = quantize(1 / 256, -128)
    for name in ("then", "else"):
        body = builder.subgraph(name)
        given = body.input(f"{name}_x", [1, 8], "INT8", quantize(0.5, 3))
        if name == "then":
            body.output(body.apply("LOGISTIC", [given], TensorSpec("l", [1, 8], "INT8", q), version=2))
        else:
            body.output(body.apply("RELU", [given], TensorSpec("o", [1, 8], "INT8", q), version=2))
        bodies.append(body)
    condition = main.constant("flag", np.array([True]))
    (y,) = main.operator("IF", [condition, x], [TensorSpec("y", [1, 8], "INT8", q)], then_subgraph=bodies[0], else_subgraph=bodies[1]).outputs
    assert y is not None
    main.output(y)
    return builder.build()


@needs_runtime
def test_subgraphs_hand_over_what_the_caller_takes() -> None:
    model = branches()
    result = apply(model, "int16")
    assert names(result.model, 1) == ["LOGISTIC", "QUANTIZE"] and names(result.model, 2) == ["RELU"]
    for body in result.model.subgraphs[1:]:
        assert body.outputs[0] is not None and affine(body.outputs[0]) == affine(tensor(result.model, "y"))
    check(model, result.model)
    object.__setattr__(tensor(model, "x").quantization, "scale", np.float32([np.nan]))
    with pytest.raises(RefusedError, match="IF hands over 'x'"):
        apply(model, "int16")


@needs_runtime
def test_variables_are_stored_as_they_are_read() -> None:
    builder, main, x = started()
    handle = TensorSpec("handle", [], "RESOURCE")
    first = main.apply("VAR_HANDLE", [], handle, container="", shared_name="v")
    stored = main.apply("LOGISTIC", [x], TensorSpec("l", [1, 8], "INT8", quantize(1 / 256, -128)), version=2)
    main.operator("ASSIGN_VARIABLE", [first, stored], [])
    main.output(main.apply("READ_VARIABLE", [first], TensorSpec("y", [1, 8], "INT8", quantize(1 / 256, -128))))
    model = builder.build()
    made = apply(model, "int16").model
    assert names(made) == ["VAR_HANDLE", "LOGISTIC", "QUANTIZE", "ASSIGN_VARIABLE", "READ_VARIABLE"]
    check(model, made)


def test_signatures_of_an_inserted_output_follow() -> None:
    model = branches()
    body = model.subgraphs[1]
    (out,), (given,) = body.outputs, body.inputs
    assert out is not None and given is not None
    model.signature_defs.append(tk.SignatureDef(signature_key="s", subgraph=body, inputs={"i": given}, outputs={"o": out}))
    made = apply(model, "int16").model
    assert made.signature_defs[0].outputs[0].tensor is made.subgraphs[1].outputs[0]


@pytest.mark.parametrize(("to", "expected"), [("int8", (-128, 127)), ("int16", (-32768, 32767)), ("uint8", (0, 255))])
def test_bounds_in_the_metadata_that_are_codes_follow(to: str, expected: tuple[int, int]) -> None:
    result = apply(tk.parse(tk.serialize(metadata_model(0, 255))), to)
    assert bounds(result.model) == expected
    assert any("its bounds in the metadata were the codes 0 to 255" in note.text for note in result.notes) == (to != "uint8")
    assert bounds(apply(tk.parse(tk.serialize(metadata_model(-1, 1))), to).model) == (-1, 1)
    assert apply(result.model, to).changes == ()


@pytest.mark.parametrize(("code", "point", "stays"), [("CONV_2D", 128, False), ("CONV_2D", 100, True), ("FULLY_CONNECTED", 100, False)])
def test_computed_weights_of_uint8_become_int8_where_kernels_take_their_zero_point(code: str, point: int, stays: bool) -> None:
    conv = code == "CONV_2D"
    builder, main, x = started("UINT8", (1, 4, 4, 2) if conv else (1, 8))
    w = main.input("w", [3, 2, 2, 2] if conv else [3, 8], "UINT8", quantize(0.01, point))
    bias = main.constant("b", np.array([100, -200, 300], np.int32), quantization=quantize(np.float32(0.5) * np.float32(0.01)))
    out = TensorSpec("y", [1, 4, 4, 3] if conv else [1, 3], "UINT8", quantize(1.0, 128))
    main.output(main.apply(code, [x, w, bias], out, **(STRIDES if conv else {})))
    result = apply(builder.build(), "int8")
    assert any("symmetric" in note.text for note in result.notes) == stays
    if runtime.available():
        check(builder.build(), result.model)


def test_an_operator_that_lacks_operands_stays() -> None:
    builder, main, x = started()
    main.output(main.apply("RELU", [x], TensorSpec("y", [1, 8], "INT8", quantize(0.25, -1))))
    main.operator("QUANTIZE", [x], [])
    main.operator("DEQUANTIZE", [], [TensorSpec("z", [1, 8], "INT8", quantize(0.25, -1))])
    assert x.quantization is not None
    x.quantization.zero_point, x.quantization.quantized_dimension = None, 7  # the copies for what stays have valid ones
    texts = [note.text for note in apply(builder.build(), "int16").notes]
    assert "QUANTIZE stays INT8: it lacks operands" in texts and "DEQUANTIZE stays INT8: it lacks operands" in texts


def test_zero_points_of_int8_weights_move_too() -> None:
    model = weighted("FULLY_CONNECTED", (1, 8), (6, 8), (1, 6))
    before = tensor(model, "w")
    assert before.quantization is not None
    before.quantization.zero_point = [5]
    result = apply(model, "uint8")
    after = tensor(result.model, "w")
    assert affine(after) == ([float(np.float32(0.01))], [133])
    np.testing.assert_array_equal(after.numpy(), before.numpy().astype(int) + 128)
    if runtime.available():
        check(model, result.model)


def test_matrix_products_get_one_scale() -> None:
    builder, main, x = started("UINT8")
    w = main.constant("w", np.array([[0] * 8, [255] * 8], np.uint8), quantization=quantize(0.01, 100))
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 2], "UINT8", quantize(4, 128))))
    result = apply(builder.build(), "int8")
    (scale,), (point,) = affine(tensor(result.model, "w"))
    assert point == 0 and scale == float(np.float32(155 * float(np.float32(0.01)) / 127))


def test_the_error_of_constants_is_told() -> None:
    builder, main, x = started("UINT8")
    addend = main.constant("a", np.array([[0, 100, 255, 7, 3, 9, 200, 31]], np.uint8), quantization=quantize(0.3, 7))
    main.output(main.apply("ADD", [x, addend], TensorSpec("y", [1, 8], "UINT8", quantize(1, 128)), fused_activation_function="NONE"))
    exact, wide = (apply(builder.build(), to) for to in ("int8", "int16"))
    assert (exact.notes[0].text, exact.notes[0].data["max_error"]) == ("3 activations UINT8 to INT8, exactly: codes and zero points move by 128", 0)
    scale = affine(tensor(wide.model, "a"))[0][0]
    real = (addend.numpy().astype(float) - 7) * float(np.float32(0.3))
    error = float(np.abs(tensor(wide.model, "a").numpy() * scale - real).max())
    assert 0 < error <= scale / 2
    (told,) = (note for note in wide.notes if note.name == "a")
    assert told.data["max_error"] == pytest.approx(error, rel=1e-6)
