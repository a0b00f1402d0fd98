"""How each operator computes: on integers, on floats, or on floats with integer weights; and what it computes with.

The mode follows from the element types of the operands that carry data. Which operands those are comes from the operator rules; for operators
without a rule, from whether they are constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .._schema import BuiltinOperator, TensorType
from ..graph import Operator, SubGraph, Tensor
from ..quant.rules import RULES, OpRule, Role
from ..types import FLOAT_TYPES, byte_size, element_count

INTEGER, HYBRID, FLOAT, FLOAT16 = "integer", "hybrid", "float", "float16"
BOUNDARY, WEIGHT_DEQUANTIZE, INDEX, OPAQUE = "boundary", "weight-dequantize", "index", "opaque"
MODES = (INTEGER, HYBRID, FLOAT, FLOAT16, BOUNDARY, WEIGHT_DEQUANTIZE, INDEX, OPAQUE)
ARITHMETIC = frozenset({INTEGER, HYBRID, FLOAT, FLOAT16})

CODE_TYPES = frozenset({TensorType.INT8, TensorType.UINT8, TensorType.INT16, TensorType.INT4, TensorType.INT2, TensorType.UINT4})
_DATA_ROLES = frozenset({Role.ACTIVATION, Role.STATE, Role.CONSTANT, Role.WEIGHTS, Role.PEEPHOLE, Role.LAYER_NORM})
# Operators whose result says something about a tensor's shape, or that only steer.
_STEERING = frozenset(
    BuiltinOperator[name]
    for name in (
        "SHAPE", "RANK", "RANGE", "IF", "WHILE", "CALL", "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "HASHTABLE",
        "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE", "STABLEHLO_CASE",
    )
)  # fmt: skip
_PRODUCTS = frozenset(
    BuiltinOperator[name] for name in ("CONV_2D", "FULLY_CONNECTED", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL")
)  # fmt: skip
_RECURRENT = ("LSTM", "RNN", "SVDF")
_CUSTOM = "a custom operator: what it computes is not in the file"
_COMPILED = (b"edgetpu-custom-op", b"ethos-u", b"DISPATCH_OP")


@dataclass(frozen=True, eq=False)
class Kind:
    """What operators with the same operator code and operands of the same types have in common; there is one object for each such signature.

    `rule` is what is known of the operator, `roles` what its inputs are to it (empty if it has no rule, or not this many inputs). `activation` is the
    type of the first activation input, or of the first output where there is none. `weights` are positions of inputs whose constants are weights.
    """

    code: BuiltinOperator
    mode: str
    reason: str
    rule: OpRule | None = None
    roles: tuple[Role, ...] = ()
    activation: TensorType | None = None
    weights: tuple[int, ...] = ()
    multiplies: bool = False


@dataclass(eq=False)
class Execution:
    """One operator as it runs: its mode, and the reason for it.

    `weights` are its constant weight tensors, seen through DEQUANTIZE and DENSIFY; `weight_bytes` what they occupy in the file, `macs` the
    multiply-accumulates of one run (0 where the operator has none).
    """

    operator: Operator
    subgraph: int
    index: int
    kind: Kind
    weights: list[Tensor] = field(default_factory=list)
    weight_bytes: int = 0
    macs: int = 0

    def __post_init__(self) -> None:
        self.mode, self.reason, self.rule, self.roles = self.kind.mode, self.kind.reason, self.kind.rule, self.kind.roles

    @property
    def path(self) -> str:
        """Where the operator is."""
        return f"subgraphs[{self.subgraph}].operators[{self.index}]"


def is_code(tensor: Tensor) -> bool:
    """Whether a tensor holds quantized codes: a narrow integer type with parameters. Raw INT8 data without a scale does not."""
    if tensor.type not in CODE_TYPES:
        return False
    quantization = tensor.quantization
    return quantization is not None and (len(quantization.scale) > 0 or quantization.details is not None)


def is_compiled(operator: Operator) -> bool:
    """Whether an operator stands for code compiled for an accelerator."""
    return operator.opcode is not None and operator.opcode.custom_code in _COMPILED


def executions(subgraph: SubGraph, number: int) -> list[Execution]:
    """Every operator of a subgraph with its mode, in execution order."""
    kinds = _Kinds(subgraph)
    return [_execution(operator, number, index, kinds) for index, operator in enumerate(subgraph.operators)]


class _Kinds:
    """The kinds of a subgraph's operators, each made once. What can differ within a kind is nothing that a mode depends on."""

    def __init__(self, subgraph: SubGraph) -> None:
        self.sources = {tensor: operator for tensor, operator in subgraph.producers().items() if _passes_constants(operator)}
        self.traits: dict[Tensor | None, int] = {tensor: _trait(tensor) for tensor in subgraph.tensors}
        self.traits[None] = -1
        for tensor in self.sources:
            constant = stored(tensor, self.sources)
            self.traits[tensor] = _trait(tensor) if constant is None else _trait(constant) << 16 | _trait(tensor)
        self.known: dict[Any, Kind] = {}

    def of(self, operator: Operator) -> Kind:
        """The kind of an operator, from its code and what is to be known of its operands."""
        try:
            key = operator.opcode, *map(self._traits, (operator.inputs, operator.outputs, operator.intermediates))
        except KeyError:  # an operand that is no tensor of the subgraph
            return _kind(operator, self.sources)
        kind = self.known.get(key)
        if kind is None:
            kind = self.known[key] = _kind(operator, self.sources)
        return kind

    def _traits(self, tensors: list[Tensor | None]) -> tuple[int, ...]:
        return tuple(map(self.traits.__getitem__, tensors))


def _trait(tensor: Tensor) -> int:
    """Type, whether it holds codes, and whether it is constant, as one number."""
    return (int(tensor.type) & 0xFF) << 2 | is_code(tensor) << 1 | tensor.is_constant


def _passes_constants(operator: Operator) -> bool:
    """DEQUANTIZE or DENSIFY: weights are looked up behind these."""
    return operator.opcode is not None and operator.opcode.code in (BuiltinOperator.DEQUANTIZE, BuiltinOperator.DENSIFY)


def stored(tensor: Tensor, sources: dict[Tensor, Operator]) -> Tensor | None:
    """The constant that a tensor comes from, directly or through DEQUANTIZE and DENSIFY; None if it is computed."""
    for _ in range(4):
        if tensor.is_constant:
            return tensor
        producer = sources.get(tensor)
        if producer is None or not producer.inputs or producer.inputs[0] is None:
            return None
        tensor = producer.inputs[0]
    return None


def _execution(operator: Operator, number: int, index: int, kinds: _Kinds) -> Execution:
    kind = kinds.of(operator)
    made = Execution(operator, number, index, kind)
    if kind.weights:
        found = [stored(t, kinds.sources) for t in map(operator.inputs.__getitem__, kind.weights) if t is not None]
        made.weights = [t for t in found if t is not None]
        made.weight_bytes = sum(map(stored_bytes, made.weights))
    if kind.multiplies:
        made.macs = _macs(operator, kind.code)
    return made


def _kind(operator: Operator, sources: dict[Tensor, Operator]) -> Kind:
    if operator.opcode is None:
        return Kind(BuiltinOperator.CUSTOM, OPAQUE, _CUSTOM)
    code = operator.opcode.code
    rule = RULES.get(code)
    operands = rule.input_roles(len(operator.inputs)) if rule is not None else None
    roles = tuple(o.role for o in operands or ())
    if code == BuiltinOperator.CUSTOM or code.name not in BuiltinOperator.__members__:
        return Kind(code, OPAQUE, "compiled for an accelerator" if is_compiled(operator) else _CUSTOM, rule, roles)
    inputs = [t for t in operator.inputs if t is not None]
    outputs = [t for t in operator.outputs if t is not None]
    values = [t for t, role in zip(operator.inputs, roles, strict=False) if t is not None and role == Role.ACTIVATION] or outputs
    activation = values[0].type if values else None
    if code in (BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE) and inputs:
        constant = stored(inputs[0], sources)
        mode = WEIGHT_DEQUANTIZE if constant is not None and code == BuiltinOperator.DEQUANTIZE else BOUNDARY
        reason = f"{inputs[0].type.name} to {outputs[0].type.name if outputs else '?'}" + (", a constant" if constant is not None else "")
        return Kind(code, mode, reason, rule, roles, activation)
    if code == BuiltinOperator.DENSIFY:
        return Kind(code, WEIGHT_DEQUANTIZE, "expands sparse weights", rule, roles, activation)
    pairs = enumerate(zip(operator.inputs, roles, strict=False))
    found = {i: s for i, (t, role) in pairs if t is not None and role == Role.WEIGHTS and (s := stored(t, sources)) is not None}
    mode, reason = _mode(operator, code, found, _data(operator, roles) + outputs)
    return Kind(code, mode, reason, rule, roles, activation, tuple(found), _multiplies(code))


def _mode(operator: Operator, code: BuiltinOperator, weights: dict[int, Tensor], data: list[Tensor]) -> tuple[str, str]:
    if code in _STEERING:
        return INDEX, "shapes, control flow or variables"
    if any(t.type in FLOAT_TYPES for t in data) and not (code == BuiltinOperator.CAST and any(t.type not in FLOAT_TYPES for t in data)):
        return _float_mode(operator, weights, data)
    if any(is_code(t) for t in data):
        names = sorted({t.type.name for t in data if is_code(t)})
        return INTEGER, f"{' and '.join(names)} codes in and out"
    return INDEX, "plain integers, flags or strings"


def _float_mode(operator: Operator, weights: dict[int, Tensor], data: list[Tensor]) -> tuple[str, str]:
    codes = {i: t for i, t in weights.items() if is_code(t)}
    direct = sorted({t.type.name for i, t in codes.items() if t is operator.inputs[i]})
    if direct:
        return HYBRID, f"float activations, {' and '.join(direct)} weights that the operator takes directly"
    if any(is_code(t) and not t.is_constant for t in data):
        return FLOAT, "mixes quantized and float activations"
    if codes:
        return FLOAT, f"{next(iter(codes.values())).type.name} weights are dequantized before it"
    if any(t.type == TensorType.FLOAT16 for t in weights.values()):
        return FLOAT16, "FLOAT16 weights, computed in float32"
    return FLOAT, "no tensor of it is quantized"


def _data(operator: Operator, roles: tuple[Role, ...]) -> list[Tensor]:
    """Inputs that carry values, other than constant weights, indices, shapes, axes and biases."""
    if not roles:
        return [t for t in operator.inputs if t is not None and not t.is_constant]
    pairs = zip(operator.inputs, roles, strict=True)
    return [t for t, role in pairs if t is not None and role in _DATA_ROLES and not (role == Role.WEIGHTS and t.is_constant)]


def activations(run: Execution) -> list[Tensor]:
    """The computed inputs that carry values; states, weights and everything constant left out."""
    inputs = run.operator.inputs
    pairs = zip(inputs, run.roles or (Role.ACTIVATION,) * len(inputs), strict=True)
    return [t for t, role in pairs if t is not None and role == Role.ACTIVATION and not t.is_constant]


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a constant in the file."""
    if tensor.buffer is not None and tensor.buffer.data is not None:
        return len(tensor.buffer.data)
    return byte_size(tensor.type, tensor.shape) or 0


def _multiplies(code: BuiltinOperator) -> bool:
    """Whether `_macs` counts something of an operator."""
    return code in _PRODUCTS or code.name.endswith(_RECURRENT)


def _macs(operator: Operator, code: BuiltinOperator) -> int:
    """Multiply-accumulates of one run, from the shapes; a dynamic dimension counts as stored, that is as 1."""
    shapes = [t.shape if t is not None else () for t in operator.inputs]
    result = operator.outputs[0].shape if operator.outputs and operator.outputs[0] is not None else ()
    if len(shapes) < 2:
        return 0
    weights = shapes[1]
    if code in (BuiltinOperator.CONV_2D, BuiltinOperator.FULLY_CONNECTED, BuiltinOperator.CONV_3D) and weights:
        per_output = element_count(weights[:-1]) if code == BuiltinOperator.CONV_3D else element_count(weights[1:])
        return element_count(result) * per_output
    if code == BuiltinOperator.DEPTHWISE_CONV_2D and len(weights) == 4:
        return element_count(result) * element_count(weights[1:3])
    if code == BuiltinOperator.TRANSPOSE_CONV and len(weights) == 4 and len(shapes) > 2:
        return element_count(shapes[2]) * element_count(weights[:3])
    if code == BuiltinOperator.BATCH_MATMUL and shapes[0]:
        transposed = getattr(operator.builtin_options, "adj_x", False)
        return element_count(result) * max(0, shapes[0][-2 if transposed and len(shapes[0]) > 1 else -1])
    if code.name.endswith(_RECURRENT):
        return sum(element_count(t.shape) for t in operator.inputs if t is not None and t.is_constant and len(t.shape) == 2) * _steps(operator)
    return 0


def _steps(operator: Operator) -> int:
    """Runs of a recurrent cell in one invocation: all leading dimensions of its input."""
    first = operator.inputs[0] if operator.inputs else None
    return max(1, math.prod(d for d in first.shape[:-1] if d > 0)) if first is not None else 1
