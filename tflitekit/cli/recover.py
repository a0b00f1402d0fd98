"""`tflitekit recover MODEL`."""

from __future__ import annotations

import argparse

from .common import add_json, add_model, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--discard", action="store_true", help="only remove the undo record, whatever it says")
    keys = "file, record, outcome (none, unbegun, complete, restored, foreign or discarded), restored (bytes), text"
    add_json(parser, keys)
    parser.description = (
        "Restores a model whose edit in place was interrupted. Every other command does so by itself when it reads the model, also for every model "
        "in a folder. The undo record lies beside the model, and holds the old and the new bytes: if the model is a mixture of them, the old ones "
        "are put back; if it has only old or only new ones, it is whole, and the record is removed. If it has others, the record belongs to another "
        "file (one that was moved away or replaced): then nothing is touched, and --discard removes the record."
    )


def run(arguments: argparse.Namespace) -> int:
    """Settle what was interrupted and print what was found; exit code 3 if the record does not fit the model."""
    from pathlib import Path

    from ..errors import InputError
    from ..flat.inplace import recover
    from ..reports.recovered import recovered_facts, recovered_report

    if Path(arguments.model).is_dir():
        raise InputError(f"{arguments.model} is a directory; name the model in it. Commands that read a folder settle all its models by themselves")
    found = recover(arguments.model, discard=arguments.discard)
    facts = recovered_facts(arguments.model, str(found.record), found.outcome, found.restored, found.reason)
    put(facts, arguments, lambda: recovered_report(facts))
    return 3 if found.outcome == "foreign" else 0
