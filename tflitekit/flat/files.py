"""Files: mapping the input, telling what a wrong file is, and replacing the output atomically."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._crew import share
from ..errors import InputError, OutputError
from ..graph import Deferred
from .container import Container
from .verifier import IDENTIFIER

if TYPE_CHECKING:
    from ..graph import Model
    from .verifier import Verifier

_SLICE = 1 << 16
_JOIN = 1 << 16  # pieces below this size are written together
_RESERVED = 1 << 24  # bytes from which on room is reserved before they are written
_BEHIND, _WORTH = 1 << 22, 1 << 18  # bytes that are written before the disk is told to begin, and at least at the end
_ACCESS_LIST = "system.posix_acl_access"
OPENING = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


Stamp = tuple[int, int, int, int]
Pieces = Iterable[bytes | bytearray | memoryview | Deferred]


@dataclass(eq=False)
class Source:
    """What a model was read from: the bytes, for a file its path and the state it had, and how the data of each buffer is aligned (1 to 16).

    `mapped` says that `data` still shows the file of that path; it does not after the model was written over it. `verified` is the verifier's run
    over `data`, kept of small graphs: for finding what was assigned, or for decoding once more.
    """

    data: memoryview
    container: Container
    path: Path | None = None
    stamp: Stamp | None = None
    alignments: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    mapped: bool = True
    real: Path | None = None
    verified: Verifier | None = None

    def __post_init__(self) -> None:
        if self.path is not None and self.real is None:
            self.real = real_path(self.path)  # outlasts a change of the working directory

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.data)

    def take_verified(self) -> Verifier | None:
        """The kept run, if the file is unchanged, for one caller at a time: decoding writes to its batches. Who does not decode puts it back."""
        run: Verifier | None = vars(self).pop("verified", None)
        try:
            self.check_unchanged()
        except OutputError:
            return None
        return run

    def forget_values(self) -> None:
        """Before bytes are edited that verification does not read: the kept run stays what it is, but for the values that were decoded after it."""
        run: Verifier | None = vars(self).get("verified")
        for batch in run.batches if run is not None else ():
            batch.columns = {}

    def writer_for(self, model: Model) -> str:
        """How a model with this source would be written: `source`, `patch` or `rebuild`. Passes ask this, which may not import the codec."""
        from .codec import encode

        return encode(model).writer

    def check_unchanged(self) -> None:
        """OutputError if the file was modified or replaced since it was read: its mapped bytes may be a mixture, or someone's work would be lost."""
        if self.real is None or self.stamp is None:
            return
        try:
            now = stamp_of(os.stat(self.real))
        except OSError:
            return  # removed: the mapping keeps the old bytes
        if now != self.stamp:
            raise OutputError(f"{self.path} changed while it was in use; nothing was written. Read it again")

    def was_replaced(self, path: Path, stamp: Stamp) -> None:
        """Note that the model was written to `path`: if that is this file, its new state is ours, and the mapping keeps the old bytes."""
        if self.real is not None and real_path(path) == self.real:
            self.stamp, self.mapped = stamp, False


def stamp_of(status: os.stat_result) -> Stamp:
    """Device, inode, size and modification time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def map_file(path: Path) -> tuple[memoryview, Stamp]:
    """Map a file read-only. InputError if it is missing, not a regular file, empty, or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | OPENING)
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    except ValueError as error:  # a zero character
        raise InputError(f"{str(path)!r} is no file name: {error}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a directory, not a model file; name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file")
        if status.st_size == 0:
            raise InputError(f"{path} is empty; {_AGAIN}")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)), stamp_of(status)
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    except ValueError:  # emptied a moment ago
        raise InputError(f"{path} is empty; {_AGAIN}") from None
    finally:
        close_quietly(descriptor)


def close_quietly(descriptor: int) -> None:
    """Close a file of which nothing is wanted any more."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, FileNotFoundError) else error.strerror or str(error)


_MAGIC = (
    (b"PK\x03\x04", "a zip archive; extract it first"), (b"\x1f\x8b", "gzip-compressed; decompress it first"),
    (b"\x89HDF\r\n", "an HDF5 file (a Keras model, perhaps); convert it to TFLite first"),
    (b"\x7fELF", "an executable or library; name the .tflite file itself"), (b"ARML0", "an ARM NN model; take the model that it was made from"),
    (b"\x08", "probably a protocol buffer (ONNX or TensorFlow); convert it to TFLite first"),
)  # fmt: skip
_AGAIN = "copy or download it again"


def check_format(data: memoryview, name: str) -> None:
    """InputError with a guess at what the file is, unless it carries the identifier of TFLite files."""
    head = bytes(data[:1024])
    if head[4:8] == IDENTIFIER:
        return
    text = head.lstrip()
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"\nsize (\d+)", head)
        real = f" of a file of {int(size[1])} bytes" if size else ""
        raise InputError(f"{name} is a Git LFS pointer{real}, not the file itself: run `git lfs pull`")
    if head[8:12] == IDENTIFIER:
        raise InputError(f"{name} is a size-prefixed flatbuffer; remove its first 4 bytes")
    if len(data) < 8:
        raise InputError(f"{name} is not a TFLite model: only {len(data)} bytes long; {_AGAIN}")
    guess = next((what for magic, what in _MAGIC if head.startswith(magic)), None)
    if guess is None and text[:1] in b"{[" and text:
        guess = "a JSON file; name the .tflite file itself. From the JSON form of a model, flatc makes one with the schema of TFLite"
    if guess is None and text[:1] == b"<":
        guess = f"an HTML or XML file; a download may have gone wrong: {_AGAIN}, by the address of the file itself"
    if guess is None and head and all(c in b"\t\n\r\f\x1b" or c >= 32 for c in head):
        guess = "a text file; name the .tflite file itself"
    if guess is None:
        guess = f"something else: bytes 4 to 7 are {head[4:8]!r}, expected {IDENTIFIER!r}. If it should be one, {_AGAIN}"
    raise InputError(f"{name} is not a TFLite model but {guess}")


def replace_file(
    path: Path,
    pieces: Pieces,
    overwrite: bool,
    check: Callable[[memoryview], None],
    *,
    guard: Callable[[], None] = lambda: None,
    backup: Path | None = None,
    written: Callable[[int], None] = lambda _: None,
) -> Stamp:
    """Write the pieces to `path` atomically and durably; returns the state of the new file.

    They go to a temporary file in the same folder, which `check` reads back before it takes the name; `guard` may still refuse then. A symbolic link
    stays and its target is replaced; owner, permissions, access list and attributes are those of the file replaced, or follow the umask. The file
    replaced stays as `backup`, which must not exist; `written` is told how many bytes each write wrote. OutputError, and no file left behind, if
    anything fails.
    """
    target = real_path(path)
    old = _status_of_target(path, target, overwrite)
    if old is None:
        backup = None
    elif backup is not None and os.path.lexists(backup):
        raise OutputError(f"{backup} exists, and backups are never replaced; move it away. Nothing was written")
    temporary = target.with_name(f".{short_name(target)}.{os.urandom(4).hex()}.tmp")
    leftovers = [temporary]
    try:
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPENING, 0o666)
        except OSError as error:
            leftovers.clear()
            raise OutputError(f"{path}: cannot create a file in {target.parent} ({error.strerror})") from None
        stamp = _write_temporary(descriptor, pieces, (old, target) if old else None, check, written)
        guard()
        if backup is not None:
            _keep(target, backup, leftovers)
        if overwrite:
            os.replace(temporary, target)
        else:
            _link_new(temporary, target, path)
    except BaseException as error:
        _clean_up(leftovers, target, old)
        if isinstance(error, OSError):
            raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from None
        raise
    sync_folder(target.parent, path)
    return stamp


def real_path(path: Path) -> Path:
    """The file itself, behind all symbolic links; OutputError for what cannot be a path, or cannot be followed."""
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} is no file name: it has a zero character")
    try:
        return Path(os.path.realpath(path, strict=True))
    except (FileNotFoundError, NotADirectoryError):
        return Path(os.path.realpath(path))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None


def short_name(target: Path) -> str:
    """The file's name, cut so that something can be added to it: file systems limit the bytes of a name."""
    return os.fsdecode(os.fsencode(target.name)[:200])


def backup_path(path: Path) -> Path:
    """Where a backup of a file is kept: beside it, behind symbolic links, with `.bak` added to its name."""
    target = real_path(path)
    return target.with_name(f"{target.name}.bak")


def _status_of_target(path: Path, target: Path, overwrite: bool) -> os.stat_result | None:
    """The state of the file to replace, None for a new one; OutputError if it must not or cannot be replaced."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{path} is a directory; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"{path} is not a regular file")
    if not overwrite:
        raise OutputError(f"{path} exists; replace it with overwrite=True (--force)")
    return status


def _write_temporary(
    descriptor: int, pieces: Pieces, old: tuple[os.stat_result, Path] | None, check: Callable[[memoryview], None], written: Callable[[int], None]
) -> Stamp:
    """Finish, check and make durable a new file of the pieces, with the owner, permissions and attributes of the old one."""
    try:
        _reserve(descriptor, sum(map(len, pieces)))
        size = _write_all(descriptor, pieces, written)
        if old is not None:
            _take_over(descriptor, *old)
        _check_written(descriptor, size, check)
        os.fsync(descriptor)
        return stamp_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Have the file system find room for a large file before anything is written: a full disk is told at once, and writing takes less time.

    Only where the system does it itself: what stands in for it elsewhere writes to every block.
    """
    if size < _RESERVED or sys.platform != "linux":
        return
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if call is None:
        return
    call.argtypes = ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64
    if call(descriptor, 0, 0, size) and ctypes.get_errno() in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _take_over(descriptor: int, old: os.stat_result, replaced: Path | int) -> None:
    """Give a file the owner, if we may, and the permissions of another, and what users have attached to that: access lists, and attributes."""
    if hasattr(os, "fchown"):
        mine = os.fstat(descriptor)
        if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # file systems without any
            for name in os.listxattr(replaced):
                if name.startswith("user.") or name == _ACCESS_LIST:
                    with contextlib.suppress(OSError):
                        os.setxattr(descriptor, name, os.getxattr(replaced, name))


def _keep(target: Path, backup: Path, leftovers: list[Path]) -> None:
    """Give the file that is going to be replaced a second name, or copy it where there are no hard links."""
    leftovers.append(backup)
    try:
        try:
            os.link(target, backup)
        except FileExistsError:
            raise
        except OSError:
            _copy_new(target, backup)
    except FileExistsError:
        leftovers.remove(backup)
        raise OutputError(f"{backup} exists, and backups are never replaced; move it away. Nothing was written") from None
    fsync_folder(backup.parent)


def _copy_new(source: Path, copy: Path) -> None:
    """Copy a file to a name that does not exist, durably."""
    with contextlib.ExitStack() as stack:
        reading = os.open(source, os.O_RDONLY | OPENING)
        stack.callback(os.close, reading)
        writing = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPENING, 0o666)
        stack.callback(os.close, writing)
        _write_all(writing, iter(lambda: os.read(reading, _SLICE), b""))
        _take_over(writing, os.fstat(reading), reading)
        os.fsync(writing)


def _clean_up(leftovers: list[Path], target: Path, old: os.stat_result | None) -> None:
    """Remove what a failed write has made; not the backup, if the old file has been replaced all the same (an interrupt at the last moment)."""
    for leftover in leftovers:
        if leftover is not leftovers[0] and old is not None:
            with contextlib.suppress(OSError):
                now = os.stat(target)
                if (now.st_dev, now.st_ino) != (old.st_dev, old.st_ino):
                    continue
        with contextlib.suppress(OSError):
            remove(leftover)


def remove(path: Path) -> None:
    """Unlink a file of ours, with a second try: what is left behind would bother the user."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        os.unlink(path)


def _write_all(descriptor: int, pieces: Pieces, written: Callable[[int], None] = lambda _: None) -> int:
    """Write everything to an empty file; what is computed by several threads, and last. All tell `written` how much they wrote."""
    total, later, writing = 0, list[tuple[int, Deferred]](), _Writing(descriptor, written)
    for piece in _collected(pieces):
        if isinstance(piece, Deferred):
            later.append((total, piece))
        else:
            writing.put(total, memoryview(piece))
        total += len(piece)

    def work(pieces: Iterator[tuple[int, Deferred]]) -> None:
        with writing.ended_by_errors():
            for base, piece in pieces:
                piece.put(partial(writing.put_after, base))

    share(sorted(later, key=lambda one: -len(one[1])), work, sum(len(piece) for _, piece in later))
    writing.begin()
    return total


def _collected(pieces: Pieces) -> Pieces:
    """The pieces, small ones joined: a call for each takes longer than to copy them."""
    small = bytearray()
    for piece in pieces:
        collect = not isinstance(piece, Deferred) and len(piece) < _JOIN
        if collect:
            small += piece  # type: ignore[arg-type]
        if small and (not collect or len(small) >= _SLICE):
            yield small
            small = bytearray()
        if not collect:
            yield piece
    if small:
        yield small


class _Writing:
    """Writes bytes at positions of a file, for one thread at a time: two that do so at once were measured to take three times as long as one.

    In slices that end at multiples of their size: systems then keep the file in larger pages, so that writing it, and reading it later, takes less of
    the processor (together with the room reserved, 0.7 of the time). Larger slices save 0.04 more where memory is at hand, but take up to three times
    as long in virtual machines whose host has taken back what was free: large pages are made of that. And the disk is told to begin with what is
    there, so that it is at work while the rest is computed or copied: with syncing, that takes 0.7 of the time.
    """

    def __init__(self, descriptor: int, written: Callable[[int], None]) -> None:
        self._descriptor, self._written, self._lock = descriptor, written, threading.Lock()
        self._position = self._begun = 0
        self._error: BaseException | None = None

    @contextlib.contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """After an error within, or an interrupt, no other thread writes on: nobody wants the file any more, and all are waited for."""
        try:
            yield
        except BaseException as error:
            self._error = self._error or error
            raise

    def put_after(self, base: int, position: int, part: memoryview) -> None:
        """Write bytes at a position that counts from `base`."""
        self.put(base + position, part)

    def put(self, position: int, part: memoryview) -> None:
        """Write bytes at a position."""
        with self._lock:
            if self._error is None and position != self._position:
                self.begin()
                os.lseek(self._descriptor, position, os.SEEK_SET)
                self._position = self._begun = position
            at = 0
            while at < len(part):
                if self._error is not None:
                    raise self._error
                count = os.write(self._descriptor, part[at : at + _SLICE - self._position % _SLICE])
                at += count
                self._position += count
                if self._position - self._begun >= _BEHIND:
                    self.begin()
        self._written(len(part))

    def begin(self) -> None:
        """Have the disk begin with what was written since the last time. Only advice: systems that do not take it do all when the file is synced."""
        if hasattr(os, "posix_fadvise") and self._position - self._begun >= _WORTH:
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, self._begun, self._position - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self._position


def _check_written(descriptor: int, size: int, check: Callable[[memoryview], None]) -> None:
    # Not closed by hand: a failed check may still hold views of it.
    check(memoryview(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)))


def _link_new(temporary: Path, target: Path, path: Path) -> None:
    """Give a finished file its name without replacing a file that appeared meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise OutputError(f"{path} exists; replace it with overwrite=True (--force)") from None
    except OSError:  # file systems without hard links
        os.replace(temporary, target)
        return
    try:
        remove(temporary)
    except OSError as error:
        raise OutputError(f"{path} was written, but the temporary file {temporary} cannot be removed: {error.strerror}") from None


# What a folder answers that cannot be synced at all, as on some file systems; everything else means that the name may not be durable.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOSYS}


def sync_folder(folder: Path, path: Path) -> None:
    """Make the name of a file that was written durable; OutputError if the device fails."""
    try:
        fsync_folder(folder)
    except OSError as error:
        raise OutputError(f"{path} was written, but may not outlast a power failure: {error.strerror}") from None


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where folders can be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
