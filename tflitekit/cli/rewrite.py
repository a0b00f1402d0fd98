"""The commands of the passes: `tflitekit set-quantization MODEL ...` and so on, made of the fields of each pass, and what they share with `apply`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..passes.options import Option, build, options_of
from ..passes.registry import load
from .check import add_check, check
from .common import add_json, add_output, blocks, progress, put
from .many import add_jobs, add_models, run_many, single, table_of
from .targets import target, targets

if TYPE_CHECKING:
    from ..passes.base import Pass

REFUSED = 4  # the exit code of RefusedError, which a pass raises where it can do nothing at all
ORDER = (3, 5, REFUSED, 2)  # of exit codes: what cannot be read or written, what computes something else, what is refused, what cannot be meant

KEYS = (
    "input, output (null with --dry-run), writer, changed_bytes, in_place, backup, passes (each: pass, seconds, notes of kind, path, name, text, "
    "data), changes (each: path, old, new), problems, findings (gone and new), refused (all that was asked for), check (null, or as compare --json); "
    "of several files: models (each of these), unreadable (each: path, message)"
)


class Rewriting:
    """The command of one pass, with the two functions that command modules have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the pass, then those of every rewriting command."""
        cls = load(self.name)
        parser.description = (cls.__doc__ or "").partition("\n")[0]
        add_models(parser)
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
    add_output(parser, label, many=True).add_argument("--dry-run", action="store_true", help="write nothing; show every change")
    add_jobs(parser)
    add_check(parser)
    add_json(parser, KEYS)


def rewrite(arguments: argparse.Namespace, passes: Sequence[Pass], label: str) -> int:
    """Read each model, run the passes, write what came of it, and print the report; 4, and no file, if all that was asked for was refused."""
    from ..per_file import rewrite_file

    options = {
        "overwrite": arguments.force, "backup": arguments.backup, "in_place": arguments.in_place and not arguments.dry_run,
        "check": partial(check, arguments=arguments) if arguments.check else None,
    }  # fmt: skip
    path = single(arguments)
    if path is None:
        return _rewrite_many(arguments, passes, options)
    from ..reports.rewritten import rewritten_report

    output = None if arguments.dry_run else target(arguments, path, label)
    with progress(label) as working:
        facts = rewrite_file(path, passes, output, progress=working, **options)
    put(facts, arguments, lambda: rewritten_report(facts, changes=arguments.dry_run, blocks=blocks()))
    return REFUSED if facts["refused"] else 0


def _rewrite_many(arguments: argparse.Namespace, passes: Sequence[Pass], options: dict[str, Any]) -> int:
    """Rewrite several files and print a row for each. The exit code is the first of those in `ORDER` that a file alone would have given."""
    from ..per_file import rewrite_file
    from ..reports.rewritten_many import rewritten_many_report

    own = targets(arguments, writes=any(one.writes for one in passes) and not arguments.dry_run)
    found, codes = run_many(arguments, rewrite_file, table_of(arguments, rewritten_many_report), own, passes=passes, **options)
    codes |= {REFUSED} if any(facts["refused"] for facts in found) else set()
    return next((code for code in ORDER if code in codes), 0)
