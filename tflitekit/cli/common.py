"""What the commands share: options and output."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from .patience import stop_showing

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress

    from ..flat.codec import Output
    from ..graph import Model
    from ..reports.report import Report

SOON = 0.3  # seconds of work that tells how far it is, after which a bar is shown
BAR_WIDTH = 24  # characters
BESIDE_NAME = BAR_WIDTH + 24  # with the counts, the time, and room for the ^C of an interruption, which must not begin another line


def add_model(parser: argparse.ArgumentParser, name: str = "model") -> None:
    """The argument for a model file."""
    parser.add_argument(name, metavar=name.upper(), help="a .tflite file")


def add_json(parser: argparse.ArgumentParser, keys: str) -> None:
    """How the report is told: --json, with its top-level keys in the help's last lines, and as a picture."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--svg", metavar="FILE", help="also write the report as a picture, replacing it")
    parser.add_argument("--html", metavar="FILE", help="also write the report as a page, replacing it")
    parser.epilog = f"keys of --json: {keys}"


def add_subgraph(parser: argparse.ArgumentParser) -> None:
    """The option --subgraph."""
    parser.add_argument("--subgraph", type=int, metavar="N", help="only those of subgraph N")


def add_output(parser: argparse.ArgumentParser, label: str | None = None, *, many: bool = False) -> argparse._ArgumentGroup:
    """The options of a command that writes a model: where to, and what becomes of a file that is there. Returns the group, for more of that kind.

    `label` stands in the default name of the output, `MODEL.label.tflite`; without it the user has to say where to write.
    `many` is for commands that take several files, whose results go to a folder.
    """
    group = parser.add_argument_group("output")
    where = group.add_mutually_exclusive_group(required=label is None)
    default = f" (default: MODEL.{label}.tflite beside the input)" if label else ""
    folder = "; of several files, the folder for the results, by the names that they have below the folders given" if many else ""
    where.add_argument("-o", "--output", metavar="OUT", help=f"the file to write{default}{folder}")
    where.add_argument("--in-place", action="store_true", help="write to the input itself; see also: tflitekit recover --help")
    group.add_argument("--force", action="store_true", help="replace OUT if it exists")
    group.add_argument("--backup", action="store_true", help="keep the file that is replaced, with .bak added to its name")
    return group


def write_output(model: Model, arguments: argparse.Namespace, **options: Any) -> tuple[Path, Output]:
    """Write a model as the options of `add_output` say, with further options of `tflitekit.write`; returns where to, and how."""
    from pathlib import Path

    from ..flat.codec import write

    path = Path(arguments.output or arguments.model)
    return path, write(model, path, overwrite=arguments.force, in_place=arguments.in_place, backup=arguments.backup, **options)


def default_output(model: str, label: str) -> Path:
    """`MODEL.<label>.tflite` beside the input; a `.tflite` at the end of the input's name is not repeated."""
    from pathlib import Path

    path = Path(model)
    return path.with_name(f"{path.name.removesuffix('.tflite')}.{label}.tflite")


def put(facts: dict[str, Any], arguments: argparse.Namespace, report: Callable[[], Report]) -> None:
    """Print facts as JSON, or the report made of them; write the report as a picture where that is asked for."""
    stop_showing()
    if arguments.svg or arguments.html:
        write_pictures(report(), arguments)
    if arguments.json:
        from ..reports.to_json import to_json

        sys.stdout.write(to_json(facts) + "\n")
        return
    from ..reports.render import show

    show(report())


def write_pictures(report: Report, arguments: argparse.Namespace) -> None:
    """Write the files of --svg and --html."""
    from ..reports.picture import picture
    from ..reports.render import output_width

    for kind in ("svg", "html"):
        if name := getattr(arguments, kind):
            write_text(name, picture(report, kind, output_width(sys.stdout)), "<", f"--{kind}")


def write_text(name: str, text: str, start: str, option: str) -> None:
    """Write a text file, replacing one that starts as such files do; anything else that is there, such as a model, is left alone."""
    from pathlib import Path

    from ..errors import OutputError
    from ..flat.files import replace_file

    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            if (head := file.read(64).lstrip()) and not head.startswith(start.encode()):
                raise OutputError(f"{name} is there and was not written by {option}; it is not replaced. Name another file after {option}")
    replace_file(path, [text.encode()], True, lambda _: None)


def check_export(name: str) -> None:
    """EditError or OutputError, before long work is done, for a name that `export_table` would refuse."""
    import os

    from ..errors import OutputError

    _encoded([], name)
    if os.path.lexists(name):
        raise OutputError(f"{name} exists; name another file after --export")


def export_table(rows: list[dict[str, Any]], name: str) -> None:
    """Write a table of parameters, for `set-quantization --from`, to a file that is not there yet."""
    from ..errors import OutputError

    data = _encoded(rows, name)
    try:
        with open(name, "xb") as file:
            file.write(data)
    except FileExistsError:
        raise OutputError(f"{name} exists; name another file after --export") from None
    except OSError as error:
        raise OutputError(f"{name}: {error.strerror or error}") from None


def _encoded(rows: list[dict[str, Any]], name: str) -> bytes:
    from pathlib import Path

    from ..errors import EditError
    from ..passes.parameters import encode_table

    try:
        return encode_table(rows, Path(name).suffix)
    except EditError as error:
        raise EditError(f"--export {name}: {error}") from None


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int | None, str], None] | None]:
    """A function to tell how far work is (done, in all, on what), shown as a bar on stderr if it is long; None where that is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    import threading

    from ..reports.escape import escape

    with ExitStack() as stack:
        lock = threading.Lock()
        started: float | None = None
        bar: Progress | None = None

        def tell(done: int, total: int | None, name: str) -> None:
            nonlocal bar, started
            with lock:  # several threads may tell
                started = time.monotonic() if started is None else started
                if bar is None and done != total and time.monotonic() - started >= SOON:
                    stop_showing()
                    bar = stack.enter_context(progress_bar())
                    bar.add_task(label, total=total, completed=done, name=escape(name))
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done, total=total, name=escape(name))

        yield tell


def progress_bar() -> Progress:
    """A bar on stderr, with how many of how many, the time, and of the `name` of what is at hand what fits; nothing remains of it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from ..reports.render import console

    shown = console(sys.stderr)

    class Name(TextColumn):
        def render(self, task: Task) -> Text:
            text = super().render(task)
            text.truncate(max(shown.width - BESIDE_NAME, 0))
            return text

    columns = (BarColumn(BAR_WIDTH), MofNCompleteColumn(), TimeElapsedColumn(), Name("{task.fields[name]}", markup=False))
    return Progress(*columns, console=shown, transient=True)


def blocks() -> str:
    """The characters that bars are made of: blocks, or ASCII where standard output cannot print them."""
    from ..reports.bars import ASCII_BLOCKS, BLOCKS

    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return ASCII_BLOCKS
    return BLOCKS
