"""Alignment of constant data: told where it can hurt, by the positions in the file, and gone after a rebuild."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.checks.models import codes, path_of, spec, started
from tflitekit.audit import INFO, Finding, audit
from tflitekit.build import quantize
from tflitekit.flat.batches import ALIGNMENT
from tflitekit.graph import Model
from tflitekit.quant.rules import Runtime


def wide() -> bytes:
    """A model with an INT64 bias in its last buffer."""
    builder, main = started()
    x = main.input("x", [1, 4], "INT16", quantize(0.5, 0))
    w = main.constant("w", np.ones((4, 4), np.int8), quantization=quantize(0.1, 0))
    b = main.constant("b", np.arange(4), quantization=quantize(0.05, 0))
    main.output(main.apply("FULLY_CONNECTED", [x, w, b], spec("y", "INT16"), version=4))
    return tk.serialize(builder.build())


def moved(model: Model, at: int) -> Model:
    """The model as if the data of its last buffer began `at` bytes after a multiple of 16."""
    source = model.source
    source.alignments = np.array([ALIGNMENT] * (len(model.buffers) - 1) + [at & -at if at else ALIGNMENT])
    return model


def found(model: Model, runtime: Runtime | None = None) -> list[Finding]:
    return [finding for finding in audit(model, runtime=runtime).findings if finding.code == "Q005"]


def test_what_this_project_writes_is_aligned() -> None:
    model = tk.parse(wide())
    assert set(model.source.alignments.tolist()) == {ALIGNMENT} and found(model, Runtime.TFLM) == []
    assert codes(model) == []


@pytest.mark.parametrize("at", [4, 12])
def test_elements_of_8_bytes_at_a_multiple_of_4(at: int) -> None:
    model = moved(tk.parse(wide()), at)
    (finding,) = found(model)
    assert (finding.severity, finding.path, finding.name) == (INFO, path_of(model, "b"), "b")
    assert finding.message == "INT64 data start at a multiple of 4, an element has 8 bytes"


def test_a_multiple_of_8_is_enough_where_nobody_asks_for_microcontrollers() -> None:
    model = moved(tk.parse(wide()), 8)
    assert found(model) == [] and found(model, Runtime.XNNPACK) == []
    (finding,) = found(model, Runtime.TFLM)
    assert (finding.path, finding.found, finding.expected) == ("buffers[2]", 8, 16)
    assert finding.message == "1 of 2 buffers do not start at a multiple of 16; this one starts at a multiple of 8"


def test_models_that_were_not_read_have_no_positions() -> None:
    builder, main = started()
    main.constant("b", np.arange(4))
    assert found(builder.build(), Runtime.TFLM) == []


def test_buffers_that_came_later_are_not_mistaken_for_others() -> None:
    model = moved(tk.parse(wide()), 4)
    model.buffers.insert(0, tk.Buffer())
    assert found(model) == []


def test_positions_are_those_of_the_file(model_path: Path) -> None:
    """Against addresses in memory: the mapped file and each buffer's view of it."""
    model = tk.read(model_path)
    start = np.frombuffer(model.source.data, np.uint8).__array_interface__["data"][0]
    for buffer, alignment in zip(model.buffers, model.source.alignments.tolist(), strict=True):
        if buffer.data is None or not len(buffer.data) or buffer.out_of_line:
            assert alignment == ALIGNMENT
            continue
        at = np.frombuffer(buffer.data, np.uint8).__array_interface__["data"][0] - start
        assert at % alignment == 0 and (alignment == ALIGNMENT or at % (2 * alignment))


REAL = {"gen_conformer_a16w8", "gen_mnist_a16w8"}  # INT64 biases of a writer that aligns to 4


def test_real_models(model_path: Path) -> None:
    model = tk.read(model_path)
    assert bool(found(model)) == (model_path.stem in REAL)
    if found(model, Runtime.TFLM):
        assert found(tk.parse(tk.serialize(model, rebuild=True)), Runtime.TFLM) == []
