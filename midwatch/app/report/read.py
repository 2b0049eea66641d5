"""Builds the report of a month: asks Prometheus, reads evidence, and says of what there was no answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from alerts import inventory
from alerts.objectives import objective as objectives
from alerts.routing import configuration, existing
from alerts.routing.configuration import Config
from midwatch import alertmanager, metrics, promql, signals, upstream
from midwatch.app.incident import explain
from midwatch.app.report import acted, caused, counted, fired, harmful, quality
from midwatch.app.report.acted import Logged
from midwatch.app.report.counted import Counted, Key
from midwatch.app.report.fired import Stretch
from midwatch.app.report.month import HOUR, Month
from midwatch.app.report.records import (
    FAIRNESS_VERDICT,
    Figures,
    Firing,
    Gap,
    Harm,
    ModelMonth,
    Promise,
    Run,
    Share,
    SloReport,
)
from midwatch.errors import MidwatchError
from midwatch.prometheus import Client, UnreachableError
from midwatch.promql import Expr
from midwatch.spec.model import Platform

Answer = TypeVar("Answer")

LOOK_BACK = 90 * 86_400.0
"""An alert that did not fire for so long is named."""
NODE_COST = "node_total_hourly_cost"
"""OpenCost's hourly price of each node."""
MOST_NEVER = 200
MOST_SHARP = 10
"""Stretches of harm that are looked at to five minutes: those that spent most."""
HALF = 0.5
VERDICT_STEP = 300.0
"""Seconds between two looks at verdicts of a month."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Whom to ask; `evidence` are the logs that say what was run and done, and `alertmanager` knows silences.

    `causes` say what changed before a stretch of harm; without them no cause is named. `regions` are those whose counts
    are summed, where Prometheus is a view over regions.
    """

    prometheus: Client
    prometheus_url: str
    platform: Platform | None
    alertmanager: alertmanager.Client | None
    evidence: tuple[Path, ...] = ()
    evidence_key: bytes = b""
    regions: tuple[str, ...] = ()
    causes: explain.Sources | None = None


def report(sources: Sources, month: Month, *, now: float) -> SloReport:
    """The report; UnreachableError when Prometheus answers nothing at all."""
    silences: list[alertmanager.Silence] = []
    missing = []
    if sources.alertmanager is not None:
        try:
            silences = sources.alertmanager.silences()
        except MidwatchError as error:
            missing.append(f"silences: {error}")
    figures = _Reader(sources, month, silences, now, missing, sources.causes).figures()
    before = _Reader(sources, month.before(), silences, now, missing, None).figures()
    never, looked = _never_fired(sources, month)
    return SloReport(
        platform=sources.platform.platform if sources.platform else "",
        zone=str(month.zone),
        made_at=now,
        prometheus=sources.prometheus_url,
        now=figures,
        before=before,
        never_fired=tuple(never),
        looked_back=looked,
        suggestions=tuple(quality.suggestions(figures)),
    )


class _Reader:
    """Reads one month; a question without an answer leaves its part empty and is named."""

    def __init__(
        self,
        sources: Sources,
        month: Month,
        silences: Sequence[alertmanager.Silence],
        now: float,
        missing: Sequence[str],
        causes: explain.Sources | None,
    ) -> None:
        self._sources, self._month, self._silences, self._now = sources, month, silences, now
        self._client, self._platform = sources.prometheus, sources.platform
        self._missing, self._causes = list(missing), causes
        if sources.regions:  # what a part of the answers lacks is said beside what they have
            self._client = sources.prometheus.taking_parts(self._missing.append)
        self._is_unreachable = False

    def figures(self) -> Figures:
        month = self._month
        ends = counted.hours_of(month)
        regions = self._sources.regions
        counts = self._answered("objectives", lambda: counted.read(self._client, month, regions)) or {}
        unseen = self._unseen(regions)
        promises = self._promises(counts)
        logged = acted.read(self._sources.evidence, month.first, month.last, key=self._sources.evidence_key)
        self._missing += logged.problems
        runs = self._runs(logged)
        marked = {key: harmful.hours(one) for key, one in counts.items()}
        stretches = self._answered("alerts", lambda: fired.read(self._client, month))
        knows_alerts = stretches is not None and bool(stretches or counts or self._has_samples())
        firings = self._firings(stretches or [], runs, logged)
        firings = quality.judged(firings, marked, ends)
        owners = {(one.subject, one.name): one.owner for one in promises}
        harms = sorted(
            (
                harm
                for key in counts
                if key in owners
                for harm in harmful.stretches(key, owners[key], counts[key], ends)
            ),
            key=lambda one: -one.spent,
        )
        harms = [self._sharpened(harm, counts) if place < MOST_SHARP else harm for place, harm in enumerate(harms)]
        harms = [replace(harm, during=quality.during(harm.start, harm.end, runs)) for harm in harms]
        harms = caused.of_harms(self._causes, quality.told(harms, firings), self._now)
        recall, by_page = quality.recall(harms)
        figures = Figures(
            month=month.name,
            start=month.first,
            end=month.last,
            is_over=month.is_over,
            promises=tuple(promises),
            harms=tuple(harms),
            firings=tuple(firings),
            knows_alerts=knows_alerts,
            unseen_regions=unseen,
            alerts=tuple(quality.of_alerts(firings, month)),
            owners=tuple(quality.of_owners(promises, firings, month)),
            models=tuple(self._models()),
            runs=tuple(runs),
            overdue=tuple(self._without_run(runs)),
            recall=recall,
            recall_by_page=by_page,
            precision=quality.precision(firings),
            restorable=self._restorable(),
            cost=self._cost(),
            covered=_covered(counts),
            gaps=tuple(_gaps(counts, ends)),
            days=tuple(float(one) for one in ends[23::24]),
            spent_by_day=_by_day(counts, {one.key for one in promises}),
        )
        return replace(figures, missing=tuple(dict.fromkeys(self._missing)))

    def _answered(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """An answer, None without one; of a Prometheus that cannot be reached nothing more is asked."""
        if self._is_unreachable:
            return None
        try:
            return ask()
        except MidwatchError as error:
            self._is_unreachable = isinstance(error, UnreachableError)
            more = "; nothing else was asked" if self._is_unreachable else ""
            self._missing.append(f"{what}: {error}{more}")
            return None

    def _unseen(self, regions: Sequence[str]) -> tuple[str, ...]:
        """Regions whose part of the month the view does not have, or does not say; each is named as missing."""
        if not regions:
            return ()
        found = self._answered("regions", lambda: counted.unseen(self._client, self._month, regions))
        unseen = tuple(regions) if found is None else tuple(found)
        self._missing += [f"{name}: the view has nothing of it in this month" for name in unseen]
        return unseen

    def _sharpened(self, harm: Harm, counts: Mapping[Key, Counted]) -> Harm:
        """A stretch to five minutes, where the rules keep counts of them."""
        key = harm.subject, harm.name
        asked = self._client, key, harm.start, harm.end, self._sources.regions
        read = self._answered("when harm began", lambda: counted.tiles(*asked))
        share = 1 - float(np.nanmin(counts[key].objective))
        return harm if read is None else harmful.sharpened(harm, share, *read)

    # Promises ---

    def _promises(self, counts: Mapping[Key, Counted]) -> list[Promise]:
        """Objectives of the platform file, in its order; without one those that were counted."""
        if self._platform is None:
            return [_promise(key, one.owner, "", one) for key, one in counts.items()]
        made = []
        for one in objectives.of_platform(self._platform):
            key = one.subject, one.slo.name
            found = counts.get(key)
            if found is None:
                nothing = np.zeros(0)
                found = Counted(total=nothing, bad=nothing, objective=nothing, covered=nothing)
            made.append(_promise(key, one.owner, one.slo.kind, found))
        return [*made, *self._fairness(self._platform)]

    def _fairness(self, platform: Platform) -> list[Promise]:
        """Promises of fairness: broken where they were shown so at any time, kept where they were in the end."""
        if not any(model.fairness for model in platform.models):
            return []
        labels = ("model", "attribute", "measure", "limit")
        verdict = promql.min_by(promql.select(metrics.FAIRNESS_VERDICT), *labels)
        lately = promql.max_by(promql.select(metrics.FAIRNESS_BECAME_UNFAIR), *labels)
        worst, last, changed = (
            self._verdicts(promql.over_time(function, series, self._month.seconds, step=VERDICT_STEP), labels)
            for function, series in (
                ("min_over_time", verdict),
                ("last_over_time", verdict),
                ("max_over_time", lately),
            )
        )
        return [
            Promise(
                subject=model.name,
                name=promise.title,
                kind=FAIRNESS_VERDICT,
                owner=model.owner,
                objectives=(),
                good=Share(some=0, of=0),
                budget=0.0,
                covered=0.0,
                shown_kept=_shown_kept(worst.get(key), last.get(key), changed.get(key)),
            )
            for model in platform.models
            for promise in model.fairness
            for key in ((model.name, *promise.key),)
        ]

    def _verdicts(self, expr: Expr, labels: Sequence[str]) -> dict[tuple[str, ...], float]:
        samples = self._answered("verdicts on fairness", lambda: self._client.query(expr, at=self._month.last)) or []
        return {tuple(one.labels.get(name, "") for name in labels): one.value for one in samples}

    # Alerts ---

    def _has_samples(self) -> bool:
        """Whether Prometheus has anything of the month: what it does not keep did not fire for all it knows."""
        return bool(self._course("samples of the month", promql.call("count", promql.scraped())))

    def _firings(self, stretches: Sequence[Stretch], runs: Sequence[Run], logged: Logged) -> list[Firing]:
        config = self._config()
        found = fired.firings(stretches, self._month, config, self._silences)
        has_logs = bool(self._sources.evidence)
        return [
            replace(
                one,
                during=quality.during(one.start, one.end, runs),
                acted=acted.of_firing(one, self._silences, logged.deeds, now=self._now, has_logs=has_logs),
            )
            for one in found
            if self._is_ours(one)
        ]

    def _config(self) -> Config | None:
        """Routes of the platform file: whom it would have told."""
        return None if self._platform is None else configuration.running(existing.text(self._platform), (0, 25))

    def _is_ours(self, one: Firing) -> bool:
        return self._platform is None or one.owner in self._platform.owners

    # Models ---

    def _models(self) -> list[ModelMonth]:
        """Accuracy and drift of each model, of what was settled in the month."""
        month, window = self._month, self._month.seconds
        right, labelled = (
            self._by_model(what, expr)
            for what, expr in (
                ("accuracy", signals.right({}, "model", window=window)),
                ("labels", signals.labelled({}, "model", window=window)),
            )
        )
        episodes = self._by_model(
            "episodes of drift",
            promql.sum_by(promql.increase(promql.select(metrics.DRIFT_EPISODES), window), "model"),
        )
        inside = promql.max_by(promql.select(metrics.DRIFT_EPISODE), "model")
        drifting = self._by_model("drift", promql.over_time("avg_over_time", inside, window, step=300.0))
        owners = {one.name: one.owner for one in self._platform.models} if self._platform else {}
        names = sorted(owners or {*labelled, *drifting})
        return (
            [
                ModelMonth(
                    model=name,
                    owner=owners.get(name, ""),
                    accuracy=Share(some=round(right.get(name, 0.0)), of=round(labelled.get(name, 0.0))),
                    episodes=round(episodes[name]) if name in episodes else None,
                    drifting=drifting.get(name),
                )
                for name in names
                if name in labelled or name in drifting
            ]
            if month
            else []
        )

    def _by_model(self, what: str, expr: object) -> dict[str, float]:
        samples = self._answered(what, lambda: self._client.query(expr, at=self._month.last)) or []
        return {one.labels.get("model", ""): one.value for one in samples if not math.isnan(one.value)}

    # Drills and cost ---

    def _runs(self, logged: Logged) -> list[Run]:
        """Drills and experiments that ended: of evidence logs, else as they were scraped."""
        if logged.runs:
            return list(logged.runs)
        found = []
        for kind, last, verdict, labels in (
            ("recovery", metrics.DR_DRILL_LAST_RUN, metrics.DR_DRILL_VERDICT, ("drill", "store")),
            ("experiment", metrics.CHAOS_LAST_RUN, metrics.CHAOS_VERDICT, ("experiment",)),
        ):
            runs = self._course(f"{kind} runs", promql.max_by(promql.select(last), *labels))
            verdicts = self._course(
                f"{kind} verdicts", promql.max_by(promql.select(verdict).equals(1), *labels, "verdict")
            )
            found += _scraped_runs(kind, labels, runs, verdicts, self._month)
        return sorted(found, key=lambda one: (one.at, one.name))

    def _course(self, what: str, expr: object) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
        month = self._month
        lines = self._answered(
            what, lambda: self._client.query_range(expr, start=month.first, end=month.last, step=HOUR)
        )
        return [(line.labels, line.points) for line in lines or ()]

    def _without_run(self, runs: Sequence[Run]) -> list[str]:
        """Drills of the platform file that should have had a result in the month and had none."""
        section = self._platform.disaster_recovery if self._platform else None
        had = {(one.name, one.store) for one in runs if one.kind == "recovery"}
        return [
            f"{one.name} of {one.store}"
            for one in (section.drills if section else ())
            if one.result_age <= self._month.seconds and (one.name, one.store) not in had
        ]

    def _restorable(self) -> dict[str, float]:
        """How old the newest verified restore of each store is at the end: the youngest of its regions'."""
        expr = promql.min_by(promql.select(metrics.DR_RESTORABLE_AGE), "store")
        found = self._answered("verified restores", lambda: self._client.query(expr, at=self._month.last)) or []
        return {one.labels.get("store", ""): one.value for one in found}

    def _cost(self) -> float | None:
        """What the nodes cost in the month, as OpenCost prices them; None where nobody does."""
        hourly = promql.raw(f"sum({NODE_COST})")
        expr = promql.over_time("sum_over_time", hourly, self._month.seconds, step=HOUR)
        found = self._answered("cost", lambda: self._client.query(expr, at=self._month.last))
        return found[0].value if found else None


def _promise(key: Key, owner: str, kind: str, found: Counted) -> Promise:
    known = found.objective[~np.isnan(found.objective)]
    changed = [float(now) for then, now in pairwise([math.nan, *known]) if now != then]
    total, bad = float(np.nansum(found.total)), float(np.nansum(found.bad))
    return Promise(
        subject=key[0],
        name=key[1],
        kind=kind,
        owner=owner,
        objectives=tuple(changed),
        good=Share(some=max(0.0, total - bad), of=total),
        budget=float(np.nansum(found.allowed)),
        covered=float(np.mean(found.covered)) if len(found.covered) else 0.0,
    )


def _shown_kept(worst: float | None, last: float | None, changed: float | None) -> bool | None:
    if worst is None or last is None:
        return None
    if worst < 0 or (changed or 0.0) > 0:
        return False
    return True if last > 0 else None


def _covered(counts: Mapping[Key, Counted]) -> float | None:
    """Share of the month of which there is a count of anything."""
    if not counts:
        return None
    return float(np.mean(np.max([one.covered for one in counts.values()], axis=0)))


def _gaps(counts: Mapping[Key, Counted], ends: counted.Hours) -> list[Gap]:
    """Hours of which less than half was counted, of any objective; neighbours are joined."""
    if not counts:
        return [Gap(start=float(ends[0]) - HOUR, end=float(ends[-1]))]
    empty = np.flatnonzero(np.max([one.covered for one in counts.values()], axis=0) < HALF)
    runs = np.split(empty, np.flatnonzero(np.diff(empty) > 1) + 1) if len(empty) else []
    return [Gap(start=float(ends[run[0]]) - HOUR, end=float(ends[run[-1]])) for run in runs]


def _by_day(counts: Mapping[Key, Counted], keys: set[str]) -> dict[str, tuple[float | None, ...]]:
    """Budget spent since the month's begin at the end of each day; None before anything was counted."""
    made = {}
    for key, one in counts.items():
        budget = float(np.nansum(one.allowed))
        if "/".join(key) not in keys or budget <= 0:
            continue
        spent = np.cumsum(np.nan_to_num(one.bad)) / budget
        begun = np.cumsum(~np.isnan(one.total)) > 0
        made["/".join(key)] = tuple(
            float(value) if known else None for value, known in zip(spent[23::24], begun[23::24], strict=True)
        )
    return made


def _scraped_runs(
    kind: str,
    labels: Sequence[str],
    runs: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float]]]],
    verdicts: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float]]]],
    month: Month,
) -> list[Run]:
    """Every run whose end was seen, with the verdict that was seen then."""
    found = []
    for names, points in runs:
        key = tuple(names.get(label, "") for label in labels)
        seen = {value: at for at, value in reversed(points) if month.first <= value < month.last}
        for ended, at in sorted(seen.items()):
            said = [
                one.get("verdict", "")
                for one, course in verdicts
                if tuple(one.get(label, "") for label in labels) == key and any(time == at for time, _ in course)
            ]
            store = key[1] if len(key) > 1 else ""
            found.append(Run(kind=kind, name=key[0], store=store, at=ended, verdict=said[0] if said else ""))
    return found


def _never_fired(sources: Sources, month: Month) -> tuple[list[str], float]:
    """Alerts of the platform file that did not fire for long, and how far Prometheus reaches back within that."""
    if sources.platform is None:
        return [], 0.0
    series = promql.narrowed(promql.select(upstream.ALERTS, alertstate="firing"), 'severity!="none"')
    try:
        found = sources.prometheus.query(
            promql.call("count by (alertname) ", promql.last_over_time(series, LOOK_BACK)), at=month.last
        )
        oldest = sources.prometheus.query(
            promql.raw(f"min(min_over_time(timestamp({metrics.SLO_OBJECTIVE.name})[{round(LOOK_BACK)}s:6h]))"),
            at=month.last,
        )
    except MidwatchError:
        return [], 0.0
    if not oldest:
        return [], 0.0
    looked = month.last - oldest[0].value
    names = {entry.name for entry in inventory.entries(sources.platform) if entry.severity in ("page", "ticket")}
    return sorted(names - {one.labels.get("alertname", "") for one in found})[:MOST_NEVER], looked
