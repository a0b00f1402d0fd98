"""The constants of a model that are weights, or are stored in another type than they are computed in; who reads them, and how."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from ..._schema import BuiltinOperator, TensorType
from ...audit.execution import executions
from ...graph import Model, Operator, SubGraph, Tensor
from ...quant.rules import OpRule, Role, WeightsRule
from ...types import FLOAT_TYPES

# What can be encoded again.
SOURCES = frozenset(TensorType[name] for name in ("FLOAT32", "FLOAT16", "INT8", "UINT8", "INT4", "INT2"))


@dataclass(frozen=True, eq=False)
class Reader:
    """An operator that reads the values of a constant: at which input, from which tensor (the constant, or what DEQUANTIZE makes of it).

    `weights` is the rule of the weights if it reads them as such; `activation` the type of its activations.
    """

    operator: Operator
    position: int
    tensor: Tensor
    rule: OpRule | None
    weights: WeightsRule | None
    activation: TensorType | None

    @property
    def takes_floats(self) -> bool:
        """Whether it would take the values as floats: it does so now, or it is a hybrid operator."""
        return self.tensor.type == TensorType.FLOAT32 or (self.weights is not None and self.activation == TensorType.FLOAT32)

    def axis(self, rank: int) -> int | None:
        """The dimension of per-channel scales, None if the operator has none."""
        if self.weights is None or not rank:
            return None
        axis = self.weights.axis(self.operator.options)
        return None if axis is None or not -rank <= axis < rank else axis % rank


@dataclass(eq=False)
class Constant:
    """A constant with all that reads it. `shown` says that its values are an output of the subgraph, as they are or dequantized.

    `kept` says that others, which are not among the readers, go on reading it as it is.
    """

    subgraph: SubGraph
    tensor: Tensor
    readers: list[Reader] = field(default_factory=list)
    dequantizes: list[Operator] = field(default_factory=list)
    shown: bool = False
    kept: bool = False

    def read_by(self, operators: Container[Operator]) -> Constant:
        """What some operators read of it; the DEQUANTIZE operators are those that nobody else reads from."""
        readers = [reader for reader in self.readers if reader.operator in operators]
        others = {reader.tensor for reader in self.readers if reader.operator not in operators}
        dequantizes = [operator for operator in self.dequantizes if operator.outputs[0] not in others]
        return Constant(self.subgraph, self.tensor, readers, dequantizes, self.shown, bool(others))

    @property
    def is_weight(self) -> bool:
        """Whether some operator reads it as weights, or DEQUANTIZE reads it."""
        return bool(self.dequantizes) or any(reader.weights is not None for reader in self.readers)

    @property
    def only_stored(self) -> bool:
        """Whether it is only stored in another type than it is computed in: a bias, say, of a model whose weights are FLOAT16."""
        return self.tensor.type in FLOAT_TYPES and all(reader.weights is None for reader in self.readers)

    @property
    def operators(self) -> frozenset[str]:
        """The names of the operators that read its values."""
        return frozenset(reader.operator.op_name for reader in self.readers)

    @property
    def axis(self) -> int | None:
        """The dimension of per-channel scales that all operators agree on; None if there is none."""
        found = {reader.axis(len(self.tensor.shape)) for reader in self.readers if reader.weights is not None}
        return found.pop() if len(found) == 1 else None


def constants(model: Model) -> list[Constant]:
    """The weights of all subgraphs, in the order in which they are first read."""
    found = [one for number, subgraph in enumerate(model.subgraphs) for one in _constants(subgraph, number)]
    return [one for one in found if one.is_weight and one.tensor.type in SOURCES and _has_values(one.tensor)]


def _has_values(tensor: Tensor) -> bool:
    """Floats, or codes that stand for real values; raw integers do not."""
    return tensor.type in FLOAT_TYPES or tensor.is_quantized


def _constants(subgraph: SubGraph, number: int) -> Iterator[Constant]:
    found: dict[Tensor, Constant] = {}
    behind: dict[Tensor, Tensor] = {}  # the result of a DEQUANTIZE -> its constant
    for run in executions(subgraph, number):
        operator = run.operator
        if operator.opcode is not None and operator.opcode.code == BuiltinOperator.DEQUANTIZE and operator.inputs and operator.outputs:
            source, target = operator.inputs[0], operator.outputs[0]
            if source is not None and target is not None and source.is_constant:
                found.setdefault(source, Constant(subgraph, source)).dequantizes.append(operator)
                behind[target] = source
                continue
        for position, tensor in enumerate(operator.inputs):
            constant = None if tensor is None else behind.get(tensor, tensor)
            if tensor is None or constant is None or not constant.is_constant:
                continue
            is_weights = position < len(run.roles) and run.roles[position] == Role.WEIGHTS
            weights = run.rule.weights if is_weights and run.rule is not None else None
            reader = Reader(operator, position, tensor, run.rule, weights, run.kind.activation)
            found.setdefault(constant, Constant(subgraph, constant)).readers.append(reader)
    for tensor in (*subgraph.inputs, *subgraph.outputs):
        if tensor is not None and behind.get(tensor, tensor) in found:
            found[behind.get(tensor, tensor)].shown = True
    yield from found.values()
