"""Sloth: `version: prometheus/v1` files, and PrometheusServiceLevel objects, which say the same in camel case."""

from __future__ import annotations

import re
from typing import Any

from alerts.imports.reader import LABEL, Reader, percent

WINDOW = re.compile(r"\{\{\s*\.window\s*\}\}")
OFF = {"page": {"page_quick": False, "page_slow": False}, "ticket": {"ticket_quick": False, "ticket_slow": False}}
RUNBOOKS = ("runbook", "runbook_url")

NOTHING_TO_SAY = {
    "sloth.dev/core/debug/v1": "it only logs",
    "sloth.dev/core/validate/v1": "Midwatch checks by itself",
    "sloth.dev/core/noop/v1": "it does nothing",
    "sloth.dev/core/sli_rules/v1": "Midwatch makes the records",
    "sloth.dev/core/metadata_rules/v1": "Midwatch makes the records",
    "sloth.dev/core/alert_rules/v1": "Midwatch makes the alerts",
    "sloth.dev/contrib/denominator_corrected_rules/v1": "Midwatch counts events, which is what it corrects",
    "sloth.dev/contrib/validate_victoria_metrics/v1": "Midwatch checks by itself",
    "sloth.dev/contrib/alert_for/v1": "page_alert.for and ticket_alert.for are read",
}
"""Plugins of Sloth's own that change nothing in a rule file, and why."""


def objectives(reader: Reader, owner: str) -> list[tuple[Reader, dict[str, Any]]]:
    """Objectives of a document, each with where it stands."""
    if reader.take("version") == "prometheus/v1":
        translated = _service(reader, owner)
        reader.finish()
        return translated
    reader.take("apiVersion")
    kind = reader.take("kind")
    if kind != "PrometheusServiceLevel":
        remedy = "write burn_rate in its objectives" if kind == "AlertWindows" else "only PrometheusServiceLevel is"
        reader.refuse(("kind",), f"cannot be translated: {kind}; {remedy}")
        return []
    reader.take("metadata")  # the object's own; Sloth does not put it on rules
    spec = reader.inner("spec")
    if spec is None:
        reader.refuse((), "spec is missing")
        return []
    translated = _service(spec, owner)
    spec.finish()
    reader.finish()
    return translated


def _service(reader: Reader, owner: str) -> list[tuple[Reader, dict[str, Any]]]:
    service = reader.name("service")
    labels = reader.labels("labels", {"owner": owner})
    for key in ("slo_plugins", "sloPlugins"):
        if (plugins := reader.inner(key)) is not None:
            labels |= _plugins(plugins)
    return [(slo, _slo(slo, service, owner, labels)) for slo in reader.items("slos")]


def _slo(reader: Reader, service: str, owner: str, labels: dict[str, str]) -> dict[str, Any]:
    slo: dict[str, Any] = {"name": reader.name("name"), "service": service}
    if description := reader.text("description", ""):
        slo["description"] = description
    slo["objective"] = percent(reader.number("objective"), reader, ("objective",))
    sli = reader.inner("sli")
    if sli is None:
        reader.refuse((), "sli is missing")
    else:
        slo["sli"] = _sli(sli)
    own = {**labels, **reader.labels("labels", {"owner": owner, "model": service, "slo": slo["name"]})}
    for key in ("plugins", "slo_plugins", "sloPlugins"):
        if (plugins := reader.inner(key)) is not None:
            own |= _plugins(plugins)
    reader.untranslatable("interval", "the rules of an objective are evaluated together, at the interval of Prometheus")
    alerting = reader.inner("alerting")
    if alerting is not None:
        slo |= _alerting(alerting, owner)
    if own:
        slo["labels"] = own
    reader.finish()
    return slo


def _plugins(reader: Reader) -> dict[str, str]:
    """Labels that a chain of plugins adds. Sloth's own are known; others are code."""
    labels: dict[str, str] = {}
    reader.flag("overridePrevious")
    reader.flag("override_previous")
    for plugin in reader.items("chain"):
        name = plugin.text("id")
        plugin.take("priority")
        config = plugin.inner("config")
        if name in NOTHING_TO_SAY:
            plugin.note(("id",), f"{name}: {NOTHING_TO_SAY[name]}")
        elif name == "sloth.dev/contrib/info_labels/v1" and config is not None:
            labels |= _info_labels(config)
        else:
            plugin.drop(("id",), f"what the plugin {name} makes is not in the file")
    reader.finish()
    return labels


def _info_labels(config: Reader) -> dict[str, str]:
    """Labels of Sloth's metric about an objective, which Midwatch puts on its alerts."""
    config.take("metric_name")
    labels: dict[str, str] = {}
    for name, value in config.texts("labels").items():
        valid = name if LABEL.fullmatch(name) else re.sub(r"\W", "_", name)
        config.note(("labels", name), f"a label of Sloth's info metric; on the alerts as {valid}")
        labels[valid] = value
    return labels


# SLIs ----------------------------------------------------------------------------------------------------------------


def _sli(reader: Reader) -> dict[str, Any]:
    raw, events, plugin = reader.inner("raw"), reader.inner("events"), reader.inner("plugin")
    made: dict[str, Any] = {}
    if events is not None:
        made = {"events": {"bad": _query(events, "error"), "total": _query(events, "total")}}
        events.finish()
    elif raw is not None:
        made = {"ratio": {"errors": _query(raw, "error_ratio")}}
        raw.finish()
    elif plugin is not None:
        plugin.refuse(("id",), f"cannot be translated: the plugin {plugin.text('id')} is code; write its queries")
    else:
        reader.refuse((), "neither events, raw nor plugin")
    reader.finish()
    return made


def _query(reader: Reader, what: str) -> str:
    """A query with the placeholder of the window as Midwatch writes it."""
    first, *rest = what.split("_")
    camel = first + "".join(word.capitalize() for word in rest)
    names = (f"{what}_query", f"{camel}Query")
    key = next((name for name in names if reader.take(name) is not None), names[0])
    text = WINDOW.sub("{window}", reader.text(key)).strip()
    if "{window}" not in text:
        reader.refuse((key,), "has no {{.window}}")
    if "{{" in text:
        reader.refuse((key,), "cannot be translated: templates other than {{.window}}")
    return text


# Alerts --------------------------------------------------------------------------------------------------------------


def _alerting(reader: Reader, owner: str) -> dict[str, Any]:
    """The alert's name, what it carries, tiers that are off, and the runbook."""
    settings: dict[str, Any] = {}
    if name := reader.text("name", ""):
        settings["alert_name"] = name
    annotations = reader.annotations("annotations")
    for key in RUNBOOKS:
        if key in annotations:
            settings["runbook"] = annotations.pop(key)
    if annotations:
        settings["annotations"] = annotations
    shared = reader.labels("labels", {"owner": owner})
    off: dict[str, bool] = {}
    for severity in ("page", "ticket"):
        keys = (f"{severity}_alert", f"{severity}Alert")
        alert = next((inner for key in keys if (inner := reader.inner(key)) is not None), None)
        if alert is None:
            if shared:
                settings[f"{severity}_alert"] = {"labels": shared}
            continue
        if alert.flag("disable"):
            off |= OFF[severity]
        if added := _additions(alert, owner, severity, shared):
            settings[f"{severity}_alert"] = added
        alert.finish()
    reader.finish()
    return settings | ({"burn_rate": off} if off else {})


def _additions(reader: Reader, owner: str, severity: str, shared: dict[str, str]) -> dict[str, Any]:
    labels = shared | reader.labels("labels", {"owner": owner, "severity": severity})
    labels.pop("sloth_severity", None)
    annotations = reader.annotations("annotations")
    added: dict[str, Any] = {"labels": labels, "annotations": annotations}
    if reader.duration("for", ""):
        added["for"] = reader.text("for")
    return {key: value for key, value in added.items() if value}
