"""Single-field mutations of real models, drawn by a seed: a model, the role of an operand in its operator, a field, and a change of it.

Each is drawn uniformly from all that there are. A draw whose model has nothing in that role, or whose operand lacks that field or has no other value
for it, is drawn again from the start; nothing else is left out. Operators without a quantized operand are not drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tflitekit._schema import ActivationFunctionType, TensorType
from tflitekit.graph import Model, Operator, QuantizationParameters, Tensor
from tflitekit.types import BITS

QUANTIZED = frozenset(TensorType[name] for name in ("INT8", "UINT8", "INT16", "INT4", "INT2", "UINT4"))
# Operand positions by operator; what is not named here is an activation.
WEIGHTS = {
    "CONV_2D": (1,), "DEPTHWISE_CONV_2D": (1,), "TRANSPOSE_CONV": (1,), "FULLY_CONNECTED": (1,), "BATCH_MATMUL": (1,), "EMBEDDING_LOOKUP": (1,),
    "SVDF": (1, 2), "LSTM": (*range(1, 9), 16), "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
}  # fmt: skip
BIASES = {
    "CONV_2D": (2,), "DEPTHWISE_CONV_2D": (2,), "TRANSPOSE_CONV": (3,), "FULLY_CONNECTED": (2,), "SVDF": (3,), "LSTM": (12, 13, 14, 15, 17),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (12, 13, 14, 15, 17),
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """What was changed: `path` is the tensor or operator, `where` the operand in words."""

    model: str
    role: str
    field: str
    kind: str
    path: str
    where: str


class InapplicableError(Exception):
    """The operand does not have the field, or no other value for it."""


@dataclass(frozen=True)
class Place:
    """What a mutation is made to: an operator, and one operand of it (None: the operator itself)."""

    operator: Operator
    tensor: Tensor | None
    rng: random.Random

    @property
    def operand(self) -> Tensor:
        assert self.tensor is not None
        return self.tensor

    @property
    def quantization(self) -> QuantizationParameters:
        """The operand's parameters, if it has a scale."""
        found = self.operand.quantization
        if found is None or not len(found.scale):
            raise InapplicableError
        return found


Change = Callable[[Place], None]
Vector = npt.NDArray[Any]


def _force(q: QuantizationParameters, attribute: str, value: Any) -> None:
    """Store a value that assignment would refuse."""
    object.__setattr__(q, attribute, value)
    object.__setattr__(q, "_present", q._present | 1 << {"scale": 2, "zero_point": 3}[attribute])


def _scale(change: Callable[[Vector], Vector]) -> Change:
    def mutate(place: Place) -> None:
        with np.errstate(all="ignore"):
            _force(place.quantization, "scale", change(place.quantization.scale.copy()).astype(np.float32))

    return mutate


def _one(value: float) -> Callable[[Vector], Vector]:
    def change(scale: Vector) -> Vector:
        scale[len(scale) // 2] = value
        return scale

    return change


def _zero_point(change: Callable[[Vector], Vector]) -> Change:
    def mutate(place: Place) -> None:
        found = place.quantization.zero_point
        if not len(found):
            raise InapplicableError
        _force(place.quantization, "zero_point", change(found.copy()).astype(np.int64))

    return mutate


def _shift(by: int) -> Callable[[Vector], Vector]:
    def change(zero_point: Vector) -> Vector:
        zero_point[len(zero_point) // 2] += by
        return zero_point

    return change


def _dimension(place: Place) -> None:
    q = place.quantization
    q.quantized_dimension = place.rng.choice([d for d in range(-1, len(place.operand.shape) + 2) if d != q.quantized_dimension])


def _no_quantization(place: Place) -> None:
    assert place.quantization is not None
    place.operand.quantization = None


NARROW = tuple(TensorType[name] for name in ("INT4", "INT2"))  # of constants only: the interpreter's Python has no such arrays
TYPES = tuple(TensorType[name] for name in ("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "UINT16", "FLOAT16", "BOOL"))


def _type(same_width: bool) -> Change:
    def mutate(place: Place) -> None:
        tensor = place.operand
        if tensor.type not in BITS:
            raise InapplicableError
        kinds = TYPES + NARROW if tensor.is_constant else TYPES
        others = [t for t in kinds if t != tensor.type and (BITS[t] == BITS[tensor.type]) == same_width]
        if not others:
            raise InapplicableError
        tensor.type = place.rng.choice(others)

    return mutate


def _constant(place: Place) -> Any:
    """The bytes of a constant operand."""
    buffer = place.operand.buffer
    if not place.operand.is_constant or buffer is None or buffer.data is None or len(buffer.data) < 2:
        raise InapplicableError
    return buffer


def _larger(place: Place) -> None:
    _constant(place)
    shape = place.operand.shape
    if not shape:
        raise InapplicableError
    axis = place.rng.randrange(len(shape))
    place.operand.shape = [n * 2 if k == axis else n for k, n in enumerate(shape)]


def _shorter(place: Place) -> None:
    buffer = _constant(place)
    buffer.data = bytes(buffer.data)[:-1]


def _lowest(place: Place) -> None:
    buffer = _constant(place)
    if place.operand.type not in QUANTIZED:
        raise InapplicableError
    lowest = {TensorType.UINT8: 0, TensorType.INT4: 0x88, TensorType.INT2: 0xAA}.get(place.operand.type, 0x80)
    data = bytearray(bytes(buffer.data))
    at = place.rng.randrange(len(data))
    data[at] = lowest
    buffer.data = bytes(data)


def _version(change: Callable[[int], int]) -> Change:
    def mutate(place: Place) -> None:
        code = place.operator.opcode
        assert code is not None
        new = change(code.version)
        if new == code.version or new < 1:
            raise InapplicableError
        code.version = new

    return mutate


def _option(name: str, *values: Any) -> Change:
    """Another value of an option; a flag is flipped."""

    def mutate(place: Place) -> None:
        options = place.operator.options
        if options is None or not hasattr(options, name):
            raise InapplicableError
        old = getattr(options, name)
        setattr(options, name, place.rng.choice([v for v in values if v != old]) if values else not old)

    return mutate


_FUSED = tuple(ActivationFunctionType[name] for name in ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH"))
_BIAS_TYPES = tuple(TensorType[name] for name in ("FLOAT32", "INT32", "INT64"))
TENSOR_FIELDS: dict[str, dict[str, Change]] = {
    "scale": {
        "scale doubled": _scale(lambda s: s * 2),
        "scale one step up": _scale(lambda s: np.nextafter(s, np.float32(np.inf))),
        "one scale zero": _scale(_one(0.0)),
        "one scale negative": _scale(_one(-0.5)),
        "one scale nan": _scale(_one(float("nan"))),
        "one scale subnormal": _scale(_one(1e-40)),
        "scale removed": _scale(lambda s: s[:-1]),
        "scale added": _scale(lambda s: np.append(s, s[-1:])),
    },
    "zero_point": {
        "zero point one up": _zero_point(_shift(1)),
        "zero point far off": _zero_point(_shift(1000)),
        "zero point removed": _zero_point(lambda z: z[:-1]),
    },
    "quantized_dimension": {"dimension": _dimension},
    "quantization": {"no quantization": _no_quantization},
    "type": {"type of the same width": _type(True), "type of another width": _type(False)},
    "shape": {"shape doubled": _larger},
    "data": {"data cut": _shorter, "lowest code": _lowest},
}
OPERATOR_FIELDS: dict[str, dict[str, Change]] = {
    "version": {
        "version one up": _version(lambda v: v + 1), "version one down": _version(lambda v: v - 1), "version 99": _version(lambda v: 99),
    },
    "options": {
        "fused activation": _option("fused_activation_function", *_FUSED),
        "quantized_bias_type": _option("quantized_bias_type", *_BIAS_TYPES),
        "asymmetric_quantize_inputs": _option("asymmetric_quantize_inputs"),
        "pot_scale_int16": _option("pot_scale_int16"),
    },
}  # fmt: skip
ROLES = ("input", "weights", "bias", "output", "operator")


def _quantized(tensor: Tensor | None) -> bool:
    q = tensor.quantization if tensor is not None else None
    return tensor is not None and tensor.type in QUANTIZED and q is not None and (len(q.scale) > 0 or q.details is not None)


def places(model: Model, role: str) -> list[tuple[int, int, str, Operator, Tensor | None]]:
    """Everything in a role: (subgraph, operator, operand in words, operator, operand)."""
    found: list[tuple[int, int, str, Operator, Tensor | None]] = []
    for number, subgraph in enumerate(model.subgraphs):
        for index, operator in enumerate(subgraph.operators):
            if not any(map(_quantized, (*operator.inputs, *operator.outputs))):
                continue
            if role == "operator":
                found.append((number, index, "", operator, None))
                continue
            weights, biases = WEIGHTS.get(operator.op_name, ()), BIASES.get(operator.op_name, ())
            for position, tensor in enumerate(operator.outputs if role == "output" else operator.inputs):
                kind = "output" if role == "output" else "weights" if position in weights else "bias" if position in biases else "input"
                if tensor is not None and kind == role:
                    found.append((number, index, f".{'outputs' if role == 'output' else 'inputs'}[{position}]", operator, tensor))
    return found


def draw(model: Model, name: str, rng: random.Random) -> Mutation | None:
    """Mutate a model in place; None if what was drawn is not there, and the model has to be drawn again."""
    role = rng.choice(ROLES)
    field, kinds = rng.choice(list((OPERATOR_FIELDS if role == "operator" else TENSOR_FIELDS).items()))
    kind, change = rng.choice(list(kinds.items()))
    found = places(model, role)
    if not found:
        return None
    number, index, operand, operator, tensor = rng.choice(found)
    try:
        change(Place(operator, tensor, rng))
    except InapplicableError:
        return None
    path = f"subgraphs[{number}].operators[{index}]"
    words = f"{path}{operand} ({operator.op_name}" + (f", {tensor.type.name})" if tensor is not None else ")")
    if tensor is not None:
        path = f"subgraphs[{number}].tensors[{model.subgraphs[number].tensors.index(tensor)}]"
    return Mutation(name, role, field, kind, path, words)
