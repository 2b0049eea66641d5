"""A model that another server has: rows are posted to it in batches, marked as an explainer's, each within its time.

The server, and whoever reads what it logs, takes such rows for predictions unless it looks at the header. MLServer
does (its Seldon-Skip-Logging), and so does `midwatch.instrument`.
"""

from __future__ import annotations

import json
import math
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import urllib3

from midwatch import http_access
from midwatch.instrument import SYNTHETIC_HEADER
from monitors.explainer.explanation import Floats, Rows
from monitors.explainer.model import ModelError, RefusedError, as_answers

BATCH_ROWS = 500
"""Rows of one request: a body of some hundred kilobytes."""
MAX_ANSWER_BYTES = 16 << 20
PIECE = 64 << 10
LEAST_SECONDS = 0.001
MOST_WORDS = 200
"""Characters of a server's own words that are passed on."""
_NOT_OF_THE_ROWS = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.FAILED_DEPENDENCY,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Statuses of 400 and more that are about who asks, and when. By others a server says that the request is what is
wrong: KServe's by 400, MLServer's by 400 and whatever a runtime raises, FastAPI's by 422."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a server is asked: the file of its bearer token, and of its authority."""

    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteModel:
    """A model at a URL; `body` is the document of rows, `read` finds the answers in the document that comes back."""

    url: str
    body: Callable[[Rows], Any]
    read: Callable[[Any], Any]
    pool: urllib3.PoolManager
    access: Access

    def predict(self, rows: Rows, seconds: float) -> Floats:
        """Answers to all rows within `seconds`; ModelError when they do not come, or are none."""
        until = time.monotonic() + seconds
        parts = [
            self._answered(rows[start : start + BATCH_ROWS], until - time.monotonic())
            for start in range(0, len(rows), BATCH_ROWS)
        ]
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError(f"{self.url}: answers one batch with other outputs than the next")
        return np.concatenate(parts)

    def _answered(self, rows: Rows, seconds: float) -> Floats:
        content = posted(self.pool, self.url, self.body(rows), self.access, seconds)
        try:
            answers = self.read(json.loads(content))
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise ModelError(f"{self.url}: the answer has no predictions") from error
        return as_answers(answers, len(rows), self.url)


def posted(pool: urllib3.PoolManager, url: str, document: Any, access: Access, seconds: float) -> bytes:
    """The answer to a document within `seconds`; ModelError for another status than 200, and when there is none.

    RefusedError where the status says that the document is what is wrong.
    """
    if seconds < LEAST_SECONDS:
        raise ModelError(f"{url}: there is no time left to ask it")
    headers = {"content-type": "application/json", SYNTHETIC_HEADER: "true"}
    if access.token_file is not None:
        headers["authorization"] = f"Bearer {http_access.read_token(access.token_file).decode('latin-1')}"
    until = time.monotonic() + seconds
    try:
        answer = pool.request(
            "POST",
            url,
            body=json.dumps(document).encode(),
            headers=headers,
            timeout=urllib3.Timeout(total=seconds),
            redirect=False,
            retries=False,
            preload_content=False,
        )
        content = _content(answer, until)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ModelError(f"{url}: no answer: {type(error).__name__}") from error
    if answer.status != HTTPStatus.OK:
        words = f"{answer.status} {_words(content)}".rstrip()
        said = f"{url}: {words}"
        if 400 <= answer.status < 500 and answer.status not in _NOT_OF_THE_ROWS:
            raise RefusedError(said, words)
        raise ModelError(said)
    if len(content) > MAX_ANSWER_BYTES:
        raise ModelError(f"{url}: the answer has more than {MAX_ANSWER_BYTES >> 20} MiB")
    return content


def _words(content: bytes) -> str:
    """What a server says is wrong: `error` of KServe's and MLServer's, `detail` of FastAPI's, or the text itself."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    told = [document.get(name) for name in ("error", "detail", "message")] if isinstance(document, dict) else []
    words = next((one for one in told if isinstance(one, str) and one), None) or content.decode(errors="replace")
    return " ".join(words.split())[:MOST_WORDS]


def _content(answer: urllib3.BaseHTTPResponse, until: float) -> bytes:
    """The body. A connection is used again only when all of it was read."""
    try:
        content = _within(answer, until)
    except BaseException:
        answer.close()
        raise
    if len(content) > MAX_ANSWER_BYTES:
        answer.close()
    else:
        answer.release_conn()
    return content


def _within(answer: urllib3.BaseHTTPResponse, until: float) -> bytes:
    """The body, and one byte more than may be at most; TimeoutError when it comes too slowly."""
    content = bytearray()
    while len(content) <= MAX_ANSWER_BYTES and (piece := answer.read1(PIECE)):
        content += piece
        if time.monotonic() > until:
            raise TimeoutError
    return bytes(content)


def pool(ca_file: Path | None) -> urllib3.PoolManager:
    """Connections to a server, whose certificate is always verified; ModelError for an authority that is none."""
    if ca_file is None:
        return urllib3.PoolManager(maxsize=16)
    try:
        return urllib3.PoolManager(maxsize=16, ssl_context=ssl.create_default_context(cafile=ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ModelError(f"{ca_file}: no certificates: {error}") from error


def plain(rows: Rows) -> list[list[Any]]:
    """Rows as JSON has them: NaN, which it does not have, is null."""
    return [
        [None if isinstance(value, float) and math.isnan(value) else value for value in row] for row in rows.tolist()
    ]
