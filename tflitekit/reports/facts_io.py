"""Facts of the contract of each input and output: what to feed, how to read it."""

from __future__ import annotations

from typing import Any

from .. import types
from .._base import Dangling
from .._described import count_problems, declares_image, described, is_image, normalization_options
from .._metadata_schema import ModelMetadata, TensorMetadata
from .._schema import TensorType
from ..errors import EditError
from ..graph import Model, SubGraph, Tensor
from ..quant import snippets
from ..quant.affine import Affine, MeanStd
from ..quant.normalization import Normalization, agreement, byte_rule
from ..quant.preprocessing import IMAGE, SAMPLES, Match, Preprocessing, recognise
from .facts_metadata import metadata_facts, tensor_metadata_facts
from .facts_tensors import is_quantized, tensor_facts
from .stats import match_facts
from .values import Facts, Places, file_facts

_CONTRACT = (
    "tensor", "range", "mean_std", "unusable", "recognised", "image_bytes", "inside", "metadata", "normalization", "code",
)  # fmt: skip
_CHECK = ("verdict", "reason", "min", "max", "clipped", "share", "codes", "low", "high", "deviation")


def io_facts(model: Model, metadata: ModelMetadata | None = None, problem: str | None = None) -> Facts:
    """The contract of each input and output. `metadata`: what `read_metadata` gives; `problem`: why it gives nothing.

    file         path (null without a file), name, size in bytes
    metadata     see `metadata_facts`; null without
    problems     texts: what is wrong with the metadata as a whole
    interfaces   one per signature; that of subgraph 0 for a model without signatures: signature (its key, null without), subgraph (index),
                 inputs, outputs (lists: name in the signature, null without, and the keys of `_Contracts.of`)
    """
    contracts = _Contracts(model, metadata)
    interfaces = []
    for signature in model.signature_defs:
        sides = [[(types.text(entry.name), entry.tensor) for entry in entries] for entries in (signature.inputs, signature.outputs)]
        interfaces.append(contracts.interface(types.text(signature.signature_key), signature.subgraph, *sides))
    if not model.signature_defs and model.subgraphs:
        main = model.subgraphs[0]
        interfaces.append(contracts.interface(None, main, *([(None, tensor) for tensor in tensors] for tensors in (main.inputs, main.outputs))))
    problems = [] if problem is None else [problem]
    return {
        "file": file_facts(model),
        "metadata": None if metadata is None else metadata_facts(metadata),
        "problems": problems if metadata is None else problems + [problem.message for problem in count_problems(model, metadata)],
        "interfaces": interfaces,
    }


def affine_of(tensor: Tensor) -> tuple[Affine | None, str | None]:
    """(the quantization, None), (None, why it is no usable one), or (None, None) for a tensor that is not quantized."""
    quantization = tensor.quantization
    if quantization is None or not is_quantized(tensor):
        return None, None
    if quantization.kind != "per-tensor":
        return None, f"{quantization.kind} quantization, not one scale for the tensor"
    if len(quantization.zero_point) != 1:
        return None, f"one scale, but {len(quantization.zero_point)} zero points"
    try:
        return Affine(quantization.scale[0], int(quantization.zero_point[0]), tensor.type), None
    except EditError as error:
        return None, str(error)


class _Contracts:
    """The contracts of a model's inputs and outputs, each made once: a tensor may appear in several signatures."""

    def __init__(self, model: Model, metadata: ModelMetadata | None) -> None:
        self.model, self.metadata, self.places = model, metadata, Places(model)
        self.known: dict[tuple[str, Tensor], Facts] = {}
        self.coded = {"input": 0, "output": 0}

    def interface(self, key: str | None, subgraph: SubGraph | None, inputs: Any, outputs: Any) -> Facts:
        """The inputs and outputs, (name, tensor) each, of one signature."""
        sides = {
            f"{side}s": [{"name": name, **self.of(side, subgraph, tensor)} for name, tensor in pairs]
            for side, pairs in (("input", inputs), ("output", outputs))
        }
        return {"signature": key, "subgraph": self.places.index(subgraph), **sides}

    def of(self, side: str, subgraph: SubGraph | None, tensor: Tensor | None) -> Facts:
        """One input or output.

        tensor         see `tensor_facts`; null for none or an index that points at nothing, and then all below is
        range          min, max: the real values of the lowest and highest code; null unless there is one usable scale
        mean_std       mean, std of real = (q - mean) / std; null like range
        unusable       why there is no range although the tensor is quantized; else null
        recognised     usual preprocessings that fit an input, nearest first: see `match_facts`
        image_bytes    of uint8 and int8 images: offset (image byte b is the code b + offset), mean, std, formula, deviation_lsb, exact; or null
        inside         of float tensors that the graph itself quantizes or dequantizes: operator, type, scale, zero_point, min, max; or null
        metadata       see `tensor_metadata_facts`; null without
        normalization  how the metadata's normalization goes with an image input: verdict (bytes, fits, contradicts, unusable, missing, float),
                       reason (text or null), min, max (of normalized bytes), clipped, share, codes, low, high, deviation (see `Agreement`); or null
        code           function, numpy, c: the text of functions that quantize an input or dequantize an output; or null
        """
        if tensor is None or isinstance(tensor, Dangling):
            return dict.fromkeys(_CONTRACT)
        key = side, tensor
        if key not in self.known:
            self.known[key] = self._make(side, subgraph, tensor)
        return self.known[key]

    def _make(self, side: str, subgraph: SubGraph | None, tensor: Tensor) -> Facts:
        affine, unusable = affine_of(tensor)
        about = described(self.model, self.metadata, subgraph, side, tensor)
        image = side == "input" and is_image(tensor, about)
        # The same numbers may stand for anything that is no image.
        usual = recognise(affine) if affine is not None and side == "input" else ()
        matches = [match for match in usual if image or match.preprocessing.kind == SAMPLES]
        rule = _image_bytes(affine, matches, about) if affine is not None and image else None
        number = self.places.index(subgraph)
        values = (
            tensor_facts(tensor, self.places, -1 if number is None else number, self.places.index(tensor)),
            None if affine is None else affine.range()._asdict(),
            None if affine is None else affine.mean_std()._asdict(),
            unusable,
            [match_facts(match) for match in matches],
            rule,
            _inside(side, subgraph, tensor) if tensor.type in types.FLOAT_TYPES else None,
            None if about is None else tensor_metadata_facts(about),
            _check(tensor, affine, about) if image else None,
            None if affine is None else self._code(affine, side, rule),
        )
        return dict(zip(_CONTRACT, values, strict=True))

    def _code(self, affine: Affine, side: str, rule: Facts | None) -> Facts | None:
        """Functions numbered per side, in the order of first appearance."""
        if affine.type not in snippets.TYPES:
            return None
        suffix = f"{side}_{self.coded[side]}"
        self.coded[side] += 1
        if side == "output":
            name = f"dequantize_{suffix}"
            return {"function": name, "numpy": snippets.numpy_dequantize(affine, name), "c": snippets.c_dequantize(affine, name)}
        name, shifted = f"quantize_{suffix}", f"image_to_{suffix}"
        numpy, c = snippets.numpy_quantize(affine, name), snippets.c_quantize(affine, name)
        if rule is not None:
            numpy += "\n\n\n" + snippets.numpy_bytes(affine, shifted, rule["offset"])
            c += "\n\n" + snippets.c_bytes(affine, shifted, rule["offset"])
        return {"function": name, "numpy": numpy, "c": c}


def _inside(side: str, subgraph: SubGraph | None, tensor: Tensor) -> Facts | None:
    """The quantized tensor that the graph makes of a float input, or makes a float output of."""
    if subgraph is None or isinstance(subgraph, Dangling):
        return None
    if side == "input":
        operators = subgraph.consumers().get(tensor, [])
        name, others = "QUANTIZE", [tensor for operator in operators for tensor in operator.outputs[:1]]
    else:
        writer = subgraph.producers().get(tensor)
        operators = [] if writer is None else [writer]
        name, others = "DEQUANTIZE", [] if writer is None else writer.inputs[:1]
    if not others or {operator.op_name for operator in operators} != {name}:
        return None
    other = others[0]
    affine = None if other is None or isinstance(other, Dangling) else affine_of(other)[0]
    if affine is None:
        return None
    return {"operator": name, "type": affine.type.name, "scale": float(affine.scale), "zero_point": affine.zero_point, **affine.range()._asdict()}


def _normalization(about: TensorMetadata | None) -> Normalization | None:
    options = normalization_options(about)
    return None if options is None else Normalization(tuple(options.mean), tuple(options.std))


def _image_bytes(affine: Affine, matches: list[Match], about: TensorMetadata | None) -> Facts | None:
    """How image bytes become codes: by the preprocessing that is recognised, else by the metadata where that agrees."""
    meant = next((match.preprocessing for match in matches if match.preprocessing.kind == IMAGE), None)
    if meant is None:
        channels = _agreeing_channels(affine, _normalization(about))
        if len(channels) != 1:
            return None
        meant = Preprocessing("", *channels[0])
    rule = byte_rule(affine, meant.mean, meant.std)
    if rule is None:
        return None
    values = {"offset": rule.offset, "mean": rule.mean, "std": rule.std, "formula": meant.formula}
    return {**values, "deviation_lsb": rule.deviation, "exact": rule.exact}


def _agreeing_channels(affine: Affine, stated: Normalization | None) -> list[MeanStd]:
    if stated is None or stated.problem() or agreement(affine, stated).verdict != "bytes":
        return []
    return stated.channels()


def _check(tensor: Tensor, affine: Affine | None, about: TensorMetadata | None) -> Facts | None:
    """Whether what the metadata normalizes fits an image tensor; null where there is nothing to compare."""
    stated = _normalization(about)
    facts: Facts = dict.fromkeys(_CHECK)
    if stated is None:
        needed = declares_image(about) and tensor.type == TensorType.FLOAT32
        return {**facts, "verdict": "missing"} if needed else None
    reason = stated.problem(tensor.shape[-1] if len(tensor.shape) else None)
    if reason is not None:
        return {**facts, "verdict": "unusable", "reason": reason}
    facts |= stated.range()._asdict()
    if affine is None:
        return {**facts, "verdict": "float"} if tensor.type in types.FLOAT_TYPES else None
    found = agreement(affine, stated)
    facts |= {name: getattr(found, name) for name in ("verdict", *_CHECK[4:])}
    if found.verdict == "contradicts":
        facts["reason"] = found.contradiction(affine, stated)
    return facts
