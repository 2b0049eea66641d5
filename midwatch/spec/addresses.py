"""Addresses in a platform file: never with a user or a password, which would be rendered and told."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

_PORTS = {"http": 80, "https": 443}


def checked_url(url: str) -> str:
    """The address as it is; ValueError when it is none, or holds what belongs into a file, which is not repeated."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("it is not an address; write one with http:// or https://") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the address of {host} holds a user or a password; secrets come from files, not from a URL")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"the address of {host} has a query or a fragment; leave it out, paths are added to it")
    if parts.scheme not in _PORTS or not host or port == 0 or any(letter <= " " for letter in url):
        raise ValueError(f"{url!r} is not an address; write it with http:// or https://")
    return url


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which nobody else reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


PlainUrl = Annotated[str, AfterValidator(checked_url)]
"""An http or https address that paths can be added to."""
