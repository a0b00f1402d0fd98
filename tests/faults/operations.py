"""The operations that are put to the test, each on a fresh folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tflitekit as tk
from tests.flat.test_patch import small
from tflitekit.flat import inplace
from tflitekit.graph import Deferred, Model

OLD = tk.serialize(small())
MODEL = "model.tflite"


def revise(model: Model) -> None:
    """Same-size changes in several places of the file."""
    for tensor in model.subgraphs[0].tensors:
        assert tensor.quantization is not None
        tensor.quantization.zero_point = [100]
        tensor.quantization.scale = np.float32([7.25])
    model.metadata[-1].buffer.data = bytes(range(64, 0, -1))  # type: ignore[union-attr]
    model.subgraphs[0].name = b"MAIN"


def revised() -> bytes:
    model = tk.parse(OLD)
    revise(model)
    return tk.serialize(model)


def grow(model: Model) -> None:
    """A change of the size."""
    model.subgraphs[0].tensors[0].name = b"another name"


def grown() -> bytes:
    model = tk.parse(OLD)
    grow(model)
    return tk.serialize(model)


def defer(model: Model) -> None:
    """Data that is computed when it is written, in pieces that come in another order."""
    data = np.arange(1 << 17, dtype=np.uint32).view(np.uint8)[: 1 << 17]

    def fill(put: Callable[[int, object], None]) -> None:
        for start in (1 << 16, 0, 1 << 15):
            put(start, data[start : start + (1 << 15) + (start == 1 << 16) * (1 << 15)])

    model.metadata[-1].buffer.data = Deferred(len(data), fill=fill)  # type: ignore[union-attr]


def deferred() -> bytes:
    model = tk.parse(OLD)
    defer(model)
    return tk.serialize(model)


NEW, GROWN, DEFERRED = revised(), grown(), deferred()
OTHER = tk.serialize(tk.Model(version=3, description="another"))


@dataclass(frozen=True)
class Operation:
    """What is done, on which files, and what each file may then hold: `after` if it went well, else also `before`."""

    run: Callable[[Path], object]
    before: dict[str, bytes]
    after: dict[str, bytes]
    prepare: Callable[[Path], None] = field(default=lambda folder: None)

    def set_up(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name in (*MADE, *self.before):
            (folder / name).unlink(missing_ok=True)
        for left in folder.iterdir():
            left.unlink()
        for name, data in self.before.items():
            (folder / name).write_bytes(data)
        self.prepare(folder)

    def problem(self, folder: Path, finished: bool, leftovers: bool = False) -> str | None:
        """What is wrong with the files, None if nothing. `leftovers` says that hidden files may be left."""
        found = {path.name: path.read_bytes() for path in folder.iterdir() if not (leftovers and path.name.startswith("."))}
        for name, data in found.items():
            if data not in [states[name] for states in (self.before, self.after) if name in states]:
                return f"{name} is neither as before nor as after" if name in self.before or name in self.after else f"{name} is left over"
        if missing := [name for name in self.before if name not in found]:
            return f"{missing[0]} is gone"
        if finished and found != self.after:
            return f"no error, but {[name for name in self.after if found.get(name) != self.after[name]]} was not written"
        return None


MADE = ("out.tflite", f"{MODEL}.bak")


def _write(edit: Callable[[Model], None], name: str, **options: bool) -> Callable[[Path], object]:
    def run(folder: Path) -> object:
        model = tk.read(folder / MODEL)
        edit(model)
        return tk.write(model, folder / name, **options)  # type: ignore[arg-type]

    return run


def tear(folder: Path) -> None:
    """Leave an edit in place as a kill half-way through would."""
    model = tk.read(folder / MODEL)
    revise(model)
    put, count = inplace._put, 0

    class Killed(BaseException):
        pass

    def die(descriptor: int, start: int, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 4:  # the record, then two whole spans and half of one
            put(descriptor, start, data[: (len(data) + 1) // 2])
            raise Killed
        put(descriptor, start, data)

    def nothing(*_: object) -> int:
        raise Killed

    inplace._put, back, inplace._put_back = die, inplace._put_back, nothing  # type: ignore[assignment]
    try:
        tk.write(model, folder / MODEL, in_place=True)
    except Killed:
        pass
    finally:
        inplace._put, inplace._put_back = put, back
    assert (folder / MODEL).read_bytes() not in (OLD, NEW)
    assert inplace.record_path(folder / MODEL).exists()


def _read(folder: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tk.read(folder / MODEL)


def _identity(model: Model) -> None:
    pass


OPERATIONS = {
    "new file": Operation(_write(grow, "out.tflite"), {MODEL: OLD}, {MODEL: OLD, "out.tflite": GROWN}),
    "computed data": Operation(_write(defer, "out.tflite"), {MODEL: OLD}, {MODEL: OLD, "out.tflite": DEFERRED}),
    "another file": Operation(_write(revise, "out.tflite", overwrite=True), {MODEL: OLD, "out.tflite": OTHER}, {MODEL: OLD, "out.tflite": NEW}),
    "over the input": Operation(_write(grow, MODEL, overwrite=True), {MODEL: OLD}, {MODEL: GROWN}),
    "with backup": Operation(_write(revise, MODEL, overwrite=True, backup=True), {MODEL: OLD}, {MODEL: NEW, f"{MODEL}.bak": OLD}),
    "in place": Operation(_write(revise, MODEL, in_place=True), {MODEL: OLD}, {MODEL: NEW}),
    "in place, other size": Operation(_write(grow, MODEL, in_place=True), {MODEL: OLD}, {MODEL: GROWN}),
    "recover": Operation(lambda folder: tk.recover(folder / MODEL), {MODEL: OLD}, {MODEL: OLD}, tear),
    "read what is torn": Operation(_read, {MODEL: OLD}, {MODEL: OLD}, tear),
}
WRITING = tuple(name for name, operation in OPERATIONS.items() if operation.before != operation.after)
