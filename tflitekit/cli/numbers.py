"""Numbers on the command line."""

from __future__ import annotations

import argparse
import math
import re


def number(text: str) -> float:
    """A finite float64 from a decimal (`0.5`, `1e-3`), a hexadecimal float (`0x1p-8`) or a fraction of such (`1/256`)."""
    try:
        value = _fraction(text)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 0.5, 1e-3, 0x1p-8 or 1/256") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not finite")
    return value


def _fraction(text: str) -> float:
    over, slash, under = text.partition("/")
    return _float(over) / _float(under) if slash else _float(over)


def _float(text: str) -> float:
    return float.fromhex(text) if "0x" in text.lower() else float(text)


def accept_negative(parser: argparse.ArgumentParser) -> None:
    """Let options of this parser take `-1e3`, `-0x1p-3` and `-1/3` as values; by itself argparse takes all but plain decimals for options."""
    parser._negative_number_matcher = re.compile(r"-\.?\d")
