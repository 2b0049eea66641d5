"""How a language model serves: time to the first token, time per token, queue, cache, tokens."""

from __future__ import annotations

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.panels import Note, Panel, PanelFactory
from midwatch import metrics, serving, signals, traffic
from midwatch.promql import Expr
from midwatch.signals import THESE_VERSIONS
from midwatch.spec.model import Model

SHARES = ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))


def is_language_model(model: Model) -> bool:
    """Whether a model writes text, or its server publishes what those of language models do."""
    return model.task == "generation" or serving.profile_of(model).generation is not None


def tokens(factory: PanelFactory) -> list[Row]:
    """Two rows: what a caller feels, and what the servers have to bear."""
    return [
        Row(panels=[_first_token(factory), _per_token(factory), _tokens(factory)]),
        Row(panels=[_queue(factory), _cache(factory)]),
    ]


def _first_token(factory: PanelFactory) -> Panel:
    asked = traffic.of_platform(factory.platform)
    return factory.lines(
        "How long until the first token?",
        Note(
            shows="Time from a request to the first token of its answer: median, 90th and 99th percentile.",
            act="up with a queue below is capacity; up without one is longer prompts, or a cache that misses.",
            runbook=runbooks.LATENCY,
        ),
        "s",
        *(Query(expr=asked.first_token(share, THESE_VERSIONS), legend=name) for share, name in SHARES),
    )


def _per_token(factory: PanelFactory) -> Panel:
    asked = traffic.of_platform(factory.platform)
    return factory.lines(
        "How long does each token take?",
        Note(
            shows="Time per token of an answer: median, 90th and 99th percentile.",
            act="up means too many answers at once on a server: add servers, or admit fewer.",
            runbook=runbooks.LATENCY,
        ),
        "s",
        *(Query(expr=asked.per_token(share, THESE_VERSIONS), legend=name) for share, name in SHARES),
    )


def _tokens(factory: PanelFactory) -> Panel:
    return factory.lines(
        "How many tokens?",
        Note(
            shows="Tokens per second: of prompts (input) and of answers (output).",
            act="more input at the same requests is longer prompts: cost and time to the first token follow.",
            runbook=runbooks.NO_DATA,
        ),
        "none",
        Query(expr=traffic.of_platform(factory.platform).tokens(THESE_VERSIONS, "kind"), legend="{{kind}}"),
    )


def _queue(factory: PanelFactory) -> Panel:
    return factory.lines(
        "Who waits?",
        Note(
            shows="Requests that wait at the servers, and those that are worked on.",
            act="a queue that only grows is an outage in a few minutes: add servers, or admit fewer.",
            runbook=runbooks.LATENCY,
        ),
        "none",
        Query(expr=_sum(metrics.SERVED_WAITING), legend="waiting"),
        Query(expr=_sum(metrics.SERVED_RUNNING), legend="running"),
    )


def _cache(factory: PanelFactory) -> Panel:
    return factory.lines(
        "Is the cache full?",
        Note(
            shows="Share of the key-value cache in use, of the fullest server, and share of prompts found in it.",
            act="near 100% requests wait or start anew: add memory or servers, or bound the length of answers.",
            runbook=runbooks.LATENCY,
        ),
        "percentunit",
        Query(expr=signals.gauge(metrics.SERVED_CACHE, THESE_VERSIONS), legend="in use"),
        Query(expr=signals.gauge(metrics.SERVED_CACHE_HITS, THESE_VERSIONS), legend="found"),
        maximum=1,
    )


def _sum(metric: metrics.Metric) -> Expr:
    return signals.total(metric, THESE_VERSIONS)
