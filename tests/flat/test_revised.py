"""What was assigned since reading is found without decoding anew, and is what the whole comparison finds; anything else is left to that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tflitekit import _schema
from tflitekit._base import ARRAYS, Field, Table, enum_class, fields_of, table_name, walk
from tflitekit.flat import codec, reader
from tflitekit.flat.revised import revisions
from tflitekit.graph import Buffer, Model

from .. import forge, generated
from ..reports.models import small
from ..test_edits import two_outside
from .test_reader import one_of_each

Edit = Callable[[], object]


def values_for(table: Table, field: Field) -> list[Any]:
    """Other values for a field: of the same size, of another one, absent."""
    now = getattr(table, field.attribute)
    if field.refers_to or field.kind in ("table", "tables", "union"):
        return []
    if field.type == "bool" and field.kind == "scalar":
        return [not now]
    if field.kind == "scalar":
        if field.enum:
            return [member for member in list(enum_class(field.enum))[:3] if member != now]
        return [-0.0, 0.0, float("nan"), 1.5] if field.type.startswith("float") else [field.default, 1, 2, 7]
    if (table_name(type(table)), field.name) in ARRAYS:
        return [[x + 1 for x in now.tolist()], [3], [3, 4], None]
    if field.kind == "string" or field.type == "uint8":
        return [bytes(len(now or b"")), b"abc", b"", None]
    if field.enum:
        return [tuple(enum_class(field.enum)(i) for i in range(3))]
    if field.type.startswith("float"):
        return [(0.0,) * len(now), (-0.0, 1.5), None]
    return [tuple(not x if field.type == "bool" else x + 1 for x in now), (1,), (1, 0), None]


def assignments(model: Model) -> Iterator[tuple[str, Edit, Edit]]:
    """Every field of every table with each other value, and how to take it back."""
    for path, table in walk(model):
        for field in fields_of(type(table)):
            was, presence = getattr(table, field.attribute), table._present
            for value in values_for(table, field):
                if isinstance(table, Buffer) and field.attribute == "data" and table.out_of_line:
                    continue

                def make(table: Table = table, field: Field = field, value: Any = value) -> None:
                    setattr(table, field.attribute, value)

                def undo(table: Table = table, field: Field = field, was: Any = was, presence: int = presence) -> None:
                    object.__setattr__(table, field.attribute, was)
                    object.__setattr__(table, "_present", presence)

                yield f"{path}.{field.attribute} = {value}", make, undo


def texts(changes: list[tk.Change]) -> list[tuple[str, str]]:
    def whole(value: Any) -> str:
        return repr(bytes(value) if isinstance(value, memoryview) else value)

    return [(str(change), f"{whole(change.old)} {whole(change.new)}") for change in changes]


def shifted() -> Model:
    """Two subgraphs with tensors of the same numbers, strings, optional inputs, and fields that few tables have."""
    model = small()
    model.subgraphs[0].operators[0].inputs = [*model.subgraphs[0].operators[0].inputs[:-1], None]
    other = tk.SubGraph(name="other", tensors=[tk.Tensor(name="t", shape=(2, 3), buffer=model.buffers[0]) for _ in range(3)])
    other.inputs = other.tensors[1:]
    for options in (_schema.AbsOptions(), None):
        other.operators.append(tk.Operator(opcode=model.operator_codes[0], inputs=[other.tensors[0], None], outputs=[other.tensors[2]]))
        other.operators[-1].builtin_options = options
    model.subgraphs.append(other)
    model.signature_defs = [tk.SignatureDef(signature_key="key", subgraph=other)]
    return model


MODELS: dict[str, Callable[[], Model]] = {
    "shifted": shifted,
    "options": lambda: one_of_each(1),
    "weights": lambda: generated.float_weights(1 << 16),
    "operators": lambda: generated.many_operators(reader.MANY),
}
PART = {"options": 17, "operators": 23}  # every so many of the assignments


@pytest.mark.parametrize("name", MODELS)
def test_every_assignment_is_found(name: str) -> None:
    data = tk.serialize(MODELS[name]())
    model = tk.parse(data)
    run, fresh = model.source.verified, reader.decode(memoryview(data))[0]
    assert run is not None and revisions(run, model) == []
    found = whole = 0
    for number, (what, make, undo) in enumerate(assignments(model)):
        if number % PART.get(name, 1):
            continue
        make()
        changes, expected = revisions(run, model), tk.diff(fresh, model)
        if changes is None:
            whole += 1
        else:
            assert texts(changes) == texts(expected), what
            found += bool(changes)
        undo()
    assert revisions(run, model) == [] and tk.diff(fresh, model) == []
    assert found > 80 and found > whole, (found, whole)


def move_parameters(m: Model) -> None:
    first, second = [t.quantization for t in m.subgraphs[0].tensors if t.quantization is not None and len(t.quantization.scale)][:2]
    first.scale, second.scale = [*first.scale, *second.scale], []


MOVES: list[tuple[str, Callable[[Model], object]]] = [
    ("an operator to the next subgraph", lambda m: m.subgraphs[1].operators.insert(0, m.subgraphs[0].operators.pop())),
    ("an input to the next operator", lambda m: m.subgraphs[1].operators[1].inputs.insert(0, m.subgraphs[1].operators[0].inputs.pop())),
    ("a scale to the tensor before", move_parameters),
    ("data inside", lambda m: [setattr(b, "out_of_line", False) for b in m.buffers]),
    ("data outside", lambda m: setattr(m.buffers[1], "out_of_line", True)),
    ("options outside", lambda m: setattr(m.subgraphs[0].operators[0], "large_custom_options", b"new")),
    ("options inside", lambda m: setattr(m.subgraphs[0].operators[0], "large_custom_options", None)),
]


def other_places(model: Model) -> Iterator[tuple[str, Callable[[Model], object]]]:
    """Changes of more than values: lists, references, tables that come and go."""
    for path, table in walk(model):
        for field in fields_of(type(table)):
            at = (path, field.attribute)

            def of(m: Model, at: tuple[str, str] = at) -> tuple[Table, str, Any]:
                owner = m if at[0] == "model" else m.at(at[0])
                return owner, at[1], getattr(owner, at[1])

            now = getattr(table, field.attribute)
            if isinstance(now, list):
                yield f"{at}.reverse", lambda m, of=of: of(m)[2].reverse()
                yield f"{at}.pop", lambda m, of=of: of(m)[2] and of(m)[2].pop()
                yield f"{at} one twice", lambda m, of=of: of(m)[2].__setitem__(slice(-1, None), of(m)[2][:1])
                yield f"{at}.append(None)", lambda m, of=of: of(m)[2].append(None)
                yield f"{at}.append([])", lambda m, of=of: of(m)[2].append([])
            elif field.refers_to or (field.kind in ("table", "union") and now is not None):
                yield f"{at} = None", lambda m, of=of: setattr(*of(m)[:2], None)
            if field.refers_to and field.kind == "scalar":
                for pool in ("buffers", "subgraphs", "operator_codes"):
                    yield f"{at} = {pool}[-1]", lambda m, of=of, pool=pool: setattr(*of(m)[:2], getattr(m, pool)[-1])
                yield f"{at} = another", lambda m, of=of: setattr(*of(m)[:2], type(of(m)[2])())
            if field.kind == "union":
                yield f"{at} = other options", lambda m, of=of: setattr(*of(m)[:2], _schema.NegOptions())
            if field.kind == "table" and now is None:
                yield f"{at} = new", lambda m, of=of, kind=field.type: setattr(*of(m)[:2], getattr(tk, kind, getattr(_schema, kind, None))())


@pytest.mark.parametrize("make", [shifted, generated.rare_parts, two_outside, lambda: two_outside(large_custom_options=b"options")])
def test_what_is_more_than_values_is_left_to_the_whole_comparison(make: Callable[[], Model]) -> None:
    data = tk.serialize(make())
    compared = 0
    edits = list(other_places(tk.parse(data)))
    for what, edit in (*edits[:: 1 + len(edits) // 400], *MOVES):
        model = tk.parse(data)
        try:
            edit(model)
        except (tk.EditError, IndexError, ValueError):
            continue  # there is no such thing to move
        run = model.source.verified
        assert run is not None
        changes = revisions(run, model)
        if changes is not None:
            assert texts(changes) == texts(tk.diff(reader.decode(memoryview(data))[0], model)), what
        compared += 1
    assert compared > 50


def damaged() -> Iterator[bytes]:
    """Files with indices that lead nowhere, members and fields newer than the schema, stored defaults."""
    model = shifted()
    tensor, operator, signature = model.subgraphs[1].tensors[0], model.subgraphs[1].operators[0], model.signature_defs[0]
    for table, name, value in (
        (tensor, "buffer", ("uint32", 99)), (tensor, "buffer", ("uint32", (1 << 32) - 1)), (tensor, "external_buffer", ("uint32", 5)),
        (operator, "opcode", ("uint32", 99)), (signature, "subgraph", ("uint32", 99)), (tensor, "is_variable", ("bool", False)),
    ):  # fmt: skip
        yield forge.pack(model, {table: {forge.slot_of(table, name): value}})
    yield forge.pack(model, {tensor: {30: ("int32", 7)}})
    yield forge.pack(model, forge.unknown_union(operator, "builtin_options"))
    slot = forge.slot_of(operator, "builtin_options")
    yield forge.pack(model, {operator: {slot - 1: ("uint8", 1), slot: None}})
    entry = tk.TensorMap(name="in", tensor=tensor)
    signature.inputs = [entry]
    nothing = ("uint32", (1 << 32) - 1)
    yield forge.pack(model, {signature: {forge.slot_of(signature, "subgraph"): nothing}, entry: {forge.slot_of(entry, "tensor"): nothing}})


def test_damage_is_compared_as_it_is() -> None:
    for number, data in enumerate(damaged()):
        fresh = reader.decode(memoryview(data))[0]
        edits: list[Callable[[Model], object]] = [
            lambda m: setattr(m.subgraphs[1].tensors[0], "buffer", m.buffers[0]), lambda m: setattr(m.subgraphs[1].tensors[0], "buffer", None),
            lambda m: setattr(m.subgraphs[1].tensors[0], "external_buffer", None), lambda m: setattr(m.signature_defs[0], "subgraph", m.subgraphs[0]),
            lambda m: setattr(m.subgraphs[1].operators[0], "builtin_options", None),
            lambda m: [setattr(e, "tensor", None) for s in m.signature_defs for e in s.inputs],
            lambda m: setattr(m.subgraphs[1].tensors[0], "name", b"u"),
        ]  # fmt: skip
        for edit in edits:
            model = tk.parse(data)
            run = model.source.verified
            assert run is not None and revisions(run, model) in ([], None)
            edit(model)
            changes = revisions(run, model)
            assert changes is None or texts(changes) == texts(tk.diff(fresh, model)), number


def test_ids_of_external_buffers_are_followed() -> None:
    """A reference to an id that no buffer has comes to have one, if its id becomes that: two changes."""
    made = small()
    made.external_buffer_groups = [tk.ExternalBufferGroup(name="file")]
    made.external_buffers = [tk.ExternalBuffer(id=5, group=made.external_buffer_groups[0])]
    tensor = made.subgraphs[0].tensors[0]
    model = tk.parse(forge.pack(made, {tensor: {forge.slot_of(tensor, "external_buffer"): ("uint32", 7)}}))
    model.external_buffers[0].id = 7
    model.subgraphs[0].tensors[0].external_buffer = model.external_buffers[0]
    assert len(codec.encode(model).changes or []) == 2


def test_real_models_are_compared_so(model_path: Path) -> None:
    """A name and a zero point of a real model; those with rare parts take the whole comparison, and say the same."""
    model = tk.read(model_path)
    first = next((t for t in model.tensors() if t.name), None)
    if first is None or not first.name:
        model.version += 1
    else:
        first.name = bytes([first.name[0] ^ 1]) + first.name[1:]
    found = next((t.quantization for t in model.tensors() if t.quantization is not None and len(t.quantization.zero_point)), None)
    if found is not None:
        found.zero_point = found.zero_point + 1
    run = model.source.verified
    changes = revisions(run, model) if run is not None else None
    expected = tk.diff(reader.decode(model.source.data)[0], model)
    assert len(expected) >= 1 + (found is not None)
    rare = run is None or bool(model.source.container.outside) or bool(model.external_buffers)
    assert (changes is None) is rare and (rare or texts(changes or []) == texts(expected))
    assert texts(codec.encode(model).changes or []) == texts(expected)
