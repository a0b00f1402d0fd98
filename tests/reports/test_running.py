"""The reports of `compare` and `observe`: widths, names from files, and what stands in them for signatures and odd numbers."""

from __future__ import annotations

import json
import unicodedata
from functools import cache

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model
from tflitekit.reports.compare import compare_report, summary
from tflitekit.reports.facts_compare import compare_facts
from tflitekit.reports.facts_observe import observe_facts
from tflitekit.reports.layout import cell_width, lay_out
from tflitekit.reports.observe import observe_report
from tflitekit.reports.render import plain
from tflitekit.reports.report import Report
from tflitekit.reports.to_json import to_json
from tflitekit.reports.values import Facts
from tflitekit.runtime import RandomData

from ..in_runtime.models import dense, elementwise, float_dense, times_zero
from ..runtime import needs_runtime

pytestmark = needs_runtime
NASTY = "[bold red]\x1b[31m\u202e卷积\n[/nope] " * 3


def text(report: Report, width: int | None = None) -> str:
    return "".join(plain(line) + "\n" for line in lay_out(report, width))


def odd(key: str | None = None) -> Model:
    """Names and a signature that try to steer the terminal, one scale for each channel of the input."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input(NASTY, (1, 4), "INT8", quantize(0.1, 3))
    inner = graph.apply("DEQUANTIZE", [x], TensorSpec(NASTY + "2", (1, 4)), version=2)
    y = graph.apply("SQRT", [inner], TensorSpec(NASTY + "3", (1, 4)))
    graph.output(y)
    for name in (key, f"{key} 2") if key else ():
        builder.signature(name, {"in" + NASTY: x}, {"out" + NASTY: y}, graph)
    return builder.build()


@cache
def facts() -> dict[str, Facts]:
    return {
        "odd": compare_facts(tk.runtime.compare(odd(NASTY), odd(NASTY), RandomData(2), layers=True, tolerance="1%")),
        "float": compare_facts(tk.runtime.compare(float_dense(), dense(), RandomData(2), layers=True, tolerance="0.1lsb")),
    }


@cache
def observed() -> dict[str, Facts]:
    return {
        "odd": observe_facts(tk.runtime.observe(odd(NASTY), RandomData(2))),
        "float": observe_facts(tk.runtime.observe(dense("UINT8"), RandomData(2))),
    }


def reports() -> list[Report]:
    return [*map(compare_report, facts().values()), *map(observe_report, observed().values())]


@pytest.mark.parametrize("width", [60, 80, 100, 140, 400])
def test_no_line_is_wider_than_asked(width: int) -> None:
    for report in reports():
        assert max(cell_width(plain(line)) for line in lay_out(report, width)) <= width


def test_names_from_files_do_not_steer_the_terminal() -> None:
    for report in reports():
        for line in text(report).splitlines():
            assert not any(unicodedata.category(char) in {"Cc", "Cf"} for char in line), line


def test_facts_are_json() -> None:
    for found in (*facts().values(), *observed().values()):
        assert json.loads(to_json(found)) == found


def test_signatures_are_told_apart() -> None:
    shown = text(compare_report(facts()["odd"]))
    assert "signature 0  " in shown and "signature 1, outputs" in shown and "signature 1, layers" in shown
    assert "signature 1, input\n" in text(observe_report(observed()["odd"]))


def test_the_largest_loss_and_the_departure_are_named() -> None:
    shown = text(compare_report(facts()["float"]))
    assert "verdict   beyond the tolerance of 0.1lsb" in shown
    assert "departs   operator 0, FULLY_CONNECTED, tensor 3 dense" in shown
    assert "dense (A: y)" in shown
    assert summary(facts()["float"]).text.startswith("beyond the tolerance of 0.1lsb, largest errors 0.")


def test_numbers_that_are_not_finite_have_their_place() -> None:
    values = [np.array([[1.0, np.nan, np.inf, -4.0]], np.float32), np.array([[2.0, 3.0, 1e38, 0.0]], np.float32)]
    found = compare_facts(tk.runtime.compare(elementwise("ABS", (1, 4)), elementwise("SQRT", (1, 4)), values, tolerance="1"))
    (entry,) = found["signatures"][0]["inputs"]
    assert (entry["low"], entry["high"]) == (-4.0, float(np.float32(1e38)))
    shown = text(compare_report(found))
    assert to_json(found) and "1 not finite" in shown and "1 NaN or infinite on one side only" in shown


def test_what_shows_nothing_says_so() -> None:
    found = compare_facts(tk.runtime.compare(times_zero(), times_zero(), RandomData(3)))
    shown = text(compare_report(found))
    assert "The outputs are the same for all inputs: this comparison shows next to nothing. Give other inputs, with --data." in shown
    assert "  constant\n" in shown
    assert summary(found).text.endswith("the inputs do not change the outputs, so it shows next to nothing") and summary(found).style == "warning"
