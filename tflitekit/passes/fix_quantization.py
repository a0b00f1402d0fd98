"""`fix-quantization`: repairs of what the audit finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import Notes, Pass, option

if TYPE_CHECKING:
    from ..graph import Model

BIAS_CHOICES = ("auto", "retag", "encode")


@dataclass(frozen=True)
class FixQuantization(Pass):
    """Repair what the audit finds, where the right value follows from the file.

    A repair is only kept if the audit then no longer finds what was repaired, and nothing new. What cannot be repaired is noted with the reason.
    What is legal but different stays as it is. `bias` says what becomes of a bias whose scale is not input x weights: "retag" states the scale that
    kernels read it at, "encode" encodes the data again, so that the real values that the file states are what is added; "auto" looks whether the
    input's scale is the one that is off, and restates that, else retags; where nothing
    tells which of the two numbers is wrong, and the input is unusual, it leaves both.
    """

    name: ClassVar[str] = "fix-quantization"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.operators", "subgraphs.inputs", "subgraphs.outputs", "signature_defs", "buffers", "operator_codes",
        "metadata",
    })  # fmt: skip
    code: tuple[str, ...] = option((), "repair only findings of this code, such as Q201", metavar="CODE", repeated=True)
    bias: str = option("auto", "where a bias's scale is not input x weights, its data is right (retag), or its scale (encode)", choices=BIAS_CHOICES)

    def apply(self, model: Model, notes: Notes) -> None:
        """Repair, code by code."""
        from .fixes.engine import repair

        repair(self, model, notes)
