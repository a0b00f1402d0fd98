"""Facts of the ranges that a model's tensors had on samples, and the quantization that they imply."""

from __future__ import annotations

from .._schema import TensorType
from ..errors import EditError
from ..quant.affine import SYMMETRIC, from_range
from ..runtime.codes import Codes
from ..runtime.observation import Observation, Observed, Seen
from .facts_compare import data_facts, subject_facts
from .facts_tensors import matches
from .values import Facts

WIDE = 0.5  # of the claimed range: a tensor that uses less could have finer steps
FULL = 0.01  # of the elements at an end of the codes: more says that values beyond may have been clipped
DERIVABLE = frozenset({TensorType.UINT8, TensorType.INT8, TensorType.INT16})


def observe_facts(result: Observation, dtype: str | None = None, name: str | None = None) -> Facts:
    """What was seen, what it implies, and what the file claims.

    file         path (null without a file), name, size in bytes
    resolver     optimized or reference, both without delegates
    data         see `data_facts`
    signatures   one object per signature, or one for subgraph 0 (signature null): signature, subgraph, samples, unreadable (tensors that could not be
                 read), tensors
    tensors      in the order of execution: index, name, type, shape, role (input, output or inside), position and operator (of what computes it;
                 -1 and "input"), how (for inputs: how the samples were read), seen, claimed, implied, verdict
    seen         min, max (real; null without finite values), elements, non_finite, at_lowest, at_highest (elements with the end codes), clipped
                 (values of samples beyond the codes of an input)
    claimed      scale (the largest), zero_point, min, max of the file; null for float tensors
    implied      dtype, scale, zero_point, mean, std, min, max: the quantization of the seen range, extended to include 0; null where there is none
    verdict      fits, wide (less than half of the claimed range is used), clips (samples have values beyond the claim of an input), full (over 1 % of
                 the elements have an end code that is not 0), or null without a claim

    dtype: for `implied`; without, the tensor's own if it is an 8- or 16-bit type, else int8. name: only tensors whose name matches, see `matches`.
    """
    signatures = []
    for observed in result.interfaces:
        graph = result.subject.model.subgraphs[observed.subgraph]
        outputs = {index for index, tensor in enumerate(graph.tensors) if tensor in graph.outputs}
        chosen = [each for each in observed.tensors if name is None or matches(each.tensor.name, name)]
        signatures.append({
            "signature": observed.key, "subgraph": observed.subgraph, "samples": observed.samples, "unreadable": observed.unreadable,
            "tensors": [_tensor(each, observed, outputs, dtype) for each in chosen],
        })  # fmt: skip
    return {"file": subject_facts(result.subject), "resolver": result.resolver, "data": data_facts(result.data), "signatures": signatures}


def _tensor(seen: Seen, observed: Observed, outputs: set[int], dtype: str | None) -> Facts:
    tensor = seen.tensor
    is_input = tensor.position < 0
    place = [each.tensor.index for each in observed.tensors if each.tensor.position < 0].index(tensor.index) if is_input else None
    claimed = None if tensor.codes is None else _claim(tensor.codes)
    return {
        "index": tensor.index,
        "name": tensor.name,
        "type": tensor.type,
        "shape": list(tensor.shape),
        "role": "input" if is_input else "output" if tensor.index in outputs else "inside",
        "position": tensor.position,
        "operator": tensor.operator,
        "how": observed.how[place] if place is not None and place < len(observed.how) else None,
        "seen": {
            "min": seen.low, "max": seen.high, "elements": seen.elements, "non_finite": seen.non_finite, "at_lowest": seen.at_low,
            "at_highest": seen.at_high, "clipped": seen.clipped,
        },
        "claimed": claimed,
        "implied": _implied(seen, dtype),
        "verdict": _verdict(seen, claimed),
    }  # fmt: skip


def _claim(codes: Codes) -> Facts:
    low, high = codes.range()
    return {"scale": codes.step, "zero_point": int(codes.zero_point[0]), "min": low, "max": high}


def _implied(seen: Seen, dtype: str | None) -> Facts | None:
    """The quantization of the seen range."""
    if seen.low is None or seen.high is None:
        return None
    own = TensorType[seen.tensor.type]
    type = TensorType[dtype.upper()] if dtype is not None else own if own in DERIVABLE else TensorType.INT8
    try:
        derived = from_range(seen.low, seen.high, type, widen=True)
    except EditError:  # 0 to 0, or so narrow that its scale is none
        return None
    low, high = derived.stored.range()
    return {
        "dtype": type.name.lower(), "scale": float(derived.stored.scale), "zero_point": derived.stored.zero_point, "mean": derived.mean + 0.0,
        "std": derived.std, "min": low, "max": high,
    }  # fmt: skip


def _verdict(seen: Seen, claimed: Facts | None) -> str | None:
    if claimed is None or seen.low is None or seen.high is None or not seen.elements:
        return None
    if seen.clipped:
        return "clips"
    ends = ((claimed["min"], seen.at_low), (claimed["max"], seen.at_high))
    if seen.tensor.position >= 0 and any(count > FULL * seen.elements for bound, count in ends if bound != 0):
        return "full"
    symmetric = TensorType[seen.tensor.type] in SYMMETRIC
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    used = max(-low, high) / claimed["max"] if symmetric else (high - low) / (claimed["max"] - claimed["min"])
    return "wide" if used < WIDE else "fits"
