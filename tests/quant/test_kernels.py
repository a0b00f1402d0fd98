"""The blocked kernels against plain numpy: grids, rounding, ranges, errors; and against litert-quantizer where it is installed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflitekit import _crew
from tflitekit.errors import EditError
from tflitekit.quant import grid as grids
from tflitekit.quant import kernels, loss, ranges
from tflitekit.quant.affine import Rounding, rounded
from tflitekit.quant.kernels import Codes, Parameters

EVEN, AWAY = Rounding.HALF_EVEN, Rounding.HALF_AWAY
MODES = st.sampled_from([EVEN, AWAY])
CODES = {8: (-127, 127), 4: (-7, 7), 2: (-1, 1)}


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, grids.Grid, np.ndarray, int]:
    """An array, a grid over it, the channel of every element, and the size of blocks: ragged and empty ones too."""
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 9]), max_size=3)))
    kind = draw(st.sampled_from(["tensor", "channel", "block"] if shape else ["tensor"]))
    if kind == "block":
        block = draw(st.sampled_from([1, 2, 8, 32]))
        shape = (*shape[:-1], shape[-1] * block)
    seed = draw(st.integers(0, 2**32 - 1))
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    index = np.arange(values.size).reshape(shape)
    if kind == "tensor":
        grid, channel = grids.per_tensor(shape), np.zeros(shape, int)
    elif kind == "channel":
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        grid = grids.per_channel(shape, axis)
        channel = np.broadcast_to(np.arange(shape[axis]).reshape([-1 if d == axis % len(shape) else 1 for d in range(len(shape))]), shape)
    else:
        grid, channel = grids.blockwise(shape, block), index // block
    return values, grid, channel.reshape(-1), draw(st.sampled_from([16, 64, 1 << 16]))


def small_blocks(size: int) -> pytest.MonkeyPatch:
    """Walk in blocks of `size` elements, and share them among threads, however few they are."""
    patch = pytest.MonkeyPatch()
    patch.setattr(_crew, "LARGE", 0)
    patch.setattr(_crew, "_usable", lambda: 3)
    blocks = grids.Grid.blocks
    patch.setattr(grids.Grid, "blocks", lambda grid, given=size: blocks(grid, min(size, given)))
    return patch


def per_channel(values: np.ndarray, channel: np.ndarray, count: int, function: Callable[[np.ndarray], Any]) -> list[Any]:
    return [function(values.reshape(-1)[channel == c]) for c in range(count)]


# ---- grids ----


@settings(deadline=None)
@given(cases())
def test_blocks_cover_every_element_once_with_its_channel(case: tuple[np.ndarray, grids.Grid, np.ndarray, int]) -> None:
    values, grid, channel, size = case
    seen = np.full(values.size, -1)
    spread = grids.Spread(np.arange(grid.channels))
    for block in grid.blocks(size):
        assert (seen[block.start : block.stop] == -1).all()
        seen[block.start : block.stop] = np.broadcast_to(spread.over(block), block.shape).reshape(-1)
    assert np.array_equal(seen, channel)


@pytest.mark.parametrize(("shape", "block"), [((4, 33), 32), ((), 1), ((4, 32), 0)])
def test_blocks_must_divide_the_rows(shape: tuple[int, ...], block: int) -> None:
    with pytest.raises(EditError, match="multiple of blocks"):
        grids.blockwise(shape, block)


@pytest.mark.parametrize("axis", [2, -3])
def test_a_channel_dimension_must_exist(axis: int) -> None:
    with pytest.raises(EditError, match="does not exist"):
        grids.per_channel((2, 3), axis)


@settings(deadline=None)
@given(cases())
def test_extremes_and_squares(case: tuple[np.ndarray, grids.Grid, np.ndarray, int]) -> None:
    values, grid, channel, size = case
    patch = small_blocks(size)
    try:
        least, most = kernels.extremes(values.reshape(-1), grid)
        power = np.zeros(grid.channels)
        for block in grid.blocks():
            power[block.first : block.first + block.channels] += grids.squares(block, values.reshape(-1)[block.start : block.stop])
    finally:
        patch.undo()
    if values.size:
        assert least.tolist() == per_channel(values, channel, grid.channels, np.min)
        assert most.tolist() == per_channel(values, channel, grid.channels, np.max)
    assert power == pytest.approx(per_channel(values.astype(np.float64) ** 2, channel, grid.channels, np.sum), rel=1e-5)


# ---- quantize and dequantize ----


def plain_quantize(values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, low: int, high: int, mode: Rounding) -> np.ndarray:
    """The definition, with float32 division and exact rounding."""
    scaled = values.reshape(-1) / scale
    if mode is EVEN:
        return np.clip(np.rint(scaled + zero_point.astype(np.float32)), low, high)
    return np.clip(rounded(scaled, mode) + zero_point, low, high)


@settings(deadline=None)
@given(cases(), MODES, st.sampled_from([(8, np.int8), (4, np.int8), (2, np.int8), (8, np.uint8)]), st.floats(0.01, 2))
def test_quantize_and_back(case: tuple[np.ndarray, grids.Grid, np.ndarray, int], mode: Rounding, kind: tuple[int, Any], step: float) -> None:
    values, grid, channel, size = case
    low, high = (0, 255) if kind[1] is np.uint8 else CODES[kind[0]]
    rng = np.random.default_rng(grid.size)
    scale = (step * rng.uniform(0.5, 2, grid.channels)).astype(np.float32)
    zero_point = rng.integers(low, high, grid.channels, endpoint=True) * (kind[1] is np.uint8)
    patch = small_blocks(size)
    try:
        found = kernels.quantize(values.reshape(-1), grid, Parameters(scale, zero_point), Codes(low, high, kind[1], mode))
        pieces: dict[int, bytes] = {}

        def put(at: int, part: np.ndarray) -> None:
            pieces[at] = part.tobytes()

        kernels.put_codes(put, values.reshape(-1), grid, Parameters(scale, zero_point), Codes(low, high, kind[1], mode))
        back = kernels.dequantize(found, grid, Parameters(scale, zero_point))
    finally:
        patch.undo()
    assert found.dtype == kind[1]
    assert b"".join(pieces[at] for at in sorted(pieces)) == found.tobytes()
    assert grid.inner % 4 or not any(at % 4 for at in pieces)
    assert np.array_equal(found, plain_quantize(values, scale[channel], zero_point[channel], low, high, mode))
    assert np.array_equal(back, (found.astype(np.float32) - zero_point[channel].astype(np.float32)) * scale[channel])


@settings(deadline=None)
@given(st.lists(st.floats(-300, 300, width=32), max_size=40), MODES)
def test_rounding_is_exact_next_to_halves(values: list[float], mode: Rounding) -> None:
    halves = np.floor(np.array(values, np.float32)) + np.float32(0.5)
    near = np.concatenate([np.array(values, np.float32), halves, np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))])
    codes = Codes(-(2**15), 2**15 - 1, np.int16, mode)
    one = Parameters(np.ones(1, np.float32), np.zeros(1, np.int64))
    assert np.array_equal(kernels.quantize(near, grids.per_tensor(near.shape), one, codes), rounded(near, mode))


TIES = [(0.5, 0, 1), (1.5, 2, 2), (2.5, 2, 3), (-0.5, 0, -1), (-2.5, -2, -3), (0.49999997, 0, 0), (9.0, 7, 7)]


@pytest.mark.parametrize(("value", "even", "away"), TIES)
def test_ties(value: float, even: int, away: int) -> None:
    one, values = Parameters(np.ones(1, np.float32), np.zeros(1, np.int64)), np.array([value], np.float32)
    for mode, expected in ((EVEN, even), (AWAY, away)):
        assert kernels.quantize(values, grids.Grid(1, 1, 1), one, Codes(-7, 7, rounding=mode)).tolist() == [expected]


def test_half_up_is_refused() -> None:
    with pytest.raises(EditError, match="half-up"):
        Codes(-7, 7, rounding=Rounding.HALF_UP)


# ---- ranges ----


@settings(deadline=None)
@given(cases(), MODES, st.sampled_from([8, 4, 2]))
def test_the_full_range_loses_at_most_half_a_step(case: tuple[np.ndarray, grids.Grid, np.ndarray, int], mode: Rounding, bits: int) -> None:
    values, grid, channel, _ = case
    low, high = CODES[bits]
    codes = Codes(low, high, rounding=mode)
    found = ranges.choose(values.reshape(-1), grid, codes)
    back = kernels.dequantize(kernels.quantize(values.reshape(-1), grid, found, codes), grid, found)
    assert (np.abs(back - values.reshape(-1)) <= found.scale[channel] * np.float32(0.50001)).all()
    bounds = per_channel(np.abs(values), channel, grid.channels, lambda x: x.max(initial=0)) if grid.size else [0] * grid.channels
    assert found.scale.tolist() == [np.float32(max(np.float32(b), np.float32(1e-9))) / np.float32(high) for b in bounds]


@settings(deadline=None)
@given(cases(), MODES)
def test_asymmetric_ranges_hold_zero(case: tuple[np.ndarray, grids.Grid, np.ndarray, int], mode: Rounding) -> None:
    values, grid, channel, _ = case
    codes = Codes(-128, 127, rounding=mode)
    shifted = (values.reshape(-1) + np.float32(1.5)).astype(np.float32)
    found = ranges.choose(shifted, grid, codes, symmetric=False)
    back = kernels.dequantize(kernels.quantize(shifted, grid, found, codes), grid, found)
    assert ((found.zero_point >= -128) & (found.zero_point <= 127)).all()
    assert (np.abs(back - shifted) <= found.scale[channel] * np.float32(1.00001)).all()


@settings(deadline=None)
@given(cases(), MODES, st.sampled_from(list(ranges.Range)))
def test_fitting_piece_by_piece_is_choosing_and_quantizing(
    case: tuple[np.ndarray, grids.Grid, np.ndarray, int], mode: Rounding, method: ranges.Range
) -> None:
    values, grid, _, size = case
    codes = Codes(-7, 7, rounding=mode)
    expected = ranges.choose(values.reshape(-1), grid, codes, method=method)
    patch = pytest.MonkeyPatch()
    patch.setattr(ranges, "PIECE", size)
    try:
        found, made = ranges.fit(values.reshape(-1), grid, codes, method=method)
    finally:
        patch.undo()
    assert found.scale.tobytes() == expected.scale.tobytes() and np.array_equal(found.zero_point, expected.zero_point)
    assert np.array_equal(made, kernels.quantize(values.reshape(-1), grid, expected, codes))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("grid", [grids.Grid(1, 1, 24), grids.Grid(1, 4, 6), grids.Grid(6, 4, 1)])
def test_values_without_codes_are_reported(value: float, grid: grids.Grid) -> None:
    values = np.ones(24, np.float32)
    values[[5, 17]] = value
    for function in (ranges.choose, ranges.fit):
        with pytest.raises(EditError, match="2 of 24 values are infinite or NaN, the first at position 5"):
            function(values, grid, Codes(-127, 127))


def test_a_range_beyond_float32_is_refused() -> None:
    values = np.array([3e38, -3e38], np.float32)
    with pytest.raises(EditError, match="wider than float32"):
        ranges.choose(values, grids.Grid(1, 1, 2), Codes(-128, 127), symmetric=False)


@pytest.mark.parametrize("mode", [EVEN, AWAY])
def test_zeros_get_a_scale_that_runtimes_take(mode: Rounding) -> None:
    found = ranges.choose(np.zeros(8, np.float32), grids.Grid(1, 2, 4), Codes(-127, 127, rounding=mode))
    assert found.scale.tolist() == [np.float32(1e-9) / np.float32(127)] * 2
    half = ranges.choose(np.zeros(8, np.float32), grids.Grid(1, 2, 4), Codes(-7, 7, rounding=mode), half=True)
    assert half.scale.tolist() == [2.0**-14] * 2


def test_tiny_ranges_are_kept_unless_the_convention_is_litert_quantizers() -> None:
    values, grid = np.full(4, 1e-12, np.float32), grids.Grid(1, 1, 4)
    assert ranges.choose(values, grid, Codes(-127, 127, rounding=AWAY)).scale[0] == np.float32(1e-12) / np.float32(127)
    assert ranges.choose(values, grid, Codes(-127, 127, rounding=EVEN)).scale[0] == np.float32(1e-9) / np.float32(127)


def test_block_scales_fit_in_half_precision() -> None:
    values = np.random.default_rng(0).standard_normal(320).astype(np.float32) * np.float32(1000)
    scale = ranges.choose(values, grids.blockwise((320,), 32), Codes(-7, 7), half=True).scale
    assert np.array_equal(scale.astype(np.float16).astype(np.float32), scale) and (scale.view(np.uint32) & 0xFFFF == 0).all()
    with pytest.raises(EditError, match="beyond 65280"):
        ranges.choose(values * np.float32(1e6), grids.blockwise((320,), 32), Codes(-7, 7), half=True)


@settings(deadline=None)
@given(cases(), st.sampled_from([8, 4, 2]), st.booleans())
def test_the_least_square_error_is_never_above_that_of_the_full_range(
    case: tuple[np.ndarray, grids.Grid, np.ndarray, int], bits: int, symmetric: bool
) -> None:
    values, grid, channel, _ = case
    codes = Codes(*CODES[bits])
    noise = []
    for method in ranges.Range:
        found = ranges.choose(values.reshape(-1), grid, codes, method=method, symmetric=symmetric)
        back = kernels.dequantize(kernels.quantize(values.reshape(-1), grid, found, codes), grid, found)
        squared = (back.astype(np.float64) - values.reshape(-1)) ** 2
        noise.append(np.array(per_channel(squared, channel, grid.channels, np.sum)))
    assert (noise[1] <= noise[0] * (1 + 1e-4) + 1e-9).all()


def test_clipping_finds_what_a_fine_search_finds() -> None:
    values = np.random.default_rng(1).standard_normal(20000).astype(np.float32)
    grid, codes = grids.Grid(1, 1, 20000), Codes(-7, 7)

    def noise(scale: float) -> float:
        one = Parameters(np.array([scale], np.float32), np.zeros(1, np.int64))
        back = kernels.dequantize(kernels.quantize(values, grid, one, codes), grid, one)
        return float(np.square(back - values, dtype=np.float64).sum())

    found = noise(float(ranges.choose(values, grid, codes, method=ranges.Range.MSE).scale[0]))
    best = min(noise(float(np.abs(values).max()) / 7 * share) for share in np.linspace(0.2, 1, 200))
    assert found < best * 1.01 and found < 0.6 * noise(float(np.abs(values).max()) / 7)


# ---- losses ----


@settings(deadline=None)
@given(cases(), st.sampled_from([8, 4, 2]), st.floats(0.3, 1))
def test_losses(case: tuple[np.ndarray, grids.Grid, np.ndarray, int], bits: int, share: float) -> None:
    values, grid, channel, size = case
    codes = Codes(*CODES[bits])
    chosen = ranges.choose(values.reshape(-1), grid, codes)
    parameters = Parameters((chosen.scale * np.float32(share)).astype(np.float32), chosen.zero_point)
    found = kernels.quantize(values.reshape(-1), grid, parameters, codes)
    back = kernels.dequantize(found, grid, parameters)
    patch = small_blocks(size)
    try:
        made = loss.measure(values.reshape(-1), back, grid, parameters.scale, grid)
    finally:
        patch.undo()
    error = back.astype(np.float64) - values.reshape(-1)
    assert made.elements == values.size
    assert made.largest == pytest.approx(np.abs(error).max(initial=0), rel=1e-5)
    assert made.rms == pytest.approx(math.sqrt(np.mean(error**2)) if error.size else 0, rel=1e-5)
    if error.size and made.noise:
        power = float(np.square(values, dtype=np.float64).sum())
        assert made.sqnr == pytest.approx(10 * math.log10(power / float((error**2).sum())), abs=1e-3)
    beyond = np.abs(values.reshape(-1) / parameters.scale[channel]) > codes.high + 0.5 + 1 / 1024
    assert made.clipped >= np.count_nonzero(beyond)
    assert share < 1 or made.clipped == 0
    assert loss.levels(found, 2 * codes.high + 1) == len(np.unique(found))
    assert made.channel_largest.tolist() == pytest.approx(per_channel(np.abs(error), channel, grid.channels, lambda x: x.max(initial=0)), rel=1e-5)


def test_totals_and_worst_channels() -> None:
    before = np.array([1, 1, 1, 1, 2, 2, 0, 0], np.float32)
    after = np.array([1, 1, 1, 0.5, 2, 2, 0, 0], np.float32)
    one = loss.measure(before, after, grids.Grid(1, 4, 2))
    assert one.worst(1) == [(1, pytest.approx(10 * math.log10(2 / 0.25)), 0.5)]
    assert one.channel_sqnr.tolist()[::2] == [math.inf, math.inf]
    both = loss.total([one, loss.measure(before, before, grids.Grid(1, 4, 2))])
    assert (both.elements, both.largest, both.noise, both.signal) == (16, 0.5, 0.25, 24.0)
    assert loss.total([]).sqnr == math.inf and loss.total([]).rms == 0.0


def test_only_noise_is_minus_infinity() -> None:
    made = loss.measure(np.zeros(2, np.float32), np.ones(2, np.float32), grids.Grid(1, 1, 2))
    assert made.sqnr == -math.inf


# ---- float16 ----


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), max_size=50))
def test_float16_is_nearest_and_clamped(values: list[float]) -> None:
    array = np.array(values, np.float32)
    assert np.array_equal(kernels.to_float16(array), np.clip(array, -65504, 65504).astype(np.float16))


# ---- litert-quantizer ----


def peer() -> Any:
    tensors = pytest.importorskip("litert_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor")
    return tensors, pytest.importorskip("litert_quantizer.qtyping")


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_and_scales_are_litert_quantizers(bits: int, axis: int | None, symmetric: bool) -> None:
    tensors, typing = peer()
    values = np.random.default_rng(bits).standard_normal((70, 96)).astype(np.float32)
    values[3] = 0
    values[:, 5] = 1e-12
    rest = None if axis is None else 1 - axis
    least, most = values.min(axis=rest, keepdims=True), values.max(axis=rest, keepdims=True)
    zero_point, scale = tensors.tensor_zp_scale_from_min_max(least, most, bits, symmetric, typing.QuantGranularity.CHANNELWISE)
    given = typing.UniformQuantParams(scale=scale, zero_point=zero_point, num_bits=bits, symmetric=symmetric, quantized_dimension=axis)
    expected = tensors.uniform_quantize(values, given)
    grid = grids.per_tensor(values.shape) if axis is None else grids.per_channel(values.shape, axis)
    low, high = CODES[bits] if symmetric else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    codes = Codes(low, high, rounding=EVEN)
    found = ranges.choose(values.reshape(-1), grid, codes, symmetric=symmetric)
    assert found.scale.tobytes() == scale.tobytes()
    assert np.array_equal(found.zero_point, zero_point.reshape(-1))
    assert np.array_equal(kernels.quantize(values.reshape(-1), grid, found, codes), expected.reshape(-1))


@pytest.mark.parametrize("block", [32, 64, 128, 256])
def test_blocks_are_litert_quantizers(block: int) -> None:
    tensors, typing = peer()
    values = np.random.default_rng(block).standard_normal((40, 512)).astype(np.float32)
    granularity = typing.QuantGranularity[f"BLOCKWISE_{block}"]
    split = values.reshape(40, -1, block)
    zero_point, scale = tensors.tensor_zp_scale_from_min_max(split.min(axis=2), split.max(axis=2), 4, True, granularity)
    given = typing.UniformQuantParams(scale=scale, zero_point=zero_point, num_bits=4, symmetric=True, quantized_dimension=1, block_size=block)
    expected = tensors.uniform_quantize(values, given, True)
    grid, codes = grids.blockwise(values.shape, block), Codes(-8, 7, rounding=EVEN)
    found = ranges.choose(values.reshape(-1), grid, codes, half=True)
    assert found.scale.tobytes() == scale.tobytes()
    assert np.array_equal(kernels.quantize(values.reshape(-1), grid, found, codes), expected.reshape(-1))
