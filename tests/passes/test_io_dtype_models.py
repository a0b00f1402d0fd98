"""`set-io-dtype` on the real models: what the runtime computes before, after, and after the way back.

The whole sweep runs with `-m slow`; `python -m tests.passes.test_io_dtype_models` prints its figures.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import MODELS, VALID_PATHS
from tests.passes.interface import TYPES, Tally, alive, calls, paired_inputs, sweep
from tests.runtime import needs_runtime
from tflitekit.passes import SetIoDtype
from tflitekit.passes.interface import callers

CHOICES = ("", *TYPES)
ALL = [(inputs, outputs) for inputs in CHOICES for outputs in CHOICES if inputs or outputs]
SAMPLED = [("int8", "uint8"), ("uint8", "int16"), ("int16", "int8"), ("float32", "float32"), ("", "float32")]
SMALL = (
    "aeq_two_signatures_a8w8", "coral_split_concat", "gen_mnist_a16w8", "litert_add_quantized", "litert_fc_qat", "litert_lstm_quantized",
    "mww_v2_vad", "tflm_keyword_scrambled",
)  # fmt: skip
# Its int16 input goes through a QUANTIZE to an int8 scale of its own; when that is taken out, nothing knows the int16 scale any more.
ONE_WAY = {"tflm_keyword_scrambled"}


def runnable() -> set[str]:
    """The names of the files that LiteRT runs."""
    return {entry["name"] for entry in json.loads((MODELS / "manifest.json").read_text()) if entry["runnable"] == "yes"}


@needs_runtime
@pytest.mark.parametrize("name", SMALL)
def test_small_models_compute_the_same_in_other_types_and_after_the_way_back(models: Path, name: str) -> None:
    tally = Tally()
    sweep(name, tk.read(models / f"{name}.tflite"), SAMPLED, tally)
    assert tally.faults == []
    assert tally.combinations >= 4
    assert tally.skipped == 0
    assert not tally.one_way or set(tally.one_way) <= ONE_WAY


@needs_runtime
@pytest.mark.parametrize("name", SMALL)
def test_the_inputs_vary_the_outputs(models: Path, name: str) -> None:
    model, kinds = alive(tk.read(models / f"{name}.tflite"))
    assert list(kinds) == [entry.key for entry in calls(model)]
    for entry in calls(model):
        given = [paired_inputs(entry, entry, kind)[0] for kind in kinds[entry.key]]
        first, second = (runtime.run(tk.serialize(model), inputs=values, signature=entry.key) for values in given)
        assert first.ok
        assert second.ok
        assert first.outputs != second.outputs


@pytest.mark.slow
@needs_runtime
def test_every_combination_of_types_computes_the_same(model_path: Path) -> None:
    if model_path.name not in runnable():
        pytest.skip("LiteRT does not run this model")
    tally = Tally()
    sweep(model_path.stem, tk.read(model_path), ALL, tally)
    assert tally.faults == []
    assert tally.skipped == 0
    assert tally.combinations or tally.refused
    assert tally.restored == tally.combinations or model_path.stem in ONE_WAY


def test_every_model_keeps_names_places_signatures_and_what_is_called(models: Path) -> None:
    kinds: Counter[str] = Counter()
    for path in VALID_PATHS:
        model = tk.read(path)
        for one in (SetIoDtype(inputs="uint8", outputs="float32"), SetIoDtype(inputs="int16", outputs="int8")):
            try:
                result = tk.run(model, one)
            except tk.RefusedError as error:
                kinds["refused"] += 1
                kinds[str(error) and "with a reason"] += 1
                continue
            kinds["changed" if result.changes else "same"] += 1
            again = tk.run(result.model, one)
            assert again.changes == (), (path.name, one.describe(), again.changes[:3])
            assert tk.diff(tk.parse(tk.serialize(result.model)), result.model) == [], path.name
            check_frame(model, result.model, path.name)
    assert kinds["changed"] > 80
    assert kinds["refused"] == kinds["with a reason"] > 100


def check_frame(before: tk.Model, after: tk.Model, name: str) -> None:
    """Inputs and outputs have the names and shapes that they had, signatures the entries; subgraphs that are called are as they were."""
    called = callers(before)
    for old, new in zip(before.subgraphs, after.subgraphs, strict=True):
        for side in ("inputs", "outputs"):
            for was, now in zip(getattr(old, side), getattr(new, side), strict=True):
                assert (was.name, was.shape, was.shape_signature) == (now.name, now.shape, now.shape_signature), name
        if old in called:
            assert [(t.name, t.type) for t in old.tensors] == [(t.name, t.type) for t in new.tensors], name
            assert [o.op_name for o in old.operators] == [o.op_name for o in new.operators], name
    for was, now in zip(before.signature_defs, after.signature_defs, strict=True):
        assert was.signature_key == now.signature_key
        for side in ("inputs", "outputs"):
            pairs = zip(getattr(was, side), getattr(now, side), strict=True)
            assert all(a.name == b.name and a.tensor.name == b.tensor.name for a, b in pairs), name


def main() -> None:
    """Print the figures of the whole sweep."""
    tally = Tally()
    paths = [Path(text) for text in sys.argv[1:]] or VALID_PATHS
    names = runnable()
    for path in paths:
        if path.name in names:
            sweep(path.stem, tk.read(path), ALL, tally)
    print(f"{len(tally.models)} models, {tally.combinations} combinations, {tally.restored} also back, {tally.runs} comparisons, ", end="")
    print(f"{tally.skipped} of them where the original does not run, {len(tally.faults)} faults; no way back: {tally.one_way}")
    print("\n".join(tally.faults[:50]))
    for text, count in sorted(tally.refused.items(), key=lambda pair: -pair[1]):
        print(f"{count:6} refused: {text}")


if __name__ == "__main__":
    main()
