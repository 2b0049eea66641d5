"""Asking an Alertmanager by its API v2 (0.25 to 0.34: openapi.yaml): alerts, silences, and the configuration it runs.

What it did not answer is an error, never "nothing fires". A question is repeated when it gets no answer, a change is
not: a silence that was made and not confirmed would be made twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
import re2

from midwatch.errors import Exit, MidwatchError
from midwatch.spec.addresses import checked_url, origin
from midwatch.spec.model import Platform
from midwatch.spec.prometheus_auth import Auth

Answer = TypeVar("Answer")

RETRIES = 1
MAX_ANSWER_BYTES = 64 << 20
NOT_FOUND = (404, 422)
"""Of a silence: there is none of that id, and the id is no UUID."""


class AlertmanagerError(MidwatchError):
    """Alertmanager did not answer, or refused."""

    exit = Exit.INCONCLUSIVE


class UnknownSilenceError(AlertmanagerError):
    """There is no silence of that id."""

    exit = Exit.USAGE


class AlertStatus(msgspec.Struct, frozen=True):
    """`state` is active, suppressed or unprocessed; the others are ids of silences, fingerprints, names of intervals.

    `muted_by` is there since 0.28, and empty before though an interval may mute.
    """

    state: str = ""
    silenced_by: tuple[str, ...] = msgspec.field(name="silencedBy", default=())
    inhibited_by: tuple[str, ...] = msgspec.field(name="inhibitedBy", default=())
    muted_by: tuple[str, ...] | None = msgspec.field(name="mutedBy", default=None)


class _Receiver(msgspec.Struct, frozen=True):
    name: str


class Alert(msgspec.Struct, frozen=True):
    """An alert that Alertmanager has and that is not resolved."""

    fingerprint: str
    labels: dict[str, str]
    starts_at: datetime = msgspec.field(name="startsAt")
    annotations: dict[str, str] = {}
    status: AlertStatus = AlertStatus()
    receivers: tuple[_Receiver, ...] = ()
    generator_url: str = msgspec.field(name="generatorURL", default="")


class Matcher(msgspec.Struct, frozen=True):
    """A matcher of a silence."""

    name: str
    value: str
    is_regex: bool = msgspec.field(name="isRegex", default=False)
    is_equal: bool = msgspec.field(name="isEqual", default=True)

    def __str__(self) -> str:
        operator = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{operator[self.is_regex, self.is_equal]}"{escaped}"'


def fits(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether a silence's matchers find an alert; a label that is missing is an empty one."""
    return all(_fits(one, labels.get(one.name, "")) for one in matchers)


def _fits(matcher: Matcher, value: str) -> bool:
    if not matcher.is_regex:
        return (value == matcher.value) == matcher.is_equal
    try:
        is_same = re2.fullmatch(matcher.value, value) is not None
    except re2.error:
        return False
    return is_same == matcher.is_equal


class _SilenceStatus(msgspec.Struct, frozen=True):
    state: str = ""


class Silence(msgspec.Struct, frozen=True):
    """A silence; `status.state` is pending, active or expired."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: datetime = msgspec.field(name="startsAt")
    ends_at: datetime = msgspec.field(name="endsAt")
    created_by: str = msgspec.field(name="createdBy", default="")
    comment: str = ""
    status: _SilenceStatus = _SilenceStatus()

    @property
    def state(self) -> str:
        """`pending`, `active` or `expired`."""
        return self.status.state


class _Version(msgspec.Struct, frozen=True):
    version: str = ""


class _Config(msgspec.Struct, frozen=True):
    original: str = ""


class Status(msgspec.Struct, frozen=True):
    """What it runs: version, and configuration as YAML, in which secrets read `<secret>`."""

    version_info: _Version = msgspec.field(name="versionInfo", default=_Version())
    config: _Config = _Config()
    uptime: datetime | None = None

    @property
    def version(self) -> str:
        """Such as `0.25.0`."""
        return self.version_info.version


class _Made(msgspec.Struct):
    silence_id: str = msgspec.field(name="silenceID")


class Client:
    """One Alertmanager. `timeout` is seconds per attempt. Several threads may ask."""

    def __init__(self, url: str, *, timeout: float = 5.0, auth: Auth | None = None) -> None:
        try:
            self.url = checked_url(url).rstrip("/")
        except ValueError as error:
            raise MidwatchError(str(error)) from error
        self._timeout, self._auth = timeout, auth

    @classmethod
    def of(cls, platform: Platform, url: str | None = None, *, timeout: float | None = None) -> Client:
        """The platform file's Alertmanager, or one at another URL.

        `prometheus.auth` is for it too where it has Prometheus' origin, as behind one gateway; no other is told it.
        """
        asked = url or platform.alertmanager.url
        is_same = origin(asked) == origin(platform.prometheus.url)
        own = platform.prometheus.auth if is_same else None
        return cls(asked, timeout=platform.prometheus.timeout if timeout is None else timeout, auth=own)

    def status(self) -> Status:
        """Its version and configuration."""
        return self._read(Status, "status")

    def alerts(self) -> list[Alert]:
        """Alerts that are not resolved, whoever holds them back."""
        return self._read(list[Alert], "alerts")

    def silences(self) -> list[Silence]:
        """Silences, also those that have ended, which it keeps for days."""
        return self._read(list[Silence], "silences")

    def silence(
        self,
        matchers: Sequence[Matcher],
        *,
        starts_at: datetime,
        ends_at: datetime,
        created_by: str,
        comment: str,
        replaces: str | None = None,
    ) -> str:
        """Make a silence, or change the one of an id, and return its id: of a changed one it may be another.

        Alertmanager changes in place only what has equal matchers; else it ends the old one and makes a new one.
        """
        body: dict[str, Any] = {
            "matchers": [msgspec.to_builtins(one) for one in matchers],
            "startsAt": starts_at.isoformat(),
            "endsAt": ends_at.isoformat(),
            "createdBy": created_by,
            "comment": comment,
        }
        if replaces is not None:
            body["id"] = replaces
        answer = self._request("POST", "silences", body=body)
        return self._decoded(_Made, answer).silence_id

    def expire(self, silence: str) -> None:
        """End a silence; one that has ended already stays as it is. UnknownSilenceError when there is none."""
        self._request("DELETE", f"silence/{quote(silence, safe='')}")

    def _read(self, kind: type[Answer], path: str) -> Answer:
        return self._decoded(kind, self._request("GET", path))

    def _decoded(self, kind: type[Answer], content: bytes) -> Answer:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AlertmanagerError(f"{self.url}: not what an Alertmanager answers: {error}") from error

    @cached_property
    def _sessions(self) -> Mapping[str, Any]:
        from midwatch import prometheus_access  # here: only those who ask should pay for the import

        # It warns of each attempt that failed; the error that is raised in the end says so once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        asking = prometheus_access.session(self.url, self._auth, RETRIES)
        changing = prometheus_access.session(self.url, self._auth, 0)
        return {"GET": asking, "POST": changing, "DELETE": changing}

    def _request(self, method: str, path: str, body: object = None) -> bytes:
        import requests
        import urllib3.exceptions

        session = self._sessions[method]
        try:
            response = session.request(
                method,
                f"{self.url}/api/v2/{path}",
                json=body,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                verify=session.verify,  # else REQUESTS_CA_BUNDLE would come before the session's
            )
            with response:
                content = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise AlertmanagerError(f"{self.url}: no answer: {type(error).__name__}") from error
        self._ensure_answered(response, content, path)
        return bytes(content)

    def _ensure_answered(self, response: Any, content: bytes, path: str) -> None:
        """AlertmanagerError for an answer that is none."""
        status = response.status_code
        if len(content) > MAX_ANSWER_BYTES:
            raise AlertmanagerError(f"{self.url}: an answer of more than {MAX_ANSWER_BYTES} bytes")
        if response.ok and not response.is_redirect:
            return
        is_unknown = status in NOT_FOUND or b"not found" in content  # 0.25 has a 500 for it
        if is_unknown and path.startswith("silence/"):
            silence = unquote(path.partition("/")[2])
            raise UnknownSilenceError(f"{self.url}: there is no silence {silence!r}; its page lists those there are")
        said = " ".join(content[:200].decode(errors="replace").split())
        remedy = "; it does not let us ask: see prometheus.auth of the platform file" if status in (401, 403) else ""
        raise AlertmanagerError(f"{self.url}: {status}{': ' + said if said else ''}{remedy}")
