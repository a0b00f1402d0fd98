"""The object graph of a model: what the schema stores, with objects in place of indices.

Attributes are the schema's fields. A field that holds an index on disk holds the object here, and drops `_index` from its name: an Operator has
`opcode` and lists of Tensors, a Tensor has its Buffer, a SignatureDef its `subgraph`. None is TFLite's -1. Lists keep their order and nothing is
removed implicitly. Objects compare by identity.

Assignments are checked and converted (`_base.Table`). Lists may be edited in place; what they hold is checked when the model is written.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import types
from ._base import OpaqueUnion, Table, class_of
from ._deferred import Deferred as Deferred
from ._deferred import as_bytes
from ._deferred import view_of as view_of
from ._schema import (
    OPTIONS,
    BuiltinOperator,
    CustomOptionsFormat,
    SparsityParameters,
    TensorType,
    VariantSubType,
)
from ._tables import ExternalBuffer as ExternalBuffer
from ._tables import ExternalBufferGroup as ExternalBufferGroup
from ._tables import Metadata as Metadata
from ._tables import SignatureDef as SignatureDef
from ._tables import TensorMap as TensorMap
from .errors import EditError

if TYPE_CHECKING:
    from ._schema import BlockwiseQuantization, CustomQuantization, MultiAxisQuantization

MAX_RANK = 32  # of numpy arrays before numpy 2
PLACEHOLDER = 127  # deprecated_builtin_code of operators whose code does not fit in a byte


class Model(Table):
    """A TFLite model: operator codes, subgraphs, buffers, metadata and signatures.

    `source` is what the model was read from (a `flat.files.Source`, None for a new model); it is never written to.
    """

    __slots__ = (
        "buffers", "description", "external_buffer_groups", "external_buffers", "metadata", "metadata_buffer", "operator_codes",
        "signature_defs", "source", "subgraphs", "version",
    )  # fmt: skip
    version: int
    operator_codes: list[OperatorCode]
    subgraphs: list[SubGraph]
    description: bytes | None
    buffers: list[Buffer]
    metadata_buffer: list[Buffer | None]
    metadata: list[Metadata]
    signature_defs: list[SignatureDef]
    external_buffer_groups: list[ExternalBufferGroup]
    external_buffers: list[ExternalBuffer]
    source: Any

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.source = None

    def tensors(self) -> Iterator[Tensor]:
        """All tensors of all subgraphs."""
        for subgraph in self.subgraphs:
            yield from subgraph.tensors

    def operators(self) -> Iterator[Operator]:
        """All operators of all subgraphs."""
        for subgraph in self.subgraphs:
            yield from subgraph.operators

    def at(self, path: str) -> Any:
        """The object or value that a path of an error message or diff names, such as `subgraphs[0].operators[3]`."""
        value: Any = self
        for name, index in re.findall(r"(\w+)|\[(\d+)\]", path.removeprefix("model.")):
            try:
                value = getattr(value, name) if name else value[int(index)]
            except (AttributeError, IndexError, TypeError) as error:
                raise EditError(f"{path}: no such element ({error})") from None
        return value

    def buffer_users(self) -> dict[Buffer, list[Tensor]]:
        """The tensors that use each buffer, over all subgraphs."""
        users: dict[Buffer, list[Tensor]] = {}
        for tensor in self.tensors():
            if tensor.buffer is not None:
                users.setdefault(tensor.buffer, []).append(tensor)
        return users

    def add_buffer(self, data: Any = None) -> Buffer:
        """Append a buffer that holds `data` and return it. A model without buffers gets the empty buffer 0 first, which stands for no data."""
        if not self.buffers:
            self.buffers.append(Buffer())
        buffer = Buffer(data=data)
        self.buffers.append(buffer)
        return buffer

    def set_data(self, tensor: Tensor, values: Any, *, shared: bool = False) -> None:
        """Replace the constant data of a tensor by `values` (an array of its shape and dtype, or a list of strings).

        A tensor that shares its buffer gets one of its own, unless `shared` says that all users are meant. EditError for a wrong shape or dtype.
        """
        data = memoryview(tensor.encode(values))
        users = sum(1 for t in self.tensors() if t.buffer is tensor.buffer)
        users += sum(1 for m in self.metadata if m.buffer is tensor.buffer) + self.metadata_buffer.count(tensor.buffer)
        own = tensor.buffer is not None and tensor.buffer not in self.buffers[:1] and (shared or users <= 1)
        if own and tensor.buffer is not None:
            tensor.buffer.data = data
        else:
            tensor.buffer = self.add_buffer(data)


class SubGraph(Table):
    """One function of a model: its tensors, its inputs and outputs, and operators in execution order."""

    __slots__ = ("__weakref__", "debug_metadata_index", "inputs", "name", "operators", "outputs", "tensors")
    tensors: list[Tensor]
    inputs: list[Tensor | None]
    outputs: list[Tensor | None]
    operators: list[Operator]
    name: bytes | None
    debug_metadata_index: int

    def __init__(
        self,
        *,
        tensors: Sequence[Tensor] = (),
        inputs: Sequence[Tensor | None] = (),
        outputs: Sequence[Tensor | None] = (),
        operators: Sequence[Operator] = (),
        name: bytes | str | None = None,
        debug_metadata_index: int = -1,
    ) -> None:
        super().__init__(
            tensors=tensors, inputs=inputs, outputs=outputs, operators=operators, name=name, debug_metadata_index=debug_metadata_index
        )
        for tensor in self.tensors:
            tensor._subgraph = weakref.ref(self)

    def add_tensor(self, tensor: Tensor) -> Tensor:
        """Append a tensor and return it."""
        tensor._subgraph = weakref.ref(self)
        self.tensors.append(tensor)
        return tensor

    def producers(self) -> dict[Tensor, Operator]:
        """The operator that computes each tensor (the last one, where a broken model has several)."""
        return {tensor: operator for operator in self.operators for tensor in operator.outputs if tensor is not None}

    def consumers(self) -> dict[Tensor, list[Operator]]:
        """The operators that read each tensor; an operator that reads it twice is listed once."""
        found: dict[Tensor, list[Operator]] = {}
        for operator in self.operators:
            for tensor in dict.fromkeys(operator.inputs):
                if tensor is not None:
                    found.setdefault(tensor, []).append(operator)
        return found

    def tensor(self, name: str | bytes) -> Tensor:
        """The only tensor of this name; EditError if there is none or more than one."""
        wanted = name.encode() if isinstance(name, str) else name
        found = [t for t in self.tensors if t.name == wanted]
        if len(found) != 1:
            raise EditError(f"{len(found) or 'no'} tensors are named {types.text(wanted)!r}")
        return found[0]


class Tensor(Table):
    """A value of a subgraph: type, shape, name, quantization, and the buffer of its constant data.

    `shape` has 1 where `shape_signature` has -1 (a dynamic dimension). `buffer` is None or an empty buffer for tensors that are computed.
    """

    __slots__ = (
        "_subgraph", "buffer", "external_buffer", "has_rank", "is_variable", "name", "quantization", "shape", "shape_signature", "sparsity",
        "type", "variant_tensors",
    )  # fmt: skip
    shape: tuple[int, ...]
    type: TensorType
    buffer: Buffer | None
    name: bytes | None
    quantization: QuantizationParameters | None
    is_variable: bool
    sparsity: SparsityParameters | None
    shape_signature: tuple[int, ...]
    has_rank: bool
    variant_tensors: list[VariantSubType]
    external_buffer: ExternalBuffer | None
    _subgraph: weakref.ref[SubGraph] | None  # weak, so that a model without users is freed at once and not by the garbage collector

    def __init__(
        self,
        *,
        shape: Sequence[int] | None = (),
        type: TensorType = TensorType.FLOAT32,
        buffer: Buffer | None = None,
        name: bytes | str | None = None,
        quantization: QuantizationParameters | None = None,
        is_variable: bool = False,
        sparsity: SparsityParameters | None = None,
        shape_signature: Sequence[int] | None = None,
        has_rank: bool = False,
        variant_tensors: Sequence[VariantSubType] | None = None,
        external_buffer: ExternalBuffer | None = None,
    ) -> None:
        super().__init__(
            shape=shape, type=type, buffer=buffer, name=name, quantization=quantization, is_variable=is_variable, sparsity=sparsity,
            shape_signature=shape_signature, has_rank=has_rank, variant_tensors=variant_tensors, external_buffer=external_buffer,
        )  # fmt: skip
        self._subgraph = None

    @property
    def name_str(self) -> str:
        """The name as text; undecodable bytes are shown as escapes."""
        return types.text(self.name)

    @property
    def is_constant(self) -> bool:
        """Whether the file holds data for this tensor, inside or in an external buffer."""
        return bool(self.buffer is not None and self.buffer.data) or self.external_buffer is not None

    @property
    def is_quantized(self) -> bool:
        """Whether parameters map its values to real ones: a scale, or a table of details."""
        return self.quantization is not None and self.quantization.is_quantized

    @property
    def subgraph(self) -> SubGraph | None:
        """The subgraph that this tensor was read from or added to."""
        return self._subgraph() if self._subgraph is not None else None

    def producer(self) -> Operator | None:
        """The operator that computes this tensor, if any."""
        operators = self._owner().operators
        return next((o for o in operators if self in o.outputs), None)

    def consumers(self) -> list[Operator]:
        """The operators that read this tensor, in execution order."""
        return [o for o in self._owner().operators if self in o.inputs]

    def _owner(self) -> SubGraph:
        owner = self.subgraph
        if owner is None:
            raise EditError(f"tensor {self.name_str!r} is in no subgraph: use SubGraph.add_tensor, and keep the model")
        return owner

    def numpy(self) -> npt.NDArray[Any]:
        """The constant values, of this tensor's shape; stored codes, not real values.

        Types that numpy lacks use ml_dtypes (bfloat16, float8, int4, int2, uint4). Whole-byte types are read-only views of the file. EditError for
        tensors without data, strings (see `strings`), sparse data, resources, variants, and data that does not fit the shape.
        """
        if len(self.shape) > MAX_RANK:
            raise EditError(f"tensor {self.name_str!r} has {len(self.shape)} dimensions; numpy takes at most {MAX_RANK}")
        raw = self.dense_bytes()
        if types.BITS[self.type] < 8:
            return types.unpack(raw, self.type, types.element_count(self.shape)).reshape(self.shape)
        return raw.view(types.numpy_dtype(self.type)).reshape(self.shape)

    def dense_bytes(self) -> npt.NDArray[np.uint8]:
        """The stored bytes of the constant values, as many as its type and shape need: a read-only view of the file. EditError as for `numpy`."""
        data = self._data()
        if self.sparsity is not None:
            raise EditError(f"tensor {self.name_str!r} is sparse: its buffer holds only the non-zero blocks")
        size = types.byte_size(self.type, self.shape)
        if size is None:
            raise EditError(f"tensor {self.name_str!r} is {self.type.name}" + (": use strings()" if self.type == TensorType.STRING else ""))
        if len(data) < size or any(d < 0 for d in self.shape):
            raise EditError(f"tensor {self.name_str!r}: {self.type.name} {list(self.shape)} needs {size} bytes, the buffer has {len(data)}")
        return np.frombuffer(data, np.uint8, size)

    def strings(self) -> list[bytes]:
        """The values of a constant STRING tensor, flattened."""
        if self.type != TensorType.STRING:
            raise EditError(f"tensor {self.name_str!r} is {self.type.name}, not STRING")
        return types.decode_strings(self._data())

    def encode(self, values: Any) -> bytes:
        """The buffer bytes for `values`; shape and dtype must be this tensor's. 4- and 2-bit types also take any integer dtype."""
        if self.type == TensorType.STRING:
            strings = self._array(values, object)
            if strings.shape not in (self.shape, (types.element_count(self.shape),)):
                raise EditError(f"tensor {self.name_str!r}: expected strings of shape {list(self.shape)}, got {list(strings.shape)}")
            return types.encode_strings(strings.reshape(-1).tolist())
        array = self._array(values)
        if array.shape != self.shape:
            raise EditError(f"tensor {self.name_str!r}: expected shape {list(self.shape)}, got {list(array.shape)}")
        if types.BITS.get(self.type, 8) < 8 and (array.dtype.kind in "iu" or array.dtype == types.numpy_dtype(self.type)):
            return types.pack(array, self.type).tobytes()
        dtype = types.numpy_dtype(self.type)
        if array.dtype != dtype:
            raise EditError(f"tensor {self.name_str!r}: expected dtype {dtype}, got {array.dtype}; convert it explicitly")
        return array.tobytes()

    def _array(self, values: Any, dtype: Any = None) -> npt.NDArray[Any]:
        """Values as an array; EditError for what has no rectangular shape, and for masked arrays, whose mask would be lost."""
        if isinstance(values, np.ma.MaskedArray):
            raise EditError(f"tensor {self.name_str!r}: expected an array, got a masked array; fill it first")
        try:
            return np.asarray(values, dtype)
        except Exception as error:  # whatever iterating brings up
            what = f"{type(values).__name__}: {error}"
            raise EditError(f"tensor {self.name_str!r}: expected an array of shape {list(self.shape)}, got {what}") from None

    def _data(self) -> memoryview:
        if self.external_buffer is not None:
            raise EditError(f"tensor {self.name_str!r} keeps its data in an external file")
        if self.buffer is None or self.buffer.data is None:
            raise EditError(f"tensor {self.name_str!r} has no constant data")
        return view_of(self.buffer.data)


class QuantizationParameters(Table):
    """real = scale * (q - zero_point), per tensor or per slice of `quantized_dimension`.

    `scale`, `min`, `max` are read-only float32 arrays, `zero_point` int64; empty when absent. With `details`, scale and zero_point do not count.
    """

    __slots__ = ("details", "max", "min", "quantized_dimension", "scale", "zero_point")
    min: npt.NDArray[np.float32]
    max: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    details: CustomQuantization | BlockwiseQuantization | MultiAxisQuantization | OpaqueUnion | None
    quantized_dimension: int

    def __init__(
        self,
        *,
        scale: Any = None,
        zero_point: Any = None,
        min: Any = None,
        max: Any = None,
        details: CustomQuantization | BlockwiseQuantization | MultiAxisQuantization | None = None,
        quantized_dimension: int = 0,
    ) -> None:
        super().__init__(scale=scale, zero_point=zero_point, min=min, max=max, details=details, quantized_dimension=quantized_dimension)

    @property
    def is_quantized(self) -> bool:
        """Whether there is a scale, or details; calibration ranges alone do not quantize."""
        return len(self.scale) > 0 or self.details is not None

    @property
    def kind(self) -> str:
        """`none`, `ranges` (only min/max), `per-tensor`, `per-channel`, `blockwise`, `multi-axis`, `custom` or `unknown` (newer details)."""
        if self.details is not None:
            names = {"BlockwiseQuantization": "blockwise", "MultiAxisQuantization": "multi-axis", "CustomQuantization": "custom"}
            return names.get(type(self.details).__name__, "unknown")
        if len(self.scale):
            return "per-tensor" if len(self.scale) == 1 else "per-channel"
        return "ranges" if len(self.min) or len(self.max) else "none"


class Operator(Table):
    """One node: an operator code, the tensors it reads and writes, and its options.

    `large_custom_options` are custom options that the file keeps outside the flatbuffer (None if it does not). `builtin_options` serve codes up to
    127 and some above, `builtin_options_2` newer ones.
    """

    __slots__ = (
        "builtin_options", "builtin_options_2", "custom_options", "custom_options_format", "debug_metadata_index", "inputs", "intermediates",
        "large_custom_options", "large_custom_options_offset", "large_custom_options_size", "mutating_variable_inputs", "opcode", "outputs",
    )  # fmt: skip
    opcode: OperatorCode | None
    inputs: list[Tensor | None]
    outputs: list[Tensor | None]
    builtin_options: Table | OpaqueUnion | None
    custom_options: bytes | None
    custom_options_format: CustomOptionsFormat
    mutating_variable_inputs: tuple[bool, ...]
    intermediates: list[Tensor | None]
    large_custom_options_offset: int
    large_custom_options_size: int
    builtin_options_2: Table | OpaqueUnion | None
    debug_metadata_index: int
    large_custom_options: memoryview | None

    def __init__(
        self,
        *,
        opcode: OperatorCode | None = None,
        inputs: Sequence[Tensor | None] = (),
        outputs: Sequence[Tensor | None] = (),
        builtin_options: Table | OpaqueUnion | None = None,
        custom_options: bytes | None = None,
        mutating_variable_inputs: Sequence[bool] | None = None,
        intermediates: Sequence[Tensor | None] | None = None,
        builtin_options_2: Table | OpaqueUnion | None = None,
        large_custom_options: bytes | memoryview | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(
            opcode=opcode, inputs=inputs, outputs=outputs, builtin_options=builtin_options, custom_options=custom_options,
            mutating_variable_inputs=mutating_variable_inputs, intermediates=intermediates, builtin_options_2=builtin_options_2, **rest,
        )  # fmt: skip
        self.large_custom_options = None if large_custom_options is None else as_bytes(large_custom_options, "Operator.large_custom_options")

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "large_custom_options":
            super().__setattr__(name, value)
            return
        object.__setattr__(self, name, None if value is None else as_bytes(value, "Operator.large_custom_options"))
        if value is None and self.large_custom_options_offset > 1:  # the file must not point at options that are gone
            self.large_custom_options_offset = self.large_custom_options_size = 0

    def __repr__(self) -> str:
        """The name, and the names of what it reads and writes."""
        return f"Operator({self.op_name!r}, inputs={_names(self.inputs)}, outputs={_names(self.outputs)})"

    @property
    def op_name(self) -> str:
        """The builtin operator's name, or the custom code."""
        return "?" if self.opcode is None else self.opcode.op_name

    @property
    def options(self) -> Table | OpaqueUnion | None:
        """The option table, from whichever of the two unions holds one."""
        return self.builtin_options if self.builtin_options is not None else self.builtin_options_2


def _names(tensors: Sequence[Tensor | None], most: int = 6, width: int = 40) -> str:
    """The names of tensors for people; of many the first, of long ones the start."""
    names = [repr(tensor if tensor is None else tensor.name_str) for tensor in tensors[:most]]
    shown = [name if len(name) <= width else f"{name[: width - 3]}..." for name in names]
    return f"[{', '.join(shown + ['...'] * (len(tensors) > most))}]"


class OperatorCode(Table):
    """What an operator computes: a builtin code or a custom name, and the version of its semantics.

    Both code fields are kept as stored; `code` is the effective one.
    """

    __slots__ = ("builtin_code", "custom_code", "deprecated_builtin_code", "version")
    deprecated_builtin_code: int
    custom_code: bytes | None
    version: int
    builtin_code: BuiltinOperator

    def __init__(
        self,
        *,
        builtin_code: BuiltinOperator = BuiltinOperator.ADD,
        custom_code: bytes | str | None = None,
        version: int = 1,
        deprecated_builtin_code: int | None = None,
    ) -> None:
        if deprecated_builtin_code is None:
            deprecated_builtin_code = min(int(builtin_code), PLACEHOLDER)
        super().__init__(
            builtin_code=builtin_code, custom_code=custom_code, version=version, deprecated_builtin_code=deprecated_builtin_code
        )

    @property
    def code(self) -> BuiltinOperator:
        """The effective builtin operator: the larger of the two stored codes, as the runtime reads it."""
        return BuiltinOperator(max(self.builtin_code, self.deprecated_builtin_code))

    def set_code(self, code: BuiltinOperator) -> None:
        """Set both code fields."""
        self.builtin_code = code
        self.deprecated_builtin_code = min(int(code), PLACEHOLDER)

    @property
    def op_name(self) -> str:
        """The builtin operator's name, or the custom code."""
        return types.text(self.custom_code) or "CUSTOM" if self.code == BuiltinOperator.CUSTOM else self.code.name


class Buffer(Table):
    """Constant data. `data` is None (absent) or bytes-like; read from a file, it is a read-only view of the mapped file.

    Assigned data may be `Deferred`.

    `out_of_line` says that the bytes are kept behind the flatbuffer, found through `offset` and `size`; those are laid out anew on writing.
    """

    __slots__ = ("data", "offset", "out_of_line", "size")
    data: memoryview | Deferred | None
    offset: int
    size: int
    out_of_line: bool

    def __init__(self, *, data: Any = None, out_of_line: bool = False) -> None:
        super().__init__()
        self.out_of_line = out_of_line
        self.data = data

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data" and value is not None:
            value = value if isinstance(value, Deferred) else as_bytes(value, "Buffer.data")
            object.__setattr__(self, "_present", self._present | 1)
            object.__setattr__(self, "data", value)
            return
        super().__setattr__(name, value)
        if name == "data" and self.out_of_line:  # the file must not point at data that is gone
            self.out_of_line = False
        elif name == "out_of_line" and not value:
            self.offset = self.size = 0


def new_options(code: BuiltinOperator, **values: Any) -> Table | None:
    """The options table of a builtin operator, with the given fields; None where the operator has no options."""
    name = OPTIONS.get(code.name)
    if name is None:
        if values:
            raise EditError(f"{code.name} has no options")
        return None
    made: Table = class_of(name)(**values)
    return made
