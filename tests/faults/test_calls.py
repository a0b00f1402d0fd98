"""Every k-th call fails, or is interrupted: the input is intact, the output old or new, nothing is left over, and only our errors come out."""

from __future__ import annotations

from pathlib import Path

import pytest

import tflitekit as tk

from .calls import KINDS, Failing, count_calls, watched
from .operations import OPERATIONS, Operation


def fail_each(operation: Operation, folder: Path, kind: str, first: int = 1, step: int = 1) -> list[str]:
    """Run the operation with one call after the other failing; what went wrong, with the call's number and name."""
    operation.set_up(folder)
    names = count_calls(lambda: operation.run(folder))
    assert operation.problem(folder, True) is None
    wrong = []
    for call in range(first, len(names) + 1, step):
        operation.set_up(folder)
        failing, raised = Failing(call, kind), ""
        try:
            with watched(failing):
                operation.run(folder)
        except (tk.TFLiteKitError, KeyboardInterrupt) as error:
            raised = f"{type(error).__name__}: {error}"
        except BaseException as error:
            wrong.append(f"{call} {failing.name}: {type(error).__name__} {error} came out")
        problem = _after_failure(operation, folder, kind, raised)
        if problem is not None:
            wrong.append(f"{call} {failing.name} ({raised or 'no error'}): {problem}")
    return wrong


def _after_failure(operation: Operation, folder: Path, kind: str, raised: str) -> str | None:
    # Where every call fails there is no way to clean up or to put back; then the next use of the file has to.
    if kind == "dead" or "cannot be taken back" in raised:
        tk.recover(folder / "model.tflite")
        return operation.problem(folder, not raised, leftovers=kind == "dead")
    if operation.before == operation.after and raised:  # a failed recovery leaves the record, or has done its work
        tk.recover(folder / "model.tflite")
    return operation.problem(folder, not raised)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_call_fails_once(name: str, kind: str, files: Path) -> None:
    assert fail_each(OPERATIONS[name], files, kind) == []


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_fifth_call_fails_once(name: str, number: int, files: Path) -> None:
    """The short version: every call fails in one of the kinds."""
    assert fail_each(OPERATIONS[name], files, KINDS[number], first=1 + number, step=len(KINDS)) == []


def test_the_operations_make_the_calls_that_are_failed(files: Path) -> None:
    """The test above is worth nothing if writing goes around the functions that it replaces."""
    made = {}
    for name, operation in OPERATIONS.items():
        operation.set_up(files)
        made[name] = count_calls(lambda operation=operation: operation.run(files))  # type: ignore[misc]
    for name in ("new file", "another file", "over the input", "with backup", "in place, other size"):
        assert {"open", "write", "fsync", "close", "mmap", "fstat"} <= set(made[name]), name
        assert made[name].count("fsync") >= 2
        assert {"replace", "link"} & set(made[name])
    assert made["in place"].count("fsync") == 4
    assert made["in place"].count("unlink") == 1
    assert {"replace", "link"}.isdisjoint(made["in place"])
    assert {"write", "fsync", "unlink", "flock"} <= set(made["recover"])


def test_a_writer_that_does_not_clean_up_is_seen(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflitekit.flat.files._clean_up", lambda *_: None)
    assert any("left over" in problem for problem in fail_each(OPERATIONS["over the input"], files, "EIO"))


def test_an_edit_that_is_not_taken_back_is_seen(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflitekit.flat.inplace._put_back", lambda *_: 0)
    assert any("neither as before nor as after" in problem for problem in fail_each(OPERATIONS["in place"], files, "EIO"))
