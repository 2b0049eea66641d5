"""Where a service may listen, and who may ask it: an address off loopback needs a bearer token."""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path

from midwatch.errors import MidwatchError
from midwatch.http_server import Headers


class ServeError(MidwatchError):
    """A service cannot start as asked."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; ServeError if it is neither."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ServeError(f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:9500")
    return host.strip("[]"), int(port)


def bearer_token(host: str, token_file: Path | None, *, insecure: bool) -> bytes | None:
    """Bearer token of the service; ServeError when it would be open to the network without one."""
    if token_file is not None:
        try:
            token = token_file.read_bytes().strip()
        except OSError as error:
            raise ServeError(f"{token_file}: {error.strerror}; the token cannot be read") from error
        if not token:
            raise ServeError(f"{token_file} is empty; put a token in it")
        return token
    if not _is_loopback(host) and not insecure:
        raise ServeError(
            f"{host} is not a loopback address: give --token-file, or --insecure to serve anybody who asks"
        )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_bearer(headers: Headers, token: bytes) -> bool:
    """Whether a request carries the token; compared in constant time."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)
