"""`tflitekit audit MODEL...`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .common import add_json, blocks, write_pictures, write_text
from .many import add_jobs, add_models, run_many, single
from .patience import stop_showing

if TYPE_CHECKING:
    from ..reports.report import Report

# As in the rules and findings, which are not imported for --help.
RUNTIMES = ("reference", "optimized", "xnnpack", "tflm", "edgetpu")
SEVERITIES = ("error", "warning", "info")
STDOUT = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models(parser)
    add_jobs(parser)
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
        "runtime, unreadable (each: path, message), models; of a model: file, verdict, why, interface, coverage, other_constants, islands, "
        "float_operators, runtime, weights (null without --weights), counts, findings, required, next",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the audit of one model, or a summary of several. 3 if one cannot be read, else 1 if one is not as asked for."""
    from ..errors import EditError
    from ..reports.audit_many import audits_facts

    if arguments.json + arguments.markdown + (arguments.sarif == STDOUT) > 1:
        raise EditError("only one of --json, --markdown and --sarif - can be printed")
    options = {"runtime": arguments.runtime, "require": arguments.require, "weights": arguments.weights}
    if arguments.require is not None:
        from ..reports.requirement import parse_requirement

        parse_requirement(arguments.require)  # before any file is read
    from ..per_file import audit_file

    path = single(arguments)
    if path is not None:
        models, lost = [audit_file(path, **options)], set[int]()
        _put(audits_facts(models, [], arguments.runtime), arguments, one=True)
    else:
        def show(found: list[dict[str, Any]], unreadable: list[dict[str, Any]]) -> None:
            _put(audits_facts(found, unreadable, arguments.runtime), arguments, one=False)

        models, lost = run_many(arguments, audit_file, show, **options)
    return 3 if lost else int(_fails(models, arguments.fail_on))


def _put(facts: dict[str, Any], arguments: argparse.Namespace, *, one: bool) -> None:
    """Print the report in the form that was asked for, and write the SARIF log and the pictures."""
    from ..reports.to_json import to_json

    stop_showing()
    report = _report(facts, one=one) if arguments.svg or arguments.html or not arguments.json else None
    if report is not None:
        write_pictures(report, arguments)
    if arguments.sarif is not None:
        from .. import __version__
        from ..reports.to_sarif import to_sarif

        text = to_json(to_sarif(facts, __version__)) + "\n"
        if arguments.sarif == STDOUT:
            sys.stdout.write(text)
            return
        write_text(arguments.sarif, text, "{", "--sarif")
    if arguments.json or report is None:
        sys.stdout.write(to_json(facts) + "\n")
    elif arguments.markdown:
        from ..reports.to_markdown import to_markdown

        sys.stdout.write(to_markdown(report))
    else:
        from ..reports.render import show

        show(report)


def _report(facts: dict[str, Any], *, one: bool) -> Report:
    from ..reports.audit import audit_report
    from ..reports.audit_many import audits_report

    return audit_report(facts["models"][0], blocks()) if one else audits_report(facts)


def _fails(models: Sequence[dict[str, Any]], severity: str | None) -> bool:
    """Whether a model is not what was required, or has findings of a severity that shall fail."""
    failing = SEVERITIES[: SEVERITIES.index(severity) + 1] if severity is not None else ()
    return any((m["required"] is not None and not m["required"]["met"]) or any(m["counts"][s] for s in failing) for m in models)
