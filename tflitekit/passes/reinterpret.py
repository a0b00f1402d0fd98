"""`set-input-stats --mode reinterpret`: new parameters for an input, and for all that depends on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._schema import TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, Operator, QuantizationParameters, SubGraph, Tensor
from ..quant.affine import Affine, Derived
from ..quant.rules import RULES, required_version
from .base import Notes
from .bias import BiasKeeper
from .chain import TWINS, Chain
from .input_stats import CODES, chosen_input, derived, outgrows, parameters_text, residual_text, stored_affine
from .normalization import keep_in_step
from .parameters import encoded_again
from .surgery import convert, copied_parameters, keep_up, operator_code, operators_of, parameters, place, tensor_like

if TYPE_CHECKING:
    from .set_input_stats import SetInputStats


def reinterpret(options: SetInputStats, model: Model, notes: Notes) -> None:
    """Set the parameters of the input that is meant, and let everything that reads them follow."""
    subgraph, source = chosen_input(model, options.input, lambda t: bool(_quantized(t)), "is quantized, directly or by the QUANTIZE that reads it")
    roots = _quantized(source)
    if not roots:
        raise RefusedError(_not_quantized(source))
    asked = _asked(options, roots[0].type)
    if all(stored_affine(root) == asked.stored for root in roots):
        notes.remark(source, f"has these parameters already: {parameters_text(asked.stored)}")
        _in_step(model, subgraph, source, asked, notes)
        return
    chain = Chain(model, dict.fromkeys(roots, asked.stored))
    biases, versions, operators = BiasKeeper(model), _needs(model, chain), operators_of(model)
    _separate(model, chain, notes)
    _set(model, chain, source, asked, notes)
    try:
        worst = biases.restore(notes)
    except RefusedError as error:
        ways = "Where codes are right and only what the input stands for was wrong, `set-quantization --keep codes` sets that tensor alone"
        raise RefusedError(f"{error}. {ways}") from None
    _raise_needed(model, versions)
    keep_up(model, operators, notes)
    if worst:
        notes.remark(source, f"largest rounding error of a bias: {worst:.3g} in real values", max_bias_error=worst)
    _warn_of_clipping(chain, notes)
    _in_step(model, subgraph, source, asked, notes)


def _quantized(tensor: Tensor) -> list[Tensor]:
    """The tensors that an input's parameters are those of: itself, or the outputs of the QUANTIZE that are all that reads a float."""
    if tensor.type in CODES:
        return [tensor] if stored_affine(tensor) is not None else []
    if tensor.type != TensorType.FLOAT32:
        return []
    readers = tensor.consumers()
    targets = [t for operator in readers for t in operator.outputs if t is not None]
    found = {stored_affine(t) for t in targets}
    return targets if readers and {o.op_name for o in readers} == {"QUANTIZE"} and len(found) == 1 and None not in found else []


def _not_quantized(tensor: Tensor) -> str:
    named = f"input {tensor.name_str!r} ({tensor.type.name})"
    if tensor.type == TensorType.FLOAT32:
        return (
            f"{named} takes real values, and is not only read by QUANTIZE with one set of parameters: there are none to correct. `--mode feed-raw` "
            "makes an input of raw bytes, `--metadata-only` states the normalization, `set-quantization` sets a tensor inside"
        )
    return f"{named} has no single scale and zero point to correct; `set-quantization` sets parameters of any tensor"


def _asked(options: SetInputStats, type_: TensorType) -> Derived:
    """What is asked for, in codes of the input's type; with `--dtype` the numbers are those of the twin type."""
    if not options.dtype or TensorType[options.dtype.upper()] == type_:
        return derived(options, type_)
    meant = TensorType[options.dtype.upper()]
    if (meant, type_) not in TWINS:
        raise EditError(f"--dtype {options.dtype}: the input holds {type_.name} codes. set-io-dtype changes the type of an input")
    asked = derived(options, meant)
    stored = asked.stored.shifted(type_)
    return Derived(asked.scale, asked.mean + stored.zero_point - asked.stored.zero_point, asked.std, asked.range, stored, asked.widened_from)


# ---- the edits ----


def _separate(model: Model, chain: Chain, notes: Notes) -> None:
    """Put in the QUANTIZE operators that keep apart what cannot share parameters."""
    made: dict[Tensor, Tensor] = {}
    for operator, tensor in chain.cuts:
        subgraph = chain.owners[operator]
        if tensor not in made:
            made[tensor] = tensor_like(model, subgraph, tensor, "_requantized", tensor.type, copied_parameters(tensor))
            convert(model, subgraph, tensor, made[tensor], _after_producer(subgraph, tensor))
        _read_instead(operator, tensor, made[tensor])
        notes.changed(operator, f"reads {tensor.name_str!r} through a QUANTIZE to the old parameters, since it cannot follow")
    outside: dict[Tensor, Tensor] = {}
    for operator, tensor in chain.foreign:
        subgraph = chain.owners[operator]
        if tensor not in outside:
            wanted = chain.affine_at(operator)
            target = parameters(wanted.scale, wanted.zero_point)
            outside[tensor] = tensor_like(model, subgraph, tensor, "_requantized", tensor.type, target)
            convert(model, subgraph, tensor, outside[tensor], _after_producer(subgraph, tensor))
        _read_instead(operator, tensor, outside[tensor])
        notes.changed(operator, f"reads {tensor.name_str!r} through a QUANTIZE to the new parameters, which it shares with the input")


def _after_producer(subgraph: SubGraph, tensor: Tensor) -> int:
    producer = tensor.producer()
    return 0 if producer is None else place(subgraph.operators, producer) + 1


def _read_instead(operator: Operator, old: Tensor, new: Tensor) -> None:
    operator.inputs = [new if tensor is old else tensor for tensor in operator.inputs]


def _set(model: Model, chain: Chain, source: Tensor, asked: Derived, notes: Notes) -> None:
    """New parameters for all members, and new codes for the constants that share them."""
    for tensor, affine in chain.members.items():
        before = stored_affine(tensor)
        _set_parameters(tensor, affine)
        was = "" if before is None else f"; before: {parameters_text(before)}"
        was += "; an output of the model" if tensor.subgraph is not None and any(tensor is t for t in tensor.subgraph.outputs) else ""
        data = {"scale": float(affine.scale), "zero_point": affine.zero_point}
        notes.changed(tensor, f"{'' if tensor in chain.roots else 'follows: '}{parameters_text(affine)}{was}", **data)
    if source not in chain.members:
        notes.remark(source, "the input takes real values: what was set are the parameters of the quantized tensor behind it")
    if (text := residual_text(asked)) != "":
        notes.remark(source, text, residual_lsb=asked.residual, residual_real=asked.residual * asked.scale)
    for operator, constant in chain.constants:
        _set_constant(model, chain, operator, constant, chain.affine_at(operator), notes)


def _set_parameters(tensor: Tensor, affine: Affine) -> None:
    q = tensor.quantization
    if q is None:
        tensor.quantization = parameters(affine.scale, affine.zero_point)
        return
    ranged = len(q.min) or len(q.max)
    q.scale, q.zero_point = np.array([affine.scale]), np.array([affine.zero_point])
    if ranged:
        q.min, q.max = (np.array([edge], np.float32) for edge in affine.range())


def _set_constant(model: Model, chain: Chain, operator: Operator, constant: Tensor, affine: Affine, notes: Notes) -> None:
    q = constant.quantization
    assert q is not None
    if stored_affine(constant) == affine:
        return
    if len(constant.consumers()) > 1 or constant in chain.owners[operator].outputs:
        copy = tensor_like(model, chain.owners[operator], constant, "_requantized", constant.type, copied_parameters(constant))
        copy.buffer = constant.buffer
        _read_instead(operator, constant, copy)
        constant, q = copy, copy.quantization or q
    old = QuantizationParameters(scale=q.scale, zero_point=q.zero_point if len(q.zero_point) else [0])
    error, clipped = encoded_again(model, constant, old, parameters(affine.scale, affine.zero_point))
    _set_parameters(constant, affine)
    notes.changed(
        constant, f"constant of {operator.op_name} shares the parameters; data encoded again, error at most {error:.3g}", max_error=error,
        clipped=clipped, scale=float(affine.scale), zero_point=affine.zero_point,
    )  # fmt: skip


# ---- what follows from it ----


def _needs(model: Model, chain: Chain) -> dict[Operator, int]:
    """The versions that the operators around the chain need."""
    return {
        operator: required_version(operator, RULES[operator.opcode.code].versions)
        for subgraph in model.subgraphs
        for operator in subgraph.operators
        if operator.opcode is not None and operator.opcode.code in RULES
        and any(t in chain.members for t in [*operator.inputs, *operator.outputs] if t is not None)
    }  # fmt: skip


def _raise_needed(model: Model, before: dict[Operator, int]) -> None:
    """Give an operator that needs a higher version than before an operator code of that version."""
    for operator, version in before.items():
        assert operator.opcode is not None
        needed = required_version(operator, RULES[operator.opcode.code].versions)
        if needed > version and operator.opcode.version < needed:
            operator.opcode = operator_code(model, operator.opcode.code, needed)


def _warn_of_clipping(chain: Chain, notes: Notes) -> None:
    """Say where a QUANTIZE or an operator of that kind cannot hold the new range."""
    for tensor, affine in chain.members.items():
        for operator in chain.readers(tensor):
            target = operator.outputs[0] if operator.outputs else None
            held = None if target is None or target in chain.members else stored_affine(target)
            if held is None or operator.op_name not in ("QUANTIZE", "CONCATENATION"):
                continue
            (low, high), (new_low, new_high) = held.range(), affine.range()
            if outgrows(affine, held):
                notes.remark(operator, f"clips {new_low:.6g} to {new_high:.6g} to {low:.6g} to {high:.6g}: set-quantization widens its output")


def _in_step(model: Model, subgraph: SubGraph, source: Tensor, asked: Derived, notes: Notes) -> None:
    """Metadata of an input of codes follows its parameters; that of a float input says how real values are made, which stays true."""
    if source.type in CODES:
        keep_in_step(model, subgraph, source, [asked.mean], [asked.std], notes)
