"""What the runtimes make of the scales of an operator together, when they prepare it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..._schema import ActivationFunctionType, TensorType
from ...graph import Tensor
from ...quant.rules import Reaction, Role, Runtime
from ...quant.rules.notation import refuses
from ...quant.rules.scale_test import COMPARED, bound_refused, product_refused
from ...quant.rules.versions import option, values_of
from ..execution import CODE_TYPES, WEIGHT_DEQUANTIZE, is_code
from ..findings import Step

SMALLEST_NORMAL = 2.0**-126  # of float32; XNNPACK refuses scales below it
_REFUSED, _INVALID = refuses("kernel_util.cc"), refuses("unsupported scale value")


def seen(tensor: Tensor | None) -> float:
    """The scale that kernels see of a tensor: 0 where there is none or several."""
    quantization = tensor.quantization if tensor is not None else None
    return float(quantization.scale[0]) if quantization is not None and len(quantization.scale) == 1 else 0.0


def refusals(step: Step) -> Mapping[Runtime, Reaction]:
    """Who refuses the scales of an operator as they are together."""
    name, activation = step.rule.name, step.activation
    output = step.outputs[0] if step.outputs else None
    if activation is None or output is None:
        return {}
    data, weights, bias = _factors(step)
    compared = activation in COMPARED.get(name, ()) and data is not None and weights is not None and not step.per_channel
    refused = compared and product_refused(seen(data), seen(weights), seen(output), seen(bias) if bias is not None else None)
    fused = option(step.operator, "fused_activation_function", ActivationFunctionType.NONE)
    coded = output.type in (TensorType.INT8, TensorType.UINT8, TensorType.INT16)
    if not refused and not (coded and bound_refused(name, fused, seen(output))):
        return {}
    found = {Runtime.REFERENCE: _REFUSED, Runtime.OPTIMIZED: _REFUSED}
    scales = [seen(t) for t in (data, weights, bias, output) if t is not None]
    if activation not in step.rule.delegated or 0.0 in scales:
        found[Runtime.XNNPACK] = _REFUSED  # the delegate leaves it to the kernels, or refuses it too
    elif not all(scale >= SMALLEST_NORMAL for scale in scales):
        found[Runtime.XNNPACK] = _INVALID
    return found


def left_alone(step: Step) -> bool:
    """Whether XNNPACK leaves an operator that it takes otherwise to the kernels: for codes without parameters, constants, too many parts."""
    if step.rule.name == "SPLIT" and not 2 <= len(step.outputs) <= 4:
        return True
    if step.rule.name == "CONCATENATION" and not 2 <= len(step.operator.inputs) <= 5:
        return True
    if step.rule.name == "DEQUANTIZE":
        return step.run.mode == WEIGHT_DEQUANTIZE
    if step.rule.name == "STRIDED_SLICE" and not _is_plain_slice(step):
        return True
    inputs = [t for t, role in zip(step.operator.inputs, step.run.roles, strict=False) if t is not None and role in (Role.ACTIVATION, Role.WEIGHTS)]
    return any(t.type in CODE_TYPES and not is_code(t) for t in (*inputs, *step.outputs))


def _is_plain_slice(step: Step) -> bool:
    """Whether a STRIDED_SLICE says at once, for each dimension, from where to where: constants, steps of 1, no dimension more or less."""
    data, *places = (*step.operator.inputs, None, None, None, None)[:4]
    if data is None or any(t is None or not t.is_constant or t.shape != (len(data.shape),) for t in places):
        return False
    strides = values_of(places[2])
    masks = (option(step.operator, f"{name}_mask", 0) for name in ("ellipsis", "new_axis", "shrink_axis"))
    return strides is not None and bool((strides == 1).all()) and not any(masks)


def _factors(step: Step) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """(data, weights, bias) of an operator that multiplies."""
    inputs = step.operator.inputs
    order = (2, 1, 3) if step.rule.name == "TRANSPOSE_CONV" else (0, 1, 2)
    data, weights, bias = (inputs[n] if n < len(inputs) else None for n in order)
    return data, weights, bias if step.rule.biases else None


def amended(step: Step, known: Mapping[Runtime, Reaction]) -> Mapping[Runtime, Reaction]:
    """What is known of one deviation, with what the scales together lead to."""
    found = dict(known)
    if known and left_alone(step):
        found.pop(Runtime.XNNPACK, None)
        if Runtime.OPTIMIZED in known:
            found[Runtime.XNNPACK] = known[Runtime.OPTIMIZED]
    for runtime, reaction in refusals(step).items():
        if runtime not in found or found[runtime].outcome == "runs":
            found[runtime] = reaction
    return MappingProxyType(found)
