"""Checks of routes that nothing reaches, alerts without a route of their own, and groups and repeats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from alerts import alerting_rule
from alerts.lint.problem import Check, Context
from alerts.routing.configuration import Route
from alerts.routing.matchers import Matcher, Matchers
from midwatch.spec.base import Finding
from midwatch.spec.channels import INTEGRATIONS
from midwatch.spec.values import describe_duration

WATCHDOGS = (alerting_rule.DEADMAN, "Watchdog", "DeadMansSwitch", "DeadMansSnitch")
"""Names of alerts that always fire: ours, kube-prometheus', and two that are common."""


def unreachable(context: Context) -> Iterator[Finding]:
    """A route that no alert can reach."""
    yield from _unreachable_below(context.config.route, ())


def _unreachable_below(route: Route, above: Matchers) -> Iterator[Finding]:
    conditions = (*above, *route.matchers)
    for index, child in enumerate(route.routes):
        reason = _why_unreachable(child, route.routes[:index], conditions)
        if reason:
            yield child.place, f"no alert can reach this route: {reason}", "remove it, or move or correct its matchers"
        else:
            yield from _unreachable_below(child, conditions)


def _why_unreachable(route: Route, before: Sequence[Route], above: Matchers) -> str:
    conditions = (*above, *route.matchers)
    if conflict := contradiction(conditions):
        return f"{conflict[0]} and {conflict[1]} contradict each other"
    for earlier in before:
        if not earlier.continues and all(implied(matcher, conditions) for matcher in earlier.matchers):
            what = "takes everything" if not earlier.matchers else "takes all that it would"
            return f"routes[{earlier.place[-1]}] before it {what}, and does not continue"
    return ""


def contradiction(conditions: Matchers) -> tuple[Matcher, Matcher] | None:
    """Two matchers that no label value fulfils both; None when none are found."""
    for equal in conditions:
        if equal.operator != "=":
            continue
        for other in conditions:
            if other.name == equal.name and not other.matches(equal.value):
                return equal, other
    return None


def implied(matcher: Matcher, conditions: Matchers) -> bool:
    """Whether everything that fulfils the conditions fulfils the matcher. False when that cannot be told.

    Of a pattern that is a list of values, `a|b`, every value is tried.
    """
    if matcher in conditions or (matcher.operator == "=~" and matcher.value == ".*"):
        return True
    same = [given for given in conditions if given.name == matcher.name]
    if matcher.operator == "=~" and matcher.value == ".+":
        return any(not given.matches("") for given in same)
    return any(
        values is not None and all(map(matcher.matches, values)) for values in (_values_of(given) for given in same)
    )


_LITERALS = re.compile(r"[^.*+?()\[\]{}^$\\]*")


def _values_of(matcher: Matcher) -> Sequence[str] | None:
    """Values that a matcher lets through, when they can be listed."""
    if matcher.operator == "=":
        return [matcher.value]
    text = matcher.value.removeprefix("^").removesuffix("$")
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].removeprefix("?:")
    return text.split("|") if matcher.operator == "=~" and _LITERALS.fullmatch(text) else None


def alert_at_default(context: Context) -> Iterator[Finding]:
    """An alert that no route takes, so that it ends at the default receiver."""
    for labels in context.alerts or ():
        paths = context.config.route.match(labels)
        if any(len(path) == 1 for path in paths):
            yield ("route",), f"{_named(labels)} ends at the default receiver", "give it an owner, or add a route"


def _named(labels: Mapping[str, str]) -> str:
    about = " ".join(f"{name}={labels[name]}" for name in ("severity", "owner", "model", "slo") if name in labels)
    return f"{labels['alertname']} ({about})" if about else labels["alertname"]


def severity_unrouted(context: Context) -> Iterator[Finding]:
    """A severity that alerts have and no route names; `none` is meant for nobody."""
    matchers = [one for route in context.config.route.walk() for one in route.matchers if one.name == "severity"]
    for severity in sorted({labels.get("severity", "") for labels in context.alerts or ()} - {"", "none"}):
        if not any(one.operator in ("=", "=~") and one.matches(severity) for one in matchers):
            yield ("route",), f"no route knows the severity {severity!r}", "add a route, or correct the severity"


def watchdog_at_person(context: Context) -> Iterator[Finding]:
    """The alert that always fires reaches a person, who would learn to look away."""
    known = {labels["alertname"]: labels for labels in context.alerts or ()}
    for name in WATCHDOGS:
        if context.alerts is not None and name not in known:
            continue
        if context.alerts is None and not _mentions(context.config.route, name):
            continue
        for path in context.config.route.match(known.get(name, {"alertname": name, "severity": "none"})):
            people = [name for name in context.config.integrations(path[-1].receiver) if _is_person(name)]
            if people:
                message = f"{name} always fires, and reaches {path[-1].receiver} ({', '.join(sorted(set(people)))})"
                yield path[-1].place, message, "route it to an outside watcher's webhook, or to a receiver without any"


def _is_person(integration: str) -> bool:
    """Whether somebody reads what an integration sends; one that is unknown may be a person's."""
    known = INTEGRATIONS.get(integration)
    return known is None or known.is_person


def _mentions(route: Route, name: str) -> bool:
    matchers = [one for each in route.walk() for one in each.matchers if one.name == "alertname"]
    return any(one.operator in ("=", "=~") and one.matches(name) for one in matchers)


def group_by_unknown(context: Context) -> Iterator[Finding]:
    """Grouping by a label that no alert has."""
    names = context.label_names
    for route in context.config.route.walk():
        own = _own(context, route).get("group_by")
        for index, label in enumerate(own if isinstance(own, list) else ()):
            if names is not None and label not in names and label != "...":
                place = (*route.place, "group_by", index)
                yield place, f"no alert has the label {label!r}", "remove it, or correct its name"


def repeat_below_group(context: Context) -> Iterator[Finding]:
    """A repeat interval below the group interval, which it is rounded up to."""
    for route in context.config.route.walk():
        own = _own(context, route)
        if route.repeat_interval < route.group_interval and {"repeat_interval", "group_interval"} & set(own):
            repeat, group = describe_duration(route.repeat_interval), describe_duration(route.group_interval)
            message = f"repeat_interval {repeat} is below group_interval {group}"
            yield route.place, f"{message}, and is rounded up to it", "write a multiple of group_interval"


def _own(context: Context, route: Route) -> Mapping[str, object]:
    """What the route itself says."""
    node: object = context.config.document.values
    for part in route.place:
        node = node[part]  # type: ignore[index] # the place was made from this document
    return node if isinstance(node, dict) else {}


def reaches_nobody(context: Context) -> Iterator[Finding]:
    """A route whose receiver has no integration drops alerts without a word; the deadman's switch may."""
    for route in context.config.route.walk():
        if context.config.integrations(route.receiver) or not _takes_itself(route):
            continue
        meant = any(
            (one.name == "alertname" and one.operator == "=" and one.value in WATCHDOGS)
            or (one.name == "severity" and one.operator == "=" and one.value == "none")
            for one in route.matchers
        )
        if not meant:
            message = f"receiver {route.receiver!r} has no integration: what this route takes is dropped silently"
            yield route.place, message, "give it one, or route to another receiver"


def _takes_itself(route: Route) -> bool:
    """Whether alerts can end at the route rather than below it."""
    return not any(not child.matchers for child in route.routes)


CHECKS: dict[str, Check] = {
    "route-unreachable": unreachable,
    "receiver-silent": reaches_nobody,
    "alert-at-default": alert_at_default,
    "severity-unrouted": severity_unrouted,
    "watchdog-at-person": watchdog_at_person,
    "group-by-unknown": group_by_unknown,
    "repeat-below-group": repeat_below_group,
}
