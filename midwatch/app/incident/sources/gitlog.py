"""Commits in the repositories of the platform: changes of configuration, with their author and how to revert them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from midwatch.app.incident.asked import Asked, Found, Question
from monitors.incident.records import Change, Kind, Unanswered

MOST_COMMITS = 200

_RECORD, _FIELD = "\x1e", "\x1f"
_FORMAT = f"{_RECORD}%H{_FIELD}%ct{_FIELD}%an{_FIELD}%s{_FIELD}"

HEAD_SECONDS = 3600.0
"""Commits of so long before the window may be applied in it: what is merged is not yet what runs."""


def questions(asked: Asked) -> Iterator[Question]:
    """A question for each repository."""
    for repository in asked.repositories:
        yield Question(source=f"Git: {repository}", ask=partial(_changes, repository, asked))


def _changes(repository: Path, asked: Asked) -> Found:
    command = ["git", "-C", str(repository), "log", "--name-only", f"--max-count={MOST_COMMITS}", f"--format={_FORMAT}"]
    command += [f"--since=@{int(asked.start - HEAD_SECONDS)}", f"--until=@{int(asked.end)}", "--", "."]
    source = f"Git: {repository}"
    try:
        done = subprocess.run(command, capture_output=True, timeout=asked.within, check=True)
    except FileNotFoundError:
        yield Unanswered(source=source, reason="the program git is not installed")
        return
    except subprocess.TimeoutExpired:
        yield Unanswered(source=source, reason=f"git took longer than {asked.within:.2g} s")
        return
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["no reason was given"]
        yield Unanswered(source=source, reason=lines[-1])
        return
    commits = done.stdout.decode(errors="replace").split(_RECORD)[1:]
    if len(commits) == MOST_COMMITS:
        yield Unanswered(source=source, reason=f"only the newest {MOST_COMMITS} commits were looked at")
    for commit in commits:
        yield _change(repository, asked, commit)


def _change(repository: Path, asked: Asked, commit: str) -> Change:
    digest, at, author, subject, names = commit.split(_FIELD, 4)
    files = [name for name in names.splitlines() if name]
    return Change(
        kind=Kind.CONFIGURATION,
        at=float(at),
        latest=float(at),
        what=f"commit {digest[:10]}: {subject}",
        who=author,
        source=f"Git: {repository}",
        scope=_scope(asked, files),
        undo=f"git -C {shlex.quote(str(repository))} revert --no-edit {digest[:12]}",
    )


def _scope(asked: Asked, files: list[str]) -> dict[str, str]:
    """The one model whose name is a part of every file's path, else the whole platform."""
    named = [{model.name for model in asked.platform.models if _names(model.name, file)} for file in files]
    common = set.intersection(*named) if named else set()
    return {"model": common.pop()} if len(common) == 1 else {}


def _names(model: str, file: str) -> bool:
    """Whether a folder of a path, or its file without an extension, is called as the model."""
    path = Path(file)
    return model in (*path.parent.parts, path.stem)
