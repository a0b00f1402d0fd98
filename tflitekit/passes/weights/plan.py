"""What a choice means for a constant: which granularity and form its operators take, or why it stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..._schema import BuiltinOperator, TensorType
from ...quant.rules import LITERT, RULES, Behaviour, Granularity, Runtime, Topic
from ...quant.rules.basic_cell import is_basic
from ...quant.rules.fused import fused_activation, has_known_bias, unapplied, unapplied_with
from ...types import FLOAT_TYPES
from ..costs import WEIGHTS
from .choices import AUTO, EXPLICIT, HYBRID, Choice
from .constants import Constant, Reader

_TOPICS = (Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY, Topic.WEIGHTS_BLOCKS)
_BYTES = {TensorType.INT8, TensorType.UINT8}
# With fewer units, the builtin kernels for blockwise FULLY_CONNECTED silently return the bias alone (fact blocks-small).
_UNITS = 4


@dataclass(frozen=True, eq=False)
class Plan:
    """A constant as it will be: `direct` readers take it as it is stored, `explicit` ones what DEQUANTIZE makes of it.

    `granularity` is None for float types, `axis` the dimension of per-channel scales. `runtimes` are those of LiteRT that compute it right.
    """

    constant: Constant
    choice: Choice
    granularity: Granularity | None
    axis: int | None
    direct: tuple[Reader, ...]
    explicit: tuple[Reader, ...]
    runtimes: tuple[Runtime, ...] = LITERT

    @property
    def type(self) -> TensorType:
        """The element type it will have."""
        return self.choice.type

    @property
    def form(self) -> str:
        """How its operators get the values: only those that feed codes to float activations are hybrid."""
        hybrid = self.type not in FLOAT_TYPES and any(reader.takes_floats for reader in self.direct)
        return " and ".join(filter(None, ((HYBRID if hybrid else WEIGHTS) if self.direct else "", EXPLICIT if self.explicit else "")))


def plan(constant: Constant, choice: Choice) -> Plan | str:
    """The plan for a constant, or the reason why there is none."""
    tensor = constant.tensor
    if tensor.sparsity is not None:
        return "its data is sparse"
    if tensor.is_variable or tensor.external_buffer is not None:
        return "its data is a variable" if tensor.is_variable else "its data is in an external file"
    if any(tensor is t for t in (*constant.subgraph.inputs, *constant.subgraph.outputs)):
        return "it is an input or output of its subgraph"
    if tensor.quantization is not None and tensor.quantization.kind in ("multi-axis", "custom", "unknown"):
        return f"it is quantized {tensor.quantization.kind}, which has no kernels"
    if constant.shown and RULES[BuiltinOperator.DEQUANTIZE].about(Topic.CONSTANT_OUTPUT, choice.type):
        return f"its values are an output too, which XNNPACK does not write where DEQUANTIZE makes it of {choice.type.name} (Q807)"
    if choice.type in FLOAT_TYPES:
        return _float_plan(constant, choice)
    if constant.only_stored and constant.readers:
        return f"{constant.readers[0].operator.op_name} does not take it as weights"
    reasons = []
    for granularity in choice.granularities:
        found = _coded_plan(constant, choice, granularity)
        if isinstance(found, Plan):
            return found
        reasons.append(found)
    return reasons[0] if len(set(reasons)) == 1 else "; ".join(dict.fromkeys(reasons))


def _float_plan(constant: Constant, choice: Choice) -> Plan | str:
    stuck = next((reader for reader in constant.readers if not reader.takes_floats), None)
    if stuck is not None:
        return f"{stuck.operator.op_name} computes on {_type_name(stuck)} activations and takes no floats"
    lost = _lost_on_floats(constant.readers)
    if lost:
        return lost
    if choice.type == TensorType.FLOAT32:
        if choice.form == EXPLICIT:
            return "FLOAT32 needs no DEQUANTIZE"
        return Plan(constant, choice, None, constant.axis, tuple(constant.readers), ())
    if choice.form == HYBRID:
        return "no operator takes FLOAT16 directly: it needs a DEQUANTIZE in front"
    return Plan(constant, choice, None, constant.axis, (), tuple(constant.readers))


def _lost_on_floats(readers: Sequence[Reader]) -> str:
    """Why operators cannot read the weights as floats, on which they do not apply their fused activation; "" if they can."""
    found = (_applying(reader, TensorType.FLOAT32, None, LITERT) for reader in readers)
    return next((reason for reason in found if isinstance(reason, str)), "")


def _coded_plan(constant: Constant, choice: Choice, granularity: Granularity) -> Plan | str:
    shape, axis = constant.tensor.shape, constant.axis
    if granularity == Granularity.PER_CHANNEL and axis is None:
        return "its operators have no per-channel form, or differ in the dimension"
    if granularity == Granularity.BLOCKWISE:
        if not shape or shape[-1] % choice.block:
            return f"its last dimension, of {list(shape)}, is no multiple of {choice.block}"
        if choice.asymmetric:
            return "blockwise weights are symmetric"
    if 0 in shape or not constant.readers:
        return "it has no elements" if 0 in shape else "nothing reads its values"
    direct, explicit, runtimes = [], [], set(LITERT)
    for reader in constant.readers:
        hybrid = _direct(reader, choice, granularity)
        if choice.form != EXPLICIT or not reader.takes_floats:
            if isinstance(hybrid, tuple):
                direct.append(reader)
                runtimes &= set(hybrid)
                continue
            if choice.form == HYBRID or not reader.takes_floats:
                return hybrid
        refusal = _dequantized(choice, granularity, hybrid) or _lost_on_floats([reader])
        if refusal:
            return refusal
        explicit.append(reader)
    if constant.shown and granularity == Granularity.BLOCKWISE:
        return "its values are an output, and DEQUANTIZE has no blockwise form"
    return Plan(constant, choice, granularity, axis, tuple(direct), tuple(explicit), tuple(r for r in LITERT if r in runtimes))


def _dequantized(choice: Choice, granularity: Granularity, hybrid: object) -> str:
    """Why DEQUANTIZE cannot stand in front; "" if it can."""
    pairs = RULES[BuiltinOperator.DEQUANTIZE].pairs
    if granularity != Granularity.BLOCKWISE and (choice.type, TensorType.FLOAT32) in pairs:
        return ""
    if choice.form == AUTO and isinstance(hybrid, str):
        return hybrid
    return f"DEQUANTIZE takes no {choice.type.name} {granularity.value}"


def _direct(reader: Reader, choice: Choice, granularity: Granularity) -> tuple[Runtime, ...] | str:
    """The runtimes in which the operator computes with the codes as they are stored, or why there are none."""
    rule, activation = reader.rule, reader.activation
    name = reader.operator.op_name
    if rule is None or reader.weights is None or activation is None:
        return f"{name} takes no {choice.type.name} there"
    if is_basic(reader.operator):
        return "the basic LSTM cell takes no weights of another type than its activations"
    if name == "SVDF" and not reader.takes_floats and reader.position != reader.weights.operands[0]:
        return "the time weights of an integer SVDF are INT16"
    form = reader.weights.form(activation, choice.type, granularity)
    if form is None and {activation, choice.type} == _BYTES:
        both = f"convert-activations --to {choice.type.name.lower()} changes both"
        return f"{name} with {activation.name} activations takes {activation.name} weights; {both}"
    if form is None:
        taken = ", ".join(f"{f.weights.name} {f.granularity.value}" for f in reader.weights.forms if f.activation == activation) or "none"
        known = [f.what for topic in _TOPICS for f in rule.about(topic, activation, choice.type, granularity) if len(f.reactions) > 1]
        why = f" ({known[0]})" if known else ""
        return f"{name} with {activation.name} activations computes no {choice.type.name} {granularity.value} weights, only {taken}{why}"
    if granularity == Granularity.BLOCKWISE and name == "FULLY_CONNECTED" and reader.tensor.shape[0] < _UNITS:
        return f"blockwise FULLY_CONNECTED needs at least {_UNITS} units, it has {reader.tensor.shape[0]}: the builtin kernels return the bias alone"
    if choice.asymmetric:
        facts = rule.about(Topic.WEIGHTS_ZERO_POINT, activation, choice.type, granularity)
        reactions = [fact.reactions for fact in facts]
        fine = [r for r in form.runtimes if any(known[r].behaviour == Behaviour.FINE for known in reactions if r in known)]
        if not fine:
            return f"{name} takes {choice.type.name} {granularity.value} weights to be symmetric"
        return tuple(fine)
    return _applying(reader, choice.type, granularity, form.runtimes)


def _applying(reader: Reader, weights: TensorType, granularity: Granularity | None, runtimes: tuple[Runtime, ...]) -> tuple[Runtime, ...] | str:
    """Those of the runtimes that apply the operator's fused activation with weights of a type, or why there are none; all, if none does so now."""
    if reader.weights is None:
        return runtimes
    operator, activation = reader.operator, reader.activation
    lost = unapplied_with(operator, activation, weights, granularity == Granularity.BLOCKWISE)
    if lost is None or lost is unapplied(operator, activation):
        return runtimes
    fused, taken = fused_activation(operator), has_known_bias(operator)
    found = tuple(r for r in runtimes if lost.reaction(r, fused, taken).behaviour == Behaviour.FINE)
    kind = f"{weights.name} {granularity.value}" if granularity is not None else weights.name
    return found or f"{operator.op_name} does not apply its fused activation {fused.name} with {kind} weights"


def _type_name(reader: Reader) -> str:
    return "integer" if reader.activation is None else reader.activation.name


def together(plans: dict[Constant, Plan], refused: dict[Constant, str]) -> None:
    """Operators with several weights, such as LSTM, take them in one type or not at all: where one cannot change, the others stay too."""
    while True:
        lost: dict[Constant, str] = {}
        for constant, one in plans.items():
            for reader in one.direct:
                if reader.weights is None or len(reader.weights.operands) < 2:
                    continue
                others = _others(reader, plans, refused, one)
                if others:
                    lost[constant] = f"{reader.operator.op_name} takes its weights in one type, and {others[0]} stays as it is"
        if not lost:
            return
        for constant, reason in lost.items():
            del plans[constant]
            refused[constant] = reason


def _others(reader: Reader, plans: dict[Constant, Plan], refused: dict[Constant, str], one: Plan) -> Sequence[str]:
    """The names of the operator's other weights that will not have the type of this one."""
    assert reader.weights is not None
    found = []
    becoming = {id(other.tensor): plan.type for other, plan in plans.items() if any(r.operator is reader.operator for r in plan.direct)}
    for position in reader.weights.operands:
        tensor = reader.operator.inputs[position] if position < len(reader.operator.inputs) else None
        if tensor is None or position == reader.position or becoming.get(id(tensor), tensor.type) == one.type:
            continue
        if reader.takes_floats or tensor.type != TensorType.INT16:
            found.append(repr(tensor.name_str))
    return found
