"""Checks of inhibitions that silence too much or nothing, and of time intervals that mute always or never."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from alerts.lint.problem import Check, Context
from alerts.routing.matchers import Matcher, Matchers
from midwatch.spec.base import Finding, Place


def without_equal(context: Context) -> Iterator[Finding]:
    """One incident anywhere silences everything that the target names."""
    for rule in context.config.inhibitions:
        if not rule.equal:
            message = "no equal: one firing source silences its targets everywhere"
            yield rule.place, message, "name the labels that source and target share"


def equal_unknown(context: Context) -> Iterator[Finding]:
    """A label in equal that no alert has is empty on both sides, so it does not tell incidents apart."""
    names = context.label_names
    if names is None:
        return
    for rule in context.config.inhibitions:
        for index, label in enumerate(rule.equal):
            if label not in names:
                message = f"no alert has the label {label!r}: it is empty, and so equal, on both sides"
                yield (*rule.place, "equal", index), message, "remove it, or correct its name"


def through_missing(context: Context) -> Iterator[Finding]:
    """A label in equal that may be missing on both sides: alerts that lack it silence one another.

    No alert lacks its name.
    """
    for rule in context.config.inhibitions:
        for index, label in enumerate(rule.equal):
            if label != "alertname" and not (_present(label, rule.source) or _present(label, rule.target)):
                message = f"alerts without {label!r} inhibit one another: a missing label equals an empty one"
                yield (*rule.place, "equal", index), message, f'add {label}!="" to both sides'


def _present(label: str, matchers: Matchers) -> bool:
    return any(one.name == label and not one.matches("") for one in matchers)


def source_is_target(context: Context) -> Iterator[Finding]:
    """Source and target are the same, so nothing is ever inhibited."""
    for rule in context.config.inhibitions:
        if rule.source and set(rule.source) == set(rule.target):
            message = "source and target are the same: an alert that both sides match is not inhibited"
            yield rule.place, message, "name what inhibits what"


def mutual(context: Context) -> Iterator[Finding]:
    """Two rules that inhibit each other: with both firing, nobody is told of either."""
    rules = context.config.inhibitions
    for index, rule in enumerate(rules):
        for other in rules[:index]:
            crossed = set(rule.source) == set(other.target) and set(rule.target) == set(other.source)
            if crossed and rule.source:
                message = f"inhibits what inhibits it (inhibit_rules[{other.place[-1]}]): both silent, nobody is told"
                yield rule.place, message, "keep one direction"


def empty_source(context: Context) -> Iterator[Finding]:
    """A source that any alert is."""
    for rule in context.config.inhibitions:
        if all(one.matches("") for one in rule.source):
            message = "alerts without its labels are a source" if rule.source else "every alert is a source"
            yield rule.place, message, "name what inhibits"


def interval_always(context: Context) -> Iterator[Finding]:
    """A time interval that is always: what it mutes is never told."""
    muting = {name for route in context.config.route.walk() for name in route.mute}
    for name in sorted(muting):
        if any(interval.is_always for interval in context.config.intervals.get(name, ())):
            yield _interval_place(context, name), f"{name!r} mutes always", "restrict it, or remove the route"


def interval_unused(context: Context) -> Iterator[Finding]:
    """A time interval that no route names."""
    used = {name for route in context.config.route.walk() for name in (*route.mute, *route.active)}
    for name in context.config.intervals:
        if name not in used:
            yield _interval_place(context, name), f"no route uses the time interval {name!r}", "use it, or remove it"


def interval_twice(context: Context) -> Iterator[Finding]:
    """One interval both active and muted: muting wins, so nothing is ever told."""
    for route in context.config.route.walk():
        for name in sorted(set(route.mute) & set(route.active)):
            message = f"{name!r} is active and muted at once: muting wins, nothing is told"
            yield route.place, message, "keep one"


def _interval_place(context: Context, name: str) -> tuple[str | int, ...]:
    values = context.config.document.values
    for key in ("time_intervals", "mute_time_intervals"):
        for index, one in enumerate(values.get(key) or ()):
            if isinstance(one, dict) and one.get("name") == name:
                return (key, index)
    return ()


def interval_items(context: Context) -> Iterator[Finding]:
    """Two items, one of which has the days and the other the times: either is enough, where both were meant."""
    values = context.config.document.values
    for name in context.config.intervals:
        place = _interval_place(context, name)
        if not place:
            continue
        items = values[place[0]][place[1]].get("time_intervals") or ()  # type: ignore[index] # a key and an index
        keys = [set(one) - {"location"} for one in items if isinstance(one, dict)]
        if any(first and second and not first & second for first, second in itertools.combinations(keys, 2)):
            message = f"{name!r}: the items of a list are alternatives, either is enough"
            yield place, message, "write the days and the times into one item, if both have to hold"


def _matchers_with_places(context: Context) -> Iterator[tuple[Place, Matcher]]:
    for route in context.config.route.walk():
        yield from ((route.place, one) for one in route.matchers)
    for rule in context.config.inhibitions:
        yield from ((rule.place, one) for one in (*rule.source, *rule.target))


def double_equals(context: Context) -> Iterator[Finding]:
    """`==` is read as `=` and a value that begins with `=`."""
    for place, matcher in _matchers_with_places(context):
        if matcher.operator in ("=", "!=") and matcher.value.startswith("="):
            message = f"{matcher} compares with a value that begins with ="
            yield place, message, f'write {matcher.name}="{matcher.value.lstrip("=")}"'


def pattern_as_value(context: Context) -> Iterator[Finding]:
    """`=` beside what looks like a pattern: the pipe, dot and star are letters of the value."""
    for place, matcher in _matchers_with_places(context):
        is_pattern = "|" in matcher.value or matcher.value.endswith((".*", ".+"))
        if matcher.operator in ("=", "!=") and is_pattern:
            message = f"{matcher} compares with the text {matcher.value!r}, which no alert has"
            operator = "=~" if matcher.operator == "=" else "!~"
            yield place, message, f'write {matcher.name}{operator}"{matcher.value}"'


def quotes_in_value(context: Context) -> Iterator[Finding]:
    """Single quotes are part of a value."""
    for place, matcher in _matchers_with_places(context):
        if len(matcher.value) > 1 and matcher.value[0] == matcher.value[-1] == "'":
            message = f"{matcher}: single quotes are part of the value"
            yield place, message, f'write {matcher.name}{matcher.operator}"{matcher.value[1:-1]}"'


def alert_for_alertname(context: Context) -> Iterator[Finding]:
    """A matcher on `alert`: the label with an alert's name is `alertname`."""
    if "alert" in (context.label_names or ()):
        return
    for place, matcher in _matchers_with_places(context):
        if matcher.name == "alert":
            yield place, f"{matcher}: no alert has the label 'alert'", f'write alertname{matcher.operator}"…"'


CHECKS: dict[str, Check] = {
    "inhibit-without-equal": without_equal,
    "inhibit-equal-unknown": equal_unknown,
    "inhibit-through-missing-label": through_missing,
    "inhibit-itself": source_is_target,
    "inhibit-mutual": mutual,
    "inhibit-empty-source": empty_source,
    "interval-always": interval_always,
    "interval-unused": interval_unused,
    "interval-active-and-muted": interval_twice,
    "interval-alternatives": interval_items,
    "matcher-double-equals": double_equals,
    "matcher-pattern-as-value": pattern_as_value,
    "matcher-single-quotes": quotes_in_value,
    "matcher-alert": alert_for_alertname,
}
