"""`compare`, `observe`, and `--check` of the rewriting commands: options, exit codes, reports, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.cli.main import build_parser, main
from tflitekit.runtime import process

from ..in_runtime.models import WEIGHTS, dense, float_dense, requantizer
from ..runtime import needs_runtime

FEW = ("--random", "2")


@pytest.fixture(autouse=True)
def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same layer with int8, uint8 and float inputs, one with another weight, and one that crashes the interpreter."""
    weights = WEIGHTS.copy()
    weights[2, 3] = 127 if weights[2, 3] < 0 else -127
    made = {"int8": dense(), "uint8": dense("UINT8"), "float": float_dense(), "other": dense(weights=weights)}
    for name, model in made.items():
        tk.write(model, tmp_path / f"{name}.tflite")
    for name, scale in (("sound", 0.2), ("crash", 0.0)):
        (tmp_path / f"{name}.tflite").write_bytes(requantizer(scale))
    return {path.stem: path for path in tmp_path.glob("*.tflite")}


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# ---- compare ----


@needs_runtime
def test_compare_reports_equality_of_different_types(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "compare", files["int8"], files["uint8"], *FEW, "--tolerance", "0")
    assert (code, err) == (0, "")
    assert out == """\
int8.tflite -> uint8.tflite

verdict   the same outputs
samples   2 random samples, seed 0
resolver  default (optimized kernels, XNNPACK)

inputs
name  A     B      lowest  highest  values
x     INT8  UINT8   -2.58     1.68  random codes of INT8, scale 0.02: -2.66 to 2.44

outputs
name   A     B      max LSB  mean LSB  max error  SQNR dB    cosine  top-1
dense  INT8  UINT8        0         0          0      inf  1.000000    2/2  within

Each model gets the same real values as its own codes: divided by the scale in float32, rounded half away from zero, clipped. Inputs and outputs are \
paired by position: their names differ.
"""


@needs_runtime
def test_beyond_the_tolerance_is_exit_code_5(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "compare", files["int8"], files["other"], *FEW, "--tolerance", "1lsb")
    assert (code, err) == (5, "")
    assert "verdict   beyond the tolerance of 1lsb\nbecause   output 'dense' is off by " in out and "  beyond\n" in out
    code, out, _ = call(capsys, "compare", files["int8"], files["other"], *FEW)
    assert code == 0 and "verdict   the output differs" in out


@needs_runtime
def test_layers_are_shown_from_the_first_departure(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "compare", files["int8"], files["other"], *FEW, "--layers")
    assert code == 0
    assert "departs   operator 0, FULLY_CONNECTED, tensor 3 dense\n" in out
    assert "0  FULLY_CONNECTED" in out and "   all  dense" in out


@needs_runtime
def test_a_crash_is_one_line(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "compare", files["sound"], files["crash"])
    assert (code, out) == (5, "")
    assert err.startswith("tflitekit: crash.tflite: the runtime crashed (SIGSEGV) while running the model")
    assert err.endswith("`tflitekit audit MODEL` may say why\n") and err.count("\n") == 1


@needs_runtime
def test_json_keys_are_those_of_the_help(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for command, arguments in (("compare", [files["float"], files["int8"], "--layers"]), ("observe", [files["int8"]])):
        code, out, err = call(capsys, command, *arguments, *FEW, "--json")
        assert (code, err) == (0, "")
        facts = json.loads(out)
        epilog: Any = build_parser(command)._subparsers._group_actions[0].choices[command].epilog  # type: ignore[union-attr,index,call-overload]
        (signature,) = facts["signatures"]
        inner = signature["outputs"][0] if command == "compare" else signature["tensors"][0]
        assert all(key in epilog for key in (*facts, *signature, *inner))
    assert facts["signatures"][0]["tensors"][0]["implied"]["dtype"] == "int8"


@needs_runtime
def test_data_files(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "d.npz", x=np.linspace(-1, 1, 24).reshape(3, 8))
    np.save(tmp_path / "wrong.npy", np.zeros(3))
    code, out, _ = call(capsys, "compare", files["int8"], files["uint8"], "--data", tmp_path / "d.npz", "--samples", 2)
    assert code == 0 and f"samples   2 samples from {tmp_path / 'd.npz'}\n" in out and "real values" in out
    code, _, err = call(capsys, "compare", files["int8"], files["uint8"], "--data", tmp_path / "wrong.npy")
    assert code == 2 and "wrong.npy: input 'x' has the shape [1, 8], the array [3]" in err


@needs_runtime
def test_one_sample_is_said_to_show_little(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be seen whether" in call(capsys, "compare", files["int8"], files["uint8"], "--random", 1)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0"], "--mean goes with --data"), (["--samples", "3"], "--samples goes with --data"),
        (["--data", "x.npy", "--random", "3"], "--data and --random exclude each other"), (["--tolerance", "two"], "write 1lsb"),
        (["--shape", "x"], "write NAME=1x224x224x3"), (["--shape", "x=1xa"], "write NAME=1x224x224x3"), (["--random", "0"], "at least 1 is needed"),
        (["--data", "x.npy", "--mean", "1"], "--mean and --std go together"), (["--range", "1", "0"], "the first must be less"),
        (["--timeout", "0"], "more than 0 seconds"), (["--shape", "z=1"], "no input is named 'z'"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_line(files: dict[str, Path], capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    code, out, err = call(capsys, "compare", files["int8"], files["uint8"], *options)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err


def test_without_the_extra_one_line_says_what_to_install(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    for arguments in (["compare", files["int8"], files["uint8"]], ["observe", files["int8"], *FEW]):
        assert call(capsys, *arguments) == (5, "", "tflitekit: running models needs LiteRT: pip install 'tflitekit[runtime]'\n")


# ---- observe ----


@needs_runtime
def test_observe_shows_seen_claimed_and_implied(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "d.npy", np.linspace(-0.5, 0.25, 16).reshape(2, 8))
    code, out, err = call(capsys, "observe", files["int8"], "--data", tmp_path / "d.npy")
    assert (code, err) == (0, "")
    assert """
input
tensor   0, x
type     INT8 [1,8]
samples  real values
seen     [-0.5, 0.25]
claimed  [-2.66, 2.44]: scale 0.019999999552965164, zero point 5, mean 5, std 50
implied  [-0.5, 0.25]: int8 scale 0.0029411765281111, zero point 42, mean 42, std 340
verdict  the claim is more than twice as wide as what was seen: steps are coarser than they need be
""" in out
    np.save(tmp_path / "d.npy", np.full((1, 8), 9.0))
    _, out, _ = call(capsys, "observe", files["int8"], "--data", tmp_path / "d.npy", "--name", "x")
    assert "seen     [9, 9]\n" in out and "verdict  100.0% of the samples' values are beyond the claim and were clipped" in out


def test_observe_without_data_says_why_not(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "observe", files["int8"])
    assert code == 2 and "--data FILE. Ranges on random inputs are not those of real ones" in err and "--random N" in err


# ---- --check ----


@needs_runtime
def test_a_check_that_fails_writes_nothing(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    edit = ["set-quantization", files["int8"], "--tensor", "x", "--scale", "1/4", "--keep", "codes", "--check", "--check-random", 2]
    code, out, err = call(capsys, *edit)
    assert (code, out) == (5, "")
    assert err.startswith("tflitekit: the check failed, tolerance 1lsb,0.001%: output 'dense' is off by ") and "Nothing was written" in err
    assert sorted(tmp_path.iterdir()) == before
    code, out, err = call(capsys, *edit, "--tolerance", "-100dB")
    assert (code, err) == (0, "") and "check    within the tolerance of -100dB, largest errors " in out
    assert len(list(tmp_path.iterdir())) == len(before) + 1


@needs_runtime
def test_a_check_that_passes_is_reported(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit = ["set-quantization", files["int8"], "--tensor", "bias", "--scale", "1/4", "--keep", "codes", "--check", "-o", tmp_path / "o"]
    code, out, err = call(capsys, *edit, "--json")
    facts = json.loads(out)
    assert (code, err, facts["check"]["equal"], facts["check"]["shows"]) == (0, "", True, True)
    assert facts["check"]["a"]["name"] == "the model before"
    assert "check    the same outputs; 4 random samples, seed 0, resolver default\n" in call(capsys, *edit, "--force")[1]


@needs_runtime
def test_a_model_that_does_not_run_before_has_no_check(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    edit = ["set-quantization", files["crash"], "--tensor", "x", "--scale", "1/4", "--keep", "codes", "--check", "--check-random", 1]
    code, _, err = call(capsys, *edit)
    assert code == 5 and "the model before: the runtime crashed (SIGSEGV)" in err
    assert "nothing to compare with; the model after: the runtime crashed" in err
    edit[3:6] = ["y", "--scale", "1/4"]
    code, _, err = call(capsys, *edit)
    assert code == 5 and "nothing to compare with; the model after does run: to have it, leave --check out. Nothing was written" in err
    assert sorted(tmp_path.iterdir()) == before


@needs_runtime
def test_pixels_of_a_float_model_become_what_its_metadata_says(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(tmp_path / "white.png")
    model = models / "tfls_mobilenet_v1_0.25_224_1_metadata_1.tflite"
    code, out, err = call(capsys, "observe", model, "--data", tmp_path / "white.png", "--name", "input")
    assert (code, err) == (0, "")
    assert "samples  real = (x - 127.5) / 127.5 by the metadata, RGB, stretched from 8x8 to 224x224\nseen     [1, 1]\n" in out
    code, out, _ = call(capsys, "observe", model, "--data", tmp_path / "white.png", "--name", "input", "--mean", 0, "--std", 255)
    assert "samples  real = (x - 0) / 255, RGB, stretched from 8x8 to 224x224\nseen     [1, 1]\n" in out
