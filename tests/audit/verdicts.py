"""Verdicts made by hand, by reading the operators and tensors of the files, before the audit existed.

Per model: scheme, activation type, weight types, granularity of the weights, input types, output types. Types are those of what is computed: of
operators with weights where there are any.
"""

from __future__ import annotations

from typing import NamedTuple


class Verdict(NamedTuple):
    """What the audit has to say of a model."""

    scheme: str
    activation: str
    weights: tuple[str, ...]
    granularity: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


F, B = "FLOAT32", "BOOL"

VERDICTS = {
    # DEQUANTIZE in front of every weight, all arithmetic in float.
    "aeq_mnist_quantized": Verdict("weight-only", F, ("INT8",), ("per-channel",), (F,), (F,)),
    "gen_vww_wo_i8": Verdict("weight-only", F, ("INT8",), ("per-channel",), (F,), (F,)),
    "gen_mnist_wo_i4": Verdict("weight-only", F, ("INT4",), ("per-channel",), (F,), (F,)),
    # One convolution in float, one integer FULLY_CONNECTED between QUANTIZE and DEQUANTIZE, one hybrid FULLY_CONNECTED.
    "aeq_partly_quantized_mnist": Verdict("mixed", "mixed", ("FLOAT32", "INT8"), ("per-channel",), (F,), (F,)),
    # Two ADDs between UINT8 and FLOAT32 tensors, no weights.
    "litert_add_quantized": Verdict("mixed", "mixed", (), (), ("UINT8",), ("UINT8",)),
    # Integer weights that the operators take directly, float activations.
    "gen_conformer_dyn_i8": Verdict("dynamic-range", F, ("INT8",), ("per-channel",), (F, B), (F,)),
    "gen_mnist_dyn_i8": Verdict("dynamic-range", F, ("INT8",), ("per-channel",), (F,), (F,)),
    "gen_vww_dyn_i8": Verdict("dynamic-range", F, ("INT8",), ("per-channel",), (F,), (F,)),
    # Five hybrid convolutions; the depthwise ones and the classifier stayed float. The name of the file says float32.
    "mlct_kws_ref_model_float32": Verdict("dynamic-range", F, ("FLOAT32", "INT8"), ("per-tensor",), (F,), (F,)),
    "gen_conformer_dyn_i4": Verdict("dynamic-range", F, ("FLOAT32", "INT4"), ("per-channel",), (F, B), (F,)),
    "gen_mnist_dyn_i4": Verdict("dynamic-range", F, ("INT4",), ("per-channel",), (F,), (F,)),
    "gen_vww_dyn_i4": Verdict("dynamic-range", F, ("FLOAT32", "INT4"), ("per-channel",), (F,), (F,)),
    "gen_conformer_dyn_i2": Verdict("dynamic-range", F, ("FLOAT32", "INT2"), ("per-channel",), (F, B), (F,)),
    "gen_mnist_dyn_i2": Verdict("dynamic-range", F, ("INT2",), ("per-channel",), (F,), (F,)),
    "gen_mnist_dyn_i4_b32": Verdict("dynamic-range", F, ("FLOAT32", "INT4"), ("blockwise",), (F,), (F,)),
    "litert_qwen_fc_blockwise_quantized": Verdict("dynamic-range", F, ("INT4",), ("blockwise",), (F,), (F,)),
}
