"""What README and the pages in docs/ show is what happens: console and python blocks run in order, and print what stands below them.

A `console` block holds commands behind `$ ` and their output; `...` on a line stands for any lines. `exit N` behind `console` in the fence is the
exit code of its last command. A `python` block shares its names with those before it; a `text` block behind it is what it prints. Blocks that need
LiteRT are left out where it is not installed. `TFLITEKIT_UPDATE_DOCS=1 pytest tests/test_readme.py` writes the output into the blocks without `...`;
read the difference.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

from tests.conftest import REPOSITORY
from tflitekit.cli.commands_page import commands_page
from tflitekit.cli.main import COMMANDS, main
from tflitekit.runtime.process import available

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md")))]
README = (REPOSITORY / "README.md").read_text()
FENCE = re.compile(r"^```(?P<kind>\w+)(?: exit (?P<code>\d))?\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
WIDTH = "110"
PICTURES = REPOSITORY / "docs" / "pictures"


class Block(NamedTuple):
    """A fenced block: its kind, the exit code, its text, and where that is in the page."""

    kind: str
    code: int
    body: str
    span: tuple[int, int]


def blocks(page: str) -> list[Block]:
    return [Block(m["kind"], int(m["code"] or 0), m["body"], m.span("body")) for m in FENCE.finditer((REPOSITORY / page).read_text())]


def sessions(body: str) -> list[tuple[str, str]]:
    """The commands of a console block, with what stands below each."""
    found = [(part.partition("\n")[0], part.partition("\n")[2]) for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]]
    assert found and body.startswith("$ ")
    return found


def needs_runtime(block: Block) -> bool:
    words = ("tk.runtime",) if block.kind == "python" else ("tflitekit compare", "tflitekit observe", "--check")
    return any(word in block.body for word in words)


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def agrees(expected: str, found: str) -> bool:
    """Whether the output is the expected one, `...` standing for any lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else re.escape(line) + "\n" for line in stripped(expected))
    return re.fullmatch(pattern, "".join(line + "\n" for line in stripped(found))) is not None


@pytest.fixture
def in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", WIDTH)
    monkeypatch.setenv("NO_COLOR", "1")


def run_console(block: Block) -> list[str]:
    """Run the commands; returns the output of each. The last one has to leave with the exit code of the block."""
    outputs = []
    for command, _ in sessions(block.body):
        words = shlex.split(command)
        assert words[0] == "tflitekit"
        text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = main(words[1:])
        outputs.append(text.buffer.getvalue().decode())  # type: ignore[attr-defined]
    assert code == block.code, outputs[-1]
    return outputs


def run_python(block: Block, names: dict[str, Any]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(compile(block.body, "page", "exec"), names)
    return text.getvalue()


@pytest.mark.usefixtures("in_a_copy")
@pytest.mark.parametrize("page", PAGES)
def test_page(page: str) -> None:
    left_out, names, before, printed = 0, {"__name__": "page"}, "", ""
    replaced: list[tuple[tuple[int, int], str]] = []
    for block in blocks(page):
        assert block.kind in ("console", "python", "text", "sh", "toml"), block
        if block.kind in ("console", "python"):
            runs = not needs_runtime(block) or available()
            left_out += not runs
            before = block.kind if runs else ""
        if block.kind == "console" and before:
            outputs = run_console(block)
            shown = "".join(
                f"$ {command}\n" + (expected if "..." in stripped(expected) else "".join(f"{line}\n" for line in stripped(output)))
                for (command, expected), output in zip(sessions(block.body), outputs, strict=True)
            )
            replaced.append((block.span, shown))
            if not os.environ.get("TFLITEKIT_UPDATE_DOCS"):
                for (command, expected), output in zip(sessions(block.body), outputs, strict=True):
                    assert agrees(expected, output), f"{command}\n{output}"
        elif block.kind == "python" and before:
            printed = run_python(block, names)
        elif block.kind == "text" and before == "python":
            replaced.append((block.span, block.body if "..." in stripped(block.body) else "".join(f"{line}\n" for line in stripped(printed))))
            assert os.environ.get("TFLITEKIT_UPDATE_DOCS") or agrees(block.body, printed), printed
        elif block.kind == "sh":
            assert all(line.startswith(("python3 -m venv ", ".venv/bin/", "pip install ", "tflitekit completion ")) for line in stripped(block.body))
    if os.environ.get("TFLITEKIT_UPDATE_DOCS"):
        text = (REPOSITORY / page).read_text()
        for (start, end), new in reversed(replaced):
            text = text[:start] + new + text[end:]
        (REPOSITORY / page).write_text(text)
    if left_out:
        pytest.skip(f"{left_out} blocks need ai-edge-litert (extra runtime); the others ran")


def test_output_is_compared() -> None:
    assert agrees("a\n...\nd\n", "a\nb\nc\nd\n") and agrees("...\n", "") and agrees("a  \n", "a\n")
    assert not agrees("a\n...\nd\n", "a\nb\n") and not agrees("a\n", "a\nb\n") and not agrees("a.c\n", "abc\n")


def test_install_commands_are_those_of_the_gate() -> None:
    gate = (REPOSITORY / ".ci" / "run").read_text()
    assert "-e '.[test]'" in README and "-e '.[test]'" in gate
    assert "-m pytest" in README and "-m pytest" in gate


def test_the_page_of_commands_is_current() -> None:
    assert (REPOSITORY / "docs" / "commands.md").read_text() == commands_page(), "python -m tflitekit.cli.commands_page docs/commands.md"


def test_every_command_is_on_a_page_and_every_link_leads_somewhere() -> None:
    texts = {page: (REPOSITORY / page).read_text() for page in PAGES}
    shown = "".join(text for page, text in texts.items() if page != "docs/commands.md")
    assert [command.name for command in COMMANDS if f"tflitekit {command.name}" not in shown] == []
    for page, text in texts.items():
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            name, _, anchor = target.partition("#")
            path = (REPOSITORY / page).parent / name if name else REPOSITORY / page
            assert path.exists(), f"{page}: {target}"
            if anchor:
                heads = [re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)$", path.read_text(), re.M)]
                assert anchor in heads, f"{page}: {target}"


def test_pictures_are_current(tmp_path: Path) -> None:
    command = [sys.executable, str(PICTURES / "draw.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=REPOSITORY)
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn == sorted(path.name for path in PICTURES.glob("*.svg")) and len(drawn) >= 3
    for name in drawn:
        found, kept = ("".join(ElementTree.parse(folder / name).getroot().itertext()) for folder in (tmp_path, PICTURES))
        assert found.partition("}\n\n")[2] == kept.partition("}\n\n")[2], f"{name}: python docs/pictures/draw.py"
        assert (PICTURES / name).stat().st_size < 40_000 and f"pictures/{name}" in "".join((REPOSITORY / page).read_text() for page in PAGES)
