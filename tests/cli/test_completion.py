"""Completion scripts: of every command and option, for three shells, and used by the shells that are here."""

from __future__ import annotations

import os
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


def ready(shell: str, folder: Path, script: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Where a shell is, with its completion script and a model in a folder; the test is skipped where it is not installed."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    main(["completion", shell])
    (folder / script).write_text(capsys.readouterr().out)
    (folder / "my_model.tflite").touch()
    return program


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bash = ready("bash", tmp_path, "complete.sh", capsys)

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        code = (
            f"source ./complete.sh; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_tflitekit '' '{words[-1]}' ''; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return subprocess.run([bash, "-c", code], capture_output=True, text=True, cwd=tmp_path).stdout.split()

    assert {"summary", "set-quantization", "apply"} <= set(complete("tflitekit", ""))
    assert complete("tflitekit", "tens") == ["tensors"]
    assert "--zero-points" in complete("tflitekit", "set-quantization", "--zero")
    assert complete("tflitekit", "summary", "my") == ["my_model.tflite"]


def test_fish_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fish = ready("fish", tmp_path, "tflitekit.fish", capsys)

    def complete(line: str) -> list[str]:
        command = [fish, "-c", f"source ./tflitekit.fish; complete -C '{line}'"]
        found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        return [entry.partition("\t")[0] for entry in found.stdout.splitlines()]

    assert {"summary", "set-quantization", "apply"} <= set(complete("tflitekit "))
    assert complete("tflitekit tens") == ["tensors"]
    assert complete("tflitekit set-quantization --zero") == ["--zero-point", "--zero-points"]
    assert complete("tflitekit summary my") == ["my_model.tflite"]
    assert set(complete("tflitekit audit --runtime ")) == {"reference", "optimized", "xnnpack", "tflm", "edgetpu"}


def test_zsh_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through zsh's own completion, as it is at a prompt, in a terminal of zsh's making."""
    zsh = ready("zsh", tmp_path, "_tflitekit", capsys)
    (tmp_path / ".zshrc").write_text("fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -d $ZDOTDIR/dump; PS1='ready> '\n")
    code = (
        "zmodload zsh/zpty; zpty shell 'zsh -i'; zpty -r shell out '*ready> *'; zpty -w -n shell \"$1\"$'\\t'; sleep 1; "
        "zpty -w shell $'\\x15exit'; while zpty -r shell line; do print -rn -- $line; done"
    )

    def complete(line: str) -> str:
        environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
        return subprocess.run([zsh, "-f", "-c", code, "zsh", line], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=30).stdout

    assert "tflitekit tensors" in complete("tflitekit tens")
    assert "my_model.tflite" in complete("tflitekit summary my")
    assert "set-io-dtype" in complete("tflitekit set-")


def test_a_shell_that_is_not_known_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice" in capsys.readouterr().err
