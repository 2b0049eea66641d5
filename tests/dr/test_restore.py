"""Restores of what a real archive can look like: settings raised, segments missing or damaged, tablespaces."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dr.drill_log import DrillLog
from dr.postgres import session
from dr.posture import gauges, verification
from dr.stores.kind import Site
from dr.stores.local_postgresql import archive, backup, cluster, replay
from dr.stores.local_postgresql.archive import Archive, Branch
from dr.stores.local_postgresql.collector import LocalCollector
from dr.stores.local_postgresql.programs import PostgresError
from midwatch import metrics
from midwatch.spec import load
from tests.dr.conftest import need_postgresql, platform_file

WRITE = "INSERT INTO midwatch_drill.writes (run, seq, checksum) SELECT 't', n, 'x' FROM generate_series(1, 500) n"
ROWS = "SELECT count(*) FROM midwatch_drill.writes"


class Store:
    """A store with an archive and a log of its own, that the tests of this file share."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.cluster = cluster.create(home / "store", cluster.Settings(store="s", standby=False, archive_interval=60.0))
        self.primary = self.cluster.server("a")
        (home / "log").mkdir()
        store = {"name": "s", "local_postgresql": {"standby": False}}
        self.file = platform_file(home / "log", stores=[store], drills=[])
        loaded = load.load_platform(self.file)
        self.log = DrillLog.of(loaded, self.file)
        promised = loaded.disaster_recovery
        assert promised is not None
        self.site = Site(promised=promised, store=promised.store("s"), file=self.file, folder=self.cluster.folder)
        self.said: list[str] = []

    def ask(self, sql: str) -> Any:
        return session.ask(self.cluster.direct("a"), sql, timeout=20)

    def place(self, name: str) -> Path:
        """A directory for a tablespace."""
        path = self.home / name
        path.mkdir(exist_ok=True)
        self.primary.programs.give(path)
        return path

    def fill(self, segments: int) -> list[Path]:
        """Rows in so many more segments, which are archived; their files."""
        made = []
        for _ in range(segments):
            self.ask(WRITE)
            ((name,),) = self.ask("SELECT pg_walfile_name(pg_switch_wal())")
            made.append(self.cluster.archive / name)
        backup.wait_until_archived(self.cluster.archive, made[-1].name, seconds=20)
        return made

    def verify(self) -> dict[str, Any]:
        self.said.clear()
        return verification.verify(self.site, self.log, self.said.append)

    def look(self) -> dict[str, float]:
        """What is published of it, by the metrics' names."""
        samples = [*LocalCollector("s", self.cluster.folder)._backups(), *gauges.verified(self.log, time.time())]
        return {metric.name: value for metric, _, value in samples}


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    need_postgresql()
    home = Path(tempfile.mkdtemp(prefix="midwatch-test-"))
    home.chmod(0o755)
    made = Store(home)
    try:
        cluster.start(made.cluster)
        yield made
    finally:
        cluster.stop(made.cluster)
        shutil.rmtree(home)


def test_a_setting_raised_behind_the_backup_is_raised_for_the_restore_too(store: Store) -> None:
    store.fill(1)
    store.primary.stop()
    store.cluster.configure(store.primary)
    with (store.primary.folder / "postgresql.conf").open("a") as settings:
        settings.write("max_connections = '90'\nmax_locks_per_transaction = '100'\n")
    store.primary.start()
    store.fill(1)
    done = store.verify()
    assert (done["verdict"], done["holes"]) == ("MET", [])
    assert any("started again with max_connections = 90" in text for text in store.said)
    assert any(text.startswith("replayed to 0/") for text in store.said)
    assert store.look()[metrics.DR_RESTORE_GOOD.name] == 1.0


def test_a_restore_that_stands_still_ends_with_the_servers_last_words(store: Store) -> None:
    (newest, *_) = backup.newest_first(store.cluster.backups)
    target = store.cluster.server("b")
    store.cluster.configure(target)
    backup.restore(newest, target, store.cluster.archive)
    with (target.data / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'case %f in *.history) false;; *) sleep 9;; esac'\n")
    target.skip_first_sync()
    limits = replay.Limits(stalled=3.0, whole=60.0)
    with pytest.raises(PostgresError, match=r"does not move for 3 s .*: .*starting archive recovery"):
        replay.follow(target, lambda: not target.is_standby(), store.said.append, limits)
    assert "replay: waiting for 0000" in " ".join(store.said), "its progress is told"
    assert not target.is_alive()
    shutil.rmtree(target.data)


@pytest.mark.parametrize(("harm", "said"), [("missing", "is missing"), ("overwritten", "holds something else")])
def test_a_hole_in_the_archive_is_breached_and_a_metric_at_once(store: Store, harm: str, said: str) -> None:
    first, harmed, _ = store.fill(3)
    assert store.look()[metrics.DR_ARCHIVE_FLAWS.name] == 0.0
    whole = harmed.read_bytes()
    harmed.write_bytes(first.read_bytes()) if harm == "overwritten" else harmed.unlink()
    assert store.look()[metrics.DR_ARCHIVE_FLAWS.name] == 1.0
    done = store.verify()
    assert done["verdict"] == "BREACHED"
    assert "the archive has a hole: the replay ended at " in done["holes"][0]
    assert f"({harmed.name} {said})" in done["holes"][0]
    assert store.look()[metrics.DR_RESTORE_GOOD.name] == 0.0
    harmed.write_bytes(whole)
    assert store.look()[metrics.DR_ARCHIVE_FLAWS.name] == 0.0


def test_a_truncated_segment_is_said_in_the_servers_words(store: Store) -> None:
    _, harmed, _ = store.fill(3)
    whole = harmed.read_bytes()
    harmed.write_bytes(whole[:100_000])
    assert store.look()[metrics.DR_ARCHIVE_FLAWS.name] == 1.0
    command = [sys.executable, "-P", "-m", "midwatch", "dr", "verify", "s", "-f", str(store.file)]
    command += ["--cluster", str(store.cluster.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f'archive file "{harmed.name}" has wrong size: 100000 instead of 16777216' in done.stderr
    assert store.look()[metrics.DR_RESTORE_GOOD.name] == 0.0
    harmed.write_bytes(whole)


def test_a_backup_that_cannot_be_made_is_an_alert_although_the_older_one_verifies(store: Store) -> None:
    in_the_way = store.cluster.backups / ".base-0002.partial"
    in_the_way.touch()
    with pytest.raises(PostgresError, match="pg_basebackup ended with code 1"):
        backup.take(store.primary, store.cluster.backups)
    assert store.look()[metrics.DR_BACKUP_FAILING.name] == 1.0
    in_the_way.unlink()
    done = store.verify()
    assert (done["verdict"], done["backup"]) == ("BREACHED", "base-0001")
    assert "the newest backup could not be made: pg_basebackup ended with code 1" in done["unusable"][0]
    assert store.look()[metrics.DR_RESTORE_GOOD.name] == 0.0
    backup.take(store.primary, store.cluster.backups)
    assert store.look()[metrics.DR_BACKUP_FAILING.name] == 0.0


def test_tablespaces_are_copied_and_one_that_cannot_be_mapped_is_refused_in_words(store: Store) -> None:
    fast, late = store.place("fast"), store.place("late")
    store.ask(f"CREATE TABLESPACE fast LOCATION '{fast}'")
    store.ask(
        "CREATE TABLE quick WITH (autovacuum_enabled = off) TABLESPACE fast AS SELECT n FROM generate_series(1, 1000) n"
    )
    made = backup.take(store.primary, store.cluster.backups)
    assert made.size > sum(path.stat().st_size for path in made.folder.rglob("*") if path.is_file())
    store.ask("INSERT INTO quick SELECT n FROM generate_series(1, 1000) n")
    store.fill(1)
    before = content_of(fast)
    assert store.verify()["verdict"] == "MET"
    assert content_of(fast) == before, "the running server's tablespace is its own"
    store.ask(f"CREATE TABLESPACE late LOCATION '{late}'")
    store.fill(1)
    with pytest.raises(PostgresError, match=f"a tablespace was made at {late} after the backup"):
        store.verify()
    made = backup.take(store.primary, store.cluster.backups)
    (link, _) = sorted((made.folder / "pg_tblspc").iterdir())
    link.unlink()
    link.symlink_to(fast)
    target = store.cluster.server("b")
    store.cluster.configure(target)
    shutil.rmtree(target.data, ignore_errors=True)
    with pytest.raises(PostgresError, match=f"is at {fast}, which is not part of the backup"):
        backup.restore(made, target, store.cluster.archive)
    assert not target.data.exists()
    shutil.rmtree(made.folder)


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Names alone ---------------------------------------------------------------------------------------------------------


def archived(folder: Path, *names: str, history: str = "") -> Archive:
    for name in names:
        segment = archive.parse(name)
        assert segment is not None
        header = archive.HEADER.pack(0xD110, 7, segment.timeline, segment.begin)
        with (folder / name).open("wb") as file:
            file.write(header)
            file.truncate(archive.SEGMENT_BYTES)
    if history:
        (folder / "00000002.history").write_text(history)
    return Archive(folder)


ONE, TWO, THREE, FOUR = (f"00000001{number:016X}" for number in (1, 2, 3, 4))
SECOND_TWO, SECOND_THREE, SECOND_FIVE = (f"00000002{number:016X}" for number in (2, 3, 5))
LEFT = "1\t0/2800000\tno recovery target specified\n"


def test_what_a_timeline_went_on_with_after_it_was_left_is_no_hole(tmp_path: Path) -> None:
    kept = archived(tmp_path, ONE, TWO, THREE, FOUR, SECOND_TWO, SECOND_THREE, history=LEFT)
    assert kept.flaws(archive.position("0/1000028")) == []
    assert kept.unseen(Branch(2, archive.position("0/4000000")), 3) is None
    assert kept.unseen(Branch(1, archive.position("0/4000000")), 2) is not None, "timeline 2 did not exist then"


@pytest.mark.parametrize(
    ("names", "history", "flaw"),
    [
        ((ONE, TWO, SECOND_TWO, SECOND_THREE, SECOND_FIVE), LEFT, "000000020000000000000004 is missing"),
        ((ONE, THREE, FOUR, SECOND_THREE), LEFT, "000000010000000000000002 is missing"),
        ((ONE, TWO, SECOND_TWO), "", "00000002.history is missing"),
    ],
    ids=["in the new timeline", "where it was left", "the history"],
)
def test_a_hole_is_found_across_timelines(tmp_path: Path, names: tuple[str, ...], history: str, flaw: str) -> None:
    assert flaw in archived(tmp_path, *names, history=history).flaws(archive.position("0/1000028"))


def test_what_is_archived_beside_a_replay_is_no_hole(tmp_path: Path) -> None:
    kept = archived(tmp_path, ONE, TWO)
    before = kept.newest()
    archived(tmp_path, THREE)
    end = Branch(1, archive.position("0/3000000"))
    assert kept.unseen(end, 2, before) is None
    assert kept.unseen(end, 2) is not None
