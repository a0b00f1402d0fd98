"""The thresholds of passes that encode constants again. Numpy-free."""

from __future__ import annotations

import math
from typing import Any

from ..errors import EditError
from .base import option


def check_limits(min_sqnr: float | None, max_error: float | None) -> None:
    """EditError for thresholds that nothing can be held against."""
    if min_sqnr is not None and math.isnan(min_sqnr):
        raise EditError("min_sqnr: expected a number of dB, got nan")
    if max_error is not None and not max_error >= 0:
        raise EditError(f"max_error: expected a real value of at least 0, got {max_error:g}")


def min_sqnr() -> Any:
    """The option `--min-sqnr`."""
    return option(None, "keep a tensor as it was if its signal to noise ratio would be below so many dB", metavar="DB", parse=float)


def max_error() -> Any:
    """The option `--max-error`."""
    return option(None, "keep a tensor as it was if an error would be above this, in real values", metavar="E", parse=float)
