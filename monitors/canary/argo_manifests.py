"""AnalysisTemplates and Rollouts in files, as a repository of manifests has them before a cluster does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from midwatch.errors import InvalidInputError, Problem
from midwatch.spec import document
from midwatch.spec.model import Platform
from monitors.canary import argo
from monitors.canary.argo_check import KINDS
from monitors.canary.argo_cluster import Found

_NAMED = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}
_SECTION = {"type": "object"}
_PROVIDER = {"type": "object", "properties": {"web": _SECTION, "prometheus": _SECTION}}
_METRIC = {"type": "object", "required": ["name", "provider"], "properties": {"provider": _PROVIDER}}
_DRY = {"type": "object", "required": ["metricName"], "properties": {"metricName": {"type": "string"}}}
_TEMPLATE = {"metrics": {"type": "array", "items": _METRIC}, "args": _NAMED, "dryRun": {"type": "array", "items": _DRY}}
_ANALYSIS = {"type": "object", "properties": {"templates": {"type": "array", "items": _SECTION}, "args": _NAMED}}
_STEP = {"type": "object", "properties": {"analysis": _ANALYSIS}}
_CANARY = {"type": "object", "properties": {"steps": {"type": "array", "items": _STEP}, "analysis": _ANALYSIS}}
_BLUE_GREEN = {
    "type": "object",
    "properties": {"prePromotionAnalysis": _ANALYSIS, "postPromotionAnalysis": _ANALYSIS},
}
_ROLLOUT = {"strategy": {"type": "object", "properties": {"canary": _CANARY, "blueGreen": _BLUE_GREEN}}}
SPECS = {**dict.fromkeys(KINDS, _TEMPLATE), "Rollout": _ROLLOUT}
"""The parts of each kind's spec that are looked at; whatever else it has is the cluster's to judge."""


def read(platform: Platform, place: Path) -> Found:
    """The objects of a file, or of the YAML files below a folder, and the templates that are rendered.

    InvalidInputError for a file that cannot be read, and for an object that is not formed as its kind.
    """
    files = sorted(one for one in place.rglob("*") if one.suffix in (".yaml", ".yml")) if place.is_dir() else [place]
    objects = [one for file in files for one in _objects(file)]
    if problems := [problem for one in objects for problem in _problems(one)]:
        raise InvalidInputError(problems)
    templates = [one for one in objects if one["kind"] in KINDS]
    named = {(one["kind"], one["metadata"]["name"]) for one in templates}
    rendered = [one for one in argo.templates(platform) if (one["kind"], one["metadata"]["name"]) not in named]
    return Found(templates=[*templates, *rendered], rollouts=[one for one in objects if one["kind"] == "Rollout"])


def _objects(file: Path) -> Iterator[dict[str, Any]]:
    for one in document.read_documents(file):
        version = one.values.get("apiVersion")
        if isinstance(version, str) and version.startswith("argoproj.io/") and one.values.get("kind") in SPECS:
            yield {**one.values, "source": ":".join(map(str, one.marks[()]))}


def _problems(found: dict[str, Any]) -> Iterator[Problem]:
    import jsonschema

    metadata = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    spec = {"type": "object", "properties": SPECS[found["kind"]]}
    schema = {"required": ["metadata", "spec"], "properties": {"metadata": metadata, "spec": spec}}
    for error in jsonschema.Draft202012Validator(schema).iter_errors(found):
        path = error.json_path.removeprefix("$").removeprefix(".")
        yield Problem(
            file=found["source"], path=path, message=error.message[:200], remedy=f"see {found['kind']}'s schema"
        )
