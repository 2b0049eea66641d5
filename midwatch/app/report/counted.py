"""What Prometheus counted of every objective, hour by hour of a month: a few questions, however many objectives.

Sums of what the rules counted, each event once; an objective whose rules keep no such counts is read from its five
minute increases. An hour without a count is a gap, never a good hour.

At a view the counts of the regions are summed, each region's own; one that has none of an hour is its share of a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midwatch import metrics, promql
from midwatch.app.report.month import HOUR, Month
from midwatch.metrics import Metric
from midwatch.prometheus import Client
from midwatch.promql import Expr

Key = tuple[str, str]
Hours = NDArray[np.float64]

EVENTS, BAD_EVENTS = "slo:events", "slo:bad_events"
"""Records of an objective, before `:counted` and `:increase5m` (alerts.objectives.records)."""
WINDOW = HOUR - 0.001
"""An hour without its begin, which the hour before has: Prometheus 2 counts a range's first moment too."""
SLOTS = 12
"""Tiles of five minutes in an hour."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Events, bad events, the promised share, and the share of the hour that was counted, for each hour; NaN is none.

    `owner` is the last one that the records name.
    """

    total: Hours
    bad: Hours
    objective: Hours
    covered: Hours
    owner: str = ""

    @property
    def allowed(self) -> Hours:
        """Bad events that each hour allowed."""
        return self.total * (1 - self.objective)


def hours_of(month: Month) -> Hours:
    """Ends of the month's hours; the last one may be short."""
    ends = np.arange(month.first + HOUR, month.last + 1, HOUR)
    return ends if len(ends) else np.array([month.last])


def read(client: Client, month: Month, regions: Sequence[str] = ()) -> dict[Key, Counted]:
    """Counts of every objective by subject and name; QueryError without an answer.

    `regions` are those whose counts are summed at a view; none of a Prometheus that has its own alone.
    """
    ends = hours_of(month)
    total, bad = (_course(client, _counts(name, regions), ends) for name in (EVENTS, BAD_EVENTS))
    objective = _course(client, _named(metrics.SLO_OBJECTIVE.name, "max_over_time", "[1h]"), ends)
    covered = _course(client, _slots(regions), ends)
    owners = _owners(client, month)
    nothing = np.full(len(ends), np.nan)
    found = {}
    for key in sorted({*total, *objective}):
        promised = _filled(objective.get(key, nothing))
        found[key] = Counted(
            total=total.get(key, nothing),
            bad=np.where(np.isnan(bad.get(key, nothing)), total.get(key, nothing) * 0, bad.get(key, nothing)),
            objective=promised,
            covered=np.nan_to_num(covered.get(key, nothing)) / SLOTS,
            owner=owners.get(key, ""),
        )
    return found


TILE = 300.0


def unseen(client: Client, month: Month, regions: Sequence[str]) -> list[str]:
    """Regions of which a view has no record of the month; QueryError without an answer."""
    promised = promql.last_over_time(_record(metrics.SLO_OBJECTIVE.name, regions), month.seconds)
    seen = {one.labels.get("region") for one in client.query(promql.max_by(promised, "region"), at=month.last)}
    return [name for name in regions if name not in seen]


def tiles(
    client: Client, key: Key, start: float, end: float, regions: Sequence[str] = ()
) -> tuple[Hours, Hours, Hours]:
    """Ends of the five minutes of a time, and events and bad events of one objective in each, as far as they know."""
    ends = np.arange(start + TILE, end + 1, TILE)
    found = []
    for name in (EVENTS, BAD_EVENTS):
        own = [promql.matcher("model", key[0]), promql.matcher("slo", key[1])]
        series = promql.narrowed(_record(f"{name}:counted", regions), *own)
        values = np.zeros(len(ends))
        expr = _summed(promql.over_time("sum_over_time", series, TILE - 0.001))
        for line in client.query_range(expr, start=float(ends[0]), end=float(ends[-1]), step=TILE):
            for at, value in line.points:
                values[min(len(ends) - 1, round((at - float(ends[0])) / TILE))] = value
        found.append(values)
    return ends, found[0], found[1]


def _record(name: str, regions: Sequence[str]) -> Expr:
    record = Metric(name=name, kind=metrics.Kind.GAUGE, help="", labels=("model", "slo", "region"))
    return promql.select(record, region=promql.matches("|".join(regions))) if regions else promql.select(record)


def _counts(name: str, regions: Sequence[str]) -> Expr:
    """Events of an hour by objective: what was counted, or where nothing is, increases of five minutes."""
    counted = _summed(promql.over_time("sum_over_time", _record(f"{name}:counted", regions), WINDOW))
    increases = _summed(promql.over_time("sum_over_time", _record(f"{name}:increase5m", regions), WINDOW, step=300.0))
    return Expr(f"{counted} or on (model, slo) {increases}", 1)


def _summed(series: Expr) -> Expr:
    return promql.sum_by(series, "model", "slo")


def _named(name: str, function: str, window: str) -> Expr:
    return promql.max_by(promql.raw(f"{function}({name}{window})"), "model", "slo")


def _slots(regions: Sequence[str]) -> Expr:
    """How many of an hour's tiles have a record; of several regions their mean, with none of one that has no record."""
    made = [
        promql.max_by(
            promql.over_time("count_over_time", _record(f"{EVENTS}{suffix}", regions), HOUR, step=300.0),
            *("model", "slo", *(["region"] if regions else [])),
        )
        for suffix in (":counted", ":increase5m")
    ]
    if not regions:
        return Expr(f"clamp_max({made[0]} or on (model, slo) {made[1]}, {SLOTS})")
    by_region = Expr(f"clamp_max({made[0]} or on (model, slo, region) {made[1]}, {SLOTS})")
    return promql.sum_by(by_region, "model", "slo") / len(regions)


def _course(client: Client, expr: Expr, ends: Hours) -> dict[Key, Hours]:
    """Values of an expression at the ends of hours, by objective."""
    found = {}
    for line in client.query_range(expr, start=float(ends[0]), end=float(ends[-1]), step=HOUR):
        values = np.full(len(ends), np.nan)
        for at, value in line.points:
            values[min(len(ends) - 1, round((at - float(ends[0])) / HOUR))] = value
        found[line.labels.get("model", ""), line.labels.get("slo", "")] = values
    return found


def _filled(values: Hours) -> Hours:
    """A promise holds until another is recorded; before the first one is recorded, that holds."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values
    places = np.maximum.accumulate(np.where(~np.isnan(values), np.arange(len(values)), known[0]))
    filled: Hours = values[places]
    return filled


def _owners(client: Client, month: Month) -> Mapping[Key, str]:
    series = promql.select(metrics.SLO_OBJECTIVE)
    found = client.query(
        promql.call("max by (model, slo, owner) ", promql.last_over_time(series, month.seconds)), at=month.last
    )
    return {(one.labels.get("model", ""), one.labels.get("slo", "")): one.labels.get("owner", "") for one in found}
