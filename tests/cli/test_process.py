"""The command line as a process: what it imports, pipes that close early, odd encodings."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tflitekit as tk

from ..reports.models import small

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "flatbuffers", "tflite", "ml_dtypes", "tflitekit.graph", "tflitekit.flat")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, cwd=REPOSITORY, env={**os.environ, **environment})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], ["tensors", "--help"], ["set-quantization", "--help"], ["requantize-weights", "--help"],
        ["set-input-stats", "--help"], ["apply", "--help"], ["completion", "bash"], ["copy", "--help"], ["compare", "--help"], ["observe", "--help"],
        ["sumary"], ["diff", "x"], [],
    ],
)  # fmt: skip
def test_help_version_and_usage_errors_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys\nfrom tflitekit.cli.main import main\nmain({arguments!r})\nprint('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run("-c", code).stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("command", ["summary", "tensors"])
def test_looking_at_a_model_imports_what_that_takes(command: str, tmp_path: Path) -> None:
    """Nothing of the audit, of writing, of colours in a pipe: a small model is shown in about the time that numpy's import takes."""
    model = tmp_path / "small.tflite"
    tk.write(small(), model)
    needless = ("rich", "flatbuffers", "ml_dtypes", "hashlib", "secrets", "shutil", "concurrent.futures", "logging")
    needless += ("tflitekit.audit", "tflitekit.passes.base", "tflitekit.diff", "tflitekit.flat.patch", "tflitekit.flat.writer")
    code = (
        f"import sys, numpy\nnumpys = set(sys.modules)\nfrom tflitekit.cli.main import main\nmain({[command, str(model)]!r})\n"
        f"print('NEEDLESS', [name for name in {needless!r} if name in sys.modules and name not in numpys])"
    )
    assert run("-c", code).stdout.splitlines()[-1] == "NEEDLESS []"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="threads are counted as Linux lists them")
def test_commands_start_no_threads_for_matrices(tmp_path: Path) -> None:
    """As numpy would, one for each processor; whoever asks for some gets them."""
    model = tmp_path / "small.tflite"
    tk.write(small(), model)
    code = (
        f"import os, sys\nsys.argv = ['tflitekit', 'summary', {str(model)!r}]\nfrom tflitekit.cli.main import command\ncommand()\n"
        "threads = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('Threads:'))\n"
        "print(threads, os.environ['OPENBLAS_NUM_THREADS'])"
    )
    unset = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    found = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY, env=unset | wanted).stdout
        for wanted in ({}, {"OPENBLAS_NUM_THREADS": "2"})
    ]
    (threads, own), (_, wanted) = (output.splitlines()[-1].split() for output in found)
    assert (threads, own, wanted) == ("1", "1", "2")


PAINT = re.compile(r"\x1b\[[0-9;]*m")
CLEAN = {"NO_COLOR": "", "FORCE_COLOR": "", "COLUMNS": "", "TERM": "xterm-256color"}


@pytest.mark.parametrize("arguments", [["--help"], ["copy", "--help"], ["stats", "--help"], ["set-quantization", "--help"]])
def test_colours_of_help_change_no_word_and_import_no_rich(arguments: list[str]) -> None:
    code = f"import sys\nfrom tflitekit.cli.main import main\nmain({arguments!r})\nprint([n for n in ('rich', 'shutil') if n in sys.modules])"
    plain, colored = (run("-c", code, **CLEAN | environment) for environment in ({}, {"FORCE_COLOR": "1"}))
    assert plain.stdout.splitlines()[-1] == colored.stdout.splitlines()[-1] == "[]"
    assert "\x1b" not in plain.stdout and PAINT.sub("", colored.stdout) == plain.stdout
    assert "\x1b[1;35musage:\x1b[0m" in colored.stdout and "  \x1b[38;5;31m-h\x1b[0m, \x1b[38;5;31m--help\x1b[0m " in colored.stdout
    assert all(PAINT.fullmatch(code) for code in re.findall(r"\x1b[^m]*m", colored.stdout))


def test_colours_of_help_follow_the_conventions() -> None:
    def help_with(**environment: str) -> str:
        return run("-m", "tflitekit", "copy", "--help", **CLEAN | environment).stdout

    painted = help_with(FORCE_COLOR="1")
    assert "\x1b[38;5;28mFILE\x1b[0m" in painted and "let \x1b[38;5;31m--rebuild\x1b[0m leave" in painted and "\x1b[1;35moutput:\x1b[0m" in painted
    assert "\x1b[36m--svg\x1b[0m \x1b[32mFILE\x1b[0m" in help_with(FORCE_COLOR="1", TERM="xterm")
    assert "\x1b" not in help_with(FORCE_COLOR="1", NO_COLOR="1") + help_with(FORCE_COLOR="1", TERM="dumb")


def at_terminal(columns: int, *arguments: str) -> str:
    """What a command prints at a terminal that says it has so many columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "tflitekit", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY, env=os.environ | CLEAN):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 1 << 16):
                shown += part
    os.close(ours)
    return shown.decode()


def longest_line(text: str) -> int:
    return max(map(len, PAINT.sub("", text).splitlines()))


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are a matter of POSIX")
def test_help_at_a_terminal_is_coloured_and_as_wide() -> None:
    narrow, wide = at_terminal(60, "--help"), at_terminal(100, "--help")
    assert "\x1b[1;35musage:" in narrow and "\x1b[1;35musage:" in wide
    assert 50 < longest_line(narrow) < 60 and 80 < longest_line(wide) < 100


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.tflite"
    made = small()
    made.subgraphs[0].tensors[0].name = "卷积\u202e".encode()
    tk.write(made, path)
    return path


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are a matter of POSIX")
def test_a_terminal_that_does_not_say_its_width_gets_80_columns(model: Path) -> None:
    """As serial lines, some containers and tools that run commands do."""
    unknown, wide, narrow = (at_terminal(columns, "tensors", str(model)) for columns in (0, 80, 60))
    assert unknown == wide != narrow
    assert 60 < longest_line(unknown) <= 80 and longest_line(narrow) <= 60


def test_module_runs_and_stdout_holds_only_the_report(model: Path) -> None:
    done = run("-m", "tflitekit", "summary", str(model))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("small.tflite\n")


def test_an_ascii_terminal_gets_escapes(model: Path) -> None:
    done = run("-m", "tflitekit", "tensors", str(model), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u5377\u79ef\u202e" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="SIGPIPE is a matter of POSIX")
def test_a_closed_pipe_is_no_traceback(model: Path) -> None:
    big = small()
    for i in range(5000):
        big.subgraphs[0].add_tensor(tk.Tensor(name=f"tensor {i}", buffer=big.buffers[0]))
    tk.write(big, model, overwrite=True)
    command = [sys.executable, "-m", "tflitekit", "tensors", str(model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141
    process.stderr.close()


@pytest.mark.skipif(os.name != "posix", reason="the shell closes the streams")
@pytest.mark.parametrize(
    ("arguments", "closed", "stdout", "stderr"),
    [
        (["summary", "small.tflite"], ">&-", "", "tflitekit: standard output is closed\n"),
        (["summary", "missing.tflite"], "2>&-", "", ""),
    ],
    ids=["stdout", "stderr"],
)
def test_closed_streams(model: Path, arguments: list[str], closed: str, stdout: str, stderr: str) -> None:
    command = ["/bin/sh", "-c", f'"$0" -m tflitekit "$@" {closed}', sys.executable, *arguments]
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=model.parent, env={**os.environ, "PYTHONPATH": paths})
    assert (done.returncode, done.stdout, done.stderr) == (3, stdout, stderr)


def test_an_unknown_option_leads_to_the_help_of_its_command() -> None:
    done = run("-m", "tflitekit", "tensors", "x.tflite", "--nope")
    assert (done.returncode, done.stderr) == (2, "tflitekit: unrecognized arguments: --nope. See: tflitekit tensors --help\n")
