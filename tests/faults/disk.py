"""A disk that loses power: what a folder may hold after a crash, found from the calls that were made until then.

Promised is only what was synced: data of a file by fsync of it, names in a folder by fsync of the folder. Of everything else any part may have
reached the disk, in any order; a write may have reached it in part.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .calls import watched

Write = tuple[int, bytes]  # place, bytes
Naming = tuple[str, "File | None"]  # a name now stands for this file, or for none


@dataclass(eq=False)
class File:
    """Bytes that are safe, and writes that may be lost."""

    data: bytes = b""
    pending: list[Write] = field(default_factory=list)


class Disk:
    """Follows the calls of an operation on one folder. `crashes` yields what the folder may hold, for every moment at which something changed."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.names: dict[str, File] = {path.name: File(path.read_bytes()) for path in folder.iterdir()}
        self.safe = dict(self.names)
        self.unsafe: list[Naming] = []
        self.open: dict[int, File | None] = {}  # None for the folder itself
        self.random = random.Random(seed)
        self.states: dict[tuple[tuple[str, bytes], ...], str] = {}

    def watch(self, operation: Callable[[], object]) -> None:
        """Run the operation and keep every state in which a crash may leave the folder."""
        self._keep("before the first call")
        with watched(self._see):
            operation()

    def now(self) -> list[dict[str, bytes]]:
        """The states after a crash at this moment."""
        return list(self._crash())

    def _see(self, name: str, when: str, arguments: tuple[Any, ...], result: Any) -> None:
        if name == "write" and when == "before" and arguments[0] in self.open:
            self._write(arguments[0], bytes(arguments[1]))
        elif when == "after":
            handler = getattr(self, f"_{name}", None)
            if handler is not None and name != "write":
                handler(arguments, result)
        if name in ("write", "fsync", "link", "replace", "unlink") and when == "after":
            self._keep(f"{name} {arguments[0]}")

    def _open(self, arguments: tuple[Any, ...], descriptor: int) -> None:
        path = Path(arguments[0])
        if path == self.folder:
            self.open[descriptor] = None
        elif path.parent == self.folder:
            if path.name not in self.names:
                self._name(path.name, File())
            self.open[descriptor] = self.names[path.name]

    def _close(self, arguments: tuple[Any, ...], _: Any) -> None:
        self.open.pop(arguments[0], None)

    def _write(self, descriptor: int, data: bytes) -> None:
        file = self.open[descriptor]
        assert file is not None
        place, half = os.lseek(descriptor, 0, os.SEEK_CUR), (len(data) + 1) // 2
        file.pending += [(place, data[:half]), (place + half, data[half:])]

    def _fsync(self, arguments: tuple[Any, ...], _: Any) -> None:
        file = self.open[arguments[0]]
        if file is None:
            for name, target in self.unsafe:
                _rename(self.safe, name, target)
            self.unsafe = []
        else:
            file.data, file.pending = _written(file.data, file.pending), []

    def _link(self, arguments: tuple[Any, ...], _: Any) -> None:
        self._name(Path(arguments[1]).name, self.names[Path(arguments[0]).name])

    def _replace(self, arguments: tuple[Any, ...], _: Any) -> None:
        old, new = Path(arguments[0]).name, Path(arguments[1]).name
        self._name(new, self.names[old])
        self._name(old, None)

    def _unlink(self, arguments: tuple[Any, ...], _: Any) -> None:
        self._name(Path(arguments[0]).name, None)

    def _name(self, name: str, target: File | None) -> None:
        _rename(self.names, name, target)
        self.unsafe.append((name, target))

    def _keep(self, moment: str) -> None:
        for state in self._crash():
            self.states.setdefault(tuple(sorted(state.items())), moment)

    def _crash(self) -> Iterator[dict[str, bytes]]:
        for chosen in self._parts(self.unsafe):
            names = dict(self.safe)
            for name, target in chosen:
                _rename(names, name, target)
            files = [file for file in dict.fromkeys(names.values()) if file.pending]
            for writes in itertools.product(*(self._parts(file.pending) for file in files)):
                held = {file: _written(file.data, part) for file, part in zip(files, writes, strict=True)}
                yield {name: held.get(file, file.data) for name, file in names.items()}

    def _parts(self, steps: list[Any]) -> list[list[Any]]:
        """What may have reached the disk of some steps: all subsets if they are few, else none, all, beginnings, all but one, some by chance."""
        if len(steps) <= 3:
            return [list(part) for count in range(len(steps) + 1) for part in itertools.combinations(steps, count)]
        found = [steps[:count] for count in range(0, len(steps) + 1, max(1, len(steps) // 4))]
        found += [steps, [step for i, step in enumerate(steps) if i != self.random.randrange(len(steps))]]
        return [*found, *([step for step in steps if self.random.random() < 0.5] for _ in range(3))]


def _rename(names: dict[str, File], name: str, target: File | None) -> None:
    if target is None:
        names.pop(name, None)
    else:
        names[name] = target


def _written(data: bytes, writes: list[Write]) -> bytes:
    held = bytearray(data)
    for place, new in writes:
        held.extend(bytes(max(0, place + len(new) - len(held))))
        held[place : place + len(new)] = new
    return bytes(held)
