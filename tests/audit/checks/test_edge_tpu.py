"""The Edge TPU by its published rules: what is refused, what is left to the CPU and why, and that others are not told about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.checks.models import chain, spec, started
from tests.conftest import REPOSITORY
from tflitekit.audit import ERROR, INFO, WARNING, Finding, audit
from tflitekit.build import SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model, Tensor
from tflitekit.quant.rules import Behaviour, Runtime
from tflitekit.quant.rules.edge_tpu import MAPPED, left_because

IMAGE = (1, 8, 8, 4)
Make = Callable[[SubGraphBuilder, Tensor], Tensor]


def found(model: Model) -> list[Finding]:
    return [f for f in audit(model, runtime=Runtime.EDGETPU).findings if f.code in ("Q603", "Q604", "Q605", "Q606")]


def one(make: Make, shape: tuple[int, ...] = IMAGE, type: str = "INT8") -> Model:
    """A model of what `make` puts on an input."""
    builder, main = started()
    main.output(make(main, main.input("x", shape, type, quantize(0.5, 3))))
    return builder.build()


def unary(
    name: str, out: tuple[int, ...] = IMAGE, *, constants: tuple[Any, ...] = (), first: bool = False, type: str = "INT8", **options: Any
) -> Make:
    """An operator of one activation and INT32 constants, behind it or before it."""

    def make(main: SubGraphBuilder, x: Tensor) -> Tensor:
        held = [main.constant(f"c{i}", np.asarray(values, np.int32)) for i, values in enumerate(constants)]
        return main.apply(name, [*held, x] if first else [x, *held], TensorSpec("y", out, type, quantize(0.5, 3)), **options)

    return make


def convolution(main: SubGraphBuilder, x: Tensor, **options: Any) -> Tensor:
    w = main.constant("w", np.ones((4, 1, 1, 4), np.int8), quantization=quantize(0.1, 0))
    b = main.constant("b", np.zeros(4, np.int32), quantization=quantize(0.05, 0))
    return main.apply("CONV_2D", [x, w, b], spec("y", shape=IMAGE), padding="SAME", stride_w=1, stride_h=1, **options)


def joined(value: int) -> Make:
    def make(main: SubGraphBuilder, x: Tensor) -> Tensor:
        c = main.constant("c", np.full(IMAGE, value, np.int8), quantization=quantize(0.5, 3))
        return main.apply("CONCATENATION", [x, c], spec("y", "INT8", 0.5, 3, (1, 8, 8, 8)), axis=3)

    return make


def dense(main: SubGraphBuilder, x: Tensor) -> Tensor:
    w = main.constant("w", np.ones((3, 4), np.int8), quantization=quantize(0.1, 0))
    return main.apply("FULLY_CONNECTED", [x, w, None], spec("y", shape=(*x.shape[:-1], 3)))


def prelu(shape: tuple[int, ...]) -> Make:
    def make(main: SubGraphBuilder, x: Tensor) -> Tensor:
        return main.apply("PRELU", [x, main.constant("a", np.ones(shape, np.int8), quantization=quantize(0.1, 0))], spec("y", shape=IMAGE))

    return make


GOOD: dict[str, tuple[Make, tuple[int, ...]]] = {
    "relu": (unary("RELU"), IMAGE),
    "convolution": (convolution, IMAGE),
    "pool": (unary("MAX_POOL_2D", filter_width=1, filter_height=1, stride_w=1, stride_h=1), IMAGE),
    "zero padding by a constant": (joined(3), IMAGE),
    "dense": (dense, (1, 4)),
    "mean over rows and columns": (unary("MEAN", (1, 4), constants=([1, 2],)), IMAGE),
    "mean over a multiple of 4 channels": (unary("MEAN", (1, 8, 8), constants=([3],)), IMAGE),
    "pad": (unary("PAD", (1, 10, 8, 4), constants=([[0, 0], [1, 1], [0, 0], [0, 0]],)), IMAGE),
    "split": (unary("SPLIT", IMAGE, constants=(3,), first=True, num_splits=1), IMAGE),
    "softmax": (unary("SOFTMAX", (1, 10), beta=1.0), (1, 10)),
    "prelu": (prelu((1, 1, 4)), IMAGE),
    "squeeze of leading ones": (unary("SQUEEZE", (8, 8, 4), squeeze_dims=[0]), IMAGE),
    "plain slice": (unary("STRIDED_SLICE", IMAGE, constants=([0] * 4, list(IMAGE), [1] * 4)), IMAGE),
}

LEFT: dict[str, tuple[Make, tuple[int, ...], str]] = {
    "unknown": (unary("HARD_SWISH"), IMAGE, "the operator is not among those that are supported"),
    "fused activation": (
        unary("MAX_POOL_2D", filter_width=1, filter_height=1, stride_w=1, stride_h=1, fused_activation_function="RELU"), IMAGE, "fused RELU",
    ),
    "dilation": (lambda m, x: convolution(m, x, dilation_w_factor=1, dilation_h_factor=2), IMAGE, "dilations 2 and 1 differ"),
    "constant": (joined(4), IMAGE, "a constant that is not all zeros"),
    "dense of rows": (dense, (8, 4), "[8, 3] has several dimensions larger than 1"),
    "batch": (unary("RELU", (2, 8, 8, 4)), (2, 8, 8, 4), "[2, 8, 8, 4]: only the innermost 3 dimensions may be larger than 1"),
    "mean over the batch": (unary("MEAN", (8, 8, 4), constants=([0],)), IMAGE, "axis 0 is the batch"),
    "mean over channels": (unary("MEAN", (1, 8, 8), constants=([-1],)), (1, 8, 8, 6), "reduces 6 channels, no multiple of 4"),
    "pad of the batch": (
        unary("PAD", IMAGE, constants=([[1, 0], [0, 0], [0, 0], [0, 0]],)), IMAGE, "padding of the batch",
    ),
    "pack": (unary("PACK", (1, 1, 8, 8), axis=0, values_count=1), (1, 8, 8), "axis 0 is the batch"),
    "softmax of rows": (unary("SOFTMAX", (1, 2, 10), beta=1.0), (1, 2, 10), "[1, 2, 10] has several dimensions larger than 1"),
    "large softmax": (unary("SOFTMAX", (1, 16001), beta=1.0), (1, 16001), "more than 16000 elements"),
    "prelu": (prelu((8, 8, 4)), IMAGE, "[8, 8, 4] has several dimensions larger than 1"),
    "squeeze inside": (unary("SQUEEZE", (5, 10), squeeze_dims=[1]), (5, 1, 10), "drops a dimension inside [5, 1, 10]"),
    "strides": (
        unary("STRIDED_SLICE", (1, 4, 8, 4), constants=([0] * 4, list(IMAGE), [1, 2, 1, 1])), IMAGE, "strides other than 1",
    ),
    "masks": (
        unary("STRIDED_SLICE", IMAGE, constants=([0] * 4, list(IMAGE), [1] * 4), ellipsis_mask=1), IMAGE, "ellipsis or new axis",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_is_mapped(name: str) -> None:
    assert found(one(*GOOD[name])) == []


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_and_why(name: str) -> None:
    make, shape, reason = LEFT[name]
    (finding,) = found(one(make, shape))
    assert (finding.code, finding.severity, finding.path, finding.found) == ("Q604", WARNING, "subgraphs[0].operators[0]", reason)
    assert finding.reactions[Runtime.EDGETPU].behaviour == Behaviour.LEAVES and "not verifiable here" in finding.source


def test_types() -> None:
    (finding,) = found(one(unary("RELU", type="INT16"), type="INT16"))
    assert finding.message == "RELU 0: INT16 instead of INT8 or UINT8"
    assert found(one(unary("RELU", type="UINT8"), type="UINT8")) == []


def test_parameters_have_to_be_constant() -> None:
    builder, main = started()
    x, w = (main.input(name, [1, 4], "INT8", quantize(0.5, 0)) for name in "xw")
    main.output(main.apply("FULLY_CONNECTED", [x, w, None], spec("y", shape=(1, 1))))
    assert [f.found for f in found(builder.build())] == ["weights that are computed"]


def test_float_at_the_ends_is_left_around_the_rest() -> None:
    builder, main = started()
    x = main.input("x", [1, 4], "FLOAT32")
    main.output(chain(x, main, ("QUANTIZE", spec("q")), ("RELU", spec("r")), ("DEQUANTIZE", spec("y", "FLOAT32", None))))
    assert [(f.code, f.severity, f.path[-2]) for f in found(builder.build())] == [("Q604", INFO, "0"), ("Q604", INFO, "2")]


def test_what_comes_after_an_operator_that_is_left() -> None:
    builder, main = started()
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 0))
    left = chain(x, main, ("RELU", spec("a")), ("HARD_SWISH", spec("b")), ("RELU6", spec("c")), ("TANH", spec("d", scale=1 / 128)))
    main.output(left, main.apply("LOGISTIC", [x], spec("e", scale=1 / 256, zero_point=-128)))
    first, second = found(builder.build())
    assert (first.code, first.path) == ("Q604", "subgraphs[0].operators[1]")
    assert (second.code, second.severity, second.path, second.found) == ("Q605", WARNING, "subgraphs[0].operators[2]", 2)
    assert second.message == "2 of 5 operators could be mapped, but come after one that is not; the first is RELU6 2"


def test_dynamic_shapes_are_refused_and_the_rest_is_told_as_if_they_were_fixed() -> None:
    model = one(unary("HARD_SWISH"))
    for tensor in model.tensors():
        tensor.shape_signature = (-1, *tensor.shape[1:])
    first, second = found(model)
    assert (first.code, first.severity, first.name, first.found) == ("Q603", ERROR, "x", [-1, 8, 8, 4])
    assert first.reactions[Runtime.EDGETPU].behaviour == Behaviour.REFUSES
    assert (second.code, second.found) == ("Q604", "the operator is not among those that are supported")
    for tensor in model.tensors():
        tensor.shape_signature = None  # as the fix of Q603 says
    assert [f.code for f in found(model)] == ["Q604"]


@pytest.mark.parametrize("name", ["classifier_dynamic_range"])
def test_models_without_integer_arithmetic(name: str) -> None:
    (finding,) = found(tk.read(REPOSITORY / "examples" / "models" / f"{name}.tflite"))
    assert (finding.code, finding.severity, finding.path, finding.found) == ("Q603", ERROR, "", "dynamic-range")
    assert finding.severity_for(Runtime.EDGETPU) == ERROR and finding.reactions[Runtime.EDGETPU].text == "Model not quantized"


def test_compiled_already() -> None:
    builder, main = started()
    x = main.input("x", [1, 4], "UINT8", quantize(0.5, 0))
    (y,) = main.custom("edgetpu-custom-op", [x], [spec("y", "UINT8")], custom_options=b"code").outputs
    assert y is not None
    main.output(main.apply("DEQUANTIZE", [y], spec("z", "FLOAT32", None), version=2))
    (finding,) = found(builder.build())
    assert (finding.code, finding.severity, finding.message) == ("Q606", INFO, "1 operator compiled for the Edge TPU, 1 operator for the CPU")


def test_nobody_else_is_told() -> None:
    model = one(unary("HARD_SWISH"))
    for runtime in (None, *(r for r in Runtime if r is not Runtime.EDGETPU)):
        assert not [f for f in audit(model, runtime=runtime).findings if f.code.startswith("Q60")]


def test_every_condition_is_met_by_an_operator_without_operands() -> None:
    """Damaged operators are left, or said to be mapped, but never an exception."""
    for code in MAPPED:
        operator = tk.Operator(opcode=tk.OperatorCode(builtin_code=code))
        assert isinstance(left_because(operator), str)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coral_mobilenet_v2_1.0_224_quant", []),
        ("coral_deeplabv3_mnv2_dm05_pascal_quant", ["ARG_MAX 71: the operator is not among those that are supported"]),
        ("coral_bodypix_mobilenet_v1_075_512_512_16_quant_decoder", ["PosenetDecoderOp 43: the operator is not among those that are supported"]),
        ("tfls_coco_ssd_mobilenet_v1_1.0_quant_2018_06_29", ["TFLite_Detection_PostProcess 63: the operator is not among those that are supported"]),
        ("coral_split_concat_edgetpu", ["1 operator compiled for the Edge TPU, 0 operators for the CPU"]),
    ],
)
def test_models_made_for_it(models: Path, name: str, expected: list[str]) -> None:
    """All of these were published for the Edge TPU, with what runs on the CPU."""
    assert [f.message for f in found(tk.read(models / f"{name}.tflite"))] == expected
