"""Models that deviate from a rule in the one way that a fact of the table is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

import tflitekit as tk
from tflitekit._placeholders import dangling
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.build import ModelBuilder, TensorSpec, quantize, quantize_blockwise
from tflitekit.graph import QuantizationParameters
from tflitekit.passes.surgery import convert, redirect, tensor_like
from tflitekit.quant.rules import RULES, Fact, Granularity, Topic
from tflitekit.types import INTEGER_RANGES

from .oracle import ANY, ZEROS, default_scale
from .single import FIXED, RECIPES, SCALE, WEIGHT_SCALE, ZERO_POINTS, Over, build, float_twin

TWO_INPUTS = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "FULLY_CONNECTED", "EQUAL")
CHANNEL_SCALES = (0.05, 0.04, 0.03, 0.06)
# Topics whose parameters mean no real values: what comes out is compared with what a sound model gives for the same codes.
MEANINGLESS = {
    Topic.ZERO_SCALE, Topic.NEGATIVE_SCALE, Topic.SUBNORMAL_SCALE, Topic.NAN_SCALE, Topic.ZERO_POINT_RANGE, Topic.QUANTIZATION_ABSENT,
    Topic.PER_CHANNEL_ACTIVATION, Topic.LOAD,
}  # fmt: skip
INVALID_SCALES = {Topic.ZERO_SCALE: 0.0, Topic.NEGATIVE_SCALE: -1.0, Topic.SUBNORMAL_SCALE: 1e-40, Topic.NAN_SCALE: float("nan")}


@dataclass(frozen=True)
class Deviation:
    """An operator that deviates: what to build it from, and the sound one to compare it with."""

    label: str
    operator: str
    type: str
    how: dict[str, Any] = field(default_factory=dict)
    sound: dict[str, Any] = field(default_factory=dict)
    data: bytes | None = None  # a model made otherwise
    sound_data: bytes | None = None
    feed: str = ""  # whose inputs it gets, if not the operator's
    twin: bool = True  # whether real values can be computed from it

    def build(self) -> bytes:
        return self.data if self.data is not None else build(self.operator, self.type, **self.how)

    def build_sound(self) -> bytes:
        return self.sound_data if self.sound_data is not None else build(self.operator, self.type, **self.sound)


def deviations(fact: Fact) -> Iterator[Deviation]:
    """All deviations that a fact speaks of: each operator, type and operand. Nothing if the fact has no case here."""
    if fact.name in SPECIAL:
        yield from SPECIAL[fact.name](fact)
        return
    for operator in sorted(fact.operators):
        for activation in sorted(type_.name for type_ in fact.activation):
            for label, how, sound in _variants(fact, operator, activation):
                version, name = _version(operator), f"{operator} {activation} {label}".strip()
                yield Deviation(name, operator, activation, {**version, **how}, {**version, **sound})


def _version(operator: str) -> dict[str, Any]:
    return {"version": RULES[BuiltinOperator[operator]].versions.lowest}


def activations(operator: str) -> list[str]:
    """The activations among the inputs."""
    return [f"in{n}" for n, slot in enumerate(RECIPES[operator].inputs) if slot.kind in "xk" or (operator == "EMBEDDING_LOOKUP" and n == 1)]


def position(operator: str, word: str) -> str:
    """The operand that a fact calls "first", "second", "constant" or "output"."""
    return "out0" if word == "output" else activations(operator)[{"first": 0, "second": 1, "constant": 1}[word]]


Variant = tuple[str, dict[str, Any], dict[str, Any]]


def _variants(fact: Fact, operator: str, activation: str) -> Iterator[Variant]:
    if fact.operand in ("weights", "bias"):
        yield from _weighted(fact, operator, activation)
    elif fact.topic in (Topic.ACTIVATION_TYPE, Topic.VALUES, Topic.VERSION):
        yield "", {}, {}
    elif fact.topic == Topic.INT16_ZERO_POINT:
        names = [*activations(operator), *(f"out{n}" for n, slot in enumerate(RECIPES[operator].outputs) if slot.kind == "x")]
        yield "all", {name: Over(zero_point=5) for name in names}, {}
    else:
        for word in fact.operand.split():
            yield word, {position(operator, word): _deviating(fact, operator, activation, word)}, {}


def _deviating(fact: Fact, operator: str, activation: str, word: str) -> Over:
    """The operand that deviates."""
    output = word == "output"
    scale = default_scale(operator, activation) if output else SCALE
    zero_point = FIXED.get(operator, {}).get(activation, (0, ZERO_POINTS.get(activation, 0)))[1] if output else ZERO_POINTS.get(activation, 0)
    if fact.topic in INVALID_SCALES:
        return Over(scale=-scale if fact.topic == Topic.NEGATIVE_SCALE else INVALID_SCALES[fact.topic])
    if fact.topic == Topic.ZERO_POINT_RANGE:
        return Over(zero_point=300)
    if fact.topic == Topic.QUANTIZATION_ABSENT:
        return Over(quantization=None)
    if fact.topic == Topic.PER_CHANNEL_ACTIVATION:
        shape = RECIPES[operator].inputs[int(position(operator, word)[2:])].shape
        return Over(quantization=quantize([scale] * shape[-1], zero_point, len(shape) - 1))
    if fact.topic == Topic.FIXED_ZERO_POINT or "zero-point" in fact.name:
        return Over(zero_point=zero_point + (-10 if zero_point > 100 else 10))
    if fact.topic == Topic.SCALE_RATIO:
        return Over(scale=1e-7)
    assert fact.topic in (Topic.SAME_PARAMETERS, Topic.FIXED_SCALE), fact.name
    return Over(scale=2 * scale)


# ---- weights and biases ----


def weighted(operator: str, activation: str, weights: str, per_channel: bool) -> dict[str, Any]:
    """A sound operator with such weights: the bias has the scale of input times weights."""
    rule = RULES[BuiltinOperator[operator]]
    assert rule.weights is not None
    slots = RECIPES[operator].inputs
    present = [index for index in rule.weights.operands if index < len(slots) and slots[index].kind == "w"]
    index = present[0]
    shape = slots[index].shape
    axis = (rule.weights.quantized_dimension or 0) % len(shape)
    scales: Any = list(CHANNEL_SCALES[: shape[axis]]) if per_channel else WEIGHT_SCALE / (10 if len(present) > 1 else 1)  # cells saturate early
    zero_point: Any = 128 if weights == "UINT8" else 0
    how = {f"in{n}": Over(type=weights, quantization=quantize(scales, zero_point, axis if per_channel else None)) for n in present}
    if per_channel and rule.biases and activation != "FLOAT32":
        products = [SCALE * float(np.float32(scale)) for scale in scales]
        how[f"in{rule.biases[0].operand}"] = Over(quantization=quantize(products, 0, 0))
    return how


def _bias(operator: str) -> str:
    return f"in{RULES[BuiltinOperator[operator]].biases[0].operand}"


def _weighted(fact: Fact, operator: str, activation: str) -> Iterator[Variant]:
    per_channel = fact.granularity == {Granularity.PER_CHANNEL}
    kinds = sorted(type_.name for type_ in fact.weights) or [{"UINT8": "UINT8", "FLOAT32": "INT8"}.get(activation, "INT8")]
    for kind in kinds:
        sound = {} if kind == "FLOAT16" else weighted(operator, activation, kind, per_channel)
        how = dict(sound)
        if fact.operand == "weights":
            how["in1"] = _weights(fact, sound.get("in1"), kind)
        else:
            how.update(_biased(fact, operator, activation, sound))
        yield kind, how, sound


def _weights(fact: Fact, sound: Over | None, kind: str) -> Over:
    """The weights of a fact about weights."""
    if sound is None:
        return Over(type=kind, quantization=None)
    old = sound.quantization
    if fact.topic == Topic.WEIGHTS_ZERO_POINT:
        wanted: Any = 200 if kind == "UINT8" else 9 if kind == "INT8" else 1
        wanted = [0, *[wanted] * (len(old.scale) - 1)] if fact.name.endswith("-others") else wanted
        return Over(type=kind, quantization=quantize(old.scale, wanted, old.quantized_dimension if len(old.scale) > 1 else None))
    if fact.topic == Topic.QUANTIZATION_ABSENT:
        return Over(type=kind, quantization=None)
    if fact.topic in INVALID_SCALES:
        scales = np.array(old.scale)
        scales[0] = INVALID_SCALES[fact.topic]
        return Over(type=kind, scale=scales if len(scales) > 1 else scales[0], zero_point=[0] * len(scales), axis=old.quantized_dimension)
    assert fact.topic in (Topic.WEIGHTS_TYPE, Topic.WEIGHTS_GRANULARITY), fact.name
    return sound


def _biased(fact: Fact, operator: str, activation: str, sound: dict[str, Any]) -> dict[str, Any]:
    """What a fact about biases changes."""
    name = _bias(operator)
    if fact.topic == Topic.BIAS_ABSENT:
        return {"drop": 1}
    if fact.topic == Topic.BIAS_QUANTIZATION_ABSENT:
        return {name: Over(quantization=None)}
    if fact.topic == Topic.BIAS_TYPE:
        return {name: Over(type="INT64" if fact.name in ("bias-type-int64", "bias-type-unselected-wide-weights") else "INT32")}
    old = sound[name].quantization if name in sound else quantize(SCALE * WEIGHT_SCALE)
    axis = 0 if len(old.scale) > 1 else None
    if fact.topic == Topic.BIAS_ZERO_POINT:
        return {name: Over(quantization=quantize(old.scale, 1, axis))}
    if fact.name == "bias-per-tensor":
        return {name: Over(quantization=quantize(SCALE * WEIGHT_SCALE))}
    assert fact.topic == Topic.BIAS_SCALE, fact.name
    return {name: Over(quantization=quantize(old.scale * 2 if axis == 0 else old.scale + np.float32(0.03 * SCALE), 0, axis))}


# ---- cases of their own ----

Special = Callable[[Fact], Iterator[Deviation]]


def _one(operator: str, type: str, sound: dict[str, Any] | None = None, **how: Any) -> Special:
    def made(fact: Fact) -> Iterator[Deviation]:
        yield Deviation(f"{operator} {type}", operator, type, how, sound or {})

    return made


def _parameters(**fields: Any) -> Special:
    """An ADD whose first input has the default parameters but for these fields."""
    values = {"scale": [SCALE], "zero_point": [3], **fields}
    return _one("ADD", "INT8", in0=Over(quantization=QuantizationParameters(**values)))


def _constant_bytes(model: tk.Model, name: str, change: Callable[[bytes], bytes]) -> None:
    tensor = model.subgraphs[0].tensor(name)
    buffer: Any = tensor.buffer
    buffer.data = change(bytes(buffer.data))


def _shorten(model: tk.Model) -> None:
    _constant_bytes(model, "in1", lambda data: data[:-4])


def _lengthen(model: tk.Model) -> None:
    _constant_bytes(model, "in1", lambda data: data + bytes(16))


def _variable(model: tk.Model) -> None:
    model.subgraphs[0].tensor("in1").is_variable = True


def _selected(operator: str, selector: str, bias: str) -> Iterator[Deviation]:
    how = {_bias(operator): Over(type=bias), "options": {"quantized_bias_type": selector}}
    yield Deviation(f"{operator} INT16 {bias} {selector}", operator, "INT16", how, {})


def _bias_selected(fact: Fact) -> Iterator[Deviation]:
    for operator in sorted(fact.operators):
        yield from _selected(operator, "INT32", "INT32")


def _bias_contradicts(fact: Fact) -> Iterator[Deviation]:
    for operator in sorted(fact.operators):
        yield from _selected(operator, "INT32", "INT64")
        yield from _selected(operator, "INT64", "INT32")


def _rank_0(fact: Fact) -> Iterator[Deviation]:
    """RELU of a scalar with these parameters."""
    counts = {"load-dimension-rank-0": 1, "load-scales-rank-0": 2}[fact.name]
    axis = 3 if counts == 1 else 0
    odd = QuantizationParameters(scale=[SCALE] * counts, zero_point=[3] * counts, quantized_dimension=axis)
    scalar = Over(shape=())
    yield Deviation("RELU INT8", "RELU", "INT8", {"in0": Over(shape=(), quantization=odd), "out0": scalar}, {"in0": scalar, "out0": scalar})


def _negative_values(fact: Fact) -> Iterator[Deviation]:
    for operator in sorted(fact.operators):
        yield Deviation(f"{operator} INT8", operator, "INT8", {"in0": Over(zero_point=100)}, feed=ANY)


def _zero_divisor(fact: Fact) -> Iterator[Deviation]:
    for activation in ("INT8", "UINT8"):
        yield Deviation(f"DIV {activation}", "DIV", activation, feed=ZEROS)


def _negated(fact: Fact) -> Iterator[Deviation]:
    for activation in ("INT8", "INT16"):
        yield Deviation(f"NEG {activation}", "NEG", activation, {"in0": Over(zero_point=5), "out0": Over(zero_point=5)})


def _absent(model: tk.Model) -> None:
    operator = model.subgraphs[0].operators[0]
    operator.inputs = [*operator.inputs[:2], None]


def _none_bias(fact: Fact) -> Iterator[Deviation]:
    for case in _without_bias(fact):
        yield replace(case, how={"change": _absent})


def _without_bias(fact: Fact) -> Iterator[Deviation]:
    for operator in sorted(fact.operators):
        for activation in sorted(type_.name for type_ in fact.activation):
            zeros = {_bias(operator): Over(values=np.zeros(4, np.int64 if activation == "INT16" else np.int32))}
            yield Deviation(f"{operator} {activation}", operator, activation, {"drop": 1}, zeros)


def _half(model: tk.Model) -> None:
    graph, (operator,) = model.subgraphs[0], model.subgraphs[0].operators
    bias = operator.inputs[RULES[operator.opcode.code].biases[0].operand]
    floats = tensor_like(model, graph, bias, "_dequantized", bias.type, None)
    redirect([operator], bias, floats)
    bias.buffer.data, bias.type = bias.numpy().astype(np.float16).tobytes(), TensorType.FLOAT16
    convert(model, graph, bias, floats, 0)


def _dequantized_bias(fact: Fact) -> Iterator[Deviation]:
    channels = [g == Granularity.PER_CHANNEL for g in fact.granularity] or [False, True]
    for operator, weights, per_channel in product(sorted(fact.operators), sorted(type_.name for type_ in fact.weights), channels):
        sound = weighted(operator, "FLOAT32", weights, per_channel)
        if operator == "DEPTHWISE_CONV_2D" and not per_channel:  # one scale is refused for several channels
            image, filters = (RECIPES[operator].inputs[n].shape for n in (0, 1))
            one = {"in0": Over(shape=(*image[:-1], 1)), "in2": Over(shape=(1,)), "out0": Over(shape=(*image[:-1], 1))}
            sound |= one | {"in1": replace(sound["in1"], shape=(*filters[:-1], 1))}
        label = f"{operator} FLOAT32 {weights} {'per-channel' if per_channel else 'per-tensor'}"
        yield Deviation(label, operator, "FLOAT32", {**sound, "change": _half}, sound)


def constant_output(type_: str, *readers: str, channels: bool = False, alone: bool = False, seed: int = 0) -> tk.Model:
    """A graph whose first output "f" DEQUANTIZE makes of a constant, and who reads it. Unless `alone`, there is an operator on the input, too."""
    builder, codes = ModelBuilder(), np.random.default_rng(seed).integers(0, 8, (8, 8))
    main, made = builder.subgraph("main"), TensorSpec("f", [8, 8])
    x = main.input("x", [8, 8])
    if type_.startswith("FLOAT"):
        constant = main.constant("w", (codes * 0.125).astype(type_.lower()))
    else:
        scales = quantize([0.125] * 8 if channels else 0.125, 0, 0 if channels else None)
        constant = main.constant("w", codes.astype({"INT4": "int8"}.get(type_, type_.lower())), type=type_, quantization=scales)
    shown = constant if type_ == "FLOAT32" else main.apply("DEQUANTIZE", [constant], made, version=3)
    main.output(shown)
    for number, name in enumerate(readers or (() if alone else ("NEG",))):
        given = [x] if not readers else [x, shown] if name in TWO_INPUTS else [shown]
        main.output(main.apply(name, given, TensorSpec(f"y{number}", [8, 8], "BOOL" if name == "EQUAL" else "FLOAT32")))
    return builder.build()


def _constant_output(fact: Fact) -> Iterator[Deviation]:
    for type_ in sorted(type_.name for type_ in fact.activation):
        readers, alone = () if fact.name != "constant-output" else ("ADD",), fact.name == "constant-output-alone"
        data, sound = (tk.serialize(constant_output(t, *readers, alone=alone)) for t in (type_, "FLOAT32"))
        yield Deviation(f"DEQUANTIZE {type_}", "DEQUANTIZE", type_, data=data, sound_data=sound, twin=False)


def lowest_codes(type_: str, rows: int, columns: int) -> Over:
    """Weights in which the lowest code of their type is frequent."""
    low, high = INTEGER_RANGES[TensorType[type_]]
    codes = np.random.default_rng(8).integers(low, high + 1, (rows, columns)).astype(np.int8)
    codes[:, ::3] = low
    return Over(type=type_, values=codes, shape=(rows, columns), scale=WEIGHT_SCALE * 8 / -low)


# The inputs that are multiplied with the activation, of recurrent operators.
_INPUT_WEIGHTS = {
    "SVDF": (1,), "LSTM": (1, 2, 3, 4), "UNIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3, 4), "BIDIRECTIONAL_SEQUENCE_LSTM": (1, 2, 3, 4, 18, 19, 20, 21),
    "RNN": (1,), "UNIDIRECTIONAL_SEQUENCE_RNN": (1,), "BIDIRECTIONAL_SEQUENCE_RNN": (1, 5),
}  # fmt: skip


def lowest_code(operator: str, type_: str, rows: int, columns: int) -> Deviation:
    """A hybrid operator with such weights of this size."""
    shape = (*RECIPES[operator].inputs[0].shape[:-1], columns)
    how = {f"in{n}": lowest_codes(type_, rows, columns) for n in _INPUT_WEIGHTS.get(operator, (1,))}
    how = {"in0": Over(shape=shape), **weighted(operator, "FLOAT32", type_, False), **how}
    if operator == "FULLY_CONNECTED" and rows != 4:
        how |= {"in2": Over(shape=(rows,)), "out0": Over(shape=(2, rows))}
    return Deviation(f"{operator} FLOAT32", operator, "FLOAT32", how, {})


def _lowest_code(fact: Fact) -> Iterator[Deviation]:
    """The smallest weights that the fact speaks of."""
    (type_,) = (t.name for t in fact.weights)
    for operator in sorted(fact.operators):
        yield lowest_code(operator, type_, 4, fact.least[1])


def _multi_axis(fact: Fact) -> Iterator[Deviation]:
    from tflitekit.build import quantize_multi_axis

    quantization = quantize_multi_axis(dangling("Tensor", 99), [0])
    yield Deviation("ADD INT8", "ADD", "INT8", {"in0": Over(quantization=quantization)}, {})


def blockwise(units: int = 4, depth: int = 64, block: int = 32, scales: str = "FLOAT16", weights: str = "INT4", **odd: Any) -> bytes:
    """A hybrid FULLY_CONNECTED with blockwise weights; `odd` may be `block_size` (stored), `factor` (of the scales), `index` (of their
    tensor) or the code of `every_third` weight.
    """
    rng = np.random.default_rng(9)
    builder = ModelBuilder()
    main = builder.subgraph("main")
    data = main.input("in0", [2, depth])
    values = (rng.uniform(0.01, 0.1, (units, depth // block)) * odd.get("factor", 1)).astype(np.float16 if scales == "FLOAT16" else np.float32)
    scale_tensor = main.constant("scales", values) if "index" not in odd else dangling("Tensor", odd["index"])
    low, high = (-7, 7) if weights == "INT4" else (-1, 1)
    codes = rng.integers(low, high + 1, (units, depth)).astype(np.int8)
    codes[:, ::3] = odd.get("every_third", codes[:, ::3])
    matrix = main.constant("in1", codes, weights, quantize_blockwise(scale_tensor, odd.get("block_size", block)))
    bias = main.constant("in2", np.arange(units, dtype=np.float32) / 10)
    main.output(main.apply("FULLY_CONNECTED", [data, matrix, bias], TensorSpec("out0", [2, units])))
    return tk.serialize(builder.build())


def _blocks(**how: Any) -> Special:
    def made(fact: Fact) -> Iterator[Deviation]:
        sound, twin = float_twin(blockwise()), "index" not in how
        yield Deviation("FULLY_CONNECTED FLOAT32", "FULLY_CONNECTED", "FLOAT32", data=blockwise(**how), sound_data=sound, twin=twin)

    return made


def _time_major(fact: Fact) -> Iterator[Deviation]:
    name, steps = "BIDIRECTIONAL_SEQUENCE_RNN", Over(shape=(2, 1, 4))
    how = {**weighted(name, "FLOAT32", "INT8", False), "in0": steps, "out0": steps, "out1": steps, "options": {"time_major": True}}
    yield Deviation(f"{name} FLOAT32", name, "FLOAT32", how)


def _float16(fact: Fact) -> Iterator[Deviation]:
    how = {"in0": Over(type="FLOAT16", quantization=None), "out0": Over(type="INT8", scale=0.02, zero_point=0)}
    yield Deviation("QUANTIZE FLOAT16", "QUANTIZE", "FLOAT16", how)


SPECIAL: dict[str, Special] = {
    "bidirectional-rnn-time-major": _time_major,
    "quantize-float16": _float16,
    "load-no-scale": _one("RESHAPE", "INT8", in0=Over(quantization=QuantizationParameters(zero_point=[3], min=[-1], max=[1]))),
    "load-no-zero-point": _parameters(zero_point=None),
    "load-counts-differ": _parameters(scale=[SCALE] * 4, quantized_dimension=1),
    "load-dimension-range": _parameters(quantized_dimension=7),
    "load-dimension-rank-0": _rank_0,
    "load-scale-count": _parameters(scale=[SCALE] * 3, zero_point=[3] * 3, quantized_dimension=1),
    "load-scales-rank-0": _rank_0,
    "load-wide-zero-point": _parameters(zero_point=[2**32 + 3]),
    "load-axis-of-one-scale": _parameters(quantized_dimension=1),
    "load-multi-axis-index": _multi_axis,
    "load-short-buffer": _one("CONV_2D", "INT8", change=_shorten),
    "load-long-buffer": _one("CONV_2D", "INT8", change=_lengthen),
    "load-constant-variable": _one("CONV_2D", "INT8", change=_variable),
    "load-version": _one("CONV_2D", "INT8", version=99),
    "load-version-below-need": _one("CONV_2D", "INT8", sound={"version": 3}, version=1),
    "absent-svdf-state": _one("SVDF", "INT8", in4=Over(quantization=None)),
    "roots-of-negative": _negative_values,
    "div-by-zero": _zero_divisor,
    "neg-zero-point": _negated,
    "bias-absent": _without_bias,
    "bias-absent-depthwise": _without_bias,
    "bias-absent-depthwise-int16": _without_bias,
    "bias-none": _none_bias,
    "bias-none-fully-connected": _none_bias,
    "fully-connected-int4-lowest-code": _lowest_code,
    "fully-connected-int8-lowest-code": _lowest_code,
    "recurrent-int8-lowest-code": _lowest_code,
    "weights-dimension-fully-connected": _one(
        "FULLY_CONNECTED", "INT8", in1=Over(type="INT8", quantization=quantize([WEIGHT_SCALE] * 32, 0, 1))
    ),
    "weights-per-tensor-depthwise-hybrid": _one(
        "DEPTHWISE_CONV_2D", "FLOAT32",
        in1=Over(type="INT8", quantization=QuantizationParameters(scale=[WEIGHT_SCALE], zero_point=[0], quantized_dimension=3)),
    ),
    "bias-type-selected": _bias_selected,
    "bias-dequantized-conv": _dequantized_bias,
    "bias-dequantized-fully-connected": _dequantized_bias,
    "bias-dequantized-fully-connected-int2": _dequantized_bias,
    "bias-dequantized-others": _dequantized_bias,
    "bias-dequantized-conv-int4": _dequantized_bias,
    "bias-dequantized-fully-connected-int2-tensor": _dequantized_bias,
    "constant-output": _constant_output,
    "constant-output-unread": _constant_output,
    "constant-output-alone": _constant_output,
    "bias-type-contradicts": _bias_contradicts,
    "blocks-reference": _blocks(),
    "blocks-lowest-code": _blocks(every_third=-8),
    "blocks-small": _blocks(units=2),
    "blocks-float32-scales": _blocks(scales="FLOAT32"),
    "blocks-wrong-size": _blocks(block_size=64),
    "blocks-16": _blocks(block=16),
    "blocks-small-16": _blocks(block=16, units=2),
    "blocks-int2": _blocks(weights="INT2"),
    "blocks-negative": _blocks(factor=-1),
    "blocks-index": _blocks(index=99),
}  # fmt: skip
