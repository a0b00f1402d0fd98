"""`tflitekit operators MODEL`."""

from __future__ import annotations

import argparse

from .common import add_json, add_model, add_subgraph, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--op", metavar="PATTERN", help="only operators whose name contains PATTERN, or matches it as a shell pattern")
    add_subgraph(parser)
    parser.add_argument("--names", action="store_true", help="show tensors with their names")
    add_json(
        parser,
        "file, total, subgraphs, tree, operators; of an operator: subgraph, index, name, custom, version, "
        "inputs, outputs, intermediates (each: tensor, name, type), options, custom_options, custom_options_bytes",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table of operators."""
    from ..flat.codec import read
    from ..reports.facts_operators import operators_facts
    from ..reports.operators import operators_report

    facts = operators_facts(read(arguments.model), arguments.op, arguments.subgraph)
    put(facts, arguments, lambda: operators_report(facts, arguments.names))
    return 0
