"""How each operator computes: on integers, on floats, or on floats with integer weights; and what it computes with.

The mode follows from the element types of the operands that carry data. Which operands those are comes from the operator rules; for operators
without a rule, from whether they are constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .._schema import BuiltinOperator, TensorType
from ..graph import Operator, OperatorCode, SubGraph, Tensor
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
_COMPILED = (b"edgetpu-custom-op", b"ethos-u", b"DISPATCH_OP")


@dataclass(eq=False)
class Execution:
    """One operator as it runs.

    `rule` is what is known of the operator, `roles` what its inputs are to it (empty if it has no rule, or not this many inputs). `weights` are its
    constant weight tensors, seen through DEQUANTIZE and DENSIFY; `weight_bytes` what they occupy in the file, `macs` the multiply-accumulates of one
    run (0 where the operator has none).
    """

    operator: Operator
    subgraph: int
    index: int
    mode: str
    reason: str
    rule: OpRule | None = None
    roles: tuple[Role, ...] = ()
    weights: list[Tensor] = field(default_factory=list)
    weight_bytes: int = 0
    macs: int = 0

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
    sources = {tensor: operator for tensor, operator in subgraph.producers().items() if _passes_constants(operator)}
    kinds = _Kinds()
    return [_execution(operator, number, index, sources, kinds) for index, operator in enumerate(subgraph.operators)]


class _Kinds:
    """What operators of one code and one number of inputs have in common, looked up once."""

    def __init__(self) -> None:
        self.known: dict[tuple[OperatorCode, int], tuple[BuiltinOperator, bool, OpRule | None, tuple[Role, ...]]] = {}

    def of(self, opcode: OperatorCode, inputs: int) -> tuple[BuiltinOperator, bool, OpRule | None, tuple[Role, ...]]:
        """(effective code, whether it is a builtin that the schema names, its rule, the roles of its inputs)."""
        key = opcode, inputs
        if key not in self.known:
            code = opcode.code
            rule = RULES.get(code)
            operands = rule.input_roles(inputs) if rule is not None else None
            named = code != BuiltinOperator.CUSTOM and code.name in BuiltinOperator.__members__
            self.known[key] = code, named, rule, tuple(o.role for o in operands or ())
        return self.known[key]


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


def _execution(operator: Operator, number: int, index: int, sources: dict[Tensor, Operator], kinds: _Kinds) -> Execution:
    made = Execution(operator, number, index, OPAQUE, "a custom operator: what it computes is not in the file")
    if operator.opcode is None:
        return made
    code, named, made.rule, made.roles = kinds.of(operator.opcode, len(operator.inputs))
    if not named:
        if is_compiled(operator):
            made.reason = "compiled for an accelerator"
        return made
    inputs = [t for t in operator.inputs if t is not None]
    outputs = [t for t in operator.outputs if t is not None]
    if code in (BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE) and inputs:
        constant = stored(inputs[0], sources)
        made.mode = WEIGHT_DEQUANTIZE if constant is not None and code == BuiltinOperator.DEQUANTIZE else BOUNDARY
        made.reason = f"{inputs[0].type.name} to {outputs[0].type.name if outputs else '?'}" + (", a constant" if constant is not None else "")
        return made
    if code == BuiltinOperator.DENSIFY:
        made.mode, made.reason = WEIGHT_DEQUANTIZE, "expands sparse weights"
        return made
    made.weights = _weights(made, sources)
    made.weight_bytes = sum(stored_bytes(t) for t in made.weights)
    made.macs = _macs(operator, code)
    data = _data(made) + outputs
    if code in _STEERING:
        made.mode, made.reason = INDEX, "shapes, control flow or variables"
    elif any(t.type in FLOAT_TYPES for t in data) and not (code == BuiltinOperator.CAST and any(t.type not in FLOAT_TYPES for t in data)):
        _float_mode(made, data)
    elif any(is_code(t) for t in data):
        names = sorted({t.type.name for t in data if is_code(t)})
        made.mode, made.reason = INTEGER, f"{' and '.join(names)} codes in and out"
    else:
        made.mode, made.reason = INDEX, "plain integers, flags or strings"
    return made


def _float_mode(made: Execution, data: list[Tensor]) -> None:
    codes = [t for t in made.weights if is_code(t)]
    direct = [t for t in codes if any(t is i for t in codes for i in made.operator.inputs)]
    if direct:
        kinds = sorted({t.type.name for t in direct})
        made.mode, made.reason = HYBRID, f"float activations, {' and '.join(kinds)} weights that the operator takes directly"
    elif any(is_code(t) and not t.is_constant for t in data):
        made.mode, made.reason = FLOAT, "mixes quantized and float activations"
    elif codes:
        made.mode, made.reason = FLOAT, f"{codes[0].type.name} weights are dequantized before it"
    elif any(t.type == TensorType.FLOAT16 for t in made.weights):
        made.mode, made.reason = FLOAT16, "FLOAT16 weights, computed in float32"
    else:
        made.mode, made.reason = FLOAT, "no tensor of it is quantized"


def _data(made: Execution) -> list[Tensor]:
    """Inputs that carry values, other than constant weights, indices, shapes, axes and biases."""
    inputs = made.operator.inputs
    if not made.roles:
        return [t for t in inputs if t is not None and not t.is_constant]
    pairs = zip(inputs, made.roles, strict=True)
    return [t for t, role in pairs if t is not None and role in _DATA_ROLES and not (role == Role.WEIGHTS and t.is_constant)]


def activations(run: Execution) -> list[Tensor]:
    """The computed inputs that carry values; states, weights and everything constant left out."""
    inputs = run.operator.inputs
    pairs = zip(inputs, run.roles or (Role.ACTIVATION,) * len(inputs), strict=True)
    return [t for t, role in pairs if t is not None and role == Role.ACTIVATION and not t.is_constant]


def _weights(made: Execution, sources: dict[Tensor, Operator]) -> list[Tensor]:
    """The constant weights of an operator, as they are stored."""
    if Role.WEIGHTS not in made.roles:
        return []
    pairs = zip(made.operator.inputs, made.roles, strict=True)
    found = [stored(t, sources) for t, role in pairs if t is not None and role == Role.WEIGHTS]
    return [t for t in found if t is not None]


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a constant in the file."""
    if tensor.buffer is not None and tensor.buffer.data is not None:
        return len(tensor.buffer.data)
    return byte_size(tensor.type, tensor.shape) or 0


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
    if code.name.endswith(("LSTM", "RNN", "SVDF")):
        return sum(element_count(t.shape) for t in operator.inputs if t is not None and t.is_constant and len(t.shape) == 2) * _steps(operator)
    return 0


def _steps(operator: Operator) -> int:
    """Runs of a recurrent cell in one invocation: all leading dimensions of its input."""
    first = operator.inputs[0] if operator.inputs else None
    return max(1, math.prod(d for d in first.shape[:-1] if d > 0)) if first is not None else 1
