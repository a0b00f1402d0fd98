"""Bars and histograms made of characters."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#"  # a cell from empty to full
WIDEST = 8  # cells of one bin
BAR = 24  # cells of a bar
LARGEST = 128  # cells of a histogram


def columns_of(counts: Sequence[int], room: int) -> tuple[list[int], int]:
    """Counts merged to at most `room` columns, and the cells of a column.

    Neighbours are merged in equal groups where their number allows it: groups of different sizes would look like teeth.
    """
    room = max(1, min(room, LARGEST))
    size = -(-len(counts) // room)
    if size <= 1:
        return list(counts), min(WIDEST, room // max(1, len(counts)))
    even = next((n for n in range(size, 2 * size + 1) if len(counts) % n == 0), size)
    return [sum(counts[i : i + even]) for i in range(0, len(counts), even)], 1


def heights_of(counts: Sequence[int], steps: int) -> list[int]:
    """Heights of columns in `steps`: the highest count has all of them, what occurs at all at least one."""
    peak = max(counts, default=0)
    return [max(1, round(count / peak * steps)) if count else 0 for count in counts]


def bar(size: int, total: int, blocks: str) -> str:
    """A share of a total in cells that leave a gap to the row above; what is there at all has one."""
    return (blocks[-1] if blocks.isascii() else blocks[-2]) * max(1, round(BAR * size / total)) if size else ""


def spark(counts: Sequence[int], room: int, blocks: str) -> str:
    """A histogram in one line."""
    columns, _ = columns_of(counts, room)
    return "".join(blocks[height] for height in heights_of(columns, len(blocks) - 1))
