"""An exporter for tests of the client: it knows events by id, and misbehaves as it is told."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Misbehaviour = int | bytes | Callable[[BaseHTTPRequestHandler], None]
"""A status in an exporter's words; bytes to answer with before the connection is closed; or anything else."""


class Exporter:
    """Misbehaves once for each item it is given, then keeps every event and says so; `bodies` has all it was sent."""

    def __init__(self, *misbehaviours: Misbehaviour, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        self.bodies: list[list[dict[str, Any]]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.kept: list[str] = []
        self._known: set[str] = set()
        self._left = list(misbehaviours)
        self._lock = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["content-length"]))
                outer._answer(self, [json.loads(line) for line in text.splitlines()])

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None: ...

        self.server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def _answer(self, request: BaseHTTPRequestHandler, events: list[dict[str, Any]]) -> None:
        with self._lock:
            self.bodies.append(events)
            self.requests.append((request.path, {name.lower(): value for name, value in request.headers.items()}))
            self._lock.notify_all()
            misbehaviour = self._left.pop(0) if self._left else None
        if callable(misbehaviour):
            misbehaviour(request)
        elif isinstance(misbehaviour, bytes):
            request.wfile.write(misbehaviour)
            request.close_connection = True
        elif misbehaviour is not None:
            respond(request, misbehaviour, {"error": "as the test wants it"})
        else:
            with self._lock:
                new = [event["id"] for event in events if event["id"] not in self._known]
                self._known.update(new)
                self.kept += new
                self._lock.notify_all()
            respond(request, 200, {"accepted": len(new), "duplicates": len(events) - len(new)})

    def wait_for(self, count: int, seconds: float = 60.0) -> list[str]:
        """Ids of the events kept, once there are so many."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.kept) >= count, seconds), f"{len(self.kept)} of {count} came"
            return list(self.kept)

    def wait_for_requests(self, count: int, seconds: float = 60.0) -> None:
        """Wait for so many requests."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.bodies) >= count, seconds)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def respond(request: BaseHTTPRequestHandler, status: int, answer: Any, **headers: str) -> None:
    """Answer in an exporter's words."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    request.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what another thread or process does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)
