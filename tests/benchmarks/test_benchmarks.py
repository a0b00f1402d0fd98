"""The promised ratios: in full by marker `benchmark`, small and with slack in every run."""

from __future__ import annotations

from pathlib import Path

import pytest

import tflitekit as tk

from .. import generated
from ..runtime import needs_runtime
from . import audits, big, page, processes, tables, weights
from .__main__ import KINDS, real_paths, three_megabytes
from .big import MEGABYTE
from .harness import FASTER, MEMORY, MORE, Row, anonymous_memory, interleave, markdown

SLACK = 2.5  # small models, few repetitions and a busy machine: only a real regression should fail


def expect(rows: list[Row], slack: float = 1.0) -> None:
    missed = [row for row in rows if not row.holds(slack)]
    print(markdown(rows))
    assert not missed, "\n" + markdown(missed)


@needs_runtime
def test_many_operators_in_small(tmp_path: Path) -> None:
    expect(tables.operators(2_000, tmp_path, repeats=3), SLACK)


@needs_runtime
def test_a_model_of_scales_in_small(tmp_path: Path) -> None:
    expect(tables.channels(tmp_path, 40, repeats=3), SLACK)


@needs_runtime
def test_real_models_in_small(models: Path, tmp_path: Path) -> None:
    expect(tables.real_models(real_paths(1), tmp_path, repeats=5), SLACK)


def test_other_readers_in_small(tmp_path: Path) -> None:
    """No figure is promised, but reading all objects must not take longer than a walk in plain Python."""
    assert tables.other_readers(200, tmp_path, repeats=3)[0].ratio > 1


def test_audits_in_small() -> None:
    """The ratio hardly depends on the size, so little slack is needed: the loop runs in the same process, between the audits."""
    expect(audits.audit_operators(2_000), 1.2)


def test_audits_of_real_models_in_small(models: Path) -> None:
    expect(audits.audit_models(real_paths(2), repeats=5), SLACK)


def test_audit_of_files_in_small(tmp_path: Path) -> None:
    """Two processes give the same answer as one, and either beats starting the command for each file."""
    paths = [tmp_path / f"{count}.tflite" for count in (10, 20)]
    for path in paths:
        tk.write(generated.many_operators(int(path.stem)), path)
    _, loop = audits.folder_of_files(paths, tmp_path, 8, repeats=1)
    assert loop.ratio > 1.5


def test_streaming_in_small(tmp_path: Path) -> None:
    """Memory of a rebuild does not grow with the weights; time is left to the full run, since small writes measure the disk's mood."""
    _, memory = big.big_weights(48 * MEGABYTE, tmp_path, repeats=1)
    assert memory.ours < 24


def test_in_place_in_small(tmp_path: Path) -> None:
    """The size of the data does not matter, so that of the full run is not needed."""
    expect(big.patched(8 * MEGABYTE, tmp_path, repeats=9), SLACK)


def test_beyond_in_small(tmp_path: Path) -> None:
    summary, _, memory = big.beyond(32 * MEGABYTE, tmp_path, repeats=1)
    assert summary.ours < 16 and memory.ours < 24


def test_starts_in_small(models: Path) -> None:
    """Help is held to the targets themselves: with slack, importing numpy for it would pass. A busy machine makes the summary a third slower."""
    rows = processes.starts(three_megabytes(), repeats=3, clock=processes.processor_time)
    expect([row for row in rows if not row.name.startswith("summary")])
    expect([row for row in rows if row.name.startswith("summary")], 1.5)


def test_kernels_in_small() -> None:
    pytest.importorskip("litert_quantizer")
    expect(weights.weight_kernels(32 * MEGABYTE, repeats=3), SLACK)


def test_weights_to_int8_in_small(tmp_path: Path) -> None:
    pytest.importorskip("litert_quantizer")
    expect(weights.weights_to_int8(64 * MEGABYTE, tmp_path, (1.5, 64.0), repeats=3), 1.5)


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", KINDS)
def test_in_full(kind: str, models: Path, tmp_path: Path) -> None:
    expect(KINDS[kind](tmp_path, False))


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are in the page, the main ones in the README between the marks, and nothing else of it changes."""
    rows = [Row("20,000 operators: read", 1, 30, 20, FASTER, "peer", aim=40, bare=0.5), Row("rest", 1, 0, 0.5, MEMORY, "")]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(page, "REPOSITORY", tmp_path)
    page.write(rows, tmp_path, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| 20,000 operators: read | 1.00 s | 30.00 s | peer | 30 x faster | ≥ 20 | ≥ 40 | 60 |  |" in text
    assert "| rest | 1.0 MB |  |  | 1 MB | ≤ 0.5 **missed** |  |  |  |" in text and "Python 3" in text
    shown = readme.read_text(encoding="utf-8")
    assert shown.startswith(f"before\n{page.BEGIN}\n") and shown.endswith(f"{page.END}\nafter\n")
    assert "| 20,000 operators: read |" in shown and "| rest |" not in shown and "old" not in shown
    readme.write_text("without marks", encoding="utf-8")
    with pytest.raises(ValueError, match="has no part"):
        page.write(rows, tmp_path, tmp_path / "page.md")


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
    assert not Row("case", 0.3, 0.1, 150, MORE, "").holds() and Row("case", 0.3, 0.1, 250, MORE, "").holds()
    taken = anonymous_memory("x = b'x' * (40 << 20)")
    assert 39 < taken < 48
