"""Arranges a report in lines of styled text for a given width, or for none.

Without a width every row of a table is one line. With one, columns that do not fit move to a line of their own or are folded; nothing is cut.
"""

from __future__ import annotations

from collections.abc import Iterator

from .escape import escape
from .report import Cell, Column, KeyValues, Note, Report, Table, cell

Line = list[Cell]
GAP = 2  # blanks between columns
MIN_COLUMN = 12  # a folded column keeps at least this width
OWN_LINE_BELOW = 32  # a column that may have a line of its own is folded in place as long as this much is left for it
DETAIL_INDENT = 4  # of lines below a row


def lay_out(report: Report, width: int | None) -> Iterator[Line]:
    """The lines of the report, escaped; none is wider than `width` unless single words of the layout itself are."""
    for piece in wrap(escape(report.title), width):
        yield [Cell(piece, "title")]
    for section in report.sections:
        if isinstance(section, Note):
            yield []
            for piece in wrap(escape(section.text), width):
                yield [Cell(piece, section.style)]
        elif section.rows:
            yield []
            if section.title:
                yield [Cell(section.title, "section")]
            yield from _key_values(section, width) if isinstance(section, KeyValues) else _table(section, width)


def cell_width(text: str) -> int:
    """Columns that a text occupies on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrap(text: str, width: int | None) -> list[str]:
    """The text in pieces of at most `width` columns, broken at blanks, else after a separator of a path, else anywhere."""
    if width is None or cell_width(text) <= width:
        return [text]
    width = max(width, 2)
    pieces = []
    while cell_width(text) > width:
        cut = _fitting(text, width)
        at = text.rfind(" ", 1, cut + 1)
        if at > 0:
            pieces.append(text[:at])
            text = text[at:].lstrip(" ")
            continue
        at = max(text.rfind(separator, cut // 2, cut) for separator in "/;,_.:")
        cut = at + 1 if at > 0 else cut
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text] if text else pieces


def _fitting(text: str, width: int) -> int:
    """How many characters of the text fit in `width` columns."""
    if text.isascii():
        return width
    used = 0
    for index, char in enumerate(text):
        used += cell_width(char)
        if used > width:
            return max(index, 1)
    return len(text)


def _key_values(section: KeyValues, width: int | None) -> Iterator[Line]:
    label_width = max(len(label) for label, _ in section.rows)
    for label, value in section.rows:
        text, style = cell(value)
        room = None if width is None else max(width - label_width - GAP, MIN_COLUMN)
        for index, piece in enumerate(wrap(escape(text), room)):
            yield [Cell((label if index == 0 else "").ljust(label_width + GAP), "label"), Cell(piece, style)]


def _table(section: Table, width: int | None) -> Iterator[Line]:
    shown = [i for i, column in enumerate(section.columns) if not column.optional or any(cell(row[i]).text for row in section.rows)]
    columns = [section.columns[i] for i in shown]
    rows = [[Cell(escape(text), style or column.style) for i, column in zip(shown, columns, strict=True) for text, style in [cell(row[i])]]
            for row in section.rows]  # fmt: skip
    widths = [
        max(cell_width(column.name), *(cell_width(row[i].text) for row in rows)) if rows else len(column.name)
        for i, column in enumerate(columns)
    ]
    below: list[int] = []
    if width is not None:
        below = _move_below(columns, widths, width)
        _fold(columns, widths, below, width)
    inline = [i for i in range(len(columns)) if i not in below]
    yield _row([Cell(columns[i].name, "header") for i in inline], [columns[i] for i in inline], [widths[i] for i in inline])[0]
    yield from ([Cell(" " * DETAIL_INDENT), Cell(columns[i].name, "header")] for i in below)
    for row in rows:
        yield from _row([row[i] for i in inline], [columns[i] for i in inline], [widths[i] for i in inline])
        for i in below:
            if row[i].text:
                for piece in wrap(row[i].text, None if width is None else max(width - DETAIL_INDENT, MIN_COLUMN)):
                    yield [Cell(" " * DETAIL_INDENT), Cell(piece, row[i].style)]


def _total(widths: list[int], below: list[int]) -> int:
    inline = [w for i, w in enumerate(widths) if i not in below]
    return sum(inline) + GAP * (len(inline) - 1)


def _move_below(columns: list[Column], widths: list[int], width: int) -> list[int]:
    """The columns that get a line of their own, so that the others fit, as far as that helps; those with room enough are narrowed instead."""
    below: list[int] = []
    for i in sorted(range(len(columns)), key=lambda i: -columns[i].priority):
        excess = _total(widths, below) - width
        if excess <= 0:
            break
        if columns[i].own_line and widths[i] > MIN_COLUMN:
            if widths[i] - excess >= OWN_LINE_BELOW:
                widths[i] -= excess
            else:
                below.append(i)
    return sorted(below)


def _fold(columns: list[Column], widths: list[int], below: list[int], width: int) -> None:
    """Narrow the columns that give way first, down to MIN_COLUMN each, until the table fits."""
    for i in sorted((i for i in range(len(columns)) if i not in below), key=lambda i: (-columns[i].priority, -widths[i])):
        excess = _total(widths, below) - width
        if excess <= 0:
            return
        if columns[i].justify == "left":
            widths[i] = max(widths[i] - excess, min(widths[i], MIN_COLUMN))


def _row(cells: list[Cell], columns: list[Column], widths: list[int]) -> list[Line]:
    """The lines of one row: each cell folded to its column's width; the last column is not padded."""
    pieces = [wrap(c.text, w) for c, w in zip(cells, widths, strict=True)]
    lines = []
    for height in range(max(map(len, pieces), default=1)):
        line: Line = []
        blank = 0
        for i, (c, column, w) in enumerate(zip(cells, columns, widths, strict=True)):
            text = pieces[i][height] if height < len(pieces[i]) else ""
            free = max(w - cell_width(text), 0)
            before, after = (free, 0) if column.justify == "right" else (0, free)
            if text:
                line += [Cell(" " * (blank + before)), Cell(text, c.style)]
                blank = after + GAP
            else:
                blank += w + GAP
        lines.append([part for part in line if part.text])
    return lines
