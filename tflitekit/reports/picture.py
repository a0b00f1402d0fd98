"""A report as a picture of a terminal (SVG) or a page (HTML), with the colours that a terminal shows."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable

from .escape import escape
from .layout import Line, fold, lay_out
from .render import print_styled, themed
from .report import Report

WIDTH = 110  # columns, where neither a terminal nor COLUMNS says how many
TITLE = 60  # characters of the title bar, which the buttons of the window share

# The frame of the picture, in the terms of rich's export. Nothing is loaded from elsewhere: the fonts are those of the viewer, and the length of each
# text is given, so that columns line up in any.
_FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
# The page: white, as its colours are made for; what is wider than the window is scrolled to.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta name="viewport" content="width=device-width">
<title>TITLE</title>
<style>
{stylesheet}
body {{ color: {foreground}; background-color: {background}; margin: 1em; }}
pre {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 0; overflow-x: auto; }}
</style>
</head>
<body>
<pre>{code}</pre>
</body>
</html>
"""
# Line ends as texts of their own, and the clipping of lines, which are folded already.
_SUPERFLUOUS = re.compile(r'<text [^>]*>\n</text>| clip-path="[^"]*"')


def picture(report: Report, kind: str, width: int | None) -> str:
    """The report as "svg" or "html", folded at `width` columns: of a picture every line, since it would cut what is wider; a page is scrolled."""
    from rich.console import Console

    columns = width or WIDTH
    console = Console(
        file=io.StringIO(), record=True, width=columns, force_terminal=True, color_system="truecolor", legacy_windows=False, theme=themed(),
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    lines: Iterable[Line] = lay_out(report, columns)
    if kind == "svg":
        lines = (piece for line in lines for piece in fold(line, columns))
    print_styled(lines, console, gaps=True)
    if kind == "svg":
        return _SUPERFLUOUS.sub("", console.export_svg(title=_short(report.title), code_format=_FRAME))
    title = html.escape(escape(report.title)).replace("{", "{{").replace("}", "}}")
    return console.export_html(inline_styles=True, code_format=_PAGE.replace("TITLE", title))


def _short(title: str) -> str:
    """The title up to its first colon or semicolon, no longer than fits the title bar."""
    head = escape(re.split("[:;] ", title)[0])
    return head if len(head) <= TITLE else f"{head[: TITLE - 3]}..."
