"""Where the file keeps constant data: runtimes that use it in place want it aligned."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..._schema import TensorType
from ...graph import Buffer, Tensor
from ...types import BITS
from ..findings import INFO, Finding, Scene

WANTED = 16
_WIDE = {type_: bits // 8 for type_, bits in BITS.items() if bits > 32}


def wide_elements(scene: Scene) -> Iterator[Finding]:
    """Q005 for constants of 8 bytes an element and more that do not start at a multiple of that."""
    wide: list[Tensor] = [t for _, subgraph in scene.subgraphs() for t in subgraph.tensors if t.type in _WIDE and t.is_constant]
    known = _alignments(scene) if wide else {}
    for tensor in wide:
        found, needed = known.get(tensor.buffer, WANTED), min(_WIDE[tensor.type], WANTED)
        if found < needed:
            message = f"{TensorType(tensor.type).name} data start at a multiple of {found}, an element has {needed} bytes"
            yield scene.finding("Q005", tensor, message, INFO, found=found, expected=needed)


def buffers(scene: Scene) -> Iterator[Finding]:
    """Q005 once for all buffers that do not start at a multiple of 16; made where TensorFlow Lite Micro is asked for."""
    known = _alignments(scene)
    if known:
        least = min(known.values())
        first = next(number for number, buffer in enumerate(scene.model.buffers) if known.get(buffer) == least)
        total = sum(1 for buffer in scene.model.buffers if buffer.data)
        message = f"{len(known)} of {total} buffers do not start at a multiple of {WANTED}; this one starts at a multiple of {least}"
        yield Finding("Q005", INFO, f"buffers[{first}]", "", message, found=least, expected=WANTED)


def _alignments(scene: Scene) -> dict[Buffer | None, int]:
    """What the data of a buffer are aligned to in the file, for those that are not aligned to 16. None is known of a model that was not read."""
    stored = getattr(scene.model.source, "alignments", None)
    if stored is None or len(stored) != len(scene.model.buffers):
        return {}  # buffers came or went: a new layout aligns them anyway
    return {scene.model.buffers[row]: int(stored[row]) for row in np.flatnonzero(stored < WANTED).tolist()}
