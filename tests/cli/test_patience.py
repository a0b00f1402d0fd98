"""What is shown of a command that takes longer than a second: on a terminal only, and nothing of it remains."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.cli import common, patience
from tflitekit.cli.main import main, module_of, print_error


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "DELAY", 0.02)
    monkeypatch.setattr(patience, "PERIOD", 0.01)
    monkeypatch.setenv("TERM", "xterm")


def test_a_slow_command_is_shown_at_work_and_the_line_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with patience.Patience("compare"):
        time.sleep(0.2)
        print_error("something else")
        time.sleep(0.1)
    shown, _, after = terminal.getvalue().partition("tflitekit: ")
    assert shown.count("compare: 0 s") > 2 and shown.endswith("\r\x1b[K") and after == "something else\n"


@pytest.mark.parametrize("what", ["quick", "pipe", "dumb"])
def test_nothing_is_shown(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", file := io.StringIO() if what == "pipe" else Terminal())
    monkeypatch.setenv("TERM", "dumb" if what == "dumb" else "xterm")
    with patience.Patience("compare"):
        time.sleep(0 if what == "quick" else 0.1)
    assert file.getvalue() == ""


def test_the_line_is_gone_when_a_command_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(module_of("summary"), "run", interrupted)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert main(["summary", "x"]) == 130
    assert terminal.getvalue().endswith("\r\x1b[Ktflitekit: interrupted\n")


def test_a_bar_takes_the_place_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "SOON", 0.05)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with patience.Patience("copy"), common.progress("copy") as tell:
        assert tell is not None
        tell(0, 9, "too soon")
        time.sleep(0.1)
        tell(4, 9, "MiB\x1b written")
        time.sleep(0.1)
    before, _, shown = terminal.getvalue().partition("4/9")
    assert "copy: 0 s" in before and "too soon" not in before and "copy: " not in shown and r"MiB\x1b written" in shown


def test_writing_is_told_in_mebibytes(tmp_path: Path) -> None:
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (1, 1024))
    w = graph.constant("w", np.ones((1024, 1024), np.float32))
    graph.output(graph.apply("FULLY_CONNECTED", [x, w], TensorSpec("y", (1, 1024))))
    told: list[tuple[int, int, str]] = []
    tk.write(builder.build(), tmp_path / "m.tflite", progress=lambda *how: told.append(how))
    assert told[-1] == (4, 4, "MiB written") and [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_a_long_name_does_not_take_the_bar_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(common, "SOON", 0)
    monkeypatch.setenv("COLUMNS", "60")
    with common.progress("requantize") as tell:
        assert tell is not None
        tell(3, 12, "expand/Relu6;" * 20)
        time.sleep(0.2)
    shown = re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", terminal.getvalue()).split()
    assert "3/12" in shown and "0:00:00" in shown and shown[-1].startswith("expand/Relu6") and len(" ".join(shown[-4:])) <= 60 - len("^C")


def test_no_bar_is_shown_of_what_is_done_or_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(common, "SOON", 0.1)
    time.sleep(0.2)
    with common.progress("copy") as tell:
        assert tell is not None
        tell(0, 3, "MiB written")
        time.sleep(0.2)
        tell(0, 0, "MiB written")
        tell(3, 3, "MiB written")
    assert terminal.getvalue() == ""
