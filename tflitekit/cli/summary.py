"""`tflitekit summary MODEL`."""

from __future__ import annotations

import argparse

from .common import add_json, add_model, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_json(
        parser,
        "file, version, description, min_runtime_version, subgraphs, signatures, operators, metadata, constants, quantization, container",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the overview of a model."""
    from ..flat.codec import read
    from ..flat.metadata import metadata_or_problem
    from ..reports.facts_summary import summary_facts
    from ..reports.summary import summary_report

    model = read(arguments.model)
    facts = summary_facts(model, *metadata_or_problem(model))
    put(facts, arguments, lambda: summary_report(facts))
    return 0
