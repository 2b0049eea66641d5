"""Which scene a drill is played in: one per kind of store."""

from __future__ import annotations

from pathlib import Path
from random import Random

from dr import observer
from dr.commands import CommandsScene
from dr.objects.scene import FolderScene
from dr.operators import CnpgScene
from dr.postgres.plane import PlaneScene
from dr.postgres.remote import RemoteScene
from dr.postgres.scene import LocalScene
from dr.scene import Scene
from midwatch.errors import MidwatchError
from midwatch.spec import dr as spec
from midwatch.spec import model as platforms


def build(
    platform: platforms.Platform,
    file: Path,
    store: spec.Store,
    drill: spec.Drill,
    folder: Path,
    randomness: Random,
    state: Path | None,
) -> Scene:
    """The scene of a drill; MidwatchError when it cannot be played here."""
    recovery = platform.disaster_recovery
    if recovery is None:
        raise AssertionError("the caller found a drill in it")
    if store.local_postgresql:
        if state is not None:
            return PlaneScene(recovery, store, drill, file, state.resolve())
        return LocalScene(recovery, store, drill, file, folder, randomness)
    if store.files:
        return FolderScene(recovery, store, drill, file, folder, randomness)
    if store.postgresql:
        return RemoteScene(store, file, folder)
    if store.cloudnative_pg:
        return CnpgScene(store, file)
    if store.commands:
        return CommandsScene(store, file, folder)
    raise MidwatchError(f"drills of {store.kind} cannot be run here")


def model(stage: Scene) -> observer.Model | None:
    """The model that a scene's clients ask, where it has one."""
    found: observer.Model | None = getattr(stage, "model", None)
    return found
