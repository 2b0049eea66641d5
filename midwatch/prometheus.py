"""Asking a Prometheus, on prometheus-api-client: what it could not answer is an error, never "no data"."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec

from midwatch.errors import MidwatchError
from midwatch.spec.values import format_duration

RETRIES = 2
BACKOFF_SECONDS = 0.2


class QueryError(MidwatchError):
    """Prometheus did not answer, or not fully; `query` is what was asked."""

    def __init__(self, query: str, reason: str) -> None:
        self.query = query
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
    """Labels of a series, and its times and values; those of a native histogram as Prometheus says them."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    histograms: tuple[tuple[float, Mapping[str, Any]], ...] = ()


def _points(values: Sequence[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    """Times and values; there may be many, so without a step of Python for each."""
    if not values:
        return ()
    times, texts = zip(*values, strict=True)
    return tuple(zip(map(float, times), map(float, texts), strict=True))


class Client:
    """One Prometheus. `timeout` is seconds per attempt; a failed attempt is repeated `retries` times.

    Values may be NaN or infinite, as Prometheus says them.
    """

    def __init__(self, url: str, *, timeout: float = 5.0, token: str | None = None, retries: int = RETRIES) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise MidwatchError(f"{url!r} is not an http or https URL")
        self._url, self._timeout, self._token = url.rstrip("/"), timeout, token
        self._retries = retries

    @cached_property
    def _session(self) -> Any:
        """The session of prometheus-api-client, whose own queries drop warnings and partial answers."""
        import requests  # here: only those who ask should pay for the import
        from prometheus_api_client import PrometheusConnect
        from urllib3.util.retry import Retry

        # It warns of each attempt that failed; the error that is raised in the end says so once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        # A wait under 429, 502 to 504 helps; POST is safe to repeat for a query.
        retry = Retry(
            total=self._retries,
            backoff_factor=BACKOFF_SECONDS,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        session = requests.Session()
        if self._token:
            session.headers["Authorization"] = f"Bearer {self._token}"
        PrometheusConnect(url=self._url, retry=retry, session=session)  # mounts the retries on it
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
        data = self._ask("query_range", expr, {"start": start, "end": end, "step": step})
        return [
            Line(labels=series["metric"], points=tuple((float(at), float(value)) for at, value in series["values"]))
            for series in data["result"]
        ]

    def samples(self, selector: object, *, start: float, end: float) -> list[Line]:
        """Samples of the selected series from `start` to `end` as they were scraped, at their own times."""
        seconds = format_duration(max(end - start, 0.001))
        data = self._ask("query", f"{selector}[{seconds}]", {"time": end})
        return [
            Line(
                labels=series["metric"],
                points=_points(series.get("values", ())),
                histograms=tuple((float(at), value) for at, value in series.get("histograms", ())),
            )
            for series in data["result"]
        ]

    def value(self, expr: object, *, at: float | None = None) -> float | None:
        """The one value of an expression, or None without data; RejectedError when there are several."""
        samples = self.query(expr, at=at)
        if len(samples) > 1:
            raise RejectedError(str(expr), f"{len(samples)} series where one was expected")
        return samples[0].value if samples else None

    def _ask(self, endpoint: str, expr: object, parameters: dict[str, float]) -> Any:
        query = str(expr)
        document = self._fetch(
            endpoint, query, {"query": query, "timeout": format_duration(self._timeout), **parameters}
        )
        if not isinstance(document, dict) or document.get("status") != "success" or "data" not in document:
            raise RejectedError(query, f"no result from Prometheus: {str(document)[:200]}")
        if document.get("warnings"):
            raise PartialError(query, f"the answer may be partial: {'; '.join(map(str, document['warnings']))}")
        return document["data"]

    def _fetch(self, endpoint: str, query: str, parameters: dict[str, Any]) -> Any:
        import requests

        try:
            response = self._session.post(f"{self._url}/api/v1/{endpoint}", data=parameters, timeout=self._timeout)
        except requests.exceptions.RequestException as error:
            raise UnreachableError(query, f"{self._url}: no answer: {type(error).__name__}") from error
        try:
            document = msgspec.json.decode(response.content)
        except (ValueError, UnicodeDecodeError) as error:
            raise UnreachableError(query, f"{self._url}: {response.status_code} and no JSON") from error
        if response.status_code in (400, 422):
            raise RejectedError(query, str(document.get("error", document)))
        if response.status_code != requests.codes.ok:
            raise UnreachableError(query, f"{self._url}: {response.status_code}: {str(document)[:200]}")
        return document
