"""Asking a Prometheus, on prometheus-api-client: what it could not answer is an error, never "no data"."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import msgspec
import urllib3

from midwatch.errors import MidwatchError
from midwatch.spec.addresses import checked_url, origin
from midwatch.spec.model import Prometheus
from midwatch.spec.prometheus_auth import Auth
from midwatch.spec.values import format_duration, parse_duration

RETRIES = 2
MAX_ANSWER_BYTES = 256 << 20
"""Prometheus' own limit of 50 million samples is far more; nobody here asks for a part of this."""


class QueryError(MidwatchError):
    """Prometheus did not answer, or not fully; `query` is what was asked, `reason` why."""

    def __init__(self, query: str, reason: str) -> None:
        self.query, self.reason = query, reason
        super().__init__(f"{reason} (query: {query})")


class UnreachableError(QueryError):
    """No connection, or no answer in time."""


class RejectedError(QueryError):
    """Prometheus says the query is wrong or cannot be run."""


class PartialError(QueryError):
    """An answer with warnings: some data behind it may be missing."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Labels and value of a series at a time (seconds since the epoch)."""

    labels: Mapping[str, str]
    value: float
    time: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """Labels of a series, and its times and values; those of a native histogram as Prometheus says them.

    `points` may also be an array whose rows are the pairs.
    """

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    histograms: tuple[tuple[float, Mapping[str, Any]], ...] = ()


class _Series(msgspec.Struct):
    """A series of samples, whose text is read by `_points`."""

    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")
    histograms: list[tuple[float, dict[str, Any]]] = []


class _Matrix(msgspec.Struct):
    result: list[_Series]


class _Samples(msgspec.Struct):
    """A whole answer."""

    status: Literal["success"]
    data: _Matrix
    warnings: list[str] = []


_SAMPLES = msgspec.json.Decoder(_Samples)


def _read_samples(content: bytes) -> Any:
    """An answer of samples; another one as it is."""
    try:
        answer = _SAMPLES.decode(content)
    except msgspec.ValidationError:
        return msgspec.json.decode(content)
    return {"status": answer.status, "data": answer.data, "warnings": answer.warnings}


def _points(values: msgspec.Raw) -> Any:
    """Rows of a time and a value, such as of `[[1.5,"2"],[3,"+Inf"]]`.

    There may be half a million in an answer: they are read without a step of Python for each.
    """
    import numpy as np  # here: those who ask for a value do not need it

    numbers = bytes(values).translate(None, b'[]" \t\r\n')
    return np.array(numbers.split(b",") if numbers else [], dtype=float).reshape(-1, 2)


class Points(Sequence[tuple[float, float]]):
    """Times and values of an answer, read when they are looked at; as an array whose rows are the pairs at once."""

    def __init__(self, written: msgspec.Raw) -> None:
        self._written = written

    @cached_property
    def _pairs(self) -> tuple[tuple[float, float], ...]:
        return tuple((float(at), float(value)) for at, value in msgspec.json.decode(self._written))

    @overload
    def __getitem__(self, place: int) -> tuple[float, float]: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[tuple[float, float], ...]: ...

    def __getitem__(self, place: int | slice) -> tuple[float, float] | tuple[tuple[float, float], ...]:
        return self._pairs[place]

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        return self._pairs == (other._pairs if isinstance(other, Points) else other)

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return _points(self._written)


class Client:
    """One Prometheus. `timeout` is seconds per attempt, however slowly it answers; `retries` more may follow.

    `token` is a bearer token instead of what `auth` says. `deadline` is a moment of the monotonic clock by which every
    question has ended. Values may be NaN or infinite, as Prometheus says them. Several threads may ask.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        token: str | None = None,
        auth: Auth | None = None,
        retries: int = RETRIES,
        deadline: float = math.inf,
    ) -> None:
        try:
            self._url, self._retries = checked_url(url).rstrip("/"), retries
        except ValueError as error:
            raise MidwatchError(str(error)) from error
        self._timeout, self._token, self._auth, self._deadline = timeout, token, auth, deadline
        self._heard: Callable[[str], object] | None = None

    @classmethod
    def of(
        cls,
        settings: Prometheus,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float | None = None,
        retries: int = RETRIES,
    ) -> Client:
        """The platform file's Prometheus; at a `url` of another origin, one that is asked without its secrets."""
        is_other = url is not None and origin(url) != origin(settings.url)
        return cls(
            url or settings.url,
            timeout=settings.timeout if timeout is None else timeout,
            token=token,
            auth=None if is_other else settings.auth,
            retries=retries,
        )

    def until(self, deadline: float) -> Client:
        """The same Prometheus, asked until a moment of the monotonic clock."""
        client = copy.copy(self)
        client.__dict__["_session"] = self._session
        client._deadline = deadline
        return client

    def taking_parts(self, heard: Callable[[str], object]) -> Client:
        """The same Prometheus, of which an answer with warnings is taken, too; `heard` is told each of them.

        For who says what is missing beside what is there, such as a view over regions: without a warning an answer may
        be a part all the same (`midwatch.silent_regions`).
        """
        client = copy.copy(self)
        client.__dict__["_session"] = self._session
        client._heard = heard
        return client

    @cached_property
    def _session(self) -> Any:
        """The session of prometheus-api-client, whose own queries drop warnings and partial answers."""
        from midwatch import prometheus_access  # here: only those who ask should pay for the import

        # It warns of each attempt that failed; the error that is raised in the end says so once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        session = prometheus_access.session(self._url, self._auth, self._retries)
        if self._token:
            session.auth = None
            session.headers["Authorization"] = f"Bearer {self._token}"
        return session

    def prepare(self) -> None:
        """Import what the first question would otherwise wait for."""
        _ = self._session

    def query(self, expr: object, *, at: float | None = None) -> list[Sample]:
        """Instant query; an empty list means that Prometheus has no such series at that time."""
        data = self._ask("query", expr, {} if at is None else {"time": at})
        if data["resultType"] == "scalar":
            return [Sample(labels={}, time=float(data["result"][0]), value=float(data["result"][1]))]
        return [
            Sample(labels=series["metric"], time=float(series["value"][0]), value=float(series["value"][1]))
            for series in data["result"]
            if "value" in series
        ]

    def query_range(self, expr: object, *, start: float, end: float, step: float) -> list[Line]:
        """Range query, every `step` seconds from `start` to `end`."""
        data = self._ask("query_range", expr, {"start": start, "end": end, "step": step}, _read_samples)
        if not isinstance(data, _Matrix):
            raise RejectedError(str(expr), "Prometheus answered with no samples of series")
        return [Line(labels=one.metric, points=Points(one.values)) for one in data.result]

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples of the selected series from `start` to `end` as they were scraped, at their own times."""
        seconds = format_duration(max(end - start, 0.001))
        data = self._ask("query", f"{selector}[{seconds}]", {"time": end}, _read_samples)
        if not isinstance(data, _Matrix):
            raise RejectedError(str(selector), "Prometheus answered with no samples of series")
        return [
            Line(labels=one.metric, points=_points(one.values), histograms=tuple(one.histograms)) for one in data.result
        ]

    def value(self, expr: object, *, at: float | None = None) -> float | None:
        """The one value of an expression, or None without data; RejectedError when there are several."""
        samples = self.query(expr, at=at)
        if len(samples) > 1:
            raise RejectedError(str(expr), f"{len(samples)} series where one was expected")
        return samples[0].value if samples else None

    def configuration(self) -> str:
        """The configuration that it runs with, as YAML; QueryError without an answer."""
        document = self._fetch("status/config", "its configuration", {}, msgspec.json.decode, method="GET")
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("yaml"), str):
            raise RejectedError("its configuration", f"{self._url} does not say it")
        return str(data["yaml"])

    def retention(self) -> float | None:
        """Seconds for which it keeps samples, None where it does not say: `15d or 10GiB`, for one (web/web.go)."""
        try:
            document = self._fetch("status/runtimeinfo", "its retention", {}, msgspec.json.decode, method="GET")
        except QueryError:  # Thanos and Mimir answer queries, and not this
            return None
        data = document.get("data") if isinstance(document, dict) else None
        said = data.get("storageRetention") if isinstance(data, dict) else None
        try:
            return parse_duration(str(said).partition(" or ")[0])
        except ValueError:
            return None

    def _ask(
        self,
        endpoint: str,
        expr: object,
        parameters: dict[str, float],
        read: Callable[[bytes], Any] = msgspec.json.decode,
    ) -> Any:
        query = str(expr)
        document = self._fetch(
            endpoint, query, {"query": query, "timeout": format_duration(self._timeout), **parameters}, read
        )
        if not isinstance(document, dict) or document.get("status") != "success" or "data" not in document:
            raise RejectedError(query, f"no result from Prometheus: {str(document)[:200]}")
        warnings = list(map(str, document.get("warnings") or ()))
        if warnings and self._heard is not None:
            for warning in warnings:
                self._heard(warning)
        elif warnings:
            raise PartialError(query, f"the answer may be partial: {'; '.join(warnings)}")
        return document["data"]

    def _fetch(
        self,
        endpoint: str,
        query: str,
        parameters: dict[str, Any],
        read: Callable[[bytes], Any],
        *,
        method: str = "POST",
    ) -> Any:
        import requests

        timeout = min(self._timeout, self._deadline - time.monotonic())
        if timeout <= 0:
            raise UnreachableError(query, f"{self._url}: not asked, as there was no time left")
        try:
            response = self._session.request(
                method,
                f"{self._url}/api/v1/{endpoint}",
                data=parameters,
                timeout=timeout,
                allow_redirects=False,
                stream=True,
                verify=self._session.verify,  # else REQUESTS_CA_BUNDLE would come before the session's
            )
            with response:
                content = _content(response)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(query, f"{self._url}: no answer: {type(error).__name__}") from error
        if content is None:
            raise UnreachableError(query, f"{self._url}: an answer of more than {MAX_ANSWER_BYTES} bytes")
        if response.is_redirect:
            where = response.headers["location"].partition("?")[0]
            raise UnreachableError(query, f"{self._url}: {response.status_code} to {where}; is it a login page?")
        if response.status_code in (401, 403):
            remedy = "see prometheus.auth of the platform file"
            raise UnreachableError(query, f"{self._url}: {response.status_code}: it does not let us ask; {remedy}")
        try:
            document = read(content)
        except (ValueError, UnicodeDecodeError, RecursionError) as error:
            raise UnreachableError(query, f"{self._url}: {response.status_code} and no JSON") from error
        if response.status_code in (400, 422) and isinstance(document, dict):
            raise RejectedError(query, str(document.get("error", document)))
        if response.status_code != requests.codes.ok:
            raise UnreachableError(query, f"{self._url}: {response.status_code}: {str(document)[:200]}")
        return document


def client_at(url: str, file: Path | None) -> Client:
    """The Prometheus of a URL that a command was given; the platform file's own is asked as its `auth` says."""
    from midwatch.spec import load  # here: a service that asks has read its platform file already

    described = load.read(file).platform if file else None
    return Client.of(described.prometheus, url) if described else Client(url)


def _content(response: Any) -> bytes | None:
    """The body of an answer, None where it has no end in sight."""
    parts, size = [], 0
    for part in response.iter_content(1 << 20):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            return None
    return b"".join(parts)
