"""The `operators` report."""

from __future__ import annotations

from .report import Column, Note, Report, Section, Table
from .subgraphs import tree_table
from .tensors import SUBGRAPH_INDEX
from .values import Facts, plural, text_of


def operators_report(facts: Facts, names: bool = False) -> Report:
    """A table of operators from `operators_facts`. names: tensors by name, not only by index."""
    several = facts["subgraphs"] > 1
    table = Table("", [
        Column("#", "right"),
        Column("operator", priority=2, style="name"),
        Column("inputs", priority=6, own_line=names),
        Column("outputs", priority=5, own_line=names),
        Column("types", priority=8, own_line=True),
        Column("options", priority=9, own_line=True, optional=True),
    ])  # fmt: skip
    for operator in facts["operators"]:
        table.rows.append([
            f"{operator['subgraph']}:{operator['index']}" if several else str(operator["index"]),
            _title(operator),
            _references(operator["inputs"], names),
            _references(operator["outputs"], names),
            f"{_types(operator['inputs'])} -> {_types(operator['outputs'])}",
            _options(operator),
        ])  # fmt: skip
    shown, total = len(facts["operators"]), facts["total"]
    count = plural(total, "operator") if shown == total else f"{shown} of {plural(total, 'operator')}"
    around: list[Section] = [tree_table(facts["tree"], [], [[] for _ in facts["tree"]])] if several else []
    table.title = "operators" if several else ""
    return Report(f"{facts['file']['name']}: {count}", [*around, table, *([Note(SUBGRAPH_INDEX, "note")] if several else [])])


def _title(operator: Facts) -> str:
    version = "" if operator["version"] is None else f" v{operator['version']}"
    return f"{operator['name']}{version}" + (" (custom)" if operator["custom"] else "")


def _references(tensors: list[Facts | None], names: bool) -> str:
    """Tensor indices, `-` where an optional tensor is absent, `!` where there is no such tensor."""
    return " ".join(_reference(t, names) for t in tensors) or "none"


def _reference(tensor: Facts | None, names: bool) -> str:
    if tensor is None:
        return "-"
    if tensor["type"] is None:
        return f"{tensor['tensor']}!"
    index = "?" if tensor["tensor"] is None else str(tensor["tensor"])
    return f"{index}:{tensor['name']}" if names else index


def _types(tensors: list[Facts | None]) -> str:
    """Element types in order, equal neighbours counted."""
    texts: list[str] = []
    counts: list[int] = []
    for tensor in tensors:
        text = "-" if tensor is None else tensor["type"] or "!"
        if texts and texts[-1] == text:
            counts[-1] += 1
        else:
            texts.append(text)
            counts.append(1)
    return " ".join(t if n == 1 else f"{n}x{t}" for t, n in zip(texts, counts, strict=True)) or "none"


def _options(operator: Facts) -> str:
    options = operator["options"]
    texts: list[str] = []
    if options is not None:
        fields = [f"{name}={text_of(value)}" for name, value in options.items() if name != "table"]
        texts = fields if not options["table"].startswith("UNKNOWN") else [options["table"]]
    if operator["custom_options_bytes"] is not None:
        texts.append(f"custom_options={operator['custom_options_bytes']} bytes")
    if operator["intermediates"]:
        texts.append(f"intermediates={_references(operator['intermediates'], False)}")
    return " ".join(texts)
