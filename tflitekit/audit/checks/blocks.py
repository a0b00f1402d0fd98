"""Blockwise weights: where kernels read scale 0, and return the bias alone, or read the scales as something else."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from ..._schema import BlockwiseQuantization, BuiltinOperator, TensorType
from ...graph import Tensor
from ...quant.rules import FACTS_OF, Behaviour, Runtime, Topic
from ...quant.rules.fused import unapplied
from ...types import element_count
from ..execution import HYBRID
from ..findings import INFO, Finding, Scene, Step, reactions_of, worst

# Conditions of the optimized kernel and of XNNPACK (fully_connected.cc:609-613, xnnpack_delegate.cc:2624).
FEWEST_UNITS, FEWEST_DEPTH, BLOCK = 4, 32, 32
_FACTS = {fact.name: fact for fact in FACTS_OF[BuiltinOperator.FULLY_CONNECTED.name] if fact.topic == Topic.WEIGHTS_BLOCKS}


def blocks(scene: Scene) -> Iterator[Finding]:
    """Q205 for every FULLY_CONNECTED with blockwise weights."""
    for step in scene.steps(HYBRID):
        if step.rule.operator != BuiltinOperator.FULLY_CONNECTED or len(step.operator.inputs) < 2:
            continue
        tensor = step.operator.inputs[1]
        details = tensor.quantization.details if tensor is not None and tensor.quantization is not None else None
        if tensor is not None and isinstance(details, BlockwiseQuantization) and isinstance(details.scales, Tensor):
            yield _blocks(step, tensor, details, details.scales)


def _blocks(step: Step, tensor: Tensor, details: BlockwiseQuantization, scales: Tensor) -> Finding:
    """The most harmful thing that is unusual about the blocks; at least the reference kernel does not compute them."""
    size, count = details.block_size, element_count(scales.shape)
    units, depth = (tensor.shape[0], tensor.shape[-1]) if len(tensor.shape) == 2 else (FEWEST_UNITS, FEWEST_DEPTH)
    name, message, found, expected = "blocks-reference", f"{tensor.type.name} in blocks of {size}", "blockwise", "per-channel"
    if tensor.type == TensorType.INT2:
        name, message, found, expected = "blocks-int2", "INT2 in blocks", "INT2", "INT4"
    elif scales.type != TensorType.FLOAT16:
        name, message, found, expected = "blocks-float32-scales", f"scales of {scales.type.name}", scales.type.name, "FLOAT16"
    elif count * size != element_count(tensor.shape):
        found, expected = f"{count} scales for blocks of {size}", f"{element_count(tensor.shape) // max(1, size)} scales"
        name, message = "blocks-wrong-size", f"{found}, {element_count(tensor.shape)} weights need {expected}"
    else:
        small, odd = units < FEWEST_UNITS or depth < FEWEST_DEPTH or bool(depth % 2), bool(size % BLOCK)
        if small:
            found, expected = f"{units} x {depth}", f"at least {FEWEST_UNITS} units, an even depth of {FEWEST_DEPTH} or more"
            message = f"{units} units of depth {depth} in blocks of {size}, too few for the builtin kernel that knows blocks"
        elif odd:
            message, found, expected = f"blocks of {size}, no multiple of {BLOCK}", f"blocks of {size}", f"a multiple of {BLOCK}"
        name = ("blocks-small-16" if odd else "blocks-small") if small else "blocks-16" if odd else name
    reactions, source = reactions_of([_FACTS[name]])
    if unapplied(step.operator, step.activation) is not None:  # then blocks alone decide nothing: Q109 says what comes out
        reactions = MappingProxyType({r: reaction for r, reaction in reactions.items() if reaction.behaviour != Behaviour.FINE})
    harmless = name in ("blocks-reference", "blocks-16")  # all but the reference kernels, which applications do not use
    severity = INFO if harmless else worst({r: reaction for r, reaction in reactions.items() if r is not Runtime.REFERENCE})
    return step.scene.finding(
        "Q205", tensor, f"{message} ({step.label})", severity, found=found, expected=expected, operator=step.path, reactions=reactions, source=source,
    )  # fmt: skip
