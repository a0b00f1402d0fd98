"""What constants lose when they are encoded again: figures, words, and thresholds, for all passes that do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._schema import TensorType
from ..graph import Tensor
from ..quant.loss import Loss, total
from ..quant.rules import LITERT
from ..types import text
from .base import Notes

_WORST = 3  # channels that are told
WEIGHTS, BIAS, CONSTANT = "weights", "bias", "constant"  # forms of what integer operators read


@dataclass(frozen=True, eq=False)
class Cost:
    """What became of a constant: its new type, granularity ("" for floats), form, and bytes before and after.

    `keys` say whose bytes these are, before and after: those of equal keys are counted once in a total. `loss` is None where errors were not
    measured, `exact` says that nothing was lost anyway. `how` is what was done, if that is not clear from the rest.
    """

    tensor: Tensor
    type: TensorType
    granularity: str
    form: str
    before: int
    after: int
    keys: tuple[Any, Any]
    loss: Loss | None
    exact: bool
    runtimes: tuple[str, ...] = tuple(runtime.value for runtime in LITERT)
    how: str = ""


def tell(cost: Cost, notes: Notes, choice: str = "") -> None:
    """Say what a constant costs; with `choice`, what it would."""
    loss = cost.loss
    data: dict[str, Any] = {
        "to": cost.type.name, "granularity": cost.granularity, "form": cost.form, "bytes_before": cost.before, "bytes_after": cost.after,
        "exact": cost.exact, "runtimes": list(cost.runtimes),
    }  # fmt: skip
    source = f"{cost.tensor.type.name} as " if choice else ""
    words = f"{source}{cost.type.name}{' ' + cost.granularity if cost.granularity else ''}, {cost.form}{', ' + cost.how if cost.how else ''}"
    data |= {"how": cost.how} if cost.how else {}
    if loss is not None:
        data |= loss_data(loss) | {"worst": _worst(loss)}
        words += f": {cost_text(loss)}"
    elif cost.exact:
        words += ": nothing is lost"
    if len(cost.runtimes) < len(LITERT):
        words += f"; right only in {', '.join(cost.runtimes) or 'no runtime'}"
    (notes.remark if choice else notes.changed)(cost.tensor, words, **data, **({"choice": choice} if choice else {}))


def _worst(cost: Loss) -> list[list[Any]]:
    """The worst channels: number, dB (None where there is only noise), largest error."""
    entries = cost.worst(_WORST) if len(cost.channel_sqnr) > 1 else []
    return [[channel, decibels if np.isfinite(decibels) else None, error] for channel, decibels, error in entries if error]


def loss_data(cost: Loss) -> dict[str, Any]:
    """The numbers of a loss as data; `sqnr` is None where nothing is lost."""
    return {
        "elements": cost.elements, "max_error": cost.largest, "rms": cost.rms, "sqnr": cost.sqnr if np.isfinite(cost.sqnr) else None,
        "clipped": cost.clipped, "levels": cost.levels, "signal": cost.signal, "noise": cost.noise,
    }  # fmt: skip


def cost_text(cost: Loss) -> str:
    """A loss in words."""
    if not cost.noise:
        return "nothing is lost"
    clipped = f", {cost.clipped} clipped" if cost.clipped else ""
    return f"SQNR {cost.sqnr:.1f} dB, error at most {cost.largest:.3g}, RMS {cost.rms:.3g}{clipped}"


def tell_total(costs: Sequence[Cost], notes: Notes, choice: str = "") -> None:
    """Say what all of them cost together."""
    before = sum({cost.keys[0]: cost.before for cost in costs}.values())
    after = sum({cost.keys[1]: cost.after for cost in costs}.values())
    losses = [cost.loss for cost in costs if cost.loss is not None]
    words = f"{len(costs)} tensor{'s' * (len(costs) > 1)}, {before} bytes to {after}"
    data: dict[str, Any] = {"tensors": len(costs), "bytes_before": before, "bytes_after": after}
    if len(losses) == len(costs):
        all_of_them = total(losses)
        words += f": {cost_text(all_of_them)}"
        data |= loss_data(all_of_them)
        worst = min(costs, key=lambda cost: cost.loss.sqnr if cost.loss is not None else 0.0)
        if worst.loss is not None and worst.loss.noise:
            data["worst_tensor"] = text(worst.tensor.name)
    notes.remark(None, f"{choice}: {words}" if choice else f"in total: {words}", total=True, **data, **({"choice": choice} if choice else {}))


def beyond(loss: Loss | None, type_: TensorType, min_sqnr: float | None, max_error: float | None) -> str:
    """Which threshold a tensor breaks that would be encoded so; "" if none."""
    if loss is not None and min_sqnr is not None and loss.sqnr < min_sqnr:
        return f"as {type_.name} its SQNR would be {loss.sqnr:.1f} dB, below {min_sqnr:g}"
    if loss is not None and max_error is not None and loss.largest > max_error:
        return f"as {type_.name} its largest error would be {loss.largest:.3g}, above {max_error:g}"
    return ""
