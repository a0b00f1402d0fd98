"""Findings: each kind is found where a model is broken, with the numbers, and real models that run are not accused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import REPOSITORY
from tests.passes.weight_models import halved, single
from tests.runtime import needs_runtime
from tflitekit.audit import CODES, Finding, audit, foretold
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor
from tflitekit.passes.fixes.table import FIXERS
from tflitekit.passes.options import parse_spec
from tflitekit.passes.registry import ENTRIES
from tflitekit.quant.rules import Runtime

RESOLVERS = {Runtime.XNNPACK: runtime.DEFAULT, Runtime.OPTIMIZED: runtime.NO_DELEGATES, Runtime.REFERENCE: runtime.REFERENCE}


def convolution(activation: str = "INT8") -> Model:
    """Integer CONV_2D with per-channel weights and bias, then SOFTMAX: free of findings."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4, 4, 2], activation, quantize(0.5, 3))
    scales = np.float32([0.01, 0.02, 0.03])
    codes = (np.arange(3 * 2 * 2 * 2) % 17 - 8).astype(np.int8).reshape(3, 2, 2, 2)
    weights = main.constant("w", codes, quantization=quantize(scales, np.zeros(3, np.int64), 0))
    product = np.float32(0.5) * scales
    bias = main.constant("b", np.arange(3, dtype=np.int32), quantization=quantize(product, np.zeros(3, np.int64), 0))
    conv = main.apply(
        "CONV_2D", [x, weights, bias], TensorSpec("c", [1, 3, 3, 3], activation, quantize(0.25, 1)), version=3, padding="VALID", stride_w=1,
        stride_h=1,
    )
    main.output(main.apply("SOFTMAX", [conv], TensorSpec("y", [1, 3, 3, 3], activation, quantize(1 / 256, -128)), version=2, beta=1.0))
    return builder.build()


def tensor(model: Model, name: str) -> Tensor:
    return model.subgraphs[0].tensor(name)


def requantize(model: Model, name: str, **changes: object) -> None:
    q = tensor(model, name).quantization
    assert q is not None
    for attribute, value in changes.items():
        if attribute == "scale":
            value = np.asarray(value, np.float32)
            object.__setattr__(q, "scale", value)  # past the checks: broken files are what is tested
        else:
            setattr(q, attribute, value)


def recurrent(normalized: bool) -> Model:
    """Integer LSTM whose gates have biases in the scale that layer normalization asks for: its weights' times 2^-10."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    one = quantize(0.5, 0)
    x = main.input("x", [1, 4], "INT8", one)
    weights = [main.constant(f"w{n}", np.ones((4, 4), np.int8), quantization=one) for n in range(8)]
    biases = [main.constant(f"b{n}", np.ones(4, np.int32), quantization=quantize(2**-22, 0)) for n in range(4)]
    norms = [main.constant(f"n{n}", np.ones(4, np.int16), quantization=quantize(2**-12, 0)) if normalized else None for n in range(4)]
    states = [main.tensor("h", [1, 4], "INT8", one, is_variable=True), main.tensor("c", [1, 4], "INT16", quantize(2**-11, 0), is_variable=True)]
    y = main.tensor("y", [1, 4], "INT8", one)
    main.operator("LSTM", [x, *weights, *[None] * 3, *biases, None, None, *states, *norms], [y], fused_activation_function="TANH")
    main.output(y)
    return builder.build()


def test_biases_of_a_normalized_cell_have_a_scale_of_their_own() -> None:
    assert "Q301" not in {f.code for f in audit(recurrent(True)).findings}
    assert sum(f.code == "Q301" for f in audit(recurrent(False)).findings) == 4


def narrow(model: Model) -> None:
    tensor(model, "w").type = tk.Tensor(type="INT4").type


def set_bias_type(model: Model) -> None:
    bias = tensor(model, "b")
    bias.type = tk.Tensor(type="INT64").type
    model.set_data(bias, np.arange(3, dtype=np.int64))


def shrink(model: Model) -> None:
    data = tensor(model, "w").buffer
    assert data is not None and data.data is not None
    data.data = bytes(data.data[:-1])


BREAK: dict[str, tuple[str, str, Callable[[Model], None]]] = {
    "zero points missing": ("Q001", "w", lambda m: requantize(m, "w", zero_point=[])),
    "zero points fewer": ("Q001", "w", lambda m: requantize(m, "w", zero_point=[0])),
    "dimension": ("Q002", "x", lambda m: requantize(m, "x", quantized_dimension=4)),
    "scale count": ("Q002", "w", lambda m: requantize(m, "w", scale=[0.01, 0.02], zero_point=[0, 0])),
    "short data": ("Q003", "w", shrink),
    "long data": ("Q003", "w", narrow),
    "zero scale": ("Q101", "c", lambda m: requantize(m, "c", scale=[0.0])),
    "negative scale": ("Q101", "x", lambda m: requantize(m, "x", scale=[-0.5])),
    "nan scale": ("Q101", "c", lambda m: requantize(m, "c", scale=[np.nan])),
    "zero point": ("Q102", "x", lambda m: requantize(m, "x", zero_point=[300])),
    "per-channel activation": ("Q104", "c", lambda m: requantize(m, "c", scale=[0.1, 0.2, 0.3], zero_point=[0, 0, 0], quantized_dimension=3)),
    "weights zero point": ("Q201", "w", lambda m: requantize(m, "w", zero_point=[0, 5, 0])),
    "weights axis": ("Q203", "w", lambda m: requantize(m, "w", quantized_dimension=3)),
    "dead channel": ("Q204", "w", lambda m: requantize(m, "w", scale=[0.01, 0.0, 0.03])),
    "bias scale": ("Q301", "b", lambda m: requantize(m, "b", scale=[0.005, 0.02, 0.015])),
    "bias type": ("Q302", "b", set_bias_type),
    "bias zero point": ("Q303", "b", lambda m: requantize(m, "b", zero_point=[0, 1, 0])),
    "softmax scale": ("Q401", "y", lambda m: requantize(m, "y", scale=[0.01])),
    "softmax zero point": ("Q401", "y", lambda m: requantize(m, "y", zero_point=[0])),
}


def test_the_sound_model_has_no_findings() -> None:
    assert audit(convolution()).findings == ()


@pytest.mark.parametrize("name", list(BREAK))
def test_each_breakage_is_found(name: str) -> None:
    code, where, edit = BREAK[name]
    model = convolution()
    edit(model)
    found = [f for f in audit(model).findings if f.code == code and f.name == where]
    assert found, [str(f) for f in audit(model).findings]
    assert found[0].path == f"subgraphs[0].tensors[{model.subgraphs[0].tensors.index(tensor(model, where))}]"
    assert found[0].expected is not None


@pytest.mark.parametrize(("operator", "type_", "scale", "severity"), [
    ("SOFTMAX", "UINT8", 0.003906, "warning"), ("SOFTMAX", "UINT8", 0.004, "error"), ("SOFTMAX", "UINT8", np.nan, "error"),
    ("LOGISTIC", "INT8", 0.003906, "error"),
])  # fmt: skip
def test_a_fixed_scale_with_six_digits_is_an_error_where_kernels_refuse_it(operator: str, type_: str, scale: float, severity: str) -> None:
    """Tools that go through text, such as `flatc --json`, round scales: nobody sees that in the values, but some kernels ask for equality."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    zero_point = 0 if type_ == "UINT8" else -128
    given = main.input("x", [1, 4], type_, quantize(0.5, 3))
    main.output(main.apply(operator, [given], TensorSpec("y", [1, 4], type_, quantize(1 / 256, zero_point)), version=2))
    model = builder.build()
    assert audit(model).findings == ()
    requantize(model, "y", scale=[scale])
    found = [f for f in audit(model).findings if f.code == "Q401"]
    assert [f.severity for f in found] == [severity]
    assert found[0].severity_for(Runtime.REFERENCE) == severity


@needs_runtime
@pytest.mark.parametrize("operator", ["FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"])
@pytest.mark.parametrize("spec", ["int8", "int8,granularity=per-tensor", "int8,form=explicit", "int4", "int2", "int4,granularity=blockwise-32"])
def test_float16_biases_of_hybrid_operators_are_found_where_xnnpack_refuses_them(operator: str, spec: str) -> None:
    """What the audit foretells is what happens; and what it advises lets the model run."""
    model = halved(tk.run(single(operator), parse_spec(f"requantize-weights{{to={spec}}}")).model)
    found = [f for f in audit(model).findings if f.code == "Q304"]
    assert [f.name for f in found] == ["b"] * len(found)
    data = tk.serialize(model)
    assert runtime.run(data, RESOLVERS[Runtime.XNNPACK]).ok == (not found) and runtime.run(data, RESOLVERS[Runtime.OPTIMIZED]).ok
    if found:
        repaired = tk.run(model, parse_spec("fix-quantization")).model
        assert not [f for f in audit(repaired).findings if f.code == "Q304"] and runtime.run(tk.serialize(repaired)).ok


@needs_runtime
@pytest.mark.parametrize("name", list(BREAK))
def test_what_is_said_of_the_runtimes_is_what_they_do(name: str) -> None:
    """Refusals and crashes that are predicted happen, and where nothing of the kind is predicted the model runs."""
    model = convolution()
    BREAK[name][2](model)
    data = tk.serialize(model)
    findings = audit(model).findings
    for kind, resolver in RESOLVERS.items():
        outcomes = {f.reactions[kind].outcome for f in findings if kind in f.reactions}
        predicted = next((o for o in ("crashes", "refuses") if o in outcomes), "runs")
        outcome = runtime.run(data, resolver)
        seen = "runs" if outcome.ok else "crashes" if outcome.status.startswith("SIG") else "refuses"
        assert seen == predicted, (kind, outcome, [str(f) for f in findings])


def test_groups_of_equal_parameters() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    a = main.input("a", [1, 4], "INT8", quantize(0.5, 0))
    b = main.input("b", [1, 4], "INT8", quantize(0.25, 0))
    joined = main.apply("CONCATENATION", [a, b], TensorSpec("j", [1, 8], "INT8", quantize(0.5, 0)), version=2, axis=1)
    main.output(main.apply("RESHAPE", [joined], TensorSpec("r", [8], "INT8", quantize(0.5, 9))))
    found = {(f.code, f.name, f.severity) for f in audit(builder.build()).findings}
    assert ("Q402", "b", "error") in found and ("Q402", "j", "error") in found and not any(name == "a" for _, name, _ in found)


def test_a_difference_too_small_to_matter_is_no_error() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 0))
    main.output(main.apply("RESHAPE", [x], TensorSpec("y", [4], "INT8", quantize(float(np.nextafter(np.float32(0.5), np.float32(1))), 0))))
    (finding,) = audit(builder.build()).findings
    assert (finding.code, finding.severity) == ("Q402", "warning")


def test_int16_zero_point() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT16", quantize(0.5, 7))
    main.output(main.apply("ADD", [x, x], TensorSpec("y", [1, 4], "INT16", quantize(0.5, 0)), version=3))
    assert {(f.code, f.name) for f in audit(builder.build()).findings} == {("Q103", "x")}


def test_a_range_without_0_is_told() -> None:
    """(mean, std) = (128, 128) typed in for an INT8 input: [-2, -0.0078125]."""
    model = convolution()
    requantize(model, "x", scale=[1 / 128], zero_point=[128])
    messages = [f.message for f in audit(model).findings if f.code == "Q102"]
    assert messages == ["the zero point 128 is no INT8 code: its range [-2, -0.0078125] does not hold 0 (CONV_2D 0)"]


def test_placeholder_ranges_of_the_example() -> None:
    found = audit(tk.read(REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite")).findings
    (finding,) = [f for f in found if f.code == "Q501"]
    assert "11 of 11 activations" in finding.message and "(0.7843137383460999, 128)" in finding.message
    assert "[-100.392, 99.6078]" in finding.message and "9 levels of 256" in finding.message
    assert "Only calibration repairs this" in finding.message


@pytest.mark.parametrize(
    ("scale", "last", "told"),
    [(6 / 255, 6 / 255, True), (0.023528477, 0.023528477, False), (6 / 255, 0.1, False), (0.023528477, 0.1, False), (3 / 255, 0.1, True)],
)  # fmt: skip
def test_ranges_of_relu6_that_the_codes_stand_for_are_no_placeholders(scale: float, last: float, told: bool) -> None:
    """TOCO leaves ReLU6 out where codes end at 0 and 6. Typed in is 0 to 6 if it is exactly that, everywhere."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "UINT8", quantize(1 / 128, 128))
    for i in range(8):
        x = main.apply("ADD", [x, x], TensorSpec(f"a{i}", [1, 4], "UINT8", quantize(scale, 0)), version=1)
    main.output(main.apply("ADD", [x, x], TensorSpec("logits", [1, 4], "UINT8", quantize(last, 0)), version=1))
    assert any(f.code == "Q501" for f in audit(builder.build()).findings) == told


def test_ranges_that_follow_from_relu6_are_no_placeholders() -> None:
    """Activations bounded by ReLU6 share [0, 6] for a reason."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    q = quantize(6 / 255, 0)
    x = main.input("x", [1, 4], "UINT8", q)
    for i in range(8):
        x = main.apply("ADD", [x, x], TensorSpec(f"a{i}", [1, 4], "UINT8", q), version=1, fused_activation_function="RELU6")
    main.output(x)
    assert not [f for f in audit(builder.build()).findings if f.code == "Q501"]


def test_hybrid_operators_are_refused_by_microcontrollers_only() -> None:
    found = [f for f in audit(tk.read(REPOSITORY / "examples" / "models" / "classifier_dynamic_range.tflite")).findings if f.code == "Q601"]
    assert len(found) == 10
    assert all(f.severity == "info" and f.severity_for(Runtime.TFLM) == "error" and f.severity_for(Runtime.XNNPACK) == "info" for f in found)


# Models that run, with what the audit holds against them all the same.
ACCUSED = {
    "gen_conformer_dyn_i2": {"Q202"},  # FLOAT32 CONV_2D reads INT2 filters as floats, past the end of the buffer: outputs contain NaN
    "gen_mnist_dyn_i2": {"Q202"},
    "gen_mnist_dyn_i4_b32": {"Q109"},  # without XNNPACK, the kernel leaves out RELU: outputs stay the same where the option is NONE
    "litert_static_w8_a16_quantized_attn_vec_einsum": {"Q202"},  # BATCH_MATMUL reads one scale of the per-channel weights, which is 0
    "litert_static_w8_a16_quantized_k_einsum": {"Q202"},
}


def test_real_models_that_run_have_no_errors(model_path: Path) -> None:
    manifest = model_path.parent / "manifest.json"
    if not manifest.exists():
        pytest.skip("no manifest")
    runs = {m["name"] for m in json.loads(manifest.read_text()) if m["runnable"] == "yes"}
    found = audit(tk.read(model_path)).findings
    errors = {f.code for f in found if f.severity == "error"}
    if model_path.name in runs:
        assert errors == ACCUSED.get(model_path.stem, set()), [str(f) for f in found if f.severity == "error"]


def test_every_code_is_described_and_every_finding_has_a_code() -> None:
    assert all(c.title and c.explanation.endswith(".") and c.fix.endswith(".") for c in CODES.values())
    finding = Finding("Q101", "error", "subgraphs[0].tensors[0]", "x", "message")
    assert finding.about.code == "Q101" and str(finding) == "Q101 error: subgraphs[0].tensors[0] 'x': message"


def test_the_text_of_every_finding_that_is_repaired_begins_with_the_command() -> None:
    repaired = {code for code, about in CODES.items() if about.fix.startswith("fix-quantization")}
    assert repaired == set(FIXERS)
    assert all("requantize-weights" in CODES[code].fix for code in ("Q202", "Q601")) and "copy --rebuild" in CODES["Q005"].fix


def test_commands_that_the_texts_name_exist() -> None:
    known = {entry.name for entry in ENTRIES}
    verbs = {name.partition("-")[0] for name in known}
    named = {word for about in CODES.values() for word in re.findall(r"(?<![\w-])[a-z]+(?:-[a-z]+)+", about.fix) if word.partition("-")[0] in verbs}
    assert named and named <= known


def test_weights_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolution()
    monkeypatch.setattr(Tensor, "numpy", lambda self: pytest.fail("the audit reads weights"))
    audit(model)


def test_a_version_that_only_the_reference_kernels_lack() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.1, 0))
    main.output(main.apply("ELU", [x], TensorSpec("y", [1, 4], "INT8", quantize(0.1, 0))))
    (found,) = [f for f in audit(builder.build()).findings if f.code == "Q702"]
    assert found.severity == "info" and found.severity_for(Runtime.REFERENCE) == "error" and set(found.reactions) == {Runtime.REFERENCE}
    assert [foretold([found], kind) for kind in (Runtime.REFERENCE, Runtime.OPTIMIZED)] == ["refuses", "runs"]
