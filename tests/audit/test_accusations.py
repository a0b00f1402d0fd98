"""Real models that run right are not accused: no error for a runtime whose outputs are those of the reference kernels, on inputs that vary them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import MODELS, VALID_PATHS
from tests.runtime import DEFAULT, NO_DELEGATES, REFERENCE, Job, Outcome, needs_runtime
from tflitekit.graph import Tensor
from tflitekit.quant.rules import Runtime
from tflitekit.types import INTEGER_RANGES, numpy_dtype

RESOLVERS = {Runtime.XNNPACK: DEFAULT, Runtime.OPTIMIZED: NO_DELEGATES, Runtime.REFERENCE: REFERENCE}
SEEDS = (7, 8)  # of inputs over the whole range; the third input is quiet
QUIET_SEED = 9
LSB, RELATIVE = 2, 1e-3

# What takes most of the time; left to `-m slow`.
COSTLY = {
    "gen_conformer_a16w8", "gen_conformer_dyn_i2", "gen_conformer_dyn_i4", "gen_conformer_dyn_i8", "litert_torchaudio_conformer", "tfls_deeplabv3",
    "coral_deeplabv3_mnv2_dm05_pascal_quant", "tfls_coco_ssd_mobilenet_v1_1.0_quant_2018_06_29",
}  # fmt: skip

INT2_FILTERS = "INT2 filters of a hybrid CONV_2D are read as floats (Q202): the outputs are NaN, or do not depend on the input"
BLOCKS = "the reference kernel returns the bias alone for blockwise weights"
SCALE_0 = "BATCH_MATMUL takes its per-channel weights for scale 0 (Q202)"
NO_OUTPUT = "it has no outputs, or none with elements"
SAME = "found to give the same output for every input that was tried: "
# Models whose outputs three inputs do not vary, and why.
UNVARIED = {
    "aeq_insert_dequant_test": "the difference of two equal convolutions",
    "gen_conformer_dyn_i2": INT2_FILTERS,
    "gen_mnist_dyn_i2": INT2_FILTERS,
    "gen_mnist_dyn_i4_b32": BLOCKS,
    "litert_2_subgraphs": NO_OUTPUT,
    "litert_argmax": "the index of the largest of one value",
    "litert_dynamic_shapes": NO_OUTPUT,
    "litert_empty_model": NO_OUTPUT,
    "litert_lstm_quantized": SAME + "two floats",
    "litert_mixed16x8": "LOG_SOFTMAX of one channel",
    "litert_qwen_fc_blockwise_quantized": BLOCKS,
    "litert_simple_group_norm_op": "what it normalizes is a tensor subtracted from itself",
    "litert_static_w8_a16_quantized_attn_vec_einsum": SCALE_0,
    "litert_static_w8_a16_quantized_k_einsum": SCALE_0,
    "litert_test_min_runtime": NO_OUTPUT,
    "mww_v2_okay_nabu": SAME + "one probability, from a single frame of a stream",
    "tflm_keyword_scrambled": SAME + "its weights are scrambled",
    "tflm_trained_lstm_int8": SAME + "all classes at the lowest code",
}

pytestmark = needs_runtime
PARAMETERS = [pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in COSTLY)) for path in VALID_PATHS]
each_model = pytest.mark.parametrize(
    "path", PARAMETERS or [pytest.param(None, marks=pytest.mark.skip(reason=f"no models in {MODELS}; set TFLITEKIT_MODELS"))]
)


def quiet(tensor: Tensor) -> npt.NDArray[Any] | None:
    """Values close to the middle of the input's range, None for types that have no middle."""
    rng = np.random.default_rng(QUIET_SEED)
    if tensor.type.name == "FLOAT32":
        return rng.uniform(-0.1, 0.1, tensor.shape).astype(np.float32)
    if tensor.type.name not in ("INT8", "UINT8", "INT16"):
        return None
    low, high = INTEGER_RANGES[tensor.type]
    return ((low + high + 1) // 2 + rng.integers(-1, 1, tensor.shape)).astype(numpy_dtype(tensor.type))


@cache
def runnable() -> frozenset[str]:
    """The names of the models that the manifest says LiteRT runs."""
    manifest = MODELS / "manifest.json"
    return frozenset(m["name"] for m in json.loads(manifest.read_text()) if m["runnable"] == "yes") if manifest.exists() else frozenset()


def outcomes(path: Path) -> dict[Runtime, list[Outcome]]:
    """What comes out of each runtime for three inputs: two over the whole range of their type, and a quiet one."""
    main = tk.read(path).subgraphs[:1]
    inputs = {i: v for graph in main for i, t in enumerate(graph.inputs) if t is not None and (v := quiet(t)) is not None}
    given: dict[int, dict[int, Any]] = {**{seed: {} for seed in SEEDS}, QUIET_SEED: inputs}
    jobs = [Job(path, resolver, seed=seed, inputs=values) for resolver in RESOLVERS.values() for seed, values in given.items()]
    found = iter(runtime.pool().run(jobs))
    return {kind: [next(found) for _ in range(3)] for kind in RESOLVERS}


def close(outcome: Outcome, reference: Outcome) -> bool:
    """Whether all outputs are within 2 LSB, or 1e-3 of the largest value, of the reference; values that are no numbers are not."""
    return len(outcome.outputs) == len(reference.outputs) and all(map(near, outcome.outputs, reference.outputs))


def near(one: tuple[str, tuple[int, ...], bytes], other: tuple[str, tuple[int, ...], bytes]) -> bool:
    if one[:2] != other[:2] or one[0] == "string":
        return one == other
    mine, theirs = np.frombuffer(one[2], one[0]), np.frombuffer(other[2], other[0])
    if not mine.size or mine.dtype.kind == "b":
        return bool((mine == theirs).all())
    if mine.dtype.kind in "iu":
        return bool(np.abs(mine.astype(np.float64) - theirs).max() <= LSB)
    if not (np.isfinite(mine).all() and np.isfinite(theirs).all()):
        return False
    return bool(np.abs(mine - theirs).max() <= RELATIVE * np.abs(theirs).max())


def right(found: dict[Runtime, list[Outcome]]) -> list[Runtime]:
    """The runtimes in which a model loads, and gives what the reference kernels give for all three inputs."""
    reference = found[Runtime.REFERENCE]
    return [kind for kind, mine in found.items() if all(o.ok and close(o, r) for o, r in zip(mine, reference, strict=True))]


@each_model
def test_no_error_where_a_model_runs_right(path: Path) -> None:
    """What the manifest calls runnable runs, the inputs vary the outputs of the reference kernels, and there is no error where runtimes agree."""
    found = outcomes(path)
    if path.name in runnable():
        assert any(all(outcome.ok for outcome in mine) for mine in found.values()), found
    reference = found[Runtime.REFERENCE]
    if not all(outcome.ok for outcome in reference):
        pytest.skip(f"the reference kernels do not run it: {reference[0].message[-100:]}")
    varied = len({tuple(content for _, _, content in outcome.outputs) for outcome in reference}) > 1
    assert varied == (path.stem not in UNVARIED), UNVARIED.get(path.stem)
    findings = tk.audit(tk.read(path), weights=True).findings
    for kind in right(found) if varied else ():
        assert [str(f) for f in findings if f.severity_for(kind) == "error"] == [], kind


def test_no_model_is_listed_that_is_not_there(models: Path) -> None:
    assert {*UNVARIED, *COSTLY} <= {path.stem for path in VALID_PATHS} or models != MODELS


def test_the_comparison_sees_differences() -> None:
    def outcome(values: Any, dtype: str) -> Outcome:
        array = np.array(values, dtype)
        return Outcome("ok", outputs=((array.dtype.str, array.shape, array.tobytes()),))

    assert close(outcome([1, 255], "u1"), outcome([3, 253], "u1")) and not close(outcome([0, 1], "u1"), outcome([3, 1], "u1"))
    assert close(outcome([1, 0.0009], "f4"), outcome([1, 0], "f4")) and not close(outcome([1, 0.002], "f4"), outcome([1, 0], "f4"))
    assert not close(outcome([np.nan], "f4"), outcome([np.nan], "f4")) and not close(outcome([1], "u1"), outcome([1, 1], "u1"))
    assert not close(outcome([1], "i1"), outcome([1], "u1")) and close(outcome([True], "?"), outcome([True], "?"))
