"""Every finding code: what it means, why it matters, how it is fixed. The page of all findings and `tflitekit explain` are made of this."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
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
            "fix-quantization repeats a single zero point for every scale.",
        ),
        Code(
            "Q002", "scales do not fit the quantized dimension",
            "There has to be one scale, or one for each slice along quantized_dimension, which has to be a dimension of the tensor.",
            "fix-quantization sets the axis where operators demand one or only one fits, and restores a scale that the biases imply. Otherwise "
            "set-quantization --axis, once it is known which scales belong where.",
        ),
        Code(
            "Q003", "constant data does not fit the tensor",
            "The interpreter refuses a constant with fewer bytes than its type and shape need, and a variable with data.",
            "fix-quantization, where the bytes are those of another type. Otherwise nothing: the missing bytes are not in the file.",
        ),
        Code(
            "Q004", "blockwise or multi-axis quantization without its tensors",
            "The scales are a tensor of the same subgraph, found by its index.",
            "Nothing: which tensor was meant is not in the file.",
        ),
        Code(
            "Q005", "constant data that are not aligned",
            "The schema asks for constant data at multiples of 16 in the file. Most writers but the C++ one align them to 4 only. Desktop and "
            "mobile runtimes read such data all the same; microcontrollers that use the file in place can fault, above all on elements of 8 "
            "bytes. Reported by itself for such elements, and with --runtime tflm for all buffers.",
            "copy --rebuild, which lays the file out anew; so does any pass that changes a size.",
        ),
        Code(
            "Q101", "activation scale is zero, negative, not finite or subnormal",
            "A scale is the real value of one step. Zero makes every value 0; XNNPACK refuses zero, negative and subnormal scales, "
            "the builtin kernels "
            "compute with them as they are.",
            "fix-quantization, where the tensor holds zeros or biases, groups and fixed outputs imply the scale. Otherwise observe measures the "
            "range on samples of a model that runs, and set-quantization sets it.",
        ),
        Code(
            "Q102", "zero point outside the range of its type",
            "The zero point is the code that stands for real 0, so it must be a code. Outside, the kernels clamp or overflow differently.",
            "fix-quantization, where the stated range or the operators around imply the zero point. Otherwise set-quantization, once the right "
            "one is known.",
        ),
        Code(
            "Q103", "INT16 activation with a zero point other than 0",
            "INT16 kernels are symmetric: they refuse another zero point or compute as if it were 0.",
            "fix-quantization sets it to 0 and encodes constants again.",
        ),
        Code(
            "Q104", "activation with one scale per channel",
            "Kernels read one scale per activation. With several, the old per-tensor field that they read is 0.",
            "fix-quantization, where all scales are the same or the rest of the file implies one. Otherwise convert again with per-tensor "
            "activations: the codes were made with scales that kernels cannot apply.",
        ),
        Code(
            "Q105", "activations of a type that the kernel does not take",
            "A kernel is written for certain element types, and mostly for the same one on all sides.",
            "fix-quantization, where nothing but the type of one operand is off. convert-activations changes the type of a whole model, "
            "set-io-dtype that of inputs and outputs.",
        ),
        Code(
            "Q106", "quantized type without parameters",
            "Integer kernels read a scale and a zero point of every operand. Without them they read 0, and abort, refuse, or compute "
            "nothing sensible.",
            "fix-quantization, where biases, groups or fixed outputs imply the parameters. Otherwise set-quantization, once they are known; "
            "observe measures ranges on samples.",
        ),
        Code(
            "Q107", "output that its inputs do not reach, or always exceed",
            "The scales of inputs, weights and output make the factor by which sums become codes. If it is too small, nothing that goes in "
            "moves the output by half a step: kernels return the bias alone, or one code, whatever the input. If it is too large, the smallest "
            "input is beyond the range. Both come from scales that were edited, or typed in, without the others.",
            "set-quantization, once the right scale is known: which one is wrong does not follow from the file. If it is that of the input, "
            "set-input-stats.",
        ),
        Code(
            "Q108", "output scale too fine for the arithmetic of the kernel",
            "ADD and HARD_SWISH bring their inputs to a common fine scale first. An output scale that is finer than that makes a factor of 1 or "
            "more where the kernel demands less: it stops, or ends the whole process.",
            "set-quantization, once the right scale is known: which of the scales is wrong does not follow from the file.",
        ),
        Code(
            "Q109", "fused activation that the kernel does not apply",
            "The schema lets the options of an operator name any activation, but kernels know a few of them. Others are refused, or left out "
            "without a word: what comes out is then not what the file says. Converters fuse none but those that kernels apply; tools that edit "
            "options, and converters of other frameworks, sometimes do. Quantizers store blockwise weights beside RELU, which then XNNPACK alone "
            "applies: LiteRT uses it unasked, unless it is switched off.",
            "Where weights are blockwise, requantize-weights --to int8 stores them in a form whose kernels apply the activation. Else no pass can do "
            "what a kernel does not: name what the kernel applies (NONE for most operators; TANH for LSTM cells, RELU for an integer SVDF, if the "
            "model was trained with that), and let another operator behind it apply the activation. That is best done in the original model; in "
            "Python it is the option fused_activation_function.",
        ),
        Code(
            "Q201", "weights with a zero point that the kernel does not apply",
            "Weights of INT8, INT4 and INT2 are symmetric in most kernels: another zero point is refused, or ignored, which shifts every weight.",
            "fix-quantization encodes the weights again with zero point 0.",
        ),
        Code(
            "Q202", "weights of a type, or scaled in a way, that no kernel computes with these activations",
            "Each kernel takes a few combinations of activation type, weight type and granularity. Others are refused, or read as something else.",
            "fix-quantization, where only the type's name is wrong. Else requantize-weights stores the weights in a form that the operator takes.",
        ),
        Code(
            "Q203", "weights scaled along the wrong axis",
            "Per-channel scales belong to the output channels: another axis is refused or applied to the wrong values.",
            "fix-quantization, where the scales fit the axis that the operator demands. Otherwise requantize-weights along the right axis.",
        ),
        Code(
            "Q204", "weight scale that is zero, negative, not finite or subnormal",
            "A channel with scale 0 is dead: its weights are all 0, whatever their codes. XNNPACK refuses such a scale.",
            "fix-quantization: channels of zeros get a positive scale, and others the one that their bias implies.",
        ),
        Code(
            "Q205", "blockwise weights that some kernels do not compute",
            "Scales of blocks are kept in a tensor of their own, which most kernels do not look at: they read scale 0 and return the bias "
            "alone, without a word. The others have conditions: FLOAT16 scales, blocks of a multiple of 32, at least 4 units, an even depth of "
            "at least 32.",
            "requantize-weights stores them per channel, which all kernels compute. With FLOAT16 scales and blocks of 32 the default "
            "interpreter computes them.",
        ),
        Code(
            "Q211", "dead channels: all weights of an output channel are 0",
            "The channel gives its bias and nothing else. Training with strong regularization leaves such channels, and so do scales that are "
            "too large. Found by --weights.",
            "Nothing is wrong by itself. The channel could be removed, together with what reads it, to make the model smaller.",
        ),
        Code(
            "Q212", "weights are clipped: far more of them at the ends of the range than next to the ends",
            "A scale from the largest weight puts one code of each channel at an end. Many more there mean that larger weights were cut off. "
            "Told of 8 and 16 bits, since fewer have their ends in use anyway. Found by --weights.",
            "Nothing: the real weights are not in the file. Quantize the original again with larger scales.",
        ),
        Code(
            "Q213", "weights hold the lowest code, with which a kernel computes wrong values",
            "Converters leave out the lowest code of signed weights (-128, -8), and some hybrid kernels rely on it. Found by --weights.",
            "apply with requantize-weights{to=float32} and then requantize-weights{to=int8}, or int4: real values that are encoded anew stay "
            "within the narrow range (-127 to 127, -7 to 7).",
        ),
        Code(
            "Q214", "channels that use few of the codes",
            "One scale for channels of different magnitude leaves the small ones a handful of levels: everything in them is rounded coarsely. "
            "Told where a channel's codes stay within 7 of the zero point. Found by --weights.",
            "Quantize the original again with one scale per channel. What was rounded away is not in the file.",
        ),
        Code(
            "Q301", "bias scale is not input scale times weight scale",
            "Kernels add the bias to the accumulator without rescaling it, so its scale is input scale x weight scale by definition. "
            "Stated otherwise, the "
            "number in the file is wrong, or the data is.",
            "fix-quantization: --bias retag states the scale at which kernels read it, where the data is right; --bias encode encodes the data "
            "again, where the stated scale is.",
        ),
        Code(
            "Q302", "bias of a type that the kernel does not read",
            "8-bit kernels read INT32, 16-bit ones INT64 unless quantized_bias_type says INT32. Another type is refused or read as something else.",
            "fix-quantization converts the bias to the type that is read.",
        ),
        Code(
            "Q303", "bias with a zero point other than 0",
            "No kernel applies it.",
            "fix-quantization sets it to 0; with --bias encode the data is shifted too.",
        ),
        Code(
            "Q304", "FLOAT16 bias of a hybrid operator",
            "A DEQUANTIZE makes floats of it, which builtin kernels take. XNNPACK, which LiteRT uses unasked, sees a constant, takes the operator, "
            "and fails on the bias: the whole model is refused.",
            "fix-quantization stores the bias as FLOAT32, which is exact, and lets the operator read it directly.",
        ),
        Code(
            "Q401", "output without the parameters that the operator is fixed to",
            "SOFTMAX, LOGISTIC, TANH and the like have outputs of a known range, and kernels hard-code its parameters. Others are "
            "refused, or the output "
            "means something else than it says. The basic LSTM cell (five inputs) hard-codes those of its inputs and states too.",
            "fix-quantization restores them, and inserts a QUANTIZE where consumers need the old ones.",
        ),
        Code(
            "Q402", "operands that must share parameters do not",
            "Operators that move or compare codes without converting them need equal scales and zero points on both sides.",
            "fix-quantization restates the parameters where the rest of the file says which are right, and otherwise inserts a QUANTIZE between "
            "them.",
        ),
        Code(
            "Q501", "placeholder ranges",
            "Many activations share one scale and zero point although no operator requires it: the mark of a converter's default "
            "ranges, which were never "
            "measured. Every activation is squeezed into the same range, whatever it really holds.",
            "Nothing in the file tells the real ranges: convert again with a representative dataset. Or let observe measure them, on samples, in the "
            "float model or its dynamic-range form, and state them with set-quantization --keep real.",
        ),
        Code(
            "Q502", "input quantized for numbers that no usual preprocessing of images gives",
            "The scale and zero point of an input say which numbers it expects: std = 1 / scale and mean = zero point. Usual preprocessings "
            "give a few well-known pairs. Another pair may be right, but mostly comes from representative data that were not normalized, or "
            "from mean and std in the wrong units.",
            "Look up how the model was trained. If the numbers in the file are wrong, set-input-stats --mode reinterpret states other ones and "
            "adapts what depends on them. Where a bias tells other numbers (Q301), fix-quantization states those.",
        ),
        Code(
            "Q601", "hybrid operator, which TensorFlow Lite Micro does not have",
            "Float activations with integer weights are computed by kernels that TensorFlow Lite Micro lacks.",
            "requantize-weights --to float32 makes it float; for integers, convert again with a representative dataset.",
        ),
        Code(
            "Q602", "per-channel FULLY_CONNECTED, which old TensorFlow Lite Micro computes wrongly",
            "Versions of TensorFlow Lite Micro before May 2024 (tflite-micro#2602) compute FULLY_CONNECTED with one scale, and return wrong "
            "values for per-channel weights without a word. Newer ones are right. Found with --runtime tflm only.",
            "A newer TensorFlow Lite Micro, or requantize-weights --to int8 --granularity per-tensor.",
        ),
        Code(
            "Q603", "model that the Edge TPU compiler does not take",
            "The compiler takes models that compute on 8-bit integers with sizes that are known beforehand. It answers others with 'Invalid "
            "model' and 'Model not quantized'. Found with --runtime edgetpu only, by published rules; the compiler itself is closed.",
            "Ranges that the file does not have need a representative dataset: convert again. An open size such as [-1,96,96,3], where the "
            "shape beside it is the wanted one ([1,96,96,3]), is closed in Python: set shape_signature of every tensor to None, and write the "
            "model.",
        ),
        Code(
            "Q604", "operator that the Edge TPU leaves to the CPU",
            "The compiler maps the operators that it knows, on INT8 or UINT8, within limits that it publishes; the message names the one that "
            "is broken. Found with --runtime edgetpu only; the compiler itself is closed, and may leave others for reasons of size that are not "
            "published.",
            "convert-activations makes INT8 or UINT8 of INT16. For the other reasons there is no pass: the operator has to be avoided in the "
            "original model.",
        ),
        Code(
            "Q605", "operators behind one that the Edge TPU leaves to the CPU",
            "The compiler divides a model once: what comes after the first operator that stays on the CPU stays there too, although it could be "
            "mapped. (Its option -a tries several parts.) Found with --runtime edgetpu only.",
            "Repair the first Q604, or move that operator to the end of the original model.",
        ),
        Code(
            "Q606", "model that is compiled for the Edge TPU already",
            "Operators of the kind edgetpu-custom-op hold code for the accelerator. The compiler does not take them again, and other runtimes "
            "cannot execute them. Found with --runtime edgetpu only.",
            "Nothing is wrong. To change the model, start from the one that it was compiled from.",
        ),
        Code(
            "Q607", "operator, or form of it, that TensorFlow Lite Micro lacks",
            "TensorFlow Lite Micro has fewer operators than LiteRT, and kernels for fewer types: hardly any for UINT8, none for INT2. What is "
            "told was measured on the tflite-micro wheel with all of its operators; an application that registers fewer has fewer. Found with "
            "--runtime tflm only.",
            "convert-activations where only the type of the activations is missing, requantize-weights where that of the weights is. An "
            "operator that is not there has to be avoided in the original model.",
        ),
        Code(
            "Q701", "operator version too low for its types",
            "Runtimes look up exactly the version in the file. One that is too low still loads, but delegates and min_runtime_version"
            " are told the wrong thing.",
            "fix-quantization raises it; a version is never lowered.",
        ),
        Code(
            "Q702", "operator version that no known runtime has",
            "The resolver has no kernel of this version, and refuses the model.",
            "A newer runtime may know it; nothing can be lowered safely.",
        ),
        Code(
            "Q703", "min_runtime_version is older than the operators",
            "The metadata entry min_runtime_version tells applications which TFLite version is new enough. The operator named here, or what its "
            "types need, came later. Tools that edit models often leave the entry of the float model.",
            "fix-quantization raises it.",
        ),
        Code(
            "Q801", "codes that are dequantized and quantized again",
            "DEQUANTIZE followed by QUANTIZE goes from codes to codes through floats. With equal types and parameters it changes nothing; "
            "otherwise one QUANTIZE does the same, without the floats, and accelerators for integers need not stop there.",
            "fix-quantization takes both out where that changes no value. Where types or parameters differ, one QUANTIZE in their place would "
            "round once instead of twice: none of the passes does that.",
        ),
        Code(
            "Q802", "floats that are quantized and dequantized at once",
            "QUANTIZE followed by DEQUANTIZE rounds floats and gives floats: the mark of quantization that was simulated in training and never "
            "carried out for the operators around it. It costs accuracy and time and gains nothing.",
            "None of the passes removes operators that compute. Convert again with a converter that gives the operators around it an integer "
            "form.",
        ),
        Code(
            "Q803", "two QUANTIZE operators in a row",
            "The second rounds again what the first has rounded. One QUANTIZE from the first type to the last gives the same but for that "
            "rounding. At an input it is what is left of a converter that changed the type of the interface.",
            "fix-quantization leaves out the one that changes no value, such as between INT8 and UINT8; set-io-dtype takes away the one at an "
            "input or output. Where both round, none of the passes makes one of them.",
        ),
        Code(
            "Q804", "tensor that is dequantized twice",
            "Two DEQUANTIZE operators expand the same codes into two equal float tensors: time and memory spent twice.",
            "fix-quantization lets all readers share the first.",
        ),
        Code(
            "Q805", "DEQUANTIZE, CAST, QUANTIZE",
            "Codes become floats, floats become another plain type, and that is quantized again: a tail that converters leave where the "
            "original model changed the type of its output. CAST drops fractions, so what comes out is coarser than the codes that went in.",
            "None of the passes removes operators that compute. Leave the CAST out of the original model, or cut the graph in front of the "
            "tail.",
        ),
        Code(
            "Q806", "simulated quantization that was never carried out",
            "FAKE_QUANT rounds floats as quantization would, and leaves them floats. A model that was trained with it is meant to be converted "
            "to integers; as long as the operators are there, it was not.",
            "Convert again from the original model: their ranges are what integer activations need, and nothing else has to be measured.",
        ),
        Code(
            "Q807", "output that DEQUANTIZE makes of an INT8 or FLOAT16 constant",
            "XNNPACK, which LiteRT uses unasked, expands such constants when it is set up, for the operators that it takes. If it takes all that "
            "read the floats, it takes the DEQUANTIZE too, and never writes the output: what comes out is what was in that memory. Where nothing "
            "reads them, it may refuse the whole model. Builtin kernels compute the output, and constants of UINT8, INT16, INT4 and INT2 are right.",
            "requantize-weights --to float32, for this constant: an output that is a constant itself is right.",
        ),
        Code(
            "Q901", "signature that contradicts its subgraph",
            "Callers by signature exchange the tensors that the signature names, callers by position the inputs and outputs of the subgraph. A "
            "tensor of the signature that is not among those cannot be fed or is not kept, and one that the signature leaves out is never fed.",
            "Nothing: which of the two was meant is not in the file. Edit signature_defs in Python, and write the model.",
        ),
        Code(
            "Q902", "metadata for another number of inputs or outputs",
            "TFLite Metadata describe inputs and outputs by their position. With another number of them, descriptions belong to other tensors "
            "than they were written for.",
            "Nothing: which description belongs to which tensor is not in the file. Write the metadata again.",
        ),
        Code(
            "Q903", "normalization in the metadata that the input cannot hold",
            "The metadata tell libraries to feed (byte - mean) / std. The input's scale and zero point say which numbers it holds. Where these "
            "are other ones, libraries clip most of an image or use a small part of the codes.",
            "set-input-stats makes the input hold what the metadata state, if that is what the model was trained on; else the metadata have to "
            "be corrected.",
        ),
        Code(
            "Q904", "normalization in the metadata that cannot be applied",
            "A mean or std is missing, their number is not that of the channels, or std is 0. Libraries refuse the model or divide by "
            "zero.",
            "Nothing: the right numbers are not in the file. Write the metadata again.",
        ),
        Code(
            "Q905", "image input of floats without normalization in the metadata",
            "The metadata call the input an image, and its type is FLOAT32. The Task Library refuses such a model unless the metadata state a "
            "normalization: it cannot know which floats the pixels become.",
            "Nothing: the right numbers are not in the file. Write the metadata again, with the mean and std that the model was trained with.",
        ),
        Code(
            "Q906", "TFLite Metadata that cannot be read",
            "The entry TFLITE_METADATA has no data, or its bytes are no flatbuffer of that format. Libraries take the model for one without "
            "metadata, or refuse it.",
            "Nothing: what it said is not in the file. Write the metadata again.",
        ),
    )
}  # fmt: skip
