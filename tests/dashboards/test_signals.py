"""What panels compute, on a Prometheus whose past is known."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from dashboards import annotation, reader
from dashboards.pages import fleet, objectives, resilience
from midwatch import metrics, promql, signals
from midwatch.signals import WILSON_Z, Selection
from midwatch.traffic import Traffic

WINDOW = {"window": "10m", "__rate_interval": "1m", "__interval": "15s", "models": ".*"}
EVERYTHING: Selection = {"model": "fraud"}


def counter(rate: float, *, since: int = 0):
    """So many more at each scrape."""
    return lambda point: max(0, point - since) * rate


def outcome(predicted: str, actual: str, version: str = "v1") -> str:
    return f'ml_settled_outcomes_total{{model="fraud",version="{version}",predicted="{predicted}",actual="{actual}"}}'


SERIES = {
    'ml_requests_total{model="fraud",version="v1",outcome="ok"}': counter(90),
    'ml_requests_total{model="fraud",version="v1",outcome="error"}': counter(10),
    'ml_requests_total{model="fraud",version="v2",outcome="ok"}': counter(5),
    'ml_predictions_total{model="fraud",version="v1",predicted="yes"}': counter(30),
    'ml_predictions_total{model="fraud",version="v1",predicted="no"}': counter(90),
    # 100 labels a scrape: 60 right. yes is right in 40 of 60, no in 20 of 40.
    outcome("yes", "yes"): counter(40),
    outcome("yes", "no"): counter(20),
    outcome("no", "yes"): counter(20),
    outcome("no", "no"): counter(20),
    outcome("yes", "no", "v2"): counter(7),
    'ml_outcomes_total{model="fraud",version="v1",predicted="yes",actual="no"}': counter(100),
    'ml_settled_predictions_total{model="fraud",version="v1",predicted="yes",result="right"}': counter(40),
    'ml_settled_predictions_total{model="fraud",version="v1",predicted="yes",result="wrong"}': counter(20),
    'ml_settled_predictions_total{model="fraud",version="v1",predicted="no",result="unlabelled"}': counter(20),
    'ml_drift_detected{model="fraud",version="v2"}': lambda _: 1,
    'slo:error_budget_remaining:ratio{model="fraud",slo="availability"}': lambda _: 0.5,
    'slo:error_budget_remaining:ratio{model="fraud",slo="latency"}': lambda _: 0.25,
    'ALERTS{alertname="A",alertstate="firing",severity="page",model="fraud",version="v1"}': lambda _: 1,
    'ALERTS{alertname="B",alertstate="firing",severity="ticket",model="fraud"}': lambda _: 1,
    'ALERTS{alertname="C",alertstate="pending",severity="page",model="fraud",version="v2"}': lambda _: 1,
    'dr_drill_verdict{drill="d",store="s",verdict="met"}': lambda _: 0,
    'dr_drill_verdict{drill="d",store="s",verdict="breached"}': lambda _: 1,
    'dr_drill_last_run_timestamp_seconds{drill="d",store="s"}': lambda _: 1700000000,
    'canary_verdict{model="fraud",baseline="v1",canary="v2",verdict="inconclusive"}': lambda point: int(point < 50),
    'canary_verdict{model="fraud",baseline="v1",canary="v2",verdict="fail"}': lambda point: int(point >= 50),
}


def asked(past, expr: object) -> dict[tuple[str, ...], float]:
    return past.values(reader.filled(str(expr), WINDOW))


def test_errors_are_a_share_and_0_where_none_failed(past) -> None:
    assert asked(past, signals.errors(EVERYTHING, "version")) == pytest.approx({("v1",): 0.1, ("v2",): 0})


def test_accuracy_is_the_diagonal_over_everything_labelled(past) -> None:
    assert asked(past, signals.accuracy(EVERYTHING, "version")) == pytest.approx({("v1",): 0.6, ("v2",): 0})
    assert asked(past, signals.accuracy(EVERYTHING)) == pytest.approx({(): 60 / 107})


def test_precision_and_recall_are_those_of_each_class(past) -> None:
    where = {**EVERYTHING, "version": "v1"}
    assert asked(past, signals.precision(where, "version")) == pytest.approx(
        {("yes", "v1"): 2 / 3, ("no", "v1"): 1 / 2}
    )
    assert asked(past, signals.recall(where, "version")) == pytest.approx({("yes", "v1"): 2 / 3, ("no", "v1"): 1 / 2})


def test_the_interval_of_accuracy_is_wilsons(past) -> None:
    where = {**EVERYTHING, "version": "v1"}
    labels = asked(past, signals.labelled(where))[()]
    right = asked(past, signals.right(where))[()]
    assert labels == pytest.approx(100 * 40)
    interval = binomtest(round(right), round(labels)).proportion_ci(method="wilson")
    low, high = (asked(past, signals.accuracy_bound(where, "version", upper=upper))[("v1",)] for upper in (False, True))
    assert (low, high) == pytest.approx((interval.low, interval.high))
    assert math.isclose(WILSON_Z, 1.96, abs_tol=1e-4)


def test_predictions_are_shares_of_all_classes(past) -> None:
    assert asked(past, signals.predictions({**EVERYTHING, "version": "v1"})) == pytest.approx(
        {("yes",): 0.25, ("no",): 0.75}
    )


def test_label_coverage_is_labels_over_predictions(past) -> None:
    assert asked(past, signals.label_coverage({**EVERYTHING, "version": "v1"}, "version")) == pytest.approx(
        {("v1",): 100 / 120}
    )


def test_settled_predictions_are_shares_of_those_that_were_settled(past) -> None:
    assert asked(past, signals.settled(EVERYTHING)) == pytest.approx(
        {("right",): 0.5, ("wrong",): 0.25, ("unlabelled",): 0.25}
    )


def test_a_verdict_is_the_number_of_the_one_that_is_1_now(past) -> None:
    codes = {"pass": 1.0, "inconclusive": 2.0, "fail": 3.0}
    expr = signals.verdict(metrics.CANARY_VERDICT, codes, EVERYTHING, "canary")
    assert asked(past, expr) == {("v2",): 3}
    assert asked(past, signals.verdict(metrics.DR_DRILL_VERDICT, resilience.MET, {}, "drill")) == {("d",): 3}


def test_the_fleet_is_in_the_order_of_its_trouble(past) -> None:
    """A page counts 10, a ticket of the model 1 on each version, drift 1, and the worst budget is spent by 0.75."""
    assert asked(past, fleet._trouble(Traffic(has_servers=False))) == pytest.approx(
        {("fraud", "v1"): 10 + 1 + 0.75, ("fraud", "v2"): 1 + 1 + 0.75}
    )


def test_a_budget_is_met_at_risk_or_spent(past) -> None:
    left = promql.select(metrics.SLO_BUDGET_REMAINING)
    for bound, state in ((0, 2), (0.3, 1), (0.6, 0)):
        assert set(asked(past, objectives._state(left - bound)).values()) >= {float(state)}
    assert [state.text for state in objectives.STATES] == ["▼ breached", "◆ at risk", "● met"]


def test_without_the_deadmans_switch_no_alert_is_not_none(past) -> None:
    assert asked(past, fleet._firing("page")) == {(): 1}
    nobody = str(fleet._firing("page")).replace('alertstate="firing"', 'alertstate="nothing"')
    assert asked(past, nobody) == {}


def test_a_drill_is_marked_when_it_ended_with_its_verdict(past) -> None:
    assert asked(past, annotation.drills().expr) == {("d", "s", "breached"): 1700000000000}


def test_a_deployment_is_marked_at_its_first_step_only(past) -> None:
    series = promql.select(metrics.REQUESTS)
    expr = reader.filled(str(annotation._new(series, "version")), WINDOW)
    begun = past.end - 59 * 15
    lines = past.client.query_range(expr, start=begun - 60, end=past.end, step=15)
    assert {line.labels["version"]: [at for at, _ in line.points] for line in lines} == {"v1": [begun], "v2": [begun]}
