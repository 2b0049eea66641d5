"""Latency by release: is a larger share of the newest version's requests slow than of any version's before it?

A canary is compared with the version before it, and passes when it is a little slower; ten such releases are not a
little. So the newest is compared with each release there was. Shares are of all requests of a version in the time that
is looked at, with bands that hold at every look (`monitors.canary.band`). The traffic is not the same: load and inputs
change from release to release, which `tolerated` has to leave room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from midwatch import metrics, promql
from midwatch.spec.model import Model
from monitors.canary import band
from monitors.canary.series import Querier
from monitors.regression.change import Verdict

SERIES = "slow_requests_ratio"
"""Name of what is compared."""
STEPS = 500
"""Looks at the time that is asked for; the order of releases is as fine as that."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """Requests of a version, and how many of them took longer than the bound."""

    version: str
    requests: int
    slow: int

    @property
    def share(self) -> float:
        """Share of slow requests."""
        return self.slow / self.requests


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The newest release against the best of those before it."""

    verdict: Verdict
    reason: str
    newest: Release | None = None
    best: Release | None = None


def bound_of(model: Model) -> float:
    """The promised latency, else the bound in the middle of the model's buckets; seconds."""
    promised = [slo.sli.latency.threshold for slo in model.slos if not isinstance(slo.sli, str) and slo.sli.latency]
    return promised[0] if promised else model.latency_buckets[len(model.latency_buckets) // 2]


def ask(querier: Querier, model: Model, *, bound: float, until: float, seconds: float) -> list[Release]:
    """Releases with traffic, in the order in which they were first seen; QueryError when Prometheus does not answer.

    Counters are the exporter's totals: the largest value of each is all that it counted.
    """
    duration = metrics.REQUEST_DURATION
    all_of, quick_of = (
        {line.labels["version"]: line.points for line in lines if "version" in line.labels}
        for lines in (
            querier.query_range(
                promql.sum_by(series, "version"), start=until - seconds, end=until, step=seconds / STEPS
            )
            for series in (
                promql.select(duration, "_count", model=model.name),
                promql.bucket(duration, bound, model=model.name),
            )
        )
    )
    found = []
    for version in sorted(all_of, key=lambda one: all_of[one][0]):
        requests = round(max(value for _, value in all_of[version]))
        quick = round(max((value for _, value in quick_of.get(version, ())), default=0.0))
        if requests and version in quick_of:
            found.append(Release(version=version, requests=requests, slow=max(0, requests - quick)))
    return found


def compare(releases: Sequence[Release], *, tolerated: float, alpha: float) -> Compared:
    """Whether the newest has more slow requests than the best before it, by more than is tolerated."""
    known = [one for one in releases if one.requests >= band.N_MIN]
    if len(known) < 2 or known[-1] is not releases[-1]:
        few = releases[-1] if releases else None
        reason = "fewer than two releases have traffic enough"
        if few is not None and few.requests < band.N_MIN:
            reason = f"{few.version} has {few.requests} requests, and {band.N_MIN} are needed"
        return Compared(verdict=Verdict.UNDECIDED, reason=reason, newest=few)
    newest, earlier = known[-1], known[:-1]
    level = alpha / (2 * len(earlier))
    wrong = band.radius(newest.requests, level)
    best = max(earlier, key=lambda one: newest.share - one.share - band.radius(one.requests, level))
    low = newest.share - best.share - wrong - band.radius(best.requests, level)
    high = max(newest.share - one.share + wrong + band.radius(one.requests, level) for one in earlier)
    shown = f"{newest.version} {newest.share:.2%} of {newest.requests:,} slow, {best.version} {best.share:.2%}"
    if low > tolerated:
        reason = f"more by at least {low:.2%}: {shown}"
        return Compared(verdict=Verdict.REGRESSED, reason=reason, newest=newest, best=best)
    verdict = Verdict.STEADY if high <= tolerated else Verdict.UNDECIDED
    return Compared(verdict=verdict, reason=f"more by at most {high:.2%}: {shown}", newest=newest, best=best)
