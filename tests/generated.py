"""Generated models for tests and benchmarks: of any size, without files, runnable where they are small."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tflitekit._schema import CustomQuantization, StableHLOCompositeOptions, TensorType, VariantSubType
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize, quantize_blockwise, quantize_multi_axis
from tflitekit.graph import Model, QuantizationParameters, Tensor

SEED = 41
CHANNELS = 8
LAYER = 2048  # units of a layer of float_weights: 16 MiB of float32
TABLE_ROWS, TABLE_COLUMNS = 1000, 8


def many_operators(count: int) -> Model:
    """An int8 network of `count` operators, about 1.5 tensors and half a buffer for each: CONV_2D, RELU, ADD, RESHAPE, MUL in turn.

    Every activation has its own scale and zero point, every constant its own buffer. The input is INT8 [1, 4, 4, 8]; the output depends on it up to
    about 80 operators, then saturation wins.
    """
    rng = np.random.default_rng(SEED)
    builder = ModelBuilder(f"{count} operators")
    main = builder.subgraph("main")
    first = x = main.input("input", [1, 4, 4, CHANNELS], "INT8", _activation(rng))
    steps = (_convolution, _relu, _add, _reshape, _multiply, _relu6, _add, _reshape_back)
    for number in range(count):
        x = steps[number % len(steps)](main, x, f"block{number // len(steps)}/{number % len(steps)}", rng)
    main.output(x)
    builder.signature("serving_default", {"input": first}, {"output": x})
    return builder.build()


def _activation(rng: np.random.Generator) -> QuantizationParameters:
    return quantize(0.05 + rng.integers(1, 64) / 1024, rng.integers(-20, 20))


def _next(x: Tensor, name: str, rng: np.random.Generator, shape: tuple[int, ...] | None = None, same: bool = False) -> TensorSpec:
    """What an operator computes from `x`: same type; a step that only moves values keeps its parameters, in a table of its own."""
    old = x.quantization
    assert old is not None
    parameters = quantize(old.scale, old.zero_point) if same else _activation(rng)
    return TensorSpec(name, x.shape if shape is None else shape, x.type, parameters)


def _convolution(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    channels = x.shape[-1]
    codes = rng.integers(-127, 128, (channels, 1, 1, channels)).astype(np.int8)
    weights = main.constant(f"{name}/weights", codes, quantization=quantize(1 / 256))
    assert x.quantization is not None
    scale = x.quantization.scale[0] * np.float32(1 / 256)
    bias = main.constant(f"{name}/bias", rng.integers(-99, 100, channels).astype(np.int32), quantization=quantize(scale))
    return main.apply("CONV_2D", [x, weights, bias], _next(x, name, rng), version=3, padding="SAME", stride_w=1, stride_h=1)


def _relu(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    return main.apply("RELU", [x], _next(x, name, rng), version=2)


def _relu6(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    return main.apply("RELU6", [x], _next(x, name, rng), version=2)


def _add(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    return main.apply("ADD", [x, x], _next(x, name, rng), version=2, fused_activation_function="NONE")


def _multiply(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    factor = main.constant(f"{name}/factor", rng.integers(1, 128, (1,)).astype(np.int8), quantization=quantize(1 / 64))
    return main.apply("MUL", [x, factor], _next(x, name, rng), version=2)


def _reshape(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    shape = main.constant(f"{name}/shape", [1, 16, CHANNELS])
    return main.apply("RESHAPE", [x, shape], _next(x, name, rng, (1, 16, CHANNELS), same=True), new_shape=(1, 16, CHANNELS))


def _reshape_back(main: SubGraphBuilder, x: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    return main.apply("RESHAPE", [x], _next(x, name, rng, (1, 4, 4, CHANNELS), same=True), new_shape=(1, 4, 4, CHANNELS))


def float_weights(total_bytes: int) -> Model:
    """A chain of FULLY_CONNECTED layers whose float32 weights take `total_bytes` in all (a multiple of 4 * 2048, at least one row).

    All weights are views of one array of at most 16 MiB; each layer has a buffer of its own. Input is FLOAT32 [1, 2048].
    """
    row = 4 * LAYER
    if total_bytes <= 0 or total_bytes % row:
        raise ValueError(f"total_bytes: expected a positive multiple of {row}, got {total_bytes}")
    rows = total_bytes // row
    codes = np.random.default_rng(SEED).integers(-127, 128, (min(rows, LAYER), LAYER), dtype=np.int8)
    data = memoryview((codes.astype(np.float32) / np.float32(8192)).tobytes())
    builder = ModelBuilder(f"{total_bytes} bytes of float weights")
    main = builder.subgraph("main")
    x = main.input("input", [1, LAYER])
    for number in range(-(-rows // LAYER)):
        units = min(LAYER, rows - number * LAYER)
        weights = main.tensor(f"layer{number}/weights", [units, LAYER], buffer=builder.buffer(data[: units * row]))
        x = main.apply("FULLY_CONNECTED", [x, weights, None], TensorSpec(f"layer{number}", [1, units]), fused_activation_function="RELU")
    main.output(x)
    return builder.build()


def per_channel_heavy(count: int, channels: int) -> Model:
    """`count` int8 DEPTHWISE_CONV_2D operators with a scale and zero point for each of `channels` channels, of weights and of bias.

    Nearly all of the file is quantization parameters. Input and output are INT8 [1, 1, 1, channels].
    """
    rng = np.random.default_rng(SEED)
    builder = ModelBuilder(f"{count} operators of {channels} channels")
    main = builder.subgraph("main")
    x = main.input("input", [1, 1, 1, channels], "INT8", _activation(rng))
    for number in range(count):
        name = f"layer{number}"
        scale = rng.integers(1, 256, channels).astype(np.float32) / np.float32(16384)
        codes = rng.integers(-127, 128, (1, 1, 1, channels)).astype(np.int8)
        weights = main.constant(f"{name}/weights", codes, quantization=quantize(scale, 0, 3))
        assert x.quantization is not None
        bias_codes = rng.integers(-99, 100, channels).astype(np.int32)
        bias = main.constant(f"{name}/bias", bias_codes, quantization=quantize(x.quantization.scale[0] * scale, 0, 0))
        x = main.apply(
            "DEPTHWISE_CONV_2D", [x, weights, bias], _next(x, name, rng), version=3, padding="SAME", stride_w=1, stride_h=1, depth_multiplier=1
        )  # fmt: skip
    main.output(x)
    return builder.build()


def gather_beyond(path: Path, total_bytes: int, chunk: int = 1 << 29) -> tuple[Model, npt.NDArray[np.float32]]:
    """A model with more than `total_bytes` of constants behind the flatbuffer, and the last row of the last one: what GATHER fetches for index 999.

    `path` becomes a sparse file of that size (a few blocks on disk) that is mapped; the buffers are views of it, zeros except the table at its end.
    The model keeps the mapping alive. The last buffer is the table [1000, 8] of FLOAT32, the others are INT8 constants of at most `chunk` bytes that
    no operator reads. Input is INT32 [1] (a row), output FLOAT32 [1, 8].
    """
    table = np.random.default_rng(SEED).integers(-999, 999, (TABLE_ROWS, TABLE_COLUMNS)).astype(np.float32)
    start = -(-total_bytes // 16) * 16
    with path.open("wb") as file:
        file.seek(start)
        file.write(table.tobytes())
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    builder = ModelBuilder(f"{len(view)} bytes behind the flatbuffer")
    main = builder.subgraph("main")
    row = main.input("row", [1], "INT32")
    for number, begin in enumerate(range(0, start, chunk)):
        size = min(chunk, start - begin)
        main.tensor(f"filler{number}", [size], "INT8", buffer=_behind(builder, view[begin : begin + size]))
    rows = main.tensor("table", table.shape, buffer=_behind(builder, view[start:]))
    main.output(main.apply("GATHER", [rows, row], TensorSpec("found", [1, TABLE_COLUMNS]), axis=0))
    return builder.build(), table[-1]


def _behind(builder: ModelBuilder, data: Any) -> Any:
    return builder.buffer(data, out_of_line=True)


def rare_parts() -> Model:
    """One model with every part of the format that real models seldom or never have; valid as a file, not meant to run."""
    builder = ModelBuilder("rare parts")
    main, other = builder.subgraph("main"), builder.subgraph(None)
    _rare_tensors(builder, main)
    _rare_operators(main, other)
    x = other.input("x", [-1, 3])
    other.output(other.apply("NEG", [x], TensorSpec("y", [-1, 3])))
    builder.signature("main", {"in": main.subgraph.tensors[0]}, {})
    builder.signature("other", subgraph=other).deprecated_tag = b"serve"
    builder.metadata("empty", b"")
    builder.metadata("odd", b"\xff\0\x01")
    builder.model.metadata_buffer = [builder.model.buffers[-1], builder.no_data]
    other.subgraph.debug_metadata_index = 1
    return builder.build()


def _rare_tensors(builder: ModelBuilder, main: SubGraphBuilder) -> None:
    """Element types, quantization details, and the places where data can be."""
    scales = main.constant("scales", np.full((4, 2), 0.5, np.float16))
    zero_points = main.constant("zero_points", np.zeros((4, 2), np.int32))
    codes = np.arange(16).reshape(4, 4) % 4 - 2
    main.constant("blockwise", codes, "INT4", quantize_blockwise(scales, 2, block_shape=[1, 2]))
    main.constant("multi_axis", codes, "INT8", quantize_multi_axis(scales, [0, 1], zero_points=zero_points, block_size=2))
    main.constant("custom", codes, "INT2", QuantizationParameters(details=CustomQuantization(custom=b"\x01\x02\x03")))
    main.constant("odd int4", np.arange(-7, 8), "INT4", quantize(0.25))
    main.constant("uint4", np.arange(16), "UINT4", quantize(0.25, 8))
    main.constant("strings", ["", "b\0", "c\N{SNOWMAN}"])
    main.constant("scalar", np.float32(2.5))
    shared = main.constant("shared", np.zeros(4, np.float32))
    main.tensor("shared", [4], "INT32", buffer=shared.buffer)
    main.tensor(None, [2], "INT8", QuantizationParameters(min=[-1], max=[1]))
    main.tensor(b"\xff not text", [], has_rank=True, quantization=QuantizationParameters())
    main.constant("behind", np.arange(5, dtype=np.uint8), out_of_line=True)
    main.constant("behind too", np.arange(300, dtype=np.int64), out_of_line=True)
    main.tensor("external", [2, 2], external_buffer=builder.external_buffer("weights.bin", 64, 16, "raw"))
    main.tensor("external too", [4], external_buffer=builder.external_buffer("weights.bin", 1 << 33, 16))
    main.sparse("sparse", np.eye(3, 300, 290, np.float32))
    main.tensor("variant", [1], "VARIANT", variant_tensors=[VariantSubType(shape=(2, 3), type=TensorType.INT8, has_rank=True), VariantSubType()])
    main.tensor("empty variant", [1], "VARIANT", variant_tensors=[], shape_signature=())
    main.constant("no elements", np.zeros((0, 3), np.float32))


def _rare_operators(main: SubGraphBuilder, other: SubGraphBuilder) -> None:
    """Options of both unions, references to subgraphs, absent operands, intermediates, custom options."""
    x = main.tensor("x", [1, 3])
    state = main.variable("state", [1, 3])
    gates = [main.tensor(f"gate{number}", [1], "INT16", quantize(1 / 32768)) for number in range(5)]
    main.operator(
        "LSTM", [x, None, state], [TensorSpec("lstm", [1, 3])], version=2, intermediates=gates, mutating_variable_inputs=[False, False, True],
        cell_clip=10, fused_activation_function="TANH",
    )  # fmt: skip
    main.operator("LSTM", [x], [], intermediates=[], mutating_variable_inputs=[])
    main.operator("CALL_ONCE", [], [], init_subgraph=other)
    main.operator("WHILE", [x], [TensorSpec("while", [1, 3])], cond_subgraph=other, body_subgraph=other)
    main.operator("STABLEHLO_CASE", [x], [], branch_subgraphs=[other, other])
    composite = StableHLOCompositeOptions(
        name=b"my.composite", decomposition_subgraph=other.subgraph, composite_attributes=b"\0\1", version=4
    )  # fmt: skip
    main.operator("STABLEHLO_COMPOSITE", [x], [TensorSpec("composite", [1, 3])], options=composite)
    main.operator("VAR_HANDLE", [], [TensorSpec("handle", [], "RESOURCE")], shared_name="v", container="")
    main.custom("Mine", [x, None], [TensorSpec("mine", [1, 3])], custom_options=b"", version=3)
    main.custom("Mine", [x], [], large_custom_options=b"behind the flatbuffer", version=3).debug_metadata_index = 0
