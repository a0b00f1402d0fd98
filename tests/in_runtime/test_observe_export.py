"""`observe --export` and `set-quantization --from`: what was seen becomes the parameters of the model, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.cli.main import main
from tflitekit.reports.observed_table import implied_table
from tflitekit.runtime import RandomData, observe

from ..runtime import needs_runtime
from .models import dense, float_dense

pytestmark = needs_runtime


def chain() -> tk.Model:
    """Of x -> MAX_POOL_2D -> y -> LOGISTIC -> z: x and y are on one scale, and z has what LOGISTIC gives."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    x = graph.input("x", (1, 2, 2, 1), "INT8", quantize(0.1))
    sizes = {"stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
    y = graph.apply("MAX_POOL_2D", [x], TensorSpec("y", (1, 1, 1, 1), "INT8", quantize(0.1)), version=2, **sizes)
    graph.output(graph.apply("LOGISTIC", [y], TensorSpec("z", (1, 1, 1, 1), "INT8", quantize(1 / 256, -128)), version=2))
    return builder.build()


def samples() -> np.ndarray:
    return np.array([[[[-1.0], [0.5]], [[0.25], [2.0]]]], np.float32)


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("kind", ["INT8", "UINT8"])
def test_a_model_takes_the_ranges_that_were_seen(suffix: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, table, data = (str(tmp_path / name) for name in ("m.tflite", f"t.{suffix}", "x.npy"))
    made = dense(kind)
    tk.write(made, path)
    np.save(data, np.random.default_rng(2).uniform(-0.5, 0.5, (4, 8)).astype(np.float32))
    assert main(["observe", path, "--data", data, "--export", table, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["export"]["path"] == table and facts["export"]["tensors"] > 0
    assert main(["set-quantization", path, "--from", table, "--keep", "real"]) == 0
    implied = {t["name"]: t["implied"] for t in facts["signatures"][0]["tensors"] if t["claimed"] is not None}
    stored = {t.name_str: t.quantization for t in tk.read(tmp_path / "m.set-quantization.tflite").subgraphs[0].tensors}
    assert implied
    for name, expected in implied.items():
        assert (stored[name].scale[0], stored[name].zero_point[0]) == (np.float32(expected["scale"]), expected["zero_point"])  # type: ignore[union-attr]
    written = tk.audit(tk.read(tmp_path / "m.set-quantization.tflite"))
    assert not [finding for finding in written.findings if finding.severity == "error"]
    capsys.readouterr()
    noise = []
    for model in (path, str(tmp_path / "m.set-quantization.tflite")):
        tk.write(float_dense(), tmp_path / "f.tflite", overwrite=True)
        main(["compare", str(tmp_path / "f.tflite"), model, "--data", data, "--json"])
        noise.append(json.loads(capsys.readouterr().out)["signatures"][0]["outputs"][0]["sqnr_db"])
    assert noise[1] > noise[0] + 3  # dB: steps are as fine as the samples allow


def test_what_shares_a_scale_gets_one_and_what_is_fixed_stays() -> None:
    rows, kept = implied_table(observe(chain(), [samples()]))
    assert [row["name"] for row in rows] == ["x", "y"] and kept == 1
    assert rows[0]["scale"] == rows[1]["scale"] and rows[0]["zero_point"] == rows[1]["zero_point"]
    assert rows[0]["scale"] == [pytest.approx(3 / 255, rel=0.01)]  # -1 to 2, of x; y alone would be 0 to 2
    assert [row["name"] for row in implied_table(observe(chain(), [samples()]), "y")[0]] == ["x", "y"]
    assert implied_table(observe(chain(), [samples()]), "z") == ([], 1)


def test_a_real_model_has_no_new_errors(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, table = str(models / "litert_fc_qat.tflite"), str(tmp_path / "t.json")
    assert main(["observe", source, "--random", "2", "--export", table]) == 0
    command = next(line for line in capsys.readouterr().out.splitlines() if "set-quantization" in line)
    assert command.split()[:2] == ["tflitekit", "set-quantization"]
    assert main([*command.split()[1:], "-o", str(tmp_path / "o.tflite"), "--json"]) == 0
    assert [f for f in json.loads(capsys.readouterr().out)["findings"]["new"] if f["severity"] == "error"] == []


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (float_dense, [], "no observed tensor has one scale in 8 or 16 bits"),
        (chain, ["--name", "z"], "the parameters of all 1 are fixed"),
        (chain, ["--dtype", "uint8"], "leave --dtype out"),
    ],
)  # fmt: skip
def test_nothing_to_export(model: object, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tk.write(model(), tmp_path / "m.tflite")  # type: ignore[operator]
    table = tmp_path / "t.json"
    assert main(["observe", str(tmp_path / "m.tflite"), "--random", "1", "--export", str(table), *options]) == 2
    assert message in capsys.readouterr().err and not table.exists()


def test_names_for_tables_are_refused_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflitekit.runtime.observe", None)
    tk.write(chain(), tmp_path / "m.tflite")
    (tmp_path / "t.json").write_text("mine")
    for name, code, message in (("t.json", 3, "exists; name another file"), ("t.csv", 2, "expected a file name ending in .json or .npz")):
        assert main(["observe", str(tmp_path / "m.tflite"), "--random", "1", "--export", str(tmp_path / name)]) == code
        assert message in capsys.readouterr().err
    assert (tmp_path / "t.json").read_text() == "mine"


def test_samples_are_counted() -> None:
    told: list[tuple[int, int | None, str]] = []
    observe(chain(), RandomData(2), progress=lambda *how: told.append(how))
    observe(chain(), [samples()], progress=lambda *how: told.append(how))
    assert told == [(1, 2, "random 0"), (2, 2, "random 1"), (1, None, "array 0")]
