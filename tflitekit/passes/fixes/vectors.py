"""Repairs of quantization vectors: counts, axes, scales that are no steps, zero points that are no codes, missing parameters (Q001, Q002, Q1xx)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._schema import TensorType
from ...audit import Finding
from ...graph import Operator, QuantizationParameters, Tensor
from ...quant.rules import OpRule, Role, operand
from ...types import INTEGER_RANGES
from ..bias import product
from .bench import Bench, UnfixableError, affine, force, sound
from .evidence import Evidence, evidence, exact_factor, implied_scale, plain_biases

SYMMETRIC = frozenset({TensorType.INT16, TensorType.INT32, TensorType.INT64, TensorType.INT4, TensorType.INT2})
UNKNOWN = "which value is right does not follow from the file"


def roles(bench: Bench, tensor: Tensor) -> set[Role]:
    """What a tensor is to the operators that read it."""
    found = set()
    for operator, rule in bench.around(tensor):
        for place, given in zip(rule.input_roles(len(operator.inputs)) or (), operator.inputs, strict=False):
            if given is tensor:
                found.add(place.role)
    return found


def zero_points(bench: Bench, finding: Finding) -> None:
    """Q001: as many zero points as scales."""
    tensor = bench.tensor(finding)
    q = affine(tensor)
    if not bench.once(tensor, "zero points"):
        return
    scales, points = len(q.scale), q.zero_point
    if len(points) and scales in (len(points) - 1, len(points) + 1) and max(scales, len(points)) > 1 and _restored(bench, tensor, finding):
        return
    if len(points) == 0:
        value = _missing_zero_point(bench, tensor)
    elif len(set(points.tolist())) == 1:
        value = int(points[0])
    else:
        raise UnfixableError(f"{scales} scales and {len(points)} different zero points: {UNKNOWN}")
    force(q, zero_point=[value] * scales)
    bench.say(tensor, finding, f"zero point {value} for each of {scales} scales", zero_point=value)


def _missing_zero_point(bench: Bench, tensor: Tensor) -> int:
    if tensor.type in SYMMETRIC or roles(bench, tensor) & {Role.WEIGHTS, Role.BIAS}:
        if tensor.type == TensorType.UINT8:
            raise UnfixableError(f"UINT8 weights have any zero point: {UNKNOWN}")
        return 0
    for found in evidence(bench, tensor):
        if found.zero_point is not None and found.scale == float(affine(tensor).scale[0]):
            return found.zero_point
    raise UnfixableError(UNKNOWN)


def dimension(bench: Bench, finding: Finding) -> None:
    """Q002 and Q203: scales along the axis that they are for."""
    tensor = bench.tensor(finding)
    q = affine(tensor)
    if not bench.once(tensor, "axis"):
        return
    count, old = len(q.scale), q.quantized_dimension
    wanted = next((axis for o, r in bench.around(tensor) if (axis := weights_axis(o, r, tensor)) is not None), None)
    if count == 1:
        axis = 0
    elif wanted is not None and tensor.shape[wanted] != count and _restored(bench, tensor, finding):
        return
    elif not tensor.shape or count not in tensor.shape:
        if _restored(bench, tensor, finding):
            return
        raise UnfixableError(f"no dimension of {list(tensor.shape)} has {count} slices, and which scales are too many or missing does not follow")
    else:
        axis = _axis_of(bench, tensor, count)
    if axis == old:
        raise UnfixableError("the axis is right already")
    force(q, axis=axis)
    bench.say(tensor, finding, f"scales along dimension {axis}, not {old}", axis=axis)


def _axis_of(bench: Bench, tensor: Tensor, count: int) -> int:
    """The axis that operators demand, else the only one of that many slices."""
    for operator, rule in bench.around(tensor):
        axis = weights_axis(operator, rule, tensor)
        if axis is not None and tensor.shape[axis] == count:
            return axis
    fitting = [axis for axis, size in enumerate(tensor.shape) if size == count]
    if len(fitting) != 1:
        raise UnfixableError(f"dimensions {fitting} have {count} slices each: {UNKNOWN}")
    return fitting[0]


def weights_axis(operator: Operator, rule: OpRule, tensor: Tensor) -> int | None:
    """The axis of per-channel scales that an operator demands of these weights."""
    weights = rule.weights
    if weights is None or weights.quantized_dimension is None or not tensor.shape:
        return None
    if not any(position < len(operator.inputs) and operator.inputs[position] is tensor for position in weights.operands):
        return None
    axis = weights.quantized_dimension
    if weights.transposed_by and getattr(operator.options, weights.transposed_by, False) and weights.transposed_dimension is not None:
        axis = weights.transposed_dimension
    return axis % len(tensor.shape)


def _restored(bench: Bench, tensor: Tensor, finding: Finding) -> bool:
    """Restore a vector of scales with one too few or too many from the other tensors of a bias equation; False if they do not give it."""
    full = _implied_vector(bench, tensor)
    q = affine(tensor)
    if full is None or not sound(full).all() or not _agrees(q.scale, full):
        if len(set(q.scale.tolist())) == 1 and len(set(q.zero_point.tolist())) == 1 and not roles(bench, tensor) & {Role.WEIGHTS, Role.BIAS}:
            force(q, q.scale[:1], q.zero_point[:1])
            bench.say(tensor, finding, "one scale and zero point, where equal ones stood")
            return True
        return False
    zero = q.zero_point[:1] if len(q.zero_point) else np.zeros(1, np.int64)
    if len(q.scale) > len(full):
        full = np.delete(q.scale, _ahead(full, q.scale))
    else:
        at = _ahead(q.scale, full)
        full = np.insert(q.scale, at, full[at])  # those that are there keep their bits
    force(q, full, np.repeat(zero, len(full)))
    bench.say(tensor, finding, f"{len(full)} scales, by bias = input x weights", scale=full.astype(float).tolist())
    return True


def _implied_vector(bench: Bench, tensor: Tensor) -> Any:
    """All scales of a weight or bias tensor, by the rest of the equation."""
    for operator, rule in bench.around(tensor):
        for one in plain_biases(rule):
            bias = operator.inputs[one.operand] if one.operand < len(operator.inputs) else None
            if bias is tensor:
                return product(operator, one)
            if operand(operator, one.factors[1]) is tensor and bias is not None:
                found = implied_scale(operator, one, factor=1)
                source = operand(operator, one.factors[0])
                if found is None or source is None or source.quantization is None or bias.quantization is None:
                    return None
                other = source.quantization.scale[0]
                return np.array([exact_factor(f, other, b) for f, b in zip(found, bias.quantization.scale, strict=True)], np.float32)
    return None


def _agrees(partial: Any, full: Any) -> bool:
    """Whether the two vectors are the same but for one entry that only the longer has."""
    longer, shorter = (full, partial) if len(full) > len(partial) else (partial, full)
    if len(longer) - len(shorter) != 1:
        return False
    return bool(np.isclose(longer[1:], shorter, rtol=1e-5, atol=0)[_ahead(shorter, longer) :].all())


def _ahead(shorter: Any, longer: Any) -> int:
    """The position of the entry that only the longer vector has: the first at which the two differ."""
    return int(np.argmin(np.append(np.isclose(longer[: len(shorter)], shorter, rtol=1e-5, atol=0), False)))


# ---- activations ----


def parameters_of(bench: Bench, tensor: Tensor, *, zero_point: int | None) -> Evidence:
    """Evidence for a scale; its zero point is the given one where nothing is said about that."""
    for found in evidence(bench, tensor):
        if found.zero_point is not None:
            return found
        point = 0 if tensor.type in SYMMETRIC else zero_point
        if point is not None:
            return Evidence(found.scale, point, found.why)
    raise UnfixableError(f"{UNKNOWN}; only calibration finds the range")


def _valid_zero_point(tensor: Tensor) -> int | None:
    q = tensor.quantization
    low, high = INTEGER_RANGES.get(tensor.type, (0, 0))
    if q is None or len(q.zero_point) != 1 or not low <= int(q.zero_point[0]) <= high:
        return None
    return int(q.zero_point[0])


def activation_scale(bench: Bench, finding: Finding) -> None:
    """Q101: a scale that is no step."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "scale"):
        return
    q = affine(tensor)
    if len(q.scale) == 1 and not sound(q.scale).all() and _is_bias(bench, tensor):
        raise UnfixableError("it is a bias: see Q301")
    if _zeros(tensor, q) and float(q.scale[0]) == 0:
        force(q, [1.0])
        bench.say(tensor, finding, "scale 1: the tensor holds zeros, so any scale is right", scale=1.0)
        return
    found = parameters_of(bench, tensor, zero_point=_valid_zero_point(tensor))
    force(q, [found.scale], [found.zero_point])
    bench.say(tensor, finding, f"scale {found.scale!r}, zero point {found.zero_point}: {found.why}", scale=found.scale, zero_point=found.zero_point)


def _is_bias(bench: Bench, tensor: Tensor) -> bool:
    return Role.BIAS in roles(bench, tensor)


def _zeros(tensor: Tensor, q: QuantizationParameters) -> bool:
    return tensor.is_constant and len(q.zero_point) == 1 and bool((tensor.numpy().astype(np.int64) == int(q.zero_point[0])).all())


def activation_zero_point(bench: Bench, finding: Finding) -> None:
    """Q102: a zero point that is no code."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "zero point"):
        return
    q = affine(tensor)
    if Role.WEIGHTS in roles(bench, tensor) and tensor.type != TensorType.UINT8:
        force(q, zero_point=np.zeros(len(q.zero_point), np.int64))
        bench.say(tensor, finding, f"zero point 0: {tensor.type.name} weights are symmetric", zero_point=0)
        return
    for found in evidence(bench, tensor):
        if found.zero_point is not None and abs(found.scale - float(q.scale[0])) <= 1e-6 * found.scale:
            force(q, zero_point=[found.zero_point])
            bench.say(tensor, finding, f"zero point {found.zero_point}: {found.why}", zero_point=found.zero_point)
            return
    raise UnfixableError(UNKNOWN)


def int16_zero_point(bench: Bench, finding: Finding) -> None:
    """Q103: INT16 activations are symmetric. Constants are shifted, so that their real values stay."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "zero point"):
        return
    q = affine(tensor)
    if tensor.is_constant:
        codes = tensor.numpy().astype(np.int64) - int(q.zero_point[0])
        if np.abs(codes).max(initial=0) > 32767:
            raise UnfixableError("shifted by the zero point, the data does not fit in INT16")
        bench.model.set_data(tensor, codes.astype(np.int16))
    force(q, zero_point=[0])
    bench.say(tensor, finding, "zero point 0" + (", data shifted" if tensor.is_constant else ", as kernels take it"), zero_point=0)


def several_scales(bench: Bench, finding: Finding) -> None:
    """Q104: an activation has one scale."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "scales"):
        return
    q = affine(tensor)
    if len(set(q.scale.tolist())) == 1 and len(set(q.zero_point.tolist())) == 1:
        force(q, q.scale[:1], q.zero_point[:1], 0)
        bench.say(tensor, finding, "one scale and zero point, where equal ones stood")
        return
    found = parameters_of(bench, tensor, zero_point=None)
    force(q, [found.scale], [found.zero_point], 0)
    bench.say(tensor, finding, f"scale {found.scale!r}, zero point {found.zero_point}: {found.why}", scale=found.scale, zero_point=found.zero_point)


def missing_parameters(bench: Bench, finding: Finding) -> None:
    """Q106: a quantized type without parameters."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "parameters"):
        return
    found = roles(bench, tensor)
    if Role.WEIGHTS in found:
        vector = _implied_vector(bench, tensor)
        if vector is None or not sound(vector).all():
            raise UnfixableError(UNKNOWN)
        operator, rule = next((o, r) for o, r in bench.around(tensor) if weights_axis(o, r, tensor) is not None or r.weights is not None)
        axis = weights_axis(operator, rule, tensor) or 0
        if len(vector) > 1 and (not tensor.shape or tensor.shape[axis] != len(vector)):
            raise UnfixableError(UNKNOWN)
        tensor.quantization = QuantizationParameters(scale=vector, zero_point=np.zeros(len(vector), np.int64), quantized_dimension=axis)
        bench.say(tensor, finding, f"{len(vector)} scales, by bias = input x weights", scale=vector.astype(float).tolist())
        return
    point = 0 if tensor.type in SYMMETRIC else _valid_zero_point(tensor)
    one = parameters_of(bench, tensor, zero_point=point)
    made = tensor.quantization or QuantizationParameters()
    force(made, [one.scale], [one.zero_point], 0)
    tensor.quantization = made
    bench.say(tensor, finding, f"scale {one.scale!r}, zero point {one.zero_point}: {one.why}", scale=one.scale, zero_point=one.zero_point)
