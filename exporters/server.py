"""The exporter's service: HTTP to ingestion, metrics out, the drift judge beside it; from start to a clean stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import midwatch
from exporters import collector
from exporters.drift import supervisor
from exporters.events import bodies, inference_log, ingest, kserve
from exporters.events.privacy import Privacy
from exporters.events.reasons import Reason
from exporters.events.state import Totals
from exporters.events.store import Store
from exporters.incremental import IncrementalText
from exporters.kafka.member_store import MemberStore
from midwatch import content_encoding, exposition, http_access, http_server, metrics
from midwatch.spec import model as spec

if TYPE_CHECKING:
    from exporters.kafka.service import Service as Member

SLICE_SECONDS = 0.001
"""What a scrape takes of the loop at a time."""

_JSON = "application/json"
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to serve. `platform_file` is handed to the drift judge; `digests` are of what it says, by model."""

    host: str
    port: int
    state: Path
    settings: spec.Exporter
    models: Sequence[spec.Model] = ()
    platform_file: Path | None = None
    token_file: Path | None = None
    metrics_token_file: Path | None = None
    insecure: bool = False
    privacy: Privacy | None = None
    member: str | None = None
    """Name in the group of `settings.kafka`, whose topics are read; else events are sent here."""
    judges_alone: bool = False
    """Judge drift over all partitions of a group, and publish no counters: each member sees a part of the rows."""
    digests: Mapping[str, str] = field(default_factory=dict)


class Service:
    """One exporter."""

    def __init__(self, options: Options) -> None:
        self._options = options
        token = http_access.bearer_token(options.host, options.token_file, insecure=options.insecure)
        metrics_token = http_access.read_token(options.metrics_token_file) if options.metrics_token_file else None
        self._models = kserve.Models.of(options.models)
        store = MemberStore if options.member else Store
        self.store = store(options.state, options.settings, options.models)
        self.ingest = ingest.Ingest(self.store, options.settings, options.models, options.privacy)
        self._connections = http_server.Connections(
            self._handle,
            http_server.Limits(max_body=options.settings.max_body),
            http_access.admission(token, metrics_token),
        )
        self._judge = (
            supervisor.Supervisor(options.state, options.platform_file, now=self.ingest.now)
            if self._models.features and (options.judges_alone or not options.member)
            else None
        )
        self._member: Member | None = None
        self._scrape_seconds = 0.0
        self._series = 0
        self._asked: dict[str, list[tuple[http_server.Respond, bool]]] = {}
        self._text = IncrementalText()
        self._exposing = asyncio.Lock()
        self._scrapes: set[asyncio.Task[None]] = set()

    # Life --------------------------------------------------------------------------------------------------------

    async def run(self, started: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; `started` is called with the URL. ServeError when the port is taken."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        try:
            server = await loop.create_server(
                self._connections.protocol, self._options.host, self._options.port, backlog=4096
            )
        except OSError as error:
            self.store.close(self.ingest.now(), snapshot=lambda: False)
            where = f"{self._options.host}:{self._options.port}"
            raise http_access.ServeError(f"{where}: {error.strerror}; choose another with --listen") from error
        self._member = self._join()
        committer = asyncio.create_task(self._member.run() if self._member else self.ingest.run())
        helpers = [asyncio.create_task(self._connections.expire())]
        if self._judge:
            helpers.append(asyncio.create_task(self._judge.run()))
        host, port = server.sockets[0].getsockname()[:2]
        started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, committer}, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        self.ingest.stop()
        if self._member:
            self._member.stop()
        ended = await asyncio.gather(committer, return_exceptions=True)
        self._connections.close()
        await asyncio.gather(*self._scrapes)
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        self.store.close(self.ingest.now())
        if ended[0] is not None:
            raise ended[0]

    def _join(self) -> Member | None:
        """Begin as a member of a group; None when events are sent here."""
        options, store = self._options, self.store
        kafka = options.settings.kafka
        if options.member is None or kafka is None or not isinstance(store, MemberStore):
            return None
        from exporters.kafka import service

        folder = options.platform_file.parent if options.platform_file else Path()
        return service.Service(options.member, kafka, options.settings, options.models, store, self.ingest, folder)

    def on_loop(self, look: Callable[[], collector.View]) -> collector.StateCollector:
        """Collector for another thread: the view is taken on the loop, where nothing changes meanwhile."""
        loop = asyncio.get_running_loop()

        async def view() -> collector.View:
            return look()

        return collector.StateCollector(lambda: asyncio.run_coroutine_threadsafe(view(), loop).result(5.0))

    # Requests ----------------------------------------------------------------------------------------------------

    def _handle(self, request: http_server.Request, respond: http_server.Respond) -> None:
        path = request.path
        if path in http_access.OPEN:
            self._health(path, respond)
        elif path == b"/metrics" and request.method not in (b"GET", b"HEAD"):
            why = "the metrics are here, for GET; send events by POST to /events or /kserve"
            _error(respond, HTTPStatus.METHOD_NOT_ALLOWED, why, "allow: GET, HEAD\r\n")
        elif path == b"/metrics":
            self._expose(request.headers, respond)
        elif self._member and path in (b"/events", b"/kserve"):
            _error(respond, HTTPStatus.CONFLICT, "events are read from Kafka here; send them to the topic")
        elif path not in (b"/events", b"/kserve"):
            _error(respond, HTTPStatus.NOT_FOUND, "there are /events, /kserve, /metrics, /healthz and /readyz")
        elif request.method != b"POST":
            _error(respond, HTTPStatus.METHOD_NOT_ALLOWED, "send events by POST", "allow: POST\r\n")
        elif path == b"/events":
            self._events(request, respond)
        else:
            self._kserve(request, respond)

    def _health(self, path: bytes, respond: http_server.Respond) -> None:
        if path == b"/readyz" and self.ingest.failing:
            _error(respond, HTTPStatus.SERVICE_UNAVAILABLE, f"not durable: {self.ingest.failing}")
        elif path == b"/readyz" and self._member and not self._member.is_ready:
            _error(respond, HTTPStatus.SERVICE_UNAVAILABLE, "no partitions yet, or they are read back")
        else:
            respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)

    def _events(self, request: http_server.Request, respond: http_server.Respond) -> None:
        try:
            items, refused = bodies.decode(request.body)
        except bodies.BodyError as error:
            self.ingest.results["event", "malformed", Reason.NOT_JSON] += 1
            _error(respond, HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        if not items and not refused:
            _error(respond, HTTPStatus.UNPROCESSABLE_ENTITY, "the body holds no event")
            return
        if len(items) > ingest.MAX_PENDING:
            why = f"more than {ingest.MAX_PENDING} events; send smaller batches"
            _error(respond, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, why)
            return
        self.ingest.submit(
            ingest.Batch(
                items=items,
                refused=refused,
                reply=lambda answer: _answer(respond, answer),
                loaded=request.query == bodies.FILE_QUERY.encode(),
                size=len(request.body),
            )
        )

    def _kserve(self, request: http_server.Request, respond: http_server.Respond) -> None:
        try:
            halves = kserve.decode(
                request.headers, request.body, time.time(), self._models, self._options.settings.max_body
            )
        except inference_log.MalformedError as error:
            self.ingest.results["half", "malformed", Reason.INVALID] += 1
            _error(respond, HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            return
        reply = ingest.together(len(halves), lambda answer: _answer(respond, answer))
        for half in halves:
            self.ingest.submit(ingest.Batch(items=[(1, half)], reply=reply, rows=half.size))

    # Metrics -----------------------------------------------------------------------------------------------------

    def _expose(self, headers: http_server.Headers, respond: http_server.Respond) -> None:
        """Answer with the metrics; who asks while they are written gets those: writing costs memory and time."""
        content_type = exposition.accepted(headers.get(b"accept", b""))
        is_writing = content_type in self._asked
        waiting = self._asked.setdefault(content_type, [])
        waiting.append((respond, content_encoding.is_gzip_accepted(headers.get(b"accept-encoding", b""))))
        if not is_writing:
            task = asyncio.get_running_loop().create_task(self._answer_scrapes(content_type))
            self._scrapes.add(task)
            task.add_done_callback(self._scrapes.discard)

    async def _answer_scrapes(self, content_type: str) -> None:
        try:
            async with self._exposing:  # the other format waits
                begun = time.perf_counter()
                await self._write_metrics(content_type)
                await self._give_metrics(content_type)
                self._scrape_seconds = time.perf_counter() - begun
        except Exception:
            _log.exception("the metrics cannot be written")
            for respond, _ in self._asked.pop(content_type, ()):
                why = b"the metrics cannot be written; the log says why\n"
                respond(HTTPStatus.INTERNAL_SERVER_ERROR, why, "text/plain")

    async def _write_metrics(self, content_type: str) -> None:
        """Write the text on the loop, where nothing changes meanwhile, a slice at a time: events come in between."""
        totals, (counts, seconds) = self._counted(), self.ingest.commits
        samples = [*self._own(), *self._kept()]
        tables, histograms = collector.tables(totals), collector.histograms(totals, (list(counts), seconds))
        pause = time.perf_counter() + SLICE_SECONDS
        for _ in self._text.write(tables, histograms, samples, content_type):
            if time.perf_counter() > pause:
                await asyncio.sleep(0)
                pause = time.perf_counter() + SLICE_SECONDS
        self._series = self._text.series

    async def _give_metrics(self, content_type: str) -> None:
        """Answer all who have asked by now; joining and compressing leave the loop to others."""
        pieces = self._text.pieces(content_type)
        waiting = self._asked[content_type]
        while waiting:
            is_compressed = waiting[0][1]
            make = content_encoding.gzipped if is_compressed else b"".join
            body = await asyncio.get_running_loop().run_in_executor(None, make, pieces)
            headers = "content-encoding: gzip\r\n" if is_compressed else ""
            for respond in [respond for respond, wanted in waiting if wanted is is_compressed]:
                respond(HTTPStatus.OK, body, content_type, headers=headers)
            waiting[:] = [asked for asked in waiting if asked[1] is not is_compressed]
        del self._asked[content_type]

    def view(self) -> collector.View:
        """What a scrape sees now."""
        kept, own = self.kept_view(), self.own_view()
        return collector.View(kept.totals, [*own.samples, *kept.samples], own.commits)

    def kept_view(self) -> collector.View:
        """The part of it that goes on after a restart."""
        published = None if self._options.judges_alone else self.store.state.published()
        return collector.View(published, self._kept(), None)

    def own_view(self) -> collector.View:
        """The part of it that this process began."""
        counts, seconds = self.ingest.commits
        return collector.View(None, self._own(), (list(counts), seconds))

    def _counted(self) -> Totals:
        return Totals() if self._options.judges_alone else self.store.state.live()

    def _kept(self) -> list[exposition.Sample]:
        judged = self._judge.samples() if self._judge else []
        return [*judged, *self._member.kept_samples()] if self._member else judged

    def _own(self) -> list[exposition.Sample]:
        oldest = self.store.state.oldest_waiting()
        samples: list[exposition.Sample] = [
            (metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1),
            (metrics.EXPORTER_OLDEST_WAITING, {}, 0 if oldest is None else max(0.0, self.ingest.now() - oldest)),
            (metrics.EXPORTER_HALVES_WAITING, {}, self.store.state.halves_waiting()),
            (metrics.EXPORTER_JOURNAL_BYTES, {}, self.store.journal.size()),
            (metrics.EXPORTER_SCRAPE_DURATION, {}, self._scrape_seconds),
            (metrics.EXPORTER_SERIES, {}, self._series),
            (metrics.EXPORTER_CONNECTIONS, {}, len(self._connections.open)),
        ]
        for model, digest in self._options.digests.items():
            samples.append((metrics.PLATFORM_FILE, {"model": model, "digest": digest}, 1))
        if self._judge:
            samples.append((metrics.DRIFT_SKIPPED_BYTES, {}, self.store.skipped_bytes))
        if self._member:
            samples += self._member.own_samples()
        for (kind, result, reason), count in self.ingest.results.items():
            samples.append((metrics.EXPORTER_EVENTS, {"kind": kind, "result": result, "reason": reason}, count))
        return samples


def _answer(respond: http_server.Respond, answer: ingest.Answer) -> None:
    """200: everything is kept. 422: what is not refused is kept. 503: nothing is, send it all again."""
    if answer.error:
        _error(respond, HTTPStatus.SERVICE_UNAVAILABLE, answer.error)
    else:
        respond(HTTPStatus.UNPROCESSABLE_ENTITY if answer.refused else HTTPStatus.OK, _encode(answer), _JSON)


def _error(respond: http_server.Respond, status: HTTPStatus, text: str, headers: str = "") -> None:
    respond(status, _encode({"error": text}), _JSON, headers=headers)
