"""Runs an HTTP service of Midwatch's own, with what it does beside answering, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping

from midwatch.http_access import ServeError
from midwatch.http_server import Connections

Beside = Callable[[threading.Event], None]
"""What runs in a thread of its own until the event is set; one that hangs holds up neither the end nor another."""


async def serve(
    connections: Connections, host: str, port: int, *, beside: Mapping[str, Beside], started: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, with threads by their names; `started` is called with the URL.

    ServeError when the port is taken.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        server = await loop.create_server(connections.protocol, host, port)
    except OSError as error:
        raise ServeError(f"{host}:{port}: {error.strerror}; choose another with --listen") from error
    ended = threading.Event()
    for name, run in beside.items():
        threading.Thread(target=run, args=(ended,), name=name, daemon=True).start()
    expiring = asyncio.create_task(connections.expire())
    host, port = server.sockets[0].getsockname()[:2]
    started(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    await stop.wait()
    ended.set()
    server.close()
    connections.close()
    expiring.cancel()
    await asyncio.gather(expiring, return_exceptions=True)
