"""Reading and writing every real model: nothing is changed, nothing is lost, and the runtime computes the same bits."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit._schema import TensorType

from .. import forge, runtime
from ..conftest import INVALID, MODELS, VALID_PATHS
from ..runtime import needs_runtime
from .checks import contents, is_compiled, misaligned, strict_zip, surround, unsupported_filters, with_float_filters

RESOLVERS = (runtime.DEFAULT, runtime.REFERENCE)


@cache
def manifest() -> dict[str, dict[str, object]]:
    """What is known about each file, by name; empty where the folder has no manifest."""
    listing = MODELS / "manifest.json"
    return {entry["name"]: entry for entry in json.loads(listing.read_text())} if listing.exists() else {}


def rebuilt(path: Path) -> bytes:
    """The file laid out anew; compiled models must refuse, which ends the test that asked."""
    model = tk.read(path)
    if is_compiled(model):
        with pytest.raises(tk.LossyWriteError):
            tk.serialize(model, rebuild=True)
        pytest.skip("compiled for an NPU: the rebuild is refused, as it should be")
    return tk.serialize(model, rebuild=True)


def compare_runs(before: Path | bytes, after: Path | bytes, name: str, *, renumbered: bool = False) -> int:
    """Run both in each resolver. Returns in how many the first ran; fails where the second did not do exactly the same.

    Where neither runs, the messages must be equal too, but for the numbers in them where tensors were `renumbered`.
    """
    jobs = [runtime.Job(model, resolver) for resolver in RESOLVERS for model in (before, after)]
    outcomes = runtime.pool().run(jobs)
    ran = 0
    for resolver, old, new in zip(RESOLVERS, outcomes[::2], outcomes[1::2], strict=True):
        found = runtime.difference(old, new)
        assert found is None, f"{name} in {resolver}: {found}"
        if not old.ok:
            said = [re.sub(r"\d+", "#", run.message) if renumbered else run.message for run in (old, new)]
            assert said[0] == said[1], f"{name} in {resolver}"
        ran += old.ok
    return ran


# ---- reading ----


def test_it_loads_and_the_file_stays_as_it_is(model_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / model_path.name
    shutil.copy(model_path, copy)
    os.utime(copy, ns=(10**18, 10**18))
    before, stat = hashlib.sha256(copy.read_bytes()).hexdigest(), copy.stat()
    model = tk.read(copy)
    tk.verify(model)
    tk.serialize(model)
    after = copy.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino, after.st_mode) == (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode)
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == before
    assert list(tmp_path.iterdir()) == [copy]
    known = manifest().get(model_path.name)
    if known is not None:
        assert len(model.subgraphs) == known["nsub"]
        assert len(model.signature_defs) == known["nsig"]


def test_the_invalid_file_gets_a_clear_error(models: Path) -> None:
    path = models / INVALID
    if not path.exists():
        pytest.skip(f"{INVALID} is not in the set")
    with pytest.raises(tk.TFLiteKitError) as caught:
        tk.read(path)
    assert len(str(caught.value).splitlines()) == 1 and INVALID in str(caught.value)


def test_parse_equals_read(model_path: Path) -> None:
    assert tk.diff(tk.read(model_path), tk.parse(model_path.read_bytes())) == []


# ---- writing ----


def test_untouched_is_identical(model_path: Path) -> None:
    data = model_path.read_bytes()
    assert tk.serialize(tk.read(model_path)) == data
    assert tk.serialize(tk.parse(data)) == data


def test_a_rebuild_loses_nothing_and_is_a_fixed_point(model_path: Path) -> None:
    data = rebuilt(model_path)
    again = tk.parse(data)
    assert tk.diff(tk.read(model_path), again) == []
    assert tk.serialize(again, rebuild=True) == data
    assert misaligned(data) == []


def test_written_to_disk_it_is_the_same(model_path: Path, tmp_path: Path) -> None:
    """`write` streams; what arrives is what `serialize` returns."""
    data = rebuilt(model_path)
    target = tmp_path / "out.tflite"
    tk.write(tk.read(model_path), target, rebuild=True)
    assert target.read_bytes() == data
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.tflite"]


def test_associated_files_survive(model_path: Path) -> None:
    """A zip at the end is there after a rebuild, byte for byte in its contents, with exact offsets."""
    original = model_path.read_bytes()
    at = original.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 + int.from_bytes(original[at + 20 : at + 22], "little") != len(original):
        assert tk.read(model_path).source.container.zip_range is None
        return
    found = strict_zip(rebuilt(model_path))
    assert found is not None
    assert found == contents(original)
    assert sorted(tk.read(model_path).source.container.zip_names) == sorted(found)


def test_the_tail_is_explained(model_path: Path) -> None:
    """Only compiled models have more than a few bytes that nothing refers to."""
    model = tk.read(model_path)
    container = model.source.container
    if is_compiled(model):
        assert container.unexplained is not None
        return
    assert container.unexplained is None or container.unexplained[1] - container.unexplained[0] < 16


# ---- running ----


def comparable(before: Path, after: bytes) -> tuple[Path | bytes, bytes]:
    """Two files as they are; or with float filters, where what they compute would depend on what follows a buffer (shown by the next test).

    The first of such a pair is written by an independent writer.
    """
    if not unsupported_filters(tk.read(before)):
        return before, after
    return forge.pack(with_float_filters(tk.read(before))), tk.serialize(with_float_filters(tk.parse(after)))


@needs_runtime
def test_only_broken_kernels_are_excused(models: Path) -> None:
    """For the models that are not compared as they are: bytes that no tensor uses change what the runtime computes, so no layout could be right."""
    paths = [path for path in VALID_PATHS if unsupported_filters(tk.read(path))]
    assert len(paths) <= 2
    for path in paths:
        outputs = []
        for byte in (0x3F, 0x40):
            model = tk.read(path)
            weights = unsupported_filters(model)[0]
            (convolution,) = weights.consumers()
            subgraph = model.subgraphs[0]
            model.signature_defs = []
            subgraph.operators[subgraph.operators.index(convolution) + 1 :] = []
            subgraph.outputs = list(convolution.outputs)
            surround(model, weights, byte)
            outputs.append(runtime.run(forge.pack(model), runtime.REFERENCE))
        assert all(outcome.ok for outcome in outputs)
        assert runtime.difference(*outputs) is not None


@needs_runtime
def test_a_rebuild_computes_the_same_bits(model_path: Path) -> None:
    data = rebuilt(model_path)
    ran = compare_runs(*comparable(model_path, data), model_path.name)
    known = manifest().get(model_path.name)
    if known is not None and known["runnable"] == "yes":
        assert ran, f"{model_path.name} ran in no resolver"


def permuted(path: Path, seed: int) -> tuple[tk.Model, list[list[str]]]:
    """The model with tensors, buffers (not the sentinel) and operator codes in another order, and the new order of tensor names."""
    model, rng = tk.read(path), random.Random(seed)
    for subgraph in model.subgraphs:
        rng.shuffle(subgraph.tensors)
    rest = model.buffers[1:]
    rng.shuffle(rest)
    model.buffers[1:] = rest
    rng.shuffle(model.operator_codes)
    return model, [[tensor.name_str for tensor in subgraph.tensors] for subgraph in model.subgraphs]


@needs_runtime
def test_a_permutation_computes_the_same_bits(model_path: Path) -> None:
    """Indices are born in the writer: the order of what they point at means nothing."""
    model, names = permuted(model_path, 20)
    if is_compiled(model):
        pytest.skip("compiled for an NPU: cannot be rebuilt")
    data = tk.serialize(model)
    again = tk.parse(data)
    assert [[tensor.name_str for tensor in subgraph.tensors] for subgraph in again.subgraphs] == names
    assert tk.diff(model, again) == []
    compare_runs(*comparable(model_path, data), model_path.name, renumbered=True)


@needs_runtime
def test_a_broken_weight_is_noticed(models: Path) -> None:
    """A control: one changed weight, and one changed scale, fail the comparison that the tests above make."""
    path = models / "aeq_conv_fc_mnist_srq_a8w8.tflite"
    weight = tk.read(path)
    tensor = max((t for t in weight.subgraphs[0].tensors if t.is_constant), key=lambda t: len(t.buffer.data or b"") if t.buffer else 0)
    assert tensor.buffer is not None and tensor.buffer.data is not None
    changed = bytearray(tensor.buffer.data)
    changed[: len(changed) // 2] = bytes(len(changed) // 2)
    tensor.buffer.data = memoryview(changed).toreadonly()
    scale = tk.read(path)
    for target in scale.subgraphs[0].tensors:
        if target.quantization is not None and target.type == TensorType.INT8 and not target.is_constant:
            target.quantization.scale = target.quantization.scale * 1.5
            break
    for model in (weight, scale):
        with pytest.raises(AssertionError, match=r"bytes differ|status"):
            compare_runs(path, tk.serialize(model), path.name)
