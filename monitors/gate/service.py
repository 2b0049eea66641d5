"""The gate's HTTP service: a verdict on a canary for whoever asks before sending it more traffic.

A question it understands is answered with 200 and a verdict in time, whatever becomes of Prometheus, of the disk or of
the judge: undecided is an answer. `/passed` gives the same answer with a status that decides. It keeps no state but its
metrics and the record of its verdicts; the judge is `monitors.canary`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from midwatch import exposition, http_access, http_server
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.evidence import EvidenceError
from midwatch.prometheus import Client, Line, Sample
from midwatch.spec import canary as spec
from midwatch.spec import model as platform_spec
from monitors.canary import ask, band, document, judge
from monitors.canary.counts import Counts
from monitors.canary.fetch import SETTLE_SECONDS
from monitors.canary.findings import Verdict
from monitors.canary.finished import Finished, Store
from monitors.canary.judge import Judgement
from monitors.canary.question import Question
from monitors.canary.series import Querier
from monitors.gate import parsing, prometheus_api, promotions
from monitors.gate.published import Published
from monitors.gate.refusals import QuestionError, Reason
from monitors.gate.remembered import Remembered
from monitors.gate.verdict_log import Answered, VerdictLog

MAX_BODY = 64 * 1024
MAX_WAITING = 64
"""Questions that are worked on or wait; one more is answered at once, as undecided."""
WORKERS = 8
MAX_STANDING = 1000
"""Verdicts that are given again until the next interval of their analyses is over."""
RECORD_SECONDS = spec.RECORD_SECONDS

QUESTIONS = (b"/verdict", b"/passed", prometheus_api.PATH)
"""Paths where a verdict is asked for."""

_PATHS = b", ".join((*QUESTIONS, *promotions.PATHS)).decode()
_JSON = "application/json"
_STATUSES = {
    Verdict.PASS.value: HTTPStatus.OK,
    Verdict.FAIL.value: HTTPStatus.CONFLICT,
    Verdict.INCONCLUSIVE.value: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What `/passed` answers, for callers that read the status only; 503 is what they ask again after."""
_log = logging.getLogger(__name__)


Judged = tuple[Counts, Judgement, dict[str, Any]]
"""Counts, judgement, and the answer that is made of them."""


class _Watched:
    """A Prometheus, and what a look at it waits for: its reason, when it is not done in time."""

    def __init__(self, querier: Querier) -> None:
        self._querier, self._lock = querier, threading.Lock()
        self._has_begun, self._open, self._asked = False, 0, 0

    def begin(self) -> None:
        """A worker has taken it up."""
        self._has_begun = True

    @property
    def stage(self) -> str:
        """What it waits for now."""
        if not self._has_begun:
            return f"all {WORKERS} workers of the gate are busy"
        if self._open:
            return "Prometheus has not answered"
        return f"Prometheus has answered {self._asked} times, and the gate was still computing"

    def _counted(self, more: int) -> None:
        with self._lock:
            self._open += more
            self._asked += more < 0

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Instant query."""
        self._counted(1)
        try:
            return self._querier.query(expr, at=at)
        finally:
            self._counted(-1)

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query."""
        self._counted(1)
        try:
            return self._querier.query_range(expr, start=start, end=end, step=step)
        finally:
            self._counted(-1)

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples as they were scraped."""
        self._counted(1)
        try:
            return self._querier.samples(selector, start=start, end=end)
        finally:
            self._counted(-1)


@dataclass(frozen=True)
class _Look:
    """A look that goes on, and what it waits for."""

    work: asyncio.Future[Judged]
    watched: _Watched


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve. `deadline` is seconds until a question is answered, decided or not.

    `prometheus` is the URL of another one than the platform file's.
    """

    host: str
    port: int
    platform: platform_spec.Platform
    audit: Path
    prometheus: str | None = None
    deadline: float = 0.8
    token: bytes | None = None
    metrics_token: bytes | None = None


class Gate:
    """One gate."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._verdicts = VerdictLog(options.audit)
        self._failing = ""
        asked = options.platform.prometheus
        timeout = min(options.deadline, asked.timeout)
        self._client = Client.of(asked, options.prometheus, timeout=timeout, retries=0)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="judge")
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="record")  # one: a record follows the one before it
        self._working: dict[Question, _Look] = {}
        self._remembered = Remembered()
        self._finished = Store()
        self._standing: OrderedDict[Question, tuple[float, Judged]] = OrderedDict()
        self._promotions = promotions.of_platform(options.platform, options.audit, has_token=options.token is not None)
        self._connections = http_server.Connections(
            self._handle,
            http_server.Limits(max_body=MAX_BODY, max_connections=1000),
            promotions.admission(options.platform.gate, http_access.admission(options.token, options.metrics_token)),
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
        if self._promotions is not None:
            self._promotions.start()
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
        if self._promotions is not None:
            self._promotions.stop()
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
        elif request.path == b"/metrics":
            of_promotions = self._promotions.text() if self._promotions else b""
            respond(HTTPStatus.OK, self.published.text() + of_promotions, exposition.CONTENT_TYPE)
        elif request.path in promotions.PATHS:
            self._begin(self._promotion(request, respond))
        elif request.path not in QUESTIONS:
            _error(respond, HTTPStatus.NOT_FOUND, f"there are {_PATHS}, /metrics, /healthz and /readyz")
        elif request.method not in (b"GET", b"POST"):
            _error(respond, HTTPStatus.METHOD_NOT_ALLOWED, "ask by GET or POST")
        else:
            self._begin(self._verdict(request, respond))

    def _begin(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _promotion(self, request: http_server.Request, respond: http_server.Respond) -> None:
        """Answer what is asked of a promotion; the registry may take its time, and holds no verdict up."""
        if self._promotions is None:
            _error(respond, HTTPStatus.NOT_FOUND, "no model has a promotion section, or systems.mlflow.observe lacks")
            return
        status, document = await self._promotions.answer(request)
        respond(status, json.dumps(document).encode(), _JSON)

    def _ready(self, respond: http_server.Respond) -> None:
        if self._failing:
            _error(respond, HTTPStatus.SERVICE_UNAVAILABLE, f"verdicts cannot be recorded: {self._failing}")
        else:
            respond(HTTPStatus.OK, b'{"status":"ready"}', _JSON)

    async def _verdict(self, request: http_server.Request, respond: http_server.Respond) -> None:
        """Answer a question; what nobody thought of holds the rollout, and does not leave it waiting."""
        begun = time.perf_counter()
        try:
            answer = await self._answered(request)
        except QuestionError as error:
            self._refuse(request, respond, error)
            self.published.count("refused", time.perf_counter() - begun)
            return
        except Exception as error:
            _log.exception("a question was not answered")
            why = f"the gate failed: {type(error).__name__}"
            answer = {"verdict": "inconclusive", "reason": why, "evidence": {}}
        verdict = str(answer["verdict"])
        is_of_prometheus = request.path == prometheus_api.PATH
        content = prometheus_api.answer(answer) if is_of_prometheus else json.dumps(answer).encode()
        respond(_STATUSES[verdict] if request.path == b"/passed" else HTTPStatus.OK, content, _JSON)
        self.published.count(verdict, time.perf_counter() - begun)

    def _refuse(self, request: http_server.Request, respond: http_server.Respond, error: QuestionError) -> None:
        """Answer a question that is none, and tell of it: who asks may show no more than the status."""
        _log.warning("a question is refused", extra={"reason": error.reason.value, "why": str(error)})
        self.published.refuse(error.reason)
        status = HTTPStatus.BAD_REQUEST
        if request.path == prometheus_api.PATH:
            respond(status, prometheus_api.error(status, str(error)), _JSON)
        else:
            _error(respond, status, str(error))

    async def _answered(self, request: http_server.Request) -> dict[str, Any]:
        """The recorded answer to a question; QuestionError when it is none."""
        regions = self._options.platform.regions
        question = parsing.parse(request, self._options.platform.platform, regions.here if regions else None)
        try:
            settings, interval = ask.settings_of(self._options.platform, question.model)
        except InvalidInputError as error:
            raise QuestionError(str(error), Reason.UNKNOWN_MODEL) from error
        question = replace(question, served=ask.served_by(self._options.platform, question.model))
        try:
            ask.ensure_two_arms(question, settings)
        except InvalidInputError as error:
            raise QuestionError(str(error), Reason.SAME_ARMS) from error
        counts, judgement, answer = await self._judged(question, settings, interval)
        answer = await self._kept(question, answer)
        self.published.publish(counts, judgement, answer["verdict"])
        return answer

    async def _judged(self, question: Question, settings: spec.Canary, interval: float) -> Judged:
        until, judged = self._standing.get(question, (0.0, None))
        if judged is not None and time.time() < until:
            return judged
        look = self._working.get(question)
        if look is None:
            if len(self._working) >= MAX_WAITING:
                why = f"the gate is busy with {len(self._working)} questions"
                return _undecided(question, settings, interval, why)
            look = self._begun(question, settings, interval)
        try:
            return await asyncio.wait_for(asyncio.shield(look.work), self._options.deadline)
        except TimeoutError:
            why = f"{look.watched.stage} within {self._options.deadline:g} s"
            return _undecided(question, settings, interval, why)
        except MidwatchError as error:
            return _undecided(question, settings, interval, str(error))
        except Exception as error:
            _log.exception("judging failed")
            return _undecided(question, settings, interval, f"the judge failed: {type(error).__name__}")

    def _begun(self, question: Question, settings: spec.Canary, interval: float) -> _Look:
        """A look in a worker; who asks the same meanwhile gets the same answer."""
        client = self._client.until(time.monotonic() + self._options.deadline)
        watched = _Watched(self._remembered.before(client))

        def judged() -> Judged:
            watched.begin()
            analysis = Finished(self._finished, (replace(question, end=None),))
            counts, judgement = ask.ask(
                watched, question, settings, interval=interval, finished=analysis, clock=time.time()
            )
            return counts, judgement, document.answer(counts, settings, judgement)

        work = asyncio.get_running_loop().run_in_executor(self._workers, judged)
        self._working[question] = look = _Look(work, watched)
        work.add_done_callback(lambda done: self._done(question, done))
        return look

    def _done(self, question: Question, work: asyncio.Future[Any]) -> None:
        del self._working[question]
        if work.cancelled() or work.exception() is not None:  # seen, also when nobody waits for it any more
            return
        self._standing[question] = _stands_until(work.result()[0]), work.result()
        self._standing.move_to_end(question)
        self._forget_old(time.time())

    def _forget_old(self, now: float) -> None:
        """Forget verdicts that stand no longer: the counts of a day are two megabytes."""
        while self._standing:
            until, _ = next(iter(self._standing.values()))
            if until >= now and len(self._standing) <= MAX_STANDING:
                return
            self._standing.popitem(last=False)

    async def _kept(self, question: Question, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer once it is recorded; what cannot be recorded, or not in time, is not decided."""
        answered = Answered()
        work = asyncio.get_running_loop().run_in_executor(self._recorder, self._recorded, question, answer, answered)
        done, _ = await asyncio.wait({work}, timeout=RECORD_SECONDS)
        if done or not answered.settle("late"):
            return await work
        self._failing = f"not on the disk within {RECORD_SECONDS:g} s"
        return _unrecorded(answer, self._failing)

    def _recorded(self, question: Question, answer: dict[str, Any], answered: Answered) -> dict[str, Any]:
        try:
            self._verdicts.append(question, answer, answered)
            self._failing = ""
        except EvidenceError as error:
            self._failing = str(error)
            return _unrecorded(answer, self._failing)
        return answer


def _stands_until(counts: Counts) -> float:
    """When the next interval is over and its scrapes are there (seconds since the epoch); until then nothing is new."""
    if not counts.baseline_requests.size:
        return 0.0
    over = counts.start + (counts.baseline_requests.size + 1) * counts.interval
    return min(over + min(counts.interval, SETTLE_SECONDS), time.time() + counts.interval)


def _unrecorded(answer: dict[str, Any], why: str) -> dict[str, Any]:
    return {**answer, "verdict": "inconclusive", "reason": f"the verdict cannot be recorded: {why}"}


def _undecided(question: Question, settings: spec.Canary, interval: float, why: str) -> Judged:
    counts = ask.unanswered(question, interval, why)
    judgement = judge.judge(counts, settings)
    return counts, judgement, document.answer(counts, settings, judgement)


def _error(respond: http_server.Respond, status: HTTPStatus, text: str) -> None:
    respond(status, json.dumps({"error": text}).encode(), _JSON)
