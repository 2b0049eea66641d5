"""A bare ASGI server on uvicorn: it parses the exporter's events, keeps nothing and answers 200.

It says how fast this machine is just now, so that the exporter's figures can be compared between machines.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvicorn

from midwatch.client.events import Event

_EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_PAYLOAD = msgspec.json.Decoder()
_ANSWER = b'{"accepted":0}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_ANSWER)).encode())]
_START = {"type": "http.response.start", "status": 200, "headers": _HEADERS}
_BODY = {"type": "http.response.body", "body": _ANSWER}


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Parse the body of a request by its path."""
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"".join(parts)
    if scope["path"] == "/events":
        _EVENTS.decode_lines(body)
    else:
        dict(scope["headers"])
        _PAYLOAD.decode(body)
    await send(_START)
    await send(_BODY)


async def serve() -> None:
    """Serve on a free port and say which."""
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="error", access_log=False, backlog=4096)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    sys.stderr.write(f'{{"url": "http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"}}\n')
    await serving


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
