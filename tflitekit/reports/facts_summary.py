"""Facts of a model as a whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .. import types
from .._base import Dangling
from .._described import described, normalization_options
from .._metadata_schema import ModelMetadata
from ..graph import Buffer, Model, OperatorCode, SignatureDef, Tensor
from .facts_metadata import normalization_facts
from .facts_tensors import is_quantized, stored_bytes, tensor_facts
from .subgraphs import callers_facts
from .values import Facts, Places, file_facts


def summary_facts(model: Model, metadata: ModelMetadata | None = None, metadata_problem: str | None = None) -> Facts:
    """What is in a model. `metadata`: what `read_metadata` gives; `metadata_problem`: why it gives nothing.

    file                 path (null without a file), name, size in bytes
    version              of the schema
    description          text or null
    min_runtime_version  text of that metadata entry, or null
    subgraphs            index, name, called_by (see `callers_facts`), tensors, operators (counts), inputs, outputs (objects of `tensor_facts`; null
                         for none; subgraph, index and missing = true for an index that points at nothing); inputs also have
                         normalization: mean and std as the metadata states them, or null
    signatures           key, subgraph (index), inputs, outputs (each: name, tensor index)
    operators            name, custom, version, count; most frequent first
    metadata             name, bytes, problem (why it cannot be read, or null)
    constants            bytes (each buffer counted once), external_bytes, metadata_bytes, custom_options_bytes (of operators),
                         unused_bytes (buffers that nothing refers to), by_type: type (of the first tensor that uses a buffer), tensors,
                         buffers, bytes
    quantization         tensors, quantized (counts), constant_bytes, quantized_constant_bytes, groups: kind, type,
                         quantized (whether these count), constants, constant_bytes, activations
    container            what lies around the model: see `container_facts`; null for a model that is not from a file
    """
    places, callers = Places(model), callers_facts(model)
    return {
        "file": file_facts(model),
        "version": model.version,
        "description": None if model.description is None else types.text(model.description),
        "min_runtime_version": _min_runtime_version(model),
        "subgraphs": [_subgraph(model, n, places, metadata) | {"called_by": callers[n]} for n in range(len(model.subgraphs))],
        "signatures": [_signature(signature, places) for signature in model.signature_defs],
        "operators": _operators(model),
        "metadata": _metadata(model, metadata_problem),
        "constants": _constants(model),
        "quantization": _quantization(model),
        "container": container_facts(model),
    }


def container_facts(model: Model) -> Facts | None:
    """What lies around the flatbuffer in the file.

    body_end       first byte behind the flatbuffer
    offset_bytes   data of buffers that are kept behind it
    zip            start, end, names of a zip archive of associated files; or null
    padding        zero bytes
    unexplained    start, end of bytes that nothing refers to; or null
    """
    container = None if model.source is None else model.source.container
    if container is None:
        return None
    archive, unexplained = container.zip_range, container.unexplained
    return {
        "body_end": container.body_end,
        "offset_bytes": container.out_of_line_bytes,
        "zip": None if archive is None else {"start": archive[0], "end": archive[1], "names": list(container.zip_names)},
        "padding": container.padding,
        "unexplained": None if unexplained is None else {"start": unexplained[0], "end": unexplained[1]},
    }


def _metadata(model: Model, problem: str | None) -> list[Facts]:
    found: list[Facts] = [{"name": types.text(m.name), "bytes": _length(m.buffer), "problem": None} for m in model.metadata]
    damaged = next((entry for entry in found if entry["name"] == "TFLITE_METADATA"), None)
    if damaged is not None:
        damaged["problem"] = problem
    return found


def _length(buffer: Buffer | None) -> int | None:
    return None if buffer is None else len(buffer.data or b"")


def _min_runtime_version(model: Model) -> str | None:
    for metadata in model.metadata:
        if metadata.name == b"min_runtime_version" and metadata.buffer is not None:
            return types.text(bytes(metadata.buffer.data or b"")[:256].rstrip(b"\0"))
    return None


def _subgraph(model: Model, number: int, places: Places, metadata: ModelMetadata | None) -> Facts:
    subgraph = model.subgraphs[number]

    def known(tensor: Tensor | None) -> Facts | None:
        if tensor is None:
            return None
        if isinstance(tensor, Dangling):
            return {"subgraph": number, "index": tensor.index, "missing": True}
        return tensor_facts(tensor, places, number, places.index(tensor))

    def fed(tensor: Tensor | None) -> Facts | None:
        facts = known(tensor)
        if facts is None or tensor is None or isinstance(tensor, Dangling):
            return facts
        options = normalization_options(described(model, metadata, subgraph, "input", tensor))
        return {**facts, "normalization": normalization_facts(options)}

    return {
        "index": number,
        "name": types.text(subgraph.name),
        "tensors": len(subgraph.tensors),
        "operators": len(subgraph.operators),
        "inputs": [fed(t) for t in subgraph.inputs],
        "outputs": [known(t) for t in subgraph.outputs],
    }


def _signature(signature: SignatureDef, places: Places) -> Facts:
    def maps(entries: list[Any]) -> list[Facts]:
        return [{"name": types.text(entry.name), "tensor": places.index(entry.tensor)} for entry in entries]

    return {
        "key": types.text(signature.signature_key),
        "subgraph": places.index(signature.subgraph),
        "inputs": maps(signature.inputs),
        "outputs": maps(signature.outputs),
    }


def is_custom(opcode: OperatorCode | None) -> bool:
    """Whether the operator is not a builtin one."""
    return opcode is not None and opcode.code.name == "CUSTOM"


def version_of(opcode: OperatorCode | None) -> int | None:
    """The operator's version; None without an operator code."""
    return None if opcode is None or isinstance(opcode, Dangling) else opcode.version


def _operators(model: Model) -> list[Facts]:
    codes = Counter(operator.opcode for operator in model.operators())
    counts: Counter[tuple[str, bool, int | None]] = Counter()
    for opcode, count in codes.items():
        key = ("?", False, None) if opcode is None else (opcode.op_name, is_custom(opcode), version_of(opcode))
        counts[key] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][2] or 0))
    return [{"name": name, "custom": custom, "version": version, "count": count} for (name, custom, version), count in ordered]


def buffer_key(buffer: Buffer) -> object:
    """Identifies stored bytes: buffers that point at the same range behind the flatbuffer hold the same ones."""
    return (buffer.offset, buffer.size) if buffer.out_of_line and buffer.offset > 1 else buffer


def _constants(model: Model) -> Facts:
    by_type: dict[str, Facts] = {}
    seen: set[object] = set()
    external = 0
    for tensor in model.tensors():
        if not tensor.is_constant:
            continue
        row = by_type.setdefault(tensor.type.name, {"type": tensor.type.name, "tensors": 0, "buffers": 0, "bytes": 0})
        row["tensors"] += 1
        stored = tensor.buffer if tensor.external_buffer is None else tensor.external_buffer
        key = buffer_key(stored) if isinstance(stored, Buffer) else stored
        if key in seen:
            continue
        seen.add(key)
        row["buffers"] += 1
        row["bytes"] += stored_bytes(tensor) or 0
        external += tensor.external_buffer.length if tensor.external_buffer is not None else 0
    metadata = _unseen(model, [*(m.buffer for m in model.metadata), *model.metadata_buffer], seen)
    return {
        "bytes": sum(row["bytes"] for row in by_type.values()),
        "external_bytes": external,
        "metadata_bytes": metadata,
        "custom_options_bytes": sum(len(o.large_custom_options or o.custom_options or b"") for o in model.operators()),
        "unused_bytes": _unseen(model, list(model.buffers), seen),
        "by_type": sorted(by_type.values(), key=lambda row: (-row["bytes"], row["type"])),
    }


def _unseen(model: Model, buffers: list[Buffer | None], seen: set[object]) -> int:
    """Bytes of the buffers that were not counted yet; they count as seen from now on."""
    total = 0
    for buffer in buffers:
        if buffer is not None and buffer.data and buffer_key(buffer) not in seen:
            seen.add(buffer_key(buffer))
            total += len(buffer.data)
    return total


def _quantization(model: Model) -> Facts:
    groups: dict[tuple[str, str], Facts] = {}
    seen: set[object] = set()
    total = quantized = 0
    for tensor in model.tensors():
        total += 1
        quantized += is_quantized(tensor)
        key = ("none" if tensor.quantization is None else tensor.quantization.kind, tensor.type.name)
        empty = {"kind": key[0], "type": key[1], "quantized": is_quantized(tensor), "constants": 0, "constant_bytes": 0, "activations": 0}
        group = groups.setdefault(key, empty)
        if not tensor.is_constant:
            group["activations"] += 1
            continue
        group["constants"] += 1
        stored: Any = buffer_key(tensor.buffer) if tensor.external_buffer is None and tensor.buffer else tensor.external_buffer
        if stored not in seen:
            seen.add(stored)
            group["constant_bytes"] += stored_bytes(tensor) or 0
    ordered = sorted(groups.values(), key=lambda g: (not g["quantized"], -g["constant_bytes"], -g["activations"], g["type"]))
    return {
        "tensors": total,
        "quantized": quantized,
        "constant_bytes": sum(g["constant_bytes"] for g in ordered),
        "quantized_constant_bytes": sum(g["constant_bytes"] for g in ordered if g["quantized"]),
        "groups": ordered,
    }
