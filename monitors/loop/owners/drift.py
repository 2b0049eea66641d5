"""The drift judge, of the new version: whether the windows since it has all traffic are calm again.

Windows that were judged are what shows it: a version without a reference of its own, without traffic or without a judge
has none, and is not well. Its objectives have to be well, too: no alert on one of them may fire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from midwatch import metrics, promql, upstream
from midwatch.prometheus import Client, Line
from monitors.drift.episodes import CALM
from monitors.loop.episode import Episode, Result, Step
from monitors.loop.owner import Place, Sight

STEPS = frozenset({Step.WELL})

WINDOWS = 20
"""Windows that are looked back: of a version that serves for a month, the last ones say how it is."""


@dataclass(frozen=True, kw_only=True)
class DriftJudge:
    """The platform's Prometheus, for the windows of one model, which are `window` seconds long.

    `after` drifted windows of the new version say that retraining did not help.
    """

    client: Client
    model: str
    window: float
    after: int
    source: str = "drift"
    steps: frozenset[Step] = STEPS

    def look(self, episode: Episode, now: float) -> list[Sight]:
        """Whether the new version's windows are calm, or drift as those of the old one did."""
        version, since = episode.new_version, episode.time(Step.ALL_TRAFFIC)
        if version is None or since is None:
            return []
        judged = self._windows(version, max(since, now - WINDOWS * self.window), now)
        calm = [windows for windows in judged if _ends_with(windows, CALM, is_drift=False)]
        if any(_ends_with(windows, self.after, is_drift=True) for windows in judged):
            said = f"the last {self.after} windows of {version} drifted, too: retraining does not cure it"
            at = max(end for windows in judged for end, is_drift in windows if is_drift)
            return [Sight(step=Step.WELL, result=Result.FAILED, id=version, at=at, said=said)]
        if not judged or len(calm) < len(judged) or self._is_objective_burning(version, now):
            return []
        at = max(_calm_since(windows)[CALM - 1] for windows in calm)
        said = f"{CALM} calm windows in a row, and no objective's alert fires"
        return [Sight(step=Step.WELL, result=Result.DONE, id=version, at=at, said=said)]

    def _windows(self, version: str, since: float, now: float) -> list[list[tuple[float, bool]]]:
        """Of each judge the windows that began after `since` and were decided: their ends, and whether they drifted."""
        where = {"model": self.model, "version": version}
        ends = self.client.samples(promql.select(metrics.DRIFT_WINDOW_END, **where), start=since, end=now)
        verdicts = self.client.samples(promql.select(metrics.DRIFT_DETECTED, **where), start=since, end=now)
        by_judge = {_judge(line): dict(line.points) for line in verdicts}
        found = [_decided(line, by_judge.get(_judge(line), {}), since + self.window) for line in ends]
        return [windows for windows in found if windows]

    def _is_objective_burning(self, version: str, now: float) -> bool:
        of_version = promql.select(
            upstream.ALERTS, model=self.model, alertstate="firing", slo=promql.not_equal(""), version=version
        )
        return bool(self.client.query(of_version, at=now))


def _judge(line: Line) -> tuple[tuple[str, str], ...]:
    """What tells one replica's series from another's."""
    return tuple(sorted((name, value) for name, value in line.labels.items() if name != "__name__"))


def _decided(ends: Line, verdicts: dict[float, float], least: float) -> list[tuple[float, bool]]:
    """Windows by their ends, as far as a scrape has both the end and the verdict; none that ended before `least`."""
    found = {float(end): bool(verdicts[at] > 0) for at, end in ends.points if end >= least and at in verdicts}
    return sorted(found.items())


def _ends_with(windows: Sequence[tuple[float, bool]], count: int, *, is_drift: bool) -> bool:
    last = windows[-count:]
    return len(last) == count and all(one is is_drift for _, one in last)


def _calm_since(windows: Sequence[tuple[float, bool]]) -> list[float]:
    """Ends of the calm windows since the last drifted one."""
    calm = list(takewhile(lambda window: not window[1], reversed(windows)))
    return [end for end, _ in reversed(calm)]


def build(place: Place) -> DriftJudge | str:
    """The drift judge of the model."""
    drift = place.model.drift
    if drift is None or drift.retrain is None:
        return f"nobody watches {place.model.name} for drift"
    return DriftJudge(client=place.client, model=place.model.name, window=drift.window, after=drift.retrain.windows)
