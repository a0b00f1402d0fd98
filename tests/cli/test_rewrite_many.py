"""The rewriting commands on folders and patterns: names of outputs, what is refused before anything is written, reports, exit codes."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution
from tests.conftest import REPOSITORY
from tests.passes.weight_models import dense
from tflitekit import per_file
from tflitekit.cli.main import main
from tflitekit.passes.options import parse_spec
from tflitekit.passes.registry import ENTRIES

TO_INT8 = ["--to", "int8"]
INPUTS = ("a.tflite", "sub/b.tflite", "sub/deep/c.tflite")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in INPUTS:
        path = tmp_path / "models" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        tk.write(dense(), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    return Path("models")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def weights(path: Path) -> str:
    return next(str(tensor.type.name) for tensor in tk.read(path).subgraphs[0].tensors if tensor.name_str == "w")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_results_keep_their_places_below_the_folder(jobs: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name: (folder / name).read_bytes() for name in INPUTS}
    assert main(["requantize-weights", "models", *TO_INT8, "-o", "out/new", "--jobs", jobs]) == 0
    assert files(Path("out")) == [f"new/{name}" for name in INPUTS]
    assert {weights(Path("out/new") / name) for name in INPUTS} == {"INT8"}
    assert before == {name: (folder / name).read_bytes() for name in INPUTS}
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("3 files, 3 written, ") and "SQNR" in shown[0]
    assert [line.split()[0] for line in shown if ".tflite" in line] == ["a.tflite", "b.tflite", "c.tflite"]


def test_what_several_files_become_is_what_each_becomes_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requantize-weights", "models/sub/**/*.tflite", "models/a.tflite", *TO_INT8, "-o", "out", "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert files(Path("out")) == ["a.tflite", "b.tflite", "deep/c.tflite"]
    assert main(["requantize-weights", "models/sub/b.tflite", *TO_INT8, "-o", "alone.tflite", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert Path("alone.tflite").read_bytes() == Path("out/b.tflite").read_bytes()
    for facts in (one, lines[0]):
        facts.pop("output")
        for step in facts["passes"]:
            step.pop("seconds")
    assert lines[0] == one


def test_results_in_a_folder_below_are_no_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["requantize-weights", ".", *TO_INT8, "-o", "models/sub/out", "--force"]) == 0
        assert capsys.readouterr().out.startswith("3 files, 3 written")
    assert files(Path("models/sub/out")) == [f"models/{name}" for name in INPUTS]
    assert main(["requantize-weights", "models/sub/out/*/*.tflite", *TO_INT8, "-o", "models/sub/out"]) == 3
    assert "would replace the input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["models"], 2, "give -o DIR"),
        (["models", "-o", "models"], 3, "models/a.tflite would replace the input models/a.tflite"),
        (["models", "-o", "models", "--force"], 3, "would replace the input"),
        (["models/a.tflite", "other/a.tflite", "-o", "out"], 3, "models/a.tflite and other/a.tflite would both become out/a.tflite"),
        (["models/a.tflite", "link.tflite", "--in-place"], 3, "would both become link.tflite"),
        (["models/a.tflite", "hard.tflite", "--in-place"], 3, "would both become hard.tflite"),
        (["models/a.tflite", "-o", "models", "--force"], 3, "models/a.tflite would replace the input models/a.tflite"),
        (["models/*/../a.tflite", "hard.tflite", "-o", "models", "--force"], 3, "would replace the input"),
        (["models", "-o", "there"], 3, "there already: there/sub/b.tflite. Give --force"),
        (["models", "-o", "link.tflite"], 3, "link.tflite: File exists"),
        (["models/*.onnx", "-o", "out"], 3, "no files match"),
    ],
)  # fmt: skip
def test_names_that_collide_are_refused_before_anything_is_written(
    arguments: list[str], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for copy in (Path("other/a.tflite"), Path("there/sub/b.tflite")):
        copy.parent.mkdir(parents=True)
        copy.write_bytes(b"kept")
    os.symlink("models/a.tflite", "link.tflite")
    os.link("models/a.tflite", "hard.tflite")
    before = {path: Path(path).read_bytes() for path in files(Path())}
    assert main(["requantize-weights", *arguments, *TO_INT8]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {path: Path(path).read_bytes() for path in files(Path())} == before


def test_patterns_that_lead_out_of_their_folder_do_not_lead_out_of_that_of_the_results(folder: Path) -> None:
    assert main(["requantize-weights", "models/sub/*/../../a.tflite", *TO_INT8, "-o", "out/new"]) == 0
    assert files(Path("out")) == ["new/a.tflite"]


def test_errors_are_collected_and_the_worst_gives_the_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["set-quantization", "models", "--tensor", "x", "--scale", "1/4", "--keep", "codes", "-o", "out"]
    tk.write(convolution(), folder / "d.tflite")
    assert main(command) == 4  # in the others x holds no codes
    out, err = capsys.readouterr()
    assert files(Path("out")) == ["d.tflite"] and out.startswith("4 files, 3 failed, 1 written") and err.count("\n") == 3
    (folder / "z.tflite").write_bytes(b"<html>")
    assert main([*command, "--force", "--json"]) == 3
    facts = json.loads(capsys.readouterr().out)
    assert [Path(model["output"]["path"]).name for model in facts["models"]] == ["d.tflite"]
    assert [Path(lost["path"]).name for lost in facts["unreadable"]] == ["a.tflite", "b.tflite", "c.tflite", "z.tflite"]


def test_what_is_refused_in_one_file_is_code_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tk.write(tk.read(REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite"), folder / "u.tflite")
    assert main(["requantize-weights", "models", *TO_INT8, "-o", "out"]) == 4
    shown = capsys.readouterr().out
    assert "4 files, 3 written, 1 refused" in shown and "refused: stays UINT8" in shown
    assert files(Path("out")) == list(INPUTS)


def test_in_place_and_dry_run_and_limits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requantize-weights", "models", *TO_INT8, "-o", "out", "--dry-run"]) == 0
    assert "3 files, 0 written" in capsys.readouterr().out and not Path("out").exists()
    assert main(["requantize-weights", "models", *TO_INT8, "--min-sqnr", "200", "-o", "out"]) == 4
    assert files(Path("out")) == []
    assert main(["requantize-weights", "models", *TO_INT8, "--in-place", "--backup"]) == 0
    assert {weights(folder / name) for name in INPUTS} == {"INT8"}
    assert {weights(folder / f"{name}.bak") for name in INPUTS} == {"FLOAT32"}


def test_recipes_and_apply(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.toml").write_text('[[weights]]\ntensor = "w"\nto = "int4"\n')
    assert main(["requantize-weights", "models", "--recipe", "r.toml", "-o", "out", "--jobs", "2"]) == 0
    assert weights(Path("out/a.tflite")) == "INT4"
    assert main(["apply", "models", "-p", "requantize-weights{to=int4}", "-o", "out2"]) == 0
    assert Path("out/a.tflite").read_bytes() == Path("out2/a.tflite").read_bytes()


@pytest.mark.parametrize("width", ["80", "240"])
def test_choices_are_compared_over_all_files(
    width: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert main(["requantize-weights", "models", "--try", "int8,int4", "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert files(Path()) == [f"models/{name}" for name in INPUTS]
    assert max(map(len, shown.splitlines())) <= int(width)
    each, total = shown.split("all files\n")
    assert [line.split()[1] for line in each.splitlines() if ".tflite" in line] == ["int8", "int4"] * 3
    assert [line.split()[:2] for line in total.splitlines()[1:]] == [["int8", "3"], ["int4", "3"]]


def test_noise_of_several_files_is_that_of_all_their_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tflitekit.reports.rewritten_many import rewritten_many_report

    def facts(signal: float, noise: float) -> dict[str, Any]:
        made = per_file.rewrite_file("models/a.tflite", ["requantize-weights{to=int4}"])
        next(note["data"] for note in made["passes"][0]["notes"] if note["data"].get("total")).update(signal=signal, noise=noise)
        return made

    report = rewritten_many_report({"models": [facts(900.0, 10.0), facts(100.0, 0.0)], "unreadable": []})
    assert report.title.endswith("SQNR 20.0 dB")  # 1000 / 10
    assert [row[5] for row in report.sections[0].rows] == ["19.5 dB", "exact"]  # type: ignore[union-attr]


def test_the_function_can_be_pickled_with_every_pass(folder: Path) -> None:
    made = pickle.loads(pickle.dumps(per_file.rewrite_file))("models/a.tflite", ["requantize-weights{to=int8}"])
    assert made["output"] is None and made["writer"] == "rebuild"
    Path("r.toml").write_text('[[weights]]\ntensor = "w"\nto = "int4"\n')
    for text in ("requantize-weights{recipe=r.toml}", 'requantize-weights{try="int8,int4"}'):
        one = parse_spec(text)
        assert pickle.loads(pickle.dumps(one)).describe() == one.describe()


def test_paths_below_the_working_folder_are_told_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "z.tflite").write_bytes(b"<html>")
    assert main(["summary", "."]) == 3
    assert capsys.readouterr().err.count("z.tflite") == 1


def test_a_single_file_goes_into_a_folder_that_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    assert main(["requantize-weights", "models/a.tflite", *TO_INT8, "-o", "out"]) == 0
    assert files(Path("out")) == ["a.tflite"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_pass_takes_several_files(entry: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([entry.name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--jobs" in shown and "--jsonl" in shown and "MODEL [MODEL ...]" in shown
