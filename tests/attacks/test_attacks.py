"""Hostile files: the gallery meets the errors that it states, mutants meet the verdict of the C++ Verifier, and what is accepted does no harm."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest

import tflitekit as tk
from tests import generated
from tests.conftest import MODELS
from tests.runtime import needs_runtime

from .anatomy import Anatomy
from .campaign import SEEDS, Figures, campaign, cpp_verdicts, outcomes
from .exercise import EVERY, FEW
from .gallery import BOMBS, GALLERY, documented, victim
from .mutate import MEANING, STRUCTURE, InapplicableError, damage, mutant

needs_models = pytest.mark.skipif(not SEEDS, reason=f"no models in {MODELS}; set TFLITEKIT_MODELS to a folder of .tflite files")


@cache
def files() -> dict[str, bytes]:
    return {name: attack.make() for name, attack in GALLERY.items()}


@pytest.mark.parametrize("name", GALLERY)
def test_each_attack_meets_its_error(name: str) -> None:
    attack = GALLERY[name]
    if attack.error is None:
        tk.parse(files()[name])
        return
    with pytest.raises(attack.error, match=attack.says) as caught:
        tk.parse(files()[name])
    assert type(caught.value) is attack.error


def test_what_is_accepted_of_the_gallery_does_no_harm() -> None:
    expect_no_harm(FEW)


@pytest.mark.slow
def test_what_is_accepted_of_the_gallery_does_no_harm_whatever_is_done() -> None:
    expect_no_harm(EVERY)


def expect_no_harm(effort: str) -> None:
    """Commands, passes and a rebuild."""
    accepted = [name for name, attack in GALLERY.items() if attack.error is None]
    for name, outcome in zip(accepted, outcomes([files()[name] for name in accepted], effort), strict=True):
        assert outcome.verdict == "accepted"
        assert not outcome.problems, name
        assert outcome.done > 5


@needs_runtime
def test_the_cpp_verifier_says_the_same_of_the_gallery(tmp_path: Path) -> None:
    names = [name for name in GALLERY if name not in BOMBS]
    found = cpp_verdicts([files()[name] for name in names], tmp_path)
    assert {n: v for n, v in zip(names, found, strict=True) if v is not None and v != (GALLERY[n].error is None)} == {}


def expect_nothing(figures: Figures) -> None:
    """No foreign exception, hang or blow-up, no other verdict than the C++ Verifier's; both kinds of verdict were there."""
    assert figures.accepted > figures.files // 4 and figures.files - figures.accepted > figures.files // 4, figures
    assert not figures.problems and not figures.disagreements and not figures.budget, str(figures)


@needs_models
def test_mutants_do_no_harm() -> None:
    expect_nothing(campaign(220, 6, effort=FEW))


@pytest.mark.slow
@needs_models
@pytest.mark.parametrize("seed", range(100, 112))
def test_mutants_do_no_harm_at_length(seed: int) -> None:
    expect_nothing(campaign(500, seed))


@pytest.mark.slow
@needs_models
def test_mutants_do_no_harm_whatever_is_done_to_them() -> None:
    """All commands and all options of passes on each."""
    expect_nothing(campaign(480, 99, effort=EVERY))


# ---- the tools themselves ----


@pytest.mark.parametrize("kind", [*STRUCTURE, *MEANING])
def test_each_kind_of_damage_hits(kind: str) -> None:
    """Damage of the meaning leaves a file that loads and says something else."""
    data = tk.serialize(generated.per_channel_heavy(2, 8)) if kind == "quantized_dimension" else documented() if kind == "metadata" else victim()
    anatomy, rng = Anatomy(data), random.Random(5)
    made, loaded = set(), 0
    for _ in range(40):
        try:
            made.add(damage(data, anatomy, kind, rng))
        except InapplicableError:
            continue
    for out in made - {data}:
        try:
            loaded += tk.parse(out) is not None
        except tk.TFLiteKitError:
            assert kind in STRUCTURE
    assert made - {data}
    assert loaded or kind in STRUCTURE


def test_mutants_are_the_same_for_the_same_seed() -> None:
    anatomy = Anatomy(victim())
    first, second = (mutant(victim(), anatomy, random.Random(8)) for _ in range(2))
    assert first == second and first[1] and first[0] != victim()


def test_what_goes_wrong_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A foreign exception, a hang and an allocation that is too large are each told as what they are; a mutant in a child, too."""
    import signal
    import time

    from .exercise import Outcome, _attempt, _limited, expire

    monkeypatch.setattr("tests.attacks.exercise.SECONDS", 0.05)
    outcome = Outcome(0)

    def spin() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pass

    before = signal.signal(signal.SIGPROF, expire)
    try:
        with _limited(1000):
            _attempt(outcome, "large", lambda: bytearray(200 << 20))
            _attempt(outcome, "foreign", lambda: [][1])
            _attempt(outcome, "endless", spin)
            _attempt(outcome, "fine", lambda: bytearray(1 << 20))
    finally:
        signal.signal(signal.SIGPROF, before)
    assert [(name, kind) for name, kind, _ in outcome.problems] == [("large", "memory"), ("foreign", "foreign"), ("endless", "hang")]
