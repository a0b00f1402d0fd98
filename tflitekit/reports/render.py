"""Shows a report: in colour on a terminal, as plain lines in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING

from .layout import Line, lay_out
from .report import Report
from .theme import STYLES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text
    from rich.theme import Theme

MIN_WIDTH = 40


def output_width(file: IO[str]) -> int | None:
    """The width to fold at: that of COLUMNS or of the terminal; None in a pipe, where every row stays one line."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return max(int(columns), MIN_WIDTH)
    if not file.isatty():
        return None
    try:
        return max(os.get_terminal_size(file.fileno()).columns, MIN_WIDTH)
    except (OSError, ValueError):
        return 80


def show(report: Report, file: IO[str] | None = None) -> None:
    """Print the report. Terminals get colour (NO_COLOR and TERM=dumb are honoured, FORCE_COLOR forces it), pipes plain text."""
    file = file or sys.stdout
    lines = lay_out(report, output_width(file))
    if file.isatty() or os.environ.get("FORCE_COLOR"):
        print_styled(lines, console(file))
    else:
        file.writelines(plain(line) + "\n" for line in lines)


def plain(line: Line) -> str:
    """The text of a line."""
    return "".join(part.text for part in line).rstrip()


def console(file: IO[str]) -> Console:
    """A rich console with the theme, which prints what it is given and interprets nothing."""
    from rich.console import Console

    return Console(file=file, theme=themed(), highlight=False, markup=False, emoji=False)


def themed() -> Theme:
    """The styles as rich knows them."""
    from rich.theme import Theme

    return Theme({f"tk.{name}": style for name, style in STYLES.items()})


def print_styled(lines: Iterable[Line], console: Console) -> None:
    """Print laid-out lines in colour, without any further wrapping."""
    for line in lines:
        console.print(_styled(line), soft_wrap=True)


def _styled(line: Line) -> Text:
    from rich.text import Text

    text = Text()
    for part in line:
        text.append(part.text, style=f"tk.{part.style}" if part.style else None)
    return text
