"""Parameters that must agree with something: equal within a group, fixed by the operator, zero points of INT16."""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .model import Fact, Topic
from .notation import FINE, WRONG, fact, refuses

DELEGATE_REFUSES = "DEPTH_TO_SPACE SPACE_TO_DEPTH MAX_POOL_2D PAD RESIZE_BILINEAR SLICE SPLIT STRIDED_SLICE TRANSPOSE"
COPIED = (
    "AVERAGE_POOL_2D BROADCAST_TO DYNAMIC_UPDATE_SLICE GATHER GATHER_ND MAXIMUM MINIMUM RESHAPE RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SELECT SELECT_V2 "
    "SPLIT_V SQUEEZE TILE TOPK_V2"
)
SCALE, ZERO_POINT = "params.scale !=", "params.zero_point !="

SAME_FACTS: tuple[Fact, ...] = (
    fact("same-exact", Topic.SAME_PARAMETERS, "BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND EXPAND_DIMS FILL MIRROR_PAD PACK UNPACK",
        "scales are compared as floats: one unit in the last place is too much",
        "LiteRT pack.cc:87-95, unpack.cc:78-84, expand_dims.cc:85-89, fill.cc:96-98, mirror_pad.cc:380-386, "
        "space_to_batch_nd.cc:106-113; measured C06, G08", every=refuses(SCALE), operand="output", activation="INT8 UINT8 INT16"),
    fact("same-exact-zero-point", Topic.SAME_PARAMETERS, "BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND EXPAND_DIMS FILL MIRROR_PAD PACK UNPACK",
         "zero points are compared too", "as same-exact; measured", every=refuses(ZERO_POINT), operand="output", activation="INT8 UINT8"),
    fact("same-padv2-constant", Topic.SAME_PARAMETERS, "PADV2",
        "the fill value is compared with the output when it runs, the input with nothing", "LiteRT pad.cc:446-453; measured G09",
        every=refuses("constant_values->params.scale"), operand="constant", activation="INT8 UINT8 INT16"),
    fact("same-padv2-input", Topic.SAME_PARAMETERS, "PADV2", "codes of the input are copied", "LiteRT pad.cc:446-453; measured",
        every=WRONG, operand="first", activation="INT8 UINT8 INT16"),
    fact("same-concatenation-int8", Topic.SAME_PARAMETERS, "CONCATENATION", "compared with the output as floats",
        "LiteRT concatenation.cc:228-238; measured C01", cpu=refuses(SCALE), xnn=refuses("failed to delegate CONCATENATION"),
        operand="output", activation="INT8"),
    fact("same-concatenation-uint8", Topic.SAME_PARAMETERS, "CONCATENATION", "UINT8 is rescaled",
        "LiteRT concatenation.cc:70-80; measured C02", every=FINE, operand="output", activation="UINT8"),
    fact("same-concatenation-int16", Topic.SAME_PARAMETERS, "CONCATENATION", "INT16 scales are not compared, codes are copied",
         "LiteRT concatenation.cc:239-248; measured C03", every=WRONG, operand="output", activation="INT16"),
    fact("same-reduce", Topic.SAME_PARAMETERS, "REDUCE_MAX REDUCE_MIN", "the builtin kernels compare when they run; XNNPACK copies codes",
         "LiteRT reduce.cc:958-964; measured C07", cpu=refuses(SCALE), xnn=WRONG, operand="output", activation="INT8 UINT8"),
    fact("same-reduce-int16", Topic.SAME_PARAMETERS, "REDUCE_MAX REDUCE_MIN", "compared when it runs",
        "LiteRT reduce.cc:958-964; measured", every=refuses(SCALE), operand="output", activation="INT16"),
    fact("same-copied-delegate-refuses", Topic.SAME_PARAMETERS, DELEGATE_REFUSES,
        "the builtin kernels copy codes; XNNPACK takes the operator and fails", "measured G07, G10", cpu=WRONG,
        xnn=refuses("failed to delegate"), operand="output", activation="INT8 UINT8"),
    fact("same-copied-delegate-not-int16", Topic.SAME_PARAMETERS, "MAX_POOL_2D PAD RESIZE_BILINEAR SLICE SPLIT STRIDED_SLICE TRANSPOSE",
        "codes are copied; XNNPACK takes no INT16", "measured C05", every=WRONG, operand="output", activation="INT16"),
    fact("same-copied", Topic.SAME_PARAMETERS, COPIED, "codes are copied: what the output says of them is wrong, and nobody notices",
        "measured C04, E18, E19, G01; RESHAPE parameters are said to be compared in xnnpack_delegate.cc:5771, which cannot be seen",
        every=WRONG, operand="output", activation="INT8 UINT8 INT16"),
    fact("same-copied-eight-bit", Topic.SAME_PARAMETERS, "SCATTER_ND EMBEDDING_LOOKUP", "codes are copied", "measured L05", every=WRONG,
        operand="output", activation="INT8 UINT8"),
    fact("same-rescaled", Topic.SAME_PARAMETERS, "RELU RELU6 LEAKY_RELU GELU MEAN QUANTIZE",
        "no group: the kernel converts to the output's parameters", "LiteRT activations.cc:222-330; measured C10, C15", every=FINE,
        operand="output", activation="INT8 UINT8 INT16"),
    fact("same-rescaled-eight-bit", Topic.SAME_PARAMETERS, "HARD_SWISH RELU_0_TO_1 RELU_N1_TO_1",
        "no group: the kernel converts to the output's parameters", "measured", every=FINE, operand="output", activation="INT8 UINT8"),
    fact("same-comparisons-int16", Topic.SAME_PARAMETERS, "LESS LESS_EQUAL GREATER GREATER_EQUAL",
        "INT16 codes are compared as they are: right only with equal parameters", "measured", every=WRONG, operand="second",
        activation="INT16"),
    fact("same-equality-int16", Topic.SAME_PARAMETERS, "EQUAL NOT_EQUAL", "no group: both inputs are rescaled", "measured", every=FINE,
        operand="second", activation="INT16"),
    fact("same-comparisons", Topic.SAME_PARAMETERS, "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL",
        "no group: both inputs are rescaled", "LiteRT comparisons.cc:98-109; measured G06", every=FINE, operand="second",
        activation="INT8 UINT8"),
)

FIXED_FACTS: tuple[Fact, ...] = (
    fact("fixed-scale-softmax", Topic.FIXED_SCALE, "SOFTMAX", "more than 0.1 % off", "LiteRT activations.cc:553-561; measured E15, E16",
         every=refuses("output->params.scale not near"), tflm=refuses("output->params.scale"), operand="output", activation="INT8 INT16"),
    fact("fixed-zero-point-softmax", Topic.FIXED_ZERO_POINT, "SOFTMAX", "another zero point", "LiteRT activations.cc:553-561; measured E17",
         every=refuses("output->params.zero_point !="), tflm=refuses("output->params.zero_point !="), operand="output",
         activation="INT8 INT16"),
    fact("fixed-scale-softmax-uint8", Topic.FIXED_SCALE, "SOFTMAX",
        "the reference kernel writes in units of 1/256 whatever the output says; the others convert", "measured U11", ref=WRONG, opt=FINE,
        xnn=FINE, operand="output", activation="UINT8"),
    fact("fixed-zero-point-softmax-uint8", Topic.FIXED_ZERO_POINT, "SOFTMAX", "the zero point of the output is not read", "measured",
        every=WRONG, operand="output", activation="UINT8"),
    fact("fixed-scale-logistic", Topic.FIXED_SCALE, "LOGISTIC", "the builtin kernels compare exactly; XNNPACK converts",
        "LiteRT activations.cc:473-490; measured U03", cpu=refuses("output->params.scale == 1. / 256"), xnn=FINE, operand="output",
        activation="INT8 UINT8"),
    fact("fixed-zero-point-logistic", Topic.FIXED_ZERO_POINT, "LOGISTIC", "another zero point is honoured: the largest values are clipped",
         "LiteRT activations.cc:473-490; measured U02", every=FINE, tflm=refuses(""), operand="output", activation="INT8 UINT8"),
    fact("fixed-scale-logistic-int16", Topic.FIXED_SCALE, "LOGISTIC", "compared exactly", "LiteRT activations.cc:492; measured U04",
         every=refuses("output->params.scale == 1. / 32768"), tflm=refuses("output_scale_log2_rounded"), operand="output", activation="INT16"),
    fact("fixed-zero-point-logistic-int16", Topic.FIXED_ZERO_POINT, "LOGISTIC", "compared", "LiteRT activations.cc:492; measured U05",
         every=refuses("output->params.zero_point == 0"), tflm=refuses("output->params.zero_point != 0"), operand="output",
         activation="INT16"),
    fact("fixed-scale-tanh", Topic.FIXED_SCALE, "TANH", "8-bit parameters are free: the kernel's table follows them",
        "LiteRT activations.cc:344-420; measured U06", every=FINE, operand="output", activation="INT8 UINT8"),
    fact("fixed-zero-point-tanh", Topic.FIXED_ZERO_POINT, "TANH", "8-bit parameters are free",
        "LiteRT activations.cc:344-420; measured U06", every=FINE, operand="output", activation="INT8 UINT8"),
    fact("fixed-scale-tanh-int16", Topic.FIXED_SCALE, "TANH", "must be 2^-15, within 0.1 % of the logarithm",
        "LiteRT activations.cc:421-429; measured U07", every=refuses("output_scale_log2_rounded"),
        tflm=refuses("output_scale_log2_rounded"), operand="output", activation="INT16"),
    fact("fixed-scale-exact", Topic.FIXED_SCALE, "LOG_SOFTMAX L2_NORMALIZATION", "compared exactly",
        "LiteRT activations.cc:664-672, l2norm.cc:60-61; measured U08", every=refuses("output->params.scale !="), operand="output",
        activation="INT8 UINT8"),
    fact("fixed-zero-point-exact", Topic.FIXED_ZERO_POINT, "LOG_SOFTMAX L2_NORMALIZATION", "compared",
        "LiteRT activations.cc:670-675, l2norm.cc:62-66; measured U10", every=refuses("output->params.zero_point !="), operand="output",
        activation="INT8 UINT8"),
)

INT16_FACTS: tuple[Fact, ...] = (
    fact("int16-zero-point", Topic.INT16_ZERO_POINT,
        "RELU RELU6 LEAKY_RELU TANH SOFTMAX ADD SUB BATCH_MATMUL CONCATENATION CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED "
        "TRANSPOSE_CONV DEQUANTIZE EXP FILL EXPAND_DIMS MIRROR_PAD SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND QUANTIZE MEAN SUM REDUCE_MAX "
        "REDUCE_MIN REDUCE_PROD", "must be 0 on inputs and outputs; QUANTIZE to INT8 does not look (Q02)",
        "LiteRT add.cc:146, conv.cc:430, reduce.cc:420 and so on; measured S12, S23, Q03", every=refuses("zero_point != 0"),
        operand="all", activation="INT16"),
    fact("int16-zero-point-logistic", Topic.INT16_ZERO_POINT, "LOGISTIC", "must be 0", "LiteRT activations.cc:494-505; measured",
        every=refuses("zero_point"), operand="all", activation="INT16"),
    fact("int16-zero-point-mul", Topic.INT16_ZERO_POINT, "MUL", "must be 0; an error when it runs", "LiteRT mul.cc:285; measured S28",
         every=refuses("input1_offset != 0"), operand="all", activation="INT16"),
    fact("int16-zero-point-elementwise", Topic.INT16_ZERO_POINT, "ABS LOG", "must be 0", "LiteRT elementwise.cc:174; measured",
        every=refuses("input_offset != 0"), operand="all", activation="INT16"),
    fact("int16-zero-point-honoured", Topic.INT16_ZERO_POINT, "DIV PAD", "any zero point is honoured", "measured", every=FINE,
        operand="all", activation="INT16"),
    fact("int16-zero-point-copied", Topic.INT16_ZERO_POINT,
        f"{COPIED} MAX_POOL_2D PACK PADV2 RESIZE_BILINEAR SLICE SPLIT TRANSPOSE UNPACK", "any zero point passes: codes are copied",
        "measured", every=FINE, operand="all", activation="INT16"),
    fact("int16-zero-point-comparisons", Topic.INT16_ZERO_POINT, "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL",
        "any zero point is honoured", "measured", every=FINE, operand="all", activation="INT16"),
)
