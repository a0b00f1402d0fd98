"""Weights to integers: the kernels, and the whole job from file to file."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

import tflitekit as tk
from tflitekit import types
from tflitekit.quant import grid, kernels, ranges
from tflitekit.quant.affine import Rounding

from .. import generated
from .big import MEGABYTE
from .harness import MEMORY, Row, interleave, memory, unsynced

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
        even.row(f"{name}: INT8 per channel, halves to even", 7),
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

    with unsynced():
        timing = interleave({"tflitekit": mine, QUANTIZER: other}, repeats, check=same, before=both_are_new)
    grown = memory(_OURS.format(source=str(source), target=str(ours)))
    work = f"{_QUIET}\n{_THEIRS.format(source=str(source), target=str(theirs))}\nsys.stdout = out"
    taken = memory(work, "from litert_quantizer import quantizer, recipe")
    for path in (source, ours, theirs):
        path.unlink()
    name = f"{size / MEGABYTE:.0f} MiB of float weights: read, INT8 per channel, save"
    limit = targets[1] if targets[1] >= 0 else taken.anonymous / -targets[1]
    note = f"with pages of files {grown.total:.0f} MB; {QUANTIZER} {taken.anonymous:.0f} and {taken.total:.0f} MB"
    return [timing.row(name, targets[0]), Row(f"{name}: anonymous memory", grown.anonymous, 0, limit, MEMORY, "above the import", note)]


# Megabytes, ratio of time, and megabytes of memory or (negative) the ratio to litert-quantizer's.
WHOLE_JOBS = ((100, (2.0, 64.0)), (500, (4.0, -4.0)), (1500, (6.0, 256.0)))
