"""The colours of the theme against the backgrounds that terminals have."""

from __future__ import annotations

import io

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style

from tflitekit.reports.picture import picture
from tflitekit.reports.render import show
from tflitekit.reports.report import Note, Report
from tflitekit.reports.theme import STYLES

FIXED = {name: style for name, style in STYLES.items() if "color(" in style}


def luminance(triplet: tuple[int, int, int]) -> float:
    """Relative luminance of WCAG 2."""
    parts = [value / 255 for value in triplet]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted(luminance(tuple(Color.parse(color).get_truecolor())) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("background", "least"), [("#000000", 3.8), ("#ffffff", 3.8), ("#002b36", 3.1), ("#fdf6e3", 3.1)])
@pytest.mark.parametrize("name", FIXED)
def test_colours_are_readable_on_light_and_dark(name: str, background: str, least: float) -> None:
    color = Style.parse(FIXED[name]).color
    assert color is not None and contrast(color.name, background) >= least


def test_the_measure_finds_what_is_pale() -> None:
    assert contrast("#cdcd00", "#ffffff") == pytest.approx(1.7, abs=0.05)  # xterm's yellow
    assert contrast("#00cdcd", "#ffffff") == pytest.approx(2.0, abs=0.05)  # and cyan
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_no_style_is_pale_and_sixteen_colours_do() -> None:
    for style in STYLES.values():
        color = Style.parse(style).color
        assert color is None or color.name in ("red", "magenta") or style in FIXED.values()
    nearest = {style: Style.parse(style).color.downgrade(ColorSystem.STANDARD).number for style in FIXED.values()}  # type: ignore[union-attr]
    assert set(nearest.values()) == {2, 3, 6}  # green, yellow, cyan


@pytest.mark.parametrize("first", ["xterm", "xterm-256color", "picture"])
def test_what_was_shown_before_does_not_choose_the_colours(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report("t", [Note("n", "warning")])
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name in ("NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)

    def shown(term: str) -> str:
        monkeypatch.setenv("TERM", term)
        show(report, file := io.StringIO())
        return file.getvalue()

    if first == "picture":
        picture(report, "svg", 80)
    else:
        shown(first)
    assert "\x1b[33mn" in shown("xterm") and "\x1b[38;5;166mn" in shown("xterm-256color")
