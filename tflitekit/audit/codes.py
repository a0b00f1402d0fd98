"""Every finding code: what it means, why it matters, how it is fixed. The page of all findings and `tflitekit explain` are made of this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One kind of finding. `fix` says how it is repaired, or why that cannot follow from the file."""

    code: str
    title: str
    explanation: str
    fix: str


CODES: dict[str, Code] = {
    c.code: c
    for c in (
        Code(
            "Q001", "as many zero points as scales are missing",
            "The interpreter wants a zero point for every scale. Files stripped for TensorFlow Lite Micro have one for all.",
            "Repeat a single zero point for every scale.",
        ),
        Code(
            "Q002", "scales do not fit the quantized dimension",
            "There has to be one scale, or one for each slice along quantized_dimension, which has to be a dimension of the tensor.",
            "Set the right axis; which scales belong where does not follow from the file.",
        ),
        Code(
            "Q003", "constant data does not fit the tensor",
            "The interpreter refuses a constant with fewer bytes than its type and shape need, and a variable with data.",
            "Nothing: the missing bytes are not in the file.",
        ),
        Code(
            "Q004", "blockwise or multi-axis quantization without its tensors",
            "The scales are a tensor of the same subgraph, found by its index.",
            "Nothing: which tensor was meant is not in the file.",
        ),
        Code(
            "Q101", "activation scale is zero, negative, not finite or subnormal",
            "A scale is the real value of one step. Zero makes every value 0; XNNPACK refuses zero, negative and subnormal scales, "
            "the builtin kernels "
            "compute with them as they are.",
            "The scale of a tensor of zeros may be any positive number; otherwise the range is not known, and only calibration finds it.",
        ),
        Code(
            "Q102", "zero point outside the range of its type",
            "The zero point is the code that stands for real 0, so it must be a code. Outside, the kernels clamp or overflow differently.",
            "Set the right zero point; which one that is does not follow from the file.",
        ),
        Code(
            "Q103", "INT16 activation with a zero point other than 0",
            "INT16 kernels are symmetric: they refuse another zero point or compute as if it were 0.",
            "Set it to 0, and re-encode constants.",
        ),
        Code(
            "Q104", "activation with one scale per channel",
            "Kernels read one scale per activation. With several, the old per-tensor field that they read is 0.",
            "Nothing: the codes were made with scales that kernels cannot apply. Convert again with per-tensor activations.",
        ),
        Code(
            "Q105", "activations of a type that the kernel does not take",
            "A kernel is written for certain element types, and mostly for the same one on all sides.",
            "Insert a QUANTIZE, or change the type of the whole model.",
        ),
        Code(
            "Q106", "quantized type without parameters",
            "Integer kernels read a scale and a zero point of every operand. Without them they read 0, and abort, refuse, or compute "
            "nothing sensible.",
            "Set the right parameters; what they are does not follow from the file.",
        ),
        Code(
            "Q201", "weights with a zero point that the kernel does not apply",
            "Weights of INT8, INT4 and INT2 are symmetric in most kernels: another zero point is refused, or ignored, which shifts every weight.",
            "Re-encode the weights with zero point 0.",
        ),
        Code(
            "Q202", "weights of a type, or scaled in a way, that no kernel computes with these activations",
            "Each kernel takes a few combinations of activation type, weight type and granularity. Others are refused, or read as something else.",
            "Store the weights in a form that the operator takes.",
        ),
        Code(
            "Q203", "weights scaled along the wrong axis",
            "Per-channel scales belong to the output channels: another axis is refused or applied to the wrong values.",
            "Requantize the weights along the right axis.",
        ),
        Code(
            "Q204", "weight scale that is zero, negative, not finite or subnormal",
            "A channel with scale 0 is dead: its weights are all 0, whatever their codes. XNNPACK refuses such a scale.",
            "Give channels of zeros any positive scale.",
        ),
        Code(
            "Q301", "bias scale is not input scale times weight scale",
            "Kernels add the bias to the accumulator without rescaling it, so its scale is input scale x weight scale by definition. "
            "Stated otherwise, the "
            "number in the file is wrong, or the data is.",
            "Restate the scale where the data is right; re-encode the data where the scale is.",
        ),
        Code(
            "Q302", "bias of a type that the kernel does not read",
            "8-bit kernels read INT32, 16-bit ones INT64 unless quantized_bias_type says INT32. Another type is refused or read as something else.",
            "Convert the bias to the type that is read.",
        ),
        Code(
            "Q303", "bias with a zero point other than 0",
            "No kernel applies it.",
            "Set it to 0 and shift the data.",
        ),
        Code(
            "Q401", "output without the parameters that the operator is fixed to",
            "SOFTMAX, LOGISTIC, TANH and the like have outputs of a known range, and kernels hard-code its parameters. Others are "
            "refused, or the output "
            "means something else than it says.",
            "Restore them, and insert a QUANTIZE where consumers need the old ones.",
        ),
        Code(
            "Q402", "operands that must share parameters do not",
            "Operators that move or compare codes without converting them need equal scales and zero points on both sides.",
            "Insert a QUANTIZE between them.",
        ),
        Code(
            "Q501", "placeholder ranges",
            "Many activations share one scale and zero point although no operator requires it: the mark of a converter's default "
            "ranges, which were never "
            "measured. Every activation is squeezed into the same range, whatever it really holds.",
            "Nothing in the file tells the real ranges. Convert again with a representative dataset.",
        ),
        Code(
            "Q601", "hybrid operator, which TensorFlow Lite Micro does not have",
            "Float activations with integer weights are computed by kernels that TensorFlow Lite Micro lacks.",
            "Dequantize the weights to make it float; for integers, convert again with a representative dataset.",
        ),
        Code(
            "Q701", "operator version too low for its types",
            "Runtimes look up exactly the version in the file. One that is too low still loads, but delegates and min_runtime_version"
            " are told the wrong thing.",
            "Raise it; a version is never lowered.",
        ),
        Code(
            "Q702", "operator version that no known runtime has",
            "The resolver has no kernel of this version, and refuses the model.",
            "A newer runtime may know it; nothing can be lowered safely.",
        ),
    )
}  # fmt: skip
