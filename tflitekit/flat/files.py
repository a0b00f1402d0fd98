"""Files: mapping the input, telling what a wrong file is, and replacing the output atomically."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError, OutputError
from .container import Container
from .verifier import IDENTIFIER

if TYPE_CHECKING:
    from ..graph import Model

_SLICE = 1 << 18


@dataclass(eq=False)
class Source:
    """What a model was read from: the bytes, for a file its path and the state it had, and how the data of each buffer is aligned (1 to 16)."""

    data: memoryview
    container: Container
    path: Path | None = None
    stamp: tuple[int, int, int, int] | None = None
    alignments: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.data)

    def writer_for(self, model: Model) -> str:
        """How a model with this source would be written: `source`, `patch` or `rebuild`. Passes ask this, which may not import the codec."""
        from .codec import encode

        return encode(model).writer

    def check_unchanged(self) -> None:
        """OutputError if the file was modified or replaced since it was read: its mapped bytes may be a mixture."""
        if self.path is None or self.stamp is None:
            return
        try:
            now = stamp_of(os.stat(self.path))
        except OSError:
            return  # removed: the mapping keeps the old bytes
        if now[:2] == self.stamp[:2] and now != self.stamp:
            raise OutputError(f"{self.path} changed while it was in use; nothing was written. Read it again")


def stamp_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Device, inode, size and modification time."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def map_file(path: Path) -> tuple[memoryview, tuple[int, int, int, int]]:
    """Map a file read-only. InputError if it is missing, not a regular file, empty, or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    except ValueError as error:  # a zero character
        raise InputError(f"{str(path)!r} is no file name: {error}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a directory, not a model file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file")
        if status.st_size == 0:
            raise InputError(f"{path} is empty")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)), stamp_of(status)
    except OSError as error:
        raise InputError(f"{path}: {_reason(error)}") from None
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, FileNotFoundError) else error.strerror or str(error)


_MAGIC = (
    (b"PK\x03\x04", "a zip archive; extract it first"), (b"\x1f\x8b", "gzip-compressed; decompress it first"),
    (b"\x89HDF\r\n", "an HDF5 file (a Keras model, perhaps); convert it to TFLite first"), (b"\x7fELF", "an executable or library"),
    (b"ARML0", "an ARM NN model"), (b"\x08\x03\x12", "probably an ONNX model"), (b"\x08", "probably a protocol buffer (ONNX or TensorFlow)"),
)  # fmt: skip


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
        raise InputError(f"{name} is not a TFLite model: only {len(data)} bytes long")
    guess = next((what for magic, what in _MAGIC if head.startswith(magic)), None)
    if guess is None and text[:1] in b"{[" and text:
        guess = "a JSON file"
    if guess is None and text[:1] == b"<":
        guess = "an HTML or XML file; a download may have gone wrong"
    if guess is None and head and all(c in b"\t\n\r\f\x1b" or c >= 32 for c in head):
        guess = "a text file"
    if guess is None:
        guess = f"something else: bytes 4 to 7 are {head[4:8]!r}, expected {IDENTIFIER!r}"
    raise InputError(f"{name} is not a TFLite model but {guess}")


def replace_file(path: Path, pieces: Iterable[bytes | bytearray | memoryview], overwrite: bool, check: Callable[[memoryview], None]) -> int:
    """Write the pieces to `path` atomically and durably; returns the number of bytes.

    They go to a temporary file in the same folder, which `check` reads back before it takes the name. A symbolic link stays and its target is
    replaced; permissions are those of the file replaced, or follow the umask. OutputError, and no file left behind, if anything fails.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} is no file name: it has a zero character")
    target = Path(os.path.realpath(path))
    mode = _target_mode(path, target, overwrite)
    head = os.fsdecode(os.fsencode(target.name)[:200])  # file systems count bytes
    temporary = target.with_name(f".{head}.{secrets.token_hex(4)}.tmp")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: cannot create a file in {target.parent} ({error.strerror})") from None
    try:
        try:
            size = _write_all(descriptor, pieces)
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            _check_written(descriptor, size, check)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if overwrite:
            os.replace(temporary, target)
        else:
            _link_new(temporary, target, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OutputError(f"{path}: {error.strerror or error}; nothing was written") from None
        raise
    _sync_folder(target.parent)
    return size


def _target_mode(path: Path, target: Path, overwrite: bool) -> int | None:
    """Permissions of the file to replace, None for a new one; OutputError if it must not or cannot be replaced."""
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
    return stat.S_IMODE(status.st_mode)


def _write_all(descriptor: int, pieces: Iterable[bytes | bytearray | memoryview]) -> int:
    """Write everything, in slices: one long write of mapped pages took 1.7 times as long as slices of this size, which take 0.9 of `cp`."""
    total = 0
    for piece in pieces:
        view, at = memoryview(piece), 0
        while at < len(view):
            at += os.write(descriptor, view[at : at + _SLICE])
        total += len(view)
    return total


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
    os.unlink(temporary)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)
