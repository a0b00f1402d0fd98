"""What TensorFlow Lite Micro lacks: operators, types of activations, forms of weights. Measured on the wheel of tflite-micro at 8f6596d."""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .model import Fact, Topic
from .notation import UNDEFINED, fact, refuses

MEASURED = "measured on tflite-micro"
HYBRID = refuses("Hybrid models are not supported on TFLite Micro")
ABSENT = (
    "LSTM BIDIRECTIONAL_SEQUENCE_LSTM RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN RELU_N1_TO_1 RELU_0_TO_1 GELU REDUCE_PROD TILE "
    "SCATTER_ND SELECT TOPK_V2 WHERE"
)
RECURRENT = "LSTM BIDIRECTIONAL_SEQUENCE_LSTM RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN"
NO_INT2 = refuses("Failed to populate a temp TfLiteTensor struct")

# Types that LiteRT computes: operators, types, a part of the message, where it stands.
_TYPES = (
    ("CONV_2D", "UINT8", "Hybrid models are not supported", "TFLM conv_common.cc:159"),
    ("DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED ADD SUB MUL CAST TANH LOGISTIC AVERAGE_POOL_2D MAX_POOL_2D EQUAL NOT_EQUAL LESS LESS_EQUAL "
     "GREATER GREATER_EQUAL SLICE STRIDED_SLICE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND RESIZE_NEAREST_NEIGHBOR DYNAMIC_UPDATE_SLICE SPLIT SPLIT_V",
     "UINT8", "not supported", "TFLM add.cc, conv.cc, pooling.cc and so on"),
    ("RELU RELU6 PRELU MAXIMUM MINIMUM LOG_SOFTMAX LEAKY_RELU DIV MEAN SUM REDUCE_MAX REDUCE_MIN ARG_MAX ARG_MIN EXPAND_DIMS TRANSPOSE GATHER "
     "GATHER_ND PACK UNPACK PAD PADV2 SELECT_V2 HARD_SWISH", "UINT8", "support", "TFLM activations.cc, reduce.cc, pad.cc and so on"),
    ("L2_NORMALIZATION", "UINT8", "l2norm.cc", "TFLM l2norm.cc:56"),
    ("SOFTMAX", "UINT8", "softmax_common.cc", "TFLM softmax_common.cc:133"),
    ("CONCATENATION", "UINT8", "concatenation.cc", "TFLM concatenation.cc:146"),
    ("SPACE_TO_DEPTH DEPTH_TO_SPACE", "UINT8", "data_type == kTfLiteFloat32", "TFLM space_to_depth.cc:53, depth_to_space.cc:56"),
    ("RESIZE_BILINEAR", "UINT8 INT16", "requires float or int8", "TFLM resize_bilinear.cc"),
    ("FILL", "UINT8 INT16", "Fill only currently supports", "TFLM fill.cc"),
    ("MIRROR_PAD", "UINT8 INT16", "failed to invoke", "TFLM mirror_pad.cc"),
    ("EMBEDDING_LOOKUP", "UINT8 INT16", "embedding_lookup.cc", "TFLM embedding_lookup.cc:86"),
    ("EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER_EQUAL SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND", "INT16", "not supported",
     "TFLM comparisons.cc, space_to_batch_nd.cc"),
    ("DIV REDUCE_MAX REDUCE_MIN GATHER GATHER_ND", "INT16", "support", "TFLM div.cc, reduce.cc, gather.cc"),
    ("NEG", "INT8 INT16", "not supported", "TFLM neg.cc"),
    ("EXP", "INT8 INT16", "exp.cc", "TFLM exp.cc:41"),
    ("LOG SQRT", "INT8 INT16", "elementwise.cc", "TFLM elementwise.cc:202"),
)

TFLM_FACTS: tuple[Fact, ...] = (
    fact("tflm-absent", Topic.VERSION, ABSENT, "the operator is not there", MEASURED,
        tflm=refuses("Didn't find op for builtin opcode")),
    *(
        fact(f"tflm-type-{operators.split()[0].lower()}-{types.split()[0].lower()}", Topic.ACTIVATION_TYPE, operators, "type without a kernel",
            f"{source}; {MEASURED}", tflm=refuses(text), activation=types)
        for operators, types, text, source in _TYPES
    ),
    fact("tflm-hybrid", Topic.WEIGHTS_TYPE, "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV", "FLOAT32 activations with integer weights",
        f"TFLM conv_common.cc:159, depthwise_conv_common.cc:194, transpose_conv.cc; {MEASURED}", tflm=HYBRID, operand="weights",
        activation="FLOAT32", weights="INT8 INT4 UINT8"),
    fact("tflm-hybrid-fully-connected", Topic.WEIGHTS_TYPE, "FULLY_CONNECTED", "FLOAT32 activations with integer weights",
        f"TFLM fully_connected.cc:63; {MEASURED}", tflm=refuses("not supported"), operand="weights", activation="FLOAT32",
        weights="INT8 INT4 UINT8"),
    fact("tflm-hybrid-matmul", Topic.WEIGHTS_TYPE, "BATCH_MATMUL", "operands of different types",
        f"TFLM batch_matmul.cc:198; {MEASURED}", tflm=refuses("lhs_data->type == rhs_data->type"), operand="weights",
        activation="FLOAT32 INT16", weights="INT8"),
    fact("tflm-hybrid-embedding", Topic.WEIGHTS_TYPE, "EMBEDDING_LOOKUP", "tables of INT4 and UINT8; INT8 is fine",
        f"TFLM embedding_lookup.cc:86; {MEASURED}", tflm=refuses("value->type == kTfLiteFloat32"), operand="weights", activation="FLOAT32",
        weights="INT4 UINT8"),
    fact("tflm-hybrid-svdf", Topic.WEIGHTS_TYPE, "SVDF", "FLOAT32 activations with integer weights", f"TFLM svdf_common.cc:489; {MEASURED}",
        tflm=refuses("weights_feature->type != kTfLiteFloat32"), operand="weights", activation="FLOAT32", weights="INT8 UINT8"),
    fact("tflm-hybrid-recurrent", Topic.WEIGHTS_TYPE, RECURRENT, "the operator is not there in any form", MEASURED,
        tflm=refuses("Didn't find op for builtin opcode"), operand="weights", activation="FLOAT32", weights="INT8 UINT8"),
    fact("tflm-hybrid-sequence-lstm", Topic.WEIGHTS_TYPE, "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "FLOAT32 activations with integer weights: nobody looks, the bytes are read as floats, past their end", MEASURED, tflm=UNDEFINED,
        operand="weights", activation="FLOAT32", weights="INT8 UINT8"),
    fact("tflm-weights-int2", Topic.WEIGHTS_TYPE, "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED EMBEDDING_LOOKUP", "the type does not exist there",
        MEASURED, tflm=NO_INT2, operand="weights", activation="FLOAT32 INT8 INT16", weights="INT2"),
    fact("tflm-weights-fully-connected-int16", Topic.WEIGHTS_TYPE, "FULLY_CONNECTED", "INT16 activations take INT8 weights only",
        f"TFLM fully_connected.cc; {MEASURED}", tflm=refuses("not supported"), operand="weights", activation="INT16", weights="INT4 INT16"),
    fact("tflm-weights-conv-int16", Topic.WEIGHTS_TYPE, "CONV_2D", "INT16 activations take INT8 weights only",
        f"TFLM conv_common.cc; {MEASURED}", tflm=HYBRID, operand="weights", activation="INT16", weights="INT4"),
    fact("tflm-weights-fully-connected-int4", Topic.WEIGHTS_GRANULARITY, "FULLY_CONNECTED", "INT4 weights take one scale",
        f"TFLM fully_connected_common.cc:98; {MEASURED}", tflm=refuses("fully_connected_common.cc"), operand="weights", activation="INT8",
        weights="INT4", granularity="per-channel"),
)
