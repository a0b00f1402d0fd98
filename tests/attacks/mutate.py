"""Seeded, structure-aware damage to model files, by kind.

STRUCTURE breaks what makes a flatbuffer: offsets, vtables, lengths, type bytes, the end of the file; some of it stays valid. MEANING keeps the file
valid as a flatbuffer (nearly always) and makes nonsense of what it says: indices, shapes, scales, names, operands, options.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import tflitekit as tk
from tflitekit.flat.metadata import IDENTIFIER

from .anatomy import Anatomy, Spot

Damage = Callable[[bytearray, Anatomy, random.Random], None]

STRUCTURE: dict[str, Damage] = {}
MEANING: dict[str, Damage] = {}
HUGE = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x3FFFFFFF, 0x10000000)
NAMES = (
    b"\xff\xfe\xfd\x80", b"\x1b[31mred\x1b[0m", b"[red]x[/]", b"[/", b"[bold", b"\n\r\t\0", b"\xe2\x80\xae<txt", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\x9b31m", b"`|<b>", b"%s%n{0}", b"", b"../../x", b"\xc3",
)  # fmt: skip


class InapplicableError(Exception):
    """The file has nothing that this kind of damage could hit."""


def mutant(data: bytes, anatomy: Anatomy, rng: random.Random) -> tuple[bytes, list[str]]:
    """A damaged copy, and the kinds of damage: one to three, half of them of the meaning. Damage that does not apply is drawn again."""
    while True:
        out, kinds = bytearray(data), []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            table = rng.choice((STRUCTURE, MEANING))
            kind = rng.choice(list(table))
            try:
                table[kind](out, anatomy, rng)
            except (InapplicableError, struct.error, IndexError, ValueError):
                continue  # nothing to hit, or an earlier cut took the place away
            kinds.append(kind)
        if kinds and out != data:
            return bytes(out), kinds


def damage(data: bytes, anatomy: Anatomy, kind: str, rng: random.Random) -> bytes:
    """A copy with one damage of a kind; InapplicableError if there is nothing to hit."""
    out = bytearray(data)
    (STRUCTURE | MEANING)[kind](out, anatomy, rng)
    return bytes(out)


def _structure(function: Damage) -> Damage:
    STRUCTURE[function.__name__.removeprefix("_")] = function
    return function


def _meaning(function: Damage) -> Damage:
    MEANING[function.__name__.removeprefix("_")] = function
    return function


def _one(rng: random.Random, found: Any) -> Any:
    found = list(found)
    if not found:
        raise InapplicableError
    return rng.choice(found)


def _u32(out: bytearray, at: int, value: int | None = None) -> int:
    """Read a word, or store one."""
    if value is None:
        return int(struct.unpack_from("<I", out, at)[0])
    struct.pack_into("<I", out, at, value & 0xFFFFFFFF)
    return value


def _u16(out: bytearray, at: int, value: int) -> None:
    struct.pack_into("<H", out, at, value & 0xFFFF)


def _word_spot(anatomy: Anatomy, rng: random.Random) -> int:
    """The position of any word that gives the file its structure."""
    where = rng.randrange(4)
    if where == 0:
        return int(_one(rng, anatomy.tables)[0])
    if where == 1:
        return int(_one(rng, anatomy.vectors + anatomy.strings).start) - 4
    return int(_one(rng, anatomy.elements if where == 2 and anatomy.elements else anatomy.pointers))


# ---- structure ----


@_structure
def _bit_anywhere(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


@_structure
def _bit_of_structure(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    out[_word_spot(anatomy, rng) + rng.randrange(4)] ^= 1 << rng.randrange(8)


@_structure
def _bytes_of_structure(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _word_spot(anatomy, rng)
    out[at : at + 8] = rng.randbytes(min(8, len(out) - at))


@_structure
def _word_of_structure(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _word_spot(anatomy, rng)
    left = len(out) - at
    _u32(out, at, rng.choice((0, 1, 2, 3, 4, *HUGE, left, left - 4, left - 1, rng.randrange(len(out)))))


@_structure
def _word_nudged(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _word_spot(anatomy, rng)
    _u32(out, at, _u32(out, at) + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8)))


@_structure
def _word_copied(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u32(out, _word_spot(anatomy, rng), _u32(out, _word_spot(anatomy, rng)))


@_structure
def _offset_zero(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u32(out, _one(rng, anatomy.pointers + anatomy.elements), 0)


@_structure
def _offset_backwards(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u32(out, _one(rng, anatomy.pointers), -rng.choice((1, 4, 16, 1 << 20)))


@_structure
def _offset_beyond(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _one(rng, anatomy.pointers + anatomy.elements)
    _u32(out, at, len(out) - at + rng.choice((0, 1, 4, 4096, 1 << 30)))


@_structure
def _offset_inside(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _one(rng, anatomy.pointers + anatomy.elements)
    _u32(out, at, rng.randrange(1, max(2, len(out) - at)) & (~3 if rng.random() < 0.7 else ~0))


@_structure
def _offset_shared(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Two parents with one child, or with children that overlap."""
    at, other = _one(rng, anatomy.pointers + anatomy.elements), _one(rng, anatomy.pointers + anatomy.elements)
    _u32(out, at, other + _u32(out, other) - at + rng.choice((0, 0, 0, 4, -4)))


@_structure
def _length_huge(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, anatomy.vectors + anatomy.strings)
    left = len(out) - spot.start
    _u32(out, spot.start - 4, rng.choice((*HUGE, left, left // 4 + 1, left // 8 + 1)))


@_structure
def _length_grown(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, anatomy.vectors + anatomy.strings)
    _u32(out, spot.start - 4, spot.count + rng.choice((1, 2, 3, 8, 100)))


@_structure
def _vtable_size(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u16(out, _one(rng, anatomy.tables)[1], rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 0xFFFF, 0xFFFE, rng.randrange(65536))))


@_structure
def _table_size(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u16(out, _one(rng, anatomy.tables)[1] + 2, rng.choice((0, 1, 4, 0xFFFF, rng.randrange(65536))))


@_structure
def _vtable_entry(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = _one(rng, anatomy.tables)[1]
    entries = max(1, (struct.unpack_from("<H", out, at)[0] - 4) // 2)
    _u16(out, at + 4 + 2 * rng.randrange(entries), rng.choice((1, 2, 3, 4, 5, 8, 12, 16, 0xFFFF, 0xFFFC, rng.randrange(64), rng.randrange(65536))))


@_structure
def _vtable_elsewhere(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """A table with the vtable of another kind, or with none."""
    at, other = _one(rng, anatomy.tables)[0], _one(rng, anatomy.tables)[1]
    _u32(out, at, rng.choice((at - other, at - other, at, 0, -4, at - len(out), 1, 0x7FFFFFFF)))


@_structure
def _union_type(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    out[_one(rng, anatomy.unions).at] = rng.choice((0, 1, 2, 250, 255, rng.randrange(140)))


@_structure
def _string_end(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, anatomy.strings)
    out[spot.start + spot.count] = rng.randrange(1, 256)


@_structure
def _truncated(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    del out[rng.choice((rng.randrange(8, len(out)), rng.randrange(max(8, len(out) - 200), len(out)), rng.choice((8, 12, 16, len(out) - 1)))) :]


@_structure
def _appended(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    zips = (b"PK\x03\x04" + bytes(40), b"PK\x05\x06" + bytes(18), b"PK\x05\x06" + rng.randbytes(18))
    out += rng.choice((bytes(9), bytes(64), rng.randbytes(33), *zips))


@_structure
def _inserted(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = rng.choice((8, rng.randrange(8, len(out))))
    out[at:at] = bytes(rng.choice((1, 2, 4, 8)))


@_structure
def _removed(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = rng.randrange(8, len(out) - 8)
    del out[at : at + rng.choice((1, 2, 4, 8))]


@_structure
def _identifier(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    out[4:8] = rng.choice((b"TFL2", b"TFL4", b"tfl3", bytes(4), b"M001", rng.randbytes(4)))


@_structure
def _root(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _u32(out, 0, rng.choice((0, 1, 4, 8, len(out), len(out) - 4, _u32(out, 0) + 2, _u32(out, 0) + 4, *HUGE, rng.randrange(len(out)))))


@_structure
def _zeros(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at = rng.randrange(8, len(out))
    size = min(rng.choice((4, 16, 64, 512)), len(out) - at)
    out[at : at + size] = bytes(size)


# ---- meaning ----


def _scalar(out: bytearray, spot: Spot, value: int | float, position: int = 0) -> None:
    """Store a number in a scalar field, or in an element of a vector; integers wrap."""
    at = spot.start + position * spot.width if spot.start else spot.at
    code = {"float32": "f", "float64": "d"}.get(spot.field.type)
    if code:
        struct.pack_into(f"<{code}", out, at, value)
    else:
        out[at : at + spot.width] = (int(value) & (1 << 8 * spot.width) - 1).to_bytes(spot.width, "little")


def _scalars(anatomy: Anatomy, *names: str) -> list[Spot]:
    """The scalar fields of these names, written `Table.field`."""
    return [s for s in anatomy.scalars if f"{s.table}.{s.field.name}" in names]


def _filled(anatomy: Anatomy, *names: str) -> list[Spot]:
    """The vectors of these names that have elements."""
    return [s for s in anatomy.vectors if s.count and f"{s.table}.{s.field.name}" in names]


def _element(out: bytearray, anatomy: Anatomy, rng: random.Random, name: str, *values: float) -> None:
    spot = _one(rng, _filled(anatomy, name))
    _scalar(out, spot, rng.choice(values), rng.randrange(spot.count))


def _indices(anatomy: Anatomy) -> list[Spot]:
    return [s for s in anatomy.scalars + anatomy.vectors if s.field.refers_to and (not s.start or s.count)]


@_meaning
def _index_outside(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _indices(anatomy))
    size = anatomy.counts[spot.field.refers_to.partition(".")[0]]
    _scalar(out, spot, rng.choice((-1, -2, size, size + 1, 1 << 20, 0x7FFFFFFF, -0x80000000)), rng.randrange(max(1, spot.count)))


@_meaning
def _index_elsewhere(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Another object than the right one: operands of the wrong kind, loops, subgraphs that call themselves, shared data."""
    spot = _one(rng, _indices(anatomy))
    _scalar(out, spot, rng.randrange(max(1, anatomy.counts[spot.field.refers_to.partition(".")[0]])), rng.randrange(max(1, spot.count)))


@_meaning
def _loop(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """An operator that reads what it, or a later one, computes."""
    inputs, outputs = _one(rng, _filled(anatomy, "Operator.inputs")), _one(rng, _filled(anatomy, "Operator.outputs"))
    _u32(out, inputs.start + 4 * rng.randrange(inputs.count), _u32(out, outputs.start))


@_meaning
def _shape(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    name = rng.choice(("Tensor.shape", "Tensor.shape", "Tensor.shape_signature"))
    _element(out, anatomy, rng, name, 0, -1, -5, 1, 2, 3, 1 << 16, 1 << 30, 0x7FFFFFFF)


@_meaning
def _shape_all_huge(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _filled(anatomy, "Tensor.shape"))
    value = rng.choice((1 << 10, 1 << 16, 1 << 24, 0x7FFFFFFF, -1, 0, -0x80000000))
    for position in range(spot.count):
        _scalar(out, spot, value, position)


@_meaning
def _scale(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    names = ("scale", "scale", "scale", "min", "max")
    values = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.0, 1e-45, 1e-38, 3e38, 1.0, 2.0**-126)
    _element(out, anatomy, rng, f"QuantizationParameters.{rng.choice(names)}", *values)


@_meaning
def _zero_point(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _element(out, anatomy, rng, "QuantizationParameters.zero_point", 1, -1, 127, 128, -129, 256, 1 << 31, -(1 << 31) - 1, 1 << 62, -(1 << 63))


@_meaning
def _quantized_dimension(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _scalars(anatomy, "QuantizationParameters.quantized_dimension"))
    _scalar(out, spot, rng.choice((-1, 0, 1, 2, 3, 4, 77, 0x7FFFFFFF, -0x80000000)))


@_meaning
def _element_type(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    _scalar(out, _one(rng, _scalars(anatomy, "Tensor.type")), rng.choice((*range(24), 50, 127, -1, -128)))


@_meaning
def _operator_code(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    names = ("builtin_code", "deprecated_builtin_code", "version")
    spot = _one(rng, _scalars(anatomy, *(f"OperatorCode.{name}" for name in names)))
    _scalar(out, spot, rng.choice((*range(210), 32, 0, 127, -1, 1000, 0x7FFFFFFF)))


@_meaning
def _fewer(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Fewer elements than there were, or none: operands, dimensions, scales, operators, tensors, subgraphs."""
    spot = _one(rng, [s for s in anatomy.vectors if s.count])
    _u32(out, spot.start - 4, rng.choice((0, spot.count - 1, spot.count // 2)))


@_meaning
def _fewer_operands(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _filled(anatomy, "Operator.inputs", "Operator.outputs", "SubGraph.inputs", "SubGraph.outputs", "Operator.intermediates"))
    _u32(out, spot.start - 4, rng.choice((0, spot.count - 1)))


@_meaning
def _fewer_parameters(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _filled(anatomy, *(f"QuantizationParameters.{name}" for name in ("scale", "zero_point")), "Tensor.shape"))
    _u32(out, spot.start - 4, rng.choice((0, spot.count - 1)))


@_meaning
def _empty(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """A model without subgraphs or operator codes or buffers, a subgraph without tensors or operators."""
    names = ("Model.subgraphs", "Model.operator_codes", "Model.buffers", "SubGraph.tensors", "SubGraph.operators", "Model.metadata")
    _u32(out, _one(rng, _filled(anatomy, *names)).start - 4, 0)


@_meaning
def _field_missing(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """A field that the vtable no longer has: options, quantization, names, lists. Tables with the same vtable lose it too."""
    at = _one(rng, anatomy.tables)[1]
    entries = (struct.unpack_from("<H", out, at)[0] - 4) // 2
    if entries < 1:
        raise InapplicableError
    _u16(out, at + 4 + 2 * rng.randrange(entries), 0)


@_meaning
def _no_options(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    out[_one(rng, [s for s in anatomy.unions if s.field.name.startswith("builtin_options")]).at] = 0


@_meaning
def _number(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """An extreme value of any number that is no index: options, offsets, versions, flags."""
    spot = _one(rng, [s for s in anatomy.scalars if not s.field.refers_to])
    values: tuple[float, ...] = (0, 1, -1, 2, 255, 0x7FFFFFFF, -0x80000000, 1 << 62, len(out), len(out) - 1)
    if spot.field.type.startswith("float"):
        values = (0.0, -1.0, float("nan"), float("inf"), 1e30, 1e-40)
    _scalar(out, spot, rng.choice(values))


@_meaning
def _option(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, [s for s in anatomy.scalars if "Options" in s.table and not s.field.type.startswith("float")])
    _scalar(out, spot, rng.choice((0, 1, -1, 2, 3, 100, 255, 0x7FFFFFFF, -0x80000000)))


@_meaning
def _name(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Names that are no UTF-8, steer terminals, or look like markup."""
    spot = _one(rng, [s for s in anatomy.strings if s.count])
    text = rng.choice(NAMES)[: spot.count]
    out[spot.start : spot.start + spot.count] = text.ljust(spot.count, rng.choice((b"x", b"\0", b"[", b"\x1b")))


@_meaning
def _name_shared(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    at, other = _one(rng, anatomy.strings), _one(rng, anatomy.strings)
    if other.start - 4 <= at.at:
        raise InapplicableError
    _u32(out, at.at, other.start - 4 - at.at)


@_meaning
def _constant(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Other bytes in constant data: nonsense shapes and permutations, NaN weights, broken metadata."""
    spot = _one(rng, _filled(anatomy, "Buffer.data", "Operator.custom_options"))
    at, size = spot.start + rng.randrange(spot.count), rng.choice((1, 4, 16))
    out[at : at + min(size, spot.start + spot.count - at)] = rng.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * min(size, spot.start + spot.count - at)


@_meaning
def _metadata(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    """Damage of any kind to the TFLite Metadata, a flatbuffer of its own in a buffer."""
    found = [s for s in _filled(anatomy, "Buffer.data") if out[s.start + 4 : s.start + 8] == IDENTIFIER]
    spot = _one(rng, found)
    inner = bytes(out[spot.start : spot.start + spot.count])
    try:
        made, _ = mutant(inner, Anatomy(inner, "ModelMetadata", IDENTIFIER), rng)
    except tk.TFLiteKitError:
        raise InapplicableError from None
    out[spot.start : spot.start + spot.count] = made[: spot.count].ljust(spot.count, b"\0")


@_meaning
def _constant_cut(out: bytearray, anatomy: Anatomy, rng: random.Random) -> None:
    spot = _one(rng, _filled(anatomy, "Buffer.data", "Operator.custom_options"))
    _u32(out, spot.start - 4, rng.choice((0, 1, spot.count - 1, spot.count // 2)))
