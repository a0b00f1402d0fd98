"""Fused activations, put to the installed runtime: each of the schema's in a sound operator of each form, and what the audit says of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests.runtime import NO_DELEGATES, Job, Outcome, needs_runtime, pool
from tflitekit._schema import ActivationFunctionType, BuiltinOperator
from tflitekit.quant.rules import RULES, Behaviour, Runtime
from tflitekit.quant.rules.fused import FUSED
from tflitekit.quant.rules.notation import FINE

from .basic_cell import basic_cell
from .deviations import blockwise, weighted
from .oracle import HYBRID, LSB, array, error_of, feeds, run_all
from .single import _CONV, _POOL, IMAGE, RECIPES, Over, Recipe, b, build, dequantize, float_twin, i, r, w, x
from .test_taken import bases

pytestmark = needs_runtime

Array = npt.NDArray[np.float64]
FUNCTIONS: dict[str, Any] = {
    "NONE": lambda v: v, "RELU": lambda v: np.maximum(v, 0), "RELU_N1_TO_1": lambda v: np.clip(v, -1, 1), "RELU6": lambda v: np.clip(v, 0, 6),
    "TANH": np.tanh, "SIGN_BIT": lambda v: np.signbit(v).astype(float),
}  # fmt: skip
_VOLUME = {**_CONV, "stride_d": 1}
# Operators that the rules say nothing else of.
OTHERS: dict[str, Recipe] = {
    "L2_POOL_2D": r([x(*IMAGE)], x(*IMAGE), **_POOL),
    "CONV_3D": r([x(1, 4, 4, 4, 2), w(1, 1, 1, 2, 4), b(4)], x(1, 4, 4, 4, 4), **_VOLUME),
    "CONV_3D_TRANSPOSE": r([i([1, 4, 4, 4, 4]), w(1, 1, 1, 4, 2), x(1, 4, 4, 4, 2), b(4)], x(1, 4, 4, 4, 4), **_VOLUME),
}
OPERATORS = [*sorted(code.name for code in FUSED), "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"]
SPREAD, FLOATS = 80, 8  # codes from the zero point, and the largest float: beyond all bounds


@dataclass(frozen=True)
class Case:
    """An operator with activations of a type, the weights' type and granularity if it has any, or in a form of its own."""

    operator: str
    activation: str
    weights: tuple[str, bool] | None = None
    form: str = ""


def _with(data: bytes, fused: str) -> bytes:
    model = tk.parse(data)
    options: Any = model.subgraphs[0].operators[-1].options
    options.fused_activation_function = ActivationFunctionType[fused]
    return tk.serialize(model, rebuild=True)


@cache
def built(case: Case, fused: str) -> bytes:
    """The sound operator with an activation."""
    if case.form.startswith("blocks"):
        return _with(blockwise(block=int(case.form.split()[1]), factor=20), fused)
    if case.form == "basic":
        return basic_cell(fused=fused)
    how: dict[str, Any] = weighted(case.operator, case.activation, *case.weights) if case.weights is not None else {}
    recipe, rule = {**RECIPES, **OTHERS}[case.operator], RULES.get(BuiltinOperator[case.operator])
    if case.form.endswith(" inputs"):
        count = int(case.form.split()[0])
        recipe = replace(recipe, inputs=recipe.inputs[:1] * count, outputs=(replace(recipe.outputs[0], shape=(2, 4 * count)),))
    if case.form == "unequal":
        how = {"in1": Over(scale=0.05)}
    options = {"quantized_bias_type": "INT64"} if case.weights is not None and case.weights[0] == "INT16" else None
    with patch.dict(RECIPES, {case.operator: recipe}):
        data = build(case.operator, case.activation, version=rule.versions.lowest if rule else 1, options=options, **how)
    return _with(data, fused)


@cache
def inputs(case: Case) -> tuple[dict[int, Any], dict[int, Any]]:
    """Codes for the model, and real values for its twin."""
    codes, reals = feeds(case.operator, built(case, "NONE"), SPREAD)
    return ({n: v * FLOATS for n, v in codes.items()}, {n: v * FLOATS for n, v in reals.items()}) if case.activation == "FLOAT32" else (codes, reals)


@cache
def plain(case: Case) -> Array:
    """What comes out without an activation, in real values; of recurrent operators, after the first step."""
    sound = built(case, "NONE")
    if "LSTM" in case.operator:
        return cell(case, "NONE")
    (twin,) = pool().run([Job(float_twin(sound), NO_DELEGATES, inputs=inputs(case)[1], recipe=0)])
    assert twin.ok, f"{case} on real values: {twin.message}"
    return first(case, array(twin).astype(np.float64))


def cell(case: Case, fused: str) -> Array:
    """A step of an LSTM cell from states of 0, in real values."""
    data, operands = inputs(case)[1][0].reshape(-1)[:4], tk.parse(built(case, "NONE")).subgraphs[0].operators[-1].inputs
    known = [t if t is not None and t.is_constant else None for t in operands]
    values: Any = [None if t is None else t.numpy() if t.quantization is None else dequantize(t) for t in known]
    if case.form == "basic":
        gate, new, _, out = np.split(values[2][:, :4] @ data + values[3], 4)
    else:
        gate, _, new, out = (values[n] @ data + values[n + 11] for n in range(1, 5))
    function = FUNCTIONS[fused]
    found: Array = function(function(new) / (1 + np.exp(-gate))) / (1 + np.exp(-out))
    return found


def first(case: Case, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The first step, of recurrent operators; all values of others."""
    return values.reshape(-1)[:4] if case.operator.endswith(("RNN", "LSTM")) else values


@cache
def tanh_cell(case: Case) -> Outcome:
    """What an integer cell gives that is to compute TANH."""
    return run_all(built(case, "TANH"), inputs(case)[0], [Runtime.OPTIMIZED])[Runtime.OPTIMIZED]


def applied(case: Case, fused: str, outcome: Outcome) -> bool:
    """Whether the activation is seen in what came out."""
    output, values = tk.parse(built(case, fused)).subgraphs[0].outputs[0], first(case, array(outcome))
    assert output is not None
    if case.operator == "SVDF" and case.activation == "INT8":  # its twin rounds less: RELU is to be seen in the codes
        assert output.quantization is not None
        return fused == "RELU" and bool(values.min() == output.quantization.zero_point[0] < values.max())
    if "LSTM" in case.operator and case.activation == "INT8":
        return fused == "TANH" or outcome.outputs != tanh_cell(case).outputs
    wanted = cell(case, fused) if "LSTM" in case.operator else FUNCTIONS[fused](plain(case))
    if case.activation == "FLOAT32":  # hybrid operators round what the activation has not bounded yet
        return bool(np.abs(values - wanted).max() <= HYBRID * np.abs(plain(case)).max())
    return error_of(values, wanted, output) <= LSB


def cases(name: str) -> list[Case]:
    """Every form of an operator. INT8 codes called UINT8 have no real values here."""
    if name in OTHERS:
        return [Case(name, "FLOAT32")]
    found = [Case(name, activation, weights) for activation, weights in bases(name) if (activation, weights) != ("FLOAT32", ("UINT8", False))]
    more = {
        "LSTM": [Case(name, "FLOAT32", form="basic")], "FULLY_CONNECTED": [Case(name, "FLOAT32", form=f"blocks {size}") for size in (32, 16)],
        "CONCATENATION": [*(Case(name, "INT8", form=f"{count} inputs") for count in (1, 5, 6)), Case(name, "UINT8", form="unequal")],
    }  # fmt: skip
    return found + more.get(name, [])


def disagreements(case: Case) -> Iterator[str]:
    """Activations with which a runtime does otherwise than the audit says."""
    for fused in FUNCTIONS:
        data = built(case, fused)
        findings = [f for f in tk.audit(tk.parse(data)).findings if f.code == "Q109"]
        assert len(findings) < 2
        for runtime, outcome in run_all(data, inputs(case)[0]).items():
            reaction = findings[0].reactions[runtime] if findings else FINE
            if not outcome.ok:
                if reaction.behaviour != Behaviour.REFUSES or reaction.text not in outcome.message:
                    yield f"{case} {fused} {runtime.value}: {reaction} foretold, {outcome.status} {outcome.message[-120:]}"
            elif case.form.startswith("blocks") and runtime == Runtime.REFERENCE:
                continue  # it computes no blocks
            elif applied(case, fused, outcome) != (reaction == FINE):
                yield f"{case} {fused} {runtime.value}: {reaction} foretold, {array(outcome).reshape(-1)[:8]}"


@pytest.mark.parametrize("name", OPERATORS)
def test_every_activation_of_every_form(name: str) -> None:
    assert [text for case in cases(name) for text in disagreements(case)] == []


def test_a_wrong_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("CONCATENATION", "FLOAT32")
    assert list(disagreements(case)) == []
    monkeypatch.delitem(FUSED, BuiltinOperator.CONCATENATION)
    assert len(list(disagreements(case))) == 15  # five activations: two runtimes refuse them, one leaves them out
    monkeypatch.setitem(FUSED, BuiltinOperator.CONCATENATION, FUSED[BuiltinOperator.ADD])
    assert len(list(disagreements(case))) == 13
