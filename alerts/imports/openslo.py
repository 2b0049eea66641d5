"""OpenSLO v1 and v1alpha: SLO objects, and the SLI, AlertPolicy and AlertCondition objects they refer to.

https://github.com/OpenSLO/OpenSLO, README "Object types". A query is taken over windows when it is a counter: a
selector, or a sum of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from promql_parser import AggregateExpr, VectorSelector

from alerts import expressions
from alerts.imports.reader import Reader, name_of, percent
from midwatch.spec.values import format_duration, parse_duration

Others = Mapping[tuple[str, str], Reader]
"""Objects of a file by kind and name."""

OPERATORS = {"lte": "at_most", "lt": "at_most", "gte": "at_least", "gt": "at_least"}
CALENDARS = {"1w": "week", "1M": "month", "1Q": "quarter", "3M": "quarter"}
UNITS = {"Day": "d", "Week": "w", "Hour": "h", "Minute": "m"}


def objectives(reader: Reader, others: Others) -> list[dict[str, Any]]:
    """Objectives of a document: none of one that is not an SLO."""
    version = str(reader.take("apiVersion"))
    kind = reader.take("kind")
    if kind in ("SLI", "AlertPolicy", "AlertCondition", "Service", "DataSource"):
        reader.take("metadata")
        reader.take("spec")  # read where an SLO refers to it; a service and a data source say nothing that rules need
        reader.finish()
        return []
    if kind != "SLO":
        reader.refuse(("kind",), f"cannot be translated: {kind}")
        return []
    metadata, spec = reader.inner("metadata"), reader.inner("spec")
    if metadata is None or spec is None:
        reader.refuse((), "metadata or spec is missing")
        return []
    name = name_of(metadata.text("name"))
    common: dict[str, Any] = {"service": name_of(spec.text("service"))}
    if description := " ".join(spec.text("description", "").split()):
        common["description"] = description
    window = _window_v1alpha(spec) if version.endswith("alpha") else _window(spec)
    if window:
        common["window"] = window
    method = spec.text("budgetingMethod", "Occurrences")
    indicator = _indicator(spec, others)
    rates = _burn_rates(spec, others, window)
    rows = list(spec.items("objectives"))
    slos = [
        {
            "name": name if len(rows) == 1 else f"{name}-{index + 1}",
            **common,
            **_objective(row, indicator, method),
            **rates,
        }
        for index, row in enumerate(rows)
    ]
    if not rows:
        spec.refuse((), "objectives is missing")
    spec.untranslatable("labels", "labels of objectives stand in the rule file")
    reader.finish()
    spec.finish()
    return slos


# Time windows ------------------------------------------------------------------------------------------------------


def _window(spec: Reader) -> Any:
    """Period of v1."""
    windows = list(spec.items("timeWindow"))
    if len(windows) != 1:
        spec.refuse(("timeWindow",), f"{len(windows)} time windows; an objective has one")
        return None
    (window,) = windows
    duration = window.text("duration")
    calendar = window.inner("calendar")
    rolling = window.take("isRolling")
    if calendar is not None and not rolling:
        return _calendar(window, calendar, duration)
    window.finish()
    if not rolling:
        window.refuse(("isRolling",), "neither rolling nor a calendar")
    try:
        return format_duration(parse_duration(duration))
    except ValueError:
        window.refuse(("duration",), f"cannot be translated: {duration} has no fixed length; write days")
        return None


def _calendar(window: Reader, calendar: Reader, duration: str) -> Any:
    start, zone = calendar.text("startTime"), calendar.text("timeZone", "UTC")
    calendar.finish()
    window.finish()
    if duration not in CALENDARS:
        window.refuse(("duration",), f"cannot be translated: a calendar period of {duration}; week, month, quarter are")
        return None
    if not re.match(r"\d{4}-\d\d-\d\d[ T]00:00(:00)?", start) or (duration != "1w" and "-01" not in start[7:10]):
        calendar.refuse(("startTime",), f"cannot be translated: a period that begins at {start}")
    return {"calendar": CALENDARS[duration], "time_zone": zone}


def _window_v1alpha(spec: Reader) -> Any:
    windows = list(spec.items("timeWindows"))
    if len(windows) != 1:
        spec.refuse(("timeWindows",), f"{len(windows)} time windows; an objective has one")
        return None
    (window,) = windows
    unit, count = window.text("unit"), window.text("count")
    calendar = window.inner("calendar")
    if window.take("isRolling") and unit in UNITS:
        window.finish()
        return format_duration(parse_duration(f"{count}{UNITS[unit]}"))
    short = {"Week": "1w", "Month": "1M", "Quarter": "1Q"}.get(unit) if count == "1" else None
    if calendar is None or short is None:
        window.refuse((), f"cannot be translated: {count} {unit}")
        return None
    return _calendar(window, calendar, short)


# Indicators --------------------------------------------------------------------------------------------------------


def _indicator(spec: Reader, others: Others) -> Reader | None:
    """What is measured: written in the objective, or an SLI of the file."""
    reference = spec.take("indicatorRef")
    inner = spec.inner("indicator")
    if reference is not None:
        sli = others.get(("SLI", str(reference)))
        if sli is None:
            spec.refuse(("indicatorRef",), f"there is no SLI {reference!r} in the file")
            return None
        inner = sli
    if inner is None:
        return None
    inner.take("metadata")
    return inner.inner("spec") or inner


def _objective(row: Reader, indicator: Reader | None, method: str) -> dict[str, Any]:
    row.take("displayName")
    target = row.take("target")
    per_cent = row.take("targetPercent")
    if target is not None:
        text, key = str(Decimal(str(target)) * 100), "target"
    else:
        text, key = str(per_cent), "targetPercent"
    objective = {"objective": percent(text, row, (key,))}
    row.untranslatable("compositeWeight", "composite objectives")
    row.untranslatable("timeSliceTarget", "a slice is good or bad by its value")
    own = row.inner("indicator")
    if own is not None:
        own.take("metadata")
        indicator = own.inner("spec") or own
    ratio = row.inner("ratioMetrics")  # v1alpha has it in the objective
    source = ratio or (indicator.inner("ratioMetric") if indicator else None)
    if source is not None and method == "Occurrences":
        row.untranslatable("op", "of a ratio")
        if row.take("value") not in (None, 1, 1.0):
            row.refuse(("value",), "cannot be translated: of a ratio")
        objective["sli"] = {"events": _ratio(source)}  # type: ignore[assignment] # a mapping of texts and mappings
    elif indicator is not None and (threshold := indicator.inner("thresholdMetric")) is not None:
        objective["sli"] = {"gauge": _threshold(row, threshold, method)}  # type: ignore[assignment] # see above
    else:
        row.refuse((), f"cannot be translated: neither events counted nor a threshold ({method})")
    row.finish()
    return objective


def _ratio(reader: Reader) -> dict[str, str]:
    if True not in (reader.take("counter"), reader.take("incremental")):
        reader.refuse((), "cannot be translated: counter is not true; events are counted by counters")
    for key in ("raw", "rawType"):
        reader.untranslatable(key, "a ratio without its events has no counts to budget from")
    events = {"total": _query(reader, "total")}
    side = "bad" if reader.take("bad") is not None else "good"
    events[side] = _query(reader, side)
    reader.finish()
    return events


def _query(reader: Reader, key: str) -> str:
    """A counter's query as events over a window."""
    inner = reader.inner(key)
    if inner is None:
        reader.refuse((), f"{key} is missing")
        return "{window}"
    text = re.sub(r"\[\s*\{\{\s*\.?window\s*\}\}\s*\]", "[{window}]", _source(inner))
    if "[{window}]" in text:
        return text
    try:
        tree = expressions.parse(text)
    except ValueError as error:
        inner.refuse((), f"not PromQL: {error}")
        return "{window}"
    if isinstance(tree, VectorSelector):
        return f"sum(increase({text}[{{window}}]))"
    is_sum = isinstance(tree, AggregateExpr) and str(tree.op) == "sum" and tree.modifier is None
    if is_sum and isinstance(tree.expr, VectorSelector):
        return f"sum(increase({tree.expr.prettify()}[{{window}}]))"
    inner.refuse((), "cannot be translated: not a counter's selector, nor a sum of one, nor with [{{.window}}]")
    return "{window}"


def _source(reader: Reader) -> str:
    """The query of a metric source, of v1 or v1alpha; the data source is the Prometheus there is."""
    source = reader.inner("metricSource")
    if source is None:
        for key in ("source", "queryType"):
            value = str(reader.take(key) or "promql").lower()
            if value not in ("prometheus", "promql"):
                reader.refuse((key,), f"cannot be translated: {value}")
        text = reader.text("query")
        reader.finish()
        return text.strip()
    source.take("metricSourceRef")
    kind = str(source.take("type") or "Prometheus")
    if kind.lower() != "prometheus":
        source.refuse(("type",), f"cannot be translated: {kind}")
    spec = source.inner("spec")
    if spec is None:
        source.refuse((), "spec is missing")
        return ""
    key = "promql" if spec.take("promql") is not None else "query"
    text = spec.text(key)
    spec.take("queryType")
    spec.finish()
    source.finish()
    reader.finish()
    return text.strip()


def _threshold(row: Reader, reader: Reader, method: str) -> dict[str, Any]:
    """Minutes in which a value is within its limit."""
    if method != "Timeslices":
        row.refuse((), f"cannot be translated: a threshold is budgeted in Timeslices, not {method}")
    window = row.text("timeSliceWindow", "1m")
    if window not in ("1m", "60s", "1"):
        row.refuse(("timeSliceWindow",), "cannot be translated: a slice is a minute")
    operator, value = row.text("op"), row.text("value")
    if operator not in OPERATORS:
        row.refuse(("op",), f"{operator!r} is not one of {', '.join(OPERATORS)}")
    return {"value": _source(reader), OPERATORS.get(operator, "at_most"): float(value or "nan")}


# Alerts ------------------------------------------------------------------------------------------------------------


def _burn_rates(spec: Reader, others: Others, window: Any) -> dict[str, Any]:
    """Tiers of the burn-rate conditions; without policies, the standard ones."""
    policies = spec.take("alertPolicies")
    if not policies:
        return {}
    period = parse_duration(window) if isinstance(window, str) else 30 * 86400.0
    tiers: dict[str, Any] = dict.fromkeys(("page_quick", "page_slow", "ticket_quick", "ticket_slow"), False)
    waits: set[str] = set()
    for index, given in enumerate(policies):
        name = given.get("alertPolicyRef") if isinstance(given, dict) else given
        policy = others.get(("AlertPolicy", str(name)))
        if policy is None:
            spec.refuse(("alertPolicies", index), f"there is no AlertPolicy {name!r} in the file")
            continue
        inside = policy.inner("spec")
        if inside is not None:
            _policy(inside, others, period, tiers, waits)
    if len(waits) > 1:
        spec.refuse(("alertPolicies",), f"cannot be translated: several alertAfter ({', '.join(sorted(waits))})")
    return {"burn_rate": {**tiers, **({"for": waits.pop()} if waits else {})}}


def _policy(policy: Reader, others: Others, period: float, tiers: dict[str, Any], waits: set[str]) -> None:
    policy.take("description")
    policy.untranslatable("notificationTargets", "routes come from owners")
    for key in ("alertWhenNoData", "alertWhenResolved", "alertWhenBreaching"):
        policy.take(key)
    for given in policy.items("conditions"):
        name = given.take("conditionRef")
        condition = others.get(("AlertCondition", str(name))) if name else given
        inside = condition.inner("spec") if condition is not None else None
        if inside is None:
            given.refuse((), f"there is no AlertCondition {name!r} in the file")
            continue
        _condition(inside, period, tiers, waits)
    policy.finish()


def _condition(reader: Reader, period: float, tiers: dict[str, Any], waits: set[str]) -> None:
    severity = reader.text("severity")
    reader.take("description")
    condition = reader.inner("condition")
    if condition is None:
        reader.refuse((), "condition is missing")
        return
    if condition.text("kind", "burnrate").lower() != "burnrate":
        condition.refuse(("kind",), "cannot be translated: not a burn rate")
    if condition.text("op", "gte") not in ("gt", "gte"):
        condition.refuse(("op",), "cannot be translated: a burn rate alerts from above")
    over, rate = condition.text("lookbackWindow"), condition.text("threshold")
    wait = condition.text("alertAfter", "0m")
    if parse_duration(wait):
        waits.add(wait)
    kind = {"page": "page", "critical": "page", "ticket": "ticket", "warning": "ticket"}.get(severity.lower())
    free = [name for name in tiers if kind and name.startswith(kind) and tiers[name] is False]
    if not free:
        reader.refuse(("severity",), f"cannot be translated: severity {severity!r}, or a third condition of it")
        return
    share = Decimal(rate) * Decimal(parse_duration(over)) / Decimal(period) * 100
    tiers[free[0]] = {"budget": f"{share.normalize():f}%", "over": over}
    condition.finish()
    reader.finish()
