"""The canary gate: its verdict on the new version, from the metric that it publishes.

The gauge keeps the last verdict for ever, so only one that was given after the version was registered counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from midwatch import metrics, promql
from midwatch.prometheus import Client, Line
from monitors.loop.episode import Episode, Result, Step
from monitors.loop.owner import Place, Sight

STEPS = frozenset({Step.CANARY_JUDGED})

MOST_POINTS = 1000
"""Points of a range that is looked through: Prometheus gives up to 11,000 of a series."""
_RESULTS = {"pass": Result.DONE, "fail": Result.FAILED}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """The platform's Prometheus, for the gate's verdicts on one model."""

    client: Client
    model: str
    scrape_interval: float
    source: str = "gate"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:
        """The verdict that stands, if it decides; an arm is called as the version, or by the Rollout's hash of it."""
        registered = episode.time(Step.REGISTERED)
        names = {name for name in (episode.new_version, _pod_hash(episode)) if name}
        if registered is None or not names:
            return []
        series = promql.select(metrics.CANARY_VERDICT, model=self.model).equals(1)
        step = max(self.scrape_interval, (now - registered) / MOST_POINTS)
        lines = self.client.query_range(series, start=registered, end=max(now, registered), step=step)
        found = [
            (given[-1], given[0], line.labels["baseline"], line.labels["canary"], verdict)
            for line in lines
            if line.labels.get("canary") in names and (verdict := line.labels["verdict"]) in _RESULTS
            if (given := _given_after(line, registered, step))
        ]
        if not found:
            return []
        _, first, baseline, canary, verdict = max(found)
        said = f"{verdict}: {canary} against {baseline}"
        return [Sight(step=Step.CANARY_JUDGED, result=_RESULTS[verdict], id=canary, at=first, said=said)]


def _given_after(line: Line, since: float, step: float) -> list[float]:
    """Times at which a verdict stood that was given after `since`: one that stood then already is an earlier one's."""
    times = [at for at, _ in line.points]
    if times[0] > since:
        return times
    given = next((place for place, (before, at) in enumerate(pairwise(times), 1) if at - before > 1.5 * step), None)
    return [] if given is None else times[given:]


def _pod_hash(episode: Episode) -> str | None:
    return next((one.facts["pod_hash"] for one in reversed(episode.steps) if "pod_hash" in one.facts), None)


def build(place: Place) -> Gate | str:
    """The gate, where it judges the model's canaries."""
    if place.model.canary is None:
        return f"{place.model.name} has no canary, so nobody judges a new version"
    interval = place.platform.prometheus.scrape_interval
    return Gate(client=place.client, model=place.model.name, scrape_interval=interval)
