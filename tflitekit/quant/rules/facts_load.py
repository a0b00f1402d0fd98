"""What happens before any kernel is asked: reading the quantization tables, buffers and versions; and what XNNPACK asks of every tensor it takes.

These facts hold for tensors of every operator, so they name no operators unless a delegate has to take one.
"""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .model import Fact, Topic
from .notation import ABORTS, FINE, IGNORES, SEGFAULTS, UNDEFINED, WRONG, fact, names, refuses

XNN = "LiteRT xnnpack_delegate.cc"
LOADER = "LiteRT interpreter_builder.cc"

# Operators that XNNPACK takes in their INT8 form, besides QUANTIZE, DEQUANTIZE, BATCH_MATMUL and variables, which treat parameters differently.
TAKEN_INT8 = (
    "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV LEAKY_RELU LOGISTIC MEAN SUM TANH ELU CONCATENATION REDUCE_MAX REDUCE_MIN "
    "DEPTH_TO_SPACE SPACE_TO_DEPTH MAX_POOL_2D PAD RESIZE_BILINEAR SLICE SPLIT TRANSPOSE"
)
TAKEN_UINT8 = (
    "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED TRANSPOSE_CONV LEAKY_RELU LOGISTIC MEAN SUM TANH REDUCE_MAX REDUCE_MIN "
    "DEPTH_TO_SPACE SPACE_TO_DEPTH MAX_POOL_2D PAD RESIZE_BILINEAR SLICE SPLIT TRANSPOSE"
)
# Operators that XNNPACK takes in their FLOAT32 form where it knows an input before the model runs: of the first ones the weights (measured).
WEIGHTED_FLOAT32 = names("CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED")
TAKEN_FLOAT32 = names(
    "ABS ADD CEIL COS DIV ELU EXP FLOOR HARD_SWISH LOG LOGISTIC MAXIMUM MINIMUM MUL NEG RELU RELU6 RELU_N1_TO_1 ROUND RSQRT SIN "
    "SQRT SQUARE SQUARED_DIFFERENCE SUB TANH"
)
SCALE_TEXT, ZERO_POINT_TEXT = "unsupported scale value", "unsupported zero-point value"

LOAD_FACTS: tuple[Fact, ...] = (
    fact("load-no-scale", Topic.LOAD, "",
        "no scale, or an empty vector: the tensor counts as unquantized; zero_point, min and max are not read",
        f"{LOADER}:521-523; measured E24, E25", every=IGNORES),
    fact("load-no-zero-point", Topic.LOAD, "", "scale without a zero_point vector", f"{LOADER}:524-529; measured E23",
        every=refuses("null zero_point"), tflm=ABORTS),
    fact("load-counts-differ", Topic.LOAD, "",
        "zero_point and scale vectors of different lengths; one zero point does not serve several scales",
        f"{LOADER}:532-542; measured E04, A04; tflite-micro#813", every=refuses("Must have same number"), tflm=FINE),
    fact("load-dimension-range", Topic.LOAD, "", "quantized_dimension below 0 or not below the rank, even with a single scale",
         f"{LOADER}:561-570; measured E06, A03", every=refuses("quantized_dimension must be in range"), tflm=IGNORES),
    fact("load-dimension-rank-0", Topic.LOAD, "", "any quantized_dimension on a tensor of rank 0", f"{LOADER}:563; measured A02",
        every=IGNORES),
    fact("load-scale-count", Topic.LOAD, "", "neither one scale nor as many as the quantized dimension is long",
         f"{LOADER}:572-583; measured E05", every=refuses("num_scales must be 1"), tflm=IGNORES),
    fact("load-scales-rank-0", Topic.LOAD, "", "several scales on a tensor of rank 0: kernels see scale 0 and zero point 0",
         f"{LOADER}:575; measured A01", every=WRONG),
    fact("load-wide-zero-point", Topic.LOAD, "", "zero point beyond 32 bits: the low 32 bits count", f"{LOADER}:597-601; measured G03",
        every=IGNORES),
    fact("load-axis-of-one-scale", Topic.LOAD, "",
        "one scale with a quantized_dimension other than 0; XNNPACK leaves the operator to the builtin kernels",
        f"LiteRT subgraph.cc:145-171, {XNN}:2299-2302; measured E26", every=FINE),
    fact("load-multi-axis-index", Topic.LOAD, "", "multi-axis quantization whose scales are no tensor of the subgraph",
         f"{LOADER}:434-498; measured B10", every=refuses("scales tensor index must be in range"), tflm=ABORTS),
    fact("load-short-buffer", Topic.LOAD, "", "constant with fewer bytes than its type and shape need",
        "LiteRT subgraph.cc:1959-1966; measured P03", every=refuses("required_bytes <= bytes was not true")),
    fact("load-long-buffer", Topic.LOAD, "",
        "constant with more bytes than needed: the rest is not read; INT4 stored one code a byte decodes wrongly so",
        "LiteRT subgraph.cc:1959-1966; measured P04, P07", every=IGNORES),
    fact("load-constant-variable", Topic.LOAD, "", "constant that is_variable", f"{LOADER}:799-806", every=refuses("")),
    fact("load-version", Topic.VERSION, "", "operator version outside the range of the resolver", "LiteRT register.cc; measured E28, E29",
         every=refuses("Registration failed")),
    fact("load-version-below-need", Topic.VERSION, "", "version lower than types and options need, but known: nobody compares",
        "measured", every=IGNORES),
    fact("packing-int4", Topic.PACKING, "", "INT4 and UINT4: element 2i in the low half of byte i, rows are not padded",
        "measured P01, P02, P08, P09", every=FINE),
    fact("packing-int2", Topic.PACKING, "", "INT2: element 4i in the two lowest bits of byte i", "measured P05, P06", every=FINE),
)

# What the delegate asks of parameters; the builtin kernels go on with the values, as the facts on each topic say.
XNNPACK_FACTS: tuple[Fact, ...] = (
    *(
        fact(f"xnnpack-{word}-scale-{type_.lower()}", topic, operators if word != "negative" else operators.replace("LEAKY_RELU ", ""),
            f"{word} scale of an activation", f"{XNN}:178-187; measured", xnn=refuses(SCALE_TEXT), operand=operand, activation=type_)
        for word, topic in (
            ("zero", Topic.ZERO_SCALE), ("negative", Topic.NEGATIVE_SCALE), ("subnormal", Topic.SUBNORMAL_SCALE), ("nan", Topic.NAN_SCALE),
        )
        for type_, operators, operand in (("INT8", TAKEN_INT8, "first output"), ("UINT8", TAKEN_UINT8, "first output"))
    ),
    fact("xnnpack-nan-scale-arithmetic", Topic.NAN_SCALE, "ADD SUB MUL", "scale of an activation that is not a number",
        f"{XNN}:178-187; measured", xnn=refuses(SCALE_TEXT), operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-zero-point-range-int8", Topic.ZERO_POINT_RANGE, f"{TAKEN_INT8} ADD SUB MUL",
        "zero point of an activation outside -128 to 127", f"{XNN}:191-232; measured", xnn=refuses(ZERO_POINT_TEXT), operand="first output",
        activation="INT8"),
    fact("xnnpack-zero-point-range-uint8", Topic.ZERO_POINT_RANGE, f"{TAKEN_UINT8} ADD SUB MUL",
        "zero point of an activation outside 0 to 255", f"{XNN}:191-232; measured", xnn=refuses(ZERO_POINT_TEXT), operand="first output",
        activation="UINT8"),
    fact("xnnpack-nan-scale-arithmetic-second", Topic.NAN_SCALE, "ADD SUB MUL", "scale of the second input that is not a number",
        f"{XNN}:178-187; measured", xnn=refuses(SCALE_TEXT), operand="second", activation="INT8 UINT8"),
    fact("xnnpack-zero-point-range-second", Topic.ZERO_POINT_RANGE, "ADD MUL", "zero point of the second input outside the range of the type",
        f"{XNN}:191-232; measured", xnn=refuses(ZERO_POINT_TEXT), operand="second", activation="INT8 UINT8"),
    fact("zero-point-range-sub", Topic.ZERO_POINT_RANGE, "SUB", "zero point of the first input outside the range of the type", "measured",
        cpu=refuses(""), operand="first", activation="INT8 UINT8"),
    fact("zero-point-range-sub-second", Topic.ZERO_POINT_RANGE, "SUB", "zero point of the second input outside the range of the type", "measured",
        every=refuses(""), operand="second", activation="INT8 UINT8"),
    fact("xnnpack-quantize-invalid", Topic.ZERO_SCALE, "QUANTIZE",
        "scale 0: the delegate takes the operator and crashes; the kernels give one code", "measured Q06", cpu=WRONG, xnn=SEGFAULTS,
        operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-quantize-subnormal", Topic.SUBNORMAL_SCALE, "QUANTIZE", "subnormal scale", "measured", cpu=WRONG, xnn=SEGFAULTS,
        operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-quantize-nan", Topic.NAN_SCALE, "QUANTIZE", "scale that is not a number", "measured", cpu=WRONG, xnn=SEGFAULTS,
        operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-quantize-negative", Topic.NEGATIVE_SCALE, "QUANTIZE", "negative scale", "measured", cpu=FINE, xnn=SEGFAULTS,
        operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-quantize-zero-point", Topic.ZERO_POINT_RANGE, "QUANTIZE", "zero point outside the range of the type", "measured",
        cpu=WRONG, xnn=SEGFAULTS, operand="first output", activation="INT8 UINT8"),
    fact("xnnpack-matmul-invalid", Topic.ZERO_SCALE, "BATCH_MATMUL", "scale 0 of the first operand", "measured", cpu=WRONG, xnn=SEGFAULTS,
        operand="first", activation="INT8"),
    fact("xnnpack-matmul-subnormal", Topic.SUBNORMAL_SCALE, "BATCH_MATMUL", "subnormal scale of the first operand", "measured", cpu=WRONG,
        xnn=SEGFAULTS, operand="first", activation="INT8"),
    fact("xnnpack-matmul-zero-point", Topic.ZERO_POINT_RANGE, "BATCH_MATMUL",
        "zero point of the first operand outside the range of the type", "measured", cpu=UNDEFINED, xnn=SEGFAULTS, operand="first",
        activation="INT8"),
    fact("matmul-negative", Topic.NEGATIVE_SCALE, "BATCH_MATMUL", "negative scale of an input", "LiteRT kernel_util.cc:333-336; measured",
         cpu=refuses("kernel_util.cc"), xnn=SEGFAULTS, operand="first", activation="INT8"),
    fact("matmul-nan", Topic.NAN_SCALE, "BATCH_MATMUL", "scale of an input that is not a number", "LiteRT kernel_util.cc:333-336; measured",
         cpu=refuses("kernel_util.cc"), xnn=SEGFAULTS, operand="first", activation="INT8"),
    *(
        fact(f"xnnpack-matmul-output-{word.replace(' ', '-')}", topic, "BATCH_MATMUL",
            f"{word} of the output", f"{XNN}:178-232; measured", xnn=refuses(text),
            operand="output", activation="INT8")
        for word, topic, text in (
            ("zero scale", Topic.ZERO_SCALE, SCALE_TEXT), ("negative scale", Topic.NEGATIVE_SCALE, SCALE_TEXT),
            ("subnormal scale", Topic.SUBNORMAL_SCALE, SCALE_TEXT), ("nan scale", Topic.NAN_SCALE, SCALE_TEXT),
            ("zero point out of range", Topic.ZERO_POINT_RANGE, ZERO_POINT_TEXT),
        )
    ),
)
