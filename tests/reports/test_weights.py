"""Histograms of what constants hold: true to the counts at every width, in words, as pictures, as data, in Markdown and in ASCII."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tflitekit as tk
from tflitekit.audit import audit
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model
from tflitekit.reports.audit import audit_report
from tflitekit.reports.bars import ASCII_BLOCKS, BLOCKS, LARGEST, columns_of, heights_of, spark
from tflitekit.reports.facts_audit import audit_facts
from tflitekit.reports.facts_tensors import tensors_facts
from tflitekit.reports.layout import cell_width, histogram_lines, lay_out
from tflitekit.reports.render import console, plain, print_styled
from tflitekit.reports.report import Histogram, Report
from tflitekit.reports.tensors import tensors_report
from tflitekit.reports.to_json import to_json
from tflitekit.reports.to_markdown import to_markdown
from tflitekit.reports.weights import weights_table

CODES = np.array([[-127, -1, 0, 0, 1, 1, 1, 127], [0, 0, 0, 0, 0, 0, 0, 0], [-3, -2, -1, 0, 0, 1, 2, 3]], np.int8)


def model() -> Model:
    """A hybrid FULLY_CONNECTED with a dead channel and one of few levels, and a float one."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 8])
    w = main.constant("w", CODES, "INT8", quantize(np.float32([0.5, 0.001, 0.25]), np.zeros(3, np.int64), 0))
    y = main.apply("FULLY_CONNECTED", [x, w, None], TensorSpec("y", [1, 3]), version=12)
    floats = main.constant("f", np.float32([[0.5, -0.5, 0], [np.nan, 0.25, 0.25]]))
    main.output(main.apply("FULLY_CONNECTED", [y, floats, None], TensorSpec("z", [1, 2])))
    return builder.build()


def text(report: Report, width: int | None) -> str:
    return "".join(plain(line) + "\n" for line in lay_out(report, width))


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.integers(1, 200))
def test_columns_keep_every_count(counts: list[int], room: int) -> None:
    columns, cells = columns_of(counts, room)
    assert sum(columns) == sum(counts) and cells >= 1 and len(columns) * cells <= min(room, LARGEST)
    heights = heights_of(columns, 32)
    assert all((height > 0) == (count > 0) for height, count in zip(heights, columns, strict=True))
    assert max(heights) == (32 if any(counts) else 0)
    assert len(spark(counts, room, BLOCKS)) == len(columns)


@pytest.mark.parametrize(("bins", "room", "expected"), [
    (256, 78, (64, 1)), (256, 138, (128, 1)), (16, 78, (16, 4)), (4, 78, (4, 8)), (64, 138, (64, 2)),
])  # fmt: skip
def test_columns_are_equal_groups_of_codes(bins: int, room: int, expected: tuple[int, int]) -> None:
    columns, cells = columns_of([1] * bins, room)
    assert (len(columns), cells) == expected and len(set(columns)) == 1


def test_picture() -> None:
    counts = [0] * 16
    counts[1], counts[8], counts[9], counts[15] = 1, 8, 4, 1
    lines = ["".join(plain(line)) for line in histogram_lines(Histogram(counts, "-8", "7", BLOCKS, height=2, zero=8), 18)]
    assert lines == ["          █", "   ▂      ██     ▂", "  -8      0      7"]
    ascii_lines = ["".join(plain(line)) for line in histogram_lines(Histogram(counts, "-8", "7", ASCII_BLOCKS, height=2, zero=8), 18)]
    assert ascii_lines == ["          #", "   :      ##     :", "  -8      0      7"]


@pytest.mark.parametrize("width", [60, 80, 140, None])
def test_reports_fit_and_say_the_numbers(width: int | None) -> None:
    tensors = text(tensors_report(tensors_facts(model(), histogram=True), blocks=BLOCKS), width)
    audited = text(audit_report(audit_facts(model(), audit(model(), weights=True)), BLOCKS), width)
    if width is not None:
        assert all(cell_width(line) <= width for line in (tensors + audited).splitlines())
    words = " ".join(tensors.split())
    assert "codes 24, -127..127; 9 of 256 levels" in words and "8.3% at the ends, 50.0% are 0" in words
    assert "1 of 3 channels hold nothing but 0; 1 of 3 channels use few levels" in words
    assert "scales 3, 0.001..0.5: 500x apart" in words and "real values -63.5..63.5" in words
    assert "numbers 6, -0.5..0.5; 16.7% are 0, 1 not finite" in words
    assert "█" in tensors and "█" in audited and "500x" in audited and "9 of 256" in audited


def test_facts_are_the_numbers() -> None:
    facts = json.loads(to_json(tensors_facts(model(), histogram=True)))
    holds = {t["name"]: t["holds"] for t in facts["tensors"]}
    assert holds["x"] is None and holds["w"]["problem"] == ""
    values = holds["w"]["values"]
    assert values["histogram"] == {"first": -128, "step": 1, "counts": np.bincount(CODES.reshape(-1).astype(int) + 128, minlength=256).tolist()}
    assert values["channels"] == {"count": 3, "axis": 0, "dead": 1, "few_levels": 1} and values["real"] == [-63.5, 63.5]
    assert (values["lowest"], values["highest"], values["levels"], values["at_ends"], values["zeros"]) == (-127, 127, 9, 2, 12)
    assert holds["w"]["scales"]["spread"] == pytest.approx(500) and sum(holds["w"]["scales"]["log2_counts"]) == 3
    assert holds["f"]["values"]["not_finite"] == 1 and sum(holds["f"]["values"]["histogram"]["counts"]) == 5
    assert "holds" not in tensors_facts(model())["tensors"][0]
    weights = audit_facts(model(), audit(model(), weights=True))["weights"]
    assert [(w["name"], w["operator"], w["kind"]) for w in weights] == [
        ("w", "subgraphs[0].operators[0]", "per-channel"), ("f", "subgraphs[0].operators[1]", "none"),
    ]  # fmt: skip
    assert weights[0]["values"] == values and audit_facts(model(), audit(model()))["weights"] is None


def test_a_constant_that_cannot_be_read_is_told() -> None:
    broken = model()
    data: Any = broken.subgraphs[0].tensors[1].buffer
    data.data = bytes(data.data[:-1])
    shown = text(tensors_report(tensors_facts(broken, histogram=True)), 100)
    assert "needs 24 bytes, the buffer has 23" in shown
    assert "needs 24 bytes" in text(audit_report(audit_facts(broken, audit(broken, weights=True))), 100)


def test_the_weights_of_real_models(model_path: Path) -> None:
    """Every weight tensor has a line, counts add up, and what cannot be read is sparse."""
    real = tk.read(model_path)
    facts = audit_facts(real, audit(real, weights=True))
    for weights in facts["weights"] or ():
        values = weights["values"]
        if values is None:
            assert "sparse" in weights["problem"]
        else:
            assert sum(values["histogram"]["counts"]) + values.get("not_finite", 0) == values["elements"]
    assert all(cell_width(line) <= 80 for line in text(Report("", weights_table(facts["weights"] or [], BLOCKS)), 80).splitlines())


def test_int16_histograms_are_merged() -> None:
    builder = ModelBuilder()
    builder.subgraph("main").constant("w", np.array([-32768, 0, 32767], np.int16), "INT16", quantize(0.5))
    (tensor,) = tensors_facts(builder.model, histogram=True)["tensors"]
    histogram = tensor["holds"]["values"]["histogram"]
    assert (histogram["first"], histogram["step"], len(histogram["counts"])) == (-32768, 256, 256)
    assert [i for i, count in enumerate(histogram["counts"]) if count] == [0, 128, 255]


def test_markdown_holds_the_table_and_pictures_as_they_are() -> None:
    facts = audit_facts(model(), audit(model(), weights=True))
    row = next(line for line in to_markdown(audit_report(facts, BLOCKS)).splitlines() if line.startswith("| 1 | INT8 |"))
    assert "| 9 of 256 | 8.3% | 50.0% | 500x |" in row and "█" in row
    shown = to_markdown(tensors_report(tensors_facts(model(), histogram=True)))
    assert shown.count("```") == 4 and "  -128  " in shown


def test_ends_stand_out_in_colour_and_nothing_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("t", [Histogram([3, 1, 2], "0", "2", BLOCKS, height=1, style="quantized", ends="warning")])

    def shown() -> str:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        file = Terminal()
        print_styled(lay_out(report, 40), console(file))
        return file.getvalue()

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORTERM", raising=False)
    assert "\x1b[38;5;166m████████" in shown() and "\x1b[38;5;28m▃▃▃▃▃▃▃▃" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in shown().replace("\x1b[3m", "")
