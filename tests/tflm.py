"""Runs models in TensorFlow Lite Micro (the `tflm` extra), each in a child process of its own."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("tflm_child.py")
ARENA = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """`status` is "ok", "error", "timeout", or the name of the signal that killed the child; `message` all that it printed."""

    status: str
    message: str
    outputs: tuple[Any, ...] = ()

    @property
    def kind(self) -> str:
        """As `Reaction.outcome` says it: "runs", "refuses" or "crashes"."""
        return {"ok": "runs", "error": "refuses"}.get(self.status, "crashes")


def available() -> bool:
    """Whether the `tflm` extra is installed."""
    return find_spec("tflite_micro") is not None


def run(model: bytes, inputs: dict[int, Any] | None = None, *, arena: int = ARENA, timeout: float = 60.0) -> Outcome:
    """Run a model once; inputs that are not given are zeros."""
    job = pickle.dumps((model, inputs or {}, arena))
    try:
        done = subprocess.run([sys.executable, str(CHILD)], input=job, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return Outcome("timeout", f"no answer in {timeout} s")
    printed = done.stderr.decode("utf-8", "replace")
    if done.returncode < 0:
        return Outcome(signal.Signals(-done.returncode).name, printed)
    if done.returncode or not done.stdout:
        return Outcome(f"exit {done.returncode}", printed)
    problem, outputs = pickle.loads(done.stdout)
    return Outcome("ok", printed, tuple(outputs)) if problem is None else Outcome("error", f"{printed}\n{problem}")
