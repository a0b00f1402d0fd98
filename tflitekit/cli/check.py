"""Running models from the command line: the options that `compare`, `observe` and every `--check` share, and the check itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .main import AFTER, BEFORE
from .numbers import accept_negative, number

if TYPE_CHECKING:
    from ..runtime.data import Data
    from ..runtime.interface import Subject
    from ..runtime.process import Limits

RESOLVERS = ("default", "optimized", "reference")
TOLERANCE = "1lsb,0.001%"
TOLERANCE_HELP = (
    "1lsb (steps of the output's scale), 1e-3 (real values), 0.1%% (of the output's largest value), 40dB (least signal to noise), 0 (equal), "
    "or several joined by commas, of which one is enough"
)
PREFIX = "check-"  # of options that a rewriting command may have for itself


def add_data_options(group: Any, random: str, prefix: str = "") -> None:
    """Where inputs come from: --data, --mean, --std, --samples, --random, --seed, --range."""
    group.add_argument(
        f"--{prefix}data", metavar="FILE", nargs="+",
        help="samples: .npz with arrays named like the inputs, .npy, images (need Pillow; stretched to the input's size), or folders of these. "
        "Floats are real values, integers of a quantized input's type its codes; pixels, too, or for float inputs what the model's metadata says",
    )  # fmt: skip
    group.add_argument(f"--{prefix}mean", type=number, metavar="M", help="with std: all data x are read as real = (x - M) / S")
    group.add_argument(f"--{prefix}std", type=number, metavar="S", help="with mean")
    group.add_argument(f"--{prefix}samples", type=int, metavar="N", help="use at most N samples of the data")
    group.add_argument(f"--{prefix}random", type=int, metavar="N", help=random)
    group.add_argument(f"--{prefix}seed", type=int, default=0, metavar="N", help="for random samples (default: 0)")
    group.add_argument(
        f"--{prefix}range", type=number, nargs=2, metavar=("LOW", "HIGH"), help="of random values for float inputs without any scale (default: -1 1)"
    )


def add_run_options(group: Any, prefix: str = "") -> None:
    """How models are run: --resolver, --signature, --shape, --timeout, --memory, --threads."""
    group.add_argument("--resolver", choices=RESOLVERS, default="default", help="default: optimized kernels and XNNPACK; optimized: no XNNPACK")
    group.add_argument(f"--{prefix}signature", metavar="KEY", help="only this signature")
    group.add_argument(
        f"--{prefix}shape", metavar="NAME=1x224x224x3", action="append", default=[], help="the shape of a dynamic input (default: 1 for each -1)"
    )
    group.add_argument(f"--{prefix}timeout", type=number, default=60.0, metavar="S", help="seconds for loading, and for each run (default: 60)")
    group.add_argument(f"--{prefix}memory", type=int, default=4096, metavar="MIB", help="limit for each model's process; 0: none (default: 4096)")
    group.add_argument(f"--{prefix}threads", type=int, default=1, metavar="N", help="threads of the interpreter (default: 1)")


def add_check(parser: argparse.ArgumentParser, tolerance: str = TOLERANCE) -> None:
    """Give a rewriting command the option --check, and those that go with it. `tolerance` is the default of --tolerance."""
    accept_negative(parser)
    group = parser.add_argument_group("check in the runtime")
    group.add_argument("--check", action="store_true", help="run the model before and after; unless they agree, write nothing and exit 5")
    group.add_argument("--tolerance", metavar="T", default=tolerance, help=f"{TOLERANCE_HELP} (default: {tolerance.replace('%', '%%')})")
    add_data_options(group, "use N random samples (default: 4)", PREFIX)
    add_run_options(group, PREFIX)


def _without_prefix(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options of a check under the names that `compare` uses."""
    start = PREFIX.replace("-", "_")
    found = {name[len(start) :]: value for name, value in vars(arguments).items() if name.startswith(start)}
    return argparse.Namespace(**found, tolerance=arguments.tolerance, resolver=arguments.resolver)


def check(before: Any, after: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both models (paths, bytes or Models) with the options of `add_check`, and return the facts of the comparison (`compare_facts`).

    RuntimeCheckError, exit code 5, where an output is beyond the tolerance, a signature is missing, or the runtime refuses or crashes on a model.
    """
    from ..errors import EditError, RuntimeCheckError
    from ..reports.compare import worst
    from ..reports.facts_compare import compare_facts
    from ..runtime import compare
    from ..runtime.interface import Subject, subject

    first, second = subject(before), subject(after)
    options = comparison_options(_without_prefix(arguments), first, second)
    sides = [Subject(name, each.model, each.content) for name, each in ((BEFORE, first), (AFTER, second))]
    try:
        facts = compare_facts(compare(sides[0], sides[1], **options))
    except EditError as error:
        raise RuntimeCheckError(f"the check cannot be made: {error}", "refused") from None
    except RuntimeCheckError as error:
        if error.subject != sides[0].name:
            raise
        why = f"{error}. So there is nothing to compare with; {_fate(sides[1], options)}. Nothing was written"
        raise RuntimeCheckError(why, error.status) from None
    if not facts["within"]:
        accept = "Nothing was written. To accept it, give a larger --tolerance"
        raise RuntimeCheckError(f"the check failed, tolerance {facts['tolerance']}: {worst(facts)}. {accept}")
    return facts


def _fate(after: Subject, options: dict[str, Any]) -> str:
    """Whether the changed model runs, where the one before does not."""
    from ..errors import RuntimeCheckError
    from ..runtime import run

    try:
        run(after, **{name: value for name, value in options.items() if name != "tolerance"})
    except RuntimeCheckError as error:
        return str(error)
    return f"{after.name} does run: to have it, leave --check out"


def comparison_options(arguments: argparse.Namespace, *tested: Subject) -> dict[str, Any]:
    """The arguments of `runtime.compare` that the options of the command line stand for; EditError for those that make no sense."""
    from ..runtime import parse_tolerance

    return {
        "data": data_of(arguments, *tested),
        "resolver": arguments.resolver,
        "signature": arguments.signature,
        "shapes": shapes_of(arguments),
        "tolerance": None if arguments.tolerance is None else parse_tolerance(arguments.tolerance),
        "limits": limits_of(arguments),
    }


def data_of(arguments: argparse.Namespace, *tested: Subject) -> Data:
    """The source of inputs that the options describe, for these models; EditError for options that exclude each other."""
    from ..errors import EditError
    from ..runtime.data import FileData, RandomData

    if arguments.data is None:
        for name in ("mean", "std", "samples"):
            if getattr(arguments, name) is not None:
                raise EditError(f"--{name} goes with --data")
        return RandomData(4 if arguments.random is None else arguments.random, arguments.seed, tuple(arguments.range or (-1.0, 1.0)))
    for name in ("random", "range"):
        if getattr(arguments, name) is not None:
            raise EditError(f"--data and --{name} exclude each other")
    stated = next(filter(None, map(_stated, tested)), None) if arguments.mean is None else None
    return FileData(arguments.data, arguments.mean, arguments.std, arguments.samples, stated)


def _stated(tested: Subject) -> tuple[float, float] | None:
    """What the metadata of a model with one input says of its pixels: (mean, std), if it is the same for all channels."""
    from .._described import described, normalization_options
    from ..errors import TFLiteKitError
    from ..flat.metadata import read_metadata

    graph = tested.model.subgraphs[0] if tested.model.subgraphs else None
    image = graph.inputs[0] if graph is not None and len(graph.inputs) == 1 else None
    if graph is None or image is None:
        return None
    try:
        metadata = read_metadata(tested.model)
    except TFLiteKitError:  # damaged: as good as none
        return None
    options = normalization_options(described(tested.model, metadata, graph, "input", image))
    if options is None or len({*options.mean}) != 1 or len({*options.std}) != 1 or not options.std[0] > 0:
        return None
    return float(options.mean[0]), float(options.std[0])


def limits_of(arguments: argparse.Namespace) -> Limits:
    """The limits that the options set."""
    from ..runtime.process import Limits

    return Limits(arguments.timeout, arguments.memory or None, arguments.threads)


def shapes_of(arguments: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """The shapes of --shape; EditError for one that cannot be read."""
    from ..errors import EditError

    found = {}
    for text in arguments.shape:
        name, equals, shape = text.rpartition("=")
        try:
            dimensions = tuple(int(part) for part in shape.replace(",", "x").split("x")) if shape else ()
        except ValueError:
            dimensions = (-1,)
        if not equals or any(d < 0 for d in dimensions):
            raise EditError(f"--shape {text!r}: write NAME=1x224x224x3")
        found[name] = dimensions
    return found
