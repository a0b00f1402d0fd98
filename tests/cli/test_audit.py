"""`tflitekit audit` and `tflitekit explain`: exit codes, forms of output, several files, and every real model."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tflitekit as tk
from tests.audit.test_scheme import mixed_model
from tests.conftest import REPOSITORY
from tests.reports.test_sarif_form import check_log
from tflitekit.audit import SCHEMES
from tflitekit.audit import SEVERITIES as ENGINE_SEVERITIES
from tflitekit.cli.audit import RUNTIMES, SEVERITIES
from tflitekit.cli.main import main
from tflitekit.passes.registry import ENTRIES
from tflitekit.quant.rules.model import Runtime

from ..reports.models import NASTY, nasty, small

EXAMPLES = REPOSITORY / "examples" / "models"
DYNAMIC, UINT8 = EXAMPLES / "classifier_dynamic_range.tflite", EXAMPLES / "classifier_uint8_placeholder.tflite"
BLOCK = "▇"


@pytest.fixture(autouse=True)
def in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def write(folder: Path, name: str, model: tk.Model) -> Path:
    tk.write(model, folder / name)
    return folder / name


def test_the_constants_are_those_of_the_engine() -> None:
    assert tuple(runtime.name.lower() for runtime in Runtime) == RUNTIMES
    assert SEVERITIES == ENGINE_SEVERITIES


# ---- the verdict, in full ----


def test_the_whole_report_of_the_first_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(REPOSITORY)  # the report names the file as it was given, and folds by its length
    code, out, err = call(capsys, "audit", DYNAMIC.relative_to(REPOSITORY))
    assert (code, err) == (0, "")
    assert out[: out.index("findings\n")] == f"""\
classifier_dynamic_range.tflite: dynamic-range: INT8 weights (per-channel),
float32 activations; input and output stay FLOAT32 because the operators
quantize activations on the fly

why
-  The weights are stored as INT8, one scale per output channel: 35152 bytes,
   where FLOAT32 would take 4 times as much. That is what makes the file small.
-  Between the operators there are FLOAT32 tensors. The 10 hybrid operators take
   them as they are: at run time, to multiply, each finds the range of its
   input, makes integers of it, multiplies those with the integer weights, and
   scales the result back to FLOAT32.
-  So there is nothing to convert at input and output, and an interpreter
   reports their quantization as (0.0, 0): no scale and no zero point. That pair
   alone does not mean that a model is float.
-  Computed in float all the same: MEAN (1): no tensor of it is quantized.

inputs and outputs
        name                               type
input   input_1_1                          FLOAT32
output  global_average_pooling2d_1_1/Mean  FLOAT32

coverage
share of      mode
operators     hybrid  {BLOCK * 22}     90.9%       10
              float   {BLOCK * 2}                          9.1%        1
weight bytes  hybrid  {BLOCK * 24}  100.0%    35152
MACs          hybrid  {BLOCK * 24}  100.0%  9060352

"""
    after = out[out.index("\nnext\n") :]
    assert after == """
next
-  Feed it the float values that the original model takes, and read floats.
-  For integer input and output the ranges of the activations are needed, and
   this file does not have them: convert again with a representative dataset, as
   full-integer quantization.
-  `tflitekit observe examples/models/classifier_dynamic_range.tflite --data SAMPLES`
   measures ranges on your samples.
"""


def test_the_second_example_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "audit", UINT8)
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == (
        "classifier_uint8_placeholder.tflite: full-integer UINT8 with placeholder ranges; the input claims real values [0, 1]; "
        "11 of 12 activations claim [-100.392, 99.608], apparently never measured"
    )
    at = lines.index("Q501")
    assert lines[at - 2 : at + 2] == ["total  1 warning", "", "Q501", "warning  placeholder ranges"]
    assert any(line.startswith("-  Nothing in this file can repair the ranges") for line in lines[lines.index("next") :])


def test_bars_are_plain_where_the_encoding_has_no_blocks() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "tflitekit", "audit", str(DYNAMIC)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0
    assert f"hybrid  {'#' * 24}  100.0%" in done.stdout


# ---- exit codes ----


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 0),
        (["--require", "dynamic-range"], 0),
        (["--require", "dynamic-range,io=float32,weights=int8"], 0),
        (["--require", "dynamic-range,io=int8"], 1),
        (["--require", "full-integer"], 1),
        (["--fail-on", "warning"], 0),
        (["--fail-on", "info"], 1),
        (["--fail-on", "error", "--require", "mixed"], 1),
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"], ["--sarif", "-"]])
def test_exit_codes(options: list[str], expected: int, form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "audit", DYNAMIC, *options, *form)[0] == expected


def test_what_differs_from_the_requirement_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "audit", DYNAMIC, "--require", "full-integer,io=int8")
    differences = "the scheme is dynamic-range, not full-integer; input 0 is FLOAT32, not INT8; output 0 is FLOAT32, not INT8"
    assert f"full-integer,io=int8  not met: {differences}\n" in out
    _, out, _ = call(capsys, "audit", DYNAMIC, "--require", "dynamic-range")
    assert "required\ndynamic-range  met\n" in out


def test_severities_are_those_of_the_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    """TensorFlow Lite Micro has no hybrid kernels; LiteRT has."""
    counts = {}
    for runtime in RUNTIMES:
        code, out, _ = call(capsys, "audit", DYNAMIC, "--runtime", runtime, "--fail-on", "error", "--json")
        facts = json.loads(out)
        counts[runtime] = (code, facts["runtime"], facts["models"][0]["counts"]["error"])
    assert counts == {
        "reference": (0, "reference", 0), "optimized": (0, "optimized", 0), "xnnpack": (0, "xnnpack", 0), "tflm": (1, "tflm", 10),
        "edgetpu": (1, "edgetpu", 1),
    }  # fmt: skip
    _, out, _ = call(capsys, "audit", DYNAMIC, "--runtime", "tflm")
    assert "for TFLM  10 errors\n" in out
    _, out, _ = call(capsys, "audit", DYNAMIC, "--runtime", "edgetpu")
    assert "Edge TPU  refuses (Model not quantized)" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--require", "full-int"], "Did you mean full-integer"),
        (["--require", "mixed,io"], "'io' is no requirement"),
        (["--runtime", "nnapi"], "nnapi"),
        (["--fail-on", "fatal"], "fatal"),
        (["--json", "--markdown"], "only one of --json, --markdown and --sarif -"),
        (["--json", "--sarif", "-"], "only one of"),
    ],
)
def test_usage_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "audit", "not-even-read.tflite", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_can_be_required(scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "audit", UINT8, "--require", scheme)[0] == int(scheme != "full-integer")


# ---- several files ----


def test_several_files_get_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "audit", DYNAMIC, UINT8, write(tmp_path, "mixed.tflite", mixed_model()))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("3 models; findings: ")
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["classifier_dynamic_range.tflite", "dynamic-range"], ["classifier_uint8_placeholder.tflite", "full-integer"], ["mixed.tflite", "mixed"],
    ]  # fmt: skip
    assert " ".join(lines[4].split()).endswith("UINT8 activations, UINT8 per-tensor weights, io UINT8 placeholder ranges")
    codes = [line.split()[:4] for line in lines if line.startswith("Q")]
    assert ["Q501", "warning", "1", "1"] in codes and ["Q601", "info", "10", "1"] in codes


def test_what_cannot_be_read_is_collected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "notes.tflite"
    text.write_text("no model")
    missing = tmp_path / "missing.tflite"
    code, out, err = call(capsys, "audit", text, DYNAMIC, missing)
    assert code == 3
    assert err.count("\n") == 2 and err.count("tflitekit: ") == 2
    assert out.startswith("3 models, 2 unreadable; findings: 10 info\n")
    code, out, _ = call(capsys, "audit", text, DYNAMIC, missing, "--json", "--require", "mixed")
    facts = json.loads(out)
    assert code == 3
    assert [model["file"]["name"] for model in facts["models"]] == [DYNAMIC.name]
    assert [lost["path"] for lost in facts["unreadable"]] == [str(text), str(missing)]
    assert call(capsys, "audit", missing)[:2] == (3, "")


def test_one_of_several_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "audit", UINT8, DYNAMIC, "--require", "full-integer")[0] == 1
    assert call(capsys, "audit", UINT8, UINT8, "--require", "full-integer")[0] == 0
    assert call(capsys, "audit", DYNAMIC, UINT8, "--fail-on", "warning")[0] == 1


# ---- Markdown and SARIF ----


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "audit", UINT8, "--markdown")
    assert out.startswith("# classifier\\_uint8\\_placeholder.tflite: full-integer UINT8 with placeholder ranges; ")
    assert "\n## coverage\n\n| share of | mode |" in out
    assert f"| operators | integer | {BLOCK * 24} | 100.0% | 11 |\n" in out
    _, out, _ = call(capsys, "audit", UINT8, DYNAMIC, "--markdown")
    assert "| classifier\\_dynamic\\_range.tflite | dynamic-range |" in out


def test_sarif_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "audit", DYNAMIC, UINT8, tmp_path / "no.tflite", "--sarif", "-")
    run = check_log(json.loads(out))
    assert (code, err.count("\n")) == (3, 1)
    assert [result["ruleId"] for result in run["results"]] == ["Q601"] * 10 + ["Q501"]
    assert run["results"][-1]["level"] == "warning"
    assert run["tool"]["driver"]["version"] == tk.__version__
    assert len(run["invocations"][0]["toolExecutionNotifications"]) == 1


def test_sarif_to_a_file_beside_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "findings.sarif"
    for _ in range(2):
        code, out, _ = call(capsys, "audit", UINT8, "--sarif", log, "--json")
        assert code == 0
        assert json.loads(out)["models"][0]["counts"]["warning"] == 1
        assert len(check_log(json.loads(log.read_text()))["results"]) == 1


def test_sarif_never_replaces_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write(tmp_path, "model.tflite", small())
    before = model.read_bytes()
    code, out, err = call(capsys, "audit", UINT8, "--sarif", model)
    assert (code, out) == (3, "")
    assert "was not written by --sarif; it is not replaced" in err
    assert model.read_bytes() == before
    assert call(capsys, "audit", UINT8, "--sarif", tmp_path / "no" / "folder.sarif")[0] == 3


# ---- hostile and real models ----

FORMS: list[list[str]] = [[], ["--json"], ["--markdown"], ["--sarif", "-"], ["--runtime", "tflm"], ["--require", "full-integer,io=int8"]]


@pytest.mark.parametrize("form", FORMS)
def test_hostile_models(form: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["tflitekit.flat.codec"], "read", lambda _: nasty())
    assert NASTY in nasty().subgraphs[0].tensors[0].name
    for paths in (["x"], ["x", "y"]):
        code, out, err = call(capsys, "audit", *paths, *form)
        assert (code in (0, 1), err) == (True, "")
        assert "\x1b" not in out and "\u202e" not in out


def test_every_real_model_in_every_form(model_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    before = model_path.stat().st_mtime_ns
    for form in FORMS:
        code, out, err = call(capsys, "audit", model_path, *form)
        assert (code in ((0, 1) if "--require" in form else (0,)), err) == (True, "")
        if "--json" in form:
            (facts,) = json.loads(out)["models"]
            assert facts["verdict"]["sentence"].startswith(facts["verdict"]["scheme"])
            for measure in ("operators", "weight_bytes", "macs"):
                shares = [row["percent"][measure] for row in facts["coverage"]]
                assert None in shares or not shares or sum(shares) == pytest.approx(100)
        elif "--sarif" in form:
            check_log(json.loads(out))
        elif "--markdown" not in form:
            assert max(len(line) for line in out.splitlines() if "`tflitekit " not in line) <= 80  # commands stay whole
    assert model_path.stat().st_mtime_ns == before


def test_all_real_models_at_once(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(models.glob("*.tflite"))
    code, out, err = call(capsys, "audit", *paths)
    assert code == 3 and err.count("\n") == 1
    assert out.startswith(f"{len(paths)} models, 1 unreadable; findings: ")


# ---- explain, and what --help imports ----


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "explain", "Q501")
    assert (code, err) == (0, "")
    assert out.startswith("Q501: placeholder ranges\n\nwhy it matters ")
    assert len(call(capsys, "explain")[1].splitlines()) > 10
    code, out, _ = call(capsys, "explain", "q501", "--json")
    assert set(json.loads(out)["codes"][0]) == {"code", "title", "explanation", "fix"}
    code, out, err = call(capsys, "explain", "Q5O1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Near it: Q501" in err


@pytest.mark.parametrize("arguments", [["audit", "--help"], ["explain", "--help"], ["audit", "x", "--runtime", "y"], ["audit"]])
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str]) -> None:
    names = ("numpy", "flatbuffers", "tflitekit.graph", "tflitekit.audit", "tflitekit.quant", "tflitekit._schema")
    code = f"import sys\nfrom tflitekit.cli.main import main\nmain({arguments!r})\nprint('HEAVY', [n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


# ---- what the weights hold ----


def test_weights_are_read_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "audit", DYNAMIC, "--weights")
    assert (code, err) == (0, "") and "\nweights\n" in out and "190 of 256" in out and "▅" in out
    assert "\nweights\n" not in call(capsys, "audit", DYNAMIC)[1]
    facts = json.loads(call(capsys, "audit", DYNAMIC, "--weights", "--json")[1])["models"][0]
    assert len(facts["weights"]) == 10 and all(sum(w["values"]["histogram"]["counts"]) == w["values"]["elements"] for w in facts["weights"])


def test_histograms_in_ascii_where_nothing_else_can_be_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(encoding: str, *arguments: str) -> str:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        assert main([*arguments, str(DYNAMIC)]) == 0
        sys.stdout.flush()
        return raw.getvalue().decode(encoding)

    for arguments in (("tensors", "--histogram", "--constant"), ("audit", "--weights")):
        assert "█" in shown("utf-8", *arguments)
        text = shown("ascii", *arguments)
        assert "#" in text and "+" in text and "█" not in text


def test_pictures_of_the_constants_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "tensors", DYNAMIC, "--histogram", "--constant", "--quantized")
    assert code == 0 and out.count("\ntensor ") == 10 and "190 of 256 levels" in out
    assert "\ntensor " not in call(capsys, "tensors", DYNAMIC, "--constant")[1]


STANDS_FOR = {"M": "0", "S": "100",}  # words of suggested commands that the user replaces
FOR_THE_USER = {"SAMPLES", "FLOAT_MODEL", "NAME"}  # those that need something that is not there


def test_every_command_that_is_suggested_works(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "audit", model_path, "--json")
    (facts,) = json.loads(out)["models"]
    for command in re.findall("`tflitekit ([^`]*)`", " ".join(facts["next"])):
        words = [STANDS_FOR.get(word, word) for word in shlex.split(command)]
        if not FOR_THE_USER & set(words):
            rewrites = any(entry.name == words[0] for entry in ENTRIES)
            code, _, err = call(capsys, *words, *["--dry-run"] * rewrites)
            nothing_follows = words[0] == "fix-quantization" and code == 4
            assert code == 0 or nothing_follows, (command, err)
