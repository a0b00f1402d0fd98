"""`requantize-weights`: weights in another type, granularity or form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import EditError
from . import limits
from .base import Notes, Pass, option
from .weights.choices import FORMS, GRANULARITIES, RANGES, ROUNDINGS, TARGETS, Choice, Choices, Rule, parse_choices, read_recipe, size

if TYPE_CHECKING:
    from ..graph import Model


@dataclass(frozen=True)
class RequantizeWeights(Pass):
    """Store weights in another type, granularity or form, with what it costs.

    Sources are FLOAT32, FLOAT16, INT8, UINT8, INT4 and INT2 constants that an operator reads as weights, also through DEQUANTIZE. What no kernel
    computes is refused, tensor by tensor; the rest is done. Biases of integer operators are encoded again where the weights' scales change; FLOAT16
    biases never become codes, and are stored as FLOAT32 where their operator becomes hybrid. Codes that need not change stay, so that nothing is lost
    (INT4 as INT8, one scale as many).
    """

    name: ClassVar[str] = "requantize-weights"
    touches: ClassVar[frozenset[str]] = frozenset({
        "subgraphs.tensors", "subgraphs.operators", "subgraphs.inputs", "subgraphs.outputs", "signature_defs", "buffers", "operator_codes",
        "metadata",
    })  # fmt: skip
    to: str = option("", "the type of the weights", choices=TARGETS)
    granularity: str = option("auto", "how finely scales are given; auto: per channel where the operator takes it", choices=GRANULARITIES)
    form: str = option("auto", "hybrid: operators take the codes; explicit: DEQUANTIZE in front; auto: hybrid where there are kernels", choices=FORMS)
    range: str = option("minmax", "the range that codes cover: all values, or what makes the mean square error least", choices=RANGES)
    rounding: str = option("half-away", "what becomes of halves: half-away as TensorFlow's tools, half-even as litert-quantizer", choices=ROUNDINGS)
    asymmetric: bool = option(False, "a zero point other than 0, where kernels compute with it")
    tensor: tuple[str, ...] = option(
        (), "only this tensor, by name (a pattern with * may match several) or SUBGRAPH:INDEX", metavar="NAME", repeated=True
    )
    operator: tuple[str, ...] = option((), "only weights of this operator type, such as FULLY_CONNECTED", metavar="TYPE", repeated=True)
    min_elements: int = option(0, "only weights of at least so many elements (1024, 64k, 2M)", metavar="N", parse=size)
    min_sqnr: float | None = limits.min_sqnr()
    max_error: float | None = limits.max_error()
    recipe: tuple[Rule, ...] | None = option(
        None, "what is different for single tensors: a TOML file of [[weights]] tables", metavar="FILE", parse=read_recipe
    )
    try_: tuple[Choice, ...] | None = option(
        None, "compare choices and write nothing: int8,int4,int4/blockwise-32/mse", metavar="CHOICES", parse=parse_choices
    )
    no_errors: bool = option(False, "do not measure errors: reads large weights once less")

    def __post_init__(self) -> None:
        if not self.to and not self.try_ and not any(rule.changes.get("to") for rule in self.recipe or ()):
            raise EditError("requantize-weights: --to is missing: float32, float16, int8, int4 or int2 (or --try, or a recipe that says it)")
        if self.to and self.try_:
            raise EditError("requantize-weights: --to and --try were both given. --try CHOICES only compares; --to TYPE rewrites")
        _ = self.choice
        if isinstance(self.try_, str):
            object.__setattr__(self, "try_", parse_choices(self.try_))
        if self.try_:
            object.__setattr__(self, "try_", Choices(replace(choice, **self._defaults(choice)) for choice in self.try_))

    def _defaults(self, choice: Choice) -> dict[str, Any]:
        """What the other options say for a choice that is tried."""
        plain = Choice()
        names = ("granularity", "form", "range", "rounding")
        return {name: getattr(self, name) for name in names if getattr(choice, name) == getattr(plain, name)}

    @property
    def choice(self) -> Choice:
        """What the options ask for."""
        return Choice(self.to, self.granularity, self.form, self.range, self.rounding, self.asymmetric, self.min_sqnr, self.max_error)

    @property
    def measured(self) -> bool:
        """Whether errors are measured."""
        return not self.no_errors

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return not self.try_

    def apply(self, model: Model, notes: Notes) -> None:
        """Encode the weights again."""
        from .weights.engine import requantize

        requantize(self, model, notes)
