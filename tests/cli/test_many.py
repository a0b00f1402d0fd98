"""One report for many files: folders, patterns, processes, errors that are collected, JSON lines, progress."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tflitekit import per_file
from tflitekit.cli import common, many
from tflitekit.cli.main import main
from tflitekit.errors import CorruptError, EditError, InputError

from ..reports.models import small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tflite", "a.tflite", "sub/c.tflite", "sub/d[1].tflite"):
        path = tmp_path / "models" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        tk.write(small(), path)
    (tmp_path / "models" / "notes.txt").write_text("no model")
    return tmp_path / "models"


def test_folders_and_patterns_are_expanded_once_each(folder: Path) -> None:
    names = [str(folder / name) for name in ("a.tflite", "b.tflite", "sub/c.tflite", "sub/d[1].tflite")]
    assert many.expand([str(folder)]) == names
    assert many.expand([names[1], str(folder)]) == [names[1], names[0], *names[2:]]
    assert many.expand([str(folder / "**" / "c.*")]) == [names[2]]
    assert many.expand([names[3]]) == [names[3]]  # the name of a file, though it looks like a pattern
    for nothing in (folder / "*.onnx", folder.parent / "empty"):
        (folder.parent / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"the directory has no \.tflite files|no files match"):
            many.expand([str(nothing)])


@pytest.mark.parametrize("command", ["summary", "tensors", "audit"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_row_a_file_a_total_and_errors_that_do_not_end_it(
    command: str, jobs: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (folder / "z.tflite").write_bytes(b"<html>")
    assert main([command, str(folder), "--jobs", jobs]) == 3
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines() if ".tflite" in line][:4] == ["a.tflite", "b.tflite", "c.tflite", "d[1].tflite"]
    assert "1 unreadable" in out.splitlines()[0] and "z.tflite" in out
    assert err.count("\n") == 1 and "z.tflite" in err
    damaged = (folder / "a.tflite").read_bytes()[:400]
    (folder / "z.tflite").write_bytes(damaged)
    assert main([command, str(folder), "--jobs", jobs]) == 3
    assert capsys.readouterr().err.endswith("It may be incomplete: copy or download it again\n")  # as of a single file
    (folder / "z.tflite").unlink()
    assert main([command, str(folder), "--jobs", jobs]) == 0


@pytest.mark.parametrize("command", ["summary", "tensors", "audit"])
def test_json_lines_are_what_a_single_file_gives(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "0.tflite").write_bytes(b"{}")
    assert main([command, str(folder), "--jsonl"]) == 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["path"].endswith("0.tflite") and "error" in lines[0]
    main([command, str(folder / "a.tflite"), "--json"])
    one = json.loads(capsys.readouterr().out)
    assert lines[1] == (one["models"][0] if command == "audit" else one)


def test_a_single_file_in_a_folder_is_still_a_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", str(folder / "sub" / "c*")]) == 0
    assert capsys.readouterr().out.startswith("1 file")


def test_the_functions_can_be_pickled_and_their_errors_too(folder: Path) -> None:
    for function in (per_file.summary_file, per_file.tensors_file, per_file.audit_file):
        assert pickle.loads(pickle.dumps(function))(str(folder / "a.tflite"))["file"]["name"] == "a.tflite"
    with pytest.raises(EditError, match=r"no runtime 'xnnpak': reference, optimized, xnnpack"):
        per_file.audit_file(str(folder / "a.tflite"), runtime="xnnpak")
    made = CorruptError("too short", 4, "buffers")
    made.args = (f"m.tflite: {made}",)
    error = pickle.loads(pickle.dumps(made))
    assert (str(error), error.offset, error.where) == ("m.tflite: damaged at byte 4 (buffers): too short", 4, "buffers")


def _dies(path: str) -> dict[str, Any]:
    if path == "b":
        os._exit(9)
    return {"file": path}


def test_a_process_that_dies_is_reported() -> None:
    found = list(many.results(list("abcde"), _dies, 2))
    assert [result.path for result in found] == list("abcde")
    assert [result.facts for result in found] == [{"file": "a"}, None, {"file": "c"}, {"file": "d"}, {"file": "e"}]
    assert found[1].message == "b: the process that worked on it died"


def test_a_process_that_dies_takes_no_other_file_of_its_group_with_it() -> None:
    paths = [f"a{n}" for n in range(66)]
    paths[37] = "b"
    assert {len(group) for group in many._groups(paths, 2, None)} == {3}
    found = list(many.results(paths, _dies, 2))
    assert [result.path for result in found] == paths
    assert [result.path for result in found if result.facts is None] == ["b"]


def test_groups_are_of_small_files_that_are_not_written(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{n:03d}") for n in range(203)]
    for path in paths:
        Path(path).touch()
    assert [len(group) for group in many._groups(paths, 2, None)] == [10] * 20 + [3]
    assert {len(group) for group in many._groups(paths[:39], 4, None)} == {1}
    assert {len(group) for group in many._groups(paths, 2, {path: {"output": path} for path in paths})} == {1}
    os.truncate(paths[4], many.GROUP_BYTES)
    groups = list(many._groups([*paths, "missing"], 2, None))
    assert list(map(len, groups)) == [5] + [10] * 19 + [9]
    assert [path for group in groups for path in group] == [*paths, "missing"]


def _writes(path: str, output: str) -> dict[str, Any]:
    """What dies is b, when c is done and d has written but is still at work."""
    others, deadline = [Path(output).with_name(name) for name in "cd"], time.monotonic() + 10
    while path == "b" and time.monotonic() < deadline:
        if all(other.exists() and other.stat().st_size for other in others):
            os._exit(9)
    with open(output, "a") as file:
        file.write(path)
    if path == "d":
        time.sleep(20)
    return {"file": path}


def test_after_a_process_died_nothing_is_written_twice(tmp_path: Path) -> None:
    own = {name: {"output": str(tmp_path / name)} for name in "abcde"}
    found = list(many.results(list("abcde"), _writes, 2, own))
    assert [result.path for result in found] == list("abcde")
    assert [result.facts for result in found] == [{"file": "a"}, None, {"file": "c"}, None, {"file": "e"}]
    assert found[1].message == "b: the process that worked on it died"
    assert found[3].message == f"d: a process died, and {tmp_path / 'd'} was written by then; look at it"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: name for name in "acde"}


def _waits(path: str) -> dict[str, Any]:
    time.sleep(0.2)
    return {"file": path}


def test_files_that_nobody_asks_for_any_more_are_not_waited_for() -> None:
    started = time.monotonic()
    found = many.results([str(n) for n in range(40)], _waits, 2)
    assert next(found).facts == {"file": "0"}
    found.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 3  # all would take 4 s


@pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked here")
def test_an_interrupt_of_all_processes_is_told_once() -> None:
    """One process waits for work, which its interpreter would complain about; the other ends at once."""
    code = (
        "import os, time\nfrom tflitekit.cli import many\ndef work(path): os.write(1, (path + '\\n').encode()); time.sleep(float(path))\n"
        "if __name__ == '__main__':\n try: list(many.results(['0', '9'], work, 2))\n except KeyboardInterrupt: print('interrupted')"
    )
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        begun = {process.stdout.readline() for _ in range(2)}
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (begun, out, err) == ({"0\n", "9\n"}, "interrupted\n", "") and time.monotonic() - started < 8


def test_more_files_are_spread_over_processes(folder: Path) -> None:
    paths = [str(folder / "a.tflite")] * 9
    serial, parallel = (list(many.results(paths, per_file.summary_file, jobs)) for jobs in (1, 3))
    assert serial == parallel and len(serial) == 9


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    found = [many.Result("a", {}), many.Result("b\x1b[2J", {})]
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(many.progress(iter(found), 2)) == found
    assert terminal.getvalue() == ""  # nothing flashes where it takes no time
    monkeypatch.setattr(common, "SOON", 0)
    assert list(many.progress(iter([*found, found[1]]), 3)) == [*found, found[1]]
    assert "3/3" in terminal.getvalue()
    assert r"b\x1b[2J" in terminal.getvalue() and "b\x1b[2J" not in terminal.getvalue()
    for results, stream in ((found[:1], Terminal()), (found, io.StringIO())):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(many.progress(iter(results), len(results))) == results
        assert stream.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert list(many.progress(iter(found), 2)) == found


@pytest.mark.parametrize("jobs", ["0", "-1", "abc", "1.5"])
def test_jobs_are_checked(folder: Path, capsys: pytest.CaptureFixture[str], jobs: str) -> None:
    assert main(["summary", str(folder), f"--jobs={jobs}"]) == 2
    assert f"--jobs: expected a number from 1 on, got {jobs!r}" in capsys.readouterr().err
