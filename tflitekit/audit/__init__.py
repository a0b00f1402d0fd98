"""The audit: what kind of quantized model this is, what is wrong with it, and what each runtime will make of it. It never changes the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .._metadata_schema import ModelMetadata
from .._walk import collector_paused
from ..graph import Model
from ..quant.rules import Runtime
from .codes import CODES, Code
from .findings import ERROR, INFO, SEVERITIES, WARNING, Finding, Scene, foretold
from .scheme import SCHEMES, Island, Scheme, Share, classify
from .weight_scan import WeightScan

__all__ = [
    "CODES", "ERROR", "INFO", "SCHEMES", "SEVERITIES", "WARNING", "Audit", "Code", "Finding", "Island", "Scheme", "Share",
    "WeightScan", "audit", "classify", "foretold",
]  # fmt: skip


class Audit(NamedTuple):
    """The result: `scheme` is the name (such as "dynamic-range"), `verdict` all that is known of it, `findings` the worst first.

    `weights` is what they hold, if that was asked for.
    """

    verdict: Scheme
    findings: tuple[Finding, ...]
    weights: tuple[WeightScan, ...] = ()

    @property
    def scheme(self) -> str:
        """The scheme's name, one of SCHEMES."""
        return self.verdict.name

    @property
    def coverage(self) -> tuple[Share, ...]:
        """Operators, weight bytes and multiply-accumulates by execution mode."""
        return self.verdict.coverage

    @property
    def islands(self) -> tuple[Island, ...]:
        """Float islands in a model that computes on integers."""
        return self.verdict.islands


def audit(
    model: Model,
    codes: Sequence[str] = (),
    metadata: ModelMetadata | None = None,
    problem: str | None = None,
    *,
    runtime: Runtime | None = None,
    weights: bool = False,
) -> Audit:
    """Audit a model. `codes` restricts the findings to these codes. `weights` reads all weights, and finds what is odd about their values; without
    it none are read, except for what a check needs of single small tensors.

    `metadata` and `problem` are what `flat.metadata.metadata_or_problem` gives, for findings about what the metadata states; `tflitekit.audit` gets
    them by itself. `runtime` adds the findings that are only made for a runtime that is asked for, and leaves out those that are about another one
    alone.
    """
    from .checks import ABOUT, CHECKS, OF_WEIGHTS, ON_REQUEST

    with collector_paused():
        verdict = classify(model)
        scene = Scene(model, verdict, metadata, problem)
        common = (check for check in CHECKS if runtime is None or ABOUT.get(check, runtime) == runtime)
        checks = (*common, *ON_REQUEST.get(runtime, ()), *(OF_WEIGHTS if weights else ()))
        found = [finding for check in checks for finding in check(scene) if not codes or finding.code in codes]
        scene.release()
    found.sort(key=lambda f: SEVERITIES.index(f.severity))
    return Audit(verdict, tuple(found), scene.weights if weights else ())
