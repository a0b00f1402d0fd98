"""Element types that kernels take, put to the installed runtime: one operand of a sound operator gets another type, everything else stays."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

import tflitekit as tk
from tests.runtime import Job, Outcome, needs_runtime, pool
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.graph import Operator, Tensor
from tflitekit.quant.rules import LITERT, RULES, Behaviour, Granularity, Runtime
from tflitekit.quant.rules.taken import FORCED, TAKEN, forced_output, mismatches
from tflitekit.types import byte_size

from .deviations import weighted
from .oracle import RESOLVERS
from .single import FIXED, RECIPES, Over, build

pytestmark = needs_runtime

KINDS = ("FLOAT32", "INT8", "UINT8", "INT16", "INT32", "INT64", "UINT16", "FLOAT16", "BOOL", "INT4", "INT2")
# Types that only one runtime takes, where the others refuse: nobody stores them on purpose.
ODD = {
    ("XNNPACK", "FLOAT32"): {"RESIZE_BILINEAR"}, ("XNNPACK", "INT16"): {"TRANSPOSE"}, ("XNNPACK", "INT64"): {"SLICE"},
    ("REFERENCE", "BOOL"): {"SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"},
    ("XNNPACK", "FLOAT16"): {
        "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "AVERAGE_POOL_2D", "TRANSPOSE_CONV", "DIV", "EXP", "MAXIMUM", "MINIMUM", "NEG", "PRELU", "SOFTMAX",
        "SQUARED_DIFFERENCE", "QUANTIZE",
    },
}  # fmt: skip
# Operators whose operands are checked together with values or parameters that a change of type leaves behind.
LEFT_OUT = {"EMBEDDING_LOOKUP", "REDUCE_PROD", "VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE"}
LEFT_OUT |= {name for name in RECIPES if name.endswith(("RNN", "LSTM", "SVDF"))}


@dataclass(frozen=True)
class Case:
    """An operator with activations of a type, the weights' type and granularity if it has any, and the operand that gets another type."""

    operator: str
    activation: str
    weights: tuple[str, bool] | None
    operand: str
    type: str

    def build(self) -> bytes:
        how = weighted(self.operator, self.activation, *self.weights) if self.weights is not None else {}
        coded = [("in", n, slot) for n, slot in enumerate(RECIPES[self.operator].inputs)] if self.activation != "FLOAT32" else []
        zeros = {f"{side}{n}": Over(zero_point=0) for side, n, slot in coded if slot.kind in "xk"}
        if self.activation != "FLOAT32" and self.operator not in FIXED and RECIPES[self.operator].outputs[0].kind == "x":
            zeros["out0"] = Over(zero_point=0)
        version = RULES[BuiltinOperator[self.operator]].versions.lowest
        return build(self.operator, self.activation, version=version, change=self._change, **{**zeros, **how})

    def _change(self, model: tk.Model) -> None:
        tensor = operand(model.subgraphs[0].operators[-1], self.operand)
        assert tensor is not None
        old, tensor.type = tensor.type, TensorType[self.type]
        if tensor.is_constant and tensor.buffer is not None and tensor.buffer.data is not None:
            needed = byte_size(tensor.type, tensor.shape) or 0  # short data would be refused before any kernel is asked
            data = bytes(tensor.buffer.data)
            if old == TensorType.INT32 and self.type in ("INT16", "INT64"):
                data = np.frombuffer(data, np.int32).astype(self.type.lower()).tobytes()
            tensor.buffer.data = data.ljust(needed, b"\0")


def operand(operator: Operator, name: str) -> Tensor | None:
    tensors, number = (operator.inputs, int(name[2:])) if name.startswith("in") else (operator.outputs, int(name[3:]))
    return tensors[number] if number < len(tensors) else None


def bases(name: str) -> Iterator[tuple[str, tuple[str, bool] | None]]:
    """The sound forms of an operator: a type of activations, and the weights' type and whether they are per-channel."""
    rule = RULES[BuiltinOperator[name]]
    if rule.weights is None:
        yield from ((type_.name, None) for type_ in sorted(rule.types) if type_.name in KINDS[1:4])
        yield "FLOAT32", None
        return
    yield "FLOAT32", None
    for form in rule.weights.forms:
        if form.granularity != Granularity.BLOCKWISE:
            yield form.activation.name, (form.weights.name, form.granularity == Granularity.PER_CHANNEL)


@cache
def cases(name: str) -> tuple[Case, ...]:
    """Every operand of every form of an operator, with every other type."""
    found = []
    for activation, weights in bases(name):
        how = weighted(name, activation, *weights) if weights is not None else {}
        operator = tk.parse(build(name, activation, **how)).subgraphs[0].operators[-1]
        for place in (*(f"in{n}" for n in range(len(operator.inputs))), "out0"):
            tensor = operand(operator, place)
            if tensor is None:
                continue
            kinds = KINDS if tensor.is_constant else KINDS[:-2]
            if RULES[BuiltinOperator[name]].weights is not None and weights is None and tensor.is_constant:
                kinds = tuple(kind for kind in kinds if not kind.startswith(("INT", "UINT")))  # codes without parameters are another matter
            found += [Case(name, activation, weights, place, kind) for kind in kinds if kind != tensor.type.name]
    return tuple(found)


def disagreements(chosen: list[Case]) -> list[str]:
    """Cases in which a runtime does otherwise than the table says."""
    models = [case.build() for case in chosen]
    jobs = [Job(data, RESOLVERS[runtime], recipe=0) for data in models for runtime in LITERT]
    outcomes = iter(pool().run(jobs))
    wrong = []
    for case, data in zip(chosen, models, strict=True):
        operator = tk.parse(data).subgraphs[0].operators[-1]
        inputs = tuple(None if t is None else t.type for t in operator.inputs)
        outputs = tuple(None if t is None else t.type for t in operator.outputs)
        found = mismatches(case.operator, inputs, outputs, bool(case.weights and case.weights[1]), case.activation != "FLOAT32")
        found = tuple(m for m in found if m.option not in RECIPES[case.operator].options)
        for runtime in LITERT:
            outcome, refused = next(outcomes), any(m.reaction(runtime).behaviour == Behaviour.REFUSES for m in found)
            if unjudged(case, runtime, outcome):
                continue
            if refused == outcome.ok:
                wrong.append(f"{case} {runtime.value}: {'refused' if refused else 'taken'} by the table, {outcome.status} {outcome.message[-120:]}")
            elif outcome.ok and case.operand == "out0":
                wrong += forced_otherwise(case, runtime, outcome, forced_output(case.operator, inputs, TensorType[case.type]))
    return wrong


def unjudged(case: Case, runtime: Runtime, outcome: Outcome) -> bool:
    """Crashes, parameters that do not go with the new type, and types that one runtime takes alone."""
    parameters = any(word in outcome.message for word in BESIDES)
    chosen = case.operand == "out0" and case.type == "INT64" and case.operator in ("ARG_MAX", "ARG_MIN", "SHAPE")  # an option says which
    unsigned = case.operator == "FULLY_CONNECTED" and case.type == "UINT8"  # the reference kernel goes by the output, and reads weights so
    wide = case.weights is not None and case.weights[:1] == ("INT16",) and case.operand == "out0"  # INT16 weights want INT16 outputs
    return parameters or chosen or unsigned or wide or outcome.status.startswith("SIG") or case.operator in ODD.get((runtime.name, case.type), ())


# Words in messages about parameters or values that the new type brings along, and not about the type.
BESIDES = ("zero_point", "zero-point", "scale", "quantization", "Invalid begin", "block_shape", "out of bounds")
DTYPES = {
    "<f4": "FLOAT32", "|i1": "INT8", "|u1": "UINT8", "<i2": "INT16", "<i4": "INT32", "<i8": "INT64", "<u2": "UINT16", "<f2": "FLOAT16", "|b1": "BOOL",
}  # fmt: skip


def forced_otherwise(case: Case, runtime: Runtime, outcome: Outcome, expected: TensorType) -> list[str]:
    """Whether the output came out with another type than the table says; delegates may keep the one in the file."""
    got = DTYPES.get(outcome.outputs[0][0])
    fits = got == expected.name or (runtime == Runtime.XNNPACK and got == case.type)
    return [] if fits else [f"{case} {runtime.value}: the output is {got}, expected {expected.name}"]


OPERATORS = sorted((set(TAKEN) | set(FORCED)) & set(RECIPES) - LEFT_OUT)


def test_a_case_of_every_operator() -> None:
    rng = random.Random(11)
    chosen = [rng.choice(cases(name)) for name in OPERATORS]
    assert disagreements(chosen) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
def test_all_types(name: str) -> None:
    assert disagreements(list(cases(name))) == []


def test_a_wrong_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("ADD", "INT8", None, "in1", "UINT8")
    assert disagreements([case]) == []
    monkeypatch.setitem(TAKEN, "ADD", ())
    mismatches.cache_clear()
    assert disagreements([case]) != []
    mismatches.cache_clear()
