"""Same-size edits: only their bytes change, everything else of the file stays, and what cannot be patched is rebuilt."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tflitekit as tk
from tests import forge
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.flat import patch
from tflitekit.flat.codec import encode
from tflitekit.flat.verifier import Verifier
from tflitekit.graph import Model

from .test_revised import assignments


def small() -> Model:
    """One ADD of a quantized input and a constant, with out-of-line data."""
    builder = ModelBuilder("small")
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 3))
    one = main.constant("one", np.arange(4, dtype=np.int8), quantization=quantize(0.25, 1))
    main.output(main.apply("ADD", [x, one], TensorSpec("y", [1, 4], "INT8", quantize(0.5, 3)), version=2))
    far = builder.buffer(bytes(range(64)), out_of_line=True)
    builder.model.metadata.append(tk.Metadata(name="far", buffer=far))
    return builder.build()


def differing(old: bytes, new: bytes) -> list[int]:
    assert len(old) == len(new)
    return np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)).tolist()


def test_zero_point_changes_its_bytes_only() -> None:
    data = tk.serialize(small())
    model = tk.parse(data)
    quantization = model.subgraphs[0].tensors[0].quantization
    assert quantization is not None
    quantization.zero_point = [4]
    output = encode(model)
    new = b"".join(output.pieces)
    assert output.writer == "patch"
    assert len(differing(data, new)) == 1
    assert [str(c.path) for c in tk.diff(tk.parse(data), tk.parse(new))] == ["subgraphs[0].tensors[0].quantization.zero_point"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: setattr(m.subgraphs[0].tensors[1].quantization, "scale", np.float32([0.125])),
        lambda m: setattr(m.subgraphs[0].tensors[0], "name", b"z"),
        lambda m: setattr(m.subgraphs[0].tensors[0], "shape", (4, 1)),
        lambda m: setattr(m.operator_codes[0], "version", 3),
        lambda m: setattr(m.subgraphs[0].tensors[1].buffer, "data", bytes([9, 9, 9, 9])),
        lambda m: setattr(m.metadata[-1].buffer, "data", bytes(64)),
        lambda m: setattr(m, "version", 4),
    ],
    ids=["scale", "name", "shape", "opcode-version", "inline-data", "out-of-line-data", "model-version"],
)
def test_what_can_be_patched(edit: object) -> None:
    data = tk.serialize(small())
    model = tk.parse(data)
    edit(model)  # type: ignore[operator]
    output = encode(model)
    assert output.writer == "patch"
    new = b"".join(output.pieces)
    assert 0 < len(differing(data, new)) <= 64
    assert tk.diff(model, tk.parse(new)) == []


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: setattr(m.subgraphs[0].tensors[0].quantization, "zero_point", [4, 4]),
        lambda m: setattr(m.subgraphs[0].tensors[0], "name", b"longer"),
        lambda m: setattr(m.subgraphs[0].tensors[0], "type", "FLOAT32"),  # stored, but the default: patched, see below
        lambda m: setattr(m.subgraphs[0], "name", None),
        lambda m: m.subgraphs[0].outputs.append(m.subgraphs[0].tensors[0]),
        lambda m: setattr(m.subgraphs[0].tensors[0], "is_variable", True),
        lambda m: setattr(m.subgraphs[0].tensors[1].buffer, "data", bytes(5)),
    ],
    ids=["vector-length", "name-length", "type-to-default", "string-removed", "output-added", "absent-scalar", "data-length"],
)
def test_everything_else_is_right_too(edit: object, request: pytest.FixtureRequest) -> None:
    model = tk.parse(tk.serialize(small()))
    edit(model)  # type: ignore[operator]
    output = encode(model)
    assert output.writer == ("patch" if "type-to-default" in request.node.name else "rebuild")
    assert tk.diff(model, tk.parse(b"".join(output.pieces))) == []


def test_unknown_field_survives_a_patch() -> None:
    model = small()
    data = forge.pack(model, {model.subgraphs[0].tensors[0]: {30: ("int32", 7)}})
    read = tk.parse(data)
    quantization = read.subgraphs[0].tensors[0].quantization
    assert quantization is not None
    quantization.scale = np.float32([2.0])
    new = tk.serialize(read)
    assert len(differing(data, new)) <= 4
    with pytest.raises(tk.LossyWriteError, match=r"subgraphs\[0\]\.tensors\[0\].*newer than the schema"):
        tk.serialize(read, rebuild=True)


def test_shared_bytes_are_not_patched() -> None:
    """Two tensors whose quantization is one table in the file: an edit of one must not reach the other."""
    model = small()
    x, y = model.subgraphs[0].tensors[0], model.subgraphs[0].tensors[2]
    y.quantization = x.quantization  # the independent writer packs one object once per user, so share by hand
    data = share_quantization(tk.serialize(model, rebuild=True))
    read = tk.parse(data)
    first, last = read.subgraphs[0].tensors[0].quantization, read.subgraphs[0].tensors[2].quantization
    assert first is not None and last is not None and first is not last
    first.zero_point = [100]
    output = encode(read)
    assert output.writer == "rebuild"
    again = tk.parse(b"".join(output.pieces))
    kept = again.subgraphs[0].tensors[2].quantization
    assert kept is not None and kept.zero_point.tolist() == [3]


def share_quantization(data: bytes) -> bytes:
    """Point tensor 2 at the quantization table of tensor 0."""
    from tflitekit.flat.batches import plan
    from tflitekit.flat.verifier import Verifier

    batch = next(b for b in Verifier(memoryview(data)).run() if b.name == "Tensor")
    slot = next(f.slot for f in plan("Tensor").fields if f.name == "quantization")
    at = [int(batch.pos[i] + batch.offsets[batch.inv[i], slot]) for i in (0, 2)]
    target = at[0] + int.from_bytes(data[at[0] : at[0] + 4], "little")
    out = bytearray(data)
    out[at[1] : at[1] + 4] = (target - at[1]).to_bytes(4, "little")
    return bytes(out)


def test_a_vtable_inside_the_data_is_not_patched() -> None:
    """Crafted: the constant's bytes are also the vtable of a table, so new data would change what that table has."""
    model = small()
    constant = model.subgraphs[0].tensors[1].buffer
    assert constant is not None
    constant.data = bytes([6, 0, 8, 0, 4, 0, 0, 0])
    data = bytearray(tk.serialize(model))
    batches = {b.name: b for b in Verifier(memoryview(bytes(data))).run()}
    at = int(batches["Buffer"].vectors[0][0][[bytes(b.data or b"") for b in model.buffers].index(bytes(constant.data))])
    table = int(batches["Metadata"].pos[0])
    data[table : table + 4] = (table - at).to_bytes(4, "little", signed=True)
    broken = tk.parse(bytes(data))
    victim = broken.subgraphs[0].tensors[1].buffer
    assert victim is not None and bytes(victim.data or b"") == bytes(constant.data)
    victim.data = bytes([4, 0, 4, 0, 0, 0, 0, 0])
    assert encode(broken).writer == "rebuild"


def overlaid(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Crafted files, with the table that each is about: of every two slots of a vtable, the first leads to where the second does, or close by."""
    for batch in Verifier(memoryview(data)).run():
        at = int(batch.pos[0])
        vtable = at - int.from_bytes(data[at : at + 4], "little", signed=True)
        entries = range(vtable + 4, vtable + int.from_bytes(data[vtable : vtable + 2], "little"), 2)
        places = {int.from_bytes(data[entry : entry + 2], "little") for entry in entries}
        for entry in entries:
            for place in {0, *(place + shift for place in places for shift in (-1, 0, 1, 4))}:
                out = bytearray(data)
                out[entry : entry + 2] = place.to_bytes(2, "little", signed=True)
                yield batch.path(0).removeprefix("model."), bytes(out)


def led_elsewhere(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Crafted files: a field of a table points at what other fields point at, or close by."""
    batches = Verifier(memoryview(data)).run()
    targets = {int(start) - 4 for b in batches for first, _ in b.vectors.values() for start in first if start}
    for batch in batches:
        for slot in range(batch.offsets.shape[1]):
            at = int(batch.pos[0] + batch.offsets[batch.inv[0], slot])
            if at == int(batch.pos[0]) or at % 4:
                continue
            for target in {place + shift for place in targets for shift in (-4, 0, 4)}:
                if target > at:
                    yield batch.path(0).removeprefix("model."), data[:at] + (target - at).to_bytes(4, "little") + data[at + 4 :]


def structure(data: bytes) -> list[list[object]]:
    """All that a run of the verifier finds."""
    run = Verifier(memoryview(data))
    found: list[list[object]] = [[batch.pos.tolist(), batch.offsets.tolist(), batch.masks] for batch in run.run()]
    found += [[slot, first.tolist(), count.tolist()] for batch in run.batches for slot, (first, count) in batch.vectors.items()]
    return [*found, [run.end, run.tables, run.materialized]]


def try_edits(data: bytes, path: str) -> Counter[str]:
    """Assign to every field of one table; a patch must change that and nothing else. Returns how each was written."""
    model = tk.parse(data)
    fresh, before, written = tk.parse(data), structure(data), Counter[str]()
    for what, make, undo in assignments(model):
        if what.rpartition(" = ")[0].rpartition(".")[0] != path:
            continue
        make()
        with contextlib.suppress(tk.TFLiteKitError):  # what a rebuild cannot hold
            output = encode(model)
            written[output.writer] += 1
            if output.writer == "patch":
                new = b"".join(output.pieces)
                assert structure(new) == before, what
                assert list(map(str, tk.diff(fresh, tk.parse(new)))) == list(map(str, output.changes or [])), what
        undo()
    return written


ALL = [pytest.param(overlaid, 1, marks=pytest.mark.slow), pytest.param(led_elsewhere, 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("craft", "step"), [(overlaid, 2), (led_elsewhere, 9), *ALL])
def test_crafted_overlaps_are_never_patched_wrongly(craft: Callable[[bytes], Iterator[tuple[str, bytes]]], step: int) -> None:
    """Also where a field shares its bytes with another one, or with what is structure."""
    written = Counter[str]()
    for path, data in list(craft(tk.serialize(small())))[::step]:
        with contextlib.suppress(tk.CorruptError, tk.LimitError):
            tk.parse(data)
            written += try_edits(data, path)
    assert written["patch"] > 40 and written["rebuild"] > 40, written


def test_the_end_of_a_string_is_not_patched() -> None:
    """Crafted: the constant begins in the last bytes of a name, and its first byte is the zero that ends the name."""
    model = small()
    model.subgraphs[0].tensors[0].name = b"\4\0\0\0"
    data = tk.serialize(model)
    batches = {b.name: b for b in Verifier(memoryview(data)).run()}
    name = data.index(b"\4\0\0\0\4\0\0\0\0")
    row = next(i for i, start in enumerate(batches["Buffer"].vectors[0][0]) if start)
    at = int(batches["Buffer"].pos[row] + batches["Buffer"].offsets[batches["Buffer"].inv[row], 0])
    broken = tk.parse(data[:at] + (name + 4 - at).to_bytes(4, "little") + data[at + 4 :])
    assert bytes(broken.buffers[row].data or b"") == bytes(4)
    broken.buffers[row].data = b"abcd"
    assert encode(broken).writer == "rebuild"


def test_data_outside_that_are_no_data_are_not_patched() -> None:
    """Crafted: data at an absolute offset that is in the header, or in a name."""
    model = small()
    far = model.metadata[-1].buffer
    assert far is not None
    far.out_of_line = False

    def at(start: int) -> bytes:
        slots = {forge.slot_of(far, "data"): None, forge.slot_of(far, "offset"): ("uint64", start), forge.slot_of(far, "size"): ("uint64", 4)}
        return forge.pack(model, {far: slots})

    for start in (4, at(4).index(b"main")):
        broken = tk.parse(at(start))
        buffer = broken.metadata[-1].buffer
        assert buffer is not None and buffer.out_of_line
        buffer.data = b"abcd"
        assert encode(broken).writer == "rebuild"
    broken.metadata[-1].buffer.data, broken.subgraphs[0].name = memoryview(b"main"), b"MAIN"  # type: ignore[union-attr]
    assert encode(broken).writer == "rebuild"


def test_many_edits_are_told_apart_as_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    starts, other = rng.integers(0, 200, 50), rng.integers(0, 200, 30)
    ranges = patch._Ranges()
    ranges.add(other, other + rng.integers(1, 30, 30))
    ends = starts + rng.integers(1, 30, 50)
    many = ranges.across(starts, ends)
    monkeypatch.setattr(patch, "_FEW_EDITS", 100)
    assert many.tolist() == ranges.across(starts, ends).tolist() and len(set(many.tolist())) > 3


def test_real_models_change_by_the_edit_alone(model_path: Path) -> None:
    model = tk.read(model_path)
    found = next((t.quantization for t in model.tensors() if t.quantization is not None and len(t.quantization.scale) == 1), None)
    if found is None:
        pytest.skip("no per-tensor quantization")
    found.scale = found.scale * np.float32(2)
    output = encode(model)
    data = model_path.read_bytes()
    new = b"".join(output.pieces)
    assert output.changes is not None and len(output.changes) == 1
    if output.writer == "patch":
        assert len(differing(data, new)) <= 4
    assert tk.diff(model, tk.parse(new)) == []
