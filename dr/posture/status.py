"""The posture of every store against what is promised: what is known, how old it is, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dr import figures, stores
from dr.drill_log import DrillLog
from dr.posture import gauges
from dr.samples import Sample
from midwatch import metrics
from midwatch.spec import dr as spec
from midwatch.spec.stores.base import Store
from midwatch.spec.values import describe_duration


@dataclass(frozen=True, kw_only=True)
class StoreStatus:
    """One store. Seconds are None where nobody knows; `problems` are findings, `unknown` what could not be judged."""

    store: str
    kind: str
    rto: float
    rpo: float
    last_drill: str | None
    verdict: str | None
    drill_age: float | None
    rto_seconds: float | None
    rpo_seconds: float | None
    worst_rto_seconds: float | None
    worst_rpo_seconds: float | None
    lag_seconds: float | None
    restorable_age_seconds: float | None
    backup_size_bytes: float | None
    problems: tuple[str, ...]
    unknown: tuple[str, ...]


def judge(
    recovery: spec.DisasterRecovery, log: DrillLog, samples: Sequence[Sample], now: float | None = None
) -> list[StoreStatus]:
    """Status of every store, from the evidence and the samples of a look."""
    moment = time.time() if now is None else now
    results = log.results()
    return [_store(recovery, store, results, samples, moment) for store in recovery.stores]


def _store(
    recovery: spec.DisasterRecovery,
    store: Store,
    results: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    now: float,
) -> StoreStatus:
    mine = [result for result in results if result["store"] == store.name]
    last = mine[-1] if mine else None
    problems, unknown = [], []
    for drill in (one for one in recovery.drills if one.store == store.name):
        runs = [result for result in mine if result["drill"] == drill.name]
        if not runs:
            unknown.append(f"drill {drill.name} was never run")
            continue
        if runs[-1]["verdict"] == "BREACHED":
            problems.append(f"drill {drill.name} was breached: {'; '.join(runs[-1].get('reasons', ()))}")
        elif runs[-1]["verdict"] == "INCONCLUSIVE":
            unknown.append(f"drill {drill.name} was inconclusive: {'; '.join(runs[-1].get('reasons', ()))}")
        if (age := now - gauges.seconds_of(runs[-1]["at"])) > drill.result_age:
            problems.append(f"drill {drill.name} is overdue: last run {describe_duration(age)} ago")
    lag = _most(samples, metrics.DR_REPLICATION_LAG, store.name, primary_only=True)
    if lag is not None and lag > recovery.warn_after(store):
        rpo = describe_duration(recovery.rpo_of(store))
        problems.append(f"{describe_duration(lag)} of writes have no second copy; the RPO is {rpo}")
    advice = stores.kind_of(store).lag_advice
    if lag is None and advice:
        unknown.append(f"its lag is not known from here: {advice}")
    elif lag is None and not mine:
        unknown.append(f"a store of kind {store.kind} publishes no lag: only a drill measures what would be lost")
    problems += _of_backups(samples, store)
    answers = _most(samples, metrics.DR_STORE_ANSWERS, store.name)
    if answers == 0.0:
        problems.append("the store does not answer")
    return StoreStatus(
        store=store.name,
        kind=store.kind,
        rto=recovery.rto,
        rpo=recovery.rpo_of(store),
        last_drill=last["drill"] if last else None,
        verdict=last["verdict"] if last else None,
        drill_age=now - gauges.seconds_of(last["at"]) if last else None,
        rto_seconds=last.get("rto_seconds") if last else None,
        rpo_seconds=figures.data_loss(last) if last else None,
        worst_rto_seconds=_worst(result.get("rto_seconds") for result in mine),
        worst_rpo_seconds=_worst(figures.data_loss(result) for result in mine),
        lag_seconds=lag,
        restorable_age_seconds=_most(samples, metrics.DR_RESTORABLE_AGE, store.name),
        backup_size_bytes=_most(samples, metrics.DR_BACKUP_SIZE, store.name),
        problems=tuple(problems),
        unknown=tuple(unknown),
    )


def _of_backups(samples: Sequence[Sample], store: Store) -> Iterator[str]:
    """What is wrong with what a restore would need."""
    if flaws := _most(samples, metrics.DR_ARCHIVE_FLAWS, store.name):
        yield f"{flaws:.0f} archived segments are missing or damaged: a restore ends at the first; take a new backup"
    if _most(samples, metrics.DR_BACKUP_FAILING, store.name):
        yield "the newest backup could not be made; midwatch dr verify says why"
    if _most(samples, metrics.DR_RESTORE_GOOD, store.name) == 0.0:
        yield "the last restore failed, used an older backup, or did not come to the archive's end"


def _worst(values: Iterable[float | None]) -> float | None:
    """The maximum over all drills: a restore's figures depend on the phase at which it was lost."""
    return max((value for value in values if value is not None), default=None)


def _most(samples: Sequence[Sample], metric: metrics.Metric, store: str, *, primary_only: bool = False) -> float | None:
    """Largest value of a store's samples; of its lags the smallest, since one copy that has everything is enough."""
    values = [value for one, labels, value in samples if one is metric and labels.get("store") == store]
    if not values:
        return None
    return min(values) if primary_only else max(values)
