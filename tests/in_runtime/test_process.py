"""Child processes: crashes, hangs, too little memory and a missing interpreter become errors, and nothing is left behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.errors import EditError, RuntimeCheckError
from tflitekit.runtime import process
from tflitekit.runtime.child import read_frame, write_frame
from tflitekit.runtime.process import Limits, Process

from ..runtime import needs_runtime
from .models import dense, elementwise, endless, requantizer

posix = pytest.mark.skipif(os.name != "posix", reason="signals are a matter of POSIX")


# ---- frames ----


@pytest.mark.parametrize(
    "arrays",
    [
        [], [None], [np.zeros((0, 3), np.int8)], [np.float32(2)], [np.arange(6, dtype="<i2").reshape(2, 3).T, None, np.array([True])],
        [np.array([1 + 2j], np.complex64), np.arange(3, dtype=np.int64)],
    ],
)  # fmt: skip
def test_frames_bring_arrays_back(arrays: list[object]) -> None:
    stream = io.BytesIO()
    write_frame(stream, {"do": "run"}, arrays)
    write_frame(stream, {"do": "next"}, [])
    stream.seek(0)
    for expected in (arrays, []):
        frame = read_frame(stream)
        assert frame is not None and len(frame[1]) == len(expected)
        for sent, got in zip(expected, frame[1], strict=True):
            assert (sent is None) == (got is None)
            if sent is not None:
                assert got.dtype == np.asarray(sent).dtype
                np.testing.assert_array_equal(got, sent)
    assert read_frame(stream) is None


def test_half_a_frame_is_the_end() -> None:
    stream = io.BytesIO()
    write_frame(stream, {}, [np.arange(9)])
    for length in range(len(stream.getvalue())):
        assert read_frame(io.BytesIO(stream.getvalue()[:length])) is None


# ---- ends ----


def failure(**how: object) -> RuntimeCheckError:
    with pytest.raises(RuntimeCheckError) as caught:
        tk.runtime.run(**how)  # type: ignore[arg-type]
    assert caught.value.exit_code == 5
    return caught.value


@needs_runtime
@posix
def test_a_model_that_crashes_the_interpreter_is_reported() -> None:
    tk.runtime.run(requantizer())
    error = failure(model=requantizer(scale=0.0))
    assert error.status == "SIGSEGV"
    assert str(error).startswith("the model: the runtime crashed (SIGSEGV) while running the model")


@needs_runtime
@posix
def test_a_crash_in_b_names_b() -> None:
    with pytest.raises(RuntimeCheckError, match=r"^the model \(B\): the runtime crashed \(SIGSEGV\) while running the model"):
        tk.runtime.compare(requantizer(), requantizer(scale=0.0))


@needs_runtime
def test_an_endless_model_is_stopped() -> None:
    start = time.monotonic()
    error = failure(model=endless(), limits=Limits(timeout=3))
    assert (error.status, str(error)) == ("timeout", "the model: no answer within 3 s while running the model; it was stopped")
    assert time.monotonic() - start < 20


@needs_runtime
@posix
def test_a_hang_ends_at_the_timeout() -> None:
    data = tk.serialize(dense())
    with Process("m", data, limits=Limits(timeout=20)) as child:
        codes = [np.zeros((1, 8), np.int8)]
        assert child.run(codes)[0][0].shape == (1, 6)
        child.limits = Limits(timeout=0.3)
        os.kill(child._child.pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(RuntimeCheckError, match=r"^m: no answer within 0.3 s while running the model; it was stopped$") as caught:
            child.run(codes)
        assert caught.value.status == "timeout" and 0.25 < time.monotonic() - start < 10
    assert child._child.poll() is not None


@needs_runtime
def test_a_timeout_while_loading() -> None:
    assert failure(model=dense(), limits=Limits(timeout=0.001)).status == "timeout"


@needs_runtime
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory limit is one of Linux")
def test_too_little_memory() -> None:
    model, data = elementwise("ABS", (1, 4 << 20)), [np.zeros((1, 4 << 20), np.float32)]
    tk.runtime.run(model, data)
    error = failure(model=model, data=data, limits=Limits(memory=100))
    assert error.status in ("memory", "SIGABRT", "SIGSEGV")
    assert "while running the model, with memory limited to 100 MiB" in str(error)


@needs_runtime
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory limit is one of Linux")
def test_too_little_memory_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    tk.write(dense(), path)
    error = failure(model=path, limits=Limits(memory=50))
    assert error.status == "memory"
    assert "m.tflite: out of memory while loading the model, with memory limited to 50 MiB" in str(error)


@needs_runtime
@posix
def test_a_child_killed_from_outside() -> None:
    with Process("m", tk.serialize(dense())) as child:
        os.kill(child._child.pid, signal.SIGKILL)
        with pytest.raises(RuntimeCheckError, match="SIGKILL"):
            child.run([np.zeros((1, 8), np.int8)])


@needs_runtime
@posix
def test_an_interrupt_from_the_terminal_leaves_the_child_to_its_parent() -> None:
    with Process("m", tk.serialize(dense())) as child:
        os.kill(child._child.pid, signal.SIGINT)
        assert child.run([np.zeros((1, 8), np.int8)])[0][0].shape == (1, 6)


@needs_runtime
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_child_ends_with_its_parent_even_in_the_middle_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    tk.write(endless(), path)
    script = (
        "import sys, pathlib, numpy, tflitekit.runtime.process as p\n"
        "child = p.Process('m', pathlib.Path(sys.argv[1]))\n"
        "print(child._child.pid, flush=True)\n"
        "child.run([numpy.zeros(1, numpy.float32)])"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    command = Path(f"/proc/{int(parent.stdout.readline())}/cmdline")
    time.sleep(0.3)
    assert command.read_bytes()
    parent.kill()  # it cannot clean up
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while command.exists() and command.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = command.exists() and bool(command.read_bytes())
    if alive:
        os.kill(int(command.parent.name), signal.SIGKILL)
    assert not alive


@needs_runtime
def test_what_the_interpreter_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    assert str(failure(model=_unproduced())).startswith("the model: the runtime refused it while running the model: Input tensor 2 lacks data")
    junk = tmp_path / "junk.tflite"
    junk.write_bytes(tk.serialize(dense()))
    model = tk.read(junk)
    junk.unlink()
    error = failure(model=model)  # the file is gone
    assert error.status == "refused" and "junk.tflite" in str(error)


def _unproduced() -> tk.Model:
    """An operator that reads a tensor that nothing writes."""
    model = elementwise("ABS", (1, 4))
    graph = model.subgraphs[0]
    graph.operators[0].inputs = [graph.add_tensor(tk.Tensor(name="nothing", shape=(1, 4), buffer=model.buffers[0]))]
    return model


def test_a_missing_interpreter_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    error = failure(model=dense())
    assert (error.status, str(error)) == ("missing", "running models needs LiteRT: pip install 'tflitekit[runtime]'")


@pytest.mark.parametrize("how", [{"timeout": 0}, {"timeout": float("nan")}, {"memory": 0}, {"threads": 0}])
def test_limits_that_make_no_sense(how: dict[str, float]) -> None:
    with pytest.raises(EditError):
        Limits(**how)  # type: ignore[arg-type]


def test_an_unknown_resolver() -> None:
    with pytest.raises(EditError, match="use one of default, optimized, reference"):
        tk.runtime.run(dense(), resolver="fast")


@needs_runtime
def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    tk.runtime.compare(dense(), dense(), tk.runtime.RandomData(1))
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:  # a cancelled timer ends a moment later
        time.sleep(0.01)
    assert threading.active_count() == before
