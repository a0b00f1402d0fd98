"""`tflitekit completion SHELL`: a script that lets a shell complete commands, options and file names, without starting Python."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")
# Arguments that are file names, by destination or metavar.
FILES = frozenset({"model", "a", "b", "FILE", "OUT", "FILES", "MODEL"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="the shell to make a script for")
    parser.epilog = (
        "bash: tflitekit completion bash > ~/.local/share/bash-completion/completions/tflitekit. "
        "zsh: tflitekit completion zsh > a file _tflitekit in a folder of $fpath. "
        "fish: tflitekit completion fish > ~/.config/fish/completions/tflitekit.fish"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from .main import COMMANDS, build_parser

    parser = build_parser(every=True)
    for command in COMMANDS:  # shells show a line for each, of which some have a paragraph
        parser._commands.choices[command.name].description = command.help
    _mark_files(parser)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _mark_files(parser: argparse.ArgumentParser) -> None:
    """Tell the generator which arguments are files."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _mark_files(child)
        elif (action.dest in FILES or action.metavar in FILES) and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
