"""`tflitekit.audit`: the audit, with what the model's TFLite Metadata states, which the package `audit` is handed since it reads no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .audit import Audit
from .audit import audit as _audit

if TYPE_CHECKING:
    from .graph import Model
    from .quant.rules import Runtime


def audit(model: Model, codes: Sequence[str] = (), runtime: Runtime | None = None, weights: bool = False) -> Audit:
    """Audit a model. `codes` restricts the findings to these codes. `weights` reads all weights, and finds what is odd about their values;
    without it none are read, except for what a check needs of single small tensors.

    `runtime` adds what is only found for one that is asked for, such as the Edge TPU; `Finding.severity_for` gives severities for one runtime.
    """
    from .flat.metadata import metadata_or_problem

    return _audit(model, codes, *metadata_or_problem(model), runtime=runtime, weights=weights)
