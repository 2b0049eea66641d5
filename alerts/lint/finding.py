"""One finding, and what every check is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alerts.amconfig import Config
from midwatch.spec.base import Place
from midwatch.spec.channels import Version
from midwatch.spec.load import path_text

Said = tuple[Place, str, str]
"""Place in the document, what is wrong, what to do."""


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """Something that works otherwise than it looks, where, and what to do. `id` stays the same over versions."""

    file: str
    line: int
    id: str
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path + ': ' if self.path else ''}{self.message}; {self.remedy} [{self.id}]"


@dataclass(frozen=True, kw_only=True)
class Context:
    """A configuration, the version it is for, and the alerts that come to it, if they are known.

    `folder` is where relative paths of templates start; with `look_at_files` secrets and templates have to be there.
    """

    config: Config
    version: Version
    alerts: Sequence[Mapping[str, str]] | None = None
    dynamic: frozenset[str] = field(default=frozenset())
    folder: Path = Path()
    look_at_files: bool = False

    @property
    def label_names(self) -> frozenset[str] | None:
        """Labels that some alert carries, those from series (`dynamic`) included; None when the alerts are unknown."""
        if self.alerts is None:
            return None
        return self.dynamic | {name for labels in self.alerts for name in labels}


Check = Callable[[Context], Iterator[Said]]


def run(checks: Mapping[str, Check], context: Context) -> list[Finding]:
    """Every finding of every check, in the order of their places."""
    document = context.config.document
    found = []
    for name, check in checks.items():
        for place, message, remedy in check(context):
            file, line = document.at(place)
            found.append(Finding(file=file, line=line, id=name, path=path_text(place), message=message, remedy=remedy))
    return sorted(found)
