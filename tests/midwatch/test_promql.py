"""Expressions: only what a metric has, escaped, exact, and readable by Prometheus."""

from __future__ import annotations

from decimal import Decimal

import promql_parser
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midwatch import metrics, promql

REQUESTS = promql.select(metrics.REQUESTS, model="m")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (REQUESTS, 'ml_requests_total{model="m"}'),
        (promql.rate(REQUESTS, 300.0), 'rate(ml_requests_total{model="m"}[5m])'),
        (promql.rate(REQUESTS, "$__rate_interval"), 'rate(ml_requests_total{model="m"}[$__rate_interval])'),
        (promql.bucket(metrics.REQUEST_DURATION, 0.25), 'ml_request_duration_seconds_bucket{le="0.25"}'),
        (promql.bucket(metrics.REQUEST_DURATION, 1), 'ml_request_duration_seconds_bucket{le="1.0"}'),
        (REQUESTS / REQUESTS * 2, f"{REQUESTS} / {REQUESTS} * 2"),
        (REQUESTS / (REQUESTS * 2), f"{REQUESTS} / ({REQUESTS} * 2)"),
        ((REQUESTS + 1) * 2, f"({REQUESTS} + 1) * 2"),
        (REQUESTS - (REQUESTS - 1), f"{REQUESTS} - ({REQUESTS} - 1)"),
        (1 - Decimal("0.999") < REQUESTS, f"{REQUESTS} > 0.001"),
        ((REQUESTS > 0).and_(REQUESTS < 5, on=["model"]), f"{REQUESTS} > 0 and on (model) {REQUESTS} < 5"),
        (REQUESTS.or_(REQUESTS).unless(REQUESTS), f"({REQUESTS} or {REQUESTS}) unless {REQUESTS}"),
        (REQUESTS.over(REQUESTS, on=["model"], group_left=True), f"{REQUESTS} / on (model) group_left() {REQUESTS}"),
        (promql.absent(REQUESTS), f"absent({REQUESTS})"),
    ],
    ids=str,
)
def test_an_expression_is_written_as_meant(expr: promql.Expr, text: str) -> None:
    assert str(expr) == text
    promql_parser.parse(text.replace("$__rate_interval", "1m"))


def test_labels_a_metric_does_not_have_are_refused_with_those_it_has() -> None:
    with pytest.raises(
        promql.ExpressionError, match="has no label colour; it has instance, job, model, outcome, version"
    ):
        promql.select(metrics.REQUESTS, colour="red")
    with pytest.raises(promql.ExpressionError, match="up has only"):
        promql.scraped(model="m")


@pytest.mark.parametrize("suffix", ["", "_total"])
def test_a_histogram_is_asked_for_by_its_parts_only(suffix: str) -> None:
    with pytest.raises(promql.ExpressionError, match="is a histogram"):
        promql.select(metrics.REQUEST_DURATION, suffix)


@given(st.text(max_size=30))
def test_any_value_is_escaped_so_that_it_is_read_back(value: str) -> None:
    parsed = promql_parser.parse(str(promql.select(metrics.REQUESTS, model=value)))
    assert parsed.matchers.matchers[0].value == value


@given(st.decimals(min_value=0, max_value=1, places=9))
def test_numbers_are_exact(value: Decimal) -> None:
    assert Decimal(str(promql.number(value))) == value


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(promql.ExpressionError):
        promql.number(float("nan"))


OBSERVED = ("explainer_", "registry_", "argo_cd_", "kubernetes_", "tekton_", "kserve_", "feast_")
"""Prefixes of what systems are asked for."""
PREFIXES = ("ml_", "midwatch_", "slo:", "system:", "model:ml_", "canary_", "chaos_", "dr_", "promotion_", *OBSERVED)
PREFIXES += ("region:", "copied:")


def test_every_metric_of_the_catalogue_follows_the_rules_of_naming() -> None:
    for name, metric in metrics.CATALOGUE.items():
        assert name.endswith("_total") == (metric.kind is metrics.Kind.COUNTER), name
        assert bool(metric.buckets) == (metric.kind is metrics.Kind.HISTOGRAM), name
        assert list(metric.buckets) == sorted(metric.buckets), name
        assert metric.help.endswith(".") and name.startswith(PREFIXES), name
