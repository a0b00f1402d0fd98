"""What the modes of `set-input-stats` share: which input is meant, and the parameters that are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .._schema import TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, SubGraph, Tensor
from ..quant import affine
from ..quant.affine import Affine, Derived
from .interface import callers, ends, matching
from .surgery import place

if TYPE_CHECKING:
    from .set_input_stats import SetInputStats

CODES = (TensorType.UINT8, TensorType.INT8, TensorType.INT16)


def chosen_input(model: Model, name: str, fits: Callable[[Tensor], bool], what: str) -> tuple[SubGraph, Tensor]:
    """The input that is meant, with its subgraph: the named one, else the only one that fits; EditError or RefusedError if there is no such one."""
    inputs = ends(model, "inputs")
    found = matching(model, "inputs", name, inputs, "--input") if name else [tensor for tensor in inputs if fits(tensor)]
    if not found:
        listed = ", ".join(f"{t.name_str!r} ({t.type.name})" for t in inputs) or "none"
        raise RefusedError(f"no input of this model {what}. Inputs: {listed}")
    if len(set(found)) > 1:
        ways = ", ".join(f"{t.name_str!r} ({place(model.subgraphs, inputs[t][0])}:{inputs[t][1]})" for t in dict.fromkeys(found))
        raise EditError(f"which input? Give --input with the name or the position of one of {ways}")
    tensor = found[0]
    subgraph = inputs[tensor][0]
    caller = callers(model).get(subgraph)
    if caller is not None:
        raise RefusedError(f"input {tensor.name_str!r} belongs to a subgraph that {caller} runs too: what it is fed there would be misread")
    return subgraph, tensor


def stored_affine(tensor: Tensor) -> Affine | None:
    """The parameters of a tensor as one scale and zero point of a code type; None where it has none such."""
    q = tensor.quantization
    if q is None or q.details is not None or len(q.scale) != 1 or len(q.zero_point) > 1 or tensor.type not in CODES:
        return None
    try:
        return Affine(q.scale[0], int(q.zero_point[0]) if len(q.zero_point) else 0, tensor.type)
    except EditError:
        return None


def outgrows(affine: Affine, held: Affine) -> bool:
    """Whether the range of `affine` goes beyond that of `held` by more than a step of `held`, which clips it then."""
    (low, high), (held_low, held_high), step = affine.range(), held.range(), float(held.scale)
    return low < held_low - step or high > held_high + step


def single(value: float | tuple[float, ...] | None) -> float:
    """The number of an option that was given, and is one."""
    if value is None or isinstance(value, tuple):
        raise EditError("one number for all channels is needed here")
    return float(value)


def derived(options: SetInputStats, type_: TensorType) -> Derived:
    """What is asked for, in codes of a type, and the nearest that a file can hold."""
    if options.mean is not None:
        return affine.from_mean_std(single(options.mean), single(options.std), type_)
    if options.min is not None and options.max is not None:
        return affine.from_range(options.min, options.max, type_)
    return affine.from_scale(single(options.scale), int(options.zero_point or 0), type_)


def parameters_text(stored: Affine) -> str:
    """Stored parameters in words, exact."""
    low, high = stored.range()
    return f"scale {float(stored.scale)!r} ({float(stored.scale).hex()}), zero point {stored.zero_point}: {low:.6g} to {high:.6g}"


def residual_text(asked: Derived) -> str:
    """What of the asked parameters cannot be held, in words: the part of the mean between two integers, a range that is not symmetric. "" if all."""
    widened = ""
    if asked.widened_from is not None:
        widened = f"the range {asked.widened_from.min:.6g} to {asked.widened_from.max:.6g} is widened: {asked.stored.type.name} codes are symmetric"
    if abs(asked.residual) < 1e-9:
        return widened
    return (
        f"the mean {asked.mean:.9g} lies between two codes, and zero point {asked.stored.zero_point} is stored. Residual: every real value is off by "
        f"{asked.residual:+.6g} codes, {asked.residual * asked.scale:+.6g}"
    )
