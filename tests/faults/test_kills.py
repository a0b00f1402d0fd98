"""Writers that are killed, or interrupted by Ctrl-C, at moments spread over all that they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")

FINE = {"killed", "survived", "interrupted", "old", "new", "restored", "old, record", "new, record"}
KINDS = ("calls", "in-place", "write", "interrupt")


def tally(kind: str, count: int, seed: int, before: str = "") -> dict[str, int]:
    script = f"{before}\nimport json\nfrom tests.faults import kills\nprint(json.dumps(kills.main({kind!r}, {count}, {seed})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=500, cwd=REPOSITORY, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    assert found.get("killed", 0) + found.get("survived", 0) + found.get("interrupted", 0) == count
    return found


@pytest.mark.parametrize(("kind", "count"), [("calls", 60), ("in-place", 6), ("write", 6), ("interrupt", 6)])
def test_some_kills(kind: str, count: int) -> None:
    found = tally(kind, count, 1)
    assert set(found) <= FINE, found
    assert found["interrupted" if kind == "interrupt" else "killed"] > 0
    if kind == "calls":
        assert {"old", "new", "restored", "old, record", "new, record"} <= set(found), "not spread over the whole operation"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_kills(kind: str) -> None:
    found = tally(kind, 200, 2)
    print(kind, found)
    assert set(found) <= FINE, found
    assert found["interrupted" if kind == "interrupt" else "killed"] > 50


def test_kills_tear_what_has_no_undo_record() -> None:
    found = tally("calls", 60, 1, "from tflitekit.flat import inplace\ninplace._store = lambda *_: None")
    assert found["torn"] > 0
