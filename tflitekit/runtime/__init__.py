"""Runs models in LiteRT: `compare` two of them, `observe` the ranges of one, or `run` it. Needs the extra `runtime` (ai-edge-litert).

Models run in child processes with a time and a memory limit: a model that crashes or hangs the interpreter becomes a RuntimeCheckError.

    import tflitekit as tk

    result = tk.runtime.compare("before.tflite", "after.tflite", tolerance="1lsb")
    print(result.within, [(output.name, output.max_lsb) for output in result.outputs])
"""

from .comparison import Comparison, InputReport, InterfaceReport, OutputReport, compare
from .data import ArrayData, FileData, RandomData
from .execution import run
from .layers import Layer, Layers
from .metrics import Errors, Tolerance, parse_tolerance
from .observation import Observation, Observed, Seen, observe
from .process import Limits, available

__all__ = [
    "ArrayData", "Comparison", "Errors", "FileData", "InputReport", "InterfaceReport", "Layer", "Layers", "Limits", "Observation", "Observed",
    "OutputReport", "RandomData", "Seen", "Tolerance", "available", "compare", "observe", "parse_tolerance", "run",
]  # fmt: skip
