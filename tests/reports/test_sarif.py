"""SARIF logs against the official schema: of the examples, of real models, with what cannot be read or is not as required, of hostile names."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tflitekit as tk
from tests.audit.test_scheme import mixed_model
from tests.conftest import REPOSITORY, VALID_PATHS
from tflitekit.cli.main import main
from tflitekit.reports.to_sarif import SCHEMA

from .models import NASTY, small
from .sarif_schema import needs_schema, schema, violations
from .test_sarif_form import check_log

pytestmark = needs_schema
EXAMPLES = sorted((REPOSITORY / "examples" / "models").glob("*.tflite"))


def log_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    main(["audit", *map(str, arguments), "--sarif", "-"])
    return json.loads(capsys.readouterr().out)


def test_the_schema_is_the_one_that_logs_name() -> None:
    assert schema()["id"] == SCHEMA


@pytest.mark.parametrize("options", [(), ("--weights",), ("--runtime", "tflm"), ("--runtime", "edgetpu"), ("--require", "full-integer,io=int8")])
def test_logs_of_the_examples(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    log = log_of(capsys, *EXAMPLES, *options)
    assert violations(log) == [] and check_log(log)["results"]


def hostile() -> tk.Model:
    """A model with findings whose tensors all have a name that steers terminals."""
    model = small()
    for tensor in model.subgraphs[0].tensors:
        tensor.name = NASTY
    return model


def test_logs_of_odd_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Hostile names, a name that is no URI, a file that cannot be read, a file named twice."""
    paths = [tmp_path / name for name in ("a b#c?.tflite", "mixed.tflite", "hostile.tflite", "\N{SNOWMAN}.tflite")]
    for path, model in zip(paths, (small(), mixed_model(), hostile(), tk.Model(version=3)), strict=True):
        path.write_bytes(tk.serialize(model))
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    log = log_of(capsys, *paths, paths[0], tmp_path / "broken.tflite", "--weights", "--require", "float32")
    assert violations(log) == []
    run = check_log(log)
    assert run["invocations"][0]["executionSuccessful"] is False and len(run["artifacts"]) == 4 and len(run["results"]) > 4


def test_logs_of_real_models(capsys: pytest.CaptureFixture[str], models: Path) -> None:
    """Every tenth model, in one log."""
    log = log_of(capsys, *VALID_PATHS[::10], "--weights")
    assert violations(log) == [] and len({result["ruleId"] for result in check_log(log)["results"]}) > 4


@pytest.mark.slow
def test_logs_of_all_real_models(capsys: pytest.CaptureFixture[str], model_path: Path) -> None:
    for options in ((), ("--weights", "--runtime", "tflm"), ("--runtime", "edgetpu")):
        assert violations(log_of(capsys, model_path, *options)) == []


SPOILED: list[Callable[[Any], object]] = [
    lambda log: log.update(version="2.1"),
    lambda log: log["runs"][0].update(extra=1),
    lambda log: log["runs"][0]["results"][0].pop("message"),
    lambda log: log["runs"][0]["results"][0].update(level="info"),
    lambda log: log["runs"][0]["results"][0].update(ruleIndex="0"),
    lambda log: log["runs"][0]["results"][0]["locations"].append(3),
    lambda log: log["runs"][0]["artifacts"].append(log["runs"][0]["artifacts"][0]),
    lambda log: log["runs"][0].pop("tool"),
]


def test_the_validation_finds_faults(capsys: pytest.CaptureFixture[str]) -> None:
    log = log_of(capsys, EXAMPLES[0])
    assert violations(log) == []
    for number, spoil in enumerate(SPOILED):
        spoiled = copy.deepcopy(log)
        spoil(spoiled)
        assert violations(spoiled), number
