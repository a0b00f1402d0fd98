"""Audits for the tests of reports: facts of a model and of given findings, and reports as text."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

import tflitekit as tk
from tests.conftest import REPOSITORY
from tflitekit.audit import Audit, Finding, audit, classify
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.quant.rules.model import Behaviour, Reaction
from tflitekit.reports.facts_audit import audit_facts
from tflitekit.reports.layout import lay_out
from tflitekit.reports.render import plain
from tflitekit.reports.report import Report

INT8 = np.ones((3, 4), np.int8)


def facts_of(model: tk.Model, *findings: Finding, **options: Any) -> dict[str, Any]:
    """The facts of a model; of given findings instead of those that the audit has, if there are any."""
    return audit_facts(model, Audit(classify(model), findings) if findings else audit(model), **options)


def example(name: str) -> dict[str, Any]:
    return facts_of(tk.read(REPOSITORY / "examples" / "models" / name))


def text(report: Report, width: int | None = None) -> str:
    return "".join(plain(line) + "\n" for line in lay_out(report, width))


REFUSES, FINE = Reaction(Behaviour.REFUSES, "no [such] kernel"), Reaction(Behaviour.FINE)


def finding(index: int = 0, message: str = "", severity: str = "error", code: str = "Q301", reactions: Any = None) -> Finding:
    return Finding(
        code, severity, f"subgraphs[0].tensors[{index}]", f"t{index}", message or f"the scale is 0.{index}1 (CONV_2D {index})", found=float(index),
        expected=np.float32(0.1), reactions=MappingProxyType(reactions or {}),
    )  # fmt: skip


def dense(weights: Any, activation: str = "FLOAT32", **quantization: Any) -> tk.Model:
    """FULLY_CONNECTED of x [1, 4] and 3 rows of weights."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    of = quantize(0.5, 3) if activation != "FLOAT32" else None
    x = main.input("x", [1, 4], activation, of)
    w = main.constant("w", weights, **quantization)
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 3], activation, of)))
    return builder.build()
