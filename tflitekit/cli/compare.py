"""`tflitekit compare A B`."""

from __future__ import annotations

import argparse

from .check import TOLERANCE_HELP, add_data_options, add_run_options, comparison_options
from .common import add_json, add_model, put
from .numbers import accept_negative


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    accept_negative(parser)
    add_model(parser, "a")
    add_model(parser, "b")
    parser.add_argument("--tolerance", metavar="T", help=f"exit 5 beyond it: {TOLERANCE_HELP}")
    parser.add_argument("--layers", action="store_true", help="compare every tensor: where the models depart, and how the error grows")
    add_data_options(parser, "N random samples, drawn in real values (the default, 4)")
    add_run_options(parser)
    add_json(
        parser,
        "a, b, resolver, data, tolerance, within, equal, shows, missing, signatures (each: signature, matched, samples, inputs, outputs, layers); "
        "of an output: name, a, b, lsb, elements, differing, non_finite, max_abs, mean_abs, max_lsb, mean_lsb, at, largest, sqnr_db, cosine, top1, "
        "varies, within",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run both models and print how far their outputs are apart; 5 if beyond the tolerance."""
    from ..reports.compare import compare_report
    from ..reports.facts_compare import compare_facts
    from ..runtime import compare
    from ..runtime.interface import subject

    a, b = subject(arguments.a), subject(arguments.b)
    facts = compare_facts(compare(a, b, layers=arguments.layers, **comparison_options(arguments, a, b)))
    put(facts, arguments, lambda: compare_report(facts))
    return 5 if facts["within"] is False else 0
