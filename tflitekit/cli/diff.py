"""`tflitekit diff A B`."""

from __future__ import annotations

import argparse

from .common import add_json, add_model, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser, "a")
    add_model(parser, "b")
    add_json(
        parser,
        "a, b, equal, changes (each: path, old, new). Where operators were put in or taken out, paths are those in B, or in A of those that are gone",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; 1 if there are any."""
    from ..diff import diff
    from ..flat.codec import read
    from ..reports.changes import changes_facts, changes_report

    a, b = read(arguments.a), read(arguments.b)
    facts = changes_facts(a, b, diff(a, b))
    put(facts, arguments, lambda: changes_report(facts))
    return int(not facts["equal"])
