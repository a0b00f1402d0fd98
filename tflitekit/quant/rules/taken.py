"""Which element types a kernel takes for each operand, and which type its output then has.

A line holds for every form of an operator: an operand has the type of another, or one of a set, which may depend on the type of the data. What no
line forbids is taken. All of it was measured, by changing one operand of a sound operator to each of eleven types (`tests/quant/test_taken.py`).
"""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from ..._schema import TensorType
from .model import Reaction, Runtime
from .notation import FINE, IGNORES, WRONG, names, refuses, types

SOURCE = "measured: one operand of another type"
BASIC_CELL = "LSTM(BASIC)"  # the operator name of the LSTM cell of five inputs


class Taken(NamedTuple):
    """A demand on one operand: the type of `like`, or one of `types`; only `when` the data has one of these types (empty: always).

    `operand` is "in1", "in*" (all inputs) or "out0". `per_channel` restricts it to weights with several scales. Otherwise the model is refused,
    unless `runs` says that the kernels go on and misread it, or `option` is given, which they then go by; XNNPACK takes `delegated` types on its own.
    """

    operand: str
    like: str = ""
    types: frozenset[TensorType] = frozenset()
    when: frozenset[TensorType] = frozenset()
    per_channel: bool = False
    runs: bool = False
    delegated: frozenset[TensorType] = frozenset()
    option: str = ""


class Mismatch(NamedTuple):
    """An operand of a type that the kernel does not expect there, with what each runtime does."""

    operand: str
    expected: frozenset[TensorType]
    reference: Reaction
    xnnpack: Reaction
    option: str = ""  # given, it is used instead

    def reaction(self, runtime: Runtime) -> Reaction:
        """What a runtime of LiteRT does."""
        return self.xnnpack if runtime == Runtime.XNNPACK else self.reference


_REFUSED = refuses("")
_XNNPACK_CODES, _XNNPACK_FLOATS = types("INT8 UINT8"), types("FLOAT32 FLOAT16")
_XNNPACK_TYPES = _XNNPACK_CODES | _XNNPACK_FLOATS
# XNNPACK takes these and fails where input and output are of different types among those that it knows.
_XNNPACK_COMPARES = names("RESHAPE SPLIT BATCH_MATMUL")
_WIDTHS = types("INT8 UINT8 BOOL"), types("INT16 UINT16 FLOAT16"), types("INT32 UINT32 FLOAT32"), types("INT64 UINT64 FLOAT64")
_ANY8 = "FLOAT32 INT8 UINT8 INT16 INT32 INT64"
_BINARY = "ADD SUB MUL DIV SQUARED_DIFFERENCE MAXIMUM MINIMUM EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL"
_UNARY = (
    "ABS AVERAGE_POOL_2D BATCH_TO_SPACE_ND BROADCAST_TO CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE ELU GELU HARD_SWISH L2_NORMALIZATION "
    "LEAKY_RELU LOG LOGISTIC LOG_SOFTMAX MAX_POOL_2D MIRROR_PAD PAD PADV2 RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 REVERSE_V2 RSQRT SLICE "
    "SPACE_TO_BATCH_ND SPACE_TO_DEPTH SQRT STRIDED_SLICE TANH TILE TOPK_V2 TRANSPOSE"
)
_REDUCTIONS = "MEAN SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD"
# Outputs that take a type from an operand, or have one of their own, whatever the file says.
_FORCED = {
    "in0": "ADD SUB DIV SQUARED_DIFFERENCE MAXIMUM MINIMUM DYNAMIC_UPDATE_SLICE EXP EXPAND_DIMS GATHER GATHER_ND NEG PRELU RESIZE_BILINEAR "
           "RESIZE_NEAREST_NEIGHBOR SPLIT_V",
    "in1": "FILL SCATTER_ND SELECT SELECT_V2 SPLIT",
    "BOOL": "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL",
    "FLOAT32": "DEQUANTIZE",
    "INT32|INT64": "ARG_MAX ARG_MIN SHAPE",
    "INT64": "WHERE",
}
_DATA = {"TRANSPOSE_CONV": "in2", "SPLIT": "in1", "FILL": "in1", "SCATTER_ND": "in1", "SELECT": "in1", "SELECT_V2": "in1", "EMBEDDING_LOOKUP": "in1"}


def _lines() -> Iterator[tuple[str, Taken]]:
    """(operators, demand)."""
    for operand, operators, allowed in (
        ("in0", "GATHER GATHER_ND", "FLOAT32 INT8 UINT8 INT16 INT32 INT64 FLOAT16 BOOL STRING"),
        ("in0", "RESIZE_NEAREST_NEIGHBOR", "FLOAT32 INT8 UINT8 INT16 INT32 UINT16 FLOAT16 BOOL"),
        ("in0", "ARG_MAX ARG_MIN", "FLOAT32 INT8 UINT8 INT32 BOOL"),
        ("in0", "WHERE", "FLOAT32 INT8 UINT8 INT32 INT64 BOOL UINT32"),
        ("in0", "NEG", "FLOAT32 INT8 INT16 INT32 INT64 FLOAT16"),
        ("in0", "EXP", "FLOAT32 INT8 INT16"),
        ("in0", "DEQUANTIZE", "INT8 UINT8 INT16 INT4 INT2 UINT4 FLOAT16 FLOAT8_E4M3FN FLOAT8_E5M2"),
        ("in0", "PRELU RESIZE_BILINEAR", "FLOAT32 INT8 UINT8 INT16"),
        ("in0", "SOFTMAX", "FLOAT32 INT8 UINT8 INT16 FLOAT16"),
        ("in0", "MEAN", f"{_ANY8}"), ("in0", "SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD", _ANY8), ("in0", "SPLIT_V", _ANY8), ("in1", "SPLIT", _ANY8),
        ("in0", "SELECT SELECT_V2", "BOOL"), ("in0", "EMBEDDING_LOOKUP SCATTER_ND", "INT32"), ("in0", "FILL", "INT32 INT64"),
        ("in0", "TRANSPOSE_CONV", "INT32"),
        ("in1", "SCATTER_ND", "FLOAT32 INT8 UINT8 INT32 INT64 BOOL"),
        ("in1", "BROADCAST_TO", "INT32 INT64"), ("in1", "STRIDED_SLICE", "INT32 INT16 INT64"),
        ("in1", f"{_REDUCTIONS} RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2", "INT32"), ("in1", "MIRROR_PAD TILE", "INT32 INT64"),
        ("in1", "SLICE", "INT32 INT64"), ("in2", "SCATTER_ND", "INT32"), ("in2", "DYNAMIC_UPDATE_SLICE", "INT32 INT64"),
        ("in1", "SPLIT_V", "INT32 INT64"), ("in1", "PAD PADV2", "INT32 INT64 INT8 INT16 BOOL"), ("in1", "GATHER GATHER_ND", "INT16 INT32 INT64"),
        ("in1", "TOPK_V2", "INT16 INT32"), ("in1", "ARG_MAX ARG_MIN EXPAND_DIMS", "INT32 INT64"),
    ):
        for name in operand.split():
            yield operators, Taken(name, types=types(allowed))
    yield f"{_BINARY} DYNAMIC_UPDATE_SLICE", Taken("in1", like="in0")
    yield "SELECT SELECT_V2 STRIDED_SLICE SLICE", Taken("in2", like="in1")
    yield "STRIDED_SLICE", Taken("in3", like="in1")
    yield "CONCATENATION PACK", Taken("in*", like="in0")
    yield f"{_UNARY} CONCATENATION PACK UNPACK SQUEEZE", Taken("out0", like="in0")
    yield "UNPACK", Taken("out1", like="in0")
    yield "SPLIT_V", Taken("out1", like="in0", runs=True)
    yield "SPLIT", Taken("out1", like="in1", runs=True)
    yield "TOPK_V2", Taken("out1", types=types("INT32 INT16"))
    yield "TRANSPOSE_CONV", Taken("out0", like="in2")
    yield "PADV2", Taken("in2", like="in0")
    yield "RESHAPE", Taken("in1", types=types("INT32"), option="new_shape")
    yield f"{_REDUCTIONS} RESHAPE LSTM UNIDIRECTIONAL_SEQUENCE_LSTM SVDF", Taken("out0", like="in0", runs=True)
    yield from _outputs()
    yield from _cells()
    yield from _weights()
    yield from _biases()


def _outputs() -> Iterator[tuple[str, Taken]]:
    for name, allowed in (("INT8", "INT8 INT16"), ("UINT8", "UINT8 INT16")):
        yield "SOFTMAX", Taken("out0", types=types(allowed), when=types(name))
    yield "SOFTMAX", Taken("out0", like="in0", when=types("FLOAT32 INT16 FLOAT16"), runs=True)
    yield "FULLY_CONNECTED", Taken("out0", types=types("INT8 UINT8 INT16"), when=types("INT8 UINT8 INT16"))
    yield "FULLY_CONNECTED", Taken("out0", like="in0", when=types("FLOAT32"))
    yield "FULLY_CONNECTED", Taken("out0", like="in0", when=types("INT8 INT16"), runs=True)
    for name in ("INT8", "UINT8", "INT16"):  # rows are copied, or dequantized
        yield "EMBEDDING_LOOKUP", Taken("out0", types=types(f"{name} FLOAT32"), when=types(name), runs=True)
    yield "BATCH_MATMUL", Taken("out0", types=types("INT8 INT32"), when=types("INT8"), runs=True)
    yield "BATCH_MATMUL", Taken("out0", like="in0", when=types("FLOAT32 INT16"), runs=True)
    yield "MUL", Taken("out0", types=types("INT8 FLOAT32 FLOAT16 INT32 INT64"), when=types("INT8"))
    yield "MUL", Taken("out0", types=types("UINT8 FLOAT32 FLOAT16 INT32 INT64"), when=types("UINT8"))
    yield "MUL", Taken("out0", types=types("INT8 UINT8 INT16 FLOAT32 FLOAT16 INT32 INT64"), when=types("INT16"))
    yield "MUL", Taken("out0", types=types("INT16 FLOAT32 FLOAT16 INT32 INT64"), when=types("FLOAT32"))
    yield "MUL", Taken("out0", like="in0", runs=True)
    for source, targets in (
        ("FLOAT32", "INT8 UINT8 INT16 INT4 UINT4"), ("INT8 UINT8", "INT8 UINT8 INT16"), ("INT16", "INT8 INT16 INT32"), ("INT32", "INT8 INT16"),
    ):
        yield "QUANTIZE", Taken("out0", types=types(targets), when=types(source))
    yield "QUANTIZE", Taken("in0", types=types("FLOAT32 INT8 UINT8 INT16 INT32"), delegated=types("FLOAT16"))


def _cells() -> Iterator[tuple[str, Taken]]:
    """Recurrent cells: biases tell the integer form from the others, and all weights but two are compared with each other."""
    both = "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM"
    for gate in ("in12", "in13", "in14", "in15"):
        yield both, Taken(gate, types=types("INT32"), when=types("INT8"))
        yield both, Taken(gate, types=types("FLOAT32"), when=types("FLOAT32 UINT8 INT16 INT32 INT64 UINT16 FLOAT16 BOOL"))
    for name, compared, others in (("LSTM", (1, 3, 5, 6, 7), (4, 8)), ("UNIDIRECTIONAL_SEQUENCE_LSTM", (4, 5, 6, 7, 8), (1, 3))):
        for numbers, runs in ((compared, False), (others, True)):
            for number in numbers:
                yield name, Taken(f"in{number}", like="in2", runs=runs)
    yield both, Taken("in18", like="out0", runs=True)
    yield both, Taken("in19", types=types("FLOAT32 INT16"), runs=True)
    yield BASIC_CELL, Taken("in0", types=types("FLOAT32 UINT8"))
    for kind, operands in (("UINT8", "in1 in2 out0 out2"), ("INT32", "in3"), ("INT16", "in4 out1 out3")):
        for operand in operands.split():
            yield BASIC_CELL, Taken(operand, types=types(kind), when=types("UINT8"))
            yield BASIC_CELL, Taken(operand, types=types("FLOAT32"), when=types("FLOAT32"))
    yield "SVDF", Taken("in0", types=types("FLOAT32 INT8"))
    yield "SVDF", Taken("in2", types=types("FLOAT32 INT8 UINT8 INT16"), runs=True)
    yield "SVDF", Taken("in3", types=types("FLOAT32 INT32"), runs=True)
    yield "SVDF", Taken("in4", types=types("FLOAT32 INT16"), runs=True)
    recurrent = "RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_LSTM"
    yield recurrent, Taken("in0", types=types("FLOAT32"))


def _weights() -> Iterator[tuple[str, Taken]]:
    """By the type of the data. Types that CONV_2D does not know are read as floats, or as 8-bit codes, past the end of their data."""
    for operator, data, allowed, per_channel in (
        ("CONV_2D DEPTHWISE_CONV_2D", "INT8", "INT8 INT4", False), ("CONV_2D DEPTHWISE_CONV_2D", "INT16", "INT8 INT4", True),
        ("DEPTHWISE_CONV_2D", "UINT8", "UINT8 INT4", False), ("DEPTHWISE_CONV_2D", "FLOAT32", "FLOAT32 INT8", False),
        ("TRANSPOSE_CONV", "FLOAT32", "FLOAT32 INT8", False), ("TRANSPOSE_CONV", "INT8 INT16", "INT8", False),
        ("TRANSPOSE_CONV", "UINT8", "UINT8", False),
        ("FULLY_CONNECTED", "FLOAT32", "FLOAT32 INT8 UINT8 INT4 INT2", False), ("FULLY_CONNECTED", "INT8", "INT8 UINT8 INT4 INT2", False),
        ("FULLY_CONNECTED", "INT8", "INT8 INT4 INT2", True), ("FULLY_CONNECTED", "UINT8", "UINT8 INT8", False),
        ("FULLY_CONNECTED", "INT16", "INT8 UINT8 INT4 INT2 INT16", False), ("FULLY_CONNECTED", "INT16", "INT8 INT4 INT2 INT16", True),
        ("BATCH_MATMUL", "FLOAT32", "FLOAT32 INT8", False), ("BATCH_MATMUL", "INT8", "INT8", False), ("BATCH_MATMUL", "INT16", "INT8 INT16", False),
        ("SVDF", "FLOAT32 INT8", "FLOAT32 INT8 UINT8", False),
    ):
        yield operator, Taken("in1", types=types(allowed), when=types(data), per_channel=per_channel)
    yield "CONV_2D", Taken("in1", types=types("FLOAT32 INT8 INT4 UINT8"), when=types("FLOAT32"), runs=True)
    yield "CONV_2D", Taken("in1", types=types("UINT8"), when=types("UINT8"), runs=True)
    yield "CONV_2D DEPTHWISE_CONV_2D", Taken("in1", types=types("INT8 INT4"), when=types("INT16"), runs=True)
    for name, allowed in (("CONV_2D", "FLOAT32 INT8 UINT8 INT16"), ("DEPTHWISE_CONV_2D", "FLOAT32 INT8 UINT8 INT16")):
        yield name, Taken("in0", types=types(allowed))
    yield "FULLY_CONNECTED", Taken("in0", types=types("FLOAT32 INT8 UINT8 INT16"))
    yield "FULLY_CONNECTED", Taken("in0", types=types("FLOAT32 INT8 INT16"), per_channel=True)
    yield "BATCH_MATMUL", Taken("in0", types=types("FLOAT32 INT8 INT16"))
    yield "TRANSPOSE_CONV", Taken("in2", types=types("FLOAT32 INT8 UINT8 INT16"))


def _biases() -> Iterator[tuple[str, Taken]]:
    for operator, operand in (("CONV_2D DEPTHWISE_CONV_2D", "in2"), ("TRANSPOSE_CONV", "in3")):
        yield operator, Taken(operand, types=types("INT32"), when=types("INT8 UINT8"))
        yield operator, Taken(operand, types=types("FLOAT32"), when=types("FLOAT32"))
    yield "CONV_2D", Taken("in2", types=types("INT32 INT64"), when=types("INT16"))
    yield "TRANSPOSE_CONV", Taken("in3", types=types("INT32 INT64"), when=types("INT16"))
    yield "DEPTHWISE_CONV_2D", Taken("in2", types=types("INT64"), when=types("INT16"))
    yield "FULLY_CONNECTED", Taken("in2", types=types("INT32 INT64"), when=types("INT8 UINT8 INT16"))
    yield "FULLY_CONNECTED", Taken("in2", types=types("FLOAT32"), when=types("FLOAT32"))


def _by_operator() -> dict[str, tuple[Taken, ...]]:
    found: dict[str, list[Taken]] = {}
    for operators, demand in _lines():
        for name in operators.split():
            found.setdefault(name, []).append(demand)
    return {name: tuple(demands) for name, demands in found.items()}


TAKEN: dict[str, tuple[Taken, ...]] = _by_operator()
FORCED: dict[str, str] = {name: source for source, operators in _FORCED.items() for name in operators.split()}
Types = tuple[TensorType | None, ...]


def forced_output(name: str, inputs: Types, output: TensorType) -> TensorType:
    """The type that output 0 has once the kernel is prepared."""
    source = FORCED.get(name)
    if source is None:
        return output
    if source.startswith("in"):
        found = _of(source, inputs, ())
        return found if found is not None else output
    allowed = types(source.replace("|", " "))
    return output if output in allowed else TensorType[source.split("|")[0]]


@lru_cache(4096)
def mismatches(name: str, inputs: Types, outputs: Types, per_channel: bool = False, coded: bool = True) -> tuple[Mismatch, ...]:
    """Every operand whose type the operator does not expect, given the types of all.

    `per_channel`: its weights have several scales; `coded`: one of its operands has quantization parameters.
    """
    found: dict[str, Mismatch] = {}
    data = _of(_DATA.get(name, "in0"), inputs, outputs)
    for demand in TAKEN.get(name, ()):
        if (demand.when and data not in demand.when) or (demand.per_channel and not per_channel):
            continue
        for operand in _places(demand.operand, inputs):
            actual = _of(operand, inputs, outputs)
            other = _of(demand.like, inputs, outputs) if demand.like else None
            expected = frozenset({other}) if other is not None else demand.types
            if actual is not None and expected and actual not in expected and operand not in found:
                runs = _runs_on(name, demand, expected, actual)
                delegated = _delegated(demand, runs, _compared(name, data, actual, coded), actual)
                found[operand] = Mismatch(operand, expected, WRONG if runs else _REFUSED, delegated, demand.option)
    if outputs and outputs[0] is not None and "out0" not in found:
        forced = forced_output(name, inputs, outputs[0])
        if forced != outputs[0]:
            found["out0"] = Mismatch("out0", frozenset({forced}), IGNORES, _REFUSED if _compared(name, forced, outputs[0], coded) else IGNORES)
    return tuple(found.values())


def _delegated(demand: Taken, runs: bool, compared: bool, actual: TensorType) -> Reaction:
    """What XNNPACK makes of another type."""
    if actual in demand.delegated:
        return FINE
    return WRONG if runs and not compared else _REFUSED


def _compared(name: str, one: TensorType | None, other: TensorType, coded: bool) -> bool:
    """Whether XNNPACK takes the operator, and then fails on types that differ; without quantization parameters it leaves 8-bit types alone."""
    kinds = {one, other}
    codes = coded and not kinds.isdisjoint(_XNNPACK_CODES) and kinds <= _XNNPACK_TYPES
    return name in _XNNPACK_COMPARES and (codes or kinds == _XNNPACK_FLOATS)


def _runs_on(name: str, demand: Taken, expected: frozenset[TensorType], actual: TensorType) -> bool:
    """Whether the kernels go on with another type; SQUEEZE copies bytes, if there are as many."""
    return demand.runs or (name == "SQUEEZE" and any(actual in width and expected & width for width in _WIDTHS))


def _places(operand: str, inputs: Types) -> tuple[str, ...]:
    return tuple(f"in{n}" for n in range(len(inputs))) if operand == "in*" else (operand,)


def _of(operand: str, inputs: Types, outputs: Types) -> TensorType | None:
    tensors, number = (inputs, int(operand[2:])) if operand.startswith("in") else (outputs, int(operand[3:]))
    return tensors[number] if number < len(tensors) else None
