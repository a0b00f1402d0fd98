"""Many mutants of real models: what tflitekit does with each, and whether the C++ Verifier agrees."""

from __future__ import annotations

import io
import pickle
import random
import re
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests import runtime
from tests.conftest import REPOSITORY, VALID_PATHS

from .anatomy import Anatomy
from .exercise import PART, Outcome
from .gallery import documented
from .mutate import mutant

SEEDS = [path for path in VALID_PATHS if path.stat().st_size < 60_000]
BATCH = 250
JUDGE = Path(__file__).with_name("judge.py")


@dataclass(frozen=True)
class Mutant:
    """A damaged copy of a real model, and how it was made."""

    model: str
    kinds: tuple[str, ...]
    data: bytes


def mutants(count: int, seed: int) -> list[Mutant]:
    """`count` mutants, the models in turn so that all have their share."""
    rng = random.Random(seed)
    seeds = [(path.name, data, Anatomy(data)) for path in SEEDS for data in [path.read_bytes()]]
    seeds.append(("a model with metadata", documented(), Anatomy(documented())))  # which the small real ones seldom have
    rng.shuffle(seeds)
    made = []
    for number in range(count):
        name, data, anatomy = seeds[number % len(seeds)]
        out, kinds = mutant(data, anatomy, rng)
        made.append(Mutant(name, tuple(kinds), out))
    return made


def outcomes(files: Sequence[bytes], effort: str = PART, jobs: int = 1) -> list[Outcome]:
    """What became of each file, in child processes; a child that dies is a problem of the file it was at, and another goes on."""
    starts = range(0, len(files), BATCH)
    with ThreadPoolExecutor(jobs) as pool:
        parts = pool.map(lambda start: list(_batch(files[start : start + BATCH], effort)), starts)
        found = [outcome for part in parts for outcome in part]
    for number, outcome in enumerate(found):
        outcome.number = number
    return found


def _batch(files: Sequence[bytes], effort: str) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "files.pickle"
        stored.write_bytes(pickle.dumps(list(files)))
        done = 0
        while done < len(files):
            command = [sys.executable, "-m", "tests.attacks.child", str(stored), str(done), effort]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY) as child:
                said, errors = child.communicate()
            begun = None
            for item in _messages(said):
                if isinstance(item, Outcome):
                    begun, done = None, item.number + 1
                    yield item
                else:
                    begun = item
            if begun is not None:
                done = begun + 1
                yield Outcome(begun, "", [("?", "crash", f"exit code {child.returncode}: {errors.decode(errors='replace')[-2000:]}")])
            elif child.returncode:
                raise RuntimeError(errors.decode(errors="replace"))


def _messages(said: bytes) -> Iterator[Outcome | int]:
    stream = io.BytesIO(said)
    while True:
        try:
            item = pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            return
        yield item


def cpp_verdicts(files: Sequence[bytes], folder: Path) -> list[bool | None]:
    """What the C++ Verifier inside the interpreter says, None where it crashed: a child goes through the files, and is replaced if it dies."""
    results: list[bool | None] = [None] * len(files)
    stored = folder / "files.pickle"
    stored.write_bytes(pickle.dumps(list(files)))
    first = 0
    while first < len(files):
        command = [sys.executable, str(JUDGE), str(stored), str(first)]
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=900).stdout
        assert said, "the child says nothing"
        for at in range(0, len(said) - 4, 5):
            first, verdict = struct.unpack_from("<IB", said, at)
            results[first] = None if verdict == 2 else bool(verdict)
        first += 1
    return results


@dataclass
class Figures:
    """What a campaign came to."""

    files: int = 0
    models: int = 0
    accepted: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    crashed_judge: int = 0
    disagreements: list[str] = field(default_factory=list)
    budget: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    caught: Counter[str] = field(default_factory=Counter)
    done: int = 0
    slowest: tuple[float, str] = (0.0, "")
    peak: tuple[int, str] = (0, "")

    def __str__(self) -> str:
        lines = [
            f"{self.files} mutants of {self.models} models: {self.accepted} accepted, {self.done} things done with them",
            f"verdicts: {dict(self.verdicts.most_common())}; the judge crashed on {self.crashed_judge}",
            f"disagreements with the C++ Verifier: {len(self.disagreements)}", *self.disagreements[:20],
            f"refused by a budget: {len(self.budget)}", *self.budget[:20],
            f"slowest: {self.slowest[0]:.2f} s of processor time, {self.slowest[1]}", f"most memory: {self.peak[0] / 2**20:.1f} MB, {self.peak[1]}",
            f"problems: {sum(map(len, self.problems.values()))}",
        ]  # fmt: skip
        for text, places in sorted(self.problems.items(), key=lambda item: -len(item[1])):
            lines += [f"  {len(places)} x {text}", f"      first: {places[0]}"]
        lines.append(f"failures of passes on broken models, told as refusals: {sum(self.caught.values())}")
        lines += [f"  {count} x {text}" for text, count in self.caught.items()]
        lines.append(f"refused by operation: {dict(self.refusals.most_common(40))}")
        return "\n".join(lines)


def campaign(count: int, seed: int, jobs: int = 1, effort: str = PART) -> Figures:
    """Make mutants, exercise them, and compare the verdicts where the interpreter is installed."""
    made = mutants(count, seed)
    files = [one.data for one in made]
    figures = Figures(len(made), len({one.model for one in made}))
    judged: list[bool | None] = [None] * count
    if runtime.available():
        with tempfile.TemporaryDirectory() as folder:
            judged = cpp_verdicts(files, Path(folder))
        figures.crashed_judge = judged.count(None)
    for one, outcome, verdict in zip(made, outcomes(files, effort, jobs), judged, strict=True):
        _add(figures, f"mutant {outcome.number} of {one.model} ({', '.join(one.kinds)})", outcome, verdict)
    return figures


def _add(figures: Figures, name: str, outcome: Outcome, verdict: bool | None) -> None:
    accepted = outcome.verdict == "accepted"
    figures.accepted += accepted
    figures.verdicts[outcome.verdict] += 1
    figures.done += outcome.done
    if outcome.verdict == "LimitError":
        figures.budget.append(name)
    elif verdict is not None and accepted != verdict:
        figures.disagreements.append(f"{name}: C++ {'accepts' if verdict else 'refuses'}, ours {outcome.verdict}")
    for operation, kind, text in outcome.problems:
        plain = re.sub(r"(?<![\w.])\d+|'[^']*'", "#", text) if kind == "pass" else text.rpartition(" > ")[2] + " | " + text.partition(":")[0]
        figures.problems.setdefault(f"{kind} in {operation.partition('{')[0]}: {plain}", []).append(f"{name}, {operation}: {text}")
    figures.refusals.update(re.sub(r"\{.*\}", "", refusal) for refusal in outcome.refusals)
    figures.caught.update(re.sub(r"\{.*\}: ", ": ", text)[:300] for text in outcome.caught)
    figures.slowest = max(figures.slowest, (outcome.slowest, f"{outcome.slowest_of}, {name}"))
    figures.peak = max(figures.peak, (outcome.peak, name))
