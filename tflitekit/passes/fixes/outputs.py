"""Repairs of outputs with fixed parameters and of operands that must share parameters (Q401, Q402), and of versions (Q701)."""

from __future__ import annotations

import numpy as np

from ...audit import Finding
from ...graph import Operator, SubGraph, Tensor
from ...quant.rules import Sharing
from ..surgery import convert, copied_parameters, parameters, place, raise_versions, redirect, redirect_output, tensor_like
from .bench import Bench, UnfixableError, affine, force, is_code, rule_of
from .evidence import BY_BIASES, evidence, members_of


def fixed(bench: Bench, finding: Finding) -> None:
    """Q401: the parameters that the operator gives; consumers that must share the old ones get a QUANTIZE in front."""
    operator, tensor = bench.operator(finding), bench.tensor(finding)
    if not bench.once(tensor, "fixed"):
        return
    scale, zero_point = finding.expected
    q = affine(tensor)
    subgraph = bench.subgraph(tensor)
    bound = [other for other in tensor.consumers() if other is not operator and _shares(other, tensor)]
    if bound:
        old = tensor_like(bench.model, subgraph, tensor, "_requantized", tensor.type, copied_parameters(tensor))
        at = min(place(subgraph.operators, other) for other in bound)
        convert(bench.model, subgraph, tensor, old, at)
        redirect(bound, tensor, old)
    force(q, [scale], [zero_point])
    q.min = q.max = None  # type: ignore[assignment]
    more = f", and a QUANTIZE for {len(bound)} consumers that need what it had" if bound else ""
    bench.say(tensor, finding, f"scale {scale!r}, zero point {zero_point}, which {operator.op_name} gives{more}", scale=scale, zero_point=zero_point)


def _shares(operator: Operator, tensor: Tensor) -> bool:
    """Whether an operator needs this input to have the parameters of its other operands, and they have those that it has now."""
    rule = rule_of(operator)
    for group in rule.same_parameters if rule is not None else ():
        members = [t for name in group.group for t in members_of(operator, name)]
        if group.sharing != Sharing.RESCALED and tensor.type in group.types and any(t is tensor for t in members):
            return True
    return False


def shared(bench: Bench, finding: Finding) -> None:
    """Q402: restated where the rest of the file says so, else a QUANTIZE between what has different parameters."""
    operator, tensor = bench.operator(finding), bench.tensor(finding)
    if not bench.once(tensor, f"shared {id(operator)}"):
        return
    scale, zero_point = finding.expected
    if _restated(bench, finding, tensor, scale, zero_point):
        return
    if not (np.isfinite(scale) and scale > 0):
        raise UnfixableError("the other parameters are no parameters")
    subgraph = bench.subgraph(tensor)
    if any(t is tensor for t in operator.outputs):
        raise UnfixableError("it is the output that leads the group")
    leader = next((t for t in operator.outputs if t is not None and is_code(t)), None)
    if leader is not None and len([t for t in operator.inputs if is_code(t)]) == 1:
        _behind(bench, finding, subgraph, operator, tensor, leader)
        return
    made = tensor_like(bench.model, subgraph, tensor, "_requantized", tensor.type, parameters(np.float32(scale), zero_point))
    if tensor.is_constant:
        _constant(bench, finding, operator, tensor, made)
        return
    convert(bench.model, subgraph, tensor, made, place(subgraph.operators, operator))
    redirect([operator], tensor, made)
    text = f"a QUANTIZE to scale {scale!r}, zero point {zero_point} in front of {operator.op_name}"
    bench.say(tensor, finding, text, scale=scale, zero_point=zero_point)


def _restated(bench: Bench, finding: Finding, tensor: Tensor, scale: float, zero_point: int) -> bool:
    """Restate the parameters where biases, fixed outputs or the stated range say the same as the group."""
    stored = affine(tensor)
    for found in evidence(bench, tensor):
        strong = found.why == BY_BIASES or found.why.startswith("the range") or "exactly" in found.why
        if strong and abs(found.scale / scale - 1) < 1e-6 and found.zero_point in (None, zero_point) and found.scale != float(stored.scale[0]):
            force(stored, [scale], [zero_point])
            bench.say(tensor, finding, f"scale {scale!r}, zero point {zero_point}: the group and {found.why}", scale=scale, zero_point=zero_point)
            return True
    return False


def _behind(bench: Bench, finding: Finding, subgraph: SubGraph, operator: Operator, source: Tensor, leader: Tensor) -> None:
    """One input, one output: the operator keeps the parameters of its input, and a QUANTIZE behind it makes those of the output."""
    made = tensor_like(bench.model, subgraph, leader, "_before", leader.type, copied_parameters(source))
    redirect_output(operator, leader, made)
    convert(bench.model, subgraph, made, leader, place(subgraph.operators, operator) + 1)
    bench.say(leader, finding, f"a QUANTIZE behind {operator.op_name}, which passes on the parameters of its input")


def _constant(bench: Bench, finding: Finding, operator: Operator, tensor: Tensor, made: Tensor) -> None:
    """A constant of the group is encoded again instead of converted at run time."""
    from ..parameters import encoded_again

    made.buffer = tensor.buffer
    assert made.quantization is not None
    error, clipped = encoded_again(bench.model, made, affine(tensor), made.quantization)
    redirect([operator], tensor, made)
    bench.say(made, finding, f"constant encoded again, error at most {error:.3g}, {clipped} values clipped", max_error=error, clipped=clipped)


def versions(bench: Bench, finding: Finding) -> None:
    """Q701: versions that the types need; never lowered."""
    if not bench.once(bench.model, "versions"):
        return
    for code, old in raise_versions(bench.model):
        bench.say(None, finding, f"{code.op_name}: version {code.version}, was {old}", version=code.version)

