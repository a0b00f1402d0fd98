"""Styles of the terminal output, by meaning. The terminal's own sixteen colours are used, so that its light or dark theme keeps them readable."""

from __future__ import annotations

STYLES: dict[str, str] = {
    "title": "bold",
    "section": "bold magenta",
    "header": "underline",
    "label": "bold",
    "name": "blue",
    "quantized": "green",
    "dynamic": "magenta",
    "old": "red",
    "new": "green",
    "note": "italic",
    "good": "bold green",
    "error": "bold red",
    "warning": "yellow",
    "info": "blue",
}
