"""Edits inside the file itself: an undo record makes them all or nothing, and what was interrupted is settled when the file is used next.

The record lies beside the model and holds, for every edited span, its place, the old bytes and the new ones. It is durable before the first byte of
the model is touched, and is removed when the last one is durable. So of a model with a record beside it every edited byte is either old or new:
all old, then the edit never began; all new, then it was complete; a mixture, then the old bytes are put back. Bytes that are neither, or other
surroundings than those recorded, show that the record belongs to another file: nothing is touched then.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError, OutputError
from ..graph import Deferred, Model
from .files import OPENING, Source, Stamp, close_quietly, fsync_folder, real_path, remove, short_name, stamp_of, sync_folder

if TYPE_CHECKING:
    from .patch import Edit

try:
    import fcntl
except ImportError:  # Windows has no such locks; concurrent edits are then only seen by the state of the file
    fcntl = None  # type: ignore[assignment]

MAGIC = b"TKUNDO1\n"
_HEAD = struct.Struct("<8sQQQ32s")  # magic, bytes of the record, bytes of the model, number of spans, digest of their surroundings
_SPAN = struct.Struct("<QQ")  # place, length
_DIGEST = 32
_AROUND = 4096  # bytes around every span, and at the start of the file, by which the model is known again
_SMALL_EDIT = 1 << 20
PATIENCE = 10.0  # seconds to wait for another process that edits the file


class Span(NamedTuple):
    """One edited range of the file. Old and new bytes have the same length."""

    start: int
    old: bytes
    new: bytes

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.old)


class Recovery(NamedTuple):
    """What was found of an interrupted edit, and done about it.

    `outcome`: "none" (no record), "unbegun" (the model still is the old one), "complete" (it is the new one), "restored" (it was a mixture and is
    the old one again), "foreign" (the record does not fit the file; both are left alone) or "discarded". `restored` counts the bytes put back.
    """

    outcome: str
    record: Path
    restored: int = 0
    reason: str = ""


def _sha256(data: bytes = b"") -> Any:
    import hashlib  # 2 ms, which reading can do without

    return hashlib.sha256(data)


@lru_cache(16)
def record_path(target: Path) -> Path:
    """Where the undo record of a file is; `target` is the file itself, not a symbolic link to it."""
    name = short_name(target)
    if name != target.name:
        name += _sha256(os.fsencode(target.name)).hexdigest()[:8]
    return target.with_name(f".{name}.tflitekit-undo")


# ---- editing ----


def _exists(record: Path) -> bool:
    """Whether there is something of that name; unlike os.path.lexists, no failure means that there is not."""
    try:
        os.lstat(record)
    except FileNotFoundError:
        return False
    return True


def worthwhile(model: Model, edits: list[Edit]) -> bool:
    """Whether a model can be edited in place, and writes less than a new file so: the record has the old and the new bytes.

    Data that are computed when they are read may be computed from the bytes that an edit would replace.
    """
    if not model.source.mapped or any(isinstance(buffer.data, Deferred) for buffer in model.buffers):
        return False
    total = sum(len(new) for _, new in edits)
    return total <= _SMALL_EDIT or 3 * total < model.source.size


def edit(source: Source, edits: list[Edit]) -> None:
    """Make edits of the same size in the file that a source maps, durably: all of them, or none and an OutputError.

    The edits are those of `patch.edits_for`, whose result is as valid as the source was when it was verified; that the file still is this source is
    made sure of under the lock. `source` then shows the new bytes; so does every other mapping of the file.
    """
    path, target = source.path, source.real
    if path is None or target is None:
        raise OutputError("only the file that a model was read from can be edited in place")
    record = record_path(target)
    try:
        descriptor = os.open(target, os.O_RDWR | OPENING)
    except OSError as error:
        raise OutputError(f"{path} cannot be edited in place: {error.strerror}") from None
    try:
        with _locked(descriptor, path, OutputError):
            source.check_unchanged()
            if stamp_of(os.fstat(descriptor)) != source.stamp:
                raise OutputError(f"{path} changed while it was in use; nothing was written. Read it again")
            source.forget_values()
            spans = [Span(start, bytes(source.data[start : start + len(new)]), new) for start, new in edits]
            _edit_locked(descriptor, source, record, spans)
            _finish(path, record)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from None
    finally:
        close_quietly(descriptor)


def _edit_locked(descriptor: int, source: Source, record: Path, spans: list[Span]) -> None:
    """Store the record, then edit; all is taken back if anything fails."""
    if _exists(record):
        raise OutputError(f"{source.path}: the undo record {record} is in the way. See: tflitekit recover --help")
    try:
        _store(record, b"".join(_encode(descriptor, spans)), os.fstat(descriptor).st_mode)
        for span in spans:
            _put(descriptor, span.start, span.new)
        os.fsync(descriptor)
        source.stamp = stamp_of(os.fstat(descriptor))
    except BaseException as error:
        try:
            _put_back(descriptor, spans)
            remove(record)
            source.stamp = stamp_of(os.fstat(descriptor))
        except OSError as second:
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            raise OutputError(
                f"{source.path}: the edit failed half-way ({why}) and cannot be taken back ({second.strerror}). "
                f"The old bytes are in {record}: `tflitekit recover` puts them back"
            ) from None
        raise


def _finish(path: Path, record: Path) -> None:
    """Remove the record of an edit that is complete."""
    try:
        remove(record)
    except OSError as error:
        raise OutputError(f"{path} was edited, but the undo record {record} cannot be removed ({error.strerror}). Try: tflitekit recover") from None
    except BaseException:
        remove(record)
        raise
    sync_folder(record.parent, path)


def _store(record: Path, content: bytes, mode: int) -> None:
    """Write an undo record, durable together with its name; whoever may read the model may read it."""
    descriptor = os.open(record, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPENING, stat.S_IMODE(mode) & 0o666)
    try:
        _put(descriptor, 0, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_folder(record.parent)


def _put(descriptor: int, start: int, data: bytes) -> None:
    """Write all bytes at a place."""
    view = memoryview(data)
    os.lseek(descriptor, start, os.SEEK_SET)
    while view:
        view = view[os.write(descriptor, view) :]


def _get(descriptor: int, start: int, count: int) -> bytes:
    """Read that many bytes at a place, or what there is of them."""
    os.lseek(descriptor, start, os.SEEK_SET)
    pieces: list[bytes] = []
    while count and (piece := os.read(descriptor, count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _put_back(descriptor: int, spans: list[Span]) -> int:
    """Write the old bytes where they are not, durably; returns how many bytes were put back."""
    count = 0
    for span in spans:
        now = _get(descriptor, span.start, len(span.old))
        if now != span.old:
            _put(descriptor, span.start, span.old)
            count += differing(now, span.old)
    # Also when nothing differs: what was read may be newer than what is on the disk.
    os.fsync(descriptor)
    return count


def differing(a: bytes | memoryview, b: bytes | memoryview) -> int:
    """In how many places two byte strings of the same length differ."""
    return int(np.count_nonzero(np.frombuffer(a, np.uint8) != np.frombuffer(b, np.uint8)))


# ---- the record ----


def _encode(descriptor: int, spans: list[Span]) -> list[bytes]:
    size = os.fstat(descriptor).st_size
    total = _HEAD.size + sum(_SPAN.size + 2 * len(span.old) for span in spans) + _DIGEST
    content = [_HEAD.pack(MAGIC, total, size, len(spans), _surroundings(descriptor, size, spans))]
    content += [_SPAN.pack(span.start, len(span.old)) for span in spans]
    content += [span.old for span in spans] + [span.new for span in spans]
    digest = _sha256()
    for piece in content:
        digest.update(piece)
    return [*content, digest.digest()]


def _decode(content: bytes, size: int) -> tuple[list[Span], bytes] | None:
    """The spans of a record and the digest of their surroundings; None if it was not finished. ValueError if it is for something else."""
    if not content.startswith(MAGIC):
        if MAGIC.startswith(content[: len(MAGIC)]) or not any(content[: len(MAGIC)]):  # blocks that never reached the disk read as zeros
            return None
        raise ValueError("is no undo record")
    if len(content) < _HEAD.size:
        return None
    _, total, model_size, count, surroundings = _HEAD.unpack_from(content)
    if total != len(content) or _sha256(content[:-_DIGEST]).digest() != content[-_DIGEST:]:
        return None
    if model_size != size:
        raise ValueError(f"is for a file of {model_size} bytes, this one has {size}")
    places = [_SPAN.unpack_from(content, _HEAD.size + i * _SPAN.size) for i in range(count)]
    cursor = _HEAD.size + count * _SPAN.size
    half = sum(length for _, length in places)
    spans = []
    for start, length in places:
        spans.append(Span(start, content[cursor : cursor + length], content[cursor + half : cursor + half + length]))
        cursor += length
    if any(span.end > size for span in spans):
        raise ValueError("leads outside the file")
    return spans, surroundings


def _surroundings(descriptor: int, size: int, spans: list[Span]) -> bytes:
    """The digest of the bytes around the spans and at the start of the file, without the spans themselves."""
    digest, done = _sha256(), 0
    ordered = sorted(spans, key=lambda span: span.start)
    windows = [(0, min(size, _AROUND)), *((max(0, s.start - _AROUND), min(size, s.end + _AROUND)) for s in ordered)]
    holes = iter([*ordered, Span(size, b"", b"")])
    hole = next(holes)
    for start, end in windows:
        cursor = max(start, done)
        while cursor < end:
            while hole.end <= cursor and hole.start < size:
                hole = next(holes)
            if hole.start <= cursor < hole.end:
                cursor = hole.end
                continue
            upto = min(end, hole.start) if hole.start > cursor else end
            digest.update(_get(descriptor, cursor, upto - cursor))
            cursor = upto
        done = max(done, cursor)
    return bytes(digest.digest())


# ---- recovery ----


def recover(path: str | os.PathLike[str], *, discard: bool = False) -> Recovery:
    """Settle an interrupted edit of a model file; `discard` only removes its record, whatever it says.

    InputError if the file is missing or being edited, or if it must be restored and cannot be.
    """
    try:
        location = Path(path)
        target = real_path(location)
    except (TypeError, OutputError) as error:
        raise InputError(f"expected the path of a file: {error}") from None
    record = record_path(target)
    try:
        if not stat.S_ISREG(os.stat(target).st_mode) or not _exists(record):
            return Recovery("none", record)
        descriptor = os.open(target, os.O_RDONLY | OPENING)
    except OSError as error:
        raise InputError(f"{location}: {error.strerror}") from None
    try:
        with _locked(descriptor, location, InputError):
            if not os.path.samestat(os.stat(target), os.fstat(descriptor)):
                return recover(location, discard=discard)  # replaced a moment ago
            return _recover_locked(descriptor, location, target, record, discard)
    except OSError as error:
        raise InputError(f"{location}: the undo record {record} cannot be used: {error.strerror}") from None
    finally:
        close_quietly(descriptor)


def _recover_locked(descriptor: int, path: Path, target: Path, record: Path, discard: bool) -> Recovery:
    if not _exists(record):  # the edit was going on and is finished
        return Recovery("none", record)
    if discard:
        remove(record)
        return Recovery("discarded", record)
    status = os.fstat(descriptor)
    try:
        found = _decode(_read_record(record, status), status.st_size)
        if found is not None:
            state = _state_of(descriptor, status.st_size, *found)
    except ValueError as error:
        return Recovery("foreign", record, reason=str(error))
    if found is None or state != "mixture":
        if found is not None and state == "complete":
            os.fsync(descriptor)
        outcome = "unbegun" if found is None else state
        with contextlib.suppress(OSError):  # where the folder is read-only: the file is whole, that is what counts
            remove(record)
        return Recovery(outcome, record)
    try:
        writing = os.open(target, os.O_RDWR | OPENING)
        try:
            count = _put_back(writing, found[0])
        finally:
            os.close(writing)
        remove(record)
    except OSError as error:
        raise InputError(
            f"{path} was being edited in place when that was interrupted, and the old bytes cannot be put back ({error.strerror}); "
            f"they are in {record}"
        ) from None
    sync_folder(target.parent, path)
    return Recovery("restored", record, count)


def _read_record(record: Path, model: os.stat_result) -> bytes:
    """The bytes of a record; ValueError if it cannot be one of ours, since what it says would be written into the model."""
    status = os.lstat(record)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is no file")
    if hasattr(os, "geteuid") and status.st_uid not in (os.geteuid(), model.st_uid, 0):
        raise ValueError(f"belongs to another user ({status.st_uid})")
    if status.st_size > 4 * model.st_size + (1 << 24):
        raise ValueError("is too large for this file")
    descriptor = os.open(record, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | OPENING)
    try:
        return _get(descriptor, 0, status.st_size)
    finally:
        close_quietly(descriptor)


def _state_of(descriptor: int, size: int, spans: list[Span], surroundings: bytes) -> str:
    """Which bytes the spans of the file hold: "unbegun" (the old ones), "complete" (the new ones) or "mixture". ValueError if others."""
    states = set()
    for span in spans:
        now, old, new = (np.frombuffer(data, np.uint8) for data in (_get(descriptor, span.start, len(span.old)), span.old, span.new))
        if now.shape != old.shape or not ((now == old) | (now == new)).all():
            raise ValueError("does not fit: the file was changed or replaced since")
        changes = old != new
        states |= {"unbegun"} if (now == old)[changes].any() else set()
        states |= {"complete"} if (now == new)[changes].any() else set()
    if len(states) == 1:
        return str(states.pop())
    if _surroundings(descriptor, size, spans) != surroundings:
        raise ValueError("does not fit: the file was changed or replaced since")
    return "mixture" if states else "unbegun"


def note_of(found: Recovery, path: Path) -> str | None:
    """What the user of the file should know, None if nothing."""
    interrupted = f"{path}: an edit in place was interrupted"
    return {
        "restored": f"{interrupted}; the file was restored to what it was before",
        "complete": f"{interrupted} after its last byte; the file is the edited one",
        "unbegun": f"{interrupted} before its first byte; the file is as it was",
        "foreign": f"{path}: the undo record {found.record} {found.reason}; it was not used. See: tflitekit recover --help",
    }.get(found.outcome)


def settle(path: Path, target: Path) -> tuple[str | None, bool]:
    """Before a file is read: restore it if an edit was interrupted.

    Returns a note for the user (None if there was nothing to do), and whether a record stays that is not to be minded.
    """
    record = record_path(target)
    try:
        if not _exists(record):
            return None, False
        note = note_of(recover(path), path)
        return note, _exists(record)
    except OSError as error:
        raise InputError(f"{path}: whether there is an undo record beside it cannot be seen: {error.strerror}") from None


def forget(path: Path) -> None:
    """Remove the record of an interrupted edit of a file that has just been replaced as a whole."""
    with contextlib.suppress(OSError):
        remove(record_path(real_path(path)))


def disturbed(target: Path, stamp: Stamp, settled: bool) -> bool:
    """Whether an edit in place may have run while the file was being read; `settled` says that a record there is known not to be one."""
    try:
        return stamp_of(os.stat(target)) != stamp or (not settled and _exists(record_path(target)))
    except OSError:
        return False  # removed: what was mapped stays


@contextlib.contextmanager
def _locked(descriptor: int, path: Path, error: type[InputError] | type[OutputError]) -> Iterator[None]:
    """Hold the lock that every edit and recovery of this file takes; it ends with the process. Waits for others, but not for ever."""
    deadline = time.monotonic() + PATIENCE
    while fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise error(f"{path} is being edited by another process") from None
            time.sleep(0.005)
        except OSError:
            break  # file systems without locks
    try:
        yield
    finally:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
