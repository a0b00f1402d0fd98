"""Repairs of biases: scale, type, zero point, FLOAT16 (Q301 to Q304)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
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
from ..parameters import choice_of
from ..surgery import own_copy
from ..weights.constants import constants
from ..weights.engine import as_float32, put
from .bench import Bench, UnfixableError, audited, force, rule_of, sound
from .evidence import BY_BIASES, evidence

INPUT = "input"
OF_INPUTS = ("Q502", "Q903")  # parameters of an input that no usual preprocessing gives, and that contradict the metadata
NO_STEP = 1 / 512  # scales that are closer than this differ by no step in any of 256 codes


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
    source = operand(operator, rule.factors[0])
    if bench.bias == "auto" and source is not None:
        if source not in bench.verdicts:
            bench.verdicts[source] = _at_fault(bench, finding, source)
        if bench.verdicts[source] == INPUT:
            return
        if bench.verdicts[source]:
            raise UnfixableError(bench.verdicts[source])
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


def _at_fault(bench: Bench, finding: Finding, source: Tensor) -> str:
    """Which number is wrong where bias scales are not input x weights: INPUT, which is restated then, "" for the biases', or why that is not clear.

    The scale of an input is restated where several numbers imply another one: all the biases that depend on it agree, or something else in the file
    says the same as one bias. Where one number stands against one, the audit's view of the input decides: if it finds the input unusual as it is, and
    not as the bias implies it, the input is wrong. It is not clear where several biases would make an unusual input of a usual one.
    """
    q = source.quantization
    if source.is_constant or q is None or len(q.scale) != 1:
        return ""
    found, stated = list(evidence(bench, source)), float(q.scale[0])
    implied = next((one.scale for one in found if one.why == BY_BIASES), None)
    others = [one for one in found if one.zero_point is not None]
    if implied is None or _near(implied, stated, 1e-6) or any(one.scale == stated for one in others):
        return ""
    places = _places(bench, source)
    why = f"{BY_BIASES}, in {places} place{'s' if places > 1 else ''}"
    told, confirmed = _told(bench, source, bench.known), any(_near(one.scale, implied, 1e-5) for one in others)
    if places < 2 and not confirmed and (told is None or _near(implied, stated, NO_STEP)):
        return ""
    old = q.scale
    force(q, [implied])
    if not confirmed and (places < 2 or told is None):
        then = _told(bench, source, audited(bench.model))
        if then is not None:
            force(q, old)
            return _unclear(choice_of(bench.model, source), implied, told, then)
        why += f", and then the input is what {told.code} finds usual" if told is not None else ""
    bench.say(source, finding, f"scale {implied!r}: {why}", scale=implied)
    return INPUT


def _unclear(source: str, implied: float, told: Finding | None, then: Finding) -> str:
    if told is not None:
        views = f"That of the input is told by {told.code}, and so would be the one that the bias implies, {implied!r}."
    else:
        views = f"The audit minds nothing about that of the input, but {then.code} would tell the one that the biases imply, {implied!r}."
    return (
        f"which of the scales of input, weights and bias is wrong does not follow. {views} If the input is right, --bias retag states what kernels "
        f"read the bias at; if the bias is, set-quantization --tensor {shlex.quote(source)} --keep codes --scale {implied!r} states the "
        "input's"
    )


def _near(one: float, other: float, tolerance: float) -> bool:
    return abs(one / other - 1) < tolerance


def _places(bench: Bench, source: Tensor) -> int:
    """How many bias scales depend on the scale of a tensor."""
    count = 0
    for operator, rule in bench.around(source):
        for one in rule.biases:
            bias = operator.inputs[one.operand] if one.operand < len(operator.inputs) else None
            if operand(operator, one.factors[0]) is source and bias is not None and bias.quantization is not None:
                count += len(bias.quantization.scale)
    return count


def _told(bench: Bench, source: Tensor, findings: Iterable[Finding]) -> Finding | None:
    """What the audit tells of the parameters of an input, also if floats come in and a QUANTIZE makes the codes."""
    for finding in findings:
        tensor = bench.named(finding.path) if finding.code in OF_INPUTS else None
        if isinstance(tensor, Tensor) and (tensor is source or any(o.op_name == "QUANTIZE" and source in o.outputs for o in tensor.consumers())):
            return finding
    return None


def _own(bench: Bench, operator: Operator, rule: BiasRule, tensor: Tensor) -> Tensor:
    """The bias, or a copy of it where others, who may read it at another scale, read it too, or the graph shows it."""
    subgraph = bench.subgraph(tensor)
    if tensor.consumers() == [operator] and not any(t is tensor for t in subgraph.outputs):
        return tensor
    operator.inputs[rule.operand] = made = own_copy(subgraph, tensor)
    bench.copies[made.name_str] = tensor.name_str
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
        tensor = _own(bench, operator, rule, tensor)
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
    tensor = _own(bench, operator, rule, tensor)
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
    tensor = _own(bench, *_use(bench, finding))
    tensor.type = target
    bench.model.set_data(tensor, codes.astype(np.int64 if target == TensorType.INT64 else np.int32))
    tensor.quantization = QuantizationParameters(scale=scales, zero_point=np.zeros(len(scales), np.int64))
    bench.say(tensor, finding, f"encoded as {target.name} at input x weights", scale=scales.astype(float).tolist())


def dequantized(bench: Bench, finding: Finding) -> None:
    """Q304: FLOAT32, which the operator reads as it is. Whoever else reads the FLOAT16 numbers goes on doing so."""
    tensor = bench.tensor(finding)
    if tensor not in bench.verdicts:
        _all_as_float32(bench, finding)
    if bench.verdicts[tensor]:
        raise UnfixableError(bench.verdicts[tensor])


def _all_as_float32(bench: Bench, finding: Finding) -> None:
    """Store all biases that are asked for as FLOAT32, together: so those with one buffer have one again. The verdicts say why some cannot be."""
    operators: dict[Tensor, set[Operator]] = {}
    for other in bench.asked:
        operators.setdefault(bench.tensor(other), set()).add(bench.operator(other))
    bench.verdicts = dict.fromkeys(operators, "its values are not known")
    found = [one.read_by(operators[one.tensor]) for one in constants(bench.model) if one.tensor in operators]
    made = dict(zip((one.tensor for one in found), as_float32(found), strict=True))
    bench.verdicts |= {tensor: job if isinstance(job, str) else "" for tensor, job in made.items()}
    jobs = {tensor: job for tensor, job in made.items() if not isinstance(job, str)}
    for tensor, stored in zip(jobs, put(bench.model, list(jobs.values())), strict=True):
        what = "FLOAT32" if stored is tensor else f"a copy of {tensor.name_str!r} in FLOAT32"
        bench.say(stored, finding, f"{what}, read without DEQUANTIZE; its values are the same", max_error=0.0)


def zero_point(bench: Bench, finding: Finding) -> None:
    """Q303: zero point 0; with `encode` the data is shifted, so that the stated real values are what is added."""
    operator, rule, tensor = _use(bench, finding)
    q = tensor.quantization
    assert q is not None
    text, codes = "zero point 0, which is what kernels take it to be", None
    if bench.bias == "encode":
        codes = tensor.numpy().astype(np.int64) - q.zero_point
        if np.abs(codes).max(initial=0) > INTEGER_RANGES[tensor.type][1]:
            raise UnfixableError(f"shifted by the zero point, the data does not fit in {tensor.type.name}")
        text = "zero point 0, data shifted"
    tensor = _own(bench, operator, rule, tensor)
    q = tensor.quantization
    assert q is not None
    if codes is not None:
        bench.model.set_data(tensor, codes.astype(tensor.numpy().dtype))
    force(q, zero_point=np.zeros(len(q.zero_point), np.int64))
    bench.say(tensor, finding, text)
