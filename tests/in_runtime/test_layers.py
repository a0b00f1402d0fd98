"""`--layers`: where two models depart, found on real models with one changed weight, and how tensors are paired."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import tflitekit as tk
from tflitekit.build import ModelBuilder, TensorSpec
from tflitekit.graph import Model
from tflitekit.runtime import Layers, RandomData
from tflitekit.runtime.execution import computed_tensors
from tflitekit.runtime.interface import interfaces, subject
from tflitekit.runtime.layers import match

from ..runtime import needs_runtime
from .models import dense, float_dense

SLOW = [
    ("mlct_vww_96_int8", 19, "reference"), ("aeq_conv_fc_mnist", 3, "default"), ("tfls_mobilenet_v1_0.25_224_quant", 13, "default"),
    ("mlct_pretrainedResnet_quant", 4, "default"),
]  # fmt: skip


def layers_of(a: object, b: object, **how: object) -> Layers:
    result = tk.runtime.compare(a, b, RandomData(2), layers=True, **how)  # type: ignore[arg-type]
    found = result.interfaces[0].layers
    assert found is not None
    return found


@needs_runtime
@pytest.mark.parametrize(
    ("name", "operator", "resolver"),
    [
        ("mlct_vww_96_int8", 6, "default"), ("gen_mnist_a16w8", 0, "reference"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW),
    ],
)  # fmt: skip
def test_a_changed_weight_is_found_at_its_operator(models: Path, name: str, operator: int, resolver: str) -> None:
    path = models / f"{name}.tflite"
    model = tk.read(path)
    target = model.subgraphs[0].operators[operator]
    kernel = target.inputs[1]
    assert kernel is not None and kernel.is_constant
    values = kernel.numpy().copy()
    values.reshape(-1)[:] = values.reshape(-1)[::-1]
    model.set_data(kernel, values)
    found = layers_of(path, model, resolver=resolver)
    first = found.first
    assert first is not None and (first.b.position, first.b.operator, first.drop) == (operator, target.op_name, math.inf)
    assert first.b.name == target.outputs[0].name_str  # type: ignore[union-attr]
    assert all(layer.errors.differing == 0 for layer in found.layers if layer.b.position < operator)
    assert (found.unmatched, found.unreadable, found.resolver) == ((0, 0), 0, "optimized" if resolver == "default" else resolver)
    assert len(found.layers) > len(model.subgraphs[0].operators)  # the inputs, too


@needs_runtime
def test_errors_within_the_tolerance_are_no_departure() -> None:
    found = layers_of(float_dense(), dense("FLOAT32"), tolerance="0.6lsb,20dB")
    assert found.first is None and found.layers[-1].errors.differing > 0
    assert found.unmatched == (0, 2)  # x_int8 and dense


@needs_runtime
def test_signatures_of_other_subgraphs_have_layers_of_their_own(models: Path) -> None:
    path = models / "aeq_two_signatures_a8w8.tflite"
    result = tk.runtime.compare(path, path, RandomData(2), layers=True)
    seen = {each.key: [layer.b.operator for layer in each.layers.layers] for each in result.interfaces if each.layers is not None}
    assert seen == {"add": ["input", "ADD"], "multiply": ["input", "MUL"]}


# ---- pairing ----


def chain(*steps: tuple[str, str]) -> Model:
    """Operators one after the other: (operator, name of its output)."""
    builder = ModelBuilder()
    graph = builder.subgraph()
    tensor = graph.input("x", (1, 4))
    for operator, name in steps:
        tensor = graph.apply(operator, [tensor], TensorSpec(name, (1, 4)))
    graph.output(tensor)
    return builder.build()


def pairs(a: Model, b: Model) -> list[tuple[str, str, str]]:
    sides = [computed_tensors(s.model.subgraphs[0], interfaces(s)[0]) for s in (subject(tk.serialize(a)), subject(tk.serialize(b)))]
    return [(layer.a.name, layer.b.name, layer.matched) for layer in match(*sides)]


def test_names_go_first_whatever_the_order() -> None:
    found = pairs(chain(("ABS", "p"), ("NEG", "q")), chain(("NEG", "q"), ("ABS", "p")))
    assert found == [("x", "x", "name"), ("q", "q", "name"), ("p", "p", "name")]


def test_the_rest_is_paired_by_operator_and_order() -> None:
    found = pairs(chain(("ABS", "p"), ("NEG", "q"), ("EXP", "r")), chain(("ABS", "s"), ("SQUARE", "t"), ("NEG", "u"), ("EXP", "r")))
    assert found == [("x", "x", "name"), ("p", "s", "position"), ("q", "u", "position"), ("r", "r", "name")]


def test_names_that_are_not_unique_do_not_count() -> None:
    found = pairs(chain(("ABS", "p"), ("NEG", "p")), chain(("NEG", "p"), ("EXP", "")))
    assert found == [("x", "x", "name"), ("p", "p", "position")]


def test_the_order_is_that_of_execution_not_of_the_list() -> None:
    model = chain(("ABS", "p"), ("NEG", "q"))
    model.subgraphs[0].tensors.reverse()
    tested = subject(tk.serialize(model))
    found = computed_tensors(tested.model.subgraphs[0], interfaces(tested)[0])
    assert [(t.index, t.name, t.position) for t in found] == [(2, "x", -1), (1, "p", 0), (0, "q", 1)]
    assert [layer.b.name for layer in match(found, found)] == ["x", "p", "q"]
