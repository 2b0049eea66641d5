"""Checks of inhibitions that silence too much or nothing, and of time intervals that mute always or never."""

from __future__ import annotations

from collections.abc import Iterator

from alerts.lint.problem import Check, Context
from alerts.routing.matchers import Matcher, Matchers
from midwatch.spec.base import Finding


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
    """A label in equal that may be missing on both sides: alerts that lack it silence one another."""
    for rule in context.config.inhibitions:
        for index, label in enumerate(rule.equal):
            if not (_present(label, rule.source) or _present(label, rule.target)):
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
            if one.get("name") == name:
                return (key, index)
    return ()


def double_equals(context: Context) -> Iterator[Finding]:
    """`==` is read as `=` and a value that begins with `=`."""

    def wrong(matchers: Matchers) -> list[Matcher]:
        return [one for one in matchers if one.operator in ("=", "!=") and one.value.startswith("=")]

    sides = [(route.place, route.matchers) for route in context.config.route.walk()]
    sides += [(rule.place, (*rule.source, *rule.target)) for rule in context.config.inhibitions]
    for place, matchers in sides:
        for matcher in wrong(matchers):
            message = f"{matcher} compares with a value that begins with ="
            yield place, message, f'write {matcher.name}="{matcher.value.lstrip("=")}"'


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
    "matcher-double-equals": double_equals,
}
