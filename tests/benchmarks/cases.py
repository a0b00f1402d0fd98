"""The comparisons. Each returns rows; sizes are parameters, so that the ordinary test run can use small ones."""

from __future__ import annotations

import filecmp
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import tflitekit as tk
from tflitekit import types
from tflitekit.quant import grid, kernels, ranges
from tflitekit.quant.affine import Rounding

from .. import generated
from .harness import Row, anonymous_memory, interleave

PEER = "ai_edge_litert.tools.flatbuffer_utils"
MEGABYTE = 1 << 20


def flatbuffer_utils() -> Any:
    """LiteRT's own tools for reading and writing models."""
    return import_module(PEER)


def content(data: bytes | memoryview) -> list[Any]:
    """What two files must share to be the same model, whatever their layout; the peer renumbers empty buffers and drops stored defaults."""
    model = tk.parse(data)
    facts: list[Any] = [[(code.code, code.custom_code, code.version) for code in model.operator_codes]]
    for subgraph in model.subgraphs:
        position = {id(tensor): index for index, tensor in enumerate(subgraph.tensors)}
        for tensor in subgraph.tensors:
            q = tensor.quantization
            numbers = () if q is None else (q.scale.tobytes(), q.zero_point.tobytes(), q.min.tobytes(), q.max.tobytes(), q.quantized_dimension)
            stored = bytes(tensor.buffer.data) if tensor.buffer is not None and tensor.buffer.data else b""
            facts.append((tensor.name, tensor.type, tensor.shape, numbers, stored))
        for operator in subgraph.operators:
            used = [[position.get(id(t), -1) for t in tensors] for tensors in (operator.inputs, operator.outputs)]
            facts.append((model.operator_codes.index(operator.opcode) if operator.opcode else -1, used, repr(operator.options)))
    return facts


def files_agree(ours: Path, theirs: Path) -> None:
    """Fail if two written files are not the same model."""
    assert content(ours.read_bytes()) == content(theirs.read_bytes()), f"{ours} and {theirs} are different models"


def operators(count: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Read with all objects, write with a new layout, and both, of a generated model. Ours verifies on reading and after writing, and syncs."""
    peer = flatbuffer_utils()
    source, ours, theirs = folder / "many.tflite", folder / "ours.tflite", folder / "theirs.tflite"
    source.write_bytes(tk.serialize(generated.many_operators(count)))

    def same_objects(mine: tk.Model, other: Any) -> None:
        assert len(mine.subgraphs[0].operators) == len(other.subgraphs[0].operators) == count
        assert len(mine.subgraphs[0].tensors) == len(other.subgraphs[0].tensors)

    def agree(*_: Any) -> None:
        files_agree(ours, theirs)

    read = interleave({"tflitekit": lambda: tk.read(source), PEER: lambda: peer.read_model(source)}, repeats, check=same_objects)
    write = interleave(
        {
            "tflitekit": partial(tk.write, tk.read(source), ours, overwrite=True, rebuild=True),
            PEER: partial(peer.write_model, peer.read_model(source), theirs),
        },
        repeats,
        check=agree,
    )
    both = interleave(round_trip(source, ours, theirs), repeats, check=agree)
    name = f"{count:,} operators"
    return [read.row(f"{name}: read", 20), write.row(f"{name}: write", 5), both.row(f"{name}: round trip", 8)]


def round_trip(source: Path, ours: Path, theirs: Path) -> dict[str, Callable[[], Any]]:
    """Read and write anew, by both."""
    peer = flatbuffer_utils()
    return {
        "tflitekit": lambda: tk.write(tk.read(source), ours, overwrite=True, rebuild=True),
        PEER: lambda: peer.write_model(peer.read_model(source), theirs),
    }


def real_models(paths: list[Path], folder: Path, repeats: int = 9) -> list[Row]:
    """Round trips of real models, ours verified: in memory, from file to file without syncing (as the peer does it), and with both synced.

    The target is for the first in memory, the one with the most tensors; the other rows show how far down it holds, and what the disk leaves of it.
    """
    peer = flatbuffer_utils()
    ours, theirs = folder / "ours.tflite", folder / "theirs.tflite"

    def agree(*_: Any) -> None:
        files_agree(ours, theirs)

    def ours_in_memory(path: Path) -> bytes:
        return tk.serialize(tk.read(path), rebuild=True)

    def theirs_in_memory(path: Path) -> Any:
        return peer.convert_object_to_bytearray(peer.read_model(path))

    def theirs_synced(path: Path) -> None:
        peer.write_model(peer.read_model(path), theirs)
        with theirs.open("rb") as written:
            os.fsync(written.fileno())

    rows: list[Row] = []
    for path in paths:
        target = 0 if rows else 3
        name = f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB): round trip"
        with patch("os.fsync"):
            unsynced = interleave(round_trip(path, ours, theirs), repeats, check=agree)
        both = {"tflitekit": round_trip(path, ours, theirs)["tflitekit"], PEER: partial(theirs_synced, path)}
        files = interleave(both, repeats, check=agree)
        memory = interleave({"tflitekit": partial(ours_in_memory, path), PEER: partial(theirs_in_memory, path)}, repeats)
        rows += [memory.row(f"{name}, in memory", target), unsynced.row(f"{name}, to a file", 0), files.row(f"{name}, both synced", 0)]
    return rows


def touch_operands(model: tk.Model) -> float:
    """The reference loop for work on every operator: thirty passes in plain Python that read type and scale of each operand."""
    total = 0.0
    for operator in (operator for _ in range(30) for subgraph in model.subgraphs for operator in subgraph.operators):
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and tensor.quantization is not None and len(tensor.quantization.scale):
                total += float(tensor.quantization.scale[0]) * tensor.type
    return total


def audit_operators(count: int, repeats: int = 7) -> list[Row]:
    """An audit in process against the reference loop, the best run of each in CPU time. The target is 0.5 s where the loop takes 0.3 s."""
    model = tk.parse(tk.serialize(generated.many_operators(count)))
    candidates = {"tflitekit": lambda: tk.audit(model), "thirty passes over all operands": lambda: touch_operands(model)}
    return [interleave(candidates, repeats, clock=time.process_time).row(f"{count:,} operators: audit", 1.7, "of its time", min)]


def audit_models(paths: list[Path], repeats: int = 9) -> list[Row]:
    """Audits of real models against reading them, the best run of each in CPU time."""
    rows = []
    for path in paths:
        model = tk.read(path)
        timing = interleave({"tflitekit": partial(tk.audit, model), "reading it": partial(tk.read, path)}, repeats, clock=time.process_time)
        rows.append(timing.row(f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB): audit", 2, "of its time", min))
    return rows


def big_weights(size: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Rebuild and save a model of float weights, against `cp` followed by `sync FILE`; and the memory that it takes."""
    source, ours, theirs = folder / "big.tflite", folder / "ours.tflite", folder / "copied.tflite"
    tk.write(generated.float_weights(size), source, overwrite=True)

    def save() -> None:
        tk.write(tk.read(source), ours, rebuild=True)

    def copy() -> None:
        subprocess.run(["cp", str(source), str(theirs)], check=True)
        subprocess.run(["sync", str(theirs)], check=True)

    def remove() -> None:
        for path in (ours, theirs):
            path.unlink(missing_ok=True)

    remove()
    save()
    assert ours.stat().st_size == source.stat().st_size
    assert filecmp.cmp(ours, source, shallow=False), "a rebuild of what this writer wrote must be the same bytes"
    remove()
    timing = interleave({"tflitekit": save, "cp + sync": copy}, repeats, before=remove)
    remove()
    grown = anonymous_memory(f"tk.write(tk.read({str(source)!r}), {str(ours)!r}, rebuild=True)")
    remove()
    name = f"{source.stat().st_size / MEGABYTE:.0f} MiB of float weights"
    source.unlink()
    return [
        timing.row(f"{name}: rebuild and save", 1.3, "of its time"),
        Row(f"{name}: RssAnon above the import", grown, 0, 64, "MB", "a process that imported the package"),
    ]


QUANTIZER = "litert-quantizer"


def weight_kernels(size: int, repeats: int = 5) -> list[Row]:
    """Ranges and INT8 codes per channel of a float32 matrix of `size` bytes, and the packing of as many INT4 codes as it has elements."""
    tensors = import_module("litert_quantizer.algorithms.uniform_quantize.uniform_quantize_tensor")
    typing = import_module("litert_quantizer.qtyping")
    packing = import_module("litert_quantizer.transformations.transformation_utils")
    values = np.random.default_rng(0).standard_normal((size // (4 << 12), 1 << 12), np.float32)
    rows, codes = grid.per_channel(values.shape, 0), kernels.Codes(-127, 127, rounding=Rounding.HALF_EVEN)

    def ours(codes: kernels.Codes = codes) -> Any:
        return ranges.fit(values.reshape(-1), rows, codes)[1]

    def theirs() -> Any:
        least, most = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        zero_point, scale = tensors.tensor_zp_scale_from_min_max(least, most, 8, True, typing.QuantGranularity.CHANNELWISE)
        given = typing.UniformQuantParams(scale=scale, zero_point=zero_point, num_bits=8, symmetric=True, quantized_dimension=0)
        return tensors.uniform_quantize(values, given)

    def same(mine: Any, other: Any) -> None:
        assert np.array_equal(mine.reshape(-1), other.reshape(-1))

    even = interleave({"tflitekit": ours, QUANTIZER: theirs}, repeats, check=same)
    away = interleave({"tflitekit": partial(ours, kernels.Codes(-127, 127)), QUANTIZER: theirs}, repeats)
    four = np.random.default_rng(1).integers(-8, 8, values.size, np.int8)
    pack = interleave({"tflitekit": lambda: types.pack_codes(four, 4), QUANTIZER: lambda: packing.pack_data(4, four)}, repeats, check=same)
    name = f"{values.nbytes / MEGABYTE:.0f} MiB of float weights"
    return [
        even.row(f"{name}: INT8 per channel, halves to even", 5),
        away.row(f"{name}: INT8 per channel, halves away from 0", 0),
        pack.row(f"{four.nbytes / MEGABYTE:.0f} Mi of INT4 codes: packed", 3),
    ]


_OURS = "tk.write(tk.run(tk.read({source!r}), tk.passes.RequantizeWeights(to='int8', no_errors=True)).model, {target!r}, overwrite=True)"
_THEIRS = "quantizer.Quantizer({source!r}, recipe.dynamic_wi8_afp32()).quantize().export_model({target!r}, overwrite=True)"
_QUIET = "out, sys.stdout, sys.stderr = sys.stdout, open('/dev/null', 'w'), open('/dev/null', 'w')"


def weights_to_int8(size: int, folder: Path, targets: tuple[float, float], repeats: int = 5) -> list[Row]:
    """Read, quantize to hybrid INT8 per channel, save: `size` bytes of float weights. Neither syncs; ours verifies what it wrote.

    `targets` are the promised ratio of time, and the megabytes of anonymous memory, or (negative) their ratio to the peer's.
    """
    quantizer, recipe = (import_module(f"litert_quantizer.{name}") for name in ("quantizer", "recipe"))
    source, ours, theirs = folder / "big.tflite", folder / "ours.tflite", folder / "theirs.tflite"
    tk.write(generated.float_weights(size), source, overwrite=True)
    made = tk.passes.RequantizeWeights(to="int8", rounding="half-even", no_errors=True)

    def mine() -> None:
        tk.write(tk.run(tk.read(source), made).model, ours, overwrite=True)

    def other() -> None:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            quantizer.Quantizer(str(source), recipe.dynamic_wi8_afp32()).quantize().export_model(str(theirs), overwrite=True)

    def same(*_: Any) -> None:
        pair = zip(tk.read(ours).tensors(), tk.read(theirs).tensors(), strict=True)
        assert all(a.buffer.data == b.buffer.data for a, b in pair if a.is_constant)  # type: ignore[union-attr]

    def both_are_new() -> None:
        """Neither replaces a file, which would make the file system start to write the data out."""
        if ours.exists() and theirs.exists():
            ours.unlink()
            theirs.unlink()

    with patch("os.fsync"):
        timing = interleave({"tflitekit": mine, QUANTIZER: other}, repeats, check=same, before=both_are_new)
    grown = anonymous_memory(_OURS.format(source=str(source), target=str(ours)))
    work = f"{_QUIET}\n{_THEIRS.format(source=str(source), target=str(theirs))}\nsys.stdout = out"
    taken = anonymous_memory(work, "from litert_quantizer import quantizer, recipe")
    for path in (source, ours, theirs):
        path.unlink()
    name = f"{size / MEGABYTE:.0f} MiB of float weights: read, INT8 per channel, save"
    limit = targets[1] if targets[1] >= 0 else taken / -targets[1]
    return [
        timing.row(name, targets[0]),
        Row(f"{name}: RssAnon above the import", grown, 0, limit, "MB", f"litert-quantizer grows by {taken:.0f} MB"),
    ]


# Megabytes, ratio of time, and megabytes of memory or (negative) the ratio to litert-quantizer's.
WHOLE_JOBS = ((100, (1.5, 0.0)), (500, (4.0, -4.0)), (1500, (6.0, 256.0)))
