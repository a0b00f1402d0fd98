"""Arranges a report in lines of styled text for a given width, or for none.

Without a width every row of a table is one line. With one, columns that do not fit move to a line of their own or are folded; nothing is cut.
A command to copy stays one line even if it is wider: terminals fold it by themselves, and copy what they folded as the line that it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .bars import columns_of, heights_of
from .escape import escape
from .report import Cell, Code, Column, Histogram, KeyValues, Note, Report, Table, Value, cell

Line = list[Cell]
GAP = 2  # blanks between columns
MIN_COLUMN = 12  # text below a row, or beside a label, gets at least this width
IN_PLACE = 20  # a column that may have a line of its own is folded in place if this is left for it, and two lines suffice
ROOMY = 40  # or if this is left for it
DETAIL_INDENT = 4  # of lines below a row
INDENT = 2  # of histograms
DEFAULT_WIDTH = 80  # of histograms in a pipe

_BREAKS = re.compile(r"\.\.|[/;,_:]|(?<=[A-Za-z])-(?=[A-Za-z])")  # a line may end behind these
_COMMAND = re.compile(r"\W{0,2}`tflitekit [^`]*`[.,;:)]{0,3}")
_NARROW = re.compile("[ -~\xa1-\xac\xae-\xff\u2500-\u259f]*")  # one column each: Latin, frames, blocks; for these rich need not be imported


def lay_out(report: Report, width: int | None) -> Iterator[Line]:
    """The lines of the report, escaped; none is wider than `width` unless single words of the layout itself, code, or commands are."""
    for piece in wrap(escape(report.title), width):
        yield [Cell(piece, "title")]
    for section in report.sections:
        if isinstance(section, Note):
            yield []
            for piece in wrap(escape(section.text), width):
                yield [Cell(piece, section.style)]
        elif isinstance(section, Histogram):
            if any(section.counts):
                yield []
                yield from histogram_lines(section, width)
        elif isinstance(section, Code):
            yield []
            yield [Cell(section.title, "section")]
            yield from ([Cell(escape(line))] for line in section.text.splitlines())
        elif section.rows:
            yield []
            if section.title:
                yield [Cell(section.title, "section")]
            yield from _key_values(section, width) if isinstance(section, KeyValues) else _table(section, width)


def histogram_lines(section: Histogram, width: int | None) -> Iterator[Line]:
    """The title, the columns from the top down, and below them the ends of the range."""
    columns, cells = columns_of(section.counts, (width or DEFAULT_WIDTH) - INDENT)
    steps, last = len(section.blocks) - 1, len(columns) - 1
    heights = heights_of(columns, steps * section.height)
    margin = Cell(" " * INDENT)
    if section.title:
        yield [margin, Cell(section.title, "label")]
    for row in reversed(range(section.height)):
        filled = [section.blocks[min(max(height - row * steps, 0), steps)] * cells for height in heights]
        if not "".join(filled).strip():
            continue
        inner = Cell("".join(filled[1:last]), section.style)
        ends = section.ends or section.style
        yield [margin, Cell(filled[0], ends), inner, *([Cell(filled[last], ends)] if last else [])]
    axis = [" "] * max(len(columns) * cells, len(section.low) + len(section.high) + 1)
    if section.zero is not None:
        axis[section.zero * len(columns) // len(section.counts) * cells] = "0"
    axis[: len(section.low)] = section.low
    axis[len(axis) - len(section.high) :] = section.high
    yield [margin, Cell("".join(axis), "note")]


def cell_width(text: str) -> int:
    """Columns that a text occupies on a terminal."""
    if text.isascii() or _NARROW.fullmatch(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrap(text: str, width: int | None, commands: bool = True) -> list[str]:
    """The text in pieces of at most `width` columns, broken at blanks, else after `..` or a separator of a path, else anywhere. What stands in
    `backquotes` is broken only if it is longer; with `commands`, `tflitekit commands` are never broken, so that their pieces may be wider."""
    if width is None or cell_width(text) <= width:
        return [text]
    width = max(width, 2)
    pieces = []
    while cell_width(text) > width:
        command = _COMMAND.match(text) if commands else None
        if command is not None and cell_width(command[0]) > width:
            pieces.append(command[0])
            text = text[command.end() :].lstrip(" ")
            continue
        cut = _fitting(text, width)
        at = _outside(text, text.rfind(" ", 1, cut + 1), width, commands)
        if at > 0:
            pieces.append(text[:at])
            text = text[at:].lstrip(" ")
            continue
        ends = [found.end() for found in _BREAKS.finditer(text, 0, cut + 1) if cut // 3 < found.end() <= cut]
        cut = ends[-1] if ends else cut
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text] if text else pieces


def fold(line: Line, width: int) -> Iterator[Line]:
    """A line in lines of at most `width` columns, where the last text is what is wider: a command or code, now broken as any text."""
    indent = sum(cell_width(part.text) for part in line[:-1])
    if not line or indent + cell_width(line[-1].text) <= width:
        yield line
        return
    for index, piece in enumerate(wrap(line[-1].text, max(width - indent, MIN_COLUMN), commands=False)):
        yield [*(line[:-1] if index == 0 else [Cell(" " * indent)]), line[-1]._replace(text=piece)]


def _outside(text: str, at: int, width: int, commands: bool) -> int:
    """A blank to break at: the one given, or if it is within something that is not broken, that in front of it."""
    start = text.rfind("`", 0, max(at, 0))
    if text.count("`", 0, max(at, 0)) % 2 == 0 or (end := text.find("`", at)) < 0:
        return at
    if cell_width(text[start : end + 1]) > width and not (commands and _COMMAND.match(text, start)):
        return at
    before = text.rfind(" ", 1, start + 1)
    return before if before > 0 else at


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
    if width is not None and any(section.columns[i].spare for i in shown):
        needed = [max(cell_width(text) for text in (section.columns[i].name, *(cell(row[i]).text for row in section.rows))) for i in shown]
        if _total(needed, []) > width:
            shown = [i for i in shown if not section.columns[i].spare]
    columns = [section.columns[i] for i in shown]
    rows = [[_escaped(row[i], column) for i, column in zip(shown, columns, strict=True)] for row in section.rows]
    content = [max((cell_width(row[i].text) for row in rows), default=0) for i in range(len(columns))]
    widths = [max(cell_width(column.name), w) for column, w in zip(columns, content, strict=True)]
    below: list[int] = []
    if width is not None:
        below = _move_below(columns, widths, width)
        _fold(columns, widths, content, below, width)
    inline = [i for i in range(len(columns)) if i not in below]
    shown_columns, shown_widths = [columns[i] for i in inline], [widths[i] for i in inline]
    yield from _row([Cell(column.name, "header") for column in shown_columns], shown_columns, shown_widths)
    below.sort(key=lambda i: columns[i].priority)
    marks = [columns[i].mark for i in below]
    heads = ["" if mark.strip() == columns[i].name else mark for i, mark in zip(below, marks, strict=True)]
    yield from _details([Cell(columns[i].name, "header") for i in below], heads, width)
    for row in rows:
        yield from _row([row[i] for i in inline], shown_columns, shown_widths)
        yield from _details([row[i] for i in below], marks, width)


def _escaped(value: Value, column: Column) -> Cell:
    if isinstance(value, str):
        return Cell(escape(value), column.style)
    return Cell(escape(value.text), value.style or column.style)


def _details(cells: list[Cell], marks: list[str], width: int | None) -> Iterator[Line]:
    """The lines of the cells below a row: those with a mark begin a line, others stand together as far as they fit."""
    room = 0 if width is None else width - DETAIL_INDENT
    line: Line = []
    used = 0
    for each, mark in zip(cells, marks, strict=True):
        size = cell_width(each.text)
        if line and (mark or used + GAP + size > room):
            yield line
            line = []
        if not each.text:
            continue
        if mark or size > room:
            yield from _detail(each, mark, width)
            continue
        used = used + GAP + size if line else size
        line += [Cell(" " * (GAP if line else DETAIL_INDENT)), each]
    if line:
        yield line


def _detail(cell: Cell, mark: str, width: int | None) -> Iterator[Line]:
    """The lines of a cell below its row; continued lines are indented under the text behind the mark."""
    room = None if width is None else max(width - DETAIL_INDENT - len(mark), MIN_COLUMN)
    for index, piece in enumerate(wrap(cell.text, room)):
        style = "" if cell.style == "header" else cell.style
        yield [Cell(" " * DETAIL_INDENT), Cell(mark if index == 0 else " " * len(mark), style), Cell(piece, cell.style)]


def _total(widths: list[int], below: list[int]) -> int:
    inline = [w for i, w in enumerate(widths) if i not in below]
    return sum(inline) + GAP * (len(inline) - 1)


def _move_below(columns: list[Column], widths: list[int], width: int) -> list[int]:
    """The columns that get a line of their own, so that the others fit, as far as that helps; one with room enough is narrowed instead."""
    below: list[int] = []
    for priority in sorted({column.priority for column in columns if column.own_line}, reverse=True):
        group = [i for i, column in enumerate(columns) if column.own_line and column.priority == priority]
        excess = _total(widths, below) - width
        if excess <= 0:
            break
        room = widths[group[0]] - excess
        if len(group) == 1 and room >= min(ROOMY, max(IN_PLACE, (widths[group[0]] + 1) // 2)):
            widths[group[0]] = room
        elif max(widths[i] for i in group) > MIN_COLUMN:
            below += group
    return sorted(below)


def _fold(columns: list[Column], widths: list[int], content: list[int], below: list[int], width: int) -> None:
    """Narrow columns until the table fits: headers of several words first, then the columns that give way first, at last all of them, but those
    with a mark, which move below."""
    order = sorted((i for i in range(len(columns)) if i not in below), key=lambda i: (-columns[i].priority, -widths[i]))
    words = {i: max((len(word) for word in columns[i].name.split()), default=0) for i in order}
    floors = [
        {i: max(content[i], words[i]) for i in order},
        {i: columns[i].least for i in order if columns[i].priority},
        {i: columns[i].least for i in order if columns[i].justify == "left"},
        dict.fromkeys(order, 4),
    ]
    for floor in floors:
        if floor is floors[-1]:
            for i in [i for i in order if columns[i].mark]:
                if _total(widths, below) > width:
                    below.append(i)
            order = sorted((i for i in order if i not in below), key=lambda i: -widths[i])
        for i in order:
            excess = _total(widths, below) - width
            if excess <= 0:
                return
            if i in floor:
                widths[i] = max(widths[i] - excess, min(widths[i], floor[i]))


def _row(cells: list[Cell], columns: list[Column], widths: list[int]) -> list[Line]:
    """The lines of one row: each cell folded to its column's width; the last column is not padded."""
    pieces = [[c.text] if len(c.text) <= w and c.text.isascii() else wrap(c.text, w) for c, w in zip(cells, widths, strict=True)]
    lines = []
    for height in range(max(map(len, pieces), default=1)):
        line: Line = []
        blank = 0
        for i, (c, column, w) in enumerate(zip(cells, columns, widths, strict=True)):
            text = pieces[i][height] if height < len(pieces[i]) else ""
            if not text:
                blank += w + GAP
                continue
            free = max(w - cell_width(text), 0)
            before, after = (free, 0) if column.justify == "right" else (0, free)
            if blank + before:
                line.append(Cell(" " * (blank + before)))
            line.append(Cell(text, c.style) if height or len(pieces[i]) > 1 else c)
            blank = after + GAP
        lines.append(line)
    return lines
