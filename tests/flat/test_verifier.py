"""Files that expand far beyond their size are refused, real ones are far from that. The verdicts on mutants: see `tests/attacks`."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import pytest

import tflitekit as tk
from tests.attacks.gallery import BOMBS
from tests.flat.test_patch import small
from tflitekit.flat.verifier import Verifier


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_refused_at_once(name: str) -> None:
    """In less than 0.2 s, and less than 32 MB beside the file (tracemalloc sees numpy's memory too, and slows what it watches)."""
    data = BOMBS[name]()
    start = time.process_time()
    with pytest.raises(tk.LimitError, match="likely crafted"):
        tk.parse(data)
    assert time.process_time() - start < 0.2
    tracemalloc.start()
    with pytest.raises(tk.LimitError):
        tk.parse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_the_same_shape_without_sharing_is_fine() -> None:
    """The control: as many tables as the smallest bomb pretends to have, each in a place of its own."""
    model = tk.Model(version=3)
    model.subgraphs = [tk.SubGraph(tensors=[tk.Tensor() for _ in range(300)]) for _ in range(300)]
    assert len(tk.parse(tk.serialize(model)).subgraphs[299].tensors) == 300


def test_no_real_model_is_near_a_budget(model_path: Path) -> None:
    data = model_path.read_bytes()
    verifier = Verifier(memoryview(data))
    verifier.run()
    assert verifier.tables < verifier.max_tables / 2
    assert verifier.materialized < verifier.max_bytes / 2


def test_messages_name_byte_path_and_reason() -> None:
    data = bytearray(tk.serialize(small()))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Operator")
    start = int(batch.vectors[1][0][0]) - 4
    struct.pack_into("<I", data, start, 0x10000000)
    with pytest.raises(tk.CorruptError) as caught:
        tk.parse(bytes(data))
    assert caught.value.where == "model.subgraphs[0].operators[0].inputs"
    assert caught.value.offset == start and "268435456 elements" in str(caught.value)
