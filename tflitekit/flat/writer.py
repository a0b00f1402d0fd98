"""Model -> the pieces of a file, in order: flatbuffer, inline data of buffers, data outside the flatbuffer, carried bytes, zip.

Constant data is never copied: the pieces are views of wherever it is, to be written out one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .._walk import collector_paused
from ..errors import LossyWriteError, SerializeError
from ..graph import Deferred, Model, view_of
from .batches import ALIGNMENT, MAX_OFFSET
from .container import Container, moved_zip
from .layout import Layout

Piece = bytes | bytearray | memoryview | Deferred

_JOIN = 1 << 12  # pieces below this size are collected: more would be copied twice where all is joined in the end
_FLUSH = 1 << 20
_GAPS = [bytes(gap) for gap in range(ALIGNMENT)]


class Pieces:
    """A list of pieces with the position that the next byte will have."""

    def __init__(self) -> None:
        self.done: list[Piece] = []
        self.open = bytearray()
        self.position = 0

    def add(self, piece: Piece) -> None:
        """Append bytes; large ones by reference."""
        self.position += len(piece)
        if len(piece) < _JOIN:
            self.open += view_of(piece)
            if len(self.open) < _FLUSH:
                return
            piece = b""
        if self.open:
            self.done.append(self.open)
            self.open = bytearray()
        if len(piece):
            self.done.append(piece)

    def add_vectors(self, views: Iterable[memoryview | Deferred]) -> list[int]:
        """Append vectors of bytes, their lengths first, whose bytes are aligned; returns where they begin."""
        starts = []
        for view in views:
            length, gap = len(view), -(self.position + 4) % ALIGNMENT
            at = self.position + gap
            starts.append(at)
            self.open += _GAPS[gap] + length.to_bytes(4, "little")
            self.position = at + 4
            if length < _JOIN and len(self.open) < _FLUSH and not isinstance(view, Deferred):
                self.open += view
                self.position = at + 4 + length
            else:
                self.add(view)
        return starts

    def align(self) -> None:
        """Fill up so that the next byte is aligned."""
        gap = -self.position % ALIGNMENT
        if gap:
            self.add(bytes(gap))

    def finish(self) -> list[Piece]:
        """All pieces."""
        return [*self.done, self.open] if self.open else self.done


def rebuild(model: Model, drop_unknown: bool = False) -> list[Piece]:
    """Lay out a model anew and return the pieces of the file.

    LossyWriteError if the file holds what cannot be carried (fields newer than the schema, unexplained bytes behind the model), unless
    `drop_unknown`; SerializeError if the graph refers to objects that are not in the model, or needs more than 2 GiB beside constant data.
    """
    container: Container | None = model.source.container if model.source is not None else None
    if container and container.unexplained and not container.carried and not drop_unknown:
        start, end = container.unexplained
        raise LossyWriteError(
            f"{end - start} bytes from byte {start} on, behind the model, belong to nothing the format explains (compiled code, perhaps). A rebuild "
            "would lose or misplace them. Make a change that keeps sizes, or allow the loss with drop_unknown (--drop-unknown)"
        )
    with collector_paused():
        layout = Layout(model, drop_unknown).run()
        out = layout.emit()
    pieces = Pieces()
    pieces.position = layout.size
    starts = pieces.add_vectors(layout.inline)
    if starts:
        fields = layout.inline_at + layout.base
        if starts[-1] >= MAX_OFFSET:
            raise SerializeError("the model does not fit: offsets inside a flatbuffer end at 2 GiB")
        out.put(fields, np.array(starts) - fields, 4)
    offsets = _add_outside(pieces, layout.outside)
    for finish in layout.outside_at:
        finish(out, offsets)
    layout.release()
    if container:
        _add_tail(pieces, model.source.data, container, drop_unknown)
    return [out.bytes[: layout.size].data, *pieces.finish()]


def _add_outside(pieces: Pieces, views: Iterable[memoryview | Deferred]) -> list[int]:
    """Append data that is found through absolute offsets, the same bytes once; returns the offsets."""
    placed: dict[tuple[int, int], int] = {}
    offsets = []
    for view in views:
        key = _address(view), len(view)
        if key not in placed:
            pieces.align()
            placed[key] = pieces.position
            pieces.add(view)
        offsets.append(placed[key])
    return offsets


def _address(view: memoryview | Deferred) -> int:
    """Where bytes are in memory, or what stands for those that are not computed yet; 0 for none."""
    if isinstance(view, Deferred):
        return -id(view)
    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0]) if len(view) else 0


def _add_tail(pieces: Pieces, data: memoryview, container: Container, drop_unknown: bool) -> None:
    if container.unexplained and container.carried:
        pieces.add(data[slice(*container.unexplained)])
    if container.zip_range:
        try:
            pieces.add(moved_zip(data, container.zip_range[0], pieces.position))
        except OverflowError:
            if not drop_unknown:
                raise LossyWriteError("the zip of associated files would lie beyond 4 GiB, where its format cannot point") from None
