"""The gate's HTTP service: a verdict on a canary for whoever asks before sending it more traffic.

A question it understands is answered with 200 and a verdict in time, whatever becomes of Prometheus: undecided is an
answer. It keeps no state but its metrics and the record of its verdicts; the judge is `monitors.canary`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from midwatch import exposition, http_access, http_server
from midwatch.errors import InvalidInputError
from midwatch.evidence import EvidenceError
from midwatch.prometheus import Client
from midwatch.spec import canary as spec
from midwatch.spec import model as platform_spec
from monitors.canary import ask, band, document, judge
from monitors.canary.counts import Counts
from monitors.canary.judge import Judgement
from monitors.canary.question import Question
from monitors.gate import parsing
from monitors.gate.published import Published
from monitors.gate.verdict_log import VerdictLog

MAX_BODY = 64 * 1024
MAX_WAITING = 64
"""Questions that are worked on or wait; one more is answered at once, as undecided."""
WORKERS = 8

_JSON = "application/json"
_log = logging.getLogger(__name__)


Judged = tuple[Counts, Judgement, dict[str, Any]]
"""Counts, judgement, and the answer that is made of them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve. `deadline` is seconds until a question is answered, decided or not."""

    host: str
    port: int
    platform: platform_spec.Platform
    audit: Path
    deadline: float = 0.8
    token: bytes | None = None


class Gate:
    """One gate."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._verdicts = VerdictLog(options.audit)
        self._failing = ""
        url, timeout = options.platform.prometheus.url, min(options.deadline, options.platform.prometheus.timeout)
        self._client = Client(url, timeout=timeout, retries=0)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="judge")
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="record")  # one: a record follows the one before it
        self._working: dict[Question, asyncio.Future[Judged]] = {}
        self._connections = http_server.Connections(
            self._handle, http_server.Limits(max_body=MAX_BODY, max_connections=1000)
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self.published = Published()

    # Life --------------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; `started` is called with the URL. ServeError when the port is taken."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        try:
            server = await loop.create_server(self._connections.protocol, self._options.host, self._options.port)
        except OSError as error:
            where = f"{self._options.host}:{self._options.port}"
            raise http_access.ServeError(f"{where}: {error.strerror}; choose another with --listen") from error
        await loop.run_in_executor(self._workers, self._warm_up)
        expiry = asyncio.create_task(self._connections.expire())
        host, port = server.sockets[0].getsockname()[:2]
        started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        await stop.wait()
        server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections.close()
        expiry.cancel()
        await asyncio.gather(expiry, return_exceptions=True)
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._recorder.shutdown()
        self._verdicts.close()

    def _warm_up(self) -> None:
        """Compute and import what the first question would wait for."""
        self._client.prepare()
        for model in self._options.platform.models:
            if model.canary is not None:
                band.constant(float(model.canary.false_alarm) / 2)

    # Requests ----------------------------------------------------------------------------------------------------

    def _handle(self, request: http_server.Request, respond: http_server.Respond) -> None:
        if request.path == b"/healthz":
            respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
        elif request.path == b"/readyz":
            self._ready(respond)
        elif self._options.token is not None and not http_access.is_bearer(request.headers, self._options.token):
            _error(respond, HTTPStatus.UNAUTHORIZED, "a bearer token is needed")
        elif request.path == b"/metrics":
            respond(HTTPStatus.OK, exposition.render(self.published.families()), exposition.CONTENT_TYPE)
        elif request.path != b"/verdict":
            _error(respond, HTTPStatus.NOT_FOUND, "there are /verdict, /metrics, /healthz and /readyz")
        elif request.method not in (b"GET", b"POST"):
            _error(respond, HTTPStatus.METHOD_NOT_ALLOWED, "ask by GET or POST")
        else:
            task = asyncio.get_running_loop().create_task(self._verdict(request, respond))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _ready(self, respond: http_server.Respond) -> None:
        if self._failing:
            _error(respond, HTTPStatus.SERVICE_UNAVAILABLE, f"verdicts cannot be recorded: {self._failing}")
        else:
            respond(HTTPStatus.OK, b'{"status":"ready"}', _JSON)

    async def _verdict(self, request: http_server.Request, respond: http_server.Respond) -> None:
        begun = time.perf_counter()
        try:
            question = parsing.parse(request)
            settings, interval = ask.settings_of(self._options.platform, question.model)
            question = replace(question, served=ask.served_by(self._options.platform, question.model))
        except (parsing.QuestionError, InvalidInputError) as error:
            self.published.count("refused", time.perf_counter() - begun)
            _error(respond, HTTPStatus.BAD_REQUEST, str(error))
            return
        counts, judgement, answer = await self._judged(question, settings, interval)
        answer = await asyncio.get_running_loop().run_in_executor(self._recorder, self._recorded, question, answer)
        self.published.publish(counts, judgement, answer["verdict"])
        respond(HTTPStatus.OK, json.dumps(answer).encode(), _JSON)
        self.published.count(answer["verdict"], time.perf_counter() - begun)

    async def _judged(self, question: Question, settings: spec.Canary, interval: float) -> Judged:
        work = self._working.get(question)
        if work is None:
            if len(self._working) >= MAX_WAITING:
                why = f"the gate is busy with {len(self._working)} questions"
                return _undecided(question, settings, interval, why)
            work = asyncio.get_running_loop().run_in_executor(self._workers, self._judge, question, settings, interval)
            self._working[question] = work  # who asks the same meanwhile gets the same answer
            work.add_done_callback(lambda done: self._done(question, done))
        try:
            return await asyncio.wait_for(asyncio.shield(work), self._options.deadline)
        except TimeoutError:
            why = f"Prometheus has not answered within {self._options.deadline:g} s"
            return _undecided(question, settings, interval, why)
        except Exception as error:  # a bug in the judge must hold the rollout, not abort it
            _log.exception("judging failed")
            return _undecided(question, settings, interval, f"the judge failed: {type(error).__name__}")

    def _judge(self, question: Question, settings: spec.Canary, interval: float) -> Judged:
        counts, judgement = ask.ask(self._client, question, settings, interval=interval)
        return counts, judgement, document.answer(counts, settings, judgement)

    def _done(self, question: Question, work: asyncio.Future[Any]) -> None:
        del self._working[question]
        if not work.cancelled():
            work.exception()  # seen, also when nobody waits for it any more

    def _recorded(self, question: Question, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer once it is recorded; what cannot be recorded is not decided."""
        try:
            self._verdicts.append(question, answer)
            self._failing = ""
        except EvidenceError as error:
            self._failing = str(error)
            return {**answer, "verdict": "inconclusive", "reason": f"the verdict cannot be recorded: {error}"}
        return answer


def _undecided(question: Question, settings: spec.Canary, interval: float, why: str) -> Judged:
    counts = ask.unanswered(question, interval, why)
    judgement = judge.judge(counts, settings)
    return counts, judgement, document.answer(counts, settings, judgement)


def _error(respond: http_server.Respond, status: HTTPStatus, text: str) -> None:
    respond(status, json.dumps({"error": text}).encode(), _JSON)
