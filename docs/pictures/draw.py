"""Draws the pictures of README and the pages from the example models.

    python docs/pictures/draw.py [FOLDER]

Without a folder, those beside this script are replaced. Run it in the folder of the repository, whose paths the pictures show.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

from tflitekit.cli.main import main

MODELS = "examples/models"
PICTURES = {
    "audit_dynamic_range": ["audit", f"{MODELS}/classifier_dynamic_range.tflite"],
    "audit_placeholder": ["audit", f"{MODELS}/classifier_uint8_placeholder.tflite"],
    "tensors": ["tensors", f"{MODELS}/classifier_uint8_placeholder.tflite", "--name", "*conv2d_1_1*"],
    "histogram": ["tensors", f"{MODELS}/classifier_uint8_placeholder.tflite", "--name", "conv2d_1_1/kernel", "--histogram"],
}


def draw(folder: Path) -> None:
    """Write every picture into the folder."""
    os.environ["COLUMNS"] = "92"
    for name, arguments in PICTURES.items():
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")):
            code = main([*arguments, "--svg", str(folder / f"{name}.svg")])
        if code:
            sys.exit(f"{name}: tflitekit {' '.join(arguments)} left with exit code {code}")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
