"""Kernels and impossible parameters: scales that are no positive number, missing quantization, several scales on an activation, values, types."""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .model import Fact, Topic
from .notation import ABORTS, FINE, IGNORES, SEGFAULTS, WRONG, fact, refuses

CHECKED = "LiteRT quantization_util.cc:114-123 (TFLITE_CHECK); measured"
LOOKS_AT_NONE = (
    "AVERAGE_POOL_2D BROADCAST_TO DYNAMIC_UPDATE_SLICE GATHER GATHER_ND MAXIMUM MINIMUM RESHAPE RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SELECT SELECT_V2 "
    "SPLIT_V SQUEEZE STRIDED_SLICE TILE TOPK_V2 PADV2"
)
COMPARISONS = "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL"
LOOKS_UP = "GELU HARD_SWISH RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1"  # and computes some value from whatever it finds
NUMERIC = f"{LOOKS_UP} MUL PRELU"

SCALE_FACTS: tuple[Fact, ...] = (
    fact("zero-scale-abort", Topic.ZERO_SCALE, "ADD SUB", "scale 0 of an input", CHECKED, every=ABORTS, operand="first second",
        activation="INT8 UINT8 INT16"),
    fact("zero-scale-abort-output", Topic.ZERO_SCALE, "ADD", "scale 0 of the output", CHECKED, every=ABORTS, operand="output",
        activation="INT8 UINT8 INT16"),
    fact("zero-scale-output-sub", Topic.ZERO_SCALE, "SUB", "scale 0 of the output: one code comes out",
        "LiteRT sub.cc:149-167; measured K06", every=WRONG, operand="output", activation="INT8 UINT8 INT16"),
    fact("zero-scale-abort-squared-difference", Topic.ZERO_SCALE, "SQUARED_DIFFERENCE", "scale 0", CHECKED, every=ABORTS,
        operand="first second output", activation="INT8"),
    fact("zero-scale-softmax", Topic.ZERO_SCALE, "SOFTMAX LOG_SOFTMAX",
        "scale 0 of the input: the reference kernel aborts, the optimized gives one code", "measured", ref=ABORTS, opt=WRONG, xnn=WRONG,
        operand="first", activation="INT8 UINT8"),
    fact("zero-scale-runs", Topic.ZERO_SCALE, NUMERIC, "scale 0: no error, one code or wrong ones come out", "measured S27", every=WRONG,
         operand="first", activation="INT8 UINT8"),
    fact("zero-scale-runs-output", Topic.ZERO_SCALE, NUMERIC, "scale 0 of the output", "measured S27", every=WRONG, operand="output",
        activation="INT8 UINT8"),
    fact("zero-scale-kernels", Topic.ZERO_SCALE, "LEAKY_RELU LOGISTIC MEAN TANH", "scale 0 of the input, in the builtin kernels",
        "measured", cpu=WRONG, operand="first", activation="INT8 UINT8"),
    fact("zero-scale-int16", Topic.ZERO_SCALE,
        "MUL MEAN RELU RELU6 LEAKY_RELU CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV BATCH_MATMUL PRELU QUANTIZE",
        "scale 0 of the input: no error, one code comes out", "measured", every=WRONG, operand="first", activation="INT16"),
    fact("zero-scale-convolution", Topic.ZERO_SCALE, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV",
        "scale 0 of the output: no error without a fused activation, one code comes out; with one, the kernels refuse",
        "LiteRT kernel_util.cc:343-352; measured E11, K04", cpu=WRONG, operand="output", activation="INT8"),
    fact("zero-scale-unread", Topic.ZERO_SCALE, LOOKS_AT_NONE, "scale 0: the codes are copied, and mean nothing", "measured",
        every=IGNORES, operand="first", activation="INT8 UINT8 INT16"),
    fact("negative-scale-abort", Topic.NEGATIVE_SCALE, "ADD SUB", "negative scale", CHECKED, every=ABORTS, operand="first second output",
         activation="INT8 UINT8 INT16"),
    fact("negative-scale-abort-squared-difference", Topic.NEGATIVE_SCALE, "SQUARED_DIFFERENCE", "negative scale", CHECKED, every=ABORTS,
        operand="first second output", activation="INT8"),
    fact("negative-scale-softmax", Topic.NEGATIVE_SCALE, "SOFTMAX LOG_SOFTMAX", "negative scale of the input", "measured", ref=ABORTS,
        opt=WRONG, xnn=WRONG, operand="first", activation="INT8 UINT8"),
    fact("negative-scale-kernels", Topic.NEGATIVE_SCALE, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV MEAN",
        "negative scale of the output: the kernels compute with it", "measured E12", cpu=FINE, operand="output", activation="INT8"),
    fact("subnormal-scale-add", Topic.SUBNORMAL_SCALE, "ADD SQUARED_DIFFERENCE", "subnormal scale of the output", CHECKED, every=ABORTS,
        operand="output", activation="INT8"),
    fact("subnormal-scale-softmax", Topic.SUBNORMAL_SCALE, "SOFTMAX LOG_SOFTMAX", "subnormal scale of the input", "measured", ref=ABORTS,
        opt=WRONG, xnn=WRONG, operand="first", activation="INT8"),
    fact("subnormal-scale-kernels", Topic.SUBNORMAL_SCALE, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV MEAN LEAKY_RELU",
        "subnormal scale of the output, in the builtin kernels", "measured A06", cpu=WRONG, operand="output", activation="INT8"),
    fact("nan-scale-abort", Topic.NAN_SCALE, "ADD SUB", "scale that is not a number, in the builtin kernels", CHECKED, cpu=ABORTS,
        operand="first second output", activation="INT8 UINT8"),
    fact("nan-scale-abort-int16", Topic.NAN_SCALE, "ADD SUB", "scale that is not a number", CHECKED, every=ABORTS,
        operand="first second output", activation="INT16"),
    fact("nan-scale-abort-squared-difference", Topic.NAN_SCALE, "SQUARED_DIFFERENCE", "scale that is not a number", CHECKED, every=ABORTS,
        operand="first second output", activation="INT8"),
    fact("nan-scale-softmax", Topic.NAN_SCALE, "SOFTMAX LOG_SOFTMAX", "scale of the input that is not a number", "measured", ref=ABORTS,
        opt=WRONG, xnn=WRONG, operand="first", activation="INT8 UINT8"),
    fact("nan-scale-runs", Topic.NAN_SCALE, f"{LOOKS_UP} PRELU", "scale that is not a number: no error, wrong values", "measured",
        every=WRONG, operand="first output", activation="INT8 UINT8"),
    *(
        fact(f"{word}-scale-abort-{name}", topic, operators, f"{word} scale of an input", "measured", every=ABORTS, operand="first second",
            activation=activation)
        for word, topic in (("zero", Topic.ZERO_SCALE), ("negative", Topic.NEGATIVE_SCALE), ("nan", Topic.NAN_SCALE))
        for name, operators, activation in (("comparisons", COMPARISONS, "INT8 UINT8"), ("equality", "EQUAL NOT_EQUAL", "INT16"))
    ),
    fact("subnormal-scale-add-others", Topic.SUBNORMAL_SCALE, "ADD", "subnormal scale of the output", CHECKED, every=ABORTS, operand="output",
        activation="UINT8 INT16"),
    *(
        fact(f"xnnpack-dequantize-{word}", topic, "DEQUANTIZE", f"{word} of the input: XNNPACK takes the operator and fails; the kernels compute",
            "LiteRT xnnpack_delegate.cc:178-232; measured", xnn=refuses(text), operand="first", activation="INT8 UINT8")
        for word, topic, text in (
            ("zero scale", Topic.ZERO_SCALE, "unsupported scale value"), ("negative scale", Topic.NEGATIVE_SCALE, "unsupported scale value"),
            ("subnormal scale", Topic.SUBNORMAL_SCALE, "unsupported scale value"), ("nan scale", Topic.NAN_SCALE, "unsupported scale value"),
            ("zero point out of range", Topic.ZERO_POINT_RANGE, "unsupported zero-point value"),
        )
    ),
    fact("subnormal-hard-swish", Topic.SUBNORMAL_SCALE, "HARD_SWISH", "subnormal scale of the output", "LiteRT activations.cc:277-289; measured",
        every=refuses("output_multiplier_exponent <= 0"), operand="output", activation="INT8 UINT8"),
    fact("nan-scale-softmax-output", Topic.NAN_SCALE, "SOFTMAX",
        "output scale that is not a number passes the comparison with the fixed one; the reference kernel does not use it", "measured",
        ref=IGNORES, opt=WRONG, xnn=WRONG, operand="output", activation="INT8"),
)

RATIO_FACTS: tuple[Fact, ...] = (
    fact("ratio-add", Topic.SCALE_RATIO, "ADD",
        "output scale so small that twice the larger input scale is 2^20 (INT16: 2^15) times it or more",
        f"LiteRT add.cc:183-191, {CHECKED} S26", every=ABORTS, operand="output", activation="INT8 UINT8"),
    fact("ratio-hard-swish", Topic.SCALE_RATIO, "HARD_SWISH", "input scale of 128 times the output scale or more",
        "LiteRT activations.cc:277-289; measured C14", every=refuses("output_multiplier_exponent <= 0"), operand="output",
        activation="INT8 UINT8"),
    fact("ratio-xnnpack-add", Topic.SCALE_RATIO, "ADD SUB",
        "input to output scale below 2^-10 or not below 2^8: XNNPACK leaves it to the builtin kernels",
        "LiteRT xnnpack_delegate.cc:4457-4511", xnn=FINE, activation="INT8 UINT8"),
    fact("ratio-xnnpack-mul", Topic.SCALE_RATIO, "MUL",
        "product of the input scales to output scale below 2^-16 or not below 2^8: left to the builtin kernels",
        "LiteRT xnnpack_delegate.cc:4457-4511", xnn=FINE, activation="INT8 UINT8"),
)

ABSENT_FACTS: tuple[Fact, ...] = (
    fact("absent-abort", Topic.QUANTIZATION_ABSENT, "ADD SUB", "input without quantization", f"{CHECKED} S22", every=ABORTS,
        operand="first second", activation="INT8 UINT8"),
    fact("absent-abort-output", Topic.QUANTIZATION_ABSENT, "ADD", "output without quantization", CHECKED, every=ABORTS, operand="output",
         activation="INT8 UINT8 INT16"),
    fact("absent-abort-sub-int16", Topic.QUANTIZATION_ABSENT, "SUB", "input without quantization", CHECKED, every=ABORTS, operand="first",
        activation="INT16"),
    fact("absent-abort-squared-difference", Topic.QUANTIZATION_ABSENT, "SQUARED_DIFFERENCE", "no quantization", CHECKED, every=ABORTS,
        operand="first second output", activation="INT8"),
    fact("absent-abort-int16-second", Topic.QUANTIZATION_ABSENT, "ADD SUB", "second input without quantization", CHECKED, every=ABORTS,
        operand="second", activation="INT16"),
    fact("absent-abort-comparisons", Topic.QUANTIZATION_ABSENT, COMPARISONS, "input without quantization", "measured", every=ABORTS,
        operand="first second", activation="INT8 UINT8"),
    fact("absent-abort-equality", Topic.QUANTIZATION_ABSENT, "EQUAL NOT_EQUAL", "second input without quantization", "measured", every=ABORTS,
        operand="second", activation="INT16"),
    fact("absent-add-int16", Topic.QUANTIZATION_ABSENT, "ADD", "INT16 input without quantization: plain integer addition",
        "LiteRT add.cc:109-236; measured", every=WRONG, operand="first", activation="INT16"),
    fact("absent-softmax", Topic.QUANTIZATION_ABSENT, "SOFTMAX LOG_SOFTMAX", "input without quantization", "measured", ref=ABORTS,
        opt=WRONG, xnn=WRONG, operand="first", activation="INT8 UINT8"),
    fact("absent-convolution-input", Topic.QUANTIZATION_ABSENT, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV", "input without quantization",
         "LiteRT kernel_util.cc:222; measured E10", every=refuses("input->quantization.type != kTfLiteAffineQuantization"), operand="first",
         activation="INT8 UINT8 INT16"),
    fact("absent-fully-connected-input", Topic.QUANTIZATION_ABSENT, "FULLY_CONNECTED", "input without quantization",
        "LiteRT fully_connected.cc:516; measured", every=refuses("fully_connected.cc"), operand="first", activation="INT8 UINT8 INT16"),
    fact("absent-convolution-output", Topic.QUANTIZATION_ABSENT, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV",
         "output without quantization: an error only where a fused activation needs a bound; else one code comes out",
         "LiteRT kernel_util.cc:343-352; measured E09, K05", every=WRONG, operand="output", activation="INT8 INT16"),
    fact("absent-elementwise", Topic.QUANTIZATION_ABSENT, "ABS LOG RSQRT SQRT", "no quantization",
        "LiteRT elementwise.cc:155-170; measured", every=refuses("elementwise.cc"), operand="first output", activation="INT8"),
    fact("absent-log-int16", Topic.QUANTIZATION_ABSENT, "LOG", "INT16 input without quantization", "measured", every=SEGFAULTS,
        operand="first", activation="INT16"),
    fact("absent-svdf", Topic.QUANTIZATION_ABSENT, "SVDF", "no quantization", "LiteRT svdf.cc:261-275; measured",
        every=refuses("svdf.cc"), operand="first output", activation="INT8"),
    fact("absent-svdf-state", Topic.QUANTIZATION_ABSENT, "SVDF", "state without quantization", "LiteRT svdf.cc:268; measured",
        every=refuses("svdf.cc"), operand="state", activation="INT8"),
    fact("absent-quantize-output", Topic.QUANTIZATION_ABSENT, "QUANTIZE", "output without quantization",
        "LiteRT quantize.cc:168; measured Q04", every=refuses("output->quantization.type != kTfLiteAffineQuantization"), operand="output",
        activation="INT8 UINT8 INT16"),
    fact("absent-quantize-input", Topic.QUANTIZATION_ABSENT, "QUANTIZE",
        "integer input without quantization: scale 0, one code comes out", "measured Q05", every=WRONG, operand="first",
        activation="INT8 UINT8 INT16"),
    fact("absent-dequantize", Topic.QUANTIZATION_ABSENT, "DEQUANTIZE", "input without quantization: scale 0, zeros come out",
        "measured D", every=WRONG, operand="first", activation="INT8 UINT8 INT16"),
    fact("absent-runs", Topic.QUANTIZATION_ABSENT, f"{NUMERIC} LEAKY_RELU LOGISTIC MEAN TANH",
        "no quantization on the input: the kernels read scale 0, nothing sensible comes out", "measured", every=WRONG, operand="first",
        activation="INT8 UINT8"),
    fact("absent-unread", Topic.QUANTIZATION_ABSENT, LOOKS_AT_NONE, "no quantization on the input: the codes are copied", "measured",
        every=IGNORES, operand="first", activation="INT8 UINT8 INT16"),
    fact("absent-transpose-output", Topic.QUANTIZATION_ABSENT, "TRANSPOSE", "output without quantization", "measured", cpu=IGNORES,
         xnn=refuses("unsupported quantization type"), operand="output", activation="INT8 UINT8"),
)

PER_CHANNEL_FACTS: tuple[Fact, ...] = (
    fact("per-channel-abort", Topic.PER_CHANNEL_ACTIVATION, "ADD SUB", "several scales count as scale 0",
        f"LiteRT subgraph.cc:145-171, {CHECKED} G02", every=ABORTS, operand="first", activation="INT8 UINT8 INT16"),
    fact("per-channel-abort-squared-difference", Topic.PER_CHANNEL_ACTIVATION, "SQUARED_DIFFERENCE", "several scales count as scale 0",
        CHECKED, every=ABORTS, operand="first", activation="INT8"),
    fact("per-channel-softmax", Topic.PER_CHANNEL_ACTIVATION, "SOFTMAX LOG_SOFTMAX", "several scales count as scale 0", "measured",
        ref=ABORTS, opt=WRONG, xnn=WRONG, operand="first", activation="INT8 UINT8"),
    fact("per-channel-runs", Topic.PER_CHANNEL_ACTIVATION, f"{NUMERIC} LEAKY_RELU LOGISTIC MEAN TANH QUANTIZE",
        "several scales count as scale 0: no error, one code or wrong ones come out", "LiteRT subgraph.cc:145-171; measured", every=WRONG,
        operand="first", activation="INT8 UINT8"),
    fact("per-channel-convolution", Topic.PER_CHANNEL_ACTIVATION, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV BATCH_MATMUL",
        "several scales on the input count as scale 0: one code comes out", "LiteRT subgraph.cc:145-171; measured M02", every=WRONG,
        operand="first", activation="INT8 INT16"),
    fact("per-channel-elementwise", Topic.PER_CHANNEL_ACTIVATION, "ABS", "several scales: the first one counts",
        "LiteRT elementwise.cc:150-207; measured", every=IGNORES, operand="first", activation="INT8"),
    fact("per-channel-unread", Topic.PER_CHANNEL_ACTIVATION, LOOKS_AT_NONE, "several scales: the codes are copied", "measured",
        every=IGNORES, operand="first", activation="INT8 UINT8 INT16"),
    fact("per-channel-dequantize-int16", Topic.PER_CHANNEL_ACTIVATION, "DEQUANTIZE",
        "several scales on an INT16 input: an error when it runs", "LiteRT dequantize.h:131; measured D",
        every=refuses("not supported for per-channel"), operand="first", activation="INT16"),
    fact("per-channel-dequantize", Topic.PER_CHANNEL_ACTIVATION, "DEQUANTIZE", "several scales on an 8-bit input",
        "LiteRT dequantize.h:70-137; measured", every=FINE, operand="first", activation="INT8 UINT8"),
)

VALUE_FACTS: tuple[Fact, ...] = (
    fact("sum-reference", Topic.VALUES, "SUM",
        "the reference kernel returns wrong values for signed types, with equal and with unequal parameters",
        "measured; C08, C09, K01, K02 blamed unequal scales only", ref=WRONG, opt=FINE, xnn=FINE, activation="INT8 INT16"),
    fact("scatter-nd-background", Topic.VALUES, "SCATTER_ND",
        "elements without an update get code 0, which is real 0 only where the zero point is 0", "LiteRT scatter_nd.cc; measured",
        every=WRONG, activation="INT8 UINT8"),
    fact("neg-zero-point", Topic.VALUES, "NEG", "codes are negated as they are: right only with zero point 0 and equal parameters",
         "LiteRT neg.cc:70-75; measured", every=WRONG, operand="first output", activation="INT8 INT16"),
    fact("roots-of-negative", Topic.VALUES, "SQRT RSQRT", "a negative value is an error when it runs (RSQRT: 0 too)",
        "LiteRT elementwise.cc; measured", every=refuses("only defined for"), operand="first", activation="INT8"),
    fact("div-by-zero", Topic.VALUES, "DIV", "divisor equal to its zero point", "LiteRT div.cc:262; measured",
        cpu=refuses("div.cc"), operand="second", activation="INT8 UINT8"),
    fact("int16-tables", Topic.VALUES, "EXP LOG RSQRT",
        "INT16 tables have 513 points: coarse scales give values that are far off", "measured", every=WRONG, activation="INT16"),
    fact("bidirectional-rnn-time-major", Topic.VALUES, "BIDIRECTIONAL_SEQUENCE_RNN",
        "the hybrid kernel mixes up time steps where time_major is set and there are several", "measured", every=WRONG, activation="FLOAT32",
        weights="INT8"),
    fact("quantize-float16", Topic.ACTIVATION_TYPE, "QUANTIZE", "FLOAT16 is converted by XNNPACK only", "measured", cpu=refuses("quantize.cc"),
        xnn=FINE, activation="FLOAT16"),
    fact("quantize-ties", Topic.ROUNDING, "QUANTIZE",
        "FLOAT32 values half way between codes: reference away from zero, optimized and XNNPACK to even",
        "LiteRT quantize.h:43-50, optimized_ops.h:6492-6531; measured R01, R02", every=FINE, activation="FLOAT32"),
)

TYPE_FACTS: tuple[Fact, ...] = (
    *(
        fact(f"type-{'-'.join(name.lower() for name in operators.split()[:2])}-{activation.lower().replace(' ', '-')}",
            Topic.ACTIVATION_TYPE, operators, "type without a kernel", source, every=refuses(text), activation=activation)
        for operators, activation, text, source in (
            ("ABS LOG SQRT RSQRT", "UINT8", "is unsupported by op", "LiteRT elementwise.cc:146; measured"),
            ("ARG_MAX ARG_MIN", "INT16", "Unknown input type", "LiteRT arg_min_max.cc:119-127; measured C16"),
            ("BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN RNN UNIDIRECTIONAL_SEQUENCE_RNN", "INT8 UINT8 INT16",
             "input->type != kTfLiteFloat32", "LiteRT basic_rnn.cc:89 and its relatives; measured"),
            ("LSTM UNIDIRECTIONAL_SEQUENCE_LSTM", "UINT8 INT16", "input_gate_bias->type != kTfLiteFloat32",
             "LiteRT lstm.cc:992, of the full cell; measured"),
            ("SPACE_TO_DEPTH DEPTH_TO_SPACE", "INT16", "was not true", "LiteRT space_to_depth.cc:58-60, depth_to_space.cc:58-60; measured"),
            ("EXP", "UINT8", "not supported by Exp", "LiteRT exp.cc:72-85; measured"),
            ("HARD_SWISH LOG_SOFTMAX", "INT16", "Only float32, uint8 and int8 are supported", "LiteRT activations.cc; measured C13"),
            ("L2_NORMALIZATION", "INT16", "was not true", "LiteRT l2norm.cc:55; measured"),
            ("NEG", "UINT8", "Neg only currently supports", "LiteRT neg.cc:55-91; measured"),
            ("REDUCE_PROD", "UINT8", "Unsupported quantized data type", "LiteRT reduce.cc:497-557; measured"),
            ("RELU_0_TO_1 RELU_N1_TO_1", "INT16", "Only float32, uint8, int8 supported", "LiteRT activations.cc; measured"),
            ("SCATTER_ND", "INT16", "not supported by scatter_nd", "LiteRT scatter_nd.cc:85-93; measured"),
            ("SQUARED_DIFFERENCE", "UINT8 INT16", "SquaredDifference only supports", "LiteRT squared_difference.cc:226-234; measured C11, C12"),
            ("SVDF", "UINT8 INT16", "was not true", "LiteRT svdf.cc:95; measured"),
        )
    ),
    fact("type-batch-matmul-uint8", Topic.ACTIVATION_TYPE, "BATCH_MATMUL", "type without a kernel",
        "LiteRT batch_matmul.cc:342; measured M07", cpu=refuses("was not true"), xnn=refuses("failed to delegate BATCH_MATMUL"),
        activation="UINT8"),
    fact("type-elu", Topic.ACTIVATION_TYPE, "ELU", "type without a kernel; the reference resolver does not have the operator at all",
        "LiteRT activations.cc; measured", ref=refuses("Registration failed"), opt=refuses("Only float32 and int8"),
        xnn=refuses("Only float32 and int8"), activation="UINT8 INT16"),
    fact("elu-reference", Topic.VERSION, "ELU", "the reference resolver does not have the operator", "measured",
        ref=refuses("Registration failed"), opt=FINE, xnn=FINE, activation="INT8"),
    fact("type-prelu-int16", Topic.ACTIVATION_TYPE, "PRELU", "the kernel runs and returns wrong values", "measured", every=WRONG,
        activation="INT16"),
)
