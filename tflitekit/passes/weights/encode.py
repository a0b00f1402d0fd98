"""New data for a constant: its real values, the codes that stand for them, and what that costs. Large results are computed when they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._crew import share
from ..._deferred import Put
from ..._schema import BlockwiseQuantization, TensorType
from ...errors import EditError
from ...graph import Deferred, Tensor, view_of
from ...quant import grid as grids
from ...quant import kernels, loss, ranges
from ...quant.affine import Rounding
from ...quant.grid import Grid
from ...quant.kernels import Codes, Floats, Parameters
from ...quant.rules import Granularity
from ...types import BITS, FLOAT_TYPES, INTEGER_RANGES, byte_size, numpy_dtype, pack_codes, unpack_codes
from .choices import Choice

# Elements that are compared at once, where channels lie one after the other.
_PART = 1 << 19


@dataclass(frozen=True, eq=False)
class Stored:
    """A constant as it is stored: its type, shape, bytes, and for codes whose scales are whose."""

    type: TensorType
    shape: tuple[int, ...]
    data: Any
    grid: Grid
    parameters: Parameters | None

    @property
    def size(self) -> int:
        """Elements."""
        return self.grid.size

    def raw(self) -> npt.NDArray[Any]:
        """The stored numbers, flat; codes one a byte."""
        count = byte_size(self.type, self.shape) or 0
        data = np.frombuffer(view_of(self.data), np.uint8, count)
        if BITS[self.type] < 8:
            return unpack_codes(data, BITS[self.type], self.size, True)
        return data.view(numpy_dtype(self.type))

    def real(self) -> Floats:
        """The real values in float32, flat; float32 values are the stored ones, not copies."""
        raw = self.raw()
        if self.parameters is None:
            return raw.astype(np.float32, copy=False)
        return kernels.dequantize(raw, self.grid, self.parameters)


def stored(tensor: Tensor) -> Stored:
    """How a constant is stored. EditError if its data does not fit its shape or its scales do not fit either."""
    assert tensor.buffer is not None
    data, shape, q = tensor.buffer.data, tensor.shape, tensor.quantization
    if min(shape, default=0) < 0:
        raise EditError(f"its shape {list(shape)} has negative dimensions")
    if data is None or len(data) < (byte_size(tensor.type, shape) or 0):
        raise EditError(f"its {len(data or b'')} bytes do not fill its shape")
    if tensor.type in FLOAT_TYPES or q is None:
        return Stored(tensor.type, shape, data, grids.per_tensor(shape), None)
    if isinstance(q.details, BlockwiseQuantization):
        held = q.details.scales
        scale = np.zeros(0, np.float32) if held is None else np.asarray(held.numpy(), np.float32).reshape(-1)
        grid = grids.blockwise(shape, q.details.block_size)
        zero_point = np.zeros(1, np.int64)
    else:
        scale, zero_point = q.scale, q.zero_point
        grid = grids.per_tensor(shape) if len(scale) == 1 else grids.per_channel(shape, q.quantized_dimension)
    zero_point = np.broadcast_to(zero_point, scale.shape) if len(zero_point) == 1 else zero_point
    if len(scale) != grid.channels or len(zero_point) != len(scale):
        raise EditError(f"it has {len(scale)} scales and {len(zero_point)} zero points for {grid.channels} channels")
    if not np.isfinite(scale).all():
        raise EditError("a scale is not finite, so its codes have no real values")
    return Stored(tensor.type, shape, data, grid, Parameters(scale, np.asarray(zero_point)))


@dataclass(frozen=True, eq=False)
class Encoding:
    """New contents of a tensor. `blocks` is the shape of blockwise scales, () for others; `axis` the dimension of per-channel ones."""

    type: TensorType
    data: Any
    parameters: Parameters | None
    axis: int = 0
    block: int = 0
    loss: loss.Loss | None = None
    exact: bool = False


def encode(
    source: Stored, choice: Choice, granularity: Granularity | None, axis: int | None, floor: Floats | None, measured: bool, kept: bool
) -> Encoding:
    """The new contents. `floor` is the least scale of each channel; data that is not `kept` is computed when it is written.

    EditError for values that have no code.
    """
    report = grids.per_tensor(source.shape) if axis is None or not source.shape else grids.per_channel(source.shape, axis)
    if choice.type in FLOAT_TYPES:
        return _as_floats(source, choice.type, report, measured, kept)
    assert granularity is not None
    target = _grid(source.shape, granularity, axis, choice.block)
    low, high = INTEGER_RANGES[choice.type]
    codes = Codes(low + (not choice.asymmetric), high, np.int8, Rounding(choice.rounding))
    same = _same(source, target, granularity, axis, codes, choice)
    if same is not None and (floor is None or bool((same.scale >= floor).all())):
        return _finished(source, choice, codes, target, same, report, axis, measured, kept, keep=True)
    how: dict[str, Any] = {"method": ranges.Range(choice.range), "symmetric": not choice.asymmetric, "half": granularity == Granularity.BLOCKWISE}
    if floor is None and kept:
        found, made = ranges.fit(source.real(), target, codes, **how)
        cost = _measured(source, made, target, found, codes, report) if measured else None
        return _encoding(choice, _bytes(made, choice), found, axis, target, cost)
    found = ranges.choose(source.real(), target, codes, **how)
    if floor is not None:
        found = Parameters(np.maximum(found.scale, floor), found.zero_point)
    return _finished(source, choice, codes, target, found, report, axis, measured, kept, keep=False)


def _bytes(made: npt.NDArray[Any], choice: Choice) -> npt.NDArray[np.uint8]:
    """Codes as they are stored."""
    bits = BITS[choice.type]
    return pack_codes(made, bits) if bits < 8 else made.view(np.uint8)


def _encoding(choice: Choice, data: Any, found: Parameters, axis: int | None, target: Grid, cost: loss.Loss | None, exact: bool = False) -> Encoding:
    return Encoding(choice.type, data, found, axis if axis is not None and target.channels > 1 else 0, choice.block, cost, exact)


def _grid(shape: tuple[int, ...], granularity: Granularity, axis: int | None, block: int) -> Grid:
    if granularity == Granularity.BLOCKWISE:
        return grids.blockwise(shape, block)
    return grids.per_tensor(shape) if granularity == Granularity.PER_TENSOR or axis is None else grids.per_channel(shape, axis)


def _same(source: Stored, target: Grid, granularity: Granularity, axis: int | None, codes: Codes, choice: Choice) -> Parameters | None:
    """The parameters with which the stored codes can stay as they are, None if they cannot: then nothing is lost."""
    if source.parameters is None or source.type == TensorType.UINT8 or (source.parameters.zero_point.any() and not choice.asymmetric):
        return None
    if source.grid != target and source.grid.channels != 1:
        return None
    half = granularity == Granularity.BLOCKWISE and source.grid != target
    raw = source.raw()
    wide = BITS[source.type] < BITS[choice.type] or (source.type == choice.type and source.grid == target)
    if half or not (wide or _within(raw, codes)):
        return None
    if not (source.parameters.scale > 0).all():
        return None
    times = target.channels // source.grid.channels
    return Parameters(np.tile(source.parameters.scale, times), np.tile(source.parameters.zero_point, times))


def _within(raw: npt.NDArray[Any], codes: Codes) -> bool:
    least, most = int(raw.min(initial=0)), int(raw.max(initial=0))
    return codes.low <= least and most <= codes.high


def _finished(
    source: Stored, choice: Choice, codes: Codes, target: Grid, found: Parameters, report: Grid, axis: int | None, measured: bool, kept: bool,
    *, keep: bool,
) -> Encoding:  # fmt: skip
    clip = ranges.clips(ranges.Range(choice.range), not choice.asymmetric)

    def make() -> npt.NDArray[Any]:
        return np.ascontiguousarray(source.raw()) if keep else kernels.quantize(source.real(), target, found, codes, clip=clip)

    size = byte_size(choice.type, source.shape) or 0
    if kept:
        made = make()
        cost = _measured(source, made, target, found, codes, report) if measured else None
        return _encoding(choice, _bytes(made, choice), found, axis, target, cost, keep)
    cost = _measured(source, None, target, found, codes, report, keep) if measured else None

    def fill(put: Put) -> None:
        kernels.put_codes(lambda at, part: put(at * bits // 8, _bytes(part, choice)), source.real(), target, found, codes, clip=clip)

    bits = BITS[choice.type]
    whole = keep or (bits < 8 and target.inner % 4)  # bytes that hold codes of two pieces
    data = Deferred(size, lambda: _bytes(make(), choice)) if whole else Deferred(size, fill=fill)
    return _encoding(choice, data, found, axis, target, cost, keep)


def _measured(
    source: Stored, made: npt.NDArray[Any] | None, target: Grid, found: Parameters, codes: Codes, report: Grid, keep: bool = False
) -> loss.Loss:
    """What the codes cost: part by part where channels lie one after the other, so that little is held at once."""
    if made is None and (keep or source.parameters is not None or target.outer != 1 or report.outer != 1 or target.inner > report.inner):
        made = source.raw() if keep else kernels.quantize(source.real(), target, found, codes)
    if made is not None:
        after = kernels.dequantize(made, target, found)
        cost = loss.measure(source.real(), after, report, found.scale, target)
        cost.levels = loss.levels(made, codes.high - codes.low + 1)
        return cost
    return _in_parts(source.real(), target, found, codes, report)


def _in_parts(real: Floats, target: Grid, found: Parameters, codes: Codes, report: Grid) -> loss.Loss:
    step = max(1, _PART // report.inner)
    each = report.inner // target.inner  # scales of one reported channel
    measured: dict[int, loss.Loss] = {}

    def work(starts: Iterator[int]) -> npt.NDArray[np.bool_]:
        seen, made, after = np.zeros(256, bool), np.empty(step * report.inner, codes.dtype), np.empty(step * report.inner, np.float32)
        for first in starts:
            channels = min(step, report.channels - first)
            span = slice(first * report.inner, (first + channels) * report.inner)
            part = Grid(1, channels * each, target.inner)
            scales = slice(first * each, (first + channels) * each)
            own = Parameters(found.scale[scales], found.zero_point[scales])
            kernels.quantize(real[span], part, own, codes, made[: part.size])
            kernels.dequantize(made, part, own, after[: part.size])
            measured[first] = loss.measure(real[span], after[: part.size], Grid(1, channels, report.inner), own.scale, part)
            if int(seen.sum()) < codes.high - codes.low + 1:
                loss.mark(made[: part.size], seen)
        return seen

    seen = np.logical_or.reduce(share(range(0, report.channels, step), work, report.size))
    parts = [measured[first] for first in sorted(measured)]
    cost = loss.total(parts)
    cost.levels = int(seen.sum())
    cost.channel_sqnr = np.concatenate([p.channel_sqnr for p in parts])
    cost.channel_largest = np.concatenate([p.channel_largest for p in parts])
    return cost


def _as_floats(source: Stored, type_: TensorType, report: Grid, measured: bool, kept: bool) -> Encoding:
    real = source.real()
    if type_ == TensorType.FLOAT16:
        bad = kernels.not_finite(real)
        if bad is not None:
            raise EditError(f"{bad[0]} of {real.size} values are infinite or NaN, the first at position {bad[1]}")

    def make() -> npt.NDArray[Any]:
        return kernels.to_float16(source.real()) if type_ == TensorType.FLOAT16 else source.real()

    size = byte_size(type_, source.shape) or 0
    cost = loss.measure(real, make().astype(np.float32, copy=False), report) if measured else None
    data: Any = np.ascontiguousarray(make()).view(np.uint8) if kept else Deferred(size, lambda: make().view(np.uint8))
    return Encoding(type_, data, None, loss=cost, exact=type_ == TensorType.FLOAT32)
