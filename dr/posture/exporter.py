"""`/metrics` of the posture: Prometheus text of a few gauges, from a look that is taken every second.

It looks by itself rather than when it is scraped: the lag of a standby that stopped is known by positions seen before.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dr.drill_log import DrillLog
from dr.posture import verification
from dr.posture.gauges import Watch
from dr.samples import Sample
from dr.stores.kind import Site
from midwatch import exposition
from midwatch.errors import MidwatchError
from midwatch.http_server import Admit, Head
from midwatch.spec import dr as spec

LOOK_SECONDS = 1.0


def render(samples: list[Sample]) -> bytes:
    """Text exposition of gauges, grouped by metric in the order of the first sample of each."""
    return exposition.render(exposition.families(samples).values())


class Exporter:
    """Serves the posture on HOST:PORT until `stop`. MidwatchError when the port is taken."""

    def __init__(self, watch: Watch, host: str, port: int, admit: Admit) -> None:
        self._watch, self._stop, self._admit = watch, threading.Event(), admit
        self._page = render(watch.look())
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exporter._answer(self)

            def log_message(self, *args: Any) -> None:
                """Scrapes are not worth a line."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise MidwatchError(f"{host}:{port}: {error.strerror}; choose another with --listen") from error

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = {"/metrics": self._page, "/healthz": b"ok\n"}.get(handler.path)
        status = HTTPStatus.NOT_FOUND if body is None else HTTPStatus.OK
        headers = {name.lower().encode(): value.encode() for name, value in handler.headers.items()}
        refusal = self._admit(Head(method=b"GET", path=handler.path.encode(), headers=headers))
        if refusal is not None:
            body, status = refusal.text.encode(), refusal.status
        handler.send_response(status)
        if refusal is not None and status is HTTPStatus.UNAUTHORIZED:
            handler.send_header("www-authenticate", "Bearer")
        handler.send_header("content-type", exposition.CONTENT_TYPE)
        handler.send_header("content-length", str(len(body or b"")))
        handler.end_headers()
        handler.wfile.write(body or b"")

    def run(self) -> None:
        """Serve and look until `stop`."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        while not self._stop.wait(LOOK_SECONDS):
            self._page = render(self._watch.look())
        self._server.shutdown()
        thread.join()
        self._server.server_close()

    def stop(self, *_: object) -> None:
        """End it."""
        self._stop.set()


def _to_stderr(store: str) -> Callable[[str], None]:
    def tell(text: str) -> None:
        sys.stderr.write(f"{store}: {text}\n")

    return tell


def keep_verifying(recovery: spec.DisasterRecovery, file: Path, log: DrillLog, clusters: Mapping[str, Path]) -> None:
    """Restore the newest backup of every store that runs here, once at the start and then on schedule, beside all else.

    What cannot be restored is on record: that is an alert at once, and its point grows old.
    """

    def run() -> None:
        while True:
            for name, folder in clusters.items():
                with contextlib.suppress(MidwatchError):
                    site = Site(promised=recovery, store=recovery.store(name), file=file, folder=folder)
                    verification.verify(site, log, _to_stderr(name))
            time.sleep(recovery.verify_every)

    threading.Thread(target=run, name="verify", daemon=True).start()
