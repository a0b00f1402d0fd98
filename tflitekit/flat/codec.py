"""Read, parse, serialize, write: the ways between files and models."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._walk import explained
from ..errors import InputError, OutputError, RecoveryWarning, SerializeError, TFLiteKitError
from ..graph import Model, view_of
from . import files, inplace
from .container import survey
from .reader import KEPT, alignments, decode
from .verifier import Verifier

if TYPE_CHECKING:
    from ..diff import Change
    from . import patch
    from .writer import Piece


@dataclass(frozen=True)
class Output:
    """How a model becomes bytes: by which writer (`source`, `patch` or `rebuild`), in which pieces, and what differs from the source.

    `changes` is None where nothing was compared: a rebuild that was asked for, or a model without source. `changed` counts the bytes of the source
    that a patch replaces; it is None for a rebuild. After `write`, `in_place` says that the file itself was edited, not replaced, and `backup` where
    the file that was replaced is kept.
    """

    writer: str
    pieces: list[Piece]
    changes: list[Change] | None
    changed: int | None = None
    edits: list[patch.Edit] = field(default_factory=list)
    in_place: bool = False
    backup: Path | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(map(len, self.pieces))


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model file. The file is mapped, not copied, and never modified, unless an edit in place was interrupted: then it is restored first,
    with a RecoveryWarning.

    Any structurally valid file loads, also one that makes no sense (see `verify`). Raises InputError for what is no TFLite file, CorruptError for
    damage, LimitError for files crafted to expand.
    """
    location = _location(path, InputError)
    try:
        target = files.real_path(location)
    except OutputError as error:
        raise InputError(str(error)) from None
    for attempt in range(_ATTEMPTS):
        note, settled = inplace.settle(location, target)
        if note is not None:
            warnings.warn(note, RecoveryWarning, stacklevel=2)
        data, stamp = files.map_file(location)
        try:
            model = _load(data, location, stamp, target)
        except TFLiteKitError:
            if attempt + 1 == _ATTEMPTS or not inplace.disturbed(target, stamp, settled):
                raise
            continue
        if not inplace.disturbed(target, stamp, settled):
            break
    return model


_ATTEMPTS = 4  # at reading a file that somebody else is editing


def _location(path: str | os.PathLike[str], error: type[InputError] | type[OutputError]) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise error(f"expected the path of a file, got {type(path).__name__}") from None


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
    return _load(view, None, None, None)


def _load(data: memoryview, path: Path | None, stamp: files.Stamp | None, real: Path | None) -> Model:
    name = str(path) if path else "the data"
    files.check_format(data, name)
    try:
        model, verifier = decode(data)
    except TFLiteKitError as error:
        error.args = (f"{name}: {error}",)
        raise
    kept = verifier if verifier.tables <= KEPT else None
    model.source = files.Source(data, survey(data, model, verifier.end), path, stamp, alignments(verifier), real=real, verified=kept)
    return model


def encode(model: Model, *, rebuild_always: bool = False, drop_unknown: bool = False) -> Output:
    """Decide how to write a model: the source bytes if nothing changed, a patch if all changes keep their size, else a new layout."""
    # Not at the top: what only looks at a model starts 5 ms sooner.
    from ..diff import diff
    from . import patch
    from .revised import revisions
    from .writer import rebuild

    changes = None
    if model.source is not None and not rebuild_always:
        data = model.source.data
        verifier = model.source.take_verified()
        changes = revisions(verifier, model) if verifier is not None else None
        if verifier is None or changes is None:
            fresh, verifier = decode(data, verifier)
            changes = diff(fresh, model)
        elif model.source.verified is None:
            model.source.verified = verifier
        if not changes:
            return Output("source", [data], changes, 0)
        edits = patch.edits_for(model, changes, verifier)
        if edits is not None:
            return Output("patch", [*patch.apply(data, edits)], changes, sum(len(new) for _, new in edits), edits)
    with explained(SerializeError, model):
        return Output("rebuild", rebuild(model, drop_unknown), changes)


def serialize(model: Model, *, rebuild: bool = False, drop_unknown: bool = False) -> bytes:
    """The bytes of a model: the source's if nothing changed, else as little changed as possible; `rebuild` forces a new layout.

    Raises SerializeError for a graph that is not self-contained, LossyWriteError if a rebuild would lose something (unless `drop_unknown`).
    """
    output = encode(model, rebuild_always=rebuild, drop_unknown=drop_unknown)
    data = b"".join(map(view_of, output.pieces))
    if output.writer != "source":
        check(memoryview(data))
    return data


def write(
    model: Model,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    rebuild: bool = False,
    drop_unknown: bool = False,
    in_place: bool = False,
    backup: bool | str | os.PathLike[str] = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> Output:
    """Write a model to a file, verified, atomically and durably; returns how it was written. Constant data is streamed, not gathered in memory.

    `in_place` writes to the file that the model was read from: changes that keep every size are made in the file itself, under the protection of an
    undo record (see `recover`), anything else replaces it; constant data of models that were read from it then shows the new bytes. `backup` keeps
    the file that is replaced as `PATH.bak`, or under the name given, which must not exist; it is never edited itself. `progress` is told how far
    writing is, from one thread at a time: MiB done, MiB in all, and the word for it.

    Raises like `serialize`, and OutputError if the file exists (unless `overwrite` or `in_place`), changed since it was read, or cannot be written;
    the target is then as it was.
    """
    source, location = model.source, _location(path, OutputError)
    if source is not None:
        source.check_unchanged()
    if in_place:
        _check_in_place(source, location)
    output = encode(model, rebuild_always=rebuild, drop_unknown=drop_unknown)
    if in_place and source.mapped and not output.changed and output.writer != "rebuild":
        return replace(output, in_place=True)
    if in_place and output.edits and not backup and inplace.worthwhile(model, output.edits):
        inplace.edit(source, output.edits)
        return replace(output, in_place=True)
    kept = files.backup_path(location) if backup is True else _location(backup, OutputError) if backup else None
    guard = source.check_unchanged if source is not None else lambda: None
    replaced = kept if os.path.lexists(location) else None
    stamp = files.replace_file(
        location, output.pieces, overwrite or in_place, check, guard=guard, backup=kept, written=_in_mebibytes(progress, output.size)
    )
    if source is not None:
        source.was_replaced(location, stamp)
    inplace.forget(location)
    return replace(output, backup=replaced)


def _in_mebibytes(progress: Callable[[int, int, str], None] | None, size: int) -> Callable[[int], None]:
    """What tells `progress` how many bytes of a file are written."""
    if progress is None:
        return lambda _: None
    lock, done = threading.Lock(), 0

    def add(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            progress(done >> 20, size >> 20, "MiB written")

    return add


def _check_in_place(source: files.Source | None, path: Path) -> None:
    """OutputError unless a path is that of the file that the model was read from."""
    if source is None or source.real is None:
        raise OutputError(f"{path}: only a model that was read from a file can be written in place")
    if files.real_path(path) != source.real:
        raise OutputError(f"{path} is not the file that the model was read from, {source.path}; to replace it use overwrite=True (--force)")
    if not os.path.exists(source.real):
        raise OutputError(f"{path} is gone, so it cannot be edited in place")


def check(data: memoryview) -> None:
    """Verify bytes about to be written; a failure here is a bug of the writer and never reaches a file."""
    Verifier(data).run()
