"""The report of the rewriting commands: how it was written, what passes did and refused, what the audit says differently."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import tflitekit as tk
from tests.audit.test_findings import convolution
from tflitekit.flat.codec import encode
from tflitekit.graph import Model
from tflitekit.passes.base import Notes, Pass, run
from tflitekit.reports.copied import output_facts
from tflitekit.reports.layout import lay_out
from tflitekit.reports.render import plain
from tflitekit.reports.rewritten import rewritten_facts, rewritten_report
from tflitekit.reports.to_json import to_json


@dataclass(frozen=True)
class Edit(Pass):
    """Whatever a test wants."""

    name: ClassVar[str] = "edit"
    touches: ClassVar[frozenset[str]] = frozenset({"subgraphs"})
    edit: Callable[[Model, Notes], object] = print

    def apply(self, model: Model, notes: Notes) -> None:
        self.edit(model, notes)

    def describe(self) -> str:
        return self.name


def facts_of(model: Model, edit: Callable[[Model, Notes], object]) -> Any:
    result = run(model, Edit(edit))
    return rewritten_facts(model, result) | {"check": None} | output_facts(None, encode(result.model))


def shown(facts: Any, **options: Any) -> str:
    return "\n".join(plain(line) for line in lay_out(rewritten_report(facts, **options), 100))


def worse(model: Model, notes: Notes) -> None:
    tensor = model.subgraphs[0].tensor("b")
    assert tensor.quantization is not None
    tensor.quantization.scale = [1.0, 1.0, 1.0]
    notes.changed(tensor, "worse", max_error=float("nan"), scale=[np.inf, 1.0], codes={"low": (1, 2.5)})
    notes.refused(model.subgraphs[0].operators[0], "cannot \x1b[31m")
    notes.remark(None, "by the way")


def test_numbers_that_json_lacks_are_texts() -> None:
    facts = json.loads(to_json(facts_of(tk.parse(tk.serialize(convolution())), worse)))
    assert facts["passes"][0]["notes"][0]["data"] == {"max_error": "NaN", "scale": ["Infinity", 1.0], "codes": {"low": [1, 2.5]}}


def test_new_findings_and_gone_ones() -> None:
    model = tk.parse(tk.serialize(convolution()))
    facts = facts_of(model, worse)
    new = [f["code"] for f in facts["findings"]["new"]]
    assert new and facts["findings"]["gone"] == []
    assert facts["findings"]["new"][0].keys() == {"code", "severity", "path", "name", "message"}
    broken = run(model, Edit(worse)).model

    def right(edited: Model, notes: Notes) -> None:
        edited.subgraphs[0].tensor("b").quantization = model.subgraphs[0].tensor("b").quantization

    back = facts_of(broken, right)
    assert ([f["code"] for f in back["findings"]["gone"]], back["findings"]["new"]) == (new, [])
    assert "Findings of the audit that are gone" in shown(back) and "New findings" not in shown(back)


def test_the_report_says_what_was_done_refused_and_remarked() -> None:
    model = tk.parse(tk.serialize(convolution()))
    facts = facts_of(model, worse)
    text = shown(facts, changes=True)
    titles = [text.index(title) for title in ("edit: changed", "edit: refused", "edit: remarks", "New findings of the audit", "Every change")]
    assert titles == sorted(titles)
    assert "(no file) -> (nothing written)" in text and "subgraphs[0].operators[0]" in text and "model" in text
    assert "\x1b" not in text and "Every change" not in shown(facts)


def test_nothing_to_do() -> None:
    facts = facts_of(tk.parse(tk.serialize(convolution())), lambda model, notes: None)
    assert (facts["findings"], facts["changes"]) == ({"gone": [], "new": []}, [])
    text = shown(facts, changes=True)
    assert "edit: nothing to do" in text and "source: the bytes of the input, unchanged" in text and "0 fields" in text
