"""The service of `midwatch systems export`: a thread for each source, and /metrics, from start to a clean stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import midwatch
from exporters.systems import kinds
from exporters.systems.polling import Polled
from midwatch import exposition, http_access, http_service, metrics
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
    where = http_service.Address(host=address.host, port=address.port, token=token)
    published = http_service.Published(text=lambda: text(sources))
    beside = {source.name: source.run for source in sources}
    await http_service.publish(published, where, beside=beside, started=started)
