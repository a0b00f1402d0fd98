"""Every call to the operating system that reading and writing files makes: watched, failed, or used as the moment of a kill."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from typing import Any

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

NAMES = (
    "open", "close", "read", "write", "lseek", "fsync", "ftruncate", "truncate", "replace", "rename", "link", "unlink", "remove", "mkdir",
    "stat", "lstat", "fstat", "chmod", "fchmod", "chown", "fchown", "pread", "pwrite", "writev", "sendfile", "copy_file_range",
    "posix_fadvise", "listxattr", "getxattr", "setxattr",
)  # fmt: skip
PLACES: list[tuple[Any, str]] = [(os, name) for name in NAMES if hasattr(os, name)] + [(mmap, "mmap")] + ([(fcntl, "flock")] if fcntl else [])

Hook = Callable[[str, str, tuple[Any, ...], Any], None]  # (name, "before" or "after", arguments, result)


@contextlib.contextmanager
def watched(hook: Hook) -> Iterator[None]:
    """Call the hook before and after every call; what it raises comes out of the call."""
    real = [(module, name, getattr(module, name)) for module, name in PLACES]

    def wrapper(name: str, function: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            try:
                hook(name, "before", arguments, None)
            except OSError:
                if name == "close":  # the system closes the file also when it reports an error
                    function(*arguments, **more)
                raise
            result = function(*arguments, **more)
            hook(name, "after", arguments, result)
            return result

        return call

    try:
        for module, name, function in real:
            setattr(module, name, wrapper(name, function))
        yield
    finally:
        for module, name, function in real:
            setattr(module, name, function)


class Failing:
    """A hook that makes the k-th call fail (and all later ones, if `dead`), or interrupts before or after it."""

    def __init__(self, call: int, kind: str) -> None:
        self.call, self.kind, self.seen, self.name = call, kind, 0, ""

    def __call__(self, name: str, when: str, arguments: tuple[Any, ...], result: Any) -> None:
        self.seen += when == "before"
        if self.seen == self.call:
            self.name = name
        if self.kind.startswith("interrupt"):
            if self.seen == self.call and when == self.kind.split()[1]:
                self.call = 0  # once
                raise KeyboardInterrupt
        elif when == "before" and (self.seen == self.call or (self.kind == "dead" and self.seen > self.call > 0)):
            code = {"dead": errno.EIO}.get(self.kind) or getattr(errno, self.kind)
            raise OSError(code, os.strerror(code))


KINDS = ("EIO", "ENOSPC", "interrupt before", "interrupt after", "dead")


def count_calls(operation: Callable[[], object]) -> list[str]:
    """The names of the calls that an operation makes, in order."""
    names: list[str] = []
    with watched(lambda name, when, *_: names.append(name) if when == "before" else None):
        operation()
    return names
