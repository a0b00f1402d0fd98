"""`set-input-stats`: what the numbers that are fed to an input stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import EditError
from .base import Notes, Pass, option

if TYPE_CHECKING:
    from ..graph import Model

REINTERPRET, FEED_RAW = "reinterpret", "feed-raw"
PAIRS = (("mean", "std"), ("min", "max"), ("scale", "zero_point"))


def _number(text: str) -> float:
    over, slash, under = text.strip().partition("/")
    try:
        value = _decimal(over) / _decimal(under) if slash else _decimal(over)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise EditError(f"{text!r} is no number; write 0.5, 1e-3, 0x1p-8 or 1/256") from None
    if not math.isfinite(value):
        raise EditError(f"{text!r} is not finite")
    return value


def _decimal(text: str) -> float:
    return float.fromhex(text) if "x" in text.lower() else float(text)


def _numbers(text: str) -> float | tuple[float, ...]:
    """One number, or one for each channel."""
    values = tuple(map(_number, text.strip().removeprefix("(").removesuffix(")").rstrip(",").split(",")))
    return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class SetInputStats(Pass):
    """Correct what an input's numbers stand for, or let it take raw bytes.

    `reinterpret`: the file's claim was wrong. The input gets the new parameters, and everything that reads them follows: biases are encoded again,
    parameters travel through operators that pass codes on, up to the next that rescales. A float input with QUANTIZE behind it is meant as the
    quantized tensor. `feed-raw`: the file is right, but raw bytes are to be fed: a new integer input whose parameters are the normalization, with the
    QUANTIZE or DEQUANTIZE behind it that gives the old one. `metadata_only`: neither; set the normalization in the TFLite Metadata.

    The mean is the code that stands for 0: real = (code - mean) / std. Normalization in the metadata is kept in step, so that normalizing a byte and
    quantizing it with the input's parameters gives that byte.
    """

    name: ClassVar[str] = "set-input-stats"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.inputs", "subgraphs.outputs", "subgraphs.operators", "operator_codes", "signature_defs.inputs",
        "signature_defs.outputs", "buffers", "metadata",
    })  # fmt: skip
    mode: str = option(
        "", "reinterpret (the file's claim was wrong) or feed-raw (the file is right, the caller feeds raw bytes)", choices=(REINTERPRET, FEED_RAW)
    )
    input: str = option(
        "", "the input: the name of its tensor or in its signature, or its position (0, or SUBGRAPH:0); needed where several could be meant",
        metavar="NAME",
    )
    mean: float | tuple[float, ...] | None = option(
        None, "the code that stands for 0; one for each channel, with commas, where floats compute it", metavar="M", parse=_numbers
    )
    std: float | tuple[float, ...] | None = option(None, "codes per unit: real = (code - mean) / std; with --mean", metavar="S", parse=_numbers)
    min: float | None = option(None, "the real value of the lowest code; with --max", metavar="A", parse=_number)
    max: float | None = option(None, "the real value of the highest code", metavar="B", parse=_number)
    scale: float | None = option(None, "the step between codes; with --zero-point", metavar="S", parse=_number)
    zero_point: int | None = option(None, "the code that stands for 0, an integer", metavar="Z", parse=int)
    dtype: str = option(
        "", "the type of the codes: of the new input with feed-raw (default: uint8), else that in which the numbers are meant (default: the input's)",
        choices=("uint8", "int8", "int16"),
    )  # fmt: skip
    exact: bool = option(False, "feed-raw: normalize in floats, SUB and MUL, so that the mean need not be an integer")
    fold: bool = option(False, "feed-raw: put the normalization into the weights of the first convolution (floats, VALID padding)")
    metadata_only: bool = option(False, "only set the normalization in the TFLite Metadata")

    def __post_init__(self) -> None:
        given = [pair for pair in PAIRS if any(getattr(self, name) is not None for name in pair)]
        if len(given) != 1 or any(getattr(self, name) is None for name in given[0]):
            pairs = ", or ".join(" and ".join(f"--{name.replace('_', '-')}" for name in pair) for pair in PAIRS)
            raise EditError(f"{self.name}: give one pair: {pairs}")
        if bool(self.mode) == self.metadata_only:
            raise EditError(
                f"{self.name}: --mode is missing: `reinterpret` if the file's claim was wrong, `feed-raw` to feed raw bytes to a model that is right"
                if not self.mode else f"{self.name}: --metadata-only goes without --mode"
            )  # fmt: skip
        if (self.exact or self.fold) and (self.mode != FEED_RAW or given[0] != PAIRS[0]):
            raise EditError(f"{self.name}: --exact and --fold go with --mode feed-raw, --mean and --std")
        several = any(isinstance(value, tuple) for value in (self.mean, self.std))
        if several and self.mode == REINTERPRET:
            raise EditError(f"{self.name}: one mean and std: a quantized input has one scale for all channels")
        if self.metadata_only and given[0] != PAIRS[0]:
            raise EditError(f"{self.name}: --metadata-only takes --mean and --std: those of bytes, as the metadata states them")
        if self.std is not None and any(not value > 0 for value in (self.std if isinstance(self.std, tuple) else (self.std,))):
            raise EditError(f"{self.name}: a std must be above zero")

    def apply(self, model: Model, notes: Notes) -> None:
        """Change the one input that is meant."""
        if self.metadata_only:
            from .normalization import set_normalization

            set_normalization(self, model, notes)
        elif self.mode == REINTERPRET:
            from .reinterpret import reinterpret

            reinterpret(self, model, notes)
        else:
            from .feed_raw import feed_raw

            feed_raw(self, model, notes)
