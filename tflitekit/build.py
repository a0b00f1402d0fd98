"""Models built in code: tensors, constants, operators by name, quantization, signatures, and the rare parts of the format.

    builder = ModelBuilder(description="adds one half")
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "INT8", quantize(0.5, 3))
    half = main.constant("half", np.array([1], np.int8), quantization=quantize(0.5))
    main.output(main.apply("ADD", [x, half], TensorSpec("y", [1, 4], "INT8", quantize(0.5, 3)), version=2))
    builder.signature("serving_default")
    model = builder.build()

The builder decides what every writer must decide (buffer 0 is the empty one, each constant has a buffer of its own, equal operator codes are one
entry, both code fields are set) and nothing else: it also builds models that no runtime takes, which `verify` then says.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import types
from ._base import Table
from ._schema import (
    UNIONS,
    BlockwiseQuantization,
    BuiltinOperator,
    DimensionMetadata,
    DimensionType,
    Int32Vector,
    MultiAxisQuantization,
    SparsityParameters,
    TensorType,
    Uint8Vector,
    Uint16Vector,
)
from .errors import EditError
from .graph import (
    Buffer,
    ExternalBuffer,
    ExternalBufferGroup,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    QuantizationParameters,
    SignatureDef,
    SubGraph,
    Tensor,
    new_options,
)

SCHEMA_VERSION = 3
EXTERNAL_ID = 1 << 31  # ids of external buffers have the top bit set; 0 in a tensor means none
SMALL_NUMBERS = {"float64": TensorType.FLOAT32, "int64": TensorType.INT32}  # what Python numbers become unless a type is given


def quantize(
    scale: Any, zero_point: Any = 0, axis: int | None = None, *, min: Any = None, max: Any = None
) -> QuantizationParameters:  # fmt: skip
    """Affine quantization: one scale, or with `axis` one for each index of that axis. A single zero point serves all scales.

    `scale` is rounded to float32. `min` and `max` are the ranges that converters store beside it; nothing computes with them.
    """
    scales = np.atleast_1d(np.asarray(scale))
    zero_points = np.atleast_1d(np.asarray(zero_point))
    if axis is None and len(scales) != 1:
        raise EditError(f"QuantizationParameters.scale: {len(scales)} scales need an axis")
    if len(zero_points) == 1 and len(scales) != 1:
        zero_points = np.repeat(zero_points, len(scales))
    return QuantizationParameters(scale=scales, zero_point=zero_points, min=min, max=max, quantized_dimension=axis or 0)


def quantize_blockwise(
    scales: Tensor, block_size: int, *, zero_points: Tensor | None = None, block_shape: Sequence[int] | None = None
) -> QuantizationParameters:
    """One scale for each run of `block_size` elements, kept in the constant tensor `scales` (FLOAT16 for the runtimes that know this form)."""
    shape = None if block_shape is None else tuple(block_shape)
    details = BlockwiseQuantization(scales=scales, zero_points=zero_points, block_size=block_size, block_shape=shape)
    return QuantizationParameters(details=details)


def quantize_multi_axis(
    scales: Tensor, axes: Sequence[int], *, zero_points: Tensor | None = None, block_size: int | None = None
) -> QuantizationParameters:
    """Parameters that vary along several axes, kept in the constant tensor `scales`."""
    details = MultiAxisQuantization(scales=scales, zero_points=zero_points, block_size=block_size, quantized_dimensions=tuple(axes))
    return QuantizationParameters(details=details)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that an operator computes: made when the operator is added. A dimension of -1 is dynamic."""

    name: str | bytes | None
    shape: Sequence[int]
    type: TensorType | str = TensorType.FLOAT32
    quantization: QuantizationParameters | None = None


class ModelBuilder:
    """A model under construction; `model` is the graph itself and may be edited at any time."""

    def __init__(self, description: str | bytes | None = None, version: int = SCHEMA_VERSION) -> None:
        self.model = Model(version=version, description=description)
        self.model.buffers.append(Buffer())
        self._codes: dict[tuple[int, str | bytes | None, int], OperatorCode] = {}

    @property
    def no_data(self) -> Buffer:
        """Buffer 0, the empty one: what tensors without constant data refer to."""
        return self.model.buffers[0]

    def build(self) -> Model:
        """The finished model."""
        return self.model

    def subgraph(self, name: str | bytes | None = None) -> SubGraphBuilder:
        """Append a subgraph; the first one is the main one."""
        made = SubGraphBuilder(self, SubGraph(name=name))
        self.model.subgraphs.append(made.subgraph)
        return made

    def buffer(self, data: Any, *, out_of_line: bool = False) -> Buffer:
        """Append a buffer for the bytes `data`, which are not copied. `out_of_line` keeps them behind the flatbuffer."""
        made = Buffer(data=data, out_of_line=out_of_line)
        self.model.buffers.append(made)
        return made

    def operator_code(self, code: BuiltinOperator, version: int = 1, custom_code: str | bytes | None = None) -> OperatorCode:
        """The entry for an operator of this version, appended at its first use."""
        key = (int(code), custom_code, version)
        if key not in self._codes:
            self._codes[key] = OperatorCode(builtin_code=code, custom_code=custom_code, version=version)
            self.model.operator_codes.append(self._codes[key])
        return self._codes[key]

    def metadata(self, name: str | bytes, data: bytes) -> Metadata:
        """Append a named blob in a buffer of its own."""
        made = Metadata(name=name, buffer=self.buffer(data))
        self.model.metadata.append(made)
        return made

    def signature(
        self,
        key: str | bytes,
        inputs: Mapping[str, Tensor] | None = None,
        outputs: Mapping[str, Tensor] | None = None,
        subgraph: SubGraphBuilder | None = None,
    ) -> SignatureDef:
        """Append a signature of a subgraph (the first, unless given). Without names of its own it shows the tensors under theirs."""
        target = subgraph.subgraph if subgraph is not None else self.model.subgraphs[0]
        made = SignatureDef(
            signature_key=key,
            subgraph=target,
            inputs=_by_name(target.inputs) if inputs is None else inputs,
            outputs=_by_name(target.outputs) if outputs is None else outputs,
        )
        self.model.signature_defs.append(made)
        return made

    def external_buffer(self, group: str | bytes, offset: int, length: int, packing: str | bytes | None = None) -> ExternalBuffer:
        """Append a range of `length` bytes at `offset` of the file `group`, for `tensor(..., external_buffer=)`.

        Group 0 is an empty placeholder, as buffer 0 is; a file that was named before is used again.
        """
        groups = self.model.external_buffer_groups
        if not groups:
            groups.append(ExternalBufferGroup())
        wanted = group.encode() if isinstance(group, str) else group
        found = next((g for g in groups[1:] if g.name == wanted), None)
        if found is None:
            found = ExternalBufferGroup(name=wanted)
            groups.append(found)
        number = EXTERNAL_ID | len(self.model.external_buffers) + 1
        made = ExternalBuffer(id=number, group=found, offset=offset, length=length, packing=packing)
        self.model.external_buffers.append(made)
        return made


class SubGraphBuilder:
    """A subgraph under construction; operators run in the order in which they are added."""

    def __init__(self, builder: ModelBuilder, subgraph: SubGraph) -> None:
        self.builder, self.subgraph = builder, subgraph

    # ---- tensors ----

    def tensor(
        self,
        name: str | bytes | None,
        shape: Sequence[int],
        type: TensorType | str = TensorType.FLOAT32,
        quantization: QuantizationParameters | None = None,
        *,
        buffer: Buffer | None = None,
        **fields: Any,
    ) -> Tensor:
        """Append a tensor. `buffer` may be another tensor's, to share its data; `fields` are further fields of the schema's Tensor.

        A dimension of -1 is dynamic: it is 1 in `shape` and -1 in `shape_signature`.
        """
        sizes = tuple(shape)
        if any(size == -1 for size in sizes):
            fields.setdefault("shape_signature", sizes)
            sizes = tuple(1 if size == -1 else size for size in sizes)
        made = Tensor(
            name=name, shape=sizes, type=_element_type(type), quantization=quantization, buffer=buffer or self.builder.no_data, **fields
        )  # fmt: skip
        return self.subgraph.add_tensor(made)

    def input(
        self,
        name: str | bytes | None,
        shape: Sequence[int],
        type: TensorType | str = TensorType.FLOAT32,
        quantization: QuantizationParameters | None = None,
        **fields: Any,
    ) -> Tensor:
        """Append a tensor that is an input of the subgraph."""
        made = self.tensor(name, shape, type, quantization, **fields)
        self.subgraph.inputs.append(made)
        return made

    def output(self, *tensors: Tensor) -> None:
        """Append tensors to the outputs of the subgraph."""
        self._check_mine(tensors)
        self.subgraph.outputs.extend(tensors)

    def variable(
        self,
        name: str | bytes | None,
        shape: Sequence[int],
        type: TensorType | str = TensorType.FLOAT32,
        quantization: QuantizationParameters | None = None,
    ) -> Tensor:
        """Append a tensor that keeps its value from run to run, such as the state of an LSTM."""
        return self.tensor(name, shape, type, quantization, is_variable=True)

    def constant(
        self,
        name: str | bytes | None,
        values: Any,
        type: TensorType | str | None = None,
        quantization: QuantizationParameters | None = None,
        *,
        out_of_line: bool = False,
        **fields: Any,
    ) -> Tensor:
        """Append a constant with a copy of `values`: an array, numbers, or strings.

        The type follows the dtype of an array; Python numbers become FLOAT32 or INT32. A `type` given for Python numbers or for integers (INT4,
        INT2) must hold every value. EditError if it does not.
        """
        array, type_ = _constant(values, None if type is None else _element_type(type))
        content = array.reshape(-1).tolist() if type_ == TensorType.STRING else array
        data = Tensor(name=name, shape=array.shape, type=type_).encode(content)  # before anything is added, since it may refuse
        return self.tensor(name, array.shape, type_, quantization, buffer=self.builder.buffer(data, out_of_line=out_of_line), **fields)

    def sparse(
        self, name: str | bytes | None, values: npt.NDArray[Any], quantization: QuantizationParameters | None = None
    ) -> Tensor:  # fmt: skip
        """Append a constant matrix of which only the non-zero elements are stored, row by row (CSR)."""
        if values.ndim != 2:
            raise EditError(f"sparse constant {name!r}: expected a matrix, got {values.ndim} dimensions")
        rows, columns = np.nonzero(values)
        segments = [0, *np.cumsum(np.bincount(rows, minlength=values.shape[0])).tolist()]
        sparsity = SparsityParameters(
            traversal_order=(0, 1),
            dim_metadata=[
                DimensionMetadata(format=DimensionType.DENSE, dense_size=values.shape[0]),
                DimensionMetadata(
                    format=DimensionType.SPARSE_CSR,
                    array_segments=_index_vector(segments),
                    array_indices=_index_vector(columns.tolist()),
                ),
            ],
        )
        buffer = self.builder.buffer(values[rows, columns].tobytes())
        return self.tensor(name, values.shape, types.tensor_type(values.dtype), quantization, buffer=buffer, sparsity=sparsity)

    # ---- operators ----

    def operator(
        self,
        code: BuiltinOperator | str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor | TensorSpec],
        *,
        version: int = 1,
        options: Table | None = None,
        intermediates: Sequence[Tensor | None] | None = None,
        mutating_variable_inputs: Sequence[bool] | None = None,
        **fields: Any,
    ) -> Operator:
        """Append a builtin operator, by its name in the schema. None is an optional input that is absent.

        `fields` are those of its options table, which is always stored; enums may be given by name, subgraphs as builders. `options` gives the whole
        table instead (also where a field is called like a parameter of this method). EditError for an unknown operator or field.
        """
        builtin = _builtin(code)
        if options is not None and fields:
            raise EditError(f"{builtin.name}: give either an options table or its fields ({', '.join(fields)}), not both")
        if options is None:
            options = new_options(builtin, **{key: _subgraphs(value) for key, value in fields.items()})
        return self._add(
            Operator(
                opcode=self.builder.operator_code(builtin, version), inputs=inputs, outputs=self._outputs(outputs),
                intermediates=intermediates, mutating_variable_inputs=mutating_variable_inputs, **_union_of(options),
            )
        )  # fmt: skip

    def apply(self, code: BuiltinOperator | str, inputs: Sequence[Tensor | None], output: TensorSpec, *, version: int = 1, **rest: Any) -> Tensor:
        """Append a builtin operator that has one output, and return that tensor; see `operator`."""
        made = self._outputs([output])
        self.operator(code, inputs, made, version=version, **rest)
        return made[0]

    def custom(
        self,
        custom_code: str | bytes,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor | TensorSpec],
        *,
        custom_options: bytes | None = None,
        large_custom_options: bytes | memoryview | None = None,
        version: int = 1,
        **fields: Any,
    ) -> Operator:
        """Append a custom operator, by its custom code. `large_custom_options` are kept behind the flatbuffer."""
        opcode = self.builder.operator_code(BuiltinOperator.CUSTOM, version, custom_code)
        return self._add(
            Operator(
                opcode=opcode, inputs=inputs, outputs=self._outputs(outputs), custom_options=custom_options,
                large_custom_options=large_custom_options, **fields,
            )
        )  # fmt: skip

    def _outputs(self, outputs: Iterable[Tensor | TensorSpec]) -> list[Tensor]:
        return [o if isinstance(o, Tensor) else self.tensor(o.name, o.shape, o.type, o.quantization) for o in outputs]

    def _add(self, operator: Operator) -> Operator:
        self._check_mine((*operator.inputs, *operator.outputs, *operator.intermediates))
        self.subgraph.operators.append(operator)
        return operator

    def _check_mine(self, tensors: Iterable[Tensor | None]) -> None:
        for tensor in tensors:
            if tensor is not None and tensor.subgraph is not self.subgraph:
                raise EditError(f"tensor {tensor.name_str!r} belongs to another subgraph than {types.text(self.subgraph.name)!r}")


def _by_name(tensors: Iterable[Tensor | None]) -> dict[str, Tensor]:
    named = [tensor for tensor in tensors if tensor is not None]
    found = {tensor.name_str: tensor for tensor in named}
    if len(found) != len(named) or "" in found:
        raise EditError("signature: the tensors have no distinct names of their own; give inputs and outputs as a mapping")
    return found


def _element_type(value: TensorType | str) -> TensorType:
    if isinstance(value, str):
        if value not in TensorType.__members__:
            raise EditError(f"Tensor.type: {value!r} is no TensorType{_like(value, TensorType.__members__)}")
        return TensorType[value]
    return TensorType(value)


def _builtin(code: BuiltinOperator | str) -> BuiltinOperator:
    if isinstance(code, str):
        if code not in BuiltinOperator.__members__:
            raise EditError(f"{code!r} is no BuiltinOperator{_like(code, BuiltinOperator.__members__)}; for custom operators use custom()")
        code = BuiltinOperator[code]
    if code == BuiltinOperator.CUSTOM:
        raise EditError("CUSTOM needs a custom code: use custom()")
    return BuiltinOperator(code)


def _like(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _union_of(options: Table | None) -> dict[str, Any]:
    """The field of Operator that can hold this options table."""
    if options is None:
        return {}
    for attribute, union in (("builtin_options", "BuiltinOptions"), ("builtin_options_2", "BuiltinOptions2")):
        if type(options).__name__ in UNIONS[union].values():
            return {attribute: options}
    raise EditError(f"{type(options).__name__} is no options table of an operator")


def _subgraphs(value: Any) -> Any:
    """A builder, or builders in a list, replaced by their subgraphs."""
    if isinstance(value, SubGraphBuilder):
        return value.subgraph
    return [_subgraphs(item) for item in value] if isinstance(value, list) else value


def _constant(values: Any, type_: TensorType | None) -> tuple[npt.NDArray[Any], TensorType]:
    """The values as an array, and the element type to store them as."""
    array = _array(values)
    given = isinstance(values, (np.ndarray, np.generic))
    if type_ is None:
        made = None if given else SMALL_NUMBERS.get(array.dtype.name)
        type_ = types.tensor_type(array.dtype) if made is None else made
    if type_ == TensorType.STRING:
        if not all(isinstance(value, (str, bytes)) for value in array.reshape(-1).tolist()):
            raise EditError("a STRING constant holds str or bytes only")
        return array, type_
    if types.BITS.get(type_, 8) < 8:
        return array, type_
    dtype = types.numpy_dtype(type_)
    if array.dtype == dtype:
        return array, type_
    if array.dtype.kind not in ("iu" if given else "biufc"):
        raise EditError(f"{array.dtype} values for a {type_.name} constant; convert them explicitly")
    return _convert(array, dtype, type_), type_


def _array(values: Any) -> npt.NDArray[Any]:
    """Strings as an array of objects (fixed-width arrays drop zero bytes at the end of a string), all else as numpy takes it."""
    if isinstance(values, (np.ndarray, np.generic)):
        return np.asarray(values)
    objects = np.asarray(values, object)
    if objects.size and all(isinstance(value, (str, bytes)) for value in objects.reshape(-1).tolist()):
        return objects
    try:
        return np.asarray(values)
    except ValueError as error:
        raise EditError(f"constant: {error}") from None


def _convert(array: npt.NDArray[Any], dtype: np.dtype[Any], type_: TensorType) -> npt.NDArray[Any]:
    """Python numbers or integers as `dtype`; only floats may be rounded, and none may overflow."""
    with np.errstate(all="ignore"):
        stored = array.astype(dtype)
    rounding = array.dtype.kind == "f" and type_ in types.FLOAT_TYPES
    fits = np.asarray(np.isfinite(stored.astype(np.float64)) == np.isfinite(array) if rounding else stored == array)
    if not fits.all():
        raise EditError(f"value {array[~fits].flat[0]} does not fit in {type_.name}")
    return stored


def _index_vector(values: Sequence[int]) -> Int32Vector | Uint16Vector | Uint8Vector:
    """Indices in the narrowest of the three vectors of SparseIndexVector."""
    largest = max(values, default=0)
    if largest < 1 << 8:
        return Uint8Vector(values=bytes(values))
    return Uint16Vector(values=tuple(values)) if largest < 1 << 16 else Int32Vector(values=tuple(values))
