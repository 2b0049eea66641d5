"""The service of `midwatch systems export`: a thread for each source, and /metrics, from start to a clean stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import midwatch
from exporters.systems import kinds
from exporters.systems.polling import Polled
from midwatch import exposition, http_access, http_server, http_service, metrics
from midwatch.spec.model import Platform


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen, and the token that whoever asks needs."""

    host: str
    port: int
    token_file: Path | None = None
    insecure: bool = False


def of_platform(platform: Platform, state: Path) -> list[Polled]:
    """Every source that the platform file switches on; `state` is a folder for what has to survive a restart."""
    sections = [use.observe for use in platform.systems.values() if use.observe is not None]
    return [Polled(kinds.build(platform, observed, state), observed) for observed in sections]


def text(sources: Sequence[Polled]) -> bytes:
    """Exposition of what all sources have said."""
    samples: list[exposition.Sample] = [(metrics.MIDWATCH_BUILD_INFO, {"version": midwatch.__version__}, 1)]
    return exposition.text([*samples, *(sample for source in sources for sample in source.samples())])


def poll_once(sources: Sequence[Polled]) -> list[str]:
    """Ask every source once, all at the same time; what is wrong, one text for each that does not answer."""
    with ThreadPoolExecutor(max_workers=len(sources)) as pool:
        list(pool.map(Polled.poll, sources))
    return [f"{source.name}: {source.problem}" for source in sources if source.problem]


async def serve(sources: Sequence[Polled], address: Address, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `started` is called with the URL. ServeError when it cannot start as asked."""
    option, insecure = "--metrics-token-file", address.insecure
    token = http_access.bearer_token(address.host, address.token_file, insecure=insecure, option=option)
    connections = http_server.Connections(
        lambda request, respond: _answer(sources, request, respond),
        http_server.Limits(max_body=0, max_connections=100),
        http_access.admission(token),
    )
    beside = {source.name: source.run for source in sources}
    await http_service.serve(connections, address.host, address.port, beside=beside, started=started)


def _answer(sources: Sequence[Polled], request: http_server.Request, respond: http_server.Respond) -> None:
    if request.path in http_access.OPEN:
        respond(HTTPStatus.OK, b'{"status":"ok"}', "application/json")
    elif request.path != b"/metrics":
        respond(HTTPStatus.NOT_FOUND, b'{"error":"there are /metrics, /healthz and /readyz"}', "application/json")
    else:
        respond(HTTPStatus.OK, text(sources), exposition.CONTENT_TYPE)
