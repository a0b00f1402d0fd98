"""Fused activations that kernels do not apply."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from ..._schema import BlockwiseQuantization, TensorType
from ...quant.rules import LITERT
from ...quant.rules.fused import FUSED, Fused, fused_activation, has_known_bias, unapplied
from ..execution import Execution
from ..findings import Finding, Scene, Step, worst
from .blocks import BLOCK
from .prepared import left_alone

_FLOATS = (TensorType.FLOAT32, TensorType.FLOAT16)


def fused_activations(scene: Scene) -> Iterator[Finding]:
    """Q109: activations in the options of an operator that its kernels refuse, or leave out."""
    for run in scene.scheme.executions:
        line = unapplied(run.operator, run.kind.activation) if run.kind.code in FUSED else None
        if line is not None:
            yield _unapplied(scene, run, line)


def _unapplied(scene: Scene, run: Execution, line: Fused) -> Finding:
    fused, taken = fused_activation(run.operator), line.delegated is not None and _taken(scene, run)
    reactions = MappingProxyType({runtime: line.reaction(runtime, fused, taken) for runtime in LITERT})
    expected = " or ".join(activation.name for activation in sorted(line.applied))
    form = f" ({line.form})" if line.form else ""
    message = f"fused activation {fused.name} where {run.operator.op_name} {run.index}{form} applies {expected}"
    return Finding(
        "Q109", worst(reactions), run.path, "", message, found=fused.name, expected=expected, operator=run.path, reactions=reactions,
        source=line.source,
    )  # fmt: skip


def _taken(scene: Scene, run: Execution) -> bool:
    """Whether XNNPACK takes the operator: blocks of its size and a known bias; or floats, or codes of equal parameters, that are passed on."""
    if run.rule is None or left_alone(Step(scene, run, run.rule)):
        return False
    if run.rule.weights is not None:
        details = [t.quantization.details for t in run.weights if t.quantization is not None]
        return has_known_bias(run.operator) and any(isinstance(d, BlockwiseQuantization) and d.block_size % BLOCK == 0 for d in details)
    stored = {scene.parameters.get(t) for t in (*run.operator.inputs, *run.operator.outputs) if t is not None}
    return run.kind.activation in _FLOATS or (run.kind.activation in run.rule.delegated and len(stored) == 1)
