"""The HTTP side of `midwatch evaluate serve`: /metrics with what was judged, and whether it can judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from midwatch import exposition, http_access, http_server, http_service
from monitors.evaluator.rounds import Rounds

_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen, and the token that whoever asks needs."""

    host: str
    port: int
    token: bytes | None = None


async def serve(rounds: Rounds, every: float, address: Address, started: Callable[[str], None]) -> None:
    """Evaluate each `every` seconds, and serve until SIGTERM or SIGINT; ServeError when the port is taken."""
    connections = http_server.Connections(
        lambda request, respond: _answer(rounds, request, respond),
        http_server.Limits(max_body=0, max_connections=100),
        http_access.admission(address.token),
    )
    beside = {"rounds": lambda ended: rounds.run(every, ended)}
    await http_service.serve(connections, address.host, address.port, beside=beside, started=started)


def _answer(rounds: Rounds, request: http_server.Request, respond: http_server.Respond) -> None:
    if request.path == b"/healthz":
        respond(HTTPStatus.OK, b'{"status":"ok"}', _JSON)
    elif request.path == b"/readyz":
        problem = rounds.problem
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        respond(status, json.dumps({"status": problem or "ready"}).encode(), _JSON)
    elif request.path == b"/metrics":
        respond(HTTPStatus.OK, rounds.text(), exposition.CONTENT_TYPE)
    else:
        respond(HTTPStatus.NOT_FOUND, b'{"error":"there are /metrics, /healthz and /readyz"}', _JSON)
