"""PostgreSQL as drills need it: statements that end, fences that hold, backups that are looked at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dr.drill.client import NotSentError, RefusedError, UnknownError
from dr.drill_log import DrillLog
from dr.postgres import session
from dr.posture import gauges, verification
from dr.stores.kind import DrillSite, Site
from dr.stores.local_postgresql import archive, backup, cluster, endpoint, faults, instance, programs
from dr.stores.local_postgresql import verification as restoring
from dr.stores.local_postgresql.collector import LocalCollector
from dr.stores.local_postgresql.programs import PostgresError
from dr.stores.local_postgresql.recovery import ClusterRecovery
from dr.stores.local_postgresql.running import RunningSetup
from dr.stores.setup import NotReadyError
from midwatch import evidence, metrics, processes
from midwatch.errors import MissingProgramError
from midwatch.spec import dr as spec
from midwatch.spec import load
from tests.dr.conftest import need_postgresql, wait_until

WRITE = "INSERT INTO midwatch_drill.writes (run, seq, checksum) VALUES ('t', 1, 'x')"


def test_a_statement_says_whether_it_can_have_been_applied(start_cluster) -> None:
    store = start_cluster()
    primary, standby = store.server("a"), store.server("b")
    with pytest.raises(RefusedError) as refused:
        session.ask(store.direct("b"), WRITE, timeout=20)
    assert refused.value.code == "25006"  # a standby answers, and takes nothing
    with session.Session.connect(store.client, timeout=20) as open_one:
        assert open_one.execute("SELECT 1", timeout=20) == [("1",)]
        primary.freeze()
        with pytest.raises(UnknownError):
            open_one.execute(WRITE, timeout=0.3)
    with pytest.raises(NotSentError):
        session.ask(store.direct("a"), WRITE, timeout=0.3)
    primary.thaw()
    wait_until(lambda: session.ask(store.direct("a"), "SELECT 1", timeout=20) == [("1",)])
    assert len(primary.kill()) > 3
    with pytest.raises(NotSentError):
        session.ask(store.client, WRITE, timeout=1)
    assert standby.is_standby()


def test_a_fenced_primary_cannot_come_back_and_its_data_is_kept(start_cluster) -> None:
    store = start_cluster()
    old, new = store.server("a"), store.server("b")
    aside = old.fence(2)
    assert aside is not None
    assert (aside / "PG_VERSION").exists()
    assert not old.is_alive()
    with pytest.raises((PostgresError, OSError)):
        old.start()
    new.promote()
    session.ask(store.direct("b"), WRITE, timeout=20)
    endpoint.reroute(store.control, term=2, region="b")
    bring_back(aside, old)
    recovery = ClusterRecovery(cluster=store, rpo=5.0)
    assert recovery.check().good
    assert recovery.rival() == f"region a takes writes beside region b, from {aside}"
    published = {metric: value for metric, _, value in LocalCollector("s", store.folder).collect(time.monotonic())}
    assert published[metrics.DR_SPLIT_BRAIN_SEEN] == pytest.approx(time.time(), abs=60)
    session.ask(store.direct("a"), WRITE, timeout=20)
    assert recovery.fence_rival(3) == "the second primary was killed, data moved to data.fenced-3"
    assert not old.answers()
    assert (old.folder / "data.fenced-3" / "PG_VERSION").exists(), "what it acknowledged is there alone"
    assert recovery.rival() is None
    published = {metric: value for metric, _, value in LocalCollector("s", store.folder).collect(time.monotonic())}
    assert published[metrics.DR_SPLIT_BRAIN_SEEN] == pytest.approx(time.time(), abs=60), "people have to hear of it"
    assert recovery.rebuild() == "standby in region a"
    assert old.is_standby()
    assert recovery.rival() is None
    assert stat.S_IMODE(old.data.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        assert old.data.stat().st_uid != 0


def bring_back(data: Path, server: instance.Instance) -> None:
    """Somebody starts a server on what was moved aside, under its old configuration."""
    words = [server.programs.path("pg_ctl"), "start", "--wait", "--pgdata", str(data), "--silent"]
    words += ["--log", str(server.log), "--options", f"-c config_file={server.folder / 'postgresql.conf'}"]
    (data / "postmaster.pid").unlink(missing_ok=True)
    subprocess.run(words, check=True, cwd="/", **server.programs.options(dies_with_us=False))


def test_the_newest_backup_that_verifies_is_restored_up_to_a_position(start_cluster, open_folder: Path) -> None:
    store = start_cluster(standby=False, archive_interval=1.0)
    primary = store.server("a")
    session.ask(store.direct("a"), WRITE, timeout=20)
    ((before,),) = session.ask(store.direct("a"), "SELECT pg_current_wal_flush_lsn()", timeout=20)
    session.ask(store.direct("a"), "DELETE FROM midwatch_drill.writes", timeout=20)
    damaged = backup.take(primary, store.backups)
    (damaged.folder / "PG_VERSION").write_text("99\n")
    ((segment,),) = session.ask(primary.conninfo(), "SELECT pg_walfile_name(pg_switch_wal())", timeout=20)
    backup.wait_until_archived(store.archive, str(segment), seconds=20)
    good, flaws = backup.newest_good(store.backups, store.programs)
    assert (good.name, len(flaws)) == ("base-0001", 1)
    assert "PG_VERSION" in flaws[0]
    target = store.server("b")
    store.configure(target)
    backup.restore(good, target, store.archive, until_lsn=before)
    target.skip_first_sync()
    target.start()
    wait_until(lambda: backup.is_paused(target))
    assert session.ask(store.direct("b"), "SELECT run FROM midwatch_drill.writes", timeout=20) == [("t",)]
    backup.go_on(target)
    wait_until(lambda: not target.is_standby())
    with pytest.raises(PostgresError, match="is not empty"):
        backup.restore(good, target, store.archive)
    for copy in backup.newest_first(store.backups):
        (copy.folder / archive.MANIFEST).unlink()
    with pytest.raises(PostgresError, match="no backup can be used"):
        backup.newest_good(store.backups, store.programs)


def test_the_newest_backup_is_verified_by_a_restore_beside_the_store_which_goes_on(
    start_cluster, write_platform, tmp_path: Path
) -> None:
    store = start_cluster(standby=False, archive_interval=1.0)
    backup.take(store.server("a"), store.backups)
    begun = time.time()
    session.ask(store.direct("a"), WRITE, timeout=20)
    written = time.time()
    ((segment,),) = session.ask(store.direct("a"), "SELECT pg_walfile_name(pg_switch_wal())", timeout=20)
    backup.wait_until_archived(store.archive, str(segment), seconds=20)
    file = write_platform(stores=[{"name": "s", "local_postgresql": {"standby": False}}], drills=[])
    settings = load.load_platform(file)
    promised = settings.disaster_recovery
    assert promised is not None
    log = DrillLog.of(settings, file)
    site = Site(promised=promised, store=promised.store("s"), file=file, folder=store.folder)
    done = verification.verify(site, log, print)
    assert (done["backup"], done["unusable"]) == ("base-0002", [])
    assert begun - 0.01 <= done["point"] <= written + 0.01, "the write after the backup is in it"
    now = time.time()
    published, good = gauges.verified(log, now)
    assert good == (metrics.DR_RESTORE_GOOD, {"store": "s"}, 1.0)
    assert published[2] == pytest.approx(now - done["point"])
    assert session.ask(store.direct("a"), "SELECT run FROM midwatch_drill.writes", timeout=20) == [("t",)]
    for path in store.backups.glob("base-*"):
        (path / archive.MANIFEST).unlink()
    with pytest.raises(PostgresError, match="no backup can be used"):
        verification.verify(site, log, print)
    assert [record.kind for record in evidence.read(log.chain.path)] == ["restore-verified", "restore-failed"]


def test_a_bad_change_that_a_good_check_had_behind_it_unseen_is_left_out_all_the_same(start_cluster) -> None:
    store = start_cluster(synchronous=True)
    recovery = ClusterRecovery(cluster=store, rpo=5.0)
    assert recovery.check().good
    session.ask(store.direct("a"), WRITE, timeout=20)
    assert recovery.check().good
    receivers = receivers_of(store.server("b"))
    for pid in receivers:
        os.kill(pid, signal.SIGSTOP)
    flushed = "SELECT pg_current_wal_flush_lsn()"
    (before,) = session.ask(store.direct("a"), flushed, timeout=20)
    delete = threading.Thread(target=session.ask, args=(store.direct("a"), "DELETE FROM feature"), daemon=True)
    delete.start()  # it is in the WAL, and seen only when the standby has it
    wait_until(lambda: [before] != session.ask(store.direct("a"), flushed, timeout=20))
    assert recovery.check().good
    for pid in receivers:
        os.kill(pid, signal.SIGCONT)
    delete.join(60)
    wait_until(lambda: not recovery.check().good)
    late = backup.take(store.server("a"), store.backups)
    assert recovery.plan() == "restore to the last good position in region a"
    recovery.fence(2)
    hidden = store.backups.rename(store.folder / "hidden")
    with pytest.raises(PostgresError, match="no backup can be used"):
        recovery.recover()
    assert not recovery.check().good
    assert recovery.plan() == "restore to the last good position in region a", "the standby has the change, too"
    hidden.rename(store.backups)
    recovery.fence(3)
    said = recovery.recover()
    assert said.startswith("backup base-0001 and WAL up to ")
    assert f"not used: {late.name} ends only at" in said
    tried = store.server("a").log.read_text().count("recovery stopping before WAL location")
    assert tried > 1, "the newest good position has the change in it, unseen"
    assert session.ask(store.direct("a"), "SELECT count(*) FROM feature", timeout=20) == [("1000",)]
    assert session.ask(store.direct("a"), "SELECT run FROM midwatch_drill.writes", timeout=20) == [("t",)]
    assert session.ask(store.direct("a"), WRITE, timeout=20) == []


def receivers_of(standby: instance.Instance) -> list[int]:
    return [pid for pid in standby.processes() if b"walreceiver" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_standby_that_is_further_behind_than_the_rpo_is_not_promoted(start_cluster) -> None:
    store = start_cluster()
    recovery = ClusterRecovery(cluster=store, rpo=0.2)
    assert recovery.check().good
    standby = store.server("b")
    receivers = receivers_of(standby)
    for pid in receivers:
        os.kill(pid, 19)
    for _ in range(4):
        session.ask(store.direct("a"), WRITE, timeout=20)
        assert recovery.check().good
        time.sleep(0.2)
    assert recovery.loss(standby) > 0.2
    with pytest.raises(Exception, match=r"more than the RPO of 0\.2 s"):
        recovery.plan()
    for pid in receivers:
        os.kill(pid, 18)


def test_a_drill_does_not_begin_while_the_standby_is_far_behind_or_gone(start_cluster, tmp_path: Path) -> None:
    store = start_cluster()
    regions = {"store": "s", "folder": str(store.folder), "exporters": None}
    (tmp_path / "plane.json").write_text(json.dumps({"regions": regions, "parts": []}))
    drill = spec.Drill.model_validate({"name": "d", "store": "s", "fault": "lose_region"})
    promised = spec.DisasterRecovery.model_validate(
        {"owner": "ml", "stores": [{"name": "s", "local_postgresql": {}}], "drills": [drill.model_dump()]}
    )
    site = DrillSite(
        promised=promised,
        store=promised.store("s"),
        file=tmp_path / "platform.yaml",
        drill=drill,
        randomness=Random(0),
        state=tmp_path,
    )
    setup = RunningSetup(site, tmp_path)
    setup.start()
    assert setup.prepare(1.0) == 1.0
    standby = store.server("b")
    standby.freeze()
    filling = "CREATE TABLE filling AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) n"
    session.ask(store.direct("a"), filling, timeout=20)
    with pytest.raises(NotReadyError, match=r"the standby is \d\d MiB behind, more than 16 MiB"):
        setup.prepare(1.0)
    standby.kill()
    wait_until(lambda: session.ask(store.direct("a"), "SELECT count(*) FROM pg_stat_replication") == [("0",)])
    with pytest.raises(NotReadyError, match="no standby streams"):
        setup.prepare(1.0)


@pytest.mark.parametrize("started", [1, None], ids=["another process", "not known"])
def test_a_drill_kills_no_process_that_only_has_the_number_of_a_part(
    open_folder: Path, tmp_path: Path, started: int | None
) -> None:
    need_postgresql()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        part = {"name": "server-x", "pid": bystander.pid, "started": started, "url": None}
        regions = {"store": "s", "folder": str(tmp_path), "exporters": None, "region_a": ["server-x"], "models": {}}
        inventory = {"regions": regions, "parts": [part], "held": str(tmp_path), "sink": {"file": ""}}
        (tmp_path / "plane.json").write_text(json.dumps(inventory))
        drill = {"name": "d", "store": "s", "fault": "lose_region"}
        stores = [{"name": "s", "local_postgresql": {}}]
        promised = spec.DisasterRecovery.model_validate({"owner": "ml", "stores": stores, "drills": [drill]})
        site = DrillSite(
            promised=promised,
            store=promised.store("s"),
            file=tmp_path / "platform.yaml",
            drill=promised.drills[0],
            randomness=Random(0),
            state=tmp_path,
        )
        with pytest.raises(NotReadyError, match=r"is not what plane\.json says"):
            RunningSetup(site, tmp_path).fault()
        stranger = processes.Identity(pid=bystander.pid, started=1)
        store = cluster.create(open_folder / "store", cluster.Settings(store="s"))
        store.server("a").folder.mkdir()
        faults.LoseRegion(target="a", folder=str(store.folder), victims=(stranger,)).inject()
        assert bystander.poll() is None
        bystander.kill()


def test_no_program_has_a_password_among_its_arguments(start_cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    for name in ("run", "Popen"):
        start = getattr(subprocess, name)

        def noted(words: list[str], *more: object, start: Any = start, **options: Any) -> Any:
            told.extend(map(str, words))
            return start(words, *more, **options)

        monkeypatch.setattr(subprocess, name, noted)
    store = start_cluster()
    restoring.verify(store, lambda _: None)
    assert {Path(word).name for word in told} >= {"pg_basebackup", "pg_amcheck", "postgres"}
    assert not [word for word in told if store.password in word]
    settings = (store.server("b").data / "postgresql.auto.conf").read_text()
    assert "passfile" in settings
    assert store.password not in settings
    files = [path for path in store.folder.rglob("passfile") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_folder_closed_to_the_servers_user_is_named(tmp_path: Path) -> None:
    need_postgresql()
    found = programs.find()
    if found.account is None:
        pytest.skip("servers run as ourselves")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresError, match=r"is closed to the user .*, who runs PostgreSQL because root may not"):
        cluster.create(closed / "store", cluster.Settings(store="s"))


def test_a_port_that_somebody_took_meanwhile_is_said_in_the_servers_words(open_folder: Path) -> None:
    need_postgresql()
    store = cluster.create(open_folder / "store", cluster.Settings(store="s", standby=False))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", store.ports["a"]))
        taken.listen()
        with pytest.raises(PostgresError, match="Address already in use"):
            cluster.start(store)
    assert not store.server("a").is_alive()


def test_a_version_that_is_not_installed_is_said_with_what_to_do() -> None:
    need_postgresql()
    with pytest.raises(PostgresError, match="PostgreSQL 97 is not installed"):
        programs.find(97)


def test_without_postgresql_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(programs, "DEBIAN", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingProgramError, match="apt-get install postgresql"):
        programs.find()


def test_data_of_another_major_version_is_refused(tmp_path: Path) -> None:
    need_postgresql()
    (tmp_path / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="was made by PostgreSQL 9"):
        instance.ensure_version(tmp_path, programs.find())
    with pytest.raises(PostgresError, match="is no data directory"):
        instance.version_of(tmp_path / "nothing")


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="MiB are needed"):
        backup.ensure_room(tmp_path, 2**60)
