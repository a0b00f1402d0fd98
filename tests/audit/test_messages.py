"""The table of messages in docs/recipes.md: the runtime prints each for a model of the kind that the table names, and the audit finds that there."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import REPOSITORY
from tests.runtime import needs_runtime
from tflitekit._schema import ActivationFunctionType, Conv2DOptions
from tflitekit.audit import CODES, audit
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.graph import Model
from tflitekit.quant.rules import Runtime

from .checks.test_microcontrollers import hybrid
from .test_findings import RESOLVERS, convolution, requantize, shrink, tensor

ROW = re.compile(r"^\| (`.*?) \| (.*) \| (.*) \|$", re.MULTILINE)


def edited(edit: Callable[[Model], object]) -> Callable[[], Model]:
    def make() -> Model:
        model = convolution()
        edit(model)
        return model

    return make


def joined() -> Model:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    inputs = [main.input(name, [1, 4], "INT8", quantize(scale, 0)) for name, scale in (("a", 0.1), ("b", 0.2))]
    main.output(main.apply("CONCATENATION", inputs, TensorSpec("y", [1, 8], "INT8", quantize(0.1, 0)), version=2, axis=1))
    return builder.build()


def logistic() -> Model:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.1, 0))
    main.output(main.apply("LOGISTIC", [x], TensorSpec("y", [1, 4], "INT8", quantize(1 / 255, -128)), version=2))
    return builder.build()


def off_bias() -> Model:
    model = tk.read(REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite")
    requantize(model, "conv2d_1_1/bias", scale=[1.0])
    return model


def retyped(model: Model) -> None:
    tensor(model, "x").type = tk.Tensor(type="UINT8").type


def bounded(model: Model) -> None:
    options = model.subgraphs[0].operators[0].builtin_options
    assert isinstance(options, Conv2DOptions)
    options.fused_activation_function = ActivationFunctionType.RELU
    requantize(model, "c", scale=[0.0])


def versioned(model: Model) -> None:
    code = model.subgraphs[0].operators[0].opcode
    assert code is not None
    code.version = 99


# By the start of the message.
MODELS: dict[str, Callable[[], Model]] = {
    "output->type": edited(retyped),
    "0 != -1875126784": joined,
    "output->params.scale": logistic,
    "scale_diff": off_bias,
    "zero_point->data[i]": edited(lambda m: requantize(m, "w", zero_point=[0, 5, 0])),
    "unsupported scale value": edited(lambda m: requantize(m, "c", scale=[0.0])),
    "no_integer_overflow": edited(bounded),
    "unsupported zero-point value": edited(lambda m: requantize(m, "x", zero_point=[300])),
    "1 zero_point values": edited(lambda m: requantize(m, "w", zero_point=[0])),
    "required_bytes": edited(shrink),
    "Didn't find op": edited(versioned),
}


def rows() -> list[tuple[str, str]]:
    """(message, code) of the table, for all that have a code."""
    text = (REPOSITORY / "docs" / "recipes.md").read_text()
    found = []
    for messages, about, _ in ROW.findall(text):
        code = re.search(r"\((Q\d+)", about)
        if code is not None:
            found += [(message, code[1]) for message in re.findall("`([^`]*)`", messages)]
    return found


def without_numbers(text: str) -> str:
    return re.sub(r"-?\d+", "#", text)


def test_the_table_has_them_all() -> None:
    assert len(rows()) >= 12 and {code for _, code in rows()} <= set(CODES)
    assert all(any(message.startswith(start) for message, _ in rows()) for start in MODELS)


@needs_runtime
@pytest.mark.parametrize(("message", "code"), rows())
def test_a_runtime_says_so(message: str, code: str) -> None:
    make = next((make for start, make in MODELS.items() if message.startswith(start)), None)
    if make is None:
        pytest.skip("a message of another runtime than LiteRT")
    model = make()
    assert code in {finding.code for finding in audit(model).findings}
    said = [runtime.run(tk.serialize(model), resolver).message for resolver in RESOLVERS.values()]
    assert any(without_numbers(message) in without_numbers(text) for text in said), said


def test_microcontrollers_say_so() -> None:
    (finding,) = (finding for finding in audit(hybrid("CONV_2D")).findings if finding.code == "Q601")
    assert ("Hybrid models are not supported on TFLite Micro", "Q601") in rows()
    assert finding.reactions[Runtime.TFLM].text == "Hybrid models are not supported on TFLite Micro"
