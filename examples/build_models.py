"""Build the two example models: one convolutional classifier, quantized in two ways.

    python examples/build_models.py [FOLDER]

`classifier_dynamic_range.tflite` has int8 weights and float32 activations: it computes nearly what the float network does.
`classifier_uint8_placeholder.tflite` is uint8 throughout, but nobody measured its activations: every one has the placeholder range (-100, 100),
so that a step of an activation is 0.78 where values reach from 0 to 6. It loads and runs, and its outputs are nearly worthless.

Both have the same float weights. They come from the raw output of a bit generator through integers, and are quantized by single correctly rounded
operations, so the files are the same bytes on every platform.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

import tflitekit as tk
from tflitekit.build import ModelBuilder, SubGraphBuilder, TensorSpec, quantize
from tflitekit.graph import Model, QuantizationParameters, Tensor

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

SEED = 20180814
SIZE, CLASSES = 128, 156
MEAN, STD = 0, 255  # of the input: real = (code - mean) / std
PLACEHOLDER = (-100, 100)
MODELS = Path(__file__).with_name("models")


@dataclass(frozen=True)
class Layer:
    """A convolution with SAME padding; `depthwise` ones keep the number of channels."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    depthwise: bool = False
    activation: str = "RELU6"

    @property
    def code(self) -> str:
        """The operator's name in the schema."""
        return "DEPTHWISE_CONV_2D" if self.depthwise else "CONV_2D"

    @property
    def axis(self) -> int:
        """The output channels' axis of the weights: [O, H, W, I], depthwise [1, H, W, O]."""
        return 3 if self.depthwise else 0


LAYERS = (
    Layer("conv2d_1_1", 16, 3, 2),
    Layer("depthwise_conv2d_1_1", 16, 3, depthwise=True),
    Layer("conv2d_2_1", 32, 1),
    Layer("depthwise_conv2d_2_1", 32, 3, 2, depthwise=True),
    Layer("conv2d_3_1", 48, 1),
    Layer("depthwise_conv2d_3_1", 48, 3, 2, depthwise=True),
    Layer("conv2d_4_1", 64, 1),
    Layer("depthwise_conv2d_4_1", 64, 3, 2, depthwise=True),
    Layer("conv2d_5_1", 128, 1),
    Layer("conv2d_6_1", CLASSES, 1, activation="NONE"),
)


# ---- the float network ----

ONE = 1 << 10  # of activations and biases, in the integers that they are computed with
GAIN_ONE = 1 << 20  # of the factor that turns integer weights into real ones


def float_weights() -> list[tuple[Floats, Floats]]:
    """Weights and bias of every layer: random, of a size that keeps activations between 0 and 6, and centred as batch normalisation does.

    The bias of a channel makes its mean over a few pictures 1 (0 in the last layer), else all pictures would have the same best class. The pictures
    pass through the network in integers, which are exact; so are the float32 values that come of them.
    """
    source = np.random.PCG64(SEED)
    x = _bytes(source, 6 * 8 * 8 * 3).reshape(6, 8, 8, 3).repeat(SIZE // 8, 1).repeat(SIZE // 8, 2) * ONE // 255
    made = []
    for layer in LAYERS:
        channels = x.shape[3]
        shape = (1, layer.kernel, layer.kernel, channels) if layer.depthwise else (layer.channels, layer.kernel, layer.kernel, channels)
        bells = _bells(source, math.prod(shape)).reshape(shape)
        gain = round(math.sqrt(3 * GAIN_ONE**2 / (layer.kernel**2 * (1 if layer.depthwise else channels))) / 148)
        sums = _convolve(x, bells, layer) * gain // GAIN_ONE
        bias = (ONE if layer.activation == "RELU6" else 0) - sums.sum(axis=(0, 1, 2)) // math.prod(sums.shape[:3])
        x = (sums + bias).clip(0, 6 * ONE)
        made.append((_exactly(bells * gain, GAIN_ONE), _exactly(bias, ONE)))
    return made


def _bytes(source: np.random.PCG64, count: int) -> Integers:
    """Raw output of the generator, which is the same in every version of numpy, as bytes."""
    raw = np.asarray(source.random_raw(-(-count // 8)), "<u8").view(np.uint8)[:count]
    return raw.astype(np.int64)


def _bells(source: np.random.PCG64, count: int) -> Integers:
    """Integers of mean 0 and standard deviation 148, nearly normal: sums of four bytes."""
    sums: Integers = _bytes(source, 4 * count).reshape(count, 4).sum(axis=1) - 510
    return sums


def _convolve(x: Integers, weights: Integers, layer: Layer) -> Integers:
    """The sums of a convolution with SAME padding."""
    missing = max((-(-x.shape[1] // layer.stride) - 1) * layer.stride + layer.kernel - x.shape[1], 0)
    border = (missing // 2, missing - missing // 2)
    padded = np.pad(x, ((0, 0), border, border, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (layer.kernel, layer.kernel), (1, 2))[:, :: layer.stride, :: layer.stride]
    equation = "phwcij,nijc->phwc" if layer.depthwise else "phwcij,oijc->phwo"
    sums: Integers = np.einsum(equation, windows, weights)
    return sums


def _exactly(numerators: Integers, denominator: int) -> Floats:
    """Fractions as float32; the denominator is a power of two, so that nothing is rounded."""
    values = (numerators / denominator).astype(np.float32)
    assert (values.astype(np.float64) * denominator == numerators).all()
    return values


# ---- quantization ----


def per_channel_int8(values: Floats, axis: int) -> tuple[npt.NDArray[np.int8], QuantizationParameters]:
    """Symmetric codes -127..127, one scale for each output channel."""
    others = tuple(a for a in range(values.ndim) if a != axis)
    scale = np.abs(values).max(axis=others, keepdims=True) / np.float32(127)
    return np.rint(values / scale).astype(np.int8), quantize(scale.reshape(-1), 0, axis)


def affine_uint8(low: float, high: float) -> QuantizationParameters:
    """One scale for codes 0..255 that cover the range, which includes 0."""
    return quantize((high - low) / 255, math.floor(-low * 255 / (high - low) + 0.5), min=low, max=high)


def per_tensor_uint8(values: Floats) -> tuple[npt.NDArray[np.uint8], QuantizationParameters]:
    """Asymmetric codes, one scale."""
    parameters = affine_uint8(min(0.0, float(values.min())), max(0.0, float(values.max())))
    codes = np.rint(values.astype(np.float64) / parameters.scale[0]) + parameters.zero_point[0]
    return np.clip(codes, 0, 255).astype(np.uint8), parameters


class Scheme(Protocol):
    """A way to quantize: the type and parameters of activations, and how constants are stored."""

    type: str
    description: str
    min_runtime_version: str
    versions: ClassVar[Mapping[str, int]]

    def input(self) -> QuantizationParameters | None:
        """Of the picture."""

    def activation(self) -> QuantizationParameters | None:
        """Of what each layer computes."""

    def constants(self, main: SubGraphBuilder, layer: Layer, x: Tensor, weights: Floats, bias: Floats) -> list[Tensor]:
        """Weights and bias of a layer that reads `x`, as constants."""


class DynamicRange:
    """Weights int8 for each channel; activations and bias stay float32, and the kernels quantize their input as it comes."""

    type = "FLOAT32"
    description = "Example classifier: int8 weights, float32 activations."
    min_runtime_version = "2.4.0"
    versions: ClassVar[Mapping[str, int]] = {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6}

    def input(self) -> None:
        """None: float32."""

    def activation(self) -> None:
        """None: float32."""

    def constants(self, main: SubGraphBuilder, layer: Layer, x: Tensor, weights: Floats, bias: Floats) -> list[Tensor]:
        """Weights as int8, bias as float32."""
        codes, parameters = per_channel_int8(weights, layer.axis)
        kernel = main.constant(f"{layer.name}/kernel", codes, quantization=parameters)
        return [kernel, main.constant(f"{layer.name}/bias", bias)]


class PlaceholderUint8:
    """All of it uint8, with one range for every activation, whatever it holds."""

    type = "UINT8"
    description = "Example classifier: uint8, activation ranges never measured."
    min_runtime_version = "1.6.0"
    versions: ClassVar[Mapping[str, int]] = {}

    def input(self) -> QuantizationParameters:
        """From the mean and standard deviation."""
        return quantize(1 / STD, MEAN, min=(0 - MEAN) / STD, max=(255 - MEAN) / STD)

    def activation(self) -> QuantizationParameters:
        """The placeholder."""
        return affine_uint8(*PLACEHOLDER)

    def constants(self, main: SubGraphBuilder, layer: Layer, x: Tensor, weights: Floats, bias: Floats) -> list[Tensor]:
        """Weights as uint8, bias as int32 in steps of input scale times weight scale."""
        codes, parameters = per_tensor_uint8(weights)
        kernel = main.constant(f"{layer.name}/kernel", codes, quantization=parameters)
        assert x.quantization is not None
        scale = x.quantization.scale[0] * parameters.scale[0]  # in float32, as runtimes expect it
        bias_codes = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
        return [kernel, main.constant(f"{layer.name}/bias", bias_codes, quantization=quantize(scale))]


# ---- the models ----


def build(scheme: Scheme, weights: Sequence[tuple[Floats, Floats]]) -> Model:
    """The classifier: ten convolutions and a mean over the picture."""
    builder = ModelBuilder(scheme.description)
    main = builder.subgraph("main")
    picture = x = main.input("input_1_1", [1, SIZE, SIZE, 3], scheme.type, scheme.input())
    size = SIZE
    for layer, (kernel, bias) in zip(LAYERS, weights, strict=True):
        size = -(-size // layer.stride)
        spec = TensorSpec(_activation_name(layer), [1, size, size, layer.channels], scheme.type, scheme.activation())
        options = {"padding": "SAME", "stride_w": layer.stride, "stride_h": layer.stride, "fused_activation_function": layer.activation}
        if layer.depthwise:
            options["depth_multiplier"] = 1
        constants = scheme.constants(main, layer, x, kernel, bias)
        x = main.apply(layer.code, [x, *constants], spec, version=scheme.versions.get(layer.code, 1), **options)
    axes = main.constant("global_average_pooling2d_1_1/Mean/reduction_indices", [1, 2])
    spec = TensorSpec("global_average_pooling2d_1_1/Mean", [1, CLASSES], scheme.type, scheme.activation())
    mean = main.apply("MEAN", [x, axes], spec, keep_dims=False)
    main.output(mean)
    builder.signature("serving_default", {"image": picture}, {"scores": mean})
    builder.metadata("min_runtime_version", scheme.min_runtime_version.encode().ljust(16, b"\0"))
    return builder.build()


def _activation_name(layer: Layer) -> str:
    return f"{layer.name}/{'Relu6' if layer.activation == 'RELU6' else 'BiasAdd'}"


def models() -> dict[str, Model]:
    """The example models, by file name."""
    weights = float_weights()
    return {
        "classifier_dynamic_range.tflite": build(DynamicRange(), weights),
        "classifier_uint8_placeholder.tflite": build(PlaceholderUint8(), weights),
    }


def main(folder: Path = MODELS) -> None:
    """Write the models into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models().items():
        tk.write(model, folder / name, overwrite=True)
        print(f"{folder / name}: {(folder / name).stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
