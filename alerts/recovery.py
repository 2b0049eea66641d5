"""Alerts between drills: the recovery point at risk, backups that age or shrink, drills that fail or are overdue."""

from __future__ import annotations

from typing import Any

from alerts import ruleset
from midwatch import metrics, promql
from midwatch.promql import Expr
from midwatch.spec import dr as spec
from midwatch.spec import model as platforms
from midwatch.spec.values import format_duration

JOB = "midwatch-recovery"
"""Scrape job of `midwatch dr export`."""

SHRUNK = 0.5
"""A backup half as large as the largest of the week has most likely missed something (litestream#1083, #1309)."""
WEEK = 604800.0

Rule = dict[str, Any]


def rules(platform: platforms.Platform, recovery: spec.DisasterRecovery) -> dict[str, Any]:
    """Rule file of disaster recovery: a group for the stores, one for the drills."""
    wait = 4 * platform.prometheus.scrape_interval
    make = _Maker(platform, recovery, wait)
    stores = [rule for store in recovery.stores for rule in make.store(store)]
    drills = [rule for drill in recovery.drills for rule in make.drill(drill)]
    groups = [{"name": "midwatch-recovery-stores", "rules": [make.exporter_down(), *stores]}]
    if drills:
        groups.append({"name": "midwatch-recovery-drills", "rules": drills})
    return {"groups": groups}


class _Maker:
    """Builds the rules of one platform."""

    def __init__(self, platform: platforms.Platform, recovery: spec.DisasterRecovery, wait: float) -> None:
        self._platform, self._recovery, self._wait = platform, recovery, wait

    def exporter_down(self) -> Rule:
        return self._alert(
            "RecoveryExporterDown", promql.scraped(job=JOB).equals(0).or_(promql.absent(promql.scraped(job=JOB))),
            self._wait, "ticket", "The recovery exporter cannot be scraped",
            "Nothing is known of lag, backups and drills; their alerts cannot fire.",
        )  # fmt: skip

    def store(self, store: spec.Store) -> list[Rule]:
        """Rules of a store: what its kind publishes decides which."""
        made = [self._unknown(store)]
        local = store.local_postgresql
        if (local and local.standby) or store.postgresql or store.cloudnative_pg:
            made += [self._at_risk(store), self._standby_lost(store)]
        if local:
            made.append(self._shrinking(store))
        if (local and not local.standby) or store.files or store.velero:
            made += [self._at_risk(store), self._backup_stale(store), self._unverified(store)]
        return made

    def _unknown(self, store: spec.Store) -> Rule:
        return self._alert(
            "RecoveryStoreUnknown", promql.select(metrics.DR_STORE_ANSWERS, store=store.name).equals(0), self._wait,
            "ticket", f"{store.name} does not answer the recovery exporter",
            "Its lag and backups are not known; its other recovery alerts cannot fire.",
        )  # fmt: skip

    def _at_risk(self, store: spec.Store) -> Rule:
        lag = promql.select(metrics.DR_REPLICATION_LAG, store=store.name)
        warn, rpo = self._recovery.warn_after(store), self._recovery.rpo_of(store)
        return self._alert(
            "RecoveryPointAtRisk", promql.min_by(lag, "store") > warn, 0.0, "page",
            f"{store.name}: {{{{ $value | humanizeDuration }}}} of writes have no second copy, RPO {format_duration(rpo)}",
            f"If the primary were lost now, that much would be lost with it. This alert comes after "
            f"{format_duration(warn)}.",
        )  # fmt: skip

    def _standby_lost(self, store: spec.Store) -> Rule:
        connected = promql.max_by(promql.select(metrics.DR_STANDBY_CONNECTED, store=store.name), "store")
        return self._alert(
            "StandbyLost", connected.equals(0), max(self._wait, 30.0), "page",
            f"{store.name}: no standby is connected", "The next failure of the primary has nothing to fail over to.",
        )  # fmt: skip

    def _backup_stale(self, store: spec.Store) -> Rule:
        finished = promql.max_by(promql.select(metrics.DR_BACKUP_SUCCESS, store=store.name), "store")
        limit = 2 * self._recovery.verify_every
        return self._alert(
            "BackupStale", (promql.timestamp_now() - finished) > limit, 0.0, "ticket",
            f"{store.name}: the newest whole backup is {{{{ $value | humanizeDuration }}}} old",
            f"It should be at most {format_duration(limit)} old.",
        )  # fmt: skip

    def _shrinking(self, store: spec.Store) -> Rule:
        size = promql.max_by(promql.select(metrics.DR_BACKUP_SIZE, store=store.name), "store")
        largest = promql.max_by(
            promql.max_over_time(promql.select(metrics.DR_BACKUP_SIZE, store=store.name), WEEK), "store"
        )
        return self._alert(
            "BackupShrinking", size.over(largest, on=("store",)) < SHRUNK, 0.0, "ticket",
            f"{store.name}: the newest backup has {{{{ $value | humanizePercentage }}}} of the size of this week's largest",
            "A backup that shrinks has often missed something, and a job that succeeds does not say so.",
        )  # fmt: skip

    def _unverified(self, store: spec.Store) -> Rule:
        age = promql.min_by(promql.select(metrics.DR_RESTORABLE_AGE, store=store.name), "store")
        limit = 2 * self._recovery.verify_every
        return self._alert(
            "RestoreUnverified", age > limit, 0.0, "ticket",
            f"{store.name}: the newest point that was restored and checked is {{{{ $value | humanizeDuration }}}} old",
            f"midwatch dr verify restores the newest backup; it should run every "
            f"{format_duration(self._recovery.verify_every)}.",
        )  # fmt: skip

    def drill(self, drill: spec.Drill) -> list[Rule]:
        """Rules of a drill."""
        chosen = {"drill": drill.name, "store": drill.store}
        last = promql.select(metrics.DR_DRILL_LAST_RUN, **chosen)
        overdue = (promql.timestamp_now() - promql.max_by(last, "drill", "store")) > drill.max_age
        made = [
            self._verdict(drill, "DrillBreached", "breached", "page"),
            self._verdict(drill, "DrillInconclusive", "inconclusive", "ticket"),
        ]
        if drill.schedule:
            never = promql.absent(last).and_(promql.scraped(job=JOB).equals(1), on=())
            made.append(
                self._alert(
                    "DrillOverdue", overdue.or_(never), max(self._wait, 300.0), "ticket",
                    f"Drill {drill.name} of {drill.store} is overdue",
                    f"It has no result within {format_duration(drill.max_age)}; a promise that is not tried is a hope.",
                )  # fmt: skip
            )
        return made

    def _verdict(self, drill: spec.Drill, name: str, verdict: str, severity: str) -> Rule:
        value = promql.select(metrics.DR_DRILL_VERDICT, drill=drill.name, store=drill.store, verdict=verdict)
        return self._alert(
            name, promql.max_by(value, "drill", "store").equals(1), 0.0, severity,
            f"Drill {drill.name} of {drill.store} was {verdict}", "midwatch dr report has the reasons and the evidence.",
        )  # fmt: skip

    def _alert(self, name: str, expr: Expr, wait: float, severity: str, summary: str, description: str) -> Rule:
        return ruleset._alert(  # noqa: SLF001 - the one shape of an alert
            self._platform, name, expr, wait, self._recovery.owner, platforms.Severity(severity), summary, description
        )
