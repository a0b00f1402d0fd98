"""An oracle for mutations, apart from the audit: the rules of TFLite quantization that a model breaks.

The rules are stated here a second time, from the TFLite 8-bit quantization specification and the checks of the kernels (interpreter_builder.cc,
kernel_util.cc, the operators' Prepare functions and operator_property.cc of LiteRT). Nothing of `tflitekit.audit` or `tflitekit.quant.rules` is used,
so that a mistake there is no mistake here. A mutation that breaks no rule which the original kept gives a consistent file of another function: it
is legal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tflitekit._schema import TensorType
from tflitekit.graph import Model, Operator, Tensor
from tflitekit.types import BITS, byte_size

from .mutations import BIASES, QUANTIZED, WEIGHTS

RANGES = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767), "INT4": (-8, 7), "INT2": (-2, 1), "UINT4": (0, 15)}
U8, I8, I16, FLOAT = TensorType.UINT8, TensorType.INT8, TensorType.INT16, TensorType.FLOAT32


def _words(text: str) -> list[str]:
    return text.split()


# Values that the operator passes on as codes: (inputs, outputs), None for all of them.
MOVES: dict[str, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = {
    **dict.fromkeys(
        _words(
            "RESHAPE SQUEEZE TRANSPOSE SLICE STRIDED_SLICE TILE GATHER GATHER_ND REVERSE_V2 BROADCAST_TO RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR "
            "DEPTH_TO_SPACE SPACE_TO_DEPTH TOPK_V2 PAD EXPAND_DIMS MIRROR_PAD SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND REDUCE_MAX REDUCE_MIN "
            "AVERAGE_POOL_2D MAX_POOL_2D"
        ), ((0,), (0,)),
    ),
    "CONCATENATION": (None, (0,)), "PACK": (None, (0,)), "UNPACK": ((0,), None), "SPLIT": ((1,), None), "SPLIT_V": ((0,), None),
    "FILL": ((1,), (0,)), "PADV2": ((0, 2), (0,)), "SELECT": ((1, 2), (0,)), "SELECT_V2": ((1, 2), (0,)), "MAXIMUM": ((0, 1), (0,)),
    "MINIMUM": ((0, 1), (0,)), "SCATTER_ND": ((1,), (0,)), "DYNAMIC_UPDATE_SLICE": ((0, 1), (0,)),
}  # fmt: skip
# Values that the operator computes with, all of one type but not of one scale.
COMPUTES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    **dict.fromkeys(_words("ADD SUB MUL DIV SQUARED_DIFFERENCE"), ((0, 1), (0,))),
    **dict.fromkeys(_words("EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL"), ((0, 1), ())),
    **dict.fromkeys(
        _words(
            "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED BATCH_MATMUL SVDF LSTM UNIDIRECTIONAL_SEQUENCE_LSTM SOFTMAX LOGISTIC TANH LOG_SOFTMAX "
            "L2_NORMALIZATION RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU ELU GELU HARD_SWISH ABS SQRT RSQRT LOG EXP NEG MEAN SUM "
            "REDUCE_PROD"
        ), ((0,), (0,)),
    ),
    "TRANSPOSE_CONV": ((2,), (0,)),
}  # fmt: skip
FIXED = {
    ("SOFTMAX", I8): (2**-8, -128, 1e-3), ("SOFTMAX", U8): (2**-8, 0, 0), ("SOFTMAX", I16): (2**-15, 0, 1e-3), ("LOGISTIC", I8): (2**-8, -128, 0),
    ("LOGISTIC", U8): (2**-8, 0, 0), ("LOGISTIC", I16): (2**-15, 0, 0), ("TANH", I8): (2**-7, 0, 0), ("TANH", U8): (2**-7, 128, 0),
    ("TANH", I16): (2**-15, 0, 1e-3), ("LOG_SOFTMAX", I8): (2**-4, 127, 0), ("LOG_SOFTMAX", U8): (2**-4, 255, 0),
    ("L2_NORMALIZATION", I8): (2**-7, 0, 0), ("L2_NORMALIZATION", U8): (2**-7, 128, 0),
}  # fmt: skip
# Weights that kernels compute with activations of a type; the axis of their scales.
FORMS = {
    "CONV_2D": {FLOAT: "FLOAT32 INT8 INT4", I8: "INT8 INT4", I16: "INT8 INT4", U8: "UINT8"},
    "DEPTHWISE_CONV_2D": {FLOAT: "FLOAT32 INT8", I8: "INT8 INT4", I16: "INT8", U8: "UINT8"},
    "TRANSPOSE_CONV": {FLOAT: "FLOAT32 INT8", I8: "INT8", I16: "INT8", U8: "UINT8"},
    "FULLY_CONNECTED": {FLOAT: "FLOAT32 INT8 INT4 INT2", I8: "INT8 INT4 INT2", I16: "INT8 INT4 INT2 INT16", U8: "UINT8"},
    "BATCH_MATMUL": {FLOAT: "FLOAT32 INT8", I8: "INT8", I16: "INT8 INT16"},
    "SVDF": {FLOAT: "FLOAT32 INT8", I8: "INT8 INT16"},
    "LSTM": {FLOAT: "FLOAT32 INT8", I8: "INT8"},
    "UNIDIRECTIONAL_SEQUENCE_LSTM": {FLOAT: "FLOAT32 INT8", I8: "INT8"},
}
AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
# Types of activations with kernels, where not all of INT8, UINT8, INT16.
KERNELS = {
    **{name: {I8, U8} for name in _words("ARG_MAX ARG_MIN DEPTH_TO_SPACE SPACE_TO_DEPTH HARD_SWISH L2_NORMALIZATION LOG_SOFTMAX PRELU RELU_0_TO_1 "
                                   "RELU_N1_TO_1 SCATTER_ND")},
    **{name: {I8, I16} for name in _words("ABS BATCH_MATMUL EXP LOG NEG REDUCE_PROD RSQRT SQRT")},
    **{name: {I8} for name in _words("ELU LSTM UNIDIRECTIONAL_SEQUENCE_LSTM SQUARED_DIFFERENCE SVDF")},
}  # fmt: skip
# Activations that kernels have for a result: clamps, but for these.
ACTIVATIONS: dict[str | tuple[str, TensorType], str] = {
    "CONCATENATION": "NONE", "L2_NORMALIZATION": "NONE", ("SVDF", I8): "RELU", ("LSTM", I8): "TANH", ("UNIDIRECTIONAL_SEQUENCE_LSTM", I8): "TANH",
    **dict.fromkeys(["SVDF", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"], "NONE RELU RELU_N1_TO_1 RELU6 TANH SIGN_BIT"),
    **dict.fromkeys(["LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"], "RELU RELU_N1_TO_1 RELU6 TANH SIGN_BIT"),
}  # fmt: skip
PAIRS = {
    "FLOAT32": "INT8 UINT8 INT16 INT4 UINT4", "INT8": "INT8 UINT8 INT16", "UINT8": "INT8 UINT8 INT16", "INT16": "INT8 INT16 INT32",
    "INT32": "INT8 INT16",
}  # fmt: skip
# The highest version that any resolver registers.
VERSIONS = {
    name: int(number)
    for name, number in (
        item.split(":")
        for item in _words(
            "ABS:5 ADD:6 ARG_MAX:3 ARG_MIN:3 ASSIGN_VARIABLE:1 AVERAGE_POOL_2D:3 BATCH_MATMUL:4 BATCH_TO_SPACE_ND:4 CAST:9 CONCATENATION:7 CONV_2D:8 "
            "DEPTHWISE_CONV_2D:7 DEPTH_TO_SPACE:2 DEQUANTIZE:9 DIV:2 DYNAMIC_UPDATE_SLICE:6 ELU:1 EMBEDDING_LOOKUP:5 EXPAND_DIMS:1 FILL:5 "
            "FULLY_CONNECTED:14 GATHER:8 GELU:3 HARD_SWISH:1 LEAKY_RELU:2 LOGISTIC:3 LOG_SOFTMAX:2 LSTM:4 MAXIMUM:4 MAX_POOL_2D:3 MEAN:3 MINIMUM:4 "
            "MIRROR_PAD:3 MUL:8 NEG:1 PACK:5 PAD:6 PADV2:6 PRELU:1 QUANTIZE:6 READ_VARIABLE:1 REDUCE_MAX:3 REDUCE_MIN:3 RELU:3 RELU6:3 RESHAPE:1 "
            "RESIZE_BILINEAR:4 RESIZE_NEAREST_NEIGHBOR:4 SELECT:4 SELECT_V2:2 SHAPE:1 SLICE:8 SOFTMAX:4 SPACE_TO_BATCH_ND:4 SPACE_TO_DEPTH:2 SPLIT:5 "
            "SPLIT_V:3 "
            "SQUEEZE:2 STRIDED_SLICE:8 SUB:5 SUM:2 SVDF:4 TANH:3 TILE:3 TRANSPOSE:9 TRANSPOSE_CONV:5 UNIDIRECTIONAL_SEQUENCE_LSTM:4 UNPACK:6"
        )
    )
}  # fmt: skip


def broken(model: Model) -> set[str]:
    """Every broken rule with its place."""
    found = set()
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            found |= {f"subgraphs[{number}].tensors[{index}]: {what}" for what in _tensor(tensor)}
        for index, operator in enumerate(subgraph.operators):
            found |= {f"subgraphs[{number}].operators[{index}]: {what}" for what in _operator(operator)}
        found |= {f"subgraphs[{number}]: {what}" for what in _variables(subgraph.operators)}
    return found


def label(original: Model, mutant: Model) -> str:
    """`breaks-rule` if the mutant breaks a rule that the original keeps, else `legal`."""
    return "breaks-rule" if broken(mutant) - broken(original) else "legal"


def _parameters(tensor: Tensor | None) -> tuple[list[float], list[int]] | None:
    q = tensor.quantization if tensor is not None else None
    return ([float(s) for s in q.scale], [int(z) for z in q.zero_point]) if q is not None and len(q.scale) else None


def _tensor(tensor: Tensor) -> Iterator[str]:
    data = tensor.buffer.data if tensor.buffer is not None else None
    if data is not None and len(data) and tensor.type in BITS and tensor.sparsity is None:
        needed = byte_size(tensor.type, tensor.shape)
        if needed is not None and len(data) != needed:
            yield "the data is not as long as type and shape say"
    stored = _parameters(tensor)
    if stored is None:
        return
    scales, zero_points = stored
    assert tensor.quantization is not None
    axis, rank = tensor.quantization.quantized_dimension, len(tensor.shape)
    if len(scales) != len(zero_points):
        yield "as many zero points as scales"
    if rank and not 0 <= axis < rank:
        yield "the quantized dimension is one of the tensor's"
    elif len(scales) > 1 and len(scales) != (tensor.shape[axis] if rank else 1):
        yield "one scale, or one for each slice"
    if not all(math.isfinite(s) and s >= 2.0**-126 for s in scales):
        yield "a scale is a positive normal number"
    low, high = RANGES.get(tensor.type.name, (-(2**31), 2**31 - 1))
    if not all(low <= z <= high for z in zero_points):
        yield "a zero point is a code"


def _at(operator: Operator, positions: tuple[int, ...] | None, outputs: bool = False) -> list[Tensor]:
    tensors = operator.outputs if outputs else operator.inputs
    return [t for n, t in enumerate(tensors) if t is not None and (positions is None or n in positions)]


def _values(operator: Operator) -> list[Tensor] | None:
    """The operands that carry values of one type; None for operators that are not described here."""
    places = MOVES.get(operator.op_name) or COMPUTES.get(operator.op_name)
    return None if places is None else _at(operator, places[0]) + _at(operator, places[1], True)


def _operator(operator: Operator) -> Iterator[str]:
    name = operator.op_name
    if operator.opcode is not None and not 1 <= operator.opcode.version <= VERSIONS.get(name, 10**6):
        yield "a version that is registered"
    yield from _conversions(operator)
    yield from _activation(operator)
    values = _values(operator)
    if values is None:
        return
    kinds = {t.type for t in values}
    if len(kinds) > 1:
        yield "values of one type"
    elif kinds <= QUANTIZED and not kinds <= KERNELS.get(name, QUANTIZED):
        yield "a type that has a kernel"
    coded = [t for t in values if t.type in QUANTIZED]
    described = any(_parameters(t) for t in operator.inputs + operator.outputs if t is not None and t.type in QUANTIZED)
    for tensor in coded:
        stored = _parameters(tensor)
        if stored is None:
            if described and name not in ("SHAPE", "CAST"):
                yield "every value has parameters"
        elif len(stored[0]) > 1 and not tensor.is_constant:
            yield "an activation has one scale"
        elif tensor.type == I16 and any(stored[1]) and name not in ("DIV",):
            yield "INT16 values have zero point 0"
    yield from _groups(operator, values)
    yield from _weighted(operator)
    yield from _constants(operator)


def _conversions(operator: Operator) -> Iterator[str]:
    name, first = operator.op_name, operator.inputs[0] if operator.inputs else None
    last = operator.outputs[0] if operator.outputs else None
    if first is None or last is None or name not in ("QUANTIZE", "DEQUANTIZE"):
        return
    if name == "QUANTIZE" and last.type.name not in PAIRS.get(first.type.name, "").split():
        yield "a pair of types that QUANTIZE converts"
    if name == "DEQUANTIZE" and (last.type != FLOAT or first.type.name not in RANGES | {"FLOAT16": ()}):
        yield "a pair of types that DEQUANTIZE converts"
    if any(t.type in QUANTIZED and _parameters(t) is None and t.quantization is None for t in (first, last)):
        yield "codes have parameters"
    if any(t.type == I16 and any((_parameters(t) or ([], []))[1]) for t in (first, last)):
        yield "INT16 values have zero point 0"
    if not first.is_constant and len((_parameters(first) or ([],))[0]) > 1 and first.type in QUANTIZED:
        yield "an activation has one scale"


def _activation(operator: Operator) -> Iterator[str]:
    """An activation that the kernel has: hybrid FULLY_CONNECTED has all, but none with blockwise weights."""
    name, fused = operator.op_name, getattr(operator.options, "fused_activation_function", None)
    data, weights = (*operator.inputs, None, None)[:2]
    if fused is None or data is None:
        return
    known = ACTIVATIONS.get((name, data.type), ACTIVATIONS.get(name, "NONE RELU RELU_N1_TO_1 RELU6"))
    if name == "FULLY_CONNECTED" and data.type == FLOAT and weights is not None and weights.type in QUANTIZED:
        known = "NONE" if weights.quantization is not None and weights.quantization.details is not None else ACTIVATIONS["RNN"]
    if fused.name not in _words(known):
        yield f"an activation that the kernel has, not {fused.name}"


def _groups(operator: Operator, values: list[Tensor]) -> Iterator[str]:
    name = operator.op_name
    if name in MOVES and not (name == "CONCATENATION" and values[0].type == U8):
        stored = [p for t in values if t.type in QUANTIZED and (p := _parameters(t)) is not None]
        if any(p != stored[0] for p in stored):
            yield "codes are passed on: equal parameters"
    if name == "NEG" and any(any(p[1]) for t in values if (p := _parameters(t)) is not None):
        yield "negated codes: zero point 0"
    output = operator.outputs[0] if operator.outputs else None
    fixed, stored_output = FIXED.get((name, output.type)) if output is not None else None, _parameters(output)
    if fixed is not None and stored_output is not None and output is not None and operator.inputs[0] is not None:
        scale, zero_point, tolerance = fixed
        near = abs(stored_output[0][0] - scale) <= tolerance * scale
        if output.type == operator.inputs[0].type and not (near and stored_output[1] == [zero_point]):
            yield "the output has the parameters of the operator"


def _weighted(operator: Operator) -> Iterator[str]:
    name, forms = operator.op_name, FORMS.get(operator.op_name)
    data = operator.inputs[2 if name == "TRANSPOSE_CONV" else 0] if operator.inputs else None
    if forms is None or data is None:
        return
    for position in WEIGHTS[name]:
        tensor = operator.inputs[position] if position < len(operator.inputs) else None
        if tensor is None:
            continue
        if tensor.type.name not in forms.get(data.type, "").split():
            yield f"weights {position} of a type that there is a kernel for"
        stored = _parameters(tensor)
        if tensor.type in QUANTIZED and stored is None and (tensor.quantization is None or tensor.quantization.details is None):
            yield f"weights {position} have parameters"
        if stored is None or not tensor.is_constant:
            continue
        several, axis = len(stored[0]) > 1, tensor.quantization.quantized_dimension if tensor.quantization is not None else 0
        one_honoured = name in ("FULLY_CONNECTED", "BATCH_MATMUL") and data.type != FLOAT and tensor.type == I8 and not several
        if any(stored[1]) and not (tensor.type == U8 or one_honoured):
            yield f"weights {position} are symmetric"
        wanted = AXES.get(name, axis) if name != "BATCH_MATMUL" else len(tensor.shape) - (2 if getattr(operator.options, "adj_y", False) else 1)
        if several and (data.type == U8 or axis != wanted):
            yield f"weights {position} are scaled along the output channels"
        if name == "DEPTHWISE_CONV_2D" and data.type == FLOAT and tensor.type == I8 and not several and tensor.shape[3] != 1:
            yield "hybrid depthwise weights have a scale for each channel"
    yield from _biased(operator, data)


def _biased(operator: Operator, data: Tensor) -> Iterator[str]:
    name = operator.op_name
    for position in BIASES.get(name, ()):
        tensor = operator.inputs[position] if position < len(operator.inputs) else None
        if tensor is None:
            continue
        selected = getattr(operator.options, "quantized_bias_type", FLOAT)
        wide = {TensorType.INT32: "INT32"}.get(selected, "INT64")
        wanted = {I8: "INT32", U8: "INT32", I16: wide, FLOAT: "FLOAT32"}.get(data.type)
        if wanted is not None and tensor.type.name != wanted:
            yield f"bias {position} of the type that is read"
        weights = operator.inputs[position - 11 if "LSTM" in name and position < 16 else 1]
        stored, first, second = _parameters(tensor), _parameters(data), _parameters(weights)
        compared = data.type == U8 or (name == "FULLY_CONNECTED" and data.type != FLOAT and second is not None and len(second[0]) == 1)
        output = _parameters(operator.outputs[0])
        if stored is None and compared and first and second and output and not first[0][0] * second[0][0] <= 0.02 * output[0][0]:
            yield f"bias {position} has the scale of input times weights"  # it counts as 0, and may be 2 % of the output's off
        if stored is None or data.type == FLOAT:
            continue
        if any(stored[1]):
            yield f"bias {position} has zero point 0"
        if first is not None and second is not None and name not in ("SVDF",) and position != 17:
            with np.errstate(all="ignore"):
                product = np.float32(first[0][0]) * np.array(second[0], np.float32)
                fits = len(stored[0]) == 1 or len(product) in (1, len(stored[0]))
                gap = np.abs(np.array(stored[0]) - product) if fits else np.array([np.inf])
            if not np.all(gap <= 1e-6 * np.abs(product)):
                yield f"bias {position} has the scale of input times weights"


def _constants(operator: Operator) -> Iterator[str]:
    """Axes, shapes and sizes are integers; the states of a cell have scales of their own."""
    name, values = operator.op_name, _values(operator) or []
    known = {*WEIGHTS.get(name, ()), *BIASES.get(name, ())}
    for position, tensor in enumerate(operator.inputs):
        plain = tensor is not None and position not in known and not any(tensor is v for v in values)
        if plain and tensor is not None and name in MOVES and tensor.type.name not in ("INT32", "INT64", "BOOL", "INT16", "UINT32"):
            yield f"operand {position} holds integers"
    if "LSTM" in name and len(operator.inputs) > 19:
        output, state, cell = operator.outputs[0], operator.inputs[18], operator.inputs[19]
        if state is not None and output is not None and state.type in QUANTIZED and _parameters(state) != _parameters(output):
            yield "the output state has the parameters of the output"
        stored = _parameters(cell)
        if stored is not None and cell is not None and cell.type == I16 and (any(stored[1]) or math.frexp(stored[0][0])[0] != 0.5):
            yield "the cell state is symmetric, its scale a power of two"
        if state is not None and output is not None and state.type != output.type:
            yield "the output state has the type of the output"
        if cell is not None and cell.type.name not in ("FLOAT32", "INT16"):
            yield "the cell state is INT16 or FLOAT32"


def _variables(operators: list[Operator]) -> Iterator[str]:
    """What is assigned to a variable and read from it means the same."""
    held: dict[Tensor, list[Tensor]] = {}
    for operator in operators:
        handle = operator.inputs[0] if operator.inputs else None
        value = operator.inputs[1] if operator.op_name == "ASSIGN_VARIABLE" else operator.outputs[0] if operator.op_name == "READ_VARIABLE" else None
        if handle is not None and value is not None:
            held.setdefault(handle, []).append(value)
    for number, values in enumerate(held.values()):
        if any(v.type != values[0].type or _parameters(v) != _parameters(values[0]) for v in values):
            yield f"variable {number}: equal types and parameters"
