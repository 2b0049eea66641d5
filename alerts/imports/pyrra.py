"""Pyrra: ServiceLevelObjective objects (pyrra.dev/v1alpha1)."""

from __future__ import annotations

from typing import Any

from alerts.imports.reader import Reader, name_of, percent
from alerts.imports.sloth import OFF


def objectives(reader: Reader) -> list[dict[str, Any]]:
    """The objective of a document."""
    reader.take("apiVersion")
    reader.take("kind")
    metadata, spec = reader.inner("metadata"), reader.inner("spec")
    if metadata is None or spec is None:
        reader.refuse((), "metadata or spec is missing")
        return []
    name = name_of(metadata.text("name"))
    slo: dict[str, Any] = {
        "name": name,
        "service": name,
        "objective": percent(spec.text("target"), spec, ("target",)),
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
    labels = {key.rpartition("/")[2]: str(value) for key, value in (metadata.take("labels") or {}).items()}
    kept = {key: value for key, value in labels.items() if key not in ("prometheus", "role")}
    reader.finish()
    spec.finish()
    return [slo | ({"labels": kept} if kept else {})]


def _indicator(reader: Reader) -> dict[str, Any]:
    reader.untranslatable("latencyNative", "Prometheus 2.42 has no native histograms to take it from")
    reader.untranslatable("latency_native", "Prometheus 2.42 has no native histograms to take it from")
    for kind, make in (("ratio", _ratio), ("latency", _latency), ("bool_gauge", _bool), ("boolGauge", _bool)):
        inner = reader.inner(kind)
        if inner is None:
            continue
        by = [str(label) for label in inner.take("grouping") or []]
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
    reader.untranslatable("absent", "write an alert with absent() in the rule file")
    reader.untranslatable("name", "all of Midwatch's are ErrorBudgetBurn, told apart by labels")
    off = reader.take("disabled") or reader.take("burnrates") is False
    reader.take("burnrates")
    reader.finish()
    return {"burn_rate": OFF["page"] | OFF["ticket"]} if off else {}
