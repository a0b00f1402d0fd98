"""`fix-quantization` on the mutants of the prediction test: what follows from the rest of the file is restored, all else is refused with a reason.

`follows` is an oracle of its own: it looks at the sound model and says whether the mutated value could be derived from what was not mutated. It knows
nothing of how repairs are made. `python -m tests.passes.test_repairs COUNT SEED` prints what became of the mutants by kind.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.mutations import BIASES, WEIGHTS
from tests.audit.test_prediction import Trial, original, trials
from tests.runtime import needs_runtime
from tflitekit.graph import Model, Operator, Tensor

# Operators whose output has the same parameters whatever its input has (from the TFLite quantization specification).
FIXED = ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION", "LOG_SOFTMAX")
BROKEN_SCALE = ("one scale zero", "one scale negative", "one scale nan", "one scale subnormal", "scale removed", "scale added")
# Of these only the metadata is restored, so the runtime has to compute bit by bit what it computes for the sound model.
ONE_WEIGHT = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def scales(tensor: Tensor | None) -> np.ndarray:
    return np.empty(0, np.float32) if tensor is None or tensor.quantization is None else tensor.quantization.scale


def users(model: Model, tensor: Tensor) -> list[Operator]:
    return [o for o in model.operators() if any(t is tensor for t in (*o.inputs, *o.outputs))]


def equation(operator: Operator) -> bool:
    """Whether the operator has a bias whose scale is input x weights, channel by channel."""
    if operator.op_name not in ONE_WEIGHT:
        return False
    bias = BIASES[operator.op_name][0]
    if len(operator.inputs) <= bias or operator.inputs[bias] is None:
        return False
    source = operator.inputs[2 if operator.op_name == "TRANSPOSE_CONV" else 0]
    a, w, b = (scales(t) for t in (source, operator.inputs[WEIGHTS[operator.op_name][0]], operator.inputs[bias]))
    return len(a) == 1 and 0 < len(w) == len(b) and bool(np.allclose(a * w, b, rtol=1e-6, atol=0))


def follows(trial: Trial) -> bool:
    """Whether the value before the mutation follows from the rest of the file."""
    sound, mutation = original(trial.path)[0], trial.mutation
    place = sound.at(mutation.path)
    if not isinstance(place, Tensor) or place.quantization is None:
        return False
    around, q = users(sound, place), place.quantization
    if mutation.kind == "dimension":
        return len(q.scale) == 1 or place.shape.count(len(q.scale)) == 1
    if mutation.kind == "zero point removed":
        return len(q.zero_point) > 1 and len(set(q.zero_point.tolist())) == 1
    if mutation.role == "bias" and mutation.kind in (*BROKEN_SCALE, "scale doubled", "zero point one up", "zero point far off"):
        return all(equation(o) for o in around)
    if mutation.role == "weights" and mutation.kind in BROKEN_SCALE and len(q.scale) > 1:
        return all(equation(o) for o in around)
    if mutation.role == "output" and mutation.field in ("scale", "zero_point") and mutation.kind != "scale one step up":
        return any(o.op_name in FIXED and any(t is place for t in o.outputs) and len(around) == 1 for o in around)
    return mutation.kind == "scale added" and len(q.scale) == 1


class Outcome:
    """A mutant after `fix-quantization`, beside the sound model after it."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.mutant = trial, tk.parse(trial.data)
        self.result = tk.run(self.mutant, tk.passes.FixQuantization())
        self.sound = tk.run(original(trial.path)[0], tk.passes.FixQuantization()).model
        self.left = {f.code for f in tk.audit(self.result.model).findings if str(f) not in original(trial.path)[1] and f.severity != "info"}
        self.reasons = {note.data["code"] for note in self.result.refused}

    @property
    def restored(self) -> bool:
        """Whether the mutated tensor has the parameters that it had, bit by bit."""
        before, after = (m.at(self.trial.mutation.path) for m in (original(self.trial.path)[0], self.result.model))
        if not isinstance(before, Tensor) or before.quantization is None or after.quantization is None:
            return False
        a, b = before.quantization, after.quantization
        same = a.scale.tobytes() == b.scale.tobytes() and a.zero_point.tobytes() == b.zero_point.tobytes()
        return same and (len(a.scale) == 1 or a.quantized_dimension == b.quantized_dimension)

    def computes_the_same(self) -> bool:
        """Whether the repaired model gives, bit by bit, what the sound one gives, where that runs."""
        for resolver in (runtime.NO_DELEGATES, runtime.REFERENCE):
            sound, repaired = (runtime.run(tk.serialize(m), resolver) for m in (self.sound, self.result.model))
            if sound.ok and (not repaired.ok or sound.outputs != repaired.outputs):
                return False
        return True

    def word(self) -> str:
        if self.left:
            return "refused" if self.left <= self.reasons else "left"
        if self.restored:
            return "restored"
        return "repaired" if self.result.changes else "nothing found"


def check(count: int, seed: int, run_all: bool) -> dict[str, Counter[str]]:
    """Repair the mutants and hold them to the promises; how each kind ended."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials(count, seed):
        if trial.label == "legal" and not trial.new:
            continue
        outcome = Outcome(trial)
        assert outcome.left <= outcome.reasons, (trial.name, outcome.left, [str(n) for n in outcome.result.notes])
        if trial.label == "breaks-rule" and follows(trial):
            assert not outcome.left, (trial.name, [str(n) for n in outcome.result.notes])
            if outcome.restored or trial.mutation.role == "bias":
                assert not run_all or outcome.computes_the_same(), trial.name
            if not outcome.restored:  # converters round the product in other ways; bias / input has neighbours with the same product
                assert trial.mutation.role in ("weights", "bias"), (trial.name, [str(n) for n in outcome.result.notes])
                before, after = (scales(m.at(trial.mutation.path)) for m in (original(trial.path)[0], outcome.result.model))
                np.testing.assert_allclose(after, before, rtol=1e-6, err_msg=trial.name)
            found[trial.mutation.kind][f"follows: {outcome.word()}"] += 1
        else:
            found[trial.mutation.kind][f"{trial.label}: {outcome.word()}"] += 1
    return found




@needs_runtime
def test_a_few_mutants_are_repaired_or_refused(models: Path) -> None:
    found = check(70, 11, True)
    assert sum(n for counts in found.values() for word, n in counts.items() if word.startswith("follows")) >= 8


@pytest.mark.slow
@needs_runtime
def test_mutants_are_repaired_or_refused(models: Path) -> None:
    found = check(1200, 5, True)
    print("\n".join(f"{kind}: {dict(counts)}" for kind, counts in sorted(found.items())))
    assert sum(n for counts in found.values() for word, n in counts.items() if word.startswith("follows")) >= 100


if __name__ == "__main__":
    for name, outcomes in sorted(check(int(sys.argv[1]), int(sys.argv[2]), True).items()):
        print(f"{name:24} {dict(outcomes)}")
