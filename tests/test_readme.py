"""What the README shows is what happens: its Python runs, and its console blocks print what stands below them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tflitekit.cli.main import main

TEXT = (REPOSITORY / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("source", blocks("python"))
def test_python(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(source, "README.md", "exec"), {})
    assert "CONV_2D" in capsys.readouterr().out


@pytest.mark.parametrize("block", blocks("console"))
def test_console(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, _, expected = block.partition("\n")
    assert command.startswith("$ tflitekit ")
    assert main(shlex.split(command)[2:]) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.strip().splitlines()] == [line.rstrip() for line in expected.strip().splitlines()]


def test_install_commands_are_those_of_the_gate() -> None:
    gate = (REPOSITORY / ".ci" / "run").read_text()
    assert "-e '.[test]'" in TEXT and "-e '.[test]'" in gate
    assert "-m pytest" in TEXT and "-m pytest" in gate
