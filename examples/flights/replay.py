"""Replay the flights from September on in time order, quicker, through the model servers; send the labels.

An hour or longer is calm traffic, for experiments. Else there is a story, in shares of the duration: v3, a good
release, gets a share of the traffic; meanwhile the feature pipeline switches to metric units, for v1 and v3 alike;
calm; v2, a bad release, gets a share; calm. A label is sent when the flight would have landed at the replay's pace.
Progress: JSON lines on standard output.
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
from typing import Any

import aiohttp
import data
import serve

from midwatch.client import EventLog, Label, Prediction

FAULT = (0.18, 0.50)
"""Share of the duration in which the feature pipeline speaks metric: what a change of units upstream does."""
CANARIES = {"v3": (0.03, 0.48), "v2": (0.58, 0.80)}
"""Share of the duration in which a version answers CANARY_SHARE of the requests."""
CANARY_SHARE = 0.4
ENDLESS_SECONDS = 3600.0
"""A replay so long has no story: it is calm and repeats its first month, a steady state for experiments."""
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


def phase_at(share: float) -> str:
    """Phase of the story at a share of the duration."""
    if FAULT[0] <= share < FAULT[1]:
        return "unit fault"
    canary = canary_at(share)
    return f"{canary} canary" if canary else "calm"


def canary_at(share: float) -> str | None:
    """Version that is tried at a share of the duration, if any."""
    return next((version for version, (begin, end) in CANARIES.items() if begin <= share < end), None)


def to_metric(features: dict[str, Any]) -> dict[str, Any]:
    """Features in metric units: kilometres, Celsius, km/h, millimetres."""
    changed = dict(features)
    for name, convert in {
        "distance": lambda value: value * 1.609344,
        "temp": lambda value: (value - 32) / 1.8,
        "wind_speed": lambda value: value * 1.609344,
        "visib": lambda value: value * 1.609344,
        "precip": lambda value: value * 25.4,
    }.items():
        if changed[name] is not None:
            changed[name] = convert(changed[name])
    return changed


def features_at(features: dict[str, Any], share: float) -> dict[str, Any]:
    """Features that the platform sees at a share of the duration."""
    return to_metric(features) if phase_at(share) == "unit fault" else features


def version_at(index: int, share: float) -> str:
    """Version that answers the request of this index: every so many go to the one that is tried."""
    return (canary_at(share) or "v1") if (index * CANARY_SHARE) % 1 < CANARY_SHARE else "v1"


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

    def __init__(self, servers: dict[str, str], exporter: str, duration: float, rate: float) -> None:
        self._servers, self._duration, self._rate = servers, duration, rate
        self._labels: list[tuple[float, int, str, str]] = []
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
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MAX_IN_FLIGHT)) as session:
            for index in range(self._count):
                row = self._rows[index % len(self._rows)]
                due = begun + index / self._rate
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                elif self._is_calm and wait < -MOST_BEHIND:
                    begun -= wait
                share = 0.0 if self._is_calm else index / self._count
                self.progress.share, self.progress.phase = index / self._count, phase_at(share)
                self.progress.date = str(row["departs"].date())
                await self._open.acquire()
                task = asyncio.create_task(self._predict(session, index, row, share))
                pending.add(task)
                task.add_done_callback(pending.discard)
                self._send_due(time.monotonic())
            await asyncio.gather(*pending)
        self.progress.share = 1.0
        while self._labels:
            self._send_due(time.monotonic())
            await asyncio.sleep(0.05)
        reporting.cancel()
        stats = await self._log.aclose()
        print(
            json.dumps({**asdict(self.progress), "final": True, "labels_acknowledged": stats.acknowledged}), flush=True
        )

    async def _predict(self, session: aiohttp.ClientSession, index: int, row: dict[str, Any], share: float) -> None:
        body = {"instances": [features_at(clean(row), share)]}
        version, begun = version_at(index, share), time.monotonic()
        self.progress.sent += 1
        try:
            async with session.post(self._servers[version] + serve.PATH, json=body) as response:
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
        heapq.heappush(self._labels, (lands, index, answer["id"], "late" if row["late"] else "on_time"))

    def _send_due(self, now: float) -> None:
        while self._labels and self._labels[0][0] <= now:
            _, _, identifier, label = heapq.heappop(self._labels)
            self._log.send(Label(id=identifier, model=serve.MODEL, label=label, ts=time.time()))
            self.progress.labels += 1

    async def _report(self) -> None:
        while True:
            print(json.dumps(asdict(self.progress)), flush=True)
            await asyncio.sleep(0.5)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", action="append", required=True, help="VERSION=URL")
    parser.add_argument("--exporter", required=True, help="URL of the exporter")
    parser.add_argument("--duration", type=float, required=True, help="seconds")
    parser.add_argument("--rate", type=float, help=f"requests per second; {STORY_RATE:g}, and {CALM_RATE:g} when calm")
    given = parser.parse_args()
    servers = dict(text.split("=", 1) for text in given.server)
    rate = given.rate or (CALM_RATE if given.duration >= ENDLESS_SECONDS else STORY_RATE)

    async def run() -> None:
        await Replay(servers, given.exporter, given.duration, rate).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
