"""The edits that change the type of one input or output of a subgraph.

The tensor of the interface stays the object that it was, so that its name, its place and the signatures stay right by themselves. First it becomes
the tensor that is behind it: a QUANTIZE or DEQUANTIZE between the two is taken out (`_expose_...`). If that is not what was wanted yet, another
tensor takes its place inside, and operators lead from one to the other (`_cover...`).
"""

from __future__ import annotations

from .._schema import BuiltinOperator, TensorType
from ..errors import EditError, RefusedError
from ..graph import Model, Operator, OperatorCode, QuantizationParameters, SubGraph, Tensor
from ..quant.affine import Affine
from .io_dtype_codes import FLOAT, WIDTHS, can_quantize, codes_of, in_type, is_unary, leads_inward, table
from .surgery import (
    convert,
    copied_parameters,
    first_reader,
    fit,
    no_data,
    place,
    redirect,
    redirect_output,
    remove_operators,
    replace_io,
    tensor_like,
)  # fmt: skip

QUANTIZE, DEQUANTIZE = BuiltinOperator.QUANTIZE, BuiltinOperator.DEQUANTIZE
INPUTS, OUTPUTS = "inputs", "outputs"


class Interface:
    """What the edits of inputs and outputs share: one subgraph, and what became of its operators.

    `pinned` are the tensors that more than operators refer to. `unused` may be unreferenced now, `dropped` are operator codes that lost an operator,
    `added` those of new ones; `log` says what was done, in words, and is emptied by the caller.
    """

    def __init__(self, model: Model, subgraph: SubGraph, pinned: set[Tensor]) -> None:
        self.model, self.subgraph, self.pinned = model, subgraph, pinned
        self.unused: list[Tensor] = []
        self.dropped: list[OperatorCode | None] = []
        self.added: list[OperatorCode] = []
        self.log: list[str] = []

    # ---- looking ----

    def is_internal(self, tensor: Tensor) -> bool:
        """Whether a tensor is computed by operators for operators, so that another may take its place."""
        free = tensor.subgraph is self.subgraph and tensor not in self.pinned and not tensor.is_variable and not tensor.is_constant
        return free and tensor.producer() is not None

    def is_listed(self, tensor: Tensor, side: str) -> bool:
        """Whether a tensor is an input or output of the subgraph, or of a signature of it."""
        signatures = [signature for signature in self.model.signature_defs if signature.subgraph is self.subgraph]
        return tensor in getattr(self.subgraph, side) or any(entry.tensor is tensor for s in signatures for entry in getattr(s, side))

    # ---- editing ----

    def retag(self, tensor: Tensor, codes: Affine | None, like: QuantizationParameters | None = None) -> None:
        """Give a tensor the type and parameters of `codes`, or make it FLOAT32."""
        tensor.type = FLOAT if codes is None else codes.type
        tensor.quantization = None if codes is None else table(codes, like)

    def drop(self, operator: Operator) -> None:
        """Take an operator out; its output may be unused then."""
        self.dropped.append(operator.opcode)
        self.unused += [tensor for tensor in operator.outputs if tensor is not None]
        remove_operators(self.subgraph, [operator])
        self.log.append(f"{operator.op_name} taken out")

    def connect(self, source: Tensor, target: Tensor, position: int) -> None:
        """Put in what computes `target` from `source`: one operator, or two QUANTIZE with INT8 between them where one has no kernel."""
        if target.type != FLOAT and not can_quantize(source.type, target.type):
            narrow = source if source.type in WIDTHS and WIDTHS[source.type] == 8 else target
            between = codes_of(narrow).shifted(TensorType.INT8)
            middle = tensor_like(self.model, self.subgraph, target, "_int8", TensorType.INT8, table(between))
            self.connect(source, middle, position)
            source, position = middle, position + 1
        made = convert(self.model, self.subgraph, source, target, position)
        assert made.opcode is not None
        self.added.append(made.opcode)
        self.log.append(f"{made.op_name} put in")

    def refit(self, operator: Operator) -> None:
        """Give a QUANTIZE or DEQUANTIZE whose tensors changed their types the operator code that it needs now."""
        before = operator.opcode
        fit(self.model, operator)
        if operator.opcode is not before and operator.opcode is not None:
            self.dropped.append(before)
            self.added.append(operator.opcode)

    def inside(self, tensor: Tensor, spare: Tensor | None) -> Tensor:
        """A tensor that takes the place of one of the interface: a spare one of its kind, or a new one of its type and parameters."""
        if spare is not None and spare.type == tensor.type:
            return spare
        return tensor_like(self.model, self.subgraph, tensor, f"_{tensor.type.name.lower()}", tensor.type, copied_parameters(tensor))

    def hand_over(self, old: Tensor, new: Tensor) -> None:
        """Let another tensor be the output, where an input is one too."""
        if self.is_listed(old, OUTPUTS):
            replace_io(self.model, self.subgraph, old, new, side=OUTPUTS)
            self.pinned.add(new)


class Inputs(Interface):
    """Changes inputs."""

    def change(self, tensor: Tensor, wanted: TensorType) -> None:
        """Give an input another type; RefusedError with the reason, before anything is changed."""
        if tensor.is_constant or tensor.is_variable:
            raise RefusedError("it holds data or state of its own, which another type would change")
        spare = self._expose_codes(tensor) if tensor.type == FLOAT else self._expose_core(tensor, codes_of(tensor), wanted)
        if tensor.type == wanted:
            return
        if wanted == FLOAT:
            self._cover_with_floats(tensor, spare)
        else:
            self._cover_with_codes(tensor, wanted, spare)

    def _expose_codes(self, tensor: Tensor) -> Tensor | None:
        """Make a float input the tensor that its QUANTIZE computes; what else reads it reads what a DEQUANTIZE makes of it."""
        readers = tensor.consumers()
        found = {operator: codes for operator in readers if (codes := _quantized(operator)) is not None}
        if not found:
            raise RefusedError(_no_scale(readers))
        core = max(found.values(), key=lambda codes: (codes.range().max - codes.range().min, -float(codes.scale)))
        boundary = [operator for operator, codes in found.items() if codes == core]
        rest = [operator for operator in readers if operator not in boundary]
        copy = None
        if rest or self.is_listed(tensor, OUTPUTS):
            copy = tensor_like(self.model, self.subgraph, tensor, "_float32", FLOAT, None)
            redirect(rest, tensor, copy)
            self.hand_over(tensor, copy)
        spare = self._merge(tensor, core, boundary)
        if copy is not None:
            self.connect(tensor, copy, first_reader(self.subgraph, copy))
            names = ", ".join(sorted({operator.op_name for operator in rest})) or "the output that it also is"
            self.log.append(f"{names} get the values of these codes, in floats")
        return spare

    def _expose_core(self, tensor: Tensor, own: Affine, wanted: TensorType) -> Tensor | None:
        """Make an input of codes the tensor behind its QUANTIZE, as long as that leads to the wanted type. A DEQUANTIZE takes any codes."""
        spare = None
        while not self.is_listed(tensor, OUTPUTS):
            readers = [operator for operator in tensor.consumers() if not is_unary(operator, DEQUANTIZE)]
            found = [_quantized(operator) for operator in readers]
            core = found[0] if found else None
            if core is None or any(codes != core for codes in found) or not leads_inward(own, core, wanted):
                break
            if core == own and not any(self._out_is_internal(operator) for operator in readers):
                break
            spare, own = self._merge(tensor, core, readers), core
        return spare

    def _merge(self, tensor: Tensor, core: Affine, operators: list[Operator]) -> Tensor | None:
        """Take out the QUANTIZE operators whose results the input has itself now. Returns the first of the tensors that are free then."""
        first = operators[0].outputs[0]
        assert first is not None
        self.retag(tensor, core, first.quantization)
        spare = None
        for operator in operators:
            out = operator.outputs[0]
            assert out is not None
            if self.is_internal(out):
                self.drop(operator)
                redirect(out.consumers(), out, tensor)
                spare = spare or out
            else:
                self.refit(operator)  # it copies codes to the same codes
        return spare

    def _cover_with_floats(self, tensor: Tensor, spare: Tensor | None) -> None:
        readers = tensor.consumers()
        own = codes_of(tensor)
        boundary = [operator for operator in readers if is_unary(operator, DEQUANTIZE) and self._out_is_internal(operator)]
        copies = [operator for operator in readers if _quantized(operator) == own]
        for operator in boundary:
            out = operator.outputs[0]
            assert out is not None
            self.drop(operator)
            redirect(out.consumers(), out, tensor)
        self._cover(tensor, None, [operator for operator in readers if operator not in boundary and operator not in copies], spare)
        for operator in copies:
            self.refit(operator)

    def _cover_with_codes(self, tensor: Tensor, wanted: TensorType, spare: Tensor | None) -> None:
        readers, target = tensor.consumers(), in_type(codes_of(tensor), wanted)
        shift = WIDTHS[tensor.type] == WIDTHS[wanted] and spare is None and not self.is_listed(tensor, OUTPUTS)
        if shift and all(_takes(operator, wanted) for operator in readers):
            self.retag(tensor, target, tensor.quantization)
            for operator in readers:
                self.refit(operator)
            return
        rest = [operator for operator in readers if not is_unary(operator, DEQUANTIZE)]
        self._cover(tensor, target, rest or readers, spare)
        for operator in readers if rest else ():
            if operator not in rest:
                self.refit(operator)

    def _cover(self, tensor: Tensor, target: Affine | None, readers: list[Operator], spare: Tensor | None) -> None:
        """Let readers, and the outputs that this input is, have a tensor of the present type, computed from the input of the new one."""
        listed = self.is_listed(tensor, OUTPUTS)
        if not readers and not listed:
            self.retag(tensor, target, tensor.quantization)
            return
        inner = self.inside(tensor, spare)
        redirect(readers, tensor, inner)
        self.hand_over(tensor, inner)
        self.retag(tensor, target, tensor.quantization)
        self.connect(tensor, inner, first_reader(self.subgraph, inner))

    def _out_is_internal(self, operator: Operator) -> bool:
        return operator.outputs[0] is not None and self.is_internal(operator.outputs[0])


class Outputs(Interface):
    """Changes outputs."""

    def change(self, tensor: Tensor, wanted: TensorType) -> None:
        """Give an output another type; RefusedError with the reason, before anything is changed."""
        if self.is_listed(tensor, INPUTS):
            self._split(tensor, wanted)
            return
        self._check(tensor)
        if tensor.type == FLOAT:
            core, position, spare = self._expose_codes(tensor)
        else:
            core, position, spare = self._expose_core(tensor, codes_of(tensor), wanted)
        if core is not tensor:
            self.retag(tensor, None if wanted == FLOAT else in_type(codes_of(core), wanted), core.quantization)
            self.connect(core, tensor, position)
        elif tensor.type != wanted:
            self._cover(tensor, wanted, spare)

    def _check(self, tensor: Tensor) -> None:
        writers = sum(1 for operator in self.subgraph.operators if tensor in operator.outputs)
        if tensor.is_variable:
            raise RefusedError("it is a variable, which keeps its value from run to run")
        if tensor.sparsity is not None or tensor.external_buffer is not None:
            raise RefusedError("it is sparse" if tensor.sparsity is not None else "its data is in another file")
        if writers + tensor.is_constant != 1:
            raise RefusedError("it is computed twice" if writers else "no operator computes it")
        if tensor.is_constant and tensor.type != FLOAT:
            try:
                tensor.numpy()
            except EditError as error:
                raise RefusedError(str(error)) from None

    def _split(self, tensor: Tensor, wanted: TensorType) -> None:
        """Make a tensor of its own for an output that is an input, too."""
        if tensor.type == FLOAT:
            raise RefusedError("it is an input that is handed through as floats: no scale is known")
        target = None if wanted == FLOAT else in_type(codes_of(tensor), wanted)
        made = tensor_like(self.model, self.subgraph, tensor, "_output", wanted, None if target is None else table(target, tensor.quantization))
        self.hand_over(tensor, made)
        self.connect(tensor, made, len(self.subgraph.operators))
        self.log.append(f"the output is a tensor of its own now, {made.name_str!r}")

    def _expose_codes(self, tensor: Tensor) -> tuple[Tensor, int, Tensor | None]:
        """Make a float output the tensor that its DEQUANTIZE reads, where the output can take that one's place.

        Returns the tensor of codes (the output itself, or the one behind it), the position where the operator was, and a tensor that is free now.
        """
        operator = tensor.producer()
        if operator is None or not is_unary(operator, DEQUANTIZE):
            what = "a constant of floats" if operator is None else f"computed in floats by {operator.op_name}, with no DEQUANTIZE between"
            raise RefusedError(f"it is {what}: no scale is known")
        source = operator.inputs[0]
        assert source is not None
        try:
            codes_of(source)
        except RefusedError as error:
            raise RefusedError(f"the DEQUANTIZE in front of it reads {source.name_str!r}: {error}") from None
        readers, position = tensor.consumers(), place(self.subgraph.operators, operator)
        copy = tensor_like(self.model, self.subgraph, tensor, "_float32", FLOAT, None) if readers else None
        if copy is not None:
            redirect(readers, tensor, copy)
        core, spare = self._take(tensor, operator, source)
        if copy is not None:
            self.connect(core, copy, position)
        return core, position, spare

    def _expose_core(self, tensor: Tensor, own: Affine, wanted: TensorType) -> tuple[Tensor, int, Tensor | None]:
        """Make an output of codes the tensor in front of its QUANTIZE, as long as that leads to the wanted type. Returns as `_expose_codes` does."""
        spare = None
        while (operator := tensor.producer()) is not None and is_unary(operator, QUANTIZE):
            source, position = operator.inputs[0], place(self.subgraph.operators, operator)
            assert source is not None
            if source.type == FLOAT and wanted == FLOAT and self.is_internal(source):
                readers = tensor.consumers()
                inner = self.inside(tensor, spare) if readers else None
                if inner is not None:
                    redirect(readers, tensor, inner)
                self._take(tensor, operator, source)
                if inner is not None:
                    self.connect(tensor, inner, position)
                return tensor, position, None
            if tensor.consumers() or (core := _codes_or_none(source)) is None or not leads_inward(own, core, wanted):
                break
            taken, free = self._take(tensor, operator, source)
            if taken is not tensor:
                return taken, position, None
            spare, own = free, core
        return tensor, 0, spare

    def _take(self, tensor: Tensor, operator: Operator, source: Tensor) -> tuple[Tensor, Tensor | None]:
        """Take out the operator between `source` and an output. If only operators know `source`, the output takes its place, and `source` is free."""
        self.drop(operator)
        if not self.is_internal(source):
            return source, None
        producer = source.producer()
        assert producer is not None
        self.retag(tensor, None if source.type == FLOAT else codes_of(source), source.quantization)
        redirect_output(producer, source, tensor)
        redirect(source.consumers(), source, tensor)
        self.unused.append(source)
        return tensor, source

    def _cover(self, tensor: Tensor, wanted: TensorType, spare: Tensor | None) -> None:
        """Compute the output of the wanted type from a tensor of the present one, which takes its place inside."""
        target = None if wanted == FLOAT else in_type(codes_of(tensor), wanted)
        producer, readers = tensor.producer(), tensor.consumers()
        shift = target is not None and WIDTHS[tensor.type] == WIDTHS[wanted] and spare is None and not readers
        if shift and producer is not None and is_unary(producer, QUANTIZE) and _gives(producer, wanted):
            self.retag(tensor, target, tensor.quantization)
            self.refit(producer)
            return
        if producer is None and target is None:
            self._write_floats(tensor, readers)
            return
        inner = self.inside(tensor, spare)
        redirect(readers, tensor, inner)
        if producer is None:
            inner.buffer, tensor.buffer = tensor.buffer, no_data(self.model)
        else:
            redirect_output(producer, tensor, inner)
        self.retag(tensor, target, tensor.quantization)
        self.connect(inner, tensor, place(self.subgraph.operators, producer) + 1 if producer is not None else len(self.subgraph.operators))

    def _write_floats(self, tensor: Tensor, readers: list[Operator]) -> None:
        """Give a constant output its real values as data: XNNPACK leaves the output of a DEQUANTIZE of a constant unwritten (measured)."""
        values = codes_of(tensor).dequantize(tensor.numpy())
        if readers:
            inner = self.inside(tensor, None)
            inner.buffer = tensor.buffer
            redirect(readers, tensor, inner)
        self.retag(tensor, None)
        self.model.set_data(tensor, values)
        self.log.append("its codes replaced by their real values")


def _codes_or_none(tensor: Tensor) -> Affine | None:
    try:
        return codes_of(tensor)
    except RefusedError:
        return None


def _quantized(operator: Operator) -> Affine | None:
    """The codes that a QUANTIZE computes; None for other operators and for codes that the interface cannot have."""
    target = operator.outputs[0] if is_unary(operator, QUANTIZE) else None
    return None if target is None else _codes_or_none(target)


def _takes(operator: Operator, type_: TensorType) -> bool:
    """Whether an operator would read codes of another type for the same real values, with the same result."""
    target = operator.outputs[0] if is_unary(operator, QUANTIZE) else None
    return is_unary(operator, DEQUANTIZE) or (target is not None and can_quantize(type_, target.type))


def _gives(operator: Operator, type_: TensorType) -> bool:
    source = operator.inputs[0]
    return source is not None and can_quantize(source.type, type_)


def _no_scale(readers: list[Operator]) -> str:
    """Why a float input cannot have codes."""
    for operator in readers:
        target = operator.outputs[0] if is_unary(operator, QUANTIZE) else None
        if target is not None:
            try:
                codes_of(target)
            except RefusedError as error:
                return f"the QUANTIZE behind it makes {target.name_str!r}: {error}"
    names = ", ".join(sorted({operator.op_name for operator in readers})) or "nothing"
    return f"it is read as floats, by {names}, with no QUANTIZE between: no scale is known (set-input-stats takes one)"
