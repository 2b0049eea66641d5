"""Keeps the drift judge running beside the exporter, and holds what it said last."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import msgspec

from exporters.events import store
from midwatch import metrics, modules
from midwatch.exposition import Sample

PAUSE = 1.0, 30.0
"""Seconds before the judge is started again: first, and at the most."""

MAX_LINE = 16 * 2**20
"""Bytes of one line of the judge, which holds all its metrics."""

_log = logging.getLogger(__name__)


class _Line(msgspec.Struct):
    samples: list[tuple[str, dict[str, str], float]]


class Supervisor:
    """The judge of one exporter's journal."""

    def __init__(self, state: Path, platform_file: Path | None) -> None:
        self._state, self._platform_file = state, platform_file
        self._is_up = False
        self._last: list[Sample] = []

    async def run(self) -> None:
        """Run the judge, and run it again when it ends, until this is cancelled."""
        pause = PAUSE[0]
        while True:
            begun = time.monotonic()
            await self._run_once()
            pause = PAUSE[0] if time.monotonic() - begun > PAUSE[1] else min(pause * 2, PAUSE[1])
            await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        command = modules.command(
            "exporters.drift.worker", "--state", str(self._state), "--platform", str(self._platform_file)
        )
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_LINE
        )
        try:
            self._is_up = True
            await self._listen(process)
            _log.error("the drift judge ended with code %s", await process.wait())
        finally:
            self._is_up = False
            if process.returncode is None:
                process.terminate()
                await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        stdout = process.stdout
        while stdout is not None and (text := await stdout.readline()):
            try:
                line = msgspec.json.decode(text, type=_Line)
                self._last = [(metrics.CATALOGUE[name], labels, value) for name, labels, value in line.samples]
            except (msgspec.MsgspecError, KeyError) as error:
                _log.error("the drift judge said something unreadable: %s", error)

    def samples(self) -> list[Sample]:
        """What the judge said last, whether it runs, and what it has yet to read."""
        position = store.read_position(self._state / "drift" / "position.json")
        backlog = store.backlog(self._state, position) if position else 0
        return [
            (metrics.DRIFT_WORKER_UP, {}, int(self._is_up)),
            (metrics.DRIFT_WORKER_BACKLOG, {}, backlog),
            *self._last,
        ]
