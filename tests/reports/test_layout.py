"""Lines stay within the width, nothing is cut off, and nothing from a file steers the terminal."""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tflitekit as tk
from tflitekit.errors import TFLiteKitError
from tflitekit.graph import Model
from tflitekit.reports.bars import BLOCKS
from tflitekit.reports.escape import escape
from tflitekit.reports.facts_operators import operators_facts
from tflitekit.reports.facts_summary import summary_facts
from tflitekit.reports.facts_tensors import tensors_facts
from tflitekit.reports.layout import _NARROW, cell_width, fold, lay_out, wrap
from tflitekit.reports.operators import operators_report
from tflitekit.reports.picture import picture
from tflitekit.reports.render import console, plain, print_styled, show
from tflitekit.reports.report import Cell, Column, KeyValues, Note, Report, Table, Value, cell
from tflitekit.reports.summary import summary_report
from tflitekit.reports.tensors import tensors_report
from tflitekit.reports.theme import STYLES

from .models import nasty, small

UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def all_reports(model: Model) -> list[Report]:
    return [
        summary_report(summary_facts(model)),
        tensors_report(tensors_facts(model), channels=True),
        tensors_report(tensors_facts(model), exact=True),
        tensors_report(tensors_facts(model, histogram=True), blocks=BLOCKS),
        operators_report(operators_facts(model)),
        operators_report(operators_facts(model), names=True),
    ]


@pytest.mark.parametrize("model", [small, nasty])
@pytest.mark.parametrize("width", [60, 80, 100, 140, 400])
def test_no_line_is_wider_than_asked(model: Callable[[], Model], width: int) -> None:
    for report in all_reports(model()):
        assert max(cell_width(plain(line)) for line in lay_out(report, width)) <= width


@given(st.text(max_size=80), st.integers(min_value=2, max_value=30))
def test_wrapping_keeps_every_character(text: str, width: int) -> None:
    text = escape(text)
    pieces = wrap(text, width)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
    assert all(cell_width(piece) <= width for piece in pieces)


def test_wrapping_breaks_at_separators_and_not_inside_numbers() -> None:
    assert wrap("model/conv2d_1/BiasAdd;model/relu", 24) == ["model/conv2d_1/BiasAdd;", "model/relu"]
    assert wrap("96 scales 2.68509e-05..0.000137057", 14) == ["96 scales", "2.68509e-05..", "0.000137057"]
    assert wrap("per-channel", 8) == ["per-", "channel"]


@given(st.text())
def test_escaped_text_is_printable(text: str) -> None:
    assert not any(unicodedata.category(char) in UNSAFE for char in escape(text))


def test_escapes_are_visible_and_other_text_is_left_alone() -> None:
    assert escape("a\x1b[31m\r\n\x9b\u202e\ud800") == r"a\x1b[31m\x0d\x0a\x9b\u202e\ud800"
    assert escape("卷积 é [bold]") == "卷积 é [bold]"


def test_what_counts_as_narrow_without_rich_is_narrow_for_rich() -> None:
    from rich.cells import cell_len

    narrow = [chr(c) for c in range(0x3000) if _NARROW.fullmatch(chr(c))]
    assert len(narrow) > 300
    assert {cell_len(c) for c in narrow} == {1}


def test_wide_characters_count_twice() -> None:
    table = Table("", [Column("name"), Column("n", "right")], [["卷积", "1"], ["ab", "22"]])
    lines = [plain(line) for line in lay_out(Report("t", [table]), 20)][2:]
    assert lines == ["name   n", "卷积   1", "ab    22"]


def test_markup_and_control_characters_are_shown_not_obeyed() -> None:
    for width in (80, None):
        for report in all_reports(nasty()):
            file = io.StringIO()
            print_styled(lay_out(report, width), console(file))
            text = file.getvalue()
            assert "\x1b" not in text  # no terminal, no colour
            assert "\u202e" not in text
    joined = re.sub(r"\s+", "", text)
    assert r"[boldred]\x1b[31m\u202e\xff\x0a[/nope]" in joined


def test_columns_give_way_in_order_of_priority() -> None:
    columns = [Column("#"), Column("name", priority=9, own_line=True, mark="= "), Column("shape", priority=1)]
    report = Report("t", [Table("", columns, [["1", "n" * 70, "[1,2]"], ["2", "m", "[3]"]])])
    assert [plain(line) for line in lay_out(report, 60)][2:] == [
        "#  " + "name".ljust(50) + "  shape",
        "1  " + "n" * 50 + "  [1,2]",
        "   " + "n" * 20,
        "2  " + "m".ljust(50) + "  [3]",
    ]
    assert [plain(line) for line in lay_out(report, 44)][2:] == [
        "#  shape", "    = name", "1  [1,2]", "    = " + "n" * 38, "      " + "n" * 32, "2  [3]", "    = m",
    ]  # fmt: skip


def test_empty_sections_and_optional_columns_are_left_out() -> None:
    report = Report("title", [Table("empty", [Column("a")]), Table("t", [Column("a"), Column("b", optional=True)], [["1", ""]]), Note("end")])
    assert [plain(line) for line in lay_out(report, None)] == ["title", "", "t", "a", "1", "", "end"]


def test_styles_exist_and_colour_is_used_only_where_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    report = summary_report(summary_facts(small()))
    assert {part.style for line in lay_out(report, 80) for part in line} - {""} <= set(STYLES)
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    show(report, file)
    assert "\x1b" not in file.getvalue()
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = io.StringIO()
    show(report, coloured)
    assert "\x1b[32m" in coloured.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured.getvalue()) == file.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    grey = io.StringIO()
    show(report, grey)
    assert "\x1b[32m" not in grey.getvalue()


def test_a_column_with_a_mark_moves_below_before_it_is_broken() -> None:
    table = Table("t", [Column("shape", priority=2, least=9), Column("type"), Column("scale", priority=5, least=13, mark="scale ")])
    table.rows.append(["[1,224,224,3]", "UINT8", "0.00390625"])
    shown = {width: [plain(line) for line in lay_out(Report("r", [table]), width)][3:] for width in (40, 31, 24)}
    assert shown[40] == ["shape          type   scale", "[1,224,224,3]  UINT8  0.00390625"]
    assert "0.00390625" in "".join(shown[31]) and shown[24][-1] == "    scale 0.00390625"


def test_bars_are_left_out_where_they_would_be_broken() -> None:
    table = Table("t", [Column("type"), Column("bytes", "right"), Column("", spare=True)], [["UINT8", "3471040", "#" * 24]])
    shown = {width: [plain(line) for line in lay_out(Report("r", [table]), width)][3:] for width in (40, 39)}
    assert shown == {40: ["type     bytes", "UINT8  3471040  " + "#" * 24], 39: ["type     bytes", "UINT8  3471040"]}


def test_commands_stay_whole_so_that_they_can_be_copied() -> None:
    command = "`tflitekit fix-quantization m.tflite --bias retag`"
    text = f"To repair it run {command}, then look again. Or ({command}) do not."
    for width in range(2, 140):
        pieces = wrap(text, width)
        assert "".join(pieces).replace(" ", "") == text.replace(" ", "") and sum(piece.count(command) for piece in pieces) == 2
        assert all(len(piece) <= width or piece in (f"{command},", f"({command})") for piece in pieces)


def test_what_else_is_quoted_is_broken_only_if_it_is_longer_than_a_line() -> None:
    text = "It says `not a command but words` there."
    assert wrap(text, 30) == ["It says", "`not a command but words`", "there."]
    assert wrap("a `b c d", 5) == ["a `b", "c d"]  # no end: as any text
    assert all(max(map(len, wrap(text, width))) <= width for width in range(2, 60))


def test_commands_stay_whole_in_every_section_and_pictures_cut_nothing() -> None:
    command = f"`tflitekit audit {'m' * 90}.tflite`"
    rows: list[list[Value]] = [["1", f"To see more: {command}."]]
    report = Report("t", [Note(f"See {command}."), KeyValues("k", [("fix", f"Do {command}.")]), Table("next", [Column("#"), Column("what")], rows)])
    assert sum(plain(line).endswith(f"{command}.") for line in lay_out(report, 60)) == 3
    html, svg = (picture(report, kind, 60) for kind in ("html", "svg"))
    assert html.count(command) == 3 and command not in svg
    texts = [unescape(text).replace("\xa0", " ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    assert max(map(len, texts)) <= 60 and "".join(texts).replace(" ", "").count(command.replace(" ", "")) == 3


@given(st.text(max_size=80), st.integers(min_value=16, max_value=60))
def test_folded_lines_keep_every_character(text: str, width: int) -> None:
    line = [Cell("fix ", "label"), Cell(escape(text), "name")]
    pieces = list(fold(line, width))
    assert "".join(plain(piece) for piece in pieces).replace(" ", "") == plain(line).replace(" ", "")
    assert all(sum(cell_width(part.text) for part in piece) <= width for piece in pieces)


def test_no_column_of_a_report_on_a_real_model_is_empty(models: Path) -> None:
    for path in sorted(models.glob("*.tflite"))[::3]:
        try:
            model = tk.read(path)
        except TFLiteKitError:
            continue
        for report in (summary_report(summary_facts(model)), tensors_report(tensors_facts(model)), operators_report(operators_facts(model))):
            for table in (section for section in report.sections if isinstance(section, Table) and section.rows):
                for number, column in enumerate(table.columns):
                    assert column.optional or any(cell(row[number]).text for row in table.rows), (path.name, table.title, column.name)
