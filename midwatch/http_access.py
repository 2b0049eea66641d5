"""Where a service may listen, and who may ask it: an address off loopback needs a bearer token.

The token is looked at before a body is read: nobody without it can have memory taken.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from pathlib import Path

from midwatch.errors import MidwatchError
from midwatch.http_server import Admit, Head, Headers, Refusal
from midwatch.spec import addresses

METRICS = b"/metrics"
OPEN = (b"/healthz", b"/readyz")
"""What anybody may ask: a kubelet has no token. No body is read there."""


class ServeError(MidwatchError):
    """A service cannot start as asked."""


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; ServeError if it is neither."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ServeError(f"{text!r} is not an address; write HOST:PORT, such as 127.0.0.1:9500")
    return host.strip("[]"), int(port)


def bearer_token(host: str, token_file: Path | None, *, insecure: bool, option: str = "--token-file") -> bytes | None:
    """Bearer token of the service; ServeError when it would be open to the network without one."""
    if token_file is not None:
        return read_token(token_file)
    if not addresses.is_loopback(host) and not insecure:
        raise ServeError(f"{host} is not a loopback address: give {option}, or --insecure to serve anybody who asks")
    return None


def read_token(file: Path) -> bytes:
    """The token in a file; ServeError when there is none."""
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise ServeError(f"{file}: {error.strerror}; the token cannot be read") from error
    if not token:
        raise ServeError(f"{file} is empty; put a token in it")
    return token


def is_bearer(headers: Headers, token: bytes) -> bool:
    """Whether a request carries the token; compared in constant time."""
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), token)


def admission(token: bytes | None, metrics_token: bytes | None = None) -> Admit:
    """Who may send a request: whoever has the token, anybody without one, and for health anybody without a body.

    `metrics_token` admits to `/metrics` alone: who scrapes need not be able to do anything else.
    """
    everywhere = [one for one in (token,) if one is not None]
    at_metrics = [one for one in (token, metrics_token) if one is not None]

    def admit(head: Head) -> Refusal | None:
        tokens = at_metrics if head.path == METRICS else everywhere
        if not tokens or any(is_bearer(head.headers, one) for one in tokens):
            return None
        if head.path not in OPEN:
            return Refusal(HTTPStatus.UNAUTHORIZED, "a bearer token is needed", "www-authenticate: Bearer\r\n")
        has_body = b"transfer-encoding" in head.headers or head.headers.get(b"content-length", b"0").strip(b"0")
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no body is read here") if has_body else None

    return admit
