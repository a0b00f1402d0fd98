"""Power failure at any moment of writing: every file is the old one or the new one, at the latest after the next read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit.flat import files as files_module
from tflitekit.flat import inplace

from .disk import Disk
from .operations import MODEL, OPERATIONS, WRITING


def after_crashes(name: str, folder: Path) -> tuple[list[str], int]:
    """What is wrong in the states in which a crash may leave the folder of an operation, and how many states there are."""
    operation = OPERATIONS[name]
    operation.set_up(folder)
    disk = Disk(folder)
    disk.watch(lambda: operation.run(folder))
    wrong = []
    for state, moment in disk.states.items():
        _lay_out(folder, dict(state))
        if (problem := _problem_after_reading(name, folder, False)) is not None:
            wrong.append(f"{moment}: {problem}")
    for found in disk.now():
        _lay_out(folder, found)
        if (problem := _problem_after_reading(name, folder, True)) is not None:
            wrong.append(f"after the last call: {problem}")
    return wrong, len(disk.states)


def _lay_out(folder: Path, state: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, data in state.items():
        (folder / name).write_bytes(data)


def _problem_after_reading(name: str, folder: Path, finished: bool) -> str | None:
    """Read the model, as the next command would; then no record may be left. A temporary file may be: nobody was there to remove it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tk.RecoveryWarning)
        try:
            tk.read(folder / MODEL)
        except tk.TFLiteKitError as error:
            return f"cannot be read: {error}"
    if inplace.record_path(folder / MODEL).exists():
        return "the undo record is left"
    return OPERATIONS[name].problem(folder, finished, leftovers=True)


@pytest.mark.parametrize("name", [*WRITING, "recover"])
def test_any_crash_leaves_old_or_new(name: str, files: Path) -> None:
    wrong, count = after_crashes(name, files)
    assert wrong == []
    assert count >= 4, "hardly anything was simulated"


def _but_the(number: int, real: Callable[[int], None]) -> Callable[[int], None]:
    """A sync without its call of that number, counted from 0."""
    count = -1

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count != number:
            real(descriptor)

    return fsync


class Without:
    """`os` with some functions replaced, to be put into a module; the calls that are made are still those of `os`."""

    def __init__(self, **functions: Callable[..., object]) -> None:
        vars(self).update(functions)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.mark.parametrize(
    ("name", "number"), [("over the input", 0), ("over the input", 1), ("new file", 0), ("in place", 0), ("in place", 1), ("in place", 2)]
)
def test_a_missing_fsync_is_seen(name: str, number: int, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, files are torn, or the new one is not there after all; the calls: file, folder; in place: record, folder, model."""
    shared = Without(fsync=_but_the(number, lambda descriptor: os.fsync(descriptor)))
    monkeypatch.setattr(files_module, "os", shared)
    monkeypatch.setattr(inplace, "os", shared)
    assert after_crashes(name, files)[0]


def test_a_missing_undo_record_is_seen(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inplace, "_store", lambda *_: None)
    assert any("neither as before nor as after" in problem for problem in after_crashes("in place", files)[0])


def test_a_name_given_too_early_is_seen(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that gets its name before its content is synced."""
    real = files_module._write_temporary

    def early(descriptor: int, *rest: object) -> object:
        temporary = next(path for path in files.iterdir() if path.name.endswith(".tmp"))
        os.replace(temporary, files / MODEL)
        return real(descriptor, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files_module, "_write_temporary", early)
    monkeypatch.setattr(files_module.Source, "check_unchanged", lambda self: None)
    monkeypatch.setattr(files_module, "os", Without(replace=lambda old, new: None))
    assert after_crashes("over the input", files)[0]
