"""Records and burn-rate alerts of one objective: one group, in order, each rule reading what those before it recorded.

The period's budget is computed from event counts: five-minute increases, each five minutes once, summed. Averaging
ratios instead, as others do, gives a quiet night the weight of a busy noon. Windows that decide how quickly somebody is
called read the counters themselves. Missing errors are no errors; missing traffic is no evidence, and gives no record
rather than NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from alerts import annotate, calendars, sloth
from alerts.sli import Sli, sli_of
from alerts.tiers import BurnAlert, tiers_of
from midwatch import metrics, promql
from midwatch.metrics import Kind, Metric
from midwatch.promql import Expr
from midwatch.spec import model as spec
from midwatch.spec.base import Place
from midwatch.spec.slo import CALENDAR_DAYS, CalendarPeriod, Severity, Slo
from midwatch.spec.systems import place_of
from midwatch.spec.values import format_duration, parse_duration

Rule = dict[str, Any]

ALERT = "ErrorBudgetBurn"

TILE_SECONDS = 300.0
"""The period is covered by increases over this long, each beginning where the one before ends."""
DIRECT_SECONDS = 3600.0
"""Windows up to this long read the counters, where a tier pages by them."""

EVENTS, BAD_EVENTS, VALUE = "slo:events:increase", "slo:bad_events:increase", "slo:measured:value"
PERIOD_ID = "slo:calendar_period:id"
IDENTITY = ("model", "slo")
"""Labels of the counts. The owner is not among them: a team that is renamed keeps its history."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """An objective, whose it is, and what it is of: a model, or a service without one."""

    platform: spec.Platform
    slo: Slo
    name: str
    owner: str
    file: str
    place: Place
    model: spec.Model | None = None
    labels: tuple[tuple[str, str], ...] = ()
    runbook: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Labels that tell its series from all others."""
        return (*IDENTITY, *self.slo.by)

    def counted(self, name: str) -> Expr:
        """Select one of its records."""
        if name not in self._selected:
            record = Metric(name=name, kind=Kind.GAUGE, help="", labels=self.keys)
            self._selected[name] = promql.select(record, model=self.name, slo=self.slo.name)
        return self._selected[name]

    @cached_property
    def _selected(self) -> dict[str, Expr]:
        return {}

    @cached_property
    def group(self) -> dict[str, Any]:
        """Rule group."""
        return group(self)

    @cached_property
    def sli(self) -> Sli:
        """What it counts."""
        return sli_of(self.slo, self.model, self.counted(VALUE))

    @cached_property
    def tiers(self) -> list[BurnAlert]:
        """Tiers that are on and can see anything."""
        return list(tiers_of(self.slo, least_short=self.sli.least_window))


def targets(platform: spec.Platform) -> list[Target]:
    """Every objective of the platform: of its models, then of the rule files."""
    found = [
        Target(
            platform=platform,
            slo=slo,
            name=model.name,
            owner=model.owner,
            model=model,
            runbook=model.runbook,
            file=f"model-{model.name}.yml",
            place=("models", index, "slos", number),
        )
        for index, model in enumerate(platform.models)
        for number, slo in enumerate(model.slos)
    ]
    for index, file in enumerate(platform.rules):
        for number, slo in enumerate(file.objectives):
            owner, labels = slo.owner or file.owner or "", tuple(sorted({**file.labels, **slo.labels}.items()))
            found.append(
                Target(
                    platform=platform,
                    slo=slo,
                    name=slo.service,
                    owner=owner,
                    labels=labels,
                    file=f"team-{file.name}.yml",
                    place=(*place_of(file, index), "objectives", number),
                )
            )
    return found


def group(target: Target) -> dict[str, Any]:
    """Rule group of an objective."""
    name = f"slo-{target.name}-{target.slo.name}"
    if target.slo.compatibility == "sloth":
        return {"name": name, "rules": sloth.rules(target)}
    return {"name": name, "rules": list(_rules(target))}


def _rules(target: Target) -> Iterator[Rule]:
    yield from _promises(target)
    yield from _counts(target)
    yield from _burn_rates(target)
    yield from _budget(target)
    yield from alerts(target)


def _record(target: Target, name: str, expr: Expr, *, owner: bool = True) -> Rule:
    labels = {"model": target.name, "slo": target.slo.name} | ({"owner": target.owner} if owner else {})
    return {"record": name, "expr": str(expr), "labels": labels}


def _promises(target: Target) -> Iterator[Rule]:
    yield _record(target, metrics.SLO_OBJECTIVE.name, promql.call("vector", target.slo.objective))
    sli = target.slo.sli
    if not isinstance(sli, str) and sli.latency:
        threshold = promql.call("vector", sli.latency.threshold)
        yield _record(target, metrics.SLO_LATENCY_THRESHOLD.name, threshold)


# Counts ------------------------------------------------------------------------------------------------------------


def _counts(target: Target) -> Iterator[Rule]:
    """Events and bad events of each window that something later asks for."""
    if target.sli.value is not None:
        yield _record(target, VALUE, target.sli.value, owner=False)
    for window in _counted_windows(target):
        suffix = format_duration(window)
        direct = is_direct(target, window)
        total = target.sli.total(window) if direct else _summed(target.counted(EVENTS + "5m"), window)
        bad = _bad(target, window) if direct else _summed(target.counted(BAD_EVENTS + "5m"), window)
        yield _record(target, EVENTS + suffix, total, owner=False)
        yield _record(target, BAD_EVENTS + suffix, bad, owner=False)


def _counted_windows(target: Target) -> list[float]:
    """Five minutes, and every long window; short windows only where they read the counters."""
    wanted = {TILE_SECONDS}
    for tier in target.tiers:
        wanted |= {tier.long, *([tier.short] if is_direct(target, tier.short) else [])}
    return [TILE_SECONDS, *sorted(wanted - {TILE_SECONDS})]


def is_direct(target: Target, window: float) -> bool:
    """Whether a window reads the counters: five minutes, windows below ten, and the one that pages first."""
    paging = [tier.long for tier in target.tiers if tier.severity is Severity.PAGE]
    return window < 2 * TILE_SECONDS or (window <= DIRECT_SECONDS and window == min(paging, default=0.0))


def _bad(target: Target, window: float) -> Expr:
    """Bad events; where none were ever counted, none of the total."""
    total = target.counted(EVENTS + format_duration(window))
    by = target.slo.by
    if target.sli.bad:
        return target.sli.bad(window).or_(total * 0, on=by)
    if target.sli.good is None:
        raise AssertionError("an SLI has good or bad events")
    good = target.sli.good(window).or_(total * 0, on=by)
    return promql.call("clamp_min", total.minus(Expr(f"({good})"), on=by), 0)


def _summed(series: Expr, window: float) -> Expr:
    """Sum of five-minute increases over a longer window."""
    return promql.over_time("sum_over_time", series, window, step=TILE_SECONDS)


# Burn rates --------------------------------------------------------------------------------------------------------


def _burn_rates(target: Target) -> Iterator[Rule]:
    """Burn rates of the standard windows, and of those that this objective's tiers ask for."""
    counted = set(_counted_windows(target))
    standard = {parse_duration(window) for window in metrics.BURN_RATE_WINDOWS}
    asked = {window for tier in target.tiers for window in (tier.short, tier.long)}
    for window in sorted(asked | {one for one in standard if one <= target.slo.period_seconds}):
        suffix = format_duration(window)
        if window in counted:
            total, bad = target.counted(EVENTS + suffix), target.counted(BAD_EVENTS + suffix)
        else:
            # Their ratio is all that is asked of these: a finer step only makes them fresher.
            step = 60.0 if window < 7200 else TILE_SECONDS
            total, bad = (
                promql.over_time("sum_over_time", target.counted(name + "5m"), window, step=step)
                for name in (EVENTS, BAD_EVENTS)
            )
        yield _record(target, _burn_name(window), bad / Expr(f"({total > 0})") / target.slo.budget)


def _burn_name(window: float) -> str:
    return f"slo:burn_rate:ratio{format_duration(window)}"


# The period's budget -----------------------------------------------------------------------------------------------


def _budget(target: Target) -> Iterator[Rule]:
    """Error ratio of the period, what is left of its budget, and how long that lasts."""
    period = target.slo.window
    if isinstance(period, CalendarPeriod):
        yield _record(target, PERIOD_ID, calendars.period_id(period), owner=False)
    total, bad = (_of_period(target, target.counted(name + "5m")) for name in (EVENTS, BAD_EVENTS))
    yield _record(target, metrics.SLO_PERIOD_ERROR.name, bad / Expr(f"({total > 0})"))
    error, left = target.counted(metrics.SLO_PERIOD_ERROR.name), target.counted(metrics.SLO_BUDGET_REMAINING.name)
    yield _record(target, metrics.SLO_BUDGET_REMAINING.name, promql.number(1) - error / target.slo.budget)
    yield _record(target, metrics.SLO_TIME_TO_EXHAUSTION.name, _time_to_exhaustion(target, left))


def _of_period(target: Target, series: Expr) -> Expr:
    """Sum of five-minute increases over the period."""
    period = target.slo.window
    if isinstance(period, float):
        return _summed(series, period)
    longest = (CALENDAR_DAYS[period.calendar] + 2 if period.calendar != "week" else 7) * 86400.0
    return _summed(series.and_(Expr(f"({_this_period(target)})"), on=IDENTITY), longest)


def _this_period(target: Target) -> Expr:
    this = target.counted(PERIOD_ID)
    return this.equals(promql.at_end(this))


def _time_to_exhaustion(target: Target, left: Expr) -> Expr:
    """Seconds until the budget is spent, if the last hour's burn rate goes on; nothing while it never would be.

    Rolling, with a period P, a share r of the budget left and a burn rate b above 1: the errors of the past leave the
    window evenly while new ones come, so that the budget is spent after P * r / (b - 1 + r). In a calendar period, of
    which E seconds are gone, nothing leaves: E * r / (b - 1).
    """
    burning = target.counted(_burn_name(DIRECT_SECONDS)) > 1
    at_least = promql.call("clamp_min", left, 0)
    if isinstance(target.slo.window, float):
        return at_least * target.slo.window / Expr(f"(({burning}) - 1 + {at_least})")
    span = (CALENDAR_DAYS[target.slo.window.calendar] + 2) * 86400.0
    gone = promql.over_time("count_over_time", _this_period(target), span, step=TILE_SECONDS) * TILE_SECONDS
    elapsed = Expr(f"scalar({gone})")
    return at_least * elapsed / Expr(f"(({burning}) - 1)")


# Alerts ------------------------------------------------------------------------------------------------------------


def alerts(target: Target) -> Iterator[Rule]:
    """A page and a ticket, each for whichever of its tiers burns."""
    for severity in Severity:
        tiers = [tier for tier in target.tiers if tier.severity is severity]
        if tiers:
            yield _alert(target, severity, tiers)


def _alert(target: Target, severity: Severity, tiers: Sequence[BurnAlert]) -> Rule:
    expr = _burns(target, tiers[0])
    for tier in tiers[1:]:
        expr = expr.or_(_burns(target, tier), on=target.keys)
    slo = target.slo
    promise = f"{(slo.objective * 100).normalize():f}%"
    where = "".join(f" {{{{ $labels.{label} }}}}" for label in slo.by)
    return {
        "alert": ALERT,
        "expr": str(expr),
        "for": format_duration(slo.burn_rate.for_) if slo.burn_rate.for_ else "0s",
        "labels": {
            **dict(target.labels),
            "severity": severity.value,
            "owner": target.owner,
            "model": target.name,
            "slo": slo.name,
        },
        "annotations": annotate.annotate(
            target.platform,
            ALERT,
            summary=f"{target.name}{where} {slo.name}: the error budget burns {{{{ $value | humanize }}}} times too "
            f"fast, objective {promise}",
            description=_description(target, severity, tiers),
            owner=target.owner,
            runbook=slo.runbook or target.runbook,
            slo=slo.name,
            model=target.name,
        ),
    }


def _burns(target: Target, tier: BurnAlert) -> Expr:
    """Both windows burn, and the long one has seen enough to say so."""
    counted = format_duration(tier.long)
    least = target.slo.burn_rate.min_events or target.sli.least_events
    least_bad = target.slo.burn_rate.min_bad_events or target.sli.least_bad
    # Increases are extrapolated: 2.97 of 3 events are 3.
    enough = promql.call("round", target.counted(EVENTS + counted)) >= least
    enough_bad = promql.call("round", target.counted(BAD_EVENTS + counted)) >= least_bad
    short, long = (target.counted(_burn_name(window)) > tier.burn_rate for window in (tier.short, tier.long))
    return short.and_(long).and_(enough_bad, on=target.keys).and_(enough, on=target.keys)


def _description(target: Target, severity: Severity, tiers: Sequence[BurnAlert]) -> str:
    shares = " or ".join(f"{format_duration(tier.long)} (over {tier.burn_rate:f} times)" for tier in tiers)
    period = target.slo.window
    what = format_duration(period) if isinstance(period, float) else period.calendar
    left = target.counted(metrics.SLO_TIME_TO_EXHAUSTION.name)
    matchers = ",".join(f"{label}='%s'" for label in target.keys)
    values = " ".join(f"$labels.{label}" for label in target.keys)
    name = str(left).partition("{")[0]
    query = f'{{{{ with printf "{name}{{{matchers}}}" {values} | query }}}}'
    tail = " If it goes on, the budget is spent in {{ . | first | value | humanizeDuration }}.{{ end }}"
    urgency = "Somebody has to look now." if severity is Severity.PAGE else "It can wait for office hours, not longer."
    about = f"{target.slo.description.rstrip('.')}. " if target.slo.description else ""
    return f"{about}The budget of the {what} burns too fast over {shares}. {urgency}{query}{tail}"
