"""What the tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

import tflitekit as tk

from ..reports.models import small


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A file of the small model of the reports."""
    path = tmp_path / "small.tflite"
    tk.write(small(), path)
    return path
