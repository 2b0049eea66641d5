"""Evidence: every log that is here, whether it is whole, and its newest records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from midwatch import evidence
from midwatch.app.console.page import Context, Page
from midwatch.errors import MidwatchError
from midwatch.html import About
from midwatch.spec import load

MOST_RECORDS = 20
MOST_BYTES = 256 << 20
"""A larger log is not read by a page: `midwatch evidence verify` checks it."""
LONGEST = 300
"""Characters of a record's data that are shown."""
LOGS = ("evidence.jsonl", "audit.jsonl")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A record as the page shows it."""

    seq: str
    at: str
    kind: str
    data: str


@dataclass(frozen=True, kw_only=True)
class Log:
    """A log: `state` is whole, changed, empty or not read, `why` in words; `head` its last place; newest records."""

    path: str
    state: str
    why: str
    records: int
    head: str
    newest: tuple[Shown, ...]

    @property
    def verdict(self) -> str:
        """Class of its state."""
        return {"whole": "good", "changed": "bad"}.get(self.state, "unsure")


def build(context: Context) -> Page:
    """The page."""
    logs = [checked(context, path) for path in find(context)]
    changed = [one for one in logs if one.state == "changed"]
    meaning = "No evidence log is here. It stays where drills, experiments and the gate run; --evidence names a folder."
    if logs:
        meaning = f"{len(changed)} of {len(logs)} logs were changed." if changed else "Every log that is here is whole."
    return Page(
        template="evidence.html",
        area="evidence",
        about=About(
            title="Evidence",
            verdict="bad" if changed else "good" if logs else "unsure",
            meaning=meaning,
            platform=context.platform.platform,
        ),
        values={"logs": logs},
    )


def find(context: Context) -> list[Path]:
    """Logs in the folders that the platform file and the command name."""
    found: set[Path] = set()
    for folder in _folders(context):
        if folder.is_dir():
            found.update(path.resolve() for name in LOGS for path in folder.rglob(name) if path.is_file())
    return sorted(found)


def _folders(context: Context) -> Iterator[Path]:
    base = load.base_folder(context.file.resolve())
    if context.platform.disaster_recovery is not None:
        yield base / context.platform.disaster_recovery.evidence.folder
    yield from context.folders


def _key(context: Context, path: Path) -> Path | None:
    """The file of the key that signs a log, as the platform file says."""
    base = load.base_folder(context.file.resolve())
    recovery, chaos = context.platform.disaster_recovery, context.platform.chaos
    if recovery is not None and (base / recovery.evidence.folder).resolve() in path.parents:
        return base / recovery.evidence.key_file if recovery.evidence.key_file else None
    if chaos is not None and chaos.evidence_key_file and "chaos" in path.parts:
        return base / chaos.evidence_key_file
    return None


def checked(context: Context, path: Path) -> Log:
    """A log, and whether it is whole."""
    key_file = _key(context, path)
    try:
        status = path.stat()
        key = evidence.read_key(key_file) if key_file else b""
    except (OSError, MidwatchError) as error:
        return _unread(path, str(error))
    if status.st_size > MOST_BYTES:
        return _unread(path, f"{status.st_size >> 20} MiB: too large for a page; midwatch evidence verify checks it")
    # Nobody can set the time of the change of a file's status (ctime) back, as that of its content.
    return _checked(path, key, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


def _unread(path: Path, why: str) -> Log:
    return Log(path=str(path), state="not read", why=why, records=0, head="", newest=())


@lru_cache(maxsize=64)
def _checked(path: Path, key: bytes, _seen: tuple[int, ...]) -> Log:
    """A log, checked once for each of its sizes and times."""
    try:
        newest = list(_newest(path.read_bytes()))
        verified = evidence.verify(path, key=key)
    except OSError as error:
        return _unread(path, error.strerror or "it cannot be read")
    except MidwatchError as error:
        return _unread(path, str(error).partition("\n")[0])
    state = "changed" if verified.problems else "whole" if verified.records else "empty"
    why = "; ".join(str(problem) for problem in verified.problems[:3])
    head = f"{verified.head.seq}:{verified.head.hash}" if verified.head else ""
    return Log(path=str(path), state=state, why=why, records=verified.records, head=head, newest=tuple(newest))


def _newest(content: bytes) -> Iterator[Shown]:
    """The newest records; a log that was changed may hold anything."""
    for line in reversed(content.splitlines()[-MOST_RECORDS:]):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            data = json.dumps(record.get("data", record), ensure_ascii=False)
            yield Shown(
                seq=_printable(record.get("seq", "")),
                at=_printable(record.get("at", "")),
                kind=_printable(record.get("kind", record.get("event", "line"))),
                data=_printable(data if len(data) <= LONGEST else data[: LONGEST - 1] + "…"),
            )


def _printable(value: object) -> str:
    """A value as text of a page: half of a surrogate pair, which JSON can hold, is no character."""
    return str(value).encode(errors="replace").decode()
