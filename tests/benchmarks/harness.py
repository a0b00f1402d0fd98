"""Measuring: interleaved runs, medians, ratios; and the anonymous memory of a child process."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

REPOSITORY = Path(__file__).resolve().parents[2]


FASTER, OF_ITS_TIME, MORE, AT_MOST, MEMORY = "x faster", "of its time", "ms more", "ms", "MB"


# Of commands: an installed package has its bytecode, and the first, untimed run of one from a checkout writes it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Row:
    """One comparison. Times are in seconds; `target` is what the project promises, 0 if nothing, and `aim` what would be better still.

    `better` says what the ratio is: FASTER (peer / ours, at least the target), OF_ITS_TIME (ours / peer, at most), MORE (ours - peer in ms, at most),
    AT_MOST (ours in ms), MEMORY (ours in MB). `bare` is the same figure without the verification of what is written, where that was measured.
    """

    name: str
    ours: float
    peer: float
    target: float
    better: str
    peer_name: str
    note: str = ""
    aim: float = 0
    bare: float | None = None

    @property
    def ratio(self) -> float:
        """The figure that is held against the target."""
        return self._figure(self.ours)

    def _figure(self, ours: float) -> float:
        if self.better == FASTER:
            return self.peer / ours
        if self.better == OF_ITS_TIME:
            return ours / self.peer
        if self.better == MORE:
            return (ours - self.peer) * 1e3
        return ours * 1e3 if self.better == AT_MOST else ours

    def holds(self, slack: float = 1.0) -> bool:
        """Whether the target is met, loosened by a factor."""
        if not self.target:
            return True
        return self.ratio * slack >= self.target if self.better == FASTER else self.ratio <= self.target * slack

    def cells(self) -> list[str]:
        sign = "≥" if self.better == FASTER else "≤"
        single = self.better in (AT_MOST, MEMORY)
        ours, peer = f"{self.ours:.1f} MB" if self.better == MEMORY else seconds(self.ours), "" if single else seconds(self.peer)
        promise = f"{sign} {self.target:g}{'' if self.holds() else ' **missed**'}" if self.target else ""
        bare = "" if self.bare is None else f"{self._figure(self.bare):.3g}"
        words = self.better if self.better in (FASTER, OF_ITS_TIME) else "MB" if self.better == MEMORY else self.better
        found = f"{self.ratio:.3g} {words}"
        return [self.name, ours, peer, self.peer_name, found, promise, f"{sign} {self.aim:g}" if self.aim else "", bare, self.note]


def seconds(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


HEAD = ["what", "tflitekit", "other", "other is", "figure", "target", "aim", "without verification", "least to most, ours / other"]


def markdown(rows: Sequence[Row], columns: Sequence[int] = tuple(range(len(HEAD)))) -> str:
    """The rows as one table, or some of its columns."""
    lines = [HEAD, [("---:" if c in (1, 2, 7) else "---") for c in range(len(HEAD))], *[row.cells() for row in rows]]
    return "\n".join("| " + " | ".join(cells[c] for c in columns) + " |" for cells in lines)


@dataclass
class Timing:
    """Seconds of each repetition, by candidate."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.times[name])

    def row(
        self, name: str, target: float, better: str = FASTER, typical: Callable[[list[float]], float] = statistics.median, aim: float = 0
    ) -> Row:
        """Compare the first candidate (ours) with the second (the peer), by medians; by `min` where a busy machine must not matter.

        A third candidate is ours without verification.
        """
        ours, peer, *bare = self.times
        spread = " / ".join(f"{seconds(min(self.times[c]))} to {seconds(max(self.times[c]))}" for c in (ours, peer))
        without = typical(self.times[bare[0]]) if bare else None
        return Row(name, typical(self.times[ours]), typical(self.times[peer]), target, better, peer, spread, aim, without)


def interleave(
    candidates: dict[str, Callable[[], Any]],
    repeats: int = 5,
    *,
    check: Callable[..., None] | None = None,
    before: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time candidates in turn, A B A B, after one untimed round of which `check` gets the results, in order.

    `before` runs before every timed call (to remove an output file, say). Garbage is collected before each and what a call returns is dropped after
    its time is taken, so that nobody pays for the other's objects. `clock` may be
    `time.process_time` where nothing waits for a disk: other processes then count less.
    """
    warm = []
    for candidate in candidates.values():
        if before:
            before()
        warm.append(candidate())
    if check:
        check(*warm)
    del warm
    timing = Timing({name: [] for name in candidates})
    for _ in range(repeats):
        for name, candidate in candidates.items():
            if before:
                before()
            gc.collect()
            start = clock()
            result = candidate()
            timing.times[name].append(clock() - start)
            del result
    return timing


@contextmanager
def unsynced() -> Iterator[None]:
    """Writing does not wait for the disk, and does not set it to work: as the other tools write."""
    with patch("os.fsync"), patch("os.posix_fadvise", create=True):
        yield


# ---- memory ----

_CHILD = """
import sys
import tflitekit as tk
{prepare}
print("ready", flush=True)
sys.stdin.readline()
{work}
print("done", flush=True)
sys.stdin.readline()
"""


class Memory(NamedTuple):
    """Peak growth in MB: of anonymous memory, and of all that was resident, files that are mapped included."""

    anonymous: float
    total: float


def anonymous_memory(work: str, prepare: str = "") -> float:
    """The first of `memory`."""
    return memory(work, prepare).anonymous


def memory(work: str, prepare: str = "") -> Memory:
    """What a child needs to run `work`, above the same child after it imported the package and ran `prepare`.

    Sampled from outside about every millisecond, so the child's own interpreter lock does not hide a peak.
    """
    code = _CHILD.format(work=work, prepare=prepare)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as child:
        assert child.stdout is not None and child.stdin is not None
        status = Path(f"/proc/{child.pid}/status")
        if child.stdout.readline() != "ready\n":
            raise RuntimeError("the measured process failed to start")
        base = peak = rss_anon(status)
        resident = field_of(status, "VmHWM")
        child.stdin.write("\n")
        child.stdin.flush()
        done = _Watcher(child)
        while not done.ready():
            peak = max(peak, rss_anon(status))
            time.sleep(0.0005)
        peak = max(peak, rss_anon(status))
        most = field_of(status, "VmHWM")
        child.stdin.write("\n")
        child.stdin.flush()
        if done.line != "done\n" or child.wait() != 0:
            raise RuntimeError(f"the measured process failed: {done.line!r}")
    return Memory((peak - base) / 1024, (most - resident) / 1024)


class _Watcher:
    """Whether a child has printed its next line, asked without waiting."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        import threading

        self.line: str | None = None
        self._child = child
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        self.line = self._child.stdout.readline()

    def ready(self) -> bool:
        return not self._thread.is_alive()


def rss_anon(status: Path) -> int:
    """RssAnon in KiB."""
    return field_of(status, "RssAnon")


def field_of(status: Path, name: str) -> int:
    """A field of /proc/PID/status, in KiB."""
    for line in status.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
