"""Fused activations that kernels refuse or leave out (Q109), and what is foretold of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.quant.deviations import blockwise
from tests.quant.single import Over, build
from tests.runtime import needs_runtime
from tflitekit._schema import ActivationFunctionType
from tflitekit.audit import Finding, foretold
from tflitekit.quant.rules import LITERT, Behaviour, Runtime


def with_fused(operator: str, activation: str, fused: int | str | None, **how: Any) -> tk.Model:
    """A sound operator with an activation by name or number; without options for None."""
    model = tk.parse(build(operator, activation, **how))
    (made,) = model.subgraphs[0].operators
    if fused is None:
        made.builtin_options = None
    else:
        options: Any = made.options
        options.fused_activation_function = ActivationFunctionType[fused] if isinstance(fused, str) else ActivationFunctionType(fused)
    return model


def found(model: tk.Model) -> list[Finding]:
    return [f for f in tk.audit(model).findings if f.code == "Q109"]


def foretellings(model: tk.Model) -> list[str]:
    """What is foretold of the reference kernels, the optimized ones, and XNNPACK."""
    findings = tk.audit(model).findings
    return [foretold(findings, runtime) for runtime in LITERT]


@pytest.mark.parametrize(("operator", "activation", "fused", "outcomes", "text"), [
    ("CONCATENATION", "INT8", "RELU", "refuses refuses runs", "fused activation RELU where CONCATENATION 0 applies NONE"),
    ("CONCATENATION", "INT16", "RELU", "refuses refuses refuses", "fused activation RELU where CONCATENATION 0 applies NONE"),
    ("L2_NORMALIZATION", "FLOAT32", "RELU6", "refuses refuses refuses", "fused activation RELU6 where L2_NORMALIZATION 0 applies NONE"),
    ("SVDF", "INT8", "NONE", "refuses refuses refuses", "fused activation NONE where SVDF 0 applies RELU"),
    ("SVDF", "INT8", None, "refuses refuses refuses", "fused activation NONE where SVDF 0 applies RELU"),
    ("SVDF", "INT8", 77, "refuses refuses refuses", "fused activation NONE where SVDF 0 applies RELU"),
    ("FULLY_CONNECTED", "INT8", "TANH", "refuses refuses refuses",
     "fused activation TANH where FULLY_CONNECTED 0 applies NONE or RELU or RELU_N1_TO_1 or RELU6"),
    ("ADD", "FLOAT32", "SIGN_BIT", "runs runs runs", "fused activation SIGN_BIT where ADD 0 applies NONE or RELU or RELU_N1_TO_1 or RELU6"),
    ("LSTM", "INT8", "RELU", "runs runs runs", "fused activation RELU where LSTM 0 applies TANH"),
])  # fmt: skip
def test_an_activation_that_is_not_applied_is_an_error(operator: str, activation: str, fused: Any, outcomes: str, text: str) -> None:
    model = with_fused(operator, activation, fused)
    (finding,) = found(model)
    assert (finding.severity, finding.path, finding.message) == ("error", "subgraphs[0].operators[0]", text)
    assert foretellings(model) == outcomes.split()


@pytest.mark.parametrize(("operator", "activation", "fused"), [
    ("ADD", "INT8", "RELU6"), ("SVDF", "INT8", "RELU"), ("SVDF", "FLOAT32", "TANH"), ("LSTM", "FLOAT32", "TANH"), ("RNN", "FLOAT32", "NONE"),
    ("CONCATENATION", "FLOAT32", 77), ("CONCATENATION", "FLOAT32", None),
])  # fmt: skip
def test_one_that_is_applied_or_that_kernels_do_not_know_is_not(operator: str, activation: str, fused: Any) -> None:
    assert found(with_fused(operator, activation, fused)) == []


@pytest.mark.parametrize(("block", "fused", "wrong"), [
    (32, "RELU", [Runtime.REFERENCE, Runtime.OPTIMIZED]), (32, "TANH", [*LITERT]), (16, "RELU", [*LITERT]),
])  # fmt: skip
def test_blockwise_weights_lose_their_activation_where_xnnpack_does_not_compute_them(block: int, fused: str, wrong: list[Runtime]) -> None:
    model = tk.parse(blockwise(block=block))
    assert found(model) == []
    options: Any = model.subgraphs[0].operators[0].options
    options.fused_activation_function = ActivationFunctionType[fused]
    (finding,) = found(model)
    assert finding.message == f"fused activation {fused} where FULLY_CONNECTED 0 (blockwise) applies NONE"
    assert [runtime for runtime in LITERT if finding.reactions[runtime].behaviour == Behaviour.WRONG] == wrong
    (about,) = [f for f in tk.audit(model).findings if f.code == "Q205"]
    assert Behaviour.FINE not in {reaction.behaviour for reaction in about.reactions.values()}  # it would contradict Q109


@needs_runtime
@pytest.mark.parametrize("known", [True, False])
def test_xnnpack_leaves_blocks_to_the_kernels_where_the_bias_is_an_input(known: bool) -> None:
    model = tk.parse(blockwise(block=32, factor=20))
    main = model.subgraphs[0]
    (dense,) = main.operators
    bias = dense.inputs[2]
    assert bias is not None and bias.buffer is not None
    values = bias.numpy() - 5
    model.set_data(bias, values)
    options: Any = dense.options
    options.fused_activation_function = ActivationFunctionType.RELU
    if not known:
        bias.buffer, main.inputs = model.buffers[0], [*main.inputs, bias]
    (finding,) = found(model)
    outcome = runtime.run(tk.serialize(model), inputs={} if known else {1: values})
    assert outcome.ok and bool((np.frombuffer(outcome.outputs[0][2], np.float32) >= 0).all()) == known
    assert (finding.reactions[Runtime.XNNPACK].behaviour == Behaviour.FINE) == known


def test_blocks_alone_are_said_to_be_computed_right() -> None:
    (about,) = [f for f in tk.audit(tk.parse(blockwise(block=32))).findings if f.code == "Q205"]
    assert [runtime for runtime in LITERT if about.reactions[runtime].behaviour == Behaviour.FINE] == [Runtime.OPTIMIZED, Runtime.XNNPACK]


def test_a_state_without_parameters_is_refused() -> None:
    assert foretellings(with_fused("SVDF", "INT8", "RELU", in4=Over(quantization=None))) == ["refuses"] * 3
    assert foretellings(with_fused("SVDF", "INT8", "RELU")) == ["runs"] * 3
