"""Attacks built by code, each with the error that meets it: the class and a part of the message, or None where the file is taken as it is."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import tflitekit as tk
from tests import forge, generated
from tflitekit._base import Table, fields_of
from tflitekit._metadata_schema import AssociatedFile, ModelMetadata, NormalizationOptions, ProcessUnit, SubGraphMetadata, TensorMetadata
from tflitekit._schema import TensorType
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.flat.batches import Batch
from tflitekit.flat.metadata import ENTRY
from tflitekit.flat.verifier import Verifier


@dataclass(frozen=True)
class Attack:
    """A hostile file, and what tflitekit says to it."""

    make: Callable[[], bytes]
    error: type[tk.TFLiteKitError] | None
    says: str = ""


def victim() -> bytes:
    """The small valid model that most attacks damage."""
    return tk.serialize(generated.many_operators(8))


def batch_of(data: bytes, name: str) -> Batch:
    """The first batch of tables of a kind in a valid file."""
    return next(batch for batch in Verifier(memoryview(data)).run() if batch.name == name)


def slot(table: str, field: str) -> int:
    """The vtable slot of a field."""
    return next(f.slot for f in fields_of(table) if f.name == field)


def _field(table: str, field: str, value: int, code: str = "<I") -> Callable[[], bytes]:
    """The victim with another number where the last table of a kind stores a field, or the offset of what it points at."""

    def make() -> bytes:
        data = bytearray(victim())
        struct.pack_into(code, data, int(batch_of(bytes(data), table).at(slot(table, field))[1][-1]), value)
        return bytes(data)

    return make


def _length(table: str, field: str, value: int) -> Callable[[], bytes]:
    """The victim with another length word before the elements of a vector or string."""

    def make() -> bytes:
        data = bytearray(victim())
        start = batch_of(bytes(data), table).vectors[slot(table, field)][0].max()
        struct.pack_into("<I", data, int(start) - 4, value)
        return bytes(data)

    return make


def _vtable(table: str, at: int, value: int) -> Callable[[], bytes]:
    """The victim with another half-word in the vtable of a kind of table."""

    def make() -> bytes:
        data = bytearray(victim())
        position = int(batch_of(bytes(data), table).pos[-1])
        struct.pack_into("<H", data, position - struct.unpack_from("<i", data, position)[0] + at, value)
        return bytes(data)

    return make


def _table(table: str, value: int) -> Callable[[], bytes]:
    """The victim with another offset from a table to its vtable."""

    def make() -> bytes:
        data = bytearray(victim())
        struct.pack_into("<i", data, int(batch_of(bytes(data), table).pos[-1]), value)
        return bytes(data)

    return make


def _unterminated() -> bytes:
    data = bytearray(victim())
    start, count = batch_of(bytes(data), "Tensor").vectors[slot("Tensor", "name")]
    data[int(start[-1] + count[-1])] = 0x41
    return bytes(data)


def _edited(edit: Callable[[tk.Model], object]) -> Callable[[], bytes]:
    """The victim after an edit of its graph."""

    def make() -> bytes:
        model = generated.many_operators(8)
        edit(model)
        return tk.serialize(model)

    return make


def _forged(edit: Callable[[tk.Model], dict[Table, forge.Slots]]) -> Callable[[], bytes]:
    """The victim with slots that our writer would not write."""

    def make() -> bytes:
        model = generated.many_operators(8)
        return forge.pack(model, edit(model))

    return make


# ---- bombs ----


def nested(counts: Sequence[int], path: Sequence[tuple[str, str]] = (), identifier: bytes = b"TFL3") -> bytes:
    """A flatbuffer whose subgraphs, tensors, ... are `counts` offsets to one shared table each; `path` names the vectors of tables on the way."""
    levels = path or [("Model", "subgraphs"), ("SubGraph", "tensors"), ("Tensor", "variant_tensors")]
    out = bytearray(b"\0\0\0\0" + identifier)

    def table(number: int) -> int:
        """A table with one slot filled, to be set later."""
        out.extend(bytes(-len(out) % 4))
        vtable = len(out)
        out.extend(struct.pack("<HH", 6 + 2 * number, 8) + bytes(2 * number) + struct.pack("<H", 4))
        out.extend(bytes(-len(out) % 4))
        out.extend(struct.pack("<iI", len(out) - vtable, 0))
        return len(out) - 8

    at = table(slot(*levels[0]))
    struct.pack_into("<I", out, 0, at)
    for level, count in enumerate(counts):
        vector = len(out)
        struct.pack_into("<I", out, at + 4, vector - (at + 4))
        out.extend(struct.pack("<I", count) + bytes(4 * count))
        if level + 1 < len(counts):
            child = table(slot(*levels[level + 1]))
        else:
            out.extend(struct.pack("<HHi", 4, 4, 4))
            child = len(out) - 4
        for spot in range(vector + 4, vector + 4 + 4 * count, 4):
            struct.pack_into("<I", out, spot, child - spot)
        at = child
    return bytes(out)


def _shared(model: tk.Model, table: str, field: str) -> bytes:
    """The model with all vectors (or strings) of a field pointing at the last one."""
    data = bytearray(tk.serialize(model))
    batch, number = batch_of(bytes(data), table), slot(table, field)
    start = int(batch.vectors[number][0][-1]) - 4
    for spot in batch.at(number)[1].tolist():
        struct.pack_into("<I", data, spot, start - spot)
    return bytes(data)


def shared_name(count: int, length: int) -> bytes:
    """Tensors that all point at one long name."""
    model = tk.Model(version=3)
    model.subgraphs = [tk.SubGraph(tensors=[tk.Tensor(name=b"x") for _ in range(count - 1)] + [tk.Tensor(name=b"x" * length)])]
    return _shared(model, "Tensor", "name")


def shared_data(count: int, length: int) -> bytes:
    """Buffers that all point at the same data."""
    model = tk.Model(version=3)
    model.buffers = [tk.Buffer(data=b"x") for _ in range(count - 1)] + [tk.Buffer(data=bytes(length))]
    return _shared(model, "Buffer", "data")


def shared_scales(count: int, length: int) -> bytes:
    """Quantization parameters that all point at the same scales."""
    model, long = tk.Model(version=3), np.ones(length, np.float32)
    parameters = [tk.QuantizationParameters(scale=[1.0]) for _ in range(count - 1)] + [tk.QuantizationParameters(scale=long)]
    model.subgraphs = [tk.SubGraph(tensors=[tk.Tensor(quantization=one) for one in parameters])]
    return _shared(model, "QuantizationParameters", "scale")


def shared_operands(count: int, length: int) -> bytes:
    """Operators that all point at the same operands."""
    model = tk.Model(version=3)
    x = tk.Tensor(name=b"x")
    operators = [tk.Operator(inputs=[x]) for _ in range(count - 1)] + [tk.Operator(inputs=[x] * length)]
    model.operator_codes = [tk.OperatorCode()]
    for operator in operators:
        operator.opcode = model.operator_codes[0]
    model.subgraphs = [tk.SubGraph(tensors=[x], operators=operators)]
    return _shared(model, "Operator", "inputs")


BOMBS: dict[str, Callable[[], bytes]] = {
    "900 x 900 tensors": lambda: nested([900, 900]),
    "3000 x 3000 tensors": lambda: nested([3000, 3000]),
    "1000 x 1000 x 1000": lambda: nested([1000, 1000, 1000]),
    "10000 x 10000 operators": lambda: nested([10000, 10000], [("Model", "subgraphs"), ("SubGraph", "operators")]),
    "a name shared by 2000 tensors": lambda: shared_name(2000, 1 << 20),
    "4 MB shared by 2000 buffers": lambda: shared_data(2000, 4 << 20),
    "scales shared by 2000 tensors": lambda: shared_scales(2000, 1 << 18),
    "operands shared by 2000 operators": lambda: shared_operands(2000, 1 << 18),
}


def _metadata(data: bytes) -> Callable[[], bytes]:
    """The victim with these bytes as its TFLite Metadata."""
    return _edited(lambda m: m.metadata.append(tk.Metadata(name=ENTRY, buffer=m.add_buffer(data))))


def documented() -> bytes:
    """A model with TFLite Metadata about its first input."""
    unit = ProcessUnit(options=NormalizationOptions(mean=[127.5], std=[127.5]))
    described = TensorMetadata(name=b"image", description=b"RGB", process_units=[unit], associated_files=[AssociatedFile(name=b"labels.txt")])
    subgraph = SubGraphMetadata(input_tensor_metadata=[described], output_tensor_metadata=[TensorMetadata(name=b"scores")])
    return _metadata(forge.pack_metadata(ModelMetadata(name=b"m", description=b"d", subgraph_metadata=[subgraph])))()


def _metadata_bomb() -> bytes:
    inner = nested([900, 900], [("ModelMetadata", "subgraph_metadata"), ("SubGraphMetadata", "input_tensor_metadata")], b"M001")
    return _metadata(inner)()


def aliased_offsets(count: int, length: int) -> bytes:
    """Offset buffers that all lie on the same bytes: nothing is copied to read them."""
    model = tk.Model(version=3, buffers=[tk.Buffer(), *(tk.Buffer(data=b"x" * 16, out_of_line=True) for _ in range(count))])
    model.subgraphs = [tk.SubGraph(tensors=[tk.Tensor(shape=[length], type=TensorType.UINT8, buffer=b) for b in model.buffers[1:]])]
    data = bytearray(tk.serialize(model))
    batch = batch_of(bytes(data), "Buffer")
    at = -(-len(data) // 16) * 16
    for spot in batch.at(slot("Buffer", "offset"))[1].tolist():
        struct.pack_into("<Q", data, spot, at)
    for spot in batch.at(slot("Buffer", "size"))[1].tolist():
        struct.pack_into("<Q", data, spot, length)
    return bytes(data) + bytes(at - len(data)) + bytes(length)


def _huge_shapes(m: tk.Model) -> None:
    for tensor in m.tensors():
        tensor.shape = (1 << 30,) * 6


def _names(name: bytes) -> Callable[[], bytes]:
    def edit(m: tk.Model) -> None:
        m.description = name
        m.metadata.append(tk.Metadata(name=name, buffer=m.add_buffer(b"x")))
        m.signature_defs[0].signature_key = name
        for thing in (*m.tensors(), *m.subgraphs, *m.signature_defs[0].inputs, *m.signature_defs[0].outputs):
            thing.name = name
        m.operator_codes[0].custom_code = name

    return _edited(edit)


def _scales(*values: float) -> Callable[[], bytes]:
    """All scales replaced in the bytes, since assignment refuses them."""

    def make() -> bytes:
        data = bytearray(victim())
        start, count = batch_of(bytes(data), "QuantizationParameters").vectors[slot("QuantizationParameters", "scale")]
        for number, (first, length) in enumerate(zip(start.tolist(), count.tolist(), strict=True)):
            for position in range(length):
                struct.pack_into("<f", data, first + 4 * position, values[number % len(values)])
        return bytes(data)

    return make


def _no_options(m: tk.Model) -> None:
    for operator in m.operators():
        operator.builtin_options = operator.builtin_options_2 = None


def _no_operands(m: tk.Model) -> None:
    for operator in m.operators():
        operator.inputs, operator.outputs, operator.builtin_options = [], [], None


def _absent_operands(m: tk.Model) -> None:
    for operator in m.operators():
        operator.inputs, operator.outputs = [None] * 4, [None] * 3


def _many_operands(m: tk.Model) -> None:
    for operator in m.operators():
        operator.inputs = operator.inputs * 50


def _reading_itself() -> bytes:
    builder = ModelBuilder("loops")
    main = builder.subgraph("main")
    x = main.input("x", [1, 4])
    y = main.apply("NEG", [x], TensorSpec("y", [1, 4]))
    main.subgraph.operators[0].inputs = [y]
    main.output(y)
    main.operator("WHILE", [y], [y], cond_subgraph=main, body_subgraph=main)
    main.operator("CALL_ONCE", [], [], init_subgraph=main)
    main.operator("IF", [y, y], [x], then_subgraph=main, else_subgraph=main)
    return tk.serialize(builder.build())


def _everything_is_everything(m: tk.Model) -> None:
    """One tensor is every operand, input, output and signature entry."""
    x = next(iter(m.tensors()))
    for subgraph in m.subgraphs:
        subgraph.inputs, subgraph.outputs = [x] * 3, [x] * 3
    for operator in m.operators():
        operator.inputs, operator.outputs = [x] * len(operator.inputs), [x] * len(operator.outputs)


def _empty_subgraphs(m: tk.Model) -> None:
    m.signature_defs, m.subgraphs = [], [tk.SubGraph() for _ in range(5)]


def _types(type_: int) -> Callable[[], bytes]:
    def edit(m: tk.Model) -> None:
        for tensor in m.tensors():
            tensor.type = TensorType(type_)

    return _edited(edit)


CORRUPT, LIMIT = tk.CorruptError, tk.LimitError
GALLERY: dict[str, Attack] = {
    "root beyond the file": Attack(lambda: b"\xf0\xff\xff\x7f" + victim()[4:], CORRUPT, "offset of the root table"),
    "root zero": Attack(lambda: bytes(4) + victim()[4:], CORRUPT, "offset of the root table is 0"),
    "root negative": Attack(lambda: b"\xfc\xff\xff\xff" + victim()[4:], CORRUPT, "offset of the root table"),
    "root misaligned": Attack(lambda: struct.pack("<I", struct.unpack_from("<I", victim())[0] + 2) + victim()[4:], CORRUPT, "misaligned"),
    "offset zero": Attack(_field("SubGraph", "tensors", 0), CORRUPT, "offset is zero or points outside"),
    "offset backwards": Attack(_field("Tensor", "name", 0xFFFFFFF0), CORRUPT, "offset is zero or points outside"),
    "offset beyond the end": Attack(_field("Operator", "inputs", 1 << 24), CORRUPT, "offset is zero or points outside"),
    "vector at an odd place": Attack(_field("SubGraph", "operators", 0x12346, "<I"), CORRUPT, "offset is zero or points outside"),
    "length of 2**28": Attack(_length("Operator", "inputs", 1 << 28), CORRUPT, "268435456 elements of 4 bytes do not fit"),
    "length of 2**32 - 1": Attack(_length("Tensor", "shape", 0xFFFFFFFF), CORRUPT, "4294967295 elements of 4 bytes do not fit"),
    "length that would wrap": Attack(_length("Tensor", "shape", 0x40000001), CORRUPT, "do not fit"),
    "string longer than the file": Attack(_length("Tensor", "name", 1 << 20), CORRUPT, "do not fit"),
    "string without an end": Attack(_unterminated, CORRUPT, "no terminating zero"),
    "vtable of odd size": Attack(_vtable("Tensor", 0, 7), CORRUPT, "vtable has an odd size"),
    "vtable of 65534 bytes": Attack(_vtable("SubGraph", 0, 0xFFFE), CORRUPT, "vtable has an odd size or reaches beyond"),
    "field beyond the table": Attack(_vtable("Model", 4, 0xFFFC), CORRUPT, "reaches beyond the file"),
    "field at an odd place": Attack(_vtable("Tensor", 4, 5), CORRUPT, "misaligned"),
    "vtable before the file": Attack(_table("Tensor", 1 << 28), CORRUPT, "vtable is outside"),
    "vtable behind the file": Attack(_table("Tensor", -(1 << 28)), CORRUPT, "vtable is outside"),
    "only a head": Attack(lambda: b"\x08\0\0\0TFL3", CORRUPT, "damaged"),
    **{name: Attack(make, LIMIT, "likely crafted") for name, make in BOMBS.items()},
    # What follows is valid as a flatbuffer, loads, and must do no harm.
    "only a root": Attack(lambda: b"\x0c\0\0\0TFL3\x04\0\x04\0\x04\0\0\0", None),
    "metadata that is a bomb": Attack(_metadata_bomb, None),
    "metadata that is noise": Attack(_metadata(b"\x08\0\0\0M001" + bytes(range(200))), None),
    "metadata that is empty": Attack(_metadata(b""), None),
    "metadata of nothing": Attack(_metadata(forge.pack_metadata(ModelMetadata())), None),
    "1000 buffers on the same 64 KB outside": Attack(lambda: aliased_offsets(1000, 1 << 16), None),
    "shapes of 2**180 elements": Attack(_edited(_huge_shapes), None),
    "negative shapes": Attack(_edited(lambda m: [setattr(t, "shape", (-(1 << 31), -1, 0)) for t in m.tensors()]), None),
    "no shapes": Attack(_edited(lambda m: [setattr(t, "shape", ()) for t in m.tensors()]), None),
    "shapes of 300 dimensions": Attack(_edited(lambda m: [setattr(t, "shape", (1,) * 300) for t in m.tensors()]), None),
    "scales that are no numbers": Attack(_scales(float("nan"), float("inf"), float("-inf")), None),
    "scales at the ends of float32": Attack(_scales(0.0, 1e-45, 3.4e38, -1.0, -0.0), None),
    "no scales, many zero points": Attack(_length("QuantizationParameters", "scale", 0), None),
    "no quantization": Attack(_edited(lambda m: [setattr(t, "quantization", None) for t in m.tensors()]), None),
    "no subgraphs": Attack(_edited(lambda m: (setattr(m, "subgraphs", []), setattr(m, "signature_defs", []))), None),
    "empty subgraphs": Attack(_edited(_empty_subgraphs), None),
    "no options": Attack(_edited(_no_options), None),
    "no operands": Attack(_edited(_no_operands), None),
    "absent operands": Attack(_edited(_absent_operands), None),
    "fifty times the operands": Attack(_edited(_many_operands), None),
    "one tensor everywhere": Attack(_edited(_everything_is_everything), None),
    "graphs that read and call themselves": Attack(_reading_itself, None),
    "indices beyond everything": Attack(
        _forged(lambda m: {t: {slot("Tensor", "buffer"): ("uint32", 0xFFFFFFFF)} for t in m.tensors()}
                | {o: {slot("Operator", "opcode_index"): ("uint32", 0xFFFFFFFF)} for o in m.operators()}), None,
    ),
    "an unknown field everywhere": Attack(_forged(lambda m: {k: v for t in m.tensors() for k, v in forge.unknown_field(t).items()}), None),
    "unknown options": Attack(
        _forged(lambda m: {k: v for o in m.operators() if o.options is not None for k, v in forge.unknown_union(o, "builtin_options").items()}), None
    ),
    **{f"element type {number}": Attack(_types(number), None) for number in (4, 5, 13, 14, 17, 20, 99, -7)},
    "names that steer terminals": Attack(_names(b"\x1b]0;owned\x07\x1b[31m\x9b2J\r\n"), None),
    "names that are no UTF-8": Attack(_names(b"\xff\xfe\xed\xa0\x80\xc3"), None),
    "names that look like markup": Attack(_names(b"[red]x[/][/bold][link=file:///etc]<script>`|"), None),
    "names that turn the line": Attack(_names("\u202etxt.\u2066\u200b\u2028".encode()), None),
    "names of 100 KB": Attack(_names(b"n" * 100_000), None),
    "names with zeros": Attack(_names(b"a\0b"), None),
}  # fmt: skip
