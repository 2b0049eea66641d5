"""Fairness of a month for an auditor: what was promised, how long it was watched, what was shown, and since when.

Verdicts are those that the evaluator published, hour by hour. An hour without one is not judged, and never fair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midwatch import html as frame
from midwatch import metrics, promql
from midwatch.app import judged_fairness
from midwatch.app.judged_fairness import Judged, Key, Names
from midwatch.app.report.month import HOUR, Month
from midwatch.html import numbers
from midwatch.prometheus import Client, Line
from midwatch.promql import Expr
from midwatch.spec.fairness import Fairness
from midwatch.spec.model import Model, Platform

TEMPLATE = Path(__file__).with_name("fairness.html")
STEP = 300.0
"""Seconds between two looks at a verdict: the worst of an hour's is the hour's."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Hours of the month by what was said in them, and when it was first said to be broken, seconds since the epoch."""

    hours: int
    fair: int = 0
    unknown: int = 0
    unfair: int = 0
    lately: int = 0
    broken_at: float | None = None

    @property
    def not_judged(self) -> int:
        """Hours without any verdict."""
        return self.hours - self.fair - self.unknown - self.unfair


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A judged rate of a promise in the month: what was said of it last, and hour by hour."""

    owner: str
    last: Judged
    watched: Watched

    @property
    def is_broken(self) -> bool:
        """Whether it was shown broken at any time of the month."""
        return self.watched.broken_at is not None or self.last.is_unfair

    @property
    def is_kept(self) -> bool:
        """Whether it was shown kept in the end, and never broken."""
        return self.last.is_fair and not self.is_broken

    @property
    def verdict(self) -> str:
        """The month in a word."""
        return "broken" if self.is_broken else "kept" if self.is_kept else "not known"


@dataclass(frozen=True, kw_only=True)
class FairnessReport:
    """A month of promises of fairness. `silent` are promises of which there was no verdict at all."""

    platform: str
    month: Month
    made_at: float
    prometheus: str
    rates: tuple[Rate, ...]
    silent: tuple[tuple[Model, Fairness], ...]
    names: Names
    queries: tuple[str, ...]

    @property
    def is_broken(self) -> bool:
        """Whether any promise was broken."""
        return any(one.is_broken for one in self.rates)

    @property
    def is_kept(self) -> bool:
        """Whether every promise was shown kept."""
        return bool(self.rates) and not self.silent and all(one.is_kept for one in self.rates)

    @property
    def meaning(self) -> str:
        """The month in one sentence."""
        broken, kept = sum(one.is_broken for one in self.rates), sum(one.is_kept for one in self.rates)
        unknown = len(self.rates) - broken - kept + len(self.silent)
        return (
            f"Of {broken + kept + unknown} promised rates, {broken} were shown broken, {kept} were shown kept, and of "
            f"{unknown} it is not known."
        )

    @property
    def todo(self) -> str:
        """What is to be done about it."""
        if self.is_broken:
            return "Ask the owners of the broken promises what they did about the groups below."
        return "File it." if self.is_kept else "Ask the owners why what is not known could not be judged."


def read(
    client: Client, platform: Platform, file: Path, month: Month, *, now: float, prometheus: str
) -> FairnessReport:
    """Ask for a month; QueryError where Prometheus does not answer."""
    known = judged_fairness.names(platform, file)
    expressions = judged_fairness.expressions()
    # Of the last hour it is told by the minute: a plane of an afternoon has hardly a whole one.
    newest = [_newest(expressions, month.seconds, HOUR), _newest(expressions, min(HOUR, month.seconds), STEP)]
    last: dict[Key, Judged] = {}
    for asked in newest:
        answers = {name: client.query(expr, at=month.last) for name, expr in asked.items()}
        last |= {one.key: one for one in judged_fairness.read(answers, known)}

    def worst_of(seconds: float) -> tuple[Expr, Expr]:
        seconds = max(STEP, seconds - STEP)  # with the looks at both of its ends
        return (
            promql.over_time("min_over_time", expressions[judged_fairness.VERDICT], seconds, step=STEP),
            promql.over_time("max_over_time", expressions[judged_fairness.LATELY], seconds, step=STEP),
        )

    looked, looked_last = worst_of(HOUR), worst_of(month.seconds % HOUR)
    worst, lately = (
        _by_hour(client, str(hourly), str(rest), month) for hourly, rest in zip(looked, looked_last, strict=True)
    )
    last = {key: _judged(key, worst.get(key, {}), lately.get(key, {})) for key in {**worst, **lately}} | last
    owners = {model.name: model.owner for model in platform.models}
    rates = tuple(
        Rate(
            owner=owners.get(one.model, ""),
            last=one,
            watched=_watched(worst.get(key, {}), lately.get(key, {}), month),
        )
        for key, one in last.items()
    )
    said = {(one.model, one.attribute, one.measure, one.limit) for one in last.values()}
    return FairnessReport(
        platform=platform.platform,
        month=month,
        made_at=now,
        prometheus=prometheus,
        rates=tuple(sorted(rates, key=lambda one: (not one.is_broken, one.is_kept, one.last.key))),
        silent=tuple(
            (model, promise)
            for model in platform.models
            for promise in model.fairness
            if (model.name, *promise.key) not in said
        ),
        names=known,
        queries=(*(str(expr) for asked in newest for expr in asked.values()), *map(str, looked)),
    )


def _newest(expressions: Mapping[str, Expr], seconds: float, step: float) -> dict[str, Expr]:
    """What was said beside the last verdict of each promise, by looks of a step; not a pair that was the worst before.

    The time of an aggregate is that of the look at it.
    """

    def looked_at(expr: Expr) -> Expr:
        return promql.over_time("max_over_time", promql.call("timestamp", expr), seconds, step=step)

    at_the_last = looked_at(expressions[judged_fairness.VERDICT])
    return {
        name: promql.over_time("last_over_time", expr, seconds, step=step).and_(
            looked_at(expr).reaches(at_the_last, on=metrics.FAIRNESS_PROMISE)
        )
        for name, expr in expressions.items()
    }


def _by_hour(client: Client, hourly: str, rest: str, month: Month) -> dict[Key, dict[float, float]]:
    """Values by the end of their hour; of an hour that is not over, what the second question says of it till now."""
    lines: list[Line] = []
    if month.seconds >= HOUR:
        lines = client.query_range(hourly, start=month.first + HOUR, end=month.last, step=HOUR)
    found = {_key(line.labels): dict(line.points) for line in lines}
    for sample in client.query(rest, at=month.last) if month.seconds % HOUR else ():
        found.setdefault(_key(sample.labels), {})[month.last] = sample.value
    return found


def _key(labels: Mapping[str, str]) -> Key:
    return tuple(labels.get(name, "") for name in metrics.FAIRNESS_PROMISE)


def _judged(key: Key, worst: Mapping[float, float], lately: Mapping[float, float]) -> Judged:
    """What was said in the last hour that says anything of a version that no look at a full hour has seen."""
    model, version, attribute, measure, rate, limit = key
    return Judged(
        model=model,
        version=version,
        attribute=attribute,
        measure=measure,
        rate=rate,
        limit=limit,
        verdict=worst[max(worst)] if worst else None,
        is_lately=bool(lately) and lately[max(lately)] > 0,
    )


def _watched(worst: Mapping[float, float], lately: Mapping[float, float], month: Month) -> Watched:
    said = list(worst.values())
    broken = [at for at, value in worst.items() if value < 0] + [at for at, value in lately.items() if value > 0]
    return Watched(
        hours=math.ceil(month.seconds / HOUR),
        fair=sum(value > 0 for value in said),
        unknown=sum(value == 0 for value in said),
        unfair=sum(value < 0 for value in said),
        lately=sum(value > 0 for value in lately.values()),
        broken_at=min(broken, default=None),
    )


def document(report: FairnessReport) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "platform": report.platform,
        "month": report.month.name,
        "start": numbers.iso(report.month.first),
        "end": numbers.iso(report.month.last),
        "is_over": report.month.is_over,
        "made_at": numbers.iso(report.made_at),
        "prometheus": report.prometheus,
        "rates": [_document(one) for one in report.rates],
        "silent": [{"model": model.name, "promise": promise.title} for model, promise in report.silent],
        "queries": list(report.queries),
    }


def _document(one: Rate) -> dict[str, Any]:
    said, watched = one.last, one.watched
    promise = {name: getattr(said, name) for name in metrics.FAIRNESS_PROMISE}
    ends = {"difference": _finite(said.difference), "ratio": _finite(said.ratio)}
    pair = {"above": said.above, "below": said.below, "stratum": said.stratum or None}
    return {
        **promise,
        "owner": one.owner,
        "verdict": one.verdict,
        "promised": said.promised,
        "worst": pair | ends if said.above else None,
        "groups": [{"group": row.name, "rate": _finite((row.low, row.estimate, row.high))} for row in said.groups],
        "smallest_group_events": said.smallest,
        "unlabelled": said.unlabelled,
        "ungrouped": said.ungrouped,
        "rows_needed": said.rows_needed,
        "hours": {
            "fair": watched.fair,
            "unknown": watched.unknown,
            "unfair": watched.unfair,
            "unfair_lately": watched.lately,
            "not_judged": watched.not_judged,
        },
        "broken_at": None if watched.broken_at is None else numbers.iso(watched.broken_at),
    }


def _finite(ends: judged_fairness.Ends | None) -> list[float | None] | None:
    return None if ends is None else [end if math.isfinite(end) else None for end in ends]


def html(report: FairnessReport) -> str:
    """Text of the page."""
    month = report.month
    about = frame.About(
        title=f"Fairness of {report.platform}, {month.name}{'' if month.is_over else ' so far'}",
        verdict="bad" if report.is_broken else "good" if report.is_kept else "unsure",
        meaning=report.meaning,
        todo=report.todo,
        platform=report.platform,
        owner=", ".join(sorted({one.owner for one in report.rates})),
        dates=f"{month.start:%d %b %Y %H:%M} to {month.end:%d %b %Y %H:%M} {month.zone}",
    )
    return frame.render(
        TEMPLATE,
        about=about,
        zone=str(month.zone),
        header=HEADER,
        promises=rows(report),
        pictures=[
            {
                "of": title(one.last),
                "groups": judged_fairness.groups_of(one.last),
                "gap": judged_fairness.gap_of(one.last),
            }
            for one in report.rates
        ],
        watched=[_hours(one) for one in report.rates],
        silent=[f"{model.name}: {promise.title}" for model, promise in report.silent],
        hashes=report.names.why,
        queries=report.queries,
        made=numbers.moment(report.made_at),
    )


def title(one: Judged) -> str:
    """A judged rate in words."""
    return f"{one.model} {one.version}, {one.of}: {one.rate}"


def rows(report: FairnessReport) -> list[list[str]]:
    """Promises as a table: what was promised, shown, and on how much it rests."""
    return [
        [
            title(one.last),
            one.owner,
            one.last.limit,
            one.verdict,
            one.last.worst or "not known",
            numbers.number(one.last.smallest, "count"),
            "none" if one.last.groups and not one.last.unlabelled else numbers.number(one.last.unlabelled, "ratio"),
            numbers.number(one.last.ungrouped, "ratio"),
        ]
        for one in report.rates
    ]


HEADER = [
    "Promise",
    "Owner",
    "Limit",
    "In the month",
    "Worst pair (interval)",
    "Smallest group",
    "Without label",
    "In no group",
]


def _hours(one: Rate) -> list[str]:
    watched = one.watched
    since = "never" if watched.broken_at is None else numbers.moment(watched.broken_at)
    told = (watched.fair, watched.unknown, watched.unfair, watched.lately, watched.not_judged)
    return [title(one.last), *(f"{hours} h" for hours in told), since]
