"""Kills writers, and looks at what they leave: `python -m tests.faults.kills KIND COUNT SEED` prints a tally.

A process of its own, since it forks: the writer is a child that has read the model already. KIND is one of

    calls       SIGKILL before or after one call to the system after the other, while editing in place
    in-place    SIGKILL after a random time, while editing 4 MB of 16 MB in place
    write       SIGKILL after a random time, while replacing a file of 16 MB
    interrupt   SIGINT after a random time, as from Ctrl-C, while replacing a file or editing in place
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tflitekit as tk
from tflitekit.build import ModelBuilder
from tflitekit.flat import inplace
from tflitekit.graph import Model

from .calls import count_calls, watched
from .operations import OPERATIONS

ROUNDS = 5  # of an edit whose duration is measured
PIECE = 1 << 18


def _large() -> Model:
    """16 MB in 64 constants."""
    builder = ModelBuilder("large")
    main = builder.subgraph("main")
    for number in range(64):
        main.output(main.constant(f"c{number}", np.full(PIECE, number, np.uint8)))
    return builder.build()


def _revise(model: Model) -> None:
    """New data of the same size for every fourth constant."""
    for tensor in model.subgraphs[0].tensors[::4]:
        model.set_data(tensor, np.full(PIECE, 200, np.uint8))


class Victim:
    """A folder with a model, an edit of it, and the two states in which the file may be."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.in_place = folder, kind in ("calls", "in-place")
        self.path, self.keep = folder / "model.tflite", folder.parent / "kept.tflite"
        if kind == "calls":
            self.keep.write_bytes(OPERATIONS["in place"].before["model.tflite"])
        else:
            tk.write(_large(), self.keep)
        self.old = self.keep.read_bytes()
        self.durations: list[float] = []
        for _ in range(ROUNDS):
            self.reset()
            write = (lambda: OPERATIONS["in place"].run(folder)) if kind == "calls" else self.writer()
            started = time.perf_counter()
            os.waitpid(_child(write), 0)
            self.durations.append(time.perf_counter() - started)
        self.new = self.path.read_bytes()

    def reset(self) -> None:
        """The old file in an empty folder; a new inode, since children may still map the last one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copyfile(self.keep, self.path)

    def writer(self) -> Callable[[], Any]:
        """Read and edit the model; what is returned writes it."""
        model = tk.read(self.path)
        _revise(model)
        how = {"in_place": True} if self.in_place else {"overwrite": True}
        return lambda: tk.write(model, self.path, **how)  # type: ignore[arg-type]

    def verdict(self) -> str:
        """In which state the file is, before and after it is recovered; also what else lies in the folder."""
        data = self.path.read_bytes()
        found = "old" if data == self.old else "new" if data == self.new else "mixed"
        record = inplace.record_path(self.path).exists()
        outcome = tk.recover(self.path).outcome
        data = self.path.read_bytes()
        if data not in (self.old, self.new):
            return "torn"
        if inplace.record_path(self.path).exists():
            return "record stays"
        if found == "mixed":
            return "restored" if data == self.old and outcome == "restored" else "torn"
        return f"{found}, record" if record else found

    def leftovers(self) -> list[str]:
        """Files that do not belong there."""
        return [path.name for path in self.folder.iterdir() if path != self.path]


def _child(action: Callable[[], object]) -> int:
    """Run an action in a child process; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let it be ignored in the background
        action()
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 1
    os._exit(code)


def _die_at(call: int, when: str) -> Callable[..., None]:
    seen = 0

    def hook(name: str, moment: str, *_: object) -> None:
        nonlocal seen
        seen += moment == "before"
        if seen == call and moment == when:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def by_call(victim: Victim, count: int) -> Counter[str]:
    """Kill before and after single calls, spread over all calls that the edit makes."""
    victim.reset()
    total = len(count_calls(lambda: OPERATIONS["in place"].run(victim.folder)))
    tally: Counter[str] = Counter()
    for number in range(count):
        victim.reset()
        call, when = 1 + number * 2 * total // count // 2, "before" if number % 2 else "after"

        def action(call: int = call, when: str = when) -> None:
            with watched(_die_at(call, when)):
                OPERATIONS["in place"].run(victim.folder)

        _, status = os.waitpid(_child(action), 0)
        tally["killed" if os.WIFSIGNALED(status) else "survived"] += 1
        tally[victim.verdict()] += 1
    return tally


def by_time(victim: Victim, count: int, seed: int, number: signal.Signals) -> Counter[str]:
    """Send a signal at a moment spread evenly over the duration of the write, and a little beyond."""
    chance, tally = random.Random(seed), Counter[str]()
    for i in range(count):
        victim.reset()
        if number == signal.SIGINT:
            victim.in_place = i % 2 == 0
        write = victim.writer()
        pid = _child(write)
        time.sleep(chance.uniform(0, 1.1 * sorted(victim.durations)[ROUNDS // 2]))
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        tally["killed" if os.WIFSIGNALED(status) else "interrupted" if os.waitstatus_to_exitcode(status) == 130 else "survived"] += 1
        if number == signal.SIGINT and victim.leftovers():
            tally["left over"] += 1
        tally[victim.verdict()] += 1
    return tally


def main(kind: str, count: int, seed: int) -> Counter[str]:
    """Kill that many writers."""
    warnings.simplefilter("ignore")
    memory = "/dev/shm" if kind == "calls" and os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as place:
        victim = Victim(Path(place) / "files", kind)
        if kind == "calls":
            return by_call(victim, count)
        return by_time(victim, count, seed, signal.SIGINT if kind == "interrupt" else signal.SIGKILL)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
