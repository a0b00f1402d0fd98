"""Facts: exact numbers, the right counts, filters, and what a change looks like."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tflitekit import Change, EditError, Problem
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.graph import Buffer, ExternalBuffer, Model, QuantizationParameters, SubGraph, Tensor
from tflitekit.reports.changes import changes_facts, changes_report
from tflitekit.reports.facts_operators import operators_facts
from tflitekit.reports.facts_summary import summary_facts
from tflitekit.reports.facts_tensors import SORT_KEYS, TensorFilter, tensors_facts
from tflitekit.reports.layout import lay_out
from tflitekit.reports.problems import problems_facts, problems_report
from tflitekit.reports.render import plain
from tflitekit.reports.to_json import to_json
from tflitekit.reports.values import share_text

from .models import small


def names(only: TensorFilter, sort: str = "index") -> list[str]:
    return [tensor["name"] for tensor in tensors_facts(small(), only, sort)["tensors"]]


def test_floats_survive_json_bit_by_bit() -> None:
    scales = np.array([0.1, 1e-45, 3.4e38, 0.003921568859368563], np.float32)
    tensor = Tensor(type=TensorType.INT8, shape=(4,), quantization=QuantizationParameters(scale=scales, zero_point=[0] * 4))
    facts = json.loads(to_json(tensors_facts(Model(subgraphs=[SubGraph(tensors=[tensor])]))))
    back = np.array(facts["tensors"][0]["quantization"]["scale"], np.float32)
    assert back.tobytes() == scales.tobytes()
    assert facts["tensors"][0]["quantization"]["scale"][3] == 0.003921568859368563


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (TensorFilter(), ["image", "conv/kernel", "conv/bias", "features", "block/weights", "block/scales", "result"]),
        (TensorFilter(name="conv"), ["conv/kernel", "conv/bias"]),
        (TensorFilter(name="*s"), ["conv/bias", "features", "block/weights", "block/scales"]),
        (TensorFilter(name="[ir]*"), ["image", "result"]),
        (TensorFilter(quantized=True), ["image", "conv/kernel", "conv/bias", "features", "block/weights"]),
        (TensorFilter(float_type=True), ["block/scales", "result"]),
        (TensorFilter(constant=True, quantized=True), ["conv/kernel", "conv/bias", "block/weights"]),
        (TensorFilter(constant=False), ["image", "features", "result"]),
    ],
)
def test_filters(only: TensorFilter, expected: list[str]) -> None:
    assert names(only) == expected


def test_sorting() -> None:
    assert names(TensorFilter(), "name") == sorted(names(TensorFilter()))
    assert names(TensorFilter(), "size")[:2] == ["conv/kernel", "conv/bias"]
    assert names(TensorFilter(), "type")[0] == "block/scales"
    assert set(SORT_KEYS) == {"index", "name", "size", "type"}


def test_unknown_subgraph_is_refused() -> None:
    with pytest.raises(EditError, match="no subgraph 1: the model has 1"):
        tensors_facts(small(), TensorFilter(subgraph=1))
    with pytest.raises(EditError, match="no subgraph -1"):
        operators_facts(small(), subgraph=-1)


def test_a_float_tensor_with_a_scale_is_not_counted_as_quantized() -> None:
    tensor = Tensor(type=TensorType.FLOAT32, quantization=QuantizationParameters(scale=[0.5], zero_point=[0]))
    model = Model(subgraphs=[SubGraph(tensors=[tensor])])
    assert summary_facts(model)["quantization"]["quantized"] == 0
    assert tensors_facts(model)["tensors"][0]["quantized"] is False
    assert tensors_facts(model)["tensors"][0]["quantization"]["kind"] == "per-tensor"


def test_shared_and_aliased_buffers_count_once() -> None:
    shared = Buffer(data=bytes(10))
    aliases = [Buffer(data=bytes(7), out_of_line=True) for _ in range(2)]
    for alias in aliases:
        alias.offset, alias.size = 4096, 7
    tensors = [Tensor(type=TensorType.INT8, shape=(10,), buffer=b) for b in (shared, shared, *aliases)]
    external = Tensor(type=TensorType.FLOAT32, shape=(5,), external_buffer=ExternalBuffer(id=1, length=20))
    model = Model(subgraphs=[SubGraph(tensors=tensors[:2]), SubGraph(tensors=[*tensors[2:], external])])
    model.buffers = [Buffer(), shared, *aliases, Buffer(data=b"lost")]
    constants = summary_facts(model)["constants"]
    assert constants["by_type"] == [
        {"type": "FLOAT32", "tensors": 1, "buffers": 1, "bytes": 20},
        {"type": "INT8", "tensors": 4, "buffers": 2, "bytes": 17},
    ]
    assert (constants["bytes"], constants["external_bytes"], constants["unused_bytes"]) == (37, 20, 4)


def test_container_is_described() -> None:
    model = small()
    container = SimpleNamespace(
        body_end=100, zip_range=(160, 200), zip_names=["labels\x1b.txt"], out_of_line_bytes=32, padding=4, unexplained=(140, 150)
    )
    model.source = SimpleNamespace(path=None, size=200, data=memoryview(b""), container=container)
    assert summary_facts(model)["container"] == {
        "body_end": 100, "offset_bytes": 32, "padding": 4,
        "zip": {"start": 160, "end": 200, "names": ["labels\x1b.txt"]}, "unexplained": {"start": 140, "end": 150},
    }  # fmt: skip


def test_operator_facts() -> None:
    conv, pool = operators_facts(small())["operators"]
    assert conv["options"] == {"table": "Conv2DOptions", "stride_w": 2, "stride_h": 2}
    assert (conv["name"], conv["version"], conv["custom"]) == (BuiltinOperator.CONV_2D.name, 3, False)
    assert pool["inputs"] == [
        {"tensor": 3, "name": "features", "type": "INT8"}, {"tensor": 4, "name": "block/weights", "type": "INT4"}, None,
    ]  # fmt: skip
    assert (pool["custom"], pool["custom_options"], pool["custom_options_bytes"]) == (True, "0102", 2)
    assert [o["name"] for o in operators_facts(small(), name="conv")["operators"]] == ["CONV_2D"]


def test_long_values_of_changes_are_summarised() -> None:
    a, b = small(), small()
    many = tuple(float(i) for i in range(100))
    changes = [
        Change("buffers[1].data", memoryview(bytes(54)), memoryview(bytes(50) + b"\x01\x02\x00\x00\x00")),
        Change("x.scale", many, (*many[:7], -1.0, *many[8:])),
        Change("x.few", (1,) * 10, (1, 2) + (1,) * 8),
        Change("subgraphs[0].tensors[0].name", b"image", b"im\x1bage"),
        Change("metadata[1]", None, b.metadata[0]),
    ]
    facts = changes_facts(a, b, changes)
    pairs = [(c["old"], c["new"]) for c in facts["changes"]]
    assert pairs[0] == ({"bytes": 54}, {"bytes": 55, "differing": 3, "first": 50})
    assert pairs[1] == ({"elements": 100}, {"elements": 100, "differing": 1, "first": 7})
    assert pairs[4] == (None, {"table": "Metadata", "name": "min_runtime_version", "buffer": 4})
    assert json.loads(to_json(facts))["equal"] is False
    text = "\n".join(plain(line) for line in lay_out(changes_report(facts), 80))
    assert "    - [1] 1\n    + [1] 2 (1 of 10 differ)\n" in text
    assert r"im\x1bage" in text


def test_no_changes() -> None:
    facts = changes_facts(small(), small(), [])
    assert facts["equal"]
    assert [plain(line) for line in lay_out(changes_report(facts), 80)] == ["(no file) -> (no file): no differences"]


def test_problems_are_sorted_and_counted() -> None:
    problems = [Problem("info", "i", "", "", "odd"), Problem("warning", "w", "a", "", "hm"), Problem("error", "e", "b[1]", "t\x1b", "bad")]
    facts = problems_facts(small(), problems, ["buffers[0]: 1 != 2"])
    assert facts["counts"] == {"error": 1, "warning": 1, "info": 1}
    assert [p["severity"] for p in facts["problems"]] == ["error", "warning", "info"]
    lines = [plain(line) for line in lay_out(problems_report(facts), 100)]
    assert lines[0] == "(no file): 1 error, 1 warning, 1 info"
    assert lines[3].split() == ["error", "e", "b[1]", r"'t\x1b'", "bad"]
    assert lines[-1] == "buffers[0]: 1 != 2"


def test_shares_say_all_and_nothing_only_where_that_is_so() -> None:
    assert [share_text(*pair) for pair in [(0, 9), (1, 10**6), (1, 3), (10**6 - 1, 10**6), (9, 9), (0, 0)]] == [
        "0.0%", "<0.1%", "33.3%", ">99.9%", "100.0%", "-",
    ]  # fmt: skip
