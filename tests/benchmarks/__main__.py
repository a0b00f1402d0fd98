"""`python -m tests.benchmarks`: run the comparisons and print one Markdown table.

Kinds: operators (200, 2,000, 20,000 and 100,000 of them, read and written), readers (the tflite package, flatc's JSON), channels (a model of scales),
real (models under 5 MB), audit, files (audit of 200 files), big (100, 500 and 1,500 MB rebuilt), inplace, beyond (more than 2 GiB), kernels, int8
(weights from file to file), start (processes). All take about 20 minutes, 12 GB of disk and 8 GB of memory on a machine that is otherwise idle.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from .. import runtime
from ..conftest import MODEL_PATHS
from . import audits, big, page, processes, tables, weights
from .big import MEGABYTE
from .harness import Row, markdown


def real_paths(count: int = 6) -> list[Path]:
    """The largest real models under 5 MB that can be rebuilt, and movenet."""
    small = sorted((path for path in MODEL_PATHS if path.stat().st_size < 5e6), key=lambda path: -path.stat().st_size)
    return list(dict.fromkeys([*(path for path in small if "movenet" in path.name), *small[:count]]))


def three_megabytes() -> Path | None:
    """The real model whose size is nearest to 3 MB."""
    return min(MODEL_PATHS, key=lambda path: abs(path.stat().st_size - 3e6), default=None)


def audited() -> list[Path]:
    """Real models of 1 to 5 MB that can be audited."""
    return [path for path in MODEL_PATHS if 1e6 < path.stat().st_size < 5e6 and processes.works(path)]


def operators(folder: Path, quick: bool) -> list[Row]:
    if not runtime.available():
        return []
    counts = (200, 2_000) if quick else (200, 2_000, 20_000, 100_000)
    return [row for count in counts for row in tables.operators(count, folder)]


def readers(folder: Path, quick: bool) -> list[Row]:
    return [row for count in ((200, 2_000) if quick else (2_000, 20_000, 100_000)) for row in tables.other_readers(count, folder)]


def channels(folder: Path, quick: bool) -> list[Row]:
    return tables.channels(folder, 20 if quick else 200) if runtime.available() else []


def real(folder: Path, quick: bool) -> list[Row]:
    if not runtime.available():
        return []
    small = [path for path in MODEL_PATHS if path.stat().st_size < 5e6]
    return tables.real_models(real_paths(2 if quick else 6), folder) + tables.real_classes(small[:: 8 if quick else 1])


def audit(folder: Path, quick: bool) -> list[Row]:
    return [*audits.audit_operators(2_000 if quick else 20_000), *audits.audit_models(real_paths(2 if quick else 6))]


def files(folder: Path, quick: bool) -> list[Row]:
    paths = audited()
    return audits.folder_of_files(paths, folder, 20 if quick else 200) if paths else []


def rebuilding(folder: Path, quick: bool) -> list[Row]:
    return [row for size in ((50,) if quick else (100, 500, 1500)) for row in big.big_weights(size * MEGABYTE, folder)]


def inplace(folder: Path, quick: bool) -> list[Row]:
    return big.patched((50 if quick else 1500) * MEGABYTE, folder)


def beyond(folder: Path, quick: bool) -> list[Row]:
    return big.beyond((64 if quick else 2100) * MEGABYTE, folder)


def kernels(folder: Path, quick: bool) -> list[Row]:
    return weights.weight_kernels((8 if quick else 64) * MEGABYTE) if find_spec("litert_quantizer") else []


def int8(folder: Path, quick: bool) -> list[Row]:
    jobs = weights.WHOLE_JOBS[: 1 if quick else None] if find_spec("litert_quantizer") else ()
    return [row for megabytes, targets in jobs for row in weights.weights_to_int8(megabytes * MEGABYTE, folder, targets)]


def start(folder: Path, quick: bool) -> list[Row]:
    return processes.starts(three_megabytes(), 5 if quick else 21)


KINDS: dict[str, Callable[[Path, bool], list[Row]]] = {
    "operators": operators, "readers": readers, "channels": channels, "real": real, "audit": audit, "files": files, "big": rebuilding,
    "inplace": inplace, "beyond": beyond, "kernels": kernels, "int8": int8, "start": start,
}  # fmt: skip


def main() -> int:
    """Print the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    parser.add_argument("--only", default=",".join(KINDS), metavar="KINDS", help="which comparisons, separated by commas")
    parser.add_argument("--folder", type=Path, help="where to write; the file system counts (default: a temporary folder)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="also write the page docs/benchmarks.md, and the main rows into the README")
    chosen = parser.parse_args()
    kinds = chosen.only.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--only: there is no {unknown[0]}, but {', '.join(KINDS)}")
    rows: list[Row] = []
    for kind in kinds:
        print(f"{kind} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            found = KINDS[kind](Path(folder), chosen.quick)
        rows += found
        told = "\n".join("  ".join(row.cells()) for row in found)
        print(told or "nothing: what it is compared with is not installed", file=sys.stderr, flush=True)
    if chosen.write:
        page.write(rows, chosen.folder or Path(tempfile.gettempdir()), chosen.write)
    print(markdown(rows))
    return 0 if all(row.holds() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
