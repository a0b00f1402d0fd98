"""Plain data and short texts for values of the graph: numbers, names, shapes, sizes, references, bytes."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from .. import types
from .._base import Dangling, OpaqueUnion, Table, fields_of, table_name
from .._schema import FIELDS
from ..graph import Buffer, Deferred, Model, SubGraph, Tensor

Facts = dict[str, Any]
LONG = 64  # elements of a vector: beyond that, changes are summarised
SHOWN = 6  # elements of a vector in a table


class Places:
    """The index of every tensor and subgraph of a model, by identity."""

    def __init__(self, model: Model) -> None:
        self._index: dict[Any, int] = {tensor: i for subgraph in model.subgraphs for i, tensor in enumerate(subgraph.tensors)}
        self._index |= {subgraph: i for i, subgraph in enumerate(model.subgraphs)}
        self._index |= {buffer: i for i, buffer in enumerate(model.buffers)}

    def index(self, value: Tensor | SubGraph | Buffer | None) -> int | None:
        """The index in the list that holds the object: of its subgraph for a tensor, of the model for the others.

        None for None (-1 in the file); a dangling reference answers with the index that points at nothing.
        """
        if value is None:
            return None
        return value.index if isinstance(value, Dangling) else self._index.get(value)


def file_facts(model: Model) -> Facts:
    """`path` (null for a model that is not from a file), `name` and `size` in bytes."""
    source = model.source
    path = None if source is None or source.path is None else str(source.path)
    return {
        "path": path,
        "name": "(no file)" if path is None else source.path.name,
        "size": None if source is None else int(source.size),
    }


def number(value: float) -> float | str:
    """The value itself, or `NaN`, `Infinity`, `-Infinity` as text, since JSON has no such numbers."""
    value = float(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def vector(values: Any) -> list[Any]:
    """A numpy vector as a list; float32 values keep every digit (as float64)."""
    if not len(values):
        return []
    array = np.asarray(values)
    found: list[Any] = array.tolist()
    if array.dtype.kind == "f" and not all(map(math.isfinite, found)):
        return [number(v) for v in found]
    return found


def plain(value: Any, places: Places) -> Any:
    """A graph value as JSON data: enums by name, references by index, names as text, data by its length, tables as objects of their set fields."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return number(float(value))
    if isinstance(value, (Tensor, SubGraph, Buffer)):
        return places.index(value)
    if isinstance(value, Table):
        return set_fields(value, places)
    if isinstance(value, OpaqueUnion):
        return {"unknown_union_member": value.type}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return types.text(bytes(value))
    if isinstance(value, np.ndarray):
        return vector(value)
    if isinstance(value, (list, tuple)):
        return [plain(v, places) for v in value]
    return str(value)


def set_fields(table: Table, places: Places) -> Facts:
    """The fields of a table that differ from the schema's default, by attribute name."""
    found = {}
    cls: Any = type(table)
    for field in fields_of(cls):
        value = getattr(table, field.attribute)
        if field.kind == "scalar":
            if value is None or (not field.refers_to and value == field.default):
                continue
        elif value is None or len_or_one(value) == 0:
            continue
        found[field.attribute] = {"bytes": len(value)} if field.kind == "vector" and field.type == "uint8" else plain(value, places)
    return found


def len_or_one(value: Any) -> int:
    """The length of a vector, 1 for anything else."""
    return len(value) if isinstance(value, (list, tuple, bytes, memoryview, np.ndarray)) else 1


# ---- texts for tables ----


def short(value: float | str, exact: bool = False) -> str:
    """A number in six significant digits, or in all that float64 needs."""
    if isinstance(value, str):
        return value
    return repr(value) if exact else f"{value:.6g}"


def rough(value: float | str) -> str:
    """A number in three significant digits."""
    return value if isinstance(value, str) else f"{value:.3g}"


def span(values: Sequence[Any], exact: bool = False) -> str:
    """One value where all are the same, else `lowest..highest`; non-finite ones are named."""
    numbers = [v for v in values if not isinstance(v, str)]
    others = sorted({v for v in values if isinstance(v, str)})
    texts = []
    if numbers:
        low, high = min(numbers), max(numbers)
        texts = [short(low, exact)] if low == high else [f"{short(low, exact)}..{short(high, exact)}"]
    return ", ".join(texts + others)


def shape_text(shape: Sequence[int], signature: Sequence[int] = ()) -> str:
    """`[1,224,224,3]`; dimensions that the signature leaves open are `?`."""
    if len(signature) == len(shape):
        return "[" + ",".join("?" if s < 0 else str(d) for d, s in zip(shape, signature, strict=True)) + "]"
    return "[" + ",".join(map(str, shape)) + "]" + ("" if not signature else f" signature [{','.join(map(str, signature))}]")


def size_text(size: int | None) -> str:
    """`1234 bytes (1.2 KiB)`."""
    if size is None:
        return "unknown"
    text = f"{size} byte{'' if size == 1 else 's'}"
    for unit, exponent in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << exponent:
            return f"{text} ({size / (1 << exponent):.1f} {unit})"
    return text


def share_text(part: int, whole: int) -> str:
    """A percentage that says 0 % and 100 % only of nothing and everything; `-` of nothing."""
    if not whole:
        return "-"
    share = f"{part / whole:.1%}"
    if 0 < part < whole:
        return {"0.0%": "<0.1%", "100.0%": ">99.9%"}.get(share, share)
    return share


def plural(count: int, noun: str) -> str:
    """`1 tensor`, `2 tensors`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def change_pair(path: str, old: Any, new: Any, places_old: Places, places_new: Places) -> tuple[Any, Any]:
    """Both sides of a change as JSON data.

    Data and long vectors are summarised: their length, and on the new side how many elements differ from the old.
    """
    text = path.rpartition(".")[2] in _strings()
    return _side(old, None, places_old, text), _side(new, old, places_new, text)


def _side(value: Any, other: Any, places: Places, text: bool) -> Any:
    if isinstance(value, Table):
        fields = set_fields(value, places).items()
        short_fields = {k: {"elements": len(v)} if isinstance(v, list) and len(v) > LONG else v for k, v in fields}
        return {"table": table_name(type(value)), **short_fields}
    if isinstance(value, Deferred):
        return {"bytes": len(value)}
    if isinstance(value, (bytes, bytearray, memoryview)) and not text:
        return {"bytes": len(value), **_differing(np.frombuffer(value, np.uint8), other)}
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) > LONG:
        return {"elements": len(value), **_differing(np.asarray(value), other)}
    return plain(value, places)


@cache
def _strings() -> frozenset[str]:
    """The fields of the schema that hold text."""
    return frozenset(row[1] for rows in FIELDS.values() for row in rows if row[3] == "string")


def _differing(mine: Any, other: Any) -> Facts:
    if isinstance(other, (bytes, bytearray, memoryview)):
        theirs: Any = np.frombuffer(other, np.uint8)
    elif isinstance(other, (list, tuple, np.ndarray)):
        theirs = np.asarray(other)
    else:
        return {}
    if mine.dtype.kind not in "iufb" or theirs.dtype.kind not in "iufb":
        return {}
    common = min(len(mine), len(theirs))
    unequal = np.flatnonzero(mine[:common] != theirs[:common])
    count = int(unequal.size) + max(len(mine), len(theirs)) - common
    return {"differing": count, "first": int(unequal[0]) if unequal.size else common} if count else {"differing": 0}


def text_of(value: Any) -> str:
    """JSON data as a text for a table; long vectors are shortened."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list):
        shown = ", ".join(map(text_of, value[:SHOWN]))
        return f"[{shown}]" if len(value) <= SHOWN else f"[{shown}, ...] of {len(value)}"
    if isinstance(value, dict):
        return _dict_text(value)
    return str(value)


def pair_texts(old: Any, new: Any) -> tuple[str, str]:
    """Both sides of a change as texts; of long vectors only elements that differ are shown, with their positions."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) > SHOWN:
        at = [i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b or str(a) != str(b)]
        count = f"{len(at)} of {len(old)} differ"
        texts = [", ".join(f"[{i}] {text_of(side[i])}" for i in at[:SHOWN]) + (", ..." if len(at) > SHOWN else "") for side in (old, new)]
        return texts[0], f"{texts[1]} ({count})"
    return text_of(old), text_of(new)


def _dict_text(value: Facts) -> str:
    kind = "bytes" if "bytes" in value else "elements"
    if kind in value and set(value) <= {kind, "differing", "first"}:
        noun = plural(value[kind], kind[:-1])
        return noun + (f", {value['differing']} differing, the first at {value['first']}" if "first" in value else "")
    name = value.get("table", "")
    return f"{name}({', '.join(f'{k}={text_of(v)}' for k, v in value.items() if k != 'table')})"
