"""Recovery drills on real PostgreSQL: how long they take, and how far their figures are from a truth that is known.

The truth of a data loss is made by cutting replication a known time before the primary is killed; that of a recovery
time by leading clients nowhere, and back after a known time.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figure import Figure
from dr import children, temporary
from dr.drill import judge, ledger, times, verdict
from dr.drill.facts import Observed, Redundant, Write
from dr.postgres import client, session
from dr.postgres.client import PostgresqlClient
from dr.recoverer import run as recoverer
from dr.runner import observer
from dr.stores.local_postgresql import backup, cluster, endpoint
from dr.stores.local_postgresql.instance import Instance

OBJECTIVES = verdict.Objectives(rto=900.0, rpo=300.0, limit=60.0)
SECOND = 1e9
POLL_SECONDS = 0.1
"""Asking costs a core, and there are two: what is measured must not wait for who asks."""


def run(*, smoke: bool) -> list[Figure]:
    """Every figure; the smoke form has one run where the whole has twenty."""
    runs = 1 if smoke else 20
    figures = _drill(1 if smoke else 3)
    figures.append(_restore(20 if smoke else 300))
    figures += _loss(runs)
    figures.append(_delay(runs))
    figures.append(_synchronous(runs))
    return figures


def _document() -> dict[str, Any]:
    stores = [{"name": "async", "local_postgresql": {}}, {"name": "sync", "local_postgresql": {"synchronous": True}}]
    drills = [{"name": "lose-primary", "store": "async", "fault": "kill_primary", "warmup": "2s"}]
    return {
        "apiVersion": "midwatch/v1",
        "platform": "bench",
        "owners": {"ml": {"page": ["hook"], "ticket": ["hook"]}},
        "channels": {"hook": {"webhook": {"url": "http://127.0.0.1:1/x"}}},
        "models": [{"name": "m", "owner": "ml", "task": "classification"}],
        "disaster_recovery": {"owner": "ml", "stores": stores, "drills": drills},
    }


@contextmanager
def _platform() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "platform.yaml"
        file.write_text(yaml.safe_dump(_document()))
        yield file


def _drill(runs: int) -> list[Figure]:
    """The command as it is typed, and the median of each figure."""
    walls, rtos = [], []
    with _platform() as file:
        for _ in range(runs):
            begun = time.monotonic()
            words = [sys.executable, "-P", "-m", "midwatch", "dr", "run", "lose-primary", "-f", str(file), "--json"]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            walls.append(time.monotonic() - begun)
            document = json.loads(done.stdout)
            rtos.append(document["rto_seconds"] if document["verdict"] == "MET" else float("inf"))
    return [
        Figure(name="failover drill, whole", target=15, measured=statistics.median(walls), unit="s", better="less"),
        Figure(
            name="its RTO, checks every 100 ms", target=1, measured=statistics.median(rtos), unit="s", better="less"
        ),
    ]


# A cluster that is drilled again and again --------------------------------------------------------------------------


@dataclass
class Bench:
    """A cluster with its endpoint and, if asked for, its recoverer, which makes it redundant after each failover."""

    cluster: cluster.Cluster
    folder: Path
    events: Path
    number: int = 0

    @property
    def primary(self) -> Instance:
        return self.cluster.server(endpoint.route_of(self.cluster.folder)["region"])

    def lead_to(self, region: str) -> None:
        """Send clients to a region, or to none."""
        term = endpoint.route_of(self.cluster.folder)["term"] + 1
        endpoint.reroute(self.cluster.control, term=term, region=region)

    @contextmanager
    def observed(self) -> Iterator[tuple[str, Path]]:
        """A run of the observer; its ledger is whole afterwards."""
        self.number += 1
        run, facts = f"bench-{self.number}", self.folder / f"observer-{self.number}.ledger"
        store = client.config("local_postgresql", self.cluster.client, content=None)
        config = self.folder / f"observer-{self.number}.json"
        observer.Config(run=run, client=store, ledger=str(facts), rate=200.0).save(config)
        process = children.start_module("dr.runner.observer", [str(config)], self.folder / "observer.log")
        try:
            tail = ledger.Tail(facts, ledger.OBSERVED)
            _until(lambda: len(_acks(tail)) > 100)
            yield run, facts
        finally:
            children.stop(process)

    def judged(
        self, run: str, facts: Path, f0: int, f1: int, old: str, since: int, *, recovered: bool
    ) -> verdict.Result:
        rows = PostgresqlClient(run=run, conninfo=self.cluster.client, timeout=5.0, content=None).rows()
        events = [event for event in ledger.read_recorded(self.events) if event.at > since] if recovered else []
        injection = verdict.Injection(begun=f0, effective=f1, old=old if recovered else "", fails_over=recovered)
        checks = [verdict.Check(name="none here", holds=True)]
        return judge.judge(
            verdict.Evidence(
                run=run,
                facts=ledger.read_observed(facts),
                injection=injection,
                events=events,
                rows=rows,
                checks=checks,
                needs_recoverer=recovered,
            ),
            OBJECTIVES,
        )


@contextmanager
def _bench(store: str, *, recovered: bool = True, **settings: Any) -> Iterator[Bench]:
    with ExitStack() as stack:
        file = stack.enter_context(_platform())
        folder = stack.enter_context(temporary.folder(keep=False, stop=cluster.stop_below))
        made = cluster.create(folder / "store", cluster.Settings(store=store, **settings))
        stack.callback(cluster.stop, made)
        cluster.start(made)
        cluster.flush(made.folder).wait()
        endpoint.describe(made.folder, [endpoint.Listener(port=made.endpoint, targets=made.ports)])
        stack.callback(children.stop, endpoint.start(made.folder))
        events = folder / "recoverer.ledger"
        if recovered:
            words = recoverer.command(file, store, events, cluster=made.folder)
            stack.callback(children.stop, children.start_command(words, folder / "recoverer.log"))
            _until(lambda: bool(ledger.read_recorded(events)))
        _until(made.control.exists)
        yield Bench(made, folder, events)


def _until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition)
        time.sleep(POLL_SECONDS)


def _acks(tail: ledger.Tail[Observed]) -> list[Write]:
    return [fact for fact in tail.read() if isinstance(fact, Write) and fact.is_acknowledged]


def _wait_for_recovery(facts: Path, since: int, old: int) -> None:
    """Until enough was acknowledged by another server to call it a sustained recovery."""
    tail = ledger.Tail(facts, ledger.OBSERVED)
    enough = times.SUSTAINED_WRITES + 20
    _until(lambda: sum(ack.sent > since and int(ack.server or 0) != old for ack in _acks(tail)) > enough)


def _failover(bench: Bench, cut_seconds: float | None) -> tuple[verdict.Result, tuple[float, float]]:
    """Kill the primary, with replication cut so many seconds before; the result, and bounds of the loss made."""
    since = time.monotonic_ns()
    primary, old = bench.primary, str(bench.primary.port)
    with bench.observed() as (run, facts):
        time.sleep(0.5)
        cut = None if cut_seconds is None else _cut(primary)
        if cut is not None:
            time.sleep(max(0.0, (cut[1] + (cut_seconds or 0.0) * SECOND - time.monotonic_ns()) / SECOND))
        f0 = time.monotonic_ns()
        primary.kill()
        f1 = time.monotonic_ns()
        _wait_for_recovery(facts, f1, primary.port)
    result = bench.judged(run, facts, f0, f1, old, since, recovered=True)
    _until(lambda: any(isinstance(event, Redundant) and event.at > f1 for event in ledger.read_recorded(bench.events)))
    return result, (0.0, 0.0) if cut is None else ((f0 - cut[1]) / SECOND, (f0 - cut[0]) / SECOND)


def _cut(primary: Instance) -> tuple[int, int]:
    """Let no standby connect any more, and end the one that is connected; between which times that was."""
    access = primary.folder / "pg_hba.conf"
    access.write_text("host replication all 0.0.0.0/0 reject\nhost all all 127.0.0.1/32 scram-sha-256\n")
    with session.Session.connect(primary.conninfo(), timeout=5) as open_one:
        open_one.execute("SELECT pg_reload_conf()", timeout=5)
        time.sleep(0.1)
        begun = time.monotonic_ns()
        open_one.execute("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_replication", timeout=5)
        return begun, time.monotonic_ns()


def _loss(runs: int) -> list[Figure]:
    rng = random.Random(8)
    errors, wrong = [], 0
    with _bench("async") as bench:
        for _ in range(runs):
            result, (least, most) = _failover(bench, rng.uniform(0.3, 2.0))
            measured = result.rpo_seconds or 0.0
            errors.append(max(0.0, least - measured, measured - most) * 1000)
            wrong += result.writes["lost"] + result.writes["kept"] != result.writes["acknowledged"]
            wrong += result.verdict is not verdict.Verdict.MET
    return [
        Figure(
            name=f"data loss measured, {runs} runs: worst error",
            target=50,
            measured=max(errors),
            unit="ms",
            better="less",
        ),
        Figure(name="drills whose counts do not add up", target=0, measured=wrong, unit="drills", better="less"),
    ]


def _delay(runs: int) -> Figure:
    rng = random.Random(9)
    errors = []
    with _bench("async", recovered=False, standby=False) as bench:
        for _ in range(runs):
            since = time.monotonic_ns()
            with bench.observed() as (run, facts):
                time.sleep(0.3)
                f0 = time.monotonic_ns()
                bench.lead_to("nowhere")
                f1 = time.monotonic_ns()
                time.sleep(rng.uniform(0.3, 2.5))
                bench.lead_to("a")
                back = time.monotonic_ns()
                _wait_for_recovery(facts, back, 0)
            result = bench.judged(run, facts, f0, f1, "", since, recovered=False)
            errors.append(abs((result.rto_seconds or 1e9) - (back - f0) / SECOND) * 1000)
    return Figure(
        name=f"recovery time measured, {runs} runs: worst error",
        target=20,
        measured=max(errors),
        unit="ms",
        better="less",
    )


def _synchronous(runs: int) -> Figure:
    lost = 0
    with _bench("sync", synchronous=True) as bench:
        for _ in range(runs):
            result, _ = _failover(bench, None)
            lost += result.writes["lost"]
    return Figure(
        name=f"synchronous, {runs} failovers: acknowledged writes lost",
        target=0,
        measured=lost,
        unit="writes",
        better="less",
    )


def _restore(megabytes: int) -> Figure:
    """Base backup and WAL of a database of that size into an empty target, until it takes writes."""
    with _bench("async", recovered=False, standby=False, archive_interval=1.0) as bench:
        source = bench.primary
        fill = "CREATE TABLE ballast AS SELECT n, repeat(md5(n::text), 30) AS text FROM generate_series(1, $1::int) n"
        session.ask(bench.cluster.direct("a"), fill, [megabytes * 1000], timeout=300)
        newest = backup.take(source, bench.cluster.backups)
        ((segment,),) = session.ask(source.conninfo(), "SELECT pg_walfile_name(pg_switch_wal())", timeout=30)
        backup.wait_until_archived(bench.cluster.archive, str(segment), seconds=60)
        source.kill()
        target = bench.cluster.server("b")
        begun = time.monotonic()
        bench.cluster.configure(target)
        backup.restore(newest, target, bench.cluster.archive)
        target.skip_first_sync()
        target.start()
        _until(lambda: not target.is_standby())
        seconds = time.monotonic() - begun
        size = newest.size / 1e6
    return Figure(name=f"restore of {size:.0f} MB", target=30, measured=seconds, unit="s", better="less")
