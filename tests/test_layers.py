"""Who imports whom: the layers of the package, third-party libraries included, and the size of its files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tflitekit

PACKAGE = Path(tflitekit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Layer -> the layers it may import, itself included. The first part of a module's path decides; `_base` is what `_schema` is made of.
LAYERS = {
    "errors": set(),
    "_base": {"errors"},
    "_schema": {"_base"},
    "types": {"_schema", "errors"},
    "graph": {"errors", "types", "_schema", "_base", "graph"},
    "flat": {"errors", "types", "_schema", "_base", "graph", "flat"},
    "build": {"errors", "types", "_schema", "_base", "graph", "build"},
    "quant": {"errors", "types", "_schema", "graph", "quant"},
    "audit": {"errors", "types", "_schema", "_base", "graph", "quant", "audit"},
    "passes": {"errors", "types", "_schema", "_base", "graph", "quant", "audit", "passes"},
    "runtime": {"errors", "types", "_schema", "graph", "flat", "runtime"},
    "reports": {"errors", "types", "_schema", "_base", "graph", "quant", "audit", "passes", "runtime", "reports"},
}
# Modules of the graph layer.
GRAPH = {"graph", "verify", "diff", "_copy", "_walk", "_deferred", "_crew", "_placeholders", "_described", "_facts", "_tables", "_tensor_invariants"}
# Modules of the schema layer.
SCHEMA = {"_schema", "_metadata_schema"}
# The top: may import anything, and is imported by nobody below.
TOP = {"cli", "_audit", "per_file", "__main__", "__init__"}
# Third-party library -> the only layers that may import it.
LIBRARIES = {
    "flatbuffers": {"flat"}, "tflite": {"flat"}, "ai_edge_litert": {"runtime"}, "PIL": {"runtime"}, "rich": {"reports", "cli"},
    "shtab": {"cli"},
}  # fmt: skip
# Lines. The schema modules are generated.
LONGEST, EXEMPT = 550, {"_schema.py", "_metadata_schema.py"}


def layer_of(module: str) -> str:
    first = module.split(".")[0]
    return "graph" if first in GRAPH else "_schema" if first in SCHEMA else first


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node: ast.AST, *, lazy: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """All imports below a node, with whether they are inside a function; those for type checkers only are left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, lazy
        elif not is_type_checking(child):
            yield from imports(child, lazy=lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)))


def imported(path: Path, node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports: absolute names, ours with the package's name in front."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not node.level:
        return [node.module or ""]
    parts = ["tflitekit", *module_of(path).split(".")]
    base = parts[: len(parts) - node.level]
    if node.module:
        return [".".join([*base, node.module])]
    return [".".join([*base, alias.name]) for alias in node.names]


def ours(name: str) -> str | None:
    return name.removeprefix("tflitekit.") if name.startswith("tflitekit.") else None


def violations(path: Path, source: str) -> list[str]:
    module = module_of(path)
    layer = layer_of(module)
    found = []
    for node, lazy in imports(ast.parse(source)):
        for name in imported(path, node):
            target = ours(name)
            where = f"{module}, line {node.lineno}: {name}"
            if target is not None and layer not in TOP:
                into = layer_of(target)
                if layer == "passes" and target == "flat.metadata":
                    continue  # a pass keeps the nested TFLite Metadata in step; it never sees a file
                if into not in LAYERS.get(layer, set()) and not (module == "_base" and lazy and into in ("_schema", "graph")):
                    found.append(where)
            library = name.split(".")[0]
            if library in LIBRARIES and layer not in LIBRARIES[library]:
                found.append(where)
            if library == "numpy" and layer in ("errors", "_schema", "_base") and not (lazy and layer == "_base"):
                found.append(where)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down_only(path: Path) -> None:
    layer = layer_of(module_of(path))
    assert layer in LAYERS or layer in TOP, "a new layer: say in this test what it may import"
    assert violations(path, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("graph", "from . import flat"), ("graph", "import flatbuffers"), ("verify", "from rich.text import Text"),
        ("diff", "from .flat.codec import read"), ("types", "from .graph import Model"), ("errors", "from . import types"),
        ("_schema", "def f():\n    import numpy"), ("_base", "import numpy"),
        ("_base", "from . import graph"), ("flat/reader", "from ..cli import main"), ("flat/reader", "from .. import reports"),
        ("passes/base", "from ..flat import codec"), ("audit/scheme", "def f():\n    from ..passes import base"),
        ("reports/tensors", "import tflite.Model"), ("cli/main", "from ai_edge_litert.interpreter import Interpreter"),
        ("graph", "import tflitekit.flat.codec"), ("quant/rules", "if 1:\n    import rich"),
        ("runtime/comparison", "from ..quant import affine"), ("flat/files", "from ..runtime import process"), ("reports/compare", "import PIL"),
    ],
)  # fmt: skip
def test_a_violation_is_seen(module: str, source: str) -> None:
    assert violations(PACKAGE / f"{module}.py", source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_base", "def f():\n    from . import graph\n    import numpy"), ("graph", "if TYPE_CHECKING:\n    from .flat import files"),
        ("flat/reader", "import flatbuffers, numpy\nfrom ..graph import Model\nfrom ..diff import diff\nfrom . import files"),
        ("cli/main", "import rich"), ("runtime/interface", "from ..flat.codec import read"),
        ("passes/base", "from ..verify import verify\nfrom ..quant import rules"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_no_violation(module: str, source: str) -> None:
    assert violations(PACKAGE / f"{module}.py", source) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in EXEMPT], ids=module_of)
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST, "split it"


def test_exports() -> None:
    assert len(set(tflitekit.__all__)) == len(tflitekit.__all__)
    for name in tflitekit.__all__:
        assert getattr(tflitekit, name) is not None
        assert name in dir(tflitekit)
    with pytest.raises(AttributeError):
        tflitekit.nothing  # noqa: B018


@pytest.mark.parametrize("name", ["read", "parse", "write", "serialize", "diff", "verify", "Change", "Problem", "Model", "TFLiteKitError"])
def test_the_documented_names_are_exported(name: str) -> None:
    assert name in tflitekit.__all__


def test_functions_keep_their_names_when_the_module_of_the_same_name_is_imported() -> None:
    import importlib

    for name in ("diff", "verify"):
        importlib.import_module(f"tflitekit.{name}")
        assert callable(getattr(tflitekit, name))


def test_the_package_imports_nothing_heavy_by_itself() -> None:
    import subprocess
    import sys

    script = "import sys, tflitekit; print(sorted({'numpy', 'rich', 'flatbuffers', 'tflite', 'ml_dtypes', 'ai_edge_litert'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout.strip() == "[]"
