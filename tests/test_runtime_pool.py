"""The pool that runs models in child processes: crashes, hangs and differences become results."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk

from . import runtime
from .runtime import Job, Outcome, Worker, difference, needs_runtime

pytestmark = needs_runtime


@pytest.fixture
def model(models: Path) -> Path:
    return models / "aeq_single_fc_bias.tflite"


def test_two_runs_are_equal(model: Path) -> None:
    first, second = runtime.pool().run([Job(model), Job(model.read_bytes())])
    assert first.ok and first.outputs
    assert difference(first, second) is None


def test_other_inputs_give_other_outputs(model: Path) -> None:
    """A control: seeds reach the model."""
    assert difference(runtime.run(model), runtime.run(model, seed=8)) is not None


def test_given_inputs_are_used(model: Path) -> None:
    (shape,) = [t.shape for t in tk.read(model).subgraphs[0].inputs if t is not None]
    zeros, ones = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    assert difference(runtime.run(model, recipe=3), runtime.run(model, recipe=3, inputs={0: zeros})) is None
    assert difference(runtime.run(model, recipe=3), runtime.run(model, recipe=3, inputs={0: ones})) is not None


def test_a_model_that_is_none_is_an_error() -> None:
    outcome = runtime.run(b"nothing at all, but long enough to be looked at")
    assert outcome.status == "error" and "ValueError" in outcome.message


def _disturb(worker: Worker, *signals: int) -> threading.Thread:
    def send() -> None:
        time.sleep(0.2)
        assert worker.process is not None
        for number in signals:
            os.kill(worker.process.pid, number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL"])
def test_a_crash_is_a_result_and_the_next_job_runs(model: Path, name: str) -> None:
    worker = Worker()
    try:
        assert worker.run(Job(model)).ok
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSTOP)  # so that the job is still running when the crash comes
        thread = _disturb(worker, *([signal.SIGKILL] if name == "SIGKILL" else [getattr(signal, name), signal.SIGCONT]))
        assert worker.run(Job(model)).status == name
        thread.join()
        assert worker.run(Job(model)).ok
    finally:
        worker.close()


def test_a_hang_ends_at_the_timeout(model: Path) -> None:
    worker = Worker()
    try:
        assert worker.run(Job(model)).ok
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        assert worker.run(Job(model, timeout=0.3)).status == "timeout"
        assert worker.run(Job(model)).ok
    finally:
        worker.close()


def test_nans_are_compared_by_their_bits() -> None:
    quiet, other = np.array([np.nan], "f4"), np.array([0x7FC00001], "u4").view("f4")
    first = Outcome("ok", outputs=((quiet.dtype.str, (1,), quiet.tobytes()),))
    assert difference(first, first) is None
    assert difference(first, Outcome("ok", outputs=((other.dtype.str, (1,), other.tobytes()),))) is not None


def test_shapes_and_types_count() -> None:
    first = Outcome("ok", outputs=(("<f4", (4,), bytes(16)),))
    for other in (("<f4", (2, 2), bytes(16)), ("<i4", (4,), bytes(16))):
        assert difference(first, Outcome("ok", outputs=(other,))) is not None
    assert difference(first, Outcome("ok")) is not None
    assert difference(first, Outcome("SIGABRT")) is not None
