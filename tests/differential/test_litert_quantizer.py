"""Weights against litert-quantizer's, on every real model that it takes: the same bits, and in the runtime the same distance from the float model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import MODELS
from tests.differential import quantizer
from tests.runtime import needs_runtime
from tflitekit.graph import Model, Tensor
from tflitekit.passes import RequantizeWeights

pytestmark = pytest.mark.skipif(not quantizer.AVAILABLE, reason="needs litert-quantizer")

EVEN = {"rounding": "half-even"}
# (bits, granularity and form there; options here)
RECIPES: dict[str, tuple[tuple[int, str, bool], dict[str, Any]]] = {
    "int8": ((8, "CHANNELWISE", False), {"to": "int8", "form": "hybrid"}),
    "int8-weight-only": ((8, "CHANNELWISE", True), {"to": "int8", "form": "explicit"}),
    "int8-per-tensor": ((8, "TENSORWISE", False), {"to": "int8", "form": "hybrid", "granularity": "per-tensor"}),
    "int4": ((4, "CHANNELWISE", False), {"to": "int4", "form": "hybrid"}),
    "int4-blockwise": ((4, "BLOCKWISE_32", False), {"to": "int4", "granularity": "blockwise-32"}),
}
# What litert-quantizer writes and no builtin kernel computes.
REFUSED = ("blockwise FULLY_CONNECTED needs at least 4 units", "DEPTHWISE_CONV_2D with FLOAT32 activations computes no INT8 per-tensor")


def made_here(source: Model, other: Model) -> dict[tuple[int, bytes | None], Tensor]:
    """The weights of a model that are codes and were floats in the source."""
    floats = {(n, t.name) for n, g in enumerate(source.subgraphs) for t in g.tensors if t.type.name == "FLOAT32" and t.is_constant}
    found = {(n, t.name): t for n, g in enumerate(other.subgraphs) for t in g.tensors if t.is_constant and t.is_quantized}
    return {key: t for key, t in found.items() if key in floats}


def contents(tensor: Tensor) -> tuple[Any, ...]:
    q = tensor.quantization
    assert q is not None and tensor.buffer is not None and tensor.buffer.data is not None
    scales = q.details.scales.numpy() if q.details is not None else q.scale  # type: ignore[union-attr]
    block = q.details.block_size if q.details is not None else 0  # type: ignore[union-attr]
    return tensor.type, bytes(tensor.buffer.data), scales.tobytes(), q.zero_point.tolist(), q.quantized_dimension, block


def compare(path: Path, recipe: str) -> tuple[int, int]:
    """(weights that are the same, weights that are refused here); fails where one differs."""
    theirs, options = RECIPES[recipe]
    data = quantizer.quantized(path, theirs[0], theirs[1], weight_only=theirs[2])
    if data is None:
        return 0, 0
    source = tk.read(path)
    expected = made_here(source, tk.parse(data))
    if not expected:
        return 0, 0
    result = tk.run(source, RequantizeWeights(no_errors=True, **EVEN, **options))
    mine, reasons = made_here(source, result.model), {note.name: note.text for note in result.refused}
    missing = [key for key in expected if key not in mine]
    for _, name in missing:
        assert any(reason in reasons[(name or b"").decode()] for reason in REFUSED), (path.name, name)
    for key in expected.keys() - set(missing):
        assert contents(mine[key]) == contents(expected[key]), (path.name, key)
    return len(expected) - len(missing), len(missing)


@pytest.mark.parametrize("name", ["aeq_conv_fc_mnist", "litert_attn_vec_einsum", "aeq_embedding_lookup", "tfls_dilated_conv", "aeq_single_fc"])
@pytest.mark.parametrize("recipe", ["int8", "int4", "int4-blockwise"])
def test_weights_are_the_same_bits_in_small(models: Path, name: str, recipe: str) -> None:
    same, refused = compare(models / f"{name}.tflite", recipe)
    assert (same or recipe == "int4-blockwise") and not refused


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "count"), [("int8", 87), ("int8-weight-only", 87), ("int8-per-tensor", 57), ("int4", 56), ("int4-blockwise", 8)])
def test_weights_are_the_same_bits_on_every_model(models: Path, recipe: str, count: int) -> None:
    found = [compare(path, recipe) for path in sorted(models.glob("*.tflite"))]
    assert sum(same for same, _ in found) >= count


def sqnr(expected: runtime.Outcome, found: runtime.Outcome) -> float | None:
    """Decibels over all float outputs; None where a run failed or nothing differs."""
    if not (expected.ok and found.ok):
        return None
    pairs = zip(expected.outputs, found.outputs, strict=True)
    signal = noise = 0.0
    for (dtype, _, mine), (_, _, other) in pairs:
        if np.dtype(dtype) == np.float32:
            x, y = np.frombuffer(mine, np.float32).astype(np.float64), np.frombuffer(other, np.float32).astype(np.float64)
            signal, noise = signal + float((x * x).sum()), noise + float(((x - y) ** 2).sum())
    return 10 * math.log10(signal / noise) if noise and signal and math.isfinite(noise) else None


def distances(path: Path, recipe: str) -> list[tuple[str, str, float, float]]:
    """(model, resolver, our dB, their dB) where both run."""
    theirs, options = RECIPES[recipe]
    data = quantizer.quantized(path, theirs[0], theirs[1], weight_only=theirs[2])
    weights = () if data is None else tuple(tensor.name_str for tensor in made_here(tk.read(path), tk.parse(data)).values())
    if data is None or not weights:  # it takes no LSTM, and no weights that are integers already
        return []
    ours = tk.serialize(tk.run(tk.read(path), RequantizeWeights(tensor=weights, no_errors=True, **EVEN, **options)).model)
    found = []
    for resolver in (runtime.REFERENCE, runtime.NO_DELEGATES, runtime.DEFAULT):
        outcomes = runtime.pool().run([runtime.Job(model, resolver, recipe=0) for model in (path, ours, data)])
        mine, other = sqnr(outcomes[0], outcomes[1]), sqnr(outcomes[0], outcomes[2])
        if mine is not None and other is not None:
            found.append((path.stem, resolver, mine, other))
    return found


@pytest.mark.slow
@needs_runtime
@pytest.mark.parametrize("recipe", ["int8", "int8-weight-only", "int4"])
def test_outputs_are_as_near_to_the_float_model(models: Path, recipe: str) -> None:
    runnable = {entry["name"] for entry in json.loads((MODELS / "manifest.json").read_text()) if entry["runnable"] == "yes"}
    found = [row for path in sorted(models.glob("*.tflite")) if path.name in runnable for row in distances(path, recipe)]
    print(recipe, found)
    assert len(found) > 20
    assert [row for row in found if row[2] < row[3] - 0.1] == []
