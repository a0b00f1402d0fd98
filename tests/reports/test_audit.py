"""The words of the audit: the founding question word by word, every scheme's sentence, facts, folding, several models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tflitekit as tk
from tests.audit.test_scheme import mixed_model
from tests.conftest import REPOSITORY
from tflitekit.audit import CODES, SCHEMES, Audit, Finding, classify
from tflitekit.audit.execution import MODES
from tflitekit.build import ModelBuilder, TensorSpec, quantize
from tflitekit.quant.rules.model import Runtime
from tflitekit.reports.audit import audit_report, finding_groups, reactions_text, shape_of
from tflitekit.reports.audit_many import audits_facts, audits_report
from tflitekit.reports.audit_words import MODE_TEXTS, RUNTIMES, io_text, joined
from tflitekit.reports.facts_audit import audit_facts
from tflitekit.reports.requirement import parse_requirement
from tflitekit.reports.to_json import to_json
from tflitekit.reports.to_markdown import to_markdown

from .audits import FINE, INT8, REFUSES, dense, example, facts_of, finding, text
from .models import nasty, small

KEYS = {
    "file", "verdict", "why", "interface", "coverage", "other_constants", "islands", "float_operators", "weights", "runtime", "counts", "findings",
    "required", "next",
}  # fmt: skip


# ---- the founding question ----


def test_why_is_the_input_float32_although_the_file_is_4_times_smaller() -> None:
    facts = example("classifier_dynamic_range.tflite")
    verdict = facts["verdict"]
    assert (verdict["scheme"], verdict["inputs"], verdict["outputs"]) == ("dynamic-range", ["FLOAT32"], ["FLOAT32"])
    assert verdict["sentence"] == (
        "dynamic-range: INT8 weights (per-channel), float32 activations; input and output stay FLOAT32 because the operators quantize "
        "activations on the fly"
    )
    assert facts["why"] == [
        "The weights are stored as INT8, one scale per output channel: 35152 bytes, where FLOAT32 would take 4 times as much. That is what makes "
        "the file small.",
        "Between the operators there are FLOAT32 tensors. The 10 hybrid operators take them as they are: at run time, to multiply, each finds the "
        "range of its input, makes integers of it, multiplies those with the integer weights, and scales the result back to FLOAT32.",
        "So there is nothing to convert at input and output, and an interpreter reports their quantization as (0.0, 0): no scale and no zero "
        "point. That pair alone does not mean that a model is float.",
        "Computed in float all the same: MEAN (1): no tensor of it is quantized.",
    ]
    assert facts["next"] == [
        "Feed it the float values that the original model takes, and read floats.",
        "For integer input and output the ranges of the activations are needed, and this file does not have them: convert again with a "
        "representative dataset, as full-integer quantization.",
        f"`tflitekit observe {facts['file']['path']} --data SAMPLES` measures ranges on your samples.",
    ]


def test_why_is_the_uint8_model_garbage() -> None:
    facts = example("classifier_uint8_placeholder.tflite")
    verdict, path = facts["verdict"], facts["file"]["path"]
    assert (verdict["scheme"], verdict["activation"], verdict["placeholder_ranges"]) == ("full-integer", "UINT8", True)
    assert verdict["sentence"] == (
        "full-integer UINT8 with placeholder ranges; the input claims real values [0, 1]; 11 of 12 activations claim [-100.392, 99.608], "
        "apparently never measured"
    )
    assert facts["why"] == [
        "All 11 operators that compute do so on UINT8 codes. Every tensor says what its codes mean: real = scale * (code - zero point).",
        "The input 'input_1_1' has scale 0.003921568859368563 and zero point 0: its codes claim real values [0, 1], the same as (mean, std) = "
        "(0, 255). That is the usual 'image scaled to [0, 1]': pixel / 255.",
        "The output 'global_average_pooling2d_1_1/Mean' has scale 0.7843137383460999 and zero point 128: its codes claim real values "
        "[-100.392, 99.608].",
        "11 of the 12 activations have scale 0.7843137383460999 and zero point 128, the range [-100.392, 99.608], although no operator asks for "
        "it. Measured ranges differ from layer to layer: one for all is the mark of a default that was typed in, as with default_ranges_stats. "
        "A ReLU6 (0 to 6) spans only 7.65 of its 255 steps, so nearly everything is rounded away: that is why the output is garbage.",
    ]
    assert facts["next"] == [
        "Nothing in this file can repair the ranges, since the real ones are not in it: convert again with a representative dataset instead of "
        "default ranges, or train with quantization in the loop. `tflitekit observe FLOAT_MODEL --data SAMPLES` measures them in the original, "
        f"and `tflitekit set-quantization {path} --keep real --tensor NAME --scale S --zero-point Z` states one.",
        "Without samples, quantize the weights only: `tflitekit requantize-weights FLOAT_MODEL --to int8` (dynamic-range). Activations then stay "
        "float and need no ranges.",
        f"A runtime that wants INT8 throughout: `tflitekit convert-activations {path} --to int8`.",
        f"Check that the model was trained on input values in [0, 1]. If it was trained on others, `tflitekit set-input-stats {path} --mode "
        "reinterpret --mean M --std S` states them. For [-1, 1], `tflitekit stats --min -1 --max 1 --dtype uint8` gives the parameters that the "
        "input would need.",
        "`tflitekit stats --scale 0.003921568859368563 --zero-point 0 --dtype uint8 --explain` tells how these numbers relate to (mean, std), and "
        "which formulas in circulation are wrong.",
    ]
    image, result = facts["interface"]
    assert (image["scale"], image["zero_point"], image["mean"]) == (0.003921568859368563, 0, 0.0)
    assert (result["scale"], result["zero_point"], result["min"]) == (0.7843137383460999, 128, -100.39215850830078)


def recommended(facts: Any) -> list[list[str]]:
    """The command lines in what to do next, as arguments."""
    return [shlex.split(command) for text in facts["next"] for command in text.split("`")[1::2] if command.startswith("tflitekit ")]


def test_the_commands_that_are_recommended_exist() -> None:
    from tflitekit.cli.main import build_parser

    parser = build_parser(every=True)
    models = [example(f"classifier_{name}.tflite") for name in ("dynamic_range", "uint8_placeholder")]
    commands = [command[1:] for facts in models for command in recommended(facts)]
    rewriting = {"requantize-weights", "convert-activations", "set-input-stats", "set-quantization"}
    assert {command[0] for command in commands} == {"observe", "stats", *rewriting}
    for command in commands:
        parser.parse_args([word if word not in ("M", "S", "Z") else "1" for word in command])


def test_recommended_commands_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tflitekit.cli.main import main

    path = tmp_path / "it's a model.tflite"
    shutil.copy(REPOSITORY / "examples" / "models" / "classifier_uint8_placeholder.tflite", path)
    facts = facts_of(tk.read(path))
    done = [command[1] for command in recommended(facts) if command[2] != "FLOAT_MODEL" and not {"M", "S"} & {*command} and main(command[1:]) == 0]
    assert done == ["convert-activations", "stats", "stats"]
    assert "0.003921568859368563" in capsys.readouterr().out


# ---- every scheme ----


def behind_dequantize() -> tk.Model:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "FLOAT32")
    w = main.constant("w", np.ones((3, 4), np.int8), quantization=quantize(0.1))
    f = main.apply("DEQUANTIZE", [w], TensorSpec("f", [3, 4], "FLOAT32"))
    main.output(main.apply("FULLY_CONNECTED", [x, f, None], TensorSpec("y", [1, 3], "FLOAT32")))
    return builder.build()


def halves() -> tk.Model:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "FLOAT32")
    w = main.constant("w", np.ones((3, 4), np.float16))
    f = main.apply("DEQUANTIZE", [w], TensorSpec("f", [3, 4], "FLOAT32"))
    main.output(main.apply("FULLY_CONNECTED", [x, f, None], TensorSpec("y", [1, 3], "FLOAT32")))
    return builder.build()


def compiled() -> tk.Model:
    model = tk.Model(version=3)
    code = tk.OperatorCode(builtin_code=32, custom_code="edgetpu-custom-op")
    model.operator_codes = [code]
    model.subgraphs = [tk.SubGraph(operators=[tk.Operator(opcode=code)])]
    return model


SENTENCES: dict[str, tuple[Callable[[], tk.Model], str]] = {
    "float32": (
        lambda: dense(np.ones((3, 4), np.float32)),
        "float32: nothing that computes is quantized; input and output are FLOAT32",
    ),
    "float16-weights": (halves, "float16-weights: FLOAT16 weights, computed in float32; input and output are FLOAT32"),
    "weight-only": (
        behind_dequantize,
        "weight-only: INT8 weights (per-tensor), dequantized before they are used, float32 arithmetic; input and output are FLOAT32",
    ),
    "dynamic-range": (
        lambda: dense(INT8, quantization=quantize(0.1)),
        "dynamic-range: INT8 weights (per-tensor), float32 activations; input and output stay FLOAT32 because the operators quantize "
        "activations on the fly",
    ),
    "full-integer": (
        lambda: dense(INT8, "INT8", quantization=quantize(0.1)),
        "full-integer INT8: INT8 weights (per-tensor); input and output are INT8",
    ),
    "mixed": (
        mixed_model,
        "mixed: 2 operators compute on integers and 1 operator computes in float; input and output are INT8",
    ),
    "compiled": (
        compiled,
        "compiled: 1 operator compiled for an accelerator, of which the file does not say what it computes; no inputs, no outputs",
    ),
    "no-weights": (
        lambda: tk.Model(version=3),
        "no-weights: no operator computes with stored weights; no inputs, no outputs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_has_a_sentence_and_a_report(scheme: str) -> None:
    make, sentence = SENTENCES[scheme]
    facts = facts_of(make())
    assert facts["verdict"]["sentence"] == sentence
    assert text(audit_report(facts)).startswith(f"(no file): {sentence}\n")
    json.loads(to_json(facts))


def test_float_inputs_and_outputs_of_an_integer_model_are_told() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    x = main.input("x", [1, 4], "FLOAT32")
    q = quantize(0.5, 0)
    a = main.apply("QUANTIZE", [x], TensorSpec("a", [1, 4], "INT8", q))
    b = main.apply("ADD", [a, a], TensorSpec("b", [1, 4], "INT8", q))
    main.output(main.apply("DEQUANTIZE", [b], TensorSpec("y", [1, 4], "FLOAT32")))
    facts = facts_of(builder.build())
    assert facts["verdict"]["float_io"]
    assert facts["verdict"]["sentence"] == (
        "full-integer INT8 with float input or output: no weights; input and output are FLOAT32, converted at the boundary"
    )
    assert facts["why"][0].endswith("Callers exchange float values, which QUANTIZE and DEQUANTIZE at the boundary convert.")


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (["INT8"], ["INT8"], "input and output are INT8"),
        (["INT8", "INT8"], ["INT8"], "inputs and output are INT8"),
        (["INT8"], ["FLOAT32"], "input is INT8, output is FLOAT32"),
        (["FLOAT32", "BOOL", "FLOAT32"], ["FLOAT32"], "inputs are FLOAT32 and BOOL, output is FLOAT32"),
        (["FLOAT32", "BOOL"], ["FLOAT32", "BOOL"], "inputs are FLOAT32 and BOOL, outputs are FLOAT32 and BOOL"),
        ([], ["INT8"], "no inputs, output is INT8"),
        ([], [], "no inputs, no outputs"),
    ],
)
def test_io_text(inputs: list[str], outputs: list[str], expected: str) -> None:
    assert io_text({"inputs": inputs, "outputs": outputs}) == expected


def test_joined() -> None:
    assert [joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


# ---- facts ----


def test_percentages_are_of_the_whole_model() -> None:
    facts = example("classifier_dynamic_range.tflite")
    assert set(facts) == KEYS
    rows = {row["mode"]: row for row in facts["coverage"]}
    assert rows["hybrid"]["percent"] == {"operators": pytest.approx(1000 / 11), "weight_bytes": 100.0, "macs": 100.0}
    assert rows["float"]["percent"] == {"operators": pytest.approx(100 / 11), "weight_bytes": 0.0, "macs": 0.0}
    assert facts["verdict"]["weight_bytes"] == {"INT8": 35152}
    nothing = facts_of(mixed_model())
    assert {row["percent"]["macs"] for row in nothing["coverage"]} == {None}
    assert set(MODE_TEXTS) == set(MODES)


def test_tables_that_no_weight_bytes_count_are_told() -> None:
    builder = ModelBuilder()
    main = builder.subgraph("main")
    words = main.input("words", [1, 4], "INT32")
    table = main.constant("table", np.ones((100, 8), np.float32))
    found = main.apply("GATHER", [table, words], TensorSpec("found", [1, 4, 8], "FLOAT32"), axis=0)
    weights = main.constant("w", np.ones((2, 8), np.float32))
    main.output(main.apply("FULLY_CONNECTED", [found, weights, None], TensorSpec("y", [4, 2], "FLOAT32")))
    facts = facts_of(builder.build())
    assert sum(row["weight_bytes"] for row in facts["coverage"]) == 64
    path = "subgraphs[0].tensors[1]"
    assert facts["other_constants"] == {
        "bytes": 3200, "largest": {"path": path, "name": "table", "type": "FLOAT32", "bytes": 3200, "operators": ["GATHER"]},
    }  # fmt: skip
    said = "Weight bytes leave out 3200 bytes of other constants; the largest is 'table', 3200 bytes of FLOAT32 that GATHER reads.\n"
    assert said in text(audit_report(facts))
    few, part = (json.loads(json.dumps(facts)) for _ in range(2))
    few["other_constants"]["bytes"], part["coverage"][0]["weight_bytes"] = 1023, 100_000
    assert not any("leave out" in text(audit_report(other)) for other in (few, part))
    assert facts_of(mixed_model())["other_constants"]["bytes"] == 4


def test_islands_name_what_crosses() -> None:
    (island,) = facts_of(mixed_model())["islands"]
    assert [operator["name"] for operator in island["operators"]] == ["TANH"]
    assert island["enters"] == [
        {"path": "subgraphs[0].tensors[2]", "name": "f", "type": "FLOAT32", "operator": "DEQUANTIZE", "operator_path": "subgraphs[0].operators[1]"}
    ]
    assert [(c["name"], c["operator"]) for c in island["leaves"]] == [("t", "QUANTIZE")]


def test_what_stayed_float_is_counted_by_operator_and_reason() -> None:
    assert example("classifier_dynamic_range.tflite")["float_operators"] == [
        {"operator": "MEAN", "reason": "no tensor of it is quantized", "count": 1, "paths": ["subgraphs[0].operators[10]"]}
    ]
    assert facts_of(dense(np.ones((3, 4), np.float32)))["float_operators"] == []


def test_a_finding_is_exact_and_complete() -> None:
    model = mixed_model()
    found = facts_of(model, finding(reactions={Runtime.XNNPACK: REFUSES, Runtime.REFERENCE: FINE}))["findings"][0]
    assert found["expected"] == 0.10000000149011612
    assert found["reactions"]["xnnpack"] == {"behaviour": "refuses", "meaning": "stops with an error", "text": "no [such] kernel"}
    assert (found["title"], found["fix"]) == (CODES["Q301"].title, CODES["Q301"].fix)
    assert facts_of(model, Finding("Q101", "error", "", "", "m", found=float("nan")))["findings"][0]["found"] == "NaN"


def test_severities_follow_the_runtime() -> None:
    given = [finding(0, severity="warning"), finding(1, reactions={Runtime.XNNPACK: REFUSES, Runtime.REFERENCE: FINE})]
    worst, xnnpack, reference = (facts_of(mixed_model(), *given, runtime=r) for r in (None, Runtime.XNNPACK, Runtime.REFERENCE))
    assert worst["counts"] == xnnpack["counts"] == {"error": 1, "warning": 1, "info": 0}
    assert reference["counts"] == {"error": 0, "warning": 2, "info": 0}
    assert (worst["runtime"], reference["runtime"]) == (None, "reference")
    assert [f["severity"] for f in worst["findings"]] == ["error", "warning"]
    assert "Repair what is wrong for XNNPACK: Q301." in xnnpack["next"][0]
    assert "XNNPACK  refuses (no [such] kernel)" in text(audit_report(xnnpack))
    assert set(RUNTIMES) == {runtime.name.lower() for runtime in Runtime}


# ---- the report ----


def test_the_coverage_and_islands_of_a_mixed_model() -> None:
    shown = text(audit_report(facts_of(mixed_model()), "="), 80)
    assert """\
coverage
share of   mode
operators  integer   ==========  40.0%  2
           boundary  ==========  40.0%  2
           float     =====       20.0%  1
""" in shown
    assert """\
float islands
#  operators                              enters               leaves
0  TANH, first subgraphs[0].operators[2]  'f' from DEQUANTIZE  't' to QUANTIZE
""" in shown


def test_equal_findings_are_told_once() -> None:
    many = [finding(i) for i in range(5)] + [finding(7, "the bias is INT8"), finding(8, severity="warning")]
    facts = facts_of(mixed_model(), *many)
    assert [len(group) for group in finding_groups(facts["findings"])] == [5, 1, 1]
    shown = text(audit_report(facts))
    assert "\ntotal  6 errors, 1 warning\n" in shown
    assert f"\nQ301 (5 times)\nerror  {CODES['Q301'].title}\nfound  the scale is 0.01 (CONV_2D 0)\nwhere  subgraphs[0].tensors[0] 't0', " in shown
    assert "subgraphs[0].tensors[0] 't0', subgraphs[0].tensors[1] 't1', subgraphs[0].tensors[2] 't2' and 2 more\n" in shown
    reaction = {Runtime.TFLM: REFUSES}
    facts = facts_of(mixed_model(), finding(0), finding(1, reactions=reaction))
    assert len(finding_groups(facts["findings"])) == 2


def test_shapes_of_messages() -> None:
    a, b, c = "scale -1.5e-07 (CONV_2D 12)", "scale 0.25 (DEPTHWISE_CONV_2D 3)", "scale 0.25 of INT8 (ADD 3)"
    assert shape_of({"message": a}) == shape_of({"message": b}) == "scale # (#)"
    assert shape_of({"message": c}) == "scale # of INT8 (#)"
    old, dense = ("CONV_2D version 1, its types need 5", "FULLY_CONNECTED version 1, its types need 12")
    assert shape_of({"message": old}) == shape_of({"message": dense}) == "#, its types need #"


def test_reactions_alike_are_told_together() -> None:
    facts = facts_of(mixed_model(), finding(reactions={Runtime.REFERENCE: REFUSES, Runtime.OPTIMIZED: REFUSES, Runtime.XNNPACK: FINE}))
    reactions = facts["findings"][0]["reactions"]
    assert reactions_text(reactions) == (
        "builtin reference and builtin optimized: refuses (no [such] kernel); XNNPACK: computes the right values"
    )
    assert (reactions_text(reactions, "xnnpack"), reactions_text(reactions, "tflm")) == ("computes the right values", "")


def test_many_islands_and_operators_are_shortened() -> None:
    facts = facts_of(mixed_model())
    facts["islands"] = facts["islands"] * 20
    shown = text(audit_report(facts))
    assert "12 more islands; --json lists all of them." in shown
    assert shown.count("'f' from DEQUANTIZE") == 8


@pytest.mark.parametrize("width", [40, 80, 140, None])
@pytest.mark.parametrize("model", [small, nasty, mixed_model])
def test_reports_fit_and_escape(model: Callable[[], tk.Model], width: int | None) -> None:
    facts = facts_of(model())
    for report in (audit_report(facts), audits_report(audits_facts([facts, facts], [{"path": "\x1b[2J", "message": "\u202e no"}]))):
        shown = text(report, width)
        folded = [line for line in shown.splitlines() if "`tflitekit " not in line]  # commands stay whole
        assert width is None or max(map(len, folded)) <= width
        for rendered in (shown, to_markdown(report)):
            assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", rendered)


def test_the_table_of_several_models() -> None:
    required = parse_requirement("full-integer,io=int8")
    model = dense(INT8, "INT8", quantization=quantize(0.1))
    one, other = audit_facts(model, Audit(classify(model), ()), None, required), facts_of(mixed_model(), finding(), required=required)
    shown = text(audits_report(audits_facts([one, other], [{"path": "gone.tflite", "message": "gone.tflite: no such file"}])))
    lines = shown.splitlines()
    assert lines[0] == "3 models, 1 unreadable, 1 not as required; findings: 1 error"
    assert re.match(r"\(no file\) +full-integer +- +- +- +INT8 activations, INT8 per-tensor weights, io INT8$", lines[3])
    assert re.match(r"\(no file\) +mixed +1 +- +- +mixed activations, no weights, io INT8 +not as required: the scheme is mixed, not full", lines[4])
    assert re.match(r"gone.tflite +unreadable +no such file$", lines[5])
    assert re.search(rf"\nQ301 +error +1 +1 +{CODES['Q301'].title}\n", shown)
