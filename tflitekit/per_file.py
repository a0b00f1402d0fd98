"""What the commands report of one file, as plain data: functions of a path that can be pickled, so that any engine can map them over many files.

    from concurrent.futures import ProcessPoolExecutor
    from tflitekit.per_file import audit_file

    with ProcessPoolExecutor() as pool:
        for facts in pool.map(audit_file, paths):
            print(facts["file"]["name"], facts["verdict"]["scheme"])

The keys are those of `--json` of the command of the same name. Files that cannot be read raise like `read`; those errors can be pickled too.
"""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]


def summary_file(path: str) -> Facts:
    """What `summary --json` says of a file."""
    from .flat.codec import read
    from .flat.metadata import metadata_or_problem
    from .reports.facts_summary import summary_facts

    model = read(path)
    return summary_facts(model, *metadata_or_problem(model))


def tensors_file(path: str, only: Facts | None = None, sort: str = "index", histogram: bool = False) -> Facts:
    """What `tensors --json` says of a file. `only` are fields of `reports.facts_tensors.TensorFilter`."""
    from .flat.codec import read
    from .reports.facts_tensors import TensorFilter, tensors_facts

    return tensors_facts(read(path), TensorFilter(**(only or {})), sort, histogram)


def audit_file(path: str, runtime: str | None = None, require: str | None = None, weights: bool = False) -> Facts:
    """What `audit --json` says of a file, one of its `models`. `runtime` is a name such as "xnnpack", `require` as after --require."""
    from ._audit import audit
    from .errors import EditError
    from .flat.codec import read
    from .quant.rules import Runtime
    from .reports.facts_audit import audit_facts
    from .reports.requirement import parse_requirement

    if runtime is not None and runtime.upper() not in Runtime.__members__:
        raise EditError(f"no runtime {runtime!r}: {', '.join(Runtime.__members__).lower()}")
    chosen = Runtime[runtime.upper()] if runtime is not None else None
    required = parse_requirement(require) if require is not None else None
    model = read(path)
    return audit_facts(model, audit(model, runtime=chosen, weights=weights), chosen, required)
