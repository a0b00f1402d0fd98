"""Small models whose inputs and outputs are hard to change: shared, passed through, constants, in subgraphs that are called, in the metadata."""

from __future__ import annotations

from typing import Any

import numpy as np

import tflitekit as tk
from tflitekit._metadata_schema import ModelMetadata, Stats, SubGraphMetadata, TensorMetadata
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model

FLOAT, SHAPE = "FLOAT32", [2, 4]
FINE, COARSE, LOGISTIC = quantize(0.02, 5), quantize(0.1, -20), quantize(1 / 256, -128)


def fresh() -> tuple[ModelBuilder, SubGraphBuilder]:
    builder = ModelBuilder()
    return builder, builder.subgraph("main")


def spec(name: str, type_: str = FLOAT, quantization: Any = None) -> TensorSpec:
    return TensorSpec(name, SHAPE, type_, quantization)


def floats_around(core: str = "INT8", quantization: Any = COARSE, out: Any = LOGISTIC) -> Model:
    """Float x -> QUANTIZE -> LOGISTIC -> DEQUANTIZE -> y float, with a signature of other names."""
    builder, main = fresh()
    x = main.input("x", SHAPE)
    q = main.apply("QUANTIZE", [x], spec("q", core, quantization), version=2)
    p = main.apply("LOGISTIC", [q], spec("p", core, out), version=2)
    y = main.apply("DEQUANTIZE", [p], spec("y"), version=3)
    main.output(y)
    builder.signature("run", {"image": x}, {"scores": y})
    return builder.build()


def codes_inside(core: str = "INT8", quantization: Any = COARSE, out: Any = LOGISTIC) -> Model:
    """LOGISTIC of codes, which are the interface."""
    builder, main = fresh()
    x = main.input("x", SHAPE, core, quantization)
    main.output(main.apply("LOGISTIC", [x], spec("y", core, out), version=2))
    builder.signature("run", {"image": x})
    return builder.build()


def several_readers() -> Model:
    """Float x, read by two QUANTIZE of one scale, one of another, and a float operator."""
    builder, main = fresh()
    x = main.input("x", SHAPE)
    first = main.apply("QUANTIZE", [x], spec("first", "INT8", COARSE))
    other = main.apply("QUANTIZE", [x], spec("other", "INT8", FINE))
    second = main.apply("QUANTIZE", [x], spec("second", "INT8", COARSE))
    main.output(main.apply("LOGISTIC", [first], spec("a", "INT8", LOGISTIC), version=2))
    main.output(main.apply("LOGISTIC", [other], spec("b", "INT8", LOGISTIC), version=2))
    main.output(main.apply("ADD", [second, first], spec("c", "INT8", COARSE), version=2))
    main.output(main.apply("LOGISTIC", [x], spec("d")))
    return builder.build()


def shared_outputs() -> Model:
    """One tensor of codes behind two DEQUANTIZE outputs, one of them listed twice and read by an operator; the codes are an output, too."""
    builder, main = fresh()
    x = main.input("x", SHAPE, "INT8", COARSE)
    p = main.apply("LOGISTIC", [x], spec("p", "INT8", LOGISTIC), version=2)
    a = main.apply("DEQUANTIZE", [p], spec("a"), version=2)
    b = main.apply("DEQUANTIZE", [p], spec("b"), version=2)
    q = main.apply("TANH", [p], spec("q", "INT8", quantize(1 / 128, 0)), version=2)
    c = main.apply("DEQUANTIZE", [q], spec("c"), version=2)
    main.output(a, b, a, main.apply("NEG", [a], spec("n")), c, q)
    return builder.build()


def inputs_twice() -> Model:
    """An input that is listed twice."""
    model = codes_inside()
    model.signature_defs.clear()
    model.subgraphs[0].inputs.append(model.subgraphs[0].inputs[0])
    return model


def constant_outputs() -> Model:
    """A constant of codes that is an output, one that operators read besides, and a float one."""
    builder, main = fresh()
    x = main.input("x", SHAPE, "INT8", COARSE)
    lone = main.constant("lone", np.arange(8, dtype=np.int8).reshape(2, 4), quantization=FINE)
    read = main.constant("read", np.arange(8, dtype=np.int8).reshape(2, 4) - 4, quantization=COARSE)
    real = main.constant("real", np.arange(8, dtype=np.float32).reshape(2, 4))
    main.output(lone, read, real, main.apply("ADD", [x, read], spec("y", "INT8", COARSE), version=2))
    return builder.build()


def passed_through(type_: str = "INT8", quantization: Any = COARSE) -> Model:
    """An input that is an output, and read by an operator, too."""
    builder, main = fresh()
    x = main.input("x", SHAPE, type_, quantization)
    q = x if quantization is not None else main.apply("QUANTIZE", [x], spec("q", "INT8", COARSE))
    y = main.apply("LOGISTIC", [q], spec("y", "INT8", LOGISTIC), version=2)
    main.output(x, y)
    builder.signature("run", {"in": x}, {"same": x, "y": y})
    return builder.build()


def only_boundaries() -> Model:
    """QUANTIZE and DEQUANTIZE with nothing between."""
    builder, main = fresh()
    x = main.input("x", SHAPE)
    q = main.apply("QUANTIZE", [x], spec("q", "INT8", COARSE))
    main.output(main.apply("DEQUANTIZE", [q], spec("y"), version=2), q)
    return builder.build()


def rescaled() -> Model:
    """Boundary QUANTIZE operators that change the scale: uint8 -> int8 on both sides, int16 -> int8."""
    builder, main = fresh()
    x, z = main.input("x", SHAPE, "UINT8", quantize(0.05, 100)), main.input("z", SHAPE, "INT16", quantize(0.001))
    p = main.apply("QUANTIZE", [x], spec("p", "INT8", COARSE))
    r = main.apply("QUANTIZE", [z], spec("r", "INT8", COARSE))
    total = main.apply("ADD", [p, r], spec("t", "INT8", COARSE), version=2)
    main.output(main.apply("QUANTIZE", [total], spec("y", "UINT8", quantize(0.2, 30))))
    main.output(main.apply("QUANTIZE", [main.apply("LOGISTIC", [p], spec("l", "INT8", LOGISTIC), version=2)], spec("w", "INT16", quantize(0.01))))
    return builder.build()


def floats_inside() -> Model:
    """Codes at the interface, floats inside: DEQUANTIZE at the input, QUANTIZE at the output, which an operator reads, too."""
    builder, main = fresh()
    x = main.input("x", SHAPE, "INT8", COARSE)
    f = main.apply("DEQUANTIZE", [x], spec("f"), version=2)
    g = main.apply("LOGISTIC", [f], spec("g"))
    y = main.apply("QUANTIZE", [g], spec("y", "INT8", LOGISTIC))
    w = main.apply("QUANTIZE", [main.apply("NEG", [g], spec("h"))], spec("w", "UINT8", quantize(0.01, 200)))
    main.output(y, w, main.apply("TANH", [y], spec("v", "INT8", quantize(1 / 128)), version=2))
    return builder.build()


def with_branches(*, signature: bool = False) -> Model:
    """IF over subgraphs of codes; one may have a signature of its own (which the runtime lists and cannot run)."""
    builder, main = fresh()
    branches = []
    for name, zero_point in (("then", -20), ("else", 10)):
        branch = builder.subgraph(name)
        v = branch.input("v", SHAPE, "INT8", COARSE)
        branch.output(branch.apply("ADD", [v, v], spec("w", "INT8", quantize(0.2, zero_point)), version=2))
        branches.append(branch)
    flag = main.input("flag", [], "BOOL")
    x = main.input("x", SHAPE, "INT8", COARSE)
    main.output(main.apply("IF", [flag, x], spec("y", "INT8", quantize(0.2, -20)), then_subgraph=branches[0], else_subgraph=branches[1]))
    builder.signature("run", {"flag": flag, "x": x})
    if signature:
        builder.signature("branch", subgraph=branches[0])
    return builder.build()


def two_entries() -> Model:
    """Two subgraphs with signatures, and two signatures of one of them."""
    builder, main = fresh()
    x = main.input("x", SHAPE, "INT8", COARSE)
    y = main.apply("LOGISTIC", [x], spec("y", "INT8", LOGISTIC), version=2)
    main.output(y)
    second = builder.subgraph("second")
    z = second.input("x", SHAPE, "UINT8", quantize(0.5, 7))
    second.output(second.apply("LOGISTIC", [z], spec("y", "UINT8", quantize(1 / 256, 0))))
    builder.signature("one", {"a": x}, {"b": y})
    builder.signature("same", {"c": x}, {"d": y})
    builder.signature("two", {"a": z}, subgraph=second)
    return builder.build()


CASES = {
    "floats-around": floats_around, "floats-around-int16": lambda: floats_around("INT16", quantize(0.001), quantize(1 / 32768)),
    "floats-around-uint8": lambda: floats_around("UINT8", quantize(0.1, 110), quantize(1 / 256, 0)), "codes": codes_inside,
    "codes-uint8": lambda: codes_inside("UINT8", quantize(0.1, 110), quantize(1 / 256, 0)),
    "codes-int16": lambda: codes_inside("INT16", quantize(0.001), quantize(1 / 32768)), "several-readers": several_readers,
    "shared-outputs": shared_outputs, "inputs-twice": inputs_twice, "constant-outputs": constant_outputs, "passed-through": passed_through,
    "passed-through-floats": lambda: passed_through(FLOAT, None), "only-boundaries": only_boundaries, "rescaled": rescaled,
    "floats-inside": floats_inside, "branches": with_branches, "two-entries": two_entries,
}  # fmt: skip


def metadata_model(low: float, high: float, versions: str = "1.5.0") -> Model:
    builder, main = fresh()
    x = main.input("x", SHAPE, "UINT8", quantize(1 / 128, 128))
    main.output(main.apply("LOGISTIC", [x], spec("y", "UINT8", quantize(1 / 256, 0))))
    builder.metadata("min_runtime_version", versions.encode().ljust(16, b"\0"))
    builder.metadata("model_control_dependencies", b"\x01\x01\x00")
    model = builder.build()
    about = TensorMetadata(name=b"image", stats=Stats(min=(low,), max=(high,)))
    tk.write_metadata(model, ModelMetadata(subgraph_metadata=[SubGraphMetadata(input_tensor_metadata=[about])]))
    return model


def bounds(model: Model) -> tuple[float, float]:
    found = tk.read_metadata(model)
    assert found is not None
    stats = found.subgraph_metadata[0].input_tensor_metadata[0].stats
    assert stats is not None
    return stats.min[0], stats.max[0]
