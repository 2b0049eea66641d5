"""A problem that a check finds, and what the checks of an Alertmanager configuration are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alerts.routing.configuration import Config
from midwatch.errors import Problem
from midwatch.spec.alertmanager_fields import Version
from midwatch.spec.base import Finding
from midwatch.spec.document import Document, path_text


@dataclass(frozen=True, kw_only=True, order=True)
class LintProblem(Problem):
    """Something that works otherwise than it looks. `id` names the check, and stays the same over versions."""

    id: str

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.id}]"


def problems_of(name: str, findings: Iterable[Finding], document: Document) -> Iterator[LintProblem]:
    """Problems of the check of that name, each with the file and line of its place."""
    for place, message, remedy in findings:
        file, line = document.at(place)
        yield LintProblem(file=file, line=line, id=name, path=path_text(place), message=message, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Context:
    """A configuration, the version it is for, and the alerts that come to it, if they are known.

    `folder` is where relative paths of templates start, and `is_file` whether the configuration is a file there; with
    `look_at_files` secrets and templates have to be there.
    """

    config: Config
    version: Version
    alerts: Sequence[Mapping[str, str]] | None = None
    dynamic: frozenset[str] = field(default=frozenset())
    folder: Path = Path()
    look_at_files: bool = False
    is_file: bool = False

    @property
    def label_names(self) -> frozenset[str] | None:
        """Labels that some alert carries, those from series (`dynamic`) included; None when the alerts are unknown."""
        if self.alerts is None:
            return None
        return self.dynamic | {name for labels in self.alerts for name in labels}


Check = Callable[[Context], Iterator[Finding]]


def run(checks: Mapping[str, Check], context: Context) -> list[LintProblem]:
    """Every problem that the checks find, in the order of their places."""
    document = context.config.document
    return unique(problem for name, check in checks.items() for problem in problems_of(name, check(context), document))


def unique(problems: Iterable[LintProblem]) -> list[LintProblem]:
    """Problems in the order of their places; what an anchor repeats is said once."""
    first: dict[tuple[str, int, str, str, str], LintProblem] = {}
    for problem in sorted(problems):
        keys = re.sub(r"\[\d+\]", "", problem.path)
        first.setdefault((problem.file, problem.line, problem.id, problem.message, keys), problem)
    return list(first.values())
