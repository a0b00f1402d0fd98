"""`convert-activations`: exact between INT8 and UINT8, ranges kept in INT16, weights, biases, groups, islands, and real models run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.test_findings import convolution
from tests.runtime import needs_runtime
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.errors import EditError, RefusedError
from tflitekit.graph import Model, Tensor
from tflitekit.quant.affine import rounded
from tflitekit.types import INTEGER_RANGES, numpy_dtype

RESOLVERS = (runtime.REFERENCE, runtime.NO_DELEGATES, runtime.DEFAULT)


def apply(model: Model, to: str, **options: Any) -> Any:
    return tk.run(model, tk.passes.ConvertActivations(to=to, **options))


def tensor(model: Model, name: str) -> Tensor:
    return model.subgraphs[0].tensor(name)


def affine(found: Tensor) -> tuple[list[float], list[int]]:
    assert found.quantization is not None
    return found.quantization.scale.tolist(), found.quantization.zero_point.tolist()


def legacy() -> Model:
    """UINT8: CONV_2D with asymmetric weights, ADD of a constant, CONCATENATION that rescales, SOFTMAX."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4, 4, 2], "UINT8", quantize(0.5, 131))
    codes = (np.arange(3 * 2 * 2 * 2) * 10 % 256).astype(np.uint8).reshape(3, 2, 2, 2)
    weights = main.constant("w", codes, quantization=quantize(0.01, 100))
    bias = main.constant("b", np.array([1000, -2000, 3000], np.int32), quantization=quantize(np.float32(0.5) * np.float32(0.01)))
    conv = main.apply(
        "CONV_2D", [x, weights, bias], TensorSpec("c", [1, 4, 4, 3], "UINT8", quantize(2.0, 90)), padding="SAME", stride_w=1, stride_h=1
    )
    addend = main.constant("a", np.array([0, 100, 255], np.uint8), quantization=quantize(1.5, 7))
    added = main.apply("ADD", [conv, addend], TensorSpec("s", [1, 4, 4, 3], "UINT8", quantize(2.5, 80)), fused_activation_function="NONE")
    joined = main.apply("CONCATENATION", [conv, added], TensorSpec("j", [1, 4, 4, 6], "UINT8", quantize(2.5, 80)), axis=3)
    main.output(main.apply("SOFTMAX", [joined], TensorSpec("y", [1, 4, 4, 6], "UINT8", quantize(1 / 256, 0)), beta=0.01))
    return builder.build()


def real(data: npt.NDArray[Any], found: Tensor) -> npt.NDArray[np.float64]:
    (scale,), (zero_point,) = affine(found)
    return (data.astype(np.float64) - zero_point) * scale


def encode(values: npt.NDArray[np.float64], found: Tensor) -> npt.NDArray[Any]:
    (scale,), (zero_point,) = affine(found)
    low, high = INTEGER_RANGES[found.type]
    return np.clip(rounded(values / scale) + zero_point, low, high).astype(numpy_dtype(found.type))


def is_code(found: Tensor | None) -> bool:
    return found is not None and found.type in (TensorType.INT8, TensorType.UINT8, TensorType.INT16) and found.is_quantized


@dataclass
class Both:
    """What both models compute on the same real inputs, and the step of the first model's outputs."""

    before: list[npt.NDArray[np.float64]]
    after: list[npt.NDArray[np.float64]]
    steps: list[float]

    @property
    def lsb(self) -> float:
        return max((float(np.abs(a - b).max(initial=0) / s) for a, b, s in zip(self.before, self.after, self.steps, strict=True)), default=0.0)


def seeded(shape: tuple[int, ...], low: int, high: int, rng: np.random.Generator, *, coarse: bool) -> npt.NDArray[np.int64]:
    """Random codes over the whole range: each by itself, or `coarse`, patches of equal ones like an image."""
    if not coarse or len(shape) != 4 or min(shape[1:3]) < 8:
        return rng.integers(low, high + 1, shape)
    patches = rng.integers(low, high + 1, (shape[0], 7, 7, shape[3]))
    return patches[:, np.arange(shape[1]) * 7 // shape[1]][:, :, np.arange(shape[2]) * 7 // shape[2]]


def run_both(before: Model, after: Model, resolver: str, seed: int = 0) -> Both | str:
    """Run two models on the same real inputs, which both can hold; or what went wrong."""
    rng = np.random.default_rng(seed)
    given: tuple[dict[int, Any], dict[int, Any]] = {}, {}
    for i, (a, b) in enumerate(zip(before.subgraphs[0].inputs, after.subgraphs[0].inputs, strict=True)):
        if a is not None and b is not None and is_code(a) and is_code(b):
            low, high = INTEGER_RANGES[a.type]
            codes = seeded(a.shape, low, high, rng, coarse=bool(seed % 2)).astype(numpy_dtype(a.type))
            given[0][i], given[1][i] = codes, encode(real(codes, a), b)
    outcomes = [runtime.run(tk.serialize(m), resolver, inputs=g, recipe=0, seed=seed) for m, g in zip((before, after), given, strict=True)]
    if not all(outcome.ok for outcome in outcomes):
        return f"{outcomes[0].status} {outcomes[0].message} / {outcomes[1].status} {outcomes[1].message}"
    found: list[list[npt.NDArray[np.float64]]] = [[], []]
    steps = []
    for i, output in enumerate(before.subgraphs[0].outputs):
        assert output is not None
        for side, (model, outcome) in enumerate(zip((before, after), outcomes, strict=True)):
            kind, shape, data = outcome.outputs[i]
            values = np.frombuffer(data, kind).reshape(shape)
            own = model.subgraphs[0].outputs[i]
            assert own is not None
            found[side].append(real(values, own) if is_code(own) else values.astype(np.float64))
        steps.append(affine(output)[0][0] if is_code(output) else 1.0)
    return Both(found[0], found[1], steps)


def test_uint8_becomes_int8_by_a_shift_and_weights_are_centred() -> None:
    model = legacy()
    made = apply(model, "int8").model
    for name in ("x", "c", "a", "s", "j", "y"):
        before, after = tensor(model, name), tensor(made, name)
        assert after.type == TensorType.INT8
        assert affine(after) == (affine(before)[0], [affine(before)[1][0] - 128]), name
    assert tensor(made, "a").numpy().tolist() == [-128, -28, 127]
    weights = tensor(made, "w")
    assert weights.type == TensorType.INT8 and affine(weights)[1] == [0, 0, 0]
    old = (tensor(model, "w").numpy().astype(float) - 100) * float(np.float32(0.01))
    step = np.array(affine(weights)[0]).reshape(3, 1, 1, 1)
    assert np.abs(weights.numpy() * step - old).max() <= step.max() / 2
    assert np.array_equal(weights.numpy()[0], tensor(model, "w").numpy()[0].astype(int) - 100)  # fits: exactly the same
    assert [f.code for f in tk.audit(made).findings if f.severity != "info"] == []


def test_int8_needs_equal_parameters_where_uint8_rescales() -> None:
    made = apply(legacy(), "int8").model
    assert [o.op_name for o in made.operators()] == ["CONV_2D", "ADD", "QUANTIZE", "CONCATENATION", "SOFTMAX"]


@needs_runtime
@pytest.mark.parametrize(("to", "limit"), [("int8", 1.0), ("int16", 1.0)])
def test_converted_models_compute_the_same(to: str, limit: float) -> None:
    model = legacy()
    made = apply(model, to).model
    for resolver in RESOLVERS:
        both = run_both(model, made, resolver)
        assert isinstance(both, Both), both
        assert np.ptp(both.before[0]) > 0
        assert both.lsb <= limit


def test_int8_becomes_uint8_and_int8_again() -> None:
    model = legacy()
    there = apply(model, "int8").model
    with pytest.raises(RefusedError, match=r"1 CONV_2D: weights with several scales.*--per-tensor"):
        apply(there, "uint8")
    back = apply(there, "uint8", per_tensor=True)
    assert tensor(back.model, "w").type == TensorType.UINT8 and affine(tensor(back.model, "w"))[1] == [128]
    assert any("one scale" in note.text and note.data["max_error"] > 0 for note in back.notes)


def test_the_range_of_an_activation_stays_in_int16() -> None:
    model = convolution()
    made = apply(model, "int16").model
    (scale,), zero_point = affine(tensor(made, "x"))
    assert zero_point == [0] and scale == float(np.float32(float(np.float32(0.5)) * 131 / 32767))
    bias = tensor(made, "b")
    assert bias.type == TensorType.INT64
    np.testing.assert_array_equal(np.float32(affine(bias)[0]), np.float32(scale) * np.float32(affine(tensor(made, "w"))[0]))
    assert affine(tensor(made, "y")) == ([1 / 32768], [0])
    assert {code.op_name: code.version for code in made.operator_codes} == {"CONV_2D": 3, "SOFTMAX": 3}
    assert [f.code for f in tk.audit(made).findings if f.severity != "info"] == []


def test_additions_of_int16_do_not_ask_for_powers_of_two() -> None:
    made = apply(legacy(), "int16").model
    add = next(o for o in made.operators() if o.op_name == "ADD")
    assert add.options.pot_scale_int16 is False


def test_operators_without_a_kernel_stay_between_quantize_operators() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 8], "INT8", quantize(0.5, 3))
    a = main.apply("HARD_SWISH", [x], TensorSpec("a", [1, 8], "INT8", quantize(0.25, 0)))
    b = main.apply("HARD_SWISH", [a], TensorSpec("b", [1, 8], "INT8", quantize(0.25, -1)))
    main.output(main.apply("RELU", [b], TensorSpec("y", [1, 8], "INT8", quantize(0.25, -1)), version=2))
    result = apply(builder.build(), "int16")
    assert [o.op_name for o in result.model.operators()] == ["QUANTIZE", "HARD_SWISH", "HARD_SWISH", "QUANTIZE", "RELU"]
    assert "HARD_SWISH stays INT8: it has no INT16 kernel" in [note.text for note in result.notes]
    assert apply(result.model, "int16").changes == ()
    if runtime.available():
        both = run_both(builder.build(), result.model, runtime.REFERENCE)
        assert isinstance(both, Both) and both.lsb <= 1


@pytest.mark.parametrize(("to", "message"), [("int8", "no operator computes on integers"), ("", "--to is missing")])
def test_what_cannot_be_converted_is_refused(to: str, message: str) -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    main.output(main.apply("RELU", [main.input("x", [1, 8])], TensorSpec("y", [1, 8])))
    with pytest.raises((RefusedError, EditError), match=message):
        apply(builder.build(), to)
    with pytest.raises(RefusedError, match="activations are INT16"):
        apply(apply(convolution(), "int16").model, "int8")


def test_twice_is_once() -> None:
    for to in ("int8", "int16"):
        once = apply(legacy(), to).model
        assert apply(once, to).changes == ()


def quantized(models: Path, largest: int) -> Iterator[tuple[str, Model]]:
    for entry in json.loads((models / "manifest.json").read_text()):
        if entry["runnable"] == "yes" and entry["size"] <= largest and entry["class"] not in ("float32", "no-weights", "float16-weights"):
            yield entry["name"], tk.read(models / entry["name"])


# Outputs that are sorted or chosen (classes, boxes by score) jump where scores are close; they are not compared.
CHOSEN = ("ARG_MAX", "TFLite_Detection_PostProcess", "TOPK_V2")


def check_model(
    name: str, model: Model, to: str, per_tensor: bool, resolvers: tuple[str, ...], **limits: float
) -> tuple[float, bool] | None:  # fmt: skip
    """Convert and compare: (largest difference of the outputs in steps, whether all top classes agree); None if refused or nothing to do.

    The difference is NaN where none was measured: where the model did not run before, or its outputs are chosen.
    """
    try:
        result = apply(model, to, per_tensor=per_tensor, **limits)
    except RefusedError:
        return None
    if not result.changes:
        return None
    assert apply(result.model, to, per_tensor=per_tensor, **limits).changes == (), name
    assert tk.diff(tk.parse(tk.serialize(result.model)), result.model) == [], name
    old, new = ({f.code for f in tk.audit(m).findings if f.severity == "error"} for m in (model, result.model))
    assert not new - old, (name, new - old)
    worst, agree = float("nan"), True
    for resolver in resolvers:
        both = run_both(model, result.model, resolver)
        if isinstance(both, str):
            assert not both.startswith("ok"), (name, to, both)
            continue
        if not any(o.op_name in CHOSEN for o in model.operators()):
            worst = both.lsb if np.isnan(worst) else max(worst, both.lsb)
            agree &= all(int(np.argmax(a)) == int(np.argmax(b)) for a, b in zip(both.before, both.after, strict=True) if a.size)
    return worst, agree


@needs_runtime
@pytest.mark.slow
def test_every_real_model_converts_and_runs(models: Path) -> None:
    lines = []
    for name, model in quantized(models, 8_000_000):
        for to in ("int8", "uint8", "int16"):
            for per_tensor in (False, True) if to == "uint8" else (False,):
                found = check_model(name, model, to, per_tensor, RESOLVERS)
                if found is not None:
                    figures = f"{found[0]:.2f} LSB, top-1 {'agrees' if found[1] else 'differs'}"
                    what = "outputs not compared" if np.isnan(found[0]) else figures
                    lines.append(f"{name} {to}{' per-tensor' if per_tensor else ''}: {what}")
    print("\n".join(lines))
    assert sum("not compared" not in line for line in lines) > 40


@needs_runtime
@pytest.mark.slow
@pytest.mark.parametrize("to", ["int8", "int16"])
def test_legacy_models_give_the_same_classes(models: Path, to: str) -> None:
    """UINT8 models on 16 seeded inputs: largest and mean difference of the outputs in their steps, and how often the top class is the same."""
    lines, inputs = [], 16
    for name, model in quantized(models, 20_000_000):
        first = model.subgraphs[0].outputs[0]
        chosen = any(o.op_name in CHOSEN for o in model.operators())
        if first is None or first.type != TensorType.UINT8 or len(first.shape) != 2 or first.shape[1] < 2 or chosen:
            continue
        made = apply(model, to).model
        found = [run_both(model, made, runtime.NO_DELEGATES, seed) for seed in range(inputs)]
        both = [one for one in found if isinstance(one, Both)]
        assert len(both) == inputs, found
        assert np.ptp([one.before[0] for one in both]) > 0, name
        same = sum(int(np.argmax(one.before[0])) == int(np.argmax(one.after[0])) for one in both)
        mean = float(np.mean([np.abs(one.before[0] - one.after[0]).mean() / one.steps[0] for one in both]))
        lines.append(f"{name} {to}: at most {max(one.lsb for one in both):.2f} LSB, mean {mean:.3f}, top-1 agrees on {same} of {inputs}")
        assert same >= inputs * 3 // 4, lines[-1]
    print("\n".join(lines))
    assert len(lines) >= 4


@needs_runtime
def test_small_real_models_convert_and_run(models: Path) -> None:
    count = 0
    for name, model in quantized(models, 120_000):
        for to in ("int8", "uint8", "int16"):
            count += check_model(name, model, to, to == "uint8", (runtime.REFERENCE,)) is not None
    assert count > 15


def test_per_tensor_int8_models_come_back_from_uint8_as_they_were(models: Path) -> None:
    """INT8 to UINT8 to INT8 restores every tensor, where all weights have one scale and nothing stays behind."""
    count = 0
    for name, model in quantized(models, 3_000_000):
        try:
            there = apply(model, "uint8")
        except RefusedError:
            continue
        if not there.changes or any("stays" in note.text for note in there.notes):
            continue
        back = apply(there.model, "int8").model
        original = {(t.name, i): t for i, t in enumerate(model.subgraphs[0].tensors)}
        for i, t in enumerate(back.subgraphs[0].tensors):
            before = original.get((t.name, i))
            if before is None or before.type == TensorType.UINT8:
                continue
            assert t.type == before.type, (name, t.name)
            if is_code(t):
                assert affine(t) == affine(before), (name, t.name)
            if t.is_constant and t.type != TensorType.STRING:
                np.testing.assert_array_equal(t.numpy(), before.numpy())
        count += 1
    assert count >= 4
