"""Audits: in process against the least that any Python code has to do, and of a folder of files against other ways to do that."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import tflitekit as tk

from .. import generated
from .harness import ENVIRONMENT, OF_ITS_TIME, Row, interleave


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
    return [interleave(candidates, repeats, clock=time.process_time).row(f"{count:,} operators: audit", 1.7, OF_ITS_TIME, min)]


def audit_models(paths: list[Path], repeats: int = 9) -> list[Row]:
    """Audits of real models against reading them, the best run of each in CPU time."""
    rows = []
    for path in paths:
        model = tk.read(path)
        timing = interleave({"tflitekit": partial(tk.audit, model), "reading it": partial(tk.read, path)}, repeats, clock=time.process_time)
        rows.append(timing.row(f"{path.stem} ({path.stat().st_size / 1e6:.1f} MB): audit", 2, OF_ITS_TIME, min))
    return rows


def folder_of_files(paths: list[Path], folder: Path, count: int, repeats: int = 5) -> list[Row]:
    """`tflitekit audit FOLDER` with two processes against one process, and against a shell loop that calls it for each file."""
    files = folder / "files"
    files.mkdir()
    for number in range(count):
        path = paths[number % len(paths)]
        shutil.copyfile(path, files / f"{number:03d}_{path.name}")
    command = [sys.executable, "-m", "tflitekit", "audit"]

    def audit(jobs: int) -> str:
        return subprocess.run([*command, files, "--jobs", str(jobs)], check=True, capture_output=True, text=True, env=ENVIRONMENT).stdout

    def loop() -> None:
        script = 'for file in "$0"/*.tflite; do "$@" "$file" > /dev/null || exit 1; done'
        subprocess.run(["sh", "-c", script, files, *command], check=True, env=ENVIRONMENT)

    def same(mine: str, other: str) -> None:
        assert mine == other

    name = f"{count} files, {sum(path.stat().st_size for path in files.iterdir()) / 1e6:.0f} MB: audit, 2 jobs"
    by_jobs = interleave({"tflitekit": partial(audit, 2), "--jobs 1": partial(audit, 1)}, 2 * repeats + 1, check=same)  # they differ little
    by_loop = interleave({"tflitekit": partial(audit, 2), "shell loop": loop}, repeats)
    shutil.rmtree(files)
    return [by_jobs.row(name, 1.6), by_loop.row(name, 10)]
