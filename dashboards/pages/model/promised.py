"""What objectives promise of a model's quality: each value with its interval, beside the promise."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards import runbooks
from dashboards.data_sources import Query
from dashboards.page import Row
from dashboards.panels import Note, Panel, PanelFactory
from midwatch import metrics, promql, quality, signals
from midwatch.quality import Counted, Measured
from midwatch.signals import WINDOW, Selection
from midwatch.spec.model import Model, Platform
from midwatch.spec.slo import Sli

IN_A_ROW = 3
THIS = "$model"

TITLES = {
    "precision": "How precise is it about {of}?",
    "recall": "How much of {of} does it find?",
    "f1": "F1 of {of}",
    "false_positive_rate": "How much that is not {of} does it leave alone?",
    "absolute_error": "How often is it within {of}?",
    "mean_absolute_error": "How far off may it be on average?",
    "calibration": "How far are scores from what comes true?",
    "labels": "Do labels arrive?",
}


def quality_of(factory: PanelFactory) -> list[Row]:
    """A panel for each kind of promise that the platform's models have; none without any."""
    panels = [_panel(factory, model, sli, names) for model, sli, names in _promises(factory.platform)]
    return [Row(panels=panels[first : first + IN_A_ROW]) for first in range(0, len(panels), IN_A_ROW)]


def _promises(platform: Platform) -> Iterator[tuple[Model, Sli, list[str]]]:
    """Each SLI of quality once, with a model that has it, and the names of its objectives."""
    found: dict[str, tuple[Model, Sli, list[str]]] = {}
    for model in platform.models:
        for slo in model.slos:
            if not isinstance(slo.sli, str) and slo.kind in TITLES:
                key = f"{model.task if slo.kind == 'labels' else ''}{slo.sli.model_dump_json()}"
                found.setdefault(key, (model, slo.sli, []))[2].append(slo.name)
    yield from found.values()


def _panel(factory: PanelFactory, model: Model, sli: Sli, names: list[str]) -> Panel:
    by = () if sli.labels else ("version",)
    counted = quality.counted(model, sli, by, name=THIS)
    measured = quality.measured(model, sli, by, name=THIS)
    queries = _shares(counted, names) if counted else _values(measured) if measured else []
    return factory.lines(
        _title(sli),
        Note(
            shows=f"Over the window, with a 95% interval where one is known; dashed: promised by {', '.join(names)}.",
            act="an interval that holds the promise decides nothing: choose a longer window. See labels, then drift.",
            runbook=runbooks.BUDGET,
        ),
        "short" if sli.mean_absolute_error else "percentunit",
        *queries,
        maximum=None if sli.mean_absolute_error else 1,
    )


def _title(sli: Sli) -> str:
    kind, of = next((kind, getattr(sli, kind)) for kind in TITLES if getattr(sli, kind) is not None)
    names = {"label": getattr(of, "label", ""), "bound": getattr(of, "bound", "")}
    return TITLES[kind].format(of=names["label"] or names["bound"])


def _shares(counted: Counted, names: list[str]) -> list[Query]:
    these: Selection = {"model": THIS, "slo": promql.matches("|".join(sorted(set(names))))}
    return [
        Query(expr=counted.share(WINDOW), legend="{{version}}"),
        Query(expr=counted.bound(WINDOW, upper=False), legend="{{version}} at least"),
        Query(expr=counted.bound(WINDOW, upper=True), legend="{{version}} at most"),
        Query(expr=signals.gauge(metrics.SLO_OBJECTIVE, these, "slo"), legend="promised: {{slo}}", promise=True),
    ]


def _values(measured: Measured) -> list[Query]:
    queries = [Query(expr=measured.value(WINDOW), legend="{{version}}")]
    if measured.spread is not None:
        value, spread = promql.raw(str(measured.value(WINDOW))), promql.raw(str(measured.spread(WINDOW)))
        queries.append(Query(expr=value - spread * signals.WILSON_Z, legend="{{version}} at least"))
        queries.append(Query(expr=value + spread * signals.WILSON_Z, legend="{{version}} at most"))
    return [*queries, Query(expr=promql.vector(measured.limit), legend="promised", promise=True)]
