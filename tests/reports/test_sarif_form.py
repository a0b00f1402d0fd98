"""The required structure and the allowed properties of SARIF 2.1.0, for every object that is written."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

import tflitekit as tk
from tests.audit.test_scheme import mixed_model
from tests.conftest import REPOSITORY
from tflitekit.quant.rules.model import Runtime
from tflitekit.reports.audit_many import audits_facts
from tflitekit.reports.requirement import parse_requirement
from tflitekit.reports.to_sarif import to_sarif, uri_of

from .audits import REFUSES, facts_of, finding
from .models import nasty

# Object -> (required properties, allowed properties with the object, or the type, that they hold; a list for arrays).
SARIF: dict[str, tuple[set[str], dict[str, Any]]] = {
    "log": ({"version", "runs"}, {"$schema": str, "version": str, "runs": ["run"]}),
    "run": ({"tool"}, {
        "tool": "tool", "invocations": ["invocation"], "artifacts": ["artifact"], "columnKind": str, "results": ["result"],
    }),
    "tool": ({"driver"}, {"driver": "driver"}),
    "driver": ({"name"}, {"name": str, "version": str, "semanticVersion": str, "rules": ["rule"]}),
    "rule": ({"id"}, {"id": str, "name": str, "shortDescription": "text", "fullDescription": "text", "help": "text"}),
    "text": ({"text"}, {"text": str}),
    "invocation": ({"executionSuccessful"}, {"executionSuccessful": bool, "toolExecutionNotifications": ["notification"]}),
    "notification": ({"message"}, {"level": str, "message": "text", "locations": ["location"]}),
    "artifact": (set(), {"location": "artifactLocation", "length": int, "mimeType": str}),
    "result": ({"message"}, {
        "ruleId": str, "ruleIndex": int, "level": str, "message": "text", "locations": ["location"], "partialFingerprints": dict, "properties": dict,
    }),
    "location": (set(), {"physicalLocation": "physicalLocation", "logicalLocations": ["logicalLocation"]}),
    "physicalLocation": ({"artifactLocation"}, {"artifactLocation": "artifactLocation"}),
    "artifactLocation": (set(), {"uri": str, "index": int}),
    "logicalLocation": (set(), {"fullyQualifiedName": str, "kind": str, "name": str}),
}  # fmt: skip


def check_sarif(value: Any, kind: Any = "log") -> None:
    """Assert that an object and all below it have what SARIF 2.1.0 requires, and nothing that it does not know."""
    if isinstance(kind, list):
        assert isinstance(value, list)
        for item in value:
            check_sarif(item, kind[0])
    elif isinstance(kind, type):
        assert type(value) is kind
    else:
        required, allowed = SARIF[kind]
        assert required <= set(value) <= set(allowed), f"{kind}: {set(value)}"
        for key, item in value.items():
            check_sarif(item, allowed[key])


def check_log(log: Any) -> Any:
    """The run of a log, after everything that SARIF demands of its values has been asserted."""
    check_sarif(log)
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules, artifacts = run["tool"]["driver"]["rules"], run["artifacts"]
    assert len({rule["id"] for rule in rules}) == len(rules)
    for unique in (rules, artifacts):
        assert len({json.dumps(one) for one in unique}) == len(unique)
    assert all(re.fullmatch("[A-Za-z0-9]+", rule["name"]) for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        place = result["locations"][0]["physicalLocation"]["artifactLocation"]
        assert artifacts[place["index"]]["location"]["uri"] == place["uri"]
        assert re.fullmatch(r"(file://)?[A-Za-z0-9._~/%-]+", place["uri"])
        assert all(isinstance(v, str) for v in result.get("partialFingerprints", {}).values())
    return run


def test_sarif() -> None:
    given = [finding(0), finding(1, severity="warning"), finding(2, severity="info", reactions={Runtime.XNNPACK: REFUSES})]
    model = tk.read(REPOSITORY / "examples" / "models" / "classifier_dynamic_range.tflite")
    facts = facts_of(model, *given, required=parse_requirement("mixed"))
    run = check_log(to_sarif(audits_facts([facts, facts], [{"path": "a b.tflite", "message": "no"}]), "1.2.3"))
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note", "error"]
    assert run["results"][2]["message"]["text"] == "subgraphs[0].tensors[2] 't2': the scale is 0.21 (CONV_2D 2). XNNPACK: refuses (no [such] kernel)."
    assert run["results"][3]["message"]["text"] == "not mixed: the scheme is dynamic-range, not mixed"
    assert len(run["artifacts"]) == 1
    assert run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["toolExecutionNotifications"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.tflite"
    fingerprints = [result["partialFingerprints"]["tflitekit/v1"] for result in run["results"][:3]]
    assert len(set(fingerprints)) == 3


def test_sarif_of_hostile_names() -> None:
    facts = facts_of(nasty())
    assert facts["findings"]
    results = check_log(to_sarif(audits_facts([facts], []), "1"))["results"]
    texts = [result["message"]["text"] for result in results]
    texts += [result["locations"][0]["logicalLocations"][0].get("name", "") for result in results]
    assert any("\\x1b" in text for text in texts) and not any("\x1b" in text or "\u202e" in text for text in texts)


@pytest.mark.parametrize(
    ("path", "uri"),
    [("a/b.tflite", "a/b.tflite"), ("/m/x y.tflite", "file:///m/x%20y.tflite"), ("a:b", "a%3Ab"), ("\udcff", "%FF"), (None, "unknown")],
)
def test_uris(path: str | None, uri: str) -> None:
    assert uri_of(path) == uri


def test_the_sarif_check_finds_faults() -> None:
    log = to_sarif(audits_facts([facts_of(mixed_model(), finding())], []), "1")
    check_log(log)
    for spoil in (
        lambda run: run.update(extra=1),
        lambda run: run["results"][0].pop("message"),
        lambda run: run["results"][0].update(ruleIndex=1),
        lambda run: run["results"][0].update(level="info"),
        lambda run: run["tool"]["driver"]["rules"][0].update(id=5),
    ):
        spoiled = json.loads(json.dumps(log))
        spoil(spoiled["runs"][0])
        with pytest.raises(AssertionError):
            check_log(spoiled)
