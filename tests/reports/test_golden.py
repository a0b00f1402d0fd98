"""The reports of small models, as text at 80 columns and in a pipe, and as JSON, against files in `golden/`.

`TFLITEKIT_UPDATE_GOLDEN=1 pytest tests/reports/test_golden.py` writes the files anew; read the difference before committing it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tflitekit.graph import Model
from tflitekit.reports.facts_io import io_facts
from tflitekit.reports.facts_operators import operators_facts
from tflitekit.reports.facts_summary import summary_facts
from tflitekit.reports.facts_tensors import tensors_facts
from tflitekit.reports.io import io_report
from tflitekit.reports.layout import lay_out
from tflitekit.reports.operators import operators_report
from tflitekit.reports.render import plain
from tflitekit.reports.report import Report
from tflitekit.reports.summary import summary_report
from tflitekit.reports.tensors import tensors_report
from tflitekit.reports.to_json import to_json

from .models import nasty, small

GOLDEN = Path(__file__).parent / "golden"
REPORTS: dict[str, tuple[Callable[[Model], Any], Callable[[Any], Report]]] = {
    "summary": (summary_facts, summary_report),
    "tensors": (tensors_facts, tensors_report),
    "channels": (tensors_facts, lambda facts: tensors_report(facts, channels=True, exact=True)),
    "io": (io_facts, io_report),
    "operators": (operators_facts, lambda facts: operators_report(facts, names=True)),
}


def text(report: Report, width: int | None) -> str:
    return "".join(plain(line) + "\n" for line in lay_out(report, width))


@pytest.mark.parametrize("model", [small, nasty])
@pytest.mark.parametrize("name", REPORTS)
def test_report_texts(name: str, model: Callable[[], Model]) -> None:
    facts_of, report_of = REPORTS[name]
    facts = facts_of(model())
    found = f"{text(report_of(facts), 80)}\n--- pipe ---\n\n{text(report_of(facts), None)}\n--- json ---\n\n{to_json(facts)}\n"
    path = GOLDEN / f"{model.__name__}_{name}.txt"
    if os.environ.get("TFLITEKIT_UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")
