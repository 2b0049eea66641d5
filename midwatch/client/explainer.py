"""Attributions from an explanation service, for the predictions of a sample: `log.send(…, attributions=…)`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from midwatch.client import encoding
from midwatch.client.connection import Connection
from midwatch.errors import MidwatchError

OK = 200


class _Explanation(msgspec.Struct):
    attributions: dict[str, float]


class _Answer(msgspec.Struct):
    explanations: list[_Explanation]
    version: str = ""


_encode = msgspec.json.Encoder(enc_hook=encoding.plain).encode
_answer = msgspec.json.Decoder(_Answer)


class Explainer:
    """Asks `midwatch explain serve` at `url` about rows of a model; each answer takes `timeout` seconds at most.

    `version` is the one that predicts: explanations of another are not taken, as of a service that is not replaced yet.
    A `token_file` is read for each request. Threads and forked processes may use one: each has a connection of its own.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: str | None = None,
        timeout: float = 0.25,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
    ) -> None:
        self._timeout, self._version = timeout, version
        self._settings: dict[str, Any] = {
            "path": f"/v1/models/{quote(model, safe='')}:explain",
            "content_type": "application/json",
            "token_file": None if token_file is None else Path(token_file),
            "ca_file": None if ca_file is None else Path(ca_file),
        }
        self._url = url
        self._local = threading.local()
        self._connection()

    def attributions(self, row: Mapping[str, Any] | Sequence[Any]) -> dict[str, float]:
        """What each feature of a row added to the answer; the row is by name, or in the order of the features.

        Arrays and scalars of numpy, and rows of pandas, are sent as their values.

        Raises MidwatchError when the service does not explain it, OSError and HTTPException when it does not answer.
        """
        until = time.monotonic() + self._timeout
        body = _encode({"instances": [row.tolist() if hasattr(row, "tolist") else row]})
        answer = self._connection().post(body, lambda: until - time.monotonic())
        if answer.status != OK:
            raise MidwatchError(f"the explainer answers {answer.status}: {answer.body[:200].decode(errors='replace')}")
        try:
            told = _answer.decode(answer.body)
            (explanation,) = told.explanations
        except (msgspec.MsgspecError, ValueError) as error:
            raise MidwatchError("the explainer's answer is no explanation of one row") from error
        if self._version not in (None, told.version):
            raise MidwatchError(f"the explainer explains {told.version or 'no version'}, and not {self._version}")
        return explanation.attributions

    def close(self) -> None:
        """Close this thread's connection; the next row opens another."""
        self._connection().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _connection(self) -> Connection:
        """The connection of this thread, made anew in a process that was forked."""
        if getattr(self._local, "process", None) != os.getpid():
            if (inherited := getattr(self._local, "connection", None)) is not None:
                inherited.leave()
            self._local.connection = Connection(self._url, **self._settings)
            self._local.process = os.getpid()
        found: Connection = self._local.connection
        return found
