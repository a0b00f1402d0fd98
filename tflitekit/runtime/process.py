"""The parent's side of a child process that runs one model: start, ask, and turn every kind of end into one error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from ..errors import EditError, RuntimeCheckError
from .child import RESOLVERS, Frame, read_frame, write_frame

CHILD = Path(__file__).with_name("child.py")
MISSING = "running models needs LiteRT: pip install 'tflitekit[runtime]'"
STAGES = {"open": "loading the model", "run": "running the model"}
# The script's folder must be the first of its paths, which it removes; numpy there multiplies no matrices, and its threads cost a third of the start.
ENVIRONMENT = {"PYTHONSAFEPATH": "", "OPENBLAS_NUM_THREADS": "1"}
NO_MEMORY = ("error '12'", "bad_alloc", "Cannot allocate memory")  # in messages of the runtime; 12 is ENOMEM
TAIL = 400  # characters of what the runtime printed before it crashed


@dataclass(frozen=True)
class Limits:
    """What a child process may use: `timeout` in seconds for loading and for each run, `memory` in MiB of address space (None: no limit).

    The memory limit is set where the system knows it (Linux); elsewhere there is none.
    """

    timeout: float = 60.0
    memory: int | None = 4096
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise EditError(f"timeout {self.timeout:g}: it must be more than 0 seconds")
        if self.memory is not None and self.memory <= 0:
            raise EditError(f"memory {self.memory}: it must be more than 0 MiB")
        if self.threads < 1:
            raise EditError(f"threads {self.threads}: at least 1 is needed")


DEFAULT_LIMITS = Limits()


def available() -> bool:
    """Whether the `runtime` extra is installed."""
    return find_spec("ai_edge_litert") is not None


class Process:
    """A model in a child process; a context manager, which ends the child.

    `name` is how messages call the model, `content` its file or its bytes. `preserve` keeps all intermediate tensors; it needs a resolver without
    delegates. Every failure is a RuntimeCheckError: its `status` is "missing", "refused", "memory", "timeout", or the name of the signal.
    """

    def __init__(self, name: str, content: Path | bytes, resolver: str = "default", limits: Limits = DEFAULT_LIMITS, preserve: bool = False) -> None:
        if resolver not in RESOLVERS:
            raise EditError(f"resolver {resolver!r}: use one of {', '.join(RESOLVERS)}")
        if not available():
            raise RuntimeCheckError(MISSING, "missing")
        self.name, self.limits = name, limits
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._child = subprocess.Popen(
            [sys.executable, str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env={**os.environ, **ENVIRONMENT}
        )  # fmt: skip
        given = isinstance(content, bytes)
        header = {
            "do": "open", "path": None if given else str(content), "resolver": resolver, "preserve": preserve, "memory": limits.memory,
            "threads": limits.threads,
        }  # fmt: skip
        try:
            self._ask(header, [np.frombuffer(content, np.uint8)] if isinstance(content, bytes) else [])
        except BaseException:
            self.close()
            raise

    def run(
        self, inputs: Sequence[npt.NDArray[Any]], *, signature: str | None = None, names: Sequence[str] = (), outputs: Sequence[str] = (),
        subgraph: int = 0, tensors: Sequence[int] = (),
    ) -> tuple[list[Any], list[Any]]:  # fmt: skip
        """Feed inputs and invoke: (outputs, the tensors of the given indices; None for one that cannot be read).

        With a signature, `names` are those of the inputs and `outputs` the wanted ones; without, the inputs and outputs of subgraph 0 by position.
        """
        header = {
            "do": "run", "signature": signature, "inputs": list(names), "outputs": list(outputs), "subgraph": subgraph, "tensors": list(tensors),
        }  # fmt: skip
        found = self._ask(header, list(inputs))[1]
        split = len(found) - len(tensors)
        return found[:split], found[split:]

    def _ask(self, header: dict[str, Any], arrays: list[Any]) -> Frame:
        """Send a frame and wait for the reply; at the deadline the child is killed."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(self.limits.timeout, stop)
        timer.daemon = True
        timer.start()
        reply = None
        try:
            with contextlib.suppress(ConnectionError):  # it may have answered before it had read everything
                write_frame(cast(BinaryIO, self._child.stdin), header, arrays)
            reply = read_frame(cast(BinaryIO, self._child.stdout))
        finally:
            timer.cancel()
        doing = STAGES[header["do"]]
        if reply is None:
            raise self._ended(doing, late.is_set())
        if reply[0]["status"] != "ok":
            raise self._said_no(doing, reply[0])
        return reply

    def _said_no(self, doing: str, header: dict[str, Any]) -> RuntimeCheckError:
        message = header["message"].strip().rstrip(".")
        if header["status"] == "memory" or any(words in message for words in NO_MEMORY):
            return RuntimeCheckError(f"{self.name}: out of memory while {doing}{self._limit()}: {message}", "memory", self.name)
        said = f": {message}" if message else f" without a word{self._limit()}"
        return RuntimeCheckError(f"{self.name}: the runtime refused it while {doing}{said}", "refused", self.name)

    def _ended(self, doing: str, late: bool) -> RuntimeCheckError:
        """The error for a child that is gone."""
        code = self._child.wait()
        if late:
            return RuntimeCheckError(f"{self.name}: no answer within {self.limits.timeout:g} s while {doing}; it was stopped", "timeout", self.name)
        status = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                status = signal.Signals(-code).name
        return RuntimeCheckError(f"{self.name}: the runtime crashed ({status}) while {doing}{self._limit()}{self._last_words()}", status, self.name)

    def _limit(self) -> str:
        return "" if self.limits.memory is None else f", with memory limited to {self.limits.memory} MiB"

    def _last_words(self) -> str:
        """The last line that native code printed."""
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - TAIL, 0))
        lines = [line for line in self._errors.read().decode("utf-8", "backslashreplace").splitlines() if line.strip()]
        return f": {lines[-1].strip()}" if lines and not lines[-1].startswith("INFO:") else ""

    def close(self) -> None:
        """End the child."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
