"""Setters: every field gets values of every wrong type, range, length and rank: a typed error, or what was meant is stored and written."""

from __future__ import annotations

import fractions
import math
import struct
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit import _metadata_schema, _schema
from tflitekit._base import ARRAYS, Field, OpaqueUnion, Table, class_of, enum_class, fields_of
from tflitekit.graph import Deferred

DTYPES = (
    "bool", "int8", "uint8", "int16", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64", "S3", "U3", "datetime64[s]", "object",
)  # fmt: skip
TABLES = sorted([*_schema.FIELDS, *_metadata_schema.FIELDS])


class Odd:
    """Has nothing that a field could take."""


class Lying:
    """Says that it is an index, and is not."""

    def __index__(self) -> int:
        raise ValueError("no index")


class Broken:
    """An iterable that breaks."""

    def __iter__(self) -> Iterator[int]:
        yield 1
        raise RuntimeError("broken")


def gallery() -> dict[str, Any]:
    """Values of all kinds, by name. Made anew each time, since some can be used once only."""
    arrays = {f"{dtype}{list(shape)}": np.ones(shape, dtype) for dtype in DTYPES for shape in ((), (1,), (3,), (2, 2), (0,))}
    return arrays | {
        "none": None, "true": True, "zero": 0, "one": 1, "minus one": -1, "127": 127, "200": 200, "300": 300, "70000": 70000, "2**31": 1 << 31,
        "2**32": 1 << 32, "2**63": 1 << 63, "2**64": 1 << 64, "10**400": 10**400, "-2**63-1": -(1 << 63) - 1, "half": 0.5, "one and a half": 1.5,
        "1.0": 1.0, "1e39": 1e39, "nan": math.nan, "inf": math.inf, "complex": 1j, "fraction": fractions.Fraction(1, 3), "decimal": Decimal("0.1"),
        "text": "text", "no text": "", "digits": "1", "surrogate": "\ud800", "zero in text": "a\0b", "bytes": b"bytes", "latin": b"\xff\xfe",
        "bytearray": bytearray(b"ab"), "view": memoryview(b"abcd"), "view of float32": memoryview(np.ones(2, np.float32)), "list": [1, 2],
        "empty list": [], "list of one float": [1.5], "list of text": ["a", "b"], "nested list": [[1, 2], [3, 4]], "ragged list": [[1], [2, 3]],
        "list of none": [None], "mixed list": [1, "a"], "list of huge": [1 << 70], "list of nan": [math.nan], "list of zero": [0.0],
        "list of minus one": [-1.0], "list of denormal": [1e-46], "tuple": (1, 2), "set": {1, 2}, "dict": {"a": 1}, "range": range(3),
        "iterator": iter([1, 2]), "generator": (x for x in (1, 2)), "float32": np.float32(0.1), "int64": np.int64(-5), "np.bool": np.True_,
        "strided": np.arange(8, dtype=np.float32)[::2], "big-endian": np.array([1.5, 2.5], ">f4"), "big-endian int": np.array([1, 258], ">i8"),
        "type": _schema.TensorType, "enum": _schema.TensorType.INT8,
        "other enum": _schema.BuiltinOperator.CUSTOM, "object": Odd(), "lying": Lying(), "broken": Broken(), "tensor": tk.Tensor(),
        "buffer": tk.Buffer(), "options": _schema.Conv2DOptions(), "list of tensors": [tk.Tensor()], "list of buffers": [tk.Buffer(), None],
        "opaque": OpaqueUnion(99, False),
        "masked": np.ma.masked_array([1, 2], [True, False]), "function": gallery, "deferred": Deferred(2, lambda: np.zeros(2, np.uint8)),
    }  # fmt: skip


def meant(cls: str, field: Field, value: Any) -> Any:
    """What a field holds after this value was assigned, if that can be meant; Wrong if it cannot. Independent of the checks in the package."""
    try:
        return _meant(cls, field, value)
    except (TypeError, ValueError, OverflowError, struct.error, RuntimeError):
        return Wrong


Wrong = object()


def _meant(cls: str, field: Field, value: Any) -> Any:
    if (cls, field.name) in ARRAYS:
        return _meant_array(ARRAYS[cls, field.name], field.name == "scale", value)
    if field.kind == "scalar" and not field.refers_to:
        return _meant_scalar(field, value)
    if field.kind == "string" or (field.kind == "vector" and field.type == "uint8"):
        if isinstance(value, str) and field.kind == "string":
            return value.encode()
        if cls == "Buffer" and (isinstance(value, Deferred) or (isinstance(value, np.ndarray) and (value.dtype, value.ndim) == (np.uint8, 1))):
            return bytes(value)
        return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else Wrong
    if field.kind in ("vector", "strings") and not field.refers_to:
        if isinstance(value, (str, bytes)):
            return Wrong
        each = field._replace(kind="string") if field.kind == "strings" else field._replace(kind="scalar")
        items = [_meant(cls, each, item) for item in value]
        return Wrong if any(item is Wrong for item in items) else tuple(items)
    target = field.refers_to.partition(".")[0] or field.type
    if field.kind == "vector" or field.kind == "tables":
        items = list(value)
        optional = field.kind == "vector"
        return items if all(isinstance(item, class_of(target)) or (optional and item is None) for item in items) else Wrong
    if field.kind == "union":
        return value if isinstance(value, OpaqueUnion) or type(value).__name__ in _members(field.type) else Wrong
    return value if isinstance(value, class_of(target)) else Wrong


def _members(union: str) -> list[str]:
    unions = {**_schema.UNIONS, **_metadata_schema.UNIONS}
    return list(unions[union].values())


def _meant_scalar(field: Field, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.ndim:
            return Wrong
        value = value[()]
    if isinstance(value, np.ma.core.MaskedConstant):
        return Wrong
    if field.type.startswith("float"):
        if isinstance(value, (str, bytes, complex, np.datetime64)) or (not hasattr(value, "__float__") and not hasattr(value, "__index__")):
            return Wrong
        number = float(value)
        single = struct.unpack("<f", struct.pack("<f", number))[0]
        return Wrong if math.isfinite(number) != math.isfinite(single) else single
    if field.enum and isinstance(value, str):
        members = enum_class(field.enum).__members__
        return members.get(value, Wrong)
    if isinstance(value, (str, bytes, float, np.floating, np.datetime64)) or (not hasattr(value, "__index__") and not isinstance(value, np.bool_)):
        return Wrong
    number = int(value) if isinstance(value, np.bool_) else value.__index__()
    if field.type == "bool":
        return bool(number) if number in (0, 1) else Wrong
    bits, signed = int(field.type.lstrip("uint")), not field.type.startswith("u")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return number if low <= number <= high else Wrong


def _meant_array(dtype: str, positive: bool, value: Any) -> Any:
    if isinstance(value, (str, bytes, bytearray, set, dict, np.ma.MaskedArray)) or (isinstance(value, memoryview) and value.format == "B"):
        return Wrong
    array = np.atleast_1d(np.asarray(value))
    if array.ndim != 1 or (array.dtype.kind not in "iuf" and array.size):
        return Wrong
    if dtype == "int64":
        numbers = [int(number) if float(number) == int(number) else Wrong for number in array.tolist()]
        if (array.dtype.kind == "f" and array.size) or any(n is Wrong or not -(1 << 63) <= n < 1 << 63 for n in numbers):
            return Wrong
        return [int(number) for number in array.tolist()]
    singles = [struct.unpack("<f", struct.pack("<f", number))[0] for number in array.tolist()]
    if any(math.isfinite(a) != math.isfinite(b) for a, b in zip(array.tolist(), singles, strict=True)):
        return Wrong
    return Wrong if positive and any(not math.isfinite(x) or x <= 0 for x in singles) else singles


def stored(table: Table, field: Field) -> Any:
    value = getattr(table, field.attribute)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return bytes(value) if isinstance(value, (memoryview, Deferred)) else value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("<d", a) == struct.pack("<d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, (Table, OpaqueUnion)) or isinstance(b, (Table, OpaqueUnion)):
        return a is b
    return bool(a == b)


def _right(field: Field) -> dict[str, Any]:
    """An object of the class that a field takes, if it takes objects."""
    target = field.refers_to.partition(".")[0] or (field.type if field.kind in ("table", "tables") else "")
    if not target:
        return {}
    value = class_of(target)()
    return {"right": [value] if field.kind in ("vector", "tables") else value}


def problems_of(name: str) -> tuple[list[str], int, int]:
    """What is wrong with the setters of a table; how many values were taken, how many refused."""
    wrong: list[str] = []
    taken = refused = 0
    for field in fields_of(name):
        for label, value in (gallery() | _right(field)).items():
            if value is None:
                continue  # means absent
            table = class_of(name)()
            expected = meant(name, field, gallery()[label] if label in ("iterator", "generator") else value)
            before = stored(table, field)
            try:
                setattr(table, field.attribute, value)
            except tk.EditError as error:
                refused += 1
                if not same(stored(table, field), before):
                    wrong.append(f"{field.attribute} = {label}: refused, but changed")
                elif f"{name}.{field.attribute}" not in str(error):
                    wrong.append(f"{field.attribute} = {label}: the error does not name the field: {error}")
                continue
            except BaseException as error:
                wrong.append(f"{field.attribute} = {label}: {type(error).__name__}: {error}")
                continue
            taken += 1
            found = stored(table, field)
            if expected is Wrong:
                wrong.append(f"{field.attribute} = {label}: taken as {found!r}")
            elif not same(found, expected):
                wrong.append(f"{field.attribute} = {label}: became {found!r}, not {expected!r}")
    return wrong, taken, refused


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLES)
def test_no_value_is_changed_silently(name: str) -> None:
    wrong, taken, refused = problems_of(name)
    assert wrong == []
    assert not fields_of(name) or (taken > 0 and refused > 0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT32", "FLOAT32", "FLOAT16", "BOOL", "INT4", "STRING", "COMPLEX64"])
def test_data_are_what_was_assigned(type: str) -> None:
    """Through Model.set_data: the values come back equal, or it is refused; of another dtype nothing is taken but integers for 4-bit types."""
    taken = []
    for shape in ((), (1,), (3,), (2, 2), (0,)):
        for label, value in gallery().items():
            model = tk.Model(version=3, buffers=[tk.Buffer()], subgraphs=[tk.SubGraph(tensors=[tk.Tensor(name="t", shape=shape)])])
            tensor = model.subgraphs[0].tensors[0]
            tensor.type = type  # type: ignore[assignment]
            try:
                model.set_data(tensor, value)
            except tk.EditError:
                continue
            taken.append(label)
            if type == "STRING":
                flat = np.asarray(value, object).reshape(-1).tolist()
                assert tensor.strings() == [item.encode() if isinstance(item, str) else bytes(item) for item in flat], label
                continue
            array = np.asarray(value)
            assert array.shape == shape, label
            assert array.dtype == tensor.numpy().dtype or (type == "INT4" and array.dtype.kind in "iu"), label
            np.testing.assert_array_equal(tensor.numpy().astype(array.dtype), array, label)
    assert taken
