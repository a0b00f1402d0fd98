"""Seeded damage to model files, aimed at what gives a flatbuffer its structure: offsets, vtables, lengths, type bytes, the end of the file."""

from __future__ import annotations

import random
import struct

from tflitekit.flat.verifier import Verifier


def places(data: bytes) -> list[int]:
    """Positions of tables, fields, vtables and length words of a valid file."""
    verifier = Verifier(memoryview(data))
    found = [0]
    for batch in verifier.run():
        vtables = batch.pos - verifier.bytes.i32[batch.pos >> 2]
        for row in range(batch.count):
            position = int(batch.pos[row])
            found += [position, *(position + o for o in batch.offsets[batch.inv[row]].tolist() if o)]
            found += [int(vtables[row]) + 2 * k for k in range(4)]
        for start, _ in batch.vectors.values():
            found += [s - 4 for s in start.tolist() if s]
    return found


def mutant(data: bytes, spots: list[int], rng: random.Random) -> bytes:
    """A copy with one to three damages."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.choice(spots)
        if at + 8 > len(out):
            continue
        damage = rng.choice((_bit, _word, _half, _nudge_word, _nudge_half, _truncate, _copy))
        damage(out, at, spots, rng)
    return bytes(out) if len(out) >= 8 else data


def _bit(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    out[at + rng.randrange(4)] ^= 1 << rng.randrange(8)


def _word(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    left = len(out) - at
    values = (0, 1, 2, 3, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, left, left - 4, left - 1, rng.randrange(len(out)))
    struct.pack_into("<I", out, at, rng.choice(values) & 0xFFFFFFFF)


def _half(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    struct.pack_into("<H", out, at, rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 0xFFFF, 0xFFFE, rng.randrange(65536))))


def _nudge_word(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    value = struct.unpack_from("<I", out, at)[0] + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
    struct.pack_into("<I", out, at, value & 0xFFFFFFFF)


def _nudge_half(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    struct.pack_into("<H", out, at, (struct.unpack_from("<H", out, at)[0] + rng.choice((-4, -2, -1, 1, 2, 4))) & 0xFFFF)


def _truncate(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    del out[rng.randrange(max(8, len(out) - 200), len(out)) :]


def _copy(out: bytearray, at: int, spots: list[int], rng: random.Random) -> None:
    source = rng.choice(spots)
    if source + 4 <= len(out):
        out[at : at + 4] = out[source : source + 4]
