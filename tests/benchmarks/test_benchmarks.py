"""The promised ratios: in full by marker `benchmark`, small and with slack in every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .. import runtime
from . import cases
from .__main__ import real_paths
from .harness import Row, anonymous_memory, interleave, markdown

needs_peer = pytest.mark.skipif(not runtime.available(), reason="needs the runtime extra (ai-edge-litert)")
SLACK = 2.5  # small models, few repetitions and a busy machine: only a real regression should fail


def expect(rows: list[Row], slack: float = 1.0) -> None:
    missed = [row for row in rows if not row.holds(slack)]
    print(markdown(rows))
    assert not missed, "\n" + markdown(missed)


@needs_peer
def test_many_operators_in_small(tmp_path: Path) -> None:
    expect(cases.operators(2_000, tmp_path, repeats=3), SLACK)


@needs_peer
def test_real_models_in_small(models: Path, tmp_path: Path) -> None:
    expect(cases.real_models(real_paths(1), tmp_path, repeats=5), SLACK)


def test_audits_in_small() -> None:
    """The ratio hardly depends on the size, so little slack is needed: the loop runs in the same process, between the audits."""
    expect(cases.audit_operators(2_000), 1.2)


def test_audits_of_real_models_in_small(models: Path) -> None:
    expect(cases.audit_models(real_paths(2), repeats=5), SLACK)


def test_streaming_in_small(tmp_path: Path) -> None:
    """Memory of a rebuild does not grow with the weights; time is left to the full run, since small writes measure the disk's mood."""
    _, memory = cases.big_weights(48 * cases.MEGABYTE, tmp_path, repeats=1)
    assert memory.ours < 24


def test_kernels_in_small() -> None:
    pytest.importorskip("litert_quantizer")
    expect(cases.weight_kernels(8 * cases.MEGABYTE, repeats=3), SLACK)


@pytest.mark.benchmark
def test_kernels() -> None:
    pytest.importorskip("litert_quantizer")
    expect(cases.weight_kernels(64 * cases.MEGABYTE))


@needs_peer
@pytest.mark.benchmark
def test_many_operators(tmp_path: Path) -> None:
    expect(cases.operators(20_000, tmp_path))


@needs_peer
@pytest.mark.benchmark
def test_real_models(models: Path, tmp_path: Path) -> None:
    expect(cases.real_models(real_paths(), tmp_path))


@pytest.mark.benchmark
def test_big_weights(tmp_path: Path) -> None:
    expect(cases.big_weights(500 * cases.MEGABYTE, tmp_path))


@pytest.mark.benchmark
@pytest.mark.parametrize(("megabytes", "targets"), cases.WHOLE_JOBS)
def test_weights_to_int8(tmp_path: Path, megabytes: int, targets: tuple[float, float]) -> None:
    pytest.importorskip("litert_quantizer")
    expect(cases.weights_to_int8(megabytes * cases.MEGABYTE, tmp_path, targets))


def test_the_harness_measures() -> None:
    """A control: order, counts and ratios of known candidates, and memory that is really taken."""
    order: list[str] = []
    timing = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4
    assert [len(times) for times in timing.times.values()] == [3, 3]
    timing.times = {"a": [1.0, 9.0, 2.0], "b": [8.0, 8.0, 8.0]}
    row = timing.row("case", 4)
    assert (row.ours, row.ratio, row.holds()) == (2.0, 4.0, True)
    assert not timing.row("case", 5).holds() and timing.row("case", 5).holds(1.25)
    taken = anonymous_memory("x = b'x' * (40 << 20)")
    assert 39 < taken < 48
