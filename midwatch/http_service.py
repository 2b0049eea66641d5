"""Runs an HTTP service of Midwatch's own, with what it does beside answering, until it is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from midwatch import exposition
from midwatch.http_access import ServeError, admission
from midwatch.http_server import Connections, Limits, Request, Respond

Beside = Callable[[threading.Event], None]
"""What runs in a thread of its own until the event is set; one that hangs holds up neither the end nor another."""

_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen, the token that whoever asks needs, and one that admits to /metrics alone."""

    host: str
    port: int
    token: bytes | None = None
    metrics_token: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a service that only publishes has to say: the text of /metrics, and why it is not ready, empty if it is."""

    text: Callable[[], bytes]
    problem: Callable[[], str] = str


async def publish(
    published: Published, address: Address, *, beside: Mapping[str, Beside], started: Callable[[str], None]
) -> None:
    """Serve /metrics, /healthz and /readyz, and nothing else, as `serve` does."""
    connections = Connections(
        lambda request, respond: _answer(published, request, respond),
        Limits(max_body=0, max_connections=100),
        admission(address.token),
    )
    await serve(connections, address.host, address.port, beside=beside, started=started)


def _answer(published: Published, request: Request, respond: Respond) -> None:
    if request.path == b"/healthz":
        respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
    elif request.path == b"/readyz":
        problem = published.problem()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        respond(status, json.dumps({"status": problem or "ready"}).encode(), _JSON)
    elif request.path == b"/metrics":
        respond(HTTPStatus.OK, published.text(), exposition.CONTENT_TYPE)
    else:
        respond(HTTPStatus.NOT_FOUND, b'{"error":"there are /metrics, /healthz and /readyz"}', _JSON)


async def serve(
    connections: Connections, host: str, port: int, *, beside: Mapping[str, Beside], started: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, with threads by their names; `started` is called with the URL.

    ServeError when the port is taken. What a thread raises ends the service and is raised here: one that answers
    without doing its work would look well.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        server = await loop.create_server(connections.protocol, host, port)
    except OSError as error:
        raise ServeError(f"{host}:{port}: {error.strerror}; choose another with --listen") from error
    ended = threading.Event()
    broken: list[BaseException] = []

    def work(run: Beside) -> None:
        try:
            run(ended)
        except BaseException as error:
            broken.append(error)
            loop.call_soon_threadsafe(stop.set)

    for name, run in beside.items():
        threading.Thread(target=work, args=(run,), name=name, daemon=True).start()
    expiring = asyncio.create_task(connections.expire())
    host, port = server.sockets[0].getsockname()[:2]
    started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    await stop.wait()
    ended.set()
    server.close()
    connections.close()
    expiring.cancel()
    await asyncio.gather(expiring, return_exceptions=True)
    if broken:
        raise broken[0]
