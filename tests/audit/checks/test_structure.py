"""Conversions in a row: each chain is found with its numbers, and conversions that are needed are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import tflitekit as tk
from tests.audit.checks.models import chain, codes, of_code, path_of, spec, started
from tflitekit.build import TensorSpec, quantize
from tflitekit.graph import Model

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
