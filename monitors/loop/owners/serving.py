"""Prometheus, of model servers: whether the new version runs, answers requests, and answers all of them.

A version is no traffic: that it runs is said by `ml_build_info`, that it answers by the counters of its requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from midwatch import metrics, promql, serving
from midwatch.prometheus import Client
from midwatch.promql import Expr, Matcher
from midwatch.serving import Profile
from midwatch.spec.observed.mlflow import MlflowObserved
from monitors.loop.episode import Episode, Result, Step
from monitors.loop.owner import Place, Sight

STEPS = frozenset({Step.DEPLOYED, Step.CANARY_BEGUN, Step.ALL_TRAFFIC, Step.ROLLED_BACK})

SCRAPES = 4
"""Scrapes of the window of a rate: one that fails leaves enough for it (Prometheus, "Querying", rate)."""
MOST_POINTS = 1000
"""Points of a range that is looked through for the first one: Prometheus gives up to 11,000 of a series."""
TOLERATED = 0.01
"""Share of traffic that may be of other versions, where the registry's section does not say it."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The platform's Prometheus, for one model. `tolerated` is the share of traffic that others may have."""

    client: Client
    model: str
    profile: Profile
    version_label: str
    scrape_interval: float
    tolerated: float
    source: str = "prometheus"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:
        """What is seen of the new version; nothing before there is one."""
        version, registered = episode.new_version, episode.time(Step.REGISTERED)
        if version is None or registered is None:
            return []
        return [*self._begun(episode, version, registered, now), *self._share(episode, version, now)]

    # When it began -------------------------------------------------------------------------------------------------

    def _begun(self, episode: Episode, version: str, registered: float, now: float) -> Iterator[Sight]:
        if episode.first_done(Step.CANARY_BEGUN) is None:
            first = self._first_above(self._requests(version), registered, now)
            if first is not None:
                said = "the first request that it answered"
                yield Sight(step=Step.CANARY_BEGUN, result=Result.DONE, id=version, at=first, said=said)
        if episode.first_done(Step.DEPLOYED) is None:
            info = promql.count(promql.select(metrics.BUILD_INFO, model=self.model, version=version))
            first, said = self._first_above(info, registered, now), "a server runs it"
            if first is None:
                first, said = self._first_above(self._requests(version), registered, now), "it answers requests"
            if first is not None:
                yield Sight(step=Step.DEPLOYED, result=Result.DONE, id=version, at=first, said=said)

    def _first_above(self, expr: Expr, since: float, now: float) -> float | None:
        """When it first was more than at `since`: a series of that name may be older than the version."""
        before = self.client.value(expr, at=since) or 0.0
        step = max(self.scrape_interval, (now - since) / MOST_POINTS)
        lines = self.client.query_range(expr, start=since, end=max(now, since), step=step)
        return min((at for line in lines for at, value in line.points if value > before), default=None)

    def _requests(self, version: str | None = None) -> Expr:
        return _sum(self._selected(version))

    # How much it has -----------------------------------------------------------------------------------------------

    def _share(self, episode: Episode, version: str, now: float) -> Iterator[Sight]:
        if episode.first_done(Step.CANARY_BEGUN) is None:
            return
        every, new = self._rate(now), self._rate(now, version)
        if not every:
            return  # no traffic says nothing of anybody's share
        if new / every >= 1.0 - self.tolerated:
            yield Sight(step=Step.ALL_TRAFFIC, result=Result.DONE, id=version, at=None)
        elif new == 0.0 and _may_go_back(episode):
            said = "it answers no requests any more, others do"
            yield Sight(step=Step.ROLLED_BACK, result=Result.DONE, id=version, at=None, said=said)

    def _rate(self, now: float, version: str | None = None) -> float:
        """Requests per second over the last scrapes; 0 where there are none."""
        window = SCRAPES * self.scrape_interval
        rates = [promql.rate(one, window) for one in self._selected(version)]
        return self.client.value(_sum(rates), at=now) or 0.0

    def _selected(self, version: str | None) -> list[Expr]:
        """Counters of the model's requests, or of those that a version answered."""
        if version is None:
            return [serving.selector(text) for text in self.profile.requests]
        chosen = {self.version_label: Matcher("=", version)}
        return [serving.selector(text, "", **chosen) for text in self.profile.requests]


def _sum(series: list[Expr]) -> Expr:
    """Sum over all series of several selectors, of which some may have none."""
    total = promql.sum_by(series[0])
    for one in series[1:]:
        more = promql.sum_by(one)
        total = (total + more).or_(total).or_(more)
    return total


def _may_go_back(episode: Episode) -> bool:
    """Whether traffic that is gone means something: a canary may wait without any between two weights."""
    judged = episode.last(Step.CANARY_JUDGED)
    has_failed = judged is not None and judged.result is Result.FAILED
    return has_failed or episode.is_done(Step.ALL_TRAFFIC) or episode.is_done(Step.PROMOTED)


def build(place: Place) -> Serving | str:
    """The platform's Prometheus, where the model's servers say which version answered."""
    profile = serving.profile_of(place.model)
    if profile.version_label is None:
        return f"the counters of {place.model.serving} do not say which version answered"
    observed = [use.observe for use in place.platform.systems.values() if isinstance(use.observe, MlflowObserved)]
    return Serving(
        client=place.client,
        model=place.model.name,
        profile=profile,
        version_label=profile.version_label,
        scrape_interval=place.platform.prometheus.scrape_interval,
        tolerated=float(observed[0].tolerated_share) if observed else TOLERATED,
    )
