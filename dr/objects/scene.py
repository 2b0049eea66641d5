"""Drills of a folder that is marked as one that may be hurt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from chaos.faults import Fault
from dr import ledger
from dr.objects import copies, recovery
from dr.scene import Injury, NotReadyError
from dr.verdict import Check
from midwatch import modules
from midwatch.spec import dr as spec

MARKER = ".midwatch-drills-allowed"
"""A file in the folder that says that drills may hurt it. Nobody has one in production by mistake."""


@dataclass(frozen=True, kw_only=True)
class LoseFolder(Fault):
    """The folder is gone; `target` is its path. What was in it is beside, and stays there."""

    def inject(self) -> None:
        """Take it away."""
        Path(self.target).rename(self.target + ".lost")

    def is_effective(self) -> bool:
        """Whether what was there is away; the recoverer may already have laid it down again."""
        return Path(self.target + ".lost").is_dir()

    def revert(self) -> None:
        """Put it back if nobody has recovered it, so that the next drill starts as this one did."""
        lost, here = Path(self.target + ".lost"), Path(self.target)
        if lost.exists() and not here.exists():
            lost.rename(here)

    def is_reverted(self) -> bool:
        """Whether a folder is there."""
        return Path(self.target).is_dir()

    def describe(self) -> str:
        """In a line."""
        return "the folder is gone"


@dataclass(frozen=True, kw_only=True)
class DamageFile(Fault):
    """One file of the folder is overwritten with its own bytes, inverted."""

    file: str

    def inject(self) -> None:
        """Invert it, which inverts back when it is done twice."""
        path = Path(self.target) / self.file
        path.write_bytes(bytes(byte ^ 0xFF for byte in path.read_bytes()))

    def is_effective(self) -> bool:
        """Whether the content is another; the recoverer may have moved it away."""
        path = Path(self.target) / self.file
        aside = Path(self.target).parent.glob(f"{Path(self.target).name}.damaged-*")
        return path.is_file() or any(aside)

    def revert(self) -> None:
        """Nothing: the recoverer has replaced the damaged file, or the verdict says that it did not."""

    def is_reverted(self) -> bool:
        """Nothing of it stays that could spread."""
        return True

    def describe(self) -> str:
        """In a line."""
        return f"{self.file} is damaged"


class FolderScene:
    """Implements `scene.Scene` for a folder."""

    def __init__(
        self,
        recovery_settings: spec.DisasterRecovery,
        store: spec.Store,
        drill: spec.Drill,
        platform_file: Path,
        folder: Path,
        randomness: Random,
    ) -> None:
        if store.files is None:
            raise AssertionError("the caller looked at the store's kind")
        base = platform_file.parent
        self._settings, self._store, self._drill, self._file = recovery_settings, store, drill, platform_file
        self._source, self._backup = base / store.files.source, base / store.files.backup
        self._interval, self._folder, self._random = store.files.interval, folder, randomness
        self._content = ""
        self._events = Path()

    def start(self) -> None:
        """Look whether the folder may be hurt; NotReadyError when nobody said so."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._source.is_dir():
            raise NotReadyError(f"{self._source} is not a folder")
        if not (self._source / MARKER).is_file():
            raise NotReadyError(
                f"{self._source} does not allow drills: is it production? If it may be lost, put the file {MARKER} "
                "in it"
            )
        self._content = recovery.content_of(self._source)

    def target(self) -> dict[str, Any]:
        """Files in the folder."""
        return {"kind": "files", "folder": str(self._source)}

    def guard(self, events: Path) -> Sequence[str] | None:
        """`midwatch dr guard`, which also takes the copies."""
        self._events = events
        return [
            *modules.command("midwatch"),
            "dr",
            "guard",
            "-f",
            str(self._file),
            "--store",
            self._store.name,
            "--cluster",
            str(self._folder),
            "--events",
            str(events),
        ]

    def watched(self, events: Path) -> Path | None:
        """Where they were asked for."""
        return events

    def prepare(self, warmup: float) -> float:
        """Somewhere between two copies."""
        return max(warmup, 1.5 * self._interval) + self._random.uniform(0.0, self._interval)

    def injury(self) -> Injury:
        """Gone, or damaged."""
        if self._drill.fault is spec.Fault.LOSE_FILES:
            return Injury(fault=LoseFolder(target=str(self._source)), fails_over=False)
        files = sorted(
            path
            for path in self._source.rglob("*")
            if path.is_file() and recovery.DRILL not in path.parts and path.name != MARKER
        )
        if not files:
            raise NotReadyError(f"{self._source} has no file that could be damaged")
        name = str(self._random.choice(files).relative_to(self._source))
        return Injury(
            fault=DamageFile(target=str(self._source), file=name), silences=False, spoils=True, fails_over=False
        )

    def is_redundant(self) -> bool | None:
        """Whether a new copy was taken after the recovery."""
        return any(event["k"] == "redundant" for event in ledger.read(self._events))

    def checks(self) -> list[Check]:
        """Every file is as it was."""
        now = recovery.content_of(self._source) if self._source.is_dir() else "nothing"
        held = now == self._content
        found = [Check(name="every file is as it was", holds=held, detail="" if held else "the digests differ")]
        copy = copies.newest_first(self._backup)
        wrong = copies.flaw(copy[0]) if copy else "there is no copy"
        return [*found, Check(name="the newest copy is good", holds=wrong is None, detail=wrong or copy[0].folder.name)]

    def versions(self) -> dict[str, str]:
        """Nothing but Midwatch took part."""
        return {}

    def stop(self) -> None:
        """Nothing was started; the drill's own files are removed."""
        import shutil

        shutil.rmtree(self._source / recovery.DRILL, ignore_errors=True)
