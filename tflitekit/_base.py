"""What the generated classes and the object graph have in common: open enums, slotted tables with checked assignment, field tables.

A table object keeps one attribute per schema field and `_present`, the bits of the vtable slots that the file (or an assignment) filled. They
tell an absent vector from an empty one and an explicit default from an elided one; bits beyond the schema are fields of a newer format.
"""

from __future__ import annotations

import enum
import operator
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .errors import EditError

if TYPE_CHECKING:
    _Function = TypeVar("_Function", bound=Callable[..., Any])

    def cache(function: _Function) -> _Function:
        """functools.cache, which type checkers refuse for functions of classes."""
        ...

else:
    from functools import cache


class OpenEnum(enum.IntEnum):
    """An enum that keeps numbers it does not know, named UNKNOWN_<n>, since newer files have newer members."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}" if value >= 0 else f"UNKNOWN_MINUS_{-value}"
        member._value_ = value
        return member


class Field(NamedTuple):
    """One field of a schema table; see `_schema.FIELDS`."""

    name: str
    attribute: str
    slot: int
    kind: str
    type: str
    enum: str
    default: Any
    align: int
    refers_to: str
    deprecated: bool


class OpaqueUnion:
    """A union value that the schema cannot decode: an unknown member, or a type without a table.

    `type` is the type byte; `has_table` says that the file holds a table for it, which a rebuild cannot carry.
    """

    __slots__ = ("has_table", "type")

    def __init__(self, type: int, has_table: bool) -> None:
        self.type, self.has_table = type, has_table

    def __repr__(self) -> str:
        return f"OpaqueUnion(type={self.type}, has_table={self.has_table})"


# A bit of `_present`, far from any slot: a deprecated field that cannot be decoded.
UNREADABLE = 1 << 62


class Table:
    """Base of all schema tables. Assignment converts and checks: a value that the schema cannot hold raises EditError."""

    __slots__ = ("_present",)
    _present: int

    def __init__(self, **values: Any) -> None:
        _set_present(self, 0)
        for field in fields_of(type(self)):
            value = values.pop(field.attribute, None)
            if value is None:
                object.__setattr__(self, field.attribute, absent_value(type(self), field))
            else:
                setattr(self, field.attribute, value)
        if values:
            raise EditError(f"{type(self).__name__} has no field {', '.join(values)}")

    def __setattr__(self, name: str, value: Any) -> None:
        checked = _checks(type(self)).get(name)
        if checked is None:
            object.__setattr__(self, name, value)
            return
        field, check = checked
        if value is None and field.kind != "scalar":
            value = absent_value(type(self), field)
            _set_present(self, self._present & ~(1 << field.slot))
        else:
            value = check(value)
            if field.kind in ("vector", "tables", "strings"):
                _set_present(self, self._present | 1 << field.slot)
        object.__setattr__(self, name, value)

    def has(self, attribute: str) -> bool:
        """Whether a vector or scalar is stored even if it is empty or has its default value. EditError for what is no field."""
        if attribute not in _checks(type(self)):
            raise EditError(f"{type(self).__name__} has no field {attribute}")
        field, _ = _checks(type(self))[attribute]
        return bool(self._present >> field.slot & 1)

    def __repr__(self) -> str:
        shown = []
        for field in fields_of(type(self)):
            value = getattr(self, field.attribute)
            if not isinstance(value, (Table, list)) and value is not None and (len(value) if hasattr(value, "__len__") else value != field.default):
                text = f"<{len(value)} bytes>" if isinstance(value, memoryview) else repr(value)
                shown.append(f"{field.attribute}={text if len(text) < 60 else text[:57] + '...'}")
        return f"{type(self).__name__}({', '.join(shown)})"


_set_present = vars(Table)["_present"].__set__


class Dangling:
    """Mixin of placeholders for an index that points at nothing. It round-trips, and `verify` reports it."""

    __slots__ = ()
    index: int


@cache
def _schema_of(name: str) -> Any:
    """The generated module that declares a table, union or enum: that of models, else that of their metadata. No name is in both."""
    from . import _schema

    if name in _schema.FIELDS or name in _schema.UNIONS or hasattr(_schema, name):
        return _schema
    from . import _metadata_schema

    return _metadata_schema


@cache
def fields_of(cls: Any) -> tuple[Field, ...]:
    """The fields of a table class or table name, in slot order."""
    if not isinstance(cls, str):
        cls = table_name(cls)
    return tuple(Field(*row) for row in _schema_of(cls).FIELDS[cls])


@cache
def members_of(union: str) -> dict[int, str]:
    """The members of a union: number of the type byte -> table."""
    members: dict[int, str] = _schema_of(union).UNIONS[union]
    return members


def table_name(cls: type[Table]) -> str:
    """The schema's name of a table class (placeholders are named after what they stand for)."""
    if cls not in _NAMES:
        _NAMES[cls] = next(base.__name__ for base in cls.__mro__ if base.__name__ in _schema_of(base.__name__).FIELDS)
    return _NAMES[cls]


_NAMES: dict[type, str] = {}


@cache
def class_of(name: str) -> Any:
    """The class of a table or enum, by its name in the schema."""
    from . import graph

    return getattr(graph, name, None) or getattr(_schema_of(name), name)


@cache
def enum_class(name: str) -> Any:
    """The class of an enum, by its name in the schema."""
    return getattr(_schema_of(name), name)


def walk(table: Table, path: str = "") -> Iterator[tuple[str, Table]]:
    """Every table below (and with) this one, with its path; objects that are only referred to are not entered again."""
    yield path or "model", table
    for field in fields_of(type(table)):
        if field.kind not in ("table", "tables", "union"):
            continue
        value = getattr(table, field.attribute)
        below = f"{path}.{field.attribute}" if path else field.attribute
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield from walk(item, f"{below}[{i}]")
        elif isinstance(value, Table):
            yield from walk(value, below)


# Vectors that the graph keeps as read-only numpy arrays, bits untouched.
ARRAYS = {("QuantizationParameters", name): "float32" for name in ("min", "max", "scale")}
ARRAYS["QuantizationParameters", "zero_point"] = "int64"


def absent_value(cls: type[Table], field: Field) -> Any:
    """What an attribute holds when its field is absent."""
    array = ARRAYS.get((table_name(cls), field.name))
    if array:
        import numpy as np

        return np.empty(0, array)
    if field.kind == "scalar":
        if field.refers_to:
            return None
        return enum_class(field.enum)(field.default) if field.enum else field.default
    if field.kind == "vector" and field.refers_to:
        return []
    if field.kind == "strings" or (field.kind == "vector" and field.type != "uint8"):
        return ()
    return [] if field.kind == "tables" else None


# ---- checks of assigned values ----

_RANGES = {
    f"{sign}int{bits}": (0 if sign else -(1 << bits - 1), (1 << bits - (0 if sign else 1)) - 1)
    for bits in (8, 16, 32, 64)
    for sign in ("", "u")
}
_Check = Callable[[Any], Any]


@cache
def _checks(cls: type[Table]) -> dict[str, tuple[Field, _Check]]:
    name = table_name(cls)
    return {f.attribute: (f, _check(name, f)) for f in fields_of(cls)}


def _check(table: str, field: Field) -> _Check:
    where = f"{table}.{field.attribute}"
    if (table, field.name) in ARRAYS:
        return _check_array(where, ARRAYS[table, field.name], field.name == "scale")
    if field.refers_to:
        target = class_of(field.refers_to.partition(".")[0])
        return _check_list(where, target, True) if field.kind == "vector" else _check_instance(where, (target, type(None)))
    if field.kind == "scalar":
        return _check_scalar(where, field)
    if field.kind == "string":
        return _check_string(where)
    if field.kind == "table":
        return _check_instance(where, (class_of(field.type),))
    if field.kind == "tables":
        return _check_list(where, class_of(field.type), False)
    if field.kind == "union":
        return _check_instance(where, (*map(class_of, members_of(field.type).values()), OpaqueUnion))
    if field.kind == "strings":
        return _check_vector(where, "str or bytes", _check_string(f"{where}[]"))
    if field.type == "uint8":
        return _check_bytes(where)
    return _check_vector(where, field.enum or field.type, _check_scalar(f"{where}[]", field))


def _check_vector(where: str, elements: str, element: _Check) -> _Check:
    def check_vector(value: Iterable[Any]) -> tuple[Any, ...]:
        if isinstance(value, (str, bytes)):
            raise EditError(f"{where}: expected a sequence of {elements}, got {type(value).__name__}")
        try:
            return tuple(map(element, value))
        except EditError:
            raise
        except Exception as error:  # whatever iterating brings up
            raise EditError(f"{where}: expected a sequence of {elements}, got {type(value).__name__}") from error

    return check_vector


def _check_scalar(where: str, field: Field) -> _Check:
    if field.type.startswith("float"):
        return _check_float(where)
    if field.type == "bool":

        def check_bool(value: Any) -> bool:
            try:
                number = operator.index(value.item() if getattr(value, "ndim", None) == 0 else value)
            except Exception:  # whatever __index__ brings up
                number = -1
            if number in (0, 1):
                return bool(number)
            raise EditError(f"{where}: expected true or false, got {value!r}")

        return check_bool
    low, high = _RANGES[field.type]
    kind = enum_class(field.enum) if field.enum else None

    def check_int(value: Any) -> Any:
        if isinstance(value, str) and kind is not None and value in kind.__members__:
            return kind[value]
        try:
            number = operator.index(value)
        except Exception:  # whatever __index__ brings up
            expected = f"a {field.enum}" if kind else field.type
            raise EditError(f"{where}: expected {expected}, got {value!r} ({type(value).__name__})") from None
        if not low <= number <= high:
            raise EditError(f"{where}: {number} does not fit in {field.type} ({low} to {high})")
        return kind(number) if kind else number

    return check_int


def _check_float(where: str) -> _Check:
    def check_float(value: Any) -> float:
        """Round to float32, half to even, once."""
        try:
            if not isinstance(value, (float, int)):
                _check_number(value)
            return float(struct.unpack("<f", struct.pack("<f", value))[0])
        except Exception:  # whatever __float__ brings up
            raise EditError(f"{where}: expected a number that float32 can hold, got {value!r}") from None

    return check_float


def _check_number(value: Any) -> None:
    """TypeError for arrays of texts, dates or more than one number, and for masked values, all of which Python makes floats of."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if kind in "SUmM" or getattr(value, "ndim", None) or hasattr(value, "mask"):
        raise TypeError


def _check_string(where: str) -> _Check:
    def check_string(value: Any) -> bytes:
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError as error:
                raise EditError(f"{where}: not encodable as UTF-8 ({error.reason}); assign bytes instead") from None
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise EditError(f"{where}: expected str or bytes, got {type(value).__name__}")

    return check_string


def _check_bytes(where: str) -> _Check:
    def check_bytes(value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise EditError(f"{where}: expected bytes, got {type(value).__name__}")

    return check_bytes


def _check_instance(where: str, classes: tuple[type, ...]) -> _Check:
    def check_instance(value: Any) -> Any:
        if isinstance(value, classes):
            return value
        names = classes[0].__name__ if len(classes) < 3 else "options of this union"
        raise EditError(f"{where}: expected {names}, got {type(value).__name__}. The graph holds objects, not indices.")

    return check_instance


def _check_list(where: str, target: type, optional: bool) -> _Check:
    def check_list(value: Any) -> list[Any]:
        try:
            items = list(value)
        except Exception as error:  # whatever iterating brings up
            raise EditError(f"{where}: expected a list of {target.__name__}, got {type(value).__name__}") from error
        for item in items:
            if not isinstance(item, target) and not (optional and item is None):
                raise EditError(f"{where}: expected {target.__name__}, got {type(item).__name__}. The graph holds objects, not indices.")
        return items

    return check_list


def _check_array(where: str, dtype: str, positive: bool) -> _Check:
    def check_array(value: Any) -> Any:
        """Convert to a read-only one-dimensional array; floats are rounded to float32 once, integers must be integers."""
        import numpy as np

        if isinstance(value, (bytearray, np.ma.MaskedArray)) or (isinstance(value, memoryview) and value.format in "Bbc"):
            raise EditError(f"{where}: expected a one-dimensional list of numbers, got {type(value).__name__}")
        try:
            array = np.atleast_1d(np.asarray(value))
        except Exception:  # whatever iterating brings up
            raise EditError(f"{where}: expected a one-dimensional list of numbers, got nested lists") from None
        if array.ndim != 1 or array.dtype.kind not in "iuf" or (dtype == "int64" and array.dtype.kind == "f" and array.size):
            kind = "integers" if dtype == "int64" else "numbers"
            raise EditError(f"{where}: expected a one-dimensional list of {kind}, got {array.ndim}-dimensional {array.dtype}")
        if array.dtype == np.uint64 and array.size and int(array.max()) > _RANGES["int64"][1]:
            raise EditError(f"{where}: {int(array.max())} does not fit in int64")
        with np.errstate(over="ignore"):
            stored = array.astype(dtype)
        if dtype == "float32" and not np.array_equal(np.isfinite(stored), np.isfinite(array)):
            raise EditError(f"{where}: a value does not fit in float32")
        if positive and not (np.isfinite(stored) & (stored > 0)).all():
            raise EditError(f"{where}: scales must be finite and above zero, got {array[~(np.isfinite(stored) & (stored > 0))][0]}")
        stored.flags.writeable = False
        return stored

    return check_array
