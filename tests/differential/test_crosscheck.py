"""`cross_check` finds no difference on real models, and finds those that are made."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tflitekit import _schema
from tflitekit.flat import crosscheck

pytest.importorskip("tflite", reason="needs the tflite package")


def test_both_readers_agree(model_path: Path) -> None:
    assert crosscheck.cross_check(model_path) == []


def test_differences_are_told_by_path(models: Path) -> None:
    """One change of every kind of field, made to the graph behind the file's back."""
    model = tk.read(models / "aeq_conv_fc_mnist_srq_a8w8.tflite")
    subgraph = model.subgraphs[0]
    quantized = next(t for t in subgraph.tensors if t.is_quantized and t.quantization is not None)
    position = subgraph.tensors.index(quantized)
    assert quantized.quantization is not None
    quantized.quantization.scale = np.nextafter(quantized.quantization.scale, np.float32(9))
    subgraph.name = b"x"
    subgraph.operators[0].inputs.reverse()
    subgraph.operators[1].opcode = next(code for code in model.operator_codes if code is not subgraph.operators[1].opcode)
    model.buffers[2].data = memoryview(b"12")
    model.signature_defs[0].inputs.append(tk.TensorMap())
    found = "\n".join(crosscheck.cross_check_model(model))
    for place in (
        f"model.subgraphs[0].tensors[{position}].quantization.scale:",
        "model.subgraphs[0].name:",
        "model.subgraphs[0].operators[0].inputs:",
        "model.subgraphs[0].operators[1].opcode_index:",
        "model.buffers[2].data:",
        "model.signature_defs[0].inputs (length):",
    ):
        assert place in found, f"{place} is missing in\n{found}"


def test_most_fields_of_the_schema_are_compared() -> None:
    """Names are converted to the package's spelling: a wrong conversion would skip fields silently."""
    unknown = {
        f"{table}.{field[0]}"
        for table, rows in _schema.FIELDS.items()
        if (accessor := crosscheck._accessor(table)) is not None
        for field in rows
        if not hasattr(accessor, crosscheck._method(field[0]))
    }
    accepted = {"Model.external_buffer_groups", "Model.external_buffers", "Tensor.external_buffer"}
    deprecated = {f"{table}.{field[0]}" for table, rows in _schema.FIELDS.items() for field in rows if field[9]}
    assert unknown - accepted - deprecated - {"FullyConnectedOptions.quant_spec"} == set()
    assert sum(crosscheck._accessor(table) is not None for table in _schema.FIELDS) > 140


def test_it_is_not_imported_by_reading_or_writing() -> None:
    """Neither the module nor the package behind it."""
    code = "import sys, tflitekit as tk; tk.read, tk.serialize; print([m for m in sys.modules if m == 'tflite' or 'crosscheck' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "import tflite\n" not in inspect.getsource(crosscheck)
