"""TFLite Metadata: what is written is read, real files read as another reader reads them, and damage gives only our errors."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tests.conftest import REPOSITORY, VALID_PATHS
from tests.forge import explicit_default, pack_metadata, slot_of, unknown_field, unknown_union
from tflitekit._base import OpaqueUnion, Table, fields_of, members_of, table_name, walk
from tflitekit._metadata_schema import (
    FIELDS,
    AssociatedFile,
    AssociatedFileType,
    AudioProperties,
    BertTokenizerOptions,
    BoundingBoxProperties,
    BoundingBoxType,
    ColorSpaceType,
    Content,
    CoordinateType,
    CustomMetadata,
    FeatureProperties,
    ImageProperties,
    ImageSize,
    ModelMetadata,
    NormalizationOptions,
    ProcessUnit,
    RegexTokenizerOptions,
    ScoreCalibrationOptions,
    ScoreThresholdingOptions,
    ScoreTransformationType,
    SentencePieceTokenizerOptions,
    Stats,
    SubGraphMetadata,
    TensorGroup,
    TensorMetadata,
    ValueRange,
)
from tflitekit._placeholders import dangling
from tflitekit.flat.metadata import ENTRY, IDENTIFIER
from tflitekit.flat.verifier import Verifier
from tflitekit.graph import Buffer, Metadata, Model

WITH_METADATA = 12  # of the real models


def everything() -> ModelMetadata:
    """Metadata that uses every table, every union member and every kind of field."""
    labels = [AssociatedFile(name=b"labels.txt", type=AssociatedFileType.TENSOR_AXIS_LABELS, locale=b"en", version=b"2", description=b"d")]
    steps = (
        NormalizationOptions(mean=(123.5, 0.1, 3.0), std=(58.5, 1.0, 2.0)), ScoreThresholdingOptions(global_score_threshold=0.25),
        ScoreCalibrationOptions(score_transformation=ScoreTransformationType.LOG, default_score=-0.5), BertTokenizerOptions(vocab_file=labels),
        SentencePieceTokenizerOptions(sentencePiece_model=labels, vocab_file=labels),
        RegexTokenizerOptions(delim_regex_pattern=b"\\W+", vocab_file=labels),
    )  # fmt: skip
    contents = (
        ImageProperties(color_space=ColorSpaceType.RGB, default_size=ImageSize(width=640, height=480)), FeatureProperties(),
        BoundingBoxProperties(index=(1, 0, 3, 2), type=BoundingBoxType.CENTER, coordinate_type=CoordinateType.PIXEL),
        AudioProperties(sample_rate=16000, channels=1), None,
    )  # fmt: skip
    tensors = [
        TensorMetadata(
            name=f"tensor {i}", description=b"\xff\x00\x1b", dimension_names=(b"batch", b"", b"x" * 100) if i != 1 else (),
            content=Content(content_properties=held, range=ValueRange(min=1, max=-1)), process_units=[ProcessUnit(options=step) for step in steps],
            stats=Stats(max=(1.0, 2.0), min=(-3.5,)), associated_files=labels,
        )
        for i, held in enumerate(contents)
    ]  # fmt: skip
    unit = ProcessUnit(options=ScoreThresholdingOptions(global_score_threshold=1e-45))
    graph = SubGraphMetadata(
        name=b"main", description=b"", input_tensor_metadata=tensors, output_tensor_metadata=tensors[:1], associated_files=labels,
        input_process_units=[unit], output_process_units=[unit, ProcessUnit()],
        input_tensor_groups=[TensorGroup(name=b"g", tensor_names=(b"a", b"b"))],
        output_tensor_groups=[TensorGroup()], custom_metadata=[CustomMetadata(name=b"c", data=bytes(range(20)))],
    )  # fmt: skip
    return ModelMetadata(
        name=b"model", description=b"what it is", version=b"v1", author=b"me", license=b"Apache-2.0", min_parser_version=b"1.5.0",
        associated_files=labels, subgraph_metadata=[graph, SubGraphMetadata()],
    )  # fmt: skip


def holding(data: Any) -> Model:
    """A model with these bytes as its metadata."""
    model = Model(version=3, buffers=[Buffer()])
    model.metadata = [Metadata(name=b"other", buffer=model.buffers[0]), Metadata(name=ENTRY, buffer=model.add_buffer(data))]
    return model


def plain(value: Any) -> Any:
    """A tree of tables as plain data, with the bits of the stored fields."""
    if isinstance(value, Table):
        stored = {f.attribute: value.has(f.attribute) for f in fields_of(type(value)) if f.kind in ("vector", "tables", "strings")}
        return table_name(type(value)), {f.attribute: plain(getattr(value, f.attribute)) for f in fields_of(type(value))}, stored
    if isinstance(value, OpaqueUnion):
        return "unknown", value.type, value.has_table
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_all_that_is_written_is_read() -> None:
    written = everything()
    found = tk.read_metadata(holding(pack_metadata(written)))
    assert found is not None
    assert plain(found) == plain(written)
    assert {table_name(type(table)) for _, table in walk(found)} == set(FIELDS)


def test_it_is_read_from_a_file_that_was_written(tmp_path: Path) -> None:
    tk.write(holding(pack_metadata(everything())), tmp_path / "m.tflite")
    assert plain(tk.read_metadata(tk.read(tmp_path / "m.tflite"))) == plain(everything())


@pytest.mark.parametrize("place", [0, 1, 2, 3, 5])
def test_it_is_read_wherever_the_buffer_starts(place: int) -> None:
    """Offsets count from the start of the metadata; the memory need not be aligned."""
    data = pack_metadata(everything())
    assert plain(tk.read_metadata(holding(memoryview(bytes(place) + data)[place:]))) == plain(everything())


def test_absent_and_empty_vectors_of_strings_are_kept_apart() -> None:
    tensors = tk.read_metadata(holding(pack_metadata(everything()))).subgraph_metadata[0].input_tensor_metadata  # type: ignore[union-attr]
    assert [t.has("dimension_names") for t in tensors] == [True] * 5
    assert tensors[1].dimension_names == ()
    absent = ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[TensorMetadata()])])
    read = tk.read_metadata(holding(pack_metadata(absent)))
    assert read is not None
    assert not read.subgraph_metadata[0].input_tensor_metadata[0].has("dimension_names")


def test_many_tables_with_strings_take_the_other_way_through_the_verifier() -> None:
    groups = [TensorGroup(name=f"g{i}", tensor_names=tuple(f"t{k}".encode() for k in range(i % 4)) if i % 3 else None) for i in range(500)]
    written = ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_groups=groups)])
    assert plain(tk.read_metadata(holding(pack_metadata(written)))) == plain(written)


def test_no_metadata_is_none() -> None:
    assert tk.read_metadata(Model()) is None
    assert tk.read_metadata(Model(metadata=[Metadata(name=b"TFLITE_METADATA_2"), Metadata()])) is None


def test_the_first_entry_counts() -> None:
    model = holding(pack_metadata(ModelMetadata(name=b"first")))
    model.metadata.append(Metadata(name=ENTRY, buffer=model.add_buffer(pack_metadata(ModelMetadata(name=b"second")))))
    found = tk.read_metadata(model)
    assert found is not None
    assert found.name == b"first"


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        (None, "no data"), (Buffer(), "no data"), (dangling("Buffer", 7), "no data"), (Buffer(data=b""), "0 bytes are too few"),
        (Buffer(data=bytes(7)), "7 bytes are too few"), (Buffer(data=bytes(64)), "identifier"),
        (Buffer(data=pack_metadata(ModelMetadata(), identifier=b"M002")), "b'M002', expected b'M001'"),
        (Buffer(data=b"\xff\xff\xff\xff" + IDENTIFIER), "offset of the root table"),
        (Buffer(data=pack_metadata(ModelMetadata(name=b"x" * 50))[:-30]), "metadata.name"),
    ],
)  # fmt: skip
def test_what_is_no_metadata_gets_our_error(buffer: Any, message: str) -> None:
    with pytest.raises(tk.CorruptError, match=message):
        tk.read_metadata(Model(metadata=[Metadata(name=ENTRY, buffer=buffer)]))


def test_a_newer_format_is_read_as_far_as_known() -> None:
    written = everything()
    unit = written.subgraph_metadata[0].input_tensor_metadata[0].process_units[0]
    data = pack_metadata(written, {**unknown_field(written), **unknown_union(unit, "options")})
    found = tk.read_metadata(holding(data))
    assert found is not None
    options = found.subgraph_metadata[0].input_tensor_metadata[0].process_units[0].options
    assert isinstance(options, OpaqueUnion)
    assert (options.type, options.has_table) == (250, True)
    assert found.name == b"model"


def test_strings_that_expand_are_refused() -> None:
    """One long string, referred to by every element of a long vector."""
    data = bytearray(pack_metadata(ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_groups=[TensorGroup(
        name=b"n" * 5000, tensor_names=(b"",) * 2000)])])))  # fmt: skip
    batch = next(b for b in Verifier(memoryview(bytes(data)), "ModelMetadata", IDENTIFIER).run() if b.name == "TensorGroup")
    name = int(batch.vectors[0][0][0]) - 4
    start, count = (int(array[0]) for array in batch.vectors[1])
    sharing = 0
    for at in range(start, start + 4 * count, 4):
        if at < name:
            struct.pack_into("<I", data, at, name - at)
            sharing += 1
    assert sharing > 1000
    with pytest.raises(tk.LimitError, match=r"TFLITE_METADATA: .*tensor_names"):
        tk.read_metadata(holding(bytes(data)))


def test_damaged_bytes_give_only_our_errors() -> None:
    """Words and bytes of metadata replaced at random; a control says that both outcomes occur."""
    data, rng = pack_metadata(everything()), random.Random(11)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(3000):
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(out) - 4)
            change = rng.randrange(4)
            if change == 0:
                out[at] ^= 1 << rng.randrange(8)
            elif change == 1:
                struct.pack_into("<I", out, at & ~3, rng.choice((0, 1, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(out), rng.randrange(len(out)))))
            elif change == 2:
                struct.pack_into("<H", out, at & ~1, rng.choice((0, 1, 4, 6, 0xFFFF, rng.randrange(65536))))
            else:
                del out[rng.randrange(8, len(out)) :]
                break
        try:
            found = tk.read_metadata(holding(bytes(out)))
        except tk.TFLiteKitError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert plain(found)
    assert min(outcomes.values()) > 300, outcomes


@pytest.mark.parametrize(
    ("attribute", "value"), [("dimension_names", "abc"), ("dimension_names", [1]), ("dimension_names", 3), ("content", Stats()), ("stats", {})]
)
def test_assignment_is_checked(attribute: str, value: Any) -> None:
    with pytest.raises(tk.EditError, match=f"TensorMetadata.{attribute}"):
        setattr(TensorMetadata(), attribute, value)


def test_assignment_converts() -> None:
    tensor = TensorMetadata()
    tensor.dimension_names = ["batch", b"x"]  # type: ignore[assignment,list-item]
    assert tensor.dimension_names == (b"batch", b"x")
    with pytest.raises(tk.EditError, match=r"ProcessUnit.options"):
        ProcessUnit(options=ImageProperties())


# ---- writing ----


def rewritten(metadata: ModelMetadata, model: Model | None = None) -> tuple[Model, ModelMetadata]:
    model = Model(version=3, buffers=[Buffer()]) if model is None else model
    tk.write_metadata(model, metadata)
    found = tk.read_metadata(model)
    assert found is not None
    return model, found


def test_what_is_stored_is_read_and_is_a_fixed_point() -> None:
    model, found = rewritten(everything())
    assert plain(found) == plain(everything())
    data = bytes(model.buffers[1].data or b"")
    assert data[4:8] == IDENTIFIER
    assert plain(tk.read_metadata(holding(pack_metadata(everything())))) == plain(found)
    again, _ = rewritten(found)
    assert bytes(again.buffers[1].data or b"") == data
    assert plain(tk.read_metadata(tk.parse(tk.serialize(model)))) == plain(everything())


def test_presence_is_kept() -> None:
    """Stored defaults, empty vectors and strings, a union of no type: each as it was, none added."""
    bare = ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[TensorMetadata(content=Content()), TensorMetadata()])])
    first = bare.subgraph_metadata[0].input_tensor_metadata[0]
    first.process_units = [ProcessUnit(options=ScoreThresholdingOptions()), ProcessUnit()]
    first.dimension_names, first.stats, first.name = (), Stats(max=(), min=None), b""
    overrides = {
        **explicit_default(first.process_units[0].options, "global_score_threshold"),
        first.process_units[1]: {slot_of(first.process_units[1], "options") - 1: ("uint8", 0)},
    }
    given = tk.read_metadata(holding(pack_metadata(bare, overrides)))
    plainly = tk.read_metadata(holding(pack_metadata(bare)))
    assert given is not None and plainly is not None
    for metadata in (given, plainly):
        _, found = rewritten(metadata)
        assert plain(found) == plain(metadata)
        assert [t._present for _, t in walk(found)] == [t._present for _, t in walk(metadata)]
    assert [t._present for _, t in walk(given)] != [t._present for _, t in walk(plainly)]


def test_metadata_that_says_the_same_leaves_the_bytes() -> None:
    model = holding(pack_metadata(everything()))
    data = model.metadata[1].buffer.data  # type: ignore[union-attr]
    found = tk.read_metadata(model)
    assert found is not None
    assert not tk.write_metadata(model, found)
    assert model.metadata[1].buffer is not None and model.metadata[1].buffer.data is data
    found.name = b"other"
    assert tk.write_metadata(model, found)
    assert len(model.buffers) == 2, "the buffer is the entry's own"
    assert tk.read_metadata(model).name == b"other"  # type: ignore[union-attr]


@pytest.mark.parametrize("who", ["tensor", "entry", "old list", "buffer 0", "none", "dangling"])
def test_a_buffer_that_serves_others_is_left_alone(who: str) -> None:
    model = holding(pack_metadata(ModelMetadata(name=b"old")))
    shared = model.buffers[1]
    if who == "tensor":
        model.subgraphs.append(tk.SubGraph(tensors=[tk.Tensor(name="t", buffer=shared)]))
    elif who == "entry":
        model.metadata.append(Metadata(name=b"copy", buffer=shared))
    elif who == "old list":
        model.metadata_buffer.append(shared)
    else:
        model.metadata[1].buffer = {"buffer 0": model.buffers[0], "none": None, "dangling": dangling("Buffer", 9)}[who]
    before = bytes(shared.data or b"")
    tk.write_metadata(model, ModelMetadata(name=b"new"))
    assert bytes(shared.data or b"") == before
    assert tk.read_metadata(model).name == b"new"  # type: ignore[union-attr]
    assert model.buffers[0].data is None and model.metadata[1].buffer in model.buffers


def test_a_newer_format_is_not_written_over() -> None:
    written = everything()
    unit = written.subgraph_metadata[0].input_tensor_metadata[0].process_units[0]
    for overrides, message in (
        (unknown_field(written), "metadata: a field newer"),
        (unknown_union(unit, "options"), r"process_units\[0\]: options is of type 250"),
    ):
        model = holding(pack_metadata(written, overrides))
        found = tk.read_metadata(model)
        assert found is not None
        for metadata in (found, ModelMetadata(name=b"fresh")):
            before = bytes(model.buffers[1].data or b"")
            with pytest.raises(tk.LossyWriteError, match=message):
                tk.write_metadata(model, metadata)
            assert bytes(model.buffers[1].data or b"") == before


def test_damaged_metadata_can_be_replaced() -> None:
    model, found = rewritten(ModelMetadata(name=b"new"), holding(bytes(64)))
    assert (found.name, len(model.buffers)) == (b"new", 2)


def test_flatc_reads_what_is_written(tmp_path: Path) -> None:
    flatc = shutil.which("flatc", path=str(Path(sys.executable).parent)) or shutil.which("flatc")
    if flatc is None:
        pytest.skip("needs flatc (extras dev and test)")
    schema = tmp_path / "metadata.fbs"
    schema.write_text((REPOSITORY / "schema" / "metadata.fbs").read_text() + 'file_identifier "M001";\nroot_type ModelMetadata;\n')
    metadata = everything()
    for tensor in metadata.subgraph_metadata[0].input_tensor_metadata:
        tensor.description = b"text"  # JSON is UTF-8
        tensor.content.content_properties = tensor.content.content_properties or FeatureProperties()  # type: ignore[union-attr]
        for unit in tensor.process_units:
            if isinstance(unit.options, NormalizationOptions):
                unit.options.mean = (1.5, 2.0)  # six digits
    metadata.subgraph_metadata[0].output_process_units.pop()
    model, _ = rewritten(metadata)
    (tmp_path / "m.bin").write_bytes(bytes(model.buffers[1].data or b""))
    command = [flatc, "--json", "--strict-json", "--raw-binary", "--no-warnings", "-o", str(tmp_path), str(schema), "--", str(tmp_path / "m.bin")]
    subprocess.run(command, check=True, capture_output=True)
    read = json.loads((tmp_path / "m.json").read_text(), parse_float=lambda text: round(float(text), 6))
    expected = json.loads(json.dumps(as_flatc(metadata)), parse_float=lambda text: round(float(text), 6))
    assert read == expected


# ---- real files ----


def test_every_real_metadata_is_written_and_read_again(model_path: Path) -> None:
    model = tk.read(model_path)
    metadata = tk.read_metadata(model)
    if metadata is None:
        return
    assert not tk.write_metadata(model, metadata)
    entry = next(e for e in model.metadata if e.name == ENTRY)
    entry.buffer = Buffer(data=bytes(8))  # read nothing of the original any more
    tk.write_metadata(model, metadata)
    found = tk.read_metadata(tk.parse(tk.serialize(model)))
    assert found is not None
    assert plain(found) == plain(metadata)
    assert [t._present for _, t in walk(found)] == [t._present for _, t in walk(metadata)]
    assert model.source is not None
    container, files = model.source.container, [f for _, f in walk(found) if isinstance(f, AssociatedFile)]
    assert {bytes(f.name or b"").decode() for f in files} <= set(container.zip_names if files else ())


def test_every_realholding(model_path: Path) -> None:
    model = tk.read(model_path)
    has = any(entry.name == ENTRY for entry in model.metadata)
    found = tk.read_metadata(model)
    assert (found is not None) == has
    if found is None:
        return
    for described, subgraph in zip(found.subgraph_metadata, model.subgraphs, strict=False):
        assert len(described.input_tensor_metadata) == len(subgraph.inputs)
        assert len(described.output_tensor_metadata) == len(subgraph.outputs)
    names = {bytes(file.name or b"").decode() for _, file in walk(found) if isinstance(file, AssociatedFile)}
    if names:
        assert model.source is not None
        assert names <= set(model.source.container.zip_names)


def test_flatc_reads_the_same_from_the_real_models(tmp_path: Path) -> None:
    """Flatc's own decoder, with the same schema: every value that it prints is the one that was read."""
    flatc = shutil.which("flatc", path=str(Path(sys.executable).parent)) or shutil.which("flatc")
    if flatc is None:
        pytest.skip("needs flatc (extras dev and test)")
    if not VALID_PATHS:
        pytest.skip("no real models")
    schema = tmp_path / "metadata.fbs"
    schema.write_text((REPOSITORY / "schema" / "metadata.fbs").read_text() + 'file_identifier "M001";\nroot_type ModelMetadata;\n')
    blobs = {}
    for path in VALID_PATHS:
        model = tk.read(path)
        entry = next((e for e in model.metadata if e.name == ENTRY), None)
        if entry is not None:
            assert entry.buffer is not None
            blob = tmp_path / f"{path.stem.replace('.', '_')}.bin"
            blob.write_bytes(bytes(entry.buffer.data or b""))
            blobs[blob] = model
    assert len(blobs) == WITH_METADATA
    command = [flatc, "--json", "--strict-json", "--raw-binary", "--no-warnings", "-o", str(tmp_path), str(schema), "--", *map(str, blobs)]
    subprocess.run(command, check=True, capture_output=True)
    for blob, model in blobs.items():
        expected = json.loads(blob.with_suffix(".json").read_text())
        assert as_flatc(tk.read_metadata(model)) == expected


def as_flatc(value: Any) -> Any:
    """A tree in the form of flatc's JSON: absent fields left out, enums by name, floats in six digits."""
    found: dict[str, Any] = {}
    for field in fields_of(type(value)):
        held = getattr(value, field.attribute)
        if field.kind == "scalar":
            if held != field.default or value.has(field.attribute):
                found[field.name] = held.name if field.enum else held
        elif field.kind == "union":
            # Two of the files have a type without a table.
            if held is not None:
                found[f"{field.name}_type"] = members_of(field.type)[held.type] if isinstance(held, OpaqueUnion) else type(held).__name__
            if isinstance(held, Table):
                found[field.name] = as_flatc(held)
        elif held is None or (field.kind != "string" and not len_of(held) and not value.has(field.attribute)):
            continue
        elif field.kind == "table":
            found[field.name] = as_flatc(held)
        elif field.kind == "tables":
            found[field.name] = [as_flatc(item) for item in held]
        elif field.kind == "strings":
            found[field.name] = [item.decode() for item in held]
        elif field.kind == "string":
            found[field.name] = held.decode()
        else:
            found[field.name] = list(held)
    return found


def len_of(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") else 1
