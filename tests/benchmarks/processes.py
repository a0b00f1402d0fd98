"""How long commands take from the first keystroke: whole processes."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import tflitekit as tk

from .harness import ENVIRONMENT, MORE, Row, interleave


def at_a_terminal(command: list[str]) -> None:
    """Run a command whose output is a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "NO_COLOR"} | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            while os.read(ours, 1 << 16):
                pass
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0, command


def quietly(command: list[str]) -> None:
    """Run a command whose output is read by a program."""
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)


def processor_time() -> float:
    """Seconds that the children which have ended took of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def starts(model: Path | None, repeats: int = 21, clock: Callable[[], float] = time.perf_counter) -> list[Row]:
    """Help and the version against an interpreter that does nothing; the summary of a model of about 3 MB against one that imports numpy."""
    script = Path(sys.executable).with_name("tflitekit")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "tflitekit"]
    nothing, numpy = [sys.executable, "-c", "pass"], [sys.executable, "-c", "import numpy"]
    rows = []
    for way, run in (("in a pipe", quietly), ("at a terminal", at_a_terminal)):
        cases = [("--version", "python -c pass", nothing, 0.0, 0.0), ("--help", "python -c pass", nothing, 60.0, 30.0)]
        if model is not None:
            cases.append((f"summary {model}", 'python -c "import numpy"', numpy, 120.0, 75.0))
        for words, name, other, target, aim in cases:
            mine = [*command, *words.split(" ", 1)]
            candidates = {"tflitekit": partial(run, mine), name: partial(quietly, other)}
            timing = interleave(candidates, repeats, clock=clock)
            what = f"summary of a model of {model.stat().st_size / 1e6:.1f} MB" if model is not None and " " in words else words
            rows.append(timing.row(f"{what}, {way}", target, MORE, aim=aim))
    return rows


def works(path: Path) -> bool:
    """Whether a model can be read and audited at all."""
    try:
        tk.audit(tk.read(path))
    except tk.TFLiteKitError:
        return False
    return True
