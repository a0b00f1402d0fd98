"""Placeholders for indices that point at nothing: objects of the right class, so that every analysis can go on, which write back the same number."""

from __future__ import annotations

from typing import Any

from ._base import Dangling
from .graph import Buffer, ExternalBuffer, ExternalBufferGroup, OperatorCode, SubGraph, Tensor


class DanglingTensor(Dangling, Tensor):
    """Stands for a tensor index outside the subgraph."""

    __slots__ = ("index",)


class DanglingBuffer(Dangling, Buffer):
    """Stands for a buffer index outside the model."""

    __slots__ = ("index",)


class DanglingSubGraph(Dangling, SubGraph):
    """Stands for a subgraph index outside the model."""

    __slots__ = ("index",)


class DanglingOperatorCode(Dangling, OperatorCode):
    """Stands for an operator code index outside the model."""

    __slots__ = ("index",)

    @property
    def op_name(self) -> str:
        """Text that cannot be mistaken for an operator."""
        return f"<no operator code {self.index}>"


class DanglingExternalBuffer(Dangling, ExternalBuffer):
    """Stands for an external buffer id that the model does not define."""

    __slots__ = ("index",)


class DanglingExternalBufferGroup(Dangling, ExternalBufferGroup):
    """Stands for a group index outside the model."""

    __slots__ = ("index",)


_CLASSES: dict[str, Any] = {
    "Tensor": DanglingTensor,
    "Buffer": DanglingBuffer,
    "SubGraph": DanglingSubGraph,
    "OperatorCode": DanglingOperatorCode,
    "ExternalBuffer": DanglingExternalBuffer,
    "ExternalBufferGroup": DanglingExternalBufferGroup,
}


def dangling(kind: str, index: int) -> Any:
    """A placeholder for a reference to the missing `kind` (a class name) number `index`."""
    made = _CLASSES[kind]()
    object.__setattr__(made, "index", index)
    return made
