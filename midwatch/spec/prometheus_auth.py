"""The section `prometheus.auth`: who asks Prometheus. Every secret is the path of a file.

Paths are absolute: Prometheus, Grafana and the jobs of a cluster read the same files, each from a folder of its own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from midwatch.spec.base import Strict


def _absolute(file: Path) -> Path:
    if not file.is_absolute():
        raise ValueError(f"{file} is not an absolute path; several programs read it, each from a folder of its own")
    return file


SecretFile = Annotated[Path, Field(strict=False), AfterValidator(_absolute)]

_RESERVED = frozenset({"authorization", "host", "content-length", "content-type", "transfer-encoding", "connection"})


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError(f"{name!r} is not the name of a header")
    if name.lower() in _RESERVED:
        raise ValueError(f"{name} is not set here; use basic or token_file for who asks")
    return name


class Basic(Strict):
    """A name and its password."""

    username: Annotated[str, Field(pattern=r"^[^:\s]+$")]
    """The name, without a colon."""
    password_file: SecretFile
    """File with the password."""


class Tls(Strict):
    """The certificates of TLS, for an https address."""

    ca_file: SecretFile | None = None
    """File with the authorities that the server's certificate is checked against; the system's without it."""
    cert_file: SecretFile | None = None
    """File with the certificate that says who asks."""
    key_file: SecretFile | None = None
    """File with that certificate's key."""
    server_name: str | None = None
    """Name in the server's certificate, where it is not the address's."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("needs both cert_file and key_file, or none of them")
        return self


class Auth(Strict):
    """Who asks Prometheus: a name and a password or a token, further headers, certificates."""

    basic: Basic | None = None
    """Name and password."""
    token_file: SecretFile | None = None
    """File with a bearer token."""
    header_files: dict[Annotated[str, AfterValidator(_checked_name)], SecretFile] = {}
    """Further headers: the name, and the file with the value, such as that of a tenant."""
    tls: Tls | None = None
    """Certificates."""

    @model_validator(mode="after")
    def _one_identity(self) -> Auth:
        if self.basic is not None and self.token_file is not None:
            raise ValueError("has basic and token_file; a request has one of them")
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is read."""
        tls = (self.tls.ca_file, self.tls.cert_file, self.tls.key_file) if self.tls else ()
        named = (self.basic.password_file if self.basic else None, self.token_file, *self.header_files.values(), *tls)
        return tuple(file for file in named if file is not None)
