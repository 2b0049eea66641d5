"""Alerts between drills: the recovery point at risk, backups that age or shrink, drills that fail or are overdue."""

from __future__ import annotations

from alerts import alerting_rule
from alerts.alerting_rule import AlertingRule
from midwatch import grafana, jobs, metrics, promql
from midwatch.promql import Expr
from midwatch.spec import dr as spec
from midwatch.spec.model import Platform
from midwatch.spec.rules import Proof
from midwatch.spec.slo import Severity
from midwatch.spec.stores.base import Store
from midwatch.spec.values import format_duration

SHRUNK = 0.5
"""A backup half as large as the largest that is kept has most likely missed something (litestream#1083, #1309)."""
STANDBY_WAIT = 30.0
"""A standby that restarts is back before that."""
OVERDUE_WAIT = 300.0
NEVER_WAIT = 86_400.0
"""A platform that is new has a day for its first drills."""
SPLIT_BRAIN_SECONDS = 3600.0
"""A second primary is fenced within seconds; people have to hear of it all the same."""
START_WAIT = 60.0
"""An exporter that is being started."""


def of_platform(platform: Platform) -> list[AlertingRule]:
    """Alerts on the recovery exporter, on each store, and on each drill; none without the section."""
    recovery = platform.disaster_recovery
    if recovery is None:
        return []
    rules = _Rules(platform, recovery)
    stores = [one for store in recovery.stores for one in rules.store(store)]
    return [rules.exporter_down(), *stores, *(one for drill in recovery.drills for one in rules.drill(drill))]


class _Rules:
    """Builds the alerts of one platform."""

    def __init__(self, platform: Platform, recovery: spec.DisasterRecovery) -> None:
        self._platform, self._recovery = platform, recovery
        self._wait = 4 * platform.prometheus.scrape_interval  # one scrape that fails is noise

    def exporter_down(self) -> AlertingRule:
        targets = jobs.service_targets(self._platform, jobs.RECOVERY)
        missing = promql.missing_targets(jobs.RECOVERY, len(targets))
        return self._alert(
            "RecoveryExporterDown",
            promql.scraped(job=jobs.RECOVERY).equals(0).or_(missing),
            max(self._wait, START_WAIT),
            Severity.TICKET,
            "The recovery exporter cannot be scraped",
            "Nothing is known of lag, backups and drills; their alerts cannot fire.",
            {f'up{{job="{jobs.RECOVERY}",instance="i"}}': "0x40"},
            {f'up{{job="{jobs.RECOVERY}",instance="{one}"}}': "1x40" for one in targets},
        )

    # Stores ----------------------------------------------------------------------------------------------------------

    def store(self, store: Store) -> list[AlertingRule]:
        """Alerts on a store: what its kind publishes decides which."""
        alerts = [self._unknown(store)]
        if store.has_standby or store.relies_on_backups:
            alerts.append(self._at_risk(store))
        if store.has_standby:
            alerts.append(self._standby_lost(store))
        if store.has_backup_times:
            alerts.append(self._backup_stale(store))
        if store.relies_on_backups:
            alerts.append(self._unverified(store))
        if store.has_backup_sizes:
            alerts.append(self._shrinking(store))
        if store.is_restored_to_verify:
            alerts.append(self._restore_breached(store))
        if store.has_archive:
            alerts += [self._archive_broken(store), self._backup_failing(store)]
        if store.has_two_servers:
            alerts.append(self._split_brain(store))
        if store.has_published_files:
            alerts.append(self._files_changed(store))
        return alerts

    def _unknown(self, store: Store) -> AlertingRule:
        chosen = promql.select(metrics.DR_STORE_ANSWERS, store=store.name)
        unknown = chosen.equals(0)
        if store.is_always_looked_at:
            # That the exporter itself is gone is an alert of its own.
            unknown = unknown.or_(promql.absent(chosen).and_(promql.scraped(job=jobs.RECOVERY).equals(1), on=()))
        return self._alert(
            "RecoveryStoreUnknown",
            unknown,
            self._wait,
            Severity.TICKET,
            f"{store.name} does not answer the recovery exporter",
            "Its lag and backups are not known; its other recovery alerts cannot fire.",
            {_series(metrics.DR_STORE_ANSWERS, store=store.name): "0x40"},
            {_series(metrics.DR_STORE_ANSWERS, store=store.name): "1x40"},
            store=store.name,
        )

    def _at_risk(self, store: Store) -> AlertingRule:
        warn, rpo = self._recovery.warn_after(store), self._recovery.rpo_of(store)
        lag = promql.min_by(promql.select(metrics.DR_REPLICATION_LAG, store=store.name), "store")
        series = _series(metrics.DR_REPLICATION_LAG, store=store.name, region="b")
        return self._alert(
            "RecoveryPointAtRisk",
            lag > warn,
            0.0,
            Severity.PAGE,
            f"{store.name}: {{{{ $value | humanizeDuration }}}} of writes have no second copy, "
            f"RPO {format_duration(rpo)}",
            f"If the primary were lost now, that much would be lost with it. This comes after {format_duration(warn)}.",
            {series: f"{warn + 1:g}x40"},
            {series: f"{warn:g}x40"},
            store=store.name,
        )

    def _standby_lost(self, store: Store) -> AlertingRule:
        connected = promql.max_by(promql.select(metrics.DR_STANDBY_CONNECTED, store=store.name), "store")
        series = _series(metrics.DR_STANDBY_CONNECTED, store=store.name, region="b")
        return self._alert(
            "StandbyLost",
            connected.equals(0),
            max(self._wait, STANDBY_WAIT),
            Severity.PAGE,
            f"{store.name}: no standby is connected",
            "The next failure of the primary has nothing to fail over to.",
            {series: "0x40"},
            {series: "1x40"},
            store=store.name,
        )

    def _backup_stale(self, store: Store) -> AlertingRule:
        limit = 2 * self._recovery.verify_every
        finished = promql.max_by(promql.select(metrics.DR_BACKUP_SUCCESS, store=store.name), "store")
        series = _series(metrics.DR_BACKUP_SUCCESS, store=store.name)
        return self._alert(
            "BackupStale",
            (promql.timestamp_now() - finished) > limit,
            0.0,
            Severity.TICKET,
            f"{store.name}: the newest whole backup is {{{{ $value | humanizeDuration }}}} old",
            f"It should be at most {format_duration(limit)} old.",
            {series: f"{-limit - 1:g}x40"},
            {series: "0+60x40"},
            store=store.name,
        )

    def _shrinking(self, store: Store) -> AlertingRule:
        size = promql.max_by(promql.select(metrics.DR_BACKUP_SIZE, store=store.name), "store")
        largest = promql.max_by(promql.select(metrics.DR_BACKUP_LARGEST, store=store.name), "store")
        series = _series(metrics.DR_BACKUP_SIZE, store=store.name)
        kept = {_series(metrics.DR_BACKUP_LARGEST, store=store.name): "1000x40"}
        return self._alert(
            "BackupShrinking",
            size.over(largest, on=("store",)) < SHRUNK,
            0.0,
            Severity.TICKET,
            f"{store.name}: the newest backup has {{{{ $value | humanizePercentage }}}} of the size of the "
            "largest that is kept",
            "A backup that shrinks has often missed something, and the job that makes it does not say so.",
            {series: "400x40"} | kept,
            {series: "600x40"} | kept,
            store=store.name,
        )

    def _unverified(self, store: Store) -> AlertingRule:
        limit = 2 * self._recovery.verify_every
        age = promql.min_by(promql.select(metrics.DR_RESTORABLE_AGE, store=store.name), "store")
        series = _series(metrics.DR_RESTORABLE_AGE, store=store.name, region="archive")
        return self._alert(
            "RestoreUnverified",
            age > limit,
            0.0,
            Severity.TICKET,
            f"{store.name}: the newest point that was restored and checked is {{{{ $value | humanizeDuration }}}} old",
            f"midwatch dr verify restores the newest backup, every {format_duration(self._recovery.verify_every)}.",
            {series: f"{limit + 1:g}x40"},
            {series: f"{limit - 1:g}x40"},
            store=store.name,
        )

    def _restore_breached(self, store: Store) -> AlertingRule:
        good = promql.min_by(promql.select(metrics.DR_RESTORE_GOOD, store=store.name), "store")
        series = _series(metrics.DR_RESTORE_GOOD, store=store.name)
        return self._alert(
            "RestoreBreached",
            good.equals(0),
            0.0,
            Severity.PAGE if store.relies_on_backups else Severity.TICKET,
            f"{store.name}: the last restore failed, used an older backup, or did not come to the archive's end",
            "What was restored lacks something that is kept. midwatch dr verify says what.",
            {series: "0x40"},
            {series: "1x40"},
            store=store.name,
        )

    def _archive_broken(self, store: Store) -> AlertingRule:
        flaws = promql.max_by(promql.select(metrics.DR_ARCHIVE_FLAWS, store=store.name), "store")
        series = _series(metrics.DR_ARCHIVE_FLAWS, store=store.name)
        return self._alert(
            "ArchiveBroken",
            flaws > 0,
            0.0,
            Severity.PAGE if store.relies_on_backups else Severity.TICKET,
            f"{store.name}: {{{{ $value }}}} archived segments are missing or damaged",
            "A restore ends at the first of them, and loses everything behind it.",
            {series: "1x40"},
            {series: "0x40"},
            store=store.name,
        )

    def _backup_failing(self, store: Store) -> AlertingRule:
        failing = promql.max_by(promql.select(metrics.DR_BACKUP_FAILING, store=store.name), "store")
        series = _series(metrics.DR_BACKUP_FAILING, store=store.name)
        return self._alert(
            "BackupFailing",
            failing.equals(1),
            0.0,
            Severity.TICKET,
            f"{store.name}: the newest backup could not be made",
            "Older backups still verify, and grow old. midwatch dr verify says why the newest failed.",
            {series: "1x40"},
            {series: "0x40"},
            store=store.name,
        )

    def _split_brain(self, store: Store) -> AlertingRule:
        seen = promql.max_by(promql.select(metrics.DR_SPLIT_BRAIN_SEEN, store=store.name), "store")
        series = _series(metrics.DR_SPLIT_BRAIN_SEEN, store=store.name)
        return self._alert(
            "SplitBrain",
            (promql.timestamp_now() - seen) < SPLIT_BRAIN_SECONDS,
            0.0,
            Severity.PAGE,
            f"{store.name}: two servers took writes at the same time",
            "What the wrong one acknowledged is on it alone. The recoverer's events say whether it was fenced again.",
            {series: "0+15x40"},
            {series: f"{-SPLIT_BRAIN_SECONDS - 60:g}x40"},
            store=store.name,
        )

    def _files_changed(self, store: Store) -> AlertingRule:
        unsound = promql.max_by(promql.select(metrics.DR_FILES_UNSOUND, store=store.name), "store")
        series = _series(metrics.DR_FILES_UNSOUND, store=store.name)
        return self._alert(
            "StoreFilesChanged",
            unsound.equals(1),
            max(self._wait, START_WAIT),
            Severity.TICKET,
            f"{store.name}: files are not as they were published, and are not restored",
            "Damage, or a change that nobody published: no copy is taken until somebody says which.",
            {series: "1x40"},
            {series: "0x40"},
            store=store.name,
        )

    # Drills ----------------------------------------------------------------------------------------------------------

    def drill(self, drill: spec.Drill) -> list[AlertingRule]:
        """Alerts on a drill; one without a schedule cannot be overdue."""
        alerts = [
            self._verdict(drill, "DrillBreached", "breached", Severity.PAGE),
            self._verdict(drill, "DrillInconclusive", "inconclusive", Severity.TICKET),
        ]
        return [*alerts, self._overdue(drill), self._never_run(drill)] if drill.schedule else alerts

    def _overdue(self, drill: spec.Drill) -> AlertingRule:
        last = promql.select(metrics.DR_DRILL_LAST_RUN, drill=drill.name, store=drill.store)
        age = promql.timestamp_now() - promql.max_by(last, "drill", "store")
        return self._alert(
            "DrillOverdue",
            age > drill.result_age,
            max(self._wait, OVERDUE_WAIT),
            Severity.TICKET,
            f"Drill {drill.name} of {drill.store} is overdue",
            f"It has no result within {format_duration(drill.result_age)}; a promise that is not tried is a hope.",
            {str(last): f"{-drill.result_age - 1:g}x60"},
            {str(last): "0+15x60"},
            drill=drill.name,
            store=drill.store,
        )

    def _never_run(self, drill: spec.Drill) -> AlertingRule:
        last = promql.select(metrics.DR_DRILL_LAST_RUN, drill=drill.name, store=drill.store)
        promised = str(promql.select(metrics.DR_OBJECTIVE, kind="rto"))
        return self._alert(
            "DrillNeverRun",
            promql.absent(last),
            NEVER_WAIT,
            Severity.TICKET,
            f"Drill {drill.name} of {drill.store} has never had a result",
            "Nobody knows whether this is recovered in time.",
            {promised: "1x400"},
            {str(last): "0x400"},
            interval=NEVER_WAIT / 360,
            drill=drill.name,
            store=drill.store,
        )

    def _verdict(self, drill: spec.Drill, name: str, verdict: str, severity: Severity) -> AlertingRule:
        chosen = {"drill": drill.name, "store": drill.store, "verdict": verdict}
        value = promql.max_by(promql.select(metrics.DR_DRILL_VERDICT, **chosen), "drill", "store")
        series = _series(metrics.DR_DRILL_VERDICT, **chosen)
        return self._alert(
            name,
            value.equals(1),
            0.0,
            severity,
            f"Drill {drill.name} of {drill.store} was {verdict}",
            "midwatch dr report has the reasons and the evidence.",
            {series: "1x40"},
            {series: "0x40"},
            drill=drill.name,
            store=drill.store,
        )

    def _alert(
        self,
        name: str,
        expr: Expr,
        wait: float,
        severity: Severity,
        summary: str,
        description: str,
        fires: dict[str, str],
        silent: dict[str, str],
        interval: float = 15.0,
        **labels: str,
    ) -> AlertingRule:
        return alerting_rule.build(
            self._platform,
            name,
            expr,
            wait,
            self._recovery.owner,
            severity,
            summary,
            description,
            page=grafana.Page.RESILIENCE,
            proof=Proof(fires=fires, silent=silent, within=wait + 4 * interval, interval=interval),
            **labels,
        )


def _series(metric: metrics.Metric, **labels: str) -> str:
    """A series as promtool reads it."""
    return str(promql.select(metric, **labels))
