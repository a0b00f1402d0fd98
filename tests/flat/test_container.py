"""What lies around the flatbuffer: zip, offset buffers, padding, leftovers, and bytes that nobody explains."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

import tflitekit as tk
from tests.flat.test_patch import small
from tflitekit.flat.verifier import Verifier


def zipped(body: bytes, prefix_offsets: bool = True, comment: bytes = b"") -> bytes:
    """The body with a zip of two files behind it; offsets counted from the start of the file, or wrongly from the start of the zip."""
    stream = io.BytesIO()
    if prefix_offsets:
        stream.write(body)
    with zipfile.ZipFile(stream, "a" if prefix_offsets else "w") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
        archive.writestr("vocab.txt", "a b c " * 50, zipfile.ZIP_DEFLATED)
        archive.comment = comment
    return stream.getvalue() if prefix_offsets else body + stream.getvalue()


def strict_names(data: bytes) -> dict[str, bytes]:
    """Read a trailing zip trusting only absolute offsets, as readers without prefix detection do."""
    at = data.rfind(b"PK\x05\x06")
    _, _, _, _, count, size, start, comment = struct.unpack_from("<4s4H2IH", data, at)
    assert start + size == at and at + 22 + comment == len(data)
    found = {}
    for _ in range(count):
        entry = struct.unpack_from("<4s6H3I5H2I", data, start)
        assert entry[0] == b"PK\x01\x02" and data[entry[16] : entry[16] + 4] == b"PK\x03\x04"
        name = data[start + 46 : start + 46 + entry[10]].decode()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found[name] = archive.read(name)
        start += 46 + entry[10] + entry[11] + entry[12]
    return found


@pytest.mark.parametrize("comment", [b"", b"a comment"])
@pytest.mark.parametrize("absolute", [True, False])
def test_zip_survives_a_body_that_grows(absolute: bool, comment: bytes) -> None:
    data = zipped(tk.serialize(small()), absolute, comment)
    model = tk.parse(data)
    container = model.source.container
    assert container.zip_names == ["labels.txt", "vocab.txt"]
    assert container.unexplained is None
    model.subgraphs[0].tensors[0].name = b"a much longer name than before, so that everything moves"
    out = tk.serialize(model)
    assert len(out) > len(data)
    assert strict_names(out) == {"labels.txt": b"cat\ndog\n", "vocab.txt": b"a b c " * 50}
    assert tk.serialize(tk.parse(out), rebuild=True) == out


def test_patch_leaves_the_zip_alone() -> None:
    data = zipped(tk.serialize(small()))
    model = tk.parse(data)
    model.subgraphs[0].tensors[0].name = b"q"
    out = tk.serialize(model)
    assert out[model.source.container.zip_range[0] :] == data[model.source.container.zip_range[0] :]


def test_offset_buffers_are_views_and_are_laid_out_anew() -> None:
    data = tk.serialize(small())
    model = tk.parse(data)
    far = next(m.buffer for m in model.metadata if m.name == b"far")
    assert far is not None and far.out_of_line and far.data == bytes(range(64))
    assert np.shares_memory(np.frombuffer(far.data, np.uint8), np.frombuffer(data, np.uint8))
    before = far.offset
    model.subgraphs[0].tensors[0].name = b"n" * 500
    again = tk.parse(tk.serialize(model))
    moved = next(m.buffer for m in again.metadata if m.name == b"far")
    assert moved is not None and moved.out_of_line and moved.data == bytes(range(64))
    assert moved.offset != before and moved.offset % 16 == 0
    assert tk.diff(model, again) == []


def test_aliased_offset_buffers_stay_one_copy() -> None:
    model = small()
    for _ in range(50):
        model.buffers.append(tk.Buffer(data=model.buffers[-1].data, out_of_line=True))
    data = tk.serialize(model)
    assert data.count(bytes(range(64))) == 1
    assert tk.diff(model, tk.parse(data)) == []


def test_unexplained_bytes_are_refused_on_rebuild_and_kept_on_patch() -> None:
    data = tk.serialize(small())
    tail = b"\x01bytecode of some accelerator\x02"
    model = tk.parse(data + bytes(64) + tail)
    assert model.source.container.unexplained == (len(data) + 64, len(data) + 64 + len(tail))
    assert tk.serialize(model) == data + bytes(64) + tail
    model.subgraphs[0].tensors[0].name = b"q"
    assert tk.serialize(model).endswith(tail)
    model.subgraphs[0].tensors[0].name = b"longer"
    with pytest.raises(tk.LossyWriteError, match="drop_unknown"):
        tk.serialize(model)
    assert tail not in tk.serialize(model, drop_unknown=True)


def test_a_few_leftover_bytes_are_carried_along() -> None:
    data = tk.serialize(small()) + b"left\0over"
    model = tk.parse(data)
    assert model.source.container.carried
    out = tk.serialize(model, rebuild=True)
    assert out.endswith(b"left\0over")
    assert tk.serialize(tk.parse(out), rebuild=True) == out


def test_trailing_zeros_are_padding() -> None:
    data = tk.serialize(small())
    model = tk.parse(data + bytes(4096))
    assert model.source.container.unexplained is None and 4096 <= model.source.container.padding < 4096 + 16
    assert tk.serialize(model, rebuild=True) == data


@pytest.mark.parametrize("damage", [(16, b"\xff\xff\xff\x7f"), (12, b"\xff\xff\xff\x7f"), (10, b"\xff\xff")])
def test_a_broken_zip_is_unexplained_and_not_trusted(damage: tuple[int, bytes]) -> None:
    data = bytearray(zipped(tk.serialize(small())))
    at = data.rfind(b"PK\x05\x06")
    data[at + damage[0] : at + damage[0] + len(damage[1])] = damage[1]
    model = tk.parse(bytes(data))
    assert model.source.container.zip_range is None and model.source.container.unexplained is not None
    with pytest.raises(tk.LossyWriteError):
        tk.serialize(model, rebuild=True)


def test_an_offset_outside_the_file_loads_and_is_not_rebuilt() -> None:
    data = bytearray(tk.serialize(small()))
    batch = next(b for b in Verifier(memoryview(bytes(data))).run() if b.name == "Buffer")
    at = int(batch.at(1)[1][-1])
    data[at : at + 8] = struct.pack("<Q", 1 << 40)
    broken = tk.parse(bytes(data))
    assert any(p.severity == "error" for p in tk.verify(broken))
    assert tk.serialize(broken) == bytes(data)
    with pytest.raises(tk.LossyWriteError):
        tk.serialize(broken, rebuild=True)


def test_data_in_buffer_0_is_kept_and_warned_about() -> None:
    model = small()
    model.buffers[0].data = b"not supposed to be here"
    read = tk.parse(tk.serialize(model, rebuild=True))
    assert read.buffers[0].data == b"not supposed to be here"
    assert tk.parse(tk.serialize(read, rebuild=True)).buffers[0].data == b"not supposed to be here"
    assert [p.severity for p in tk.verify(read) if p.path.startswith("buffers[0]")] == ["warning"]
