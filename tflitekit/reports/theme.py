"""Styles of the terminal output, by meaning, readable on light and dark terminals. Nothing is told by colour alone.

Red and magenta are the terminal's own. Its yellow, cyan and green are pale on white: in xterm's palette their contrast to it is 1.7, 2.0 and 2.2.
In their place stand colours of the middle of the 256, whose contrast is at least 3.8 to black and to white, and 3.1 to Solarized's two backgrounds
(`tests/reports/test_theme.py`). Terminals with sixteen colours show the nearest, which are their own yellow, cyan and green.
"""

from __future__ import annotations

STYLES: dict[str, str] = {
    "title": "bold",
    "section": "bold magenta",
    "header": "underline",
    "label": "bold",
    "name": "color(31)",
    "quantized": "color(28)",
    "dynamic": "magenta",
    "old": "red",
    "new": "color(28)",
    "note": "italic",
    "good": "bold color(28)",
    "error": "bold red",
    "warning": "color(166)",
    "info": "color(31)",
}

# The same for the parts of rich's progress bar, by its own names.
BAR: dict[str, str] = {
    "bar.complete": STYLES["quantized"],
    "bar.finished": STYLES["quantized"],
    "bar.back": "color(244)",
    "progress.download": "none",
    "progress.elapsed": "none",
}
