"""The Edge TPU: what its compiler refuses, and which operators it leaves to the CPU. Only made where this runtime is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from ..._schema import BuiltinOperator
from ...graph import Tensor
from ...quant.rules import Behaviour, Reaction, Runtime
from ...quant.rules.edge_tpu import EIGHT_BIT, REFUSAL, SOURCE, left_because
from ..execution import BOUNDARY, INTEGER, Execution
from ..findings import ERROR, INFO, WARNING, Finding, Scene

COMPILED = b"edgetpu-custom-op"
_REFUSES = MappingProxyType({Runtime.EDGETPU: Reaction(Behaviour.REFUSES, REFUSAL)})
_LEAVES = MappingProxyType({Runtime.EDGETPU: Reaction(Behaviour.LEAVES)})
_RUNS = MappingProxyType({Runtime.EDGETPU: Reaction(Behaviour.FINE)})


def edge_tpu(scene: Scene) -> Iterator[Finding]:
    """Q603 to Q606: whether the Edge TPU compiler takes the model, and what of it runs on the accelerator."""
    runs = [run for run in scene.scheme.executions if run.subgraph == 0]
    compiled = [run for run in runs if run.operator.opcode is not None and run.operator.opcode.custom_code == COMPILED]
    if compiled:
        rest = len(runs) - len(compiled)
        message = f"{plural(len(compiled))} compiled for the Edge TPU, {plural(rest)} for the CPU"
        yield Finding("Q606", INFO, compiled[0].path, "", message, len(compiled), len(runs), compiled[0].path, _RUNS, SOURCE)
        return
    if not any(run.mode == INTEGER for run in runs):
        yield Finding("Q603", ERROR, "", "", "no operator computes on integers", scene.scheme.name, "full-integer", "", _REFUSES, SOURCE)
        return
    dynamic = [t for t in scene.model.subgraphs[0].inputs if t is not None and -1 in t.shape_signature]
    for tensor in dynamic:
        shape = list(tensor.shape_signature)
        yield scene.finding("Q603", tensor, f"dynamic shape {shape}", found=shape, expected="constant sizes", reactions=_REFUSES, source=SOURCE)
    yield from _left(scene, runs, static=bool(dynamic))


def plural(count: int) -> str:
    """`1 operator`, `2 operators`."""
    return f"{count} operator{'' if count == 1 else 's'}"


def _left(scene: Scene, runs: list[Execution], static: bool) -> Iterator[Finding]:
    """Q604 for each operator that is left to the CPU by itself, Q605 once for those that come after one."""
    behind: set[Tensor] = set()
    after: list[Execution] = []
    for run in runs:
        reason = left_because(run.operator, run.roles, static=static)
        if reason:
            boundary = _is_boundary(scene, run)
            yield Finding(
                "Q604", INFO if boundary else WARNING, run.path, "", f"{run.operator.op_name} {run.index}: {reason}", found=reason,
                expected="mapped to the Edge TPU", operator=run.path, reactions=_LEAVES, source=SOURCE,
            )  # fmt: skip
            if boundary:
                continue
        elif any(t in behind for t in run.operator.inputs if t is not None):
            after.append(run)
        else:
            continue
        behind.update(t for t in run.operator.outputs if t is not None)
    if after:
        first = f"{after[0].operator.op_name} {after[0].index}"
        message = f"{len(after)} of {plural(len(runs))} could be mapped, but come after one that is not; the first is {first}"
        yield Finding("Q605", WARNING, after[0].path, "", message, len(after), 0, after[0].path, _LEAVES, SOURCE)


def _is_boundary(scene: Scene, run: Execution) -> bool:
    """QUANTIZE of a float input or DEQUANTIZE of an output: the compiler leaves them around what it maps."""
    main, operator = scene.model.subgraphs[0], run.operator
    if run.mode != BOUNDARY or operator.opcode is None or not operator.outputs:
        return False
    if operator.opcode.code == BuiltinOperator.QUANTIZE:
        made = operator.outputs[0]
        return made is not None and made.type in EIGHT_BIT and any(t is operator.inputs[0] for t in main.inputs)
    return any(t is operator.outputs[0] for t in main.outputs)
