"""`python -m tests.attacks.timing`: what verification and refusal cost, as the best of several, in processor time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import tflitekit as tk
from tests import generated
from tests.conftest import VALID_PATHS
from tflitekit.flat.verifier import Verifier

from .gallery import BOMBS


def best(function: Callable[[], object], repeats: int = 7) -> float:
    """Milliseconds of processor time, the best of several."""
    found = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        found.append(time.process_time() - started)
    return 1e3 * min(found)


def refused(data: bytes) -> None:
    """Parse what must be refused by a budget."""
    try:
        tk.parse(data)
    except tk.LimitError:
        return
    raise AssertionError("a bomb was accepted")


def peak(data: bytes) -> float:
    """Megabytes that refusing takes beside the file."""
    tracemalloc.start()
    refused(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def main() -> None:
    data = tk.serialize(generated.many_operators(20_000))
    print(f"verify, 20,000 operators ({len(data) / 2**20:.1f} MB): {best(lambda: Verifier(memoryview(data)).run(), 15):.1f} ms")
    times, shares = [], []
    for path in VALID_PATHS:
        content = path.read_bytes()
        times.append((best(lambda content=content: Verifier(memoryview(content)).run()), path.name))  # type: ignore[misc]
        verifier = Verifier(memoryview(content))
        verifier.run()
        shares.append((max(verifier.tables / verifier.max_tables, verifier.materialized / verifier.max_bytes), path.name))
    if times:
        print(f"verify, {len(times)} real models: slowest {max(times)[0]:.1f} ms ({max(times)[1]}), {sum(t for t, _ in times):.0f} ms in all")
        print(f"share of a budget that real models use: at most {max(shares)[0]:.1%} ({max(shares)[1]})")
    for name, make in BOMBS.items():
        bomb = make()
        print(f"bomb, {name} ({len(bomb):,} bytes): refused in {best(lambda bomb=bomb: refused(bomb)):.1f} ms, {peak(bomb):.1f} MB")  # type: ignore[misc]


if __name__ == "__main__":
    main()
