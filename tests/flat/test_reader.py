"""Objects are the same whether many or few of a kind are decoded."""

from __future__ import annotations

import pytest

import tflitekit as tk
from tflitekit import _schema
from tflitekit._base import class_of, fields_of
from tflitekit.flat import reader, verifier

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


@pytest.mark.parametrize("count", [1, reader.MANY + 1])
def test_every_table_is_decoded_alike(count: int) -> None:
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
        monkeypatch.setattr(reader, "FEW", few)
        monkeypatch.setattr(reader, "MANY", many)
        seen.append(tk.parse(data))
    assert tk.diff(*seen) == []
