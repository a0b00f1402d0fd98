"""Rename a tensor and show an inner one as a second output; write the result and say what changed.

python examples/edit_graph.py OUTPUT [MODEL]
"""

from __future__ import annotations

import sys
from pathlib import Path

import tflitekit as tk
from tflitekit.graph import Model, TensorMap

DEFAULT = Path(__file__).with_name("models") / "classifier_uint8_placeholder.tflite"


def edit(model: Model) -> None:
    """Call the input `image`, and add what MEAN reads as an output named `features`."""
    main = model.subgraphs[0]
    main.tensor("input_1_1").name = b"image"  # names are bytes
    mean = next(operator for operator in main.operators if operator.op_name == "MEAN")
    features = mean.inputs[0]
    assert features is not None
    features.name = b"features"
    main.outputs.append(features)  # the graph holds objects: there are no indices to keep in step
    for signature in model.signature_defs:
        signature.outputs.append(TensorMap(name="features", tensor=features))


def main(output: Path, path: Path = DEFAULT) -> None:
    """Read, edit, check, write."""
    original, model = tk.read(path), tk.read(path)
    edit(model)
    for problem in tk.verify(model):
        print(f"{problem.severity}: {problem}")
    for change in tk.diff(original, model):
        print(change)
    tk.write(model, output)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:3]))
