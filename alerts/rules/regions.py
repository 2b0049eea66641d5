"""The dead man's switch of each region: every plane says that it evaluates its rules, and all others miss it.

A plane cannot tell that it is gone. Each hears the heartbeats of all others, the view's among them, so that whichever
is left says what is missing. They say the same alert, of which Alertmanager makes one.

Nor can a plane say that its alerts reach nobody. Its Prometheus counts those, and the others hear
of them with the heartbeat. One that is heard without that count does not see itself: what keeps it from that, such as
names that nobody resolves, may keep it from every Alertmanager, too.
"""

from __future__ import annotations

from typing import Any

from alerts import alerting_rule
from alerts.alerting_rule import AlertingRule
from midwatch import metrics, promql, upstream
from midwatch.spec.model import Platform
from midwatch.spec.regions import GLOBAL, Regions
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.values import describe_duration

NAMES = SILENT, MUTE = "RegionSilent", "RegionMute"
DROPPING_SECONDS, MUTE_SECONDS = 180.0, 240.0
"""As of PrometheusCannotNotify: an alert is sent again every minute, and a restart of Alertmanager drops some once."""
START_SCRAPES = 4
"""Scrapes until a watcher that has just started has surely heard those that are there."""


def records_of(platform: Platform) -> list[dict[str, Any]]:
    """The heartbeat of this plane, and how many of its alerts reached nobody; none without regions."""
    if platform.regions is None:
        return []
    dropped = promql.increase(promql.select(upstream.NOTIFICATIONS_DROPPED), DROPPING_SECONDS)
    return [
        {"record": metrics.HEARTBEAT.name, "expr": str(promql.call("vector", promql.timestamp_now()))},
        # Of several that have an alert, one that is heard is enough.
        {"record": metrics.UNDELIVERED.name, "expr": str(promql.min_by(dropped))},
    ]


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Alerts on each other plane of the inventory: that it is silent, and that its own alerts reach nobody."""
    regions = platform.regions
    if regions is None:
        return []
    return [build(platform, regions, name) for name in regions.others for build in (_silent, _mute)]


def _mute(platform: Platform, regions: Regions, name: str) -> AlertingRule:
    undelivered = promql.select(metrics.COPIED_UNDELIVERED, **{metrics.FROM_REGION: name})
    uncounted = _recent(regions, name).unless(undelivered, on=[metrics.FROM_REGION])
    heartbeats = {str(_heard(name)): "0+15x40"}
    return alerting_rule.build(
        platform,
        MUTE,
        (undelivered > 0).or_(uncounted),
        MUTE_SECONDS,
        platform.operator,
        Severity.PAGE,
        f"The alerts of {name} reach nobody",
        "It evaluates its rules, and no Alertmanager takes what it sends, or it cannot tell whether one does.",
        proof=Proof(
            fires={str(undelivered): "3x40"},
            silent=heartbeats | {str(undelivered): "3x12 0x28"},
            within=MUTE_SECONDS + 90,
        ),
        **regions.labels(name),
    )


def _silent(platform: Platform, regions: Regions, name: str) -> AlertingRule:
    patience, wait = regions.silent_after, START_SCRAPES * platform.prometheus.scrape_interval
    steps = int((patience + wait) // 15) + 20
    return alerting_rule.build(
        platform,
        SILENT,
        promql.absent(_recent(regions, name)),
        wait,
        platform.operator,
        Severity.PAGE,
        f"The plane of {name} has not been heard of for {describe_duration(patience)}",
        _meaning(name, is_primary=name == regions.primary),
        proof=Proof(
            fires={str(_heard(name)): "0x2 _x" + str(steps)},
            silent={str(_heard(name)): f"0+15x{steps}"},
            within=patience + wait + 90,
        ),
        **regions.labels(name),
    )


def _heard(name: str) -> promql.Expr:
    """Heartbeats of a site as they were heard."""
    return promql.select(metrics.COPIED_HEARTBEAT, **{metrics.FROM_REGION: name})


def _recent(regions: Regions, name: str) -> promql.Expr:
    """The last of them, where it is not too old."""
    patience = regions.silent_after
    return promql.last_over_time(_heard(name), patience) > promql.timestamp_now() - patience


def _meaning(name: str, *, is_primary: bool) -> str:
    if name == GLOBAL:
        return "Budgets over all regions are not computed, and cannot page. Each region still pages by its own."
    also = " It is the primary: the loop and drills of recovery stand still until another is." if is_primary else ""
    return f"Nothing is known of the models that {name} serves, and its own alerts cannot fire.{also}"
