"""The receiver of a local stack: takes what Alertmanager delivers, keeps it durably, and pages nobody.

It also serves `/metrics`: the results of whoever measures something and does not stay, such as a chaos experiment.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from chaos import lease
from midwatch import exposition, metrics

MAX_BODY = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert as it was delivered; times are RFC 3339, `resolved_at` None while it fires."""

    channel: str
    name: str
    severity: str
    owner: str
    model: str
    version: str
    summary: str
    runbook_url: str
    fired_at: str
    resolved_at: str | None


_RUNNING = re.compile(rb"^(%s\{[^\n]*\}) \S+$" % metrics.CHAOS_RUNNING.name.encode(), re.MULTILINE)
"""Lines that say whether an experiment runs."""


class WebhookReceiver:
    """An HTTP server on a free loopback port; deliveries are JSON lines in `file`, results `*.prom` in a folder.

    `lock` is held while an experiment runs: whoever was killed could not tell that it no longer does.
    """

    def __init__(self, file: Path, results: Path, lock: Path) -> None:
        self.file, self._results, self._chaos_lock = file, results, lock
        self._lock = threading.Lock()
        self._alerts: dict[tuple[str, str, str], Alert] = {}
        self.deliveries = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                if length > MAX_BODY:
                    self.send_error(413)
                    return
                try:
                    receiver._take(self.path.rsplit("/", 1)[-1], json.loads(self.rfile.read(length)))
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.send_error(400)
                    return
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                if self.path != "/metrics":
                    self.send_error(404)
                    return
                body = receiver.results()
                self.send_response(200)
                self.send_header("content-type", exposition.CONTENT_TYPE)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Say nothing: deliveries are in the file."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Where receivers deliver: a channel's name is appended."""
        return f"http://{self.address}/deliver"

    @property
    def alerts(self) -> list[Alert]:
        """Every alert delivered so far, as it was told last, in the order of firing."""
        with self._lock:
            return sorted(self._alerts.values(), key=lambda alert: (alert.fired_at, alert.name, alert.version))

    def results(self) -> bytes:
        """Prometheus text of all results, as they are now."""
        body = b"".join(path.read_bytes() for path in sorted(self._results.glob("*.prom")))
        return body if lease.is_held(self._chaos_lock) else _RUNNING.sub(rb"\1 0.0", body)

    def _take(self, channel: str, document: dict[str, Any]) -> None:
        line = json.dumps({"channel": channel, "delivery": document})
        with self._lock:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
            self.deliveries += 1
            for entry in document["alerts"]:
                alert = _alert(channel, entry)
                self._alerts[channel, entry["fingerprint"], alert.fired_at] = alert

    def close(self) -> None:
        """Stop taking deliveries."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _alert(channel: str, entry: dict[str, Any]) -> Alert:
    labels, annotations = entry["labels"], entry.get("annotations", {})
    return Alert(
        channel=channel,
        name=labels["alertname"],
        severity=labels.get("severity", ""),
        owner=labels.get("owner", ""),
        model=labels.get("model", ""),
        version=labels.get("version", ""),
        summary=annotations.get("summary", ""),
        runbook_url=annotations.get("runbook_url", ""),
        fired_at=entry["startsAt"],
        resolved_at=entry["endsAt"] if entry["status"] == "resolved" else None,
    )
