"""diff(a, b): every field in which two models differ, by path.

Content is compared, not layout: references by what they point at, buffers by their bytes, wherever the file keeps them. Presence is content too: an
explicit default differs from an elided one, an empty vector from an absent one. Floats are compared bit by bit.

The comparison goes down the schema level by level and looks at one field of all tables of a level at once, since most models that are compared are
equal almost everywhere; single tables are only looked at where a column differs.
"""

from __future__ import annotations

import enum
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any

import numpy as np

from ._base import ARRAYS, Field, OpaqueUnion, Table, class_of, fields_of, table_name
from ._walk import SUBGRAPH_SHIFT, Positions, collector_paused, explained, joined_bytes, printable
from .errors import EditError
from .graph import Deferred, Model, Operator, view_of

_SMALL = 4096  # bytes up to which a plain comparison beats setting up arrays
_BLOCK = 1 << 20  # bytes compared at once
_SHOWN = 60  # characters of a value in the text of a change


@dataclass(frozen=True)
class Change:
    """One difference. `path` works with `Model.at`; None for `old` or `new` means absent.

    Values are what the graph holds, except: arrays are tuples, references are paths (`subgraphs[0].tensors[3]`). An added or removed table is the
    table itself.
    """

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def diff(a: Model, b: Model) -> list[Change]:
    """The changes that make `b` out of `a`, in the order of the schema; empty if they are the same model.

    `source`, and where the data of out-of-line buffers and options lie in the file, do not count. Lists are aligned by position, and what one side
    has more is reported element by element; but where a subgraph of one model has more operators, those that compute the same tensors are compared,
    and paths of operators are those in `b`, or in `a` of those that are gone.
    """
    if a is b:
        return []
    with explained(EditError, a, b), collector_paused():
        run = _Run(Positions(a), Positions(b))
        run.tables(Model, [a], [b], top)
    return run.changes()


Place = Callable[[int], tuple[str, tuple[int, ...]]]  # path and sort key of a table, or a pair of them, by its row
_Column = list[Any]


class Values:
    """A comparison of columns of values. `found` has a sort key (slots and list positions from the root) with each change."""

    def __init__(self) -> None:
        self.found: list[tuple[tuple[int, ...], Change]] = []

    def changes(self) -> list[Change]:
        """What was found, in the order of the schema."""
        self.found.sort(key=lambda entry: entry[0])
        return [change for _, change in self.found]

    def add(self, place: Place, row: int, field: Field, old: Any, new: Any, *, index: int | None = None) -> None:
        """Note a difference of a field, or of one element of its list."""
        path, key = place(row)
        path = f"{path}.{field.attribute}" if path else field.attribute
        if index is None:
            self.found.append(((*key, field.slot), Change(path, old, new)))
        else:
            self.found.append(((*key, field.slot, index), Change(f"{path}[{index}]", old, new)))

    def plain(self, cls: type[Table], field: Field, a: _Column, b: _Column, place: Place, skip: frozenset[int] = frozenset()) -> None:
        """Compare a field that holds neither tables nor references; `skip` has rows that do not count."""
        if (table_name(cls), field.name) in ARRAYS:
            self.arrays(field, a, b, place)
        elif field.type.startswith("float"):
            self.floats(field, a, b, place)
        elif cls.__name__ == "Buffer" and field.name == "data":
            self.values(field, a, b, place, _same_bytes)
        elif a != b:
            self.values(field, a, b, place, _equal, skip)

    def values(
        self, field: Field, a: _Column, b: _Column, place: Place, same: Callable[[Any, Any], bool], skip: frozenset[int] = frozenset()
    ) -> None:
        """Compare values one by one."""
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            if old is not new and not same(old, new) and row not in skip:
                self.add(place, row, field, old, new)

    def floats(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare floats, or tuples of them, bit by bit."""
        if field.kind == "scalar" and array("d", a).tobytes() == array("d", b).tobytes():
            return
        self.values(field, a, b, place, _same_floats if field.kind == "scalar" else _same_float_vectors)

    def arrays(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare vectors that the graph keeps as numpy arrays: lengths first, then the bits of all of them together."""
        if list(map(len, a)) == list(map(len, b)) and joined_bytes(a) == joined_bytes(b):
            return
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            if len(old) != len(new) or old.tobytes() != new.tobytes():
                self.add(place, row, field, tuple(old.tolist()), tuple(new.tolist()))


class _Run(Values):
    """The state of one comparison of two models."""

    def __init__(self, a: Positions, b: Positions) -> None:
        super().__init__()
        self.a, self.b = a, b

    def tables(self, cls: type[Table], a: _Column, b: _Column, place: Place) -> None:
        """Compare tables of one class, pairwise; `place` gives the path and sort key of a pair."""
        if not a:
            return
        layout = _layout_only(cls, a, b)
        for field in fields_of(cls):
            get = attrgetter(field.attribute)
            skip = layout if field.attribute in LAYOUT else frozenset()
            self.column(cls, field, list(map(get, a)), list(map(get, b)), place, skip)
        if table_name(cls) == "Operator":
            get = attrgetter("large_custom_options")
            self.values(_LARGE, list(map(get, a)), list(map(get, b)), place, _same_bytes)
        presence = [x._present for x in a], [x._present for x in b]
        if presence[0] != presence[1]:
            self.presence(cls, a, b, place, layout)

    def column(self, cls: type[Table], field: Field, a: _Column, b: _Column, place: Place, skip: frozenset[int]) -> None:
        if field.refers_to:
            self.references(field, a, b, place)
        elif field.kind == "table":
            self.children(class_of(field.type), field, a, b, place)
        elif field.kind == "union":
            self.unions(field, a, b, place)
        elif field.kind == "tables":
            self.lists(field, a, b, place)
        else:
            self.plain(cls, field, a, b, place, skip)

    def references(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare indices: the position of the target in the list that owns it."""
        flat = field.kind == "vector"
        if flat and list(map(len, a)) == list(map(len, b)):
            keys = self.a.column(field, chain.from_iterable(a)), self.b.column(field, chain.from_iterable(b))
        elif not flat:
            keys = self.a.column(field, a), self.b.column(field, b)
        else:
            keys = None, None
        if keys[0] is not None and keys[0] == keys[1]:
            return
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            if flat:
                if [self.a.stored(field, x) for x in old] != [self.b.stored(field, x) for x in new]:
                    shown = tuple(self.a.describe(field, x) for x in old), tuple(self.b.describe(field, x) for x in new)
                    self.add(place, row, field, *shown)
            elif self.a.stored(field, old) != self.b.stored(field, new):
                self.add(place, row, field, self.a.describe(field, old), self.b.describe(field, new))

    def children(self, cls: type[Table], field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare tables held by a field: those that both sides have, one level down."""
        rows: list[int] = []
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            if old is not None and new is not None:
                rows.append(row)
            elif old is not new:
                self.add(place, row, field, old, new)
        self.tables(cls, [a[row] for row in rows], [b[row] for row in rows], below(place, rows, field))

    def unions(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare union values: as tables where both sides have the same member."""
        groups: dict[type[Table], list[int]] = {}
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            if old is new:
                continue
            if type(old) is not type(new):
                self.add(place, row, field, old, new)
            elif not isinstance(old, OpaqueUnion):
                groups.setdefault(type(old), []).append(row)
            elif (old.type, old.has_table) != (new.type, new.has_table):
                self.add(place, row, field, old, new)
        for cls, rows in groups.items():
            self.tables(cls, [a[row] for row in rows], [b[row] for row in rows], below(place, rows, field))

    def lists(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare vectors of tables, aligned by position; operators by what they compute, where one side has more."""
        if not any(a) and not any(b):
            return
        if field.name == "operators" and list(map(len, a)) != list(map(len, b)):
            self.operators(field, a, b, place)
            return
        starts: list[int] = []  # of each row's shared elements in the flattened column
        total = 0
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            shared = min(len(old), len(new))
            starts.append(total)
            total += shared
            for index in range(shared, max(len(old), len(new))):
                self.add(place, row, field, *((old[index], None) if index < len(old) else (None, new[index])), index=index)

        self.tables(class_of(field.type), _shared_prefix(a, b), _shared_prefix(b, a), inside(place, starts, field))

    def operators(self, field: Field, a: _Column, b: _Column, place: Place) -> None:
        """Compare the operators of subgraphs, each with the one that computes the same."""
        pairs: list[tuple[Any, Any]] = []
        places: Pairs = []  # row, and position in the list of `b`
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            matched = aligned([_computed(self.a, one) for one in old], [_computed(self.b, one) for one in new])
            pairs += [(old[i], new[j]) for i, j in matched]
            places += [(row, j) for _, j in matched]
            stay, came = {i for i, _ in matched}, {j for _, j in matched}
            for index in [i for i in range(len(old)) if i not in stay]:
                self.add(place, row, field, old[index], None, index=index)
            for index in [j for j in range(len(new)) if j not in came]:
                self.add(place, row, field, None, new[index], index=index)

        def of(position: int) -> tuple[str, tuple[int, ...]]:
            row, index = places[position]
            path, key = place(row)
            return f"{path}.{field.attribute}[{index}]", (*key, field.slot, index)

        self.tables(class_of(field.type), [old for old, _ in pairs], [new for _, new in pairs], of)

    def presence(self, cls: type[Table], a: _Column, b: _Column, place: Place, layout: frozenset[int]) -> None:
        """Report explicit defaults against elided ones, empty vectors against absent ones, and fields that only a newer schema knows.

        Where values differ, or are not the default, presence follows from them. Strings, tables, unions and bytes are None when absent.
        """
        fields = fields_of(cls)
        known = 0
        for field in fields:
            known |= 1 << field.slot | (1 << field.slot - 1 if field.kind == "union" else 0)
        for row, (old, new) in enumerate(zip(a, b, strict=True)):
            differing = old._present ^ new._present
            for field in fields:
                if not differing >> field.slot & 1 or (field.attribute in LAYOUT and row in layout):
                    continue
                value = self.default_on_both(field, getattr(old, field.attribute), getattr(new, field.attribute))
                if value is not None:
                    self.add(place, row, field, *((value, None) if old._present >> field.slot & 1 else (None, value)))
            if differing & ~known:
                self.add(place, row, _UNKNOWN, _slots(old._present & ~known), _slots(new._present & ~known))

    def default_on_both(self, field: Field, old: Any, new: Any) -> Any:
        """The default, if both values are that and its presence is a choice of the writer; else None."""
        if field.kind == "scalar" and field.refers_to:
            keys = self.a.stored(field, old), self.b.stored(field, new)
            both = [key & (1 << SUBGRAPH_SHIFT) - 1 if isinstance(key, int) and key >= 0 else key for key in keys]
            return 0 if both == [0, 0] else None
        if field.kind == "scalar":
            return old if old == field.default and new == field.default else None
        if field.kind == "tables" or (field.kind == "vector" and (field.type != "uint8" or field.refers_to)):
            return () if not len(old) and not len(new) else None
        return None


_OUTPUTS = next(field for field in fields_of("Operator") if field.name == "outputs")
_UNKNOWN = Field("unknown_fields", "unknown_fields", 1 << 16, "", "", "", None, 0, "", False)
_LARGE = Field("large_custom_options", "large_custom_options", 1 << 15, "", "", "", None, 0, "", False)

# Fields that say where data lies in the file.
LAYOUT = frozenset({"offset", "size", "large_custom_options_offset", "large_custom_options_size"})


def _layout_only(cls: type[Table], a: _Column, b: _Column) -> frozenset[int]:
    """The rows whose offset and size only say where the (compared) data lies."""
    name = table_name(cls)
    if name == "Buffer":
        return frozenset(row for row, (old, new) in enumerate(zip(a, b, strict=True)) if old.out_of_line or new.out_of_line)
    if name == "Operator":
        large = attrgetter("large_custom_options")
        held = [x is not None or y is not None for x, y in zip(map(large, a), map(large, b), strict=True)]
        return frozenset(row for row, value in enumerate(held) if value) if any(held) else frozenset()
    return frozenset()


def top(_: int) -> tuple[str, tuple[int, ...]]:
    """The place of a model itself."""
    return "", ()


def below(place: Place, rows: Sequence[int], field: Field) -> Place:
    """The places of tables that a field of the given rows holds."""

    def of(position: int) -> tuple[str, tuple[int, ...]]:
        path, key = place(rows[position])
        return f"{path}.{field.attribute}" if path else field.attribute, (*key, field.slot)

    return of


def inside(place: Place, starts: Sequence[int], field: Field) -> Place:
    """The places of tables that a field holds lists of, one list behind the other; `starts` says where that of each row begins."""

    def of(position: int) -> tuple[str, tuple[int, ...]]:
        row = bisect_right(starts, position) - 1
        index = position - starts[row]
        path, key = place(row)
        return f"{path}.{field.attribute}[{index}]" if path else f"{field.attribute}[{index}]", (*key, field.slot, index)

    return of


Pairs = list[tuple[int, int]]


def _computed(positions: Positions, operator: Operator) -> tuple[str, tuple[Any, ...]]:
    """What an operator is recognized by in another model: its name, and its outputs by theirs, or by their positions where they have none."""
    return operator.op_name, tuple([getattr(t, "name", None) or positions.stored(_OUTPUTS, t) for t in operator.outputs])


def aligned(a: Sequence[tuple[Any, ...]], b: Sequence[tuple[Any, ...]]) -> Pairs:
    """Which elements of two lists belong together, in order: those that are equal; between them those whose first parts are; then, where as many are
    left on both sides, those in the same place. Of equal ones in a list, the first belongs to the first of the other, and so on."""
    pairs = _in_order(a, b)
    for i, end, j, other in _gaps(pairs, len(a), len(b)):
        inner = _in_order([x[0] for x in a[i:end]], [x[0] for x in b[j:other]])
        for k, until, m, last in _gaps(inner, end - i, other - j):
            if until - k == last - m:
                inner += zip(range(k, until), range(m, last), strict=True)
        pairs += [(i + k, j + m) for k, m in inner]
    return sorted(pairs)


def _in_order(a: Sequence[Any], b: Sequence[Any]) -> Pairs:
    """The positions of as many equal elements as have the same order in both lists: of the positions in `b`, the longest rising row."""
    places = {value: j for j, value in enumerate(_numbered(b))}
    common = [(i, places[value]) for i, value in enumerate(_numbered(a)) if value in places]
    ends: list[int] = []  # of the rows of each length, the least last position in `b`
    rows: list[Any] = []  # these rows: the last pair, and the row before it
    for pair in common:
        length = bisect_left(ends, pair[1])
        row = pair, rows[length - 1] if length else None
        ends[length : length + 1], rows[length : length + 1] = [pair[1]], [row]
    pairs, rest = Pairs(), rows[-1] if rows else None
    while rest is not None:
        pair, rest = rest
        pairs.append(pair)
    return pairs[::-1]


def _numbered(values: Sequence[Any]) -> list[tuple[Any, int]]:
    """The values, each with how many equal ones come before it."""
    met: Counter[Any] = Counter()
    numbered = []
    for value in values:
        numbered.append((value, met[value]))
        met[value] += 1
    return numbered


def _gaps(pairs: Pairs, size: int, other: int) -> list[tuple[int, int, int, int]]:
    """The ranges of two lists between the elements that are paired."""
    bounds = [(-1, -1), *pairs, (size, other)]
    return [(i + 1, end, j + 1, last) for (i, j), (end, last) in pairwise(bounds) if end > i + 1 and last > j + 1]


def _shared_prefix(a: _Column, b: _Column) -> _Column:
    if list(map(len, a)) == list(map(len, b)):
        return list(chain.from_iterable(a))
    return [item for mine, other in zip(a, b, strict=True) for item in mine[: min(len(mine), len(other))]]


def _slots(bits: int) -> tuple[int, ...] | None:
    return tuple(slot for slot in range(bits.bit_length()) if bits >> slot & 1) or None


def _equal(old: Any, new: Any) -> bool:
    return bool(old == new)


def _same_floats(old: float, new: float) -> bool:
    return struct.pack("<d", old) == struct.pack("<d", new)


def _same_float_vectors(old: Sequence[float], new: Sequence[float]) -> bool:
    return len(old) == len(new) and array("d", old).tobytes() == array("d", new).tobytes()


def _same_bytes(old: Any, new: Any) -> bool:
    """Whether two views hold the same bytes; views of the same memory are not read, large ones are compared in blocks."""
    if old is None or new is None or len(old) != len(new):
        return False
    if old is new:
        return True
    old, new = view_of(old), view_of(new)
    if len(old) <= _SMALL:
        return bool(old == new)
    x, y = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    if x.__array_interface__["data"][0] == y.__array_interface__["data"][0]:
        return True
    return all(np.array_equal(x[start : start + _BLOCK], y[start : start + _BLOCK]) for start in range(0, len(x), _BLOCK))


def _shown(value: Any) -> str:
    """A value as one line of text, cut where it is long."""
    if value is None:
        return "absent"
    if isinstance(value, Deferred):
        return f"{len(value)} bytes"
    if isinstance(value, (bytes, memoryview)):
        head = bytes(value[:16])
        if isinstance(value, bytes) and len(value) <= _SHOWN:
            return f"'{printable(value)}'"
        return f"{len(value)} bytes ({head.hex()}{'...' if len(value) > len(head) else ''})"
    if isinstance(value, tuple):
        items = ["none" if item is None else item if isinstance(item, str) else _shown(item) for item in value[:12]]
        return f"({', '.join(items)}{f', ... {len(value)} in all' if len(value) > len(items) else ''})"
    shown = value if isinstance(value, str) else value.name if isinstance(value, enum.Enum) else repr(value)
    return printable(shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "...")
