"""Say which tensors of a model are quantized, and how.

python examples/inspect_quantization.py [MODEL]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import tflitekit as tk
from tflitekit.graph import Tensor

DEFAULT = Path(__file__).with_name("models") / "classifier_dynamic_range.tflite"


def describe(tensor: Tensor) -> str:
    """The quantization of one tensor in words, scales and zero points as the file has them."""
    parameters = tensor.quantization
    if parameters is None or not parameters.is_quantized:
        return "not quantized"
    if parameters.kind == "per-tensor":
        return f"scale {float(parameters.scale[0])!r}, zero point {parameters.zero_point[0]}"
    if parameters.kind == "per-channel":
        low, high = float(parameters.scale.min()), float(parameters.scale.max())
        return f"{len(parameters.scale)} scales {low:.4g} to {high:.4g} along axis {parameters.quantized_dimension}"
    return str(parameters.kind)


def main(path: Path = DEFAULT) -> None:
    """Print one line for each tensor, and how often each combination of type and quantization occurs."""
    model = tk.read(path)
    counts: Counter[str] = Counter()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            role = "constant" if tensor.is_constant else "computed"
            print(f"{tensor.name_str!r:53} {tensor.type.name:8} {role}  {describe(tensor)}")
            kind = tensor.quantization.kind if tensor.quantization is not None else "none"
            counts[f"{role} {tensor.type.name}, quantization {kind}"] += 1
    for what, count in counts.most_common():
        print(f"{count:4} {what}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
