"""Operators without weights: activations, arithmetic, reductions, and those that only move or convert values."""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .compose import ALL, EIGHT_BIT, SIGNED, fixed, rule, same
from .model import OpRule, Sharing
from .notation import types

RESCALES = "Both inputs are rescaled (INT16 only for equality), so their parameters may differ; the output has none."
COPIED, EXACT, RESCALED = Sharing.COPIED, Sharing.EXACT, Sharing.RESCALED

FIXED_OUTPUTS: tuple[OpRule, ...] = (
    rule("SOFTMAX", "activation", "activation", ALL, "LiteRT activations.cc:553-561; measured", fixed=fixed(
        "LiteRT activations.cc:553-561, operator_property.cc:1025; measured",
        ("INT8", 2**-8, -128, 1e-3), ("INT16", 2**-15, 0, 1e-3), ("UINT8", 2**-8, 0, 0.0),
    ), notes=("INT8 or UINT8 in with INT16 out exists, and nobody looks at its output parameters; 2^-16 and -32768 are usual then.",)),
    rule("LOGISTIC", "activation", "activation", ALL, "LiteRT activations.cc:473-533; measured", delegated=EIGHT_BIT, fixed=fixed(
        "LiteRT activations.cc:473-495, operator_property.cc:302; measured",
        ("INT8", 2**-8, -128, 0.0), ("UINT8", 2**-8, 0, 0.0), ("INT16", 2**-15, 0, 0.0),
    ), notes=("The MLIR converter's 16-bit formula (tfl_ops.td:2247) gives 2^-16 and -32768, which the kernel refuses.",)),
    rule("TANH", "activation", "activation", ALL, "LiteRT activations.cc:344-426; measured", delegated=EIGHT_BIT, fixed=fixed(
        "LiteRT activations.cc:421-425, operator_property.cc:1062; measured",
        ("INT8", 2**-7, 0, 0.0), ("UINT8", 2**-7, 128, 0.0), ("INT16", 2**-15, 0, 1e-3),
    )),
    rule("LOG_SOFTMAX", "activation", "activation", EIGHT_BIT, "LiteRT activations.cc:664-672; measured", fixed=fixed(
        "LiteRT activations.cc:664-672, operator_property.cc:291; measured", ("INT8", 2**-4, 127, 0.0), ("UINT8", 2**-4, 255, 0.0),
    )),
    rule("L2_NORMALIZATION", "activation", "activation", EIGHT_BIT, "LiteRT l2norm.cc:55-68; measured", fixed=fixed(
        "LiteRT l2norm.cc:55-68, operator_property.cc:865; measured", ("INT8", 2**-7, 0, 0.0), ("UINT8", 2**-7, 128, 0.0),
    ), notes=("The kernel does not use the scale of its input.",)),
)

ARITHMETIC: tuple[OpRule, ...] = (
    rule("ADD", "activation:2", "activation", ALL, "LiteRT add.cc:109-236; measured", delegated=EIGHT_BIT, notes=(
        "INT16 without quantization on the first input is plain integer addition.",
        "pot_scale_int16 (true unless stored otherwise) takes the power-of-two path only where all three scales are powers of two.",
    )),
    rule("SUB", "activation:2", "activation", ALL, "LiteRT sub.cc:226-311; measured", delegated=EIGHT_BIT),
    rule("MUL", "activation:2", "activation", ALL, "LiteRT mul.cc:119-129,344-351; measured", delegated=EIGHT_BIT),
    rule("DIV", "activation:2", "activation", ALL, "LiteRT div.cc:102-111,238-310; measured"),
    rule("SQUARED_DIFFERENCE", "activation:2", "activation", "INT8", "LiteRT squared_difference.cc:81-104,226-234; measured"),
    rule("MAXIMUM", "activation:2", "activation", ALL, "LiteRT maximum_minimum.cc:57-72,170-193; measured",
         same_parameters=(same("in0 in1 out0", ALL, COPIED, "LiteRT maximum_minimum.cc:57-72, operator_property.cc:884; measured"),)),
    rule("MINIMUM", "activation:2", "activation", ALL, "LiteRT maximum_minimum.cc:57-72,170-193; measured",
         same_parameters=(same("in0 in1 out0", ALL, COPIED, "LiteRT maximum_minimum.cc:57-72, operator_property.cc:898; measured"),)),
    *(rule(name, "activation:2", "flags", ALL, "LiteRT comparisons.cc:98-109; measured", notes=(RESCALES,)) for name in ("EQUAL", "NOT_EQUAL")),
    *(rule(name, "activation:2", "flags", ALL, "LiteRT comparisons.cc:98-109; measured", notes=(RESCALES,),
           same_parameters=(same("in0 in1", "INT16", COPIED, "measured"),)) for name in ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")),
    rule("ABS", "activation", "activation", SIGNED, "LiteRT elementwise.cc:69-84,150-207; measured"),
    rule("SQRT", "activation", "activation", SIGNED, "LiteRT elementwise.cc:69-84,150-207; measured"),
    rule("RSQRT", "activation", "activation", SIGNED, "LiteRT elementwise.cc:69-84,150-207; measured"),
    rule("LOG", "activation", "activation", SIGNED, "LiteRT elementwise.cc:69-84,150-207; measured"),
    rule("EXP", "activation", "activation", SIGNED, "LiteRT exp.cc:72-85; measured"),
    rule("NEG", "activation", "activation", SIGNED, "LiteRT neg.cc:55-91; measured",
         same_parameters=(same("in0 out0", SIGNED, COPIED, "LiteRT neg.cc:70-75; measured"),)),
)

ACTIVATIONS: tuple[OpRule, ...] = (
    rule("RELU", "activation", "activation", ALL, "LiteRT activations.cc:222-330; measured"),
    rule("RELU6", "activation", "activation", ALL, "LiteRT activations.cc:222-330; measured"),
    rule("RELU_N1_TO_1", "activation", "activation", EIGHT_BIT, "LiteRT activations.cc:222-330; measured"),
    rule("RELU_0_TO_1", "activation", "activation", EIGHT_BIT, "LiteRT activations.cc:222-330; measured"),
    rule("LEAKY_RELU", "activation", "activation", ALL, "LiteRT activations.cc:222-330; measured", delegated=EIGHT_BIT),
    rule("ELU", "activation", "activation", "INT8", "LiteRT activations.cc:222-330; measured", delegated="INT8"),
    rule("GELU", "activation", "activation", ALL, "LiteRT activations.cc:222-330; measured"),
    rule("HARD_SWISH", "activation", "activation", EIGHT_BIT, "LiteRT activations.cc:277-289; measured"),
    rule("PRELU", "activation constant", "activation", EIGHT_BIT, "LiteRT activations.cc:701-742; measured",
         notes=("The slopes have parameters of their own: one scale, and any zero point.",)),
)

REDUCTIONS: tuple[OpRule, ...] = (
    rule("MEAN", "activation axis", "activation", ALL, "LiteRT reduce.cc:462-484; measured", delegated=EIGHT_BIT),
    rule("SUM", "activation axis", "activation", ALL, "LiteRT reduce.cc:462-484; measured", delegated=EIGHT_BIT, same_parameters=(
        same("in0 out0", "INT16", RESCALED, "LiteRT operator_property.cc:1052 (asked for all but 8-bit types)"),
    )),
    rule("REDUCE_PROD", "activation axis", "activation", SIGNED, "LiteRT reduce.cc:497-557; measured"),
    rule("REDUCE_MAX", "activation axis", "activation", ALL, "LiteRT reduce.cc:958-964; measured", delegated=EIGHT_BIT,
         same_parameters=(same("in0 out0", ALL, EXACT, "LiteRT reduce.cc:958-964, operator_property.cc:1137; measured"),)),
    rule("REDUCE_MIN", "activation axis", "activation", ALL, "LiteRT reduce.cc:958-964; measured", delegated=EIGHT_BIT,
         same_parameters=(same("in0 out0", ALL, EXACT, "LiteRT reduce.cc:958-964, operator_property.cc:1138; measured"),)),
    rule("ARG_MAX", "activation axis", "indices", EIGHT_BIT, "LiteRT arg_min_max.cc:119-127; measured"),
    rule("ARG_MIN", "activation axis", "indices", EIGHT_BIT, "LiteRT arg_min_max.cc:119-127; measured"),
    rule("TOPK_V2", "activation sizes", "activation indices", ALL, "LiteRT topk_v2.cc:316-341; measured",
         same_parameters=(same("in0 out0", ALL, COPIED, "LiteRT topk_v2.cc:316-341; measured"),)),
    rule("AVERAGE_POOL_2D", "activation", "activation", ALL, "LiteRT pooling.cc:99-104; measured",
         same_parameters=(same("in0 out0", ALL, COPIED,
             "LiteRT pooling.cc:99-104 (compared in debug builds only), operator_property.cc:106; measured"),)),
    rule("MAX_POOL_2D", "activation", "activation", ALL, "LiteRT pooling.cc:99-104; measured", delegated=EIGHT_BIT,
         same_parameters=(same("in0 out0", ALL, COPIED,
             "LiteRT pooling.cc:99-104 (compared in debug builds only), operator_property.cc:876; measured"),)),
)


def _move(
    name: str, inputs: str, group: str, source: str, types_: str = ALL, sharing: Sharing = COPIED, outputs: str = "activation", delegated: str = ""
) -> OpRule:
    """An operator that passes codes on unchanged: the operands of the group share their parameters."""
    stated = f"LiteRT {source}; measured"
    return rule(name, inputs, outputs, types_, stated, same_parameters=(same(group, types_, sharing, stated),), delegated=delegated)


MOVEMENT: tuple[OpRule, ...] = (
    _move("RESHAPE", "activation shape?", "in0 out0", "reshape.cc", delegated=EIGHT_BIT),
    _move("SQUEEZE", "activation", "in0 out0", "squeeze.cc"),
    _move("EXPAND_DIMS", "activation axis", "in0 out0", "expand_dims.cc:85-89", sharing=EXACT),
    _move("TRANSPOSE", "activation axis", "in0 out0", "transpose.cc", delegated=EIGHT_BIT),
    _move("SLICE", "activation sizes:2", "in0 out0", "slice.cc", delegated=EIGHT_BIT),
    _move("STRIDED_SLICE", "activation sizes:3", "in0 out0", "strided_slice.cc", delegated=EIGHT_BIT),
    _move("GATHER", "activation indices", "in0 out0", "gather.cc:82-102"),
    _move("GATHER_ND", "activation indices", "in0 out0", "gather_nd.cc:46-62"),
    _move("TILE", "activation sizes", "in0 out0", "tile.cc"),
    _move("REVERSE_V2", "activation axis", "in0 out0", "reverse.cc:50-59"),
    _move("SPLIT", "axis activation", "in1 out*", "split.cc:88-90", outputs="activation*", delegated=EIGHT_BIT),
    _move("SPLIT_V", "activation sizes axis", "in0 out*", "split_v.cc:141-143", outputs="activation*"),
    rule("CONCATENATION", "activation*", "activation", ALL, "LiteRT concatenation.cc:228-248; measured", delegated=EIGHT_BIT, same_parameters=(
        same("in* out0", "INT8", EXACT, "LiteRT concatenation.cc:228-238; measured"), same("in* out0", "INT16", COPIED,
            "LiteRT concatenation.cc:239-248; measured"),
        same("in* out0", "UINT8", RESCALED, "LiteRT concatenation.cc:70-80; measured"),
    )),
    _move("PACK", "activation*", "in* out0", "pack.cc:87-95", sharing=EXACT),
    _move("UNPACK", "activation", "in0 out*", "unpack.cc:78-84", sharing=EXACT, outputs="activation*"),
    _move("PAD", "activation sizes", "in0 out0", "pad.cc:436-456", delegated=EIGHT_BIT),
    rule("PADV2", "activation sizes constant", "activation", ALL, "LiteRT pad.cc:446-453; measured", same_parameters=(
        same("in2 out0", ALL, EXACT, "LiteRT pad.cc:446-453; measured"), same("in0 out0", ALL, COPIED, "LiteRT pad.cc:446-453; measured"),
    )),
    _move("MIRROR_PAD", "activation sizes", "in0 out0", "mirror_pad.cc:380-391", sharing=EXACT),
    _move("SPACE_TO_BATCH_ND", "activation sizes:2", "in0 out0", "space_to_batch_nd.cc:107-119", sharing=EXACT),
    _move("BATCH_TO_SPACE_ND", "activation sizes:2", "in0 out0", "batch_to_space_nd.cc:106-118", sharing=EXACT),
    _move("SPACE_TO_DEPTH", "activation", "in0 out0", "space_to_depth.cc:58-60", EIGHT_BIT, delegated=EIGHT_BIT),
    _move("DEPTH_TO_SPACE", "activation", "in0 out0", "depth_to_space.cc:58-60", EIGHT_BIT, delegated=EIGHT_BIT),
    _move("RESIZE_BILINEAR", "activation sizes", "in0 out0", "resize_bilinear.cc:119-150", delegated=EIGHT_BIT),
    _move("RESIZE_NEAREST_NEIGHBOR", "activation sizes", "in0 out0", "resize_nearest_neighbor.cc"),
    _move("BROADCAST_TO", "activation shape", "in0 out0", "broadcast_to.cc"),
    _move("FILL", "shape activation", "in1 out0", "fill.cc:96-101", sharing=EXACT),
    _move("SCATTER_ND", "indices activation shape", "in1 out0", "scatter_nd.cc:85-93", EIGHT_BIT),
    _move("SELECT", "condition activation:2", "in1 in2 out0", "select.cc"),
    _move("SELECT_V2", "condition activation:2", "in1 in2 out0", "select.cc"),
    _move("DYNAMIC_UPDATE_SLICE", "activation:2 indices", "in0 in1 out0", "dynamic_update_slice.cc:344-349"),
)

CONVERSIONS: tuple[OpRule, ...] = (
    rule("QUANTIZE", "activation", "activation", f"{ALL} INT4 UINT4 INT32", "LiteRT quantize.cc:157-208; measured", delegated=EIGHT_BIT,
         pairs=frozenset(
        (source, target) for sources, targets in (
            ("FLOAT32", "INT8 UINT8 INT16 INT4 UINT4"), ("INT8 UINT8", "INT8 UINT8 INT16"), ("INT16", "INT8 INT16 INT32"), ("INT32", "INT8 INT16"),
        ) for source in types(sources) for target in types(targets)
    ), notes=(
        "Between INT8 and UINT8 of one scale, with zero points 128 apart, it flips the top bit: nothing is lost.",
        "Per-channel output works from FLOAT32 only; from integers the kernel takes several scales for scale 0.",
    )),
    rule("DEQUANTIZE", "activation", "activation", f"{ALL} INT4 UINT4 INT2", "LiteRT dequantize.cc:52-86, dequantize.h:70-137; measured",
        delegated=EIGHT_BIT,
        pairs=frozenset((source, target) for source in types(f"{ALL} INT4 UINT4 INT2 FLOAT16") for target in types("FLOAT32")), notes=(
        "The output becomes FLOAT32, whatever the file says.",
        "A constant input is converted once and kept (dequantize.cc:79-107); FLOAT16 weights are stored this way.",
        "INT32 is not accepted, so this operator cannot show a quantized bias.",
    )),
    rule("CAST", "activation", "activation", ALL, "LiteRT op_version.cc; measured", takes_codes=True,
        notes=("Casts the codes and does not look at quantization.",)),
)

OTHER: tuple[OpRule, ...] = (
    rule("SHAPE", "activation", "shape", ALL, "LiteRT operator_property.cc:1002; measured"),
    rule("WHERE", "condition", "indices", "", "LiteRT operator_property.cc:1146; measured"),
    rule("VAR_HANDLE", "", "resource", "", "LiteRT operator_property.cc:1160; measured"),
    rule("ASSIGN_VARIABLE", "resource activation", "", ALL, "LiteRT operator_property.cc:1151; measured"),
    rule("READ_VARIABLE", "resource", "activation", ALL, "LiteRT operator_property.cc:1156; measured"),
)
