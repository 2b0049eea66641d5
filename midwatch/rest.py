"""Asking a system's REST API for documents and texts, each within a time and a size. `WritableApi` changes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests
import urllib3

from midwatch import prometheus_access
from midwatch.errors import MidwatchError
from midwatch.spec.prometheus_auth import Auth

MAX_ANSWER_BYTES = 64 << 20
"""A list of some thousand applications of Argo CD with their resources has tens of megabytes."""
RETRIES = 1
SHOWN_CHARACTERS = 200
"""Of an answer that is no success: enough for the server's own words."""


class StatusError(MidwatchError):
    """The server answered with another status than 200."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class Api:
    """A server that is asked as `auth` says; `timeout` is seconds for one answer, however slowly it comes."""

    def __init__(self, url: str, auth: Auth | None, timeout: float) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        self._session = prometheus_access.session(self._url, auth, RETRIES)

    def document(self, path: str, /, **params: str) -> dict[str, Any]:
        """A JSON object; StatusError for another status than 200, MidwatchError when there is no such answer."""
        return self._parsed(path, self._get(path, params))

    def found(self, path: str, body: Mapping[str, Any], /) -> dict[str, Any]:
        """The answer to a search, whose question is a JSON object; errors as those of `document`."""
        return self._parsed(path, self._answer("POST", path, json=dict(body)))

    def _parsed(self, path: str, content: bytes) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError as error:
            raise MidwatchError(f"{self._url}{path}: the answer is no JSON") from error
        if not isinstance(document, dict):
            raise MidwatchError(f"{self._url}{path}: the answer is no JSON object")
        return document

    def text(self, path: str, /, **params: str) -> str:
        """A text; errors as those of `document`."""
        return self._get(path, params).decode(errors="replace")

    def _get(self, path: str, params: dict[str, str]) -> bytes:
        return self._answer("GET", path, params=params)

    def _answer(self, method: str, path: str, **asked: Any) -> bytes:
        where = f"{self._url}{path}"
        try:
            # A redirect would carry the token to wherever it leads.
            with self._session.request(
                method, where, timeout=self._timeout, stream=True, allow_redirects=False, **asked
            ) as response:
                content: bytes = response.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise MidwatchError(f"{where}: no answer: {type(error).__name__}") from error
        if response.status_code != requests.codes.ok:
            said = " ".join(content[:SHOWN_CHARACTERS].decode(errors="replace").split())
            raise StatusError(f"{where}: {response.status_code} {said}", response.status_code)
        if len(content) > MAX_ANSWER_BYTES:
            raise MidwatchError(f"{where}: the answer has more than {MAX_ANSWER_BYTES >> 20} MiB")
        return content


class WritableApi(Api):
    """A server that is also told what to change."""

    def post(self, path: str, document: Mapping[str, Any], /) -> None:
        """Send a JSON object, which has to be safe to send again; errors as those of `document`."""
        self._answer("POST", path, json=document)
