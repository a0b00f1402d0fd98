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
from tests.generated import many_operators
from tflitekit._schema import ResizeBilinearOptions
from tflitekit.flat import verifier
from tflitekit.flat.batches import plan
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


@pytest.mark.parametrize("count", [4, 40])
@pytest.mark.parametrize("mixed", [False, True])
def test_misaligned_wide_fields_are_found(count: int, mixed: bool) -> None:
    """8-byte fields, of few tables and of many, with one vtable and with several."""
    model = tk.Model(version=3, buffers=[tk.Buffer(data=bytes(32)) for _ in range(count)])
    for number, buffer in enumerate(model.buffers):
        buffer.out_of_line = not mixed or number % 2 == 1
    data = bytearray(tk.serialize(model))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Buffer")
    slot = next(f.slot for f in plan("Buffer").fields if f.name == "size")
    assert len(batch.masks) == 1 + mixed
    row = int(batch.pos[count - 1])
    vtable = row - int(struct.unpack_from("<i", data, row)[0])
    place = vtable + 4 + 2 * slot
    struct.pack_into("<H", data, place, struct.unpack_from("<H", data, place)[0] - 4)
    with pytest.raises(tk.CorruptError, match="a field is misaligned") as caught:
        tk.parse(bytes(data))
    assert caught.value.where == f"model.buffers[{int(mixed)}]"


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("entry", [65534, 65535, 6, 3])
def test_a_deprecated_number_that_cannot_be_read_is_marked(count: int, entry: int) -> None:
    """C++ does not look at it, so the file loads; the number is lost, which a rebuild refuses."""
    model = tk.Model(version=3, operator_codes=[tk.OperatorCode()], subgraphs=[tk.SubGraph()])
    for number in range(2 * count):
        options = ResizeBilinearOptions(new_height=5) if number % 2 else ResizeBilinearOptions(new_height=7, align_corners=True)
        model.subgraphs[0].operators.append(tk.Operator(opcode=model.operator_codes[0], builtin_options=options))
    data = bytearray(tk.serialize(model))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "ResizeBilinearOptions")
    row = int(batch.pos[0])
    struct.pack_into("<H", data, row - int(struct.unpack_from("<i", data, row)[0]) + 4, entry)
    read = tk.parse(bytes(data))
    heights = [getattr(operator.builtin_options, "new_height", None) for operator in read.subgraphs[0].operators]
    assert heights == [0, 5] * count
    assert tk.serialize(read) == bytes(data)
    with pytest.raises(tk.LossyWriteError, match="a deprecated field that cannot be decoded"):
        tk.serialize(read, rebuild=True)


DAMAGE = {
    "zero": ("shape", 0, 0), "outside": ("name", 0, 1 << 30), "far": ("quantization", 0, 1 << 31), "misaligned": ("name", 0, 6),
    "long": ("shape", 4, 1 << 29),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_wrong_with_one_of_many_tables_is_said_of_its_field(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The fields of a batch are followed together; one that leads astray is named as if it had been followed alone."""
    data = bytearray(tk.serialize(many_operators(30)))
    name, at, value = DAMAGE[kind]
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Tensor")
    slot = next(f.slot for f in plan("Tensor").fields if f.name == name)
    place = int(batch.pos[20] + batch.offsets[batch.inv[20], slot]) if not at else int(batch.vectors[slot][0][20]) - 4
    struct.pack_into("<I", data, place, value)
    said = []
    for together in (verifier.TOGETHER, 0):
        monkeypatch.setattr(verifier, "TOGETHER", together)
        with pytest.raises(tk.CorruptError) as caught:
            tk.parse(bytes(data))
        said.append((str(caught.value), caught.value.where, caught.value.offset))
    assert said[0] == said[1] and said[0][1] == f"model.subgraphs[0].tensors[20].{name}"
