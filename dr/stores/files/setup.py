"""Drills of a folder that is marked as one that may be hurt."""

from __future__ import annotations

import shutil

from dr.drill.client import ClientConfig
from dr.drill.verdict import Check
from dr.stores.files import copies, faults, published, recovery
from dr.stores.files.condition import Watch
from dr.stores.files.published import DRILL, MARKER
from dr.stores.kind import DrillSite
from dr.stores.setup import NotReadyError, PlannedFault, RecoveredSetup
from midwatch.spec.stores.files import Fault, FilesStore


class FolderSetup(RecoveredSetup):
    """The setup of a folder. Its recoverer takes the copies, too."""

    def __init__(self, site: DrillSite[FilesStore]) -> None:
        super().__init__(site.file, site.store.name)
        files = site.store.files
        self._kind, self._fault = site.store.kind, Fault(site.drill.fault)
        self._source, self._backup, self._interval = site.base / files.source, site.base / files.backup, files.interval
        self._randomness = site.randomness
        self._content = ""

    def start(self) -> None:
        """Look whether the folder may be hurt; NotReadyError when nobody said so."""
        if not self._source.is_dir():
            raise NotReadyError(f"{self._source} is not a folder")
        if not (self._source / MARKER).is_file():
            raise NotReadyError(
                f"{self._source} does not allow drills: is it production? If it may be lost, put the file {MARKER} "
                "in it"
            )
        condition = Watch(self._source).look(next(iter(copies.newest_first(self._backup)), None))
        if condition.published is None or not condition.is_sound:
            why = condition.doubt or next((f"{name} is {how}" for name, how in condition.wrong.items()), "")
            advice = "midwatch dr publish says what is meant; without, nobody can tell damage from a change"
            raise NotReadyError(f"{self._source} is not as it was published ({why or 'it never was'}): {advice}")
        self._content = recovery.content_of(self._source)

    def client(self) -> ClientConfig:
        """Files in the folder."""
        return ClientConfig(kind=self._kind, arguments={"folder": str(self._source)})

    def prepare(self, warmup: float) -> float:
        """Somewhere between two copies."""
        return max(warmup, 1.5 * self._interval) + self._randomness.uniform(0.0, self._interval)

    def fault(self) -> PlannedFault:
        """Gone, or damaged."""
        if self._fault is Fault.LOSE_FILES:
            return PlannedFault(fault=faults.LoseFolder(target=str(self._source)), fails_over=False)
        now = published.read(self._source)
        names = sorted(now.files) if now else []
        if not names:
            raise NotReadyError(f"{self._source} has no published file that could be damaged")
        name = self._randomness.choice(names)
        damage = faults.DamageFile(target=str(self._source), file=name)
        return PlannedFault(fault=damage, silences=False, spoils=True, fails_over=False)

    def checks(self) -> list[Check]:
        """Every file is as it was."""
        now = recovery.content_of(self._source) if self._source.is_dir() else "nothing"
        held = now == self._content
        newest = next(iter(copies.newest_first(self._backup)), None)
        wrong = copies.flaw(newest) if newest else "there is no copy"
        detail = wrong or (newest.folder.name if newest else "")
        return [
            Check(name="every file is as it was", holds=held, detail="" if held else "the digests differ"),
            Check(name="the newest copy is good", holds=wrong is None, detail=detail),
        ]

    def stop(self) -> None:
        """Nothing was started; the drill's own files are removed."""
        shutil.rmtree(self._source / DRILL, ignore_errors=True)
