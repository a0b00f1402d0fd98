"""Facts as JSON text."""

from __future__ import annotations

import json
from typing import Any


def to_json(facts: Any) -> str:
    """The facts as indented JSON, ASCII only, so that names cannot steer a terminal.

    Floats are written with the digits that restore the same float64; non-finite ones must be strings already (`values.number`).
    """
    return json.dumps(facts, indent=2, ensure_ascii=True, allow_nan=False)
