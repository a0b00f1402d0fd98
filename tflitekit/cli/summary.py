"""`tflitekit summary MODEL`."""

from __future__ import annotations

import argparse

from .common import add_json, blocks, put
from .many import add_jobs, add_models, run_many, single, table_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models(parser)
    add_jobs(parser)
    add_json(
        parser,
        "file, version, description, min_runtime_version, subgraphs, signatures, operators, metadata, constants, quantization, container; of several "
        "files: models (each of these), unreadable (each: path, message)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the overview of a model, or a row for each of several; 3 if one cannot be read."""
    from ..per_file import summary_file

    path = single(arguments)
    if path is None:
        from ..reports.many import summaries_report

        return 3 if run_many(arguments, summary_file, table_of(arguments, summaries_report))[1] else 0
    from ..reports.summary import summary_report

    facts = summary_file(path)
    put(facts, arguments, lambda: summary_report(facts, blocks()))
    return 0
