"""`tflitekit stats (--mean M --std S | --min A --max B | --scale S --zero-point Z)`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .common import add_json, put
from .numbers import accept_negative, number

if TYPE_CHECKING:
    from ..quant.affine import Derived

FORMS = {"mean_std": ("mean", "std"), "range": ("min", "max"), "scale": ("scale", "zero_point")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    accept_negative(parser)
    parser.add_argument("--mean", type=number, metavar="M", help="the code that stands for 0; with --std")
    parser.add_argument("--std", type=number, metavar="S", help="codes per unit: real = (q - mean) / std")
    parser.add_argument("--min", type=number, metavar="A", help="the lowest real value; with --max")
    parser.add_argument("--max", type=number, metavar="B", help="the highest real value")
    parser.add_argument("--scale", type=number, metavar="S", help="the step between codes; with --zero-point")
    parser.add_argument("--zero-point", type=number, metavar="Z", help="the code that stands for 0, an integer")
    parser.add_argument("--dtype", choices=("uint8", "int8", "int16"), default="uint8", help="the type of the codes (default: uint8)")
    parser.add_argument("--widen", action="store_true", help="extend a range without 0 to include it, instead of refusing it")
    parser.add_argument("--explain", action="store_true", help="say which formulas in circulation are wrong, and where others get another zero point")
    add_json(
        parser,
        "dtype, form, asked (scale, mean, std, min, max), stored (those and zero_point), residual (lsb, real), widened_from, recognised, "
        "other_dtype, hints, explain (null, or formulas and producers). Numbers may be written 0.5, 1e-3, 0x1p-8 or 1/256",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the three forms, what a file can hold of them, and what they stand for."""
    form = _form(arguments)
    from ..reports.stats import stats_facts, stats_report

    facts = stats_facts(_derived(arguments, form), form, arguments.explain)
    put(facts, arguments, lambda: stats_report(facts))
    return 0


def _form(arguments: argparse.Namespace) -> str:
    """Which pair was given; EditError unless it is exactly one, complete."""
    from ..errors import EditError

    given = {form: [name for name in names if getattr(arguments, name) is not None] for form, names in FORMS.items()}
    forms = [form for form, names in given.items() if names]
    if len(forms) == 1 and len(given[forms[0]]) == 2:
        if arguments.widen and forms[0] != "range":
            raise EditError("--widen goes with --min and --max")
        return forms[0]
    pairs = ", or ".join(" and ".join(_option(name) for name in names) for names in FORMS.values())
    found = ", ".join(_option(name) for names in given.values() for name in names) or "none of them"
    raise EditError(f"stats needs one pair: {pairs}; got {found}")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _derived(arguments: argparse.Namespace, form: str) -> Derived:
    from .._schema import TensorType
    from ..quant import affine

    type = TensorType[arguments.dtype.upper()]
    if form == "mean_std":
        return affine.from_mean_std(arguments.mean, arguments.std, type)
    if form == "range":
        return affine.from_range(arguments.min, arguments.max, type, widen=arguments.widen)
    return affine.from_scale(arguments.scale, arguments.zero_point, type)
