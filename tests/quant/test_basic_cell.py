"""The LSTM cell of five inputs and four outputs, put to the installed runtime: sound, and with one operand changed; what the audit says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests.runtime import Outcome, needs_runtime
from tflitekit.audit import Finding, foretold
from tflitekit.passes import ConvertActivations, FixQuantization, RequantizeWeights, SetInputStats
from tflitekit.quant.rules import LITERT, Behaviour, Runtime
from tflitekit.quant.rules.basic_cell import CODED
from tflitekit.quant.rules.taken import BASIC_CELL, TAKEN, mismatches

from .basic_cell import NAMES, PARAMETERS, SIZE, TYPES, basic_cell, cell_of, real, step
from .oracle import run_all

pytestmark = needs_runtime

LSB = 1.5
KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "UINT16", "FLOAT16", "BOOL")


def feeds(data: bytes) -> list[npt.NDArray[Any]]:
    """Data, activation and state, in the types that the cell has for them."""
    rng = np.random.default_rng(1)
    x, h, c = (rng.uniform(-bound, bound, (1, SIZE)) for bound in (1, 1, 2))
    if tk.parse(data).subgraphs[0].inputs[0].type.name == "FLOAT32":  # type: ignore[union-attr]
        return [value.astype(np.float32) for value in (x, h, c)]
    return [np.rint(x * 127 + 128).astype(np.uint8), np.rint(h * 127 + 128).astype(np.uint8), np.rint(c * 2048).astype(np.int16)]


def errors(data: bytes, outcome: Outcome, fed: list[npt.NDArray[Any]] | None = None) -> float:
    """How far activation and state are from real values, in steps of the kernel's codes; of floats in 2^-20."""
    found = []
    for tensor, wanted, (dtype, shape, content) in zip(cell_of(data).outputs, step(data, fed or feeds(data)), outcome.outputs, strict=False):
        assert tensor is not None
        unit = {"<f4": 2**-20, "|u1": 2**-7, "<i2": 2**-11}[dtype]
        found.append(float(np.abs(real(tensor, np.frombuffer(content, dtype).reshape(shape)) - wanted).max()) / unit)
    return max(found)


@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_sound_cells_are_computed_right_and_not_accused(kind: str) -> None:
    for fed in (True, False):
        assert tk.audit(tk.parse(basic_cell(kind, fed=fed))).findings == ()
    data = basic_cell(kind, fed=True)
    for runtime, outcome in run_all(data, dict(enumerate(feeds(data)))).items():
        assert outcome.ok, (runtime, outcome.message)
        assert errors(data, outcome) <= LSB, runtime
    # variables start at code 0, which is -1 in UINT8
    data, x = basic_cell(kind), feeds(data)[0]
    for runtime, outcome in run_all(data, {0: x}).items():
        assert errors(data, outcome, [x, np.zeros_like(x), np.zeros_like(feeds(data)[2])]) <= LSB, runtime


def told(findings: tuple[Finding, ...], runtime: Runtime) -> str:
    """What the audit says of a runtime: "refuses", "wrong" or "fine"."""
    if foretold(findings, runtime) == "refuses":
        return "refuses"
    return "wrong" if any(f.reactions[runtime].behaviour == Behaviour.WRONG for f in findings if runtime in f.reactions) else "fine"


def disagreements(data: bytes, label: str) -> Iterator[str]:
    """Runtimes that do otherwise than the audit says."""
    findings = tk.audit(tk.parse(data)).findings
    inputs = {n: v.astype(t.type.name.lower()) for n, (t, v) in enumerate(zip(tk.parse(data).subgraphs[0].inputs, feeds(data), strict=True)) if t}
    for runtime, outcome in run_all(data, inputs).items():
        assert outcome.ok or outcome.status == "error"
        found = "refuses" if not outcome.ok else "fine" if errors(data, outcome) <= LSB else "wrong"
        if found != told(findings, runtime):
            yield f"{label} {runtime.value}: {found} {outcome.message[-80:]}, the audit says {[(f.code, f.message) for f in findings]}"


def other_types(kind: str, operand: str, kinds: tuple[str, ...]) -> list[str]:
    made = [name for name in kinds if name != TYPES[kind][operand]]
    return [text for name in made for text in disagreements(basic_cell(kind, fed=True, type=(operand, name)), f"{kind} {operand} {name}")]


@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_operands_of_another_type_are_refused(kind: str) -> None:
    assert [text for operand in NAMES for text in other_types(kind, operand, ("INT16", "INT8"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_operands_of_every_type(kind: str) -> None:
    assert [text for operand in NAMES for text in other_types(kind, operand, KINDS)] == []


# Of the scale of what the cell gave last, which the kernel takes to be that of its data, the audit says nothing: it could not say which one is wrong.
UNSAID = {("in1", "scale")}
# A zero point of a bias is told, but in passing; without parameters, weights mean nothing that could be compared.
HELD_BACK = {("in3", "zero point"), ("in3", "none"), ("in2", "none")}


def changed(operand: str) -> Iterator[tuple[str, tuple[float, int] | None]]:
    scale, zero_point = PARAMETERS[operand]
    yield from (("scale", (scale * 2, zero_point)), ("scale", (scale * 1.02, zero_point)), ("zero point", (scale, zero_point + 9)), ("none", None))


@pytest.mark.parametrize("operand", NAMES)
def test_parameters_that_the_kernel_does_not_have(operand: str) -> None:
    found = []
    for what, parameters in changed(operand):
        if (operand, what) not in UNSAID | HELD_BACK:
            found += list(disagreements(basic_cell("UINT8", fed=True, other={operand: parameters}), f"{operand} {what} {parameters}"))
    assert found == []


def test_weights_and_bias_without_parameters_are_told() -> None:
    for operand in ("in2", "in3"):
        findings = tk.audit(tk.parse(basic_cell("UINT8", other={operand: None}))).findings
        assert [(f.code, f.path) for f in findings] == [("Q106", f"subgraphs[0].tensors[{operand[2]}]")]


def test_scales_that_are_nearly_right() -> None:
    """The kernel asks for the state's within 0.1 % of the logarithm; others move no code by more than a step."""
    cases = (("out1", 6.8e-4, ""), ("out1", 7e-4, "error"), ("out0", 3e-3, "warning"), ("in3", 3e-3, "warning"), ("in4", 1e-3, "error"))
    for operand, off, code in cases:
        scale, zero_point = PARAMETERS[operand]
        data = basic_cell("UINT8", fed=True, other={operand: (scale * (1 + off), zero_point)})
        assert "".join(f.severity for f in tk.audit(tk.parse(data)).findings) == code, operand
        refused = {not outcome.ok for outcome in run_all(data, dict(enumerate(feeds(data)))).values()}
        assert refused == {operand == "out1" and code == "error"}, operand


def test_wrong_tables_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CODED, "out1")
    assert list(disagreements(basic_cell("UINT8", fed=True, other={"out1": (2**-10, 0)}), "")) != []
    monkeypatch.setitem(TAKEN, BASIC_CELL, TAKEN["LSTM"])
    mismatches.cache_clear()
    assert len(list(disagreements(basic_cell("UINT8", fed=True), ""))) == len(LITERT)
    mismatches.cache_clear()


def rewritten(kind: str, *passes: Any, **how: Any) -> tuple[tk.Model, str]:
    """The cell after passes, shown to run, and all that they said."""
    result = tk.run(tk.parse(basic_cell(kind, **how)), *passes)
    outcomes = run_all(tk.serialize(result.model, rebuild=True), {})
    assert all(outcome.ok for outcome in outcomes.values()), [outcome.message for outcome in outcomes.values()]
    return result.model, " ".join(note.text for note in result.notes)


def test_rewritten_cells_run() -> None:
    model, _ = rewritten("FLOAT32", RequantizeWeights(to="int8"))
    assert [operator.op_name for operator in model.subgraphs[0].operators] == ["DEQUANTIZE", "LSTM"]
    for kind in ("FLOAT32", "UINT8"):
        assert "takes no weights of another type than its activations" in rewritten(kind, RequantizeWeights(to="int8", form="hybrid"))[1]
    model, said = rewritten("UINT8", ConvertActivations(to="int8"))
    assert "the basic LSTM cell has only this type" in said and model.subgraphs[0].inputs[0].type.name == "INT8"  # type: ignore[union-attr]
    with pytest.raises(tk.RefusedError, match="the basic LSTM cell joins it"):
        rewritten("UINT8", SetInputStats(mode="reinterpret", mean=0, std=255))
    for operand in CODED:
        scale, zero_point = PARAMETERS[operand]
        wrong = (scale * 2, zero_point) if operand not in ("in0", "in1") else (scale, zero_point + 1)
        model, _ = rewritten("UINT8", FixQuantization(), other={operand: wrong})
        assert tk.audit(model).findings == () == tk.audit(tk.parse(basic_cell("UINT8"))).findings
