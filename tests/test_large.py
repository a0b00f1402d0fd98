"""Files beyond 2 GiB, where the flatbuffer's own offsets end and data has to lie behind it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk

from . import generated, runtime
from .corpus.checks import misaligned

SIZE = (1 << 31) + (1 << 20)


@pytest.mark.slow
def test_more_than_two_gibibytes(tmp_path: Path) -> None:
    """Built, read, rebuilt, read again, and the last row of the last buffer fetched by the interpreter from both files."""
    if shutil.disk_usage(tmp_path).free < 4 * SIZE:
        pytest.skip("needs 8 GiB of free disk")
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    model, row = generated.gather_beyond(tmp_path / "sparse.bin", SIZE)
    tk.write(model, first)
    assert first.stat().st_size > SIZE
    read = tk.read(first)
    assert tk.diff(model, read) == []
    assert all(buffer.out_of_line for buffer in read.buffers if buffer.data is not None)
    read.description = b"changed, so that everything moves"
    tk.write(read, second)
    again = tk.read(second)
    assert tk.diff(read, again) == []
    assert again.buffers[-1].offset > 1 << 31
    assert misaligned(again.source.data) == []
    tables = [t for t in again.subgraphs[0].tensors if t.name == b"table"]
    np.testing.assert_array_equal(tables[0].numpy()[-1], row)
    if runtime.available():
        for path in (first, second):
            outcome = runtime.run(path, inputs={0: np.array([generated.TABLE_ROWS - 1], np.int32)}, recipe=0, timeout=120)
            assert outcome.ok, outcome.message
            np.testing.assert_array_equal(np.frombuffer(outcome.outputs[0][2], np.float32), row)
    for path in (first, second, tmp_path / "sparse.bin"):
        os.unlink(path)


def test_the_same_in_small(tmp_path: Path) -> None:
    """The layout of the large file, small enough for every run: data behind the flatbuffer, laid out anew on a rebuild, and found by the runtime."""
    model, row = generated.gather_beyond(tmp_path / "sparse.bin", 1 << 20, chunk=1 << 18)
    data = tk.serialize(model)
    read = tk.parse(data)
    assert tk.diff(model, read) == []
    assert read.source.container.out_of_line_bytes > 1 << 20
    read.description = b"changed, so that everything moves"
    moved = tk.serialize(read)
    again = tk.parse(moved)
    assert tk.diff(read, again) == []
    assert misaligned(moved) == []
    assert again.buffers[-1].offset != read.buffers[-1].offset or len(moved) == len(data)
    if runtime.available():
        for file in (data, moved):
            outcome = runtime.run(file, inputs={0: np.array([generated.TABLE_ROWS - 1], np.int32)}, recipe=0)
            assert outcome.ok, outcome.message
            np.testing.assert_array_equal(np.frombuffer(outcome.outputs[0][2], np.float32), row)
