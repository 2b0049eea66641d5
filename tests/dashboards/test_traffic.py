"""What dashboards ask of models' traffic counts each model once, by whoever counts it."""

from __future__ import annotations

import json

import pytest

from dashboards import render
from midwatch import traffic
from midwatch.traffic import Traffic
from tests.dashboards.test_documents import whole, with_servers

CHAT = 'model="chat",serving="vllm"'
SERIES = {
    # Its server counts four requests a second, one of which fails; a sample of them reaches the exporter as events.
    f'model:ml_requests:rate{{{CHAT},outcome="ok"}}': lambda _: 3.0,
    f'model:ml_requests:rate{{{CHAT},outcome="error"}}': lambda _: 1.0,
    'ml_requests_total{model="chat",version="v1",outcome="ok"}': lambda point: 15.0 * point,
    # Events only; the rules record them too.
    'ml_requests_total{model="fraud",version="v1",outcome="ok"}': lambda point: 30.0 * point,
    'model:ml_requests:rate{model="fraud",serving="midwatch",version="v1",outcome="ok"}': lambda _: 2.0,
    # A server that does not count failures.
    'model:ml_requests:rate{model="mute",serving="kserve",outcome="unknown"}': lambda _: 5.0,
    f'model:ml_request_duration_seconds_bucket:rate{{{CHAT},le="0.5"}}': lambda _: 2.0,
    f'model:ml_request_duration_seconds_bucket:rate{{{CHAT},le="1.0"}}': lambda _: 4.0,
    f'model:ml_request_duration_seconds_bucket:rate{{{CHAT},le="+Inf"}}': lambda _: 4.0,
    'ml_request_duration_seconds_bucket{model="fraud",version="v1",le="0.1"}': lambda point: 30.0 * point,
    'ml_request_duration_seconds_bucket{model="fraud",version="v1",le="+Inf"}': lambda point: 30.0 * point,
    f"model:ml_request_duration_seconds_sum:rate{{{CHAT}}}": lambda _: 2.0,
    f"model:ml_request_duration_seconds_count:rate{{{CHAT}}}": lambda _: 4.0,
    f'model:ml_tokens:rate{{{CHAT},kind="output"}}': lambda _: 80.0,
    'ml_tokens_total{model="chat",version="v1",kind="output"}': lambda point: 15.0 * point,
}
BOTH = Traffic(has_servers=True)


def asked(past, expr) -> dict:
    return past.values(str(expr).replace("$__rate_interval", "5m"))


def test_a_model_is_counted_by_its_server_where_that_counts_and_by_events_elsewhere(past) -> None:
    by_model = asked(past, BOTH.requests({}, "model"))
    assert by_model == pytest.approx({("chat",): 4, ("fraud",): 2, ("mute",): 5})
    assert asked(past, BOTH.requests({})) == pytest.approx({(): 11})


def test_errors_are_a_share_of_what_is_known_and_unknown_is_not_none(past) -> None:
    assert asked(past, BOTH.errors({}, "model")) == pytest.approx({("chat",): 0.25, ("fraud",): 0})
    assert asked(past, BOTH.errors({})) == pytest.approx({(): 1 / 6})


def test_latency_of_both_is_one_distribution(past) -> None:
    assert asked(past, BOTH.quantile(0.75, {}, "model")) == pytest.approx({("chat",): 0.75, ("fraud",): 0.075})
    assert asked(past, BOTH.mean({})) == pytest.approx({(): 0.5})


def test_tokens_are_the_servers_and_not_added_to_those_of_its_events(past) -> None:
    assert asked(past, BOTH.tokens({}, "kind")) == pytest.approx({("output",): 80})


def test_a_platform_whose_models_are_counted_by_events_asks_for_events_only() -> None:
    assert not traffic.of_platform(whole()).has_servers
    assert not any("model:ml_" in text for text in render.render_files(whole()).values())
    assert traffic.of_platform(with_servers()).has_servers


def test_a_language_model_shows_tokens_queue_and_cache() -> None:
    document = next(one for one in render.documents(with_servers()) if one["uid"].endswith("model"))
    titles = [panel["title"] for panel in document["panels"]]
    assert titles.index("Tokens") < titles.index("How long until the first token?")
    assert {"How long does each token take?", "Who waits?", "Is the cache full?", "How many tokens?"} <= set(titles)
    assert "Who waits?" not in json.dumps(render.documents(whole()))
