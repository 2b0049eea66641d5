"""Objectives: which windows and rates, which records and alerts, what they say of traffic that is known."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from alerts.objectives import calendars, tiers
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group
from midwatch.errors import InvalidInputError
from midwatch.spec import load
from midwatch.spec.slo import CalendarPeriod, Slo
from tests.alerts.conftest import value
from tests.conftest import midwatch_here, need_program

DAY = 86400.0


def slo(**changes: Any) -> Slo:
    return Slo.model_validate({"name": "a", "sli": "availability", "objective": "99.9%"} | changes)


@pytest.fixture
def target(make_platform, make_document) -> Any:
    def make(**changes: Any) -> objectives.Objective:
        model = make_document()["models"][0]
        model |= changes.pop("model", {})
        model["slos"] = [{"name": "a", "sli": "availability", "objective": "99.9%"} | changes]
        return objectives.of_platform(make_platform(models=[model]))[0]

    return make


@pytest.mark.parametrize(("scrape", "short"), [(15, 60), (30, 60), (60, 120), (900, 720)])
def test_a_short_window_holds_two_scrapes_wherever_they_fall(scrape: int, short: int) -> None:
    quickest = next(tiers.tiers_of(slo(window="1d"), scrape=scrape))
    assert (quickest.short, quickest.long) == (short, 720)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("30d", [("5m", "1h", "14.4"), ("30m", "6h", "6"), ("2h", "1d", "3"), ("6h", "3d", "1")]),
        ("28d", [("5m", "1h", "13.44"), ("30m", "6h", "5.6"), ("2h", "1d", "2.8"), ("6h", "3d", "0.933333")]),
        ("90d", [("5m", "1h", "43.2"), ("30m", "6h", "18"), ("2h", "1d", "9"), ("6h", "3d", "3")]),
        ("7d", [("1m", "12m", "16.8"), ("7m", "84m", "6"), ("28m", "336m", "3"), ("84m", "1008m", "1")]),
        ("1d", [("1m", "12m", "6"), ("4m", "48m", "3"), ("12m", "144m", "1")]),
    ],
)
def test_windows_and_burn_rates_follow_from_budget_shares(window: str, expected: list[tuple[str, str, str]]) -> None:
    found = list(tiers.tiers_of(slo(window=window)))
    seconds = {"m": 60, "h": 3600, "d": 86400}
    assert [(tier.short, tier.long, str(tier.burn_rate)) for tier in found] == [
        (int(short[:-1]) * seconds[short[-1]], int(long[:-1]) * seconds[long[-1]], rate)
        for short, long, rate in expected
    ]


def test_each_tier_can_be_off_or_have_numbers_of_its_own() -> None:
    found = list(tiers.tiers_of(slo(burn_rate={"page_quick": False, "ticket_slow": {"budget": "20%", "over": "2d"}})))
    assert [tier.name for tier in found] == ["page_slow", "ticket_quick", "ticket_slow"]
    assert (found[-1].short, found[-1].burn_rate) == (14400, Decimal(3))


def test_a_low_objective_has_rates_that_total_failure_reaches() -> None:
    for tier in tiers.tiers_of(slo(objective="75%")):
        assert 0 < tier.error_ratio(Decimal("0.25")) < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": "12h"}, "from 1d to 90d"),
        ({"window": "91d"}, "from 1d to 90d"),
        ({"objective": "100%"}, "not between 0% and 100%"),
        ({"objective": "0%"}, "not between 0% and 100%"),
        ({"window": {"calendar": "month", "time_zone": "Mars/Olympus"}}, "not an IANA time zone"),
        ({"window": {"calendar": "year"}}, "'week', 'month' or 'quarter'"),
        ({"sli": {"events": {"total": "sum(increase(a[5m]))", "bad": "sum(increase(b[{window}]))"}}}, "{window}"),
        ({"sli": {"events": {"total": "sum(rate(a[{window}]))", "bad": "sum(increase(b[{window}]))"}}}, "mixes"),
        ({"sli": {"events": {"total": "sum(rate(a[{window}]))"}}}, "exactly one of good and bad"),
    ],
)
def test_what_cannot_be_an_objective_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("%", "%")):
        slo(**changes)


def test_every_problem_of_objectives_is_named_at_once_with_its_line(load_text) -> None:
    text = """
apiVersion: midwatch/v1
platform: p
owners:
  a: {extends: b}
  b: {extends: a}
  c: {page: [x], ticket: [nowhere]}
channels:
  x: {webhook: {url: "http://127.0.0.1:1/"}}
models:
  - name: m
    owner: nobody
    task: regression
    slos:
      - {name: one, sli: availability, objective: 99%}
      - {name: one, sli: {outcome: correct}, objective: 99%}
      - {name: two, sli: availability, objective: 99%, window: 1d, burn_rate: {ticket_slow: {budget: 10%, over: 3d}}}
      - {name: three, sli: availability, objective: 99%, burn_rate: {page_quick: {budget: 2%, over: 6m}}}
      - {name: four, sli: drift_free, objective: 99%}
      - {name: five, sli: availability, objective: 99%, window: 7d, compatibility: sloth}
"""
    with pytest.raises(InvalidInputError) as caught:
        load_text(text)
    said = str(caught.value)
    for expected in (
        ":5: owners.a.extends: extends itself: a -> b -> a",
        ":7: owners.c.ticket[0]: there is no channel 'nowhere'",
        ":12: models[0].owner: there is no owner 'nobody'",
        ":16: models[0].slos[1].name: a second objective 'one'",
        ":16: models[0].slos[1].sli.outcome: a regression has no correct or wrong outcome",
        ":17: models[0].slos[2].burn_rate.ticket_slow.over: the period is shorter than this window",
        ":18: models[0].slos[3].burn_rate.page_quick.over: its short window, a twelfth, is under one minute",
        ":19: models[0].slos[4].sli: the model's drift is not watched",
        ":20: models[0].slos[5].window: Sloth has periods of 28d and 30d",
    ):
        assert expected in said, (expected, said)


def test_numbers_are_exact(target) -> None:
    text = str(rule_group(target(objective="99.95%")))
    assert "0.0005" in text
    assert "0.9995" in text
    assert "000000" not in text


# Budgets -------------------------------------------------------------------------------------------------------------

OK, BAD = (
    'ml_requests_total{model="fraud",version="v1",outcome="ok"}',
    'ml_requests_total{model="fraud",version="v1",outcome="error"}',
)
REMAINING = '{__name__="slo:error_budget_remaining:ratio", model="fraud", owner="ml", slo="a"'
LABELS = '{model="fraud", owner="ml", slo="a"}'


def near(record: str, number: float, share: float) -> str:
    """An expression that has a sample when a record is within a share of a number."""
    return f'{record}{{slo="a"}} > {number * (1 - share)} and {record}{{slo="a"}} < {number * (1 + share)}'


def present(expr: str, at: str) -> dict:
    return value(f"count({expr}) by (slo)", at, '{slo="a"}')


def test_the_budget_counts_events_so_that_a_quiet_night_weighs_what_it_is(target, promtool) -> None:
    """12 h at 1000/min, then 12 h at 10/min of which an hour is down: 600 of 727,200."""
    series = {OK: "0+1000x720 720000+10x359 723590+0x60 723600+10x300", BAD: "0+0x1080 10+10x59 600+0x300"}
    expected = [present(near("slo:period_error:ratio", 600 / 727_200, 0.03), "24h")]
    assert not promtool([rule_group(target())], series, expected, "1m", "5m")


def test_an_hour_without_traffic_leaves_no_record_that_is_no_number(target, promtool) -> None:
    series = {OK: "0+100x180 _x60 18000+100x300", BAD: "0+1x180 _x60 180+1x300"}
    group = rule_group(target())
    names = [rule["record"] for rule in group["rules"] if "record" in rule]
    expected = [
        value('slo:burn_rate:ratio5m{slo="a"}', "3h50m", None),
        value("count(slo:period_error:ratio)", "3h50m", "{}"),
    ]
    for at in ("3h50m", "6h"):
        expected += [value(f"{name} != {name} or abs({name}) == Inf", at, None) for name in names]
    assert not promtool([group], series, expected, "1m")


def test_missing_errors_are_none_and_missing_traffic_is_no_evidence(target, promtool) -> None:
    expected = [value('slo:error_budget_remaining:ratio{slo="a"}', "20m", REMAINING + "}")]
    assert not promtool([rule_group(target())], {OK: "0+100x30"}, expected, "1m")
    nothing = [value('{__name__=~"slo:(events|bad_events|burn_rate|period|error_budget).*"}', "20m", None)]
    assert not promtool([rule_group(target())], {"other": "0x30"}, nothing, "1m")


def test_an_objective_by_version_is_kept_for_each(target, promtool) -> None:
    other = OK.replace("v1", "v2")
    series = {OK: "0+100x30", BAD: "0+1x30", other: "0+100x30"}
    expected = [
        value('slo:error_budget_remaining:ratio{version="v2"}', "20m", REMAINING + ', version="v2"}'),
        value('count(slo:error_budget_remaining:ratio{version="v1"} < 0)', "20m", "{}"),
    ]
    assert not promtool([rule_group(target(by=["version"]))], series, expected, "1m")


def test_the_time_to_exhaustion_is_that_of_errors_that_leave_evenly(target, promtool) -> None:
    """Ten hours at half the rate, an hour at twice it: 30d * r / (b - 1 + r), with r left of the budget and b = 2."""
    series = {OK: "0+99950x600 59970000+99800x65", BAD: "0+50x600 30000+200x65"}
    left = 1 - (0.5 * 600 + 2 * 65) / 665
    expected = [
        present(near("slo:time_to_exhaustion:seconds", 2_592_000 * left / (1 + left), 0.05), "664m"),
        value('slo:time_to_exhaustion:seconds{slo="a"}', "590m", None),
    ]
    assert not promtool([rule_group(target())], series, expected, "1m", "2m")


# Low traffic ---------------------------------------------------------------------------------------------------------

FIRING = 'ALERTS{alertname="ErrorBudgetBurn", severity="page", alertstate="firing"}'


def test_one_error_at_ten_requests_an_hour_pages_nobody(target, promtool) -> None:
    series = {OK: "0+0x2 " + " ".join(f"{n}x5" for n in range(1, 80)), BAD: "0x240 1x240"}
    expected = [value(f"count({FIRING})", f"{minute}m", None) for minute in range(240, 300, 5)]
    assert not promtool([rule_group(target())], series, expected, "1m")


def test_a_total_outage_at_ten_requests_an_hour_pages_within_the_hour(target, promtool) -> None:
    healthy = " ".join(f"{n}x5" for n in range(41))
    down = " ".join(f"{n}x5" for n in range(1, 21))
    series = {OK: healthy + " 40x130", BAD: f"0x240 {down}"}
    expected = [value(f"count({FIRING})", "300m", "{}")]
    assert not promtool([rule_group(target())], series, expected, "1m")


# Calendars -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
@pytest.mark.parametrize("calendar", ["week", "month", "quarter"])
def test_a_calendar_period_has_one_id_and_the_next_another(zone: str, calendar: str, promtool) -> None:
    """Around clock changes and turns of periods, against Python's own calendar."""
    expr = str(calendars.period_id(CalendarPeriod(calendar=calendar, time_zone=zone)))

    def expected(at: datetime) -> int:
        local = (at - timedelta(seconds=1)).astimezone(ZoneInfo(zone))
        if calendar == "week":
            return (local.date().toordinal() - 1) // 7 - (date(1970, 1, 1).toordinal() - 1) // 7
        return local.year * 12 + local.month if calendar == "month" else local.year * 4 + (local.month - 1) // 3

    times = [
        datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
        datetime(2026, 11, 1, 3, 59, 59, tzinfo=UTC),
        datetime(2026, 3, 31, 22, 0, 1, tzinfo=UTC),
        datetime(2027, 1, 1, 5, 0, tzinfo=UTC),
        datetime(2026, 12, 31, 18, 30, 1, tzinfo=UTC),
        datetime(2030, 7, 1, 0, 0, tzinfo=UTC),
    ]
    shift = expected(times[0])
    tests = []
    for at in times:
        moved, first = (expr.replace("time()", f"({one.timestamp():.0f})") for one in (at, times[0]))
        tests.append(value(f"({moved}) - ({first})", "0m", "{}", expected(at) - shift))
    assert not promtool([], {"x": "0"}, tests, "1m")


@pytest.mark.parametrize("evaluation", ["5m", "6m"])
def test_a_calendar_period_begins_anew(target, promtool, evaluation: str) -> None:
    """promtool begins on Thursday 1970-01-01: everything fails until Monday, and little after.

    A group that is late is evaluated as seldom; what it recorded before is then out of Prometheus' own look back.
    """
    group = rule_group(target(window={"calendar": "week", "time_zone": "UTC"}))
    group["rules"] = [rule for rule in group["rules"] if re.search("count|period", rule.get("record", ""))]
    series = {OK: "0+0x2880 0+100x120", BAD: "0+100x2879 287900x120"}
    expected = [
        present(near("slo:period_error:ratio", 1.0, 0.001), "95h"),
        value('slo:period_error:ratio{slo="a"}', "98h", LABELS.replace("{", '{__name__="slo:period_error:ratio", '), 0),
    ]
    assert not promtool([group], series, expected, "2m", evaluation)


def test_the_objectives_of_the_guide_are_real_and_their_rules_load(make_document, load_text, promtool) -> None:
    text = Path("docs/alerts.md").read_text()
    (block,) = (found for found in re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S) if found.startswith("slos:"))
    document = make_document()
    document["models"][0] |= {**yaml.safe_load(block), "drift": {"reference": "r.npz", "features": {"x": "numeric"}}}
    platform = load_text(yaml.safe_dump(document))
    groups = [rule_group(one) for one in objectives.of_platform(platform)]
    assert {one.slo.kind for one in objectives.of_platform(platform)} == {
        "availability",
        "latency",
        "outcome",
        "drift_free",
        "fairness",
        "freshness",
        "gauge",
        "events",
    }
    assert not promtool(groups, {"x": "0x10"}, [], "1m")


def test_an_expression_that_is_none_is_named_with_its_line_and_nothing_is_written(
    make_document, tmp_path: Path
) -> None:
    need_program("promtool")
    (tmp_path / "r.yaml").write_text(
        "owner: ml\nalerts:\n- {alert: A, severity: page, summary: s, expr: 'up{'}\n"
        "objectives:\n- {name: o, service: s, objective: 99%, sli: {gauge: {value: 'max(', at_most: 1}}}\n"
    )
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(make_document(rule_files=["r.yaml"])))
    with pytest.raises(InvalidInputError) as caught:
        load.load_platform(file)
    said = str(caught.value)
    assert "r.yaml:3: rules[0].alerts[0].expr: not PromQL" in said
    assert "r.yaml:5: rules[0].objectives[0].sli.gauge.value: not PromQL" in said
    # The parser here takes what promtool does not: a range where a vector belongs.
    (tmp_path / "r.yaml").write_text(
        "owner: ml\nalerts:\n- {alert: A, severity: page, summary: s, expr: 'vector(up) > 1'}\n"
    )
    done = midwatch_here("render", "-f", file, "-o", tmp_path / "out")
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "Traceback" not in done.stderr


def test_the_yaml_of_the_detailed_guide_is_a_platform_that_checks(make_document, load_text, tmp_path: Path) -> None:
    text = Path("docs/objectives.md").read_text()
    serving, rules, proof, ratio, hours = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    file = yaml.safe_load(rules)
    file["alerts"][0] |= yaml.safe_load(proof)
    file["objectives"] += yaml.safe_load(ratio)["objectives"]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(file))
    document = make_document(rule_files=["r.yaml"])
    document["models"].append({"name": "own", "owner": "ml", "task": "regression", **yaml.safe_load(serving)})
    document |= yaml.safe_load(hours)
    document["owners"]["ml"] = document["owners"]["ml-serving"]
    document["plane_owner"] = "ml"
    platform = load_text(yaml.safe_dump(document))
    assert platform.rules[0].alerts[0].proof is not None
    assert len(platform.maintenance) == 2
