"""The TFLite Metadata of a model: a flatbuffer of its own format inside the buffer of the entry TFLITE_METADATA."""

from __future__ import annotations

from .._base import Dangling
from .._metadata_schema import ModelMetadata
from ..errors import CorruptError, LimitError, TFLiteKitError
from ..graph import Metadata, Model, view_of
from .reader import decode_nested

ENTRY = b"TFLITE_METADATA"
IDENTIFIER = b"M001"


def metadata_entry(model: Model) -> Metadata | None:
    """The first entry named TFLITE_METADATA, which is the one that other readers take; None if the model has none."""
    return next((entry for entry in model.metadata if entry.name == ENTRY), None)


def read_metadata(model: Model) -> ModelMetadata | None:
    """Decode what the model's TFLite Metadata says of it, its inputs and its outputs; None if it has no such metadata.

    The result is a copy: editing it does not change the model. Names are bytes. Verified like a model: CorruptError for damaged or missing bytes,
    LimitError for bytes crafted to expand.
    """
    entry = metadata_entry(model)
    if entry is None:
        return None
    data = None if entry.buffer is None or isinstance(entry.buffer, Dangling) else entry.buffer.data
    if data is None:
        raise CorruptError(f"the entry {ENTRY.decode()} has no data", where="metadata")
    try:
        found = decode_nested(view_of(data), ModelMetadata.__name__, IDENTIFIER)
    except TFLiteKitError as error:
        error.args = (f"{ENTRY.decode()}: {error}",)
        raise
    assert isinstance(found, ModelMetadata)
    return found


def write_metadata(model: Model, metadata: ModelMetadata) -> bool:
    """Store TFLite Metadata in the model; returns whether that changed anything.

    The entry TFLITE_METADATA is made where there is none, and gets a buffer of its own where its buffer serves others too. Bytes that say the same
    already are left as they are. LossyWriteError if the metadata, or what it replaces, has fields or union members newer than the schema.
    """
    from .nested import encode_nested  # imports flatbuffers, which reading can do without

    data = encode_nested(metadata, IDENTIFIER)
    entry = metadata_entry(model)
    if entry is None:
        model.metadata.append(Metadata(name=ENTRY, buffer=model.add_buffer(data)))
        return True
    try:
        stored = read_metadata(model)
    except (CorruptError, LimitError):  # nothing that could be lost
        stored = None
    if stored is not None and encode_nested(stored, IDENTIFIER) == data:
        return False
    buffer = entry.buffer
    users = sum(1 for tensor in model.tensors() if tensor.buffer is buffer) + sum(1 for other in model.metadata if other.buffer is buffer)
    own = buffer in model.buffers[1:] and users + model.metadata_buffer.count(buffer) == 1
    if own and buffer is not None:
        buffer.data = view_of(data)
    else:
        entry.buffer = model.add_buffer(data)
    return True


def metadata_or_problem(model: Model) -> tuple[ModelMetadata | None, str | None]:
    """(the TFLite Metadata or None, why it cannot be read or None): a model with damaged metadata still gets its report."""
    try:
        return read_metadata(model), None
    except TFLiteKitError as error:
        return None, str(error)
