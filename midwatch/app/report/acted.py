"""What shows that somebody acted on an alert: a silence with a reason, or a retraining, promotion or rollback.

Silences are known as far back as Alertmanager keeps them; the others from evidence logs. Where neither would have
shown anything, it is not known, which is not the same as nobody acting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from midwatch import alertmanager, evidence
from midwatch.app.report.records import Firing, Run

HOUR = 3600.0
AFTER = HOUR
"""What is done within an hour after an alert ended was still done about it."""
RETENTION = 120 * HOUR
"""How long Alertmanager keeps silences that have ended, without `--data.retention`."""

DRILL_ENDED, RUN_REQUESTED, RUN_ENDED = "drill-ended", "run-requested", "run-ended"
LOOP_BEGAN, LOOP_ASKED, LOOP_STEP = "loop-episode-began", "loop-asked", "loop-step"
STEPS = ("promoted", "rolled_back")


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something that was done about a model."""

    what: str
    model: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Logged:
    """What evidence logs say of a time: drills and experiments that ended, deeds, and what is wrong with the logs."""

    runs: tuple[Run, ...] = ()
    deeds: tuple[Deed, ...] = ()
    problems: tuple[str, ...] = ()
    logs: int = 0


def read(logs: Iterable[Path], start: float, end: float, *, key: bytes = b"") -> Logged:
    """Read the logs; of one that does not hold together what it says is taken, and that it does not is said."""
    runs: list[Run] = []
    deeds: list[Deed] = []
    problems: list[str] = []
    count = 0
    for log in logs:
        count += 1
        records = evidence.read(log)
        problems += _problems(log, key)
        runs += [one for one in _runs(records) if start <= one.at < end]
        deeds += [one for one in _deeds(records) if start <= one.at < end + AFTER]
    return Logged(
        runs=tuple(sorted(runs, key=lambda one: (one.at, one.name))),
        deeds=tuple(sorted(deeds, key=lambda one: (one.at, one.model))),
        problems=tuple(problems),
        logs=count,
    )


def _problems(log: Path, key: bytes) -> Iterator[str]:
    """What is wrong with a log, in one line."""
    verified = evidence.verify(log, key=key)
    if verified.problems:
        count = len(verified.problems)
        words = "a problem" if count == 1 else f"{count} problems"
        yield f"{log}: {words} with the evidence, the first: {verified.problems[0].message}"
    elif not verified.records:
        yield f"{log}: the evidence has no records"


def _at(record: evidence.Record) -> float:
    return datetime.fromisoformat(record.at).timestamp()


def _runs(records: Sequence[evidence.Record]) -> Iterator[Run]:
    names: dict[str, str] = {}
    for one in records:
        data = one.data
        if one.kind == RUN_REQUESTED:
            names[str(data.get("run"))] = str(data.get("experiment", ""))
        elif one.kind == RUN_ENDED:
            name = names.get(str(data.get("run")), "")
            yield Run(kind="experiment", name=name, store="", at=_at(one), verdict=str(data.get("verdict", "")))
        elif one.kind == DRILL_ENDED:
            drill, store = str(data.get("drill", "")), str(data.get("store", ""))
            yield Run(
                kind="recovery", name=drill, store=store, at=_at(one), verdict=str(data.get("verdict", "")).lower()
            )


def _deeds(records: Sequence[evidence.Record]) -> Iterator[Deed]:
    models: dict[str, str] = {}
    for one in records:
        data = one.data
        if one.kind == LOOP_BEGAN:
            models[str(data.get("episode"))] = str(data.get("model", ""))
        model = models.get(str(data.get("episode")), "")
        if one.kind == LOOP_ASKED and model:
            yield Deed(what="a retraining was asked for", model=model, at=_at(one))
        elif one.kind == LOOP_STEP and model and data.get("step") in STEPS:
            yield Deed(what=f"a version was {str(data['step']).replace('_', ' ')}", model=model, at=_at(one))


def of_firing(
    one: Firing, silences: Sequence[alertmanager.Silence], deeds: Sequence[Deed], *, now: float, has_logs: bool
) -> str | None:
    """What shows that somebody acted: empty for nothing, None where it would not be known."""
    labels = {"alertname": one.alert, "severity": one.severity, "owner": one.owner, "model": one.subject}
    for silence in silences:
        overlaps = silence.starts_at.timestamp() <= one.end + AFTER and silence.ends_at.timestamp() >= one.start
        if overlaps and silence.comment.strip() and alertmanager.fits(silence.matchers, {**labels, "slo": one.slo}):
            return f"silenced by {silence.created_by or 'nobody'}"
    for deed in deeds:
        if deed.model == one.subject and one.start <= deed.at <= one.end + AFTER:
            return deed.what
    is_known = (has_logs and bool(one.subject)) or one.start >= now - RETENTION
    return "" if is_known else None
