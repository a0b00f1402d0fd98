"""What is said about (mean, std), ranges and zero points, and what of it holds; and the arithmetic by which other producers arrive at theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .affine import SYMMETRIC, Derived, Rounding, code_range, from_range, rounded

RIGHT, UINT8, APPROXIMATE, INCOMPLETE = "right", "right for uint8", "approximate", "incomplete"
UNRELIABLE, WRONG = "unreliable", "wrong"


class Claim(NamedTuple):
    """A statement about quantization parameters, its verdict, and why. `worked` says what it gives for one case, where that is of interest."""

    statement: str
    verdict: str
    reason: str
    worked: Callable[[Derived], str] | None = None


def uint8_mean(derived: Derived) -> float:
    """255 * min / (min - max), the mean for uint8."""
    low, high = derived.range
    return 255 * low / (low - high) + 0.0


def divided_std(derived: Derived) -> float:
    """The std that solves min / std + mean = 0 and max / std + mean = 255."""
    low, high = derived.range
    return (high - low) / 255


def multiplied_range(derived: Derived) -> tuple[float, float]:
    """-mean * std and (255 - mean) * std."""
    return 0.0 - derived.mean * derived.std, (255 - derived.mean) * derived.std


def multiplied_code(derived: Derived) -> float:
    """The highest code as a real value, by (q - mean) * std."""
    return (code_range(derived.stored.type)[1] - derived.mean) * derived.std


def zero_point_of_stored_scale(derived: Derived) -> int:
    """The zero point computed again from the scale that a file holds: what must not be done."""
    low, high = code_range(derived.stored.type)
    return min(max(int(rounded(low - derived.range.min / float(derived.stored.scale))), low), high)


def _here(given: str, true: str) -> str:
    return f"Here both give {true}." if given == true else f"Here it gives {given} instead of {true}."


def _std_worked(derived: Derived) -> str:
    return _here(f"std {divided_std(derived):.6g}", f"std {derived.std:.6g}")


def _mean_worked(derived: Derived) -> str:
    return _here(f"mean {uint8_mean(derived):.6g}", f"mean {derived.mean:.6g}")


def _range_worked(derived: Derived) -> str:
    given, true = ("{:.6g} to {:.6g}".format(*bounds) for bounds in (multiplied_range(derived), derived.range))
    return _here(given, true)


def _code_worked(derived: Derived) -> str:
    code = code_range(derived.stored.type)[1]
    return _here(f"{multiplied_code(derived):.6g} for code {code}", f"{derived.range.max:.6g} for code {code}")


def _stored_scale_worked(derived: Derived) -> str:
    return _here(f"zero point {zero_point_of_stored_scale(derived)}", f"zero point {derived.stored.zero_point}")


CLAIMS = (
    Claim(
        "real = (q - mean) / std = scale * (q - zero_point)",
        RIGHT,
        "It is the definition.",
    ),
    Claim(
        "scale = 1 / std, zero_point = mean",
        RIGHT,
        "A file holds the scale rounded to float32 and the zero point rounded to an integer.",
    ),
    Claim(
        "std = 255 / (max - min), mean = 255 * min / (min - max)",
        UINT8,
        "The std is the same for int8; its mean is -128 - min * std.",
        _mean_worked,
    ),
    Claim(
        "min / std + mean = 0, max / std + mean = 255",
        WRONG,
        "Real values are multiplied by std: min * std + mean = 0, max * std + mean = 255. What solves the other pair is the scale.",
        _std_worked,
    ),
    Claim(
        "min = -mean * std, max = (255 - mean) * std",
        WRONG,
        "Codes are divided by std: min = -mean / std, max = (255 - mean) / std for uint8. It would hold if std were the scale.",
        _range_worked,
    ),
    Claim(
        "q = real / std + mean, real = (q - mean) * std",
        WRONG,
        "q = real * std + mean, real = (q - mean) / std. It would hold if std were the scale.",
        _code_worked,
    ),
    Claim(
        "the mean is an integer from 0 to 255, the code of 0.0",
        UINT8,
        "For int8 it lies between -128 and 127. A mean such as 127.5 is allowed, but a file holds 128, and all real values move by half a scale.",
    ),
    Claim(
        "the same mean and std serve uint8 and int8",
        WRONG,
        "The mean for int8 is 128 less. (0, 255) is [0, 1] for uint8 and [-0.50196, 0.49804] for int8, where [0, 1] needs (-128, 255).",
    ),
    Claim(
        "deriving a range anew converts uint8 to int8",
        WRONG,
        "Codes and zero point move by 128, the scale stays. -1 to 1 derived anew gives 128 for uint8 and -1 for int8: another range.",
    ),
    Claim(
        "images in [-1, 1] need mean 128 and std 127",
        APPROXIMATE,
        "That holds -1.00787 to 1. Mean 127.5 and std 127.5 are exact; a file holds them as 0.007843137718737125 and 128: -1.00392 to 0.996078.",
    ),
    Claim(
        "mean 128 and std 127 give a quantization near (0.0039, 0)",
        WRONG,
        "They give (0.007874015718698502, 128). (0.003921568859368563, 0) is mean 0 and std 255: [0, 1].",
    ),
    Claim(
        "std is a factor such as 1/128",
        WRONG,
        "It is a divisor, such as 128. Mean 127 and std 1/128 are the scale 128 and the range -16256 to 16384.",
    ),
    Claim(
        "'quantization' in the details of a tensor is (mean, std)",
        WRONG,
        "It is (scale, zero_point): another form and another order.",
    ),
    Claim(
        "the quantization (0.0, 0) says that a tensor is not quantized",
        INCOMPLETE,
        "Tensors with one scale for each channel are shown so too.",
    ),
    Claim(
        "a file represents the range that was asked for",
        APPROXIMATE,
        "It is moved by up to half a scale, so that 0 is a code. min and max in a file may still be those asked for.",
    ),
    Claim(
        "zero_point = round(qmin - min / scale), with the scale of a file",
        UNRELIABLE,
        "The float32 scale can push a half to the other side: -100 to 100 gives 127 so, and is 128.",
        _stored_scale_worked,
    ),
    Claim(
        "round() of Python and numpy gives the zero point",
        UNRELIABLE,
        "They round halves to even, -0.5 to 0 and 126.5 to 126. TensorFlow rounds them away from zero, to -1 and 127.",
    ),
    Claim(
        "float32 gives the same zero point as float64",
        UNRELIABLE,
        "Not where the mean lies halfway between codes, as for ranges symmetric around 0: -1 to 1 as uint8 gives 127, and 128 in float64.",
    ),
)


class Producer(NamedTuple):
    """A way of computing the parameters, where it is used, and what it gives."""

    arithmetic: str
    used_by: str
    scale: float
    zero_point: int


def producers(derived: Derived) -> tuple[Producer, ...]:
    """How the parameters come out elsewhere for the asked range; the first is what this package computes.

    Converters turn a (mean, std) into a range first, which can cost the last bit of the mean.
    Empty for symmetric types, whose zero point is always 0. Ranges beyond float32 leave out what is computed in it.
    """
    if derived.stored.type in SYMMETRIC:
        return ()
    stored = float(derived.stored.scale)
    own, nudged = derived.stored.zero_point, from_range(*derived.range, derived.stored.type).stored.zero_point
    double = "float64, from the end with the smaller error, half away from zero"
    converters = "TOCO, the MLIR converter, kernels"
    found = [Producer(double, f"{converters}; here", stored, own)]
    if own != nudged:
        found = [Producer("the mean, half away from zero", "here", stored, own), Producer(double, converters, stored, nudged)]
    single = _float32_min_side(derived)
    if single is not None:
        scale, ratio = single
        low, high = code_range(derived.stored.type)
        for mode, text, user in (
            (Rounding.HALF_AWAY, "half away from zero", "TensorFlow's calibrating quantizer, FAKE_QUANT"),
            (Rounding.HALF_EVEN, "half to even", "litert-quantizer"),
        ):
            found.append(Producer(f"float32, from the minimum, {text}", user, scale, min(max(int(rounded(ratio, mode)), low), high)))
    again = zero_point_of_stored_scale(derived)
    return (*found, Producer("float64, from the minimum and the float32 scale", "scripts that start from a file", stored, again))


def _float32_min_side(derived: Derived) -> tuple[float, float] | None:
    """(scale, unrounded zero point), each step in float32; None where that leaves float32."""
    qmin, qmax = (np.float32(code) for code in code_range(derived.stored.type))
    with np.errstate(all="ignore"):
        low, high = np.float32(derived.range.min), np.float32(derived.range.max)
        scale = (high - low) / (qmax - qmin)
        ratio = qmin - low / scale
    return (float(scale), float(ratio)) if np.isfinite(scale) and scale > 0 and np.isfinite(ratio) else None
