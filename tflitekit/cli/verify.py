"""`tflitekit verify MODEL`."""

from __future__ import annotations

import argparse

from .common import add_json, add_model, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--strict", action="store_true", help="exit 1 for warnings too")
    parser.add_argument("--cross-check", action="store_true", help="also compare with the independent readers of the tflite package")
    add_json(parser, "file, counts, problems (each: severity, code, path, name, message), cross_check")


def run(arguments: argparse.Namespace) -> int:
    """Print the problems; 1 if there are errors, or differences between the readers."""
    from ..flat.codec import read
    from ..reports.problems import problems_facts, problems_report
    from ..verify import verify

    model = read(arguments.model)
    differences = None
    if arguments.cross_check:
        from ..flat.crosscheck import cross_check

        differences = cross_check(arguments.model)
    facts = problems_facts(model, verify(model), differences)
    put(facts, arguments, lambda: problems_report(facts))
    counts = facts["counts"]
    return int(bool(counts["error"] or differences or (arguments.strict and counts["warning"])))
