"""Single-field mutations of real models, drawn by a seed: a model, an operator, an operand, a field, and a change of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tflitekit._schema import TensorType
from tflitekit.graph import Model, QuantizationParameters, Tensor


@dataclass(frozen=True)
class Mutation:
    """What was changed, in words."""

    model: str
    kind: str
    where: str


def _force(q: QuantizationParameters, attribute: str, value: Any) -> None:
    """Store a value that assignment would refuse."""
    object.__setattr__(q, attribute, value)
    slot = {"scale": 2, "zero_point": 3}.get(attribute)
    if slot is not None:
        object.__setattr__(q, "_present", q._present | 1 << slot)


def _scale(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor, QuantizationParameters, random.Random], None]:
    def mutate(tensor: Tensor, q: QuantizationParameters, rng: random.Random) -> None:
        with np.errstate(all="ignore"):
            _force(q, "scale", change(q.scale.copy()).astype(np.float32))

    return mutate


def _one(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(scale: np.ndarray) -> np.ndarray:
        scale[len(scale) // 2] = value
        return scale

    return change


def _zero_point(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensor, QuantizationParameters, random.Random], None]:
    def mutate(tensor: Tensor, q: QuantizationParameters, rng: random.Random) -> None:
        _force(q, "zero_point", change(q.zero_point.copy()).astype(np.int64))

    return mutate


def _shift(by: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(zero_point: np.ndarray) -> np.ndarray:
        zero_point[len(zero_point) // 2] += by
        return zero_point

    return change


def _dimension(tensor: Tensor, q: QuantizationParameters, rng: random.Random) -> None:
    q.quantized_dimension = rng.choice([d for d in range(-1, len(tensor.shape) + 2) if d != q.quantized_dimension])


_SIBLINGS = {
    TensorType.INT8: TensorType.UINT8, TensorType.UINT8: TensorType.INT8, TensorType.INT32: TensorType.FLOAT32, TensorType.INT64: TensorType.FLOAT64,
    TensorType.INT16: TensorType.UINT16, TensorType.INT4: TensorType.UINT4, TensorType.INT2: TensorType.INT4,
}  # fmt: skip


def _type(tensor: Tensor, q: QuantizationParameters, rng: random.Random) -> None:
    tensor.type = _SIBLINGS.get(tensor.type, TensorType.INT8)


def _drop(tensor: Tensor, q: QuantizationParameters, rng: random.Random) -> None:
    tensor.quantization = None


KINDS: dict[str, Callable[[Tensor, QuantizationParameters, random.Random], None]] = {
    "scale doubled": _scale(lambda s: s * 2),
    "scale one step up": _scale(lambda s: np.nextafter(s, np.float32(np.inf))),
    "one scale zero": _scale(_one(0.0)),
    "one scale negative": _scale(_one(-0.5)),
    "one scale nan": _scale(_one(float("nan"))),
    "one scale subnormal": _scale(_one(1e-40)),
    "scale removed": _scale(lambda s: s[:-1]),
    "scale added": _scale(lambda s: np.append(s, s[-1:])),
    "zero point one up": _zero_point(_shift(1)),
    "zero point far off": _zero_point(_shift(1000)),
    "zero point removed": _zero_point(lambda z: z[:-1]),
    "dimension": _dimension,
    "type": _type,
    "no quantization": _drop,
}


def draw(model: Model, name: str, rng: random.Random) -> Mutation | None:
    """Mutate a model in place; None if the operator that was drawn has no quantized operand."""
    subgraph = rng.randrange(len(model.subgraphs))
    operators = model.subgraphs[subgraph].operators
    if not operators:
        return None
    index = rng.randrange(len(operators))
    operands = [("inputs", i, t) for i, t in enumerate(operators[index].inputs) if t is not None]
    operands += [("outputs", i, t) for i, t in enumerate(operators[index].outputs) if t is not None]
    operands = [(side, i, t) for side, i, t in operands if t.quantization is not None and len(t.quantization.scale)]
    if not operands:
        return None
    side, position, tensor = rng.choice(operands)
    kind = rng.choice(list(KINDS))
    assert tensor.quantization is not None
    KINDS[kind](tensor, tensor.quantization, rng)
    return Mutation(name, kind, f"subgraphs[{subgraph}].operators[{index}].{side}[{position}] ({operators[index].op_name}, {tensor.type.name})")
