"""`tflitekit copy IN -o OUT`."""

from __future__ import annotations

import argparse

from .common import add_json, add_output, progress, put, write_output


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="IN", help="a .tflite file")
    add_output(parser)
    parser.add_argument("--rebuild", action="store_true", help="lay the file out anew, with buffers aligned, instead of copying its bytes")
    parser.add_argument("--drop-unknown", action="store_true", help="let --rebuild leave out what it cannot carry; without this it is refused")
    keys = "input, output (each: path, name, size), writer (source, patch or rebuild), changed_bytes, in_place, backup"
    add_json(parser, keys)


def run(arguments: argparse.Namespace) -> int:
    """Write the model and print which writer did it, and the sizes."""
    from ..flat.codec import read
    from ..reports.copied import copied_facts, copied_report

    model = read(arguments.model)
    before = model.source.size
    with progress("copy") as working:
        output, written = write_output(model, arguments, rebuild=arguments.rebuild, drop_unknown=arguments.drop_unknown, progress=working)
    facts = copied_facts(arguments.model, before, output, written)
    put(facts, arguments, lambda: copied_report(facts))
    return 0
