"""`set-input-stats --mode feed-raw`: an input of raw bytes in front of a model that is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._schema import ActivationFunctionType, BuiltinOperator, Padding, TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, Operator, SubGraph, Tensor
from ..quant.affine import Affine, Derived
from ..quant.rules import RULES
from ..types import INTEGER_RANGES
from .base import Notes
from .input_stats import CODES, chosen_input, derived, outgrows, parameters_text, residual_text, stored_affine
from .normalization import keep_in_step
from .surgery import (
    convert,
    copied_parameters,
    first_reader,
    keep_up,
    make_operator,
    no_data,
    operators_of,
    parameters,
    place,
    redirect,
    remove_unused,
    replace_io,
    tensor_like,
    unique_name,
)

if TYPE_CHECKING:
    from .set_input_stats import SetInputStats

Floats = npt.NDArray[np.float32]
FOLDABLE = (BuiltinOperator.CONV_2D, BuiltinOperator.DEPTHWISE_CONV_2D)


def feed_raw(options: SetInputStats, model: Model, notes: Notes) -> None:
    """Put an integer input in front of the input that is meant, and what makes the old one of it."""
    subgraph, tensor = chosen_input(model, options.input, _takes_numbers, "takes numbers that could be fed raw")
    if not _takes_numbers(tensor):
        raise RefusedError(f"input {tensor.name_str!r} is {tensor.type.name}{_why_not(tensor)}")
    operators, type_ = operators_of(model), TensorType[(options.dtype or "uint8").upper()]
    if options.exact or options.fold:
        _in_floats(options, model, subgraph, tensor, type_, notes)
    else:
        _with_parameters(options, model, subgraph, tensor, type_, notes)
    keep_up(model, operators, notes)


def _with_parameters(options: SetInputStats, model: Model, subgraph: SubGraph, tensor: Tensor, type_: TensorType, notes: Notes) -> None:
    """The normalization as the parameters of the new input."""
    if isinstance(options.mean, tuple) or isinstance(options.std, tuple):
        raise EditError("one scale and zero point cannot hold a mean and std for each channel: add --exact (SUB and MUL in floats) or --fold")
    asked = derived(options, type_)
    if stored_affine(tensor) == asked.stored:
        notes.remark(tensor, f"takes these numbers already: {parameters_text(asked.stored)}")
        keep_in_step(model, subgraph, tensor, [asked.mean], [asked.std], notes)
        return
    made = _new_input(model, subgraph, tensor, asked.stored, notes)
    operator = _quantize_directly(model, subgraph, tensor, made)
    if operator is None:
        operator = convert(model, subgraph, made, tensor, first_reader(subgraph, tensor))
    _tell(made, operator, asked, notes)
    _tell_clipping(asked.stored, operator, notes)
    keep_in_step(model, subgraph, made, [asked.mean], [asked.std], notes, raw=True)


def _takes_numbers(tensor: Tensor) -> bool:
    return tensor.type == TensorType.FLOAT32 or stored_affine(tensor) is not None


def _why_not(tensor: Tensor) -> str:
    if tensor.type in INTEGER_RANGES and not tensor.is_quantized:
        return " without parameters: it takes plain numbers already, and what the model makes of them is not stated"
    return ": neither FLOAT32 nor quantized with one scale, so that no QUANTIZE or DEQUANTIZE gives it"


def _tell(made: Tensor, operator: Operator, asked: Derived, notes: Notes) -> None:
    stored = asked.stored
    notes.changed(
        made, f"new {stored.type.name} input, {parameters_text(stored)}; {operator.op_name} makes of it what the model takes",
        scale=float(stored.scale), zero_point=stored.zero_point,
    )  # fmt: skip
    if text := residual_text(asked):
        more = ". --exact has no residual" if "Residual" in text else ""
        notes.remark(made, f"{text}{more}", residual_lsb=asked.residual, residual_real=asked.residual * asked.scale)


def _tell_clipping(stored: Affine, operator: Operator, notes: Notes) -> None:
    target = operator.outputs[0] if operator.outputs else None
    held = None if target is None else stored_affine(target)
    if held is None:
        return
    (low, high), (inner_low, inner_high) = stored.range(), held.range()
    if outgrows(stored, held):
        notes.remark(target, f"the model holds {inner_low:.6g} to {inner_high:.6g}: of {low:.6g} to {high:.6g}, the rest is clipped")


def _new_input(model: Model, subgraph: SubGraph, tensor: Tensor, stored: Affine, notes: Notes) -> Tensor:
    """A tensor that takes the place, the name and the index of an input; the old one is named after what it holds."""
    name = tensor.name
    made = tensor_like(model, subgraph, tensor, "_raw", stored.type, parameters(stored.scale, stored.zero_point))
    subgraph.tensors[place(subgraph.tensors, tensor)] = made
    subgraph.tensors[-1] = tensor
    tensor.is_variable = False  # an operator computes it now, and the runtime gives such tensors no memory of a variable
    if name:
        tensor.name = unique_name(subgraph, name + b"_normalized")
    if any(t is tensor for t in subgraph.outputs):
        notes.remark(tensor, "is an output too, with the values that the input had; signatures call it as before")
    made.name = name
    replace_io(model, subgraph, tensor, made, side="inputs")
    return made


def _quantize_directly(model: Model, subgraph: SubGraph, tensor: Tensor, made: Tensor) -> Operator | None:
    """Where QUANTIZE is all that reads a float input, it can read the codes itself, and the float tensor goes; None if that cannot be."""
    readers = tensor.consumers()
    pairs = RULES[BuiltinOperator.QUANTIZE].pairs
    outputs = [t for operator in readers for t in operator.outputs]
    if tensor.type != TensorType.FLOAT32 or not readers or any(o.op_name != "QUANTIZE" for o in readers) or tensor in subgraph.outputs:
        return None
    if any(t is None or (made.type, t.type) not in pairs or stored_affine(t) is None for t in outputs):
        return None
    redirect(readers, tensor, made)
    remove_unused(model, subgraph, [tensor])
    return readers[0]


# ---- in floats ----


def _in_floats(options: SetInputStats, model: Model, subgraph: SubGraph, tensor: Tensor, type_: TensorType, notes: Notes) -> None:
    """The input's codes as plain numbers, normalized by SUB and MUL or by the weights of the first convolution."""
    mean, std = (np.atleast_1d(np.asarray(v, np.float64)) for v in (options.mean, options.std))
    channels = {len(mean), len(std)} - {1}
    if len(channels) > 1 or (channels and (not tensor.shape or channels != {tensor.shape[-1]})):
        raise EditError(f"{len(mean)} means and {len(std)} stds: expected one of each, or one for each channel of shape {list(tensor.shape)}")
    plain = Affine(np.float32(1), 0, type_)
    if options.fold:
        readers = _foldable(tensor, subgraph)
        made = _new_input(model, subgraph, tensor, plain, notes)
        convert(model, subgraph, made, tensor, first_reader(subgraph, tensor))
        for operator in readers:
            _fold(model, subgraph, operator, mean, std, notes)
        how = f"DEQUANTIZE makes floats of it, and {', '.join(o.op_name for o in readers)} normalizes by its weights"
    else:
        if _normalizes_already(tensor, plain, mean, std):
            notes.remark(tensor, "takes these numbers already: SUB and MUL normalize them")
            return
        made = _new_input(model, subgraph, tensor, plain, notes)
        _insert_normalization(model, subgraph, made, tensor, mean, std)
        how = "DEQUANTIZE, SUB and MUL normalize it in floats" + ("" if tensor.type == TensorType.FLOAT32 else ", QUANTIZE makes codes of that")
    notes.changed(made, f"new {type_.name} input of plain numbers; {how}", mean=mean.tolist(), std=std.tolist())
    keep_in_step(model, subgraph, made, [0.0], [1.0], notes, raw=True)


def _scaled(mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    """(mean, 1 / std) as the constants of SUB and MUL, each rounded to float32 once."""
    return mean.astype(np.float32), (1 / std).astype(np.float32)


def _insert_normalization(
    model: Model, subgraph: SubGraph, made: Tensor, tensor: Tensor, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]
) -> None:
    position = first_reader(subgraph, tensor)
    subtracted, factor = _scaled(mean, std)
    real = tensor if tensor.type == TensorType.FLOAT32 else tensor_like(model, subgraph, made, "_real", TensorType.FLOAT32, None)
    number, moved = (tensor_like(model, subgraph, made, suffix, TensorType.FLOAT32, None) for suffix in ("_number", "_less_mean"))
    convert(model, subgraph, made, number, position)
    for offset, (code, source, value, suffix, target) in enumerate((
        (BuiltinOperator.SUB, number, subtracted, "_mean", moved), (BuiltinOperator.MUL, moved, factor, "_factor", real),
    )):  # fmt: skip
        constant = _constant(model, subgraph, made, suffix, value)
        operator = make_operator(model, code, [source, constant], [target], fused_activation_function=ActivationFunctionType.NONE)
        subgraph.operators.insert(position + 1 + offset, operator)
    if real is not tensor:
        convert(model, subgraph, real, tensor, position + 3)


def _constant(model: Model, subgraph: SubGraph, like: Tensor, suffix: str, value: Floats) -> Tensor:
    made = Tensor(name=unique_name(subgraph, (like.name or b"tensor") + suffix.encode()), shape=value.shape, type=TensorType.FLOAT32)
    made.buffer = model.add_buffer(np.ascontiguousarray(value).tobytes())
    return subgraph.add_tensor(made)


def _normalizes_already(tensor: Tensor, plain: Affine, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64]) -> bool:
    """Whether an input of plain numbers is followed by just this normalization."""
    current: Tensor = tensor
    if stored_affine(tensor) != plain:
        return False
    for name, constant in (("DEQUANTIZE", None), *zip(("SUB", "MUL"), _scaled(mean, std), strict=True)):
        readers = current.consumers()
        if len(readers) != 1 or readers[0].op_name != name or readers[0].outputs[0] is None:
            return False
        if constant is not None:
            held = readers[0].inputs[1]
            if held is None or not held.is_constant or held.type != TensorType.FLOAT32 or held.numpy().tobytes() != constant.tobytes():
                return False
        current = readers[0].outputs[0]
    return True


# ---- folding ----


def _foldable(tensor: Tensor, subgraph: SubGraph) -> list[Operator]:
    """The convolutions that read an input, if nothing else does and their weights can take the normalization; RefusedError says why not."""
    where = f"input {tensor.name_str!r}"
    if tensor.type in CODES:
        raise RefusedError(f"{where} is {tensor.type.name}: --fold changes float weights. --exact normalizes in floats in front of it")
    readers = tensor.consumers()
    if not readers or any(t is tensor for t in subgraph.outputs):
        raise RefusedError(f"{where} is not read by convolutions alone. --exact puts SUB and MUL in front of them")
    for operator in readers:
        why = _unfoldable(operator, tensor)
        if why:
            raise RefusedError(f"{where}: {operator.op_name}, which reads it, cannot take the normalization: {why}. --exact needs no weights")
    return readers


def _unfoldable(operator: Operator, tensor: Tensor) -> str:
    if operator.opcode is None or operator.opcode.code not in FOLDABLE:
        return "it is no convolution"
    padding = getattr(operator.options, "padding", None)
    weights, bias = (operator.inputs[position] if len(operator.inputs) > position else None for position in (1, 2))
    if weights is None or weights.type != TensorType.FLOAT32 or not weights.is_constant or weights.sparsity is not None or len(weights.shape) != 4:
        return "its weights are no plain float constant"
    if bias is not None and (bias.type != TensorType.FLOAT32 or not bias.is_constant):
        return "its bias is no plain float constant"
    if padding != Padding.VALID and not (tuple(weights.shape[1:3]) == (1, 1) and _stride_keeps(operator)):
        return "its padding is not VALID, and padded zeros would be normalized too"
    if operator.opcode.code == BuiltinOperator.CONV_2D and weights.shape[3] != tensor.shape[-1]:
        return "it is grouped"
    return ""


def _stride_keeps(operator: Operator) -> bool:
    return (getattr(operator.options, "stride_w", 0), getattr(operator.options, "stride_h", 0)) == (1, 1)


def _fold(
    model: Model, subgraph: SubGraph, operator: Operator, mean: npt.NDArray[np.float64], std: npt.NDArray[np.float64], notes: Notes
) -> None:
    """Normalize by weights: w * (x - mean) / std = (w / std) * x - w * mean / std, in float64, rounded to float32 once."""
    weights, bias = (operator.inputs[position] if len(operator.inputs) > position else None for position in (1, 2))
    assert weights is not None
    assert operator.opcode is not None
    old = weights.numpy().astype(np.float64)
    if operator.opcode.code == BuiltinOperator.CONV_2D:
        scaled = old / std
        shift = -(scaled * mean).sum(axis=(1, 2, 3))
    else:  # output channel = input channel * multiplier + number
        inputs = operator.inputs[0].shape[-1] if operator.inputs[0] is not None else 1
        each = [np.repeat(np.broadcast_to(v, (inputs,)), old.shape[3] // inputs) for v in (mean, std)]
        scaled = old / each[1]
        shift = -(scaled * each[0]).sum(axis=(0, 1, 2))
    operator.inputs[1] = _replaced(model, subgraph, weights, scaled)
    if bias is None:
        operator.inputs = [*operator.inputs[:2], _constant(model, subgraph, weights, "_bias", shift.astype(np.float32))]
    else:
        operator.inputs[2] = _replaced(model, subgraph, bias, bias.numpy().astype(np.float64) + shift)
    notes.changed(operator, f"{operator.op_name}: its weights and bias now normalize its input")


def _replaced(model: Model, subgraph: SubGraph, tensor: Tensor, values: npt.NDArray[np.float64]) -> Tensor:
    """A constant with other values; one that others read too is copied first."""
    if len(tensor.consumers()) > 1 or any(t is tensor for t in subgraph.outputs):
        copy = Tensor(
            name=unique_name(subgraph, (tensor.name or b"tensor") + b"_folded"), shape=tensor.shape, type=tensor.type, buffer=no_data(model),
            quantization=copied_parameters(tensor),
        )  # fmt: skip
        tensor = subgraph.add_tensor(copy)
    model.set_data(tensor, values.astype(np.float32))
    return tensor

