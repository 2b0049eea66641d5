"""Generates Alertmanager's configuration from owners, severities and channels: nobody writes a route by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from alerts import alerting_rule, tuning
from alerts.objectives import objective as objectives
from alerts.routing import messages, mutes, time_intervals, versions
from midwatch.spec.model import Platform
from midwatch.spec.regions import GLOBAL
from midwatch.spec.slo import Severity
from midwatch.spec.values import format_duration

NOBODY = "nobody"
"""Receiver of what reaches no person: the deadman's switch. It has no integration, on purpose; an outside watcher asks
Prometheus or Alertmanager whether the switch fires."""

DEADMAN = "deadman"
"""Receiver of the deadman's switch where a channel is named for it."""

HEARTBEAT = "1m"
"""How often the deadman's switch is told that alerting works."""

UNROUTED = "unrouted"


def _group_by(platform: Platform) -> list[str]:
    """Labels that tell groups of alerts apart; only alerts of objectives name an `slo`."""
    has_objectives = any(model.slos for model in platform.models) or any(rules.objectives for rules in platform.rules)
    return ["alertname", "model", "version", *(["slo"] if has_objectives else []), *_of_region(platform)]


def _of_region(platform: Platform) -> list[str]:
    """The label by which alerts of one region are no other region's; none where there is but one."""
    return ["region"] if platform.regions else []


def alertmanager_config(platform: Platform, sink_url: str | None = None) -> dict[str, Any]:
    """Configuration: a route per owner and severity, a receiver per set of channels, inhibitions, time intervals.

    An alert without an owner that is known goes to the operator's page channels, since silence would be worse.
    Raises InvalidInputError for what the Alertmanager's version lacks; with a sink, which takes all, that is moot.
    """
    version = versions.version_of(platform)
    if sink_url is None:
        versions.ensure_able(platform, version)
    timing = platform.alertmanager
    routes = [_deadman(platform), *_nobody_on_purpose(platform), *_owner_routes(platform)]
    used = {name for route in _walk(routes) for key in _INTERVAL_KEYS for name in route.get(key, ())}
    document: dict[str, Any] = {
        "route": {
            "receiver": UNROUTED,
            "group_by": _group_by(platform),
            "group_wait": format_duration(timing.group_wait),
            "group_interval": format_duration(timing.group_interval),
            "repeat_interval": format_duration(timing.repeat_interval),
            "routes": routes,
        },
        "receivers": list(_receivers(platform, sink_url)),
    }
    if inhibitions := list(_inhibitions(platform, named=version >= versions.INHIBITION_NAMES)):
        document["inhibit_rules"] = inhibitions
    if used:
        document["time_intervals"] = time_intervals.of_platform(platform, used)
    return document


_INTERVAL_KEYS = ("active_time_intervals", "mute_time_intervals")


def _walk(routes: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for route in routes:
        yield route
        yield from _walk(route.get("routes", ()))


def quoted(label: str, value: str, operator: str = "=") -> str:
    """A matcher that every version since 0.25 reads alike: its value quoted."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{label}{operator}"{escaped}"'


def receiver_of_deadman(platform: Platform) -> str:
    """Who hears of the deadman's switch."""
    return NOBODY if platform.alertmanager.deadman is None else DEADMAN


def _deadman(platform: Platform) -> dict[str, Any]:
    matchers = [quoted("alertname", alerting_rule.DEADMAN), quoted("severity", "none")]
    route = {"receiver": receiver_of_deadman(platform), "matchers": matchers}
    if platform.alertmanager.deadman is None:
        return route
    # Nothing waits for a heartbeat, and an hour between two would be an hour without alerting.
    timing = {"group_wait": "0s", "group_interval": HEARTBEAT, "repeat_interval": HEARTBEAT}
    return {**route, "group_by": ["alertname", *_of_region(platform)], **timing}


def _nobody_on_purpose(platform: Platform) -> Iterator[dict[str, Any]]:
    """A route for alerts of severity none, if a team has any: they are for inhibitions, and meant for nobody."""
    if any(alert.severity == "none" for file in platform.rules for alert in file.alerts):
        yield {"receiver": NOBODY, "matchers": [quoted("severity", "none")]}


def _owner_routes(platform: Platform) -> Iterator[dict[str, Any]]:
    for name in sorted(platform.owners):
        owner = platform.owner(name)
        for severity in Severity:
            hours = getattr(owner, f"{severity.value}_hours")
            active = {"active_time_intervals": [hours]} if hours else {}
            taken = {"owner": name, "severity": severity.value}
            route: dict[str, Any] = {
                "receiver": f"{name}-{severity.value}",
                "matchers": [quoted(label, value) for label, value in taken.items()],
                **active,
            }
            # A muted route still matches, so that no other takes its alerts. Children inherit the receiver, and not
            # the intervals.
            for labels, intervals in mutes.by_labels(platform.maintenance, taken):
                muted = {**active, "mute_time_intervals": intervals}
                if labels:
                    matchers = [quoted(label, value) for label, value in sorted(labels)]
                    route.setdefault("routes", []).append({"matchers": matchers, **muted})
                else:
                    route |= muted
            yield route


# Receivers ---------------------------------------------------------------------------------------------------------


def _receivers(platform: Platform, sink_url: str | None) -> Iterator[dict[str, Any]]:
    yield {"name": NOBODY}
    if platform.alertmanager.deadman is not None:
        yield _receiver(DEADMAN, [platform.alertmanager.deadman], platform, sink_url, send_resolved=False)
    for name in sorted(platform.owners):
        owner = platform.owner(name)
        for severity in Severity:
            channels = getattr(owner, severity.value) or []
            yield _receiver(f"{name}-{severity.value}", channels, platform, sink_url)
    yield _receiver(UNROUTED, platform.owner(platform.operator).page or [], platform, sink_url)


def _receiver(
    name: str, channels: Sequence[str], platform: Platform, sink_url: str | None, *, send_resolved: bool = True
) -> dict[str, Any]:
    receiver: dict[str, Any] = {"name": name}
    for channel in channels:
        kind, settings = platform.channels[channel].kind, platform.channels[channel].integration.settings()
        if sink_url is not None:
            kind, settings = "webhook", {"url": f"{sink_url}/{channel}"}
        texts = messages.of_kind(kind, says_region=platform.regions is not None) or {}
        written = {**settings, **texts, "send_resolved": send_resolved}
        receiver.setdefault(f"{kind}_configs", []).append(written)
    return receiver


# One incident, one page --------------------------------------------------------------------------------------------


def _inhibitions(platform: Platform, *, named: bool) -> Iterator[dict[str, Any]]:
    """An objective's page silences that objective's ticket.

    A missing label equals an empty one, so that `equal` alone would let alerts without an objective silence one
    another: every label in it has to be there. A ticket of a group (`by`) is silenced by the page of its own group
    only, one without groups by any page of its objective.
    """
    groupings = sorted({tuple(sorted(one.slo.by)) for one in objectives.of_platform(platform)})
    every = sorted({label for labels in groupings for label in labels})
    for labels in groupings:
        equal = ["model", "slo", *_of_region(platform), *labels]
        present = [quoted(label, "", "!=") for label in equal]
        absent = [quoted(label, "") for label in every if label not in labels]
        rule = {"name": f"objective-page-over-ticket{''.join(f'-{label}' for label in labels)}"} if named else {}
        yield {
            **rule,
            "source_matchers": [quoted("severity", Severity.PAGE.value), *present],
            "target_matchers": [quoted("severity", Severity.TICKET.value), *present, *absent],
            "equal": equal,
        }
    yield from _outage_inhibitions(platform, named=named)
    if platform.regions is not None:
        yield from _region_inhibitions(named=named)


def _outage_inhibitions(platform: Platform, *, named: bool) -> Iterator[dict[str, Any]]:
    """What an outage of a model brings with it is not told beside it: servers that are gone have no traffic."""
    working = [model for model in platform.models if model.schedule is None]
    for source, targets, there in (
        (
            "ModelUnreachable",
            ("ModelNoData", "ModelTrafficVanished", "ServerDown"),
            [one for one in working if one.job],
        ),
        ("ModelTrafficVanished", ("ModelNoData",), working),
    ):
        if any(not tuning.is_off(model, source) for model in there):
            yield {
                **({"name": f"outage-{source}"} if named else {}),
                "source_matchers": [quoted("alertname", source), *_present(platform)],
                "target_matchers": [quoted("alertname", "|".join(targets), "=~"), *_present(platform)],
                "equal": ["model", *_of_region(platform)],
            }


def _present(platform: Platform) -> list[str]:
    """Matchers of alerts that have what tells outages apart."""
    return [quoted(label, "", "!=") for label in ("model", *_of_region(platform))]


def _region_inhibitions(*, named: bool) -> Iterator[dict[str, Any]]:
    """One region's page or ticket on an objective stands for what the budget over all regions says of that fault."""
    present = [quoted(label, "", "!=") for label in ("model", "slo")]
    for severity in Severity:
        yield {
            **({"name": f"region-{severity.value}-over-global"} if named else {}),
            "source_matchers": [
                quoted("severity", severity.value),
                *present,
                quoted("region", "", "!="),
                quoted("region", GLOBAL, "!="),
            ],
            "target_matchers": [
                quoted("severity", "page|ticket" if severity is Severity.PAGE else severity.value, "=~"),
                *present,
                quoted("region", GLOBAL),
            ],
            "equal": ["model", "slo"],
        }
