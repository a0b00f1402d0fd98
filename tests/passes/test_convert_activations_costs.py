"""What `convert-activations` says that constants lose: checked by plain formulas; and thresholds, which keep tensors in models that still run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests import runtime
from tests.passes.test_convert_activations import Both, apply, check_model, legacy, needs_runtime, quantized, run_both, tensor
from tests.passes.test_convert_activations_cases import started, weighted
from tflitekit._schema import TensorType
from tflitekit.build import TensorSpec, quantize
from tflitekit.cli.main import main
from tflitekit.errors import EditError, RefusedError
from tflitekit.graph import Model, Operator, Tensor
from tflitekit.passes import ConvertActivations, RequantizeWeights

MOBILENET = "coral_mobilenet_v1_0.25_128_quant.tflite"
BIASED = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2}


def rows(result: Any) -> dict[str, Mapping[str, Any]]:
    """The figures of every tensor."""
    return {note.name: note.data for note in result.notes if "bytes_after" in note.data and not note.data.get("total")}


def total(result: Any) -> Mapping[str, Any]:
    (note,) = (note for note in result.notes if note.data.get("total"))
    return note.data


def plain(found: Tensor, reader: Operator, position: int) -> npt.NDArray[np.float64]:
    """Real values as scale * (q - zero point); of a bias at input scale x weight scale, whatever it says itself."""
    codes, q = found.numpy().astype(np.float64), found.quantization
    if BIASED.get(reader.op_name) == position:
        scales = [t.quantization.scale for t in reader.inputs[:2] if t is not None and t.quantization is not None]
        return codes * (scales[0] * scales[1]).astype(np.float64)
    assert q is not None
    shape = [-1 if len(q.scale) > 1 and i == q.quantized_dimension else 1 for i in range(codes.ndim)]
    scale, point = (np.asarray(values, np.float64).reshape(shape) for values in (q.scale, q.zero_point))
    return np.asarray((codes - point) * scale)


def sqnr(before: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10((before**2).sum() / (error**2).sum()))


def check_rows(model: Model, result: Any) -> tuple[float, float]:
    """Compare all figures with those of plain formulas; returns the sums of squares of values and errors."""
    told, signal, noise, seen = rows(result), 0.0, 0.0, set()
    readers = {t.name_str: (o, i) for o in model.operators() for i, t in enumerate(o.inputs) if t is not None and t.is_constant}
    now = {t.name_str: (o, i) for o in result.model.operators() for i, t in enumerate(o.inputs) if t is not None and t.is_constant}
    for name, (reader, position) in readers.items():
        old, new = (m.subgraphs[0].tensor(name) for m in (model, result.model))
        if old.quantization is None or not len(old.quantization.scale):
            continue
        before, after = plain(old, reader, position), plain(new, *now[name])
        error = after - before
        if name not in told:
            assert not error.any() and old.type == new.type, name
            continue
        data, q = told[name], new.quantization
        assert q is not None
        seen.add(name)
        signal, noise = signal + float((before**2).sum()), noise + float((error**2).sum())
        assert (data["to"], data["bytes_before"], data["bytes_after"]) == (new.type.name, old.numpy().nbytes, new.numpy().nbytes)
        assert data["form"] == ("bias" if BIASED.get(reader.op_name) == position else "weights" if reader.op_name in BIASED else "constant")
        assert data["granularity"] == ("per-channel" if len(q.scale) > 1 else "per-tensor")
        assert data["levels"] == len(np.unique(new.numpy()))
        assert data["exact"] is (not error.any())
        assert data["max_error"] == pytest.approx(np.abs(error).max(), rel=1e-6)
        assert data["rms"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
        assert data["sqnr"] == (None if not error.any() else pytest.approx(sqnr(before, error), abs=1e-5))
        if data["worst"]:
            axis = 3 if reader.op_name == "DEPTHWISE_CONV_2D" else 0
            channel = int(data["worst"][0][0])
            each = [sqnr(*(v.take(c, axis) for v in (before, error))) if error.take(c, axis).any() else np.inf for c in range(before.shape[axis])]
            assert data["worst"][0][1] == pytest.approx(min(each), abs=1e-5) == pytest.approx(each[channel], abs=1e-5)
    assert seen == set(told)
    return signal, noise


@pytest.mark.parametrize("to", ["int8", "int16"])
def test_figures_are_those_of_plain_formulas(models: Path, to: str) -> None:
    model = tk.read(models / MOBILENET)
    result = apply(model, to)
    signal, noise = check_rows(model, result)
    told, data = rows(result), total(result)
    assert len(told) == data["tensors"] == 56 and sum(row["clipped"] for row in told.values()) == data["clipped"] == 0
    assert data["sqnr"] == pytest.approx(10 * np.log10(signal / noise), abs=1e-5)
    assert data["rms"] == pytest.approx(np.sqrt(noise / sum(row["elements"] for row in told.values())), rel=1e-6)
    assert data["max_error"] == max(row["max_error"] for row in told.values())
    assert told[data["worst_tensor"]]["sqnr"] == min(row["sqnr"] for row in told.values() if row["sqnr"] is not None)
    for side in ("bytes_before", "bytes_after"):
        assert data[side] == sum(row[side] for row in told.values())


def test_figures_of_one_scale_in_place_of_many(models: Path) -> None:
    model = apply(tk.read(models / MOBILENET), "int8").model
    result = apply(model, "uint8", per_tensor=True)
    check_rows(model, result)
    assert any("one scale in place of" in row.get("how", "") and row["levels"] < 255 for row in rows(result).values())


def test_figures_of_constants_and_of_activations() -> None:
    model = legacy()
    exact, wide = (apply(model, to) for to in ("int8", "int16"))
    for result in (exact, wide):
        check_rows(model, result)
    assert rows(exact)["a"]["form"] == "constant" and rows(exact)["a"]["exact"] and not rows(wide)["a"]["exact"]
    assert exact.notes[0].data["exact"] and exact.notes[0].data["max_error"] == 0
    worst = 0.0
    for name in ("x", "c", "s", "j", "y"):  # the nearest INT16 code to each UINT8 code
        old, new = (tensor(m, name).quantization for m in (model, wide.model))
        assert old is not None
        assert new is not None
        real = (np.arange(256) - int(old.zero_point[0])) * float(old.scale[0])
        worst = max(worst, float(np.abs(np.clip(np.rint(real / new.scale[0]), -32768, 32767) * float(new.scale[0]) - real).max()))
    (note,) = (note for note in wide.notes if "activations INT8 to INT16" in note.text)
    assert note.data["max_error"] == pytest.approx(worst, rel=1e-9) and not note.data["exact"] and 0 < note.data["max_steps"] < 0.5


def test_clipped_values_are_counted_where_operands_must_share_parameters() -> None:
    builder, graph, x = started("UINT8")
    codes = np.array([[0, 100, 255, 7, 3, 9, 200, 31]], np.uint8)
    joined = [x, graph.constant("a", codes, quantization=quantize(1.5, 7))]
    graph.output(graph.apply("CONCATENATION", joined, TensorSpec("y", [1, 16], "UINT8", quantize(0.5, 131)), axis=1))
    result = apply(builder.build(), "int8")
    made = result.model.subgraphs[0].operators[-1].inputs[1]
    assert made is not None and made.quantization is not None
    before, after = (codes.astype(float) - 7) * 1.5, (made.numpy() - float(made.quantization.zero_point[0])) * float(made.quantization.scale[0])
    (row,) = rows(result).values()
    assert row["clipped"] == np.count_nonzero((before < -131 * 0.5) | (before > 124 * 0.5)) == 3
    assert row["max_error"] == np.abs(after - before).max() == (255 - 7) * 1.5 - 124 * 0.5
    assert row["sqnr"] == pytest.approx(sqnr(before, after - before), abs=1e-6) and total(result)["clipped"] == 3
    kept = apply(builder.build(), "int8", max_error=1.0)
    assert [note.name for note in kept.refused] == ["a"] and tensor(kept.model, "a").type == TensorType.UINT8
    both = run_both(builder.build(), kept.model, runtime.REFERENCE) if runtime.available() else None
    assert both is None or (isinstance(both, Both) and both.lsb <= 1)


@needs_runtime
@pytest.mark.parametrize(("to", "limit"), [("int8", {"min_sqnr": 46.0}), ("int16", {"min_sqnr": 46.0}), ("int8", {"max_error": 0.02})])
def test_thresholds_keep_tensors_and_the_model_runs(models: Path, to: str, limit: dict[str, float]) -> None:
    model = tk.read(models / MOBILENET)
    every = rows(apply(model, to))
    poor = {
        name for name, row in every.items()
        if (row["sqnr"] is not None and row["sqnr"] < limit.get("min_sqnr", -np.inf)) or row["max_error"] > limit.get("max_error", np.inf)
    }  # fmt: skip
    result = apply(model, to, **limit)
    assert poor and {note.name for note in result.refused} == poor
    for note in result.refused:
        old, new = (m.subgraphs[0].tensor(note.name) for m in (model, result.model))
        assert f"stays {old.type.name}, as does its" in note.text and "QUANTIZE" in note.text
        assert new.type == old.type and np.array_equal(new.numpy(), old.numpy())
        assert [o.op_name for o in new.consumers()] == [o.op_name for o in old.consumers()]
        assert new.quantization is not None
        assert old.quantization is not None
        assert (new.quantization.scale.tolist(), new.quantization.zero_point.tolist()) == (
            old.quantization.scale.tolist(), old.quantization.zero_point.tolist()
        )  # fmt: skip
    left = rows(result)
    assert not poor & set(left) and len(left) < len(every)
    assert all(left[name]["noise"] == every[name]["noise"] for name in left)
    assert [o.op_name for o in result.model.operators()].count("RELU") == 0
    errors = ({(f.code, f.name) for f in tk.audit(m).findings if f.severity == "error"} for m in (result.model, model))
    assert not next(errors) - next(errors)
    assert apply(result.model, to, **limit).changes == ()
    both = run_both(model, result.model, runtime.REFERENCE, seed=1)
    assert isinstance(both, Both), both
    assert np.argmax(both.before[0]) == np.argmax(both.after[0]) and both.lsb <= 8


@needs_runtime
def test_small_real_models_keep_what_loses_too_much_and_run(models: Path) -> None:
    kept = 0
    for name, model in quantized(models, 80_000):
        for to in ("int8", "uint8", "int16"):
            try:
                result = apply(model, to, per_tensor=to == "uint8", max_error=0.0)
            except RefusedError:
                continue
            if result.refused:
                kept += 1
                assert all(row["exact"] for row in rows(result).values()), name
                found = check_model(name, model, to, to == "uint8", (runtime.REFERENCE,), max_error=0.0)
                assert found is None or np.isnan(found[0]) or found[0] <= 2, (name, to, found)
    assert kept >= 8


def test_everything_stays_where_nothing_may_be_lost() -> None:
    model = legacy()
    result = apply(model, "int8", max_error=0.0)
    assert {note.name for note in result.refused} == {"w", "b"}
    assert [o.op_name for o in result.model.operators()][:3] == ["QUANTIZE", "CONV_2D", "QUANTIZE"]
    assert [f.code for f in tk.audit(result.model).findings if f.severity == "error"] == []
    assert [row["form"] for row in rows(result).values()] == ["constant"]
    both = run_both(model, result.model, runtime.REFERENCE) if runtime.available() else None
    assert both is None or (isinstance(both, Both) and both.lsb <= 1)


def test_all_that_read_a_constant_stay() -> None:
    builder, graph, x = started("UINT8")
    addend = graph.constant("a", np.array([[0, 100, 255, 7, 3, 9, 200, 31]], np.uint8), quantization=quantize(0.3, 7))
    sums = [
        graph.apply("ADD", [x, addend], TensorSpec(name, [1, 8], "UINT8", quantize(1, 128)), fused_activation_function="NONE") for name in "st"
    ]  # fmt: skip
    graph.output(graph.apply("MUL", sums, TensorSpec("y", [1, 8], "UINT8", quantize(9, 128)), fused_activation_function="NONE"))
    result = apply(builder.build(), "int16", max_error=1e-6)
    (note,) = result.refused
    assert note.name == "a" and "as INT16 its largest error would be" in note.text and "above 1e-06" in note.text
    kept = tensor(result.model, "a")
    assert kept.type == TensorType.UINT8 and [o.op_name for o in kept.consumers()] == ["ADD", "ADD"]
    assert rows(result) == {} and not any(n.data.get("total") for n in result.notes)
    assert apply(builder.build(), "int8", max_error=0.0).refused == ()  # a shift loses nothing


def test_a_constant_that_callers_see_cannot_stay() -> None:
    builder, graph, x = started("UINT8")
    addend = graph.constant("a", np.array([[0, 100, 255, 7, 3, 9, 200, 31]], np.uint8), quantization=quantize(0.3, 7))
    graph.output(graph.apply("ADD", [x, addend], TensorSpec("y", [1, 8], "UINT8", quantize(1, 128)), fused_activation_function="NONE"))
    graph.output(addend)
    with pytest.raises(RefusedError, match=r"'a': as INT16 its SQNR would be .* dB, below 300, and it cannot stay as it is"):
        apply(builder.build(), "int16", min_sqnr=300.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [3e38, 1e-45])
def test_figures_at_the_ends_of_float32(scale: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder, graph, x = started("UINT8")
    addend = graph.constant("a", np.array([[0, 100, 255, 7, 3, 9, 200, 31]], np.uint8), quantization=quantize(scale, 7))
    graph.output(graph.apply("ADD", [x, addend], TensorSpec("y", [1, 8], "UINT8", quantize(1, 128)), fused_activation_function="NONE"))
    path = tmp_path / "m.tflite"
    tk.write(builder.build(), path)
    for to in ("int8", "int16"):
        if to == "int16" and scale < 1:
            with pytest.raises(RefusedError, match=r"'a' has the scale 1.*e-45: float32 holds none so small"):
                apply(tk.read(path), to)
            continue
        assert rows(apply(tk.read(path), to))["a"]["exact"] is (to == "int8")
        assert main(["convert-activations", str(path), "--to", to, "--dry-run"]) == 0
        shown = capsys.readouterr().out
        assert "in total, 1 tensor" in shown and ("Infinity" in shown) is (to == "int16")


def test_json_and_terminal_show_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.tflite"
    tk.write(weighted("FULLY_CONNECTED", (1, 8), (6, 8), (1, 6)), path)
    assert main(["convert-activations", str(path), "--to", "int16", "--dry-run", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["passes"][0]["notes"]
    (row,) = (note for note in notes if note["name"] == "b")
    assert {"max_error", "rms", "sqnr", "clipped", "levels", "worst", "bytes_before", "bytes_after", "signal", "noise"} <= set(row["data"])
    assert row["data"]["to"] == "INT64" and (row["data"]["bytes_before"], row["data"]["bytes_after"]) == (24, 48)
    assert main(["convert-activations", str(path), "--to", "int16", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "INT64 bias" in shown and "24 -> 48" in shown and "in total, 1 tensor" in shown


@pytest.mark.parametrize(("limit", "words"), [
    ({"min_sqnr": np.nan}, "min_sqnr: .* got nan"), ({"max_error": np.nan}, "max_error: .* got nan"), ({"max_error": -1.0}, "at least 0, got -1"),
])  # fmt: skip
def test_thresholds_that_nothing_can_be_held_against_are_refused(limit: dict[str, float], words: str) -> None:
    for make in (ConvertActivations, RequantizeWeights):
        with pytest.raises(EditError, match=words):
            make(to="int8", **limit)
