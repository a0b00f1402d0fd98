"""Objects are the same whether many or few of a kind are decoded, and whether from a file or from what reading it has left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tflitekit import _schema
from tflitekit._base import Table, class_of, fields_of, walk
from tflitekit.flat import codec, layout, reader, verifier

from ..generated import many_operators, per_channel_heavy
from ..reports.models import small

OPTIONS = sorted(set(_schema.OPTIONS.values()))


def one_of_each(count: int) -> tk.Model:
    """`count` operators with each kind of options, in as many subgraphs as there are kinds; further subgraphs to be many of those too."""
    model = tk.Model(version=3, operator_codes=[tk.OperatorCode()])
    unions = {name: "builtin_options_2" if name in _schema.UNIONS["BuiltinOptions2"].values() else "builtin_options" for name in OPTIONS}
    for name in OPTIONS:
        operators = [tk.Operator(opcode=model.operator_codes[0], **{unions[name]: class_of(name)()}) for _ in range(count)]
        model.subgraphs.append(tk.SubGraph(operators=operators, tensors=[tk.Tensor(name=f"{name}{i}") for i in range(count)]))
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            options = operator.options
            for field in fields_of(type(options)):
                if field.refers_to and field.kind == "scalar":
                    setattr(options, field.attribute, subgraph)
    model.buffers = [tk.Buffer() for _ in range(count)]
    return model


@pytest.mark.parametrize("many", [1, 10**9])
@pytest.mark.parametrize("count", [1, reader.MANY + 1])
def test_every_table_is_decoded_alike(monkeypatch: pytest.MonkeyPatch, count: int, many: int) -> None:
    monkeypatch.setattr(reader, "MANY", many)
    model = one_of_each(count)
    read = tk.parse(tk.serialize(model))
    assert tk.diff(model, read) == []
    for subgraph, name in zip(read.subgraphs, OPTIONS, strict=True):
        for operator in subgraph.operators:
            assert type(operator) is tk.Operator and type(operator.options) is class_of(name)
            with pytest.raises(tk.EditError):
                operator.inputs = [1]
        field = next((f for f in fields_of(name) if f.kind == "scalar" and f.type == "int32" and not f.enum and not f.refers_to), None)
        if field is not None:
            with pytest.raises(tk.EditError):
                setattr(subgraph.operators[0].options, field.attribute, 1 << 40)
        assert subgraph.tensors[-1].subgraph is subgraph


def test_few_and_many_are_really_two_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thresholds change how files are checked and decoded, and nothing else."""
    data = tk.serialize(one_of_each(3))
    seen = []
    for few, many in ((0, 1), (1000, 10**9)):
        monkeypatch.setattr(verifier, "FEW", few)
        monkeypatch.setattr(reader, "MANY", many)
        monkeypatch.setattr(reader, "LONG", few)
        monkeypatch.setattr(verifier, "TOGETHER", few)
        seen.append(tk.parse(data))
    assert tk.diff(*seen) == []


def some_scales() -> tk.Model:
    """Many tables of which only some have (long) scales."""
    model = per_channel_heavy(40, 100)
    for tensor in model.subgraphs[0].tensors[::3]:
        tensor.quantization = tk.QuantizationParameters(scale=[])
    return model


WRITTEN = {"each": lambda: one_of_each(3), "many": lambda: many_operators(30), "scales": lambda: per_channel_heavy(8, 100), "some": some_scales}


@pytest.mark.parametrize("make", WRITTEN.values(), ids=WRITTEN)
def test_few_and_many_are_written_the_same(monkeypatch: pytest.MonkeyPatch, make: Callable[[], tk.Model]) -> None:
    """Also where tables of a kind differ in what they store."""
    model = make()
    for number, subgraph in enumerate(model.subgraphs):
        subgraph.name = f"subgraph {number}" if number % 3 else None
        subgraph.tensors[0].quantization = tk.QuantizationParameters(scale=[1.5], zero_point=[number], quantized_dimension=number % 2)
        subgraph.tensors[-1].shape, subgraph.tensors[-1].is_variable = (number, 2), True
    written = set()
    for few in (0, 5, 1000):
        monkeypatch.setattr(layout, "FEW", few)
        monkeypatch.setattr(layout, "LONG", few)
        written.add(tk.serialize(model))
    assert len(written) == 1 and tk.diff(tk.parse(written.pop()), model) == []


# ---- decoding once more, from what the first reading has left ----

MODELS = [small, lambda: one_of_each(3), lambda: many_operators(2 * reader.MANY)]


@pytest.mark.parametrize("make", MODELS, ids=["small", "each", "many"])
def test_what_is_kept_says_what_the_file_says(make: Callable[[], tk.Model]) -> None:
    data = tk.serialize(make())
    model = tk.parse(data)
    run = model.source.take_verified()
    assert run is not None and any(batch.columns for batch in run.batches)
    again, _ = reader.decode(model.source.data, run)
    assert tk.diff(reader.decode(memoryview(data))[0], again) == []
    assert not {id(table) for _, table in walk(model)} & {id(table) for _, table in walk(again)}


def scribble(values: Any) -> None:
    """Change a read-only array, as only someone can who is determined to."""
    values.base.flags.writeable = values.flags.writeable = True
    values[0] = 7


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.subgraphs[0].operators[0].inputs.reverse(), lambda m: m.subgraphs[0].operators[0].inputs.pop(),
        lambda m: m.subgraphs[0].tensors.reverse(),
        lambda m: m.buffers.append(tk.Buffer()), lambda m: m.subgraphs[0].operators.pop(), lambda m: m.subgraphs[0].outputs.clear(),
        lambda m: scribble(m.subgraphs[0].tensors[0].quantization.scale), lambda m: scribble(m.subgraphs[0].tensors[0].quantization.zero_point),
        lambda m: setattr(m.subgraphs[0].tensors[0], "name", "other"), lambda m: setattr(m, "version", 2),
        lambda m: setattr(m.subgraphs[0].tensors[0], "shape", (9, 9, 9)), lambda m: setattr(m.buffers[1], "data", memoryview(b"\1" * 54)),
    ],
)  # fmt: skip
def test_what_is_kept_does_not_follow_the_model(edit: Callable[[tk.Model], object]) -> None:
    """Also where lists and arrays are changed in place: what differs from the file is found, as from a fresh reading."""
    data = tk.serialize(small())
    model = tk.parse(data)
    edit(model)
    assert model.source.verified is not None
    changes = codec.encode(model).changes
    assert changes and list(map(str, changes)) == list(map(str, tk.diff(reader.decode(memoryview(data))[0], model)))


def test_what_is_kept_is_used_until_the_file_changes_or_it_is_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.tflite"
    tk.write(small(), path)
    ran: list[int] = []
    verify = verifier.Verifier.run
    monkeypatch.setattr(verifier.Verifier, "run", lambda self: ran.append(1) or verify(self))
    model = tk.read(path)
    for _ in range(2):
        assert codec.encode(model).writer == "source" and len(ran) == 1
    model.buffers.append(tk.Buffer())
    for verified in (1, 2):
        assert codec.encode(model).writer == "rebuild" and len(ran) == verified
    model = tk.read(path)
    os.utime(path, ns=(5, 5))
    assert codec.encode(model).writer == "source" and len(ran) == 4
    monkeypatch.setattr(codec, "KEPT", 10)
    model = tk.read(path)
    assert model.source.verified is None and codec.encode(model).writer == "source" and len(ran) == 6


def test_what_is_kept_is_smaller_than_the_graph() -> None:
    """In the memory of lists and arrays alone; the values in the lists are those that the graph holds."""
    model = tk.parse(tk.serialize(many_operators(500)))
    batches = model.source.verified.batches  # type: ignore[union-attr]
    arrays = [a for b in batches for a in (b.pos, b.inv, b.offsets, *(x for pair in b.vectors.values() for x in pair))]
    kept = sum(a.nbytes for a in arrays) + sum(sys.getsizeof(column) for b in batches for column in b.columns.values())
    graph = sum(sum(map(sys.getsizeof, map(table.__getattribute__, slots(table)))) + sys.getsizeof(table) for _, table in walk(model))
    assert kept < graph / 2


def slots(table: Table) -> list[str]:
    return [field.attribute for field in fields_of(type(table))]
