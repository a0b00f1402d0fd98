"""Facts from the TFLite Metadata of a model: what it says of the model, and of each input and output."""

from __future__ import annotations

from .. import types
from .._described import normalization_options
from .._metadata_schema import ModelMetadata, NormalizationOptions, ScoreThresholdingOptions, TensorMetadata
from .values import Facts, vector


def metadata_facts(metadata: ModelMetadata) -> Facts:
    """`name`, `description`, `version`, `author`, `license`, `min_parser_version` (texts or null), `associated_files` (names)."""
    names = ("name", "description", "version", "author", "license", "min_parser_version")
    files = [types.text(file.name) for file in metadata.associated_files]
    return {**{name: _text(getattr(metadata, name)) for name in names}, "associated_files": files}


def _text(value: bytes | None) -> str | None:
    return None if value is None else types.text(value)


def normalization_facts(options: NormalizationOptions | None) -> Facts | None:
    """`mean` and `std`, lists of numbers; null without."""
    return None if options is None else {"mean": vector(options.mean), "std": vector(options.std)}


def tensor_metadata_facts(about: TensorMetadata) -> Facts:
    """What the metadata says of one input or output.

    name, description   texts or null
    content             ImageProperties and so on, or null
    normalization       mean, std (lists: one for all channels, or one each); null without
    min, max            lists: bounds of the values
    score_threshold     below it results are to be dropped; null without
    associated_files    name, type
    """
    properties = None if about.content is None else about.content.content_properties
    thresholds = [unit.options.global_score_threshold for unit in about.process_units if isinstance(unit.options, ScoreThresholdingOptions)]
    return {
        "name": _text(about.name),
        "description": _text(about.description),
        "content": None if properties is None else type(properties).__name__,
        "normalization": normalization_facts(normalization_options(about)),
        "min": [] if about.stats is None else vector(about.stats.min),
        "max": [] if about.stats is None else vector(about.stats.max),
        "score_threshold": vector(thresholds)[0] if thresholds else None,
        "associated_files": [{"name": types.text(f.name), "type": f.type.name} for f in about.associated_files],
    }


# ---- texts ----


def normalization_text(normalization: Facts) -> str:
    """`(pixel - 127.5) / 127.5`, `pixel / 255`; lists where each channel has its own."""
    mean, std = ("?" if not values else values[0] if len(values) == 1 else values for values in (normalization["mean"], normalization["std"]))
    moved = "pixel" if mean == 0 else f"(pixel - {_number(mean)})"
    return moved if std == 1 and mean == 0 else f"{moved} / {_number(std)}"


def _number(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_number, value))}]"
    return f"{value:.7g}" if isinstance(value, float) else str(value)
