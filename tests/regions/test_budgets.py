"""Budgets over all regions: summed counts, never means of ratios, and a bound where a region is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alerts.objectives import groups
from alerts.objectives import objective as objectives
from alerts.routing import configuration, delivery, generate
from midwatch import metrics, yamlfile
from midwatch.spec.model import Platform
from tests.alerts.conftest import promtool, value
from tests.regions.conftest import GLOBAL

__all__ = ["promtool"]

At = Callable[..., Platform]
PERIOD = "slo:events:period", "slo:bad_events:period"
LABELS = 'model="fraud",slo="availability"'
RECORDED = f'{{{LABELS},owner="ml",region="{GLOBAL}"}}'
"""Labels of records of an objective over all regions."""
MINUTE, HOUR = 4, 240
"""Scrapes."""


def of_all(platform: Platform, name: str = "availability") -> list[dict[str, Any]]:
    """Rules of an objective over all regions."""
    found = next(one for one in objectives.of_platform(platform) if one.slo.name == name)
    return [groups.rule_group(found)]


def copied(name: str, region: str, values: str) -> dict[str, str]:
    return {f'copied:{name}{{{LABELS},from_region="{region}"}}': values}


def heartbeat(region: str, values: str) -> dict[str, str]:
    return {f'{metrics.COPIED_HEARTBEAT.name}{{from_region="{region}"}}': values}


def counts(region: str, events: float, bad: float, until: int, after: str = "") -> dict[str, str]:
    return {
        **copied(PERIOD[0], region, f"{events}x{until}{after}"),
        **copied(PERIOD[1], region, f"{bad}x{until}{after}"),
        **copied("slo:events:increase5m", region, f"{300}x{until}{after}"),
    }


def test_a_busy_regions_errors_weigh_by_its_events(promtool: Any, at: At) -> None:
    """East: 900 of 990,000 bad. West: 0 of 10,000. Over both 0.0009 of a promised 0.001; the mean of ratios is half."""
    series = counts("east", 990_000, 900, 40) | counts("west", 10_000, 0, 40)
    series |= heartbeat("east", "0+15x40") | heartbeat("west", "0+15x40")
    expected = [
        value(metrics.SLO_PERIOD_ERROR.name, "5m", metrics.SLO_PERIOD_ERROR.name + RECORDED, 0.0009),
        value(f"round({metrics.SLO_BUDGET_REMAINING.name}, 0.0001)", "5m", RECORDED, 0.1),
        value(f"round({metrics.SLO_BUDGET_AT_LEAST.name}, 0.0001)", "5m", RECORDED, 0.1),
    ]
    assert promtool(of_all(at(GLOBAL)), series, expected, "15s") == ""


def test_of_a_silent_region_what_is_known_counts_and_what_is_not_is_bounded(promtool: Any, at: At) -> None:
    """West falls silent after 5 min. 65 minutes after its last heartbeat at most 3,900 events of it are unseen."""
    series = counts("east", 990_000, 0, 5 * HOUR) | counts("west", 10_000, 100, 5 * MINUTE)
    series |= heartbeat("east", f"0+15x{5 * HOUR}") | heartbeat("west", f"0+15x{5 * MINUTE}")
    nothing_hidden = 1 - (100 / 1_000_000) / 0.001
    bounded = 1 - ((100 + 3900) / (1_000_000 + 3900)) / 0.001
    expected = [
        value(f"round({metrics.SLO_BUDGET_REMAINING.name}, 0.0001)", "70m", RECORDED, round(nothing_hidden, 4)),
        value(f"round({metrics.SLO_BUDGET_AT_LEAST.name}, 0.0001)", "70m", RECORDED, round(bounded, 4)),
    ]
    assert promtool(of_all(at(GLOBAL)), series, expected, "15s") == ""


def test_a_day_after_a_region_was_heard_last_nothing_is_said_of_all(promtool: Any, at: At) -> None:
    """The part that is seen would look like the whole."""
    hours = 26
    series = counts("east", 990_000, 0, hours) | counts("west", 10_000, 100, 1)
    series |= heartbeat("east", f"0+3600x{hours}") | heartbeat("west", "0 3600")
    budget = metrics.SLO_BUDGET_REMAINING.name
    expected = [
        value(f"count({budget})", "24h", "{}"),
        value(f"count({budget})", "26h", None),
        value("count(slo:events:period)", "26h", None),
    ]
    assert promtool(of_all(at(GLOBAL)), series, expected, "1h", "5m") == ""


def test_a_region_without_traffic_of_a_model_leaves_the_budget_known(promtool: Any, at: At) -> None:
    series = counts("east", 1000, 1, 40) | heartbeat("east", "0+15x40") | heartbeat("west", "0+15x40")
    expected = [value(f"count({metrics.SLO_BUDGET_REMAINING.name})", "5m", "{}")]
    assert promtool(of_all(at(GLOBAL)), series, expected, "15s") == ""


def test_a_region_pages_by_its_own_traffic(at: At) -> None:
    """Its rules read what its own Prometheus has, and nothing of other regions."""
    for here in ("east", "west"):
        text = str([groups.rule_group(one) for one in objectives.of_platform(at(here))])
        assert "region" not in text
        assert metrics.COPY_PREFIX not in text


def test_counts_that_the_view_sums_are_recorded_in_each_region(at: At) -> None:
    summed = {
        rule["expr"].partition("copied:")[2].partition("{")[0]
        for one in objectives.of_platform(at(GLOBAL))
        for rule in groups.rule_group(one)["rules"]
        if "copied:slo:" in str(rule.get("expr")) and "record" in rule
    }
    recorded = {
        rule.get("record") for one in objectives.of_platform(at("east")) for rule in groups.rule_group(one)["rules"]
    }
    assert summed <= recorded


def test_an_objective_in_sloths_form_has_no_budget_over_all_regions(at: At, make_document: Any) -> None:
    models = make_document()["models"]
    models[0]["slos"][0]["compatibility"] = "sloth"
    assert [one.slo.name for one in objectives.of_platform(at(GLOBAL, models=models))] == ["latency", "accuracy"]


# Routes -------------------------------------------------------------------------------------------------------------

BURN = {"alertname": "ErrorBudgetBurn", "owner": "ml", "model": "fraud", "slo": "availability"}


def told(platform: Platform, alert: dict[str, str], *firing: dict[str, str]) -> list[tuple[bool, dict[str, str]]]:
    from datetime import UTC, datetime

    config = configuration.parse(yamlfile.dump(generate.alertmanager_config(platform)), "alertmanager.yml")
    found = delivery.deliveries(config, alert, at=datetime(2026, 11, 2, 12, tzinfo=UTC), firing=firing)
    return [(one.is_told, dict(one.group)) for one in found]


def test_alerts_of_two_regions_are_two_notifications_that_say_which(at: At) -> None:
    for region in ("east", "west"):
        ((is_told, group),) = told(at("east"), {**BURN, "severity": "page", "region": region})
        assert is_told
        assert group["region"] == region


@pytest.mark.parametrize(
    ("firing", "alert", "is_told"),
    [
        (("page", "east"), ("page", GLOBAL), False),
        (("page", "east"), ("ticket", GLOBAL), False),
        (("ticket", "east"), ("ticket", GLOBAL), False),
        (("ticket", "east"), ("page", GLOBAL), True),
        (("page", GLOBAL), ("page", "east"), True),
        (("page", "east"), ("ticket", "east"), False),
        (("page", "east"), ("ticket", "west"), True),
        (("page", "east"), ("page", "west"), True),
    ],
    ids=lambda one: "-".join(one) if isinstance(one, tuple) else "told" if one else "inhibited",
)
def test_a_fault_of_one_region_is_told_once(
    at: At, firing: tuple[str, str], alert: tuple[str, str], is_told: bool
) -> None:
    fires, asked = ({**BURN, "severity": severity, "region": region} for severity, region in (firing, alert))
    assert [one for one, _ in told(at("west"), asked, fires)] == [is_told]


def test_an_outage_in_one_region_inhibits_nothing_of_another(at: At) -> None:
    outage = {
        "alertname": "ModelTrafficVanished",
        "severity": "page",
        "owner": "ml",
        "model": "fraud",
        "region": "east",
    }
    no_data = {"alertname": "ModelNoData", "severity": "ticket", "owner": "ml", "model": "fraud"}
    assert [one for one, _ in told(at("east"), {**no_data, "region": "east"}, outage)] == [False]
    assert [one for one, _ in told(at("east"), {**no_data, "region": "west"}, outage)] == [True]
