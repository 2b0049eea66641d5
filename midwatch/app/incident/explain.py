"""Answers "what changed?" for an alert, or for a model and a time: counts and changes are asked for side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from midwatch.app.incident import collect, confirmed, counting, firing, links
from midwatch.app.incident.asked import Asked
from midwatch.app.incident.collect import Collected
from midwatch.app.incident.counting import Subject
from midwatch.app.incident.firing import Firing, NoAnswerError
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client, QueryError
from midwatch.spec.model import Platform
from monitors.incident import calibration, explanation
from monitors.incident.counts import Counts
from monitors.incident.ranking import Question, Ranking
from monitors.incident.records import Incident, Unanswered

WIDTHS = (1.0, 6.0, 36.0)
"""By what a bin is longer, each tried where the harm seems to have begun before the bins of the one before."""

LEAST_QUIET = 20
"""Bins with events before the harm; a platform that has just begun has fewer, and a third of its life counts."""
QUIET_SHARE = 0.35

UNCOUNTED = 900.0
"""Seconds before an alert's condition in which the harm may have begun, where nothing is counted."""

NO_SAMPLE = "it has no sample of the time that is asked about"

LOOKS = 360
"""Looks at each series over the time in which changes are wanted."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Whom to ask: the platform, its Prometheus, evidence logs or folders, repositories, the log of confirmed causes.

    `within` is how many seconds they may take, `lookback` how many before an alert changes are looked for.
    """

    platform: Platform
    client: Client
    evidence: tuple[Path, ...] = ()
    repositories: tuple[Path, ...] = ()
    confirmed: Path | None = None
    within: float = 1.2
    lookback: float = 6 * 3600.0


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """Counts that were chosen for an alert, and what they are of."""

    subject: Subject
    counts: Counts | None
    unanswered: tuple[Unanswered, ...] = ()


def of_alert(sources: Sources, name: str, labels: Mapping[str, str], at: float, now: float) -> Incident:
    """The incident of an alert that fired last before `at`; NoAlertError when Prometheus knows none.

    NoAnswerError when it says nothing of that time: that no change was found would mean nothing.

    What came after it, up to `now`, is looked at too: whether the harm ended with a rollback says most.
    """
    client = sources.client.until(time.monotonic() + sources.within)
    found = firing.find(client, name, labels, at)
    return _explained(sources, found, now, [counting.subject_of(sources.platform, found)])


def of_model(sources: Sources, model: str, labels: Mapping[str, str], at: float, now: float) -> Incident:
    """What hurt a model at a time, by whichever of its objectives shows most of it; NoAnswerError as for an alert."""
    known = next((one for one in sources.platform.models if one.name == model), None)
    if known is None:
        names = ", ".join(sorted(one.name for one in sources.platform.models))
        raise MidwatchError(f"--model {model}: the platform has {names}")
    found = [
        Firing(name="", labels={**labels, "model": model, "slo": slo.name}, active_at=at, fired_at=at)
        for slo in known.slos
    ] or [Firing(name="", labels={**labels, "model": model}, active_at=at, fired_at=at)]
    subjects = [counting.subject_of(sources.platform, one) for one in found]
    return _explained(sources, found[0], now, subjects)


def changes(sources: Sources, start: float, end: float) -> Collected:
    """Every change of a time, and who could not be asked."""
    deadline = time.monotonic() + sources.within
    client = sources.client.until(deadline)
    least = counting.SCRAPES * sources.platform.prometheus.scrape_interval
    try:
        first = _first_look(client, start, end, max((end - start) / LOOKS, least))
    except QueryError as error:
        return Collected(changes=(), unanswered=(Unanswered(source="Prometheus", reason=str(error)),), blind=str(error))
    asked = Asked(
        platform=sources.platform,
        client=client,
        start=start,
        end=end,
        step=max((end - (end if first is None else first)) / LOOKS, least),
        first=end if first is None else first,
        evidence=sources.evidence,
        repositories=sources.repositories,
        within=max(deadline - time.monotonic(), 0.0),
    )
    found = collect.collect(asked, deadline)
    if first is None:
        gap = Unanswered(source="Prometheus", reason=NO_SAMPLE)
        return Collected(changes=found.changes, unanswered=(gap, *found.unanswered), blind=NO_SAMPLE)
    return found


def _first_look(client: Client, start: float, end: float, step: float) -> float | None:
    """When Prometheus has its first sample of the time; found by looks that are steps apart, and then among them."""
    lines = client.query_range("count(up)", start=end - (end - start) // step * step, end=end, step=step)
    seen = min((line.points[0][0] for line in lines if line.points), default=None)
    if seen is None or seen - step < start:
        return seen
    earliest = client.query(f"min(min_over_time(timestamp(up)[{step + 1:.0f}s:1s]))", at=seen)
    return earliest[0].value if earliest else seen


def _explained(sources: Sources, found: Firing, now: float, subjects: list[Subject]) -> Incident:
    deadline = time.monotonic() + sources.within
    client = sources.client.until(deadline)
    start = found.active_at - sources.lookback
    end = max(min(now, found.fired_at + sources.lookback), start + 1)
    calibrated = confirmed.read(sources.confirmed) if sources.confirmed else calibration.calibrate(())
    with ThreadPoolExecutor(1 + len(subjects), thread_name_prefix="incident") as pool:
        collecting = pool.submit(changes, sources, start, end)
        tables = list(pool.map(lambda subject: _counted(sources, client, subject, found, now), subjects))
        collected = collecting.result()
    if collected.blind and all(table.counts is None for table in tables):
        raise NoAnswerError(f"Prometheus: {collected.blind}; nothing is known of what changed or was hurt")
    asking = _Asking(sources=sources, client=client, found=found, now=now, share_of_none=calibrated.share_of_none)
    ranked = [_ranked(asking, table, collected) for table in tables]
    ranking, table = max(ranked, key=lambda one: one[0].evidence)
    incident = explanation.explain(found.name, ranking, asked_at=now)
    text = links.runbook(sources.platform, found)
    return msgspec.structs.replace(
        incident,
        unanswered=(*table.unanswered, *collected.unanswered),
        calibration=calibrated.text,
        runbook=text,
        next_look=links.looks(text),
        commands=tuple(links.commands(sources.platform, found, incident.suspects, table.subject.signal)),
        links=tuple(links.links(sources.platform, found, incident)),
    )


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """What stays the same while counts of several widths are tried."""

    sources: Sources
    client: Client
    found: Firing
    now: float
    share_of_none: float


def _ranked(asking: _Asking, table: _Counted, collected: Collected) -> tuple[Ranking, _Counted]:
    """The ranking by the finest bins among which the harm began; by the finest of all where no bins show its begin."""
    finest = _ranking(asking, table, collected)
    ranking, wider = finest, table
    for width in WIDTHS[1:]:
        if not ranking.begins_at_edge or not _has_past(wider.counts, asking.found):
            return ranking, wider
        wider = _counted(asking.sources, asking.client, table.subject, asking.found, asking.now, width)
        if wider.counts is None:
            break
        ranking = _ranking(asking, wider, collected)
    return (finest, table) if ranking.begins_at_edge or wider.counts is None else (ranking, wider)


def _ranking(asking: _Asking, table: _Counted, collected: Collected) -> Ranking:
    found, counts = asking.found, table.counts
    earliest = found.active_at - UNCOUNTED if counts is None else _earliest(counts, found)
    question = Question(
        scope=found.scope,
        fired_at=max(found.active_at, earliest + 1) if counts is None else found.fired_at,
        earliest=earliest,
        signal=table.subject.signal,
        delay=table.subject.delay,
    )
    return Ranking(question, collected.changes, counts, share_of_none=asking.share_of_none)


def _earliest(counts: Counts, found: Firing) -> float:
    """From when on the harm may have begun: what comes before tells what is usual."""
    began = _begin(counts, found)
    if _has_past(counts, found):
        return found.active_at - counting.SEARCHED * counts.step
    return began + max((found.active_at - began) * QUIET_SHARE, counts.step)


def _has_past(counts: Counts | None, found: Firing) -> bool:
    """Whether there were events before the bins in which the harm is searched."""
    if counts is None:
        return False
    return found.active_at - (counting.SEARCHED + LEAST_QUIET) * counts.step >= _begin(counts, found)


def _begin(counts: Counts, found: Firing) -> float:
    """When the first events of the alert's model were counted."""
    own = counts.touched({"model": found.labels["model"]} if "model" in found.labels else {})
    busy = np.flatnonzero(counts.total[own].sum(axis=0) > 0)
    return counts.start + counts.step * float(busy[0])


def _counted(
    sources: Sources, client: Client, subject: Subject, found: Firing, now: float, width: float = 1.0
) -> _Counted:
    """The counts of a subject; why there are none is said."""
    step = counting.step_of(sources.platform, width)
    try:
        counts = counting.count(client, subject, found, step, now)
    except QueryError as error:
        gap = Unanswered(source="Prometheus: counts of the alert's events", reason=str(error))
        return _Counted(subject=subject, counts=None, unanswered=(gap,))
    if counts is None or not _has_own(counts, found):
        what = "it has no events of" if subject.series else "nothing is counted of"
        gap = Unanswered(
            source="Prometheus: counts", reason=f"{what} this alert; the onset rests on its own time alone"
        )
        return _Counted(subject=subject, counts=None, unanswered=(gap,))
    return _Counted(subject=subject, counts=counts)


def _has_own(counts: Counts, found: Firing) -> bool:
    return bool(counts.total[counts.touched(found.scope)].sum() > 0)
