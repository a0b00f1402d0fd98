"""Facts of an audit: the verdict in plain words, coverage, islands, findings and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .._schema import BuiltinOperator
from ..audit import SEVERITIES, Audit, Finding, Scheme
from ..audit.ends import affine_of
from ..audit.execution import FLOAT, FLOAT16, Execution, is_code, stored_bytes
from ..audit.scheme import FLOAT16_WEIGHTS, FLOAT32, NO_WEIGHTS, Crossing, Island
from ..graph import Model, SubGraph, Tensor
from ..quant.preprocessing import recognise
from ..quant.rules.model import Runtime
from ..types import FLOAT_TYPES
from .audit_words import MODE_TEXTS, Placeholder, next_texts, sentence, why_texts
from .facts_weights import weights_facts
from .requirement import Requirement, differences
from .values import Facts, Places, file_facts, number, plain

PLACEHOLDER = "Q501"
MEASURES = ("operators", "weight_bytes", "macs")
FIRST_PATHS = 3
RECOGNISED = 1e-3  # in LSB: input parameters that a preprocessing gives exactly, up to the rounding of the scale
_ALL_FLOAT = frozenset({FLOAT32, NO_WEIGHTS, FLOAT16_WEIGHTS})


def audit_facts(model: Model, audit: Audit, runtime: Runtime | None = None, required: Requirement | None = None) -> Facts:
    """What an audit says of a model.

    file       path (null without a file), name, size in bytes
    verdict    scheme, activation, weights, weight_bytes (by type), granularity, inputs, outputs (lists of
               names), float_io, placeholder_ranges, sentence
    why        texts: the reasons for the verdict
    interface  the inputs and outputs of the first subgraph: see `interface_facts`
    coverage   one row per execution mode: mode, what, operators, weight_bytes, macs, percent (of each of the three; null where the model has none)
    other_constants  null, or the constants that are no weights, such as biases and the tables of GATHER: see `_other_constants`
    islands    operators (path, name, mode, reason), enters, leaves (each: path, name, type, operator, operator_path; null for the caller)
    float_operators  operators that compute in float in a model that is not all float: operator, reason, count, paths (the first three)
    weights    null unless they were read, or what each holds: see `weights_facts`
    runtime    the runtime that severities are for, or null for the worst of all
    counts     number of findings by severity: error, warning, info
    findings   the worst first: see `finding_facts`
    required   null, or what was required: text, met, differences (texts)
    next       texts: what to do
    """
    places, verdict = Places(model), audit.verdict
    ordered = sorted(audit.findings, key=lambda finding: SEVERITIES.index(severity_of(finding, runtime)))
    findings = [finding_facts(finding, places, runtime) for finding in ordered]
    counts = Counter(finding["severity"] for finding in findings)
    facts: Facts = {
        "file": file_facts(model),
        "verdict": _verdict(verdict),
        "why": [],
        "interface": interface_facts(model),
        "coverage": _coverage(verdict),
        "other_constants": _other_constants(model, verdict),
        "islands": [_island(island, places) for island in audit.islands],
        "float_operators": _float_operators(verdict),
        "weights": weights_facts(audit.weights) if audit.weights else None,
        "runtime": None if runtime is None else runtime.name.lower(),
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "findings": findings,
        "required": None if required is None else _required(required, verdict),
        "next": [],
    }
    placeholder = _placeholder(model, audit.findings)
    facts["verdict"]["placeholder_ranges"] = placeholder is not None
    facts["verdict"]["sentence"] = sentence(facts, placeholder)
    facts["why"] = why_texts(facts, placeholder)
    facts["next"] = next_texts(facts, placeholder, len(model.subgraphs))
    return facts


def _verdict(verdict: Scheme) -> Facts:
    return {
        "scheme": verdict.name,
        "activation": verdict.activation,
        "weights": list(verdict.weights),
        "weight_bytes": _weight_bytes(verdict),
        "granularity": list(verdict.granularity),
        "inputs": list(verdict.inputs),
        "outputs": list(verdict.outputs),
        "float_io": verdict.float_io,
        "placeholder_ranges": False,
        "sentence": "",
    }


def _weight_bytes(verdict: Scheme) -> dict[str, int]:
    """Bytes of stored weights by type, each tensor once, the most first."""
    weights = dict.fromkeys(tensor for run in verdict.executions for tensor in run.weights)
    sizes: Counter[str] = Counter()
    for tensor in weights:
        sizes[tensor.type.name] += stored_bytes(tensor)
    return dict(sizes.most_common())


def _required(required: Requirement, verdict: Scheme) -> Facts:
    found = differences(required, verdict)
    return {"text": required.text, "met": not found, "differences": found}


def interface_facts(model: Model) -> list[Facts]:
    """The inputs and outputs of the first subgraph.

    side (input or output), position, path, name, type, converted (whether a float one becomes codes in a QUANTIZE at once, or was codes before a
    DEQUANTIZE); of a tensor with one scale and one zero point that make a range also scale, zero_point, min, max (what
    the lowest and the highest code stand for), mean, std, and preprocessing (name, formula) where an input's parameters are those of a usual one;
    else null
    """
    if not model.subgraphs:
        return []
    main, places = model.subgraphs[0], Places(model)
    sides = [("input", n, t) for n, t in enumerate(main.inputs)] + [("output", n, t) for n, t in enumerate(main.outputs)]
    converted = _converted(model, main)
    return [_end(side, position, tensor, places, tensor in converted) for side, position, tensor in sides if tensor is not None]


def _converted(model: Model, main: SubGraph) -> set[Tensor]:
    """Float inputs that only QUANTIZE reads, and float outputs that DEQUANTIZE makes."""
    into = [code for code in model.operator_codes if code.code == BuiltinOperator.QUANTIZE]
    out_of = [code for code in model.operator_codes if code.code == BuiltinOperator.DEQUANTIZE]
    if not into and not out_of:
        return set()
    readers, makers = main.consumers(), main.producers()
    found = {t for t in main.inputs if t is not None and t in readers and all(operator.opcode in into for operator in readers[t])}
    found |= {t for t in main.outputs if t is not None and t in makers and makers[t].opcode in out_of}
    return {tensor for tensor in found if tensor.type in FLOAT_TYPES}


def _end(side: str, position: int, tensor: Tensor, places: Places, converted: bool) -> Facts:
    facts: Facts = {
        "side": side, "position": position, "path": f"subgraphs[0].tensors[{places.index(tensor)}]", "name": tensor.name_str,
        "type": tensor.type.name, "converted": converted,
    }  # fmt: skip
    facts |= dict.fromkeys(("scale", "zero_point", "min", "max", "mean", "std", "preprocessing"))
    affine = affine_of(tensor)
    if affine is None:
        return facts
    low, high = affine.range()
    mean, std = affine.mean_std()
    facts |= {"scale": float(affine.scale), "zero_point": affine.zero_point, "min": low, "max": high, "mean": mean, "std": std}
    matches = recognise(affine, RECOGNISED) if side == "input" else ()
    if matches:
        facts["preprocessing"] = {"name": matches[0].preprocessing.name, "formula": matches[0].preprocessing.formula}
    return facts


def _coverage(verdict: Scheme) -> list[Facts]:
    totals = {measure: sum(getattr(share, measure) for share in verdict.coverage) for measure in MEASURES}
    return [
        {
            "mode": share.mode,
            "what": MODE_TEXTS[share.mode],
            **{measure: getattr(share, measure) for measure in MEASURES},
            "percent": {m: 100 * getattr(share, m) / totals[m] if totals[m] else None for m in MEASURES},
        }
        for share in verdict.coverage
    ]


def _other_constants(model: Model, verdict: Scheme) -> Facts | None:
    """What the weight bytes of the coverage leave out: bytes, and the largest (path, name, type, bytes, operators: names of those that read it)."""
    weights = {tensor for run in verdict.executions for tensor in run.weights}
    known = {tensor.buffer for tensor in weights}
    for tensor in weights:  # their scales go with them
        details = None if tensor.quantization is None else tensor.quantization.details
        known |= {scales.buffer for scales in (getattr(details, "scales", None),) if isinstance(scales, Tensor)}
    total, most, largest = 0, 0, None
    for position, graph in enumerate(model.subgraphs):
        for index, tensor in enumerate(graph.tensors):
            if tensor.is_constant and tensor.buffer not in known:
                known.add(tensor.buffer)
                size = stored_bytes(tensor)
                total += size
                if size > most:
                    most, largest = size, (f"subgraphs[{position}].tensors[{index}]", tensor)
    if largest is None:
        return None
    path, tensor = largest
    readers = sorted({operator.op_name for operator in tensor.consumers()})
    return {"bytes": total, "largest": {"path": path, "name": tensor.name_str, "type": tensor.type.name, "bytes": most, "operators": readers}}


def _island(island: Island, places: Places) -> Facts:
    def shore(crossings: Iterable[Crossing], subgraph: int) -> list[Facts]:
        return [
            {
                "path": f"subgraphs[{subgraph}].tensors[{places.index(c.tensor)}]",
                "name": c.tensor.name_str,
                "type": c.tensor.type.name,
                "operator": None if c.operator is None else c.operator.operator.op_name,
                "operator_path": None if c.operator is None else c.operator.path,
            }
            for c in crossings
        ]

    number = island.operators[0].subgraph
    return {
        "operators": [{"path": r.path, "name": r.operator.op_name, "mode": r.mode, "reason": r.reason} for r in island.operators],
        "enters": shore(island.enters, number),
        "leaves": shore(island.leaves, number),
    }


def _float_operators(verdict: Scheme) -> list[Facts]:
    """What stayed float in a model of which something is quantized, by operator and reason; the most frequent first."""
    if verdict.name in _ALL_FLOAT:
        return []
    groups: dict[tuple[str, str], list[Execution]] = {}
    for run in verdict.executions:
        if run.mode in (FLOAT, FLOAT16):
            groups.setdefault((run.operator.op_name, run.reason), []).append(run)
    found = [
        {"operator": operator, "reason": reason, "count": len(runs), "paths": [run.path for run in runs[:FIRST_PATHS]]}
        for (operator, reason), runs in groups.items()
    ]
    return sorted(found, key=lambda group: -int(str(group["count"])))


def severity_of(finding: Finding, runtime: Runtime | None) -> str:
    """The severity in one runtime, or the worst of all."""
    return finding.severity if runtime is None else finding.severity_for(runtime)


def finding_facts(finding: Finding, places: Places, runtime: Runtime | None = None) -> Facts:
    """One finding.

    code, title, severity; path, name of the tensor or operator at fault; message; found, expected (exact values); operator (path of the operator
    whose rule is broken, or empty); reactions: by runtime (reference, optimized, xnnpack, tflm, edgetpu) behaviour, meaning, text (of the error
    message, or the signal), where a runtime that is missing is not known; fix; source (where the rule was read)
    """
    return {
        "code": finding.code,
        "title": finding.about.title,
        "severity": severity_of(finding, runtime),
        "path": finding.path,
        "name": finding.name,
        "message": finding.message,
        "found": _exact(finding.found, places),
        "expected": _exact(finding.expected, places),
        "operator": finding.operator,
        "reactions": {
            r.name.lower(): {"behaviour": reaction.behaviour.name.lower(), "meaning": reaction.behaviour.value, "text": reaction.text}
            for r, reaction in finding.reactions.items()
        },
        "fix": finding.about.fix,
        "source": finding.source,
    }


def _exact(value: object, places: Places) -> object:
    return number(value) if isinstance(value, float) else plain(value, places)


def _placeholder(model: Model, findings: Iterable[Finding]) -> Placeholder | None:
    """What activations claim that were never measured; None unless a finding says that there are such."""
    finding = next((f for f in findings if f.code == PLACEHOLDER), None)
    if finding is None:
        return None
    tensors = {f"subgraphs[{i}].tensors[{j}]": tensor for i, graph in enumerate(model.subgraphs) for j, tensor in enumerate(graph.tensors)}
    told = affine_of(tensors[finding.path]) if finding.path in tensors else None
    if told is None:
        return None
    activations = {t: affine_of(t) for graph in model.subgraphs for t in graph.tensors if not t.is_constant and is_code(t)}
    same = sum(affine == told for affine in activations.values())
    low, high = told.range()
    return Placeholder(float(told.scale), told.zero_point, low, high, same, len(activations))
