"""The driver's service: the query, the counters beside it, and /metrics; from start to a clean stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import midwatch
from exporters import collector
from exporters.stream import query, session
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger
from exporters.stream.query import Counted, Query
from exporters.stream.session import Machine
from exporters.stream.sources import kafka
from midwatch import content_encoding, exposition, http_access, http_server, http_service, metrics
from midwatch.errors import MidwatchError
from midwatch.exposition import Sample
from midwatch.spec.stream import Stream

LOOK_EVERY = 1.0
"""Seconds between two looks at the query."""

GRACE = 10.0
"""Seconds that a record may take to Kafka: so far behind the clock, time passes while nothing comes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run. `digests` are of what the platform file says, by model."""

    stream: Stream
    counted: Counted
    machine: Machine
    properties: Mapping[str, str]
    checkpoint: str
    ledger: Path
    host: str
    port: int
    metrics_token_file: Path | None = None
    insecure: bool = False
    once: bool = False
    digests: Mapping[str, str] = field(default_factory=dict)


class Service:
    """One driver. `error` is what ended it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        option = "--metrics-token-file"
        self._token = http_access.bearer_token(
            options.host, options.metrics_token_file, insecure=options.insecure, option=option
        )
        self.ledger = Ledger(options.ledger)
        self.folding = Folding(Fold(options.counted.settings, options.counted.models), self.ledger)
        self.query = Query(self.ledger, self.folding)
        self.error: BaseException | None = None

    async def run(self, started: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT, or until the query has ended; `started` is called with the URL.

        Raises ServeError when the port is taken, and whatever ended the query.
        """
        connections = http_server.Connections(
            self._answer, http_server.Limits(max_body=0, max_connections=100), http_access.admission(self._token)
        )
        ended = threading.Event()

        def stream(asked: threading.Event) -> None:
            try:
                self._stream(asked)
            except BaseException as error:
                self.error = error
            finally:
                ended.set()
                if not asked.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)

        try:
            await http_service.serve(
                connections, self._options.host, self._options.port, beside={"stream": stream}, started=started
            )
        finally:
            ended.wait(60.0)
            self.folding.stop()
        if self.error is not None:
            raise self.error

    def _stream(self, asked: threading.Event) -> None:
        options = self._options
        with session.session(options.machine, options.stream.partitions) as spark:
            records = kafka.read(
                spark, options.stream.kafka, options.properties, cores=options.stream.cores, most=options.stream.most
            )
            every = None if options.once else options.stream.every
            try:
                self.query.start(query.found(records, options.counted), options.checkpoint, every)
                _log.info("counting", extra={"checkpoint": options.checkpoint})
                while not asked.is_set() and not self.query.wait(LOOK_EVERY):
                    self._let_time_pass()
            finally:
                self.query.stop()

    def _let_time_pass(self) -> None:
        """While nothing comes, what is old enough is settled and given up all the same."""
        last = self.folding.folded_at
        if self.query.is_idle and time.time() - last > GRACE:
            self.folding.advance(time.time() - GRACE)

    # Metrics -----------------------------------------------------------------------------------------------------

    def kept_view(self) -> collector.View:
        """The counters, which go on after a restart."""
        return self.folding.view

    def own_view(self) -> collector.View:
        """What this process says of itself."""
        samples: list[Sample] = [(metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1)]
        for model, digest in self._options.digests.items():
            samples.append((metrics.PLATFORM_FILE, {"model": model, "digest": digest}, 1))
        return collector.View(None, [*samples, *self.query.samples()], None)

    def text(self, content_type: str = exposition.CONTENT_TYPE) -> bytes:
        """What a scrape gets."""
        kept, own = self.kept_view(), self.own_view()
        return collector.exposed(collector.View(kept.totals, [*own.samples, *kept.samples], None), content_type)

    def _answer(self, request: http_server.Request, respond: http_server.Respond) -> None:
        if request.path == b"/readyz" and self.error is not None:
            respond(HTTPStatus.SERVICE_UNAVAILABLE, b'{"error":"the query has ended"}', "application/json")
        elif request.path in http_access.OPEN:
            respond(HTTPStatus.OK, b'{"status":"ok"}', "application/json")
        elif request.path != b"/metrics":
            respond(HTTPStatus.NOT_FOUND, b'{"error":"there are /metrics, /healthz and /readyz"}', "application/json")
        else:
            content_type = exposition.accepted(request.headers.get(b"accept", b""))
            body, headers = self.text(content_type), ""
            if content_encoding.is_gzip_accepted(request.headers.get(b"accept-encoding", b"")):
                body, headers = content_encoding.gzipped([body]), "content-encoding: gzip\r\n"
            respond(HTTPStatus.OK, body, content_type, headers=headers)


def client_properties(file: Path | None) -> dict[str, str]:
    """Properties of a Kafka client from a file, a `name=value` a line; MidwatchError when it cannot be read as such."""
    if file is None:
        return {}
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MidwatchError(f"{file}: the properties of the Kafka client cannot be read: {error}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith(("#", "!")):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise MidwatchError(f"{file}:{number}: write NAME=VALUE, as in security.protocol=SASL_SSL")
        found[name.strip()] = value.strip()
    return found
