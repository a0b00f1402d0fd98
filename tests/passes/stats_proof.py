"""What `set-input-stats` does to real models, measured in the runtime. `python -m tests.passes.stats_proof [NAME ...]` prints a line for each input.

All comparisons are made without delegates, with all tensors preserved. Whoever reads an input's codes and rescales them is found in the models here,
not asked of the pass: the operators with an unchanged output that read a tensor whose parameters the pass has changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tflitekit as tk
from tests import runtime
from tests.conftest import MODELS, VALID_PATHS
from tests.runtime_child import make_input
from tflitekit.graph import Model, Tensor
from tflitekit.passes.interface import entries
from tflitekit.quant.affine import Affine
from tflitekit.types import numpy_dtype

CODE_TYPES = ("UINT8", "INT8", "INT16")
FRAMES = 3  # streaming models keep a state


@dataclass(frozen=True)
class Input:
    """One input of one model: its position and tensor, and the quantized tensor whose parameters are its own (behind QUANTIZE, for a float input)."""

    path: Path
    subgraph: int
    position: int
    index: int
    inner: int
    bits: int = 0

    @property
    def place(self) -> str:
        return f"{self.subgraph}:{self.position}"

    @property
    def name(self) -> str:
        return f"{self.path.stem}-{self.place}"

    def model(self) -> Model:
        return tk.read(self.path)


def runnable() -> list[Path]:
    """The real models that LiteRT runs."""
    if not VALID_PATHS:
        return []
    known = {entry["name"]: entry for entry in json.loads((MODELS / "manifest.json").read_text())}
    return [path for path in VALID_PATHS if known.get(path.name, {}).get("runnable") == "yes"]


def affine(tensor: Tensor) -> Affine | None:
    """One scale and zero point, or None."""
    q = tensor.quantization
    if q is None or tensor.type.name not in CODE_TYPES or len(q.scale) != 1:
        return None
    return Affine(q.scale[0], int(q.zero_point[0]) if len(q.zero_point) else 0, tensor.type)


def inputs(path: Path) -> Iterator[Input]:
    """The inputs of a model with parameters, their own or those of the QUANTIZE behind."""
    model = tk.read(path)
    for subgraph in entries(model):
        for number, tensor in enumerate(subgraph.inputs):
            assert tensor is not None
            inner = tensor
            readers = tensor.consumers()
            if tensor.type.name == "FLOAT32" and readers and all(o.op_name == "QUANTIZE" for o in readers):
                inner = readers[0].outputs[0] or tensor
            if affine(inner) is not None:
                places = (subgraph.tensors.index(t) for t in (tensor, inner))
                yield Input(path, model.subgraphs.index(subgraph), number, *places, bits=16 if inner.type.name == "INT16" else 8)


def signature_of(model: Model, subgraph: int) -> Any:
    """The signature that runs a subgraph, None for subgraph 0."""
    return next((s for s in model.signature_defs if s.subgraph is model.subgraphs[subgraph]), None) if subgraph else None


def run(
    model: Model, which: Input, frames: list[dict[int, Any]], tensors: list[int], resolver: str = runtime.NO_DELEGATES, refused: Any = None
) -> Any:
    """The outputs (arrays), then the tensors, after the last frame; `refused` where the runtime says no. Frames are by position."""
    subgraph = model.subgraphs[which.subgraph]
    signature = signature_of(model, which.subgraph)
    fed: list[dict[Any, Any]] = list(frames)
    if signature is not None:
        names = {subgraph.inputs.index(entry.tensor): entry.name.decode() for entry in signature.inputs}
        fed = [{names[position]: value for position, value in frame.items()} for frame in frames]
    job = runtime.Job(
        tk.serialize(model), resolver, frames=fed, signature=None if signature is None else signature.signature_key.decode(),
        tensors=tuple((which.subgraph, index) for index in tensors), timeout=120,
    )  # fmt: skip
    outcome = runtime.pool().run([job])[0]
    if outcome.status == "error" and refused is not None:
        return refused
    assert outcome.ok, f"{which.name}: {outcome.status} {outcome.message}"
    return [np.frombuffer(data, dtype).reshape(shape) if dtype != "string" else data for dtype, shape, data in outcome.outputs]


def others(model: Model, which: Input, rng: np.random.Generator) -> dict[int, Any]:
    """Random values for every input, in its own type."""
    made = {}
    for position, tensor in enumerate(model.subgraphs[which.subgraph].inputs):
        assert tensor is not None
        dtype = np.bytes_ if tensor.type.name == "STRING" else numpy_dtype(tensor.type)
        made[position] = make_input(rng, dtype, tensor.shape, 0)
    return made


def first_rescalers(old: Model, new: Model, which: Input) -> list[int]:
    """The tensors that rescaling operators compute of those whose parameters have changed: unchanged themselves, in the subgraph of the input."""
    before, after = old.subgraphs[which.subgraph], new.subgraphs[which.subgraph]
    changed = {
        one for one, other in zip(before.tensors, after.tensors, strict=False)
        if affine(one) is not None and affine(other) is not None and affine(one) != affine(other) and not one.is_constant
    }  # fmt: skip
    results = [t for o in before.operators if any(t in changed for t in o.inputs) for t in o.outputs if t is not None and t not in changed]
    return [before.tensors.index(t) for t in dict.fromkeys(results)]


def steps(one: Any, other: Any) -> float:
    """The largest difference: in codes of integers, of floats in 1e-6 of the largest magnitude."""
    if one.dtype.kind == "f":
        return float(np.max(np.abs(one - other), initial=0) / (1e-6 * max(float(np.max(np.abs(one), initial=0)), 1e-30)))
    return float(np.max(np.abs(one.astype(np.int64) - other.astype(np.int64)), initial=0))


def relative(one: Any, other: Any) -> float:
    """The largest difference of floats, element by element, in 1e-6 of its value; 0 for codes."""
    if one.dtype.kind != "f":
        return 0.0
    return float(np.max(np.abs(one - other) / np.maximum(np.abs(one), 1e-30), initial=0) / 1e-6)


@dataclass(frozen=True)
class Reinterpreted:
    """The largest difference at first rescaling operators, in codes; that of the outputs, largest and mean; how often their largest value agrees."""

    which: Input
    operators: tuple[str, ...]
    first: float
    naive: float
    largest: float
    mean: float
    top: float
    inverse: float
    varies: bool
    scales_restored: bool


def reinterpreted(which: Input, resolver: str = runtime.NO_DELEGATES, seed: int = 1, *, shift: bool = False) -> Reinterpreted:
    """Twice the scale, and another zero point if `shift`; real inputs that both encodings hold; then back again."""
    old = which.model()
    inner = affine(old.subgraphs[which.subgraph].tensors[which.inner])
    assert inner is not None
    info = np.iinfo(numpy_dtype(inner.type))
    zero = inner.zero_point if not shift else int(inner.zero_point + (info.min + info.max)) // 2  # so that the new range holds the old one
    wanted = Affine(np.float32(2 * float(inner.scale)), zero, inner.type)
    doubled = tk.passes.SetInputStats(mode="reinterpret", input=which.place, scale=float(wanted.scale), zero_point=zero)
    new = tk.run(old, doubled).model
    edit = tk.passes.SetQuantization(
        tensor=(f"{which.subgraph}:{which.inner}",), scale=float(wanted.scale).hex(), zero_point=str(zero), keep="codes"
    )  # fmt: skip
    naive = tk.run(old, edit).model
    watched = first_rescalers(old, new, which)
    frames = [_pair(old, which, inner, wanted, np.random.default_rng(seed + i)) for i in range(FRAMES)]
    before, after = [a for a, _ in frames], [b for _, b in frames]
    count = len(old.subgraphs[which.subgraph].outputs)
    expected = run(old, which, before, watched, resolver)
    found = run(new, which, after, watched, resolver)
    wrong = run(naive, which, after, watched, resolver, refused=())
    still = run(old, which, [others(old, which, np.random.default_rng(seed + 50))] * FRAMES, watched, resolver)
    back = tk.run(new, tk.passes.SetInputStats(mode="reinterpret", input=which.place, scale=float(inner.scale), zero_point=inner.zero_point)).model
    same = [others(old, which, np.random.default_rng(seed + 90 + i)) for i in range(FRAMES)]
    first, naive_first, inverse = (
        max((steps(a, b) for a, b in zip(x[count:], y[count:], strict=True)), default=0.0) if y else float("inf")
        for x, y in ((expected, found), (expected, wrong), (run(old, which, same, watched, resolver), run(back, which, same, watched, resolver)))
    )
    outputs = list(zip(in_steps(old, which, expected[:count]), in_steps(old, which, found[:count], new), strict=True))
    return Reinterpreted(
        which, tuple(dict.fromkeys(o.op_name for t in watched if (o := old.subgraphs[which.subgraph].tensors[t].producer()) is not None)),
        first, naive_first, max(float(np.abs(a - b).max(initial=0)) for a, b in outputs), float(np.mean([np.abs(a - b).mean() for a, b in outputs])),
        float(np.mean([a.size < 2 or int(a.argmax()) == int(b.argmax()) for a, b in outputs])), inverse,
        any(not np.array_equal(a, b) for a, b in zip(expected[-len(watched) :], still[-len(watched) :], strict=True)), _scales(old) == _scales(back),
    )  # fmt: skip


def in_steps(model: Model, which: Input, outputs: list[Any], coded: Model | None = None) -> list[Any]:
    """The real values of outputs in steps of `model`'s outputs; floats as they are. `coded`: whose codes they are."""
    owner, made = model.subgraphs[which.subgraph], []
    held = (coded or model).subgraphs[which.subgraph].outputs
    for tensor, other, value in zip(owner.outputs, held, outputs, strict=True):
        q, unit = (None if t is None else affine(t) for t in (other, tensor))
        made.append(value.astype(float) if q is None or unit is None else q.dequantize(value).astype(float) / float(unit.scale))
    return made


def _pair(model: Model, which: Input, inner: Affine, wanted: Affine, rng: np.random.Generator) -> tuple[dict[int, Any], dict[int, Any]]:
    """The same real values for an input of the one scale, and of the other, which is twice that."""
    fixed = others(model, which, rng)
    tensor = model.subgraphs[which.subgraph].tensors[which.index]
    info = np.iinfo(numpy_dtype(inner.type))
    low = max(-((inner.zero_point - info.min) // 2), info.min - wanted.zero_point)
    high = min((info.max - inner.zero_point) // 2, info.max - wanted.zero_point)
    steps_ = rng.integers(low, high + 1, tensor.shape)
    at = which.position
    if tensor.type.name == "FLOAT32":
        real = (2 * float(inner.scale) * steps_).astype(np.float32)
        return {**fixed, at: real}, {**fixed, at: real}
    dtype = numpy_dtype(inner.type)
    return {**fixed, at: (inner.zero_point + 2 * steps_).astype(dtype)}, {**fixed, at: (wanted.zero_point + steps_).astype(dtype)}


def _scales(model: Model) -> list[bytes]:
    """The bits of the scales of all operands."""
    operands = (t for o in model.operators() for t in (*o.inputs, *o.outputs) if t is not None)
    return [t.quantization.scale.tobytes() if t.quantization is not None else b"" for t in operands]


# ---- feed-raw ----


@dataclass(frozen=True)
class Fed:
    """The tensor that was the input: its largest difference from numpy in codes, or of floats in 1e-6 of the largest, and of each value (`each`); the
    outputs: in steps, or relative to the largest."""

    which: Input
    type: str
    normalized: float
    each: float
    outputs: float
    varies: bool


def takers(path: Path) -> Iterator[Input]:
    """The float and quantized inputs of a model."""
    model = tk.read(path)
    for subgraph in entries(model):
        for number, tensor in enumerate(subgraph.inputs):
            assert tensor is not None
            if (tensor.type.name == "FLOAT32" or affine(tensor) is not None) and 0 not in tensor.shape:
                index = subgraph.tensors.index(tensor)
                yield Input(path, model.subgraphs.index(subgraph), number, index, index)


def fed(which: Input, mean: Any, std: Any, dtype: str = "uint8", resolver: str = runtime.NO_DELEGATES, seed: int = 1, **how: bool) -> Fed:
    """Feed random bytes to the rewritten model, and what numpy makes of them to the original."""
    old = which.model()
    tensor = old.subgraphs[which.subgraph].tensors[which.index]
    new = tk.run(old, tk.passes.SetInputStats(mode="feed-raw", input=which.place, mean=mean, std=std, dtype=dtype, **how)).model
    at, rng = which.position, np.random.default_rng(seed)
    info = np.iinfo(dtype)
    frames = [others(old, which, rng) for _ in range(FRAMES)]
    codes = [rng.integers(info.min, info.max + 1, tensor.shape).astype(dtype) for _ in range(FRAMES)]
    offset = np.asarray(mean) if how else np.floor(np.asarray(mean, float) + 0.5)  # the integer zero point
    real = [(code.astype(float) - offset) / np.asarray(std, float) for code in codes]
    inner = affine(tensor)
    expected = [r.astype(np.float32) if inner is None else inner.quantize(r) for r in real]
    before = run(old, which, [{**frame, at: value} for frame, value in zip(frames, expected, strict=True)], [])
    watched, through = _normalized(new, which, tensor)
    raw = [{**frame, at: value} for frame, value in zip(frames, codes, strict=True)]
    after = run(new, which, raw, watched, resolver)
    still = run(new, which, [{**frame, at: ~value} for frame, value in zip(frames, codes, strict=True)], watched, resolver)
    count = len(old.subgraphs[which.subgraph].outputs)
    wanted = expected[-1] if through is None else through.quantize(real[-1])
    largest, each = (max(compare(wanted, found) for found in after[count:]) for compare in (steps, relative))
    pairs = zip(in_steps(old, which, before), in_steps(old, which, after[:count]), strict=True)
    outputs = [float(np.abs(a - b).max(initial=0)) / (1.0 if _coded(old, which, i) else max(float(np.abs(a).max(initial=0)), 1e-30))
               for i, (a, b) in enumerate(pairs)]
    varies = any(not np.array_equal(a, b) for a, b in zip(after, still, strict=True))
    return Fed(which, tensor.type.name if through is None else f"FLOAT32, {through.type.name} inside", largest, each, max(outputs), varies)


def _coded(model: Model, which: Input, index: int) -> bool:
    tensor = model.subgraphs[which.subgraph].outputs[index]
    return tensor is not None and tensor.type.name != "FLOAT32"


def _normalized(new: Model, which: Input, tensor: Tensor) -> tuple[list[int], Affine | None]:
    """The tensors that hold the normalized values: the one that was the input, or what QUANTIZE makes where that is gone, with its parameters."""
    subgraph = new.subgraphs[which.subgraph]
    fresh, before = subgraph.tensors[which.index], len(which.model().subgraphs[which.subgraph].tensors)
    assert fresh.name == tensor.name
    last = subgraph.tensors[before] if before < len(subgraph.tensors) else None
    if last is not None and last.type == tensor.type:
        return [before], None
    targets = [t for o in fresh.consumers() for t in o.outputs if t is not None]
    return [subgraph.tensors.index(t) for t in targets], affine(targets[0])


def show(which: Input, measure: Callable[[Input], str]) -> None:
    """Print what is measured of an input, or why it cannot be."""
    try:
        print(f"{which.name:60} {measure(which)}")
    except (tk.TFLiteKitError, AssertionError) as error:
        print(f"{which.name:60} refused: {error}")


def shown_reinterpreted(which: Input) -> str:
    found = reinterpreted(which)
    flaws = ("" if found.varies else "  DOES NOT VARY") + ("" if found.scales_restored else "  SCALES NOT RESTORED")
    measured = f"{found.first:6.3g} {found.naive:7.4g} {found.inverse:6.3g}   {found.largest:8.4g} {found.mean:8.3g} {found.top:4.0%}"
    return f"{measured}   {' '.join(found.operators)}{flaws}"


def shown_fed(which: Input) -> str:
    done = fed(which, 127.5, 127.5)
    return f"{done.normalized:8.3g} {done.outputs:10.3g}   {done.type}{'' if done.varies else '  DOES NOT VARY'}"


def main(names: list[str]) -> None:
    """Print what was measured."""
    paths = [path for path in runnable() if not names or any(name in path.name for name in names)]
    print("LSB at the first rescaling operators: the pass, the naive edit, the pass and its inverse; outputs: largest and mean LSB, top-1")
    for path in paths:
        for which in inputs(path):
            show(which, shown_reinterpreted)
    print("feed-raw: largest difference from numpy (LSB of codes, 1e-6 of the largest float); outputs: LSB, or relative to the largest")
    for path in paths:
        for which in takers(path):
            show(which, shown_fed)


if __name__ == "__main__":
    main(sys.argv[1:])
