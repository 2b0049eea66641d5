"""A player of systems' metrics: an HTTP server with a path for each target of the platform's systems."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from midwatch import exposition
from midwatch.app.systems import scenes, stage
from midwatch.app.systems.scenes import Part, Scene
from midwatch.errors import MidwatchError
from midwatch.spec import system_rules
from midwatch.spec.model import Platform

_QUIET: Callable[..., None] = lambda *_: None  # noqa: E731 - a name for what the server logs


@contextmanager
def serving(platform: Platform, host: str, port: int) -> Iterator[str]:
    """Serve until the context ends; gives HOST:PORT. MidwatchError where it cannot listen."""
    plays = {
        stage.path(system, target): scenes.of(system)
        for system in system_rules.installed(platform)
        for target in system.use.targets
    }
    try:
        server = ThreadingHTTPServer((host, port), _handler(plays, time.time()))
    except OSError as error:
        raise MidwatchError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"{server.server_address[0]!s}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(plays: dict[str, list[Scene]], began: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        log_message = _QUIET

        def do_GET(self) -> None:
            play = plays.get(self.path.partition("?")[0])
            body = text(play, began, time.time()).encode() if play is not None else b"no such target\n"
            self.send_response(200 if play is not None else 404)
            self.send_header("Content-Type", exposition.CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def text(play: Sequence[Scene], began: float, now: float) -> str:
    """The exposition of a play at a time; both in seconds since the epoch."""
    lines = []
    for scene in play:
        lines.append(f"# HELP {scene.name} {exposition.escaped_help(scene.help)}\n# TYPE {scene.name} {scene.kind}\n")
        lines += [
            f"{part.name}{exposition.label_text(part.labels)} {_value(part, began, now)!r}\n" for part in scene.parts
        ]
    return "".join(lines)


def _value(part: Part, began: float, now: float) -> float:
    return now + part.value if part.is_time else part.value + part.rises * (now - began)
