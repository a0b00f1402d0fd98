"""What `--require` demands, and what it says of a model that is something else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tflitekit.build import quantize
from tflitekit.errors import EditError
from tflitekit.reports.requirement import Requirement, differences, parse_requirement

from .audits import INT8, dense, facts_of


@pytest.mark.parametrize(
    ("required", "found"),
    [
        ("full-integer", []),
        ("Full-Integer, IO=int8, activation=INT8,weights=int8,granularity=per-tensor", []),
        ("dynamic-range", ["the scheme is full-integer, not dynamic-range"]),
        ("full-integer,inputs=uint8", ["input 0 is INT8, not UINT8"]),
        ("full-integer,outputs=uint8", ["output 0 is INT8, not UINT8"]),
        ("full-integer,io=float32", ["input 0 is INT8, not FLOAT32", "output 0 is INT8, not FLOAT32"]),
        ("full-integer,activation=int16", ["activations are INT8, not INT16"]),
        ("full-integer,weights=int4", ["weights are INT8, not INT4"]),
        ("full-integer,granularity=per-channel", ["weights are per-tensor, not per-channel"]),
    ],
)
def test_requirements(required: str, found: list[str]) -> None:
    facts = facts_of(dense(INT8, "INT8", quantization=quantize(0.1)), required=parse_requirement(required))
    assert facts["required"] == {"text": required, "met": not found, "differences": found}
    assert (facts["next"][0].startswith("It is not what was required")) == bool(found)


def test_indices_flags_and_text_need_not_be_quantized() -> None:
    def verdict(inputs: tuple[str, ...], weights: tuple[str, ...] = ()) -> Any:
        return type("Verdict", (), {"name": "mixed", "inputs": inputs, "outputs": ("INT8",), "weights": weights, "activation": "INT8"})

    io = Requirement("mixed", (("io", "INT8"),), "")
    assert differences(io, verdict(("INT32", "INT8", "BOOL"))) == []
    assert differences(io, verdict(("INT32", "FLOAT32"))) == ["input 1 is FLOAT32, not INT8"]
    assert differences(io, verdict(("INT32",))) == ["no input carries INT8"]
    assert differences(Requirement("mixed", (("inputs", "INT32"),), ""), verdict(("INT32", "INT8"))) == ["input 1 is INT8, not INT32"]
    of = Requirement("mixed", (("weights", "INT8"),), "")
    assert differences(of, verdict((), ("FLOAT32", "INT8"))) == ["weights are also FLOAT32, not only INT8"]
    assert differences(of, verdict(())) == ["no weights are INT8"]


@pytest.mark.parametrize(
    ("required", "message"),
    [
        ("", "no scheme ''"),
        ("full-int", "Did you mean full-integer"),
        ("xyz", "Known: float32, "),
        ("mixed,int8", "'int8' is no requirement"),
        ("mixed,io=", "'io=' is no requirement"),
        ("mixed,input=int8", "Did you mean inputs"),
        ("mixed,io=int9", "Did you mean INT8"),
        ("mixed,granularity=per-axis", "no granularity 'per-axis'"),
    ],
)
def test_bad_requirements(required: str, message: str) -> None:
    with pytest.raises(EditError, match=re.escape(message)):
        parse_requirement(required)
