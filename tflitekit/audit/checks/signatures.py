"""Signatures that contradict their subgraph: callers by name and callers by position then exchange different tensors."""

from __future__ import annotations

from collections.abc import Iterator

from ...graph import SubGraph
from ...verify import signature_side
from ..findings import WARNING, Finding, Scene

_CONTRADICTING = frozenset({"signature-tensor", "signature-count"})


def signatures(scene: Scene) -> Iterator[Finding]:
    """Q901: a signature names a tensor that is no input or output of its subgraph, or not all of them."""
    for number, signature in enumerate(scene.model.signature_defs):
        subgraph = signature.subgraph
        if not isinstance(subgraph, SubGraph):
            continue
        for side, maps, tensors in (("inputs", signature.inputs, subgraph.inputs), ("outputs", signature.outputs, subgraph.outputs)):
            for problem in signature_side(f"signature_defs[{number}].{side}", side, maps, tensors):
                if problem.code in _CONTRADICTING:
                    found, expected = (len(maps), len(tensors)) if problem.code == "signature-count" else (problem.name, f"one of the {side}")
                    yield Finding("Q901", WARNING, problem.path, problem.name, problem.message, found=found, expected=expected)
