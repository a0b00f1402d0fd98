"""Facts of the operators of a model."""

from __future__ import annotations

from .. import types
from .._base import Dangling, OpaqueUnion, table_name
from ..errors import EditError
from ..graph import Model, Operator, Tensor
from .facts_summary import is_custom, version_of
from .facts_tensors import matches
from .subgraphs import tree_facts
from .values import Facts, Places, file_facts, set_fields

CUSTOM_OPTIONS_SHOWN = 4096  # bytes of custom options that facts hold in full; a compiled network is longer


def operators_facts(model: Model, name: str | None = None, subgraph: int | None = None) -> Facts:
    """What each operator computes, from which tensors to which, and with which options.

    file       path (null without a file), name, size in bytes
    total      number of operators in the model
    subgraphs  number of subgraphs in the model
    tree       index, name and called_by of every subgraph: see `callers_facts`
    operators  one object per listed operator: see `operator_facts`

    name: a shell pattern if it holds `*?[`, else a part of the operator's name, in any case. EditError for a subgraph that the model does not have.
    """
    if subgraph is not None and not 0 <= subgraph < len(model.subgraphs):
        raise EditError(f"no subgraph {subgraph}: the model has {len(model.subgraphs)}, counted from 0")
    places = Places(model)
    found = [
        operator_facts(operator, places, number, index)
        for number, graph in enumerate(model.subgraphs)
        if subgraph in (None, number)
        for index, operator in enumerate(graph.operators)
        if name is None or matches(operator.op_name.lower(), name.lower())
    ]
    total = sum(len(s.operators) for s in model.subgraphs)
    return {"file": file_facts(model), "total": total, "subgraphs": len(model.subgraphs), "tree": tree_facts(model), "operators": found}


def operator_facts(operator: Operator, places: Places, subgraph: int, index: int) -> Facts:
    """One operator.

    subgraph, index       where it is
    name, custom, version of its operator code (version is null without one)
    inputs, outputs, intermediates   objects with tensor (index), name, type; null for an optional tensor that is absent (-1 in the file).
                          An index outside the subgraph has null for name and type.
    options               table (its name) and the fields that differ from the schema's defaults; null without options
    custom_options        hexadecimal; null without, or above 4096 bytes
    custom_options_bytes  length, also of options kept behind the flatbuffer; null without
    """
    opcode = operator.opcode
    custom = operator.large_custom_options if operator.large_custom_options is not None else operator.custom_options
    return {
        "subgraph": subgraph,
        "index": index,
        "name": operator.op_name,
        "custom": is_custom(opcode),
        "version": version_of(opcode),
        "inputs": [_reference(t, places) for t in operator.inputs],
        "outputs": [_reference(t, places) for t in operator.outputs],
        "intermediates": [_reference(t, places) for t in operator.intermediates],
        "options": _options(operator, places),
        "custom_options": None if custom is None or len(custom) > CUSTOM_OPTIONS_SHOWN else bytes(custom).hex(),
        "custom_options_bytes": None if custom is None else len(custom),
    }


def _reference(tensor: Tensor | None, places: Places) -> Facts | None:
    if tensor is None:
        return None
    known = not isinstance(tensor, Dangling)
    return {
        "tensor": places.index(tensor),
        "name": types.text(tensor.name) if known else None,
        "type": tensor.type.name if known else None,
    }


def _options(operator: Operator, places: Places) -> Facts | None:
    options = operator.options
    if options is None:
        return None
    if isinstance(options, OpaqueUnion):
        return {"table": f"UNKNOWN_{options.type}"}
    return {"table": table_name(type(options)), **set_fields(options, places)}
