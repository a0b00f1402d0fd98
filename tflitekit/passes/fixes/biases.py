"""Repairs of biases: scale, type, zero point (Q301, Q302, Q303)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._schema import TensorType
from ...audit import Finding
from ...errors import RefusedError
from ...graph import Operator, QuantizationParameters, Tensor
from ...quant.affine import rounded
from ...quant.rules import BiasRule, operand
from ...types import INTEGER_RANGES, byte_size
from ..bias import product, reencoded
from ..surgery import unique_name
from ..weights.constants import constants
from ..weights.engine import as_float32, put
from .bench import Bench, UnfixableError, force, rule_of, sound
from .evidence import evidence


def _use(bench: Bench, finding: Finding) -> tuple[Operator, BiasRule, Tensor]:
    operator, tensor = bench.operator(finding), bench.tensor(finding)
    rule = rule_of(operator)
    for one in rule.biases if rule is not None else ():
        if one.operand < len(operator.inputs) and operator.inputs[one.operand] is tensor:
            return operator, one, tensor
    raise UnfixableError("the finding names no bias")


def scale(bench: Bench, finding: Finding) -> None:
    """Q301: the bias's scale is input x weights."""
    operator, rule, tensor = _use(bench, finding)
    wanted = product(operator, rule)
    if wanted is None or not sound(wanted).all():
        raise UnfixableError("input x weights is no scale")
    q = tensor.quantization
    assert q is not None
    if bench.bias == "auto" and _input_is_off(bench, finding, operator, rule):
        return
    tensor = _own(bench, operator, rule, tensor)
    q = tensor.quantization
    assert q is not None
    if bench.bias == "encode":
        if not sound(q.scale).all():
            raise UnfixableError("its own scale is no scale, so what its data means is not known")
        try:
            codes, error = reencoded(tensor, q.scale, wanted)
        except RefusedError as reason:
            raise UnfixableError(str(reason)) from None
        bench.model.set_data(tensor, codes)
        text = f"data encoded again at input x weights, error at most {error:.3g}"
        data: dict[str, Any] = {"max_error": error}
    else:
        text, data = "scale stated as input x weights, which is what kernels read the data at", {}
    points = np.zeros(len(wanted), np.int64) if len(wanted) != len(q.zero_point) else None
    force(q, wanted, points, 0 if len(wanted) > 1 or q.quantized_dimension else None)
    bench.say(tensor, finding, text, scale=wanted.astype(float).tolist(), **data)


def _input_is_off(bench: Bench, finding: Finding, operator: Operator, rule: BiasRule) -> bool:
    """Whether all biases that depend on the input agree on another scale of it: then that one number is wrong, not all of theirs."""
    source = operand(operator, rule.factors[0])
    if source is None or source.is_constant or source.quantization is None or len(source.quantization.scale) != 1:
        return False
    if not bench.once(source, "input scale"):
        return True
    wrong = 0
    for other, other_rule in bench.around(source):
        for one in other_rule.biases:
            bias = other.inputs[one.operand] if one.operand < len(other.inputs) else None
            if operand(other, one.factors[0]) is source and bias is not None and bias.quantization is not None:
                wrong += len(bias.quantization.scale)
    if wrong < 2:
        return False  # one number against one number
    for found in evidence(bench, source):
        if found.why.startswith("the scales of biases"):
            if abs(found.scale / float(source.quantization.scale[0]) - 1) < 1e-6:
                return False
            if any(sharer.zero_point is not None and sharer.scale == float(source.quantization.scale[0]) for sharer in evidence(bench, source)):
                return False  # something else in the file says that the input is right
            force(source.quantization, [found.scale])
            bench.say(source, finding, f"scale {found.scale!r}: {found.why}, in {wrong} places", scale=found.scale)
            return True
    return False


def _own(bench: Bench, operator: Operator, rule: BiasRule, tensor: Tensor) -> Tensor:
    """The bias, or a copy of it where operators with other scales read it too."""
    readers = [o for o, r in bench.around(tensor) if o is not operator]
    if not readers:
        return tensor
    subgraph = bench.subgraph(tensor)
    made = Tensor(name=unique_name(subgraph, tensor.name or b"bias"), shape=tensor.shape, type=tensor.type, buffer=tensor.buffer)
    q = tensor.quantization
    if q is not None:
        made.quantization = QuantizationParameters(scale=q.scale, zero_point=q.zero_point, quantized_dimension=q.quantized_dimension)
    operator.inputs[rule.operand] = subgraph.add_tensor(made)
    return made


def element_type(bench: Bench, finding: Finding) -> None:
    """Q302: the integer type that the kernel reads; real values are encoded, integers converted."""
    operator, rule, tensor = _use(bench, finding)
    wanted = str(finding.expected).split(" or ")[0]
    if wanted not in ("INT32", "INT64", "FLOAT32"):
        raise UnfixableError(f"no conversion to {wanted}")
    target = TensorType[wanted]
    scales = product(operator, rule)
    if _bytes_are(tensor, target):
        old, tensor.type = tensor.type, target
        bench.say(tensor, finding, f"type {wanted}, not {old.name}: its bytes are that")
        return
    values = tensor.numpy()
    if values.dtype.kind == "f":
        _encode_real(bench, finding, tensor, scales, target)
        return
    low, high = INTEGER_RANGES.get(target, (0, 0))
    if target == TensorType.FLOAT32:
        raise UnfixableError("the operator computes on floats: dequantize its weights with requantize-weights")
    if values.min(initial=0) < low or values.max(initial=0) > high:
        raise UnfixableError(f"its values do not fit in {wanted}")
    old, tensor.type = tensor.type, target
    bench.model.set_data(tensor, values.astype(np.int64 if target == TensorType.INT64 else np.int32))
    bench.say(tensor, finding, f"values converted from {old.name} to {wanted}")


def _bytes_are(tensor: Tensor, target: TensorType) -> bool:
    """Whether the data of a bias is that of another type under a wrong name: by its size, else by whether it has a scale."""
    data = tensor.buffer.data if tensor.buffer is not None else None
    if data is None or len(data) != byte_size(target, tensor.shape):
        return False
    scaled = tensor.quantization is not None and len(tensor.quantization.scale) > 0
    if len(data) != byte_size(tensor.type, tensor.shape):
        return True
    return scaled if tensor.type == TensorType.FLOAT32 else not scaled if target == TensorType.FLOAT32 else True


def _encode_real(bench: Bench, finding: Finding, tensor: Tensor, scales: Any, target: TensorType) -> None:
    if scales is None or not sound(scales).all() or target not in INTEGER_RANGES:
        raise UnfixableError("input x weights is no scale to encode it at")
    codes = rounded(tensor.numpy().astype(np.float64) / scales.astype(np.float64))
    if not (np.abs(codes) <= INTEGER_RANGES[target][1]).all():
        raise UnfixableError(f"its values do not fit in {target.name} at input x weights")
    tensor.type = target
    bench.model.set_data(tensor, codes.astype(np.int64 if target == TensorType.INT64 else np.int32))
    tensor.quantization = QuantizationParameters(scale=scales, zero_point=np.zeros(len(scales), np.int64))
    bench.say(tensor, finding, f"encoded as {target.name} at input x weights", scale=scales.astype(float).tolist())


def dequantized(bench: Bench, finding: Finding) -> None:
    """Q304: FLOAT32, which the operator reads as it is. Whoever else reads the FLOAT16 numbers goes on doing so."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "FLOAT32"):
        return
    operators = {bench.operator(other) for other in bench.asked if other.path == finding.path}
    whole = next((one for one in constants(bench.model) if one.tensor is tensor), None)
    made = as_float32([whole.read_by(operators)])[0] if whole is not None else "its values are not known"
    if isinstance(made, str):
        raise UnfixableError(made)
    put(bench.model, [made])
    bench.say(tensor, finding, "FLOAT32, read without DEQUANTIZE; its values are the same", max_error=0.0)


def zero_point(bench: Bench, finding: Finding) -> None:
    """Q303: zero point 0; with `encode` the data is shifted, so that the stated real values are what is added."""
    _, _, tensor = _use(bench, finding)
    if not bench.once(tensor, "zero point"):
        return
    q = tensor.quantization
    assert q is not None
    text = "zero point 0, which is what kernels take it to be"
    if bench.bias == "encode":
        codes = tensor.numpy().astype(np.int64) - q.zero_point
        if np.abs(codes).max(initial=0) > INTEGER_RANGES[tensor.type][1]:
            raise UnfixableError(f"shifted by the zero point, the data does not fit in {tensor.type.name}")
        bench.model.set_data(tensor, codes.astype(tensor.numpy().dtype))
        text = "zero point 0, data shifted"
    force(q, zero_point=np.zeros(len(q.zero_point), np.int64))
    bench.say(tensor, finding, text)
