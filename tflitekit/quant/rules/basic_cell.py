"""The LSTM cell of five inputs and four outputs (`kernel_type` BASIC): what the kernel of its UINT8 form has hard-coded.

What goes in are codes around 128 to it, what comes out codes of 1/128, states codes of 2^-11, whatever the file says. All of it was measured, by
changing one operand of a sound cell (`tests/quant/test_basic_cell.py`). Its element types are in `taken`, under `BASIC_CELL`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ..._schema import BuiltinOperator
from .compose import bias
from .model import LITERT, Reaction, Runtime
from .notation import IGNORES, WRONG, refuses
from .versions import CONDITIONS, operand

if TYPE_CHECKING:
    from ...graph import Operator, Tensor

SOURCE = "measured: one operand of a basic LSTM cell with other parameters"
TOLERANCE = 0.00069  # relative; the kernel asks whether the logarithm of the state's scale is whole, within 0.001


def _all(reaction: Reaction) -> Mapping[Runtime, Reaction]:
    return MappingProxyType(dict.fromkeys(LITERT, reaction))


class Coded(NamedTuple):
    """What an operand's codes are to the kernel, and what becomes of another scale. Another zero point is misread. No scale: any is right."""

    scale: float | None
    zero_point: int
    others: Reaction = WRONG

    def expected(self, stored: tuple[float, int]) -> tuple[float, int]:
        """The scale and zero point that the kernel goes by, where others are stored; the same if these are near enough."""
        near = self.scale is None or abs(stored[0] - self.scale) <= TOLERANCE * self.scale
        return stored[0] if near or self.scale is None else self.scale, self.zero_point

    def reactions(self, stored: tuple[float, int]) -> Mapping[Runtime, Reaction]:
        """What the runtimes do with parameters other than the expected."""
        return _all(WRONG if self.expected(stored)[0] == stored[0] else self.others)


# The scale of data and activation is in the bias's, which is the one that the kernel reads.
CODED: dict[str, Coded] = {
    "in0": Coded(None, 128),
    "in1": Coded(None, 128),
    "in4": Coded(2**-11, 0),
    "out0": Coded(2**-7, 128),
    "out1": Coded(2**-11, 0, refuses("LSTM) failed to invoke")),
}
MISREAD = _all(WRONG)  # another scale of the bias, or none
BIAS = bias(3, "in0 in2", SOURCE, "FLOAT32 FLOAT32", "UINT8 INT32")


def is_basic(operator: Operator) -> bool:
    """Whether an operator is a basic LSTM cell."""
    return operator.opcode is not None and operator.opcode.code == BuiltinOperator.LSTM and CONDITIONS["basic_kernel"](operator)


def absent(operator: Operator, tensor: Tensor) -> Mapping[Runtime, Reaction]:
    """What the runtimes do where data, an activation or a state has no parameters: they read the scale of one output alone."""
    return _all(CODED["out1"].others if tensor is operand(operator, "out1") else IGNORES)
