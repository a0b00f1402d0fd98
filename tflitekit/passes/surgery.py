"""Edits of the graph that passes share: putting operators in and out, moving readers, operator codes, names, parameters.

Each keeps the graph whole: versions suit the types, signatures follow their tensors, lists keep the order of what stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import Table, walk
from .._schema import BuiltinOperator, TensorType
from ..graph import Buffer, Model, Operator, OperatorCode, QuantizationParameters, SubGraph, Tensor, new_options
from ..quant.rules import RULES, required_version

if TYPE_CHECKING:
    from .base import Notes


def parameters(scale: Any, zero_point: Any, axis: int = 0) -> QuantizationParameters:
    """Fresh affine parameters: one (scale, zero point) or vectors of them along `axis`."""
    return QuantizationParameters(scale=np.atleast_1d(scale), zero_point=np.atleast_1d(zero_point), quantized_dimension=axis)


def same_parameters(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have equal scales (bit by bit), zero points and, where it matters, dimension."""
    a, b = one.quantization, other.quantization
    if a is None or b is None:
        return a is b
    if a.details is not None or b.details is not None:
        return False
    equal = a.scale.tobytes() == b.scale.tobytes() and a.zero_point.tobytes() == b.zero_point.tobytes()
    return equal and (len(a.scale) < 2 or a.quantized_dimension == b.quantized_dimension)


def copied_parameters(tensor: Tensor) -> QuantizationParameters | None:
    """The parameters of a tensor as an object of its own, without details (those refer to other tensors)."""
    q = tensor.quantization
    if q is None:
        return None
    return QuantizationParameters(
        scale=q.scale if q.has("scale") else None, zero_point=q.zero_point if q.has("zero_point") else None, min=q.min if q.has("min") else None,
        max=q.max if q.has("max") else None, quantized_dimension=q.quantized_dimension,
    )  # fmt: skip


# ---- tensors ----


def no_data(model: Model) -> Buffer:
    """The buffer of tensors that are computed: buffer 0, or a new empty one where a file keeps data there."""
    if not model.buffers:
        model.buffers.append(Buffer())
    return model.buffers[0] if not model.buffers[0].data else model.add_buffer()


def unique_name(subgraph: SubGraph, base: str | bytes) -> bytes:
    """`base`, or with the first number that makes it unique among the tensors of a subgraph."""
    wanted = base.encode() if isinstance(base, str) else base
    taken = {tensor.name for tensor in subgraph.tensors}
    name, number = wanted, 1
    while name in taken:
        name, number = wanted + b"_%d" % number, number + 1
    return name


def tensor_like(
    model: Model, subgraph: SubGraph, like: Tensor, suffix: str, type_: TensorType, quantization: QuantizationParameters | None
) -> Tensor:
    """A new computed tensor of the shape of another, named after it."""
    made = Tensor(
        name=unique_name(subgraph, (like.name or b"tensor") + suffix.encode()), shape=like.shape, type=type_, quantization=quantization,
        buffer=no_data(model), shape_signature=like.shape_signature if like.has("shape_signature") else None, has_rank=like.has_rank,
    )  # fmt: skip
    return subgraph.add_tensor(made)


def own_copy(subgraph: SubGraph, tensor: Tensor) -> Tensor:
    """A copy of a constant tensor, on the same buffer until its data is set."""
    made = Tensor(
        name=unique_name(subgraph, tensor.name or b"constant"), shape=tensor.shape, type=tensor.type, buffer=tensor.buffer,
        quantization=copied_parameters(tensor),
    )  # fmt: skip
    return subgraph.add_tensor(made)


def references(model: Model) -> Iterator[tuple[Table, str, int | None, Any]]:
    """Everything that refers to an object: (table, attribute, position in the list or None, the object), without placeholders and None."""
    from .._walk import reference_fields

    for _, table in walk(model):
        for field in reference_fields(type(table)):
            value = getattr(table, field.attribute)
            if field.kind == "vector":
                yield from ((table, field.attribute, i, item) for i, item in enumerate(value) if item is not None)
            elif value is not None:
                yield table, field.attribute, None, value


def pinned(model: Model) -> set[Tensor]:
    """The tensors that something besides operators' inputs and outputs refers to: the model's interface, signatures, quantization, intermediates."""
    return {
        target for table, attribute, _, target in references(model)
        if isinstance(target, Tensor) and not (isinstance(table, Operator) and attribute in ("inputs", "outputs"))
    }  # fmt: skip


def remove_unused(model: Model, subgraph: SubGraph, candidates: Iterable[Tensor]) -> list[Tensor]:
    """Take those of the tensors out of the subgraph that nothing refers to any more; returns them. Their buffers stay."""
    used = {target for _, _, _, target in references(model) if isinstance(target, Tensor)}
    gone = [tensor for tensor in dict.fromkeys(candidates) if tensor not in used]
    dead = set(gone)
    if dead:
        subgraph.tensors = [tensor for tensor in subgraph.tensors if tensor not in dead]
    return gone


# ---- operators ----


def operator_code(model: Model, code: BuiltinOperator, version: int) -> OperatorCode:
    """An entry for a builtin operator of at least this version: one that is there, else a new one at the end of the list."""
    found = [entry for entry in model.operator_codes if entry.code == code and entry.version >= version and not entry.custom_code]
    if found:
        return min(found, key=lambda entry: entry.version)
    made = OperatorCode(builtin_code=code, version=version)
    model.operator_codes.append(made)
    return made


def make_operator(model: Model, code: BuiltinOperator, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor | None], **options: Any) -> Operator:
    """An operator with its options table and an operator code of the version that its types need; it is in no list yet."""
    made = Operator(inputs=inputs, outputs=outputs)
    made.builtin_options = new_options(code, **options)
    made.opcode = OperatorCode(builtin_code=code)
    made.opcode = operator_code(model, code, required_version(made, RULES[code].versions))
    return made


def fit(model: Model, operator: Operator) -> None:
    """Let a QUANTIZE or DEQUANTIZE be what the types of its tensors need now: its operator code, version and options."""
    source, target = operator.inputs[0], operator.outputs[0]
    if source is None or target is None:
        return
    code = quantize_code(source, target)
    if operator.opcode is None or operator.opcode.code != code:
        operator.opcode, operator.builtin_options = OperatorCode(builtin_code=code), new_options(code)
    needed = required_version(operator, RULES[code].versions)
    if operator.opcode not in model.operator_codes or operator.opcode.version < needed:
        operator.opcode = operator_code(model, code, needed)


def remove_operators(subgraph: SubGraph, operators: Iterable[Operator]) -> None:
    """Take operators out of a subgraph; what they computed must have no readers left."""
    dead = set(operators)
    subgraph.operators = [operator for operator in subgraph.operators if operator not in dead]


def remove_unused_codes(model: Model, candidates: Iterable[OperatorCode | None]) -> list[OperatorCode]:
    """Take those of the operator codes out of the model that no operator has any more; returns them."""
    used = {operator.opcode for operator in model.operators()}
    dead = [code for code in dict.fromkeys(candidates) if code is not None and code not in used and code in model.operator_codes]
    if dead:
        model.operator_codes = [code for code in model.operator_codes if code not in dead]
    return dead


def quantize_code(source: Tensor, target: Tensor) -> BuiltinOperator:
    """The operator that turns the values of one tensor into those of another: DEQUANTIZE to floats, else QUANTIZE."""
    return BuiltinOperator.DEQUANTIZE if target.type in (TensorType.FLOAT32, TensorType.FLOAT16) else BuiltinOperator.QUANTIZE


def convert(model: Model, subgraph: SubGraph, source: Tensor, target: Tensor, position: int) -> Operator:
    """Put in the QUANTIZE or DEQUANTIZE that computes `target` from `source`, at a position of the operator list."""
    made = make_operator(model, quantize_code(source, target), [source], [target])
    subgraph.operators.insert(position, made)
    return made


def place(items: Sequence[Any], item: Any) -> int:
    """The position of an object in a list, by identity; the length where it is not there."""
    return next((i for i, other in enumerate(items) if other is item), len(items))


def first_reader(subgraph: SubGraph, tensor: Tensor) -> int:
    """The position of the first operator that reads a tensor; the number of operators if none does."""
    return next((i for i, operator in enumerate(subgraph.operators) if tensor in operator.inputs), len(subgraph.operators))


def redirect(operators: Iterable[Operator], old: Tensor, new: Tensor) -> int:
    """Let operators read another tensor; returns how many places changed."""
    count = 0
    for operator in operators:
        for i, tensor in enumerate(operator.inputs):
            if tensor is old:
                operator.inputs[i] = new
                count += 1
    return count


def redirect_output(operator: Operator, old: Tensor, new: Tensor) -> None:
    """Let an operator write another tensor."""
    operator.outputs = [new if tensor is old else tensor for tensor in operator.outputs]


def replace_io(model: Model, subgraph: SubGraph, old: Tensor, new: Tensor, *, side: str) -> None:
    """Put `new` in place of `old` among the inputs or outputs ("inputs", "outputs") of a subgraph and in all signatures of it."""
    setattr(subgraph, side, [new if tensor is old else tensor for tensor in getattr(subgraph, side)])
    for signature in model.signature_defs:
        if signature.subgraph is subgraph:
            for entry in getattr(signature, side):
                if entry.tensor is old:
                    entry.tensor = new


def raise_versions(model: Model) -> list[tuple[OperatorCode, int]]:
    """Raise every operator code to the version that its operators' types need; never lower one. Returns the codes with their old versions."""
    needed: dict[OperatorCode, int] = {}
    for operator in model.operators():
        if operator.opcode is not None and (rule := RULES.get(operator.opcode.code)) is not None:
            needed[operator.opcode] = max(needed.get(operator.opcode, 0), required_version(operator, rule.versions))
    raised = []
    for code, version in needed.items():
        if code.version < version:
            raised.append((code, code.version))
            code.version = version
    return raised


# ---- metadata that speaks of operators ----

CONTROL_DEPENDENCIES, MIN_RUNTIME = b"model_control_dependencies", b"min_runtime_version"


def drop_control_dependencies(model: Model) -> bool:
    """Take out the entry that lists pairs of operator positions, for passes that move operators; returns whether there was one.

    The runtime does without it (LiteRT core/interpreter.cc: it then takes the order of the list), but would follow a stale one.
    """
    kept = [entry for entry in model.metadata if entry.name != CONTROL_DEPENDENCIES]
    found = len(kept) < len(model.metadata)
    if found:
        model.metadata = kept
    return found


def raise_min_runtime(model: Model, codes: Iterable[OperatorCode]) -> tuple[str, str] | None:
    """Raise the entry min_runtime_version to what these operator codes need; never lower it. Returns (old, new), None where nothing changed.

    A model without the entry gets none. The text is kept in 16 bytes padded with zeros, as converters write it.
    """
    entry = next((entry for entry in model.metadata if entry.name == MIN_RUNTIME), None)
    data = getattr(entry.buffer, "data", None) if entry is not None else None
    if entry is None or data is None:
        return None
    old = bytes(data).rstrip(b"\0").decode("ascii", "replace")
    needed = [rule.versions.runtime_for(code.version) for code in codes if (rule := RULES.get(code.code)) is not None]
    new = max([old, *(version for version in needed if version is not None)], key=_numbers)
    if new == old:
        return None
    entry.buffer = model.add_buffer(new.encode().ljust(16, b"\0"))
    return old, new


def operators_of(model: Model) -> dict[Operator, OperatorCode | None]:
    """All operators with their operator codes, for `keep_up`."""
    return {operator: operator.opcode for operator in model.operators()}


def keep_up(model: Model, before: dict[Operator, OperatorCode | None], notes: Notes, raised: Iterable[OperatorCode] = ()) -> None:
    """Let metadata follow operators that came, went, or have another operator code since `before`, and operator codes whose version was raised."""
    after = operators_of(model)
    changed = [code for operator, code in after.items() if operator not in before or code is not before[operator]]
    if versions := raise_min_runtime(model, [*(code for code in changed if code is not None), *raised]):
        notes.changed("metadata", f"min_runtime_version {versions[0]} raised to {versions[1]}")
    if after.keys() != before.keys() and drop_control_dependencies(model):
        notes.changed("metadata", "model_control_dependencies taken out: it lists operators by position, and those moved")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
