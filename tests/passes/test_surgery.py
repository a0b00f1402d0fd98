"""The edits that passes share."""

from __future__ import annotations

import pytest

import tflitekit as tk
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model
from tflitekit.passes import surgery


def chain() -> Model:
    """Float x -> QUANTIZE -> LOGISTIC (with an intermediate) -> y, and a signature of another output."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [4])
    q = main.apply("QUANTIZE", [x], TensorSpec("q", [4], "INT8", quantize(0.1)))
    middle = main.tensor("middle", [4], "INT8", quantize(0.1))
    y = main.apply("LOGISTIC", [q], TensorSpec("y", [4], "INT8", quantize(1 / 256, -128)), version=2, intermediates=[middle])
    z = main.apply("TANH", [y], TensorSpec("z", [4], "INT8", quantize(1 / 128)), version=2)
    main.apply("NEG", [z], TensorSpec("unread", [4], "INT8", quantize(1 / 128)))
    main.output(z)
    builder.signature("s", {"a": x}, {"b": y})
    builder.metadata("min_runtime_version", b"1.14.0".ljust(16, b"\0"))
    return builder.build()


def test_pinned_tensors_are_those_that_more_than_operators_know() -> None:
    model = chain()
    assert {tensor.name for tensor in surgery.pinned(model)} == {b"x", b"y", b"z", b"middle"}


def test_a_converting_operator_fits_the_types_it_has() -> None:
    model = chain()
    main, operator = model.subgraphs[0], model.subgraphs[0].operators[0]
    before = operator.opcode
    surgery.fit(model, operator)
    assert operator.opcode is before
    main.tensors[1].type = TensorType.INT16
    surgery.fit(model, operator)
    assert operator.opcode is not None
    assert (operator.opcode.op_name, operator.opcode.version) == ("QUANTIZE", 2)
    assert before is not None
    assert before.version == 1
    main.tensors[0].type, main.tensors[1].type = TensorType.INT16, TensorType.FLOAT32
    surgery.fit(model, operator)
    assert (operator.opcode.op_name, operator.opcode.version, type(operator.options).__name__) == ("DEQUANTIZE", 3, "DequantizeOptions")
    assert operator.opcode in model.operator_codes


def test_operators_and_the_codes_that_only_they_had_go_together() -> None:
    model = chain()
    main = model.subgraphs[0]
    gone = main.operators[3]
    surgery.remove_operators(main, [gone])
    assert [operator.op_name for operator in main.operators] == ["QUANTIZE", "LOGISTIC", "TANH"]
    removed = surgery.remove_unused_codes(model, [gone.opcode, main.operators[0].opcode, None])
    assert removed == [gone.opcode]
    assert [code.op_name for code in model.operator_codes] == ["QUANTIZE", "LOGISTIC", "TANH"]


def test_the_list_of_operator_positions_is_dropped() -> None:
    model = chain()
    assert not surgery.drop_control_dependencies(model)
    model.metadata.append(tk.Metadata(name="model_control_dependencies", buffer=model.add_buffer(b"\1")))
    assert surgery.drop_control_dependencies(model)
    assert [entry.name for entry in model.metadata] == [b"min_runtime_version"]


@pytest.mark.parametrize(
    ("stored", "version", "expected"),
    [("1.14.0", 2, ("1.14.0", "1.15.0")), ("1.5.0", 1, ("1.5.0", "1.14.0")),
     ("1.15.0", 2, None), ("2.10.0", 2, None), ("1.9.0", 1, ("1.9.0", "1.14.0"))],
)  # fmt: skip
def test_the_least_runtime_is_raised_and_never_lowered(stored: str, version: int, expected: tuple[str, str] | None) -> None:
    model = chain()
    entry = model.metadata[0]
    entry.buffer = model.add_buffer(stored.encode().ljust(16, b"\0"))
    code = surgery.operator_code(model, BuiltinOperator.QUANTIZE, version)
    assert surgery.raise_min_runtime(model, [code]) == expected
    assert entry.buffer is not None
    assert bytes(entry.buffer.data or b"") == (expected[1] if expected else stored).encode().ljust(16, b"\0")
    model.metadata.clear()
    assert surgery.raise_min_runtime(model, [code]) is None
    assert model.metadata == []
