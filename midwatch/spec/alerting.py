"""Checks what the alerting sections of a platform file must agree on: names, owners, objectives, expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import promql_parser

from midwatch.spec import slo as slos
from midwatch.spec.base import Finding, Place, unknown
from midwatch.spec.channels import lacking
from midwatch.spec.model import Model, Platform
from midwatch.spec.routing import Maintenance
from midwatch.spec.slo import ServingMetrics, Sli, Slo
from midwatch.spec.values import format_duration


def check_owners(platform: Platform) -> Iterator[Finding]:
    """Owners' channels and hours exist, and what an owner extends leads to somebody."""
    for name, owner in platform.owners.items():
        for severity in ("page", "ticket"):
            for index, channel in enumerate(getattr(owner, severity) or ()):
                if channel not in platform.channels:
                    yield ("owners", name, severity, index), *unknown(channel, platform.channels, "channel")
            hours = getattr(owner, f"{severity}_hours")
            if hours is not None and hours not in platform.time_intervals:
                place: Place = ("owners", name, f"{severity}_hours")
                yield place, *unknown(hours, platform.time_intervals, "time interval")
        yield from _check_inheritance(platform, name)


def _check_inheritance(platform: Platform, name: str) -> Iterator[Finding]:
    chain = [name]
    while (base := platform.owners[chain[-1]].extends) is not None:
        if base not in platform.owners:
            if len(chain) == 1:
                yield ("owners", name, "extends"), *unknown(base, platform.owners, "owner")
            return
        if base in chain:
            if base == name:
                circle = " -> ".join([*chain, base])
                yield ("owners", name, "extends"), f"extends itself: {circle}", "end the circle"
            return
        chain.append(base)
    complete = platform.owner(name)
    for severity in ("page", "ticket"):
        if getattr(complete, severity) is None:
            yield ("owners", name, severity), "missing", f"add {severity}, or extend an owner that has it"


def check_owned(platform: Platform) -> Iterator[Finding]:
    """Whoever is called for a model, a rule or an objective is an owner."""
    named: list[tuple[Place, str | None]] = [
        (("models", index, "owner"), model.owner) for index, model in enumerate(platform.models)
    ]
    if platform.plane_owner is None and len(platform.owners) > 1:
        # The first by name would be another as soon as somebody adds an owner.
        remedy = f"name who is called for Midwatch itself: one of {', '.join(sorted(platform.owners))}"
        yield ("plane_owner",), "missing where there are several owners", remedy
    named.append((("plane_owner",), platform.plane_owner))
    for index, file in enumerate(platform.rules):
        named.append((("rules", index, "owner"), file.owner))
        for key in ("alerts", "objectives"):
            named += [
                (("rules", index, key, number, "owner"), rule.owner) for number, rule in enumerate(getattr(file, key))
            ]
    for place, name in named:
        if name is not None and name not in platform.owners:
            yield place, *unknown(name, platform.owners, "owner")


def check_maintenance(platform: Platform) -> Iterator[Finding]:
    """Maintenance names an interval that exists, each maintenance has its own name."""
    seen: set[str] = set()
    for index, one in enumerate(platform.maintenance):
        if one.interval is not None and one.interval not in platform.time_intervals:
            yield ("maintenance", index, "interval"), *unknown(one.interval, platform.time_intervals, "time interval")
        yield from _check_hours(platform, index, one)
        if (owner := one.labels.get("owner")) is not None and owner not in platform.owners:
            yield ("maintenance", index, "labels", "owner"), *unknown(owner, platform.owners, "owner")
        if one.name in seen or one.name in platform.time_intervals:
            yield ("maintenance", index, "name"), f"a second {one.name!r}", "give each its own name"
        seen.add(one.name)


def _check_hours(platform: Platform, index: int, maintenance: Maintenance) -> Iterator[Finding]:
    """Maintenance does not recur in just those hours in which an owner is sent anything: nothing would ever be told."""
    for name in sorted(platform.owners):
        for severity in ("page", "ticket"):
            hours = getattr(platform.owner(name), f"{severity}_hours")
            taken = {"owner": name, "severity": severity}
            is_theirs = all(maintenance.labels.get(label, value) == value for label, value in taken.items())
            if hours is not None and hours == maintenance.interval and is_theirs:
                message = f"{name} is sent {severity}s only in {hours}, so these would never be told"
                yield ("maintenance", index, "interval"), message, "mute another interval, or for other owners"
                return


def check_channels(platform: Platform) -> Iterator[Finding]:
    """Channels need nothing that the Alertmanager lacks, when its version is stated."""
    yield from _check_deadman(platform)
    version = platform.alertmanager.version
    for name, channel in platform.channels.items():
        lack = lacking(channel, version) if version else None
        if lack and version:
            what, since = lack
            yield (
                ("channels", name),
                f"Alertmanager {version[0]}.{version[1]} has no {what}",
                f"{since[0]}.{since[1]} has it; use another channel until then",
            )


def _check_deadman(platform: Platform) -> Iterator[Finding]:
    name = platform.alertmanager.deadman
    place: Place = ("alertmanager", "deadman")
    if name is None:
        return
    if name not in platform.channels:
        yield place, *unknown(name, platform.channels, "channel")
    elif platform.channels[name].integration.is_person:
        message = f"{name} would tell people once a minute that all is well"
        yield (
            place,
            message,
            "name a webhook of whoever misses a heartbeat, such as healthchecks or midwatch alerts deadman",
        )


def check_names(platform: Platform) -> Iterator[Finding]:
    """Models, objectives and rule files have names of their own."""
    models: dict[str, int] = {}
    for index, model in enumerate(platform.models):
        if models.setdefault(model.name, index) != index:
            yield ("models", index, "name"), f"a second model {model.name!r}", "give each its own name"
        yield from _second(model.slos, ("models", index, "slos"))
    files: set[str] = set()
    services: dict[tuple[str, str], Place] = {
        (model.name, slo.name): ("models",) for model in platform.models for slo in model.slos
    }
    for index, file in enumerate(platform.rules):
        if file.name in files:
            yield ("rules", index, "name"), f"a second rule file {file.name!r}", "give each its own name"
        files.add(file.name)
        for number, slo in enumerate(file.objectives):
            place: Place = ("rules", index, "objectives", number)
            if services.setdefault((slo.service, slo.name), place) != place:
                yield (*place, "name"), f"a second objective {slo.name!r} of {slo.service}", "give each its own name"


def _second(objectives: Sequence[Slo], place: Place) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for number, slo in enumerate(objectives):
        if seen.setdefault(slo.name, number) != number:
            yield (*place, number, "name"), f"a second objective {slo.name!r}", "give each its own name"


def check_objectives(platform: Platform) -> Iterator[Finding]:
    """Every objective can be measured as it is written."""
    interval = platform.prometheus.scrape_interval
    for index, model in enumerate(platform.models):
        for number, slo in enumerate(model.slos):
            place: Place = ("models", index, "slos", number)
            for inner, message, remedy in (*slos.problems_of(slo, interval), *_model_problems(model, slo)):
                yield (*place, *inner), message, remedy
    for index, file in enumerate(platform.rules):
        for number, service in enumerate(file.objectives):
            place = ("rules", index, "objectives", number)
            for inner, message, remedy in slos.problems_of(service, interval):
                yield (*place, *inner), message, remedy
            if service.kind not in ("events", "freshness", "gauge", "ratio"):
                message = f"{service.kind} is of a model; a service has events, a ratio, freshness or a gauge"
                yield (*place, "sli"), message, "write its events, or move the objective to a model"
            if service.owner is None and file.owner is None:
                yield (*place, "owner"), "missing", "add owner here, or for the whole file"
            if service.alert is not None:
                yield (*place, "alert"), "is for models", "use burn_rate"


def _model_problems(model: Model, slo: Slo) -> Iterator[tuple[Place, str, str]]:
    """What an objective asks of its model, as place below the objective, message and remedy."""
    kind = slo.kind
    sli = slo.sli
    if kind == "drift_free" and model.drift is None:
        yield ("sli",), "the model's drift is not watched", "add drift to the model"
    if kind in ("outcome", "fairness") and model.task != "classification":
        yield ("sli", kind), f"a {model.task} has no correct or wrong outcome", "use latency or availability"
    if not isinstance(sli, str):
        yield from _quality_problems(model, slo, sli)
    if kind in ("availability", "latency"):
        yield from _serving_problems(model, slo)
    if kind == "availability" and slo.alert and model.serving != "midwatch":
        yield ("alert",), "is for Midwatch's own metrics", "use burn_rate"
    if kind not in ("availability", "latency", "outcome") and slo.alert:
        yield ("alert",), f"is not for {kind}", "use burn_rate"
    if isinstance(sli, str):
        return
    if sli.fairness and sli.fairness.attribute not in model.groups:
        message = f"the outcomes of {sli.fairness.attribute!r} are not counted by group"
        yield ("sli", "fairness", "attribute"), message, "add it to the model's groups"
    if sli.fairness and sli.fairness.metric != "accuracy_difference" and model.positive is None:
        yield ("sli", "fairness", "metric"), "needs the model's positive class", "add positive to the model"
    if sli.latency and model.serving == "midwatch" and sli.latency.threshold not in model.latency_buckets:
        bounds = ", ".join(f"{bound:g}" for bound in model.latency_buckets)
        message = f"{format_duration(sli.latency.threshold)} is not a bound of the model's latency_buckets"
        yield ("sli", "latency", "threshold"), message, f"choose one of {bounds} (seconds), or add it to them"


def _quality_problems(model: Model, slo: Slo, sli: Sli) -> Iterator[tuple[Place, str, str]]:
    """What an objective of quality asks of the model's answers and of its events."""
    kind = slo.kind
    of_class = {name: getattr(sli, name) for name in ("precision", "recall", "f1", "false_positive_rate")}
    if kind in of_class and model.task != "classification":
        yield ("sli", kind), f"a {model.task} has no classes", "use absolute_error or mean_absolute_error"
    elif kind in of_class and model.classes and of_class[kind].label not in model.class_names:
        yield ("sli", kind, "class"), *unknown(of_class[kind].label, model.class_names, "class of the model")
    if kind in ("absolute_error", "mean_absolute_error") and model.task != "regression":
        yield ("sli", kind), f"a {model.task} has no errors in a unit", "use precision, recall or outcome"
    if kind == "calibration" and model.positive is None:
        yield ("sli", kind), "needs the model's positive class", "add positive to the model"
    if kind == "labels" and slo.by:
        yield ("by",), "labels that never come are counted by model", "leave by out"


def _serving_problems(model: Model, slo: Slo) -> Iterator[tuple[Place, str, str]]:
    own = model.serving_metrics
    if model.serving == "triton" and slo.kind == "latency":
        message = "Triton publishes latency as sums, not as a histogram: no share in time can be told"
        yield ("sli", "latency"), message, "measure it at the caller, with serving: custom"
    if model.serving != "custom" or own is None:
        return
    if slo.kind == "availability" and own.failures is None:
        yield ("sli",), "serving_metrics has no failures", "add them"
    if slo.kind == "latency" and own.duration is None:
        yield ("sli", "latency"), "serving_metrics has no duration", "add the histogram"


def check_serving(platform: Platform) -> Iterator[Finding]:
    """A custom server's metrics are given, and nobody else's."""
    for index, model in enumerate(platform.models):
        if (model.serving == "custom") != (model.serving_metrics is not None):
            message = "goes with serving: custom, and only with it"
            yield ("models", index, "serving_metrics"), message, "add it, or remove it"


def check_expressions(platform: Platform) -> Iterator[Finding]:
    """What people wrote as PromQL is PromQL; promtool has the last word."""
    written: list[tuple[Place, str]] = []
    for index, model in enumerate(platform.models):
        for number, slo in enumerate(model.slos):
            written += [(("models", index, "slos", number, *place), text) for place, text in expressions_of(slo)]
        for name in sorted(set(ServingMetrics.model_fields) - {"duration_unit", "version_label"}):
            text = getattr(model.serving_metrics, name, None)
            written += [(("models", index, "serving_metrics", name), text)] if text else []
    for index, file in enumerate(platform.rules):
        for number, service in enumerate(file.objectives):
            written += [
                (("rules", index, "objectives", number, *place), text) for place, text in expressions_of(service)
            ]
        written += [(("rules", index, "alerts", number, "expr"), rule.expr) for number, rule in enumerate(file.alerts)]
        written += [(("rules", index, "records", number, "expr"), one.expr) for number, one in enumerate(file.records)]
    for place, text in written:
        if said := syntax_problem(text):
            yield place, said, "correct the expression"


def syntax_problem(text: str) -> str:
    """Why a text is not PromQL, or an empty text."""
    try:
        promql_parser.parse(text.replace(slos.WINDOW_PLACEHOLDER, "5m"))
    except ValueError as error:
        return f"not PromQL: {' '.join(str(error).split())}"
    return ""


def expressions_of(slo: Slo) -> Iterator[tuple[Place, str]]:
    """What people wrote as PromQL in an objective, with its place."""
    for kind, names in (
        ("events", ("total", "good", "bad")),
        ("gauge", ("value",)),
        ("freshness", ("timestamp", "age")),
        ("ratio", ("errors",)),
    ):
        sli = getattr(slo.sli, kind, None)
        for name in names:
            if (text := getattr(sli, name, None)) is not None:
                yield ("sli", kind, name), text


CHECKS: tuple[Callable[[Platform], Iterator[Finding]], ...] = (
    check_owners,
    check_owned,
    check_maintenance,
    check_channels,
    check_names,
    check_objectives,
    check_serving,
    check_expressions,
)
