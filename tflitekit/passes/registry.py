"""Which passes there are: their names, where they are, and one line about each. Numpy-free, since every `--help` reads it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from ..errors import EditError

if TYPE_CHECKING:
    from .base import Pass


class Entry(NamedTuple):
    """A pass: its name (that of its command), the module and class, and the first line of the class's docstring as the command list shows it."""

    name: str
    module: str
    cls: str
    help: str


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "convert-activations", "convert_activations", "ConvertActivations",
        "change the activation type of a whole integer model: uint8 to int8, int8 to uint8, or either to int16 with int8 weights",
    ),
    Entry("fix-quantization", "fix_quantization", "FixQuantization", "repair what the audit finds, where the right value follows from the file"),
    Entry("requantize-weights", "requantize_weights", "RequantizeWeights", "store weights in another type, granularity or form, with what it costs"),
    Entry("set-quantization", "set_quantization", "SetQuantization", "set scale, zero point and axis of chosen tensors"),
    Entry("set-io-dtype", "set_io_dtype", "SetIoDtype", "change the types of inputs and outputs: float32, int8, uint8, int16"),
    Entry("set-input-stats", "set_input_stats", "SetInputStats", "correct what an input's numbers stand for, or let it take raw bytes"),
)


def load(name: str) -> type[Pass]:
    """The class of a pass, by its name; EditError with the nearest name if there is none."""
    entry = next((entry for entry in ENTRIES if entry.name == name), None)
    if entry is None:
        from difflib import get_close_matches

        known = [entry.name for entry in ENTRIES]
        near = get_close_matches(name, known, 1)
        raise EditError(f"no pass {name!r}. " + (f"Did you mean {near[0]}?" if near else f"Passes: {', '.join(known)}"))
    found: type[Pass] = getattr(import_module(f".{entry.module}", __package__), entry.cls)
    return found
