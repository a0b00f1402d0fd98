"""The verifier's verdict is that of the C++ Verifier, and files that expand far beyond their size are refused."""

from __future__ import annotations

import pickle
import random
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tflitekit as tk
from tests import runtime
from tests.conftest import VALID_PATHS
from tests.flat.mutate import mutant, places
from tests.flat.test_patch import small
from tflitekit.flat.verifier import Verifier

SEEDS = [p for p in VALID_PATHS if p.stat().st_size < 60_000]


def accepts(data: bytes) -> bool:
    """Our verdict; only our own errors may come out, of the verifier and of decoding what it accepts."""
    try:
        model = tk.parse(data)
    except tk.TFLiteKitError:
        return False
    tk.verify(model)
    tk.audit(model)
    assert tk.serialize(model) == data
    try:
        rebuilt = tk.serialize(model, rebuild=True)
    except tk.SerializeError:
        return True
    again = tk.parse(rebuilt)
    assert tk.diff(model, again) == []
    assert tk.serialize(again, rebuild=True) == rebuilt
    return True


def verdicts(files: list[bytes], folder: Path) -> list[bool | None]:
    """What the C++ Verifier inside the interpreter says, None where it crashed: a child goes through the files, and is replaced if it dies."""
    results: list[bool | None] = [None] * len(files)
    stored = folder / "files.pickle"
    stored.write_bytes(pickle.dumps(files))
    first = 0
    while first < len(files):
        command = [sys.executable, str(Path(__file__).with_name("judge.py")), str(stored), str(first)]
        said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300).stdout
        assert said, "the child says nothing"
        for at in range(0, len(said) - 4, 5):
            first, verdict = struct.unpack_from("<IB", said, at)
            results[first] = None if verdict == 2 else bool(verdict)
        first += 1
    return results


def compare_with_cpp(seed: int, count: int, folder: Path) -> None:
    rng = random.Random(seed)
    seeds = [path.read_bytes() for path in SEEDS]
    spots = [places(data) for data in seeds]
    chosen = [rng.randrange(len(seeds)) for _ in range(count)]
    files = [mutant(seeds[i], spots[i], rng) for i in chosen]
    judged = verdicts(files, folder)
    assert judged.count(True) > count // 20 and judged.count(False) > count // 3, "the mutants must be of both kinds"
    for number, (data, verdict) in enumerate(zip(files, judged, strict=True)):
        ours = accepts(data)
        if verdict is not None:
            assert ours == verdict, f"mutant {number} of {SEEDS[chosen[number]].name}"


@pytest.mark.skipif(not SEEDS, reason="no models")
@pytest.mark.skipif(not runtime.available(), reason="needs the runtime extra (ai-edge-litert)")
def test_verdict_is_that_of_the_cpp_verifier(tmp_path: Path) -> None:
    compare_with_cpp(20, 600, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not SEEDS, reason="no models")
@pytest.mark.parametrize("seed", range(10))
def test_verdict_is_that_of_the_cpp_verifier_at_length(seed: int, tmp_path: Path) -> None:
    compare_with_cpp(seed, 3000, tmp_path)


def nested(counts: list[int]) -> bytes:
    """A model whose subgraphs, tensors, ... are `counts` offsets to one shared table each."""
    # Every vtable has one slot filled: subgraphs of the model, tensors of a subgraph, quantization-free tensors.
    out = bytearray(b"\0\0\0\0TFL3")

    def table(slot: int) -> int:
        while len(out) % 4:
            out.append(0)
        vtable = len(out)
        out.extend(struct.pack("<HH", 4 + 2 * (slot + 1), 8) + bytes(2 * slot) + struct.pack("<H", 4))
        while len(out) % 4:
            out.append(0)
        at = len(out)
        out.extend(struct.pack("<iI", at - vtable, 0))
        return at

    levels = [("Model", 2), ("SubGraph", 0), ("Tensor", 9)]
    at = table(levels[0][1])
    struct.pack_into("<I", out, 0, at)
    for level, count in enumerate(counts):
        vector = len(out)
        struct.pack_into("<I", out, at + 4, vector - (at + 4))
        out.extend(struct.pack("<I", count) + bytes(4 * count))
        child = table(levels[level + 1][1]) if level + 1 < len(counts) else leaf(out)
        for i in range(count):
            spot = vector + 4 + 4 * i
            struct.pack_into("<I", out, spot, child - spot)
        at = child
    return bytes(out)


def leaf(out: bytearray) -> int:
    """An empty table."""
    vtable = len(out)
    out.extend(struct.pack("<HH", 4, 4))
    out.extend(struct.pack("<i", 4))
    return vtable + 4


def shared_name(count: int, length: int) -> bytes:
    """Tensors that all point at one long name."""
    model = tk.Model(version=3)
    model.subgraphs = [tk.SubGraph(tensors=[tk.Tensor(name=b"x") for _ in range(count - 1)] + [tk.Tensor(name=b"x" * length)])]
    data = bytearray(tk.serialize(model))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Tensor")
    at = batch.at(3)[1].tolist()
    start = int(batch.vectors[3][0][-1]) - 4
    for spot in at:
        struct.pack_into("<I", data, spot, start - spot)
    return bytes(data)


def shared_data(count: int, length: int) -> bytes:
    """Buffers that all point at the same data."""
    model = tk.Model(version=3)
    model.buffers = [tk.Buffer(data=b"x") for _ in range(count - 1)] + [tk.Buffer(data=bytes(length))]
    data = bytearray(tk.serialize(model))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Buffer")
    start = int(batch.vectors[0][0][-1]) - 4
    for spot in batch.at(0)[1].tolist():
        struct.pack_into("<I", data, spot, start - spot)
    return bytes(data)


BOMBS = {
    "900x900": lambda: nested([900, 900]),
    "3000x3000": lambda: nested([3000, 3000]),
    "1000x1000x1000": lambda: nested([1000, 1000, 1000]),
    "name": lambda: shared_name(2000, 1 << 20),
    "data": lambda: shared_data(2000, 4 << 20),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_refused_at_once(name: str) -> None:
    data = BOMBS[name]()
    start = time.perf_counter()
    with pytest.raises(tk.LimitError, match="likely crafted"):
        tk.parse(data)
    assert time.perf_counter() - start < 0.2


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
