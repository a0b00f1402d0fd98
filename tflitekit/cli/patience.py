"""What a command shows on a terminal while it works for longer than a second: its name and the seconds, gone before anything else is printed."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from types import TracebackType

DELAY, PERIOD = 1.0, 0.25  # seconds
SIGNS = "|/-\\"

_shown: Patience | None = None


class Patience:
    """Shows that a command is at work, from the first second on, where standard error is a terminal. Used in a `with` statement."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._over: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Patience:
        global _shown
        if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            import threading

            _shown = self
            self._over = threading.Event()
            self._thread = threading.Thread(target=self._show, args=(self._over,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Show nothing any more."""
        global _shown
        if self._over is not None and self._thread is not None:
            self._over.set()
            self._thread.join()
            self._thread = _shown = None

    def _show(self, over: threading.Event) -> None:
        start = time.monotonic()
        if over.wait(DELAY):
            return
        number = 0
        while True:
            sys.stderr.write(f"\r{SIGNS[number % len(SIGNS)]} {self._command}: {time.monotonic() - start:.0f} s\x1b[K")
            sys.stderr.flush()
            number += 1
            if over.wait(PERIOD):
                break
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def stop_showing() -> None:
    """Take away what is shown: something else will be printed, or processes forked."""
    if _shown is not None:
        _shown.stop()
