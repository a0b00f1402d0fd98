"""The oracle of the prediction test tells broken rules from consistent files of another function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.legality import broken, label
from tests.audit.test_findings import convolution, requantize, tensor
from tflitekit._schema import ActivationFunctionType, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize


def moved(scale: float = 0.1) -> tk.Model:
    """ADD, which rescales, then RESHAPE, which copies codes."""
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [2, 2], "UINT8", quantize(0.1, 3))
    total = main.apply("ADD", [x, x], TensorSpec("s", [2, 2], "UINT8", quantize(scale, 3)))
    main.output(main.apply("RESHAPE", [total], TensorSpec("y", [4], "UINT8", quantize(scale, 3)), new_shape=[4]))
    return builder.build()


def narrowed(model: tk.Model) -> None:
    tensor(model, "w").type = TensorType.INT4


def fuse(model: tk.Model, name: str) -> None:
    options: Any = model.subgraphs[0].operators[0].options
    options.fused_activation_function = ActivationFunctionType[name]


CASES: dict[str, tuple[str, Callable[[], tk.Model], Callable[[tk.Model], None]]] = {
    "another scale where the operator rescales": ("legal", moved, lambda m: requantize(m, "x", scale=[0.2])),
    "another scale on one side of a copy": ("breaks-rule", moved, lambda m: requantize(m, "y", scale=[0.2])),
    "another output scale of a convolution": ("legal", convolution, lambda m: requantize(m, "c", scale=[0.5])),
    "another input scale of a convolution, against its bias": ("breaks-rule", convolution, lambda m: requantize(m, "x", scale=[0.6])),
    "asymmetric weights": ("breaks-rule", convolution, lambda m: requantize(m, "w", zero_point=[0, 1, 0])),
    "another scale of SOFTMAX": ("breaks-rule", convolution, lambda m: requantize(m, "y", scale=[0.5])),
    "longer data than the type needs": ("breaks-rule", convolution, narrowed),
    "other weights": ("legal", convolution, lambda m: m.set_data(tensor(m, "w"), np.zeros((3, 2, 2, 2), np.int8))),
    "an activation that clamps": ("legal", convolution, lambda m: fuse(m, "RELU6")),
    "an activation that no convolution has": ("breaks-rule", convolution, lambda m: fuse(m, "TANH")),
    "no parameters": ("breaks-rule", moved, lambda m: setattr(tensor(m, "s"), "quantization", None)),
}


@pytest.mark.parametrize("name", CASES)
def test_label(name: str) -> None:
    wanted, build, change = CASES[name]
    original, mutant = build(), build()
    assert broken(original) == set()
    change(mutant)
    assert label(original, mutant) == wanted
