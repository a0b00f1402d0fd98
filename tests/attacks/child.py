"""Child process: exercises the files of a pickle, from a number on.

It writes one pickled `Outcome` after the other to its standard output, each after a mark that the file was begun: a file that was begun and has no
outcome killed the child.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import tempfile
from pathlib import Path

import tflitekit as tk
from tests.generated import many_operators
from tflitekit.passes.registry import ENTRIES

from .exercise import EVERY, PASSES, exercise, expire

GRACE = 90  # seconds of wall time after which a child that does not listen kills itself


def main() -> None:
    assert set(PASSES) == {entry.name for entry in ENTRIES}, "a pass without options to try"
    stored, first, effort = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    files = pickle.loads(stored.read_bytes())
    pipe = os.fdopen(os.dup(1), "wb")
    signal.signal(signal.SIGPROF, expire)
    with tempfile.TemporaryDirectory() as folder:
        _warm(Path(folder))
        for number in range(first, len(files)):
            faulthandler.dump_traceback_later(GRACE, exit=True)
            pickle.dump(number, pipe)
            pipe.flush()
            pickle.dump(exercise(files[number], number, Path(folder), effort), pipe)
            pipe.flush()
    faulthandler.cancel_dump_traceback_later()


def _warm(folder: Path) -> None:
    """Import and cache everything on a healthy model, so that memory and time are those of the files."""
    outcome = exercise(tk.serialize(many_operators(4)), 0, folder, EVERY)
    assert not [p for p in outcome.problems if p[1] not in ("memory", "hang")], outcome.problems


if __name__ == "__main__":
    main()
