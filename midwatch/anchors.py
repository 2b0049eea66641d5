"""Heads of evidence logs that are kept outside of them: in a file elsewhere, and in Prometheus.

A chain does not show that its end was cut off, and whoever can cut it can remove what lies beside it, too. A file on
another machine or volume, or the samples that Prometheus has scraped, still have the head. An anchor file may be shared
by logs; a line of it is a JSON object with `log`, the log's name, `seq` and `hash` of its newest record, and `at`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from midwatch import metrics
from midwatch.errors import MidwatchError, Problem
from midwatch.evidence import Head
from midwatch.exposition import Sample
from midwatch.prometheus import Client, QueryError

LOOKBACK = "90d"
"""How far back Prometheus is asked; it answers for as long as it keeps samples."""


class AnchorError(MidwatchError):
    """A head cannot be kept, or those that were cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Anchored:
    """Heads of one log that were kept outside, and what is wrong with what keeps them."""

    heads: tuple[Head, ...] = ()
    problems: tuple[Problem, ...] = ()


def keep(file: Path, log: str, head: Head) -> None:
    """Append a head to an anchor file, durably; AnchorError when it cannot be."""
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    line = json.dumps({"at": at, "log": log, **asdict(head)}, sort_keys=True).encode() + b"\n"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # by a crash: the next line is none of it
            os.write(descriptor, (b"\n" if torn else b"") + line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise AnchorError(f"{file}: the head of {log} cannot be kept: {error.strerror}") from error


def kept(file: Path, log: str) -> Anchored:
    """Heads of a log in an anchor file. A file that is not there, or has none of this log, is a problem."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        reason = error.strerror or "cannot be read"
        return Anchored(problems=(_problem(file, f"{reason}: nothing shows whether the log was cut off"),))
    heads, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            document = json.loads(line)
            name, head = document["log"], Head(seq=int(document["seq"]), hash=str(document["hash"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            if number < len(lines):  # a crash may have torn the last one
                problems.append(_problem(file, "not a head that was kept", number))
            continue
        if name == log:
            heads.append(head)
    if not heads and not problems:
        problems.append(_problem(file, f"no head of {log} was kept in it"))
    return Anchored(heads=tuple(heads), problems=tuple(problems))


def scraped(client: Client, log: str) -> Anchored:
    """Heads of a log that Prometheus has seen; MidwatchError when it does not answer. None seen is a problem."""
    series = f"{metrics.EVIDENCE_RECORDS.name}{{log={json.dumps(log)}}}[{LOOKBACK}]"
    try:
        found = client.query(f"max_over_time({series})")
    except QueryError as error:
        raise AnchorError(f"the heads of {log} that Prometheus has seen are not known: {error}") from error
    heads = [Head(seq=int(one.value) - 1, hash=one.labels.get("head", "")) for one in found]
    problem = Problem(file=metrics.EVIDENCE_RECORDS.name, message=f"no head of {log} was scraped in {LOOKBACK}")
    return Anchored(heads=tuple(sorted(heads, key=lambda one: one.seq)), problems=() if heads else (problem,))


def samples(log: str, head: Head | None) -> Iterator[Sample]:
    """The head as a metric: how many records there are, with the newest one's hash."""
    if head is not None:
        yield metrics.EVIDENCE_RECORDS, {"log": log, "head": head.hash}, float(head.seq + 1)


def joined(found: Iterable[Anchored]) -> Anchored:
    """All of them as one."""
    found = list(found)
    return Anchored(
        heads=tuple(head for one in found for head in one.heads),
        problems=tuple(problem for one in found for problem in one.problems),
    )


def _problem(file: Path, message: str, line: int = 0) -> Problem:
    return Problem(file=str(file), line=line, message=message)
