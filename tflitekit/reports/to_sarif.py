"""Findings as SARIF 2.1.0, the format that code scanning services read (OASIS, "Static Analysis Results Interchange Format")."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ..audit import CODES
from .audit import place_text, reactions_text
from .escape import escape
from .values import Facts

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
NOT_MET = "required"  # the rule of models that are not what --require says


def to_sarif(facts: Facts, version: str) -> Facts:
    """The findings of all models of `audits_facts` as one run, with unreadable files as notifications. `version` is that of this tool."""
    rules = [_rule(code) for code in CODES]
    rules.append({"id": NOT_MET, "name": "Required", "shortDescription": {"text": "The model is not what was required"}})
    indices = {rule["id"]: index for index, rule in enumerate(rules)}
    # A file that was named twice is one artifact, with its results once.
    models = list({uri_of(model["file"]["path"]): model for model in facts["models"]}.values())
    results = [_result(finding, number, model, indices) for number, model in enumerate(models) for finding in model["findings"]]
    results += [_not_met(number, model, indices) for number, model in enumerate(models) if model["required"] and not model["required"]["met"]]
    run = {
        "tool": {"driver": {"name": "tflitekit", "version": version, "semanticVersion": version, "rules": rules}},
        "invocations": [{
            "executionSuccessful": not facts["unreadable"],
            "toolExecutionNotifications": [_notification(lost) for lost in facts["unreadable"]],
        }],
        "artifacts": [_artifact(model) for model in models],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }  # fmt: skip
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def uri_of(path: str | None) -> str:
    """A path as URI reference: relative ones stay relative, absolute ones become file URIs."""
    pure = PurePath(path or "unknown")
    if pure.is_absolute():
        # Not `as_uri`: names from a file system may hold bytes that are no text.
        return "file://" + quote(pure.as_posix().encode("utf-8", "surrogateescape"))
    # A colon in the first segment would read as a scheme.
    return quote(pure.as_posix().encode("utf-8", "surrogateescape"))


def _rule(code: str) -> Facts:
    about = CODES[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in "".join(c if c.isalnum() else " " for c in about.title).split()),
        "shortDescription": {"text": about.title[:1].upper() + about.title[1:]},
        "fullDescription": {"text": about.explanation},
        "help": {"text": f"{about.explanation} {about.fix}"},
    }


def _artifact(model: Facts) -> Facts:
    found: Facts = {"location": {"uri": uri_of(model["file"]["path"])}, "mimeType": "application/octet-stream"}
    if model["file"]["size"] is not None:
        found["length"] = model["file"]["size"]
    return found


def _location(number: int, model: Facts) -> Facts:
    return {"artifactLocation": {"uri": uri_of(model["file"]["path"]), "index": number}}


def _result(finding: Facts, number: int, model: Facts, indices: dict[str, int]) -> Facts:
    reactions = reactions_text(finding["reactions"], model["runtime"])
    message = f"{place_text(finding)}: {finding['message']}." + (f" {reactions}." if reactions else "")
    logical: dict[str, Any] = {"fullyQualifiedName": finding["path"] or "model", "kind": "member"}
    if finding["name"]:
        logical["name"] = escape(finding["name"])
    identity = "\0".join([finding["code"], finding["path"], finding["operator"]])
    return {
        "ruleId": finding["code"],
        "ruleIndex": indices[finding["code"]],
        "level": LEVELS[finding["severity"]],
        "message": {"text": escape(message)},
        "locations": [{"physicalLocation": _location(number, model), "logicalLocations": [logical]}],
        "partialFingerprints": {"tflitekit/v1": hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()},
        "properties": {key: finding[key] for key in ("found", "expected", "operator", "reactions", "fix", "source")},
    }


def _not_met(number: int, model: Facts, indices: dict[str, int]) -> Facts:
    required = model["required"]
    return {
        "ruleId": NOT_MET,
        "ruleIndex": indices[NOT_MET],
        "level": "error",
        "message": {"text": escape(f"not {required['text']}: {'; '.join(required['differences'])}")},
        "locations": [{"physicalLocation": _location(number, model)}],
    }


def _notification(lost: Facts) -> Facts:
    return {
        "level": "error",
        "message": {"text": escape(lost["message"])},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri_of(lost["path"])}}}],
    }
