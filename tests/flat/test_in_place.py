"""tk.write with in_place and backup, and the commands that use them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit.cli.main import main
from tflitekit.flat import codec

from .. import forge
from ..faults.operations import GROWN, NEW, OLD, grow, revise

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(OLD)
    return path


def test_the_same_inode_permissions_and_hard_links(saved: Path) -> None:
    saved.chmod(0o640)
    other = saved.with_name("other name")
    os.link(saved, other)
    before = saved.stat()
    model = tk.read(saved)
    revise(model)
    output = tk.write(model, saved, in_place=True)
    after = saved.stat()
    assert (output.writer, output.in_place, output.backup) == ("patch", True, None)
    assert output.changed is not None and 0 < output.changed < 200
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert saved.read_bytes() == other.read_bytes() == NEW


def test_the_model_stays_usable(saved: Path) -> None:
    """Edits in place one after the other, then one that needs a new layout, then one in place again."""
    model = tk.read(saved)
    revise(model)
    tk.write(model, saved, in_place=True)
    assert bytes(model.source.data) == NEW
    assert tk.write(model, saved, in_place=True).writer == "source"
    for value in (7, 8):
        model.subgraphs[0].tensors[0].quantization.zero_point = [value]  # type: ignore[union-attr]
        assert tk.write(model, saved, in_place=True).in_place
    grow(model)
    output = tk.write(model, saved, in_place=True)
    assert (output.writer, output.in_place, output.changed) == ("rebuild", False, None)
    assert tk.diff(model, tk.read(saved)) == []
    model.subgraphs[0].tensors[0].quantization.zero_point = [9]  # type: ignore[union-attr]
    assert not tk.write(model, saved, in_place=True).in_place, "the mapped file is not the one of that name any more"
    assert tk.diff(model, tk.read(saved)) == []
    tk.write(model, saved, overwrite=True)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_nothing_to_change_writes_nothing(saved: Path) -> None:
    before = saved.stat()
    output = tk.write(tk.read(saved), saved, in_place=True, backup=True)
    assert (output.writer, output.changed, output.backup) == ("source", 0, None)
    assert saved.stat().st_mtime_ns == before.st_mtime_ns
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_only_the_file_that_was_read(saved: Path) -> None:
    model = tk.read(saved)
    with pytest.raises(tk.OutputError, match="is not the file that the model was read from"):
        tk.write(model, saved.with_name("other.tflite"), in_place=True)
    with pytest.raises(tk.OutputError, match="only a model that was read from a file"):
        tk.write(tk.parse(OLD), saved, in_place=True)
    link = saved.with_name("link")
    link.symlink_to(saved)
    revise(model)
    assert tk.write(model, link, in_place=True).in_place
    assert link.is_symlink()
    saved.unlink()
    with pytest.raises(tk.OutputError, match="is gone"):
        tk.write(model, saved, in_place=True)


def test_large_edits_replace_the_file(tmp_path: Path) -> None:
    """Where the undo record would be larger than what a new file saves."""
    path = tmp_path / "m.tflite"
    big = tk.Model(version=3)
    for _ in range(6):
        big.add_buffer(bytes(1 << 20))
    tk.write(big, path)
    for count, in_place in ((1, True), (4, False)):
        model = tk.read(path)
        for buffer in model.buffers[1 : 1 + count]:
            buffer.data = memoryview(os.urandom(1 << 20))
        output = tk.write(model, path, in_place=True)
        assert (output.writer, output.in_place) == ("patch", in_place)
        assert tk.diff(model, tk.read(path)) == []


def test_where_data_lie_is_not_edited_in_place(saved: Path) -> None:
    """Fields that say where data are replace the file, since the model keeps what it found there."""
    made = tk.parse(OLD)
    near = made.subgraphs[0].tensors[1].buffer
    assert near is not None
    saved.write_bytes(forge.pack(made, {near: {forge.slot_of(near, "offset"): ("uint64", 64), forge.slot_of(near, "size"): ("uint64", 8)}}))
    model = tk.read(saved)
    model.subgraphs[0].tensors[1].buffer.size = 9  # type: ignore[union-attr]
    assert (codec.encode(model).writer, tk.write(model, saved, in_place=True).in_place) == ("rebuild", False)


# ---- backup ----


@pytest.mark.parametrize("how", [{"in_place": True}, {"overwrite": True}])
def test_a_backup_is_the_old_file(saved: Path, how: dict[str, bool]) -> None:
    saved.chmod(0o600)
    model = tk.read(saved)
    revise(model)
    output = tk.write(model, saved, backup=True, **how)  # type: ignore[arg-type]
    kept = saved.with_name("model.tflite.bak")
    assert (output.backup, output.in_place) == (kept, False)
    assert (kept.read_bytes(), saved.read_bytes()) == (OLD, NEW)
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE(saved.stat().st_mode) == 0o600
    model.version = 4
    with pytest.raises(tk.OutputError, match="backups are never replaced"):
        tk.write(model, saved, backup=True, **how)  # type: ignore[arg-type]
    assert (kept.read_bytes(), saved.read_bytes()) == (OLD, NEW)
    assert tk.write(model, saved, backup=saved.with_name("second.bak"), **how).backup == saved.with_name("second.bak")  # type: ignore[arg-type]
    assert saved.with_name("second.bak").read_bytes() == NEW


def test_a_backup_where_there_are_no_hard_links(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    saved.chmod(0o604)
    model = tk.read(saved)
    grow(model)
    tk.write(model, saved, in_place=True, backup=True)
    kept = saved.with_name("model.tflite.bak")
    assert (kept.read_bytes(), saved.read_bytes()) == (OLD, GROWN)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o604


def test_a_new_file_needs_no_backup(saved: Path) -> None:
    output = tk.write(tk.read(saved), saved.with_name("new.tflite"), backup=True)
    assert output.backup is None
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model.tflite", "new.tflite"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(saved: Path) -> None:
    os.chown(saved, 1234, 2345)
    model = tk.read(saved)
    grow(model)
    tk.write(model, saved, overwrite=True)
    assert (saved.stat().st_uid, saved.stat().st_gid) == (1234, 2345)


def test_an_input_that_is_replaced_is_noticed(saved: Path) -> None:
    """Also at the last moment, while the output is being written."""
    model = tk.read(saved)
    grow(model)
    new = saved.with_name("new")
    new.write_bytes(OLD)
    new.replace(saved)
    with pytest.raises(tk.OutputError, match="changed while it was in use"):
        tk.write(model, saved, overwrite=True)
    model = tk.read(saved)
    grow(model)
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        fsync(descriptor)
        os.utime(saved, ns=(5, 5))

    os.fsync = meanwhile
    try:
        with pytest.raises(tk.OutputError, match="changed while it was in use"):
            tk.write(model, saved, overwrite=True)
    finally:
        os.fsync = fsync
    assert saved.read_bytes() == OLD
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_paths_of_another_type() -> None:
    with pytest.raises(tk.OutputError, match="expected the path"):
        tk.write(tk.parse(OLD), 5)  # type: ignore[arg-type]
    with pytest.raises(tk.InputError, match="expected the path"):
        tk.recover(5)  # type: ignore[arg-type]
    with pytest.raises(tk.InputError, match="No such file"):
        tk.recover("missing.tflite")


# ---- commands ----


def test_copy_in_place_with_backup(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", str(saved), "--in-place", "--rebuild", "--backup", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"]["path"] == str(saved)
    assert (facts["in_place"], facts["backup"]) == (False, f"{saved}.bak")
    assert main(["copy", str(saved), "--in-place", "-o", "x"]) == 2


def test_a_rewriting_command_in_place(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = saved.stat().st_ino
    command = ["set-quantization", str(saved), "--tensor", "x", "--zero-point", "5", "--keep", "codes", "--in-place"]
    assert main([*command, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["in_place"], facts["writer"], facts["output"]["path"]) == (True, "patch", str(saved))
    assert [change["path"] for change in facts["changes"]] == ["subgraphs[0].tensors[0].quantization.zero_point"]
    assert saved.stat().st_ino == before
    assert tk.read(saved).subgraphs[0].tensors[0].quantization.zero_point.tolist() == [5]  # type: ignore[union-attr]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_sigterm_leaves_nothing_behind(saved: Path) -> None:
    script = "import os, sys, time\nfrom tflitekit.cli.main import main\nreal = os.fsync\n"
    script += "def slow(descriptor):\n    print('syncing', flush=True)\n    time.sleep(30)\nos.fsync = slow\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "copy", str(saved), "--rebuild", "-o", str(saved.with_name("out.tflite"))]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert child.stdout is not None
    child.stdout.readline()
    assert len(list(saved.parent.iterdir())) == 2
    started = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM
    assert time.monotonic() - started < 15
    child.stdout.close()
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
