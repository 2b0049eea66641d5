"""Sloth: `version: prometheus/v1` files, and PrometheusServiceLevel objects, which say the same in camel case."""

from __future__ import annotations

import re
from typing import Any

from alerts.imports.reader import Reader, name_of, percent

WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")
OFF = {"page": {"page_quick": False, "page_slow": False}, "ticket": {"ticket_quick": False, "ticket_slow": False}}
RUNBOOKS = ("runbook", "runbook_url")


def objectives(reader: Reader) -> list[dict[str, Any]]:
    """Objectives of a document."""
    if reader.take("version") == "prometheus/v1":
        translated = _service(reader)
        reader.finish()
        return translated
    reader.take("apiVersion")
    reader.take("kind")
    reader.take("metadata")
    spec = reader.inner("spec")
    if spec is None:
        reader.refuse((), "spec is missing")
        return []
    translated = _service(spec)
    spec.finish()
    reader.finish()
    return translated


def _service(reader: Reader) -> list[dict[str, Any]]:
    service = name_of(reader.text("service"))
    labels = dict(reader.take("labels") or {})
    return [_slo(slo, service, labels) for slo in reader.items("slos")]


def _slo(reader: Reader, service: str, labels: dict[str, str]) -> dict[str, Any]:
    slo: dict[str, Any] = {"name": name_of(reader.text("name")), "service": service}
    if description := reader.text("description", ""):
        slo["description"] = description
    slo["objective"] = percent(reader.text("objective"), reader, ("objective",))
    sli = reader.inner("sli")
    if sli is None:
        reader.refuse((), "sli is missing")
    else:
        slo["sli"] = {"events": _events(sli)}
    own = {**labels, **(reader.take("labels") or {})}
    alerting = reader.inner("alerting")
    if alerting is not None:
        own |= alerting.take("labels") or {}
        slo |= _alerting(alerting)
    if own:
        slo["labels"] = {key: str(value) for key, value in own.items()}
    reader.finish()
    return slo


def _events(reader: Reader) -> dict[str, str]:
    reader.untranslatable("raw", "a ratio without its events has no counts to budget from")
    reader.untranslatable("plugin", "what a plugin makes is not in the file; write its queries")
    events = reader.inner("events")
    if events is None:
        reader.refuse((), "events is missing")
        return {"bad": "{window}", "total": "{window}"}
    queries = {}
    for ours, theirs in (("bad", ("error_query", "errorQuery")), ("total", ("total_query", "totalQuery"))):
        key = next((one for one in theirs if events.take(one) is not None), theirs[0])
        text = WINDOW.sub("{window}", events.text(key)).strip()
        if "{window}" not in text:
            events.refuse((key,), "has no {{.window}}")
        if "{{" in text:
            events.refuse((key,), "cannot be translated: templates other than {{.window}}")
        queries[ours] = text
    events.finish()
    reader.finish()
    return queries


def _alerting(reader: Reader) -> dict[str, Any]:
    """Tiers that are off, and the runbook."""
    settings: dict[str, Any] = {}
    reader.take("name")  # the alert's name; Midwatch's are all ErrorBudgetBurn, told apart by labels
    annotations = dict(reader.take("annotations") or {})
    off: dict[str, bool] = {}
    for severity in ("page", "ticket"):
        keys = (f"{severity}_alert", f"{severity}Alert")
        alert = next((inner for key in keys if (inner := reader.inner(key)) is not None), None)
        if alert is None:
            continue
        if alert.take("disable"):
            off |= OFF[severity]
        for label in alert.take("labels") or {}:
            if label not in ("severity", "sloth_severity"):
                alert.refuse(("labels", label), "cannot be translated: routes come from owner and severity")
        annotations |= alert.take("annotations") or {}
        alert.finish()
    for key, value in annotations.items():
        if key in RUNBOOKS:
            settings["runbook"] = str(value)
        else:
            reader.refuse(("annotations", key), "cannot be translated: Midwatch writes the annotations but the runbook")
    reader.finish()
    return settings | ({"burn_rate": off} if off else {})
