"""The commands of the passes: `tflitekit set-quantization MODEL ...` and so on, made of the fields of each pass, and what they share with `apply`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..passes.options import Option, build, options_of
from ..passes.registry import load
from .check import add_check, check
from .common import add_json, add_model, add_output, blocks, progress, put, write_output

if TYPE_CHECKING:
    from ..passes.base import Pass

REFUSED = 4  # the exit code of RefusedError, which a pass raises where it can do nothing at all

KEYS = (
    "input, output (null with --dry-run), writer, changed_bytes, in_place, backup, passes (each: pass, seconds, notes of kind, path, name, text, "
    "data), changes (each: path, old, new), problems, findings (gone and new), check (null, or as compare --json)"
)


class Rewriting:
    """The command of one pass, with the two functions that command modules have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the pass, then those of every rewriting command."""
        cls = load(self.name)
        parser.description = (cls.__doc__ or "").partition("\n")[0]
        add_model(parser)
        for option in options_of(cls):
            add_option(parser, option)
        add_rewriting(parser, self.name)

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the pass on the model and write the result."""
        cls = load(self.name)
        texts = {}
        for option in options_of(cls):
            given = getattr(arguments, option.name)
            if given:
                texts[option.name] = given if isinstance(given, list) else ["true"]
        return rewrite(arguments, [build(cls, texts)], self.name)


def add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    """A flag for one option of a pass. Values stay texts until all are known; `append` shows an option that is given twice."""
    text = option.help
    if option.default not in (None, "", False, ()) and not option.repeated:
        text += f" (default: {option.default})"
    if option.repeated:
        text += "; may be given several times"
    text = text.replace("%", "%%")
    if option.parse is None:
        parser.add_argument(option.flag, action="store_true", dest=option.name, help=text)
    elif option.choices:
        parser.add_argument(option.flag, action="append", dest=option.name, choices=option.choices, help=text)
    else:
        metavar = option.metavar or option.name.rstrip("_").upper()
        parser.add_argument(option.flag, action="append", dest=option.name, metavar=metavar, help=text)


def add_rewriting(parser: argparse.ArgumentParser, label: str) -> None:
    """What every rewriting command takes: where the result goes, and how it is told."""
    add_output(parser, label).add_argument("--dry-run", action="store_true", help="write nothing; show every change")
    add_check(parser)
    add_json(parser, KEYS)


def rewrite(arguments: argparse.Namespace, passes: Sequence[Pass], label: str) -> int:
    """Read the model, run the passes, write what came of it, and print the report; 4, and no file, if all that was asked for was refused."""
    from ..flat.codec import encode, read
    from ..passes.base import run
    from ..reports.copied import output_facts
    from ..reports.rewritten import rewritten_facts, rewritten_report

    model = read(arguments.model)
    with progress(label) as working:
        result = run(model, *passes, progress=working)
    writes = any(one.writes for one in passes)
    futile = writes and bool(result.refused) and not result.changes
    checked = check(arguments.model, result.model, arguments) if arguments.check and not futile else None
    facts = rewritten_facts(model, result) | {"check": checked}
    dry = arguments.dry_run or futile or not writes
    facts |= output_facts(*((None, encode(result.model)) if dry else write_output(result.model, arguments, label)))
    put(facts, arguments, lambda: rewritten_report(facts, changes=arguments.dry_run, blocks=blocks()))
    return REFUSED if futile else 0
