"""`set-quantization`: new parameters for chosen tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import EditError
from .base import Notes, Pass, option

if TYPE_CHECKING:
    from ..graph import Model

KEEP_REAL, KEEP_CODES = "real", "codes"


def _table(name: str) -> tuple[dict[str, Any], ...]:
    from .parameters import read_table

    return read_table(name)


@dataclass(frozen=True)
class SetQuantization(Pass):
    """Set scale, zero point and axis of chosen tensors.

    `keep` says what stays: "real" encodes constant data again, so that real values stay; "codes" leaves the data, so that it means something else.
    There is no default, since a wrong guess is silent. Scales are decimal ("0.0078125"), hexadecimal ("0x1p-7") or fractions ("1/128"), rounded once
    to float32. `from_` names a file made by `tensors --export`.
    """

    name: ClassVar[str] = "set-quantization"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.operators.inputs", "buffers",
    })  # fmt: skip
    allows: ClassVar[frozenset[str]] = frozenset({"zero-point-count"})  # one for all is what TensorFlow Lite Micro takes
    tensor: tuple[str, ...] = option(
        (), "the tensor, by name (a pattern with * may match several) or as SUBGRAPH:INDEX", metavar="NAME", repeated=True
    )
    keep: str = option(
        "", "what stays: real values (data and biases are encoded again) or codes (which get another meaning)", choices=(KEEP_REAL, KEEP_CODES)
    )
    scale: str = option("", "the scale, or one for each channel, with commas: decimal, hexadecimal (0x1p-7) or a fraction (1/256)", metavar="S")
    zero_point: str = option("", "the zero point, or one for each channel, with commas", metavar="Z")
    axis: int | None = option(None, "the dimension of per-channel scales", metavar="AXIS", parse=int)
    zero_points: str = option("", "store one zero point for every scale (LiteRT), or one for all (TensorFlow Lite Micro)", choices=("each", "one"))
    from_: tuple[dict[str, Any], ...] | None = option(
        None, "take the parameters of many tensors from a .json or .npz file, as `tensors --export` writes it", metavar="FILE", parse=_table
    )

    def __post_init__(self) -> None:
        if not self.keep:
            raise EditError("set-quantization: --keep is missing: `real` encodes constant data again, `codes` gives it another meaning")
        given = bool(self.scale or self.zero_point or self.axis is not None or self.zero_points)
        if (self.from_ is not None) == (given or bool(self.tensor)):
            raise EditError("set-quantization: give either --from FILE, or --tensor with --scale, --zero-point or --axis")
        if self.from_ is None and not (given and self.tensor):
            raise EditError("set-quantization: " + ("--tensor is missing" if given else "give --scale, --zero-point or --axis"))

    def apply(self, model: Model, notes: Notes) -> None:
        """Set the parameters of every tensor that is named."""
        from .parameters import set_parameters

        set_parameters(self, model, notes)
