"""Counts of counters: each count once, whatever scraping, rule evaluation, processes and labels do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from alerts.objectives import counters
from alerts.objectives import objective as objectives
from alerts.objectives.groups import rule_group, rule_groups
from midwatch import promql

STEPS = 480
"""Samples of a counter, each 15 s: two hours."""
Values = Callable[[int], float | None]


def labels(outcome: str, *, instance: str = "i", version: str = "v1") -> str:
    return f'ml_requests_total{{model="fraud",version="{version}",outcome="{outcome}",job="j",instance="{instance}"}}'


def series(values: Values) -> str:
    """Values for promtool, without a sample where they are None; a series that ends is marked, as Prometheus does."""
    every = [values(step) for step in range(STEPS + 1)]
    ended = [value is None and step > 0 and every[step - 1] is not None for step, value in enumerate(every)]
    return " ".join(
        "stale" if end else "_" if value is None else f"{value:.12g}" for value, end in zip(every, ended, strict=True)
    )


def outside(begin: int, end: int, values: Values) -> Values:
    return lambda step: None if begin <= step < end else values(step)


def within(begin: int, end: int, values: Values) -> Values:
    return lambda step: values(step) if begin <= step < end else None


def growing(speed: float, first: float = 0.0) -> Values:
    return lambda step: first + speed * step


def restarted(speed: float, every: int) -> Values:
    return lambda step: speed * (step % every + 1)


def pods(outcome: str, speed: float, life: int) -> dict[str, Values]:
    """Processes, one after the other, each of which counts from 0."""
    return {
        labels(outcome, instance=f"i{begin}"): within(begin, begin + life, growing(speed, speed * (1 - begin)))
        for begin in range(0, STEPS + 1, life)
    }


def starts(life: int) -> dict[str, Values]:
    return {
        f'process_start_time_seconds{{job="j",instance="i{begin}"}}': within(
            begin, begin + life, growing(0, 15.0 * begin - 10)
        )
        for begin in range(0, STEPS + 1, life)
    }


def both(ok: Values, bad: Values, **where: str) -> dict[str, Values]:
    return {labels("ok", **where): ok, labels("error", **where): bad}


CASES: dict[str, tuple[dict[str, Values], float, float, float]] = {
    "steady": (both(growing(10), growing(1)), 11 * STEPS, STEPS, 0),
    "a burst after each edge of a tile": (
        both(growing(10), lambda step: 7 * ((step + 18) // 20)),
        10 * STEPS + 7 * 24,
        7 * 24,
        0,
    ),
    "a burst between scrapes of a minute": (
        both(lambda step: 10 * (step // 4 * 4), lambda step: 40 * (step // 4 * 4 >= 201)),
        10 * STEPS + 40,
        40,
        0,
    ),
    "a gap of two minutes": (both(outside(100, 108, growing(10)), outside(100, 108, growing(1))), 5280, 480, 0),
    "a gap of an hour, at other errors": (
        both(outside(100, 340, growing(10)), outside(100, 340, lambda step: 300 * (step >= 340))),
        4800 + 300,
        300,
        (2400 + 10 + 300) / 5100,
    ),
    "a gap in which the process began again": (
        both(
            lambda step: None if 100 <= step < 340 else 10 * (step if step < 340 else step - 300),
            growing(0),
        ),
        990 + 1800,
        0,
        400 / 2790,
    ),
    "a crash each 75 s": (both(restarted(100, 5), restarted(30, 5)), 130 * STEPS, 30 * STEPS, 0),
    "a crash within a tile, then many": (
        both(lambda step: 10.0 * step if step < 250 else 100.0 * (step - 249), growing(0)),
        2490 + 100 * (STEPS - 249),
        0,
        0,
    ),
    "an error born at 5": (
        both(growing(10), within(203, STEPS + 1, lambda step: 5.0 + (step >= 300))),
        10 * STEPS + 6,
        6,
        0,
    ),
    "labels that change, of an old counter": (
        {
            **both(within(0, 200, growing(10, 1e6)), within(0, 200, growing(1, 1e4))),
            **both(within(200, 481, growing(10, 1e6)), within(200, 481, growing(1, 1e4)), version="v2"),
        },
        11 * (STEPS - 1),
        STEPS - 1,
        0,
    ),
    "an old target under a new name": (
        {
            **both(within(0, 200, growing(10, 1e6)), within(0, 200, growing(1, 1e4))),
            **both(within(200, 481, growing(10, 1e6)), within(200, 481, growing(1, 1e4)), instance="k"),
        },
        11 * (STEPS - 1),
        STEPS - 1,
        0,
    ),
    "processes of nine minutes": ({**pods("ok", 10, 37), **starts(37)}, 10 * STEPS, 0, 0),
    "processes of nine minutes that do not say when they began": (pods("ok", 10, 37), 10 * (STEPS - 12), 0, 0),
}
"""Series, events and bad events since the first sample, and the share of events that was bridged."""


@pytest.fixture
def objective(make_platform, make_document) -> Any:
    model = make_document()["models"][0]
    model["slos"] = [{"name": "a", "sli": "availability", "objective": "99.9%"}]
    return objectives.of_platform(make_platform(models=[model]))[0]


def counted(promtool: Any, objective: Any, made: dict[str, Values], evaluation: str) -> dict[str, float]:
    """Events, bad events and the bridged share of the period, in the end."""
    group = rule_group(objective)
    group["rules"] = [rule for rule in group["rules"] if re.search("count|period|bridged", rule.get("record", ""))]
    names = ("slo:events:period", "slo:bad_events:period", "slo:period_bridged:ratio")
    asked = [{"expr": name, "eval_time": "2h", "exp_samples": []} for name in names]
    said = promtool([group], {name: series(values) for name, values in made.items()}, asked, "15s", evaluation)
    return {name: float(value) for name, value in re.findall(r'__name__="([^"]+)".*?\} (\S+)', said)}


@pytest.mark.parametrize("case", CASES)
def test_each_count_is_counted_once(case: str, promtool: Any, objective: Any) -> None:
    made, events, bad, bridged = CASES[case]
    found = counted(promtool, objective, made, "5m")
    assert found == pytest.approx(
        {"slo:events:period": events, "slo:bad_events:period": bad, "slo:period_bridged:ratio": bridged}, rel=1e-6
    )


@pytest.mark.parametrize("evaluation", ["1m", "7m"])
@pytest.mark.parametrize("case", ["a crash each 75 s", "a gap of an hour, at other errors", "an error born at 5"])
def test_rules_that_are_late_or_evaluated_more_often_count_the_same(
    case: str, evaluation: str, promtool: Any, objective: Any
) -> None:
    made, events, bad, _ = CASES[case]
    found = counted(promtool, objective, made, evaluation)
    # The last evaluation at 7m is two minutes before the end.
    left = 8 * (events - bad) / STEPS if evaluation == "7m" else 0
    assert found["slo:events:period"] == pytest.approx(events, abs=left * 2)
    assert found["slo:bad_events:period"] == pytest.approx(bad, abs=left * 2 if case.startswith("a crash") else 0.01)


def test_what_was_bridged_opens_a_ticket_and_pages_nobody(promtool: Any, objective: Any) -> None:
    """Half of all failed for an hour, unseen, and nothing before or after."""
    bad = outside(100, 340, lambda step: 1200 * (step >= 340))
    made = both(outside(100, 340, growing(10)), bad)
    firing = 'count by (severity) (ALERTS{alertname="ErrorBudgetBurn", alertstate="firing"})'
    ticket = {"expr": firing, "eval_time": "90m", "exp_samples": [{"labels": '{severity="ticket"}', "value": 1}]}
    given = {name: series(values) for name, values in made.items()}
    assert not promtool([rule_group(objective)], given, [ticket], "15s", "1m")


def test_counts_are_a_group_of_their_own_that_is_evaluated_once_per_tile(objective: Any) -> None:
    counts, records = rule_groups(objective)
    assert counts["interval"] == "5m"
    assert "interval" not in records
    assert all("counted" not in rule.get("record", "") for rule in records["rules"])


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ('sum(rate(a_total{code=~"5.."}[5m]))', 'a_total", code=~"5.."}[1s])) / 300))'),
        ("sum(increase(a_total[5m]))", 'a_total"}[1s])))'),
        ('sum by (x) (increase(a_total{b=\'}\', c="\\"]"}[5m]))', 'b=\'}\', c="\\"]"}[1s])))'),
        ("sum(increase(a_total[5m])) - sum(up)", None),
        ("sum(increase(a_total[5m] offset 1h))", None),
        ("sum(delta(a[5m]))", None),
        ("count_over_time((a > 1)[5m:1m])", None),
    ],
)
def test_growth_of_plain_counters_is_read_from_what_is_remembered(text: str, record: str | None) -> None:
    found = counters.counters_of("s/o", 15.0, {"total": text})
    assert (found is None) == (record is None)
    if found is not None and record is not None:
        assert str(found.counted(promql.raw(text))).endswith(record)


def test_a_counter_is_remembered_once_for_all_that_read_it() -> None:
    texts = {"total": 'sum(increase(a{x="1"}[5m]))', "bad": 'sum(increase(a{x="1", y!="ok"}[5m]))'}
    found = counters.counters_of("s/o", 15.0, texts)
    assert found is not None
    assert found.by_name == {"a": ['a{x="1"}']}
    apart = counters.counters_of("s/o", 15.0, {"total": "increase(a{x='1'}[5m]) + increase(b{y='2'}[5m])"})
    assert apart is not None
    assert list(apart.by_name) == ["a", "b"]
