"""Inspect and rewrite TFLite model files, without TensorFlow.

    import tflitekit as tk

    model = tk.read("model.tflite")
    for tensor in model.subgraphs[0].tensors:
        print(tensor.name_str, tensor.type.name, tensor.quantization)
"""

import sys as _sys
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from . import build as build
    from . import passes as passes
    from . import runtime as runtime
    from ._audit import audit
    from .audit import Audit, Finding
    from .diff import Change, diff
    from .errors import (
        CorruptError,
        EditError,
        InputError,
        LimitError,
        LossyWriteError,
        OutputError,
        PassError,
        RecoveryWarning,
        RefusedError,
        RuntimeCheckError,
        SerializeError,
        TFLiteKitError,
    )
    from .flat.codec import parse, read, serialize, write
    from .flat.inplace import recover
    from .flat.metadata import read_metadata, write_metadata
    from .graph import (
        Buffer,
        ExternalBuffer,
        ExternalBufferGroup,
        Metadata,
        Model,
        Operator,
        OperatorCode,
        QuantizationParameters,
        SignatureDef,
        SubGraph,
        Tensor,
        TensorMap,
    )
    from .passes.base import Note, Pass, PassResult, run
    from .verify import Problem, verify

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 (grouped by use)
    # reading and writing
    "read", "parse", "write", "serialize", "recover", "read_metadata", "write_metadata",
    # looking at models
    "audit", "diff", "verify", "Audit", "Change", "Finding", "Problem",
    # rewriting models
    "passes", "run", "Note", "Pass", "PassResult",
    # making and running models
    "build", "runtime",
    # the object graph
    "Buffer", "ExternalBuffer", "ExternalBufferGroup", "Metadata", "Model", "Operator", "OperatorCode", "QuantizationParameters", "SignatureDef",
    "SubGraph", "Tensor", "TensorMap",
    # errors
    "TFLiteKitError", "CorruptError", "EditError", "InputError", "LimitError", "LossyWriteError", "OutputError", "PassError", "RefusedError",
    "RuntimeCheckError", "SerializeError", "RecoveryWarning",
]  # fmt: skip

# Where the public names come from. They are imported on first use, so that the command line starts without numpy.
_HOMES = {
    **dict.fromkeys(("read", "parse", "write", "serialize"), "flat.codec"),
    "recover": "flat.inplace",
    **dict.fromkeys(("read_metadata", "write_metadata"), "flat.metadata"),
    "audit": "_audit",
    **dict.fromkeys(("Audit", "Finding"), "audit"),
    **dict.fromkeys(("diff", "Change"), "diff"),
    **dict.fromkeys(("verify", "Problem"), "verify"),
    **dict.fromkeys(("run", "Note", "Pass", "PassResult"), "passes.base"),
}



class _Package(_ModuleType):
    """The package with lazy names. `audit`, `diff` and `verify` are functions here and also modules: importing one must not hide the function."""

    def __setattr__(self, name: str, value: _Any) -> None:
        if not (isinstance(value, _ModuleType) and name in _HOMES):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> _Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in ("build", "passes", "runtime"):
            return import_module(f".{name}", __name__)
        home = _HOMES.get(name, "errors" if name.endswith(("Error", "Warning")) else "graph")
        value = getattr(import_module(f".{home}", __name__), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted(__all__)


_sys.modules[__name__].__class__ = _Package
