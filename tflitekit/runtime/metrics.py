"""How far two arrays are apart: absolute errors, signal to noise, cosine, the highest element; gathered over samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import EditError
from .codes import Array


@dataclass
class Errors:
    """Errors of b against a in real values, over all samples so far.

    differing: elements that are not equal (two NaN are); max, mean: absolute errors; at: where the largest one is, (sample, index);
    largest: the highest |a|; non_finite: elements of which one is NaN or infinite and the other is something else, left out of the rest.
    """

    elements: int = 0
    differing: int = 0
    max: float = 0.0
    at: tuple[int, tuple[int, ...]] | None = None
    largest: float = 0.0
    non_finite: int = 0
    top1_rows: int = 0
    top1_agree: int = 0
    _sum: float = 0.0
    _signal: float = 0.0
    _noise: float = 0.0
    _dot: float = 0.0
    _other: float = 0.0

    def add(self, a: Array, b: Array, sample: int, top1: bool = False) -> None:
        """Count another pair, of the same shape."""
        if not a.size:
            return
        a, b = a.astype(np.float64), b.astype(np.float64)
        self.elements += a.size
        with np.errstate(over="ignore", invalid="ignore"):
            self._add(a, b, sample, top1)

    def _add(self, a: Array, b: Array, sample: int, top1: bool) -> None:
        if top1:
            self._count_top1(a, b)
        same, finite = a == b, np.isfinite(a) & np.isfinite(b)
        if not finite.all():
            same |= np.isnan(a) & np.isnan(b)
            self.non_finite += int((~finite & ~same).sum())
            a, b = np.where(finite, a, 0), np.where(finite, b, 0)
        self.largest = max(self.largest, float(a.max()), -float(a.min()))
        differing = int(a.size - np.count_nonzero(same))
        signal = _dot(a, a)
        self._signal += signal
        self._dot += _dot(a, b) if differing else signal
        self._other += _dot(b, b) if differing else signal
        if differing:
            self.differing += differing
            error = np.abs(a - b)
            worst = int(error.argmax())
            if error.flat[worst] > self.max:
                self.max, self.at = float(error.flat[worst]), (sample, tuple(int(i) for i in np.unravel_index(worst, error.shape)))
            self._sum += float(error.sum())
            self._noise += _dot(error, error)

    def _count_top1(self, a: Array, b: Array) -> None:
        """Rows of the last axis in which some element is the highest of both; ties are common where codes are few."""
        shared = (a == a.max(-1, keepdims=True)) & (b == b.max(-1, keepdims=True))
        agree = shared.any(-1)
        self.top1_rows += int(agree.size)
        self.top1_agree += int(agree.sum())

    @property
    def mean(self) -> float:
        """The mean absolute error."""
        return self._sum / self.elements if self.elements else 0.0

    @property
    def sqnr(self) -> float:
        """Signal to noise in dB, a being the signal; infinite where nothing differs."""
        if self.non_finite:
            return -math.inf
        if self._noise == 0:
            return math.inf
        ratio = self._signal / self._noise
        return -math.inf if ratio == 0 else 10 * math.log10(ratio)

    @property
    def cosine(self) -> float | None:
        """The cosine of the angle between both; None where one is all zeros and the other is not."""
        if self._signal == 0 or self._other == 0:
            return 1.0 if self._signal == self._other else None
        return min(self._dot / math.sqrt(self._signal) / math.sqrt(self._other), 1.0)


def _dot(a: Array, b: Array) -> float:
    """The sum of products, without BLAS: its threads get in the way of those of the interpreter."""
    return float(np.einsum("i,i", a.reshape(-1), b.reshape(-1)))


@dataclass
class Variation:
    """Whether an output was ever different from that of the first sample; None until there are two."""

    first: Array | None = None
    varies: bool | None = None

    def add(self, array: Array) -> None:
        """Look at the output of another sample. Zeros of both signs are equal, and so are NaNs."""
        if self.first is None:
            self.first = array
        else:
            self.varies = bool(self.varies) or not np.array_equal(self.first, array, equal_nan=array.dtype.kind in "fc")


@dataclass(frozen=True)
class Term:
    """One bound of a tolerance: `unit` is "lsb", "real", "%" or "dB"."""

    number: float
    unit: str

    def text(self) -> str:
        """As it is written."""
        return f"{self.number:g}{'' if self.unit == 'real' else self.unit}"

    def holds(self, errors: Errors, lsb: float | None, exact: bool) -> bool | None:
        """Whether errors are within it; None where it does not apply. `exact`: integers without scale, for which only `real` allows errors."""
        if errors.non_finite:
            return False
        if exact and self.unit != "real":
            return errors.differing == 0
        if self.unit == "dB":
            return errors.sqnr >= self.number
        if self.unit == "lsb":
            slack = 2.0**-22 * errors.largest if self.number else 0.0  # real values of codes are rounded to float32, in both models
            return None if lsb is None else errors.max <= self.number * lsb + slack
        bound = self.number if self.unit == "real" else self.number / 100 * errors.largest
        return errors.max <= bound


@dataclass(frozen=True)
class Tolerance:
    """What an output may differ by: within any of the terms that apply to it is enough."""

    terms: tuple[Term, ...]

    def text(self) -> str:
        """As it is written."""
        return ",".join(term.text() for term in self.terms)

    def verdict(self, errors: Errors, lsb: float | None, exact: bool) -> bool | None:
        """Whether errors are within; None where no term applies."""
        found = [held for term in self.terms if (held := term.holds(errors, lsb, exact)) is not None]
        return any(found) if found else None

    def holds(self, name: str, errors: Errors, lsb: float | None, exact: bool) -> bool:
        """Whether the errors of an output are within. EditError where no term applies to it."""
        found = self.verdict(errors, lsb, exact)
        if found is None:
            raise EditError(f"tolerance {self.text()}: {name!r} is float, and no scale says what its LSB is; add a bound such as 1e-3, 0.1% or 40dB")
        return found


def parse_tolerance(text: str) -> Tolerance:
    """`1lsb` (steps of the output's scale), `1e-3` (real values), `0.1%` (of the output's largest value), `40dB` (least signal to noise).

    Several, joined by commas: any that applies is enough. `0` demands equality. EditError for anything else.
    """
    terms = []
    for part in text.split(","):
        word = part.strip().lower()
        unit = next((unit for unit in ("lsb", "%", "dB") if word.endswith(unit.lower())), "real")
        try:
            number = float(word if unit == "real" else word[: -len(unit)])
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (number < 0 and unit != "dB"):
            raise EditError(f"tolerance {part.strip()!r}: write 1lsb, 1e-3, 0.1% or 40dB, or several with commas")
        terms.append(Term(number, unit))
    return Tolerance(tuple(terms))
