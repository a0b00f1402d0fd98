"""The passes: rewritings of a model, each a frozen dataclass whose fields are its options.

    result = tk.run(model, tk.passes.SetIoDtype(inputs="int8"))

The classes are imported on first use, so that naming them costs nothing; `registry` has what `--help` needs.
"""

from __future__ import annotations

from typing import Any

from .registry import ENTRIES, load

__all__ = [*(entry.cls for entry in ENTRIES)]


def __getattr__(name: str) -> Any:
    entry = next((entry for entry in ENTRIES if entry.cls == name), None)
    if entry is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = load(entry.name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
