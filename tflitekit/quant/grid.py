"""Which scale belongs to which element of an array: per tensor, per channel along any dimension, per block; and walking it in cache-sized blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import EditError

# Elements of a block: 1 MB of floats. Half of it, which leaves room for scratch arrays in a cache of 1 MB, made most kernels about a tenth slower.
BLOCK = 1 << 18
# From this many elements in a row on, one scale a row is cheap to broadcast; shorter rows get their scales written out side by side.
_ROW = 8
# Rows shorter than numpy's buffer go through that buffer where they are combined with one value each, which takes twice as long.
_BUFFER = 1 << 10
# Rows written out side by side are repeated up to about this length.
_PATTERN = 1 << 10


class Block(NamedTuple):
    """Consecutive elements `start` to `stop`, as `rows` rows.

    Channels `first` to `first + channels`: one a row if `spread` is 0, else in each row every channel for `spread` elements, all of it `tiles` times.
    """

    start: int
    stop: int
    rows: int
    first: int
    channels: int
    spread: int = 0
    tiles: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, (self.stop - self.start) // self.rows


@dataclass(frozen=True)
class Grid:
    """A flat array as `outer` repetitions of `channels` runs of `inner` elements; every run has the scale of its channel."""

    outer: int
    channels: int
    inner: int

    @property
    def size(self) -> int:
        """Elements of the array."""
        return self.outer * self.channels * self.inner

    def blocks(self, size: int = BLOCK) -> Iterator[Block]:
        """Blocks of about `size` elements that cover the array, each a run of consecutive elements."""
        width = self.channels * self.inner
        if not self.size:
            return
        if self.inner >= _ROW and (self.outer == 1 or width >= size // 4):
            yield from self._rows(size)
        elif width >= size:
            yield from self._wide(size)
        else:
            yield from self._tall(size)

    def _rows(self, size: int) -> Iterator[Block]:
        step = max(1, size // self.inner)
        for base in range(0, self.size, self.channels * self.inner):
            for first in range(0, self.channels, step):
                count = min(step, self.channels - first)
                start, stop = base + first * self.inner, base + (first + count) * self.inner
                if count > 1:
                    yield Block(start, stop, count, first, count)
                    continue
                for part in range(start, stop, size):
                    yield Block(part, min(part + size, stop), 1, first, 1)

    def _wide(self, size: int) -> Iterator[Block]:
        step = max(1, size // self.inner)
        for first in range(0, self.channels, step):  # outermost, so that scales are written out once
            count = min(step, self.channels - first)
            for base in range(0, self.size, self.channels * self.inner):
                yield Block(base + first * self.inner, base + (first + count) * self.inner, 1, first, count, self.inner)

    def _tall(self, size: int) -> Iterator[Block]:
        width = self.channels * self.inner
        tiles = min(max(1, _PATTERN // width), self.outer)
        whole = self.outer // tiles
        step = max(1, size // (width * tiles))
        for row in range(0, whole, step):
            rows = min(step, whole - row)
            yield Block(row * tiles * width, (row + rows) * tiles * width, rows, 0, self.channels, self.inner, tiles)
        if whole * tiles < self.outer:
            yield Block(whole * tiles * width, self.size, 1, 0, self.channels, self.inner, self.outer - whole * tiles)


def per_tensor(shape: Sequence[int]) -> Grid:
    """One scale for all."""
    return Grid(1, 1, math.prod(shape))


def per_channel(shape: Sequence[int], axis: int) -> Grid:
    """One scale for each index of a dimension; EditError if there is no such dimension."""
    if not -len(shape) <= axis < len(shape):
        raise EditError(f"dimension {axis} does not exist in shape {list(shape)}")
    axis %= len(shape)
    return Grid(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def blockwise(shape: Sequence[int], block: int) -> Grid:
    """One scale for each run of `block` elements of the last dimension; EditError where that is no multiple of the block."""
    if block < 1 or not shape or shape[-1] % block:
        raise EditError(f"the last dimension of {list(shape)} is no multiple of blocks of {block}")
    return Grid(1, math.prod(shape) // block, block)


class Spread:
    """Gives the values of the channels of a block in a shape that broadcasts with it; what was written out last is kept."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self.values = values
        self._key: tuple[int, ...] = ()
        self._pattern = values

    def over(self, block: Block) -> npt.NDArray[Any]:
        """The values for a block: (rows, 1) or (columns,)."""
        if not block.spread:
            return self.values[block.first : block.first + block.channels, None]
        key = block.first, block.channels, block.tiles
        if key != self._key:
            self._key = key
            part = self.values[block.first : block.first + block.channels]
            self._pattern = np.tile(np.repeat(part, block.spread), block.tiles)
        return self._pattern

    def apply(self, by: np.ufunc, block: Block, values: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
        """`out` becomes by(value, that of its channel), for the elements of a block."""
        held = np.setbufsize(_BUFFER)
        try:
            by(values.reshape(block.shape), self.over(block), out=out.reshape(block.shape))
        finally:
            np.setbufsize(held)


def reduced(block: Block, values: npt.NDArray[Any], by: np.ufunc) -> npt.NDArray[Any]:
    """A block's values reduced to one for each of its channels, by np.minimum, np.maximum or np.add."""
    if block.spread:
        columns = by.reduce(values.reshape(block.shape), axis=0)
        runs = by.reduce(columns.reshape(block.tiles, block.channels, block.spread), axis=0)
        return np.asarray(by.reduce(runs, axis=1))
    return np.asarray(by.reduceat(values, np.arange(0, len(values), block.shape[1])))  # unlike reduce over an axis, several threads at once


def squares(block: Block, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The sums of squares of a block's values for each of its channels."""
    if block.spread:
        return np.asarray(reduced(block, np.square(values), np.add), np.float64)
    rows = values.reshape(block.shape)
    return np.asarray(np.einsum("ij,ij->i", rows, rows), np.float64)
