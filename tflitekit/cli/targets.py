"""Where rewritten models go: one beside its input or where it is said, several to a folder, by the names that they have below the folders given."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from .common import default_output
from .many import Facts, located

NAMED = 3  # files in an error


def target(arguments: argparse.Namespace, path: str, label: str) -> str:
    """The output of a single file: where -o says, in it if that is a folder, else beside the input. OutputError for the folder of the input."""
    if not arguments.output:
        return str(default_output(path, label))
    if not os.path.isdir(arguments.output):
        return str(arguments.output)
    output = os.path.join(arguments.output, os.path.basename(path))
    _not_inputs({path: output})
    return output


def targets(arguments: argparse.Namespace, *, writes: bool) -> dict[str, Facts]:
    """For each of several files, `output` as an argument of `per_file.rewrite_file`; the folders that are needed are made.

    With -o DIR files below DIR are no input, so that results are not taken for it. Nothing is written before all is known to go: EditError unless it
    is said where results go, OutputError if two files would have the same, one of them would be an input, or is there and --force is not given.
    """
    from ..errors import EditError

    found = located(arguments.model)
    if arguments.in_place or not writes:
        _once({path: path for path in found} if writes else {})
        return {path: {"output": path if writes else None} for path in found}
    if not arguments.output:
        raise EditError("for several files give -o DIR, the folder that the results go to, or --in-place; --dry-run writes nothing")
    folder = os.path.realpath(arguments.output)
    inputs = {path: root or "." for path, root in found.items() if not _made(path, root or ".", folder)}
    chosen = {path: os.path.join(arguments.output, _relative(path, root)) for path, root in inputs.items()}
    _check(chosen, arguments)  # what is there may be replaced, then; what is not may still have the name of another, but for the case
    return {path: {"output": output, "overwrite": os.path.lexists(output)} for path, output in chosen.items()}


def _relative(path: str, root: str) -> str:
    """The name below a folder; the last part for a file that is not there: patterns may lead out again."""
    name = os.path.relpath(path, root)
    return os.path.basename(path) if name.split(os.sep)[0] == os.pardir else name


def _made(path: str, root: str, folder: str) -> bool:
    """Whether a file lies in the folder of the results, and that below the folder where files are looked for."""
    start = os.path.realpath(root)
    return folder != start and _below(folder, start) and _below(os.path.realpath(path), folder)


def _below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _check(chosen: Mapping[str, str], arguments: argparse.Namespace) -> None:
    """OutputError for outputs that are inputs, of the same name, or there already; makes the folders."""
    from ..errors import InputError, OutputError

    if not chosen:
        raise InputError(f"all these files are in {arguments.output}, where the results go. Name another folder after -o")
    _not_inputs(chosen)
    _once(chosen)
    there = [output for output in chosen.values() if os.path.lexists(output)]
    if there and not arguments.force:
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        raise OutputError(f"there already: {', '.join(there[:NAMED])}{more}. Give --force to replace them, or another folder after -o")
    for parent in dict.fromkeys(map(os.path.dirname, chosen.values())):
        try:
            os.makedirs(parent, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{parent}: {error.strerror}") from None


def _not_inputs(chosen: Mapping[str, str]) -> None:
    """OutputError if an output is an input, by whatever name."""
    from ..errors import OutputError

    inputs = {_file(path): path for path in chosen}
    for output in chosen.values():
        if (file := _file(output)) in inputs:
            raise OutputError(f"{output} would replace the input {inputs[file]}. Name another folder after -o, or give --in-place")


def _file(path: str) -> object:
    """What all names of a file have in common, hard links and those of another case too; the path of one that is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _once(chosen: Mapping[str, str]) -> None:
    """OutputError if two files would have the same output."""
    from ..errors import OutputError

    takers: dict[object, str] = {}
    for path, output in chosen.items():
        file = _file(output)
        if file in takers:
            raise OutputError(f"{takers[file]} and {path} would both become {output}. Rewrite them one by one, or into different folders")
        takers[file] = path
