"""Pyrra: ServiceLevelObjective objects (pyrra.dev/v1alpha1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alerts.imports.reader import LABEL, OURS, Reader, percent
from alerts.imports.sloth import OFF, RUNBOOKS

PREFIX = "pyrra.dev/"
"""Of labels and annotations that Pyrra puts on its rules; all others are the object's own."""


def objectives(reader: Reader, owner: str) -> list[dict[str, Any]]:
    """The objective of a document."""
    reader.take("apiVersion")
    reader.take("kind")
    metadata, spec = reader.inner("metadata"), reader.inner("spec")
    if metadata is None or spec is None:
        reader.refuse((), "metadata or spec is missing")
        return []
    name = metadata.name("name")
    slo: dict[str, Any] = {
        "name": name,
        "service": name,
        "objective": percent(spec.number("target"), spec, ("target",)),
    }
    if description := " ".join(spec.text("description", "").split()):
        slo["description"] = description
    slo["window"] = spec.text("window")
    indicator = spec.inner("indicator")
    if indicator is None:
        spec.refuse((), "indicator is missing")
    else:
        slo |= _indicator(indicator)
    if (alerting := spec.inner("alerting")) is not None:
        slo |= _alerting(alerting)
    spec.untranslatable("performanceOverAccuracy", "Midwatch counts exactly")
    slo |= _propagated(metadata, owner)
    reader.finish()
    spec.finish()
    return [slo]


def _propagated(metadata: Reader, owner: str) -> dict[str, Any]:
    """Labels and annotations that Pyrra puts on rules, without its prefix."""
    labels, annotations = _own(metadata, "labels"), _own(metadata, "annotations")
    settings: dict[str, Any] = {}
    for key in RUNBOOKS:
        if key in annotations:
            settings["runbook"] = annotations.pop(key)
    for name in OURS & set(labels):
        value = labels.pop(name)
        if name != "owner" or value != owner:
            metadata.note(("labels", PREFIX + name), f"the label {name} is Midwatch's own; kept as exported_{name}")
            labels[f"exported_{name}"] = value
    kept = {"labels": labels, "annotations": annotations}
    return settings | {key: value for key, value in kept.items() if value}


def _own(metadata: Reader, key: str) -> dict[str, str]:
    propagated: Mapping[str, str] = {
        name.removeprefix(PREFIX): value for name, value in metadata.texts(key).items() if name.startswith(PREFIX)
    }
    for name in propagated:
        if not LABEL.fullmatch(name):
            metadata.drop((key, PREFIX + name), f"{name!r} is not a label name")
    return {name: value for name, value in propagated.items() if LABEL.fullmatch(name)}


def _indicator(reader: Reader) -> dict[str, Any]:
    for key in ("latencyNative", "latency_native"):
        if reader.take(key) is not None:
            reason = "Prometheus 2.42 has no native histograms to take it from"
            reader.refuse((key,), f"cannot be translated: {reason}")
            return {}
    for kind, make in (("ratio", _ratio), ("latency", _latency), ("bool_gauge", _bool), ("boolGauge", _bool)):
        inner = reader.inner(kind)
        if inner is None:
            continue
        given = inner.take("grouping") or []
        by = [str(label) for label in given] if isinstance(given, list) else []
        if not isinstance(given, list):
            inner.refuse(("grouping",), "is not a list")
        events = make(inner, f" by ({', '.join(by)})" if by else "")
        inner.finish()
        reader.finish()
        return {"sli": {"events": events}} | ({"by": by} if by else {})
    reader.refuse((), "has no ratio, latency or bool_gauge")
    return {}


def _metric(reader: Reader, key: str) -> str:
    inner = reader.inner(key)
    if inner is None:
        reader.refuse((), f"{key} is missing")
        return ""
    selector = inner.text("metric")
    inner.finish()
    return selector


def _ratio(reader: Reader, by: str) -> dict[str, str]:
    bad, total = _metric(reader, "errors"), _metric(reader, "total")
    return {"bad": f"sum{by} (increase({bad}[{{window}}]))", "total": f"sum{by} (increase({total}[{{window}}]))"}


def _latency(reader: Reader, by: str) -> dict[str, str]:
    good, total = _metric(reader, "success"), _metric(reader, "total")
    return {"good": f"sum{by} (increase({good}[{{window}}]))", "total": f"sum{by} (increase({total}[{{window}}]))"}


def _bool(reader: Reader, by: str) -> dict[str, str]:
    """Every scrape is an event, good when the gauge is 1."""
    metric = reader.text("metric")
    return {
        "good": f"sum{by} (sum_over_time({metric}[{{window}}]))",
        "total": f"sum{by} (count_over_time({metric}[{{window}}]))",
    }


def _alerting(reader: Reader) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if reader.flag("absent"):
        reader.drop(("absent",), "write an alert with absent() in the rule file")
    if name := reader.text("name", ""):
        settings["alert_name"] = name
    off = reader.flag("disabled") or reader.flag("burnrates") is False
    reader.take("burnrates")
    reader.finish()
    return settings | ({"burn_rate": OFF["page"] | OFF["ticket"]} if off else {})
