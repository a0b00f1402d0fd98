"""What the commands share: options and output."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..reports.report import Report


def add_model(parser: argparse.ArgumentParser, name: str = "model") -> None:
    """The argument for a model file."""
    parser.add_argument(name, metavar=name.upper(), help="a .tflite file")


def add_json(parser: argparse.ArgumentParser, keys: str) -> None:
    """The option --json, with its top-level keys in the help's last lines."""
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.epilog = f"keys of --json: {keys}"


def add_subgraph(parser: argparse.ArgumentParser) -> None:
    """The option --subgraph."""
    parser.add_argument("--subgraph", type=int, metavar="N", help="only those of subgraph N")


def put(facts: dict[str, Any], as_json: bool, report: Callable[[], Report]) -> None:
    """Print facts as JSON, or the report made of them."""
    if as_json:
        from ..reports.to_json import to_json

        sys.stdout.write(to_json(facts) + "\n")
        return
    from ..reports.render import show

    show(report())
