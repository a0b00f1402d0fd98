"""The tables of a model that say what others are called, or where they are: metadata, signatures, external data. They belong to `graph`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ._base import Table

if TYPE_CHECKING:
    from .graph import Buffer, SubGraph, Tensor


class Metadata(Table):
    """A named blob, kept in a buffer."""

    __slots__ = ("buffer", "name")
    name: bytes | None
    buffer: Buffer | None

    def __init__(self, *, name: bytes | str | None = None, buffer: Buffer | None = None) -> None:
        super().__init__(name=name, buffer=buffer)


class TensorMap(Table):
    """A caller-visible name for a tensor of the signature's subgraph."""

    __slots__ = ("name", "tensor")
    name: bytes | None
    tensor: Tensor | None

    def __init__(self, *, name: bytes | str | None = None, tensor: Tensor | None = None) -> None:
        super().__init__(name=name, tensor=tensor)


class SignatureDef(Table):
    """A named entry point: a subgraph, and the names under which callers see its tensors."""

    __slots__ = ("deprecated_tag", "inputs", "outputs", "signature_key", "subgraph")
    inputs: list[TensorMap]
    outputs: list[TensorMap]
    signature_key: bytes | None
    deprecated_tag: bytes | None
    subgraph: SubGraph | None

    def __init__(
        self,
        *,
        signature_key: bytes | str | None = None,
        subgraph: SubGraph | None = None,
        inputs: Sequence[TensorMap] | Mapping[str, Tensor] = (),
        outputs: Sequence[TensorMap] | Mapping[str, Tensor] = (),
        deprecated_tag: bytes | None = None,
    ) -> None:
        def maps(entries: Sequence[TensorMap] | Mapping[str, Tensor]) -> list[TensorMap]:
            if isinstance(entries, Mapping):
                return [TensorMap(name=name, tensor=tensor) for name, tensor in entries.items()]
            return list(entries)

        super().__init__(
            signature_key=signature_key, subgraph=subgraph, inputs=maps(inputs), outputs=maps(outputs), deprecated_tag=deprecated_tag
        )


class ExternalBufferGroup(Table):
    """A file that holds external buffers."""

    __slots__ = ("name",)
    name: bytes | None

    def __init__(self, *, name: bytes | str | None = None) -> None:
        super().__init__(name=name)


class ExternalBuffer(Table):
    """A range of bytes in the file of its group. Tensors refer to it by `id`."""

    __slots__ = ("group", "id", "length", "offset", "packing")
    id: int
    group: ExternalBufferGroup | None
    offset: int
    length: int
    packing: bytes | None

    def __init__(
        self, *, id: int = 0, group: ExternalBufferGroup | None = None, offset: int = 0, length: int = 0, packing: bytes | str | None = None
    ) -> None:
        super().__init__(id=id, group=group, offset=offset, length=length, packing=packing)
