"""`tflitekit tensors MODEL`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .common import add_json, add_subgraph, blocks, export_table, put
from .many import add_jobs, add_models, run_many, single, table_of

if TYPE_CHECKING:
    from ..graph import Model
    from ..reports.facts_tensors import TensorFilter


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_models(parser)
    add_jobs(parser)
    parser.add_argument("--name", metavar="PATTERN", help="only names that contain PATTERN, or match it as a shell pattern")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quantized", action="store_true", help="only quantized tensors")
    kind.add_argument("--float", action="store_true", help="only tensors of a floating point type")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--constant", action="store_true", help="only tensors with data in the file")
    source.add_argument("--activation", action="store_true", help="only tensors without data in the file")
    add_subgraph(parser)
    parser.add_argument("--sort", choices=("index", "name", "size", "type"), default="index", help="order of the rows")
    parser.add_argument("--channels", action="store_true", help="one line for every scale of a tensor with several")
    parser.add_argument("--exact", action="store_true", help="all digits of scales and ranges")
    parser.add_argument("--histogram", action="store_true", help="read constants, and draw what codes, numbers and scales they hold")
    parser.add_argument(
        "--export", metavar="FILE", help="write the parameters of the listed tensors to a new .json or .npz file, for set-quantization --from FILE"
    )
    add_json(
        parser,
        "file, total, subgraphs, tensors; of a tensor: subgraph, index, name, type, shape, "
        "shape_signature, bytes, stored_bytes, constant, variable, sparse, external, buffer, quantized, quantization; of that: "
        "kind, scale, zero_point, quantized_dimension, min, max, details; with --histogram also holds: problem, values, scales; of "
        "several files: models (each of these), unreadable (each: path, message)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print a table of tensors, or a row for each of several files; 3 if one cannot be read."""
    only = {
        "name": arguments.name,
        "quantized": True if arguments.quantized else None,
        "float_type": True if arguments.float else None,
        "constant": True if arguments.constant else False if arguments.activation else None,
        "subgraph": arguments.subgraph,
    }
    path = single(arguments)
    if path is None:
        return _many(arguments, only)
    from ..flat.codec import read
    from ..reports.facts_tensors import TensorFilter, tensors_facts
    from ..reports.tensors import tensors_report

    model = read(path)
    facts = tensors_facts(model, TensorFilter(**only), arguments.sort, arguments.histogram)
    if arguments.export:
        _export(model, TensorFilter(**only), arguments.export)
    put(facts, arguments, lambda: tensors_report(facts, arguments.channels, arguments.exact, blocks()))
    return 0


def _many(arguments: argparse.Namespace, only: dict[str, Any]) -> int:
    from ..errors import EditError
    from ..per_file import tensors_file
    from ..reports.many import tensors_many_report

    if arguments.export:
        raise EditError("--export takes a single model")
    options = {"only": only, "sort": arguments.sort, "histogram": arguments.histogram}
    return 3 if run_many(arguments, tensors_file, table_of(arguments, tensors_many_report), **options)[1] else 0


def _export(model: Model, only: TensorFilter, name: str) -> None:
    """Write the parameters of the tensors that pass the filter to a file that is not there yet."""
    from ..passes.parameters import table

    tensors = [t for n, g in enumerate(model.subgraphs) for t in g.tensors if only.subgraph in (None, n) and only(t)]
    export_table(table(model, tensors), name)
