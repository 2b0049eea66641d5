"""How a Prometheus is reached: TLS, who asks, and an end to every answer, however slowly it comes.

Secrets are read from their files at each question, since they are rotated in place; none is in an error's words.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3.connection
import urllib3.connectionpool
from prometheus_api_client import PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from midwatch.errors import MidwatchError
from midwatch.spec import addresses
from midwatch.spec.prometheus_auth import Auth

BACKOFF_SECONDS = 0.2


def session(url: str, auth: Auth | None, retries: int) -> requests.Session:
    """A session of prometheus-api-client that asks as `auth` says; a failed attempt is repeated `retries` times."""
    # A wait under 429, 502 to 504 helps; POST is safe to repeat for a query.
    retry = Retry(
        total=retries,
        backoff_factor=BACKOFF_SECONDS,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    made = requests.Session()
    PrometheusConnect(url=url, retry=retry, session=made)
    made.mount(url, _Adapter(max_retries=retry, auth=auth))
    if addresses.is_loopback(urlsplit(url).hostname or ""):
        # On one machine an answer is sent sooner than it is packed: packing 10 MB takes Prometheus half a second.
        made.headers["Accept-Encoding"] = "identity"
    if auth is not None:
        made.auth = _Who(auth)
    if auth is not None and auth.tls is not None:
        if auth.tls.ca_file is not None:
            made.verify = str(auth.tls.ca_file)
        if auth.tls.cert_file is not None:
            made.cert = str(auth.tls.cert_file), str(auth.tls.key_file)
        _ensure_usable(auth)
    return made


def _ensure_usable(auth: Auth) -> None:
    """MidwatchError for certificates that cannot be used."""
    tls = auth.tls
    if tls is None:
        return
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.cert_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as error:
        names = ", ".join(str(file) for file in (tls.ca_file, tls.cert_file, tls.key_file) if file is not None)
        raise MidwatchError(f"{names}: the certificates cannot be used: {error.strerror or error}") from error


class _Who(requests.auth.AuthBase):
    """Puts into each request what says who asks."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        for name, value in headers(self._auth).items():
            request.headers[name] = value
        return request


def headers(auth: Auth) -> dict[str, str]:
    """Headers that say who asks; MidwatchError when a file cannot be read."""
    made = {name: _secret(file) for name, file in auth.header_files.items()}
    if auth.basic is not None:
        pair = f"{auth.basic.username}:{_secret(auth.basic.password_file)}"
        made["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    if auth.token_file is not None:
        made["Authorization"] = f"Bearer {_secret(auth.token_file)}"
    return made


def _secret(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MidwatchError(f"{file}: the secret cannot be read: {getattr(error, 'strerror', error)}") from error
    if not text or not text.isascii() or not text.isprintable():
        raise MidwatchError(f"{file} is empty, or has characters that no header may have")
    return text


# An end to every answer --------------------------------------------------------------------------------------------


class _Raw(io.RawIOBase):
    """Bytes of a socket until a deadline: the timeout of a socket begins anew with each byte that drips in."""

    def __init__(self, sock: socket.socket, opened: Any, deadline: float) -> None:
        self._sock, self._opened, self._deadline = sock, opened, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._opened.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read whole within the timeout that its socket has at its beginning."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        timeout = sock.gettimeout()
        if timeout is not None:
            self.fp = io.BufferedReader(_Raw(sock, self.fp, time.monotonic() + timeout))


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _SecureConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Connections whose answers end; `auth` may name the server as its certificate does."""

    def __init__(self, *, max_retries: Retry, auth: Auth | None) -> None:
        self._name = auth.tls.server_name if auth is not None and auth.tls is not None else None
        super().__init__(max_retries=max_retries)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools."""
        if self._name:
            options |= {"server_hostname": self._name, "assert_hostname": self._name}
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
