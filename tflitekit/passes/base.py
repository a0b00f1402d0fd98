"""What a pass is, and how passes are run: verify, copy, apply, diff, hold the pass to what it declares, verify again.

A pass is a frozen dataclass. `name` is that of its command, the fields declared with `option` are its options, `touches` the fields of the graph that
it may change, and `apply(model, notes)` edits a model in place and explains what it does. It never sees a file, and the model that the caller
holds is never edited: a pass works on a copy.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ..errors import PassError, RefusedError, TFLiteKitError
from .options import option, options_of, quoted

if TYPE_CHECKING:
    from ..diff import Change
    from ..graph import Model, Operator, SubGraph, Tensor
    from ..verify import Problem

__all__ = ["Note", "Notes", "Pass", "PassError", "PassResult", "RefusedError", "Step", "option", "options_of", "run"]

Progress = Callable[[int, int, str], None]
CHANGED, REFUSED, REMARK = "changed", "refused", "remark"
KINDS = (CHANGED, REFUSED, REMARK)


@dataclass(frozen=True)
class Note:
    """One thing that a pass says.

    `kind` is "changed" (what was done and what it costs), "refused" (what was asked for and left as it was, and why) or "remark". `path` is where, in
    the model that the pass made, `name` the tensor's name as text. `data` holds exact numbers (errors in real values unless they say LSB).
    """

    kind: str
    text: str
    path: str = ""
    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        where = f"{self.path} {self.name!r}: " if self.name else f"{self.path}: " if self.path else ""
        return f"{where}{self.text}"


class Notes:
    """What a pass says while it works. Objects are turned into paths when the pass is done, since lists may move meanwhile."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._entries: list[tuple[str, Any, str, dict[str, Any]]] = []
        self._progress = progress

    def working(self, done: int, total: int, name: str) -> None:
        """How far a long pass is: so many of so many things are done, the next is `name`."""
        if self._progress is not None:
            self._progress(done, total, name)

    def changed(self, what: Tensor | Operator | SubGraph | str | None, text: str, **data: Any) -> None:
        """Something was changed. `what` is the object it is about, or a path, or None for the model."""
        self._entries.append((CHANGED, what, text, data))

    def refused(self, what: Tensor | Operator | SubGraph | str | None, text: str, **data: Any) -> None:
        """Something that was asked for is left as it was; `text` says why."""
        self._entries.append((REFUSED, what, text, data))

    def remark(self, what: Tensor | Operator | SubGraph | str | None, text: str, **data: Any) -> None:
        """Something worth knowing."""
        self._entries.append((REMARK, what, text, data))

    def __len__(self) -> int:
        return len(self._entries)

    def resolved(self, model: Model) -> tuple[Note, ...]:
        """The notes, with the paths of what they are about."""
        from ..graph import Tensor

        places: dict[Any, str] = {}
        for number, subgraph in enumerate(model.subgraphs):
            places[subgraph] = f"subgraphs[{number}]"
            places |= {tensor: f"subgraphs[{number}].tensors[{index}]" for index, tensor in enumerate(subgraph.tensors)}
            places |= {operator: f"subgraphs[{number}].operators[{index}]" for index, operator in enumerate(subgraph.operators)}
        made = []
        for kind, what, text, data in self._entries:
            path = what if isinstance(what, str) else places.get(what, "") if what is not None else ""
            made.append(Note(kind, text, path, what.name_str if isinstance(what, Tensor) else "", data))
        return tuple(made)


@dataclass(frozen=True)
class Pass:
    """Base of all passes. The first line of the docstring is the command's description.

    `touches` are paths without positions, such as "subgraphs.tensors.quantization"; what lies below them may change too, nothing else may.
    `allows` are codes of `verify` for errors that the pass makes on purpose.
    """

    name: ClassVar[str] = ""
    touches: ClassVar[frozenset[str]] = frozenset()
    allows: ClassVar[frozenset[str]] = frozenset()

    def apply(self, model: Model, notes: Notes) -> None:
        """Edit the model. RefusedError if it cannot be done at all; what cannot be done for single tensors is noted."""
        raise NotImplementedError

    @property
    def writes(self) -> bool:
        """Whether the result is worth a file; a pass that only reports says no."""
        return True

    def describe(self) -> str:
        """The pass with the options that are not at their default, as `apply -p` takes it."""
        given = []
        for entry in options_of(type(self)):
            value = getattr(self, entry.name)
            if value != entry.default:
                values = value if entry.repeated else (value,)
                given += [f"{entry.flag[2:]}={_text(item)}" for item in values]
        return self.name + (f"{{{','.join(given)}}}" if given else "")


def _text(value: Any) -> str:
    return quoted(str(value).lower() if isinstance(value, bool) else str(value))


@dataclass(frozen=True, repr=False)
class Step:
    """One pass as it ran: what it changed, what it said, how long it took (seconds, verification and diff included)."""

    of: Pass
    changes: tuple[Change, ...]
    notes: tuple[Note, ...]
    seconds: float

    def __repr__(self) -> str:
        """The pass and how much it did, since all of it may be thousands of changes."""
        return f"Step({self.of.describe()}: {len(self.changes)} changes, {len(self.notes)} notes)"


@dataclass(frozen=True, repr=False)
class PassResult:
    """What came of a run. `model` is the argument itself where nothing changed, else a copy; `problems` are what `verify` says of it."""

    model: Model
    changes: tuple[Change, ...]
    steps: tuple[Step, ...]
    problems: tuple[Problem, ...]

    def __repr__(self) -> str:
        """How much was done, since all of it may be thousands of changes."""
        counts = f"{len(self.changes)} changes, {len(self.notes)} notes, {len(self.refused)} refused, {len(self.problems)} problems"
        return f"PassResult({', '.join(step.of.describe() for step in self.steps)}: {counts})"

    @property
    def notes(self) -> tuple[Note, ...]:
        """The notes of all passes."""
        return tuple(note for step in self.steps for note in step.notes)

    @property
    def refused(self) -> tuple[Note, ...]:
        """What was asked for and not done."""
        return tuple(note for note in self.notes if note.kind == REFUSED)

    @property
    def seconds(self) -> float:
        """The time of all passes."""
        return sum(step.seconds for step in self.steps)

    @cached_property
    def writer(self) -> str:
        """How the model will be written: "source" (the bytes of its file), "patch" (those bytes with values replaced) or "rebuild"."""
        source = self.model.source
        return "rebuild" if source is None else str(source.writer_for(self.model))


def run(model: Model, *passes: Pass, progress: Progress | None = None) -> PassResult:
    """Run passes one after the other on a copy of the model. `progress` is told how far a long one is: done, in all, on what; several threads
    may tell it.

    RefusedError where a pass cannot do what it is asked for, PassError where it changed what it does not declare or gave a sound model an error; the
    argument is as it was in every case.
    """
    from ..diff import diff
    from ..verify import verify

    current, problems, steps = model, verify(model), []
    for one in passes:
        started = time.perf_counter()
        made, changes, notes = _apply(current, one, problems, progress)
        if changes:
            after = verify(made)
            _check_problems(one, problems, after)
            current, problems = made, after
        steps.append(Step(one, tuple(changes), notes, time.perf_counter() - started))
    changes = list(steps[0].changes) if len(steps) == 1 else diff(model, current)
    return PassResult(current if changes else model, tuple(changes), tuple(steps), tuple(problems))


def _apply(model: Model, one: Pass, problems: Sequence[Problem], progress: Progress | None) -> tuple[Model, list[Change], tuple[Note, ...]]:
    """A changed copy, how it differs, and what the pass said."""
    from .._copy import copied
    from ..diff import diff

    made, notes = copied(model), Notes(progress)
    try:
        one.apply(made, notes)
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        _blame(one, problems, error)
    except ValueError as error:  # EditError is one
        if isinstance(error, TFLiteKitError):
            raise
        _blame(one, problems, error)
    changes = diff(model, made)
    foreign = [change for change in changes if not declared(one.touches, change.path)]
    if foreign:
        raise PassError(f"{one.name} changed what it does not declare: {'; '.join(map(str, foreign[:3]))}")
    return made, changes, notes.resolved(made)


def _blame(one: Pass, problems: Sequence[Problem], error: Exception) -> NoReturn:
    """RefusedError for a pass that failed on a model which is broken already; on a sound one the error is a fault of the pass, and stays."""
    broken = next((problem for problem in problems if problem.severity == "error"), None)
    if broken is None:
        raise error
    raise RefusedError(
        f"{one.name} cannot work on this model, which is broken: {broken.path}: {broken.message}. `tflitekit verify` shows all that is"
    ) from error


def declared(touches: frozenset[str], path: str) -> bool:
    """Whether a path of a change lies in what a pass may touch."""
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == touched or plain.startswith(f"{touched}.") for touched in touches)


def _check_problems(one: Pass, before: Sequence[Problem], after: Sequence[Problem]) -> None:
    """PassError for errors that were not there before, RefusedError if the model had others.

    Paths may have moved, so they are counted by code and name.
    """
    known = Counter((problem.code, problem.name) for problem in before if problem.severity == "error")
    fresh = []
    for problem in after:
        key = (problem.code, problem.name)
        if problem.severity == "error" and problem.code not in one.allows:
            known[key] -= 1
            if known[key] < 0:
                fresh.append(f"{problem.path}: {problem.message}")
    if fresh:
        text = f"{one.name} would leave the model broken: {'; '.join(fresh[:3])}"
        broken = next((problem for problem in before if problem.severity == "error"), None)
        if broken is not None:
            raise RefusedError(f"{text}. It is broken already, which `tflitekit verify` shows: {broken.path}: {broken.message}")
        raise PassError(text)
