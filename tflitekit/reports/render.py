"""Shows a report: in colour on a terminal, as plain lines in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from itertools import count
from typing import IO, TYPE_CHECKING

from .layout import Line, lay_out
from .report import Report
from .theme import BAR, STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.theme import Theme

MIN_WIDTH = 40
GAP = "tk.gap"  # the style of blanks between texts
TREE = "├└│─"
ASCII_TREE = str.maketrans(TREE, "|`|-")
_consoles = count()


def output_width(file: IO[str]) -> int | None:
    """The width to fold at: that of COLUMNS or of the terminal, 80 if it does not say; None in a pipe, where every row stays one line."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return max(int(columns), MIN_WIDTH)
    if not file.isatty():
        return None
    try:
        return max(os.get_terminal_size(file.fileno()).columns or 80, MIN_WIDTH)
    except (OSError, ValueError):
        return 80


def show(report: Report, file: IO[str] | None = None) -> None:
    """Print the report. Terminals get colour (NO_COLOR and TERM=dumb are honoured, FORCE_COLOR forces it), pipes plain text."""
    file = file or sys.stdout
    lines = lay_out(report, output_width(file))
    if not _prints(file, TREE):
        lines = ([part._replace(text=part.text.translate(ASCII_TREE)) for part in line] for line in lines)
    if file.isatty() or os.environ.get("FORCE_COLOR"):
        print_styled(lines, console(file))
    else:
        file.writelines(plain(line) + "\n" for line in lines)


def _prints(file: IO[str], characters: str) -> bool:
    """Whether the file's encoding has these characters."""
    try:
        characters.encode(getattr(file, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def plain(line: Line) -> str:
    """The text of a line."""
    return "".join(part.text for part in line).rstrip()


def console(file: IO[str]) -> Console:
    """A rich console with the theme, which prints what it is given and interprets nothing."""
    from rich.console import Console

    return Console(file=file, theme=themed(), highlight=False, markup=False, emoji=False)


def themed() -> Theme:
    """The styles as rich knows them. Those of each console are marked as its own: equal ones are shared, and keep the escape codes of the colour
    system that they were first shown in."""
    from rich.style import Style
    from rich.theme import Theme

    own = Style(meta={"console": next(_consoles)})
    styles = {**{f"tk.{name}": style for name, style in STYLES.items()}, **BAR}
    return Theme({name: Style.parse(style) + own for name, style in styles.items()} | {GAP: Style.null()})


def print_styled(lines: Iterable[Line], console: Console, gaps: bool = False) -> None:
    """Print laid-out lines in colour, without any further wrapping. `gaps`: blanks in front of a text are recorded as a segment of their own, since
    viewers of SVG drop those at the start of one."""
    for line in lines:
        console.print(_styled(line, gaps), soft_wrap=True)


def _styled(line: Line, gaps: bool) -> Text:
    from rich.text import Text

    text = Text()
    for part in line:
        style = f"tk.{part.style}" if part.style else None
        content = part.text.lstrip(" ") if gaps else part.text
        if blanks := len(part.text) - len(content):
            text.append(" " * blanks, style=GAP)
        text.append(content, style=style)
    return text
