"""Repairs of weights: zero points that kernels do not apply, scales that are no steps (Q201, Q204)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...audit import Finding
from ...graph import QuantizationParameters, Tensor
from ...quant.affine import rounded
from ...types import BITS, INTEGER_RANGES
from ..base import Notes
from ..bias import BiasKeeper
from .bench import SMALLEST_NORMAL, Bench, UnfixableError, affine, force, sound
from .vectors import UNKNOWN, _implied_vector


def zero_point(bench: Bench, finding: Finding) -> None:
    """Q201: zero point k becomes 0: codes are shifted by k where they then fit, else encoded again at a scale that holds them."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "zero point"):
        return
    q = affine(tensor)
    shape = [1] * len(tensor.shape)
    _check_axis(tensor, q)
    if len(q.scale) > 1:
        shape[q.quantized_dimension] = -1
    codes = tensor.numpy().astype(np.int64)
    low, high = INTEGER_RANGES[tensor.type]
    if (q.zero_point < low).any() or (q.zero_point > high).any():
        force(q, zero_point=np.where((q.zero_point < low) | (q.zero_point > high), 0, q.zero_point))
        bench.say(tensor, finding, "zero point 0 where it was no code: what kernels take it to be")
        if not q.zero_point.any():
            return
    shifted = codes - (q.zero_point.reshape(shape) if len(q.zero_point) > 1 else int(q.zero_point[0]))
    if low <= shifted.min(initial=0) and shifted.max(initial=0) <= high:
        _store(bench, tensor, shifted)
        force(q, zero_point=np.zeros(len(q.zero_point), np.int64))
        bench.say(tensor, finding, "zero point 0, codes shifted: real values are the same", max_error=0.0)
        return
    _encode(bench, finding, tensor, shifted, shape, high)


def _check_axis(tensor: Tensor, q: QuantizationParameters) -> None:
    if len(q.scale) > 1 and (not 0 <= q.quantized_dimension < len(tensor.shape) or tensor.shape[q.quantized_dimension] != len(q.scale)):
        raise UnfixableError("its scales do not fit its shape")


def _encode(bench: Bench, finding: Finding, tensor: Tensor, shifted: Any, shape: list[int], high: int) -> None:
    """Codes that do not fit: a scale for each channel at which they do, and biases that follow."""
    q = affine(tensor)
    axes = tuple(i for i in range(shifted.ndim) if len(q.scale) == 1 or i != q.quantized_dimension)
    largest = np.abs(shifted).max(axis=axes, initial=0).astype(np.float64)
    factor = np.maximum(largest / high, 1.0)
    old = q.scale.astype(np.float64)
    scale = (old * factor).astype(np.float32)
    wide = scale.astype(np.float64).reshape(shape) if len(scale) > 1 else float(scale[0])
    real = shifted * (old.reshape(shape) if len(old) > 1 else float(old[0]))
    wanted = np.clip(rounded(real / wide), -high, high)
    keeper = BiasKeeper(bench.model)
    _store(bench, tensor, wanted.astype(np.int64))
    force(q, scale, np.zeros(len(q.zero_point), np.int64))
    error = float(np.abs(wanted * wide - real).max(initial=0.0))
    bench.say(tensor, finding, f"zero point 0, data encoded again at larger scales, error at most {error:.3g}", max_error=error)
    _keep_biases(bench, keeper)


def _keep_biases(bench: Bench, keeper: BiasKeeper) -> None:
    """Let the biases follow, and say what became of them."""
    notes = Notes()
    keeper.restore(notes)
    for note in notes.resolved(bench.model):
        bench.said.append((bench.model.at(note.path), note.text, dict(note.data)))


def _store(bench: Bench, tensor: Tensor, codes: Any) -> None:
    bench.model.set_data(tensor, codes if BITS[tensor.type] < 8 else codes.astype(tensor.numpy().dtype))


def scale(bench: Bench, finding: Finding) -> None:
    """Q204: scales that are no steps, from the bias equation; a channel that is 0 at such a scale holds zeros at any other."""
    tensor = bench.tensor(finding)
    if not bench.once(tensor, "scale"):
        return
    q = affine(tensor)
    _check_axis(tensor, q)
    bad = ~sound(q.scale)
    implied = _implied_vector(bench, tensor)
    made, codes, dead = q.scale.copy(), tensor.numpy().astype(np.int64), []
    zeros = _zero_channels(tensor)
    for channel in np.flatnonzero(bad).tolist():
        if implied is not None and len(implied) == len(made) and sound(implied[channel]):
            made[channel] = implied[channel]
        elif zeros[channel] or 0 <= q.scale[channel] < SMALLEST_NORMAL:
            made[channel] = np.median(q.scale[~bad]) if (~bad).any() else np.float32(1)
            dead.append(channel)
        else:
            raise UnfixableError(f"channel {channel} has scale {float(q.scale[channel])!r}, and {UNKNOWN}")
    keeper = BiasKeeper(bench.model) if dead and not all(zeros[channel] for channel in dead) else None
    for channel in dead:
        codes[_slice(tensor, channel)] = int(q.zero_point[channel if len(q.zero_point) > 1 else 0]) if len(q.zero_point) else 0
    force(q, made)
    text = f"{int(bad.sum())} of {len(bad)} scales set"
    text += f", {len(dead)} of them to any step, since the channel is 0" if dead else " by bias = input x weights"
    bench.say(tensor, finding, text, scale=made[bad].astype(float).tolist(), channels=np.flatnonzero(bad).tolist())
    if keeper is not None:
        _store(bench, tensor, codes)
        _keep_biases(bench, keeper)


def _slice(tensor: Tensor, channel: int) -> Any:
    """The index of one channel's values."""
    q = affine(tensor)
    return (slice(None),) * q.quantized_dimension + (channel,) if len(q.scale) > 1 else slice(None)


def _zero_channels(tensor: Tensor) -> Any:
    q = affine(tensor)
    codes = tensor.numpy().astype(np.int64)
    if len(q.scale) == 1:
        return np.array([bool((codes == (int(q.zero_point[0]) if len(q.zero_point) else 0)).all())])
    axes = tuple(i for i in range(codes.ndim) if i != q.quantized_dimension)
    return (codes == 0).all(axis=axes)
