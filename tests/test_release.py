"""A model that is dropped is freed at once, and its mapped file with it: thousands of files can be worked on without waiting for the collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tflitekit as tk
from tests.audit.test_findings import convolution, requantize
from tests.passes.test_convert_activations import legacy
from tflitekit.passes.options import parse_spec

USES: dict[str, Callable[[tk.Model], object]] = {
    "read": lambda model: None,
    "rebuild": lambda model: tk.serialize(model, rebuild=True),
    "audit": lambda model: tk.audit(model, weights=True),
    "verify": tk.verify,
    "diff": lambda model: tk.diff(model, tk.parse(tk.serialize(model))),
    **{
        spec: lambda model, spec=spec: tk.serialize(tk.run(model, parse_spec(spec)).model)  # type: ignore[misc]
        for spec in (
            "fix-quantization", "set-quantization{tensor=x,scale=1/8,keep=real}", "requantize-weights{to=int4}", "convert-activations{to=int16}",
            "set-io-dtype{inputs=float32,outputs=float32}", "set-input-stats{mode=feed-raw,mean=0,std=255,dtype=uint8}",
        )
    },
}  # fmt: skip


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("name", list(USES))
@pytest.mark.parametrize("make", [convolution, legacy], ids=["int8", "uint8"])
def test_a_model_is_freed_when_it_is_dropped(name: str, make: Callable[[], tk.Model], tmp_path: Path, no_collector: None) -> None:
    built = make()
    requantize(built, "y", scale=[0.01])  # something to find and to repair
    path = tmp_path / "m.tflite"
    tk.write(built, path)
    USES[name](tk.read(path))  # what is made once and kept
    model = tk.read(path)
    source = weakref.ref(model.source)
    USES[name](model)
    del model
    assert source() is None, [type(r) for r in gc.get_referrers(source())]
