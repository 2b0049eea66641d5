"""Misses the deadman's heartbeat: takes it from one Alertmanager, and tells another, or an address, when it stops.

It has to run elsewhere than what it watches. What it cannot tell it tries to tell again until it is told.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

from alerts import alerting_rule
from midwatch import http_access

ALERT = "MidwatchSilent"
"""Name of the alert that the other Alertmanager gets."""
REPEAT_SECONDS = 60.0
"""An Alertmanager forgets, after five minutes, an alert that nobody repeats."""
LOOK_SECONDS = 1.0
TIMEOUT_SECONDS = 10.0
MAX_BODY = 4 * 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where it listens, how many seconds without a heartbeat are too many, and who is told.

    One of `alertmanager`, its address, and `url`, which takes a POST with the alert as JSON, is there. `labels` route
    the alert.
    """

    host: str
    port: int
    patience: float
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    alertmanager: str | None = None
    url: str | None = None
    token: bytes | None = None


class Watch:
    """Watches one heartbeat. `clock` gives seconds that only grow."""

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._lock = threading.Lock()
        self._last = clock()  # of a heartbeat that was never seen the start is the last that is known
        self._began: datetime | None = None
        self._told = 0.0
        self._pool = urllib3.PoolManager(retries=False)

    @property
    def is_lost(self) -> bool:
        """Whether the heartbeat has been missing for too long."""
        with self._lock:
            return self._clock() - self._last > self._options.patience

    def take(self, document: object) -> bool:
        """Take Alertmanager's webhook document; whether it is a heartbeat."""
        alerts = document.get("alerts") if isinstance(document, dict) else None
        found = any(_is_heartbeat(one) for one in alerts) if isinstance(alerts, list) else False
        if found:
            with self._lock:
                self._last = self._clock()
        return found

    def look(self) -> None:
        """Tell what has to be told now."""
        lost, now = self.is_lost, self._clock()
        if lost and (self._began is None or now - self._told >= REPEAT_SECONDS):
            began = self._began or datetime.now(UTC)
            if self._tell(began, ended=None):
                self._began, self._told = began, now
        elif not lost and self._began is not None and self._tell(self._began, ended=datetime.now(UTC)):
            self._began = None

    def run(self, stopped: threading.Event, started: Callable[[str], None]) -> None:
        """Listen and look until it is stopped; `started` hears its address."""
        server = ThreadingHTTPServer((self._options.host, self._options.port), _handler(self, self._options.token))
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        started(f"http://{self._options.host}:{server.server_port}")
        while not stopped.wait(LOOK_SECONDS):
            self.look()
        server.shutdown()
        server.server_close()
        serving.join()

    def _tell(self, began: datetime, *, ended: datetime | None) -> bool:
        """Tell that it is lost, or found again; whether that was taken."""
        alert: dict[str, Any] = {
            "labels": {"alertname": ALERT, **self._options.labels},
            "annotations": dict(self._options.annotations),
            "startsAt": began.isoformat(),
        }
        if ended is not None:
            alert["endsAt"] = ended.isoformat()
        if self._options.alertmanager is not None:
            url, body = f"{self._options.alertmanager.rstrip('/')}/api/v2/alerts", json.dumps([alert])
        else:
            url, body = self._options.url or "", json.dumps({"status": "resolved" if ended else "firing", **alert})
        try:
            answer = self._pool.request(
                "POST", url, body=body, headers={"content-type": "application/json"}, timeout=TIMEOUT_SECONDS
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            _log.error("cannot tell", extra={"reason": type(error).__name__})
            return False
        if answer.status // 100 != 2:
            _log.error("not taken", extra={"status": answer.status})
            return False
        return True


def _is_heartbeat(alert: object) -> bool:
    labels = alert.get("labels") if isinstance(alert, dict) else None
    firing = isinstance(alert, dict) and alert.get("status") == "firing"
    return firing and isinstance(labels, dict) and labels.get("alertname") == alerting_rule.DEADMAN


def _handler(watch: Watch, token: bytes | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_SECONDS

        def do_GET(self) -> None:
            """Answer 200 to /healthz while the heartbeat is there, and 503 while it is not."""
            self._answer(404 if self.path != "/healthz" else 503 if watch.is_lost else 200)

        def do_POST(self) -> None:
            """Take a heartbeat."""
            headers = {b"authorization": (self.headers.get("authorization") or "").encode()}
            if token is not None and not http_access.is_bearer(headers, token):
                self._answer(401)
                return
            length = self.headers.get("content-length") or ""
            if not length.isdigit() or int(length) > MAX_BODY:
                self._answer(413)
                return
            try:
                document = json.loads(self.rfile.read(int(length)))
            except (ValueError, RecursionError):
                self._answer(400)
                return
            self._answer(200 if watch.take(document) else 400)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
            """Say nothing: a heartbeat a minute is no news."""

    return Handler
