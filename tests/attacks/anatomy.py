"""Where everything is in a valid file, for damage that knows what it hits: tables, vtables, fields, lengths, offsets, strings, by table and field."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from tflitekit._base import Field, fields_of
from tflitekit.flat.batches import OF_OFFSETS, SIZES, Batch
from tflitekit.flat.verifier import IDENTIFIER, Verifier


class Spot(NamedTuple):
    """A place in the file: `at` is the field itself, `start` and `count` are the elements of what it points at (vectors and strings)."""

    table: str
    field: Field
    at: int
    start: int = 0
    count: int = 0

    @property
    def width(self) -> int:
        """Bytes of a scalar, or of an element."""
        return 4 if self.field.kind in OF_OFFSETS else SIZES.get(self.field.type, 1)


class Anatomy:
    """All places of one valid file.

    `tables` are (position, position of the vtable), `scalars`, `vectors` (of scalars, strings, tables) and `strings` are spots; `pointers` the
    positions of offsets in tables, `elements` of those in vectors; `unions` the positions of type bytes, where the table has one, with the field.
    """

    def __init__(self, data: bytes, root: str = "Model", identifier: bytes = IDENTIFIER) -> None:
        verifier = Verifier(memoryview(data), root, identifier)
        self.tables: list[tuple[int, int]] = []
        self.scalars: list[Spot] = []
        self.vectors: list[Spot] = []
        self.strings: list[Spot] = []
        self.unions: list[Spot] = []
        self.pointers: list[int] = [0]
        self.elements: list[int] = []
        self.counts: dict[str, int] = defaultdict(int)
        for batch in verifier.run():
            self.counts[batch.name] += batch.count
            vtables = batch.pos - verifier.bytes.i32[batch.pos >> 2]
            self.tables += zip(batch.pos.tolist(), vtables.tolist(), strict=True)
            for field in (f for f in fields_of(batch.name) if not f.deprecated):
                self._field(batch, field)
        self.end = verifier.end

    def _field(self, batch: Batch, field: Field) -> None:
        rows, at = batch.at(field.slot)
        name = batch.name
        if field.kind == "scalar":
            self.scalars += [Spot(name, field, position) for position in at.tolist()]
            return
        self.pointers += at.tolist()
        if field.kind == "union":
            self.unions += [Spot(name, field, position) for position in batch.at(field.slot - 1)[1].tolist()]
        if field.slot not in batch.vectors:
            return
        start, count = batch.vectors[field.slot]
        kept = self.strings if field.kind == "string" else self.vectors
        for position, first, length in zip(at.tolist(), start[rows].tolist(), count[rows].tolist(), strict=True):
            kept.append(Spot(name, field, position, first, length))
            if field.kind in OF_OFFSETS:
                self.elements += range(first, first + 4 * min(length, 64), 4)
