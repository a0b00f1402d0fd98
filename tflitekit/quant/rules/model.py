"""What a rule of the operator table consists of: roles of operands, forms of weights, parameters, versions, and facts about runtimes.

Everything here is plain frozen data, compared by identity (operands by value). No numpy: the table is read by every audit, so its import is short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from ..._schema import BuiltinOperator, TensorType


class Runtime(Enum):
    """Who executes an operator.

    XNNPACK is the default interpreter: the delegate takes the operators it knows, and the optimized builtin kernels do the rest. OPTIMIZED is
    the same without the delegate, REFERENCE the resolver of the reference kernels, TFLM is TensorFlow Lite for Microcontrollers. EDGETPU is the
    Edge TPU compiler with what it makes of a model, by its published rules (`edge_tpu`).
    """

    REFERENCE = "builtin reference"
    OPTIMIZED = "builtin optimized"
    XNNPACK = "XNNPACK"
    TFLM = "TFLM"
    EDGETPU = "Edge TPU"


LITERT = (Runtime.REFERENCE, Runtime.OPTIMIZED, Runtime.XNNPACK)  # the three that ai-edge-litert can run


class Behaviour(Enum):
    """What a runtime does with a model that deviates from the rule."""

    FINE = "computes the right values"
    IGNORES = "does not look at it; the values are right if the data is"
    LEAVES = "leaves it to the CPU, which is slower"
    WRONG = "runs and returns wrong values without a word"
    UNDEFINED = "runs and reads memory that is not there; anything may come out"
    REFUSES = "stops with an error"
    CRASHES = "kills the process"


class Reaction(NamedTuple):
    """A behaviour, with a part of the error message that does not vary (REFUSES) or the name of the signal (CRASHES)."""

    behaviour: Behaviour
    text: str = ""

    @property
    def outcome(self) -> str:
        """What can be seen from outside: "refuses", "crashes" or "runs"."""
        return {Behaviour.REFUSES: "refuses", Behaviour.CRASHES: "crashes"}.get(self.behaviour, "runs")


class Topic(Enum):
    """What a fact is about: the deviation, or the property, whose treatment by the runtimes it states."""

    LOAD = "structure of the quantization table"
    ACTIVATION_TYPE = "element type of the activations"
    ZERO_SCALE = "scale 0"
    NEGATIVE_SCALE = "negative scale"
    SUBNORMAL_SCALE = "scale below the smallest normal float32"
    NAN_SCALE = "scale that is not a number"
    SCALE_RATIO = "ratio of the scales of inputs and outputs"
    ZERO_POINT_RANGE = "zero point outside the range of its type"
    INT16_ZERO_POINT = "zero point of an INT16 activation other than 0"
    QUANTIZATION_ABSENT = "quantized type without quantization parameters"
    PER_CHANNEL_ACTIVATION = "activation with several scales"
    SAME_PARAMETERS = "operands that should have equal parameters"
    FIXED_SCALE = "scale other than the fixed one"
    FIXED_ZERO_POINT = "zero point other than the fixed one"
    WEIGHTS_TYPE = "element type of the weights"
    WEIGHTS_GRANULARITY = "number and direction of the weights' scales"
    WEIGHTS_ZERO_POINT = "zero point of the weights other than 0"
    WEIGHTS_VALUES = "codes of the weights"
    WEIGHTS_BLOCKS = "blockwise quantized weights"
    BIAS_ABSENT = "no bias operand"
    BIAS_TYPE = "element type of the bias"
    BIAS_SCALE = "scale of the bias other than input times weights"
    BIAS_ZERO_POINT = "zero point of the bias other than 0"
    BIAS_QUANTIZATION_ABSENT = "bias without quantization parameters"
    BIAS_DEQUANTIZED = "bias that DEQUANTIZE makes of FLOAT16"
    CONSTANT_OUTPUT = "output of the graph that DEQUANTIZE makes of a constant"
    VERSION = "version of the operator"
    VALUES = "values of an activation or operand"
    PACKING = "storage of types narrower than a byte"
    ROUNDING = "rounding"


class Granularity(Enum):
    """How finely scales are given."""

    PER_TENSOR = "per-tensor"
    PER_CHANNEL = "per-channel"
    BLOCKWISE = "blockwise"


class Fact(NamedTuple):
    """How runtimes treat one deviation.

    `name` is unique. `operators` are the names of those it holds for (empty: all, or any tensor). `activation` and `weights` restrict it to element
    types, `granularity` to weights scaled so (empty: any). `operand` names the operands that deviate: "first" and "second" are the activations among
    the inputs, "output" the first output, "all" every activation; or a role. A runtime that is missing from `reactions` is not known.
    `least` are the rows and columns of a matrix of weights from which it holds, with `even_columns` only if their number is even.

    `source` says where it was read (file:line of LiteRT at f674577, or of TFLM) and whether it was measured: "measured" is on ai-edge-litert 2.3.0
    for x86-64, by the tests of this table (of TFLM by those with the `tflm` extra); a case such as E01 belongs to an earlier series of experiments.
    """

    name: str
    topic: Topic
    what: str
    reactions: Mapping[Runtime, Reaction]
    source: str
    operators: frozenset[str] = frozenset()
    operand: str = ""
    activation: frozenset[TensorType] = frozenset()
    weights: frozenset[TensorType] = frozenset()
    granularity: frozenset[Granularity] = frozenset()
    least: tuple[int, int] = (1, 1)
    even_columns: bool = False

    def concerns(self, shape: Sequence[int]) -> bool:
        """Whether it holds for a matrix of weights of this shape; for other shapes where it says nothing of a size."""
        if len(shape) != 2:
            return self.least == (1, 1) and not self.even_columns
        rows, columns = shape
        return rows >= self.least[0] and columns >= self.least[1] and not (self.even_columns and columns % 2)

    def applies(self, activation: TensorType | None = None, weights: TensorType | None = None, granularity: Granularity | None = None) -> bool:
        """Whether the fact holds for these types; what is not given is not asked."""
        pairs = ((activation, self.activation), (weights, self.weights), (granularity, self.granularity))
        return all(wanted is None or not allowed or wanted in allowed for wanted, allowed in pairs)


class Role(Enum):
    """What an operand is to its operator."""

    ACTIVATION = "activation"
    WEIGHTS = "weights"
    BIAS = "bias"
    STATE = "state"  # a variable tensor that lives from run to run
    CONSTANT = "constant"  # a value in the activation's own units, such as the slope of PRELU
    PEEPHOLE = "peephole"
    LAYER_NORM = "layer_norm"
    CONDITION = "condition"
    INDICES = "indices"
    SHAPE = "shape"
    AXIS = "axis"
    SIZES = "sizes"  # counts along axes: begin, size, strides, multiples, paddings, block shape
    RESOURCE = "resource"
    FLAGS = "flags"  # a BOOL result


class Operand(NamedTuple):
    """One input or output: its role, whether it may be absent, whether it repeats to the end of the list."""

    role: Role
    optional: bool = False
    variadic: bool = False


class WeightForm(NamedTuple):
    """A way to store the weights that kernels compute: element types, granularity, and the runtimes that return right values.

    `activation` FLOAT32 is the hybrid (dynamic-range) form, whose bias stays FLOAT32. `condition` states what else must hold, in words.
    """

    activation: TensorType
    weights: TensorType
    granularity: Granularity
    source: str
    runtimes: tuple[Runtime, ...] = LITERT
    condition: str = ""


class WeightsRule(NamedTuple):
    """The weights of an operator.

    `operands` are input positions. `quantized_dimension` is the dimension of per-channel scales, from the end if negative, None if there is no
    per-channel form; with a true `transposed_by` option it is `transposed_dimension`. `narrow`: converters leave out the lowest code.
    """

    operands: tuple[int, ...]
    forms: tuple[WeightForm, ...]
    source: str
    quantized_dimension: int | None = None
    transposed_by: str = ""
    transposed_dimension: int | None = None
    asymmetric_inputs_option: bool = False
    narrow: bool = True

    def axis(self, options: object) -> int | None:
        """The dimension of per-channel scales for an operator with these options; negative ones count from the end, None if there is none."""
        turned = bool(self.transposed_by and getattr(options, self.transposed_by, False))
        return self.transposed_dimension if turned and self.transposed_dimension is not None else self.quantized_dimension

    def types(self, activation: TensorType) -> tuple[TensorType, ...]:
        """The element types of weights that some runtime computes for activations of this type."""
        return tuple(dict.fromkeys(form.weights for form in self.forms if form.activation == activation))

    def form(self, activation: TensorType, weights: TensorType, granularity: Granularity) -> WeightForm | None:
        """The form with these properties, or None if no kernel computes it."""
        wanted = (activation, weights, granularity)
        return next((form for form in self.forms if (form.activation, form.weights, form.granularity) == wanted), None)

    def granularities(self, activation: TensorType, weights: TensorType) -> tuple[Granularity, ...]:
        """The granularities that some runtime computes for these types."""
        return tuple(form.granularity for form in self.forms if (form.activation, form.weights) == (activation, weights))


class BiasRule(NamedTuple):
    """A bias: its types by activation type, and the two tensors whose scales multiply to its own.

    `factors` are operands ("in0", "intermediate4"); its zero point and quantized dimension are 0. `selector` is the option that chooses between two
    integer types. Where the operand `unless` is there, its scale follows from something else.
    """

    operand: int
    types: Mapping[TensorType, tuple[TensorType, ...]]
    factors: tuple[str, str]
    source: str
    required: bool = False
    selector: str = ""
    constant_factor: float = 1.0
    unless: str = ""


class FixedParameters(NamedTuple):
    """The parameters that an output of this element type must have, by convention of the converters; the facts say who insists."""

    type: TensorType
    scale: float
    zero_point: int
    relative_tolerance: float
    source: str
    output: int = 0


class Sharing(Enum):
    """What becomes of operands of one group whose parameters differ, in the kernels at large."""

    EXACT = "kernels compare them"
    COPIED = "kernels copy the codes"
    RESCALED = "kernels convert"


class SameParameters(NamedTuple):
    """Operands whose scale and zero point should be equal, for activations of these types."""

    group: tuple[str, ...]
    types: frozenset[TensorType]
    sharing: Sharing
    source: str


class Need(NamedTuple):
    """The version that an operator needs if its operand types and all conditions match.

    `types` maps operands ("in0") to element types, `conditions` are names of `versions.CONDITIONS`.
    """

    version: int
    types: Mapping[str, frozenset[TensorType]]
    conditions: tuple[str, ...] = ()


class Versions(NamedTuple):
    """The versions that a resolver knows, and the one that a form needs: the first match of `needs`, else `lowest`.

    `reference_highest` is the highest of the reference resolver, 0 if the operator is missing there. `minimum_runtime` are the TFLite versions that
    first knew `lowest`, `lowest` + 1, ...
    """

    lowest: int
    highest: int
    reference_highest: int
    minimum_runtime: tuple[str, ...]
    needs: tuple[Need, ...]
    source: str

    def runtime_for(self, version: int) -> str | None:
        """The first TFLite version that knows a version of the operator; None if it is not known."""
        index = version - self.lowest
        return self.minimum_runtime[index] if 0 <= index < len(self.minimum_runtime) else None


@dataclass(frozen=True, eq=False)
class OpRule:
    """All that is known of a builtin operator for quantization.

    `inputs` and `outputs` are roles by position; `alternatives` are other input lists, chosen by their length. `types` are the quantized element
    types of activations for which builtin kernels compute right values, `delegated` those that XNNPACK takes over. `pairs` are the types of input and
    output of an operator that converts. `takes_codes`: it reads codes as plain numbers, whatever their parameters say.
    """

    operator: BuiltinOperator
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    types: frozenset[TensorType]
    versions: Versions
    source: str
    alternatives: tuple[tuple[Operand, ...], ...] = ()
    delegated: frozenset[TensorType] = frozenset()
    weights: WeightsRule | None = None
    biases: tuple[BiasRule, ...] = ()
    fixed: tuple[FixedParameters, ...] = ()
    same_parameters: tuple[SameParameters, ...] = ()
    facts: tuple[Fact, ...] = field(default=(), repr=False)
    pairs: frozenset[tuple[TensorType, TensorType]] = frozenset()
    notes: tuple[str, ...] = ()
    takes_codes: bool = False

    @property
    def name(self) -> str:
        """The operator's name in the schema."""
        return self.operator.name

    def input_roles(self, count: int) -> tuple[Operand, ...] | None:
        """The operands of a list of `count` inputs, or None if the operator takes no such list."""
        return next((found for layout in (*self.alternatives, self.inputs) if (found := _fit(layout, count)) is not None), None)

    def output_roles(self, count: int) -> tuple[Operand, ...] | None:
        """The operands of a list of `count` outputs, or None if the operator gives no such list."""
        return _fit(self.outputs, count)

    @lru_cache(4096)  # noqa: B019 - rules live as long as the program
    def about(
        self, topic: Topic, activation: TensorType | None = None, weights: TensorType | None = None, granularity: Granularity | None = None
    ) -> tuple[Fact, ...]:
        """The facts on a topic that hold for these types."""
        return tuple(fact for fact in self.facts if fact.topic == topic and fact.applies(activation, weights, granularity))

    def fixed_for(self, type_: TensorType, output: int = 0) -> FixedParameters | None:
        """The parameters that an output of this type must have, or None if they are free."""
        return next((fixed for fixed in self.fixed if fixed.type == type_ and fixed.output == output), None)


def _fit(layout: tuple[Operand, ...], count: int) -> tuple[Operand, ...] | None:
    if layout and layout[-1].variadic:
        return None if count < len(layout) else layout + layout[-1:] * (count - len(layout))
    trailing = layout[count:]
    return layout[:count] if count <= len(layout) and all(operand.optional for operand in trailing) else None
