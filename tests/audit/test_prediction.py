"""The audit's predictions against the runtime: mutate one field of a real model, say what each resolver will do, and look.

`python -m tests.audit.test_prediction COUNT SEED` prints the agreement, by runtime and by kind of mutation, beside what always saying the commonest
outcome would reach, and the disagreements.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.mutations import Mutation, draw
from tests.conftest import MODELS
from tflitekit.quant.rules import Runtime

RESOLVERS = {Runtime.XNNPACK: runtime.DEFAULT, Runtime.OPTIMIZED: runtime.NO_DELEGATES, Runtime.REFERENCE: runtime.REFERENCE}
LARGEST = 600_000  # bytes; larger models take longer to run and are broken in the same ways
WORSE_THAN = ("crashes", "refuses")  # the first of these that a finding foretells; else the model runs


def quantized_models() -> list[Path]:
    """Real models that run and compute on codes."""
    manifest = json.loads((MODELS / "manifest.json").read_text())
    plain = ("float32", "no-weights", "float16-weights")
    return [MODELS / m["name"] for m in manifest if m["runnable"] == "yes" and m["class"] not in plain and m["size"] < LARGEST]


def mutants(count: int, seed: int) -> list[tuple[Mutation, bytes]]:
    """Models with one field changed, uniformly over models; draws without a quantized operand are drawn again."""
    rng = random.Random(seed)
    paths = quantized_models()
    made: list[tuple[Mutation, bytes]] = []
    while len(made) < count:
        path = rng.choice(paths)
        model = tk.read(path)
        mutation = draw(model, path.name, rng)
        if mutation is not None:
            made.append((mutation, tk.serialize(model)))
    return made


def predictions(data: bytes) -> dict[Runtime, str]:
    """What each runtime will do, by the findings."""
    findings = tk.audit(tk.parse(data)).findings
    foretold = {kind: {f.reactions[kind].outcome for f in findings if kind in f.reactions} for kind in RESOLVERS}
    return {kind: next((o for o in WORSE_THAN if o in outcomes), "runs") for kind, outcomes in foretold.items()}


def outcome(result: runtime.Outcome) -> str:
    """What became of a run, in the words of the rules."""
    return "runs" if result.ok else "crashes" if result.status.startswith("SIG") else "refuses"


class Score:
    """Agreement, counted."""

    def __init__(self, count: int, seed: int) -> None:
        made = mutants(count, seed)
        results = iter(runtime.pool().run([runtime.Job(data, resolver, timeout=20) for _, data in made for resolver in RESOLVERS.values()]))
        self.agreed: Counter[Runtime] = Counter()
        self.seen: dict[Runtime, Counter[str]] = {kind: Counter() for kind in RESOLVERS}
        self.kinds: dict[str, Counter[bool]] = defaultdict(Counter)
        self.wrong: Counter[str] = Counter()
        for mutation, data in made:
            for kind, predicted in predictions(data).items():
                seen = outcome(next(results))
                self.agreed[kind] += predicted == seen
                self.seen[kind][seen] += 1
                self.kinds[mutation.kind][predicted == seen] += 1
                if predicted != seen:
                    self.wrong[f"{kind.value}: {mutation.kind} of {mutation.where.partition(' (')[2][:-1]}: {predicted} foretold, {seen}"] += 1

    def agreement(self, kind: Runtime) -> float:
        return self.agreed[kind] / self.seen[kind].total()

    def majority(self, kind: Runtime) -> float:
        return max(self.seen[kind].values()) / self.seen[kind].total()

    def report(self) -> str:
        lines = [f"{kind.value:20} {self.agreement(kind):.3f} (majority {self.majority(kind):.3f})" for kind in RESOLVERS]
        lines += [f"{name:22} {hits[True] / hits.total():.2f} of {hits.total()}" for name, hits in sorted(self.kinds.items())]
        return "\n".join([*lines, *(f"{n} x {what}" for what, n in self.wrong.most_common(60))])


@pytest.mark.slow
@pytest.mark.skipif(not runtime.available(), reason="needs the runtime extra (ai-edge-litert)")
def test_predictions_agree_with_the_runtimes(models: Path) -> None:
    score = Score(600, 5)
    print(score.report())
    for kind in RESOLVERS:
        assert score.agreement(kind) > max(0.8, score.majority(kind) + 0.2), score.report()


if __name__ == "__main__":
    print(Score(int(sys.argv[1]), int(sys.argv[2])).report())
