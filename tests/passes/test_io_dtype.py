"""`set-io-dtype` where it is hard: shared boundaries, other readers, constants, passed-through inputs, called subgraphs, names, metadata."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.passes.boundary_models import (
    CASES,
    COARSE,
    FLOAT,
    LOGISTIC,
    SHAPE,
    bounds,
    codes_inside,
    constant_outputs,
    floats_around,
    floats_inside,
    fresh,
    metadata_model,
    passed_through,
    rescaled,
    several_readers,
    shared_outputs,
    spec,
    two_entries,
    with_branches,
)
from tests.passes.interface import TYPES, Tally, compare, sweep
from tests.runtime import needs_runtime
from tflitekit.build import TensorSpec, quantize
from tflitekit.errors import EditError, PassError, RefusedError
from tflitekit.graph import Model, Tensor
from tflitekit.passes import SetIoDtype
from tflitekit.passes.base import PassResult
from tflitekit.passes.set_io_dtype import parse_types

ALL = [(inputs, outputs) for inputs in ("", *TYPES) for outputs in ("", *TYPES) if inputs or outputs]
FEW = [("float32", "int8"), ("int8", "uint8"), ("uint8", "int16"), ("int16", "float32"), ("int8", "int8"), ("float32", ""), ("", "float32"),
       ("", "int16")]  # fmt: skip
BOTH_SIDES = ("only-boundaries", "passed-through", "passed-through-floats")  # what one side does matters to the other


# Combinations without a way back: a scale that only the boundary knew is gone with it.
ONE_WAY = {"constant-outputs": 2, "floats-inside": 4, "rescaled": 4}


def read(model: Model) -> Model:
    """As read from a file."""
    return tk.parse(tk.serialize(model))


def changed(model: Model, **options: str) -> Model:
    return tk.run(read(model), SetIoDtype(**options)).model


def flow(model: Model, subgraph: int = 0) -> list[str]:
    """The operators as text: name, version, types."""
    def types(tensors: list[Tensor | None]) -> str:
        return "+".join(t.type.name for t in tensors if t)

    return [f"{o.op_name}.{o.opcode.version if o.opcode else 0} {types(o.inputs)}->{types(o.outputs)}" for o in model.subgraphs[subgraph].operators]


def shown(tensor: Tensor | None) -> tuple[str, str, float, int]:
    assert tensor is not None
    q = tensor.quantization
    return tensor.name_str, tensor.type.name, *((0.0, 0) if q is None else (float(np.float32(q.scale[0])), int(q.zero_point[0])))


def f32(value: float) -> float:
    return float(np.float32(value))


@needs_runtime
@pytest.mark.parametrize("name", CASES)
def test_every_combination_computes_what_it_should_and_leads_back(name: str) -> None:
    tally = Tally()
    sweep(name, read(CASES[name]()), ALL if name in BOTH_SIDES else FEW, tally)
    assert tally.faults == []
    assert tally.skipped == 0
    assert tally.combinations >= 6
    assert tally.one_way.get(name, 0) == ONE_WAY.get(name, 0)
    assert tally.restored == tally.combinations - ONE_WAY.get(name, 0)


# ---- what it looks like ----


def test_floats_give_way_to_the_codes_behind_them() -> None:
    model = changed(floats_around(), inputs="int8", outputs="int8")
    assert flow(model) == ["LOGISTIC.2 INT8->INT8"]
    assert [t.name_str for t in model.subgraphs[0].tensors] == ["x", "y"]
    assert [code.op_name for code in model.operator_codes] == ["LOGISTIC"]
    assert shown(model.subgraphs[0].inputs[0]) == ("x", "INT8", f32(0.1), -20)
    assert shown(model.signature_defs[0].inputs[0].tensor) == ("x", "INT8", f32(0.1), -20)
    assert shown(model.signature_defs[0].outputs[0].tensor) == ("y", "INT8", 1 / 256, -128)


def test_other_codes_in_place_of_floats_keep_the_tensor_inside() -> None:
    model = changed(floats_around(), inputs="uint8", outputs="int16")
    assert flow(model) == ["QUANTIZE.2 UINT8->INT8", "LOGISTIC.2 INT8->INT8", "QUANTIZE.2 INT8->INT16"]
    assert [t.name_str for t in model.subgraphs[0].tensors] == ["x", "q", "p", "y"]
    assert shown(model.subgraphs[0].inputs[0]) == ("x", "UINT8", f32(0.1), 108)
    assert shown(model.subgraphs[0].outputs[0]) == ("y", "INT16", 1 / 256, 0)


def test_codes_of_16_bits_become_256_times_as_coarse() -> None:
    scales = quantize(0.001), quantize(1 / 32768)
    model = changed(codes_inside("INT16", *scales), inputs="int8", outputs="uint8")
    assert flow(model) == ["QUANTIZE.2 INT8->INT16", "LOGISTIC.2 INT16->INT16", "QUANTIZE.2 INT16->INT8", "QUANTIZE.2 INT8->UINT8"]
    assert shown(model.subgraphs[0].inputs[0]) == ("x", "INT8", f32(0.001) * 256, 0)
    assert shown(model.subgraphs[0].outputs[0]) == ("y", "UINT8", 1 / 128, 128)
    assert shown(changed(codes_inside("INT16", *scales), inputs="uint8").subgraphs[0].inputs[0]) == ("x", "UINT8", f32(0.001) * 256, 128)
    back = changed(model, inputs="int16", outputs="int16")
    assert flow(back) == ["LOGISTIC.2 INT16->INT16"]
    assert tk.diff(back, changed(codes_inside("INT16", *scales), inputs="int16")) == []


def test_int16_inputs_of_a_uint8_model_go_through_int8() -> None:
    model = changed(codes_inside("UINT8", quantize(0.1, 110), quantize(1 / 256)), inputs="int16")
    assert flow(model) == ["QUANTIZE.1 INT16->INT8", "QUANTIZE.1 INT8->UINT8", "LOGISTIC.2 UINT8->UINT8"]
    assert shown(model.subgraphs[0].tensors[0]) == ("x", "INT16", f32(0.1), 0)
    assert shown(model.subgraphs[0].tensor("x_uint8_int8")) == ("x_uint8_int8", "INT8", f32(0.1), -18)


def test_the_widest_of_several_scales_is_taken_and_the_others_read_floats() -> None:
    result = tk.run(read(several_readers()), SetIoDtype(inputs="int8"))
    model = result.model
    assert shown(model.subgraphs[0].inputs[0]) == ("x", "INT8", f32(0.1), -20)
    assert flow(model) == [
        "DEQUANTIZE.2 INT8->FLOAT32", "QUANTIZE.1 FLOAT32->INT8", "LOGISTIC.2 INT8->INT8", "LOGISTIC.2 INT8->INT8",
        "ADD.2 INT8+INT8->INT8", "LOGISTIC.1 FLOAT32->FLOAT32",
    ]  # fmt: skip
    assert "LOGISTIC, QUANTIZE get the values of these codes, in floats" in result.notes[0].text


def test_codes_that_another_output_has_are_copied() -> None:
    model = changed(shared_outputs(), outputs="a=int8,b=int8,c=int8")
    outputs = model.subgraphs[0].outputs
    assert [t.name_str for t in outputs if t] == ["a", "b", "a", "n", "c", "q"]
    assert outputs[0] is outputs[2]
    assert len(set(outputs)) == 5
    assert flow(model) == [
        "LOGISTIC.2 INT8->INT8", "DEQUANTIZE.2 INT8->FLOAT32", "QUANTIZE.1 INT8->INT8", "TANH.2 INT8->INT8", "QUANTIZE.1 INT8->INT8",
        "NEG.1 FLOAT32->FLOAT32",
    ]  # fmt: skip


def test_a_shift_converts_the_boundary_operator_that_is_there() -> None:
    model = changed(rescaled(), inputs="x=int8", outputs="y=int8")
    assert flow(model)[0] == "QUANTIZE.1 INT8->INT8"
    assert flow(model)[3] == "QUANTIZE.1 INT8->INT8"
    assert len(flow(model)) == len(flow(rescaled()))
    assert shown(model.subgraphs[0].inputs[0]) == ("x", "INT8", f32(0.05), -28)
    assert shown(model.subgraphs[0].outputs[0]) == ("y", "INT8", f32(0.2), -98)
    assert "DEQUANTIZE.2 UINT8->FLOAT32" in flow(changed(floats_inside(), inputs="uint8"))


def test_a_wider_boundary_gives_way_to_the_codes_inside() -> None:
    model = changed(rescaled(), inputs="z=int8", outputs="w=uint8")
    assert shown(model.subgraphs[0].inputs[1]) == ("z", "INT8", f32(0.1), -20)
    assert shown(model.subgraphs[0].outputs[1]) == ("w", "UINT8", 1 / 256, 0)


def test_an_input_that_is_an_output_changes_on_one_side_only() -> None:
    model = changed(passed_through(), inputs="uint8")
    main = model.subgraphs[0]
    assert [shown(t)[:2] for t in (*main.inputs, *main.outputs)] == [("x", "UINT8"), ("x_int8", "INT8"), ("y", "INT8")]
    assert [shown(entry.tensor)[:2] for entry in model.signature_defs[0].outputs] == [("x_int8", "INT8"), ("y", "INT8")]
    other = tk.run(read(passed_through()), SetIoDtype(outputs="same=float32"))
    assert [shown(t)[:2] for t in (*other.model.subgraphs[0].inputs, *other.model.subgraphs[0].outputs)][:2] == [("x", "INT8"), ("x_output", FLOAT)]
    assert "the output is a tensor of its own now, 'x_output'" in other.notes[0].text


def test_stored_ranges_dynamic_shapes_and_intermediates_stay() -> None:
    builder, main = fresh()
    x = main.input("x", [-1, 4], FLOAT)
    q = main.apply("QUANTIZE", [x], TensorSpec("q", [-1, 4], "INT8", quantize(0.1, -20, min=[-10.8], max=[14.7])))
    main.output(main.apply("LOGISTIC", [q], TensorSpec("y", [-1, 4], "INT8", LOGISTIC), version=2))
    model = changed(builder.build(), inputs="int8")
    first = model.subgraphs[0].inputs[0]
    assert first is not None
    assert first.quantization is not None
    assert (first.shape, first.shape_signature) == ((1, 4), (-1, 4))
    assert (first.quantization.min.tolist(), first.quantization.max.tolist()) == ([f32(-10.8)], [f32(14.7)])
    main.subgraph.operators[1].intermediates = [q]
    kept = changed(builder.build(), inputs="int8")
    assert flow(kept)[0] == "QUANTIZE.1 INT8->INT8"
    assert kept.subgraphs[0].operators[1].intermediates == [kept.subgraphs[0].tensor("q")]


# ---- what is refused ----


def raw(scale: float) -> Any:
    """A scale that a file can have and the graph takes from no one else."""
    made = quantize(1)
    object.__setattr__(made, "scale", np.array([scale], np.float32))
    return made


def refused(model: Model, **options: str) -> str:
    with pytest.raises(RefusedError) as caught:
        changed(model, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (None, "INT8 without a scale"), (quantize([0.1, 0.2, 0.3, 0.4], 0, axis=1), "per-channel, with 4 scales"), (raw(0.0), "not a positive"),
        (raw(-0.1), "not a positive"), (quantize(1e-40), "subnormal"), (quantize(0.1, 200), "zero point 200 is no code of INT8"),
        (quantize(1e37), "too large"),
    ],
)  # fmt: skip
def test_codes_that_cannot_be_converted_are_refused(quantization: Any, words: str) -> None:
    for options in ({"inputs": "float32"}, {"inputs": "uint8"}):
        assert words in refused(codes_inside("INT8", quantization), **options)
    for options in ({"outputs": "float32"}, {"outputs": "uint8"}):
        assert words in refused(codes_inside("INT8", COARSE, quantization), **options)
    if quantization is not None:
        assert words in refused(floats_around("INT8", quantization), inputs="int8")
        assert words in refused(floats_around("INT8", COARSE, quantization), outputs="int8")


def test_16_bits_with_a_zero_point_are_refused() -> None:
    assert "INT16 with zero point 3; only 0" in refused(codes_inside("INT16", quantize(0.001, 3)), inputs="float32")


def test_floats_without_a_boundary_are_refused() -> None:
    builder, main = fresh()
    x = main.input("x", SHAPE)
    main.output(main.apply("LOGISTIC", [x], spec("y")))
    text = refused(builder.build(), inputs="int8", outputs="uint8")
    assert "input 'x' cannot be INT8: it is read as floats, by LOGISTIC, with no QUANTIZE between: no scale is known" in text
    assert "output 'y' cannot be UINT8: it is computed in floats by LOGISTIC, with no DEQUANTIZE between: no scale is known" in text


def test_what_cannot_be_changed_is_noted_where_the_rest_can() -> None:
    result = tk.run(read(constant_outputs()), SetIoDtype(outputs="uint8"))
    assert [note.text for note in result.refused] == ["output 'real' cannot be UINT8: it is a constant of floats: no scale is known"]
    assert [t.type.name for t in result.model.subgraphs[0].outputs if t] == ["UINT8", "UINT8", FLOAT, "UINT8"]
    assert result.model.subgraphs[0].operators[0].inputs[1] is result.model.subgraphs[0].tensor("read_int8")
    again = tk.run(result.model, SetIoDtype(outputs="uint8"))
    assert again.changes == ()
    assert len(again.refused) == 1


def test_variables_and_tensors_that_nothing_computes_are_refused() -> None:
    builder, main = fresh()
    x = main.input("x", SHAPE, "INT8", COARSE)
    state, nothing = main.variable("state", SHAPE, "INT8", COARSE), main.tensor("nothing", SHAPE, "INT8", COARSE)
    main.output(main.apply("ADD", [x, state], spec("y", "INT8", COARSE), version=2), state, nothing)
    result = tk.run(read(builder.build()), SetIoDtype(outputs="uint8"))
    assert [note.text.partition(": ")[2] for note in result.refused] == [
        "it is a variable, which keeps its value from run to run", "no operator computes it",
    ]  # fmt: skip


def test_damaged_shapes_and_data_are_refused_and_indices_into_nothing_are_survived() -> None:
    model = read(constant_outputs())
    model.subgraphs[0].tensor("lone").shape = (2, 5)
    assert "INT8 [2, 5] needs 10 bytes, the buffer has 8" in refused(model, outputs="lone=float32")
    model = read(codes_inside())
    model.subgraphs[0].tensor("x").shape = (2, -4)
    assert "its shape [2, -4] is none" in refused(model, inputs="float32")
    bad = bytearray(tk.serialize(floats_inside()))
    model = read(floats_inside())
    names = {tensor: i for i, tensor in enumerate(model.subgraphs[0].tensors)}
    where = [i for i in range(0, len(bad) - 12, 4) if bad[i : i + 8] == np.array([1, names[model.subgraphs[0].tensor("h")]], "<i4").tobytes()]
    assert where
    for position in where:
        damaged = bytearray(bad)
        damaged[position + 4] = 77
        for options in ({"inputs": "float32", "outputs": "float32"}, {"inputs": "uint8", "outputs": "int16"}):
            with contextlib.suppress(RefusedError, PassError):
                tk.run(tk.parse(bytes(damaged)), SetIoDtype(**options))


def test_other_types_stay_and_are_refused_by_name() -> None:
    result = tk.run(read(with_branches()), SetIoDtype(inputs="uint8"))
    assert [str(note) for note in result.notes if note.kind == "remark"] == [
        "subgraphs[0].tensors[0] 'flag': input stays BOOL, which is neither floats nor codes of 8 or 16 bits"
    ]
    assert "input 'flag' cannot be INT8: it is BOOL" in refused(with_branches(), inputs="flag=int8")
    builder, main = fresh()
    main.output(main.input("x", SHAPE, "INT32"))
    assert "no input or output that was asked for" in refused(builder.build(), inputs="int8")


# ---- subgraphs and signatures ----


def test_subgraphs_that_are_called_stay_and_their_signatures_are_refused() -> None:
    before = read(with_branches(signature=True))
    result = tk.run(before, SetIoDtype(inputs="uint8", outputs="uint8"))
    assert flow(result.model) == ["QUANTIZE.1 UINT8->INT8", "IF.1 BOOL+INT8->INT8", "QUANTIZE.1 INT8->UINT8"]
    assert [flow(result.model, i) for i in (1, 2)] == [["ADD.2 INT8+INT8->INT8"]] * 2
    assert sorted({note.text.partition(": ")[2] for note in result.refused}) == [
        "IF (subgraphs[0].operators[0]) calls its subgraph and hands over what the subgraph takes now"
    ]
    assert {note.name for note in result.refused} == {"v", "w"}
    assert "calls its subgraph" in refused(with_branches(signature=True), inputs="branch:v=uint8")


def test_one_signature_of_several_can_be_meant() -> None:
    model = changed(two_entries(), inputs="two:a=int8")
    assert [shown(g.inputs[0])[:2] for g in model.subgraphs] == [("x", "INT8"), ("x", "INT8")]
    model = changed(two_entries(), inputs="a=float32", outputs="d=float32")
    assert [shown(g.inputs[0])[1] for g in model.subgraphs] == [FLOAT, FLOAT]
    assert [shown(g.outputs[0])[1] for g in model.subgraphs] == [FLOAT, "UINT8"]
    assert [shown(entry.tensor)[1] for s in model.signature_defs for entry in (*s.inputs, *s.outputs)] == [FLOAT] * 5 + ["UINT8"]


# ---- names ----


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("x=uint8", "UINT8 INT16"), ("0=uint8", "UINT8 INT16"), ("0:1=uint8", "UINT8 UINT8"), ("1=float32", "UINT8 FLOAT32"), ("*=int8", "INT8 INT8"),
        ("z=int8, x=INT16", "INT16 INT8"), ("int8,z=float32", "INT8 FLOAT32"), ("z=float32,int8", "INT8 FLOAT32"), ("x=int8,0=int8", "INT8 INT16"),
    ],
)  # fmt: skip
def test_inputs_are_named_in_many_ways(inputs: str, expected: str) -> None:
    assert [shown(t)[1] for t in tk.run(read(rescaled()), SetIoDtype(inputs=inputs)).model.subgraphs[0].inputs] == expected.split()


def test_names_may_hold_commas_and_equal_signs() -> None:
    assert parse_types("a,b=int8") == (("a,b", "int8"),)
    assert parse_types("a=b=int8,c:0=UINT8") == (("a=b", "int8"), ("c:0", "uint8"))
    assert parse_types("float32") == (("", "float32"),)
    assert parse_types("int16,x=int8") == (("", "int16"), ("x", "int8"))
    for text in ("int4", "x=", "=int8,x", "x=int8,,"):
        with pytest.raises(EditError, match="expected TYPE or NAME=TYPE"):
            parse_types(text)


def test_wrong_names_and_contradictions_are_told() -> None:
    for options, words in (
        ({"inputs": "zz=int8"}, "--inputs: no input is named 'zz'; did you mean 'z'"), ({"outputs": "x=int8"}, "--outputs: no output is named 'x'"),
        ({"inputs": "x=int8,0=int16"}, "'x' cannot be both INT8 and INT16"), ({"inputs": "x=int8,x=int16"}, "'x' cannot be both int8 and int16"),
        ({}, "give --inputs, --outputs or both"),
    ):  # fmt: skip
        with pytest.raises(EditError, match=words):
            changed(rescaled(), **options)


# ---- what else speaks of types and operators ----

def test_bounds_that_are_codes_follow_the_type_and_real_ones_stay() -> None:
    for type_, expected in (("int8", (-128, 127)), ("int16", (-32768, 32767)), ("float32", (-1, 127 / 128))):
        result = tk.run(read(metadata_model(0, 255)), SetIoDtype(inputs=type_))
        assert bounds(result.model) == expected
        assert any("its bounds in the metadata were the codes 0 to 255" in note.text for note in result.notes)
        assert bounds(changed(metadata_model(-1, 1), inputs=type_)) == (-1, 1)


def test_the_runtime_version_is_raised_and_never_lowered_and_stale_positions_go() -> None:
    def entry(model: Model, name: bytes) -> bytes | None:
        return next((bytes(m.buffer.data) for m in model.metadata if m.name == name and m.buffer and m.buffer.data), None)

    raised = tk.run(read(metadata_model(0, 255)), SetIoDtype(inputs="int16"))
    assert entry(raised.model, b"min_runtime_version") == b"1.14.0".ljust(16, b"\0")
    assert entry(raised.model, b"model_control_dependencies") is None
    assert sum("model_control_dependencies taken out" in note.text for note in raised.notes) == 1
    assert entry(changed(metadata_model(0, 255), outputs="int16"), b"min_runtime_version") == b"1.15.0".ljust(16, b"\0")
    assert entry(changed(metadata_model(0, 255, "2.3.0"), outputs="int16"), b"min_runtime_version") == b"2.3.0".ljust(16, b"\0")
    already = tk.run(read(metadata_model(0, 255)), SetIoDtype(inputs="uint8"))
    assert already.changes == ()


def test_damaged_metadata_is_no_obstacle() -> None:
    model = metadata_model(0, 255)
    entry = next(m for m in model.metadata if m.name == b"TFLITE_METADATA")
    entry.buffer = model.add_buffer(b"\xff" * 40)
    result = tk.run(read(model), SetIoDtype(inputs="int8"))
    assert any(note.text.startswith("not kept up, since it cannot be read") for note in result.notes)


def test_notes_say_what_was_done_with_exact_numbers() -> None:
    result: PassResult = tk.run(read(floats_around()), SetIoDtype(inputs="uint8"))
    assert [str(note) for note in result.notes] == [
        f"subgraphs[0].tensors[0] 'x': input is UINT8 with scale {f32(0.1)!r} and zero point 108 now, was FLOAT32; "
        "QUANTIZE taken out, QUANTIZE put in"
    ]
    assert result.notes[0].data == {"old": "FLOAT32", "new": "UINT8", "scale": f32(0.1), "zero_point": 108}


@needs_runtime
def test_the_comparison_sees_a_wrong_scale() -> None:
    before = read(codes_inside())
    after = changed(codes_inside(), inputs="uint8", outputs="float32")
    tally = Tally()
    compare("right", before, tk.serialize(before), after, tally, {"run": (0, 1), None: (0, 1)}, exact=False)
    assert tally.faults == []
    q = after.subgraphs[0].tensor("x_int8").quantization
    assert q is not None
    q.scale = [0.11]
    compare("wrong", before, tk.serialize(before), after, tally, {"run": (0, 1), None: (0, 1)}, exact=False)
    assert tally.faults
