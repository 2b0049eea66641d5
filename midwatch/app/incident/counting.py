"""Counts of an alert's SLI by place and time, from Prometheus: its own model's, and those of others to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alerts.objectives import objective as objectives
from alerts.objectives import sli as slis
from midwatch import metrics
from midwatch.app.incident.firing import Firing
from midwatch.prometheus import Client, Line
from midwatch.promql import Expr
from midwatch.spec.model import Model, Platform
from midwatch.spec.slo import Slo
from midwatch.spec.values import format_duration
from monitors.incident.counts import Counts
from monitors.incident.kinds import Signal

PLACES = ("version", "region", "zone", "cluster")
"""Labels that events are counted by, where they have them."""

MOST_OTHERS = 5
"""Other models that are counted to compare with."""

MOST_CELLS = 120
"""Places that are told apart; the smallest beyond are left out."""

LEAST_STEP = 60.0
SCRAPES = 4
"""Scrapes in a bin, so that its increase is one."""

SEARCHED, QUIET = 120, 240
"""Bins in which the harm may have begun, and before them."""

AFTER = 60
"""Bins after the alert that still say something of its cause."""

WORKERS = 6

SIGNALS = {
    "availability": Signal.ERRORS,
    "latency": Signal.LATENCY,
    "drift_free": Signal.DRIFT,
    "events": Signal.OTHER,
    "ratio": Signal.OTHER,
    "gauge": Signal.OTHER,
    "freshness": Signal.OTHER,
}
"""What an objective of each kind says is wrong; of any other it is what the model says."""

KINDS_OF_ALERTS = {
    "ModelErrorsHigh": "availability",
    "ModelFailing": "availability",
    "ModelServerErrors": "availability",
    "ModelUnreachable": "availability",
    "ModelLatencyHigh": "latency",
    "ModelSlow": "latency",
    "ModelAccuracyLow": "outcome",
    "ModelInputDrift": "drift_free",
}
"""Kind of the SLI of alerts that are not an objective's own."""

DRIFT_FREE = Slo(name="drift", sli="drift_free", objective="99%")  # type: ignore[arg-type] # as a file has it
"""What is counted of a drift where nobody promised that there is none: windows, and those with a drift."""

TRAFFIC = ("ModelTrafficVanished", "ModelNoData", "ModelEventsMissing")
"""Alerts that there are fewer requests than there should be."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Expressions of bad or good, and all events over so many seconds, of one model's cells; `labels` are added."""

    labels: Mapping[str, str]
    sli: slis.Sli


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What an alert counts: its signal, the series of each model, and how long after its moment an event is counted."""

    signal: Signal
    series: tuple[Series, ...] = ()
    delay: float = 0.0
    is_fewer: bool = False


def subject_of(platform: Platform, firing: Firing) -> Subject:
    """What an alert counts; without series when it is about nothing that is counted."""
    model = next((one for one in platform.models if one.name == firing.labels.get("model")), None)
    if model is None:
        return _of_service(platform, firing)
    if firing.name in TRAFFIC:
        first = sorted(platform.models, key=lambda one: one is not model)[: MOST_OTHERS + 1]
        return Subject(signal=Signal.TRAFFIC, series=tuple(map(_requests, first)), is_fewer=True)
    kind = KINDS_OF_ALERTS.get(firing.name, "availability")
    named = next((slo for slo in model.slos if slo.name == firing.labels.get("slo")), None)
    own = named or _slo(model, kind) or (DRIFT_FREE if kind == "drift_free" and model.drift else None)
    if own is None:
        return Subject(signal=SIGNALS.get(kind, Signal.ACCURACY))
    signal = SIGNALS.get(own.kind, Signal.ACCURACY)
    others = [(one, _slo(one, own.kind)) for one in platform.models if one is not model]
    alike = [(one, slo) for one, slo in others if slo is not None]
    series = [_series(one, slo) for one, slo in [(model, own), *alike[:MOST_OTHERS]]]
    delay = model.label_maturity if signal is Signal.ACCURACY else None
    return Subject(signal=signal, series=tuple(one for one in series if one.sli.value is None), delay=delay or 0.0)


def _of_service(platform: Platform, firing: Firing) -> Subject:
    """The objective of a rule file; what is not a model's has one cell."""
    name = firing.labels.get("slo")
    subject = firing.labels.get("model") or firing.labels.get("service")
    for one in objectives.of_platform(platform):
        if one.model is None and one.slo.name == name and one.subject == subject and one.sli.value is None:
            labels = {"model": one.subject} if firing.labels.get("model") else {}
            return Subject(signal=Signal.OTHER, series=(Series(labels=labels, sli=one.sli),))
    return Subject(signal=Signal.OTHER)


def _slo(model: Model, kind: str) -> Slo | None:
    return next((slo for slo in model.slos if slo.kind == kind), None)


def _series(model: Model, slo: Slo) -> Series:
    counted = slo.model_copy(update={"by": list(PLACES)})
    return Series(labels={"model": model.name}, sli=slis.sli_of(counted, model, Expr("vector(0)")))


def _requests(model: Model) -> Series:
    """Requests by place, whatever their version: fewer of them is the harm."""

    def requests(window: float) -> Expr:
        selector = f'{metrics.REQUESTS.name}{{model="{model.name}"}}[{format_duration(window)}]'
        return Expr(f"sum by ({', '.join(PLACES[1:])}) (increase({selector}))")

    return Series(labels={"model": model.name}, sli=slis.Sli(total=requests, bad=requests))


def step_of(platform: Platform, width: float) -> float:
    """Seconds of a bin: some scrapes, at least so many of which a minute is made where they are far apart."""
    scrape = platform.prometheus.scrape_interval
    return max(SCRAPES * scrape, min(LEAST_STEP, 5 * scrape)) * width


def count(client: Client, subject: Subject, firing: Firing, step: float, now: float) -> Counts | None:
    """The table of counts around an alert; None where there is nothing to count, or no event."""
    if not subject.series:
        return None
    last = min(now, firing.fired_at + AFTER * step)
    bins = SEARCHED + QUIET + max(int((last - firing.fired_at) // step), 0)
    end = last - last % step if last - last % step >= firing.fired_at else last
    start = end - bins * step
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="counts") as pool:
        found = list(pool.map(lambda one: _ask(client, one, step, start, end), subject.series))
    cells = [cell for cells in found for cell in cells]
    if not any(cell.total.sum() for cell in cells):
        return None
    if subject.is_fewer:  # each bin since the first request has the same chance to have some
        cells = [replace(cell, total=(np.cumsum(cell.bad) > 0).astype(float)) for cell in cells]
    kept = sorted(cells, key=lambda cell: (not _is_of(cell, firing), -cell.total.sum()))[:MOST_CELLS]
    return Counts(
        start=start,
        step=step,
        cells=tuple(cell.labels for cell in kept),
        bad=np.array([cell.bad for cell in kept]),
        total=np.array([cell.total for cell in kept]),
        is_fewer=subject.is_fewer,
    )


Place = tuple[tuple[str, str], ...]
"""Labels of a series that have a value, in order."""


@dataclass(frozen=True, kw_only=True)
class _Cell:
    labels: Mapping[str, str]
    bad: NDArray[np.float64]
    total: NDArray[np.float64]


def _is_of(cell: _Cell, firing: Firing) -> bool:
    return cell.labels.get("model") == firing.labels.get("model")


def _ask(client: Client, series: Series, step: float, start: float, end: float) -> list[_Cell]:
    """Cells of one model: what is bad, or what is not good, and all."""
    sli = series.sli
    side = sli.bad or sli.good
    if side is None:
        raise AssertionError("an SLI has good or bad events")
    first = start + step
    total, part = (
        _rows(client.query_range(over(step), start=first, end=end, step=step), first, step, end)
        for over in (sli.total, side)
    )
    zero = np.zeros(round((end - start) / step))
    cells = []
    for key in sorted(total):
        events, counted = total[key], part.get(key, zero)
        bad = counted if sli.bad is not None else np.maximum(events - counted, 0.0)
        cells.append(_Cell(labels={**series.labels, **dict(key)}, bad=bad, total=events))
    return cells


def _rows(lines: Sequence[Line], first: float, step: float, end: float) -> dict[Place, NDArray[np.float64]]:
    """Values of each series by bin; nothing is 0."""
    rows: dict[Place, NDArray[np.float64]] = {}
    bins = round((end - first) / step) + 1
    for line in lines:
        row = np.zeros(bins)
        for at, value in line.points:
            if np.isfinite(value):
                row[min(max(round((at - first) / step), 0), bins - 1)] = value
        rows[tuple(sorted((name, value) for name, value in line.labels.items() if value))] = row
    return rows
