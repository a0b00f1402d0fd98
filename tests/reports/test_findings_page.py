"""The page of findings and `explain`."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY
from tflitekit.audit import CODES
from tflitekit.errors import EditError
from tflitekit.reports.explain import explain_facts, explain_report
from tflitekit.reports.findings_page import FAMILIES, findings_page

from .audits import text


def test_the_page_of_findings_is_current() -> None:
    page = REPOSITORY / "docs" / "findings.md"
    assert page.read_text(encoding="utf-8") == findings_page(), "python -m tflitekit.reports.findings_page docs/findings.md"


def test_the_page_has_every_code_under_a_family() -> None:
    page = findings_page()
    assert [line[4:] for line in page.splitlines() if line.startswith("### ")] == sorted(CODES)
    assert {code[1] for code in CODES} <= set(FAMILIES)
    assert all(re.fullmatch(r"Q\d\d\d", code) for code in CODES)


def test_explain() -> None:
    facts = explain_facts(["q501"])
    about = CODES["Q501"]
    assert facts == {"codes": [{"code": "Q501", "title": about.title, "explanation": about.explanation, "fix": about.fix}]}
    assert text(explain_report(facts, every=False)) == (
        f"Q501: {about.title}\n\nwhy it matters   {about.explanation}\nwhat repairs it  {about.fix}\n"
    )
    both = text(explain_report(explain_facts(["Q501", "Q101", "Q501"]), every=False))
    assert both.startswith("2 finding codes\n") and both.count("why it matters") == 2
    every = text(explain_report(explain_facts(), every=True))
    assert all(f"{code}  {about.title}\n" in every for code, about in CODES.items())
    with pytest.raises(EditError, match="Near it: Q501"):
        explain_facts(["Q599"])
    with pytest.raises(EditError, match="`tflitekit explain` lists them all"):
        explain_facts(["bias"])
