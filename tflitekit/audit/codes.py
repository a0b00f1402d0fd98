"""Every finding code: what it means, why it matters, how it is fixed. The page of all findings and `tflitekit explain` are made of this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One kind of finding. `fix` names the pass that repairs it, or says why none can."""

    code: str
    title: str
    explanation: str
    fix: str


_NO_PASS = "No pass can: "

CODES: dict[str, Code] = {
    c.code: c
    for c in (
        Code(
            "Q001", "as many zero points as scales are missing",
            "The interpreter wants a zero point for every scale. Files stripped for TensorFlow Lite Micro have one for all.",
            "set-quantization expands a single zero point to all scales.",
        ),
        Code(
            "Q002", "scales do not fit the quantized dimension",
            "There has to be one scale, or one for each slice along quantized_dimension, which has to be a dimension of the tensor.",
            "set-quantization with the right axis; which scales belong where does not follow from the file.",
        ),
        Code(
            "Q003", "constant data does not fit the tensor",
            "The interpreter refuses a constant with fewer bytes than its type and shape need, and a variable with data.",
            _NO_PASS + "the missing bytes are not in the file.",
        ),
        Code(
            "Q004", "blockwise or multi-axis quantization without its tensors",
            "The scales are a tensor of the same subgraph, found by its index.",
            _NO_PASS + "which tensor was meant is not in the file.",
        ),
        Code(
            "Q101", "activation scale is zero, negative, not finite or subnormal",
            "A scale is the real value of one step. Zero makes every value 0; XNNPACK refuses zero, negative and subnormal scales, "
            "the builtin kernels "
            "compute with them as they are.",
            "fix-quantization replaces a zero or subnormal scale by a positive one where the tensor is all zeros; otherwise the range is not known.",
        ),
        Code(
            "Q102", "zero point outside the range of its type",
            "The zero point is the code that stands for real 0, so it must be a code. Outside, the kernels clamp or overflow differently.",
            "set-quantization with the right zero point; which one that is does not follow from the file.",
        ),
        Code(
            "Q103", "INT16 activation with a zero point other than 0",
            "INT16 kernels are symmetric: they refuse another zero point or compute as if it were 0.",
            "fix-quantization sets it to 0, and re-encodes constants.",
        ),
        Code(
            "Q104", "activation with one scale per channel",
            "Kernels read one scale per activation. With several, the old per-tensor field that they read is 0.",
            _NO_PASS + "the codes were made with scales that kernels cannot apply. Convert again with per-tensor activations.",
        ),
        Code(
            "Q105", "activations of a type that the kernel does not take",
            "A kernel is written for certain element types, and mostly for the same one on all sides.",
            "set-io-dtype or convert-activations where the whole model shall change; a single tensor of another type needs a QUANTIZE.",
        ),
        Code(
            "Q106", "quantized type without parameters",
            "Integer kernels read a scale and a zero point of every operand. Without them they read 0, and abort, refuse, or compute "
            "nothing sensible.",
            "set-quantization with the right parameters; what they are does not follow from the file.",
        ),
        Code(
            "Q201", "weights with a zero point that the kernel does not apply",
            "Weights of INT8, INT4 and INT2 are symmetric in most kernels: another zero point is refused, or ignored, which shifts every weight.",
            "fix-quantization re-encodes the weights with zero point 0.",
        ),
        Code(
            "Q202", "weights of a type, or scaled in a way, that no kernel computes with these activations",
            "Each kernel takes a few combinations of activation type, weight type and granularity. Others are refused, or read as something else.",
            "requantize-weights to a form that the operator takes.",
        ),
        Code(
            "Q203", "weights scaled along the wrong axis",
            "Per-channel scales belong to the output channels: another axis is refused or applied to the wrong values.",
            "requantize-weights along the right axis.",
        ),
        Code(
            "Q204", "weight scale that is zero, negative, not finite or subnormal",
            "A channel with scale 0 is dead: its weights are all 0, whatever their codes. XNNPACK refuses such a scale.",
            "fix-quantization gives channels of zeros a positive scale.",
        ),
        Code(
            "Q301", "bias scale is not input scale times weight scale",
            "Kernels add the bias to the accumulator without rescaling it, so its scale is input scale x weight scale by definition. "
            "Stated otherwise, the "
            "number in the file is wrong, or the data is.",
            "fix-quantization restates the scale, or re-encodes the data with --keep real.",
        ),
        Code(
            "Q302", "bias of a type that the kernel does not read",
            "8-bit kernels read INT32, 16-bit ones INT64 unless quantized_bias_type says INT32. Another type is refused or read as something else.",
            "fix-quantization converts the bias.",
        ),
        Code(
            "Q303", "bias with a zero point other than 0",
            "No kernel applies it.",
            "fix-quantization sets it to 0 and shifts the data.",
        ),
        Code(
            "Q401", "output without the parameters that the operator is fixed to",
            "SOFTMAX, LOGISTIC, TANH and the like have outputs of a known range, and kernels hard-code its parameters. Others are "
            "refused, or the output "
            "means something else than it says.",
            "fix-quantization restores them and inserts a QUANTIZE where consumers need the old ones.",
        ),
        Code(
            "Q402", "operands that must share parameters do not",
            "Operators that move or compare codes without converting them need equal scales and zero points on both sides.",
            "fix-quantization inserts QUANTIZE.",
        ),
        Code(
            "Q501", "placeholder ranges",
            "Many activations share one scale and zero point although no operator requires it: the mark of a converter's default "
            "ranges, which were never "
            "measured. Every activation is squeezed into the same range, whatever it really holds.",
            _NO_PASS + "the real ranges are not in the file. Convert again with a representative dataset; `observe` shows the real ranges on your "
            "samples.",
        ),
        Code(
            "Q601", "hybrid operator, which TensorFlow Lite Micro does not have",
            "Float activations with integer weights are computed by kernels that TensorFlow Lite Micro lacks.",
            "requantize-weights --to float32 makes it float; for integers, convert again with a representative dataset.",
        ),
        Code(
            "Q701", "operator version too low for its types",
            "Runtimes look up exactly the version in the file. One that is too low still loads, but delegates and min_runtime_version"
            " are told the wrong thing.",
            "fix-quantization raises it.",
        ),
        Code(
            "Q702", "operator version that no known runtime has",
            "The resolver has no kernel of this version, and refuses the model.",
            "A newer runtime may know it; nothing can be lowered safely.",
        ),
    )
}  # fmt: skip
