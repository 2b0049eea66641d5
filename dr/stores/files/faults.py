"""What a drill does to a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chaos.faults import Fault


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
