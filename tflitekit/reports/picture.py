"""A report as a picture of a terminal (SVG) or a page (HTML), with the colours that a terminal shows."""

from __future__ import annotations

import io

from .layout import lay_out
from .render import print_styled, themed
from .report import Report

WIDTH = 110  # columns, where neither a terminal nor COLUMNS says how many


def picture(report: Report, kind: str, width: int | None) -> str:
    """The report as "svg" or "html", folded at `width` columns."""
    from rich.console import Console

    columns = width or WIDTH
    console = Console(
        file=io.StringIO(), record=True, width=columns, force_terminal=True, color_system="truecolor", legacy_windows=False, theme=themed(),
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    print_styled(lay_out(report, columns), console)
    if kind == "svg":
        return console.export_svg(title=report.title)
    return console.export_html(inline_styles=True)
