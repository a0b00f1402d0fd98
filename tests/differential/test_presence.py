"""Which fields a file stores, read with struct alone, against what the graph says; and the deprecated fields, which no generated reader has."""

from __future__ import annotations

from pathlib import Path

import pytest

import tflitekit as tk
from tests.conftest import VALID_PATHS
from tflitekit._base import table_name

from .raw import known_slots, pairs, root


def test_presence_of_every_field(model_path: Path) -> None:
    """Scalars: whether a default is stored or elided. Vectors: whether they are there. Strings and tables: None or not."""
    wrong = []
    tables = 0
    for path, ours, raw in pairs(tk.read(model_path), root(model_path.read_bytes())):
        tables += 1
        for slot, field in known_slots(ours).items():
            stored = slot in raw.slots
            if field.kind in ("scalar", "vector", "tables"):
                if getattr(ours, "out_of_line", False) and field.name == "data":
                    continue
                said = ours.has(field.attribute)
            else:
                said = getattr(ours, field.attribute) is not None
            if said != stored:
                wrong.append(f"{path}.{field.name}: stored {stored}, the graph says {said}")
    assert tables > 0
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.usefixtures("models")
def test_deprecated_fields_are_read() -> None:
    """Deprecated strings are kept as bytes; at least one real model has one, and it survives a rebuild."""
    found = 0
    for file in VALID_PATHS:
        model = tk.read(file)
        rebuilt: tk.Model | None = None
        for number, signature in enumerate(model.signature_defs):
            raw = root(file.read_bytes())
            slots = {field.name: slot for slot, field in known_slots(signature).items()}
            theirs = raw.children(7)[number]
            if slots["deprecated_tag"] not in theirs.slots:
                assert signature.deprecated_tag is None
                continue
            found += 1
            assert signature.deprecated_tag == theirs.string(slots["deprecated_tag"])
            if rebuilt is None:
                rebuilt = tk.parse(tk.serialize(model, rebuild=True))
            assert rebuilt.signature_defs[number].deprecated_tag == signature.deprecated_tag
    assert found, "no model of the set has a deprecated field: this test compared nothing"


def test_the_walk_visits_every_kind_of_table(models: Path) -> None:
    """A control: the walk reaches the cold tables, too."""
    seen = {
        table_name(type(ours))
        for name in ("aeq_two_signatures.tflite", "litert_multi_add.tflite", "aeq_conv_fc_mnist_srq_a8w8.tflite")
        if (models / name).exists()
        for _, ours, _ in pairs(tk.read(models / name), root((models / name).read_bytes()))
    }
    assert {"Model", "SubGraph", "Tensor", "Operator", "OperatorCode", "Buffer", "QuantizationParameters", "SignatureDef", "TensorMap"} <= seen
    assert any(name.endswith("Options") for name in seen)
