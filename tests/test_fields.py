"""Fields of tables: every assignment either stores the value exactly or raises EditError; what a new table holds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflitekit import _schema, graph
from tflitekit._base import ARRAYS, Field, OpaqueUnion, class_of, enum_class, fields_of
from tflitekit._placeholders import dangling
from tflitekit._schema import BuiltinOperator, Conv2DOptions, SoftmaxOptions
from tflitekit.errors import EditError
from tflitekit.graph import Buffer, Model, Operator, OperatorCode, QuantizationParameters, Tensor

RANGES = {
    "bool": (0, 1), "int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1), "uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip
TABLES = sorted(_schema.FIELDS)
ALL_FIELDS = [(table, field) for table in TABLES for field in fields_of(table)]


def ids(entry: object) -> str:
    return entry.attribute if isinstance(entry, Field) else str(entry)


def of_kind(*kinds: str, refers: bool = False) -> list[tuple[str, Field]]:
    return [(t, f) for t, f in ALL_FIELDS if f.kind in kinds and bool(f.refers_to) is refers]


def made(table: str) -> Any:
    return class_of(table)()


def stays(owner: Any, name: str, value: Any) -> None:
    """An assignment that is refused changes nothing."""
    before, present = getattr(owner, name), owner._present
    with pytest.raises(EditError, match=name.strip("_")):
        setattr(owner, name, value)
    assert getattr(owner, name) is before
    assert owner._present == present


# ---- scalars ----


@pytest.mark.parametrize(("table", "field"), [e for e in of_kind("scalar") if not e[1].type.startswith("float")], ids=ids)
def test_integers_keep_their_range_and_refuse_the_next(table: str, field: Field) -> None:
    owner = made(table)
    low, high = RANGES[field.type]
    for value in (low, high, np.int64(high) if high < 2**63 else np.uint64(high), np.int8(1)):
        setattr(owner, field.attribute, value)
        stored = getattr(owner, field.attribute)
        assert int(stored) == int(value)
        assert type(stored) is (enum_class(field.enum) if field.enum else bool if field.type == "bool" else int)
    for value in (low - 1, high + 1, 2**80, 1.0, 1.5, float("nan"), "1", b"1", [1], np.array([1, 2]), object()):
        stays(owner, field.attribute, value)


@pytest.mark.parametrize(("table", "field"), [e for e in of_kind("scalar") if e[1].enum], ids=ids)
def test_enums_take_members_names_and_numbers_of_newer_files(table: str, field: Field) -> None:
    owner, kind = made(table), enum_class(field.enum)
    for member in kind:
        setattr(owner, field.attribute, member.name)
        assert getattr(owner, field.attribute) is member
    setattr(owner, field.attribute, 101)
    assert getattr(owner, field.attribute) == 101
    stays(owner, field.attribute, "NO_SUCH_MEMBER")


@pytest.mark.parametrize(("table", "field"), [e for e in of_kind("scalar") if e[1].type.startswith("float")], ids=ids)
def test_floats_are_rounded_to_float32_once(table: str, field: Field) -> None:
    owner = made(table)
    for value in (0.1, 1e-45, -0.0, math.inf, -math.inf, 3, np.float32(0.1), np.float64(0.1)):
        setattr(owner, field.attribute, value)
        assert np.float64(getattr(owner, field.attribute)).tobytes() == np.float64(np.float32(value)).tobytes()
    setattr(owner, field.attribute, math.nan)
    assert math.isnan(getattr(owner, field.attribute))
    for wrong in (1e39, "1", None.__class__, [1.0], 2**2000, 1j):
        stays(owner, field.attribute, wrong)


# ---- vectors ----

NUMERIC_VECTORS = [e for e in of_kind("vector") if e[1].type != "uint8" and (e[0], e[1].name) not in ARRAYS]


@pytest.mark.parametrize(("table", "field"), NUMERIC_VECTORS, ids=ids)
def test_vectors_are_checked_element_by_element(table: str, field: Field) -> None:
    owner = made(table)
    low, high = RANGES.get(field.type, (-1, 1))
    dtypes = ["i1", "i8", "f4"] if field.type.startswith("float") else ["i1", "i4", "i8", "u1"]
    for value in ([], (low, high), range(2), np.array([1, 0], dtypes[0]), (x for x in (1, 0)), *(np.array([1], d) for d in dtypes)):
        expected = None if not hasattr(value, "__len__") else [int(v) for v in value]
        setattr(owner, field.attribute, value)
        stored = getattr(owner, field.attribute)
        assert isinstance(stored, tuple)
        assert [int(v) for v in stored] == ([1, 0] if expected is None else expected)
        assert owner.has(field.attribute)
    wrong: list[Any] = [5, "12", b"12", ["a"], [[1, 1]], np.ones((2, 2), np.int32), [None], object(), [1e39], [2**2000]]
    if not field.type.startswith("float"):
        wrong += [[high + 1], [0, low - 1], [0.5], np.array([1.0])]
    for value in wrong:
        stays(owner, field.attribute, value)
    setattr(owner, field.attribute, None)
    assert getattr(owner, field.attribute) == ()
    assert not owner.has(field.attribute)


BYTES = [e for e in of_kind("vector") if e[1].type == "uint8" and e[0] != "Buffer"]


@pytest.mark.parametrize(("table", "field"), [*BYTES, *of_kind("string")], ids=ids)
def test_bytes_and_strings_are_stored_as_bytes(table: str, field: Field) -> None:
    owner = made(table)
    for value in (b"", b"\xff\0", bytearray(b"ab"), memoryview(b"cd")):
        setattr(owner, field.attribute, value)
        stored = getattr(owner, field.attribute)
        assert type(stored) is bytes
        assert stored == bytes(value)
    setattr(owner, field.attribute, None)
    assert getattr(owner, field.attribute) is None
    for wrong in (5, [1, 2], object(), np.array([1], np.uint8)):
        stays(owner, field.attribute, wrong)
    if field.kind == "string":
        setattr(owner, field.attribute, "\N{SNOWMAN}")
        assert getattr(owner, field.attribute) == "\N{SNOWMAN}".encode()
        stays(owner, field.attribute, "\ud800")
    else:
        stays(owner, field.attribute, "text")


# ---- objects ----


@pytest.mark.parametrize(("table", "field"), of_kind("scalar", refers=True), ids=ids)
def test_references_hold_objects_not_indices(table: str, field: Field) -> None:
    owner, target = made(table), field.refers_to.partition(".")[0]
    for value in (class_of(target)(), dangling(target, 5), None):
        setattr(owner, field.attribute, value)
        assert getattr(owner, field.attribute) is value
    other = Buffer() if target != "Buffer" else Tensor()
    for wrong in (3, "x", [], other, class_of(target)):
        stays(owner, field.attribute, wrong)


@pytest.mark.parametrize(("table", "field"), [*of_kind("tables"), *of_kind("vector", refers=True)], ids=ids)
def test_lists_hold_objects_of_their_class(table: str, field: Field) -> None:
    owner, target = made(table), class_of(field.refers_to.partition(".")[0] or field.type)
    items = [target(), target()]
    for value in (items, tuple(items), iter(items)):
        setattr(owner, field.attribute, value)
        stored = getattr(owner, field.attribute)
        assert type(stored) is list
        assert stored is not items
        assert [id(x) for x in stored] == [id(x) for x in items]
    other = Buffer() if target is not Buffer else Tensor()
    for wrong in (3, target(), [0], [target(), other], np.array([1, 2]), *([] if field.refers_to else [[None]])):
        stays(owner, field.attribute, wrong)
    if field.refers_to:
        setattr(owner, field.attribute, [None])
    setattr(owner, field.attribute, [])
    assert owner.has(field.attribute)
    setattr(owner, field.attribute, None)
    assert getattr(owner, field.attribute) == []
    assert not owner.has(field.attribute)


@pytest.mark.parametrize(("table", "field"), of_kind("table", "union"), ids=ids)
def test_tables_and_unions_take_their_members(table: str, field: Field) -> None:
    owner = made(table)
    members = _schema.UNIONS[field.type].values() if field.kind == "union" else [field.type]
    for name in members:
        value = class_of(name)()
        setattr(owner, field.attribute, value)
        assert getattr(owner, field.attribute) is value
    if field.kind == "union":
        setattr(owner, field.attribute, OpaqueUnion(250, True))
    setattr(owner, field.attribute, None)
    for wrong in (0, Model(), class_of(next(iter(members))), "x", {}):
        stays(owner, field.attribute, wrong)


# ---- quantization arrays ----

FLOATS = ["min", "max", "scale"]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [0.5, [0.1, 2], (1,), np.float64(0.1), np.array([0.1]), np.array([3], np.int64), [2**60], np.float16(0.5)])
def test_float_arrays_are_converted_and_read_only(name: str, value: Any) -> None:
    q = QuantizationParameters(**{name: value})
    stored = getattr(q, name)
    assert stored.dtype == np.float32
    assert stored.tobytes() == np.atleast_1d(np.asarray(value)).astype(np.float32).tobytes()
    assert q.has(name)
    with pytest.raises(ValueError, match="read-only"):
        stored[0] = 1


def test_the_caller_keeps_his_array() -> None:
    mine = np.array([0.5, 0.25], np.float32)
    codes = np.array([1, 2], np.int64)
    q = QuantizationParameters(scale=mine, zero_point=codes)
    mine[0], codes[0] = 9, 9
    assert q.scale.tolist() == [0.5, 0.25]
    assert q.zero_point.tolist() == [1, 2]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", ["x", [[1.0]], np.ones((2, 2)), 1e39, [1, "a"], [None], 1j, np.array([True]), [[1], [1, 2]], object()])
def test_float_arrays_refuse_what_they_cannot_hold(name: str, value: Any) -> None:
    stays(QuantizationParameters(**{name: [1]}), name, value)


@pytest.mark.parametrize("value", [0, -1, [1, 0], math.nan, math.inf, 1e-60])
def test_scales_are_finite_and_above_zero(value: Any) -> None:
    stays(QuantizationParameters(scale=[1]), "scale", value)


@pytest.mark.parametrize("value", [3, [3, -3], np.int32(3), np.array([3], np.uint8), np.array([2**63 - 1], np.uint64), [-(2**63)], range(3)])
def test_zero_points_become_int64(value: Any) -> None:
    q = QuantizationParameters(zero_point=value)
    assert q.zero_point.dtype == np.int64
    assert q.zero_point.tolist() == [int(v) for v in np.atleast_1d(np.asarray(value))]


@pytest.mark.parametrize("value", [1.0, [0.5], math.nan, [2**63], [-(2**63) - 1], np.array([2**63], np.uint64), "3", [[3]], [None], True])
def test_zero_points_are_integers_of_64_bits(value: Any) -> None:
    stays(QuantizationParameters(zero_point=[1]), "zero_point", value)


def test_an_empty_array_is_not_an_absent_one() -> None:
    q = QuantizationParameters()
    assert not q.has("zero_point")
    q.zero_point = []  # type: ignore[assignment]
    assert q.has("zero_point")
    assert len(q.zero_point) == 0
    q.zero_point = None  # type: ignore[assignment]
    assert not q.has("zero_point")


@given(st.lists(st.floats(min_value=0, exclude_min=True, width=32, allow_infinity=False, allow_nan=False), min_size=1, max_size=9))
def test_scale_bits_are_kept(values: list[float]) -> None:
    exact = np.array(values, np.float32)
    for given_as in (exact, values, exact.astype(np.float64), exact[::-1][::-1]):
        assert QuantizationParameters(scale=given_as).scale.tobytes() == exact.tobytes()
    assert b"".join([QuantizationParameters(scale=exact[::-1]).scale]) == exact[::-1].tobytes()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "none"), ({"min": [0], "max": [1]}, "ranges"), ({"scale": [1], "zero_point": [0]}, "per-tensor"), ({"scale": [1, 2]}, "per-channel"),
        ({"details": _schema.BlockwiseQuantization()}, "blockwise"), ({"details": _schema.MultiAxisQuantization()}, "multi-axis"),
        ({"details": _schema.CustomQuantization(), "scale": [1]}, "custom"), ({"details": OpaqueUnion(9, True)}, "unknown"),
    ],
)  # fmt: skip
def test_kinds_of_quantization(fields: dict[str, Any], kind: str) -> None:
    q = QuantizationParameters(**fields)
    assert q.kind == kind
    assert q.is_quantized is (kind not in ("none", "ranges"))
    assert Tensor(quantization=q).is_quantized is q.is_quantized


# ---- buffers ----


@pytest.mark.parametrize(
    "value", [b"abc", bytearray(b"abc"), memoryview(b"abc"), np.frombuffer(b"abc", np.uint8), np.frombuffer(b"aXbXc", np.uint8)[::2]]
)
def test_buffer_data_is_a_read_only_view_of_bytes(value: Any) -> None:
    buffer = Buffer(data=value)
    assert isinstance(buffer.data, memoryview)
    assert buffer.data.readonly
    assert buffer.data == b"abc"
    assert buffer.has("data")
    buffer.data = None
    assert buffer.data is None
    assert not buffer.has("data")


@pytest.mark.parametrize(
    "value",
    [
        "abc", 5, [1, 2], np.ones(4, np.float32), np.ones((2, 2), np.uint8), np.array(["a"]), object(), memoryview(b"abcd").cast("H"),
        memoryview(b"abcd")[::2],
    ],
)  # fmt: skip
def test_buffer_data_refuses_what_has_no_plain_bytes(value: Any) -> None:
    buffer = Buffer(data=b"old")
    with pytest.raises(EditError, match=r"Buffer\.data"):
        buffer.data = value
    assert buffer.data == b"old"


def test_large_custom_options_are_a_view() -> None:
    operator = Operator(large_custom_options=b"abc")
    assert operator.large_custom_options == memoryview(b"abc")
    assert operator.large_custom_options_offset == 0


# ---- construction ----


@pytest.mark.parametrize("table", TABLES)
def test_a_new_table_has_the_defaults_of_the_schema(table: str) -> None:
    value = made(table)
    for field in fields_of(table):
        held = getattr(value, field.attribute)
        if field.kind == "scalar" and not field.refers_to:
            assert held == field.default
        elif isinstance(held, np.ndarray):
            assert len(held) == 0
        else:
            assert held in (None, (), [])
    assert repr(value).startswith(f"{table}(")


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(EditError, match="stride"):
        Conv2DOptions(stride=3)
    with pytest.raises(AttributeError):
        Tensor().colour = "red"  # type: ignore[attr-defined]
    with pytest.raises(EditError, match="no options"):
        graph.new_options(BuiltinOperator.LOGISTIC, axis=1)
    assert graph.new_options(BuiltinOperator.LOGISTIC) is None
    assert isinstance(graph.new_options(BuiltinOperator.SOFTMAX, beta=1), SoftmaxOptions)


def test_objects_compare_by_identity() -> None:
    assert Buffer() != Buffer()
    assert len({Tensor(), Tensor()}) == 2


@pytest.mark.parametrize("code", list(BuiltinOperator))
def test_both_code_fields_are_set(code: BuiltinOperator) -> None:
    for made in (OperatorCode(builtin_code=code), OperatorCode()):
        made.set_code(code)
        assert (made.code, made.builtin_code, made.deprecated_builtin_code) == (code, code, min(code, 127))


def test_the_effective_code_is_the_larger_field() -> None:
    assert OperatorCode(builtin_code=BuiltinOperator.ADD, deprecated_builtin_code=3).code == BuiltinOperator.CONV_2D
    assert OperatorCode(builtin_code=BuiltinOperator.GELU, deprecated_builtin_code=0).code == BuiltinOperator.GELU
    assert OperatorCode(builtin_code=BuiltinOperator.CUSTOM, custom_code="Mine").op_name == "Mine"
    assert OperatorCode(builtin_code=BuiltinOperator.CUSTOM).op_name == "CUSTOM"
    assert OperatorCode(builtin_code=BuiltinOperator(5000)).op_name == "UNKNOWN_5000"
    assert Operator().op_name == "?"
    assert Operator(opcode=dangling("OperatorCode", 4)).op_name == "<no operator code 4>"


def test_operators_and_buffers_are_shown_as_people_read_them() -> None:
    inputs = [Tensor(name="x\n"), None, dangling("Tensor", 9), Tensor(name="n" * 99), *[Tensor(name="y")] * 9]
    shown = repr(Operator(opcode=OperatorCode(builtin_code=BuiltinOperator.ADD), inputs=inputs, outputs=[Tensor(name="z")]))
    name = "'" + "n" * 36 + "..."
    assert shown == f"Operator('ADD', inputs=['x\\n', None, {inputs[2].name_str!r}, {name}, 'y', 'y', ...], outputs=['z'])"
    assert repr(Buffer(data=b"12345678")) == "Buffer(data=<8 bytes>)"
