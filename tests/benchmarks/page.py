"""The page that shows the figures, and the part of it that is in the README."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .harness import REPOSITORY, Row, markdown

PACKAGES = ("numpy", "flatbuffers", "tflite", "ai-edge-litert", "litert-quantizer", "flatc")
BEGIN, END = "<!-- benchmarks -->", "<!-- end of benchmarks -->"
# What the README shows: rows whose names match.
MAIN = (
    r"^20,000 operators: (read|write|round trip)$", r"real models of 1 to 5 MB", r"^500 MiB.*rebuild and save$", r"^1500 MiB.*and save: anonymous",
    r"in place: .*CPU", r"^500 MiB.*INT8 per channel, save$", r"^64 MiB.*to even", r"^--help, at a terminal", r"^summary.*in a pipe", r"^200 files",
)  # fmt: skip


def machine(folder: Path) -> str:
    """The machine, the versions and the day, as a sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"without {package}")
    disk = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False).stdout.strip() or "an unknown file system"
    return (
        f"Measured on {datetime.date.today():%Y-%m-%d}: {os.cpu_count()} processors ({_processor()}), {memory:.0f} GiB of memory, {disk}, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {', '.join(found)}."
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return names[0] if names else platform.machine()


HOW = """\
Every figure is the median of at least five runs that alternate with those of the other tool, in one process or, for commands, as whole processes.
Files that ours reads are verified, what it writes is verified and synced; the other tools do neither, unless it says so. Nothing is synced by either
in the rows of weights to INT8, "to a file" and "CPU time". Targets are what the project promises, aims what would be better still.
"Without verification" leaves out that of what is written. What is read is always verified: the verifier is what finds the tables. Edits in place
touch no byte that verification reads, so that its verdict holds. Each kind of table costs reading, writing and verifying some time even if there is
only one such table, which is why models of a few operators take us a millisecond longer than flatbuffer_utils. Rebuilding more than a gigabyte
varies by a factor of two in virtual machines that give free memory back to their host: what is written then waits for memory.
`python -m tests.benchmarks --write docs/benchmarks.md` makes this page and the table in the README.
"""


def page(rows: Sequence[Row], folder: Path) -> str:
    """All of it."""
    return f"# Benchmarks\n\n{machine(folder)}\n\n{HOW}\n{markdown(rows)}\n"


def write(rows: Sequence[Row], folder: Path, target: Path) -> None:
    """Write the page, and the main rows into the README."""
    readme = REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    if not re.search(f"{BEGIN}.*{END}", text, re.DOTALL):
        raise ValueError(f"{readme} has no part between {BEGIN} and {END}")
    target.write_text(page(rows, folder), encoding="utf-8")
    main = [row for row in rows if any(re.search(pattern, row.name) for pattern in MAIN)]
    part = f"{BEGIN}\n\n{machine(folder)}\n\n{markdown(main, (0, 1, 2, 3, 4))}\n\n{END}"
    readme.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: part, text, flags=re.DOTALL), encoding="utf-8")

