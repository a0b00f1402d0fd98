"""Facts of a comparison of two models in the runtime."""

from __future__ import annotations

from typing import Any

from ..runtime.comparison import Comparison, InputReport, InterfaceReport, OutputReport
from ..runtime.data import ArrayData, Data, FileData, RandomData
from ..runtime.interface import Port, Subject
from ..runtime.layers import Layer, Layers
from ..runtime.metrics import Errors
from .values import Facts, file_facts, number

SIDES = ("a", "b")


def compare_facts(result: Comparison) -> Facts:
    """What the runtime made of two models.

    a, b         the models: path (null without a file), name, size in bytes
    resolver     default (optimized kernels and XNNPACK), optimized, or reference
    data         kind (random, files or arrays), and of these: count, seed, low, high; paths; mean, std, limit
    tolerance    as it was given; null without
    within       whether all outputs are within; null without a tolerance
    equal        whether no output differs as a real value
    shows        whether the inputs change some output of both models, without which equality says nothing; null where there was one sample
    missing      signatures that only one model has: model (the one that has it), signature
    signatures   one object per signature, or one for subgraph 0: signature (null), matched (name or position), samples, inputs, outputs, layers
    inputs       name, a, b (see `port_facts`), how (how values were made or read), low, high (real values fed), elements, clipped (a, b: elements
                 beyond what the codes hold, null where it has none)
    outputs      name, a, b, lsb (one step in real values, null without scale), within, varies (a, b), top1 (rows, agree; null where it makes no
                 sense), and see `error_facts`
    layers       null unless asked for: see `layers_facts`
    """
    return {
        "a": subject_facts(result.a),
        "b": subject_facts(result.b),
        "resolver": result.resolver,
        "data": data_facts(result.data),
        "tolerance": None if result.tolerance is None else result.tolerance.text(),
        "within": result.within,
        "equal": result.equal,
        "shows": result.shows,
        "missing": [{"model": model, "signature": key} for model, key in result.missing],
        "signatures": [_interface(each) for each in result.interfaces],
    }


def subject_facts(subject: Subject) -> Facts:
    """The file of a model under test, by the name that it goes by."""
    return {**file_facts(subject.model), "name": subject.name}


def data_facts(data: Data) -> Facts:
    """Where the inputs are from."""
    if isinstance(data, RandomData):
        return {"kind": "random", "count": data.count, "seed": data.seed, "low": data.bounds[0], "high": data.bounds[1]}
    rest = {"mean": data.mean, "std": data.std, "limit": data.limit}
    if isinstance(data, FileData):
        return {"kind": "files", "paths": [str(path) for path in data.paths], **rest}
    assert isinstance(data, ArrayData)
    return {"kind": "arrays", **rest}


def port_facts(port: Port) -> Facts:
    """An input or output of one model: tensor (its index), name, type, shape, scale (the largest), zero_point (of the first slice); null without."""
    codes = port.codes
    return {
        "tensor": port.index,
        "name": port.tensor.name_str,
        "type": port.tensor.type.name,
        "shape": list(port.shape),
        "scale": None if codes is None else codes.step,
        "zero_point": None if codes is None else int(codes.zero_point[0]),
    }


def _interface(report: InterfaceReport) -> Facts:
    return {
        "signature": report.key,
        "matched": report.matched,
        "samples": report.samples,
        "inputs": [_input(each) for each in report.inputs],
        "outputs": [_output(each) for each in report.outputs],
        "layers": None if report.layers is None else layers_facts(report.layers),
    }


def _input(report: InputReport) -> Facts:
    ports = report.slot.ports
    return {
        "name": report.slot.name,
        **{side: port_facts(port) for side, port in zip(SIDES, ports, strict=True)},
        "how": report.how,
        "low": report.low,
        "high": report.high,
        "elements": report.elements,
        "clipped": {side: None if p.codes is None else count for side, p, count in zip(SIDES, ports, report.clipped, strict=True)},
    }


def _output(report: OutputReport) -> Facts:
    errors = report.errors
    return {
        "name": report.name,
        **{side: port_facts(port) for side, port in zip(SIDES, report.ports, strict=True)},
        "lsb": report.lsb,
        **error_facts(errors, report.lsb),
        "top1": {"rows": errors.top1_rows, "agree": errors.top1_agree} if errors.top1_rows else None,
        "varies": dict(zip(SIDES, report.varies, strict=True)),
        "within": report.within,
    }


def error_facts(errors: Errors, lsb: float | None) -> Facts:
    """How far b is from a, in real values.

    elements, differing, non_finite   counts; non_finite: NaN or infinite on one side only
    max_abs, mean_abs                 absolute errors; max_lsb, mean_lsb: the same in steps, null without scale
    at                                where max_abs is: sample, index; null where nothing differs
    largest                           the highest absolute value of a
    sqnr_db                           signal to noise; Infinity where nothing differs
    cosine                            null where one side is all zeros
    """
    return {
        "elements": errors.elements,
        "differing": errors.differing,
        "non_finite": errors.non_finite,
        "max_abs": number(errors.max),
        "mean_abs": number(errors.mean),
        "max_lsb": None if lsb is None else number(errors.max / lsb),
        "mean_lsb": None if lsb is None else number(errors.mean / lsb),
        "at": None if errors.at is None else {"sample": errors.at[0], "index": list(errors.at[1])},
        "largest": errors.largest,
        "sqnr_db": number(errors.sqnr),
        "cosine": None if errors.cosine is None else number(errors.cosine),
    }


def layers_facts(layers: Layers) -> Facts:
    """Where the models depart.

    resolver     optimized or reference: with delegates, intermediate tensors are not kept
    unmatched    tensors of a, b without a counterpart
    unreadable   pairs of which one cannot be read or has another shape
    first        position in `layers` of the first that departs; null if none does
    layers       in b's order of execution: position (of the operator in b, -1 for inputs), operator, name, a, b (tensor indices), name_a,
                 matched (name or position), lsb, departs, drop_db (what the operator loses against the worst tensor that it reads; Infinity where
                 that is exact; null where none was compared), and see `error_facts`
    """
    first = layers.first
    return {
        "resolver": layers.resolver,
        "unmatched": dict(zip(SIDES, layers.unmatched, strict=True)),
        "unreadable": layers.unreadable,
        "first": None if first is None else layers.layers.index(first),
        "layers": [_layer(each) for each in layers.layers],
    }


def _layer(layer: Layer) -> Facts:
    found: dict[str, Any] = {
        "position": layer.b.position,
        "operator": layer.b.operator,
        "name": layer.b.name,
        "name_a": layer.a.name,
        "a": layer.a.index,
        "b": layer.b.index,
        "matched": layer.matched,
        "lsb": layer.lsb,
        "departs": layer.departs,
        "drop_db": None if layer.drop is None else number(layer.drop),
    }
    return found | error_facts(layer.errors, layer.lsb)
