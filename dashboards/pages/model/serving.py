"""How a model serves: golden signals, latency, what is deployed, logs and traces."""

from __future__ import annotations

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.pages.model import promises
from dashboards.panels import Note, PanelFactory
from dashboards.style import Column
from midwatch import metrics, promql, signals, traffic
from midwatch.signals import THESE_VERSIONS


def golden(factory: PanelFactory) -> list[Row]:
    """Traffic, errors, latency and load, of each version."""
    available = promises.objective(factory.platform, "availability")
    asked = traffic.of_platform(factory.platform)
    return [
        Row(
            panels=[
                factory.lines(
                    "How much traffic does it get?",
                    Note(
                        shows="Requests per second of each version.",
                        act="without traffic no other panel says anything: ask the gateway, then the exporter.",
                        runbook=runbooks.NO_DATA,
                    ),
                    "reqps",
                    Query(expr=asked.requests(THESE_VERSIONS, "version"), legend="{{version}}"),
                    stack=True,
                ),
                factory.lines(
                    "How many requests fail?",
                    Note(
                        shows="Share of failed requests of each version; dashed is what the objective allows.",
                        act="one version alone: roll it back. All: look at what they share, features first.",
                        runbook=runbooks.ERRORS,
                    ),
                    "percentunit",
                    Query(expr=asked.errors(THESE_VERSIONS, "version"), legend="{{version}}"),
                    *promises.dashed(None if available is None else promql.number(1) - available),
                ),
                factory.lines(
                    "How slow is it?",
                    Note(
                        shows="Time within which 99% of requests are answered; dashed is what is promised.",
                        act="slow with more traffic is capacity, slow without is a dependency.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    Query(
                        expr=asked.quantile(0.99, THESE_VERSIONS, "version"),
                        legend="{{version}}",
                    ),
                    *promises.dashed(promises.latency_threshold(factory.platform)),
                ),
                factory.lines(
                    "How busy are its servers?",
                    Note(
                        shows="Requests that model servers are working on, from servers that measure themselves.",
                        act="a line that only grows is a server that hangs: restart it, keep its logs.",
                        runbook=runbooks.LATENCY,
                    ),
                    "none",
                    Query(
                        expr=asked.in_flight(THESE_VERSIONS, "version"),
                        legend="{{version}}",
                    ),
                ),
            ]
        )
    ]


def latency(factory: PanelFactory) -> list[Row]:
    """Where requests spend their time."""
    asked = traffic.of_platform(factory.platform)
    # A server without a histogram still says how much time it spent.
    mean = [Query(expr=asked.mean(THESE_VERSIONS), legend="mean")] if asked.has_servers else []
    return [
        Row(
            height=9,
            widths=[14, 10],
            panels=[
                factory.heatmap(
                    "Where do requests spend their time?",
                    Note(
                        shows="Requests per second by time to answer; a dot is a request whose trace is kept.",
                        act="click a dot high up: its trace shows which step was slow.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    Query(
                        expr=asked.buckets(THESE_VERSIONS),
                        legend="{{le}}",
                        format="heatmap",
                        exemplars=True,
                    ),
                    cells="reqps",
                ),
                factory.lines(
                    "Typical or only the tail?",
                    Note(
                        shows="Median, 90th and 99th percentile over the versions chosen.",
                        act="all three up is the whole service; the 99th alone is some requests, or some pods.",
                        runbook=runbooks.LATENCY,
                    ),
                    "s",
                    *(
                        Query(expr=asked.quantile(share, THESE_VERSIONS), legend=name)
                        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
                    ),
                    *mean,
                ),
            ],
        )
    ]


def running(factory: PanelFactory) -> list[Row]:
    """What is deployed, and whether its events arrive."""
    served = signals.rate(metrics.SERVER_REQUESTS, THESE_VERSIONS, "version")
    return [
        Row(
            panels=[
                factory.table(
                    "What is deployed?",
                    Note(
                        shows="What each model server says it runs: version, revision, framework, and on how many.",
                        act="two revisions of one version: a rollout that stopped half-way, or a tag that was moved.",
                        runbook=runbooks.ERRORS,
                    ),
                    [
                        Column(
                            name="Servers",
                            unit="none",
                            query=Query(
                                expr=promql.count_by(
                                    signals.series(metrics.BUILD_INFO, THESE_VERSIONS),
                                    "version",
                                    "revision",
                                    "framework",
                                )
                            ),
                        )
                    ],
                    worst="Servers",
                ),
                factory.lines(
                    "Do all its events arrive?",
                    Note(
                        shows="Requests as model servers count them, and as the exporter does, by version.",
                        act="the exporter below its servers: events are lost on the way; see their sender's log.",
                        runbook=runbooks.EVENTS,
                    ),
                    "reqps",
                    Query(expr=served, legend="{{version}} served"),
                    Query(expr=signals.requests(THESE_VERSIONS, "version"), legend="{{version}} counted"),
                ),
            ]
        )
    ]


def logs(factory: PanelFactory) -> list[Row]:
    """Log lines and traces of the model's servers."""
    where = factory.platform.grafana
    return [
        Row(
            height=10,
            panels=[
                factory.logs(
                    "What do its servers say?",
                    Note(
                        shows="Log lines of the model's servers from Loki, newest first.",
                        act="a line with a trace id has a button that opens the trace.",
                        runbook=runbooks.ERRORS,
                    ),
                    where.logs,
                ),
                factory.traces(
                    "Which requests were traced?",
                    Note(
                        shows="Traces of the model's servers from Tempo; each opens, and leads to its log lines.",
                        act="sort by duration; compare a slow one with a quick one.",
                        runbook=runbooks.LATENCY,
                    ),
                    where.traces,
                ),
            ],
        )
    ]
