"""Coverage-guided fuzzing with atheris (`pip install atheris`): `python -m tests.attacks.fuzz -max_total_time=60`.

The target: only errors of ours come out of parsing; what is accepted comes back byte for byte, survives `verify`, the audit and a rebuild, and the
rebuilt file says the same. Inputs are the bytes that libFuzzer makes, or, half of the time, mutants that know the structure; it starts from small
real models where they are, else from generated ones. Further arguments are libFuzzer's; the corpus goes into a temporary folder unless one is named.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tflitekit"]):
    import tflitekit as tk
    import tflitekit.flat.codec
    import tflitekit.flat.verifier

from tests import generated
from tests.attacks.anatomy import Anatomy
from tests.attacks.campaign import SEEDS
from tests.attacks.mutate import mutant

LARGEST = 4096


def target(data: bytes) -> None:
    """What must hold for any bytes."""
    try:
        model = tk.parse(data)
    except tk.TFLiteKitError:
        return
    tk.verify(model)
    tk.audit(model)
    assert tk.serialize(model) == data
    try:
        rebuilt = tk.serialize(model, rebuild=True)
    except tk.SerializeError:
        return
    again = tk.parse(rebuilt)
    assert tk.diff(model, again) == []
    assert tk.serialize(again, rebuild=True) == rebuilt


def mutate(data: bytes, size: int, seed: int) -> bytes:
    """A mutant: of the structure where the bytes are a valid file, else libFuzzer's own."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        try:
            return mutant(data, Anatomy(data), rng)[0][:size]
        except tk.TFLiteKitError:
            pass
    made: bytes = atheris.Mutate(data, size)
    return made


def main() -> None:
    """Run libFuzzer until it finds something or its time is up."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = [path.read_bytes() for path in SEEDS if path.stat().st_size <= LARGEST]
        for number, data in enumerate(seeds or [tk.serialize(generated.many_operators(8)), tk.serialize(generated.rare_parts())]):
            (Path(folder) / f"{number}.tflite").write_bytes(data)
        named = any(not argument.startswith("-") for argument in sys.argv[1:])
        arguments = [*sys.argv, f"-max_len={2 * LARGEST}", "-timeout=2", "-rss_limit_mb=1024", *([] if named else [folder])]
        atheris.Setup(arguments, target, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
