"""`tflitekit observe MODEL --data FILE...`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .check import add_data_options, add_run_options, data_of, limits_of, shapes_of
from .common import add_json, add_model, check_export, export_table, progress, put
from .numbers import accept_negative

if TYPE_CHECKING:
    from ..runtime import Observation

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
    parser.add_argument(
        "--export", metavar="FILE",
        help="write the implied parameters of quantized tensors to a new .json or .npz file, for set-quantization --from FILE",
    )  # fmt: skip
    add_data_options(parser, "N random samples, where no real ones are at hand")
    add_run_options(parser)
    add_json(
        parser,
        "file, resolver, data, export (null, or path, tensors, kept), signatures (each: signature, subgraph, samples, unreadable, tensors); of a "
        "tensor: index, name, type, shape, role, position, operator, how, seen, claimed, implied, verdict",
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
    if arguments.export and arguments.dtype:
        raise EditError("--export takes tensors in the types that they have; leave --dtype out")
    if arguments.export:
        check_export(arguments.export)
    tested = subject(arguments.model)
    with progress("observe") as working:
        result = observe(
            tested, data_of(arguments, tested), resolver=arguments.resolver, signature=arguments.signature, shapes=shapes_of(arguments),
            limits=limits_of(arguments), progress=working,
        )  # fmt: skip
    facts = observe_facts(result, arguments.dtype, arguments.name)
    facts["export"] = _export(result, arguments) if arguments.export else None
    put(facts, arguments, lambda: observe_report(facts))
    return 0


def _export(result: Observation, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the table of --export; EditError where there is nothing to write. Returns what the report says of it."""
    from ..errors import EditError
    from ..reports.observed_table import implied_table

    rows, kept = implied_table(result, arguments.name)
    if not rows:
        why = f"the parameters of all {kept} are fixed or shared with constants" if kept else "no observed tensor has one scale in 8 or 16 bits"
        raise EditError(f"--export: {why}; nothing was written")
    export_table(rows, arguments.export)
    return {"path": arguments.export, "tensors": len(rows), "kept": kept}
