"""The printed numpy and C functions compute what `Affine` computes, bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflitekit._schema import TensorType
from tflitekit.quant import snippets
from tflitekit.quant.affine import Affine, code_range
from tflitekit.quant.preprocessing import BYTE_SHIFT

Numbers = npt.NDArray[Any]
BELOW_HALF = 0.49999999999999994  # floor(x + 0.5) gives 1 here

AFFINES = [
    Affine(np.float32(scale), zero_point, type)
    for type in sorted(snippets.TYPES)
    for scale, zero_point in [
        (1 / 255, code_range(type)[0]), (0.0078125, 0), (0.7843137383460999, 5), (1.0, code_range(type)[1]), (1e-30, 0), (3e38, 1), (2.5e-5, 7),
    ]
]  # fmt: skip


def numbers(affine: Affine) -> Numbers:
    """Values at and next to halves, at and beyond both ends, huge and tiny, infinite."""
    low, high = code_range(affine.type)
    scale = float(affine.scale)
    steps = np.array([low - 2, low - 1, low, low + 1, -3, -2, -1, 0, 1, 2, 126, 127, 128, high - 1, high, high + 1, high + 2], np.float64)
    halves = np.concatenate([steps + part for part in (0, 0.5, -0.5, BELOW_HALF, -BELOW_HALF, 0.25)]) - np.float64(affine.zero_point)
    with np.errstate(over="ignore"):
        real = halves * scale
        near = np.concatenate([real, np.nextafter(real, np.inf), np.nextafter(real, -np.inf)])
    rest = np.array([0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, np.inf, -np.inf, BELOW_HALF * scale])
    return np.concatenate([near, np.random.default_rng(1).normal(0, 50 * scale, 500), rest])


def run(source: str, name: str) -> Callable[[Any], Numbers]:
    scope: dict[str, Any] = {}
    exec(f"{snippets.NUMPY_HEAD}\n\n\n{source}\n", scope)
    function: Callable[[Any], Numbers] = scope[name]
    return function


def same(found: Any, expected: Any) -> bool:
    return bool(np.asarray(found).dtype == np.asarray(expected).dtype and np.asarray(found).tobytes() == np.asarray(expected).tobytes())


@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("affine", AFFINES, ids=str)
def test_numpy_is_affine(affine: Affine) -> None:
    quantize = run(snippets.numpy_quantize(affine, "quantize_input_0"), "quantize_input_0")
    dequantize = run(snippets.numpy_dequantize(affine, "d"), "d")
    real = numbers(affine)
    assert same(quantize(real), affine.quantize(real))
    assert same(quantize(real.reshape(-1, 1)), affine.quantize(real.reshape(-1, 1)))
    assert same(quantize(1.25), affine.quantize(1.25))
    assert same(quantize([1, 2]), affine.quantize([1, 2]))
    with np.errstate(over="ignore"):
        assert same(quantize(real.astype(np.float32)), affine.quantize(real.astype(np.float32)))
    codes = affine.quantize(real)
    assert same(dequantize(codes), affine.dequantize(codes))
    assert same(dequantize(codes[0]), affine.dequantize(codes[0]))


@given(st.floats(2.0**-126, 2.0**100, width=32), st.integers(0, 255), st.lists(st.floats(allow_nan=False), min_size=1))
@settings(deadline=None, max_examples=200)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_numpy_is_affine_for_any_number(scale: float, zero_point: int, values: list[float]) -> None:
    affine = Affine(np.float32(scale), zero_point, TensorType.UINT8)
    real = np.concatenate([np.array(values), np.array(values) * 1e-300 * scale])
    with np.errstate(over="ignore", under="ignore"):
        assert same(run(snippets.numpy_quantize(affine, "q"), "q")(real), affine.quantize(real))


def test_image_bytes() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for type, offset in BYTE_SHIFT.items():
        affine = Affine(np.float32(1 / 255), offset, type)
        codes = run(snippets.numpy_bytes(affine, "f", offset), "f")(image)
        assert same(codes, affine.quantize(image / 255))


def test_lines_are_short() -> None:
    name = "dequantize_output_99"
    for affine in AFFINES:
        for make in (snippets.numpy_quantize, snippets.numpy_dequantize, snippets.c_quantize, snippets.c_dequantize):
            assert max(map(len, make(affine, name).splitlines())) < 80


def test_c_is_affine(tmp_path: Path) -> None:
    """All functions in one program, which reads doubles and writes codes and floats."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    source, calls = [snippets.C_HEAD, "#include <stdio.h>"], []
    for i, affine in enumerate(AFFINES):
        source += [snippets.c_quantize(affine, f"q{i}"), snippets.c_dequantize(affine, f"d{i}")]
        size = len(numbers(affine))
        calls.append(
            f"  for (int i = 0; i < {size}; i++) {{ double x; if (!fread(&x, 8, 1, stdin)) return 1; {affine.type.name.lower()}_t c = q{i}(x);"
            f" float f = d{i}(c); fwrite(&c, sizeof c, 1, stdout); fwrite(&f, 4, 1, stdout); }}"
        )
    offsets = [(type, offset) for type, offset in BYTE_SHIFT.items()]
    for k, (type, offset) in enumerate(offsets):
        source.append(snippets.c_bytes(Affine(np.float32(1 / 255), offset, type), f"b{k}", offset))
        calls.append(f"  for (int i = 0; i < 256; i++) {{ {type.name.lower()}_t c = b{k}((uint8_t)i); fwrite(&c, 1, 1, stdout); }}")
    program = tmp_path / "io.c"
    program.write_text("\n\n".join([*source, "int main(void) {\n" + "\n".join(calls) + "\n  return 0;\n}\n"]))
    subprocess.run([compiler, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "io"), str(program), "-lm"], check=True)
    given = b"".join(numbers(affine).astype("<f8").tobytes() for affine in AFFINES)
    found = subprocess.run([str(tmp_path / "io")], input=given, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    expected = b""
    for affine in AFFINES:
        codes = affine.quantize(numbers(affine))
        pairs = np.zeros(len(codes), [("code", codes.dtype), ("real", "<f4")])
        pairs["code"], pairs["real"] = codes, affine.dequantize(codes)
        expected += pairs.tobytes()
    for type, offset in offsets:
        expected += (np.arange(256) + offset).astype(type.name.lower()).tobytes()
    assert found == expected
