"""A small model without problems, and every way to break it, with the problem that `verify` must find then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tflitekit._placeholders import dangling
from tflitekit._schema import BuiltinOperator, CallOnceOptions, IfOptions, SoftmaxOptions, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize, quantize_blockwise, quantize_multi_axis
from tflitekit.graph import (
    Buffer,
    ExternalBuffer,
    ExternalBufferGroup,
    Model,
    Operator,
    OperatorCode,
    QuantizationParameters,
    SubGraph,
    Tensor,
    TensorMap,
)


def small() -> Model:
    """A convolution and a RELU, with a signature, metadata, per-channel weights and strings: a model without problems.

    Tensors: 0 input, 1 weights, 2 bias, 3 convolved, 4 result, 5 strings, 6 variable.
    """
    builder = ModelBuilder("small")
    main = builder.subgraph("main")
    x = main.input("x", [1, 4, 4, 2], "INT8", quantize(0.5, 3))
    weights = main.constant("weights", np.ones((3, 1, 1, 2), np.int8), quantization=quantize([0.5, 0.25, 0.125], 0, 0))
    bias = main.constant("bias", np.zeros(3, np.int32), quantization=quantize([0.25, 0.125, 0.0625], 0, 0))
    spec = TensorSpec("convolved", [1, 4, 4, 3], "INT8", quantize(1.0, -1))
    convolved = main.apply("CONV_2D", [x, weights, bias], spec, padding="SAME", stride_w=1, stride_h=1)
    result = main.apply("RELU", [convolved], TensorSpec("result", [1, 4, 4, 3], "INT8", quantize(1.0, -1)))
    main.constant("strings", ["a", "bc"])
    main.variable("state", [2])
    main.output(result)
    builder.signature("serve", {"x": x}, {"y": result})
    builder.metadata("note", b"text")
    return builder.build()


Fault = Callable[[Model], object]
FAULTS: list[tuple[str, Fault, tuple[str, str, str]]] = []
# What else is wrong then, and as bad: a branch of another arity, operators that compute a constant, one that reads what has no data.
CONSEQUENCES = {"dangling_branch": {"call-arity"}, "sentinel": {"constant-produced"}, "data_beyond_the_file": {"operand-unproduced"}}
T = "subgraphs[0].tensors"
O = "subgraphs[0].operators"  # noqa: E741


def fault(severity: str, code: str, path: str) -> Callable[[Fault], Fault]:
    """Register a function that breaks the small model, with the only problem of its severity or worse, besides `CONSEQUENCES`."""

    def register(apply: Fault) -> Fault:
        FAULTS.append((apply.__name__, apply, (severity, code, path)))
        return apply

    return register


def tensor(model: Model, index: int) -> Tensor:
    return model.subgraphs[0].tensors[index]


def parameters(model: Model, index: int) -> QuantizationParameters:
    held = tensor(model, index).quantization
    assert held is not None
    return held


def raw_scale(model: Model, index: int, values: list[float]) -> None:
    """Scales that a file can hold and an assignment refuses."""
    object.__setattr__(parameters(model, index), "scale", np.array(values, np.float32))


@fault("warning", "schema-version", "version")
def version(m: Model) -> None:
    m.version = 2


@fault("error", "no-subgraphs", "subgraphs")
def no_subgraphs(m: Model) -> None:
    m.subgraphs, m.signature_defs = [], []


@fault("error", "opcode-version", "operator_codes[0].version")
def opcode_version(m: Model) -> None:
    m.operator_codes[0].version = 0


@fault("error", "custom-code", "operator_codes[1].custom_code")
def custom_without_code(m: Model) -> None:
    m.operator_codes[1].set_code(BuiltinOperator.CUSTOM)


@fault("warning", "opcode-unknown", "operator_codes[1].builtin_code")
def unknown_operator(m: Model) -> None:
    m.operator_codes[1].set_code(BuiltinOperator(4000))


@fault("error", "index-range", f"{O}[0].inputs[1]")
def dangling_input(m: Model) -> None:
    m.subgraphs[0].operators[0].inputs[1] = dangling("Tensor", 99)


@fault("error", "index-range", f"{O}[1].opcode")
def dangling_opcode(m: Model) -> None:
    m.subgraphs[0].operators[1].opcode = dangling("OperatorCode", 7)


@fault("error", "index-range", f"{O}[1].intermediates[0]")
def dangling_intermediate(m: Model) -> None:
    m.subgraphs[0].operators[1].intermediates = [dangling("Tensor", 50)]


@fault("error", "index-range", f"{T}[4].buffer")
def dangling_buffer(m: Model) -> None:
    tensor(m, 4).buffer = dangling("Buffer", 1000)


@fault("error", "index-range", f"{T}[4].external_buffer")
def dangling_external(m: Model) -> None:
    tensor(m, 4).external_buffer = dangling("ExternalBuffer", 5)


@fault("error", "index-range", "signature_defs[0].outputs[0].tensor")
def dangling_signature_tensor(m: Model) -> None:
    m.signature_defs[0].outputs[0].tensor = dangling("Tensor", 50)


@fault("error", "index-range", "signature_defs[0].subgraph")
def dangling_signature_subgraph(m: Model) -> None:
    m.signature_defs[0].subgraph = dangling("SubGraph", 2)


@fault("error", "index-range", "metadata[0].buffer")
def dangling_metadata(m: Model) -> None:
    m.metadata[0].buffer = dangling("Buffer", 50)


@fault("error", "index-range", f"{T}[1].quantization.details.scales")
def dangling_scales(m: Model) -> None:
    tensor(m, 1).quantization = quantize_blockwise(dangling("Tensor", 44), 32)


@fault("error", "index-range", f"{O}[1].builtin_options.then_subgraph")
def dangling_branch(m: Model) -> None:
    m.operator_codes[1].set_code(BuiltinOperator.IF)
    m.subgraphs[0].operators[1].builtin_options = IfOptions(then_subgraph=dangling("SubGraph", 3), else_subgraph=m.subgraphs[0])
    m.subgraphs[0].operators[1].inputs.append(tensor(m, 0))
    m.subgraphs[0].operators[1].inputs.append(None)


@fault("error", "reference-missing", f"{O}[1].outputs[1]")
def absent_output(m: Model) -> None:
    m.subgraphs[0].operators[1].outputs.append(None)


@fault("warning", "reference-missing", "subgraphs[0].outputs[1]")
def absent_graph_output(m: Model) -> None:
    m.subgraphs[0].outputs.append(None)
    m.signature_defs[0].outputs.append(TensorMap(name="z", tensor=tensor(m, 4)))


@fault("error", "foreign-object", f"{T}[4].buffer")
def foreign_buffer(m: Model) -> None:
    tensor(m, 4).buffer = Buffer()


@fault("error", "foreign-object", f"{O}[1].opcode")
def foreign_opcode(m: Model) -> None:
    m.subgraphs[0].operators[1].opcode = OperatorCode(builtin_code=BuiltinOperator.RELU)


@fault("error", "foreign-object", f"{O}[1].inputs[1]")
def tensor_of_another_subgraph(m: Model) -> None:
    m.subgraphs.append(SubGraph(tensors=[Tensor(name="other")]))
    m.subgraphs[0].operators[1].inputs.append(m.subgraphs[1].tensors[0])


@fault("error", "object-type", f"{O}[1].inputs[0]")
def index_in_a_list(m: Model) -> None:
    m.subgraphs[0].operators[1].inputs[0] = 3  # type: ignore[call-overload]


@fault("warning", "listed-twice", f"{T}[7]")
def listed_twice(m: Model) -> None:
    m.subgraphs[0].tensors.append(tensor(m, 6))
    tensor(m, 6).name = None


@fault("error", "operand-order", f"{O}[0].inputs[0]")
def read_too_early(m: Model) -> None:
    m.subgraphs[0].operators.reverse()


@fault("error", "operand-unproduced", f"{T}[7]")
def never_produced(m: Model) -> None:
    m.subgraphs[0].operators[1].inputs.append(m.subgraphs[0].add_tensor(Tensor(name="nothing", shape=(2,), buffer=m.buffers[0])))


@fault("error", "own-output", f"{O}[1].outputs[0]")
def own_output(m: Model) -> None:
    m.subgraphs[0].operators[1].inputs.append(tensor(m, 4))


@fault("warning", "produced-twice", f"{T}[4]")
def produced_twice(m: Model) -> None:
    old = m.subgraphs[0].operators[1]
    m.subgraphs[0].operators.append(Operator(opcode=old.opcode, inputs=old.inputs, outputs=old.outputs))


@fault("warning", "constant-produced", f"{T}[1]")
def constant_produced(m: Model) -> None:
    m.subgraphs[0].operators[1].outputs.append(tensor(m, 1))


@fault("warning", "input-produced", f"{T}[0]")
def input_produced(m: Model) -> None:
    m.subgraphs[0].operators[1].outputs.append(tensor(m, 0))


@fault("warning", "options-type", f"{O}[0].builtin_options")
def foreign_options(m: Model) -> None:
    m.subgraphs[0].operators[0].builtin_options = SoftmaxOptions()


@fault("warning", "mutating-inputs", f"{O}[0].mutating_variable_inputs")
def mutating_flags(m: Model) -> None:
    m.subgraphs[0].operators[0].mutating_variable_inputs = (True,)


@fault("error", "call-arity", f"{O}[1].builtin_options.init_subgraph")
def call_with_inputs(m: Model) -> None:
    m.operator_codes[1].set_code(BuiltinOperator.CALL_ONCE)
    m.subgraphs[0].operators[1].builtin_options = CallOnceOptions(init_subgraph=m.subgraphs[0])


@fault("error", "signature-key", "signature_defs[0].signature_key")
def signature_without_key(m: Model) -> None:
    m.signature_defs[0].signature_key = None


@fault("warning", "signature-key", "signature_defs[1].signature_key")
def signature_twice(m: Model) -> None:
    m.signature_defs.append(m.signature_defs[0])


@fault("warning", "signature-tensor", "signature_defs[0].inputs[0].tensor")
def signature_of_an_inner_tensor(m: Model) -> None:
    m.signature_defs[0].inputs[0].tensor = tensor(m, 3)


@fault("warning", "signature-count", "signature_defs[0].inputs")
def signature_without_inputs(m: Model) -> None:
    m.signature_defs[0].inputs = []


@fault("warning", "signature-name", "signature_defs[0].outputs[0].name")
def signature_without_name(m: Model) -> None:
    m.signature_defs[0].outputs[0].name = None


@fault("info", "name-shared", f"{T}[0].name")
def shared_name(m: Model) -> None:
    tensor(m, 4).name = tensor(m, 0).name


@fault("info", "metadata-name", "metadata[1]")
def metadata_twice(m: Model) -> None:
    m.metadata.append(m.metadata[0])


@fault("error", "tensor-type", f"{T}[4].type")
def unknown_type(m: Model) -> None:
    tensor(m, 4).type = TensorType(77)


@fault("error", "negative-shape", f"{T}[4].shape")
def negative_shape(m: Model) -> None:
    tensor(m, 4).shape = (1, -1, 4, 3)


@fault("error", "negative-shape", f"{T}[1].shape")
def negative_shape_of_a_constant(m: Model) -> None:
    tensor(m, 1).shape = (3, -1, -1, 2)


@fault("error", "huge-shape", f"{T}[4].shape")
def huge_shape(m: Model) -> None:
    tensor(m, 4).shape = (2**31 - 1,) * 3


@fault("warning", "shape-signature", f"{T}[4].shape_signature")
def signature_rank(m: Model) -> None:
    tensor(m, 4).shape_signature = (-1, 4)


@fault("info", "shape-signature", f"{T}[4].shape_signature")
def signature_sizes(m: Model) -> None:
    tensor(m, 4).shape_signature = (-1, 4, 5, 3)


@fault("warning", "buffer-sentinel", "buffers[0]")
def sentinel(m: Model) -> None:
    m.buffers[0].data = memoryview(b"data")


@fault("error", "buffer-offset", "buffers[1]")
def data_beyond_the_file(m: Model) -> None:
    m.buffers[1].data, m.buffers[1].offset, m.buffers[1].size = None, 10**9, 6


@fault("info", "offset-ignored", "buffers[1]")
def offset_beside_data(m: Model) -> None:
    m.buffers[1].offset = 64


@fault("error", "options-offset", f"{O}[1]")
def options_beyond_the_file(m: Model) -> None:
    m.subgraphs[0].operators[1].large_custom_options_offset = 10**9


@fault("error", "data-short", f"{T}[1].buffer")
def short_data(m: Model) -> None:
    m.buffers[1].data = memoryview(b"12345")


@fault("error", "data-short", f"{T}[4].buffer")
def empty_data(m: Model) -> None:
    tensor(m, 4).buffer = m.add_buffer(b"")


@fault("info", "data-long", f"{T}[1].buffer")
def long_data(m: Model) -> None:
    m.buffers[1].data = memoryview(bytes(7))


@fault("error", "string-layout", f"{T}[5].buffer")
def broken_strings(m: Model) -> None:
    m.buffers[3].data = memoryview(b"\xff" * 16)


@fault("warning", "string-count", f"{T}[5].buffer")
def missing_strings(m: Model) -> None:
    tensor(m, 5).shape = (3,)


@fault("error", "variable-data", f"{T}[2].is_variable")
def variable_with_data(m: Model) -> None:
    tensor(m, 2).is_variable = True


def _external(m: Model, length: int, id: int = 1) -> ExternalBuffer:
    m.external_buffer_groups = m.external_buffer_groups or [ExternalBufferGroup(name="weights")]
    m.external_buffers.append(ExternalBuffer(id=id, length=length, group=m.external_buffer_groups[0]))
    return m.external_buffers[-1]


@fault("error", "external-and-data", f"{T}[1].external_buffer")
def external_and_data(m: Model) -> None:
    tensor(m, 1).external_buffer = _external(m, 6)


@fault("warning", "external-short", f"{T}[3].external_buffer")
def external_too_short(m: Model) -> None:
    m.subgraphs[0].operators[0].outputs = [m.subgraphs[0].add_tensor(Tensor(shape=(1,)))]
    tensor(m, 3).external_buffer = _external(m, 47)


@fault("warning", "external-id", "external_buffers[1].id")
def external_id_twice(m: Model) -> None:
    _external(m, 1), _external(m, 1)


@fault("error", "zero-point-missing", f"{T}[4].quantization.zero_point")
def no_zero_point(m: Model) -> None:
    parameters(m, 4).zero_point = None  # type: ignore[assignment]


@fault("error", "zero-point-count", f"{T}[1].quantization.zero_point")
def one_zero_point(m: Model) -> None:
    parameters(m, 1).zero_point = np.array([0])


@fault("info", "range-count", f"{T}[1].quantization")
def ranges(m: Model) -> None:
    parameters(m, 1).min = np.zeros(2)
    parameters(m, 1).max = np.zeros(2)


@fault("error", "quantized-dimension", f"{T}[4].quantization.quantized_dimension")
def axis_of_a_single_scale(m: Model) -> None:
    parameters(m, 4).quantized_dimension = 4


@fault("error", "quantized-dimension", f"{T}[1].quantization.quantized_dimension")
def negative_axis(m: Model) -> None:
    parameters(m, 1).quantized_dimension = -1


@fault("error", "scale-count", f"{T}[1].quantization.scale")
def wrong_axis(m: Model) -> None:
    parameters(m, 1).quantized_dimension = 3


@fault("warning", "scalar-scales", f"{T}[7].quantization.scale")
def scalar_with_scales(m: Model) -> None:
    m.subgraphs[0].add_tensor(Tensor(type=TensorType.INT8, quantization=quantize([1, 2], 0, 3)))


@fault("warning", "scale-value", f"{T}[1].quantization.scale")
def scale_nan(m: Model) -> None:
    raw_scale(m, 1, [1, float("nan"), 1])


@fault("warning", "scale-value", f"{T}[4].quantization.scale")
def scale_zero(m: Model) -> None:
    raw_scale(m, 4, [0])


@fault("warning", "scale-value", f"{T}[4].quantization.scale")
def scale_infinite(m: Model) -> None:
    raw_scale(m, 4, [float("inf")])


@fault("warning", "scale-value", f"{T}[4].quantization.scale")
def scale_negative(m: Model) -> None:
    raw_scale(m, 4, [-1])


@fault("warning", "zero-point-value", f"{T}[4].quantization.zero_point")
def zero_point_too_low(m: Model) -> None:
    parameters(m, 4).zero_point = np.array([-129])


@fault("warning", "zero-point-value", f"{T}[2].quantization.zero_point")
def zero_point_beyond_32_bits(m: Model) -> None:
    parameters(m, 2).zero_point = np.array([0, 2**40, 0])


@fault("warning", "block-size", f"{T}[1].quantization.details.block_size")
def no_block(m: Model) -> None:
    tensor(m, 1).quantization = quantize_blockwise(tensor(m, 2), 0)


@fault("error", "block-size", f"{T}[1].quantization.details.block_size")
def negative_block(m: Model) -> None:
    tensor(m, 1).quantization = quantize_multi_axis(tensor(m, 2), [0], block_size=-1)


@fault("error", "quantized-dimension", f"{T}[1].quantization.details.quantized_dimensions")
def axes(m: Model) -> None:
    tensor(m, 1).quantization = quantize_multi_axis(tensor(m, 2), [0, 4])


@fault("warning", "scales-not-constant", f"{T}[1].quantization.details.scales")
def computed_scales(m: Model) -> None:
    tensor(m, 1).quantization = quantize_blockwise(tensor(m, 6), 32)
