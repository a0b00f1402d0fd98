"""litert-quantizer on a file: the bytes it makes by a recipe, or None where it does not take the model."""

from __future__ import annotations

import gc
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

AVAILABLE = find_spec("litert_quantizer") is not None


def quantized(path: Path, bits: int, granularity: str = "CHANNELWISE", *, weight_only: bool = False) -> bytes | None:
    """The model with weights of so many bits by min-max ranges; `weight_only` puts a DEQUANTIZE in front of every operator."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        from litert_quantizer import qtyping, quantizer

        logging.disable(logging.WARNING)
        try:
            made = quantizer.Quantizer(str(path))
            how = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED, "num_bits": bits}
            add = made.add_weight_only_config if weight_only else made.add_dynamic_config
            add(**how, granularity=qtyping.QuantGranularity[granularity])
            return bytes(made.quantize().quantized_model)
        except Exception:  # whatever it dislikes
            return None
        finally:
            logging.disable(logging.NOTSET)
            gc.collect()  # it keeps files mapped in cycles
