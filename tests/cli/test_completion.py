"""Completion scripts: of every command and option, for three shells, and used by the shells that are here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tflitekit.cli.completion import SHELLS
from tflitekit.cli.main import COMMANDS, main
from tflitekit.passes.registry import ENTRIES


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_knows_every_command_and_its_options(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command.name in script for command in COMMANDS)
    assert all(option in script for option in ("channels", "sarif", "zero-point", "dry-run"))
    assert ENTRIES
    assert "Every other command does so" not in script  # of the paragraph that --help has


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    main(["completion", "bash"])
    script = tmp_path / "complete.sh"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "my_model.tflite").touch()

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_tflitekit '' '{words[-1]}' ''; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return subprocess.run([bash, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout.split()

    assert {"summary", "set-quantization", "apply"} <= set(complete("tflitekit", ""))
    assert complete("tflitekit", "tens") == ["tensors"]
    assert "--zero-points" in complete("tflitekit", "set-quantization", "--zero")
    assert complete("tflitekit", "summary", "my") == ["my_model.tflite"]


def test_a_shell_that_is_not_known_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice" in capsys.readouterr().err
