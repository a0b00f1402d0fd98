"""`tflitekit apply MODEL -p 'pass{option=value}' ...`."""

from __future__ import annotations

import argparse

from .many import add_models
from .rewrite import add_rewriting, rewrite


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from ..passes.registry import ENTRIES

    add_models(parser)
    parser.add_argument(
        "-p", "--pass", dest="passes", metavar="PASS", action="append", required=True,
        help="a pass with its options, such as 'set-io-dtype{inputs=int8}'; may be given several times, and they run in that order. Passes: "
        + ", ".join(entry.name for entry in ENTRIES) + ". Their options are those of the commands of the same names",
    )  # fmt: skip
    add_rewriting(parser, "apply")


def run(arguments: argparse.Namespace) -> int:
    """Run the passes one after the other and write the result once."""
    from ..passes.options import parse_spec

    return rewrite(arguments, [parse_spec(text) for text in arguments.passes], "apply")
