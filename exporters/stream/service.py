"""The driver's service: the query, the counters beside it, and /metrics; from start to a clean stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Protocol

from py4j.protocol import Py4JError, Py4JNetworkError

import midwatch
from exporters import collector, otlp
from exporters.events import private_files
from exporters.stream import inputs, ledger, query, session
from exporters.stream.drift.collected import Follower
from exporters.stream.drift.judging import Judging
from exporters.stream.fold import Fold
from exporters.stream.folding import Folding
from exporters.stream.ledger import Ledger
from exporters.stream.query import Counted, Query, SlowStartError
from exporters.stream.session import Machine
from midwatch import content_encoding, exposition, http_access, http_server, http_service, metrics
from midwatch.errors import MidwatchError
from midwatch.exposition import Sample
from midwatch.spec import model as spec
from midwatch.spec.stream import Stream

LOOK_EVERY = 1.0
"""Seconds between two looks at the query."""

GRACE = 10.0
"""Seconds that a record may take to Kafka: so far behind the clock, time passes while nothing comes."""

JAVA_ENDED = (
    "Spark's Java has ended by itself, as it does where memory runs out (--memory) or somebody kills it; start the "
    "driver again: it goes on where it was, and nothing is lost"
)

_log = logging.getLogger(__name__)


class JavaEndedError(MidwatchError):
    """The driver has lost its Java."""


class Push(Protocol):
    """A way to push metrics."""

    def __call__(self, sources: Sequence[otlp.Source], instance: str, state: Path) -> Pushing:
        """Push now and then; `instance` is whose counters these are, `state` a folder for what the way has to know."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pushing:
    """A push under way: what ends it after a last time, and what is said of it."""

    stop: Callable[[], None]
    samples: Callable[[], list[Sample]] = list


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run. `base` is the folder of the platform file; `digests` are of what that says, by model."""

    platform: spec.Platform
    base: Path
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
    pushes: Sequence[Push] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


class Service:
    """One driver. `error` is what ended it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        option = "--metrics-token-file"
        self._token = http_access.bearer_token(
            options.host, options.metrics_token_file, insecure=options.insecure, option=option
        )
        self._lock = ledger.lock(options.ledger)
        self.ledger = Ledger(options.ledger)
        self.folding = Folding(Fold(options.counted.settings, options.counted.models), self.ledger)
        self.judging = self._judging()
        self.query = Query(self.ledger, self.folding, self.judging)
        self._pushing: list[Pushing] = []
        self.error: BaseException | None = None

    def _judging(self) -> Judging | None:
        """The judge of drift, where a model is watched."""
        options = self._options
        if not any(model.drift for model in options.platform.models):
            return None
        folder = options.ledger.parent / "drift"
        private_files.make_folder(folder)
        return Judging(options.platform, options.base, folder, self.ledger)

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
            except (Py4JError, OSError) as error:
                if asked.is_set():  # who stops all processes of a service ends Java at the same time
                    _log.warning("Spark had ended before the driver could end it; what is not counted is read again")
                elif isinstance(error, ConnectionError | Py4JNetworkError):
                    self.error = JavaEndedError(JAVA_ENDED)
                    self.error.__cause__ = error
                else:
                    self.error = error
            except BaseException as error:
                self.error = error
            finally:
                ended.set()
                if not asked.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)

        self._push()
        try:
            await http_service.serve(
                connections, self._options.host, self._options.port, beside={"stream": stream}, started=started
            )
        finally:
            ended.wait(60.0)
            self.folding.stop()
            for pushing in self._pushing:
                pushing.stop()
            os.close(self._lock)
        if self.error is not None:
            raise self.error

    def _stream(self, asked: threading.Event) -> None:
        options = self._options
        state = options.ledger.parent
        counted = options.counted
        if self.judging is not None:
            counted = replace(counted, followers=(*counted.followers, Follower(self.judging.watched)))
        every = None if options.once else options.stream.every
        with ExitStack() as opened:
            spark = opened.enter_context(
                session.session(options.machine, options.stream.partitions, inputs.settings(options.stream))
            )
            records = inputs.records(spark, options.stream, options.base, state, options.properties)
            topics_now = opened.enter_context(inputs.topic_ids(spark, options.stream, options.properties))
            for attempt in range(1, query.STARTS + 1):
                try:
                    self.query.start(query.found(records, counted), options.checkpoint, every, topics_now)
                    _log.info("counting", extra={"checkpoint": options.checkpoint})
                    while not asked.is_set() and not self.query.wait(LOOK_EVERY):
                        self._let_time_pass()
                    return
                except SlowStartError:
                    if attempt == query.STARTS:
                        raise
                    _log.warning("a worker of Spark took too long to start, and the query is started again")
                finally:
                    self.query.stop()

    def _let_time_pass(self) -> None:
        """While nothing comes, what is old enough is settled, given up and judged all the same."""
        grace = GRACE + inputs.settle(self._options.stream)
        if self.query.is_idle:
            self.query.ensure_same_topics()  # no batch shows that a topic is another one, and has not more records
        is_quiet = self.query.is_idle and time.time() - self.folding.folded_at > grace
        if is_quiet:
            self.folding.advance(time.time() - grace)
        if self.judging is not None:
            self.judging.turn(time.time() - grace if is_quiet else 0.0, LOOK_EVERY)

    # Metrics -----------------------------------------------------------------------------------------------------

    def kept_view(self) -> collector.View:
        """The counters and what is said of drift, which go on after a restart."""
        view = self.folding.view
        judged = [] if self.judging is None else self.judging.samples()
        return collector.View(view.totals, [*view.samples, *judged], None)

    def own_view(self) -> collector.View:
        """What this process says of itself."""
        samples: list[Sample] = [(metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1)]
        for model, digest in self._options.digests.items():
            samples.append((metrics.PLATFORM_FILE, {"model": model, "digest": digest}, 1))
        pushed = chain.from_iterable(pushing.samples() for pushing in self._pushing)
        return collector.View(None, [*samples, *self.query.samples(), *pushed], None)

    def _push(self) -> None:
        """Begin to push, in all ways that were asked for."""
        identity = self.ledger.identity
        sources = [
            otlp.Source(collector=collector.StateCollector(self.kept_view), since=identity.since),
            otlp.Source(collector=collector.StateCollector(self.own_view), since=time.time()),
        ]
        state = self._options.ledger.parent
        self._pushing = [push(sources, identity.instance, state) for push in self._options.pushes]

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
