"""One report for many files: folders and patterns, a pool of processes, a progress bar, errors that are collected, JSON lines."""

from __future__ import annotations

import argparse
import glob
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .common import progress as work_in_progress
from .common import put
from .patience import stop_showing

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..reports.report import Report

PATTERN = frozenset("*?[")
SUFFIX = ".tflite"
# Files, and bytes, that a process of a pool works on before it tells of them: telling of each by itself takes it 0.2 ms.
GROUP, GROUP_BYTES = 10, 1 << 25
TURNS = 10  # groups that there are at least for each process, so that all are done at about the same time
Facts = dict[str, Any]


class Result(NamedTuple):
    """What came of one file: the facts, or why there are none."""

    path: str
    facts: Facts | None
    message: str = ""
    exit_code: int = 3


def add_models(parser: argparse.ArgumentParser) -> None:
    """The argument for one or more model files."""
    parser.add_argument("model", metavar="MODEL", nargs="+", help="a .tflite file, a folder of them, or a pattern such as 'models/**/*.tflite'")


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """How many files are worked on at once, and results as lines of JSON."""
    parser.add_argument("--jobs", type=_positive, metavar="N", help="of several files, work on N at once (default: as many as there are processors)")
    jsonl = "print one line of JSON for each file, while others are worked on; of one that cannot be read: path, error"
    parser.add_argument("--jsonl", action="store_true", help=jsonl)


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)


def single(arguments: argparse.Namespace) -> str | None:
    """The file, if a single one was named and no JSON lines are wanted: it gets the full report, and an error ends the command."""
    names = arguments.model
    if len(names) != 1 or arguments.jsonl or os.path.isdir(names[0]) or (PATTERN & set(names[0]) and not os.path.exists(names[0])):
        return None
    return str(names[0])


def expand(names: Sequence[str]) -> list[str]:
    """The files that are meant: those named, those below folders, those that match; each once. InputError where there is nothing."""
    return list(located(names))


def located(names: Sequence[str]) -> dict[str, str]:
    """The files that are meant, each with the folder that it was found below: the one named, what a pattern starts with, or its own."""
    from ..errors import InputError

    found: dict[str, str] = {}
    for name in names:
        root = name
        if os.path.isdir(name):
            hits = sorted(glob.glob(os.path.join(glob.escape(name), "**", f"*{SUFFIX}"), recursive=True))
            hits = [hit.removeprefix(os.path.join(os.curdir, "")) for hit in hits]  # as errors name them
        elif PATTERN & set(name) and not os.path.exists(name):
            root = os.path.dirname(name[: min(name.find(sign) for sign in PATTERN & set(name))])
            hits = sorted(path for path in glob.glob(name, recursive=True) if not os.path.isdir(path))
        else:
            root, hits = os.path.dirname(name), [name]
        if not hits:
            raise InputError(f"{name}: the directory has no {SUFFIX} files" if os.path.isdir(name) else f"{name}: no files match")
        found |= {path: found.get(path, root) for path in hits}
    return found


def call(function: Callable[[str], Facts], path: str) -> Result:
    """The result for one file; what cannot be read is a result too."""
    from ..errors import TFLiteKitError
    from .main import message_of

    try:
        return Result(path, function(path))
    except TFLiteKitError as error:
        return Result(path, None, message_of(error), error.exit_code)
    except (OSError, MemoryError, RecursionError) as error:
        return Result(path, None, f"{path}: {error or type(error).__name__}")


def results(
    paths: Sequence[str], function: Callable[..., Facts], jobs: int | None, own: Mapping[str, Facts] | None = None
) -> Iterator[Result]:
    """The results in the order of the paths. With more than one job the files are spread over processes; those are not started for a few files.
    `own` has further arguments of the function for single paths.

    A process that dies takes the pool with it: then the file at hand is tried again by itself, which shows whether it was the one, and the others
    go on. Not those whose `output` was written meanwhile: an edit in place could be made twice.
    """
    count = min(jobs or os.cpu_count() or 1, len(paths))
    if count < 2 or (jobs is None and len(paths) < 8):
        yield from (call(_for(path, function, own), path) for path in paths)
        return
    before = {path: _state(one.get("output")) for path, one in (own or {}).items()}
    known: dict[int, Result] = {}
    at = 0
    while at < len(paths):
        if at in known:
            yield known.pop(at)
            at += 1
            continue
        todo = [number for number in range(at, len(paths)) if number not in known]
        for number, result in zip(todo, _pooled([paths[number] for number in todo], function, count, own), strict=False):
            if result is not None and number == at:
                yield result
                at += 1
            elif result is not None:
                known[number] = result
        for number in range(at, len(paths)):
            path = paths[number]
            if number not in known and before.get(path) != _state((own or {}).get(path, {}).get("output")):
                known[number] = Result(path, None, f"{path}: a process died, and {(own or {})[path]['output']} was written by then; look at it")
        if at < len(paths) and at not in known:
            path = paths[at]
            known[at] = next(_pooled([path], function, 1, own), None) or Result(path, None, f"{path}: the process that worked on it died")


def _state(path: str | None) -> tuple[int, ...] | None:
    """What changes when a file is written."""
    try:
        status = os.stat(path or "")
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _for(path: str, function: Callable[..., Facts], own: Mapping[str, Facts] | None) -> Callable[[str], Facts]:
    return partial(function, **own[path]) if own else function


def _start() -> None:
    """What a process of a pool does first."""
    from .._crew import work_alone

    work_alone()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call_each(functions: Sequence[tuple[Callable[[str], Facts], str]]) -> list[Result]:
    """The results of several files in a process of a pool."""
    return [_call(function, path) for function, path in functions]


def _call(function: Callable[[str], Facts], path: str) -> Result:
    """`call` in a process of a pool, which interrupts reach only here: between files there is nothing to tidy up, and nobody to tell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return call(function, path)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _pooled(paths: Sequence[str], function: Callable[..., Facts], count: int, own: Mapping[str, Facts] | None) -> Iterator[Result | None]:
    """The results of a pool of processes; None for files that were not done when one of them died, fewer if that was at once."""
    import importlib
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from contextlib import suppress

    # A forked child has what is imported here; elsewhere children import it themselves.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods and sys.platform == "linux" else None)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start)
    try:
        futures: list[tuple[Future[list[Result]], int]] = []
        with suppress(BrokenProcessPool):
            for group in _groups(paths, count, own):
                futures.append((pool.submit(_call_each, [(_for(path, function, own), path) for path in group]), len(group)))
        importlib.import_module("tflitekit.reports.render")  # while they work, which is when it costs least
        for future, length in futures:
            found: Sequence[Result | None] = [None] * length
            with suppress(BrokenProcessPool):
                found = future.result()
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)  # nobody waits for files that nobody asks for any more


def _groups(paths: Sequence[str], count: int, own: Mapping[str, Facts] | None) -> Iterator[list[str]]:
    """The files that a process works on before it tells of them: a few small ones. If files are written, each by itself, since which were must be
    known when a process dies."""
    most = 1 if any("output" in one for one in (own or {}).values()) else max(1, min(GROUP, len(paths) // (TURNS * count)))
    group, size = list[str](), 0
    for path in paths:
        state = _state(path)
        group.append(path)
        size += state[2] if state else 0
        if len(group) >= most or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def run_many(
    arguments: argparse.Namespace, function: Callable[..., Facts], show: Callable[[list[Facts], list[Facts]], None],
    own: Mapping[str, Facts] | None = None, **options: Any,
) -> tuple[list[Facts], set[int]]:  # fmt: skip
    """Work on all files, or on those in `own` (see `results`), and show one report of them, or JSON lines; returns the facts, and the exit codes of
    the errors that there were."""
    import importlib

    from .main import print_error

    stop_showing()
    importlib.import_module("tflitekit.flat.codec")  # before processes are forked
    paths = expand(arguments.model) if own is None else list(own)
    found: list[Facts] = []
    unreadable: list[Facts] = []
    codes: set[int] = set()
    for result in progress(results(paths, partial(function, **options), arguments.jobs, own), len(paths)):
        if arguments.jsonl:
            _line(result)
        if result.facts is None:
            codes.add(result.exit_code)
            unreadable.append({"path": result.path, "message": result.message})
            if not arguments.jsonl:
                print_error(result.message if result.path in result.message else f"{result.path}: {result.message}")
        else:
            found.append(result.facts)
    if not arguments.jsonl:
        show(found, unreadable)
    return found, codes


def table_of(arguments: argparse.Namespace, report: Callable[[Facts], Report]) -> Callable[[list[Facts], list[Facts]], None]:
    """What shows a report with one row for each file."""

    def show(found: list[Facts], unreadable: list[Facts]) -> None:
        from ..reports.many import files_facts

        facts = files_facts(found, unreadable)
        put(facts, arguments, lambda: report(facts))

    return show


def _line(result: Result) -> None:
    import json

    facts = result.facts if result.facts is not None else {"path": result.path, "error": result.message}
    sys.stdout.write(json.dumps(facts, ensure_ascii=True, allow_nan=False) + "\n")
    sys.stdout.flush()


def progress(found: Iterator[Result], total: int) -> Iterator[Result]:
    """The results, with a progress bar on stderr if that is a terminal, there are several, and it takes a while."""
    if total < 2:
        yield from found
        return
    with work_in_progress("files") as tell:
        if tell:
            tell(0, total, "")
        for done, result in enumerate(found, 1):
            if tell:
                tell(done, total, os.path.basename(result.path))
            yield result
