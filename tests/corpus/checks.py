"""Independent checks of written files: where buffers lie, and whether a zip at the end is exact."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np

import tflitekit as tk
from tflitekit import _schema
from tflitekit._schema import TensorType

from ..differential.raw import buffer_data, root


def misaligned(data: bytes, alignment: int = 16) -> list[str]:
    """Buffers whose data does not start at a multiple of `alignment` in the file, inside or behind the flatbuffer."""
    wrong = [f"buffers[{i}].data at {at}" for i, (at, size) in enumerate(buffer_data(data)) if size and at % alignment]
    slots = {row[0]: row[2] for row in _schema.FIELDS["Buffer"]}
    buffers = root(data).children({row[0]: row[2] for row in _schema.FIELDS["Model"]}["buffers"])
    for number, table in enumerate(buffers):
        if slots["data"] not in table.slots and slots["offset"] in table.slots:
            (offset,) = struct.unpack_from("<Q", data, table.slots[slots["offset"]])
            if offset > 1 and offset % alignment:
                wrong.append(f"buffers[{number}].offset {offset}")
    return wrong


def strict_zip(data: bytes) -> dict[str, bytes] | None:
    """The files in the zip at the end of `data`, None if there is none.

    Nothing is searched or corrected: the end record must be the last bytes, and all offsets must count from the start of the file. AssertionError
    where they do not.
    """
    at = data.rfind(b"PK\x05\x06")
    if at < 0:
        return None
    disk, start_disk, here, total, size, offset, comment = struct.unpack_from("<4H2IH", data, at + 4)
    assert at + 22 + comment == len(data), "bytes behind the end record"
    assert (disk, start_disk) == (0, 0) and here == total
    assert offset + size == at, f"central directory at {offset} with {size} bytes does not end where the end record is, at {at}"
    cursor = offset
    for _ in range(total):
        assert data[cursor : cursor + 4] == b"PK\x01\x02", f"no entry of the directory at {cursor}"
        names, extra, note = struct.unpack_from("<3H", data, cursor + 28)
        (local,) = struct.unpack_from("<I", data, cursor + 42)
        name = data[cursor + 46 : cursor + 46 + names]
        assert data[local : local + 4] == b"PK\x03\x04", f"no local header at {local}"
        (local_names,) = struct.unpack_from("<H", data, local + 26)
        assert data[local + 30 : local + 30 + local_names] == name
        cursor += 46 + names + extra + note
    assert cursor == at
    return contents(data)


def contents(data: bytes) -> dict[str, bytes]:
    """Names and contents by the tolerant zip reader, CRCs checked."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def is_compiled(model: tk.Model) -> bool:
    """Whether bytecode for an NPU lies behind the model: its place is hidden in custom options, so a rebuild has to be refused."""
    return any(operator.opcode is not None and operator.opcode.custom_code == b"DISPATCH_OP" for operator in model.operators())


def unsupported_filters(model: tk.Model) -> list[tk.Tensor]:
    """INT2 filters of float convolutions. The CPU has no kernel for them and takes their bytes for floats, far beyond the end of the buffer."""
    found = []
    for operator in model.operators():
        if operator.op_name == "CONV_2D" and len(operator.inputs) > 1:
            x, weights = operator.inputs[:2]
            if x is not None and weights is not None and x.type == TensorType.FLOAT32 and weights.type == TensorType.INT2:
                found.append(weights)
    return found


def surround(model: tk.Model, tensor: tk.Tensor, byte: int) -> None:
    """Put a thousand bytes that no tensor uses before and behind a tensor's data."""
    assert tensor.buffer is not None
    at = model.buffers.index(tensor.buffer)
    model.buffers[at:at] = [tk.Buffer(data=bytes([byte]) * 1000)]
    model.buffers[at + 2 : at + 2] = [tk.Buffer(data=bytes([byte]) * 1000)]


def with_float_filters(model: tk.Model) -> tk.Model:
    """The same model with those filters as floats, which the runtime can compute."""
    for weights in unsupported_filters(model):
        assert weights.quantization is not None
        scale = weights.quantization.scale.reshape([-1] + [1] * (len(weights.shape) - 1))
        values = weights.numpy().astype(np.float32) * scale
        weights.type, weights.quantization = TensorType.FLOAT32, None
        model.set_data(weights, values)
    return model
