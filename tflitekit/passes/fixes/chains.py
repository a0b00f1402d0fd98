"""Repairs of conversions that are not needed (Q801, Q803, Q804), where leaving them out changes no value, and of min_runtime_version (Q703)."""

from __future__ import annotations

from ..._schema import BuiltinOperator, TensorType
from ...audit import Finding
from ...graph import Buffer, Operator, SubGraph, Tensor
from ...quant.rules import RULES
from ..surgery import make_operator, place, redirect, redirect_output, remove_unused, same_parameters
from .bench import Bench, UnfixableError

SHIFT = {TensorType.INT8: 128, TensorType.UINT8: -128}
LOSSY = "each of the two rounds, so one in place of both would give other values"


def exact(source: Tensor, target: Tensor) -> str:
    """How codes become those of another tensor without rounding: "same", "shift" (by 128, between INT8 and UINT8), or "" if they do not."""
    if source.type == target.type and source.type not in (TensorType.FLOAT32, TensorType.FLOAT16) and same_parameters(source, target):
        return "same"
    a, b = source.quantization, target.quantization
    if {source.type, target.type} != {TensorType.INT8, TensorType.UINT8} or a is None or b is None or len(a.scale) != 1 or len(a.zero_point) != 1:
        return ""
    shifted = (a.zero_point + SHIFT[source.type]).tolist() == b.zero_point.tolist()
    return "shift" if a.scale.tobytes() == b.scale.tobytes() and shifted else ""


def _second(bench: Bench, finding: Finding) -> tuple[SubGraph, Operator, Tensor, Tensor]:
    """The subgraph, the second conversion, what it reads and what it writes."""
    operator = bench.operator(finding)
    source, target = operator.inputs[0], operator.outputs[0]
    if source is None or target is None:
        raise UnfixableError("the operator lacks an operand")
    return bench.subgraph(target), operator, source, target


def _replace(subgraph: SubGraph, old: Tensor, new: Tensor) -> None:
    """Let everything that reads `old` read `new`. An output of the graph keeps its tensor: then what computes `new` computes `old` instead."""
    if not any(t is old for t in subgraph.outputs):
        redirect(subgraph.operators, old, new)
        return
    maker = new.producer()
    if maker is None or any(t is new for t in (*subgraph.outputs, *subgraph.inputs)):
        raise UnfixableError("both ends of it are seen by callers")
    redirect_output(maker, new, old)
    redirect(subgraph.operators, new, old)


def _take_out(bench: Bench, subgraph: SubGraph, operator: Operator) -> None:
    """Remove an operator whose result nothing reads, and the tensors that nothing refers to then."""
    if not any(other is operator for other in subgraph.operators):
        return
    read = any(t is output for output in operator.outputs for other in subgraph.operators if other is not operator for t in other.inputs)
    if read or any(t is output for output in operator.outputs for t in subgraph.outputs):
        return
    del subgraph.operators[place(subgraph.operators, operator)]
    remove_unused(bench.model, subgraph, [t for t in (*operator.outputs, *operator.inputs) if t is not None and not t.is_constant])


def round_trip(bench: Bench, finding: Finding) -> None:
    """Q801: codes that are dequantized and quantized to the same codes, or to those 128 away, stay codes."""
    subgraph, quantize, between, target = _second(bench, finding)
    dequantize = between.producer()
    start = dequantize.inputs[0] if dequantize is not None else None
    if dequantize is None or start is None:
        raise UnfixableError("what computes the floats is gone")
    how = exact(start, target)
    if not how:
        raise UnfixableError(LOSSY)
    name = finding.name
    if how == "same":
        _replace(subgraph, target, start)
        quantize.outputs = []
        del subgraph.operators[place(subgraph.operators, quantize)]
        remove_unused(bench.model, subgraph, [target])
    else:
        made = make_operator(bench.model, BuiltinOperator.QUANTIZE, [start], [target])
        subgraph.operators[place(subgraph.operators, quantize)] = made
    _take_out(bench, subgraph, dequantize)
    bench.say(subgraph, finding, f"codes stay codes around {name!r}" + (", with one QUANTIZE that shifts them by 128" if how == "shift" else ""))


def twice_quantized(bench: Bench, finding: Finding) -> None:
    """Q803: one QUANTIZE in place of two, where one of them only shifts codes or does nothing."""
    subgraph, second, between, target = _second(bench, finding)
    first = between.producer()
    start = first.inputs[0] if first is not None else None
    if first is None or start is None or first is second:
        raise UnfixableError("the first QUANTIZE is gone")
    whole = exact(start, between) and exact(between, target) and exact(start, target) == "same"
    if whole or exact(between, target) == "same":
        _replace(subgraph, target, start if whole else between)
        second.outputs = []
        del subgraph.operators[place(subgraph.operators, second)]
        remove_unused(bench.model, subgraph, [target])
        _take_out(bench, subgraph, first)
    elif exact(start, between) or (exact(between, target) and _only_reader(subgraph, between, second)):
        if (start.type, target.type) not in RULES[BuiltinOperator.QUANTIZE].pairs:
            raise UnfixableError(f"no kernel quantizes {start.type.name} to {target.type.name} at once")
        subgraph.operators[place(subgraph.operators, second)] = make_operator(bench.model, BuiltinOperator.QUANTIZE, [start], [target])
        _take_out(bench, subgraph, first)
    else:
        raise UnfixableError(LOSSY)
    bench.say(subgraph, finding, f"one QUANTIZE in place of two, around {finding.name!r}")


def _only_reader(subgraph: SubGraph, tensor: Tensor, operator: Operator) -> bool:
    seen = any(t is tensor for t in subgraph.outputs)
    return not seen and all(other is operator for other in subgraph.operators if any(t is tensor for t in other.inputs))


def twice_dequantized(bench: Bench, finding: Finding) -> None:
    """Q804: one DEQUANTIZE for all readers."""
    subgraph, second, source, target = _second(bench, finding)
    first = next((o for o in source.consumers() if o is not second and o.op_name == "DEQUANTIZE"), None)
    kept = first.outputs[0] if first is not None else None
    if kept is None or kept.type != target.type or kept.shape != target.shape:
        raise UnfixableError("the two results differ in type or shape")
    if place(subgraph.operators, first) > place(subgraph.operators, second):
        raise UnfixableError("the other DEQUANTIZE comes later")
    _replace(subgraph, target, kept)
    del subgraph.operators[place(subgraph.operators, second)]
    remove_unused(bench.model, subgraph, [target, kept])
    bench.say(source, finding, "one DEQUANTIZE serves all readers")


def runtime_version(bench: Bench, finding: Finding) -> None:
    """Q703: min_runtime_version raised to what the operators need; never lowered."""
    entry = bench.model.at(finding.path)
    if not isinstance(finding.expected, str) or finding.expected.startswith("such"):
        raise UnfixableError("it is no version, so what it was meant to say is not known")
    size = len(entry.buffer.data) if entry.buffer is not None and entry.buffer.data is not None else 0
    data = finding.expected.encode().ljust(max(size, 16), b"\0")
    users = [other.buffer for other in bench.model.metadata].count(entry.buffer) + len(bench.model.buffer_users().get(entry.buffer, ()))
    if users > 1 or not isinstance(entry.buffer, Buffer):
        entry.buffer = bench.model.add_buffer(data)
    else:
        entry.buffer.data = memoryview(data)
    bench.say(finding.path, finding, f"min_runtime_version {finding.expected}, was {finding.found}")
