"""Prometheus: rule files (`groups`), and the operator's PrometheusRule objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alerts.imports.reader import Reader
from alerts.imports.sloth import RUNBOOKS

SEVERITIES = {
    "page": "page",
    "critical": "page",
    "error": "page",
    "ticket": "ticket",
    "warning": "ticket",
    "info": "ticket",
    "none": "none",
}
"""What others call a severity, and who acts on it here."""


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a rule that says nothing of it gets: its owner, and its runbook, in which `{alert}` is its name."""

    owner: str
    runbook: str | None = None


def rules(reader: Reader, defaults: Defaults) -> Iterator[tuple[str, Reader, dict[str, Any]]]:
    """Rules of a document: the list of a rule file they belong to, where they stand, and what they say."""
    source = reader
    if reader.take("groups") is None:
        for key in ("apiVersion", "kind"):
            reader.take(key)
        if (metadata := reader.inner("metadata")) is not None and metadata.take("labels"):
            metadata.note(("labels",), "is not written: prometheus.operator.labels of the platform file are put there")
        spec = reader.inner("spec")
        if spec is None:
            reader.refuse((), "spec is missing")
            return
        source = spec
    for group in source.items("groups"):
        group.text("name")
        labels = group.labels("labels", {"owner": defaults.owner})
        for rule in group.items("rules"):
            if rule.take("record") is not None:
                yield "records", rule, _record(rule, labels)
            elif rule.take("alert") is None:
                rule.refuse((), "neither an alert nor a record")
            else:
                yield "alerts", rule, _alert(rule, labels, defaults)
        for key in ("interval", "limit", "query_offset", "partial_response_strategy"):
            group.untranslatable(key, "the rules of a file are evaluated together, at Prometheus' interval")
        group.finish()
    source.finish()
    reader.finish()


def _record(rule: Reader, labels: dict[str, str]) -> dict[str, Any]:
    made: dict[str, Any] = {"record": rule.text("record"), "expr": rule.text("expr")}
    own = labels | rule.texts("labels")
    rule.finish()
    return made | ({"labels": own} if own else {})


def _alert(rule: Reader, labels: dict[str, str], defaults: Defaults) -> dict[str, Any]:
    name = rule.text("alert")
    made: dict[str, Any] = {"alert": name, "expr": rule.text("expr")}
    for key in ("for", "keep_firing_for"):
        if rule.duration(key, "") is not None:
            made[key] = rule.text(key)
    severity = rule.texts("labels").get("severity")
    if severity not in SEVERITIES:
        known = ", ".join(SEVERITIES)
        rule.refuse(("labels", "severity"), f"cannot be translated: severity {severity!r} is not one of {known}")
    made["severity"] = SEVERITIES.get(severity or "", "ticket")
    own = labels | rule.labels("labels", {"owner": defaults.owner, "severity": made["severity"]})
    if own:
        made["labels"] = own
    annotations = rule.annotations("annotations")
    made |= _texts(name, annotations)
    runbook = next((annotations.pop(key) for key in RUNBOOKS if key in annotations), None)
    runbook = runbook or (defaults.runbook.replace("{alert}", name) if defaults.runbook else None)
    if runbook is None and made["severity"] != "none":
        rule.refuse((), f"{name} has no runbook; give one for all with --runbook, such as https://wiki/{{alert}}")
    rule.finish()
    extra = {"runbook": runbook, "annotations": annotations}
    return made | {key: value for key, value in extra.items() if value}


def _texts(name: str, annotations: dict[str, str]) -> dict[str, str]:
    """Summary and description; an alert without a summary is summed up by what it has."""
    summary = annotations.pop("summary", "") or annotations.pop("message", "")
    description = annotations.pop("description", "")
    if not summary:
        summary, description = description or name, ""
    return {"summary": summary} | ({"description": description} if description else {})
