"""What the commands report of one file, as plain data: functions of a path that can be pickled, so that any engine can map them over many files.

    from concurrent.futures import ProcessPoolExecutor
    from tflitekit.per_file import audit_file

    with ProcessPoolExecutor() as pool:
        for facts in pool.map(audit_file, paths):
            print(facts["file"]["name"], facts["verdict"]["scheme"])

The keys are those of `--json` of the command of the same name. Files that cannot be read raise like `read`; those errors can be pickled too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .passes.base import Pass, Progress

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


def rewrite_file(
    path: str,
    passes: Sequence[Pass | str],
    output: str | None = None,
    *,
    overwrite: bool = False,
    backup: bool = False,
    in_place: bool = False,
    check: Callable[[str, Any], Facts] | None = None,
    progress: Progress | None = None,
) -> Facts:
    """What the rewriting commands say with --json of a file, on which they run passes (objects, or texts as `apply -p` takes them).

    The result goes to `output`, or with `in_place` to the file itself; without either nothing is written, nor where all that was asked for was
    refused. `overwrite` and `backup` are as of `tflitekit.write`. `check` is given the path and the model before it is written, and raises if it is
    not to be; `progress` is told how far the passes are, and the writing. Besides the errors of `read` and `write`, RefusedError and EditError where
    the passes cannot do what they are asked for.
    """
    from .flat.codec import encode, read, write
    from .passes.base import run
    from .passes.options import parse_spec
    from .reports.copied import output_facts
    from .reports.rewritten import rewritten_facts

    model = read(path)
    result = run(model, *(parse_spec(one) if isinstance(one, str) else one for one in passes), progress=progress)
    facts = rewritten_facts(model, result)
    facts["check"] = None if check is None or facts["refused"] else check(path, result.model)
    target = path if in_place else output
    if target is None or facts["refused"] or not any(step.of.writes for step in result.steps):
        return facts | output_facts(None, encode(result.model))
    return facts | output_facts(target, write(result.model, target, overwrite=overwrite, in_place=in_place, backup=backup, progress=progress))
