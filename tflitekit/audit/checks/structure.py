"""Conversions that are not needed: pairs and chains of QUANTIZE, DEQUANTIZE and CAST, and simulated quantization that was never carried out."""

from __future__ import annotations

from collections.abc import Iterator

from ..._schema import BuiltinOperator, TensorType
from ...graph import Operator, SubGraph, Tensor
from ...quant.rules import Topic
from ...quant.rules.facts_load import TAKEN_FLOAT32, WEIGHTED_FLOAT32
from ...quant.rules.fused import has_known_bias
from ...quant.rules.versions import operand
from ..execution import BOUNDARY, WEIGHT_DEQUANTIZE, Execution
from ..findings import INFO, WARNING, Finding, Scene, Step, reactions_of, worst

_QUANTIZE, _DEQUANTIZE, _CAST = BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE, BuiltinOperator.CAST
_CONVERT = frozenset({BOUNDARY, WEIGHT_DEQUANTIZE})


def conversions(scene: Scene) -> Iterator[Finding]:
    """Q801 to Q805: conversions that undo or follow each other."""
    converting = [run for run in scene.scheme.executions if run.mode in _CONVERT and run.rule is not None]
    if len(converting) < 2:
        return
    casts = [run for run in scene.scheme.executions if run.rule is not None and run.rule.operator == _CAST]
    makers = {tensor: run for run in (*converting, *casts) for tensor in run.operator.outputs[:1] if tensor is not None}
    first: dict[Tensor, Execution] = {}
    for run in converting:
        source = run.operator.inputs[0] if run.operator.inputs else None
        if source is None or not run.operator.outputs or run.operator.outputs[0] is None:
            continue
        if run.operator.opcode is not None and run.operator.opcode.code == _DEQUANTIZE:
            earlier = first.setdefault(source, run)
            if earlier is not run:
                yield _about(scene, "Q804", source, run, f"dequantized by operators {earlier.index} and {run.index}", 2, 1)
        maker = makers.get(source)
        if maker is not None:
            yield from _pair(scene, maker, run, source, makers)


def _pair(scene: Scene, maker: Execution, run: Execution, between: Tensor, makers: dict[Tensor, Execution]) -> Iterator[Finding]:
    """What two conversions in a row are, `between` being what the first gives to the second."""
    start, end = maker.operator.inputs[0] if maker.operator.inputs else None, run.operator.outputs[0]
    if start is None or end is None:
        return
    kinds = _code(maker), _code(run)
    first, middle, last = (_shown(scene, tensor) for tensor in (start, between, end))
    steps = f"{maker.operator.op_name} {maker.index}, {run.operator.op_name} {run.index}"
    if kinds == (_DEQUANTIZE, _QUANTIZE):
        what = "back to the same codes" if first == last else "which one QUANTIZE does"
        message = f"{first} to FLOAT32 to {last}, {what} ({steps})"
        yield _about(scene, "Q801", between, run, message, f"{first} to {last} by way of FLOAT32", "at most one QUANTIZE")
    elif kinds == (_QUANTIZE, _DEQUANTIZE) and not between.is_constant:
        yield _about(scene, "Q802", between, run, f"FLOAT32 to {middle} and back ({steps})", middle, "FLOAT32 throughout")
    elif kinds == (_QUANTIZE, _QUANTIZE):
        yield _about(scene, "Q803", between, run, f"{first} to {middle} to {last} ({steps})", 2, 1)
    elif kinds == (_CAST, _QUANTIZE):
        before = makers.get(start)
        if before is not None and _code(before) == _DEQUANTIZE:
            message = f"DEQUANTIZE {before.index}, {steps}: codes to floats to {between.type.name} to codes"
            yield _about(scene, "Q805", between, run, message, 3, 1)


def _code(run: Execution) -> BuiltinOperator | None:
    return run.operator.opcode.code if run.operator.opcode is not None else None


def _shown(scene: Scene, tensor: Tensor) -> str:
    stored = scene.parameters.get(tensor)
    return tensor.type.name if stored is None or tensor.type == TensorType.FLOAT32 else f"{tensor.type.name} {stored}"


def _about(scene: Scene, code: str, tensor: Tensor, run: Execution, message: str, found: object, expected: object) -> Finding:
    return scene.finding(code, tensor, message, INFO, found=found, expected=expected, operator=run.path)


def simulated(scene: Scene) -> Iterator[Finding]:
    """Q806: FAKE_QUANT operators, once per model."""
    if not any(code.code == BuiltinOperator.FAKE_QUANT for code in scene.model.operator_codes):
        return
    runs = [run for run in scene.scheme.executions if _code(run) == BuiltinOperator.FAKE_QUANT]
    tensor = next((t for run in runs for t in run.operator.outputs if t is not None), None)
    if tensor is not None:
        options = runs[0].operator.options
        bits, low, high = (getattr(options, name, 0) for name in ("num_bits", "min", "max"))
        message = f"{len(runs)} FAKE_QUANT operators round floats to floats; the first simulates {bits} bits in [{low!r}, {high!r}]"
        yield scene.finding("Q806", tensor, message, WARNING, found=len(runs), expected=0, operator=runs[0].path)


def constant_outputs(scene: Scene) -> Iterator[Finding]:
    """Q807: outputs of graphs that DEQUANTIZE makes of constants, which XNNPACK does not write; told where it is known to take all that read them."""
    for step in scene.steps(WEIGHT_DEQUANTIZE):
        source, output = operand(step.operator, "in0"), operand(step.operator, "out0")
        subgraph = output.subgraph if output is not None else None
        if source is None or not source.is_constant or output is None or subgraph is None or not any(t is output for t in subgraph.outputs):
            continue
        facts, readers = step.rule.about(Topic.CONSTANT_OUTPUT, source.type), output.consumers()
        if not facts or not all(_taken(reader, output, source) for reader in readers):
            continue
        refused = not readers and (source.type == TensorType.FLOAT16 or _is_alone(step, subgraph))
        reactions, where = reactions_of(fact for fact in facts if (fact.name != "constant-output") == refused)
        yield scene.finding(
            "Q807", output, f"{step.label} makes it of a constant of {source.type.name}", worst(reactions), found=source.type.name,
            expected="FLOAT32", operator=step.path, reactions=reactions, source=where,
        )  # fmt: skip


def _taken(reader: Operator, tensor: Tensor, source: Tensor) -> bool:
    """Whether XNNPACK is known to take an operator that reads floats made of a constant; beside a bias made of another type it is not."""
    weights, bias = operand(reader, "in1"), operand(reader, "in2")
    if reader.op_name not in WEIGHTED_FLOAT32:
        return reader.op_name in TAKEN_FLOAT32
    maker = bias.producer() if bias is not None else None
    stored = operand(maker, "in0") if maker is not None else None
    return weights is tensor and has_known_bias(reader) and (stored is None or stored.type == source.type)


def _is_alone(step: Step, subgraph: SubGraph) -> bool:
    """Whether the subgraph has no operators but those that expand constants of INT8 or FLOAT16."""
    sources = [operand(one, "in0") if one.op_name == step.rule.name else None for one in subgraph.operators]
    return all(t is not None and t.is_constant and step.rule.about(Topic.CONSTANT_OUTPUT, t.type) for t in sources)
