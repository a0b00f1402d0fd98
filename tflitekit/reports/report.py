"""What a report consists of, independent of where it is shown: a title and sections of key/values, tables and notes.

Texts are raw: names from files may hold anything, and every renderer escapes them itself. `style` names an entry of `theme.STYLES`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class Cell(NamedTuple):
    """A text with a style."""

    text: str
    style: str = ""


Value = str | Cell


class Column(NamedTuple):
    """A column of a table, and what becomes of it where the table does not fit.

    `priority` is the order in which columns give way: the highest first. A column with `own_line` then moves to a line of its own below the row,
    behind its `mark`, together with others of its priority; the rest is folded, down to `least` if possible. A column with a `mark` only moves
    there before it would be narrower than that. Nothing is cut off. `optional` columns are left out where all their cells are empty, `spare` ones
    (bars, whose numbers stand beside them) where the table does not fit.
    """

    name: str
    justify: Literal["left", "right"] = "left"
    priority: int = 0
    own_line: bool = False
    mark: str = ""
    least: int = 12
    optional: bool = False
    style: str = ""
    spare: bool = False


@dataclass
class Table:
    """Rows of cells under named columns."""

    title: str
    columns: list[Column]
    rows: list[list[Value]] = field(default_factory=list)


@dataclass
class KeyValues:
    """Labelled single values."""

    title: str
    rows: list[tuple[str, Value]] = field(default_factory=list)


@dataclass
class Note:
    """One paragraph."""

    text: str
    style: str = ""


@dataclass
class Code:
    """Source text to paste: its lines are shown as they are, whatever the width."""

    title: str
    text: str


@dataclass
class Histogram:
    """Counts as columns, as wide as there is room, over a line with their lowest and highest value.

    `blocks` are the characters of a cell from empty to full. `zero` is the bin of the value 0, which is marked; `ends` the style of the first and
    last column, where that differs.
    """

    counts: list[int]
    low: str
    high: str
    blocks: str
    title: str = ""
    height: int = 4
    style: str = ""
    ends: str = ""
    zero: int | None = None


Section = Table | KeyValues | Note | Code | Histogram


@dataclass
class Report:
    """A title and the sections below it."""

    title: str
    sections: list[Section] = field(default_factory=list)


def cell(value: Value) -> Cell:
    """The value as a Cell."""
    return value if isinstance(value, Cell) else Cell(value)
