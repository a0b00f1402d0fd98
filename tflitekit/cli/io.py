"""`tflitekit io MODEL`."""

from __future__ import annotations

import argparse
import sys

from .common import add_json, add_model, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--code", choices=("numpy", "c"), help="print only the functions, as one source file")
    add_json(
        parser,
        "file, metadata, problems, interfaces (one per signature: signature, subgraph, inputs, outputs; each of these: name, tensor, range, "
        "mean_std, unusable, recognised, image_bytes, inside, metadata, normalization, code)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what to feed each input and how to read each output."""
    from ..errors import EditError
    from ..flat.codec import read
    from ..flat.metadata import metadata_or_problem
    from ..reports.facts_io import io_facts
    from ..reports.io import code_text, io_report

    if arguments.code and arguments.json:
        raise EditError("--code and --json exclude each other; --json holds the code, too")
    model = read(arguments.model)
    facts = io_facts(model, *metadata_or_problem(model))
    if arguments.code:
        text = code_text(facts, arguments.code)
        sys.stdout.write(text + "\n" if text else "")
        if not text:
            print("tflitekit: no input or output is quantized with one scale: there is nothing to convert", file=sys.stderr)
        return 0
    put(facts, arguments, lambda: io_report(facts))
    return 0
