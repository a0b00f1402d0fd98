"""Findings about the values of weights: each is found where it was put, and only where weights are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.quant.deviations import blockwise, lowest_code
from tests.runtime import needs_runtime
from tflitekit.audit import Audit, Finding, audit
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model
from tflitekit.quant.rules import Runtime

UNITS, DEPTH = 8, 64


def dense(codes: np.ndarray[Any, Any], type_: str = "INT8", per_channel: bool = True, zero_point: int = 0) -> Model:
    """A hybrid FULLY_CONNECTED with these weights."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, codes.shape[1]])
    scales = np.linspace(0.01, 0.02, len(codes)).astype(np.float32) if per_channel else np.float32(0.01)
    quantization = quantize(scales, np.full(len(codes) if per_channel else 1, zero_point), 0)
    w = main.constant("w", codes, type_, quantization)
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, len(codes)]), version=12))
    return builder.build()


def broad(seed: int = 1) -> np.ndarray[Any, Any]:
    """Codes as converters give them: a bell from -127 to 127, one code at an end in each row."""
    codes = np.clip(np.rint(np.random.default_rng(seed).normal(0, 30, (UNITS, DEPTH))), -120, 120).astype(np.int8)
    codes[:, 0] = 127
    return codes


def found(model: Model, code: str) -> list[Finding]:
    return [f for f in audit(model, weights=True).findings if f.code == code]


def test_sound_weights_have_no_findings_of_values() -> None:
    assert not [f for f in audit(dense(broad()), weights=True).findings if f.code.startswith("Q21")]


def edited(edit: Callable[[np.ndarray[Any, Any]], None]) -> Model:
    codes = broad()
    edit(codes)
    return dense(codes)


def test_dead_channels() -> None:
    (finding,) = found(edited(lambda c: c.__setitem__([2, 5], 0)), "Q211")
    assert (finding.found, finding.severity, finding.path) == (2, "info", "subgraphs[0].tensors[1]") and "first 2" in finding.message


def test_clipped_weights() -> None:
    clipped = np.clip(np.rint(np.random.default_rng(2).normal(0, 80, (UNITS, DEPTH))), -127, 127).astype(np.int8)
    (finding,) = found(dense(clipped), "Q212")
    assert finding.found == int((np.abs(clipped.astype(int)) == 127).sum()) and finding.severity == "warning"
    uniform = np.random.default_rng(3).integers(-128, 128, (64, 256)).astype(np.int8)
    assert not found(dense(uniform, per_channel=False), "Q212")
    assert not found(dense(np.clip(clipped, -7, 7), "INT4"), "Q212")


def test_channels_with_few_levels() -> None:
    (finding,) = found(edited(lambda c: c.__setitem__(3, c[3] // 30)), "Q214")
    assert finding.severity == "warning" and "1 of 8 channels" in finding.message and "channel 3 has" in finding.message
    wide = np.concatenate([broad(seed) for seed in range(4)])
    wide[3] //= 30
    (finding,) = found(dense(wide, per_channel=False), "Q214")
    assert finding.severity == "info" and "1 of 32 channels" in finding.message


def test_a_channel_of_one_weight_is_measured_from_its_zero_point() -> None:
    assert not found(dense(np.full((4, 1), 127, np.int8)), "Q214")


@pytest.mark.parametrize(("operator", "type_", "rows", "columns", "severities"), [
    ("FULLY_CONNECTED", "INT4", 4, 32, ["warning", "error", "warning"]),
    ("FULLY_CONNECTED", "INT4", 3, 32, None),
    ("FULLY_CONNECTED", "INT4", 4, 33, None),
    ("FULLY_CONNECTED", "INT8", 4, 16, ["error", "error", "warning"]),
    ("FULLY_CONNECTED", "INT8", 4, 15, None),
    ("FULLY_CONNECTED", "INT2", 4, 64, None),
    ("RNN", "INT8", 4, 16, ["error", "error", "error"]),
])  # fmt: skip
def test_lowest_codes(operator: str, type_: str, rows: int, columns: int, severities: list[str] | None) -> None:
    model = tk.parse(lowest_code(operator, type_, rows, columns).build())
    findings = found(model, "Q213")
    if severities is None:
        assert not findings
        return
    (finding,) = findings
    assert [finding.severity_for(r) for r in (Runtime.REFERENCE, Runtime.OPTIMIZED, Runtime.XNNPACK)] == severities


def test_lowest_codes_in_blocks_are_right() -> None:
    assert not found(tk.parse(blockwise(every_third=-8)), "Q213")


@needs_runtime
def test_requantized_to_the_narrow_range_all_runtimes_agree() -> None:
    """The fix that Q213 names: outputs of the optimized kernel differ before it, and agree after it."""
    codes = np.random.default_rng(5).integers(-8, 8, (UNITS, DEPTH)).astype(np.int8)
    gaps = []
    for values in (codes, np.maximum(codes, -7)):
        model = dense(values, "INT4")
        outputs = []
        for resolver in (runtime.NO_DELEGATES, runtime.REFERENCE):
            outcome = runtime.run(tk.serialize(model), resolver, recipe=0)
            outputs.append(np.frombuffer(outcome.outputs[0][2], np.float32))
        gaps.append(float(np.abs(outputs[0] - outputs[1]).max() / np.abs(outputs[1]).max()))
        assert bool(found(model, "Q213")) == (values is codes)
    assert gaps[0] > 0.05 > 0.01 > gaps[1], gaps


def test_weights_are_read_once_and_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = edited(lambda c: c.__setitem__(2, 0))
    assert audit(model).weights == () and not [f for f in audit(model).findings if f.code.startswith("Q21")]
    read: list[str] = []
    original = tk.Tensor.dense_bytes
    monkeypatch.setattr(tk.Tensor, "dense_bytes", lambda self: read.append(self.name_str) or original(self))
    result = audit(model, weights=True)
    assert isinstance(result, Audit) and read == ["w"] and [scan.path for scan in result.weights] == ["subgraphs[0].tensors[1]"]


def test_weights_that_cannot_be_read_are_told() -> None:
    model = dense(broad())
    data = model.subgraphs[0].tensors[1].buffer
    assert data is not None and data.data is not None
    data.data = bytes(data.data[:-1])
    (scan,) = audit(model, weights=True).weights
    assert scan.statistics is None and "needs 512 bytes" in scan.problem
