"""OpenSLO v1 and v1alpha: SLO objects, and the SLI, AlertPolicy and AlertCondition objects they refer to.

https://github.com/OpenSLO/OpenSLO, README "Object types". A query is taken over windows when it is a counter: a
selector, or a sum of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from promql_parser import AggregateExpr, VectorSelector

from alerts import expressions
from alerts.imports.reader import LABEL, OURS, Reader, percent
from alerts.imports.sloth import RUNBOOKS
from midwatch.spec.values import format_duration, parse_duration

Others = Mapping[tuple[str, str], Reader]
"""Objects of a file by kind and name."""

OPERATORS = {"lte": "at_most", "lt": "at_most", "gte": "at_least", "gt": "at_least"}
CALENDARS = {"1w": "week", "1M": "month", "1Q": "quarter", "3M": "quarter"}
UNITS = {"Day": "d", "Week": "w", "Hour": "h", "Minute": "m"}


def objectives(reader: Reader, others: Others, owner: str) -> list[dict[str, Any]]:
    """Objectives of a document: none of one that is not an SLO."""
    version = str(reader.take("apiVersion"))
    kind = reader.take("kind")
    if kind in ("SLI", "AlertPolicy", "AlertCondition", "Service", "DataSource"):
        _finish_metadata(reader.inner("metadata"))
        reader.take("spec")  # of the first three it is read where an SLO refers to it
        if kind in ("Service", "DataSource") and (inside := reader.inner("spec")) is not None:
            _beside(inside, str(kind))
        reader.finish()
        return []
    if kind != "SLO":
        reader.refuse(("kind",), f"cannot be translated: {kind}")
        return []
    metadata, spec = reader.inner("metadata"), reader.inner("spec")
    if metadata is None or spec is None:
        reader.refuse((), "metadata or spec is missing")
        return []
    name = metadata.name("name")
    common: dict[str, Any] = {"service": spec.name("service"), **_about(metadata, owner)}
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
            **_objective(row, indicator, method, common.get("annotations", {})),
            **rates,
        }
        for index, row in enumerate(rows)
    ]
    if indicator is not None:
        indicator.unsaid("description")
        indicator.finish()
    if not rows:
        spec.refuse((), "objectives is missing")
    spec.untranslatable("labels", "labels of objectives stand in the rule file")
    reader.finish()
    spec.finish()
    return slos


def _beside(spec: Reader, kind: str) -> None:
    """A service, or a data source: the one there is is Prometheus."""
    spec.unsaid("description")
    if kind == "DataSource":
        source = spec.text("type", "Prometheus")
        if source.lower() != "prometheus":
            spec.refuse(("type",), f"cannot be translated: {source}")
        spec.note((), "is not written: queries go to the Prometheus that has the rules")
        spec.take("connectionDetails")
    spec.finish()


# What describes it -------------------------------------------------------------------------------------------------

OSKO = "label.osko.dev/"
"""Prefix of labels that osko puts on rules."""


def _about(metadata: Reader, owner: str) -> dict[str, Any]:
    """Labels and annotations of an SLO, as its alerts will have them."""
    annotations = metadata.annotations("annotations")
    settings: dict[str, Any] = {}
    for key in RUNBOOKS:
        if key in annotations:
            settings["runbook"] = annotations.pop(key)
    if shown := metadata.text("displayName", ""):
        annotations["display_name"] = shown
    labels = _labels(metadata, owner)
    metadata.finish()
    kept = {"labels": labels, "annotations": annotations}
    return settings | {key: value for key, value in kept.items() if value}


def _labels(metadata: Reader, owner: str) -> dict[str, str]:
    """Labels of an object. A value that is a list is its texts, joined: OpenSLO allows both."""
    given = metadata.take("labels")
    if given is not None and not isinstance(given, dict):
        metadata.refuse(("labels",), "is not a mapping")
        return {}
    labels: dict[str, str] = {}
    for key, value in (given or {}).items():
        name = str(key).removeprefix(OSKO)
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value or "")
        if isinstance(value, dict):
            metadata.refuse(("labels", key), "is not a text")
        elif not LABEL.fullmatch(name):
            metadata.drop(("labels", key), f"{name!r} is not a label name")
        elif name not in OURS:
            labels[name] = text
        elif name != "owner" or text != owner:
            metadata.note(("labels", key), f"the label {name} is Midwatch's own; kept as exported_{name}: {text}")
            labels[f"exported_{name}"] = text
    return labels


def _finish_metadata(metadata: Reader | None) -> None:
    """Say what is left out of what describes an object that only others refer to."""
    if metadata is None:
        return
    for key in ("name", "displayName"):
        metadata.take(key)
    for key in ("labels", "annotations"):
        metadata.untranslatable(key, "alerts carry those of the SLO")
    metadata.finish()


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
    rolling = window.flag("isRolling")
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
    if not _is_begin(start, CALENDARS[duration]):
        first = {"week": "on a Monday", "month": "on a first day", "quarter": "in January, April, July or October"}
        reason = f"a {CALENDARS[duration]} that begins at {start}; Midwatch's begin {first[CALENDARS[duration]]}"
        calendar.refuse(("startTime",), f"cannot be translated: {reason}")
    return {"calendar": CALENDARS[duration], "time_zone": zone}


def _is_begin(start: str, period: str) -> bool:
    """Whether a time is the begin of one of Midwatch's calendar periods."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d)[ T]00:00(:00)?(Z|\+00:00)?", start)
    try:
        day = date.fromisoformat(match[1]) if match else None
    except ValueError:
        day = None
    if day is None:
        return False
    if period == "week":
        return day.weekday() == 0
    return day.day == 1 and (period == "month" or day.month % 3 == 1)


def _window_v1alpha(spec: Reader) -> Any:
    """Period of v1alpha; one that says neither that it rolls nor a calendar rolls, as Sloth reads it."""
    windows = list(spec.items("timeWindows"))
    if len(windows) != 1:
        spec.refuse(("timeWindows",), f"{len(windows)} time windows; an objective has one")
        return None
    (window,) = windows
    unit, count = window.text("unit"), window.text("count")
    calendar = window.inner("calendar")
    if (window.flag("isRolling") or calendar is None) and unit in UNITS:
        window.finish()
        if not re.fullmatch(r"[1-9]\d*", count):
            window.refuse(("count",), f"cannot be translated: {count} {unit}")
            return None
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
    _finish_metadata(inner.inner("metadata"))
    return inner.inner("spec") or inner


def _objective(row: Reader, indicator: Reader | None, method: str, annotations: dict[str, str]) -> dict[str, Any]:
    key = "target" if row.take("target") is not None else "targetPercent"
    row.take("targetPercent")
    number = row.number(key)
    per_cent = number * 100 if number is not None and key == "target" else number
    objective: dict[str, Any] = {"objective": percent(per_cent, row, (key,))}
    if shown := row.text("displayName", ""):
        objective["annotations"] = {**annotations, "objective": shown}
    row.untranslatable("compositeWeight", "composite objectives")
    row.untranslatable("timeSliceTarget", "a slice is good or bad by its value")
    own = row.inner("indicator")
    if own is not None:
        _finish_metadata(own.inner("metadata"))
        indicator = own.inner("spec") or own
        indicator.unsaid("description")
    ratio = row.inner("ratioMetrics")  # v1alpha has it in the objective
    source = ratio or (indicator.inner("ratioMetric") if indicator else None)
    if source is not None and method == "Occurrences":
        row.untranslatable("op", "of a ratio")
        if row.take("value") not in (None, "1", "1.0"):
            row.refuse(("value",), "cannot be translated: of a ratio")
        objective["sli"] = {"events": _ratio(source)}
    elif indicator is not None and (threshold := indicator.inner("thresholdMetric")) is not None:
        objective["sli"] = {"gauge": _threshold(row, threshold, method)}
    else:
        row.refuse((), f"cannot be translated: neither events counted nor a threshold ({method})")
    if own is not None and indicator is not None:
        indicator.finish()
    row.finish()
    return objective


def _ratio(reader: Reader) -> dict[str, str]:
    counted = [flag for flag in (reader.flag("counter"), reader.flag("incremental")) if flag is not None]
    if not (any(counted) or (not counted and _is_windowed(reader))):
        reader.refuse((), "cannot be translated: counter is not true; events are counted by counters")
    for key in ("raw", "rawType"):
        reader.untranslatable(key, "a ratio without its events has no counts to budget from")
    events = {"total": _query(reader, "total")}
    side = "bad" if reader.take("bad") is not None else "good"
    events[side] = _query(reader, side)
    reader.finish()
    return events


def _is_windowed(reader: Reader) -> bool:
    """Whether queries say the window themselves, as Sloth's do, so that nothing has to be known of their metrics."""
    texts = [str(reader.take(key)) for key in ("good", "bad", "total") if reader.take(key) is not None]
    return all(_WINDOW.search(text) for text in texts)


_WINDOW = re.compile(r"\[\s*\{\{\s*\.?window\s*\}\}\s*\]")


def _query(reader: Reader, key: str) -> str:
    """A counter's query as events over a window."""
    inner = reader.inner(key)
    if inner is None:
        reader.refuse((), f"{key} is missing")
        return "{window}"
    text = _WINDOW.sub("[{window}]", _source(inner))
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
    operator, value = row.text("op"), row.number("value")
    if operator not in OPERATORS:
        row.refuse(("op",), f"{operator!r} is not one of {', '.join(OPERATORS)}")
    if operator in ("lt", "gt"):
        row.note(("op",), f"{operator} is {OPERATORS[operator]}: the limit itself is good")
    return {"value": _source(reader), OPERATORS.get(operator, "at_most"): float(value or 0)}


# Alerts ------------------------------------------------------------------------------------------------------------


def _burn_rates(spec: Reader, others: Others, window: Any) -> dict[str, Any]:
    """Tiers of the burn-rate conditions; without policies, the standard ones."""
    policies = spec.take("alertPolicies")
    if not policies:
        return {}
    if not isinstance(policies, list):
        spec.refuse(("alertPolicies",), "is not a list")
        return {}
    period = parse_duration(window) if isinstance(window, str) else 30 * 86400.0
    tiers: dict[str, Any] = dict.fromkeys(("page_quick", "page_slow", "ticket_quick", "ticket_slow"), False)
    waits: set[str] = set()
    for index, given in enumerate(policies):
        name = given.get("alertPolicyRef") if isinstance(given, dict) else given
        is_inline = isinstance(given, dict) and name is None and "spec" in given
        here = Reader(spec.document, (*spec.place, "alertPolicies", index), spec.log) if is_inline else None
        policy = here or others.get(("AlertPolicy", str(name)))
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
    policy.unsaid("description")
    policy.untranslatable("notificationTargets", "routes come from owners")
    if policy.flag("alertWhenNoData"):
        policy.drop(("alertWhenNoData",), "write an alert with absent() in the rule file")
    if policy.flag("alertWhenResolved") is not None:
        policy.note(("alertWhenResolved",), "whether it is told that an alert is over is a channel's send_resolved")
    is_quiet = policy.flag("alertWhenBreaching") is False
    if is_quiet:
        policy.drop(("alertWhenBreaching",), "a policy of burn rates that does not alert on them")
    for given in policy.items("conditions"):
        name = given.take("conditionRef")
        condition = others.get(("AlertCondition", str(name))) if name else given
        inside = condition.inner("spec") if condition is not None else None
        if condition is given:
            for key in ("apiVersion", "kind"):
                given.take(key)
            _finish_metadata(given.inner("metadata"))
        given.finish()
        if inside is None:
            given.refuse((), f"there is no AlertCondition {name!r} in the file" if name else "spec is missing")
        elif not is_quiet:
            _condition(inside, period, tiers, waits)
    policy.finish()


def _condition(reader: Reader, period: float, tiers: dict[str, Any], waits: set[str]) -> None:
    severity = reader.text("severity")
    reader.unsaid("description")
    condition = reader.inner("condition")
    if condition is None:
        reader.refuse((), "condition is missing")
        return
    if condition.text("kind", "burnrate").lower() != "burnrate":
        condition.refuse(("kind",), "cannot be translated: not a burn rate")
    if condition.text("op", "gte") not in ("gt", "gte"):
        condition.refuse(("op",), "cannot be translated: a burn rate alerts from above")
    over, rate = condition.duration("lookbackWindow"), condition.number("threshold")
    if condition.duration("alertAfter", "0m"):
        waits.add(condition.text("alertAfter"))
    kind = {"page": "page", "critical": "page", "ticket": "ticket", "warning": "ticket"}.get(severity.lower())
    free = [name for name in tiers if kind and name.startswith(kind) and tiers[name] is False]
    if not free:
        reader.refuse(("severity",), f"cannot be translated: severity {severity!r}, or a third condition of it")
        return
    if over is not None and rate is not None:
        share = rate * Decimal(over) / Decimal(period) * 100
        tiers[free[0]] = {"budget": f"{share.normalize():f}%", "over": condition.text("lookbackWindow")}
    condition.finish()
    reader.finish()
