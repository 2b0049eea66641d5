"""Whether a model is right: classes, amounts, the labels that say so, and groups."""

from __future__ import annotations

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.pages.model import promises
from dashboards.panels import Note, PanelFactory
from midwatch import metrics, promql, signals
from midwatch.signals import THESE_VERSIONS, THIS_MODEL


def classes(factory: PanelFactory) -> list[Row]:
    """Whether classes are predicted right, and how sure that is."""
    scored = metrics.SETTLED_SCORED
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
                    *promises.dashed(promises.objective(factory.platform, "outcome")),
                    maximum=1,
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
                    maximum=1,
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
                    maximum=1,
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
                    maximum=1,
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
                    maximum=1,
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
                        "said": Query(expr=signals.ratio(metrics.SETTLED_SCORE_SUM, scored, THESE_VERSIONS, "bin")),
                        "happened": Query(expr=signals.ratio(metrics.SETTLED_POSITIVES, scored, THESE_VERSIONS, "bin")),
                    },
                    by="bin",
                ),
            ]
        ),
    ]


def amounts(factory: PanelFactory) -> list[Row]:
    """How far off predicted amounts are."""
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


def labels(factory: PanelFactory, *, of_classes: bool) -> list[Row]:
    """Labels that came or are late, and what is predicted."""
    coverage = signals.label_coverage(THESE_VERSIONS, "version")
    maturity = Query(expr=signals.gauge(metrics.LABEL_MATURITY, THIS_MODEL, "model"), legend="settled at")
    unsettled = Query(expr=signals.total(metrics.UNSETTLED, THESE_VERSIONS, "version"), legend="{{version}} unsettled")
    ages, young = ([maturity], [unsettled]) if of_classes else ([], [])
    panels = [
        factory.lines(
            "How late do labels come?",
            Note(
                shows="Time from a prediction to its label, and the age at which predictions are settled.",
                act="quality is that old; above the exporter's label_retention labels are lost.",
                runbook=runbooks.LABELS,
            ),
            "s",
            *(
                Query(expr=signals.quantile(metrics.LABEL_DELAY, share, THIS_MODEL, window=signals.WINDOW), legend=name)
                for share, name in ((0.5, "p50"), (0.99, "p99"))
            ),
            *ages,
        ),
    ]
    if of_classes:
        panels += [
            factory.lines(
                "What became of its predictions?",
                Note(
                    shows="Right, wrong and unlabelled ones of those that were settled in the window.",
                    act="more unlabelled ones: quality speaks of fewer; late labels (below) say what is missed.",
                    runbook=runbooks.LABELS,
                ),
                "percentunit",
                Query(expr=signals.settled(THESE_VERSIONS), legend="{{result}}"),
                stack=True,
                maximum=1,
            ),
            factory.lines(
                "Which labels come too late?",
                Note(
                    shows="Labels of predictions that were settled without one, in the window.",
                    act="many, or mostly wrong ones: make label_maturity longer.",
                    runbook=runbooks.LABELS,
                ),
                "short",
                Query(
                    expr=signals.increase(metrics.LATE_LABELS, THESE_VERSIONS, "version", "result"),
                    legend="{{version}} {{result}}",
                ),
            ),
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
                maximum=1,
            ),
        ]
    panels.append(
        factory.lines(
            "How many predictions wait for a label?",
            Note(
                shows="Predictions the exporter keeps for a label, and those that are too young to be settled.",
                act="growing without end: labels do not arrive, or carry other ids.",
                runbook=runbooks.LABELS,
            ),
            "short",
            Query(
                expr=signals.total(metrics.EXPORTER_PREDICTIONS_WAITING, THIS_MODEL, "model"),
                legend="{{model}}",
            ),
            *young,
        )
    )
    return [Row(panels=panels)]


def groups(factory: PanelFactory) -> list[Row]:
    """Accuracy by group."""
    by = ("attribute", "group")
    metric = metrics.SETTLED_GROUP_OUTCOMES
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
                    maximum=1,
                ),
            ]
        )
    ]
