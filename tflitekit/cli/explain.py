"""`tflitekit explain [CODE...]`."""

from __future__ import annotations

import argparse

from .common import add_json, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("code", metavar="CODE", nargs="*", help="a finding code, such as Q501; without one, all codes are listed")
    add_json(parser, "codes (each: code, title, explanation, fix)")


def run(arguments: argparse.Namespace) -> int:
    """Print what the codes mean."""
    from ..reports.explain import explain_facts, explain_report

    facts = explain_facts(arguments.code)
    put(facts, arguments, lambda: explain_report(facts, not arguments.code))
    return 0
