"""Model: what is wrong with this model, since when, and in which version?"""

from __future__ import annotations

from collections.abc import Callable

from dashboards import annotation, links, runbooks, states, variables
from dashboards.data_sources import Query
from dashboards.page import Page, Row, Section
from dashboards.panels import Note, PanelFactory
from dashboards.style import Column
from midwatch import grafana, metrics, promql, signals
from midwatch.promql import Expr
from midwatch.signals import THESE_VERSIONS, THIS_MODEL, Selection
from midwatch.spec import model as spec


def build_pages(factory: PanelFactory) -> list[Page]:
    """The one page of a platform."""
    models = factory.platform.models
    classes = any(model.task == "classification" for model in models)
    amounts = any(model.task == "regression" for model in models)
    sections = [
        Section(title="Golden signals", rows=_golden(factory)),
        Section(title="Latency", rows=_latency(factory)),
        *([Section(title="Is it right?", rows=_quality(factory))] if classes else []),
        *([Section(title="How far off is it?", rows=_amounts(factory))] if amounts else []),
        Section(title="Labels and predictions", rows=_labels(factory, classes)),
        *([Section(title="Groups", rows=_groups(factory))] if any(model.groups for model in models) else []),
        *([Section(title="Inputs", rows=_inputs(factory))] if any(model.drift for model in models) else []),
        Section(title="What is running?", rows=_running(factory)),
        Section(title="Logs and traces", rows=_logs(factory), collapsed=True),
    ]
    return [
        Page(
            name=grafana.Page.MODEL,
            title="Model",
            order=2,
            description="One model, its versions side by side: traffic, errors, latency, whether it is right, its "
            "inputs.",
            variables=[
                variables.one("model", "Model", metrics.REQUESTS, "model"),
                variables.many("version", "Version", metrics.REQUESTS, "version", model="$model"),
                variables.window(),
            ],
            annotations=[*annotation.of_models(THIS_MODEL), annotation.experiments(), annotation.drills()],
            sections=sections,
            links=[("Logs", links.logs(factory.platform)), ("Traces", links.traces(factory.platform))],
        )
    ]


def promise(factory: PanelFactory, wanted: Callable[[spec.Slo], bool]) -> Expr | None:
    """What is promised by the model's objectives of a kind, as the rules record it; None when nobody promises it."""
    names = {slo.name for model in factory.platform.models for slo in model.slos if wanted(slo)}
    if not names:
        return None
    chosen: Selection = {"model": "$model", "slo": promql.matches("|".join(sorted(names)))}
    return signals.chosen(metrics.SLO_OBJECTIVE, chosen, "slo")


def is_availability(slo: spec.Slo) -> bool:
    """Whether an objective is about failed requests."""
    return slo.kind == "availability"


def is_latency(slo: spec.Slo) -> bool:
    """Whether an objective is about slow requests."""
    return slo.kind == "latency"


def is_outcome(slo: spec.Slo) -> bool:
    """Whether an objective is about wrong predictions."""
    return slo.kind == "outcome"


def _promised(expr: Expr | None) -> list[Query]:
    return [] if expr is None else [Query(expr=expr, legend="promised: {{slo}}", promise=True)]


def _golden(factory: PanelFactory) -> list[Row]:
    available = promise(factory, is_availability)
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
                    Query(expr=signals.requests(THESE_VERSIONS, "version"), legend="{{version}}"),
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
                    Query(expr=signals.errors(THESE_VERSIONS, "version"), legend="{{version}}"),
                    *_promised(None if available is None else promql.number(1) - available),
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
                        expr=signals.quantile(metrics.REQUEST_DURATION, 0.99, THESE_VERSIONS, "version"),
                        legend="{{version}}",
                    ),
                    *(_promised(_threshold()) if _has(factory, is_latency) else []),
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
                        expr=promql.sum_by(signals.series(metrics.SERVER_IN_FLIGHT, THESE_VERSIONS), "version"),
                        legend="{{version}}",
                    ),
                ),
            ]
        )
    ]


def _has(factory: PanelFactory, wanted: Callable[[spec.Slo], bool]) -> bool:
    return promise(factory, wanted) is not None


def _threshold() -> Expr:
    return signals.chosen(metrics.SLO_LATENCY_THRESHOLD, THIS_MODEL, "slo")


def _latency(factory: PanelFactory) -> list[Row]:
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
                        expr=signals.buckets(metrics.REQUEST_DURATION, THESE_VERSIONS),
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
                        Query(expr=signals.quantile(metrics.REQUEST_DURATION, share, THESE_VERSIONS), legend=name)
                        for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
                    ),
                ),
            ],
        )
    ]


def _quality(factory: PanelFactory) -> list[Row]:
    scored = metrics.SCORED_OUTCOMES
    expected = signals.ratio(metrics.EXPECTED_CORRECT, metrics.EXPECTED_OBSERVED, THESE_VERSIONS, "version")
    return [
        Row(
            panels=[
                factory.lines(
                    "Is it right?",
                    Note(
                        shows="Share of the window's labelled predictions that were right; dashed: the promise.",
                        act="see whether labels are late (below), then which class fell, then drift.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(expr=signals.accuracy(THESE_VERSIONS, "version"), legend="{{version}}"),
                    *_promised(promise(factory, is_outcome)),
                    valueMax=1,
                ),
                factory.lines(
                    "How sure is that?",
                    Note(
                        shows="Wilson's 95% interval of accuracy: wide where few labels came.",
                        act="intervals that overlap do not tell versions apart: choose a longer window.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(
                        expr=signals.accuracy_bound(THESE_VERSIONS, "version", upper=True), legend="{{version}} at most"
                    ),
                    Query(
                        expr=signals.accuracy_bound(THESE_VERSIONS, "version", upper=False),
                        legend="{{version}} at least",
                    ),
                    valueMax=1,
                ),
                factory.lines(
                    "What do its own scores expect?",
                    Note(
                        shows="Accuracy as the scores themselves estimate it, before any label comes.",
                        act="it falls with odd inputs hours before labels show it; it misses a changed world.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(expr=expected, legend="{{version}}"),
                    valueMax=1,
                ),
            ]
        ),
        Row(
            panels=[
                factory.lines(
                    "When it says a class, is it?",
                    Note(
                        shows="Precision of each class: right ones of those predicted so.",
                        act="a class that falls alone points at its features, or at its labels.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(expr=signals.precision(THESE_VERSIONS, "version"), legend="{{version}} {{predicted}}"),
                    valueMax=1,
                ),
                factory.lines(
                    "Does it find them all?",
                    Note(
                        shows="Recall of each class: right ones of those that are so.",
                        act="recall that falls while precision holds: the model has become timid; look at scores.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(expr=signals.recall(THESE_VERSIONS, "version"), legend="{{version}} {{actual}}"),
                    valueMax=1,
                ),
                factory.bars(
                    "Are its scores probabilities?",
                    Note(
                        shows="Calibration (Guo et al. 2017): mean score beside the share of positives, by score.",
                        act="bars of a bin far apart: calibrate again before anybody decides by these scores.",
                        runbook=runbooks.CALIBRATION,
                    ),
                    "percentunit",
                    {
                        "said": Query(expr=signals.ratio(metrics.SCORE_SUM, scored, THESE_VERSIONS, "bin")),
                        "happened": Query(expr=signals.ratio(metrics.SCORED_POSITIVES, scored, THESE_VERSIONS, "bin")),
                    },
                    by="bin",
                ),
            ]
        ),
    ]


def _amounts(factory: PanelFactory) -> list[Row]:
    observed = metrics.ERRORS_OBSERVED
    squared = signals.ratio(metrics.SQUARED_ERROR, observed, THESE_VERSIONS, "version")
    return [
        Row(
            panels=[
                factory.lines(
                    "How far off on average?",
                    Note(
                        shows="Mean absolute error of labelled predictions in the window.",
                        act="see whether labels are late (below), then drift.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "short",
                    Query(
                        expr=signals.ratio(metrics.ABSOLUTE_ERROR, observed, THESE_VERSIONS, "version"),
                        legend="{{version}}",
                    ),
                ),
                factory.lines(
                    "Are some far off?",
                    Note(
                        shows="Root mean squared error: a few bad predictions raise it far above the mean.",
                        act="look at the slowest groups and the newest inputs.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "short",
                    Query(expr=promql.sqrt(squared), legend="{{version}}"),
                ),
            ]
        )
    ]


def _labels(factory: PanelFactory, classes: bool) -> list[Row]:
    coverage = signals.label_coverage(THESE_VERSIONS, "version")
    panels = [
        factory.lines(
            "How late do labels come?",
            Note(
                shows="Time from a prediction to its label: median and 99th percentile.",
                act="quality is that old; above the exporter's label_retention labels are lost.",
                runbook=runbooks.LABELS,
            ),
            "s",
            *(
                Query(expr=signals.quantile(metrics.LABEL_DELAY, share, THIS_MODEL, window=signals.WINDOW), legend=name)
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ),
        ),
    ]
    if classes:
        panels += [
            factory.lines(
                "How many labels came?",
                Note(
                    shows="Labels over predictions of the window, by version.",
                    act="a fall is a label feed that stopped: quality shows the past meanwhile.",
                    runbook=runbooks.LABELS,
                ),
                "percentunit",
                Query(expr=coverage, legend="{{version}}"),
            ),
            factory.lines(
                "What does it predict?",
                Note(
                    shows="Share of each predicted class over the versions chosen.",
                    act="a share that jumps with a deployment is the model, without one it is the inputs.",
                    runbook=runbooks.DRIFT,
                ),
                "percentunit",
                Query(expr=signals.predictions(THESE_VERSIONS), legend="{{predicted}}"),
                stack=True,
                valueMax=1,
            ),
        ]
    panels.append(
        factory.lines(
            "How many predictions wait for a label?",
            Note(
                shows="Predictions the exporter keeps for a label to come.",
                act="growing without end: labels do not arrive, or carry other ids.",
                runbook=runbooks.LABELS,
            ),
            "short",
            Query(
                expr=promql.sum_by(signals.series(metrics.EXPORTER_PREDICTIONS_WAITING, THIS_MODEL), "model"),
                legend="{{model}}",
            ),
        )
    )
    return [Row(panels=panels)]


def _groups(factory: PanelFactory) -> list[Row]:
    by = ("attribute", "group")
    metric = metrics.GROUP_OUTCOMES
    return [
        Row(
            panels=[
                factory.lines(
                    "Which groups does it serve worse?",
                    Note(
                        shows="Accuracy by group of each attribute, the ten groups with the most labels.",
                        act="a group that falls alone points at its own feed; see who is affected before acting.",
                        runbook=runbooks.ACCURACY,
                    ),
                    "percentunit",
                    Query(
                        expr=signals.accuracy(THESE_VERSIONS, *by, metric=metric).and_(
                            promql.topk(10, signals.labelled(THESE_VERSIONS, *by, metric=metric)), on=by
                        ),
                        legend="{{attribute}} {{group}}",
                    ),
                    valueMax=1,
                ),
            ]
        )
    ]


def _inputs(factory: PanelFactory) -> list[Row]:
    votes = signals.chosen(metrics.DRIFT_VOTES, THESE_VERSIONS, "version")
    return [
        Row(
            height=6,
            panels=[
                factory.timeline(
                    "Have the inputs drifted?",
                    Note(
                        shows="Verdict of each window; a gap is a window with too little data to say.",
                        act="the drift page names the features behind it.",
                        runbook=runbooks.DRIFT,
                    ),
                    states.DRIFT_VERDICTS,
                    Query(expr=signals.chosen(metrics.DRIFT_DETECTED, THESE_VERSIONS, "version"), legend="{{version}}"),
                ),
                factory.lines(
                    "How many methods say so?",
                    Note(
                        shows="Votes of the last window; dashed is the quorum that makes it drift.",
                        act="votes below the quorum that stay: something small has changed.",
                        runbook=runbooks.DRIFT,
                    ),
                    "none",
                    Query(expr=votes, legend="{{version}}"),
                    Query(expr=signals.chosen(metrics.DRIFT_QUORUM, THIS_MODEL), legend="quorum", promise=True),
                ),
            ],
        )
    ]


def _running(factory: PanelFactory) -> list[Row]:
    served = promql.sum_by(
        promql.rate(signals.series(metrics.SERVER_REQUESTS, THESE_VERSIONS), signals.RATE), "version"
    )
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


def _logs(factory: PanelFactory) -> list[Row]:
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
