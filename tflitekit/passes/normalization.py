"""The normalization that the TFLite Metadata states for an input: real = (byte - mean) / std, then quantized with the input's parameters.

It is kept in step with the input: a byte that is normalized and quantized has to give that byte (less 128 for int8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import types
from .._described import described
from .._metadata_schema import ModelMetadata, NormalizationOptions, ProcessUnit, Stats, SubGraphMetadata, TensorMetadata
from ..errors import RefusedError, TFLiteKitError
from ..flat.metadata import read_metadata, write_metadata
from ..graph import Model, SubGraph, Tensor
from ..quant.normalization import Normalization
from ..quant.preprocessing import BYTE_SHIFT
from .base import Notes
from .input_stats import chosen_input
from .surgery import place

if TYPE_CHECKING:
    from .set_input_stats import SetInputStats

OLDEST_PARSER = b"1.0.0"
_Values = Sequence[float]


def set_normalization(options: SetInputStats, model: Model, notes: Notes) -> None:
    """`--metadata-only`: state a mean and std for an input; metadata is made where there is none."""
    subgraph, tensor = chosen_input(model, options.input, _may_be_normalized, "can be normalized")
    mean, std = (value if isinstance(value, tuple) else (float(value or 0),) for value in (options.mean, options.std))
    problem = Normalization(mean, std).problem(tensor.shape[-1] if tensor.shape else None)
    if problem is not None:
        raise RefusedError(f"input {tensor.name_str!r}: {problem}")
    metadata = read_metadata(model) or ModelMetadata(min_parser_version=OLDEST_PARSER)
    about = _described(model, metadata, subgraph, tensor, make=True)
    assert about is not None
    _state(about, mean, std)
    if write_metadata(model, metadata):
        notes.changed(tensor, f"metadata: normalization {_shown(mean, std)}", mean=list(mean), std=list(std))
    else:
        notes.remark(tensor, "metadata states this normalization already")


def _may_be_normalized(tensor: Tensor) -> bool:
    return tensor.type in types.FLOAT_TYPES or tensor.type in types.INTEGER_RANGES


def keep_in_step(model: Model, subgraph: SubGraph, tensor: Tensor, mean: _Values, std: _Values, notes: Notes, *, raw: bool = False) -> None:
    """Let metadata that normalizes an input state mean and std, given in codes of the input's type; without normalization nothing is added.

    `raw`: the input has become one of codes, so that stated bounds of its values are those of the codes.
    """
    shift = BYTE_SHIFT.get(tensor.type)
    if not model.metadata or shift is None:
        return  # mean and std are those of bytes; another type has none
    try:
        metadata = read_metadata(model)
    except TFLiteKitError as error:
        notes.remark(tensor, f"the metadata is left as it is: {error}")
        return
    about = None if metadata is None else _described(model, metadata, subgraph, tensor, make=False)
    if metadata is None or about is None:
        return
    said = []
    if any(isinstance(unit.options, NormalizationOptions) for unit in about.process_units):
        mean = [value - shift for value in mean]
        _state(about, mean, std)
        said.append(f"normalization {_shown(mean, std)}")
    if raw and about.stats is not None and (about.stats.min or about.stats.max):
        low, high = types.INTEGER_RANGES[tensor.type]
        about.stats = Stats(min=(float(low),), max=(float(high),))
        said.append(f"values from {low} to {high}")
    if said and write_metadata(model, metadata):
        notes.changed(tensor, f"metadata: {', '.join(said)}")


def _described(model: Model, metadata: ModelMetadata, subgraph: SubGraph, tensor: Tensor, *, make: bool) -> TensorMetadata | None:
    """What the metadata says of an input, by its position; `make` adds what is missing up to there."""
    if make:
        number = place(model.subgraphs, subgraph)
        while len(metadata.subgraph_metadata) <= number:
            metadata.subgraph_metadata.append(SubGraphMetadata())
        about = metadata.subgraph_metadata[number]
        for listed, tensors in ((about.input_tensor_metadata, subgraph.inputs), (about.output_tensor_metadata, subgraph.outputs)):
            listed += [TensorMetadata() for _ in tensors[len(listed) :]]
    return described(model, metadata, subgraph, "input", tensor)


def _state(about: TensorMetadata, mean: _Values, std: _Values) -> None:
    made = NormalizationOptions(mean=tuple(mean), std=tuple(std))
    for unit in about.process_units:
        if isinstance(unit.options, NormalizationOptions):
            unit.options = made
            return
    about.process_units.append(ProcessUnit(options=made))


def _shown(mean: _Values, std: _Values) -> str:
    mean_text, std_text = (f"{v[0]:.9g}" if len(v) == 1 else f"[{', '.join(f'{x:.9g}' for x in v)}]" for v in (mean, std))
    return f"(byte - {mean_text}) / {std_text}"
