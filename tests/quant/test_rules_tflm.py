"""What the rules and the audit say of TensorFlow Lite Micro, put to its wheel (the `tflm` extra; opt-in: pytest -m slow)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests import runtime, tflm
from tests.quant.deviations import deviations, weighted
from tests.quant.single import RECIPES, build
from tflitekit._schema import BuiltinOperator
from tflitekit.audit import ERROR
from tflitekit.quant.rules import FACTS, RULES, Behaviour, Fact, Granularity, Runtime, Topic

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not tflm.available(), reason="needs the tflm extra (tflite-micro)"),
]
STATED = [fact for fact in FACTS if Runtime.TFLM in fact.reactions]
# Sound operators that TFLM refuses for another reason than their types: what the recipe makes of them is not what it takes.
OTHERWISE = {
    ("QUANTIZE", "FLOAT32"): "the recipe's output has the type of its input",
    ("QUANTIZE", "UINT8"): "the recipe's output has the type of its input",
    ("DEQUANTIZE", "FLOAT32"): "a converter of codes",
    ("SVDF", "INT8"): "it compares the scale of the bias with that of the state, where the converter's product is taken by LiteRT",
    ("BATCH_MATMUL", "INT16"): "the recipe's second operand is INT8: see tflm-hybrid-matmul",
}  # fmt: skip


_BUILT = (Topic.ACTIVATION_TYPE, Topic.VERSION, Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY)


def cases(fact: Fact) -> Iterator[tuple[str, bytes, bytes | None]]:
    """(label, model, a sound one to compare with or None) for every operator and type that a fact speaks of."""
    if fact.topic not in _BUILT or not fact.operators:
        yield from ((d.label, d.build(), d.build_sound()) for d in deviations(fact))
        return
    for operator in sorted(fact.operators):
        for activation in sorted(t.name for t in fact.activation) or ["FLOAT32"]:
            if fact.topic not in (Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY):
                yield f"{operator} {activation}", build(operator, activation), None
                continue
            rule = RULES[BuiltinOperator[operator]]
            assert rule.weights is not None
            for form in rule.weights.forms:
                fits = (not fact.weights or form.weights in fact.weights) and (not fact.granularity or form.granularity in fact.granularity)
                if form.activation.name == activation and fits and form.granularity != Granularity.BLOCKWISE:
                    made = weighted(operator, activation, form.weights.name, form.granularity == Granularity.PER_CHANNEL)
                    yield f"{operator} {activation} {form.weights.name} {form.granularity.value}", build(operator, activation, **made), None


@pytest.mark.parametrize("fact", STATED, ids=lambda fact: fact.name)
def test_what_is_stated_is_what_happens(fact: Fact) -> None:
    reaction = fact.reactions[Runtime.TFLM]
    made = list(cases(fact))
    assert made, "a fact without a case is not verified"
    with ThreadPoolExecutor(2) as pool:
        for (label, data, sound), outcome in zip(made, pool.map(lambda case: tflm.run(case[1]), made), strict=True):
            assert outcome.kind == reaction.outcome, (label, outcome)
            assert reaction.behaviour != Behaviour.REFUSES or reaction.text in outcome.message, (label, outcome.message)
            if reaction.behaviour in (Behaviour.FINE, Behaviour.IGNORES) and sound is not None:
                assert np.array_equal(*(_output(model) for model in (data, sound))), label


def _output(data: bytes) -> npt.NDArray[Any]:
    """What comes out for numbers that are no zeros."""
    rng = np.random.default_rng(5)
    shapes = [t.shape for t in tk.parse(data).subgraphs[0].inputs if t is not None]
    found: npt.NDArray[Any] = tflm.run(data, {i: rng.integers(-40, 40, shape) for i, shape in enumerate(shapes)}).outputs[0]
    assert len(np.unique(found)) > 1
    return found


def test_what_is_read_past_its_end_is_not_what_the_operator_computes() -> None:
    name = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    data = build(name, "FLOAT32", **weighted(name, "FLOAT32", "INT8", False))
    first = tk.parse(data).subgraphs[0].inputs[0]
    assert first is not None
    x = np.random.default_rng(3).uniform(-1, 1, first.shape).astype(np.float32)
    right = np.frombuffer(runtime.run(data, inputs={0: x}).outputs[0][2], np.float32)
    found = tflm.run(data, {0: x}).outputs[0].reshape(-1)
    assert not np.allclose(found, right, atol=0.1)


def _refused(operator: str, type: str) -> bool:
    facts = [f for f in RULES[BuiltinOperator[operator]].facts if Runtime.TFLM in f.reactions and type in {t.name for t in f.activation}]
    absent = any(f.name == "tflm-absent" for f in RULES[BuiltinOperator[operator]].facts)
    return absent or any(f.topic == Topic.ACTIVATION_TYPE for f in facts)


@pytest.mark.parametrize("type", ["FLOAT32", "INT8", "INT16", "UINT8"])
def test_what_is_not_stated_runs(type: str) -> None:
    """Each operator in each type that LiteRT computes: refused by TFLM exactly where a fact says so."""
    names = [name for name in RECIPES if type == "FLOAT32" or type in {t.name for t in RULES[BuiltinOperator[name]].types}]
    names = [name for name in names if not _refused(name, type) and (name, type) not in OTHERWISE]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(names, pool.map(lambda name: tflm.run(build(name, type)), names), strict=True))
    assert {name: outcome.message for name, outcome in found.items() if outcome.kind != "runs"} == {}


def test_the_audit_of_real_models_agrees(model_path: Path) -> None:
    """What the audit foretells to be refused is refused."""
    model = tk.read(model_path)
    findings = tk.audit(model, runtime=Runtime.TFLM).findings
    foretold = [f for f in findings if Runtime.TFLM in f.reactions and f.reactions[Runtime.TFLM].behaviour in (Behaviour.REFUSES, Behaviour.CRASHES)]
    if not foretold:
        pytest.skip("nothing is foretold")
    assert foretold[0].severity_for(Runtime.TFLM) == ERROR
    assert tflm.run(model_path.read_bytes(), arena=64 << 20).kind in ("refuses", "crashes"), str(foretold[0])
