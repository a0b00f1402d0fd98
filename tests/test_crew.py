"""Work shared among threads: everything once, errors out, nothing left running, forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain

import pytest

from tflitekit import _crew
from tflitekit._crew import LARGE, share


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three threads, whatever this machine has."""
    monkeypatch.setattr(_crew, "_usable", lambda: 3)
    monkeypatch.setattr(_crew, "_crew", None)
    yield
    if _crew._crew is not None:
        _crew._crew.shutdown()


def test_every_item_is_taken_once_and_by_several_threads() -> None:
    ready = threading.Barrier(3, timeout=10)

    def work(items: Iterator[int]) -> tuple[str, list[int]]:
        first = next(items)
        ready.wait()  # all three are here at once, or this fails
        return threading.current_thread().name, [first, *items]

    found = share(range(1000), work, LARGE + 1)
    assert sorted(item for _, items in found for item in items) == list(range(1000))
    assert len({name for name, _ in found}) == 3
    assert found[0][0] == threading.current_thread().name and found[0][1][0] == 0, "the caller has the first item"


@pytest.mark.parametrize(("items", "size"), [([1, 2, 3], LARGE), ([1], LARGE + 1), ([], LARGE + 1)])
def test_small_work_stays_in_its_thread(items: list[int], size: int) -> None:
    assert share(items, list, size) == [items]
    assert _crew._crew is None


def test_threads_of_the_crew_do_not_share_again() -> None:
    """Else all could wait for one another. The calling thread may."""
    ready = threading.Barrier(3, timeout=10)

    def work(items: Iterator[int]) -> tuple[bool, int]:
        next(items)
        ready.wait()
        mine = threading.current_thread() is threading.main_thread()
        return mine, len(share([1, 2, 3], list, LARGE + 1))

    found = share(range(3), work, LARGE + 1)
    assert [count for mine, count in found if not mine] == [1, 1]


@pytest.mark.parametrize("who", ["caller", "other"])
def test_an_error_ends_the_work_and_comes_out(who: str) -> None:
    ready, done = threading.Barrier(3, timeout=10), []

    def work(items: Iterator[int]) -> None:
        next(items)
        ready.wait()
        if (threading.current_thread() is threading.main_thread()) == (who == "caller"):
            raise ZeroDivisionError
        for item in items:
            time.sleep(0.001)
            done.append(item)

    with pytest.raises(ZeroDivisionError):
        share(range(5000), work, LARGE + 1)
    assert len(done) < 4000, "the items that were left are dropped"
    count = len(done)
    time.sleep(0.01)
    assert len(done) == count, "nobody works any more"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="there are no signals to threads here")
def test_interrupts_wait_for_the_threads_that_have_begun() -> None:
    """Also the second one, which comes while they are waited for."""
    ready, done = threading.Barrier(3, timeout=10), []

    def work(items: Iterator[int]) -> None:
        next(items)
        ready.wait()
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        for _ in range(3):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        done.append(1)

    with pytest.raises(KeyboardInterrupt):
        share(range(3), work, LARGE + 1)
    assert done == [1, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_after_a_fork_threads_are_started_anew() -> None:
    share(range(10), list, LARGE + 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if sorted(chain(*share(range(100), list, LARGE + 1))) == list(range(100)) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_among_many_works_alone() -> None:
    """Each of them starting threads would only make them wait for one another."""
    code = "from tflitekit import _crew; _crew.work_alone(); print(_crew.threads(1 << 30))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_when_the_interpreter_is_about_to_end_one_thread_does_all() -> None:
    """No thread can be started then; threads of the user's own may still be at work."""
    code = (
        "import threading; from tflitekit import _crew; _crew._usable = lambda: 3\n"
        "def late(): threading.main_thread().join(); print(_crew.share(range(5), list, 1 << 30))\n"
        "threading.Thread(target=late).start()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[[0, 1, 2, 3, 4]]\n", "")
