"""PostgreSQL that others run: watched and promoted by SQL, fenced and re-routed by the site's own commands."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from random import Random

import pytest

from dr import stores
from dr.postgres import session
from dr.recoverer.recovery import CannotRecoverError, Health
from dr.stores.kind import DrillSite, Site
from dr.stores.local_postgresql import cluster
from dr.stores.postgresql.collector import ServersCollector
from dr.stores.postgresql.recovery import RemoteRecovery
from dr.stores.postgresql.servers import Servers
from dr.stores.postgresql.setup import RemoteSetup
from dr.stores.site_commands import CommandError
from midwatch.spec.dr import DisasterRecovery
from midwatch.spec.stores.postgresql import PostgresqlCommands
from tests.dr.conftest import recovery_section


def test_a_file_of_the_users_does_not_hide_what_verifies_the_sites_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dr.py").write_text("raise SystemExit(1)")
    for name in ("endpoint", "primary", "standby"):
        (tmp_path / name).write_text("host=127.0.0.1 port=1 connect_timeout=1")
    files = {f"{name}_file": name for name in ("endpoint", "primary", "standby")}
    commands = {"inject": ["true"], "fence": ["true"], "reroute": ["true"]}
    section = recovery_section(
        stores=[{"name": "s", "postgresql": files | {"commands": commands}}],
        drills=[{"name": "d", "store": "s", "fault": "kill_primary"}],
    )
    promised = DisasterRecovery.model_validate(section)
    site = DrillSite(
        promised=promised,
        store=promised.store("s"),
        file=tmp_path / "platform.yaml",
        drill=promised.drills[0],
        randomness=Random(0),
    )
    monkeypatch.chdir(tmp_path)
    assert RemoteSetup(site).fault().fault.is_effective()


def test_paths_of_a_platform_in_a_folder_start_from_that_folder(tmp_path: Path) -> None:
    section = recovery_section(stores=[{"name": "m", "files": {"source": "models", "backup": "copies"}}], drills=[])
    promised = DisasterRecovery.model_validate(section)
    site = Site(promised=promised, store=promised.store("m"), file=tmp_path)
    assert stores.kind_of(site.store).recovery(site)[1] == tmp_path.resolve() / "copies"


def test_a_route_that_failed_is_tried_again_and_a_promoted_standby_is_not_fenced_for(
    start_cluster, tmp_path: Path
) -> None:
    store = start_cluster()
    store.server("a").kill()
    servers = Servers(endpoint=store.client, primary=store.direct("a"), standby=store.direct("b"))
    works = tmp_path / "works"
    commands = PostgresqlCommands(fence=["true"], reroute=["sh", "-c", f"test -e {works}"])
    recovery = RemoteRecovery(servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path)
    assert recovery.plan() == "promote the standby"
    recovery.recover()
    with pytest.raises(CommandError):
        recovery.reroute(2)
    assert recovery.check() == Health(good=False, why="clients were not sent to the new primary")
    works.touch()
    assert recovery.plan() == "send clients to the standby, which is promoted"
    assert recovery.recover() == "standby, promoted before"
    recovery.reroute(3)
    assert recovery.check().good
    another = RemoteRecovery(servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path)
    with pytest.raises(CannotRecoverError, match="is a primary already"):
        another.plan()


ROLES = """
import os, sys
from pathlib import Path
from dr.stores.local_postgresql import cluster, endpoint
store = cluster.load(Path(sys.argv[1]))
old, new = (Path(os.environ[f"MIDWATCH_{which}_PRIMARY_FILE"]).name for which in ("OLD", "NEW"))
if sys.argv[2] == "fence": store.server(old).fence(int(sys.argv[3]))
if sys.argv[2] == "reroute": endpoint.reroute(store.control, term=int(sys.argv[3]), region=new)
"""


def test_after_a_rebuild_the_servers_have_changed_places_and_a_second_loss_is_survived(
    start_cluster, tmp_path: Path
) -> None:
    store = start_cluster()
    for region in ("a", "b"):
        (tmp_path / region).write_text(store.direct(region))
    site = tmp_path / "site.py"
    site.write_text(ROLES)
    words = {what: [sys.executable, str(site), str(store.folder), what] for what in ("fence", "reroute")}
    commands = PostgresqlCommands(**words, rebuild=["true"], exchanges=True)
    servers = Servers(
        endpoint=store.client,
        primary=store.direct("a"),
        standby=store.direct("b"),
        primary_file=tmp_path / "a",
        standby_file=tmp_path / "b",
    )
    recovery = RemoteRecovery(servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path)
    assert recovery.check().good
    store.server("a").kill()
    assert recovery.plan() == "promote the standby"
    recovery.fence(2)
    recovery.recover()
    recovery.reroute(2)
    assert recovery.check().good
    cluster.seed_standby(store, source="b", target="a")  # it lives for as long as the process that starts it: ours
    assert recovery.rebuild() == "done; the servers have changed places"
    assert recovery.check().good
    another = RemoteRecovery(servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path)
    assert another.check().good, "one that is started now finds out who is who"
    store.server("b").kill()
    assert recovery.plan() == "promote the standby"
    recovery.fence(3)
    recovery.recover()
    recovery.reroute(3)
    assert recovery.check().good
    session.ask(store.client, "CREATE TABLE survived (n int)", timeout=5)
    assert recovery.rival() is None


def test_two_primaries_of_others_are_seen_and_fenced_only_where_it_is_known_which_is_wrong(
    start_cluster, tmp_path: Path
) -> None:
    store = start_cluster()
    servers = Servers(endpoint=store.client, primary=store.direct("a"), standby=store.direct("b"))
    commands = PostgresqlCommands(fence=["echo", "fenced"], reroute=["true"])
    recovery = RemoteRecovery(servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path)
    collector = ServersCollector("s", servers, tmp_path)
    (*_, quiet) = collector.collect(0.0)
    assert quiet[2] == 0.0
    assert recovery.rival() is None
    store.server("b").promote()
    assert recovery.rival() == "the standby takes writes beside the primary"
    with pytest.raises(CannotRecoverError, match="which of the two is right is a decision for a person"):
        recovery.fence_rival(2)
    (*_, seen) = collector.collect(1.0)
    assert seen[2] == pytest.approx(time.time(), abs=60)
    failed_over = RemoteRecovery(
        servers=servers, commands=commands, rpo=60.0, timeout=2.0, folder=tmp_path, _failed_over=True
    )
    assert failed_over.rival() == "the old primary takes writes beside the primary"
    assert failed_over.fence_rival(3) == "fenced 3"
    assert not failed_over.can_rebuild
    assert "no standby is left" in failed_over.offer()
