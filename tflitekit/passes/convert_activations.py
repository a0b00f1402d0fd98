"""`convert-activations`: a whole integer model in another activation type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import EditError
from . import limits
from .base import Notes, Pass, option

if TYPE_CHECKING:
    from ..graph import Model

TYPES = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class ConvertActivations(Pass):
    """Change the activation type of a whole integer model: uint8 to int8, int8 to uint8, or either to int16 with int8 weights.

    Between int8 and uint8 activations move by 128, exactly. Asymmetric uint8 weights are centred: their codes stay where they fit, else they are
    encoded at a scale for each channel at which they do, and the bias follows. int8 weights become uint8 where they have one scale; several are
    first made one only with `per_tensor`. int16 is symmetric: its scale holds the range that the tensor had, and where
    the old codes ended at 0 the operator gets a ReLU, since converters leave one out there. Operators without a kernel for the new
    type keep the old one, between QUANTIZE operators, and so do those whose constants would lose more than `min_sqnr` or `max_error` allow.
    """

    name: ClassVar[str] = "convert-activations"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.operators", "subgraphs.inputs", "subgraphs.outputs", "signature_defs", "buffers", "operator_codes",
        "metadata",
    })  # fmt: skip
    to: str = option("", "the type of the activations", choices=TYPES)
    per_tensor: bool = option(False, "make weights with several scales have one, where the new type demands it; the error is shown")
    min_sqnr: float | None = limits.min_sqnr()
    max_error: float | None = limits.max_error()

    def __post_init__(self) -> None:
        if not self.to:
            raise EditError("convert-activations: --to is missing: int8, uint8 or int16")
        limits.check_limits(self.min_sqnr, self.max_error)

    def apply(self, model: Model, notes: Notes) -> None:
        """Convert all subgraphs."""
        from .activations.convert import convert

        convert(self, model, notes)
