"""`set-io-dtype`: other element types for the inputs and outputs of a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import EditError
from .base import Notes, Pass, option

if TYPE_CHECKING:
    from ..graph import Model

TYPES = ("float32", "int8", "uint8", "int16")
_TYPE = rf"(?P<type>{'|'.join(TYPES)})\s*(?:,|$)"
_ITEMS = tuple(re.compile(rf"\s*{name}{_TYPE}", re.IGNORECASE | re.DOTALL) for name in ("(?P<name>)", r"(?P<name>.+?)\s*=\s*"))
_HELP = "the type of all {0}s, or NAME=TYPE,... by tensor name, signature name (KEY:NAME for one signature) or position; float32, int8, uint8, int16"


def parse_types(text: str, flag: str = "") -> tuple[tuple[str, str], ...]:
    """Pairs of (name, type) from "int8", "NAME=TYPE,..." or both; the name "" stands for all that have none of their own.

    Names may hold commas and equal signs; what follows the last equal sign before a comma is the type. EditError for anything else.
    """
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ITEMS[0].match(text, position) or _ITEMS[1].match(text, position)
        if match is None:
            raise EditError(f"{flag} {text[position:]!r}: expected TYPE or NAME=TYPE with commas between, TYPE being one of {', '.join(TYPES)}")
        name, type_ = match["name"], match["type"].lower()
        if found.setdefault(name, type_) != type_:
            hint = "" if name else f". For different ones write {flag} NAME=TYPE,..., with the names that `tflitekit io` lists"
            raise EditError(f"{flag}: {repr(name) if name else 'all'} cannot be both {found[name]} and {type_}{hint}")
        position = match.end()
    return tuple(found.items())


@dataclass(frozen=True)
class SetIoDtype(Pass):
    """Change the types of inputs and outputs: float32, int8, uint8, int16.

    A QUANTIZE or DEQUANTIZE at the boundary is taken out where that gives the wanted type, else one is put in or converted. INT8 and UINT8 differ by
    a shift of 128, so every result stays what it was, bit by bit. INT16 in place of 8 bits keeps the scale, with zero point 0; 8 bits in place of
    INT16 take 256 times the scale. A float32 input or output gets codes only where a quantized tensor is behind it, since no scale is known
    elsewhere: the rest is refused. Tensors keep their names and places, signatures their entries. Subgraphs that operators call are left alone.
    """

    name: ClassVar[str] = "set-io-dtype"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.operators", "subgraphs.inputs", "subgraphs.outputs", "signature_defs.inputs", "signature_defs.outputs",
        "operator_codes", "buffers", "metadata",
    })  # fmt: skip
    inputs: str = option("", _HELP.format("input"), metavar="TYPES")
    outputs: str = option("", _HELP.format("output"), metavar="TYPES")

    def __post_init__(self) -> None:
        if not self.inputs and not self.outputs:
            raise EditError("set-io-dtype: give --inputs, --outputs or both")
        for side in ("inputs", "outputs"):
            parse_types(getattr(self, side), f"--{side}")

    def apply(self, model: Model, notes: Notes) -> None:
        """Change every input and output that is named."""
        from .io_dtype import set_types

        set_types(self, model, notes)
