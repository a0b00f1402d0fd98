"""`tflitekit copy IN -o OUT`."""

from __future__ import annotations

import argparse

from .common import add_json, put


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="IN", help="a .tflite file")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="the file to write")
    parser.add_argument("--rebuild", action="store_true", help="lay the file out anew, with buffers aligned, instead of copying its bytes")
    parser.add_argument("--drop-unknown", action="store_true", help="let --rebuild leave out what it cannot carry; without this it is refused")
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")
    add_json(parser, "input, output (each: path, name, size), writer (source, patch or rebuild)")


def run(arguments: argparse.Namespace) -> int:
    """Write the model and print which writer did it, and the sizes."""
    from pathlib import Path

    from ..flat.codec import read, write
    from ..reports.copied import copied_facts, copied_report

    model, output = read(arguments.model), Path(arguments.output)
    before = model.source.size
    written = write(model, output, overwrite=arguments.force, rebuild=arguments.rebuild, drop_unknown=arguments.drop_unknown)
    facts = copied_facts(Path(arguments.model), before, output, written.size, written.writer)
    put(facts, arguments.json, lambda: copied_report(facts))
    return 0
