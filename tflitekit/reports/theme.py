"""Styles of the terminal output, by meaning. The terminal's own sixteen colours are used, so that its light or dark theme keeps them readable.

Cyan and not blue for names, which are most of many tables: in the palettes of xterm, Windows Terminal, GNOME, macOS and VS Code, the contrast of blue
to black is 1.6 to 4.3, that of cyan 6.0 to 10.6 to black and 2.0 to 3.5 to white. Nothing is told by colour alone.
"""

from __future__ import annotations

STYLES: dict[str, str] = {
    "title": "bold",
    "section": "bold magenta",
    "header": "underline",
    "label": "bold",
    "name": "cyan",
    "quantized": "green",
    "dynamic": "magenta",
    "old": "red",
    "new": "green",
    "note": "italic",
    "good": "bold green",
    "error": "bold red",
    "warning": "yellow",
    "info": "cyan",
}
