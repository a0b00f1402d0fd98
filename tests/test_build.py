"""The model builder, judged by the graph it makes, by LiteRT's own reading of the packed bytes, and by what LiteRT computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import forge, generated, runtime
from tests.runtime import needs_runtime
from tflitekit import _schema
from tflitekit._schema import BuiltinOperator, Conv2DOptions, Padding, TensorType
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize, quantize_blockwise, quantize_multi_axis
from tflitekit.errors import EditError
from tflitekit.graph import Model, QuantizationParameters

both_resolvers = pytest.mark.parametrize("resolver", [runtime.DEFAULT, runtime.REFERENCE])


@pytest.fixture
def main() -> SubGraphBuilder:
    return ModelBuilder().subgraph("main")


Build = Callable[[], Model]


def run(model: Model, *inputs: Any, resolver: str = runtime.DEFAULT) -> np.ndarray[Any, Any]:
    """The first output of a model."""
    outcome = runtime.run(forge.pack(model), resolver, inputs=dict(enumerate(inputs)))
    assert outcome.ok, outcome.message
    dtype, shape, data = outcome.outputs[0]
    return np.frombuffer(data, dtype).reshape(shape)


# ---- quantize ----


def test_quantize_per_tensor_rounds_the_scale_to_float32_once() -> None:
    made = quantize(1 / 255, 3)
    assert made.kind == "per-tensor"
    assert float(made.scale[0]) == 0.003921568859368563
    assert made.zero_point.tolist() == [3] and made.zero_point.dtype == np.int64


def test_quantize_per_channel_repeats_one_zero_point() -> None:
    made = quantize([0.5, 0.25, 1.0], axis=3)
    assert (made.kind, made.quantized_dimension) == ("per-channel", 3)
    assert made.zero_point.tolist() == [0, 0, 0]
    assert quantize([0.5, 0.25], [1, 2], axis=0).zero_point.tolist() == [1, 2]


def test_quantize_keeps_the_axis_of_a_single_channel() -> None:
    assert quantize([0.5], axis=2).quantized_dimension == 2


def test_quantize_refuses_several_scales_without_an_axis() -> None:
    with pytest.raises(EditError, match="axis"):
        quantize([0.5, 0.25])


@pytest.mark.parametrize("scale", [0, -1, np.nan, 1e60])
def test_quantize_refuses_scales_that_are_none(scale: float) -> None:
    with pytest.raises(EditError):
        quantize(scale)


# ---- tensors and buffers ----


def test_buffer_0_is_empty_and_serves_tensors_without_data(main: SubGraphBuilder) -> None:
    x, w = main.input("x", [1]), main.constant("w", [1.0])
    buffers = main.builder.model.buffers
    assert buffers[0].data is None and x.buffer is buffers[0]
    assert buffers.index(w.buffer) == 1  # type: ignore[arg-type]


def test_constants_have_their_own_buffers_even_if_equal(main: SubGraphBuilder) -> None:
    first, second = main.constant("a", [1.0, 2.0]), main.constant("b", [1.0, 2.0])
    third = main.tensor("c", [2], "INT32", buffer=first.buffer)
    assert first.buffer is not second.buffer and third.buffer is first.buffer


def test_constants_are_copies(main: SubGraphBuilder) -> None:
    values = np.array([1, 2], np.int8)
    made = main.constant("a", values)
    values[0] = 9
    assert made.numpy().tolist() == [1, 2]


def test_constants_of_any_memory_order_are_stored_row_by_row(main: SubGraphBuilder) -> None:
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    assert bytes(main.constant("a", np.asfortranarray(values)).buffer.data) == values.tobytes()  # type: ignore[union-attr,arg-type]
    assert main.constant("b", values.T).numpy().tolist() == values.T.tolist()
    assert main.constant("c", values.astype(">i2"), "INT16").numpy().tolist() == values.tolist()


@pytest.mark.parametrize(
    ("values", "wanted", "shape"),
    [
        (2, "INT32", ()),
        (2.5, "FLOAT32", ()),
        ([1, 2], "INT32", (2,)),
        ([[True]], "BOOL", (1, 1)),
        (["a"], "STRING", (1,)),
        (b"a", "STRING", ()),
    ],
)
def test_type_of_python_values(main: SubGraphBuilder, values: Any, wanted: str, shape: tuple[int, ...]) -> None:
    made = main.constant("a", values)
    assert (made.type.name, made.shape) == (wanted, shape)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int64", "float16", "float32", "float64", "bool", "complex64", "uint64"])
def test_type_follows_the_dtype_of_arrays(main: SubGraphBuilder, dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype)
    made = main.constant("a", values)
    assert made.type.name == dtype.upper()
    assert np.array_equal(made.numpy(), values) and made.numpy().dtype == dtype


@pytest.mark.parametrize(
    ("type_", "values", "packed"), [("INT4", [-8, 7, -1], "780f"), ("UINT4", [1, 15], "f1"), ("INT2", [-2, 1, 0, -1, 1], "c601")]
)
def test_narrow_types_are_packed(main: SubGraphBuilder, type_: str, values: list[int], packed: str) -> None:
    made = main.constant("a", values, type_)
    assert bytes(made.buffer.data).hex() == packed  # type: ignore[union-attr,arg-type]
    assert made.numpy().astype(int).tolist() == values


def test_strings_keep_trailing_zero_bytes(main: SubGraphBuilder) -> None:
    assert main.constant("a", ["x\0", b"\xff", ""]).strings() == [b"x\0", b"\xff", b""]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (np.array([1.0]), "FLOAT32"), (np.array([1.0], np.float32), "INT8"), ([300], "INT8"), ([1.5], "INT8"), ([1e60], "FLOAT32"), (2**40, None),
        ([8], "INT4"), ([1.0], "INT4"), ([1], "STRING"), (np.array([1]), "STRING"), (["a"], "INT8"), ([-1], "UINT8"), ([1], "RESOURCE"),
        ([1], "FLOAT"), ([[1], [1, 2]], None),
    ],
)  # fmt: skip
def test_constants_that_do_not_fit_are_refused(main: SubGraphBuilder, values: Any, type_: str | None) -> None:
    with pytest.raises(EditError):
        main.constant("a", values, type_)


def test_refused_constants_leave_nothing_behind(main: SubGraphBuilder) -> None:
    with pytest.raises(EditError):
        main.constant("a", [9], "INT4")
    assert main.subgraph.tensors == [] and len(main.builder.model.buffers) == 1


def test_dynamic_dimensions_are_1_in_the_shape(main: SubGraphBuilder) -> None:
    x = main.input("x", [-1, 3])
    assert (x.shape, x.shape_signature) == ((1, 3), (-1, 3))
    assert not main.input("y", [1, 3]).has("shape_signature")


def test_unknown_type_names_get_a_suggestion(main: SubGraphBuilder) -> None:
    with pytest.raises(EditError, match="FLOAT32"):
        main.input("x", [1], "FLOT32")


def test_variables_have_no_data(main: SubGraphBuilder) -> None:
    state = main.variable("state", [1, 4])
    assert state.is_variable and state.buffer is main.builder.no_data


def test_external_buffers_have_high_ids_and_a_placeholder_group(main: SubGraphBuilder) -> None:
    builder = main.builder
    first, second, third = (builder.external_buffer(group, 0, 4) for group in ("a.bin", "b.bin", "a.bin"))
    assert [b.id for b in (first, second, third)] == [(1 << 31) + n for n in (1, 2, 3)]
    assert [g.name for g in builder.model.external_buffer_groups] == [None, b"a.bin", b"b.bin"]
    assert first.group is third.group is builder.model.external_buffer_groups[1]
    assert main.tensor("w", [1], external_buffer=first).is_constant


def test_blockwise_and_multi_axis_hold_tensors(main: SubGraphBuilder) -> None:
    scales = main.constant("scales", np.ones((2, 1), np.float16))
    blockwise = quantize_blockwise(scales, 32)
    assert blockwise.kind == "blockwise" and blockwise.details.scales is scales  # type: ignore[union-attr]
    multi = quantize_multi_axis(scales, [0, 1])
    assert multi.kind == "multi-axis" and multi.details.quantized_dimensions == (0, 1)  # type: ignore[union-attr]


# ---- operators ----


def test_options_follow_the_schema(main: SubGraphBuilder) -> None:
    x = main.input("x", [1, 4, 4, 1])
    made = main.operator("CONV_2D", [x, None, None], [], padding="VALID", stride_w=2, dilation_h_factor=3)
    options = made.builtin_options
    assert isinstance(options, Conv2DOptions) and made.builtin_options_2 is None
    assert (options.padding, options.stride_w, options.dilation_h_factor, options.dilation_w_factor) == (Padding.VALID, 2, 3, 1)


def test_options_of_the_second_union(main: SubGraphBuilder) -> None:
    made = main.operator("STABLEHLO_SLICE", [], [], start_indices=(0, 1))
    assert made.builtin_options is None and type(made.builtin_options_2).__name__ == "StablehloSliceOptions"


def test_every_builtin_operator_can_be_added(main: SubGraphBuilder) -> None:
    codes = [code for code in BuiltinOperator if code not in (BuiltinOperator.CUSTOM, BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)]
    for code in codes:
        made = main.operator(code.name, [], [])
        assert (made.opcode.code, made.op_name) == (code, code.name)  # type: ignore[union-attr]
        assert (made.options is None) == (code.name not in _schema.OPTIONS)
    opcodes = main.builder.model.operator_codes
    assert [c.deprecated_builtin_code for c in opcodes] == [min(c.builtin_code, 127) for c in opcodes]
    assert len(opcodes) == len(codes)


def test_equal_operator_codes_are_one_entry(main: SubGraphBuilder) -> None:
    first, second = main.operator("ADD", [], []), main.operator(BuiltinOperator.ADD, [], [])
    newer, mine, other = main.operator("ADD", [], [], version=2), main.custom("Mine", [], []), main.custom("Other", [], [])
    assert first.opcode is second.opcode
    assert [o.opcode for o in (first, newer, mine, other)] == main.builder.model.operator_codes
    assert [c.op_name for c in main.builder.model.operator_codes] == ["ADD", "ADD", "Mine", "Other"]


@pytest.mark.parametrize("code", ["CONV2D", "conv_2d", "CUSTOM", ""])
def test_unknown_operators_are_refused(main: SubGraphBuilder, code: str) -> None:
    with pytest.raises(EditError, match=r"custom\(\)"):
        main.operator(code, [], [])


def test_misspelt_operators_get_a_suggestion(main: SubGraphBuilder) -> None:
    with pytest.raises(EditError, match="did you mean CONV_2D"):
        main.operator("CONV2D", [], [])


def test_unknown_option_fields_are_refused(main: SubGraphBuilder) -> None:
    with pytest.raises(EditError, match="strides"):
        main.operator("CONV_2D", [], [], strides=2)
    with pytest.raises(EditError, match="either"):
        main.operator("CONV_2D", [], [], options=Conv2DOptions(), padding="SAME")
    with pytest.raises(EditError, match="no options table"):
        main.operator("CONV_2D", [], [], options=QuantizationParameters())


def test_tensors_of_another_subgraph_are_refused(main: SubGraphBuilder) -> None:
    other = main.builder.subgraph("other")
    x = other.input("x", [1])
    for edit in (lambda: main.operator("ADD", [x, x], []), lambda: main.output(x), lambda: main.custom("Mine", [], [x])):
        with pytest.raises(EditError, match="'x' belongs to another subgraph"):
            edit()


def test_subgraphs_are_given_as_builders(main: SubGraphBuilder) -> None:
    other = main.builder.subgraph("other")
    loop = main.operator("WHILE", [], [], cond_subgraph=other, body_subgraph=other.subgraph)
    assert loop.options.cond_subgraph is loop.options.body_subgraph is other.subgraph  # type: ignore[union-attr]
    case = main.operator("STABLEHLO_CASE", [], [], branch_subgraphs=[other, main])
    assert case.options.branch_subgraphs == [other.subgraph, main.subgraph]  # type: ignore[union-attr]


def test_signatures_show_names_of_tensors_unless_given(main: SubGraphBuilder) -> None:
    x = main.input("x", [1])
    main.output(x)
    made = main.builder.signature("serving_default")
    assert [(m.name, m.tensor) for m in (*made.inputs, *made.outputs)] == [(b"x", x), (b"x", x)] and made.subgraph is main.subgraph
    renamed = main.builder.signature("renamed", {"a": x}, {})
    assert [m.name for m in renamed.inputs] == [b"a"] and renamed.outputs == []
    main.input("x", [1])
    with pytest.raises(EditError, match="distinct"):
        main.builder.signature("again")


# ---- as files ----


@pytest.mark.parametrize("number", range(8), ids=str)
def test_litert_reads_back_what_was_built(number: int) -> None:
    """The packed bytes of the model with all rare parts, read with LiteRT's generated classes."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    model = generated.rare_parts()
    read = schema.ModelT.InitFromPackedBuf(forge.pack(model), 0)
    main, operators = read.subgraphs[0], read.subgraphs[0].operators
    tensors = {t.name: t for t in main.tensors}
    checks: list[Callable[[], bool]] = [
        lambda: main.tensors[tensors[b"blockwise"].quantization.details.scales].name == b"scales",
        lambda: main.tensors[tensors[b"multi_axis"].quantization.details.zeroPoints].name == b"zero_points",
        lambda: tensors[b"external too"].externalBuffer == read.externalBuffers[1].id == (1 << 31) + 2,
        lambda: tensors[b"empty variant"].variantTensors == [] and tensors[b"variant"].variantTensors[0].type == TensorType.INT8,
        lambda: list(operators[0].inputs) == [main.tensors.index(tensors[b"x"]), -1, main.tensors.index(tensors[b"state"])],
        lambda: len(operators[0].intermediates) == 5 and operators[1].intermediates.size == 0 and operators[2].intermediates is None,
        lambda: read.buffers[tensors[b"behind too"].buffer].size == 2400 and read.buffers[tensors[b"behind too"].buffer].data is None,
        lambda: list(operators[4].builtinOptions2.branchSubgraphIndices) == [1, 1] and operators[2].builtinOptions.initSubgraphIndex == 1,
    ]
    assert checks[number]()


@needs_runtime
@both_resolvers
def test_quantized_add(main: SubGraphBuilder, resolver: str) -> None:
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 3))
    half = main.constant("half", np.array([1], np.int8), quantization=quantize(0.5))
    main.output(main.apply("ADD", [x, half], TensorSpec("y", [1, 4], "INT8", quantize(0.5, 3)), version=2))
    assert run(main.builder.build(), np.array([[3, 4, -5, 127]], np.int8), resolver=resolver).tolist() == [[4, 5, -4, 127]]


@needs_runtime
def test_blockwise_int4_fully_connected(main: SubGraphBuilder) -> None:
    """Rows of two blocks of 32 with scales 1/2 and 2: 32 * (1/2) * 1 + 32 * 2 * 3 for each row of ones and threes."""
    scales = main.constant("w_scales", np.tile(np.array([[0.5, 2.0]], np.float16), (8, 1)))
    codes = np.tile(np.repeat(np.array([1, 3]), 32), (8, 1))
    x = main.input("x", [1, 64])
    weights = main.constant("w", codes, "INT4", quantize_blockwise(scales, 32))
    main.output(main.apply("FULLY_CONNECTED", [x, weights, None], TensorSpec("y", [1, 8]), version=12, asymmetric_quantize_inputs=True))
    found = run(main.builder.build(), np.ones((1, 64), np.float32))
    assert np.allclose(found, 32 * 0.5 * 1 + 32 * 2 * 3, rtol=0.01)


@needs_runtime
def test_sparse_constants_mean_what_litert_reads(main: SubGraphBuilder) -> None:
    values = np.zeros((3, 300), np.float32)
    values[0, 299], values[2, 0], values[2, 7] = 1, 2, 3
    x = main.input("x", [1])
    dense = main.apply("DENSIFY", [main.sparse("w", values)], TensorSpec("dense", values.shape))
    main.output(main.apply("MUL", [x, dense], TensorSpec("y", values.shape)))
    assert np.array_equal(run(main.builder.build(), np.ones(1, np.float32)), values)


@needs_runtime
def test_state_is_kept_through_resource_variables_of_a_second_subgraph(main: SubGraphBuilder) -> None:
    """CALL_ONCE runs a subgraph that stores 5 in a variable; the main one reads it."""
    init = main.builder.subgraph("init")
    for target in (init, main):
        if target is main:
            target.operator("CALL_ONCE", [], [], init_subgraph=init)
        handle = target.apply("VAR_HANDLE", [], TensorSpec("handle", [], "RESOURCE"), shared_name="v", container="")
        if target is init:
            target.operator("ASSIGN_VARIABLE", [handle, target.constant("five", [5.0])], [])
    value = main.apply("READ_VARIABLE", [main.subgraph.tensors[0]], TensorSpec("value", [1]))
    main.output(main.apply("ADD", [main.input("x", [1]), value], TensorSpec("y", [1])))
    assert run(main.builder.build(), np.array([2], np.float32)).tolist() == [7]


@needs_runtime
@both_resolvers
@pytest.mark.parametrize(
    "build", [lambda: generated.many_operators(40), lambda: generated.float_weights(8192 * 300), lambda: generated.per_channel_heavy(5, 64)]
)
def test_generated_models_run_and_depend_on_their_input(build: Build, resolver: str) -> None:
    data = forge.pack(build())
    outcomes = [runtime.run(data, resolver, seed=seed) for seed in (1, 2)]
    assert all(outcome.ok for outcome in outcomes), outcomes[0].message
    assert outcomes[0].outputs != outcomes[1].outputs


def test_many_operators_has_the_promised_size() -> None:
    model = generated.many_operators(800)
    assert len(model.subgraphs[0].operators) == 800
    assert len(model.subgraphs[0].tensors) == 1201 and len(model.buffers) == 401


def test_float_weights_shares_one_array() -> None:
    model = generated.float_weights(1 << 26)
    assert sum(len(b.data or b"") for b in model.buffers) == 1 << 26
    views = [np.frombuffer(b.data, np.uint8) for b in model.buffers[1:]]  # type: ignore[arg-type]
    assert len(views) == 4 and len({view.__array_interface__["data"][0] for view in views}) == 1


@needs_runtime
def test_gather_beyond_finds_its_last_row(tmp_path: Path) -> None:
    model, row = generated.gather_beyond(tmp_path / "sparse", 100_000, chunk=30_000)
    assert np.array_equal(run(model, np.array([999], np.int32))[0], row)
    assert np.array_equal(model.subgraphs[0].tensor("table").numpy()[-1], row)


def test_gather_beyond_takes_hardly_any_disk(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    model, _ = generated.gather_beyond(path, 1 << 31)
    assert sum(len(b.data or b"") for b in model.buffers) > 1 << 31
    assert path.stat().st_blocks * 512 < 1 << 20


# ---- with the reader and the writer ----

BUILT: dict[str, Build] = {
    "rare_parts": generated.rare_parts,
    "many_operators": lambda: generated.many_operators(50),
    "per_channel_heavy": lambda: generated.per_channel_heavy(3, 17),
    "float_weights": lambda: generated.float_weights(8192 * 3),
}


@pytest.mark.parametrize("name", BUILT)
def test_the_reader_finds_what_was_packed(name: str) -> None:
    model = BUILT[name]()
    assert [str(change) for change in tk.diff(model, tk.parse(forge.pack(model)))] == []


@pytest.mark.parametrize("name", BUILT)
def test_the_writer_keeps_what_was_built(name: str) -> None:
    model = BUILT[name]()
    data = tk.serialize(model)
    assert [str(change) for change in tk.diff(model, tk.parse(data))] == []
    assert [str(change) for change in tk.diff(tk.parse(forge.pack(model)), tk.parse(data))] == []


@pytest.mark.parametrize("name", ["many_operators", "per_channel_heavy", "float_weights"])
def test_verify_has_nothing_to_say_about_runnable_models(name: str) -> None:
    assert [str(problem) for problem in tk.verify(BUILT[name]()) if problem.severity != "info"] == []
