"""The pass runner: copies, declared changes, problems, notes; options as flags and as texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution
from tests.conftest import VALID_PATHS
from tests.generated import rare_parts
from tflitekit._base import walk
from tflitekit._copy import copied
from tflitekit.errors import EditError, PassError
from tflitekit.graph import Model, SubGraph, Tensor
from tflitekit.passes import registry
from tflitekit.passes.base import Notes, Pass, declared, option, run
from tflitekit.passes.options import build, options_of, parse_spec


@dataclass(frozen=True)
class Rename(Pass):
    """Rename the first input."""

    name: ClassVar[str] = "rename"
    touches: ClassVar[frozenset[str]] = frozenset({"subgraphs.tensors.name"})
    to: str = option("renamed", "the name")
    times: int = option(1, "how often", parse=int)
    also: tuple[str, ...] = option((), "more", repeated=True)
    loud: bool = option(False, "say it")

    def apply(self, model: Model, notes: Notes) -> None:
        tensor = model.subgraphs[0].inputs[0]
        assert tensor is not None
        tensor.name = self.to.encode()
        notes.changed(tensor, f"renamed to {self.to}")
        notes.remark(model.subgraphs[0].operators[0], "reads it")


@dataclass(frozen=True)
class Edit(Pass):
    """Whatever a test wants."""

    name: ClassVar[str] = "edit"
    touches: ClassVar[frozenset[str]] = frozenset({"subgraphs"})
    edit: Callable[[Model], object] = print

    def apply(self, model: Model, notes: Notes) -> None:
        self.edit(model)


def test_a_pass_works_on_a_copy_and_its_changes_and_notes_are_told() -> None:
    model = tk.parse(tk.serialize(convolution()))
    result = run(model, Rename(to="new"))
    assert model.subgraphs[0].inputs[0].name == b"x"
    assert result.model.subgraphs[0].inputs[0].name == b"new"
    assert [str(change) for change in result.changes] == ["subgraphs[0].tensors[0].name: 'x' -> 'new'"]
    assert [str(note) for note in result.notes] == ["subgraphs[0].tensors[0] 'new': renamed to new", "subgraphs[0].operators[0]: reads it"]
    assert result.writer == "rebuild"
    assert run(model, Rename(to="y")).writer == "patch"
    assert (result.refused, result.seconds > 0) == ((), True)


def test_nothing_to_change_gives_the_same_model_and_the_source_bytes() -> None:
    model = tk.parse(tk.serialize(convolution()))
    result = run(model, Rename(to="x"), Rename(to="x"))
    assert result.model is model
    assert (result.changes, result.writer, len(result.steps)) == ((), "source", 2)


def test_passes_run_one_after_the_other() -> None:
    model = convolution()
    result = run(model, Rename(to="a"), Rename(to="b"))
    assert [str(c) for c in result.changes] == ["subgraphs[0].tensors[0].name: 'x' -> 'b'"]
    assert [str(s.changes[0]) for s in result.steps] == ["subgraphs[0].tensors[0].name: 'x' -> 'a'", "subgraphs[0].tensors[0].name: 'a' -> 'b'"]


def test_a_pass_that_changes_what_it_does_not_declare_is_stopped() -> None:
    model = convolution()
    with pytest.raises(PassError, match=r"edit changed what it does not declare: description"):
        run(model, Edit(lambda m: setattr(m, "description", b"changed")))
    assert model.description != b"changed"


def test_a_pass_that_breaks_the_model_is_stopped_and_old_errors_do_not_count() -> None:
    def dangle(model: Model) -> None:
        model.subgraphs[0].operators[0].inputs[0] = Tensor(name="foreign")

    with pytest.raises(PassError, match="edit would leave the model broken"):
        run(convolution(), Edit(dangle))
    broken = convolution()
    dangle(broken)
    assert run(broken, Rename(to="fine")).changes


def test_declared_paths_cover_what_lies_below_them_and_nothing_beside() -> None:
    touches = frozenset({"subgraphs.tensors.quantization", "buffers"})
    assert declared(touches, "subgraphs[0].tensors[3].quantization.scale")
    assert declared(touches, "buffers[7].data") and declared(touches, "buffers[9]")
    assert not declared(touches, "subgraphs[0].tensors[3].quantization_x")
    assert not declared(touches, "subgraphs[0].tensors[3].type")
    assert not declared(touches, "subgraphs[0].tensors[3]")


def test_a_copy_is_equal_and_shares_no_table() -> None:
    for model in (tk.parse(tk.serialize(rare_parts())), convolution()):
        other = copied(model)
        assert tk.diff(model, other) == []
        mine = {id(table) for _, table in walk(model)}
        assert not any(id(table) in mine for _, table in walk(other))
        assert all(t.subgraph is g for g in other.subgraphs for t in g.tensors)
        if model.source is not None:
            assert tk.serialize(other) == bytes(model.source.data)
        other.subgraphs[0].tensors[0].name = b"changed"
        other.buffers.pop()
        assert tk.diff(model, other)


@pytest.mark.usefixtures("models")
def test_a_copy_of_every_real_model_is_equal() -> None:
    for path in VALID_PATHS:
        model = tk.read(path)
        assert tk.diff(model, copied(model)) == [], path.name


def test_options_come_from_texts() -> None:
    names = [(o.flag, o.repeated, o.default) for o in options_of(Rename)]
    assert names == [("--to", False, "renamed"), ("--times", False, 1), ("--also", True, ()), ("--loud", False, False)]
    assert build(Rename, {"times": ["3"], "also": ["a", "b"], "loud": ["true"]}) == Rename(times=3, also=("a", "b"), loud=True)
    for texts, message in (({"times": ["x"]}, "--times"), ({"to": ["a", "b"]}, "--to is given twice"), ({"loud": ["maybe"]}, "true or false")):
        with pytest.raises(EditError, match=message):
            build(Rename, texts)


def test_specs_are_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ENTRIES", (registry.Entry("rename", "x", "Rename", ""),))
    monkeypatch.setattr(registry, "load", lambda name: Rename)
    for one in (Rename(), Rename(to="a,b{c}"), Rename(times=2, also=("p", "q=r"), loud=True), Rename(to='a"b', loud=True),
                Rename(to="'x'"), Rename(to=" x "), Rename(to='"'), Rename(to="it's", also=('",', "{"))):  # fmt: skip
        assert parse_spec(one.describe()) == one
    assert parse_spec(" rename { to = 'x, y' , loud } ") == Rename(to="x, y", loud=True)
    with pytest.raises(EditError, match="rename has no option 'tu'"):
        parse_spec("rename{tu=1}")
    with pytest.raises(EditError, match="expected NAME"):
        parse_spec("rename{")
    with pytest.raises(EditError, match="is not closed"):
        parse_spec('rename{to="x, loud}')


def test_unknown_passes_are_named_with_the_nearest() -> None:
    with pytest.raises(EditError, match=r"no pass 'set-quantisation'. Did you mean set-quantization\?"):
        parse_spec("set-quantisation")


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda entry: entry.name)
def test_the_registry_says_what_the_classes_say(entry: registry.Entry) -> None:
    cls = registry.load(entry.name)
    first = (cls.__doc__ or "").partition("\n")[0].rstrip(".")
    assert (cls.name, first[0].lower() + first[1:]) == (entry.name, entry.help)
    assert cls.touches
    assert all(option.help for option in options_of(cls))
    assert getattr(tk.passes, entry.cls) is cls


def test_subgraph_and_model_notes_have_paths() -> None:
    model, notes = convolution(), Notes()
    notes.changed(None, "all")
    notes.refused(model.subgraphs[0], "no")
    notes.remark("buffers[3]", "data")
    assert [(n.kind, n.path) for n in notes.resolved(model)] == [("changed", ""), ("refused", "subgraphs[0]"), ("remark", "buffers[3]")]
    assert isinstance(model.subgraphs[0], SubGraph) and len(notes) == 3
    assert replace(Rename(), to="z").describe() == "rename{to=z}"
    assert np.isfinite(run(model).seconds)


def test_a_failure_on_a_broken_model_is_a_refusal_and_on_a_sound_one_a_fault() -> None:
    """What is broken is named; the exception that it led to is the cause."""
    sound, broken = (tk.parse(tk.serialize(convolution())) for _ in range(2))
    broken.subgraphs[0].operators.reverse()
    broken.subgraphs[0].tensors[0].shape = (1 << 30,) * 3
    problem = next(problem for problem in tk.verify(broken) if problem.severity == "error")
    for fails in (lambda m: [][1], lambda m: {}["x"], lambda m: int("x"), lambda m: 1 // 0, lambda m: None.x):
        with pytest.raises((LookupError, ValueError, ArithmeticError, AttributeError)) as caught:
            run(sound, Edit(fails))
        assert not isinstance(caught.value, tk.TFLiteKitError)
        with pytest.raises(tk.RefusedError, match="broken") as refused:
            run(broken, Edit(fails))
        assert problem.path in str(refused.value) and type(refused.value.__cause__) is type(caught.value)


def test_an_error_that_is_added_is_a_fault_unless_the_model_was_broken() -> None:
    def spoil(model: Model) -> None:
        model.subgraphs[0].tensors[1].shape = (1 << 30,) * 4

    sound, broken = (tk.parse(tk.serialize(convolution())) for _ in range(2))
    broken.subgraphs[0].tensors[0].shape = (1 << 30,) * 3
    with pytest.raises(PassError, match="would leave the model broken"):
        run(sound, Edit(spoil))
    with pytest.raises(tk.RefusedError, match="broken already"):
        run(broken, Edit(spoil))


def test_a_result_is_shown_in_one_short_line() -> None:
    result = run(convolution(), Rename())
    assert repr(result) == f"PassResult(rename: {len(result.changes)} changes, {len(result.notes)} notes, 0 refused, 0 problems)"
    assert repr(result.steps[0]) == f"Step(rename: {len(result.changes)} changes, {len(result.notes)} notes)"
