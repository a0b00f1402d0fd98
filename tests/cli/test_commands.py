"""The commands in process: exit codes, one-line errors, JSON keys, and every command on every real model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit._placeholders import dangling
from tflitekit.cli.main import COMMANDS, GROUPS, build_parser, main, module_of
from tflitekit.passes.registry import ENTRIES

from ..reports.models import nasty, small

KEYS = {
    "summary": {
        "file", "version", "description", "min_runtime_version", "subgraphs", "signatures", "operators", "metadata", "constants",
        "quantization", "container",
    },
    "tensors": {"file", "total", "subgraphs", "tensors"},
    "operators": {"file", "total", "subgraphs", "tree", "operators"},
    "verify": {"file", "counts", "problems", "cross_check"},
    "diff": {"a", "b", "equal", "changes"},
    "copy": {"input", "output", "writer", "changed_bytes", "in_place", "backup"},
    "recover": {"file", "record", "outcome", "restored", "text"},
    "audit": {"runtime", "models", "unreadable"},
    "explain": {"codes"},
    "io": {"file", "metadata", "problems", "interfaces"},
    "stats": {"dtype", "form", "asked", "stored", "residual", "widened_from", "recognised", "other_dtype", "hints", "explain"},
}  # fmt: skip


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.tflite"
    changed = small()
    changed.subgraphs[0].tensors[0].quantization.zero_point = [128]
    tk.write(changed, path)
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def arguments_of(command: str, path: Path, tmp_path: Path) -> list[object]:
    if command == "stats":
        return [command, "--mean", 0, "--std", 255]
    if command == "explain":
        return [command, "Q501"]
    extra = {"diff": [path], "copy": ["-o", tmp_path / "copy.tflite"]}
    return [command, path, *extra.get(command, [])]


@pytest.mark.parametrize("command", KEYS)
def test_json_has_the_documented_keys(command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *arguments_of(command, model, tmp_path), "--json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)) == KEYS[command]
    parser = build_parser(command)
    epilog = parser._subparsers._group_actions[0].choices[command].epilog  # type: ignore[union-attr,index,call-overload]
    assert all(key in epilog for key in KEYS[command])


def test_every_command_is_tested_and_has_a_module() -> None:
    rewriting = {entry.name for entry in ENTRIES} | {"apply", "completion"}  # these are in test_rewrite.py and test_completion.py
    running = {"compare", "observe"}  # in test_running.py
    assert {command.name for command in COMMANDS} == set(KEYS) | rewriting | running
    assert all(hasattr(module_of(name), "configure") and hasattr(module_of(name), "run") for name in {*KEYS, *rewriting, *running})


def test_diff_answers_by_its_exit_code(model: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "diff", model, model)[0] == 0
    code, out, _ = call(capsys, "diff", model, other)
    assert code == 1
    assert "subgraphs[0].tensors[0].quantization.zero_point" in out


def test_verify_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, warned, broken = small(), small(), small()
    good.subgraphs[0].tensors[5].buffer = good.add_buffer(bytes(4))
    good.subgraphs[0].tensors[0].quantization.quantized_dimension = 0
    warned.version = 4
    broken.subgraphs[0].operators[0].inputs[0] = dangling("Tensor", 99)
    codes = {}
    for name, model in {"good": good, "warned": warned, "broken": broken}.items():
        tk.write(model, tmp_path / name)
        codes[name] = [call(capsys, "verify", tmp_path / name, *options)[0] for options in ([], ["--strict"], ["--cross-check"])]
        severities = {problem.severity for problem in tk.verify(model)}
        expected = [int("error" in severities), int(bool(severities & {"error", "warning"})), int("error" in severities)]
        assert codes[name] == expected
    assert codes["broken"] == [1, 1, 1]
    assert codes["warned"][1] == 1


def test_copy_says_which_writer_and_refuses_to_overwrite(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.tflite"
    code, text, _ = call(capsys, "copy", model, "-o", out)
    assert code == 0
    assert "source: the bytes of the input" in text
    assert out.read_bytes() == model.read_bytes()
    code, text, err = call(capsys, "copy", model, "-o", out, "--rebuild")
    assert (code, text) == (3, "")
    assert "--force" in err
    code, text, _ = call(capsys, "copy", model, "-o", out, "--rebuild", "--force", "--json")
    assert json.loads(text)["writer"] == "rebuild"
    assert json.loads(text)["output"]["size"] == out.stat().st_size
    assert not tk.diff(tk.read(model), tk.read(out))


def test_rebuild_that_would_lose_something_exits_4(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tail = tmp_path / "tail.tflite"
    tail.write_bytes(model.read_bytes() + b"\x07" * 64)
    code, _, err = call(capsys, "copy", tail, "-o", tmp_path / "o.tflite", "--rebuild")
    assert (code, err.count("\n")) == (4, 1)
    assert not (tmp_path / "o.tflite").exists()
    assert call(capsys, "copy", tail, "-o", tmp_path / "o.tflite", "--rebuild", "--drop-unknown")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["summary", "missing\x1b.tflite"], 3, r"missing\x1b.tflite"),
        (["verify", "."], 3, "directory"),
        (["sumary", "x"], 2, "Did you mean: tflitekit summary"),
        (["nothing-like-it"], 2, "Commands: summary, "),
        (["summary"], 2, "MODEL"),
        (["summary", "--nope", "x"], 2, "--nope"),
        (["tensors", "x", "--sort", "color"], 2, "color"),
        (["tensors", "x", "--quantized", "--float"], 2, "not allowed with"),
        (["copy", "x"], 2, "-o"),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, out, err = call(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("tflitekit: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_file_in_place_of_a_command_gets_a_hint(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"tflitekit summary {model}" in call(capsys, model)[2]


def test_unexpected_errors_are_one_line_unless_asked(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr(module_of("summary"), "run", fail)
    code, _, err = call(capsys, "summary", model)
    assert (code, err.count("\n")) == (3, 1)
    assert "ZeroDivisionError: a b" in err
    with pytest.raises(ZeroDivisionError):
        main(["summary", str(model), "--traceback"])


def test_interrupt_exits_130(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module_of("summary"), "run", interrupted)
    assert call(capsys, "summary", model)[0] == 130


def test_no_command_shows_help_and_version_works(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys)
    assert (code, out) == (2, "")
    assert "summary" in err
    assert call(capsys, "--version") == (0, f"tflitekit {tk.__version__}\n", "")


def test_the_main_help_has_every_command_once_under_a_heading(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = call(capsys, "--help")
    found = re.findall(r"^  ([a-z][a-z-]+) +\S", out, re.MULTILINE)
    assert found == [command.name for command in COMMANDS] and len(set(found)) == len(found)
    assert all(f"{heading}:\n" in out for heading in GROUPS)


@pytest.mark.parametrize(
    ("command", "usage"),
    [("copy", "(-o OUT | --in-place) IN [options]"), ("apply", "-p PASS MODEL [MODEL ...] [options]"), ("audit", "MODEL [MODEL ...] [options]")],
)
def test_the_usage_names_what_has_to_be_given(command: str, usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, command, "--help")[1].splitlines()[0] == f"usage: tflitekit {command} {usage}"


@pytest.mark.parametrize("command", KEYS)
def test_help_at_80_columns(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "--json" in out
    assert max(map(len, out.splitlines())) <= 80


def test_options_reach_the_report(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    _, out, _ = call(capsys, "tensors", model, "--name", "kernel", "--channels", "--exact")
    rows = out.splitlines()[3:6]
    assert rows[0].split()[-1] == "conv/kernel"
    assert [row.split()[:3] for row in rows[1:]] == [["channel", "0", "0.10000000149011612"], ["channel", "1", "0.20000000298023224"]]
    _, out, _ = call(capsys, "tensors", model, "--quantized", "--activation")
    assert out.splitlines()[0] == "small.tflite: 2 of 7 tensors, 2 of them quantized"
    _, out, _ = call(capsys, "operators", model, "--op", "pool")
    assert out.splitlines()[0] == "small.tflite: 1 of 2 operators"
    assert call(capsys, "operators", model, "--subgraph", "4")[0] == 2


def test_hostile_models_get_a_report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["tflitekit.flat.codec"], "read", lambda _: nasty())
    for command in ("summary", "tensors", "operators", "verify", "io"):
        for options in ([], ["--json"]):
            code, out, err = call(capsys, command, "x", *options)
            assert (code in (0, 1), err) == (True, "")
            assert "\x1b" not in out
            assert "\u202e" not in out


def test_every_command_on_every_real_model(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[list[object]] = [
        ["summary"], ["tensors", "--channels"], ["tensors", "--exact"], ["operators"], ["operators", "--names"], ["verify"], ["io"],
        ["diff", model_path], ["copy", "-o", tmp_path / "same.tflite"], ["copy", "-o", tmp_path / "new.tflite", "--rebuild", "--drop-unknown"],
    ]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    for command, *options in runs:
        for form in ([], ["--json"]):
            force = ["--force"] if command == "copy" else []
            code, out, err = call(capsys, command, model_path, *options, *force, *form)
            assert (code in ((0, 1) if command == "verify" else (0,)), err) == (True, "")
            if form:
                json.loads(out)
            else:
                assert max(map(len, out.splitlines())) <= 80
    assert (tmp_path / "same.tflite").read_bytes() == model_path.read_bytes()


@pytest.mark.parametrize("columns", [80, 140])
def test_help_is_no_wider_than_the_terminal(columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS:
        assert main([command.name, "--help"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= columns
        assert command.name != "requantize-weights" or "blockwise-128,blockwise-256}" in "".join(map(str.strip, lines))


def test_mistakes_are_told_with_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, cut, array = tmp_path / "small.tflite", tmp_path / "cut.tflite", tmp_path / "bad.npy"
    tk.write(small(), model)
    cut.write_bytes(model.read_bytes()[:400])
    array.write_bytes(b"no array")
    (tmp_path / "the model").touch()
    for arguments, said in (
        (["tensors", model, "--histograms"], "Did you mean --histogram? See: tflitekit tensors --help"),
        ([tmp_path / "the model"], f"To see what is in that file: tflitekit summary '{tmp_path / 'the model'}'"),
        (["summary", cut], "It may be incomplete: copy or download it again"),
        (["summary", array], "is not a TFLite model but a text file; name the .tflite file itself"),
        (["requantize-weights", model, "--recipe", tmp_path / "nope"], "nope: No such file"),
        (["copy", model, "-o", model], "exists; replace it with --force"),
        (["tensors", model, "--subgraph", "9"], "counted from 0"),
        (["tensors", model, "--export", "x.csv"], "--export x.csv: expected a file name ending in .json or .npz"),
        (["requantize-weights", model, "--to", "int8", "--try", "int8"], "--try CHOICES only compares; --to TYPE rewrites"),
        (["explain", "Z1"], "`tflitekit explain` lists them all"),
        (["explain", "0 != -1875126784"], "What in a model makes a runtime print a message, `tflitekit audit MODEL` finds"),
        (["audit", model, "--require", "full-int8"], "Did you mean full-integer?"),
        (["requantize-weights", model, "--to", "int8", "--min-sqnr", "high"], "--min-sqnr: expected a number, got 'high'"),
        (["set-io-dtype", model, "--inputs", "int8,uint8"], "all cannot be both int8 and uint8. For different ones write --inputs NAME=TYPE,..."),
        (["recover", tmp_path], "is a directory; name the model in it"),
        (["compare", model, model, "--data", tmp_path / "nope"], "nope: no such file"),
        (["compare", model, model, "--data", array], "is no .npy file: numpy.save writes them"),
    ):
        code, out, err = call(capsys, *arguments)
        assert (code in (2, 3), out, err.count("\n")) == (True, "", 1) and said in err
