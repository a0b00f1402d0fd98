"""Runs a model before and after its inputs and outputs changed their types, on the same real values, and says how the results differ."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tests.runtime import DEFAULT, REFERENCE, Job, Outcome, pool
from tflitekit._copy import copied
from tflitekit.graph import Model, SignatureDef, SubGraph, Tensor, TensorMap
from tflitekit.passes import SetIoDtype
from tflitekit.passes.interface import entries
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


def paired_inputs(before: Entry, after: Entry, kind: int) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Values of a kind (see `draw`) for both models that mean the same: on the grid of the coarser type where an input has codes in either."""
    rng = np.random.default_rng(5 + kind)
    old_values, new_values = {}, {}
    for (name, old), (same_name, new) in zip(before.inputs, after.inputs, strict=True):
        assert name == same_name
        a, b = codes(old), codes(new)
        known = [c for c in (a, b) if c is not None] or [c for c in (behind(old),) if c is not None]
        if not known:
            continue
        grid = min(known, key=lambda c: np.iinfo(numpy_dtype(c.type)).bits)
        drawn = draw(rng, kind, old.shape, grid)
        real = grid.dequantize(drawn)
        old_values[name], new_values[name] = encoded(real, old, a, grid, drawn), encoded(real, new, b, grid, drawn)
    return old_values, new_values


KINDS = 4


def draw(rng: np.random.Generator, kind: int, shape: tuple[int, ...], grid: Affine) -> npt.NDArray[Any]:
    """Codes. Kind 0: the whole range; 1: a single one; 2: some around the zero point; 3: a wave."""
    info = np.iinfo(numpy_dtype(grid.type))
    low, high = int(info.min), int(info.max)
    if kind == 0:
        found = rng.integers(low, high + 1, shape)
    elif kind == 1:
        found = np.full(shape, rng.integers(low, high + 1))
    elif kind == 2:
        found = np.clip(grid.zero_point + rng.integers(-6, 7, shape), low, high)
    else:
        found = np.rint(low + (high - low) * (np.sin(0.37 * np.arange(int(np.prod(shape)))) + 1) / 2).reshape(shape)
    return found.astype(numpy_dtype(grid.type))


def behind(tensor: Tensor) -> Affine | None:
    """The codes that a QUANTIZE makes of a float input."""
    found = [codes(out) for operator in tensor.consumers() if operator.op_name == "QUANTIZE" for out in operator.outputs if out is not None]
    return next((c for c in found if c is not None), None)


def in_front(tensor: Tensor) -> Affine | None:
    """The codes that a DEQUANTIZE reads to compute a float output."""
    operator = tensor.producer()
    found = [codes(t) for t in operator.inputs if t is not None] if operator is not None and operator.op_name == "DEQUANTIZE" else []
    return next((c for c in found if c is not None), None)


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
    skipped: int = 0
    combinations: int = 0
    restored: int = 0
    one_way: dict[str, int] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def compare(name: str, before: Model, original: bytes, after: Model, tally: Tally, kinds: dict[str | None, tuple[int, ...]], *, exact: bool) -> None:
    """Run two models through all their calls in both resolvers, and add to the tally how they differ. `exact` wants equal bits."""
    changed = tk.serialize(after)
    jobs, checks = [], []
    for old, new in zip(calls(before), calls(after), strict=True):
        for kind in kinds[old.key]:
            given, taken = paired_inputs(old, new, kind)
            for resolver in RESOLVERS:
                jobs.append(Job(original, resolver, 7 + kind, None, given, signature=old.key))
                jobs.append(Job(changed, resolver, 7 + kind, None, taken, signature=new.key))
                checks.append((old, new, f"{resolver} inputs {kind}"))
    outcomes = pool().run(jobs)
    for (old, new, resolver), first, second in zip(checks, outcomes[::2], outcomes[1::2], strict=True):
        where = f"{name} {old.key or ''} {resolver}"
        tally.runs += 1
        if not first.ok and first.status == second.status:
            tally.skipped += 1  # the original does not run here either
            continue
        if not second.ok or len(first.outputs) != len(second.outputs):
            tally.faults.append(f"{where}: {first.status} {first.message} -> {second.status} {second.message}")
            continue
        for index, (was, now) in enumerate(zip(old.outputs, new.outputs, strict=True)):
            text = output_difference(array(first, index), array(second, index), codes(was), codes(now)) if was.type.name != "STRING" else None
            if exact and first.outputs[index] != second.outputs[index]:
                text = text or "bits differ"
            if text is not None:
                tally.faults.append(f"{where} output {index}: {text}")


def varying_kinds(model: Model, entry: Entry) -> tuple[int, ...]:
    """Two kinds of inputs that give different outputs; () if none do."""
    content = tk.serialize(model)
    jobs = [Job(content, DEFAULT, 7 + kind, None, paired_inputs(entry, entry, kind)[0], signature=entry.key) for kind in range(KINDS)]
    outcomes = pool().run(jobs)
    return next(((0, k) for k in range(1, KINDS) if outcomes[0].ok and outcomes[k].ok and outcomes[0].outputs != outcomes[k].outputs), ())


def alive(model: Model) -> tuple[Model, dict[str | None, tuple[int, ...]]]:
    """A model whose outputs vary with its inputs, and with which kinds of inputs, by call.

    The weights of some test models let nothing through. They get another output further to the front, the first that varies.
    """
    kinds = {entry.key: varying_kinds(model, entry) for entry in calls(model)}
    if all(kinds.values()):
        return model, kinds
    assert len(calls(model)) == 1
    fronts = [t for operator in model.subgraphs[0].operators for t in operator.outputs if t is not None and codes(t) is not None]
    for index in [model.subgraphs[0].tensors.index(tensor) for tensor in fronts][:3][::-1]:
        made = copied(model)
        subgraph = made.subgraphs[0]
        subgraph.outputs.append(subgraph.tensors[index])
        for signature in made.signature_defs:
            signature.outputs.append(TensorMap(name=b"tap", tensor=subgraph.tensors[index]))
        kinds = {entry.key: varying_kinds(made, entry) for entry in calls(made)}
        if all(kinds.values()):
            return made, kinds
    raise AssertionError("no output varies with the inputs")


def sweep(name: str, model: Model, combinations: list[tuple[str, str]], tally: Tally) -> None:
    """Put a model through combinations of input and output types, and back."""
    if any(codes(t) or behind(t) or in_front(t) for g in entries(model) for t in (*g.inputs, *g.outputs) if t is not None):
        model, kinds = alive(model)
    else:
        kinds = {}  # nothing here can change
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
        compare(label, model, original, result.model, tally, kinds, exact=False)
        back = restored(model, result.model)
        if back is None or interface_of(back) != interface_of(model):
            tally.one_way[name] = tally.one_way.get(name, 0) + 1
        else:
            tally.restored += 1
            compare(f"{label} and back", model, original, back, tally, kinds, exact=True)


def interface_of(model: Model) -> list[Any]:
    """Types and parameters of all inputs and outputs."""
    return [(tensor.type, codes(tensor)) for g in entries(model) for tensor in (*g.inputs, *g.outputs) if tensor is not None]


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
    """A refusal without the names of tensors, types and operators."""
    first = text.split("; ")[0]
    found = first.partition(": ")[2] if " cannot be " in first else first
    return re.sub(r"(by|reads|makes) .*?(, with|: |$)", r"\1 ...\2", found)
