"""Models of one operator each, by its roles: the smallest thing a runtime can refuse, for every operator of the rule table.

`build("ADD", "INT8", out0=Over(scale=0))` is the serialized model; `Over` says what differs from the sound default. Activations have scale 0.1 and
zero point 3 (128 for UINT8, 0 for INT16), weights 0.05 and 0; constants are seeded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tflitekit._schema import BlockwiseQuantization, BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import QuantizationParameters, Tensor

SCALE, WEIGHT_SCALE = 0.1, 0.05
ZERO_POINTS = {"INT8": 3, "UINT8": 128, "INT16": 0}
DEFAULT = object()
FIXED = {  # the output parameters that some operators demand, by type: scale, zero point
    "SOFTMAX": {"INT8": (2**-8, -128), "UINT8": (2**-8, 0), "INT16": (2**-15, 0)},
    "LOGISTIC": {"INT8": (2**-8, -128), "UINT8": (2**-8, 0), "INT16": (2**-15, 0)},
    "TANH": {"INT8": (2**-7, 0), "UINT8": (2**-7, 128), "INT16": (2**-15, 0)},
    "LOG_SOFTMAX": {"INT8": (2**-4, 127), "UINT8": (2**-4, 255)},
    "L2_NORMALIZATION": {"INT8": (2**-7, 0), "UINT8": (2**-7, 128)},
}


@dataclass(frozen=True)
class Over:
    """What an operand has instead of the default; `quantization` given goes before scale, zero_point and axis."""

    type: str | None = None
    scale: Any = None
    zero_point: Any = None
    axis: int | None = None
    quantization: Any = DEFAULT
    values: Any = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Slot:
    """One operand.

    Its kind: "x" activation, "k" constant of the activation's type, "w" weights, "b" bias, "i" integer constant, "v" variable state, "o" output of a
    type of its own, "-" absent.
    """

    kind: str
    shape: tuple[int, ...] = ()
    values: Any = None
    type: str | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Recipe:
    """How to make a sound operator."""

    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    intermediates: int = 0


def x(*shape: int, **more: Any) -> Slot:
    return Slot("x", shape, **more)


def k(*shape: int, **more: Any) -> Slot:
    return Slot("k", shape, **more)


def w(*shape: int, **more: Any) -> Slot:
    return Slot("w", shape, **more)


def b(count: int, **more: Any) -> Slot:
    return Slot("b", (count,), **more)


def i(values: Any, type: str = "INT32") -> Slot:
    return Slot("i", np.shape(values), values, type)


def r(inputs: Any, *outputs: Slot, **options: Any) -> Recipe:
    return Recipe(tuple(inputs), outputs, options)


V = (2, 4)  # the shape of elementwise operands
IMAGE = (1, 4, 4, 4)
_CONV = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
_POOL = {**_CONV, "filter_width": 2, "filter_height": 2}
_NONE = Slot("-")
_STATES = [Slot("v", (1, 4)), Slot("v", (1, 4), type="INT16")]
_LSTM = [x(1, 4), *[w(4, 4)] * 8, *[_NONE] * 3, *[b(4)] * 4, _NONE, _NONE, *_STATES, *[_NONE] * 4]
_RNN = [x(1, 4), w(4, 4), w(4, 4), b(4), Slot("v", (1, 4))]
_SEQUENCE = [x(2, 1, 4), *_LSTM[1:]]

RECIPES: dict[str, Recipe] = {
    "CONV_2D": r([x(*IMAGE), w(4, 1, 1, 4), b(4)], x(*IMAGE), **_CONV),
    "DEPTHWISE_CONV_2D": r([x(*IMAGE), w(1, 2, 2, 4), b(4)], x(*IMAGE), depth_multiplier=1, **_CONV),
    "TRANSPOSE_CONV": r([i([1, 4, 4, 4]), w(4, 2, 2, 4), x(*IMAGE), b(4)], x(*IMAGE), **_CONV),
    "FULLY_CONNECTED": r([x(2, 32), w(4, 32), b(4)], x(2, 4)),
    "BATCH_MATMUL": r([x(1, 3, 8), w(1, 8, 4)], x(1, 3, 4)),
    "EMBEDDING_LOOKUP": r([i([2, 0]), w(3, 32)], x(2, 32)),
    "SVDF": r([x(1, 4), w(4, 4), w(4, 2, type="INT16"), b(2), Slot("v", (1, 8), type="INT16")], x(1, 2), rank=2, fused_activation_function="RELU"),
    "LSTM": Recipe(tuple(_LSTM), (x(1, 4),), {"fused_activation_function": "TANH", "kernel_type": "FULL"}, 5),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Recipe(tuple(_SEQUENCE), (x(2, 1, 4),), {"fused_activation_function": "TANH", "time_major": True}, 5),
    "BIDIRECTIONAL_SEQUENCE_LSTM": r(
        [x(2, 1, 4), *(_LSTM[1:18]), *(_LSTM[1:18]), *[Slot("v", (1, 4))] * 4, *[Slot("-")] * 9], x(2, 1, 4), x(2, 1, 4),
        fused_activation_function="TANH", time_major=True,
    ),
    "RNN": r(_RNN, x(1, 4), fused_activation_function="TANH"),
    "UNIDIRECTIONAL_SEQUENCE_RNN": r([x(2, 1, 4), *_RNN[1:]], x(2, 1, 4), time_major=True, fused_activation_function="TANH"),
    "BIDIRECTIONAL_SEQUENCE_RNN": r(
        [x(1, 2, 4), w(4, 4), w(4, 4), b(4), Slot("v", (1, 4)), w(4, 4), w(4, 4), b(4), Slot("v", (1, 4)), *[Slot("-")] * 3], x(1, 2, 4), x(1, 2, 4),
        time_major=False, fused_activation_function="TANH",
    ),
    **{name: r([x(*V)], x(*V)) for name in (
        "TANH", "LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "ELU", "GELU", "HARD_SWISH", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT",
        "QUANTIZE", "LOG_SOFTMAX", "L2_NORMALIZATION", "LEAKY_RELU",
    )},
    "SOFTMAX": r([x(*V)], x(*V), beta=1.0),
    "LEAKY_RELU": r([x(*V)], x(*V), alpha=0.1),
    "DEQUANTIZE": r([x(*V)], Slot("o", V, type="FLOAT32")),
    "CAST": r([x(*V)], Slot("o", V, type="FLOAT32"), out_data_type="FLOAT32"),
    "PRELU": r([x(*V), k(4)], x(*V)),
    **{name: r([x(*IMAGE)], x(*IMAGE), **_POOL) for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{name: r([x(*V), x(*V)], x(*V)) for name in ("ADD", "SUB", "MUL", "DIV", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM")},
    **{name: r([x(*V), x(*V)], Slot("o", V, type="BOOL")) for name in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")},
    **{name: r([x(*V), i([1])], x(2)) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD")},
    **{name: r([x(*V), i([1])], Slot("o", (2,), type="INT32"), output_type="INT32") for name in ("ARG_MAX", "ARG_MIN")},
    "RESHAPE": r([x(*V), i([4, 2])], x(4, 2), new_shape=(4, 2)),
    "SQUEEZE": r([x(1, 8)], x(8)),
    "EXPAND_DIMS": r([x(8), i([0])], x(1, 8)),
    "TRANSPOSE": r([x(*V), i([1, 0])], x(4, 2)),
    "SLICE": r([x(*V), i([0, 1]), i([2, 2])], x(2, 2)),
    "STRIDED_SLICE": r([x(*V), i([0, 0]), i([2, 4]), i([1, 1])], x(2, 4)),
    "GATHER": r([x(*V), i([1, 0])], x(2, 4)),
    "GATHER_ND": r([x(*V), i([[1], [0]])], x(2, 4)),
    "TILE": r([x(*V), i([2, 1])], x(4, 4)),
    "REVERSE_V2": r([x(*V), i([1])], x(*V)),
    "SPLIT": r([i(1), x(*V)], x(2, 2), x(2, 2), num_splits=2),
    "SPLIT_V": r([x(*V), i([1, 3]), i(1)], x(2, 1), x(2, 3), num_splits=2),
    "CONCATENATION": r([x(*V), x(*V)], x(2, 8), axis=1),
    "PACK": r([x(*V), x(*V)], x(2, 2, 4), values_count=2),
    "UNPACK": r([x(*V)], x(4), x(4), num=2),
    "PAD": r([x(*V), i([[1, 0], [0, 1]])], x(3, 5)),
    "PADV2": r([x(*V), i([[1, 0], [0, 1]]), k(1)], x(3, 5)),
    "MIRROR_PAD": r([x(*V), i([[1, 0], [0, 1]])], x(3, 5), mode="REFLECT"),
    "SPACE_TO_BATCH_ND": r([x(*IMAGE), i([2, 2]), i([[0, 0], [0, 0]])], x(4, 2, 2, 4)),
    "BATCH_TO_SPACE_ND": r([x(4, 2, 2, 4), i([2, 2]), i([[0, 0], [0, 0]])], x(*IMAGE)),
    "SPACE_TO_DEPTH": r([x(*IMAGE)], x(1, 2, 2, 16), block_size=2),
    "DEPTH_TO_SPACE": r([x(*IMAGE)], x(1, 8, 8, 1), block_size=2),
    **{name: r([x(*IMAGE), i([8, 8])], x(1, 8, 8, 4)) for name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")},
    "BROADCAST_TO": r([x(*V), i([3, 2, 4])], x(3, 2, 4)),
    "FILL": r([i([2, 3]), x()], x(2, 3)),
    "SCATTER_ND": r([i([[1], [0]]), x(*V), i([3, 4])], x(3, 4)),
    **{name: r([i([[True, False, True, True], [False, True, False, True]], "BOOL"), x(*V), x(*V)], x(*V)) for name in ("SELECT", "SELECT_V2")},
    "DYNAMIC_UPDATE_SLICE": r([x(*V), x(1, 2), i([0, 1])], x(*V)),
    "TOPK_V2": r([x(*V), i(2)], x(2, 2), Slot("o", (2, 2), type="INT32")),
    "SHAPE": r([x(*V)], Slot("o", (2,), type="INT32"), out_type="INT32"),
    "WHERE": r([i([[1, 0, 2, 0], [0, 1, 0, 3]])], Slot("o", (4, 2), type="INT64")),
    "VAR_HANDLE": r([], Slot("o", (), type="RESOURCE"), container="c", shared_name="v"),
    "ASSIGN_VARIABLE": r([], ),
    "READ_VARIABLE": r([], ),
}  # fmt: skip


def build(
    name: str,
    type: str,
    *,
    version: int | None = None,
    drop: int = 0,
    change: Callable[[tk.Model], None] | None = None,
    options: Mapping[str, Any] | None = None,
    **over: Over,
) -> bytes:
    """A model whose only operator is `name` with activations of `type`, serialized.

    in0, out0, ... say what differs; `drop` removes inputs from the end; `change` edits the model before it is serialized.
    """
    recipe = RECIPES[name]
    if name in ("SQRT", "RSQRT", "LOG") and type == "INT8":
        over = {"in0": Over(zero_point=-128), **over}  # defined for positive values only
    builder = ModelBuilder()
    main = builder.subgraph("main")
    if name in ("ASSIGN_VARIABLE", "READ_VARIABLE"):
        _variables(main, type, version, name)
        return tk.serialize(builder.build())
    rng = np.random.default_rng(5)
    slots = recipe.inputs[: len(recipe.inputs) - drop]
    if name == "EMBEDDING_LOOKUP" and type != "FLOAT32":
        slots = (slots[0], replace(slots[1], kind="k"))  # rows are copied
    inputs = [_operand(main, f"in{n}", slot, type, over.get(f"in{n}", Over()), rng) for n, slot in enumerate(slots)]
    outputs = [_output(f"out{n}", slot, type, _fixed(name, type, over.get(f"out{n}", Over()))) for n, slot in enumerate(recipe.outputs)]
    extra: dict[str, Any] = {}
    if recipe.intermediates:
        extra["intermediates"] = [main.tensor(f"mid{n}", (0,), "INT16" if type != "FLOAT32" else "FLOAT32", quantize(2**-12)) for n in range(5)]
    fields = {**recipe.options, **(options or {})}
    made = main.operator(name, inputs, outputs, version=version or 1, **fields, **extra)
    main.output(*[t for t in made.outputs if t is not None])
    if change is not None:
        change(builder.model)
    return FORGED.finish(builder.build())


def _fixed(name: str, type: str, over: Over) -> Over:
    """The fixed parameters of an output, unless `over` says others."""
    scale, zero_point = FIXED.get(name, {}).get(over.type or type, (None, None))
    return replace(over, scale=scale if over.scale is None else over.scale, zero_point=zero_point if over.zero_point is None else over.zero_point)


def _variables(main: SubGraphBuilder, type: str, version: int | None, name: str) -> None:
    value = main.input("x", V, type, _parameters(type, SCALE, Over()))
    handle = main.apply("VAR_HANDLE", [], TensorSpec("h", (), "RESOURCE"), container="c", shared_name="v")
    main.operator("ASSIGN_VARIABLE", [handle, value], [], version=(version or 1) if name == "ASSIGN_VARIABLE" else 1)
    read = TensorSpec("y", V, type, _parameters(type, SCALE, Over()))
    main.output(main.apply("READ_VARIABLE", [handle], read, version=(version or 1) if name == "READ_VARIABLE" else 1))


class Forged(dict[bytes, bytes]):
    """Scales that the graph refuses to hold (zero, negative, NaN): each is written as a marker, which `finish` replaces in the file."""

    def marker(self, scale: Any) -> Any:
        """The scales with a marker in place of every one that is not positive and finite."""
        wanted = np.atleast_1d(np.asarray(scale, np.float32))
        for number in np.flatnonzero(~(np.isfinite(wanted) & (wanted > 0))):
            made = np.uint32(0x3A5A5A00 + len(self)).view(np.float32)
            self[made.tobytes()] = wanted[number].tobytes()
            wanted[number] = made
        return wanted

    def finish(self, model: tk.Model) -> bytes:
        """The serialized model with the scales that were asked for."""
        data = tk.serialize(model)
        for marker, wanted in self.items():
            assert data.count(marker) == 1
            data = data.replace(marker, wanted)
        self.clear()
        return data


FORGED = Forged()


def _parameters(type: str, scale: float, over: Over) -> QuantizationParameters | None:
    """The default parameters of a type with what `over` says; none for types that are not quantized."""
    if over.quantization is not DEFAULT:
        return over.quantization  # type: ignore[no-any-return]
    if type not in ("INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4", "INT32", "INT64") and over.scale is None and over.zero_point is None:
        return None
    zero_point = over.zero_point if over.zero_point is not None else ZERO_POINTS.get(type, 0)
    return quantize(FORGED.marker(scale if over.scale is None else over.scale), zero_point, over.axis)


def _weights_type(name_type: str) -> str:
    return {"INT8": "INT8", "UINT8": "UINT8", "INT16": "INT8", "FLOAT32": "FLOAT32"}.get(name_type, name_type)


def _operand(main: SubGraphBuilder, name: str, slot: Slot, activation: str, over: Over, rng: np.random.Generator) -> Tensor | None:
    if slot.kind == "-":
        return None
    shape = over.shape if over.shape is not None else slot.shape
    if slot.kind == "x":
        type = over.type or activation
        return main.input(name, shape, type, _parameters(type, SCALE, over))
    if slot.kind == "v":
        type = over.type or ("FLOAT32" if activation == "FLOAT32" else slot.type or activation)
        return main.variable(name, shape, type, _parameters(type, SCALE if type == activation else 2**-12, over))
    if slot.kind == "i":
        return main.constant(name, slot.values if over.values is None else over.values, over.type or slot.type)
    if slot.kind == "b":
        default = {"FLOAT32": "FLOAT32", "INT16": "INT64"}.get(activation, "INT32")
        type = over.type or default
        values = np.arange(1, int(np.prod(shape)) + 1).reshape(shape) * (1 if type == "FLOAT32" else 100)
        values = values if over.values is None else over.values
        dtype = {"FLOAT32": np.float32, "INT64": np.int64}.get(type, np.int32)
        return main.constant(name, values.astype(dtype), type, _parameters(type, SCALE * WEIGHT_SCALE, over))
    type = over.type or (activation if slot.kind == "k" else "FLOAT32" if activation == "FLOAT32" else slot.type or _weights_type(activation))
    values = over.values if over.values is not None else _codes(type, shape, rng)
    if slot.kind == "w" and over.zero_point is None and type == "UINT8" and over.quantization is DEFAULT:
        over = Over(type, over.scale, 128, over.axis)
    base = SCALE if slot.kind == "k" else WEIGHT_SCALE
    parameters = _parameters(type, base, over)
    if slot.kind == "w" and over.zero_point is None and parameters is not None and type not in ("UINT8",):
        parameters = quantize(parameters.scale, np.zeros(len(parameters.scale), np.int64), over.axis) if over.quantization is DEFAULT else parameters
    return main.constant(name, values, type, parameters)


def _codes(type: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    if type == "FLOAT32":
        return rng.uniform(-1, 1, shape).astype(np.float32)
    if type == "FLOAT16":
        return rng.uniform(-1, 1, shape).astype(np.float16)
    low, high, dtype = {
        "INT8": (-127, 127, np.int8), "UINT8": (0, 255, np.uint8), "INT16": (-500, 500, np.int16), "INT4": (-7, 7, np.int8), "INT2": (-1, 1, np.int8),
    }[type]  # fmt: skip
    return rng.integers(low, high + 1, shape).astype(dtype)


def _output(name: str, slot: Slot, activation: str, over: Over) -> TensorSpec:
    type = over.type or slot.type or activation
    shape = over.shape if over.shape is not None else slot.shape
    quantized = slot.kind == "x" or over.scale is not None
    return TensorSpec(name, shape, type, _parameters(type, slot.scale or SCALE, over) if quantized else None)


def float_twin(data: bytes) -> bytes:
    """The same operator on real values: every quantized tensor as FLOAT32, constants dequantized."""
    model = tk.parse(data)
    for tensor in model.subgraphs[0].tensors:
        parameters = tensor.quantization
        if parameters is None or tensor.type == TensorType.FLOAT32:
            continue
        if tensor.is_constant:
            real = dequantize(tensor)
            tensor.type = TensorType.FLOAT32
            model.set_data(tensor, real.astype(np.float32))
        else:
            tensor.type = TensorType.FLOAT32
        tensor.quantization = None
    return tk.serialize(model, rebuild=True)


def dequantize(tensor: Tensor) -> npt.NDArray[np.float64]:
    """The real values of a quantized constant: per tensor, per channel, or blockwise along the last dimension."""
    codes, parameters = tensor.numpy().astype(np.float64), tensor.quantization
    assert parameters is not None
    details = parameters.details
    if isinstance(details, BlockwiseQuantization):
        assert details.scales is not None
        scales = details.scales.numpy().astype(np.float64).reshape(codes.shape[0], -1)
        return codes * np.repeat(scales, codes.shape[1] // scales.shape[1], axis=1)
    shape = [1] * codes.ndim
    if len(parameters.scale) > 1:
        shape[parameters.quantized_dimension] = -1
    return (codes - parameters.zero_point.reshape(shape)) * parameters.scale.astype(np.float64).reshape(shape)


NAMES = sorted(RECIPES)
assert all(name in BuiltinOperator.__members__ for name in NAMES)
