"""`python -m tests.benchmarks [--quick] [--only operators,real,audit,big,kernels,int8]`: run the comparisons and print one Markdown table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ..conftest import MODEL_PATHS
from . import cases
from .harness import Row, markdown


def real_paths(count: int = 6) -> list[Path]:
    """The largest real models under 5 MB that can be rebuilt, and movenet."""
    small = sorted((path for path in MODEL_PATHS if path.stat().st_size < 5e6), key=lambda path: -path.stat().st_size)
    return list(dict.fromkeys([*(path for path in small if "movenet" in path.name), *small[:count]]))


def run(kinds: list[str], folder: Path, quick: bool) -> list[Row]:
    """All rows of the chosen kinds."""
    rows: list[Row] = []
    if "operators" in kinds:
        rows += cases.operators(2_000 if quick else 20_000, folder)
    if "real" in kinds:
        rows += cases.real_models(real_paths(2 if quick else 6), folder)
    if "audit" in kinds:
        rows += [*cases.audit_operators(2_000 if quick else 20_000), *cases.audit_models(real_paths(2 if quick else 6))]
    if "big" in kinds:
        rows += cases.big_weights((50 if quick else 500) * cases.MEGABYTE, folder)
    if "kernels" in kinds and find_spec("litert_quantizer") is not None:
        rows += cases.weight_kernels((8 if quick else 64) * cases.MEGABYTE)
    if "int8" in kinds and find_spec("litert_quantizer") is not None:
        for megabytes, targets in cases.WHOLE_JOBS[: 1 if quick else None]:
            rows += cases.weights_to_int8(megabytes * cases.MEGABYTE, folder, targets)
    return rows


def main() -> int:
    """Print the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--only", default="operators,real,audit,big,kernels,int8", help="which comparisons, separated by commas")
    parser.add_argument("--folder", type=Path, help="where to write; the file system counts (default: a temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        rows = run(chosen.only.split(","), Path(folder), chosen.quick)
    print(markdown(rows))
    return 0 if all(row.holds() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
