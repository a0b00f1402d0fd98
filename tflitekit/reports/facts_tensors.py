"""Facts of the tensors of a model, above all how each is quantized."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass

from .. import types
from .._base import OpaqueUnion, table_name
from .._schema import TensorType
from ..errors import EditError
from ..graph import Model, QuantizationParameters, Tensor
from .values import Facts, Places, file_facts, set_fields, vector

# Element types whose values are real numbers even if the tensor has a scale. (8-bit floats are codes like integers are.)
REAL_TYPES = frozenset({TensorType.FLOAT32, TensorType.FLOAT16, TensorType.FLOAT64, TensorType.BFLOAT16})


def is_quantized(tensor: Tensor) -> bool:
    """Whether a scale or quantization details turn the stored codes into real values; a scale on a float tensor does not."""
    return tensor.is_quantized and tensor.type not in REAL_TYPES


@dataclass(frozen=True)
class TensorFilter:
    """Which tensors to list; None asks for all.

    name: a shell pattern if it holds `*?[`, else a part of the name, case-sensitive. quantized: see `is_quantized`. float_type: True for
    tensors of a floating point type. constant: True for tensors with data in the file (or in an external buffer), False for the rest.
    """

    name: str | None = None
    quantized: bool | None = None
    float_type: bool | None = None
    constant: bool | None = None
    subgraph: int | None = None

    def __call__(self, tensor: Tensor) -> bool:
        """Whether the tensor passes (its subgraph is not looked at)."""
        return (
            (self.name is None or matches(tensor.name_str, self.name))
            and self.quantized in (None, is_quantized(tensor))
            and self.float_type in (None, tensor.type in types.FLOAT_TYPES)
            and self.constant in (None, tensor.is_constant)
        )


def matches(name: str, pattern: str) -> bool:
    """Whether a name matches a shell pattern, or contains a text without `*?[`."""
    return fnmatch.fnmatchcase(name, pattern) if any(c in pattern for c in "*?[") else pattern in name


_SORT: dict[str, Callable[[Facts], object]] = {
    "index": lambda t: (t["subgraph"], t["index"]),
    "name": lambda t: (t["name"], t["subgraph"], t["index"]),
    "size": lambda t: (-(t["stored_bytes"] or 0), -(t["bytes"] or 0), t["subgraph"], t["index"]),
    "type": lambda t: (t["type"], t["subgraph"], t["index"]),
}
SORT_KEYS = tuple(_SORT)


def tensors_facts(model: Model, only: TensorFilter = TensorFilter(), sort: str = "index", histogram: bool = False) -> Facts:
    """List what each tensor is, and how it is quantized.

    file      path (null without a file), name, size in bytes
    total     number of tensors in the model
    subgraphs number of subgraphs in the model
    tensors   one object per listed tensor: see `tensor_facts`; with `histogram` also `holds`: see `facts_weights.values_facts`

    sort: index, name, size (most stored bytes first) or type. EditError for a subgraph that the model does not have.
    """
    if only.subgraph is not None and not 0 <= only.subgraph < len(model.subgraphs):
        raise EditError(f"no subgraph {only.subgraph}: the model has {len(model.subgraphs)}, counted from 0")
    places = Places(model)
    holds = _histograms() if histogram else lambda _: {}
    found = [
        tensor_facts(tensor, places, number, index) | holds(tensor)
        for number, subgraph in enumerate(model.subgraphs)
        if only.subgraph in (None, number)
        for index, tensor in enumerate(subgraph.tensors)
        if only(tensor)
    ]
    found.sort(key=_SORT[sort])  # type: ignore[arg-type]
    return {
        "file": file_facts(model),
        "total": sum(len(s.tensors) for s in model.subgraphs),
        "subgraphs": len(model.subgraphs),
        "tensors": found,
    }


def _histograms() -> Callable[[Tensor], Facts]:
    from .facts_weights import values_facts  # takes the import of the audit, which a list of tensors does not need

    return lambda tensor: {"holds": values_facts(tensor)}


def tensor_facts(tensor: Tensor, places: Places, subgraph: int, index: int | None) -> Facts:
    """One tensor.

    subgraph, index   where it is; the index is null for a tensor that is in no subgraph
    name              text, undecodable bytes as escapes
    type              the TensorType's name
    shape             list of int
    shape_signature   list of int, -1 for a dynamic dimension; empty where the file has none
    bytes             of dense data of this type and shape; null for strings, resources, variants
    stored_bytes      of its data in the file or in an external buffer; null where it is computed
    constant, variable, sparse, external   booleans
    buffer            index of its buffer
    quantized         whether that makes it a quantized tensor: see `is_quantized`
    quantization      see `quantization_facts`; null where the tensor has no such table
    """
    return {
        "subgraph": subgraph,
        "index": index,
        "name": tensor.name_str,
        "type": tensor.type.name,
        "shape": list(tensor.shape),
        "shape_signature": list(tensor.shape_signature),
        "bytes": types.byte_size(tensor.type, tensor.shape),
        "stored_bytes": stored_bytes(tensor),
        "constant": tensor.is_constant,
        "variable": tensor.is_variable,
        "sparse": tensor.sparsity is not None,
        "external": tensor.external_buffer is not None,
        "buffer": places.index(tensor.buffer),
        "quantized": is_quantized(tensor),
        "quantization": None if tensor.quantization is None else quantization_facts(tensor.quantization, places),
    }


def stored_bytes(tensor: Tensor) -> int | None:
    """Bytes of a constant tensor's data; None for tensors that are computed."""
    if tensor.external_buffer is not None:
        return tensor.external_buffer.length
    return len(tensor.buffer.data) if tensor.buffer is not None and tensor.buffer.data else None


def quantization_facts(quantization: QuantizationParameters, places: Places) -> Facts:
    """How the stored values map to real ones: real = scale * (q - zero_point).

    kind                  none, ranges (only min and max), per-tensor, per-channel, blockwise, multi-axis, custom, unknown
    scale, zero_point     full vectors; scales are float32, written as the float64 of the same value
    quantized_dimension   axis of the vectors
    min, max              full vectors of calibration ranges
    details               null, or table (name) and its fields; references to tensors are indices

    Non-finite numbers are the texts NaN, Infinity, -Infinity.
    """
    return {
        "kind": quantization.kind,
        "scale": vector(quantization.scale),
        "zero_point": vector(quantization.zero_point),
        "quantized_dimension": quantization.quantized_dimension,
        "min": vector(quantization.min),
        "max": vector(quantization.max),
        "details": _details(quantization, places),
    }


def _details(quantization: QuantizationParameters, places: Places) -> Facts | None:
    details = quantization.details
    if details is None:
        return None
    if isinstance(details, OpaqueUnion):
        return {"table": f"UNKNOWN_{details.type}"}
    return {"table": table_name(type(details)), **set_fields(details, places)}


def kind_of(facts: Facts) -> str:
    """The quantization kind of a tensor's facts; `none` without a table."""
    return "none" if facts["quantization"] is None else facts["quantization"]["kind"]
