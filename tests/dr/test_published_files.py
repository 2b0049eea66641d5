"""A folder of files: what was published tells damage from a change, and a copy cannot write outside its target."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dr.drill import facts
from dr.recoverer.recovery import CannotRecoverError, Health
from dr.stores.files import copies, published
from dr.stores.files.recovery import FolderRecovery
from midwatch import metrics
from midwatch.errors import MidwatchError
from tests.conftest import midwatch_here, platform_document
from tests.dr.conftest import recovery_section
from tests.dr.test_recoverer import FakeRecovery, recovered


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "v1").mkdir(parents=True)
    for name in ("v1/model.bin", "v1/reference.npz", "manifest.json"):
        (folder / name).write_bytes(name.encode() * 1000)
    return folder


@pytest.fixture
def store(models: Path, tmp_path: Path) -> FolderRecovery:
    """The recoverer of the folder, which copies at every look."""
    return FolderRecovery(source=models, backup=tmp_path / "copies", interval=0.0, keep=3)


def acted(store: FolderRecovery, term: int = 2) -> str:
    """What the recoverer does once it has seen damage often enough."""
    store.plan()
    store.fence(term)
    said = store.recover()
    store.reroute(term)
    return said


def named(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


# What is a change ----------------------------------------------------------------------------------------------------


def test_a_retired_model_stays_away_and_a_new_one_stays_although_nobody_published(
    models: Path, store: FolderRecovery
) -> None:
    assert store.check() == Health(good=True)
    (models / "v1/model.bin").unlink()
    (models / "v2").mkdir()
    (models / "v2/model.bin").write_bytes(b"new")
    seen = store.check()
    assert seen.good
    assert "v1/model.bin is gone: damage or a change; midwatch dr publish says that it is meant" in seen.doubt
    with pytest.raises(CannotRecoverError, match="damage or a change"):
        store.plan()
    assert named(models) == {"v2/model.bin", "v1/reference.npz", "manifest.json"}
    published.publish(models)
    assert store.check() == Health(good=True)
    assert named(copies.newest_first(store.backup)[0].folder) == named(models)


def test_what_is_published_in_order_is_never_undone(models: Path, store: FolderRecovery) -> None:
    published.publish(models)
    assert store.check() == Health(good=True)
    (models / "v2").mkdir()
    (models / "v2/model.bin").write_bytes(b"new")
    assert store.check() == Health(good=True)
    done = published.publish(models, remove=["v1/model.bin", "v1/reference.npz"])
    assert (done.generation, done.added, done.changed) == (2, ("v2/model.bin",), ())
    assert done.removed == ("manifest.json", "v1/model.bin", "v1/reference.npz")[1:]
    assert store.check() == Health(good=True)
    newest = copies.newest_first(store.backup)[0]
    assert newest.published is not None
    assert (newest.published.generation, named(newest.folder)) == (2, {"v2/model.bin", "manifest.json"})


def test_who_says_that_the_folder_is_being_changed_has_time_for_it(models: Path, store: FolderRecovery) -> None:
    published.publish(models)
    store.check()
    (models / published.CHANGING).touch()
    (models / "v1/model.bin").write_bytes(b"another")
    assert store.check() == Health(good=True)
    os.utime(models / published.CHANGING, (time.time() - 7200, time.time() - 7200))
    assert "it waits to be published" in store.check().doubt
    assert published.publish(models).changed == ("v1/model.bin",)
    assert store.check() == Health(good=True)


def rewrite_manifest(models: Path, **changes: object) -> None:
    file = models / published.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda models: (models / published.MANIFEST).unlink(), "is gone"),
        (lambda models: (models / published.MANIFEST).write_text("{"), "not a manifest"),
        (lambda models: (models / published.MANIFEST).write_text("[" * 100_000), "not a manifest"),
        (lambda models: rewrite_manifest(models, generation=1), "generation 1 came back, and 2 was copied"),
        (lambda models: rewrite_manifest(models, generation=0), "its generation is 0"),
        (lambda models: rewrite_manifest(models, files={}), "another manifest than the one that was copied"),
        (lambda models: rewrite_manifest(models, generation=3, files={"../x": ["a", 1]}), "not a path inside"),
    ],
    ids=["gone", "broken", "deep", "earlier", "zero", "other", "leading out"],
)
def test_what_is_not_certain_is_said_and_nothing_is_restored(
    models: Path, store: FolderRecovery, spoil: Callable[[Path], object], said: str
) -> None:
    published.publish(models)
    published.publish(models)
    store.check()
    spoil(models)
    (models / "v1/model.bin").unlink()
    seen = store.check()
    assert (seen.good, said in seen.doubt) == (True, True), seen
    with pytest.raises(CannotRecoverError):
        store.plan()
    assert published.publish(models, known=2).generation == 3
    assert store.check() == Health(good=True)


def test_a_folder_that_was_never_published_and_is_gone_is_for_people(models: Path, store: FolderRecovery) -> None:
    store.check()
    models.rename(models.with_name("elsewhere"))
    assert "is not there, and nothing was ever published" in store.check().doubt
    with pytest.raises(CannotRecoverError, match="nothing was ever published"):
        store.plan()


def test_a_copy_that_cannot_be_taken_is_no_reason_to_restore(models: Path, store: FolderRecovery) -> None:
    published.publish(models)
    store.check()
    (store.backup / ".copy-000002.partial").write_text("in the way")  # no folder can be made of that name
    seen = store.check()
    assert seen.good
    assert "no copy can be taken" in seen.doubt


def test_a_doubt_is_said_once_and_nothing_is_done(tmp_path: Path) -> None:
    class Doubtful(FakeRecovery):
        looks = 0

        def check(self) -> Health:
            self.looks += 1
            return Health(good=self.looks < 30, doubt="changed", why="the end")

    made = Doubtful([True], plan="nothing")
    said = [event for event in recovered(tmp_path, made, facts.Refused) if isinstance(event, facts.Doubted)]
    assert [event.why for event in said] == ["changed"]
    assert made.done == []


# What is damage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["changed", "gone", "a link"])
def test_what_is_damaged_for_certain_is_put_back_and_nothing_else_is_touched(
    models: Path, store: FolderRecovery, how: str
) -> None:
    published.publish(models)
    store.check()
    (models / "unpublished.bin").write_bytes(b"on its way")
    file = models / "v1/model.bin"
    file.write_bytes(b"damaged") if how == "changed" else file.unlink()
    if how == "a link":
        file.symlink_to("/etc/hostname")
    assert not store.check().good
    if how == "a link":
        with pytest.raises(MidwatchError, match="symbolic link"):
            acted(store)
        return
    assert acted(store) == "v1/model.bin of copy-000001"
    assert file.read_bytes() == b"v1/model.bin" * 1000
    assert (models / "unpublished.bin").read_bytes() == b"on its way"
    aside = models.with_name("models.damaged-2")
    assert (how == "changed") == (aside.is_dir() and named(aside) == {"v1/model.bin"})
    assert store.check() == Health(good=True)
    assert not list(models.parent.glob(".models.restored-*"))


def test_damage_before_the_new_generation_was_copied_is_put_back_from_an_older_copy(
    models: Path, store: FolderRecovery
) -> None:
    published.publish(models)
    store.check()
    (models / "v2.bin").write_bytes(b"new")
    published.publish(models)
    (models / "v1/model.bin").write_bytes(b"damaged")
    (models / "v2.bin").write_bytes(b"damaged, too")
    assert acted(store) == "v1/model.bin of copy-000001"
    assert store.check().why == "v2.bin is damaged"
    with pytest.raises(CannotRecoverError, match=r"v2.bin: damaged, and no copy has what generation 2 lists"):
        store.plan()


def test_a_published_folder_that_is_gone_comes_back(models: Path, store: FolderRecovery) -> None:
    published.publish(models)
    store.check()
    models.rename(models.with_name("lost"))
    assert not store.check().good
    assert acted(store) == "copy-000001"
    assert named(models) == {"v1/model.bin", "v1/reference.npz", "manifest.json"}
    assert store.check() == Health(good=True)


def test_a_folder_that_comes_back_by_itself_meanwhile_is_left_as_it_is(models: Path, store: FolderRecovery) -> None:
    published.publish(models)
    store.check()
    models.rename(models.with_name("lost"))
    store.plan()
    store.fence(2)
    store.recover()
    models.with_name("lost").rename(models)
    (models / "new.bin").write_bytes(b"new")
    with pytest.raises(MidwatchError, match="came back by itself"):
        store.reroute(2)
    assert (models / "new.bin").exists()


# The command, and what is published of it ----------------------------------------------------------------------------


def test_publishing_is_a_command_and_what_is_not_published_is_an_alert(models: Path, tmp_path: Path) -> None:
    from dr import stores
    from dr.stores.kind import Site
    from midwatch.spec import load

    files = {"source": "models", "backup": "copies"}
    section = recovery_section(stores=[{"name": "models", "files": files}], drills=[])
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump(platform_document(disaster_recovery=section)))
    platform = load.load_platform(file)
    assert platform.disaster_recovery is not None
    (one,) = platform.disaster_recovery.stores
    site = Site(promised=platform.disaster_recovery, store=one, file=file)
    collector = stores.kind_of(one).collector(site)
    assert collector is not None

    def unsound() -> float:
        return {metric: value for metric, _, value in collector.collect(0.0)}[metrics.DR_FILES_UNSOUND]

    copies.take(models, tmp_path / "copies", now=1.0, keep=3)
    assert unsound() == 0.0
    (models / "v1/model.bin").unlink()
    assert unsound() == 1.0
    done = midwatch_here("dr", "publish", "models", "-f", file, "--remove", "manifest.json", "--json")
    assert json.loads(done.stdout)["generation"] == 1
    assert named(models) == {"v1/reference.npz"}
    assert unsound() == 0.0
    again = midwatch_here("dr", "publish", "models", "-f", file, "--remove", "nothing")
    assert (again.returncode, "has no nothing" in again.stderr) == (2, True)
    assert published.read(models) == published.parsed((models / published.MANIFEST).read_bytes())


# Copies --------------------------------------------------------------------------------------------------------------


def forged(backup: Path, name: str) -> copies.Copy:
    """A copy whose manifest names a path of somebody's choice."""
    folder = backup / "copy-000009"
    folder.mkdir(parents=True)
    outside = backup.parent / "secret"
    outside.write_text("secret")
    (folder / "here").write_text("secret")
    said = [published.digest(outside), 6]
    (folder / copies.MANIFEST).write_text(json.dumps({"began": 1.0, "files": {"here": said, name: said}}))
    (copy,) = copies.newest_first(backup)
    return copy


@pytest.mark.parametrize("name", ["../../secret", "a/../../secret", "/etc/secret", "..", "", ".", "a\0b"])
def test_a_copy_whose_manifest_leads_out_of_it_is_not_restored(tmp_path: Path, name: str) -> None:
    copy = forged(tmp_path / "copies", name)
    target = tmp_path / "deep" / "er" / "target"
    target.parent.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MidwatchError, match=r"is not a path inside"):
        copies.restore(copy, target)
    assert {path for path in tmp_path.rglob("*") if path not in before} <= {target, target / "here"}
    with pytest.raises(copies.CopyError, match="no copy can be used"):
        copies.newest_good(tmp_path / "copies")


def test_a_link_in_a_copy_or_before_its_target_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    copy = forged(tmp_path / "copies", "link/secret")
    (copy.folder / "link").symlink_to(tmp_path)
    with pytest.raises(MidwatchError, match="symbolic link"):
        copies.restore(copy, tmp_path / "target")
    assert not (tmp_path / "target" / "link").exists()
    (tmp_path / "elsewhere").symlink_to(outside)
    with pytest.raises(copies.CopyError, match="symbolic link"):
        copies.restore(copy, tmp_path / "elsewhere")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"began": "x", "files": {}}',
        '{"began": 1, "files": []}',
        '{"began": 1, "files": {"a": 1}}',
        "[" * 99_999,
    ],
    ids=["empty", "cut", "list", "time", "files", "entry", "deep"],
)
def test_a_broken_manifest_or_a_folder_of_another_name_is_no_copy(models: Path, tmp_path: Path, content: str) -> None:
    backup = tmp_path / "copies"
    for name in ("copy-000003", "copy-old"):
        (backup / name).mkdir(parents=True)
        (backup / name / copies.MANIFEST).write_text(content)
    assert copies.newest_first(backup) == []
    copies.take(models, backup, now=1.0, keep=3)
    assert copies.newest_good(backup)[0].folder.name == "copy-000001"


def test_a_copy_of_an_earlier_release_is_read(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies" / "copy-000001"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"x")
    listed = {"model.bin": [published.digest(folder / "model.bin"), 1]}
    (folder / "manifest.json").write_text(json.dumps({"began": 1.0, "files": listed}))
    good, flaws = copies.newest_good(tmp_path / "copies")
    assert (good.folder, flaws) == (folder, [])
    assert copies.take(models, tmp_path / "copies", now=2.0, keep=3).folder.name == "copy-000002"
