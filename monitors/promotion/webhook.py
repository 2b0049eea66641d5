"""Deliveries of MLflow's webhooks: whose they are, and of what. Pure.

MLflow signs `ID.TIMESTAMP.BODY` with HMAC-SHA256 under the webhook's secret and sends `v1,` and the base64 of it, as
Standard Webhooks do (mlflow webhooks/delivery.py, 3.17; https://www.standardwebhooks.com). It delivers at most once:
what waits in its memory is lost with the process, and a new webhook is deaf for a minute. So a delivery makes the gate
look now, and no delivery is waited for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from midwatch.errors import MidwatchError

ID, TIMESTAMP, SIGNATURE = b"x-mlflow-delivery-id", b"x-mlflow-timestamp", b"x-mlflow-signature"
"""Headers, in lower case as our server has them (mlflow webhooks/constants.py)."""
WINDOW_SECONDS = 300.0
"""How old a delivery may be. MLflow tries four times within some 140 s, and signs once: 30 s of timeout each, waits of
1, 2 and 4 s with up to a second of jitter."""
MAX_REMEMBERED = 10_000
"""Ids of deliveries that are remembered, for as long as they would be taken again."""
MAX_ID = 200


class Result(StrEnum):
    """What became of a delivery: the label of our own metric."""

    TAKEN = "taken"
    REPEATED = "repeated"
    NO_CONCERN = "no_concern"
    BAD_SIGNATURE = "bad_signature"
    STALE = "stale"
    UNREADABLE = "unreadable"


class DeliveryError(Exception):
    """A delivery that is not taken, and why."""

    def __init__(self, result: Result, text: str) -> None:
        self.result = result
        super().__init__(text)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event that the registry has signed: `entity` such as `model_version_alias`, `action` such as `created`."""

    id: str
    entity: str
    action: str
    data: Mapping[str, Any]

    def alias(self) -> tuple[str, str, str | None] | None:
        """Registered model, alias and the version that got it (None: taken away); None for another event."""
        name, alias, version = (self.data.get(key) for key in ("name", "alias", "version"))
        if self.entity != "model_version_alias" or not isinstance(name, str) or not isinstance(alias, str):
            return None
        return name, alias, str(version) if self.action == "created" and version is not None else None


def read_secrets(file: Path) -> list[bytes]:
    """Secrets of a file, one a line: while one is rotated both are good. MidwatchError when there is none."""
    try:
        found = [line.strip() for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise MidwatchError(f"{file}: {error.strerror}; the secret of the webhook cannot be read") from error
    if not found:
        raise MidwatchError(f"{file} is empty; put the webhook's secret in it")
    return found


class Receiver:
    """Takes deliveries, each once within the time in which it would be taken again."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, headers: Mapping[bytes, bytes], body: bytes, secrets: Sequence[bytes], now: float) -> Delivery:
        """The delivery of a request; DeliveryError when it is not signed, old, taken already, or no event.

        `now` is seconds since 1970. What becomes of it has to be durable before `took` is called: until then MLflow may
        send it again, and is not told that it was taken.
        """
        said = headers.get(ID, b"").decode("ascii", "replace")
        sent = headers.get(TIMESTAMP, b"")
        if not said or len(said) > MAX_ID or not _is_signed(headers.get(SIGNATURE, b""), said, sent, body, secrets):
            raise DeliveryError(Result.BAD_SIGNATURE, "the signature is not that of this webhook's secret")
        if not sent.isdigit() or abs(now - int(sent)) > WINDOW_SECONDS:
            text = f"the delivery is not of the last {WINDOW_SECONDS:g} s; compare the clocks"
            raise DeliveryError(Result.STALE, text)
        with self._lock:
            if said in self._seen:
                raise DeliveryError(Result.REPEATED, "the delivery was taken already")
        return _parsed(said, body)

    def took(self, delivery: Delivery, now: float) -> None:
        """Take this delivery no more."""
        with self._lock:
            self._seen[delivery.id] = now
            while len(self._seen) > MAX_REMEMBERED or next(iter(self._seen.values())) < now - 2 * WINDOW_SECONDS:
                self._seen.popitem(last=False)


def signature(secret: bytes, said: str, sent: bytes, body: bytes) -> bytes:
    """What MLflow puts into its header."""
    content = b".".join((said.encode(), sent, body))
    return b"v1," + base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest())


def _is_signed(given: bytes, said: str, sent: bytes, body: bytes, secrets: Sequence[bytes]) -> bool:
    return any(hmac.compare_digest(given, signature(secret, said, sent, body)) for secret in secrets)


def _parsed(said: str, body: bytes) -> Delivery:
    try:
        document = json.loads(body)
        entity, action, data = document["entity"], document["action"], document["data"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DeliveryError(Result.UNREADABLE, "the body is no event of MLflow") from error
    if not isinstance(entity, str) or not isinstance(action, str) or not isinstance(data, dict):
        raise DeliveryError(Result.UNREADABLE, "the body is no event of MLflow")
    return Delivery(id=said, entity=entity, action=action, data=data)
