"""A platform with a loop, episodes from records, and stand-ins for Prometheus and the owners of steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from midwatch import metrics
from midwatch.errors import MidwatchError
from midwatch.prometheus import Line, Sample
from midwatch.spec import load
from midwatch.spec.model import Platform
from monitors.drift.episodes import Trigger, id_of
from monitors.loop.episode import Asked, Asking, Began, Episode, Record, Result, Seen, Step, applied
from monitors.loop.owner import Place, Sight
from tests.conftest import platform_document

DETECTED = 1000.0
ID = id_of("fraud", "v3", DETECTED)
SECRET = b"a secret of some length"


def document(target: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    written = platform_document(**{"loop": {"interval": "1s"}} | changes)
    written["prometheus"] = {"scrape_interval": "5s"}
    written["models"][0]["drift"] = {
        "reference": "r.npz",
        "features": {"amount": "numeric"},
        "window": "1m",
        "retrain": {"after": "2 windows", "cooldown": "1h"} | (target or webhook()),
    }
    return written


def webhook() -> dict[str, Any]:
    return {"webhook": {"url_file": "url", "secret_file": "secret"}}


def pipeline_run() -> dict[str, Any]:
    return {"pipeline_run": {"namespace": "training", "pipeline": "train"}}


def platform(folder: Path, written: dict[str, Any] | None = None, url: str = "http://127.0.0.1:1") -> Platform:
    (folder / "url").write_text(url + "/hook\n")
    (folder / "secret").write_bytes(SECRET + b"\n")
    (folder / "platform.yaml").write_text(yaml.safe_dump(written or document(), sort_keys=False))
    return load.load_platform(folder / "platform.yaml")


def place(platform: Platform, client: Any = None) -> Place:
    return Place(platform=platform, model=platform.models[0], client=client)


# Episodes ----------------------------------------------------------------------------------------------------------


def began() -> Began:
    return Began(
        episode=ID, model="fraud", version="v3", onset=940.0, detected=DETECTED, seen=1001.0, features=("amount",)
    )


def seen(step: Step, at: float | None, result: Result = Result.DONE, **more: Any) -> Seen:
    given = {"source": "test", "id": "x", "seen": at or 0.0} | more
    return Seen(episode=ID, step=step, result=result, at=at, **given)


def registered(at: float = 1200.0) -> Seen:
    return seen(Step.REGISTERED, at, source="mlflow", id="4", facts={"served_as": "v4", "run_id": "r"})


def asked(request: str = "7", at: float = 1100.0) -> tuple[Record, ...]:
    return (
        Asking(episode=ID, attempt=1, at=at),
        Asked(episode=ID, result=Trigger.SENT, said="202", at=at, request=request),
        seen(Step.ASKED, at, source="webhook", id=request),
    )


def episode(*records: Record) -> Episode:
    episodes: dict[str, Episode] = {}
    for record in (began(), *records):
        applied(episodes, record)
    return episodes[ID]


# Prometheus and owners ---------------------------------------------------------------------------------------------


@dataclass
class Judges:
    """What drift judges publish of versions: windows of drift that hold, 0 for calm. Stands in for Prometheus."""

    holding: dict[str, int] = field(default_factory=dict)
    detected: dict[str, float] = field(default_factory=dict)
    is_down: bool = False

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        if self.is_down:
            raise MidwatchError("Prometheus does not answer")
        name = str(expr).partition("{")[0]
        values = {
            metrics.DRIFT_EPISODE.name: {version: float(count > 0) for version, count in self.holding.items()},
            metrics.DRIFT_EPISODE_ONSET.name: {version: self._detected(version) - 60 for version in self._drifting()},
            metrics.DRIFT_EPISODE_DETECTED.name: {version: self._detected(version) for version in self._drifting()},
            metrics.DRIFT_EPISODE_WINDOWS.name: {version: float(self.holding[version]) for version in self._drifting()},
            metrics.DRIFT_VOTE.name: dict.fromkeys(self._drifting(), 1.0),
        }[name]
        return [
            Sample(labels={"version": version, "feature": "amount"}, value=value, time=0.0)
            for version, value in values.items()
        ]

    def _drifting(self) -> list[str]:
        return [version for version, count in self.holding.items() if count]

    def _detected(self, version: str) -> float:
        return self.detected.get(version, DETECTED)

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        return []

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        return []

    def value(self, expr: object, *, at: float | None = None) -> float | None:
        return None


class Says:
    """An owner that says what it was told to."""

    def __init__(self, source: str, *steps: Step) -> None:
        self.source, self.steps = source, frozenset(steps)
        self.sights: list[Sight] = []
        self.error: Exception | None = None

    def tell(self, *sights: Sight) -> None:
        self.sights += sights

    def look(self, episode: Episode, now: float) -> Sequence[Sight]:
        if self.error is not None:
            raise self.error
        return list(self.sights)


def sight(step: Step, at: float | None = None, result: Result = Result.DONE, **more: Any) -> Sight:
    return Sight(**({"step": step, "result": result, "id": "x", "at": at} | more))


def steps_of(found: Iterable[Seen]) -> list[tuple[str, str, str]]:
    return [(one.step.value, one.result.value, one.source) for one in found]
