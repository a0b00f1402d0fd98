"""What the metadata states of the inputs and outputs of a model, and whether it fits them. Light: `summary` needs it, and nothing of the audit."""

from __future__ import annotations

from typing import NamedTuple

from ._base import Dangling
from ._metadata_schema import ImageProperties, ModelMetadata, NormalizationOptions, TensorMetadata
from .graph import Model, SubGraph, Tensor

IMAGE_CHANNELS = (1, 3, 4)


class CountProblem(NamedTuple):
    """The metadata describes `listed` inputs or outputs of a subgraph that has `actual`."""

    message: str
    listed: int
    actual: int


def count_problems(model: Model, metadata: ModelMetadata) -> list[CountProblem]:
    """Where the metadata describes another number of inputs or outputs than there are; they are matched by position."""
    found = []
    for number, (about, subgraph) in enumerate(zip(metadata.subgraph_metadata, model.subgraphs, strict=False)):
        for side, listed, actual in (
            ("input", about.input_tensor_metadata, subgraph.inputs),
            ("output", about.output_tensor_metadata, subgraph.outputs),
        ):
            if listed and len(listed) != len(actual):
                message = f"the metadata describes {len(listed)} {side}(s) of subgraph {number}, which has {len(actual)}"
                found.append(CountProblem(message, len(listed), len(actual)))
    return found


def described(model: Model, metadata: ModelMetadata | None, subgraph: SubGraph | None, side: str, tensor: Tensor) -> TensorMetadata | None:
    """What the metadata says of a tensor that is an `input` or `output` of a subgraph, by its position there."""
    if metadata is None or subgraph is None or isinstance(subgraph, Dangling) or subgraph not in model.subgraphs:
        return None
    number = model.subgraphs.index(subgraph)
    if number >= len(metadata.subgraph_metadata):
        return None
    about = metadata.subgraph_metadata[number]
    listed = about.input_tensor_metadata if side == "input" else about.output_tensor_metadata
    tensors = subgraph.inputs if side == "input" else subgraph.outputs
    position = next((i for i, t in enumerate(tensors) if t is tensor), None)
    return listed[position] if position is not None and position < len(listed) else None


def normalization_options(about: TensorMetadata | None) -> NormalizationOptions | None:
    """The first normalization among the process units; None without."""
    units = [] if about is None else [unit.options for unit in about.process_units]
    return next((options for options in units if isinstance(options, NormalizationOptions)), None)


def declares_image(about: TensorMetadata | None) -> bool | None:
    """Whether the metadata says that the tensor is an image; None where it does not say what it is."""
    if about is None or about.content is None or about.content.content_properties is None:
        return None
    return isinstance(about.content.content_properties, ImageProperties)


def is_image(tensor: Tensor, about: TensorMetadata | None) -> bool:
    """Whether an input is an image: by the metadata, else by its shape (1, 3 or 4 channels last, of several rows and columns)."""
    declared = declares_image(about)
    if declared is not None:
        return declared
    shape = tuple(tensor.shape)
    return len(shape) in (3, 4) and shape[-1] in IMAGE_CHANNELS and min(shape[-3:-1]) > 1
