"""`tflitekit observe MODEL --data FILE...`."""

from __future__ import annotations

import argparse

from .check import add_data_options, add_run_options, data_of, limits_of, shapes_of
from .common import add_json, add_model, put
from .numbers import accept_negative

NO_DATA = (
    "observe needs samples of what the model meets in use: --data FILE. Ranges on random inputs are not those of real ones; "
    "to see them all the same, ask for --random N"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    accept_negative(parser)
    add_model(parser)
    parser.add_argument("--dtype", choices=("uint8", "int8", "int16"), help="type of the implied quantization (default: the tensor's own, or int8)")
    parser.add_argument("--name", metavar="PATTERN", help="only tensors whose name contains PATTERN, or matches it as a shell pattern")
    add_data_options(parser, "N random samples, where no real ones are at hand")
    add_run_options(parser)
    add_json(
        parser,
        "file, resolver, data, signatures (each: signature, subgraph, samples, unreadable, tensors); of a tensor: index, name, type, shape, role, "
        "position, operator, how, seen, claimed, implied, verdict",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the real range of every tensor on the samples, what it implies, and what the file claims."""
    from ..errors import EditError
    from ..reports.facts_observe import observe_facts
    from ..reports.observe import observe_report
    from ..runtime import observe
    from ..runtime.interface import subject

    if arguments.data is None and arguments.random is None:
        raise EditError(NO_DATA)
    tested = subject(arguments.model)
    result = observe(
        tested, data_of(arguments, tested), resolver=arguments.resolver, signature=arguments.signature, shapes=shapes_of(arguments),
        limits=limits_of(arguments),
    )  # fmt: skip
    facts = observe_facts(result, arguments.dtype, arguments.name)
    put(facts, arguments, lambda: observe_report(facts))
    return 0
