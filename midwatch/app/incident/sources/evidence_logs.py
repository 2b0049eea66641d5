"""Changes that evidence logs keep: canaries at the gate, experiments, drills, retrainings, promotions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from midwatch import evidence
from midwatch.app.incident.asked import Asked, Found, Question
from midwatch.errors import MidwatchError
from midwatch.evidence import Record
from midwatch.spec.model import Platform
from monitors.incident.records import Change, Kind, Unanswered

PATTERNS = ("*.jsonl", "*.ndjson")
MOST_LOGS = 50
MOST_BYTES = 64 << 20
"""A larger log is not read within the time that an answer may take."""


def questions(asked: Asked) -> Iterator[Question]:
    """A question for each log that was named, or lies in a folder that was."""
    logs = [log for path in asked.evidence for log in _logs(path)]
    for log in logs[:MOST_LOGS]:
        yield Question(source=f"evidence: {log}", ask=partial(_changes, log, asked))
    if len(logs) > MOST_LOGS:
        left = Unanswered(source="evidence", reason=f"{len(logs)} logs; only {MOST_LOGS} were read")
        yield Question(source="evidence", ask=lambda: iter([left]))


def _logs(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted({log for pattern in PATTERNS for log in path.rglob(pattern)})


def _changes(log: Path, asked: Asked) -> Found:
    if not log.exists():
        yield Unanswered(source=f"evidence: {log}", reason="it is not there")
        return
    if log.stat().st_size > MOST_BYTES:
        yield Unanswered(source=f"evidence: {log}", reason=f"it has more than {MOST_BYTES >> 20} MiB")
        return
    try:
        records = evidence.read(log)
    except MidwatchError as error:
        yield Unanswered(source=f"evidence: {log}", reason=str(error))
        return
    episodes = {str(one.data.get("episode")): str(one.data.get("model")) for one in records if one.kind == BEGAN}
    told: dict[tuple[str, ...], float] = {}
    for record in records:
        at = _time(record)
        reader = READERS.get(record.kind)
        if reader is None or at is None or not asked.start <= at <= asked.end:
            continue
        try:
            change = reader(Told(platform=asked.platform, data=record.data, at=at, episodes=episodes))
        except (KeyError, TypeError, ValueError, AttributeError):
            yield Unanswered(source=f"evidence: {log}", reason=f"record {record.seq} is not what {record.kind} has")
            continue
        if change is None:
            continue
        key = (change.kind, change.what)
        if at - told.get(key, -AGAIN_SECONDS) >= AGAIN_SECONDS:
            yield _ended(change, records, record)
        told[key] = at


AGAIN_SECONDS = 1800.0
"""A canary is asked about at each step: what was told so long ago is told anew."""


def _time(record: Record) -> float | None:
    try:
        return datetime.fromisoformat(record.at).timestamp()
    except ValueError:
        return None


def _ended(change: Change, records: list[Record], began: Record) -> Change:
    """The change with its end, where a later record of the same run tells it."""
    run = began.data.get("run")
    ends = [one for one in records if run is not None and one.kind in ENDS and one.data.get("run") == run]
    at = _time(ends[-1]) if ends else None
    return change if at is None else Change(**{**_fields(change), "ended": at})


def _fields(change: Change) -> dict[str, Any]:
    return {name: getattr(change, name) for name in change.__struct_fields__}


ENDS = frozenset({"run-ended", "drill-ended", "drill-aborted"})
"""Kinds of records by which an experiment or a drill is over."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A record's data, when it was written, the platform that it is about, and models of the loop's episodes."""

    platform: Platform
    data: Mapping[str, Any]
    at: float
    episodes: Mapping[str, str]


def _canary(told: Told) -> Change:
    question = told.data["asked"]
    model, baseline, canary = (str(question[name]) for name in ("model", "baseline", "canary"))
    return Change(
        kind=Kind.CANARY,
        at=told.at,
        latest=told.at,
        what=f"canary {canary} of {model} beside {baseline}",
        source="evidence of the gate",
        scope={"model": model, "version": canary},
    )


def _experiment(told: Told) -> Change:
    name = str(told.data["experiment"])
    return Change(
        kind=Kind.EXPERIMENT,
        at=told.at,
        latest=told.at,
        what=f"chaos experiment {name}",
        source="evidence of chaos",
        scope=_target(told.platform, name),
        undo="midwatch chaos stop",
    )


def _target(platform: Platform, name: str) -> dict[str, str]:
    """The model and version that an experiment hits, as the platform file says."""
    experiments = platform.chaos.experiments if platform.chaos else []
    target = next((getattr(one, "target", None) for one in experiments if one.title == name), None)
    server = next((one for one in platform.local.servers if one.name == target), None)
    if server is None or server.model is None:
        return {"experiment": name}
    return {"model": server.model, **({"version": server.version} if server.version else {})}


def _drill(told: Told) -> Change:
    name = str(told.data.get("drill") or told.data["name"])
    return Change(
        kind=Kind.DRILL,
        at=told.at,
        latest=told.at,
        what=f"recovery drill {name}",
        source="evidence of drills",
        scope={"store": str(told.data.get("store") or name)},
        undo="midwatch dr status",
    )


def _retraining(told: Told) -> Change:
    return Change(
        kind=Kind.RETRAINING,
        at=told.at,
        latest=told.at,
        what=f"a retraining of {told.data['model']} was asked for",
        source="evidence of retraining",
        scope={"model": str(told.data["model"])},
    )


def _promotion(told: Told) -> Change:
    model, role = str(told.data["model"]), str(told.data["role"])
    after, before = (", ".join(map(str, told.data[name])) or "no version" for name in ("after", "before"))
    looked = told.data["last_seen"]
    if looked is None:
        raise ValueError("the first look is no change")
    return Change(
        kind=Kind.PROMOTION,
        at=float(looked),
        latest=float(told.data["seen"]),
        what=f"{role} of {model}: {before} became {after}",
        source="evidence of the registry",
        scope={"model": model},
    )


def _drift(told: Told) -> Change:
    model, version = str(told.data["model"]), str(told.data["version"])
    return Change(
        kind=Kind.DRIFT,
        at=float(told.data["onset"]),
        latest=float(told.data["detected"]),
        what=f"inputs of {model} {version} drifted",
        source="evidence of the loop",
        scope={"model": model, "version": version},
    )


STEPS = {
    "run_started": (Kind.RETRAINING, "a retraining of {model} ran"),
    "canary_begun": (Kind.CANARY, "the retrained version of {model} began as a canary"),
    "promoted": (Kind.PROMOTION, "the retrained version of {model} was promoted"),
    "all_traffic": (Kind.DEPLOYMENT, "the retrained version of {model} got all traffic"),
    "rolled_back": (Kind.ROLLBACK, "the retrained version of {model} was rolled back"),
}
"""Steps of the loop that change what serves; the others only look."""


def _step(told: Told) -> Change | None:
    if told.data["step"] not in STEPS or told.data["result"] != "done":
        return None
    kind, words = STEPS[told.data["step"]]
    model = told.episodes[str(told.data["episode"])]
    at = told.data["at"]
    seen = float(told.data["seen"])
    earliest = told.data.get("not_before")
    return Change(
        kind=kind,
        at=float(at if at is not None else seen if earliest is None else earliest),
        latest=float(seen if at is None else at),
        what=words.format(model=model),
        source=f"evidence of the loop ({told.data['source']})",
        scope={"model": model},
    )


BEGAN = "loop-episode-began"

READERS: Mapping[str, Callable[[Told], Change | None]] = {
    "verdict": _canary,
    "run-requested": _experiment,
    "drill-started": _drill,
    "sent": _retraining,
    "registry-role-changed": _promotion,
    BEGAN: _drift,
    "loop-step": _step,
}
"""What each kind of record says has changed; others say nothing of the platform."""
