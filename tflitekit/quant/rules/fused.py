"""Which fused activations a kernel applies, and what becomes of the others.

Options of many operators name an activation that the kernel is to apply to its result; the schema lets every such operator name any of them. All of
it was measured, by setting each activation in a sound operator of each form (`tests/quant/test_fused.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..._schema import ActivationFunctionType, BlockwiseQuantization, BuiltinOperator, TensorType
from .model import Reaction, Runtime
from .notation import FINE, WRONG, refuses, types
from .versions import CONDITIONS, operand, option

if TYPE_CHECKING:
    from ...graph import Operator


class Fused(NamedTuple):
    """The activations that a form of an operator applies, and what its kernels make of others.

    It holds for data of the types `when` and operand 1 of the types `weights` (empty: any), and, if given, for one `form`: "basic" LSTM cells,
    "blockwise" weights. XNNPACK, where it takes the operator, applies `delegated` and leaves out the rest.
    """

    applied: frozenset[ActivationFunctionType]
    others: Reaction
    source: str
    when: frozenset[TensorType] = frozenset()
    weights: frozenset[TensorType] = frozenset()
    form: str = ""
    delegated: frozenset[ActivationFunctionType] | None = None

    def reaction(self, runtime: Runtime, fused: ActivationFunctionType, taken: bool) -> Reaction:
        """What a runtime of LiteRT makes of an activation that is not applied; `taken` says whether XNNPACK takes the operator."""
        if runtime == Runtime.XNNPACK and taken and self.delegated is not None:
            return FINE if fused in self.delegated else WRONG
        return self.others


BASIC, BLOCKWISE = "basic", "blockwise"  # forms
_ALL = frozenset(ActivationFunctionType)
_NONE, _RELU, _TANH = (frozenset({ActivationFunctionType[name]}) for name in ("NONE", "RELU", "TANH"))
_BOUNDS = frozenset(ActivationFunctionType[name] for name in ("NONE", "RELU", "RELU_N1_TO_1", "RELU6"))
_ANY_LSTM = "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM"


def _lines() -> Iterator[tuple[str, Fused]]:
    """(operators, line); of an operator's lines the first that fits counts."""
    yield (
        "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV CONV_3D CONV_3D_TRANSPOSE ADD SUB MUL DIV AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D",
        Fused(_BOUNDS, WRONG, "measured: left out, without a word"),
    )
    blocks = "measured: the optimized kernel leaves out every activation where weights are blockwise; the reference kernel computes no blocks"
    yield "FULLY_CONNECTED", Fused(_NONE, WRONG, blocks, types("FLOAT32"), types("INT4"), BLOCKWISE, _BOUNDS)
    yield "FULLY_CONNECTED", Fused(_ALL, FINE, "measured", types("FLOAT32"), types("INT8 UINT8 INT4 INT2"))
    yield "FULLY_CONNECTED", Fused(_BOUNDS, refuses("params->activation == kTfLiteActRelu6 was not true"), "measured")
    no_other = refuses("params->activation != kTfLiteActNone")
    yield "CONCATENATION", Fused(_NONE, no_other, "LiteRT concatenation.cc:143; measured: XNNPACK leaves it out", delegated=_NONE)
    yield "L2_NORMALIZATION", Fused(_NONE, no_other, "LiteRT l2norm.cc:72; measured")
    yield "SVDF", Fused(_RELU, refuses("params->activation != kTfLiteActRelu"), "LiteRT svdf.cc:394, when it runs; measured", types("INT8"))
    yield "LSTM", Fused(_TANH, WRONG, "measured: the basic cell computes TANH whatever is named", form=BASIC)
    yield _ANY_LSTM, Fused(_TANH, WRONG, "measured: integer cells compute TANH whatever is named", types("INT8"))
    yield _ANY_LSTM, Fused(_ALL - _NONE, WRONG, "measured: the new input goes out in place of the cell's state", types("FLOAT32"))


def _by_operator() -> dict[BuiltinOperator, tuple[Fused, ...]]:
    found: dict[BuiltinOperator, tuple[Fused, ...]] = {}
    for operators, line in _lines():
        for name in operators.split():
            found[BuiltinOperator[name]] = (*found.get(BuiltinOperator[name], ()), line)
    return found


FUSED: dict[BuiltinOperator, tuple[Fused, ...]] = _by_operator()


def fused_activation(operator: Operator) -> ActivationFunctionType:
    """The activation that kernels see: NONE for numbers that they do not know."""
    stored: ActivationFunctionType = option(operator, "fused_activation_function", ActivationFunctionType.NONE)
    return stored if stored in _ALL else ActivationFunctionType.NONE


def unapplied(operator: Operator, data: TensorType | None) -> Fused | None:
    """The line whose kernels do not apply the operator's fused activation, for data of a type; None if it is applied, or nothing is known."""
    weights = operand(operator, "in1")
    return _unapplied(operator, data, weights.type if weights is not None else None, lambda form: _FORMS[form](operator))


def unapplied_with(operator: Operator, data: TensorType | None, weights: TensorType, blockwise: bool) -> Fused | None:
    """The same, once the operator's weights are of a type, and blockwise or not."""
    return _unapplied(operator, data, weights, lambda form: blockwise if form == BLOCKWISE else _FORMS[form](operator))


def _unapplied(operator: Operator, data: TensorType | None, weights: TensorType | None, has: Callable[[str], bool]) -> Fused | None:
    for line in FUSED.get(operator.opcode.code, ()) if operator.opcode is not None else ():
        if (not line.when or data in line.when) and (not line.weights or weights in line.weights) and (not line.form or has(line.form)):
            return None if fused_activation(operator) in line.applied else line
    return None


def has_known_bias(operator: Operator) -> bool:
    """Whether operand 2 is known before the model runs: XNNPACK leaves an operator with weights and another bias to the kernels."""
    bias = operand(operator, "in2")
    source = bias.producer() if bias is not None and not bias.is_constant else None
    stored = operand(source, "in0") if source is not None and source.op_name == "DEQUANTIZE" else bias
    return stored is None or stored.is_constant


def _has_blocks(operator: Operator) -> bool:
    weights = operand(operator, "in1")
    return weights is not None and weights.quantization is not None and isinstance(weights.quantization.details, BlockwiseQuantization)


_FORMS: dict[str, Callable[[Operator], bool]] = {BASIC: CONDITIONS["basic_kernel"], BLOCKWISE: _has_blocks}
