"""--svg and --html: the report as a file, beside what is printed."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tflitekit.cli.main import main
from tflitekit.reports.picture import picture
from tflitekit.reports.report import Report


@pytest.mark.parametrize("command", ["summary", "tensors", "operators", "audit", "io", "verify"])
def test_reports_are_written_as_pictures(command: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([command, str(model)])
    plain = capsys.readouterr().out
    svg, html = model.with_name("r.svg"), model.with_name("r.html")
    for _ in range(2):  # an older picture is replaced
        main([command, str(model), "--svg", str(svg), "--html", str(html)])
        assert capsys.readouterr().out == plain
    text = "".join(ElementTree.fromstring(svg.read_text()).itertext()).replace("\xa0", " ")
    first = plain.splitlines()[0].split()[0]
    assert first in text and first in html.read_text()


@pytest.mark.parametrize("command", ["summary", "audit"])
def test_json_and_a_picture_go_together(command: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(model), "--json", "--svg", str(model.with_name("r.svg"))]) == 0
    assert capsys.readouterr().out.startswith("{") and model.with_name("r.svg").exists()


def test_a_model_is_not_replaced_by_a_picture(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = model.read_bytes()
    assert main(["summary", str(model), "--svg", str(model)]) == 3
    assert "was not written by --svg" in capsys.readouterr().err and model.read_bytes() == before


def test_columns_line_up_in_viewers_that_drop_blanks_at_the_start_of_a_text(model: Path) -> None:
    main(["tensors", str(model), "--svg", str(model.with_name("r.svg"))])
    texts = [element for element in ElementTree.parse(model.with_name("r.svg")).iter() if element.tag.endswith("}text")]
    assert len(texts) > 20 and not [t.text for t in texts if (t.text or "")[:1] in ("\xa0", " ", "\n")]
    assert "http" not in model.with_name("r.svg").read_text().replace("http://www.w3.org/2000/svg", "")  # nothing is loaded
    kinds = {t.get("x") for t in texts if t.text in ("per-tensor", "per-channel", "kind")}
    assert len(kinds) == 1


def test_a_page_has_a_title_a_charset_and_a_background(model: Path) -> None:
    odd = model.rename(model.with_name("a{b}<i>&.tflite"))
    main(["summary", str(odd), "--html", str(model.with_name("r.html"))])
    page = model.with_name("r.html").read_text()
    assert "<title>a{b}&lt;i&gt;&amp;.tflite</title>" in page and '<meta charset="UTF-8">' in page
    assert "background-color: #ffffff" in page and "overflow-x: auto" in page and "<i>" not in page


@pytest.mark.parametrize(("title", "short"), [("a.tflite: float32: why", "a.tflite"), ("25 models; findings: 10 info", "25 models")])
def test_the_title_bar_has_the_head_of_the_title(title: str, short: str) -> None:
    assert f">{short}</text>" in picture(Report(title), "svg", 80).replace("&#160;", " ")
