"""Loading a file of events into a running exporter, or into the state folder of one that is stopped.

What was kept before is a duplicate, so a load that was cut off is begun again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3

from exporters.event_files import EventFile
from exporters.events import bodies
from exporters.events.bodies import Refused
from exporters.events.ingest import Answer, Batch, Ingest
from exporters.events.privacy import Privacy
from exporters.events.reasons import Reason
from exporters.events.store import Store
from midwatch.errors import MidwatchError
from midwatch.spec import model as spec

SHOWN = 20
"""Refused rows that are shown."""

_ANSWER = msgspec.json.Decoder(Answer)

Send = Callable[[bytes], Answer]
"""Gives lines of NDJSON to an exporter."""


class LoadError(MidwatchError):
    """The exporter cannot be reached, or takes nothing."""


@dataclass(kw_only=True)
class Summary:
    """What became of a file's events; `refused` has the first of them, `row` is a line of text or a row of Parquet."""

    accepted: int = 0
    duplicates: int = 0
    dropped: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    first_refused: list[dict[str, Any]] = field(default_factory=list)

    def add(self, answer: Answer, rows: list[int]) -> None:
        """Count what was answered to a piece; `rows` has the row of each of its lines."""
        self.accepted += answer.accepted
        self.duplicates += answer.duplicates
        self.dropped += answer.dropped
        self.refused += len(answer.refused)
        for reason, count in (answer.unlisted or {}).items():
            self.refused += count
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        for refused in answer.refused:
            self.reasons[refused.reason] = self.reasons.get(refused.reason, 0) + 1
            if len(self.first_refused) < SHOWN:
                row = rows[refused.line - 1] if 0 < refused.line <= len(rows) else refused.line
                self.first_refused.append({"row": row, "reason": str(refused.reason), "message": refused.message})


def load(file: EventFile, send: Send, progress: Callable[[int, Summary], None]) -> Summary:
    """Send a file's events in order; `progress` is called with the position after each piece."""
    summary = Summary()
    for piece in file.pieces:
        summary.add(send(piece.body), piece.rows)
        progress(piece.position, summary)
    return summary


# A running exporter ------------------------------------------------------------------------------------------------


@contextmanager
def running(
    url: str, token: str | None, patience_seconds: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Send]:
    """Send to an exporter's URL; what it cannot take now is sent again for as long as patience lasts."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise LoadError(f"{url}: no URL; write http://HOST:PORT of the exporter")
    target = f"{url.rstrip('/')}/events?{bodies.FILE_QUERY}"
    headers = {"content-type": "application/x-ndjson"} | ({"authorization": f"Bearer {token}"} if token else {})
    with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(30)) as pool:

        def send(body: bytes) -> Answer:
            deadline, pause = time.monotonic() + patience_seconds, 0.25
            while True:
                try:
                    answer = _answered(pool.request("POST", target, body=body, headers=headers), url)
                except urllib3.exceptions.HTTPError as error:
                    reason = str(error)
                else:
                    if answer.error is None:
                        return answer
                    reason = answer.error
                if time.monotonic() + pause > deadline:
                    raise LoadError(f"{url} takes no events: {reason}; load the file again, what is kept is known")
                sleep(pause)
                pause = min(2 * pause, 5.0)

        yield send


def _answered(response: urllib3.BaseHTTPResponse, url: str) -> Answer:
    """What the exporter answered; LoadError when sending again would not help."""
    if response.status in (HTTPStatus.OK, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE):
        try:
            return _ANSWER.decode(response.data)
        except msgspec.MsgspecError as error:
            raise LoadError(f"{url} answers {response.status} and no exporter's answer: {error}") from error
    text = response.data[:200].decode("utf-8", "replace")
    raise LoadError(f"{url} answers {response.status}: {text}")


# A state folder ----------------------------------------------------------------------------------------------------


@contextmanager
def state_folder(
    folder: Path, settings: spec.Exporter, models: tuple[spec.Model, ...], privacy: Privacy | None
) -> Iterator[Send]:
    """Write to the state folder of an exporter that does not run; MidwatchError when one does."""
    store = Store(folder, settings, models)
    ingest = Ingest(store, settings, models, privacy)
    with asyncio.Runner() as runner:

        async def take(body: bytes) -> Answer:
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            try:
                items, refused = bodies.decode(body)
            except bodies.BodyError as error:
                return Answer(refused=[Refused(1, Reason.NOT_JSON, str(error))])
            reply = answered.set_result
            ingest.submit(Batch(items=items, refused=refused, reply=reply, loaded=True, size=len(body)))
            answer = await answered
            if answer.error:
                raise LoadError(f"{folder}: {answer.error}; load the file again, what is kept is known")
            return answer

        async def begin() -> asyncio.Task[None]:
            return asyncio.create_task(ingest.run())

        async def end() -> None:
            ingest.stop()
            await committer

        committer = runner.run(begin())
        try:
            yield lambda body: runner.run(take(body))
        finally:
            runner.run(end())
            store.close(ingest.now())
