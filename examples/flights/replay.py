"""Replay the flights from September on in time order, quicker, through the model servers; send the labels.

An hour or longer is calm traffic, for experiments. Else there is a story. A good release v3 and a bad one v2 each get a
share of the traffic for a while. And a release of the feature pipeline switches to metric units: in a run of less than
LOOP_SECONDS it is taken back soon, in a longer one it stays, and a model that was trained again on metric features
cures it: which share of the traffic that one gets is not ours to say (`rollout.py`). A label is sent when the flight
would have landed at the replay's pace. Progress: JSON lines on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import math
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
import data
import features
import rollout
import serve
import warehouse

from midwatch.client import EventLog, Label, Prediction

CANARY_SHARE = 0.4
ENDLESS_SECONDS = 3600.0
"""A replay so long has no story: it is calm and repeats its first month, a steady state for experiments."""
LOOP_SECONDS = 120.0
"""Shortest run in which a retraining can be asked for, done, tried and promoted."""
MOST_FAULT = 8.0
"""Longest time of metric units in a shorter run: in no four windows, which would have a retraining begin, even if some
requests are 2 s late."""
STORY_RATE, CALM_RATE = 250.0, 100.0
"""Requests per second; a steady state leaves room for experiments and drills on the same two cores."""
MOST_BEHIND = 0.1
"""Seconds; a steady state does not hurry after what a slow start has left undone."""
MAX_IN_FLIGHT = 200
"""Requests open at once; beyond it the replay waits, so that the load is bounded."""


@dataclass
class Progress:
    """What has happened so far."""

    sent: int = 0
    ok: int = 0
    errors: int = 0
    labels: int = 0
    never: int = 0
    date: str = ""
    phase: str = "calm"
    share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A prediction that waits for its label, as the warehouse keeps it."""

    id: str
    at: float
    version: str
    release: str
    features: dict[str, Any]
    prediction: str
    late: bool


@dataclass(frozen=True, kw_only=True)
class Story:
    """What happens when, in seconds since the start; an interval's end is not in it."""

    metric: tuple[float, float]
    """When the feature pipeline speaks metric."""
    canaries: dict[str, tuple[float, float]]
    """When a version answers CANARY_SHARE of the requests."""
    has_loop: bool = False

    def release_at(self, now: float) -> str:
        """Release of the feature pipeline."""
        return features.METRIC if self.metric[0] <= now < self.metric[1] else features.IMPERIAL

    def canary_at(self, now: float) -> str | None:
        """Version that is tried, if any."""
        return next((version for version, (begin, end) in self.canaries.items() if begin <= now < end), None)

    def phase_at(self, now: float) -> str:
        """What to call it."""
        canary = self.canary_at(now)
        metric = self.release_at(now) == features.METRIC
        parts = ["metric units"] if metric else []
        return ", ".join([*parts, *([f"{canary} canary"] if canary else [])]) or "calm"


CALM = Story(metric=(math.inf, math.inf), canaries={})


def story_of(seconds: float) -> Story:
    """The story of a run of so many seconds."""
    if seconds >= ENDLESS_SECONDS:
        return CALM
    if seconds >= LOOP_SECONDS:
        return Story(metric=(36.0, math.inf), canaries={"v3": (2.0, 22.0), "v2": (24.0, 34.0)}, has_loop=True)
    fault = (0.18 * seconds, min(0.5 * seconds, 0.18 * seconds + MOST_FAULT))
    return Story(
        metric=fault, canaries={"v3": (0.03 * seconds, 0.48 * seconds), "v2": (0.58 * seconds, 0.80 * seconds)}
    )


class Router:
    """Which version answers a request: shares of the traffic are the story's, or those that a rollout has written."""

    def __init__(self, story: Story, folder: Path | None) -> None:
        self._story, self._folder = story, folder
        self._shares: dict[str, float] = {}

    def look(self) -> None:
        """See what a rollout has written."""
        if self._folder is not None:
            self._shares = rollout.read_shares(self._folder)

    def version_at(self, index: int, now: float) -> str:
        """The version for the request of this index: every so many go to one that is tried."""
        canary = self._story.canary_at(now)
        shares = {canary: CANARY_SHARE} if canary else self._shares
        for version, share in shares.items():
            if (index * share) % 1 < share:
                return version
        return "v1"


def _failed(version: str, seconds: float) -> Prediction:
    """What a client tells of a request that failed: a server that is gone cannot."""
    return Prediction(
        id=str(uuid.uuid4()),
        model=serve.MODEL,
        version=version,
        ts=time.time(),
        outcome="error",
        duration_seconds=seconds,
    )


def clean(row: dict[str, Any]) -> dict[str, Any]:
    """Features of a table's row, NaN as None."""
    return {
        name: None if isinstance(row[name], float) and math.isnan(row[name]) else row[name] for name in data.FEATURES
    }


class Replay:
    """One run of the story."""

    def __init__(self, servers: dict[str, str], exporter: str, duration: float, rate: float, folder: Path) -> None:
        self._servers, self._duration, self._rate = servers, duration, rate
        self._story = story_of(duration)
        self._router = Router(self._story, folder if self._story.has_loop else None)
        self._folder = folder
        self._warehouse = warehouse.Writer(folder) if self._story.has_loop else None
        self._labels: list[tuple[float, int, Answered]] = []
        self._log = EventLog(exporter)
        self._open = asyncio.Semaphore(MAX_IN_FLIGHT)
        self.progress = Progress()
        table = data.load()
        after = table[~table["month"].isin(data.TRAINING_MONTHS)]
        self._is_calm = duration >= ENDLESS_SECONDS
        if self._is_calm:
            after = after[after["month"] == after["month"].iloc[0]]
        self._rows = after.head(int(duration * rate)).to_dict("records")
        self._count = int(duration * rate) if self._is_calm else len(self._rows)
        simulated = (self._rows[-1]["departs"] - self._rows[0]["departs"]).total_seconds()
        self._speed = simulated * rate / len(self._rows)

    async def run(self) -> None:
        """Replay it all; returns when each request is answered and each label due is sent."""
        begun = time.monotonic()
        pending: set[asyncio.Task[None]] = set()
        reporting = asyncio.create_task(self._report())
        features.bring_out(self._folder, features.IMPERIAL)
        release = features.IMPERIAL
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MAX_IN_FLIGHT)) as session:
            for index in range(self._count):
                row = self._rows[index % len(self._rows)]
                due = begun + index / self._rate
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                elif self._is_calm and wait < -MOST_BEHIND:
                    begun -= wait
                now = index / self._rate
                self.progress.share, self.progress.phase = index / self._count, self._story.phase_at(now)
                if self._story.release_at(now) != release:
                    release = self._story.release_at(now)
                    features.bring_out(self._folder, release)
                self.progress.date = str(row["departs"].date())
                await self._open.acquire()
                task = asyncio.create_task(self._predict(session, index, row, now))
                pending.add(task)
                task.add_done_callback(pending.discard)
                self._send_due(time.monotonic())
            await asyncio.gather(*pending)
        self.progress.share = 1.0
        while self._labels:
            self._send_due(time.monotonic())
            await asyncio.sleep(0.05)
        reporting.cancel()
        if self._warehouse is not None:
            self._warehouse.close()
        stats = await self._log.aclose()
        print(
            json.dumps({**asdict(self.progress), "final": True, "labels_acknowledged": stats.acknowledged}), flush=True
        )

    async def _predict(self, session: aiohttp.ClientSession, index: int, row: dict[str, Any], now: float) -> None:
        release = self._story.release_at(now)
        served = features.of_flight(clean(row), release)
        version, begun = self._router.version_at(index, now), time.monotonic()
        self.progress.sent += 1
        try:
            async with session.post(self._servers[version] + serve.PATH, json={"instances": [served]}) as response:
                response.raise_for_status()
                answer = (await response.json(content_type=None))["predictions"][0]
        except (aiohttp.ClientError, TimeoutError, KeyError):
            self.progress.errors += 1
            self._log.send(_failed(version, time.monotonic() - begun))
            return
        finally:
            self._open.release()
        self.progress.ok += 1
        if row["late"] is None:
            self.progress.never += 1
            return
        lands = time.monotonic() + max(0.0, row["landed_minutes"] * 60 / self._speed)
        answered = Answered(
            id=answer["id"],
            at=time.time(),
            version=version,
            release=release,
            features=served,
            prediction=answer["prediction"],
            late=bool(row["late"]),
        )
        heapq.heappush(self._labels, (lands, index, answered))

    def _send_due(self, now: float) -> None:
        while self._labels and self._labels[0][0] <= now:
            _, _, answered = heapq.heappop(self._labels)
            label = "late" if answered.late else "on_time"
            self._log.send(Label(id=answered.id, model=serve.MODEL, label=label, ts=time.time()))
            self.progress.labels += 1
            if self._warehouse is not None:
                self._warehouse.add(asdict(answered))

    async def _report(self) -> None:
        while True:
            print(json.dumps(asdict(self.progress)), flush=True)
            self._router.look()
            await asyncio.sleep(0.5)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", required=True, help="VERSION=URL")
    parser.add_argument("--exporter", required=True, help="URL of the exporter")
    parser.add_argument("--duration", type=float, required=True, help="seconds")
    parser.add_argument("--folder", type=Path, required=True, help="of the warehouse, and of what a rollout writes")
    parser.add_argument("--rate", type=float, help=f"requests per second; {STORY_RATE:g}, and {CALM_RATE:g} when calm")
    given = parser.parse_args()
    servers = dict(text.split("=", 1) for text in given.server)
    rate = given.rate or (CALM_RATE if given.duration >= ENDLESS_SECONDS else STORY_RATE)

    given.folder.mkdir(parents=True, exist_ok=True)

    async def run() -> None:
        await Replay(servers, given.exporter, given.duration, rate, given.folder).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
