"""The audit's predictions against the runtime: mutate one field of a real model, say what each resolver will do, and look.

`python -m tests.audit.test_prediction COUNT SEED` prints the agreement, by runtime and by kind of mutation, beside what always saying the commonest
outcome would reach, what the oracle of `legality.py` says of the mutations, and everything that disagrees. A fifth of the models, chosen by a hash of
their names, is held out: rules were never tuned on them. `--held-out` runs on these alone.
"""

from __future__ import annotations

import argparse
import json
import random
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.legality import label
from tests.audit.mutations import Mutation, draw
from tests.conftest import MODELS
from tests.runtime import needs_runtime
from tflitekit.audit import Finding, foretold
from tflitekit.quant.rules import Runtime

RESOLVERS = {Runtime.REFERENCE: runtime.REFERENCE, Runtime.OPTIMIZED: runtime.NO_DELEGATES, Runtime.XNNPACK: runtime.DEFAULT}
LARGEST = 600_000  # bytes; larger models take longer to run and are broken in the same ways
SEED = 5
ENOUGH = 15  # cases of a kind, from which on it has an agreement of its own


def held_out(name: str) -> bool:
    """Whether a model is one of the fifth that nothing was tuned on."""
    return zlib.crc32(name.encode()) % 5 == 0


def quantized_models(unseen: bool = False) -> list[Path]:
    """Real models that run and have quantized tensors; `unseen` are those held out."""
    manifest = json.loads((MODELS / "manifest.json").read_text())
    plain = ("float32", "no-weights", "float16-weights")
    names = [m["name"] for m in manifest if m["runnable"] == "yes" and m["class"] not in plain and m["size"] < LARGEST]
    return [MODELS / name for name in names if held_out(name) == unseen]


@cache
def content(path: Path) -> bytes:
    """The bytes of a model: thousands of readings should not hold as many files."""
    return path.read_bytes()


@cache
def original(path: Path) -> tuple[tk.Model, frozenset[str]]:
    """A model and its findings."""
    model = tk.parse(content(path))
    return model, frozenset(map(str, tk.audit(model).findings))


@dataclass(frozen=True)
class Trial:
    """A mutant, what the audit says of it, and what the oracle does."""

    mutation: Mutation
    path: Path
    data: bytes
    predicted: dict[Runtime, str]
    label: str
    new: tuple[Finding, ...]  # findings that the original does not have

    @property
    def name(self) -> str:
        return f"{self.mutation.kind}: {self.mutation.model} {self.mutation.where}"

    def reported(self) -> bool:
        """Whether something is said of the place that was mutated, or of an operator that uses it."""
        model = tk.parse(self.data)
        place = model.at(self.mutation.path)
        near = {self.mutation.path}
        for number, subgraph in enumerate(model.subgraphs):
            for index, operator in enumerate(subgraph.operators):
                if operator is place or any(t is place for t in (*operator.inputs, *operator.outputs)):
                    near.add(f"subgraphs[{number}].operators[{index}]")
        return any(f.path in near or f.operator in near for f in self.new)


def trials(count: int, seed: int, unseen: bool = False) -> list[Trial]:
    """Models with one field changed. A draw that cannot be applied is drawn again, whatever it was."""
    rng, paths = random.Random(seed), quantized_models(unseen)
    made: list[Trial] = []
    while len(made) < count:
        path = rng.choice(paths)
        model = tk.parse(content(path))
        mutation = draw(model, path.name, rng)
        if mutation is not None:
            data = tk.serialize(model)
            mutant, (sound, known) = tk.parse(data), original(path)
            findings = tk.audit(mutant).findings
            new = tuple(f for f in findings if str(f) not in known)
            made.append(Trial(mutation, path, data, {kind: foretold(findings, kind) for kind in RESOLVERS}, label(sound, mutant), new))
    return made


def outcome(result: runtime.Outcome) -> str:
    """What became of a run, in the words of the rules."""
    return "runs" if result.ok else "crashes" if result.status.startswith("SIG") else "refuses"


class Score:
    """Agreement, counted."""

    def __init__(self, count: int, seed: int, unseen: bool = False) -> None:
        self.trials = trials(count, seed, unseen)
        jobs = [runtime.Job(t.data, resolver, timeout=20) for t in self.trials for resolver in RESOLVERS.values()]
        results = iter(runtime.pool().run(jobs))
        self.agreed: Counter[Runtime] = Counter()
        self.seen: dict[Runtime, Counter[str]] = {kind: Counter() for kind in RESOLVERS}
        self.kinds: dict[str, Counter[bool]] = defaultdict(Counter)
        self.commonest: dict[tuple[str, Runtime], Counter[str]] = defaultdict(Counter)
        self.wrong: dict[str, list[str]] = defaultdict(list)
        self.running: list[Trial] = []  # those that a builtin resolver runs
        for trial in self.trials:
            seen = {kind: outcome(next(results)) for kind in RESOLVERS}
            if "runs" in (seen[Runtime.REFERENCE], seen[Runtime.OPTIMIZED]):
                self.running.append(trial)
            for kind, predicted in trial.predicted.items():
                self._count(trial.mutation, kind, predicted, seen[kind])

    def _count(self, mutation: Mutation, kind: Runtime, predicted: str, seen: str) -> None:
        self.agreed[kind] += predicted == seen
        self.seen[kind][seen] += 1
        self.kinds[mutation.kind][predicted == seen] += 1
        self.commonest[mutation.kind, kind][seen] += 1
        if predicted != seen:
            self.wrong[f"{mutation.kind} of {mutation.model} {mutation.where}: {predicted} foretold, {seen}"].append(kind.value)

    def agreement(self, kind: Runtime) -> float:
        return self.agreed[kind] / self.seen[kind].total()

    def majority(self, kind: Runtime) -> float:
        return max(self.seen[kind].values()) / self.seen[kind].total()

    def agreement_of(self, name: str) -> float:
        return self.kinds[name][True] / self.kinds[name].total()

    def majority_of(self, name: str) -> float:
        """What the commonest outcome of a kind in each runtime would reach."""
        return sum(max(self.commonest[name, kind].values()) for kind in RESOLVERS) / self.kinds[name].total()

    def cases(self, name: str) -> int:
        """Mutants of a kind."""
        return self.kinds[name].total() // len(RESOLVERS)

    def silent(self) -> list[str]:
        """Mutants that break a rule, run with other values in some tensor, and of which the audit says nothing."""
        suspects = [t for t in self.running if t.label == "breaks-rule" and not t.reported()]
        return [t.name for t in suspects if changes(t)]

    def accused(self) -> list[str]:
        """Legal mutants with an error that the original does not have."""
        return [f"{t.name}: {f}" for t in self.trials if t.label == "legal" for f in t.new if f.severity == "error"]

    def report(self) -> str:
        lines = [f"{kind.value:28} {self.agreement(kind):.3f} (majority {self.majority(kind):.3f})" for kind in RESOLVERS]
        lines += [
            f"{name:28} {self.agreement_of(name):.2f} (majority {self.majority_of(name):.2f}) of {self.cases(name)}" for name in sorted(self.kinds)
        ]
        labels, models = Counter(t.label for t in self.trials), {t.path for t in self.trials}
        lines.append(f"{len(self.trials)} mutants of {len(models)} models: {labels['breaks-rule']} break a rule, {labels['legal']} are legal")
        lines += [f"not reported: {name}" for name in self.silent()] + [f"accused: {name}" for name in self.accused()]
        return "\n".join([*lines, *(f"{what} ({', '.join(kinds)})" for what, kinds in sorted(self.wrong.items()))])


def changes(trial: Trial) -> bool:
    """Whether a tensor has other values than in the original, in a builtin resolver that runs both."""
    for resolver in (runtime.NO_DELEGATES, runtime.REFERENCE):
        before, again, after = runtime.pool().run([runtime.Job(source, resolver, digests=True) for source in (trial.path, trial.path, trial.data)])
        if before.ok and after.ok:
            own = [n for n in range(len(original(trial.path)[0].subgraphs[0].tensors)) if before.digests.get(n) == again.digests.get(n)]
            if any(before.digests.get(n) != after.digests.get(n) for n in own) or before.outputs != after.outputs:
                return True
    return False




@needs_runtime
def test_predictions_of_a_few(models: Path) -> None:
    """The short version: few cases, so with slack."""
    score = Score(60, SEED)
    assert len({trial.path for trial in score.trials}) >= 15
    for kind in RESOLVERS:
        assert score.agreement(kind) >= 0.88, score.report()
    assert score.silent() == [] and score.accused() == []


@pytest.mark.slow
@needs_runtime
def test_predictions_agree_with_the_runtimes(models: Path) -> None:
    score = Score(1200, SEED)
    print(score.report())
    assert len({trial.path for trial in score.trials}) >= 15
    for kind in RESOLVERS:
        assert score.agreement(kind) >= 0.95, score.report()
    for name in score.kinds:
        assert score.cases(name) < ENOUGH or score.agreement_of(name) >= 0.8, f"{name}\n{score.report()}"
    assert score.silent() == [] and score.accused() == []


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--held-out", action="store_true", help="the fifth of the models that nothing was tuned on")
    given = parser.parse_args()
    print(Score(given.count, given.seed, given.held_out).report())
