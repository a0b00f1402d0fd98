"""Finds the command, parses its options, runs it, and turns every error into one line and an exit code.

Exit codes: 0 fine, 1 findings or differences, 2 usage, 3 cannot read or write, 4 refused, with the reason, 5 the runtime check
failed, 130 interrupted, 141 the reader of the output went away.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO, cast

from ..errors import RecoveryWarning
from ..passes.registry import ENTRIES
from .patience import Patience, stop_showing

if TYPE_CHECKING:
    from ..errors import TFLiteKitError

INTERRUPTED, BROKEN_PIPE = 130, 141
BEFORE, AFTER = "the model before", "the model after"  # what --check calls the two that it runs; the second is no file


class Command(NamedTuple):
    """A command: its module in this package has `configure(parser)` and `run(arguments) -> exit code`."""

    name: str
    help: str


# In the order and under the headings of the main help.
GROUPS: dict[str, tuple[Command, ...]] = {
    "look": (
        Command("summary", "what is in a model: inputs and outputs, quantization, operators, sizes"),
        Command("tensors", "which tensors are quantized, and how"),
        Command("operators", "what each operator computes, from which tensors to which"),
        Command("audit", "what is really quantized, what is wrong, and what each runtime will do"),
        Command("explain", "what a finding of the audit means, and what repairs it"),
        Command("io", "what to feed each input and how to read each output, with code to paste"),
        Command("verify", "check every index, size and reference of a model"),
        Command("diff", "how two models differ, field by field"),
    ),
    "convert numbers": (Command("stats", "convert between (mean, std), (min, max) and (scale, zero point)"),),
    "rewrite": (
        *(Command(entry.name, entry.help) for entry in ENTRIES),
        Command("apply", "run several passes one after the other"),
        Command("copy", "write a model again, unchanged or in a new layout"),
        Command("recover", "restore a model whose edit in place was interrupted"),
    ),
    "run (needs the extra tflitekit[runtime])": (
        Command("compare", "how far the outputs of two models are apart when they run on the same inputs"),
        Command("observe", "the real range of every tensor on your samples, and the quantization that it implies"),
    ),
    "set up": (Command("completion", "print a script that lets bash, zsh or fish complete commands and options"),),
}
COMMANDS = tuple(command for commands in GROUPS.values() for command in commands)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, with help in colours on a terminal."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with the exit code of usage errors."""
        print_error(f"{message}. See: {self.prog} --help")
        raise SystemExit(2)

    def shorten_usage(self) -> None:
        """Name in the usage only what has to be given; the list below it has the rest."""
        words = []
        exclusive = {action for group in self._mutually_exclusive_groups for action in group._group_actions}
        for group in self._mutually_exclusive_groups:
            if group.required:
                words.append("(" + " | ".join(_usage_of(action) for action in group._group_actions) + ")")
        words += [_usage_of(action) for action in self._actions if action.option_strings and action.required and action not in exclusive]
        words += [_positional(action) for action in self._actions if not action.option_strings]
        self.usage = " ".join([self.prog, *words, "[options]"]).replace("%", "%%")


class MainParser(Parser):
    """The parser of all commands, whose help lists them in groups."""

    def format_help(self) -> str:
        """The help text."""
        formatter = Formatter(self.prog)
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        listed = {action.dest: action for action in self._commands._choices_actions}
        for title, commands in GROUPS.items():
            formatter.start_section(title)
            formatter.add_arguments([listed[command.name] for command in commands])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    _commands: argparse._SubParsersAction[Parser]


def _usage_of(action: argparse.Action) -> str:
    name = action.option_strings[0]
    return name if action.nargs == 0 else f"{name} {action.metavar or action.dest.upper()}"


def _positional(action: argparse.Action) -> str:
    name = str(action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()))
    return {"+": f"{name} [{name} ...]", "*": f"[{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name)


class Formatter(argparse.HelpFormatter):
    """Help in colours where they are seen, and lines otherwise: without rich, whose import takes longer than everything else that help does."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=_columns() - 2)

    def format_help(self) -> str:
        """The text."""
        text = super().format_help()
        return _colored(text) if _colors_are_seen() and "\x1b" not in text else text  # argparse of Python 3.14 may have coloured it itself

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        arguments = self._format_args(action, self._get_default_metavar_for_optional(action))
        return self._fold(f"{', '.join(action.option_strings)} {arguments}")

    def _fold(self, invocation: str) -> str:
        """An option with its choices, on several lines if it is wider than the text."""
        import textwrap

        width, indent = self._width - self._current_indent, invocation.find("{") + 1
        if len(invocation) <= width:
            return invocation
        lines = textwrap.wrap(invocation.replace(",", ", "), width, subsequent_indent=" " * indent, break_on_hyphens=False)
        return f"\n{' ' * self._current_indent}".join(lines).replace(", ", ",")

    def _split_lines(self, text: str, width: int) -> list[str]:
        import textwrap

        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def _columns() -> int:
    """The width of the terminal, as COLUMNS or the system says; 80 where there is none. argparse asks a module for it whose import takes 2 ms."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):  # no file, or no terminal
        return 80


def _colors_are_seen() -> bool:
    """Whether stdout shows colours, by the conventions that rich follows too; on Windows where its newer terminal runs."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and (os.name != "nt" or "WT_SESSION" in os.environ))


# Headings, the first column of a list, options in running text.
_MARKED = r"(?m)(?P<section>^usage:|(?<=\n\n)\S.*:$)|^  (?P<column>\S+(?: \S+)*)|(?<![\w-])(?P<name>--?[a-zA-Z][\w-]*)"


def _colored(text: str) -> str:
    """A help text with the theme's colours; terminals of sixteen colours get the nearest."""
    import re

    from ..reports.theme import STYLES

    many = "256color" in os.environ.get("TERM", "") or bool(os.environ.get("COLORTERM"))
    codes = {"bold": "1", "magenta": "35", "color(31)": "38;5;31" if many else "36", "color(28)": "38;5;28" if many else "32"}

    def styled(style: str, words: str) -> str:
        return f"\x1b[{';'.join(map(codes.__getitem__, STYLES[style].split()))}m{words}\x1b[0m"

    def mark(found: re.Match[str]) -> str:
        kind, words = found.lastgroup or "", found[found.lastgroup or 0]
        if kind != "column" or not words.startswith("-"):
            return f"  {styled('name', words)}" if kind == "column" else styled(kind, words)
        return "  " + re.sub(r"[^\s,]+", lambda word: styled("name" if word[0].startswith("-") else "quantized", word[0]), words)

    return re.sub(_MARKED, mark, text)


def build_parser(wanted: str | None = None, *, every: bool = False) -> MainParser:
    """The parser of all commands; the options of a command are only set up if it is the wanted one, or if `every` asks for all."""
    parser = MainParser(
        prog="tflitekit",
        usage="tflitekit COMMAND [options]",
        description="Inspects and rewrites .tflite models without TensorFlow.",
        epilog="tflitekit COMMAND --help explains a command. Exit codes: 0 fine, 1 findings or differences, 2 usage, "
        "3 cannot read or write, 4 refused, with the reason, 5 the check in the runtime failed.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an error")

    def made(**options: Any) -> Parser:
        """The parser of a command; to those of commands that nobody asked for nothing is added, so all can be the same one."""
        command = options["prog"].rpartition(" ")[2]
        return Parser(**options) if every or command == wanted else parser

    parser_class = cast("type[Parser]", made)
    commands = parser._commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", prog="tflitekit", parser_class=parser_class
    )
    for command in COMMANDS:
        child = commands.add_parser(command.name, help=command.help, formatter_class=Formatter, allow_abbrev=False)
        if child is not parser:
            child._positionals.title = "arguments"
            child.description = f"{command.help[0].upper()}{command.help[1:]}."
            module_of(command.name).configure(child)
            child.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
            child.shorten_usage()
    return parser


class _Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="show the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from .. import __version__

        print(f"tflitekit {__version__}")
        parser.exit()


def module_of(command: str) -> Any:
    """The module of a command, or what serves as one for a pass."""
    if any(entry.name == command for entry in ENTRIES):
        from .rewrite import Rewriting

        return Rewriting(command)
    return import_module(f".{command}", __package__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stderr is None:  # closed by the caller; print would then write to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    if sys.stdout is None:
        print_error("standard output is closed")
        return 3
    _tolerant_output()
    terminated = _on_termination(_leave)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.simplefilter("always", RecoveryWarning)
            code = _dispatch(arguments)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if "--traceback" in arguments:
            raise
        return report_error(error)
    finally:
        _on_termination(terminated)
    return code


def command() -> int:
    """`main` as a process of its own, which ends after it."""
    # Nothing here multiplies matrices. The threads that numpy starts for that, one for each processor, take 60 ms that others could use.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = main()
    gc.freeze()  # or the interpreter would search all that is left for cycles: 10 to 25 ms
    return code


def _leave(number: int, frame: object) -> NoReturn:
    """Leave as after an exception, so that nothing half-written stays."""
    raise SystemExit(128 + number)


def _on_termination(handler: Any) -> Any:
    """Set what SIGTERM does, where it can be set; returns what it did."""
    import signal

    try:
        return signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
    except ValueError:  # not the main thread
        return None


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """What a file was restored from is told in one line; warnings of other packages do not concern the user."""
    if issubclass(category, RecoveryWarning):
        print_error(str(message))


def _dispatch(arguments: list[str]) -> int:
    wanted = next((argument for argument in arguments if not argument.startswith("-")), None)
    _check_command(wanted)
    parser = build_parser(wanted)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        print_error(_about_unknown(unknown, parser, parsed.command))
        return 2
    if parsed.command is None:
        parser.print_help(sys.stderr)
        return 2
    with Patience(parsed.command):
        code: int = module_of(parsed.command).run(parsed)
    return code


def _about_unknown(unknown: list[str], parser: MainParser, command: str | None) -> str:
    """What is wrong with arguments that a command does not have, with the option that was probably meant."""
    from difflib import get_close_matches

    asked = parser._commands.choices[command] if command else parser
    given = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
    near = get_close_matches(given, [option for action in asked._actions for option in action.option_strings], 1, 0.75) if given else []
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"unrecognized arguments: {' '.join(unknown)}. {hint}See: {asked.prog} --help"


def _check_command(wanted: str | None) -> None:
    """Say what was probably meant by a command that does not exist."""
    names = [command.name for command in COMMANDS]
    if wanted is None or wanted in names:
        return
    from difflib import get_close_matches

    hint = f"Did you mean: tflitekit {near[0]}" if (near := get_close_matches(wanted, names, 1)) else f"Commands: {', '.join(names)}"
    if os.path.exists(wanted):
        from shlex import quote

        hint = f"To see what is in that file: tflitekit summary {quote(wanted)}"
    print_error(f"no command {wanted!r}. {hint}")
    raise SystemExit(2)


def report_error(error: Exception) -> int:
    """Print an error in one line and return its exit code."""
    from ..errors import TFLiteKitError

    if isinstance(error, TFLiteKitError):
        print_error(message_of(error))
        return error.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        print_error(f"{where}{error.strerror or error}")
    elif isinstance(error, MemoryError):
        print_error("out of memory")
    else:
        print_error(f"internal error, {type(error).__name__}: {error}. Run it again with --traceback and report it")
    return TFLiteKitError.exit_code


def message_of(error: TFLiteKitError) -> str:
    """What the command line says of an error: the next step where there is one, in words of the command line."""
    from ..errors import CorruptError, RuntimeCheckError

    hint = ". It may be incomplete: copy or download it again" if isinstance(error, CorruptError) else ""
    if isinstance(error, RuntimeCheckError) and error.subject not in (None, AFTER) and error.status not in ("missing", "memory", "timeout"):
        hint = ". `tflitekit audit MODEL` may say why"
    return str(error).replace("overwrite=True (--force)", "--force") + hint


def print_error(message: str) -> None:
    """One line on stderr; control characters in names are shown as escapes."""
    from ..reports.escape import escape

    stop_showing()
    print(f"tflitekit: {escape(' '.join(message.splitlines()))}", file=sys.stderr)


def _tolerant_output() -> None:
    """Make stdout and stderr escape what their encoding cannot express."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
