"""Measuring: interleaved runs, medians, ratios; and the anonymous memory of a child process."""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One comparison. Times are medians in seconds; `ratio` is what `better` names, `target` what the project promises for it.

    `better` is "x faster" (peer / ours, at least the target) or "of its time" (ours / peer, at most the target), or "MB" (a size, at most). A target
    of 0 promises nothing.
    """

    name: str
    ours: float
    peer: float
    target: float
    better: str
    peer_name: str
    spread: str = ""

    @property
    def ratio(self) -> float:
        return self.ours if self.better == "MB" else self.peer / self.ours if self.better == "x faster" else self.ours / self.peer

    def holds(self, slack: float = 1.0) -> bool:
        """Whether the target is met, loosened by a factor."""
        if not self.target:
            return True
        return self.ratio * slack >= self.target if self.better == "x faster" else self.ratio <= self.target * slack

    def cells(self) -> list[str]:
        sign = ">=" if self.better == "x faster" else "<="
        values = [f"{self.ours:.1f} MB", "-"] if self.better == "MB" else [seconds(self.ours), seconds(self.peer)]
        found = "-" if self.better == "MB" else f"{self.ratio:.2f} {self.better}"
        promise = [f"{sign} {self.target:g}", "yes" if self.holds() else "NO"] if self.target else ["-", "-"]
        return [self.name, *values, found, *promise, self.peer_name, self.spread]


def seconds(value: float) -> str:
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


def markdown(rows: Sequence[Row]) -> str:
    """The rows as one table."""
    head = ["case", "tflitekit", "peer", "ratio", "target", "met", "peer is", "ours min-max / peer min-max"]
    lines = [head, ["---", *["---:"] * 4, *["---"] * 3], *[row.cells() for row in rows]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


@dataclass
class Timing:
    """Seconds of each repetition, by candidate."""

    times: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.times[name])

    def row(self, name: str, target: float, better: str = "x faster", typical: Callable[[list[float]], float] = statistics.median) -> Row:
        """Compare the first candidate (ours) with the second (the peer), by medians; by `min` where a busy machine must not matter."""
        ours, peer = self.times
        spread = " / ".join(f"{seconds(min(self.times[c]))}-{seconds(max(self.times[c]))}" for c in (ours, peer))
        return Row(name, typical(self.times[ours]), typical(self.times[peer]), target, better, peer, spread)


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


def anonymous_memory(work: str, prepare: str = "") -> float:
    """Peak growth of RssAnon in MB while a child runs `work`, above the same child after it imported the package and ran `prepare`.

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
        child.stdin.write("\n")
        child.stdin.flush()
        done = _Watcher(child)
        while not done.ready():
            peak = max(peak, rss_anon(status))
            time.sleep(0.0005)
        peak = max(peak, rss_anon(status))
        child.stdin.write("\n")
        child.stdin.flush()
        if done.line != "done\n" or child.wait() != 0:
            raise RuntimeError(f"the measured process failed: {done.line!r}")
    return (peak - base) / 1024


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
    for line in status.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0
