"""Small hand-built models for golden reports: one that uses most of what a report shows, and hostile ones."""

from __future__ import annotations

import numpy as np

from tflitekit._placeholders import dangling
from tflitekit._schema import BlockwiseQuantization, BuiltinOperator, Conv2DOptions, TensorType
from tflitekit.graph import (
    Buffer,
    Metadata,
    Model,
    Operator,
    OperatorCode,
    QuantizationParameters,
    SignatureDef,
    SubGraph,
    Tensor,
)

NASTY = b"[bold red]\x1b[31m\xe2\x80\xae\xff\n[/nope]"


def small() -> Model:
    """A quantized convolution and a custom operator: per-tensor, per-channel, blockwise, ranges only, a dynamic batch, metadata, a signature."""
    model = Model(version=3, description="small")
    empty = Buffer()
    weights, bias, unused, meta = (Buffer(data=bytes(n)) for n in (54, 8, 5, 16))
    meta.data = b"1.5.0".ljust(16, b"\0")
    model.buffers = [empty, weights, bias, unused, meta]
    image = Tensor(
        name="image", shape=(1, 4, 4, 3), shape_signature=(-1, 4, 4, 3), type=TensorType.UINT8, buffer=empty,
        quantization=QuantizationParameters(scale=[0.003921568859368563], zero_point=[0]),
    )  # fmt: skip
    kernel = Tensor(
        name="conv/kernel", shape=(2, 3, 3, 3), type=TensorType.INT8, buffer=weights,
        quantization=QuantizationParameters(scale=[0.1, 0.2], zero_point=[0, 0]),
    )  # fmt: skip
    offset = Tensor(
        name="conv/bias", shape=(2,), type=TensorType.INT32, buffer=bias,
        quantization=QuantizationParameters(scale=[0.001, 0.002], zero_point=[0, 0]),
    )  # fmt: skip
    features = Tensor(
        name="features", shape=(1, 2, 2, 2), type=TensorType.INT8, buffer=empty,
        quantization=QuantizationParameters(scale=[0.0235], zero_point=[-128], min=[0.0], max=[6.0]),
    )  # fmt: skip
    scales = Tensor(name="block/scales", shape=(2, 1), type=TensorType.FLOAT16, buffer=unused)
    blocks = Tensor(
        name="block/weights", shape=(2, 5), type=TensorType.INT4, buffer=unused,
        quantization=QuantizationParameters(details=BlockwiseQuantization(scales=scales, block_size=32)),
    )  # fmt: skip
    result = Tensor(name="result", shape=(1, 2), type=TensorType.FLOAT32, buffer=empty, quantization=QuantizationParameters(min=[-1.0], max=[1.0]))
    main = SubGraph(name="main", tensors=[image, kernel, offset, features, blocks, scales, result], inputs=[image], outputs=[result])
    conv = OperatorCode(builtin_code=BuiltinOperator.CONV_2D, version=3)
    custom = OperatorCode(builtin_code=BuiltinOperator.CUSTOM, custom_code="Pool")
    model.operator_codes = [conv, custom]
    main.operators = [
        Operator(opcode=conv, inputs=[image, kernel, offset], outputs=[features], builtin_options=Conv2DOptions(stride_w=2, stride_h=2)),
        Operator(opcode=custom, inputs=[features, blocks, None], outputs=[result], custom_options=b"\x01\x02"),
    ]
    model.subgraphs = [main]
    model.metadata = [Metadata(name="min_runtime_version", buffer=meta)]
    model.signature_defs = [SignatureDef(signature_key="serve", subgraph=main, inputs={"x": image}, outputs={"y": result})]
    return model


def nasty() -> Model:
    """What a structurally valid file may hold: dangling references, odd names, negative and huge shapes, NaN scales, no options, empty subgraphs."""
    model = Model(version=7, description=NASTY)
    broken = Tensor(name=NASTY, shape=(-3, 2**31 - 1, 2**31 - 1), type=TensorType(99), buffer=dangling("Buffer", 42))
    quantization = QuantizationParameters(quantized_dimension=-7)
    object.__setattr__(quantization, "scale", np.array([np.nan, np.inf, -0.0], np.float32))
    object.__setattr__(quantization, "zero_point", np.array([2**63 - 1, -(2**63)], np.int64))
    object.__setattr__(quantization, "min", np.array([-np.inf], np.float32))
    broken.quantization = quantization
    string = Tensor(name=None, type=TensorType.STRING, shape_signature=(-1, -1))
    lost = dangling("Tensor", 77)
    blockwise = Tensor(name="b", type=TensorType.INT4, quantization=QuantizationParameters(details=BlockwiseQuantization(scales=lost)))
    graph = SubGraph(tensors=[broken, string, blockwise], inputs=[broken, None, lost], outputs=[lost])
    graph.operators = [
        Operator(),
        Operator(opcode=dangling("OperatorCode", 5), inputs=[None, lost, broken]),
        Operator(opcode=OperatorCode(builtin_code=BuiltinOperator.CUSTOM, custom_code=NASTY), custom_options=bytes(5000)),
        Operator(opcode=OperatorCode(builtin_code=BuiltinOperator.CONV_2D)),
        Operator(opcode=OperatorCode(builtin_code=BuiltinOperator(250))),
    ]
    model.subgraphs = [graph, SubGraph(name=NASTY)]
    model.metadata = [Metadata(name=NASTY), Metadata(name="m", buffer=dangling("Buffer", 9))]
    model.signature_defs = [SignatureDef(), SignatureDef(signature_key=NASTY, subgraph=dangling("SubGraph", 3), inputs={"x": lost})]
    return model
