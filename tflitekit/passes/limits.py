"""The thresholds of passes that encode constants again. Numpy-free."""

from __future__ import annotations

from typing import Any

from .base import option


def min_sqnr() -> Any:
    """The option `--min-sqnr`."""
    return option(None, "keep a tensor as it was if its signal to noise ratio would be below so many dB", metavar="DB", parse=float)


def max_error() -> Any:
    """The option `--max-error`."""
    return option(None, "keep a tensor as it was if an error would be above this, in real values", metavar="E", parse=float)
