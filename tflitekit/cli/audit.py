"""`tflitekit audit MODEL...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .common import add_json, blocks, write_pictures, write_text

if TYPE_CHECKING:
    from ..quant.rules.model import Runtime
    from ..reports.requirement import Requirement

# As in the rules and findings, which are not imported for --help.
RUNTIMES = ("reference", "optimized", "xnnpack", "tflm", "edgetpu")
SEVERITIES = ("error", "warning", "info")
STDOUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="MODEL", nargs="+", help="a .tflite file; of several a summary is printed")
    parser.add_argument("--runtime", choices=RUNTIMES, help="give severities for this runtime; without it, the worst of all")
    parser.add_argument(
        "--require", metavar="SCHEME[,io=TYPE]...",
        help="exit 1 unless the model is this, such as full-integer,io=int8. Also inputs=, outputs=, activation=, weights=, granularity=",
    )  # fmt: skip
    parser.add_argument("--fail-on", choices=SEVERITIES, help="exit 1 for findings of this severity or worse")
    parser.add_argument("--weights", action="store_true", help="read the weights: histograms, and findings about their values")
    parser.add_argument("--markdown", action="store_true", help="print the report as Markdown")
    parser.add_argument("--sarif", metavar="FILE", help="write the findings as SARIF 2.1.0 to FILE, replacing it; - is stdout, instead of the report")
    add_json(
        parser,
        "runtime, unreadable (each: path, message), models; of a model: file, verdict, why, interface, coverage, islands, float_operators, runtime, "
        "weights (null without --weights), counts, findings, required, next",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the audit of one model, or a summary of several. 3 if one cannot be read, else 1 if one is not as asked for."""
    from ..errors import EditError
    from ..reports.audit_many import audits_facts

    if arguments.json + arguments.markdown + (arguments.sarif == STDOUT) > 1:
        raise EditError("only one of --json, --markdown and --sarif - can be printed")
    required = None
    if arguments.require is not None:
        from ..reports.requirement import parse_requirement

        required = parse_requirement(arguments.require)
    models, unreadable = _audit_all(arguments.model, _runtime(arguments.runtime), required, arguments.weights)
    facts = audits_facts(models, unreadable, arguments.runtime)
    _put(facts, arguments)
    return 3 if unreadable else int(_fails(models, arguments.fail_on))


def _runtime(name: str | None) -> Runtime | None:
    if name is None:
        return None
    from ..quant.rules import Runtime

    return Runtime[name.upper()]


def _audit_all(
    paths: Sequence[str], runtime: Runtime | None, required: Requirement | None, weights: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The facts of every file, and the path and message of those that cannot be read. A single one that cannot is an exception, as elsewhere."""
    from .._audit import audit
    from ..errors import TFLiteKitError
    from ..flat.codec import read
    from ..reports.facts_audit import audit_facts
    from .main import print_error

    models, unreadable = [], []
    for path in _with_progress(paths):
        try:
            model = read(path)
        except TFLiteKitError as error:
            if len(paths) == 1:
                raise
            print_error(str(error))
            unreadable.append({"path": path, "message": str(error)})
            continue
        models.append(audit_facts(model, audit(model, runtime=runtime, weights=weights), runtime, required))
    return models, unreadable


def _with_progress(paths: Sequence[str]) -> Iterator[str]:
    """The paths, with a progress bar on stderr if that is a terminal and there are several."""
    if len(paths) < 2 or sys.stderr is None or not sys.stderr.isatty():
        yield from paths
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ..reports.escape import escape
    from ..reports.render import console

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[name]}", markup=False))
    with Progress(*columns, console=console(sys.stderr), transient=True) as progress:
        task = progress.add_task("audit", total=len(paths), name="")
        for path in paths:
            progress.update(task, name=escape(path))
            yield path
            progress.advance(task)


def _put(facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print the report in the form that was asked for, and write the SARIF log."""
    from ..reports.to_json import to_json

    if arguments.sarif is not None:
        from .. import __version__
        from ..reports.to_sarif import to_sarif

        text = to_json(to_sarif(facts, __version__)) + "\n"
        if arguments.sarif == STDOUT:
            sys.stdout.write(text)
            return
        write_text(arguments.sarif, text, "{", "--sarif")
    if arguments.json:
        sys.stdout.write(to_json(facts) + "\n")
    else:
        _put_report(facts, arguments)


def _put_report(facts: dict[str, Any], arguments: argparse.Namespace) -> None:
    from ..reports.audit import audit_report
    from ..reports.audit_many import audits_report

    report = audit_report(facts["models"][0], blocks()) if len(arguments.model) == 1 else audits_report(facts)
    write_pictures(report, arguments)
    if arguments.markdown:
        from ..reports.to_markdown import to_markdown

        sys.stdout.write(to_markdown(report))
        return
    from ..reports.render import show

    show(report)


def _fails(models: Sequence[dict[str, Any]], severity: str | None) -> bool:
    """Whether a model is not what was required, or has findings of a severity that shall fail."""
    failing = SEVERITIES[: SEVERITIES.index(severity) + 1] if severity is not None else ()
    return any((m["required"] is not None and not m["required"]["met"]) or any(m["counts"][s] for s in failing) for m in models)
