"""The documentation page of all commands, made of their parsers.

python -m tflitekit.cli.commands_page docs/commands.md writes it; a test compares the page in the repository with `commands_page()`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..reports.to_markdown import literal
from .main import GROUPS, build_parser

INTRODUCTION = """\
# Commands

Every command but `completion` takes `--json` (the report as data), `--svg FILE` and `--html FILE` (the report as a picture or a page). Exit
codes: 0 fine, 1 findings or differences, 2 usage, 3 cannot read or write (models, and the files of options such as `--data`, `--from` and
`--recipe`), 4 refused, with the reason, 5 the check in the runtime failed. Reports go to standard output, errors and progress to standard error.
On a terminal reports are folded to its width; in a pipe every row of a table is one line. `NO_COLOR`, `FORCE_COLOR` and `COLUMNS` are honoured.

This page is generated from the parsers: `python -m tflitekit.cli.commands_page docs/commands.md`.
"""
SHARED = ("output", "check in the runtime")
REPORT = frozenset({"help", "json", "svg", "html", "traceback"})


def commands_page() -> str:
    """The page as Markdown."""
    parser = build_parser(every=True)
    commands = parser._commands.choices
    lines = [INTRODUCTION]
    for title, members in GROUPS.items():
        lines += [f"* {title}: " + ", ".join(f"[{member.name}](#{member.name})" for member in members)]
    for members in GROUPS.values():
        for member in members:
            lines += ["", *_command(member.name, commands[member.name])]
    rewriting = commands["set-quantization"]
    lines += ["", "## What all rewriting commands take"]
    for group in rewriting._action_groups:
        if group.title in SHARED:
            lines += ["", f"### {str(group.title).capitalize()}", "", *_table(group._group_actions)]
    return "\n".join(lines) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> list[str]:
    lines = [f"## {name}", "", literal(parser.description or ""), "", f"`{str(parser.usage).replace('%%', '%')}`"]
    rewriting = any(group.title == SHARED[1] for group in parser._action_groups)
    groups = [group for group in parser._action_groups if not (rewriting and group.title in SHARED)]
    own = [action for group in groups for action in group._group_actions if action.dest not in REPORT]
    own.sort(key=lambda action: bool(action.option_strings))
    lines += ["", *_table(own)]
    if rewriting:
        lines += ["", "And what [all rewriting commands](#what-all-rewriting-commands-take) take."]
    if parser.epilog:
        lines += ["", literal(f"{parser.epilog[0].upper()}{parser.epilog[1:]}.")]
    return lines


def _table(actions: list[argparse.Action]) -> list[str]:
    formatter = argparse.HelpFormatter("")
    rows = [f"| {_name(action)} | {literal(formatter._expand_help(action)) if action.help else ''} |" for action in actions]
    return ["| option | what it does |", "|---|---|", *rows]


def _name(action: argparse.Action) -> str:
    metavar = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return f"`{metavar}`" if action.choices is None else f"`{'|'.join(map(str, action.choices))}`".replace("|", "\\|")
    value = "" if action.nargs == 0 else "|".join(map(str, action.choices)) if action.choices else metavar
    if isinstance(action.metavar, tuple):
        value = " ".join(action.metavar)
    elif action.nargs == "+":
        value = f"{value} ..."
    return f"`{', '.join(action.option_strings)}{' ' if value else ''}{value}`".replace("|", "\\|")




if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tflitekit.cli.commands_page FILE")
    Path(sys.argv[1]).write_text(commands_page(), encoding="utf-8")
