"""Runs models in the LiteRT interpreter, in child processes that may crash or hang without harm.

A worker is a child that answers many jobs: importing the interpreter costs more than running most models. It is started again after a crash or a
timeout, which become results like any other.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DEFAULT, REFERENCE, NO_DELEGATES = "AUTO", "BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
CHILD = Path(__file__).with_name("runtime_child.py")


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    `status` is "ok", "error" (the runtime said no, `message` says why), "timeout", or the name of the signal that killed the child ("SIGABRT").
    `outputs` are (dtype, shape, bytes) in the order of the subgraph's outputs; `recipe` says which kind of inputs was used.
    `digests` are those of all tensors by index, where they were asked for.
    """

    status: str
    message: str = ""
    outputs: tuple[tuple[str, tuple[int, ...], bytes], ...] = ()
    recipe: int | None = None
    digests: dict[int, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status == "ok"


@dataclass
class Job:
    """A model (a path or its bytes) and how to run it. `inputs` replaces seeded inputs, by position; `recipe` fixes the kind of inputs.

    With `signature`, that one runs: `inputs` are by name, and outputs come in the order of their names.
    With `frames` the model's bytes are run on each of them (inputs by position, or by name for a `signature`), no delegate, all tensors preserved;
    what comes back are the outputs after the last (those of a signature by name), then the `tensors`, (subgraph, index) each.
    `digests` asks for a digest of every tensor, which are then all kept (XNNPACK has none for what it computes inside).
    """

    model: Path | str | bytes
    resolver: str = DEFAULT
    seed: int = 7
    recipe: int | None = None
    inputs: dict[Any, Any] = field(default_factory=dict)
    timeout: float = 30.0
    signature: str | None = None
    frames: list[dict[Any, Any]] | None = None
    tensors: tuple[tuple[int, int], ...] = ()
    digests: bool = False


class Worker:
    """One child process."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job) -> Outcome:
        """Run one job; where a kind of input crashes the runtime, the next kind is tried, as for an error."""
        outcome = self._run(job)
        while not outcome.ok and outcome.status.startswith("SIG") and job.recipe is None and outcome.recipe is not None and outcome.recipe < 3:
            retry = self._run(replace(job, recipe=outcome.recipe + 1))
            if retry.recipe is None:
                break
            outcome = retry
        return outcome

    def _run(self, job: Job) -> Outcome:
        try:
            return self._ask(job)
        except BaseException:
            self.close()  # an answer may be on its way, which the next job must not get
            raise

    def _ask(self, job: Job) -> Outcome:
        process = self._start()
        assert process.stdin is not None
        model = job.model if isinstance(job.model, bytes) else str(job.model)
        body = pickle.dumps(
            {"model": model, "resolver": job.resolver, "seed": job.seed, "recipe": job.recipe, "inputs": job.inputs or None,
             "signature": job.signature, "frames": job.frames, "tensors": job.tensors, "digests": job.digests}
        )  # fmt: skip
        try:
            process.stdin.write(struct.pack("<I", len(body)) + body)
            process.stdin.flush()
        except BrokenPipeError:
            return self._dead(None)
        deadline, recipe = time.monotonic() + job.timeout, None
        while True:
            try:
                reply = self._reply(process, deadline)
            except TimeoutError:
                self.close()
                return Outcome("timeout", f"no answer in {job.timeout} s", recipe=recipe)
            if reply is None:
                return self._dead(recipe)
            if reply["status"] != "started":
                return Outcome(reply["status"], reply["message"], tuple(reply["outputs"]), reply["recipe"], reply.get("digests", {}))
            recipe = reply["recipe"]

    def _start(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=-1
            )
        return self.process

    def _reply(self, process: subprocess.Popen[bytes], deadline: float) -> Any:
        """The next frame, None if the child is gone. TimeoutError after the deadline."""
        head = self._read(process, 4, deadline)
        body = self._read(process, struct.unpack("<I", head)[0], deadline) if head else b""
        return pickle.loads(body) if body else None

    def _read(self, process: subprocess.Popen[bytes], count: int, deadline: float) -> bytes:
        assert process.stdout is not None
        parts = bytearray()
        while len(parts) < count:
            # the raw stream: what a buffered one holds back, poll cannot see
            waiting = select.poll()
            waiting.register(process.stdout, select.POLLIN)
            if not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            part = process.stdout.raw.read(count - len(parts))  # type: ignore[attr-defined]
            if not part:
                return b""
            parts += part
        return bytes(parts)

    def _dead(self, recipe: int | None) -> Outcome:
        assert self.process is not None
        code = self.process.wait()
        self.close()
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return Outcome(name, f"the interpreter's process ended with {name}", recipe=recipe)

    def close(self) -> None:
        """End the child, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self.process = None


class Pool:
    """Several workers; jobs are answered in the order given."""

    def __init__(self, size: int = 2) -> None:
        self._executor = ThreadPoolExecutor(size)
        self._local = threading.local()
        self._workers: list[Worker] = []

    def submit(self, job: Job) -> Future[Outcome]:
        return self._executor.submit(self._run, job)

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        return [future.result() for future in [self.submit(job) for job in jobs]]

    def _run(self, job: Job) -> Outcome:
        worker = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = Worker()
            self._workers.append(worker)
        return worker.run(job)

    def close(self) -> None:
        self._executor.shutdown(wait=True)
        for worker in self._workers:
            worker.close()


@cache
def pool() -> Pool:
    """The pool that all tests of a process share."""
    made = Pool(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    atexit.register(made.close)
    return made


def available() -> bool:
    """Whether the `runtime` extra is installed."""
    return find_spec("ai_edge_litert") is not None


needs_runtime = pytest.mark.skipif(not available(), reason="needs the runtime extra (ai-edge-litert)")


def run(model: Path | str | bytes, resolver: str = DEFAULT, **how: Any) -> Outcome:
    """Run one model; see `Job` for the options."""
    return pool().run([Job(model, resolver, **how)])[0]


def difference(before: Outcome, after: Outcome) -> str | None:
    """The first way in which two runs differ, in words, or None. Outputs are compared as bytes, so NaNs count by their bits."""
    if before.status != after.status:
        return f"status {before.status} ({before.message}) became {after.status} ({after.message})"
    if before.recipe != after.recipe:
        return f"inputs of kind {before.recipe} ran before, of kind {after.recipe} after"
    if len(before.outputs) != len(after.outputs):
        return f"{len(before.outputs)} outputs became {len(after.outputs)}"
    for number, (old, new) in enumerate(zip(before.outputs, after.outputs, strict=True)):
        if old[:2] != new[:2]:
            return f"output {number}: {old[0]} {old[1]} became {new[0]} {new[1]}"
        if old[2] != new[2]:
            differing = sum(a != b for a, b in zip(old[2], new[2], strict=False))
            return f"output {number} ({old[0]} {old[1]}): {differing} of {len(old[2])} bytes differ"
    return None
