"""The rewriting commands: flags made of pass options, the file written, the report, `apply`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution, requantize
from tests.conftest import REPOSITORY
from tests.passes.weight_models import dense
from tflitekit.cli.main import main
from tflitekit.passes.registry import ENTRIES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    tk.write(convolution(), path)
    return path


def test_a_pass_is_a_command(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["set-quantization", str(model), "--tensor", "x", "--scale", "1/4", "--keep", "codes"]) == 0
    written = model.with_name("m.set-quantization.tflite")
    assert tk.read(written).subgraphs[0].tensors[0].quantization.scale.tolist() == [0.25]  # type: ignore[union-attr]
    shown = capsys.readouterr().out
    assert "patch: the bytes of the input with values replaced, 4 bytes" in shown
    assert "stored scale 0.25 (0x1.0000000000000p-2), zero point 3" in shown
    assert "Q301" in shown and "New findings of the audit" in shown


def test_a_dry_run_writes_nothing_and_shows_the_diff(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(model.parent.iterdir())
    assert main(["set-quantization", str(model), "--tensor", "x", "--scale", "1/4", "--keep", "codes", "--dry-run"]) == 0
    assert sorted(model.parent.iterdir()) == before
    assert "subgraphs[0].tensors[0].quantization.scale" in capsys.readouterr().out


def test_json_has_the_keys_that_help_names(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tflitekit.cli.rewrite import KEYS

    assert main(["set-quantization", str(model), "--tensor", "x", "--scale", "1/4", "--keep", "real", "--json", "-o", str(model.parent / "o")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert all(key in KEYS for key in facts)
    assert facts["writer"] == "patch" and facts["changed_bytes"] > 4
    assert facts["passes"][0]["pass"] == 'set-quantization{tensor=x,keep=real,scale=1/4}'
    assert facts["passes"][0]["notes"][0]["data"]["scale"] == [0.25]
    assert facts["output"]["path"] == str(model.parent / "o")


def test_nothing_but_refusals_is_no_success(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tk.read(model)
    requantize(broken, "c", scale=[0.0])
    tk.write(broken, model.with_name("b.tflite"))
    assert main(["fix-quantization", str(model.with_name("b.tflite"))]) == 4
    assert "Not repaired: " in capsys.readouterr().out
    assert not model.with_name("b.fix-quantization.tflite").exists()


def test_apply_runs_several_passes(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["set-quantization{tensor=x,scale=1/4,keep=codes}", "set-quantization{tensor=x,scale=1/2,keep=codes}"]
    assert main(["apply", str(model), "-p", specs[0], "-p", specs[1]]) == 0
    assert model.with_name("m.apply.tflite").read_bytes() == model.read_bytes()
    assert "source: the bytes of the input, unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tensor", "x", "--scale", "1"], 2, "--keep is missing"),
        (["--tensor", "x", "--scale", "1", "--scale", "2", "--keep", "real"], 2, "--scale is given twice"),
        (["--tensor", "nobody", "--scale", "1", "--keep", "real"], 2, "no tensor is named 'nobody'"),
        (["--tensor", "x", "--scale", "1", "--keep", "maybe"], 2, "invalid choice: 'maybe'"),
        (["--from", "none.json", "--keep", "real"], 3, "none.json: No such file"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_line(model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str) -> None:
    assert main(["set-quantization", str(model), *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_existing_output_is_kept(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["set-quantization", str(model), "--tensor", "x", "--scale", "1", "--keep", "codes", "-o", str(model)]
    before = model.read_bytes()
    assert main(arguments) == 3
    assert model.read_bytes() == before and "--force" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0
    assert model.read_bytes() != before


def test_tables_are_exported_and_applied(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = model.with_name("t.json")
    assert main(["tensors", str(model), "--name", "x", "--export", str(table)]) == 0
    assert main(["tensors", str(model), "--export", str(table)]) == 3
    found = json.loads(table.read_text())
    assert [row["name"] for row in found["tensors"]] == ["x"]
    found["tensors"][0]["scale"] = ["1/8"]
    table.write_text(json.dumps(found))
    assert main(["set-quantization", str(model), "--from", str(table), "--keep", "codes"]) == 0
    assert tk.read(model.with_name("m.set-quantization.tflite")).subgraphs[0].tensors[0].quantization.scale.tolist() == [0.125]  # type: ignore[union-attr]
    capsys.readouterr()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_pass_has_help(entry: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([entry.name, "--help"]) == 0  # type: ignore[attr-defined]
    shown = capsys.readouterr().out
    assert "--dry-run" in shown and "keys of --json" in shown


def test_choices_of_weights_are_compared_without_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    path = tmp_path / "m.tflite"
    tk.write(dense(), path)
    assert main(["requantize-weights", str(path), "--try", "int8,int4/blockwise-32", "--range", "mse"]) == 0
    shown = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]
    assert "(nothing written)" in shown and "int4/blockwise-32/mse" in shown and "SQNR of each tensor" in shown
    assert main(["requantize-weights", str(path), "--try", "int8,int2/blockwise-32", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["output"] is None and facts["passes"][0]["pass"] == 'requantize-weights{try="int8,int2/blockwise-32"}'
    notes = facts["passes"][0]["notes"]
    assert [note["data"]["choice"] for note in notes if note["kind"] == "refused"] == ["int2/blockwise-32"]


def test_the_cost_of_weights_is_a_table_with_bars(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    path = tmp_path / "m.tflite"
    tk.write(dense(), path)
    assert main(["requantize-weights", str(path), "--to", "int4"]) == 0
    shown = capsys.readouterr().out
    assert "INT4 per-channel hybrid" in shown and "2048 -> 256" in shown and "in total, 1 tensor" in shown
    assert any(character in shown for character in "█#")
    written = tmp_path / "m.requantize-weights.tflite"
    assert main(["requantize-weights", str(written), "--to", "int8", "--json"]) == 0
    data = [note["data"] for note in json.loads(capsys.readouterr().out)["passes"][0]["notes"] if note["name"] == "w"]
    assert data[0]["exact"] and data[0]["sqnr"] is None and data[0]["noise"] == 0


def test_work_is_shown_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.tflite"
    tk.write(dense(), path)
    told: list[tuple[int, int, str]] = []

    @contextmanager
    def progress(label: str) -> Iterator[Callable[[int, int, str], None]]:
        yield lambda *how: told.append(how)

    monkeypatch.setattr("tflitekit.cli.rewrite.progress", progress)
    assert main(["requantize-weights", str(path), "--to", "int4"]) == 0
    assert told[0] == (0, 1, "w") and set(told[1:]) == {(0, 0, "MiB written")}  # the pass, then the file
    told.clear()
    assert main(["requantize-weights", str(path), "--try", "int8,int4,int2"]) == 0
    assert told == [(0, 3, "w"), (1, 3, "w"), (2, 3, "w")]  # one whole, which no choice begins anew


@pytest.mark.parametrize("width", [80, 140])
def test_weights_fold_into_few_lines(width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    source = REPOSITORY / "examples" / "models" / "classifier_dynamic_range.tflite"
    assert main(["requantize-weights", str(source), "--to", "int4", "-o", str(tmp_path / "o.tflite")]) == 0
    lines = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert lines[0] == "weights" and len(lines) <= 3 + 4 * 10 and max(map(len, lines)) <= width
    assert sum("conv2d_" in line for line in lines) == 10  # names are whole


def test_a_filter_that_nothing_passes_says_so(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tensors", str(model), "--name", "nobody"]) == 0
    assert "No tensor passes the filter." in capsys.readouterr().out
    assert main(["tensors", str(model)]) == 0
    assert "No tensor passes" not in capsys.readouterr().out
