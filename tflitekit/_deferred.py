"""Constant data: bytes as they are given, and data that is computed when it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import EditError

# Takes bytes that belong at a position; several threads may call it, and the memory is theirs again when it returns.
Put = Callable[[int, Any], None]


class Deferred:
    """Constant data that is computed whenever it is read: `length` bytes. What is large is so kept out of memory until it is written.

    It has a length and answers to indices and `bytes`. `compute` returns all of it; or else `fill` puts it piece by piece, in any order and from any
    threads, each byte once.
    """

    __slots__ = ("_compute", "_fill", "_length")

    def __init__(self, length: int, compute: Callable[[], npt.NDArray[np.uint8]] | None = None, *, fill: Callable[[Put], None] | None = None) -> None:
        if (compute is None) == (fill is None):
            raise EditError("Deferred: give either compute or fill")
        self._length, self._compute, self._fill = length, compute, fill

    def __len__(self) -> int:
        return self._length

    def view(self) -> memoryview:
        """The bytes; EditError if they are not as many as was said."""
        if self._compute is not None:
            view = as_bytes(self._compute(), "Buffer.data")
            self._check(len(view))
            return view
        made = np.empty(self._length, np.uint8)

        def put(position: int, part: Any) -> None:
            made[position : position + len(part)] = part

        self.put(put)
        return made.data.toreadonly()

    def put(self, put: Put) -> None:
        """Compute the bytes and hand them over, in pieces where they are made so; EditError as for `view`, perhaps after some were handed over."""
        if self._fill is None:
            put(0, self.view())
            return
        parts: list[tuple[int, int]] = []

        def within(position: int, part: Any) -> None:
            view = as_bytes(part, "Buffer.data")
            parts.append((position, position + len(view)))
            if not 0 <= position <= self._length - len(view):
                self._check(position + len(view) if position >= 0 else -1)
            put(position, view)

        self._fill(within)
        end = 0
        for start, stop in sorted(parts):
            end = stop if start == end else -1 if start < stop else end
        self._check(end)

    def _check(self, computed: int) -> None:
        if computed != self._length:
            found = f"{computed} computed" if computed >= 0 else "the pieces that were computed do not join"
            raise EditError(f"Buffer.data: {self._length} bytes were announced, {found}")

    def __bytes__(self) -> bytes:
        return bytes(self.view())

    def __getitem__(self, where: Any) -> Any:
        return self.view()[where]


def view_of(data: bytes | bytearray | memoryview | Deferred) -> memoryview:
    """The bytes themselves, computed if they are deferred."""
    return data.view() if isinstance(data, Deferred) else memoryview(data)


def as_bytes(value: Any, where: str) -> memoryview:
    """A read-only view of bytes, of a memoryview, or of a one-dimensional uint8 array; other arrays are refused, since their bytes are ambiguous."""
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim != 1:
            raise EditError(
                f"{where}: expected bytes or a one-dimensional uint8 array, got {value.ndim}-dimensional {value.dtype}"
                + ("; use Model.set_data" if where == "Buffer.data" else "")
            )
        return np.ascontiguousarray(value).data.toreadonly()
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise EditError(f"{where}: expected bytes, got {type(value).__name__}")
    view = memoryview(value)
    if view.ndim != 1 or view.format != "B" or not view.contiguous:
        raise EditError(f"{where}: expected a contiguous view of bytes")
    return memoryview(bytes(value)) if isinstance(value, bytearray) else view.toreadonly()
