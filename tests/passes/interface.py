"""Runs a model before and after its inputs and outputs changed their types, on the same real values, and says how the results differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tests.runtime import DEFAULT, REFERENCE, Job, Outcome, pool
from tflitekit.graph import Model, SignatureDef, SubGraph, Tensor
from tflitekit.passes import SetIoDtype
from tflitekit.passes.io_dtype import entries
from tflitekit.quant.affine import Affine
from tflitekit.types import numpy_dtype

TYPES = ("float32", "int8", "uint8", "int16")
CODES = ("INT8", "UINT8", "INT16")
RESOLVERS = (REFERENCE, DEFAULT)


def codes(tensor: Tensor) -> Affine | None:
    """The parameters of a tensor of codes, read plainly."""
    q = tensor.quantization
    if tensor.type.name not in CODES or q is None or len(q.scale) != 1:
        return None
    return Affine(q.scale[0], int(q.zero_point[0]), tensor.type)


@dataclass
class Entry:
    """One way to call a model: a signature, or the first subgraph by positions. Inputs and outputs are in the order in which results come."""

    key: str | None
    inputs: list[tuple[Any, Tensor]]
    outputs: list[Tensor]


def calls(model: Model) -> list[Entry]:
    """Every way to call a model."""
    found = []
    for signature in model.signature_defs:
        assert isinstance(signature, SignatureDef)
        inputs = sorted((tk.types.text(entry.name), entry.tensor) for entry in signature.inputs if entry.tensor is not None)  # names are unique
        outputs = [t for _, t in sorted(((tk.types.text(e.name), e.tensor) for e in signature.outputs), key=lambda pair: pair[0]) if t is not None]
        found.append(Entry(tk.types.text(signature.signature_key), list(inputs), outputs))
    first = model.subgraphs[0]
    if not any(signature.subgraph is first for signature in model.signature_defs) or len(set(first.outputs)) != len(first.outputs):
        found.append(by_position(first))
    return found


def by_position(subgraph: SubGraph) -> Entry:
    """The call of a subgraph without names."""
    inputs: list[tuple[Any, Tensor]] = [(i, t) for i, t in enumerate(subgraph.inputs) if t is not None]
    return Entry(None, inputs, [t for t in subgraph.outputs if t is not None])


def paired_inputs(before: Entry, after: Entry, seed: int) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Values for both models that mean the same: on the grid of the coarser type where an input has codes in either model."""
    rng = np.random.default_rng(seed)
    old_values, new_values = {}, {}
    for (name, old), (same_name, new) in zip(before.inputs, after.inputs, strict=True):
        assert name == same_name
        a, b = codes(old), codes(new)
        if a is None and b is None:
            continue
        grid = min((c for c in (a, b) if c is not None), key=lambda c: np.iinfo(numpy_dtype(c.type)).bits)
        info = np.iinfo(numpy_dtype(grid.type))
        drawn = rng.integers(info.min, int(info.max) + 1, old.shape).astype(numpy_dtype(grid.type))
        real = grid.dequantize(drawn)
        old_values[name], new_values[name] = encoded(real, old, a, grid, drawn), encoded(real, new, b, grid, drawn)
    return old_values, new_values


def encoded(real: npt.NDArray[Any], tensor: Tensor, own: Affine | None, grid: Affine, drawn: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Real values as a tensor takes them."""
    if own is None:
        return real.astype(numpy_dtype(tensor.type))
    return drawn if own == grid else own.quantize((drawn.astype(np.float64) - grid.zero_point) * float(grid.scale))


def array(outcome: Outcome, index: int) -> npt.NDArray[Any]:
    """One output of a run."""
    dtype, shape, data = outcome.outputs[index]
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


def output_difference(old: npt.NDArray[Any], new: npt.NDArray[Any], a: Affine | None, b: Affine | None) -> str | None:
    """How an output of the changed model is not what it should be; None where it is.

    Equal bits where the type is the same; codes that differ by the zero points where both have 8 bits or 16 replaced 8; reals bit-equal to the codes
    that were or are there; at most one code of the coarser type where 8 bits replaced 16.
    """
    if old.shape != new.shape:
        return f"shape {old.shape} became {new.shape}"
    if a == b:
        return None if old.tobytes() == new.tobytes() else f"{int((old != new).sum())} of {old.size} values differ"
    if a is None or b is None:
        coded, floats, own = (old, new, a) if a is not None else (new, old, b)
        assert own is not None
        if own.dequantize(coded).tobytes() == floats.tobytes() or own.quantize(floats).tobytes() == coded.tobytes():
            return None
        return f"largest difference {float(np.abs(own.dequantize(coded) - floats).max()) / float(own.scale):.3g} codes"
    left, right = old.astype(np.int64) - a.zero_point, new.astype(np.int64) - b.zero_point
    if a.scale == b.scale:
        return None if np.array_equal(left, right) else f"{int((left != right).sum())} of {old.size} codes differ"
    error = np.abs(left * float(a.scale) - right * float(b.scale)).max() / max(float(a.scale), float(b.scale))
    return None if error <= 1 else f"{error:.3g} codes apart"


@dataclass
class Tally:
    """What a sweep found."""

    runs: int = 0
    combinations: int = 0
    restored: int = 0
    models: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def compare(name: str, before: Model, original: bytes, after: Model, tally: Tally, *, exact: bool = False, seed: int = 5) -> None:
    """Run two models through all their signatures in both resolvers, and add to the tally how they differ. `exact` wants equal bits."""
    changed = tk.serialize(after)
    jobs, checks = [], []
    for old, new in zip(calls(before), calls(after), strict=True):
        given, taken = paired_inputs(old, new, seed)
        for resolver in RESOLVERS:
            jobs += [Job(original, resolver, 7, None, given, signature=old.key), Job(changed, resolver, 7, None, taken, signature=new.key)]
            checks.append((old, new, resolver))
    outcomes = pool().run(jobs)
    for (old, new, resolver), first, second in zip(checks, outcomes[::2], outcomes[1::2], strict=True):
        where = f"{name} {old.key or ''} {resolver}"
        tally.runs += 1
        if not first.ok and first.status == second.status:
            continue  # the original does not run here either
        if not second.ok or len(first.outputs) != len(second.outputs):
            tally.faults.append(f"{where}: {first.status} {first.message} -> {second.status} {second.message}")
            continue
        for index, (was, now) in enumerate(zip(old.outputs, new.outputs, strict=True)):
            text = output_difference(array(first, index), array(second, index), codes(was), codes(now)) if was.type.name != "STRING" else None
            if exact and first.outputs[index] != second.outputs[index]:
                text = text or "bits differ"
            if text is not None:
                tally.faults.append(f"{where} output {index}: {text}")


def sweep(name: str, model: Model, combinations: list[tuple[str, str]], tally: Tally) -> None:
    """Put a model through combinations of input and output types, and back."""
    original = tk.serialize(model)
    for inputs, outputs in combinations:
        label = f"{name} {inputs or '-'}/{outputs or '-'}"
        try:
            result = tk.run(model, SetIoDtype(inputs=inputs, outputs=outputs))
        except tk.RefusedError as error:
            tally.refused[reason(str(error))] = tally.refused.get(reason(str(error)), 0) + 1
            continue
        for note in result.refused:
            tally.refused[reason(note.text)] = tally.refused.get(reason(note.text), 0) + 1
        if not result.changes:
            continue
        tally.combinations += 1
        tally.models.add(name)
        again = tk.run(result.model, SetIoDtype(inputs=inputs, outputs=outputs))
        if again.changes:
            tally.faults.append(f"{label}: a second time changes {len(again.changes)} fields")
        compare(label, model, original, result.model, tally)
        back = restored(model, result.model)
        if back is not None:
            tally.restored += 1
            compare(f"{label} and back", model, original, back, tally, exact=True)


def restored(model: Model, changed: Model) -> Model | None:
    """The changed model with the types that it had; None where that is refused."""
    texts = {}
    for side in ("inputs", "outputs"):
        items = []
        for subgraph, after in zip(model.subgraphs, changed.subgraphs, strict=True):
            if subgraph not in entries(model):
                continue
            number = model.subgraphs.index(subgraph)
            for i, (old, new) in enumerate(zip(getattr(subgraph, side), getattr(after, side), strict=True)):
                if old.type != new.type:
                    items.append(f"{number}:{i}={old.type.name}")
        texts[side] = ",".join(dict.fromkeys(items))
    try:
        result = tk.run(changed, SetIoDtype(**texts))
    except tk.RefusedError:
        return None
    return None if result.refused else result.model


def reason(text: str) -> str:
    """A refusal without names."""
    first = text.split("; ")[0]
    return first.partition("cannot be ")[2] or first
