"""All passes on all real models: only declared fields change, twice is once, what is written reads back, nothing beside is lost; or they refuse."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tflitekit as tk
from tests.conftest import MODELS
from tflitekit.errors import EditError, LossyWriteError, RefusedError
from tflitekit.graph import Model
from tflitekit.passes.base import Pass, declared
from tflitekit.passes.options import parse_spec
from tflitekit.passes.registry import ENTRIES

# At least one set of options a pass; {input} and {weights} are places of the model.
SPECS = (
    "set-quantization{tensor={weights},scale=0x1p-6,keep=real}",
    "set-quantization{tensor={input},scale=1/128,keep=codes}",
    "fix-quantization",
    "requantize-weights{to=int8}",
    "requantize-weights{to=int4}",
    "requantize-weights{to=float32}",
    "requantize-weights{to=float16,form=explicit}",
    "convert-activations{to=int8}",
    "convert-activations{to=uint8,per-tensor}",
    "convert-activations{to=int16}",
    "set-io-dtype{inputs=int8,outputs=int8}",
    "set-io-dtype{inputs=float32,outputs=float32}",
    "set-io-dtype{inputs=uint8}",
    "set-input-stats{mode=reinterpret,mean=127.5,std=127.5}",
    "set-input-stats{mode=feed-raw,mean=127.5,std=127.5,dtype=uint8}",
)
SHARE = 4  # the gate takes every fourth set of options for a model, other ones for the next


def place_of(model: Model, wanted: Callable[[tk.Tensor], bool]) -> str | None:
    """The first tensor of a kind, as SUBGRAPH:INDEX."""
    for number, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if wanted(tensor):
                return f"{number}:{index}"
    return None


def made(model: Model, spec: str) -> Pass | None:
    """The pass for a model; None if the model lacks what it is for."""
    if "{weights}" in spec:
        place = place_of(model, lambda t: t.is_constant and t.type.name == "INT8" and t.quantization is not None and len(t.quantization.scale) > 0)
    else:
        seen = [t for g in model.subgraphs for t in g.inputs]
        place = place_of(model, lambda t: any(t is other for other in seen))
    if place is None and ("{weights}" in spec or "{input}" in spec):
        return None
    return parse_spec(spec.replace("{weights}", place or "").replace("{input}", place or ""))


def around(model: Model) -> tuple[object, ...]:
    """What a pass has no business with: what lies behind the model, names of subgraphs and signatures, variables, states of recurrent operators."""
    lists = [(g.name, len(g.inputs), len(g.outputs)) for g in model.subgraphs]
    signatures = [(s.signature_key, [m.name for m in s.inputs], [m.name for m in s.outputs]) for s in model.signature_defs]
    states = Counter((o.op_name, len(o.intermediates), len(o.inputs)) for o in model.operators() if o.intermediates)
    return model.source.container.zip_names, lists, signatures, states


def archive(model: Model) -> list[tuple[str, int]]:
    """The files of the zip behind a model: name and checksum."""
    import io
    import zipfile

    data = bytes(model.source.data)
    if data.rfind(b"PK\x05\x06") < 0:
        return []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as found:
            return [(entry.filename, entry.CRC) for entry in found.infolist()]
    except zipfile.BadZipFile:
        return []


def check(model: Model, spec: str) -> str:
    """Run a pass and hold it to what all passes promise; what came of it."""
    one = made(model, spec)
    if one is None:
        return "not for this model"
    try:
        result = tk.run(model, one)
    except RefusedError:
        return "refused"
    except EditError:
        return "refused"  # names what is wrong with the options for this model
    assert all(declared(one.touches, change.path) for change in result.changes), spec
    if not result.changes:
        return "nothing to do"
    assert tk.run(result.model, one).changes == (), f"{spec}: twice is not once"
    try:
        again = tk.parse(tk.serialize(result.model))
    except LossyWriteError:
        return "cannot be rebuilt"
    assert [str(c) for c in tk.diff(again, result.model)] == [], spec
    assert around(again) == around(model), spec
    assert archive(again) == archive(model), spec
    errors = {(p.code, p.name) for p in tk.verify(model) if p.severity == "error"}
    assert {(p.code, p.name) for p in result.problems if p.severity == "error" and p.code not in one.allows} <= errors
    return "changed"


def models() -> Iterator[Path]:
    yield from sorted(MODELS.glob("*.tflite")) if MODELS.is_dir() else ()


def test_every_pass_has_options_here() -> None:
    assert {spec.partition("{")[0] for spec in SPECS} == {entry.name for entry in ENTRIES}


@pytest.mark.parametrize("path", list(models()), ids=lambda path: path.stem)
def test_passes_keep_their_promises(path: Path, request: pytest.FixtureRequest) -> None:
    try:
        model = tk.read(path)
    except tk.TFLiteKitError:
        pytest.skip("not a valid model")
    number = list(models()).index(path)
    for spec in SPECS[number % SHARE :: SHARE]:
        check(model, spec)


@pytest.mark.slow
def test_all_passes_on_all_models() -> None:
    found: Counter[tuple[str, str]] = Counter()
    for path in models():
        try:
            model = tk.read(path)
        except tk.TFLiteKitError:
            continue
        for spec in SPECS:
            found[spec, check(model, spec)] += 1
    for spec in SPECS:
        print(spec, json.dumps({word: n for (name, word), n in sorted(found.items()) if name == spec}))
    assert sum(n for (_, word), n in found.items() if word == "changed") > 500
