"""What a file holds around the flatbuffer: data of offset buffers, a trailing zip of associated files, padding, and bytes nobody explains."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from ..graph import Model

# Unexplained bytes fewer than this at the end are carried along verbatim: leftovers of a builder, too small to be data that is referred to.
CARRIED = 16

_END = struct.Struct("<4s4H2IH")  # end of central directory
_ENTRY = struct.Struct("<4s6H3I5H2I")  # central directory entry
_END_SIGNATURE, _ENTRY_SIGNATURE, _LOCAL_SIGNATURE = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"


@dataclass(frozen=True)
class Container:
    """The regions of a file. Ranges are (start, end) in bytes from the start of the file.

    `unexplained` spans the bytes behind the model that are neither zero nor referred to; `carried` says that a rebuild keeps them, being so few.
    """

    size: int
    body_end: int
    zip_range: tuple[int, int] | None = None
    zip_names: list[str] = field(default_factory=list)
    outside: list[tuple[int, int]] = field(default_factory=list)
    unexplained: tuple[int, int] | None = None

    @property
    def out_of_line_bytes(self) -> int:
        """Bytes of constant data kept behind the flatbuffer, shared ranges counted once."""
        return sum(end - start for start, end in _merged(self.outside))

    @property
    def padding(self) -> int:
        """Bytes behind the flatbuffer that only align what follows, or fill up."""
        ranges = [(max(a, self.body_end), b) for a, b in self.outside if b > self.body_end]
        ranges += [r for r in (self.zip_range, self.unexplained) if r is not None]
        used = sum(end - start for start, end in _merged(ranges))
        return self.size - self.body_end - used

    @property
    def carried(self) -> bool:
        """Whether a rebuild keeps the unexplained bytes, because they are too few to matter."""
        return self.unexplained is not None and self.unexplained[1] - self.unexplained[0] < CARRIED


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif end > start:
            found.append((start, end))
    return found


def survey(data: memoryview, model: Model, body_end: int) -> Container:
    """Find out what lies in a file besides the flatbuffer that ends at `body_end`."""
    outside = []
    for buffer in model.buffers:
        if buffer.out_of_line:
            outside.append((buffer.offset, buffer.offset + buffer.size))
    for operator in model.operators():
        if operator.large_custom_options is not None:
            start = operator.large_custom_options_offset
            outside.append((start, start + operator.large_custom_options_size))
    zip_range, names = find_zip(data, body_end)
    explained = [*outside, *([zip_range] if zip_range else [])]
    unexplained = None
    cursor = body_end
    for start, end in [*_merged(explained), (len(data), len(data))]:
        gap = _nonzero(data, cursor, start) if start > cursor else None
        if gap:
            unexplained = gap if unexplained is None else (unexplained[0], gap[1])
        cursor = max(cursor, end)
    return Container(len(data), body_end, zip_range, names, outside, unexplained)


def _nonzero(data: memoryview, start: int, end: int) -> tuple[int, int] | None:
    """The part of a gap from its first to its last byte that is not zero; read in pieces, since gaps can be sparse gigabytes."""
    first = last = -1
    for at in range(start, end, 1 << 22):
        found = np.flatnonzero(np.frombuffer(data[at : min(end, at + (1 << 22))], np.uint8))
        if len(found):
            first = at + int(found[0]) if first < 0 else first
            last = at + int(found[-1])
    return (first, last + 1) if first >= 0 else None


def find_zip(data: memoryview, body_end: int) -> tuple[tuple[int, int] | None, list[str]]:
    """The range of a zip archive at the end of the file, and the names in it; (None, []) if there is none that is consistent."""
    search = max(body_end, len(data) - 65557)
    tail = bytes(data[search:])
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or at + _END.size > len(tail):
        return None, []
    _, _, _, _, entries, directory_size, directory_offset, comment = _END.unpack_from(tail, at)
    end = search + at
    directory = end - directory_size
    if end + _END.size + comment != len(data) or directory < body_end or 0xFFFFFFFF in (directory_offset, directory_size):
        return None, []
    start, names = directory, []
    cursor, shift = directory, directory - directory_offset
    for _ in range(entries):
        if cursor + _ENTRY.size > end:
            return None, []
        entry = _ENTRY.unpack_from(data, cursor)
        local = entry[16] + shift
        if entry[0] != _ENTRY_SIGNATURE or not body_end <= local < directory or bytes(data[local : local + 4]) != _LOCAL_SIGNATURE:
            return None, []
        name = bytes(data[cursor + _ENTRY.size : cursor + _ENTRY.size + entry[10]])
        names.append(name.decode("utf-8" if entry[3] & 0x800 else "cp437", "backslashreplace"))
        start = min(start, local)
        cursor += _ENTRY.size + entry[10] + entry[11] + entry[12]
    return ((start, len(data)), names) if cursor == end else (None, [])


def moved_zip(data: memoryview, start: int, new_start: int) -> bytes:
    """The zip archive that `find_zip` found at `start`, with its absolute offsets rewritten for a new place in the file."""
    blob = bytearray(data[start:])
    at = blob.rfind(_END_SIGNATURE)
    fields = list(_END.unpack_from(blob, at))
    directory = at - fields[5]
    shift = start + directory - fields[6]  # what was wrong with the stored offsets
    cursor = directory
    for _ in range(fields[4]):
        entry = list(_ENTRY.unpack_from(blob, cursor))
        entry[16] = entry[16] + shift - start + new_start
        if entry[16] >= 0xFFFFFFFF:
            raise OverflowError
        _ENTRY.pack_into(blob, cursor, *entry)
        cursor += _ENTRY.size + entry[10] + entry[11] + entry[12]
    fields[6] = new_start + directory
    _END.pack_into(blob, at, *fields)
    return bytes(blob)
