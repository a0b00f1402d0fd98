"""The rule table by itself, and its roles beside real models."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tests.conftest import VALID_PATHS
from tflitekit._schema import BuiltinOperator, TensorType
from tflitekit.graph import Operator, Tensor
from tflitekit.quant.rules import (
    FACTS,
    GENERAL_FACTS,
    LITERT,
    RULES,
    Behaviour,
    Granularity,
    Operand,
    OpRule,
    Role,
    Runtime,
    Sharing,
    Topic,
    operand,
    required_version,
    rule_for,
)
from tflitekit.quant.rules.versions import CONDITIONS

from .single import RECIPES, build

COVERED = [
    "ABS", "ADD", "ARG_MAX", "ARG_MIN", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "BATCH_MATMUL", "BATCH_TO_SPACE_ND",
    "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "BROADCAST_TO", "CAST", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "DYNAMIC_UPDATE_SLICE", "ELU", "EMBEDDING_LOOKUP", "EQUAL", "EXP", "EXPAND_DIMS", "FILL",
    "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LESS",
    "LESS_EQUAL", "LOG", "LOGISTIC", "LOG_SOFTMAX", "LSTM", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "NEG",
    "NOT_EQUAL", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE", "READ_VARIABLE", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6",
    "RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "RNN", "RSQRT", "SCATTER_ND",
    "SELECT", "SELECT_V2", "SHAPE", "SLICE", "SOFTMAX", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT",
    "SQUARED_DIFFERENCE", "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "SVDF", "TANH", "TILE", "TOPK_V2", "TRANSPOSE", "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "UNPACK", "VAR_HANDLE", "WHERE",
]  # fmt: skip

INDEX_TYPES = {TensorType.INT16, TensorType.INT32, TensorType.INT64}
ROLE_TYPES: dict[Role, set[TensorType]] = {
    Role.INDICES: INDEX_TYPES,
    Role.SHAPE: INDEX_TYPES,
    Role.AXIS: INDEX_TYPES,
    Role.SIZES: INDEX_TYPES,
    Role.RESOURCE: {TensorType.RESOURCE},
    Role.FLAGS: {TensorType.BOOL},
    Role.BIAS: {TensorType.FLOAT32, TensorType.INT32, TensorType.INT64},
    Role.STATE: {TensorType.FLOAT32, TensorType.INT8, TensorType.INT16},
    Role.PEEPHOLE: {TensorType.FLOAT32, TensorType.INT16},
    Role.LAYER_NORM: {TensorType.FLOAT32, TensorType.INT16},
}
SOURCE = re.compile(r"LiteRT \S+\.(cc|h)|TFLM \S+\.cc|^measured|^as |tflite-micro#\d+")


def test_every_operator_of_the_reference_is_covered() -> None:
    assert sorted(rule.name for rule in RULES.values()) == sorted(COVERED)
    assert len(COVERED) == 94
    assert set(RECIPES) == set(COVERED)


def test_rule_for() -> None:
    model = tk.parse(build("ADD", "INT8"))
    assert rule_for(model.subgraphs[0].operators[0]) is RULES[BuiltinOperator.ADD]
    assert rule_for(BuiltinOperator.CONV_2D) is RULES[BuiltinOperator.CONV_2D]
    assert rule_for(BuiltinOperator.CUSTOM) is None and rule_for(BuiltinOperator.DENSIFY) is None


def test_every_fact_stands_once_and_has_a_source() -> None:
    assert [name for name, count in Counter(fact.name for fact in FACTS).items() if count > 1] == []
    assert [fact.name for fact in FACTS if not SOURCE.search(fact.source)] == []
    assert [fact.name for fact in FACTS if not fact.reactions or not fact.what] == []
    assert [fact.name for fact in FACTS if fact.operators - set(COVERED)] == []


def test_every_rule_has_a_source() -> None:
    for rule in RULES.values():
        parts: list[Any] = [rule, rule.versions, *rule.biases, *rule.fixed, *rule.same_parameters]
        if rule.weights is not None:
            parts += [rule.weights, *rule.weights.forms]
        assert all(SOURCE.search(part.source) or "measured" in part.source for part in parts), rule.name


def test_facts_do_not_contradict_each_other() -> None:
    """No two facts on the same topic, operand and types say different things of one runtime."""
    for rule in RULES.values():
        seen: dict[object, str] = {}
        for fact in rule.facts:
            if fact.topic in (
                Topic.VALUES,
                Topic.BIAS_SCALE,
                Topic.BIAS_TYPE,
                Topic.BIAS_ABSENT,
                Topic.WEIGHTS_BLOCKS,
                Topic.WEIGHTS_GRANULARITY,
                Topic.CONSTANT_OUTPUT,
            ):
                continue  # each fact there is about another detail
            for runtime in fact.reactions:
                for activation in fact.activation:
                    for word in fact.operand.split() or [""]:
                        for weights in fact.weights or {None}:
                            for granularity in fact.granularity or {None}:
                                key = (fact.topic, runtime, activation, word, weights, granularity, "zero-point" in fact.name)
                                assert key not in seen, f"{rule.name}: {fact.name} and {seen[key]}"
                                seen[key] = fact.name


def test_what_a_rule_demands_has_a_fact_that_says_who_insists() -> None:
    for rule in RULES.values():
        for fixed in rule.fixed:
            assert rule.about(Topic.FIXED_SCALE, fixed.type), f"{rule.name} {fixed.type.name}"
        for group in rule.same_parameters:
            for type_ in group.types:
                if rule.name in ("SUM", "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "NEG", "EMBEDDING_LOOKUP"):
                    continue  # asked by converters, or part of another fact
                facts = rule.about(Topic.SAME_PARAMETERS, type_)
                assert facts, f"{rule.name} {type_.name}"
                reactions = {reaction.behaviour for fact in facts for runtime, reaction in fact.reactions.items() if runtime == Runtime.OPTIMIZED}
                wanted = {Sharing.EXACT: Behaviour.REFUSES, Sharing.COPIED: Behaviour.WRONG, Sharing.RESCALED: Behaviour.FINE}[group.sharing]
                assert wanted in reactions, f"{rule.name} {type_.name}: {group.sharing}"


def test_facts_of_one_operator() -> None:
    rule = RULES[BuiltinOperator.CONV_2D]
    facts = rule.about(Topic.WEIGHTS_ZERO_POINT, TensorType.INT8, TensorType.INT8, Granularity.PER_CHANNEL)
    assert [fact.name for fact in facts] == ["weights-zero-point-conv"]
    assert {facts[0].reactions[runtime].outcome for runtime in LITERT} == {"refuses"}
    assert rule.about(Topic.WEIGHTS_ZERO_POINT, TensorType.UINT8, TensorType.UINT8)[0].reactions[Runtime.OPTIMIZED].behaviour == Behaviour.FINE
    assert rule.weights is not None and rule.weights.types(TensorType.FLOAT32) == (TensorType.INT8, TensorType.INT4)
    assert rule.weights.granularities(TensorType.UINT8, TensorType.UINT8) == (Granularity.PER_TENSOR,)
    assert all(not fact.operators for fact in GENERAL_FACTS) and len(GENERAL_FACTS) >= 15


def test_fixed_parameters_are_exact_float32() -> None:
    import numpy as np

    for rule in RULES.values():
        for fixed in rule.fixed:
            assert float(np.float32(fixed.scale)) == fixed.scale, rule.name


def test_roles_by_count() -> None:
    concatenation, slice_, lstm = (RULES[BuiltinOperator[name]] for name in ("CONCATENATION", "SLICE", "LSTM"))
    assert concatenation.input_roles(5) == (Operand(Role.ACTIVATION, variadic=True),) * 5
    assert concatenation.input_roles(0) is None and slice_.input_roles(2) is None and slice_.input_roles(4) is None
    full, basic = lstm.input_roles(24), lstm.input_roles(5)
    assert full is not None and basic is not None
    assert full[18].role == full[19].role == Role.STATE and full[12].role == Role.BIAS and basic[3].role == Role.BIAS
    rnn = RULES[BuiltinOperator.BIDIRECTIONAL_SEQUENCE_LSTM]
    assert rnn.weights is not None
    layout = rnn.input_roles(48)
    assert layout is not None and all(layout[index].role == Role.WEIGHTS for index in rnn.weights.operands)


@pytest.mark.parametrize("rule", list(RULES.values()), ids=lambda rule: rule.name)
def test_positions_have_the_roles_they_are_used_for(rule: OpRule) -> None:
    if rule.weights is not None:
        assert all(rule.inputs[index].role == Role.WEIGHTS for index in rule.weights.operands)
    for bias in rule.biases:
        assert rule.inputs[bias.operand].role == Role.BIAS
        for factor in bias.factors:
            assert factor.startswith("intermediate") or rule.inputs[int(factor[2:])].role in (Role.ACTIVATION, Role.WEIGHTS, Role.STATE)
    for group in rule.same_parameters:
        for name in group.group:
            layout = rule.inputs if name.startswith("in") else rule.outputs
            assert layout[0 if name.endswith("*") else int(name.lstrip("inout"))].role in (Role.ACTIVATION, Role.WEIGHTS, Role.CONSTANT, Role.STATE)
    versions = rule.versions
    assert versions.lowest <= versions.highest >= versions.reference_highest
    assert len(versions.minimum_runtime) == versions.highest - versions.lowest + 1
    assert versions.runtime_for(versions.highest) == versions.minimum_runtime[-1] and versions.runtime_for(versions.highest + 1) is None
    assert all(name in CONDITIONS for need in versions.needs for name in need.conditions)


# ---- real models ----


def problems(operator: Operator, rule: OpRule) -> list[str]:
    """In what an operator does not fit its rule."""
    inputs, outputs = rule.input_roles(len(operator.inputs)), rule.output_roles(len(operator.outputs))
    if inputs is None or outputs is None:
        return [f"{len(operator.inputs)} inputs, {len(operator.outputs)} outputs"]
    found = []
    for place, layout, tensors in (("in", inputs, operator.inputs), ("out", outputs, operator.outputs)):
        for index, (wanted, tensor) in enumerate(zip(layout, tensors, strict=True)):
            if (reason := misfit(wanted, tensor)) is not None:
                found.append(f"{place}{index} {wanted.role.value}: {reason}")
    return found


def misfit(wanted: Operand, tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None if wanted.optional else "absent"
    if tensor.type not in ROLE_TYPES.get(wanted.role, {tensor.type}):
        return tensor.type.name
    if wanted.role == Role.STATE and tensor.is_constant:
        return "a constant"
    if wanted.role in (Role.INDICES, Role.SHAPE, Role.AXIS, Role.SIZES) and tensor.is_quantized:
        return "quantized"
    return None


# Models whose operators do not have the operands that the table wants, and why.
ODD = {"litert_transpose": "of schema version 2, which no runtime loads; its permutation is FLOAT32"}


def test_roles_fit_real_models(model_path: Path) -> None:
    model = tk.read(model_path)
    wrong = []
    for number, operator in enumerate(model.operators()):
        rule = rule_for(operator)
        if rule is not None:
            wrong += [f"operator {number} {rule.name}: {problem}" for problem in problems(operator, rule)]
    assert bool(wrong) == (model_path.stem in ODD), wrong


def test_misfits_are_seen() -> None:
    operator = tk.parse(build("CONV_2D", "INT8")).subgraphs[0].operators[0]
    rule = RULES[BuiltinOperator.CONV_2D]
    assert problems(operator, rule) == []
    operator.inputs = [*operator.inputs[:2], operator.inputs[0]]
    assert problems(operator, rule) == ["in2 bias: INT8"]
    operator.inputs = [None, *operator.inputs]
    assert problems(operator, rule) == ["4 inputs, 1 outputs"]


@pytest.mark.usefixtures("models")
def test_weights_of_real_models_have_the_quantized_dimension_of_the_table() -> None:
    """Constant per-channel weights of all models, counted by operator."""
    seen: Counter[str] = Counter()
    for path in VALID_PATHS:
        model = tk.read(path)
        for operator in model.operators():
            rule = rule_for(operator)
            weights = rule.weights if rule is not None else None
            tensor = operand(operator, "in1") if weights is not None else None
            if rule is None or weights is None or tensor is None or tensor.quantization is None or len(tensor.quantization.scale) < 2:
                continue
            assert weights.quantized_dimension is not None, rule.name
            assert tensor.quantization.quantized_dimension == weights.quantized_dimension % len(tensor.shape), f"{path.name} {rule.name}"
            seen[rule.name] += 1
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= set(seen)


# Made by converters that stamp versions by the same rules; models of litert-quantizer keep the versions of the float model.
STAMPED = ("mww_alexa", "mww_v2_okay_nabu", "mlct_vww_96_int8", "tfls_deeplabv3", "tflm_trained_lstm_int8", "coral_movenet_single_pose_lightning_ptq")


def test_versions_of_real_models(models: Path) -> None:
    """Of operators in files whose converter stamps versions, the version is the highest that the users of its operator code need."""
    right = total = 0
    for name in STAMPED:
        needed: dict[int, int] = {}
        stored: dict[int, int] = {}
        for operator in tk.read(models / f"{name}.tflite").operators():
            rule = rule_for(operator)
            if rule is None or operator.opcode is None:
                continue
            version = required_version(operator, rule.versions)
            assert rule.versions.lowest <= version
            key = id(operator.opcode)
            needed[key] = max(needed.get(key, 0), version)
            stored[key] = operator.opcode.version
        total += len(needed)
        right += sum(needed[key] == stored[key] for key in needed)
    assert right == total > 50


def test_the_table_is_read_without_numpy() -> None:
    script = "import sys; from tflitekit.quant.rules import RULES; print(len(RULES), 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(tk.__file__).parent.parent)
    assert done.stdout.split() == ["94", "False"]
