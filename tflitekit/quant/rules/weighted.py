"""Operators that have weights: convolutions, matrix products, lookups, recurrent cells."""

# A table: entries are filled lines, not one argument a line.
# fmt: off

from __future__ import annotations

from .compose import ALL, EIGHT_BIT, bias, forms, rule, same
from .model import BiasRule, OpRule, Runtime, Sharing, WeightsRule

LEGACY_UINT8 = "codes are INT8 under the name UINT8: the kernel reads the bytes as signed"
PER_BOTH = "per-tensor|per-channel"
WITHOUT_REFERENCE = (Runtime.OPTIMIZED, Runtime.XNNPACK)
CONVOLUTION_BIAS = ("FLOAT32 FLOAT32", "UINT8 INT32", "INT8 INT32")

CONVOLUTIONS: tuple[OpRule, ...] = (
    rule("CONV_2D", "activation weights bias?", "activation", ALL, "LiteRT conv.cc:374-562, kernel_util.cc:214-289; measured",
        delegated=EIGHT_BIT, weights=WeightsRule(
            operands=(1,), quantized_dimension=0, source="LiteRT conv.cc:382-393,551-552; operator_property.cc:184",
            forms=(
                *forms("LiteRT conv.cc:374-393; measured", f"INT8 INT8 {PER_BOTH}", f"INT8 INT4 {PER_BOTH}", f"INT16 INT8 {PER_BOTH}",
                       f"INT16 INT4 {PER_BOTH}", "UINT8 UINT8 per-tensor"),
                *forms("LiteRT conv.cc:439-466; measured", f"FLOAT32 INT8 {PER_BOTH}", f"FLOAT32 INT4 {PER_BOTH}"),
            ),
        ),
        biases=(bias(2, "in0 in1", "LiteRT conv.cc:407-438", *CONVOLUTION_BIAS, "INT16 INT64|INT32", required=True,
            selector="quantized_bias_type"),),
        notes=("Inputs of the hybrid form are quantized asymmetrically only where the weights are per-channel; there is no option for it.",)),
    rule("DEPTHWISE_CONV_2D", "activation weights bias?", "activation", ALL, "LiteRT depthwise_conv.cc:138-238; measured",
        delegated=EIGHT_BIT, weights=WeightsRule(
            operands=(1,), quantized_dimension=3, source="LiteRT depthwise_conv.cc:215-217; operator_property.cc:206",
            forms=(
                *forms("LiteRT depthwise_conv.cc:138-217; measured", f"INT8 INT8 {PER_BOTH}", f"INT8 INT4 {PER_BOTH}",
                    f"INT16 INT8 {PER_BOTH}", "UINT8 UINT8 per-tensor"),
                *forms("LiteRT depthwise_conv.cc:229-238; measured", "FLOAT32 INT8 per-channel",
                       condition="as many scales as channels, quantized_dimension 3"),
            ),
        ), biases=(bias(2, "in0 in1", "LiteRT depthwise_conv.cc:172-177", *CONVOLUTION_BIAS, "INT16 INT64"),)),
    rule("TRANSPOSE_CONV", "shape weights activation bias?", "activation", ALL, "LiteRT transpose_conv.cc:336-475; measured",
        delegated=EIGHT_BIT, weights=WeightsRule(
            operands=(1,), quantized_dimension=0, source="LiteRT transpose_conv.cc:463-464; operator_property.cc:195",
            forms=(
                *forms("LiteRT transpose_conv.cc:344-352; measured", f"INT8 INT8 {PER_BOTH}", f"INT16 INT8 {PER_BOTH}",
                    "UINT8 UINT8 per-tensor"),
                *forms("LiteRT transpose_conv.cc:339-341,477-490; measured", f"FLOAT32 INT8 {PER_BOTH}"),
            ),
        ),
        biases=(bias(3, "in2 in1", "LiteRT transpose_conv.cc:351-380", *CONVOLUTION_BIAS, "INT16 INT64|INT32",
            selector="quantized_bias_type"),),
        notes=("Weights are stored output, height, width, input; the order of the inputs is shape, weights, data.",)),
    rule("FULLY_CONNECTED", "activation weights bias?", "activation*", ALL, "LiteRT fully_connected.cc:254-308,505-595,748-760; measured",
        delegated=EIGHT_BIT, weights=WeightsRule(operands=(1,), quantized_dimension=0, asymmetric_inputs_option=True,
            source="LiteRT fully_connected.cc:477,526-539; operator_property.cc:256", forms=(
                *forms("LiteRT fully_connected.cc:254-308; measured", f"INT8 INT8 {PER_BOTH}", f"INT8 INT4 {PER_BOTH}",
                    f"INT8 INT2 {PER_BOTH}", f"INT16 INT8 {PER_BOTH}", f"INT16 INT4 {PER_BOTH}", f"INT16 INT2 {PER_BOTH}",
                    f"INT16 INT16 {PER_BOTH}", "UINT8 UINT8 per-tensor"),
                *forms("LiteRT fully_connected.cc:254-308,602-633; measured", f"FLOAT32 INT8 {PER_BOTH}", f"FLOAT32 INT4 {PER_BOTH}",
                       f"FLOAT32 INT2 {PER_BOTH}"),
                *forms("LiteRT fully_connected.cc:1014-1086, xnnpack_delegate.cc:359-388,2612-2633; measured", "FLOAT32 INT4 blockwise",
                    runtimes=WITHOUT_REFERENCE,
                    condition="FLOAT16 scales, at least 4 units, even depth of at least 32, block size a multiple of 32"),
            )), biases=(
            bias(2, "in0 in1", "LiteRT fully_connected.cc:273-297,1299-1310", *CONVOLUTION_BIAS, "INT16 INT64|INT32",
                selector="quantized_bias_type"),
        ), notes=(
            "INT16 activations with INT16 weights read the bias as INT32 unless quantized_bias_type is INT64: not so with INT8 weights.",
            "weights_format SHUFFLED4x16INT8 (UINT8 in, INT16 out) has a second output.",
            "Codes of INT4 weights below -7 are wrong in the optimized hybrid kernel: see the fact fully-connected-int4-lowest-code.",
        )),
    rule("BATCH_MATMUL", "activation weights", "activation", "INT8 INT16", "LiteRT batch_matmul.cc:312-352,443-510; measured",
        delegated="INT8", weights=WeightsRule(operands=(1,), quantized_dimension=-1, transposed_by="adj_y", transposed_dimension=-2,
            asymmetric_inputs_option=True, narrow=True, source="LiteRT batch_matmul.cc:484-510,627; operator_property.cc:114", forms=(
                *forms("LiteRT batch_matmul.cc:335-352; measured", "INT8 INT8 per-tensor", "INT16 INT8 per-tensor",
                    "INT16 INT16 per-tensor"),
                *forms("LiteRT batch_matmul.cc:484-510; measured", f"FLOAT32 INT8 {PER_BOTH}"),
            )), notes=("The second operand may be an activation too; then it has the parameters of one.", "INT8 times INT8 may give INT32.")),
    rule(
        "EMBEDDING_LOOKUP", "indices weights", "activation", ALL, "LiteRT embedding_lookup.cc:49-103,398-411; measured",
        weights=WeightsRule(
            operands=(1,), quantized_dimension=0, source="LiteRT embedding_lookup.cc:62-91",
            forms=(
                *forms("LiteRT embedding_lookup.cc:62-91; measured", f"FLOAT32 INT8 {PER_BOTH}", f"FLOAT32 INT4 {PER_BOTH}",
                    f"FLOAT32 INT2 {PER_BOTH}", condition="the first zero point is 0"),
                *forms("LiteRT embedding_lookup.cc:62-91; measured", "FLOAT32 UINT8 per-tensor", condition=LEGACY_UINT8),
                *forms("LiteRT embedding_lookup.cc:398-411; measured L06", "FLOAT32 INT4 blockwise",
                    condition="FLOAT16 scales, rows a multiple of the block"),
                *forms("LiteRT embedding_lookup.cc:398-411; measured", "INT8 INT8 per-tensor", "UINT8 UINT8 per-tensor", "INT16 INT16 per-tensor",
                    condition="rows are copied: equal parameters of table and output"),
            ),
        ),
        same_parameters=(same("in1 out0", ALL, Sharing.COPIED, "LiteRT embedding_lookup.cc:49-60; measured L05"),),
    ),
)

_GATES = "bias?:4"
_LSTM_INPUTS = f"activation weights?:8 peephole?:3 {_GATES} weights? bias? state:2 layer_norm?:4"
_LSTM_SOURCE = "LiteRT lstm.cc:341, operator_property.cc:313"
_LSTM_WEIGHTS = (*range(1, 9), 16)
_DIRECTION = f"weights?:8 peephole?:3 {_GATES} weights? bias?"
_HYBRID = "LiteRT kernel_util.h:225-228"


def _hybrid(operands: tuple[int, ...], source: str, *more: str) -> WeightsRule:
    """Weights of a recurrent operator: only per-tensor, INT8 or INT8 codes called UINT8."""
    made = forms(source, "FLOAT32 INT8 per-tensor", *more)
    legacy = forms(source, "FLOAT32 UINT8 per-tensor", condition=LEGACY_UINT8)
    return WeightsRule(operands, (*made, *legacy), source, asymmetric_inputs_option=True)


def _lstm_biases() -> tuple[BiasRule, ...]:
    """The biases of the four gates and of the projection."""
    gates = tuple(
        bias(12 + gate, f"in0 in{1 + gate}", f"{_LSTM_SOURCE}; with layer normalization its scale is in{20 + gate} times 2^-10",
            "FLOAT32 FLOAT32", "INT8 INT32", unless=f"in{20 + gate}")
        for gate in range(4)
    )
    return (*gates, bias(17, "in16 intermediate4", _LSTM_SOURCE, "FLOAT32 FLOAT32", "INT8 INT32"))


_OUTPUT_STATE = (same("in18 out0", "INT8", Sharing.COPIED, "LiteRT operator_property.cc:313 (restricted scale of 18 and the output)"),)
_CELL = "The cell state is INT16 with a power-of-two scale and zero point 0; peephole and layer normalization weights are INT16."
_VERSION_5 = "INT16 activations with INT8 weights ask for version 5, which no resolver of LiteRT knows."

RECURRENT: tuple[OpRule, ...] = (
    rule("SVDF", "activation weights weights bias? state", "activation", "INT8",
        "LiteRT svdf.cc:248-290,330-381; operator_property.cc:1073; measured", weights=WeightsRule(
            operands=(1, 2), asymmetric_inputs_option=True, source="LiteRT svdf.cc:248-290,330-381",
            forms=(
                *forms("LiteRT svdf.cc:248-290; measured", "INT8 INT8 per-tensor",
                    condition="the time weights (in2) and the state are INT16"),
                *forms(_HYBRID, "FLOAT32 INT8 per-tensor"), *forms(_HYBRID, "FLOAT32 UINT8 per-tensor", condition=LEGACY_UINT8),
            ),
        ), biases=(bias(3, "in2 in4", "LiteRT operator_property.cc:1073 (derived scale of 2 and 4)", "FLOAT32 FLOAT32", "INT8 INT32"),),
        notes=("Converters keep the time weights in 10 bits.",)),
    rule("LSTM", _LSTM_INPUTS, "activation*", "INT8", f"{_LSTM_SOURCE}; measured", alternatives=("activation state weights bias state",),
        weights=_hybrid(_LSTM_WEIGHTS, f"{_LSTM_SOURCE}, {_HYBRID}", "INT8 INT8 per-tensor"), biases=_lstm_biases(),
        same_parameters=_OUTPUT_STATE,
        notes=(_CELL, _VERSION_5,
               "The basic cell (kernel_type BASIC) has five inputs and four outputs; its UINT8 form keeps the cell state in INT16, "
               "and its other state, if it is a variable, starts at code 0, which is -1.")),
    rule(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", _LSTM_INPUTS, "activation", "INT8", "LiteRT lstm.cc:341, operator_property.cc:314; measured",
        weights=_hybrid(_LSTM_WEIGHTS, f"{_LSTM_SOURCE}, {_HYBRID}", "INT8 INT8 per-tensor"), biases=_lstm_biases(), same_parameters=_OUTPUT_STATE,
        notes=(_CELL, _VERSION_5, "Converters quantize all weights of it for the hybrid form or none."),
    ),
    rule(
        "BIDIRECTIONAL_SEQUENCE_LSTM", f"activation {_DIRECTION} {_DIRECTION} state:4 activation? weights?:8", "activation*", "",
        "LiteRT bidirectional_sequence_lstm.cc; measured",
        weights=_hybrid((*range(1, 9), 16, *range(18, 26), 33, *range(40, 48)), f"LiteRT bidirectional_sequence_lstm.cc, {_HYBRID}"),
    ),
    rule("RNN", "activation weights weights bias state", "activation", "", "LiteRT basic_rnn.cc; measured",
         weights=_hybrid((1, 2), f"LiteRT basic_rnn.cc, {_HYBRID}; measured"),
         biases=(bias(3, "in0 in1", "LiteRT basic_rnn.cc", "FLOAT32 FLOAT32"),)),
    rule("UNIDIRECTIONAL_SEQUENCE_RNN", "activation weights weights bias state", "activation", "",
        "LiteRT unidirectional_sequence_rnn.cc; measured",
        weights=_hybrid((1, 2), f"LiteRT unidirectional_sequence_rnn.cc, {_HYBRID}; measured"),
        biases=(bias(3, "in0 in1", "LiteRT unidirectional_sequence_rnn.cc", "FLOAT32 FLOAT32"),)),
    rule("BIDIRECTIONAL_SEQUENCE_RNN", "activation weights weights bias state weights weights bias state activation? weights?:2",
        "activation*", "", "LiteRT bidirectional_sequence_rnn.cc; measured",
        weights=_hybrid((1, 2, 5, 6, 10, 11), f"LiteRT bidirectional_sequence_rnn.cc, {_HYBRID}; measured"),
        biases=tuple(bias(n, f"in0 in{n - 2}", "LiteRT bidirectional_sequence_rnn.cc", "FLOAT32 FLOAT32") for n in (3, 7))),
)
