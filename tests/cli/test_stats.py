"""`tflitekit stats`: numbers as users give them, what is shown word by word, and usage errors."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tflitekit.cli.main import main
from tflitekit.cli.numbers import number
from tflitekit.reports.stats import bounds_text, digits

from ..conftest import REPOSITORY


@pytest.fixture(autouse=True)
def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["stats", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def facts(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = call(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(
    ("arguments", "scale", "zero_point", "bounds"),
    [
        ("--mean 0 --std 255 --dtype uint8", 0.003921568859368563, 0, "[0, 1]"),
        ("--mean 0 --std 255", 0.003921568859368563, 0, "[0, 1]"),
        ("--mean -128 --std 255 --dtype int8", 0.003921568859368563, -128, "[0, 1]"),
        ("--min -100 --max 100", 0.7843137383460999, 128, "[-100.392, 99.608]"),
        ("--min -100 --max 100 --dtype int8", 0.7843137383460999, -1, "[-99.608, 100.392]"),
        ("--mean 127.5 --std 127.5", 0.007843137718737125, 128, "[-1.00392, 0.99608]"),
        ("--min -1 --max 1 --dtype uint8", 0.007843137718737125, 128, "[-1.00392, 0.99608]"),
        ("--min -1 --max 1 --dtype int8", 0.007843137718737125, -1, "[-0.99608, 1.00392]"),
        ("--min -1 --max 1 --dtype int16", 3.0518509447574615e-05, 0, "[-1.00003, 1]"),
        ("--scale 1/256 --zero-point -128 --dtype int8", 0.00390625, -128, "[0, 0.996094]"),
        ("--scale 0x1p-8 --zero-point 0", 0.00390625, 0, "[0, 0.996094]"),
        ("--mean 0x7f --std 1/128", 128, 127, "[-16256, 16384]"),
        ("--min -1e2 --max 1e2", 0.7843137383460999, 128, "[-100.392, 99.608]"),
        ("--min -0x1p0 --max 1", 0.007843137718737125, 128, "[-1.00392, 0.99608]"),
        ("--min -1/2 --max .5", 0.0039215688593685627, 128, "[-0.501961, 0.498039]"),
        ("--min=-.5 --max .5", 0.0039215688593685627, 128, "[-0.501961, 0.498039]"),
    ],
)
def test_numbers(capsys: pytest.CaptureFixture[str], arguments: str, scale: float, zero_point: int, bounds: str) -> None:
    stored = facts(capsys, *arguments.split())["stored"]
    assert (stored["scale"], stored["zero_point"]) == (scale, zero_point)
    _, out, _ = call(capsys, *arguments.split())
    lines = dict(line.split("  ", 1) for line in out.splitlines()[2:5])
    assert {key: value.strip() for key, value in lines.items()} == {"scale": digits(scale), "zero point": str(zero_point), "range": bounds}


def test_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--min", -100, "--max", 100)
    assert (code, err) == (0, "")
    assert out == """\
uint8, range -100 to 100

scale       0.7843137383460999
zero point  128
range       [-100.392, 99.608]
rule        real = 0.7843137383460999 * (q - 128), q from 0 to 255
residual    mean 127.5 is no integer: every real value is 0.392157 (0.5 LSB) lower than asked
recognised  no usual preprocessing
as int8     same scale and range, zero point 0, codes q - 128 (deriving the range anew would give -1, another range)

all forms
                     asked for            in a file
scale       0.7843137254901961   0.7843137383460999
zero point               127.5                  128
min                       -100  -100.39215850830078
max                        100    99.60784476995468
mean                     127.5                  128
std                      1.275   1.2749999791011217
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--mean 0 --std 255", "recognised  image scaled to [0, 1]: pixel / 255"),
        ("--mean 0 --std 255", "residual    none: the mean is an integer"),
        ("--mean 0 --std 255", "rule        real = 0.003921568859368563 * q, q from 0 to 255"),
        ("--mean 0 --std 255", "as int8     same scale and range, zero point -128, codes q - 128"),
        ("--mean 127.5 --std 127.5", "recognised  image scaled to [-1, 1]: (pixel - 127.5) / 127.5"),
        (
            "--min -1 --max 1 --dtype int8",
            "as uint8    same scale and range, zero point 127, codes q + 128 (deriving the range anew would give 128, another range)",
        ),
        ("--min -1 --max 1 --dtype int8", "rule        real = 0.007843137718737125 * (q + 1), q from -128 to 127"),
        ("--min -1 --max 1 --dtype int16", "8 bits      no shift to them: derive their parameters from the range"),
        ("--min 2 --max 5 --widen", "widened     to 0 to 5, to include 0"),
        ("--min 2 --max 5 --widen", "uint8, range 2 to 5"),
        ("--min -2 --max 1 --dtype int16", "widened     to -2 to 2, as int16 is symmetric"),
        ("--scale 0.0039 --zero-point 3", "scale                      0.0039  0.0038999998942017555"),
        (
            "--mean 127 --std 1/128",
            "The range is so large because std is a divisor: real = (q - mean) / std. If a factor was meant, std is 128.",
        ),
        (
            "--mean 0 --std 255 --dtype int8",
            "If mean and std were meant for uint8 (image scaled to [0, 1]), int8 needs mean -128, std 255.",
        ),
        ("--scale 1e-40 --zero-point 0", "The scale is subnormal in float32. XNNPACK refuses such a model."),
    ],
)
def test_lines(capsys: pytest.CaptureFixture[str], arguments: str, line: str) -> None:
    code, out, _ = call(capsys, *arguments.split())
    assert code == 0
    assert line in out.splitlines()


def test_help_and_usage_errors_import_no_numpy() -> None:
    code = "import sys\nfrom tflitekit.cli.main import main\nmain(['stats', *sys.argv[1:]])\nprint('numpy' in sys.modules)"
    for arguments in (["--help"], ["--mean", "1"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
        assert done.stdout.splitlines()[-1] == "False"


def test_hints_are_silent_about_usual_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    usual = ("--mean 0 --std 255", "--mean 0 --std 1", "--mean -128 --std 255 --dtype int8", "--min -5000 --max 5000", "--mean 127.5 --std 128")
    for arguments in usual:
        assert facts(capsys, *arguments.split())["hints"] == []


def test_explain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert facts(capsys, "--mean", 0, "--std", 255)["explain"] is None
    explained = facts(capsys, "--min", -1, "--max", 1, "--explain")["explain"]
    verdicts = {claim["statement"]: claim["verdict"] for claim in explained["formulas"]}
    assert verdicts["min = -mean * std, max = (255 - mean) * std"] == "wrong"
    assert verdicts["scale = 1 / std, zero_point = mean"] == "right"
    assert [way["zero_point"] for way in explained["producers"]] == [128, 127, 127, 127]
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in ("--mean 0 --std 255", "--min -1 --max 1 --dtype int8", "--mean 0 --std 32767 --dtype int16"):
        code, out, _ = call(capsys, *arguments.split(), "--explain")
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        assert "formulas in circulation" in out
    assert "Every producer uses the zero point 0 for int16." in out
    assert "Here" not in out  # the formulas are about 8 bits
    _, out, _ = call(capsys, "--mean", 0, "--std", 255, "--explain")
    assert "Here it gives 0 to 65025 instead of 0 to 1." in " ".join(out.split())
    assert "All of them arrive at the same zero point here." in " ".join(out.split())
    _, out, _ = call(capsys, "--min", -1, "--max", 1, "--explain")
    assert "the arithmetic decides: 127 instead of 128." in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "got none of them"),
        ("--mean 1", "got --mean"),
        ("--mean 1 --max 2", "got --mean, --max"),
        ("--mean 1 --std 1 --min 0 --max 1", "needs one pair"),
        ("--scale 1", "--zero-point"),
        ("--mean 0 --std 255 --widen", "--widen goes with"),
        ("--mean 128 --std 128 --dtype int8", "for INT8 that is 0"),
        ("--min 2 --max 5", "does not include 0, which needs a code (for padding and ReLU). Give 0 to 5 instead"),
        ("--mean nan --std 1", "not finite"),
        ("--mean 1/0 --std 1", "'1/0' is no number"),
        ("--mean one --std 1", "'one' is no number"),
        ("--mean 0 --std 1e999", "not finite"),
        ("--mean 0 --std 0x1p9999", "is no number"),
        ("--mean 0 --std 0", "greater than 0"),
        ("--scale 1 --zero-point 1.5", "no integer"),
        ("--scale 1 --zero-point 300", "no code of UINT8"),
        ("--scale -1 --zero-point 0", "positive"),
        ("--mean 0 --std 1 --dtype float32", "float32"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    code, out, err = call(capsys, *arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), ("1e-3", 1e-3), ("-0x1.8p1", -3.0), ("0x1p-8", 2**-8), ("1/256", 1 / 256), ("2/255", 2 / 255), ("-1/3", -1 / 3),
        ("0x10/0x2p1", 4),
    ],
)  # fmt: skip
def test_number(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((-100.39215850830078, 99.60784476995468), "[-100.392, 99.608]"), ((0, 1.0000000591389835), "[0, 1]"), ((0, 0), "[0, 0]"),
        ((-16256, 16384), "[-16256, 16384]"), ((-2e-7, 1e-7), "[-2e-07, 1e-07]"), ((0, 3e30), "[0, 3e+30]"), ((-1e-9, 1), "[0, 1]"),
    ],
)  # fmt: skip
def test_bounds_text(bounds: tuple[float, float], text: str) -> None:
    assert bounds_text(*bounds) == text
