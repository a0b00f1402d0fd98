"""Large arrays worked on by several threads: numpy lets go of the interpreter while it computes, and so does writing to a file."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
R = TypeVar("R")

# More threads than this only wait for memory.
_MOST = 4
# More elements, or bytes, than this pay for handing work to another thread.
LARGE = 1 << 20
_own = threading.local()
_crew: ThreadPoolExecutor | None = None


def threads(size: int) -> int:
    """How many threads work on an array: one for each processor that this process may use, up to 4; 1 for small arrays, and in those threads."""
    return 1 if size <= LARGE or getattr(_own, "busy", False) else _usable()


def _usable() -> int:
    return min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def share(items: Iterable[T], work: Callable[[Iterator[T]], R], size: int) -> list[R]:
    """Call `work` once in each thread, with an iterator over the items that no other thread has taken; returns what the calls return.

    The calling thread gets the first item, and what it shares in turn goes to threads that have become free: give the largest first. Which thread
    gets which of the others is not determined, so results must not depend on it. Raises what `work` raises; the items that are left are dropped.
    """
    given = list(items)
    count, taken = threads(size), iter(given[1:])
    if count == 1 or len(given) < 2:
        return [work(iter(given))]

    def other() -> R:
        try:
            return work(taken)
        except BaseException:
            deque(taken, 0)  # so that nobody goes on
            raise

    others: list[Future[R]] = []
    with suppress(RuntimeError):  # there are no more threads, or not any more: the interpreter is about to end
        for _ in range(count - 1):
            others.append(_pool().submit(other))
    try:
        own = work(chain(given[:1], taken))
    finally:
        begun = _end(others, taken)
    return [own, *(other.result() for other in begun)]


def _end(others: list[Future[R]], taken: Iterator[T]) -> list[Future[R]]:
    """Drop the items that are left after an error, and wait for the threads that have begun, whatever interrupts: they may hold a file that is closed
    afterwards. Returns what they were called for.
    """
    from concurrent.futures import wait  # 5 ms, which small models can do without; loaded with the threads

    interrupt: BaseException | None = None
    while True:
        try:
            deque(taken, 0)
            begun = [other for other in others if not other.cancel()]
            wait(begun)
            break
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
    return begun


def _pool() -> ThreadPoolExecutor:
    """The threads beside the calling one, started when they are first needed."""
    global _crew
    if _crew is None:
        from concurrent.futures import ThreadPoolExecutor

        _crew = ThreadPoolExecutor(max(1, _usable() - 1), "tflitekit", work_alone)
    return _crew


def work_alone() -> None:
    """Let the calling thread share its work with no other from now on: for the threads of the crew, and for one of many processes."""
    _own.busy = True


def _forget() -> None:
    global _crew
    _crew = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # a forked process has none of the threads
