"""Undo records that fit, that do not, and that are not one; readers and editors of one file at the same time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.cli.main import main
from tflitekit.flat import inplace
from tflitekit.graph import Deferred

from .operations import MODEL, NEW, OLD, OTHER, revise, tear

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def torn(tmp_path: Path) -> Path:
    """A model whose edit in place was interrupted half-way."""
    (tmp_path / MODEL).write_bytes(OLD)
    tear(tmp_path)
    return tmp_path / MODEL


def edited(path: Path, **options: bool) -> object:
    model = tk.read(path)
    revise(model)
    return tk.write(model, path, in_place=True, **options)  # type: ignore[arg-type]


# ---- recovery ----


def test_reading_restores_and_says_so(torn: Path) -> None:
    with pytest.warns(tk.RecoveryWarning, match=r"was interrupted; the file was restored to what it was before"):
        model = tk.read(torn)
    assert torn.read_bytes() == OLD == bytes(model.source.data)
    assert list(torn.parent.iterdir()) == [torn]


def test_recover_by_hand(torn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recover", str(torn)]) == 0
    assert "interrupted half-way; the model was restored" in " ".join(capsys.readouterr().out.split())
    assert torn.read_bytes() == OLD
    assert main(["recover", str(torn)]) == 0
    assert "there is nothing to do" in capsys.readouterr().out


def test_any_command_restores_and_says_so_on_stderr(torn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(torn)]) == 0
    captured = capsys.readouterr()
    assert captured.err == f"tflitekit: {torn}: an edit in place was interrupted; the file was restored to what it was before\n"
    assert torn.read_bytes() == OLD


@pytest.mark.parametrize(("data", "outcome"), [(OLD, "unbegun"), (NEW, "complete")])
def test_a_whole_file_stays_and_its_record_goes(torn: Path, data: bytes, outcome: str) -> None:
    torn.write_bytes(data)
    assert tk.recover(torn).outcome == outcome
    assert torn.read_bytes() == data
    assert list(torn.parent.iterdir()) == [torn]


def test_through_a_symbolic_link_and_after_moving_both(torn: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    for path in (torn, inplace.record_path(torn)):
        shutil.copy(path, away)  # a torn file and its record, copied by a backup
    link = tmp_path / "link.tflite"
    link.symlink_to(away / MODEL)
    assert tk.recover(link).outcome == "restored"
    assert (away / MODEL).read_bytes() == OLD
    assert tk.recover(torn).outcome == "restored"


def test_a_long_name_has_a_record_too(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 240 + ".tflite")
    other = tmp_path / ("x" * 240 + ".tflitX")
    path.write_bytes(OLD)
    assert inplace.record_path(path) != inplace.record_path(other)
    edited(path)
    assert path.read_bytes() == NEW


# ---- records that do not fit ----


def _with_digest(content: bytes) -> bytes:
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)


FOREIGN: dict[str, Callable[[Path, Path], object]] = {
    "another model": lambda model, record: model.write_bytes(OTHER),
    "damage of the same size": lambda model, record: model.write_bytes(OLD[:8] + OLD[8:][::-1]),
    "the file was edited since": lambda model, record: _flip(model, OLD.index(b"far")),
    "no record": lambda model, record: record.write_bytes(b"my notes about the model"),
    "leads outside": lambda model, record: record.write_bytes(
        _with_digest(record.read_bytes()[: inplace._HEAD.size] + (1 << 40).to_bytes(8, "little") + record.read_bytes()[inplace._HEAD.size + 8 :])
    ),
    "a link": lambda model, record: (record.rename(record.with_suffix(".x")), record.symlink_to(record.with_suffix(".x"))),
    "a folder": lambda model, record: (record.unlink(), record.mkdir()),
    "a pipe": lambda model, record: (record.unlink(), os.mkfifo(record)),
    "far too large": lambda model, record: os.truncate(record, 1 << 30),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_record_that_does_not_fit_is_told_and_not_used(torn: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = inplace.record_path(torn)
    FOREIGN[name](torn, record)
    before = torn.read_bytes()
    assert main(["recover", str(torn)]) == 3
    assert "Nothing was touched" in " ".join(capsys.readouterr().out.split())
    assert torn.read_bytes() == before
    if "another" not in name and "damage" not in name:
        with pytest.warns(tk.RecoveryWarning, match="was not used"):
            model = tk.read(torn)
        model.version = 4
        with pytest.raises(tk.OutputError, match="is in the way"):
            tk.write(model, torn, in_place=True)
    assert os.path.lexists(record)
    assert torn.read_bytes() == before
    if name != "a folder":
        assert main(["recover", str(torn), "--discard"]) == 0
        assert not os.path.lexists(record)
    assert torn.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_record_of_another_user_is_not_used(torn: Path) -> None:
    """In a folder that others may write to, they must not be able to say what is written into my model."""
    os.chown(inplace.record_path(torn), 12345, -1)
    os.chown(torn, 0, -1)
    found = tk.recover(torn)
    assert (found.outcome, found.reason) == ("foreign", "belongs to another user (12345)")


def test_every_record_that_is_cut_off_is_one_that_was_never_finished(torn: Path) -> None:
    record = inplace.record_path(torn)
    content = record.read_bytes()
    torn.write_bytes(OLD)
    for size in [*range(120), *range(120, len(content), 13), len(content) - 1]:
        record.write_bytes(content[:size])
        assert tk.recover(torn).outcome == "unbegun", size
    for place in range(0, len(content), 17):
        record.write_bytes(content)
        if place >= len(inplace.MAGIC):
            _flip(record, place)
            assert tk.recover(torn).outcome == "unbegun", place
    assert torn.read_bytes() == OLD


def test_writing_the_whole_file_removes_the_record(torn: Path) -> None:
    tk.write(tk.parse(NEW), torn, overwrite=True)
    assert torn.read_bytes() == NEW
    assert list(torn.parent.iterdir()) == [torn]


def test_deferred_data_are_not_computed_from_what_they_replace(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    path.write_bytes(OLD)
    model = tk.read(path)
    buffer = model.metadata[-1].buffer
    assert buffer is not None
    before = buffer.data
    assert isinstance(before, memoryview)
    buffer.data = Deferred(len(before), lambda: np.frombuffer(before, np.uint8) ^ np.uint8(255))
    output = tk.write(model, path, in_place=True)
    assert (output.writer, output.in_place) == ("patch", False)
    assert bytes(buffer.data.view()) == bytes(byte ^ 255 for byte in range(64)) == bytes(tk.read(path).metadata[-1].buffer.data)  # type: ignore[union-attr]


# ---- several at once ----

_SLOW = textwrap.dedent("""
    import sys, time
    import tflitekit as tk
    from tests.faults.operations import revise
    from tflitekit.flat import inplace
    put = inplace._put
    def slow(*arguments):
        put(*arguments)
        print("wrote", flush=True)
        time.sleep(0.05)
    inplace._put = slow
    model = tk.read(sys.argv[1])
    revise(model)
    tk.write(model, sys.argv[1], in_place=True)
""")


def test_a_reader_waits_for_an_edit_that_is_going_on(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    path.write_bytes(OLD)
    editor = subprocess.Popen([sys.executable, "-c", _SLOW, str(path)], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert editor.stdout is not None
    for _ in range(3):
        editor.stdout.readline()
    assert path.read_bytes() not in (OLD, NEW)
    model = tk.read(path)  # without a warning: nothing was interrupted
    assert bytes(model.source.data) == NEW
    editor.stdout.close()
    assert editor.wait(30) == 0


def test_an_edit_that_never_ends_is_not_waited_for(torn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(inplace, "PATIENCE", 0.05)
    with torn.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(tk.InputError, match="is being edited by another process"):
            tk.read(torn)
    with pytest.warns(tk.RecoveryWarning):
        tk.read(torn)


def test_the_second_of_two_editors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / MODEL
    path.write_bytes(OLD)
    first, second = tk.read(path), tk.read(path)
    revise(first)
    second.subgraphs[0].tensors[0].quantization.zero_point = [9]  # type: ignore[union-attr]
    os.utime(path, ns=(1, 1))
    first.source.stamp = second.source.stamp = (*first.source.stamp[:3], 1)
    tk.write(first, path, in_place=True)
    for options in ({"in_place": True}, {"overwrite": True}):
        with pytest.raises(tk.OutputError, match="changed while it was in use"):
            tk.write(second, path, **options)  # type: ignore[arg-type]
    assert path.read_bytes() == NEW


def test_readers_never_see_half_an_edit(tmp_path: Path) -> None:
    """One thread edits two zero points to the same value again and again; every reader finds them equal."""
    path = tmp_path / MODEL
    path.write_bytes(OLD)
    stop, failed = threading.Event(), []

    def points(model: tk.Model) -> list[int]:
        return [int(tensor.quantization.zero_point[0]) for tensor in model.subgraphs[0].tensors if tensor.quantization is not None]

    def edit() -> None:
        value = 0
        while not stop.is_set():
            try:
                model = tk.read(path)
                value = (value + 1) % 100
                for tensor in model.subgraphs[0].tensors:
                    assert tensor.quantization is not None
                    tensor.quantization.zero_point = [value]
                tk.write(model, path, in_place=True)
            except BaseException as error:
                failed.append(error)
                return

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        time.sleep(0.05)
        end, seen = time.monotonic() + 0.7, set()
        while time.monotonic() < end:
            found = points(tk.read(path))
            assert len(set(found)) == 1, found
            seen.add(found[0])
    finally:
        stop.set()
        editor.join()
    assert failed == []
    assert len(seen) > 1
