"""Which operators run which subgraphs, and that as a tree."""

from __future__ import annotations

from .. import types
from .._base import Table as SchemaTable
from .._base import fields_of
from ..graph import Model, SubGraph
from .report import Cell, Column, Table, Value
from .values import Facts

DEPTH = 24  # levels that are indented further; a name stays readable below that


def callers_facts(model: Model) -> list[list[Facts]]:
    """For each subgraph the operators that run it: subgraph, index, name, and role, the field of the options that names it without `_subgraph`."""
    numbers = {subgraph: number for number, subgraph in enumerate(model.subgraphs)}
    found: list[list[Facts]] = [[] for _ in model.subgraphs]
    for number, subgraph in enumerate(model.subgraphs):
        for index, operator in enumerate(subgraph.operators):
            options = operator.options
            if not isinstance(options, SchemaTable):
                continue
            for field in fields_of(type(options)):
                value = getattr(options, field.attribute)
                if isinstance(value, SubGraph) and value in numbers:
                    role = field.attribute.removesuffix("subgraph").rstrip("_")
                    found[numbers[value]].append({"subgraph": number, "index": index, "name": operator.op_name, "role": role})
    return found


def tree_facts(model: Model) -> list[Facts]:
    """For each subgraph: index, name, called_by (see `callers_facts`)."""
    callers = callers_facts(model)
    return [{"index": i, "name": types.text(subgraph.name), "called_by": callers[i]} for i, subgraph in enumerate(model.subgraphs)]


def tree_table(subgraphs: list[Facts], columns: list[Column], cells: list[list[Value]]) -> Table:
    """The subgraphs as a tree: each below the operator that runs it first, with further `columns` and their `cells` by subgraph."""
    head = [Column("#", "right"), Column("name", priority=9, style="name"), Column("run by", optional=True, priority=5)]
    table = Table("subgraphs", [*head, *columns])
    for index, level, last in _order(subgraphs):
        branch = "".join("   " if end else "│  " for end in last[1:-1]) + ("" if level == 0 else "└─ " if last[-1] else "├─ ")
        name = Cell(branch + (subgraphs[index]["name"] or "(no name)"), "name")
        table.rows.append([str(index), name, _runs(subgraphs[index]["called_by"]), *cells[index]])
    return table


def _runs(callers: list[Facts]) -> str:
    """`WHILE 0:3 cond`, and how many more."""
    if not callers:
        return ""
    first = callers[0]
    text = f"{first['name']} {first['subgraph']}:{first['index']} {first['role']}".rstrip()
    return text if len(callers) == 1 else f"{text} and {len(callers) - 1} more"


def _order(subgraphs: list[Facts]) -> list[tuple[int, int, list[bool]]]:
    """Subgraphs in the order of a walk, with their level, and for each level whether it is the last of its siblings; each once, also in circles."""
    children: list[list[int]] = [[] for _ in subgraphs]
    for facts in subgraphs:
        if facts["called_by"] and facts["called_by"][0]["subgraph"] != facts["index"]:
            children[facts["called_by"][0]["subgraph"]].append(facts["index"])
    found: list[tuple[int, int, list[bool]]] = []
    seen: set[int] = set()
    below = {child for some in children for child in some}
    starts = [i for i in range(len(subgraphs)) if i not in below]
    for start in [*starts, *range(len(subgraphs))]:
        stack = [(start, 0, [True])]
        while stack:
            index, level, last = stack.pop()
            if index in seen:
                continue
            seen.add(index)
            found.append((index, level, last))
            deeper = children[index]
            for child in reversed(deeper):
                stack.append((child, min(level + 1, DEPTH), [*last[:DEPTH], child == deeper[-1]]))
    return found
