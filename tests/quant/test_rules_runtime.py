"""The facts of the rule table, put to the installed runtime: each deviation is built, run in three resolvers, and must do what the fact says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.runtime import Job, Outcome, needs_runtime, pool
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.quant.rules import FACTS, LITERT, RULES, Behaviour, Fact, Granularity, OpRule, Reaction, Runtime, Topic, WeightForm

from .deviations import MEANINGLESS, Deviation, deviations, lowest_code, weighted
from .oracle import RESOLVERS, Comparison, array, compare, feeds, judge, run_all
from .single import RECIPES, Over, build

pytestmark = needs_runtime

TESTED = [fact for fact in FACTS if set(fact.reactions) & set(LITERT) and next(deviations(fact), None) is not None]


def outcome_fits(outcome: Outcome, reaction: Reaction) -> str | None:
    """What is wrong with an outcome, seen from outside."""
    if reaction.behaviour == Behaviour.REFUSES:
        fits = outcome.status == "error" and reaction.text in outcome.message
    elif reaction.behaviour == Behaviour.CRASHES:
        fits = outcome.status == reaction.text
    elif reaction.behaviour == Behaviour.UNDEFINED:
        fits = outcome.ok or outcome.status.startswith("SIG")
    else:
        fits = outcome.ok
    return None if fits else f"expected {reaction.behaviour.name} {reaction.text!r}, got {outcome.status} {outcome.message[-160:]!r}"


def failures(fact: Fact, cases: Sequence[Deviation]) -> Iterator[str]:
    """Everything in which the runtime does otherwise than the fact says."""
    for case in cases:
        data, inputs = case.build(), _inputs(fact, case)
        comparison: Comparison | None = None
        runs = {b for r in LITERT if r in fact.reactions for b in [fact.reactions[r].behaviour]}
        judged = runs & {Behaviour.FINE, Behaviour.WRONG, Behaviour.UNDEFINED} and (fact.topic not in MEANINGLESS or Behaviour.FINE in runs)
        if case.twin and judged:
            comparison = judge(case.operator, data)
            outcomes = comparison.outcomes
        else:
            outcomes = run_all(data, inputs)
        for runtime in LITERT:
            if runtime in fact.reactions:
                found = outcome_fits(outcomes[runtime], fact.reactions[runtime]) or _values(
                    fact, case, runtime, outcomes[runtime], comparison, inputs
                )
                if found:
                    yield f"{fact.name}: {case.label}, {runtime.value}: {found}"


def _inputs(fact: Fact, case: Deviation) -> dict[int, Any]:
    """Codes for the deviating model: where its parameters mean nothing, those that the sound model is given."""
    sound = case.build_sound() if fact.topic in MEANINGLESS else case.build()
    return feeds(case.feed or case.operator, sound)[0]


def _values(fact: Fact, case: Deviation, runtime: Runtime, outcome: Outcome, comparison: Comparison | None, inputs: dict[int, Any]) -> str | None:
    """What is wrong with the values that came out."""
    behaviour = fact.reactions[runtime].behaviour
    if not outcome.ok:
        return None
    if behaviour == Behaviour.FINE:
        assert comparison is not None
        return None if comparison.right(runtime) else f"values are {comparison.errors[runtime]:.3g} off"
    if behaviour in (Behaviour.WRONG, Behaviour.UNDEFINED) and comparison is not None and fact.topic not in MEANINGLESS:
        return "values are right" if comparison.right(runtime) else None
    if behaviour not in (Behaviour.IGNORES, Behaviour.WRONG):
        return None
    sound = run_all(case.build_sound(), inputs, [runtime])[runtime]
    if not sound.ok:
        return f"the sound model does not run: {sound.message[-160:]}"
    # resolvers may round differently where a deviation only changes who computes
    near = np.abs(array(sound).astype(np.float64) - array(outcome)).max() <= (1 if behaviour == Behaviour.IGNORES else 0)
    if behaviour == Behaviour.IGNORES:
        return None if near else "values depend on it"
    return "values are those of a sound model" if near else None


@pytest.mark.parametrize("fact", TESTED, ids=lambda fact: fact.name)
def test_fact(fact: Fact) -> None:
    """The first case of every fact; the slow test takes all."""
    assert list(failures(fact, [next(deviations(fact))])) == []


@pytest.mark.slow
@pytest.mark.parametrize("fact", TESTED, ids=lambda fact: fact.name)
def test_fact_of_every_operator_and_type(fact: Fact) -> None:
    assert list(failures(fact, list(deviations(fact)))) == []


@pytest.mark.parametrize("fact", [fact for fact in FACTS if fact.least != (1, 1)], ids=lambda fact: fact.name)
def test_smaller_weights_than_a_fact_is_about_are_computed_right(fact: Fact) -> None:
    (type_,), operator = (t.name for t in fact.weights), min(fact.operators)
    rows, columns = fact.least
    smaller = [(4, columns - 2 if fact.even_columns else columns - 1)]
    smaller += [(rows - 1, columns)] if rows > 1 else []
    smaller += [(4, columns + 1)] if fact.even_columns else []
    for shape in smaller:
        comparison = judge(operator, lowest_code(operator, type_, *shape).build())
        assert not fact.concerns(shape) and all(comparison.right(runtime) for runtime in LITERT), (shape, comparison.errors)
    assert fact.concerns((4, columns))


def test_the_oracle_sees_a_wrong_fact() -> None:
    wrong = {
        "zero-scale-abort": Reaction(Behaviour.WRONG), "same-exact": Reaction(Behaviour.FINE), "same-copied": Reaction(Behaviour.FINE),
        "fixed-scale-tanh": Reaction(Behaviour.WRONG), "bias-scale-checked": Reaction(Behaviour.REFUSES, "another text"),
        "absent-convolution-output": Reaction(Behaviour.IGNORES), "bias-absent": Reaction(Behaviour.CRASHES, "SIGABRT"),
    }  # fmt: skip
    facts = {fact.name: fact for fact in FACTS}
    for name, reaction in wrong.items():
        claim = facts[name]._replace(reactions={Runtime.REFERENCE: reaction})
        assert list(failures(claim, [next(deviations(claim))])), name


def test_ties_when_quantizing() -> None:
    data = build("QUANTIZE", "FLOAT32", in0=Over(shape=(8,)), out0=Over(type="INT8", scale=1.0, zero_point=0, shape=(8,)))
    ties = {0: np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5, -3.5], np.float32)}
    away, even = [1, 2, 3, -1, -2, -3, 4, -4], [0, 2, 2, 0, -2, -2, 4, -4]
    outcomes = run_all(data, ties)
    assert {runtime: array(outcome).tolist() for runtime, outcome in outcomes.items()} == {
        Runtime.REFERENCE: away, Runtime.OPTIMIZED: even, Runtime.XNNPACK: even,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type", "content", "codes"),
    [("INT4", b"\x21\x8f", [1, 2, -1, -8]), ("UINT4", b"\x21\x8f", [1, 2, 15, 8]), ("INT2", b"\xe4", [0, 1, -2, -1])],
)
def test_packing(type: str, content: bytes, codes: list[int]) -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    packed = main.tensor("in0", (4,), type, quantize(1.0), buffer=builder.buffer(content))
    main.output(main.apply("DEQUANTIZE", [packed], TensorSpec("out0", (4,))))
    for outcome in run_all(tk.serialize(builder.build()), {}).values():
        assert outcome.ok and array(outcome).tolist() == codes, outcome.message


# ---- the rules themselves ----


@pytest.mark.parametrize("runtime", LITERT, ids=lambda runtime: runtime.name)
def test_versions_that_a_resolver_knows(runtime: Runtime) -> None:
    """Every version from below the lowest to above the highest is loaded: known or not, as the table says."""
    wrong = []
    jobs, expected = [], []
    for rule in RULES.values():
        highest = rule.versions.reference_highest if runtime == Runtime.REFERENCE else rule.versions.highest
        for version in range(rule.versions.lowest - 1, rule.versions.highest + 2):
            if version > 0:
                jobs.append(Job(build(rule.name, "FLOAT32", version=version), RESOLVERS[runtime], recipe=3))
                expected.append((f"{rule.name} {version}", rule.versions.lowest <= version <= highest))
    for (label, known), outcome in zip(expected, pool().run(jobs), strict=True):
        if known == ("Registration failed" in outcome.message):
            wrong.append(label)
    assert wrong == []


# Operators that have no values to compare, or whose parameters for a sound model take more than one rule.
NO_VALUES = {"VAR_HANDLE", "WHERE", "CAST", "SVDF", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
FINE_SCALES = {"EXP": 2e-4, "LOG": 2e-4, "RSQRT": 2e-4, "SQRT": 2e-4, "GELU": 2e-4}  # INT16: tables have few points


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.name not in NO_VALUES], ids=lambda rule: rule.name)
def test_types(rule: OpRule) -> None:
    """Types of the table are computed right by every resolver, unless a fact says otherwise; other types are not, and a fact says so."""
    for type_ in (TensorType.INT8, TensorType.UINT8, TensorType.INT16):
        how: dict[str, Any] = {"version": rule.versions.lowest}
        if rule.name in FINE_SCALES and type_ == TensorType.INT16:
            how["in0"] = Over(scale=FINE_SCALES[rule.name])
        elif rule.name in ("NEG", "SCATTER_ND"):
            zero = Over(zero_point=0)
            how |= {"in0": zero, "in1": zero, "out0": zero} if rule.name == "SCATTER_ND" else {"in0": zero, "out0": zero}
        stated = {runtime: reaction for topic in (Topic.ACTIVATION_TYPE, Topic.VERSION) for fact in rule.about(topic, type_) if fact.operators
                  for runtime, reaction in fact.reactions.items()}  # fmt: skip
        if type_ not in rule.types:
            assert all(stated[runtime].behaviour in (Behaviour.REFUSES, Behaviour.WRONG) for runtime in LITERT), f"{rule.name} {type_.name}"
            continue
        comparison = compare(rule.name, type_.name, 10000 if "in0" in how and type_ == TensorType.INT16 and rule.name in FINE_SCALES else 30, **how)
        signed_sum = rule.name == "SUM" and type_ != TensorType.UINT8
        for runtime in LITERT:
            if stated.get(runtime, Reaction(Behaviour.FINE)).behaviour == Behaviour.REFUSES or (signed_sum and runtime == Runtime.REFERENCE):
                continue
            outcome = comparison.outcomes[runtime]
            assert outcome.ok, f"{rule.name} {type_.name} {runtime.value}: {outcome.message}"
            assert comparison.right(runtime), f"{rule.name} {type_.name} {runtime.value}: {comparison.errors[runtime]} off"


FORMS = [
    (rule, form)
    for rule in RULES.values()
    if rule.weights is not None
    for form in rule.weights.forms
    if form.activation == TensorType.FLOAT32 or rule.name not in NO_VALUES
    if form.granularity != Granularity.BLOCKWISE
    and not (form.activation == TensorType.FLOAT32 and form.weights == TensorType.UINT8)
    and not (rule.name == "EMBEDDING_LOOKUP" and form.activation != TensorType.FLOAT32)
]  # fmt: skip


def form_name(value: OpRule | WeightForm) -> str:
    return value.name if isinstance(value, OpRule) else f"{value.activation.name}-{value.weights.name}-{value.granularity.value}"


@pytest.mark.parametrize(("rule", "form"), FORMS, ids=form_name)
def test_forms_of_weights(rule: OpRule, form: WeightForm) -> None:
    """Every form is computed right by the runtimes that the table names."""
    per_channel = form.granularity == Granularity.PER_CHANNEL
    comparison = compare(rule.name, form.activation.name, **weighted(rule.name, form.activation.name, form.weights.name, per_channel))
    for runtime in form.runtimes:
        outcome = comparison.outcomes[runtime]
        assert outcome.ok, f"{runtime.value}: {outcome.message}"
        assert comparison.right(runtime), f"{runtime.value}: {comparison.errors[runtime]} off"


LEGACY = [
    rule for rule in RULES.values() if rule.weights is not None and rule.weights.form(TensorType.FLOAT32, TensorType.UINT8, Granularity.PER_TENSOR)
]


@pytest.mark.parametrize("rule", LEGACY, ids=lambda rule: rule.name)
def test_uint8_in_hybrid_operators_means_int8_codes(rule: OpRule) -> None:
    """The same bytes under both names give the same values."""
    rng, made = np.random.default_rng(4), []
    sound = weighted(rule.name, "FLOAT32", "INT8", False)
    codes = {name: rng.integers(-127, 128, RECIPES[rule.name].inputs[int(name[2:])].shape).astype(np.int8) for name in sound}
    for type_, dtype in (("INT8", np.int8), ("UINT8", np.uint8)):
        over = {name: Over(type=type_, quantization=sound[name].quantization, values=codes[name].view(dtype)) for name in sound}
        made.append(build(rule.name, "FLOAT32", **over))
    signed, unsigned = (run_all(data, feeds(rule.name, data)[0]) for data in made)
    for runtime in LITERT:
        np.testing.assert_array_equal(array(signed[runtime]), array(unsigned[runtime]))


def test_forms_that_are_missing_are_not_computed() -> None:
    """Types and granularities outside the table are refused or wrong in every runtime: a form that works is not withheld."""
    working = []
    for rule in RULES.values():
        if rule.weights is None or rule.name in NO_VALUES or rule.weights.quantized_dimension is None:
            continue
        for activation, weights, granularity in product(
            ("FLOAT32", "INT8", "UINT8", "INT16"), ("INT8", "UINT8", "INT4", "INT2"), (Granularity.PER_TENSOR, Granularity.PER_CHANNEL)
        ):
            known = rule.weights.form(TensorType[activation], TensorType[weights], granularity) is not None
            if known or activation not in ("FLOAT32", *(type_.name for type_ in rule.types)):
                continue
            if rule.name == "EMBEDDING_LOOKUP" and activation != "FLOAT32":
                continue
            comparison = compare(rule.name, activation, **weighted(rule.name, activation, weights, granularity == Granularity.PER_CHANNEL))
            if any(comparison.right(runtime) for runtime in comparison.errors) and (rule.name, activation, weights) not in RIGHT_BY_CHANCE:
                working.append(f"{rule.name} {activation} {weights} {granularity.value}")
    assert working == []


# One scale where one per channel is wanted: memory behind it decides.
RIGHT_BY_CHANCE = {("DEPTHWISE_CONV_2D", "FLOAT32", "INT8")}


@pytest.mark.parametrize("name", ["QUANTIZE", "DEQUANTIZE"])
def test_pairs(name: str) -> None:
    """The pairs of the table run, all others are refused."""
    wrong, rule = [], RULES[BuiltinOperator[name]]
    kinds = ("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "INT4", "UINT4", "INT2", "FLOAT16")
    targets = kinds if name == "QUANTIZE" else ("FLOAT32",)
    for source, target in product(kinds, targets):
        pair = TensorType[source], TensorType[target]
        outcomes = run_all(conversion(name, source, target), {})
        for runtime, outcome in outcomes.items():
            if runtime == Runtime.XNNPACK and {source, target} & {"FLOAT16"} | {source} & {target} & {"FLOAT32"}:
                continue  # the fact quantize-float16
            refused = outcome.status == "error" and "failed to prepare" in outcome.message
            if refused == (pair in rule.pairs):
                wrong.append(f"{source} -> {target}, {runtime.value}: {outcome.status} {outcome.message}")
    assert wrong == []


def conversion(name: str, source: str, target: str) -> bytes:
    """A constant that is converted, then reshaped so that the type of the output need not be readable."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    floats = source in ("FLOAT32", "FLOAT16")
    values = np.array([0, 1, 1, 0], np.float16 if source == "FLOAT16" else np.float32 if floats else np.int8)
    data = main.constant("in0", values, source, None if floats else quantize(0.5))
    main.output(main.apply(name, [data], TensorSpec("out0", (4,), target, None if target in ("FLOAT32", "FLOAT16") else quantize(0.25))))
    return tk.serialize(builder.build())


def test_delegated(tmp_path: Path) -> None:
    """XNNPACK takes exactly the operators and types that the table says."""
    for rule in RULES.values():
        for type_ in sorted(rule.types & {TensorType.INT8, TensorType.UINT8, TensorType.INT16}):
            (tmp_path / f"{rule.name}-{type_.name}").write_bytes(build(rule.name, type_.name, version=rule.versions.lowest))
    script = (
        "import pathlib, sys\nfrom ai_edge_litert.interpreter import Interpreter\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    made = Interpreter(model_content=path.read_bytes()); made.allocate_tensors()\n"
        "    print(path.name, any(op['op_name'] == 'DELEGATE' for op in made._get_ops_details()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=120)
    taken = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" True")}
    wanted = {f"{rule.name}-{type_.name}" for rule in RULES.values() for type_ in rule.delegated}
    assert {name for name in taken if "VARIABLE" not in name} == wanted
