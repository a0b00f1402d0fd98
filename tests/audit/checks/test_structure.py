"""Conversions in a row: each chain is found with its numbers, and conversions that are needed are not."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

import tflitekit as tk
from tests import runtime
from tests.audit.checks.models import chain, codes, of_code, path_of, spec, started
from tests.quant.deviations import constant_output
from tests.runtime import Job, needs_runtime
from tflitekit._schema import TensorType
from tflitekit.audit import audit, foretold
from tflitekit.build import TensorSpec, quantize
from tflitekit.graph import Model, Tensor
from tflitekit.passes import RequantizeWeights
from tflitekit.passes.surgery import convert
from tflitekit.quant.rules import Runtime
from tflitekit.quant.rules.facts_load import TAKEN_FLOAT32
from tflitekit.types import byte_size

FLOAT = spec("f", "FLOAT32", None)


def made(type: str, *steps: tuple[str, TensorSpec]) -> Model:
    """A model of operators in a row, on an input of this type."""
    builder, main = started()
    x = main.input("x", [1, 4], type, quantize(0.5, 3) if type != "FLOAT32" else None)
    main.output(chain(x, main, *steps))
    return builder.build()


def test_codes_to_floats_to_the_same_codes() -> None:
    model = made("INT8", ("RELU", spec("a", zero_point=3)), ("DEQUANTIZE", FLOAT), ("QUANTIZE", spec("b", zero_point=3)), ("RELU", spec("c")))
    (finding,) = of_code(model, "Q801")
    assert (finding.severity, finding.path, finding.name, finding.operator) == ("info", path_of(model, "f"), "f", "subgraphs[0].operators[2]")
    assert finding.message == "INT8 (0.5, 3) to FLOAT32 to INT8 (0.5, 3), back to the same codes (DEQUANTIZE 1, QUANTIZE 2)"


def test_codes_to_floats_to_other_codes() -> None:
    (finding,) = of_code(made("INT8", ("DEQUANTIZE", FLOAT), ("QUANTIZE", spec("b", "UINT8", 0.25, 9))), "Q801")
    assert finding.message == "INT8 (0.5, 3) to FLOAT32 to UINT8 (0.25, 9), which one QUANTIZE does (DEQUANTIZE 0, QUANTIZE 1)"


def test_floats_that_are_only_rounded() -> None:
    model = made("FLOAT32", ("QUANTIZE", spec("q", scale=0.25)), ("DEQUANTIZE", FLOAT), ("RELU", spec("y", "FLOAT32", None)))
    (finding,) = of_code(model, "Q802")
    assert (finding.name, finding.found) == ("q", "INT8 (0.25, 0)")
    assert finding.message == "FLOAT32 to INT8 (0.25, 0) and back (QUANTIZE 0, DEQUANTIZE 1)"


def test_two_quantize_operators() -> None:
    model = made("FLOAT32", ("QUANTIZE", spec("q", "UINT8", 0.5, 128)), ("QUANTIZE", spec("r", "INT8", 0.5)), ("RELU", spec("y")))
    (finding,) = of_code(model, "Q803")
    assert (finding.name, finding.message) == ("q", "FLOAT32 to UINT8 (0.5, 128) to INT8 (0.5, 0) (QUANTIZE 0, QUANTIZE 1)")


def test_one_tensor_dequantized_twice() -> None:
    builder, main = started()
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 3))
    main.output(*(main.apply("DEQUANTIZE", [x], spec(name, "FLOAT32", None), version=2) for name in ("a", "b")))
    (finding,) = of_code(builder.build(), "Q804")
    assert (finding.name, finding.message, finding.operator) == ("x", "dequantized by operators 0 and 1", "subgraphs[0].operators[1]")


def test_the_tail_of_a_cast_output() -> None:
    model = made("INT8", ("DEQUANTIZE", FLOAT), ("CAST", spec("i", "INT32", None)), ("QUANTIZE", spec("q")))
    (finding,) = of_code(model, "Q805")
    assert finding.message == "DEQUANTIZE 0, CAST 1, QUANTIZE 2: codes to floats to INT32 to codes"


@pytest.mark.parametrize(
    ("type", "steps"),
    [
        ("FLOAT32", (("QUANTIZE", spec("q")), ("RELU", spec("r")), ("DEQUANTIZE", FLOAT))),
        ("UINT8", (("QUANTIZE", spec("q")), ("RELU", spec("r")), ("QUANTIZE", spec("u", "UINT8")))),
        ("INT32", (("CAST", spec("i", "FLOAT32", None)), ("QUANTIZE", spec("q")), ("RELU", spec("r")))),
        ("INT8", (("DEQUANTIZE", FLOAT), ("RELU", spec("r", "FLOAT32", None)), ("QUANTIZE", spec("q")))),
    ],
)
def test_conversions_that_are_needed(type: str, steps: tuple[tuple[str, TensorSpec], ...]) -> None:
    assert not [code for code in codes(made(type, *steps)) if code.startswith("Q8")]


def test_one_dequantize_for_two_readers_is_no_finding() -> None:
    builder, main = started()
    f = main.apply("DEQUANTIZE", [main.input("x", [1, 4], "INT8", quantize(0.5, 3))], FLOAT, version=2)
    main.output(*(main.apply(name, [f], spec(name, "FLOAT32", None)) for name in ("RELU", "RELU6")))
    assert codes(builder.build()) == []


def test_fake_quant_is_told_once() -> None:
    builder, main = started()
    x = main.input("x", [1, 4], "FLOAT32")
    for name in ("a", "b"):
        x = main.apply("FAKE_QUANT", [x], spec(name, "FLOAT32", None), min=-1.5, max=6.0, num_bits=8)
    main.output(x)
    (finding,) = of_code(builder.build(), "Q806")
    assert (finding.severity, finding.name, finding.found, finding.expected) == ("warning", "a", 2, 0)
    assert finding.message == "2 FAKE_QUANT operators round floats to floats; the first simulates 8 bits in [-1.5, 6.0]"


def test_real_models_have_no_chains(model_path: Path) -> None:
    """Converters clean up after themselves: what is found in real files would be news, or wrong."""
    assert not [str(f) for f in tk.audit(tk.read(model_path)).findings if f.code.startswith("Q8")]


READERS = [(), *((name,) for name in sorted(TAKEN_FLOAT32)), ("FULLY_CONNECTED",), ("EQUAL",), ("ADD", "EQUAL"), ("ADD", "NEG")]


@needs_runtime
def test_outputs_that_dequantize_makes_of_constants_are_found_where_xnnpack_does_not_write_them() -> None:
    """For every reader that XNNPACK is said to take, for others, and for none; and what is advised is right."""
    forms = [(t, False, False) for t in ("FLOAT16", "INT8", "UINT8", "INT4", "INT16")] + [("INT8", True, False), ("INT8", False, True)]
    forms += [("FLOAT16", False, True)]
    # values of their own: what is not written may hold what the last model left there
    made = enumerate(product(forms, READERS))
    models = [constant_output(type_, *given, channels=c, alone=a, seed=seed) for seed, ((type_, c, a), given) in made]
    data = [tk.serialize(model) for model in models]
    default, kernels = (runtime.pool().run([Job(d, resolver) for d in data]) for resolver in (runtime.DEFAULT, runtime.NO_DELEGATES))
    wrong = 0
    for model, mine, right in zip(models, default, kernels, strict=True):
        found = of_code(model, "Q807")
        assert right.ok and (not mine.ok or mine.outputs[0] != right.outputs[0]) == bool(found), codes(model)
        assert (foretold(audit(model).findings, Runtime.XNNPACK) == "runs") == mine.ok
        wrong += len(found)
        assert [(f.name, f.severity, f.severity_for(Runtime.OPTIMIZED), f.operator) for f in found] in (
            [], [("f", "error", "warning", "subgraphs[0].operators[0]")],
        )  # fmt: skip
        if found:
            advised = tk.run(model, RequantizeWeights(to="float32")).model
            assert not of_code(advised, "Q807") and runtime.run(tk.serialize(advised)).outputs[0] == right.outputs[0]
    assert wrong == 5 * (len(READERS) - 2)


@needs_runtime
@pytest.mark.parametrize(("weights", "bias", "wrong"), [("INT8", "INT8", True), ("FLOAT16", "FLOAT16", True), ("INT8", "FLOAT16", False)])
def test_weights_that_are_outputs_beside_a_bias_that_is_dequantized(weights: str, bias: str, wrong: bool) -> None:
    """XNNPACK leaves an operator alone whose bias is FLOAT16, and whose weights are not."""
    model = constant_output(weights, "FULLY_CONNECTED", seed=1000 + wrong)
    main, parameters = model.subgraphs[0], quantize(0.125) if bias == "INT8" else None
    buffer = model.add_buffer(b"\1" * byte_size(TensorType[bias], (8,)))
    stored = Tensor(name="b", shape=(8,), type=TensorType[bias], quantization=parameters, buffer=buffer)
    floats = main.add_tensor(Tensor(name="bf", shape=(8,), buffer=model.buffers[0]))
    convert(model, main, main.add_tensor(stored), floats, 0)
    main.operators[-1].inputs = [*main.operators[-1].inputs, floats]
    mine, right = (runtime.run(tk.serialize(model), resolver) for resolver in (runtime.DEFAULT, runtime.NO_DELEGATES))
    assert mine.ok and right.ok and (mine.outputs[0] != right.outputs[0]) == wrong == ("Q807" in codes(model))
