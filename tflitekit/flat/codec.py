"""Read, parse, serialize, write: the ways between files and models."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .._walk import explained
from ..diff import Change, diff
from ..errors import InputError, SerializeError, TFLiteKitError
from ..graph import Model
from . import files, patch
from .container import survey
from .reader import alignments, decode
from .verifier import Verifier
from .writer import Piece, rebuild


@dataclass(frozen=True)
class Output:
    """How a model becomes bytes: by which writer (`source`, `patch` or `rebuild`), in which pieces, and what differs from the source.

    `changes` is None where nothing was compared: a rebuild that was asked for, or a model without source. `changed` counts the bytes of the source
    that a patch replaces; it is None for a rebuild.
    """

    writer: str
    pieces: list[Piece]
    changes: list[Change] | None
    changed: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(map(len, self.pieces))


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model file. The file is mapped, not copied, and never modified.

    Any structurally valid file loads, also one that makes no sense (see `verify`). Raises InputError for what is no TFLite file, CorruptError for
    damage, LimitError for files crafted to expand.
    """
    try:
        location = Path(path)
    except TypeError:
        raise InputError(f"expected the path of a file, got {type(path).__name__}") from None
    data, stamp = files.map_file(location)
    return _load(data, location, stamp)


def parse(data: bytes | bytearray | memoryview) -> Model:
    """Read a model from bytes; a bytearray is copied. Raises like `read`."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InputError(f"expected the bytes of a model, got {type(data).__name__}")
    if isinstance(data, bytearray) or (isinstance(data, memoryview) and not data.readonly):
        data = bytes(data)
    view = memoryview(data)
    if view.format != "B" or not view.c_contiguous:
        view = memoryview(view.tobytes())
    if not len(view):
        raise InputError("the data is empty")
    return _load(view, None, None)


def _load(data: memoryview, path: Path | None, stamp: tuple[int, int, int, int] | None) -> Model:
    name = str(path) if path else "the data"
    files.check_format(data, name)
    try:
        model, verifier = decode(data)
    except TFLiteKitError as error:
        error.args = (f"{name}: {error}",)
        raise
    model.source = files.Source(data, survey(data, model, verifier.end), path, stamp, alignments(verifier))
    return model


def encode(model: Model, *, rebuild_always: bool = False, drop_unknown: bool = False) -> Output:
    """Decide how to write a model: the source bytes if nothing changed, a patch if all changes keep their size, else a new layout."""
    changes = None
    if model.source is not None and not rebuild_always:
        changes = diff(decode(model.source.data)[0], model)
        if not changes:
            return Output("source", [model.source.data], changes, 0)
        edits = patch.edits_for(model, changes)
        if edits is not None:
            return Output("patch", patch.apply(model.source.data, edits), changes, sum(len(new) for _, new in edits))
    with explained(SerializeError, model):
        return Output("rebuild", rebuild(model, drop_unknown), changes)


def serialize(model: Model, *, rebuild: bool = False, drop_unknown: bool = False) -> bytes:
    """The bytes of a model: the source's if nothing changed, else as little changed as possible; `rebuild` forces a new layout.

    Raises SerializeError for a graph that is not self-contained, LossyWriteError if a rebuild would lose something (unless `drop_unknown`).
    """
    output = encode(model, rebuild_always=rebuild, drop_unknown=drop_unknown)
    data = b"".join(output.pieces)
    if output.writer != "source":
        check(memoryview(data))
    return data


def write(
    model: Model, path: str | os.PathLike[str], *, overwrite: bool = False, rebuild: bool = False, drop_unknown: bool = False
) -> Output:
    """Write a model to a file, verified, atomically and durably; returns how it was written. Constant data is streamed, not gathered in memory.

    Raises like `serialize`, and OutputError if the file exists (unless `overwrite`) or cannot be written; the target is then as it was.
    """
    output = encode(model, rebuild_always=rebuild, drop_unknown=drop_unknown)
    if model.source is not None:
        model.source.check_unchanged()
    files.replace_file(Path(path), output.pieces, overwrite, check)
    return output


def check(data: memoryview) -> None:
    """Verify bytes about to be written; a failure here is a bug of the writer and never reaches a file."""
    Verifier(data).run()
