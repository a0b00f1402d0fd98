"""Bounds in the TFLite Metadata that are the lowest and the highest code of an input or output, as for uint8 images: they follow its type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..errors import TFLiteKitError
from ..flat.metadata import read_metadata, write_metadata
from ..graph import Model, SubGraph, Tensor
from ..quant.affine import Affine, code_range
from ..types import FLOAT_TYPES
from .base import Notes


class Changed(NamedTuple):
    """An input or output ("inputs", "outputs") that has another type now: what is there, and the codes that were (None: none)."""

    subgraph: SubGraph
    side: str
    position: int
    tensor: Tensor
    before: Affine | None


def keep_bounds(model: Model, changed: Iterable[Changed], notes: Notes) -> None:
    """Let bounds that are codes of the old type become those of the new one, or what the old ones meant for floats; others hold as they are."""
    try:
        metadata = read_metadata(model)
    except TFLiteKitError as error:
        notes.remark("metadata", f"not kept up, since it cannot be read: {error}")
        return
    stale = False
    for one in changed if metadata is not None else ():
        number = model.subgraphs.index(one.subgraph)
        if metadata is None or one.before is None or number >= len(metadata.subgraph_metadata):
            continue
        about = metadata.subgraph_metadata[number]
        listed = about.input_tensor_metadata if one.side == "inputs" else about.output_tensor_metadata
        stats = listed[one.position].stats if one.position < len(listed) else None
        low, high = code_range(one.before.type)
        if stats is None or not stats.min or {*stats.min} != {low} or {*stats.max} != {high}:
            continue
        after = one.before.range() if one.tensor.type in FLOAT_TYPES else code_range(one.tensor.type)
        stats.min, stats.max = (float(after[0]),) * len(stats.min), (float(after[1]),) * len(stats.max)
        notes.changed(one.tensor, f"its bounds in the metadata were the codes {low} to {high}, and are {after[0]:.6g} to {after[1]:.6g} now")
        stale = True
    if stale and metadata is not None:
        write_metadata(model, metadata)
