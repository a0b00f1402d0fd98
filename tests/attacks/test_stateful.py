"""Random valid models under random edits: after every write, the file says what the graph says, and is valid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tflitekit as tk

from .strategies import EDITS, models

BUDGETS = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
STEPS = 6


def written(model: tk.Model, rebuild: bool) -> tk.Model:
    """What the file says, which must be what the graph says; writing is a function of the graph, and a fixed point."""
    data = tk.serialize(model, rebuild=rebuild)
    again = tk.parse(data)
    assert [str(change) for change in tk.diff(model, again)] == []
    assert tk.serialize(again) == data
    assert tk.serialize(model, rebuild=rebuild) == data
    return again


def sequence(model: tk.Model, draw: Any) -> None:
    """Edits in a row; between them the model is sometimes replaced by what its file says, so that patches and rebuilds of a source happen too."""
    known = {problem.code for problem in tk.verify(model)}
    model = written(model, True)
    assert {problem.code for problem in tk.verify(model)} == known
    for _ in range(draw(st.integers(1, STEPS))):
        draw(st.sampled_from(EDITS))(model, draw)
        again = written(model, draw(st.booleans()))
        assert [str(p) for p in tk.verify(again)] == [str(p) for p in tk.verify(model)]
        if draw(st.booleans()):
            model = again


@settings(BUDGETS, max_examples=30)
@given(models(), st.data())
def test_the_file_is_the_graph_after_every_edit(model: tk.Model, data: Any) -> None:
    sequence(model, data.draw)


@pytest.mark.slow
@settings(BUDGETS, max_examples=2000)
@given(models(), st.data())
def test_the_file_is_the_graph_after_every_edit_at_length(model: tk.Model, data: Any) -> None:
    sequence(model, data.draw)


def test_all_edits_change_something_and_all_writers_are_used() -> None:
    """The property above is not empty: every edit is seen to change a model, and sources, patches and rebuilds are all written."""
    seen: set[str] = set()

    @settings(BUDGETS, max_examples=20)
    @given(models(), st.data())
    def look(model: tk.Model, data: Any) -> None:
        for edit in EDITS:
            model = tk.parse(tk.serialize(model))
            before = tk.serialize(model, rebuild=True)
            edit(model, data.draw)
            if tk.serialize(model, rebuild=True) != before:
                seen.add(edit.__name__)
            assert model.source is not None
            seen.add(model.source.writer_for(model))

    look()
    assert seen == {edit.__name__ for edit in EDITS} | {"source", "patch", "rebuild"}
