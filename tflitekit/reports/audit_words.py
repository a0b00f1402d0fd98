"""The words of the audit: the verdict in one sentence, its reasons, and what to do next. Texts are raw; renderers escape the names in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from .._schema import TensorType
from ..audit import CODES
from ..audit.execution import BOUNDARY, FLOAT, FLOAT16, HYBRID, INDEX, INTEGER, OPAQUE, WEIGHT_DEQUANTIZE
from ..audit.scheme import COMPILED, DYNAMIC_RANGE, FLOAT16_WEIGHTS, FLOAT32, FULL_INTEGER, MIXED, NO_WEIGHTS, WEIGHT_ONLY
from ..types import BITS
from .stats import bounds_text, digits
from .values import Facts, plural

MODE_TEXTS = {
    INTEGER: "integer codes in and out",
    HYBRID: "float activations, integer weights",
    FLOAT: "computed in float",
    FLOAT16: "FLOAT16 weights, computed in float",
    BOUNDARY: "QUANTIZE and DEQUANTIZE",
    WEIGHT_DEQUANTIZE: "stored weights to float",
    INDEX: "indices, shapes, flags, control flow",
    OPAQUE: "custom or compiled: not in the file",
}
RUNTIMES = {"reference": "builtin reference", "optimized": "builtin optimized", "xnnpack": "XNNPACK", "tflm": "TFLM", "edgetpu": "Edge TPU"}
RELU6 = 6.0
LISTED = 3  # things named one by one before they are only counted
# Words in the `fix` texts of findings that a command repairs: the command, its options, and what it does.
_REPAIRS = (
    ("fix-quantization", "fix-quantization", "", "repairs what follows from the file"),
    ("requantize-weights stores", "requantize-weights", "--to int8", "stores the weights in a form that the operators take"),
    ("requantize-weights --to float32", "requantize-weights", "--to float32", "makes a float model of it"),
    ("copy", "copy", "--rebuild -o OUT", "aligns the data"),
)
_STATS_TYPES = frozenset({"UINT8", "INT8", "INT16"})


@dataclass(frozen=True)
class Placeholder:
    """The range that activations claim without a measurement, and how many of all activations claim it."""

    scale: float
    zero_point: int
    min: float
    max: float
    count: int
    total: int

    @property
    def bounds(self) -> str:
        """`[-100.392, 99.608]`."""
        return bounds_text(self.min, self.max)


def joined(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


# ---- the sentence ----


def sentence(facts: Facts, placeholder: Placeholder | None) -> str:
    """The verdict in one sentence, the scheme first."""
    verdict = facts["verdict"]
    scheme, io = verdict["scheme"], io_text(verdict)
    activations = "" if verdict["activation"] == "none" else f", activations are {verdict['activation']}"
    texts = {
        FLOAT32: f"float32: nothing that computes is quantized; {io}",
        FLOAT16_WEIGHTS: f"float16-weights: {weights_text(verdict)}, computed in float32; {io}",
        WEIGHT_ONLY: f"weight-only: {weights_text(verdict)}, dequantized before they are used, float32 arithmetic; {io}",
        DYNAMIC_RANGE: f"dynamic-range: {weights_text(verdict)}, float32 activations; {_stays(verdict)}",
        COMPILED: f"compiled: {_compiled(facts)}; {io}",
        NO_WEIGHTS: f"no-weights: no operator computes with stored weights{activations}; {io}",
    }
    if scheme == FULL_INTEGER:
        return _full_integer(facts, placeholder)
    if scheme == MIXED:
        counts = {row["mode"]: row["operators"] for row in facts["coverage"]}
        names = {INTEGER: "on integers", HYBRID: "on floats with integer weights", FLOAT: "in float", FLOAT16: "in float with FLOAT16 weights"}
        parts = [f"{plural(counts[m], 'operator')} {'computes' if counts[m] == 1 else 'compute'} {n}" for m, n in names.items() if counts.get(m)]
        return f"mixed: {joined(parts)}; {io}" + _placeholder_text(placeholder)
    return texts[scheme]


def weights_text(verdict: Facts) -> str:
    """`INT8 weights (per-channel)`, the integers first."""
    names = sorted(verdict["weights"], key=lambda name: name.startswith("FLOAT"))
    if not names:
        return "no weights"
    return f"{joined(names)} weights" + (f" ({joined(verdict['granularity'])})" if verdict["granularity"] else "")


def io_text(verdict: Facts) -> str:
    """`input and output are FLOAT32`, or each by itself where they differ."""
    ends = {side: verdict[f"{side}s"] for side in ("input", "output")}
    words = {side: side if len(types) == 1 else f"{side}s" for side, types in ends.items()}
    kinds = {side: joined(list(dict.fromkeys(types))) for side, types in ends.items()}
    if not all(ends.values()):
        return ", ".join(f"{words[s]} {'is' if len(ends[s]) == 1 else 'are'} {kinds[s]}" if ends[s] else f"no {s}s" for s in ends)
    if kinds["input"] == kinds["output"] and len(set(ends["input"])) == 1:
        return f"{words['input']} and {words['output']} are {kinds['input']}"
    return ", ".join(f"{words[s]} {'is' if len(ends[s]) == 1 else 'are'} {kinds[s]}" for s in ends)


def _stays(verdict: Facts) -> str:
    """Why a dynamic-range model has the input and output types that it has."""
    if set(verdict["inputs"]) == set(verdict["outputs"]) == {"FLOAT32"}:
        words = joined([side if len(verdict[f"{side}s"]) == 1 else f"{side}s" for side in ("input", "output")])
        return f"{words} stay FLOAT32 because the operators quantize activations on the fly"
    return f"{io_text(verdict)}; the operators quantize activations on the fly"


def _compiled(facts: Facts) -> str:
    return f"{plural(_count(facts, OPAQUE), 'operator')} compiled for an accelerator, of which the file does not say what it computes"


def _full_integer(facts: Facts, placeholder: Placeholder | None) -> str:
    verdict = facts["verdict"]
    head = f"full-integer {verdict['activation']}"
    if placeholder is not None:
        return f"{head} with placeholder ranges{_claims_text(facts)}{_placeholder_text(placeholder)}"
    if verdict["float_io"]:
        converted = ", converted at the boundary" if _count(facts, BOUNDARY) else ""
        return f"{head} with float input or output: {weights_text(verdict)}; {io_text(verdict)}{converted}"
    return f"{head}: {weights_text(verdict)}; {io_text(verdict)}"


def _claims_text(facts: Facts) -> str:
    claims = [bounds_text(end["min"], end["max"]) for end in facts["interface"] if end["side"] == "input" and end["scale"] is not None]
    if not claims:
        return f"; {io_text(facts['verdict'])}"
    return f"; the {'input claims' if len(claims) == 1 else 'inputs claim'} real values {joined(claims[:LISTED])}"


def _placeholder_text(placeholder: Placeholder | None) -> str:
    if placeholder is None:
        return ""
    return f"; {placeholder.count} of {placeholder.total} activations claim {placeholder.bounds}, apparently never measured"


def _count(facts: Facts, *modes: str) -> int:
    return sum(row["operators"] for row in facts["coverage"] if row["mode"] in modes)


# ---- why ----


def why_texts(facts: Facts, placeholder: Placeholder | None) -> list[str]:
    """The reasons for the verdict, in plain words, with the exact numbers."""
    scheme = facts["verdict"]["scheme"]
    found: list[str] = []
    if scheme == DYNAMIC_RANGE:
        found = _why_dynamic_range(facts)
    elif scheme in (WEIGHT_ONLY, FLOAT16_WEIGHTS):
        found = [*_why_small(facts), "The weights are expanded to FLOAT32 before every use, so the arithmetic and what callers exchange stay float."]
    elif scheme == FLOAT32:
        found = ["No operator takes integer codes, and its weights are stored as floats. Integer constants such as shapes and axes quantize nothing."]
    elif scheme == FULL_INTEGER:
        found = _why_full_integer(facts)
    elif scheme == MIXED:
        found = _why_mixed(facts)
    elif scheme == COMPILED:
        found = ["The arithmetic happens in code for one accelerator, which is kept in the file as opaque bytes."]
    if scheme != COMPILED and _count(facts, OPAQUE):
        besides = " besides" if found else ""
        found.append(f"{plural(_count(facts, OPAQUE), 'custom operator')}{besides}: what custom operators compute is not in the file.")
    found += _why_interface(facts)
    if placeholder is not None:
        found.append(_why_placeholder(placeholder))
    return found


def _why_small(facts: Facts) -> list[str]:
    """How much smaller quantized weights are, and in which type they are stored."""
    sizes = facts["verdict"]["weight_bytes"]
    if len(sizes) != 1:
        return [f"The weights are {joined([f'{size} bytes of {name}' for name, size in sizes.items()])}."] if sizes else []
    ((name, size),) = sizes.items()
    scales = {"per-channel": ", one scale per output channel", "per-tensor": ", one scale per tensor", "blockwise": ", one scale per block"}
    per = scales.get(facts["verdict"]["granularity"][0], "") if len(facts["verdict"]["granularity"]) == 1 else ""
    times = f"{32 / BITS[TensorType[name]]:g} times as much"
    return [f"The weights are stored as {name}{per}: {size} bytes, where FLOAT32 would take {times}. That is what makes the file small."]


def _why_dynamic_range(facts: Facts) -> list[str]:
    hybrid = _count(facts, HYBRID)
    found = _why_small(facts)
    found.append(
        f"Between the operators there are FLOAT32 tensors. The {plural(hybrid, 'hybrid operator')} take{'s' if hybrid == 1 else ''} them as "
        "they are: at run time, to multiply, each finds the range of its input, makes integers of it, multiplies those with the integer weights, "
        "and scales the result back to FLOAT32."
    )
    if "FLOAT32" in (*facts["verdict"]["inputs"], *facts["verdict"]["outputs"]):
        found.append(
            "So there is nothing to convert at input and output, and an interpreter reports their quantization as (0.0, 0): no scale and no zero "
            "point. That pair alone does not mean that a model is float."
        )
    return found + _why_float(facts)


def _why_float(facts: Facts) -> list[str]:
    found = [f"{row['operator']} ({row['count']}): {row['reason']}" for row in facts["float_operators"]]
    if not found:
        return []
    shown = "; ".join(found[:LISTED]) + (f"; {plural(len(found) - LISTED, 'other kind')}" if len(found) > LISTED else "")
    return [f"Computed in float all the same: {shown}."]


def _why_full_integer(facts: Facts) -> list[str]:
    verdict, count = facts["verdict"], _count(facts, INTEGER)
    text = (
        f"{'The one operator that computes does' if count == 1 else f'All {count} operators that compute do'} so on {verdict['activation']} codes. "
        "Every tensor says what its codes mean: real = scale * (code - zero point)."
    )
    if verdict["float_io"]:
        text += f" Callers exchange float values{', which QUANTIZE and DEQUANTIZE at the boundary convert' if _count(facts, BOUNDARY) else ''}."
    return [text]


def _why_mixed(facts: Facts) -> list[str]:
    islands = len(facts["islands"])
    text = "Integer and float arithmetic meet in one graph"
    if islands:
        text += f": {plural(islands, 'group')} of connected operators {'computes' if islands == 1 else 'compute'} in float"
    return [f"{text}. Each crossing costs a conversion, and accelerators for integers stop there.", *_why_float(facts)]


def _why_interface(facts: Facts) -> list[str]:
    """What the codes of quantized inputs and outputs claim, those with equal parameters together."""
    groups: dict[tuple[object, ...], list[Facts]] = {}
    for end in facts["interface"]:
        if end["scale"] is not None:
            groups.setdefault((end["side"], end["type"], end["scale"], end["zero_point"]), []).append(end)
    found = [_why_ends(ends) for ends in groups.values()]
    shown = found[: 2 * LISTED]
    return shown + ([f"{len(found) - len(shown)} more kinds of quantized inputs and outputs."] if len(found) > len(shown) else [])


def _why_ends(ends: list[Facts]) -> str:
    end, several = ends[0], len(ends) > 1
    names = [f"'{e['name']}'" for e in ends if e["name"]]
    listed = joined(names) if len(names) <= LISTED else f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"
    head = f"The {end['side']}{'s' if several else ''} {listed}".rstrip()
    text = f"{head} {'have' if several else 'has'} scale {digits(end['scale'])} and zero point {end['zero_point']}: "
    text += f"{'their' if several else 'its'} codes claim real values {bounds_text(end['min'], end['max'])}"
    if end["side"] == "output":
        return f"{text}."
    text += f", the same as (mean, std) = ({digits(end['mean'])}, {_round(end['std'])})"
    usual = end["preprocessing"]
    return f"{text}. That is the usual '{usual['name']}': {usual['formula']}." if usual is not None else f"{text}."


def _round(std: float) -> str:
    """A std without the digits that come from rounding the scale to float32."""
    return digits(round(std)) if abs(std - round(std)) < 1e-6 * std and std >= 1 else f"{std:.7g}"


def _why_placeholder(placeholder: Placeholder) -> str:
    steps = RELU6 / placeholder.scale
    text = (
        f"{placeholder.count} of the {placeholder.total} activations have scale {digits(placeholder.scale)} and zero point {placeholder.zero_point}, "
        f"the range {placeholder.bounds}, although no operator asks for it. Measured ranges differ from layer to layer: one for all is the mark of a "
        "default that was typed in, as with default_ranges_stats."
    )
    if steps < 128:
        text += f" A ReLU6 (0 to 6) spans only {steps:.2f} of its 255 steps, so nearly everything is rounded away: that is why the output is garbage."
    return text


# ---- what to do next ----


def next_texts(facts: Facts, placeholder: Placeholder | None, subgraphs: int) -> list[str]:
    """What to do about it, the most pressing first."""
    scheme = facts["verdict"]["scheme"]
    found = []
    if facts["required"] is not None and not facts["required"]["met"]:
        found.append(f"It is not what was required ({facts['required']['text']}): {'; '.join(facts['required']['differences'])}.")
    if placeholder is not None:
        found += _next_placeholder(facts)
    found += _next_findings(facts)
    found += {
        DYNAMIC_RANGE: [
            "Feed it the float values that the original model takes, and read floats.",
            "For integer input and output the ranges of the activations are needed, and this file does not have them: convert again with a "
            "representative dataset, as full-integer quantization.",
            f"`{_command(facts, 'observe', '--data SAMPLES')}` measures ranges on your samples.",
        ],
        WEIGHT_ONLY: ["For integer arithmetic, convert again with a representative dataset: the ranges of the activations are not in this file."],
        FLOAT16_WEIGHTS: ["For integer arithmetic, convert again with a representative dataset: the ranges of the activations are not in this file."],
        FLOAT32: [
            f"The weights alone need no data: `{_command(facts, 'requantize-weights', '--to int8')}` makes a dynamic-range model of it.",
            "Integer activations need a representative dataset: convert again.",
        ],
        COMPILED: ["Audit the model that it was compiled from."],
        MIXED: ["Look at what enters and leaves the operators in float, and convert again with kernels, or operators, that have an integer form."],
    }.get(scheme, [])
    return found + _next_interface(facts, subgraphs)


def _command(facts: Facts, name: str, options: str = "") -> str:
    """The command line for this model, as a shell takes it."""
    return " ".join(filter(None, ["tflitekit", name, quote(facts["file"]["path"] or "MODEL"), options]))


def _next_placeholder(facts: Facts) -> list[str]:
    return [
        "Nothing in this file can repair the ranges, since the real ones are not in it: convert again with a representative dataset instead of "
        "default ranges, or train with quantization in the loop. `tflitekit observe FLOAT_MODEL --data SAMPLES` measures them in the original, "
        f"and `{_command(facts, 'set-quantization', '--keep real --tensor NAME --scale S --zero-point Z')}` states one.",
        "Without samples, quantize the weights only: `tflitekit requantize-weights FLOAT_MODEL --to int8` (dynamic-range). Activations then stay "
        "float and need no ranges.",
    ]


def _next_findings(facts: Facts) -> list[str]:
    """What is wrong, and the command that repairs it, where there is one."""
    found = []
    codes = list(dict.fromkeys(f["code"] for f in facts["findings"] if f["severity"] == "error"))
    if codes:
        where = f" for {RUNTIMES[facts['runtime']]}" if facts["runtime"] else " for at least one runtime"
        found = [f"Repair what is wrong{where}: {joined(codes)}. `tflitekit explain {codes[0]}` says why it matters and what repairs it."]
    told = list(dict.fromkeys(f["code"] for f in facts["findings"] if f["severity"] != "info"))
    for words, command, options, effect in _REPAIRS:
        if fitting := [code for code in told if words in CODES[code].fix]:
            found.append(f"`{_command(facts, command, options)}` {effect} ({joined(fitting)}).")
    return found


def _next_interface(facts: Facts, subgraphs: int) -> list[str]:
    """Other types at the boundary, and how to check the claim of the first quantized input."""
    found = _next_types(facts["verdict"], facts)
    ends = [e for e in facts["interface"] if e["side"] == "input" and e["scale"] is not None]
    end = ends[0] if ends else None
    if end is None:
        return [*found, f"`{_command(facts, 'io')}` prints code that converts for every input and output."] if facts["verdict"]["float_io"] else found
    bounds, dtype = bounds_text(end["min"], end["max"]), end["type"].lower()
    text = f"Check that the model was trained on input values in {bounds}."
    if end["type"] not in _STATS_TYPES or facts["verdict"]["scheme"] == COMPILED:
        return [*found, text]
    options = f"--mode reinterpret --mean {0 if end['type'] == 'INT16' else 'M'} --std S"  # the codes of INT16 are symmetric
    if subgraphs > 1 or sum(e["type"] in _STATS_TYPES for e in ends) > 1:
        options = f"--input 0:{end['position']} {options}"
    text += f" If it was trained on others, `{_command(facts, 'set-input-stats', options)}` states them."
    if end["min"] > -0.9:
        text += f" For [-1, 1], `tflitekit stats --min -1 --max 1 --dtype {dtype}` gives the parameters that the input would need."
    known = f"--scale {digits(end['scale'])} --zero-point {end['zero_point']} --dtype {dtype}"
    more = f"`tflitekit stats {known} --explain` tells how these numbers relate to (mean, std), and which formulas in circulation are wrong."
    return [*found, text, more]


def _next_types(verdict: Facts, facts: Facts) -> list[str]:
    """The commands for other types of inputs and outputs, for a model that computes on 8-bit codes."""
    if verdict["scheme"] != FULL_INTEGER or verdict["activation"] not in ("INT8", "UINT8"):
        return []
    own = verdict["activation"].lower()
    if verdict["float_io"]:
        sides = dict.fromkeys(end["side"] for end in facts["interface"] if end["converted"])
        options = " ".join(f"--{side}s {own}" for side in sides)
        return [f"For codes instead of floats at the boundary: `{_command(facts, 'set-io-dtype', options)}`."] if sides else []
    if own == "int8" and set(verdict["inputs"]) == {"INT8"}:
        return [f"A caller that has UINT8 codes: `{_command(facts, 'set-io-dtype', '--inputs uint8')}`."]
    if own == "uint8":
        return [f"A runtime that wants INT8 throughout: `{_command(facts, 'convert-activations', '--to int8')}`."]
    return []
