"""Files of gigabytes: rebuilt, patched in place, and beyond what offsets in a flatbuffer reach."""

from __future__ import annotations

import filecmp
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tflitekit as tk

from .. import generated, runtime
from .harness import AT_MOST, MEMORY, OF_ITS_TIME, Memory, Row, Timing, interleave, memory, unsynced

MEGABYTE = 1 << 20
ABOVE = "a process that imported the package"


def copy_and_sync(source: Path, target: Path) -> None:
    """`cp`, and then `sync` of the copy."""
    subprocess.run(["cp", str(source), str(target)], check=True)
    subprocess.run(["sync", str(target)], check=True)


def save_anew(source: Path | str, target: Path | str) -> None:
    """Read a file, change what makes everything move, lay it out anew, save to a file that does not exist."""
    model = tk.read(source)
    model.description = "moved"
    tk.write(model, target, rebuild=True)


Promises = tuple[tuple[float, float], tuple[float, float]]  # target and aim for the time, and for the memory in MB


def rebuilt(name: str, source: Path, folder: Path, promises: Promises, repeats: int) -> list[Row]:
    """A file read, laid out anew, saved and synced, against `cp` and `sync`; and the memory that it takes."""
    ours, theirs = folder / "ours.tflite", folder / "copied.tflite"

    def remove() -> None:
        for path in (ours, theirs):
            path.unlink(missing_ok=True)

    (target, aim), (most, better) = promises
    timing = interleave({"tflitekit": lambda: save_anew(source, ours), "cp + sync": lambda: copy_and_sync(source, theirs)}, repeats, before=remove)
    remove()
    grown = memory(f"save_anew({str(source)!r}, {str(ours)!r})", "from tests.benchmarks.big import save_anew")
    remove()
    return [timing.row(f"{name}: rebuild and save", target, OF_ITS_TIME, aim=aim), memory_row(f"{name}: rebuild and save", grown, most, better)]


def memory_row(name: str, grown: Memory, most: float, aim: float = 0) -> Row:
    """Anonymous memory as the figure; the rest is pages of files that the system may drop."""
    return Row(f"{name}: anonymous memory", grown.anonymous, 0, most, MEMORY, f"above {ABOVE}", f"with pages of files {grown.total:.0f} MB", aim)


def big_weights(size: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Rebuild and save a model of float weights."""
    source, ours = folder / "big.tflite", folder / "ours.tflite"
    tk.write(generated.float_weights(size), source, overwrite=True)
    tk.write(tk.read(source), ours, overwrite=True, rebuild=True)
    assert filecmp.cmp(ours, source, shallow=False), "a rebuild of what this writer wrote must be the same bytes"
    rows = rebuilt(f"{source.stat().st_size / MEGABYTE:.0f} MiB of float weights", source, folder, ((1.05, 0.8), (32, 16)), repeats)
    source.unlink()
    return rows


def patched(size: int, folder: Path, repeats: int = 25) -> list[Row]:
    """One zero point changed in place in a large file: read, edit, write, in CPU time without what the disk takes; and with it."""
    source = folder / "big.tflite"
    model = generated.float_weights(size)
    model.subgraphs[0].inputs[0].quantization = tk.QuantizationParameters(scale=0.5, zero_point=1)
    tk.write(model, source, overwrite=True)
    values, held = iter(range(1 << 30)), [tk.read(source)]

    def read() -> None:
        held[0] = tk.read(source)

    def edit() -> None:
        held[0].subgraphs[0].inputs[0].quantization.zero_point = [next(values) % 100]  # type: ignore[union-attr]
        assert tk.write(held[0], source, in_place=True).in_place

    def all_of_it() -> None:
        read()
        edit()

    def single(function: Callable[[], None], clock: Callable[[], float], before: Callable[[], None] | None = None) -> Timing:
        return interleave({"tflitekit": function, "nothing": lambda: None}, repeats, clock=clock, before=before)

    with unsynced():
        worked, edited = single(all_of_it, time.process_time), single(edit, time.process_time, read)
    synced = single(all_of_it, time.perf_counter)
    last = tk.read(source).subgraphs[0].inputs[0].quantization
    assert last is not None and last.zero_point[0] == (next(values) - 1) % 100
    name = f"{size / MEGABYTE:.0f} MiB: one zero point in place"
    source.unlink()
    rows = [
        worked.row(f"{name}: read, edit, write, CPU time", 5, AT_MOST, aim=1),
        edited.row(f"{name}: edit and write what was read, CPU time", 5, AT_MOST, aim=1),
        synced.row(f"{name}: read, edit, write, with its three syncs", 0, AT_MOST),
    ]
    return [Row(r.name, r.ours, 0, r.target, r.better, "", r.note.split(" / ")[0], r.aim) for r in rows]


def beyond(size: int, folder: Path, repeats: int = 5) -> list[Row]:
    """Data behind the flatbuffer, more than its offsets reach: summary, edit, save; the runtime fetches the last row of the last buffer from both."""
    source, ours, sparse = folder / "beyond.tflite", folder / "ours.tflite", folder / "sparse.bin"
    model, row = generated.gather_beyond(sparse, size)
    tk.write(model, source, overwrite=True)
    del model
    ours.unlink(missing_ok=True)
    save_anew(source, ours)
    if runtime.available():
        for path in (source, ours):
            outcome = runtime.run(path, inputs={0: np.array([generated.TABLE_ROWS - 1], np.int32)}, recipe=0, timeout=120)
            assert outcome.ok, outcome.message
            assert np.array_equal(np.frombuffer(outcome.outputs[0][2], np.float32), row)
    ours.unlink()
    name = f"{size / MEGABYTE:.0f} MiB behind the flatbuffer"
    command = f"with contextlib.redirect_stdout(out):\n    main(['summary', '--json', {str(source)!r}])"
    check = f"facts = json.loads(out.getvalue())\nassert facts['container']['offset_bytes'] == facts['constants']['bytes'] > {size}"
    prepare = "import contextlib, io, json\nfrom tflitekit.cli.main import main\nout = io.StringIO()"
    summary = memory(f"{command}\n{check}", prepare)
    rows = [memory_row(f"{name}: summary", summary, 64, 32), *rebuilt(name, source, folder, ((0, 0), (64, 32)), repeats)]
    for path in (source, sparse):
        path.unlink()
    return rows
