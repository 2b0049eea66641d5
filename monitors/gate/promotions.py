"""What the gate answers about promotions: may a version become champion, do it, and the registry's webhook."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from midwatch import evidence, exposition, http_server, metrics
from midwatch.errors import InvalidInputError, MidwatchError
from midwatch.http_server import Admit, Head, Refusal
from midwatch.spec import promotion as spec
from midwatch.spec.canary import Gate
from midwatch.spec.model import Platform
from monitors.promotion import promoter, webhook
from monitors.promotion.promoter import Asked, Promoter
from monitors.promotion.registry import Registry
from monitors.promotion.requirements import Answer
from monitors.promotion.watch import Watch
from monitors.promotion.webhook import DeliveryError, Receiver, Result

MAY, DO, WEBHOOK = b"/promotion", b"/promote", b"/mlflow"
PATHS = (MAY, DO, WEBHOOK)
FIELDS = ("model", "version", "canary", "by", "override", "rollback")
MAX_FIELD = 500
WORKERS = 2

Answered = tuple[HTTPStatus, dict[str, Any]]

_STATUSES = {
    Answer.ALLOWED: HTTPStatus.OK,
    Answer.REFUSED: HTTPStatus.CONFLICT,
    Answer.UNDECIDED: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""For callers that read a status only; 503 may be asked again."""
_TAKEN = {
    Result.BAD_SIGNATURE: HTTPStatus.UNAUTHORIZED,
    Result.STALE: HTTPStatus.UNAUTHORIZED,
    Result.UNREADABLE: HTTPStatus.BAD_REQUEST,
    Result.REPEATED: HTTPStatus.OK,
}
"""What a delivery is answered that is not taken: one that was taken before is not to be sent again."""

_log = logging.getLogger(__name__)


def admission(gate: Gate, admit: Admit) -> Admit:
    """Who may send a request: MLflow, which signs and has no token, to its path where there is a secret to check."""

    def admitted(head: Head) -> Refusal | None:
        if head.path == WEBHOOK and gate.webhook_secret_file is not None:
            return None
        return admit(head)

    return admitted


def of_platform(platform: Platform, audit: Path, *, has_token: bool) -> Promotions | None:
    """What answers about promotions, where the platform file has any to watch."""
    return Promotions(platform, audit, has_token=has_token) if spec.watched(platform) else None


class Promotions:
    """Answers about promotions, and a watch on the registry that runs from `start` to `stop`."""

    def __init__(self, platform: Platform, audit: Path, *, has_token: bool) -> None:
        self._has_token, self._secret_file = has_token, platform.gate.webhook_secret_file
        registry = Registry.of(platform)
        self._promoter = Promoter(platform, audit, registry)
        self._watch = Watch(spec.watched(platform), registry, self._promoter, evidence.Log(audit))
        self._receiver = Receiver()
        self._deliveries = Counter[Result]()
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="promotion")
        self._stop, self._now = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to watch the registry."""
        threading.Thread(target=self._watch.run, args=(self._stop, self._now), name="registry", daemon=True).start()

    def stop(self) -> None:
        """End the watch, and take no more work."""
        self._stop.set()
        self._now.set()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def text(self) -> bytes:
        """What is published of promotions."""
        deliveries = [
            (metrics.PROMOTION_WEBHOOKS, {"result": one.value}, float(self._deliveries[one])) for one in Result
        ]
        return exposition.text([*self._watch.samples(), *deliveries])

    async def answer(self, request: http_server.Request) -> Answered:
        """Status and document of the answer; the work is done beside the loop."""
        handle = {MAY: self._may, DO: self._do, WEBHOOK: self._take}[request.path]
        try:
            return await asyncio.get_running_loop().run_in_executor(self._workers, handle, request)
        except InvalidInputError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        except MidwatchError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(error)}

    # May it, and do it -----------------------------------------------------------------------------------------------

    def _may(self, request: http_server.Request) -> Answered:
        if request.method not in (b"GET", b"POST"):
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "ask by GET or POST"}
        asked = _asked(request)
        decision = self._promoter.decide(asked)
        return _STATUSES[decision.answer], promoter.of_decision(asked, decision)

    def _do(self, request: http_server.Request) -> Answered:
        if request.method != b"POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "promote by POST"}
        if not self._has_token:
            return HTTPStatus.FORBIDDEN, {"error": "a gate without --token-file promotes nothing: anybody could ask"}
        outcome = self._promoter.promote(_asked(request))
        self._now.set()
        document = promoter.document(outcome)
        if outcome.is_champion:
            return HTTPStatus.OK, document
        if outcome.decision.answer is Answer.UNDECIDED:
            return HTTPStatus.SERVICE_UNAVAILABLE, document
        return HTTPStatus.CONFLICT, document

    # The registry's webhook ------------------------------------------------------------------------------------------

    def _take(self, request: http_server.Request) -> Answered:
        if request.method != b"POST":
            return HTTPStatus.METHOD_NOT_ALLOWED, {"error": "deliver by POST"}
        if self._secret_file is None:
            return HTTPStatus.NOT_FOUND, {"error": "no deliveries are taken without gate.webhook_secret_file"}
        secrets = webhook.read_secrets(self._secret_file)
        try:
            delivery = self._receiver.read(request.headers, request.body, secrets, time.time())
        except DeliveryError as error:
            self._deliveries[error.result] += 1
            if error.result is not Result.REPEATED:
                _log.warning("a delivery is refused", extra={"reason": error.result.value, "why": str(error)})
            return _TAKEN[error.result], {"result": error.result.value, "why": str(error)}
        is_concern = self._watch.take(delivery)
        self._receiver.took(delivery, time.time())
        result = Result.TAKEN if is_concern else Result.NO_CONCERN
        self._deliveries[result] += 1
        if is_concern:
            self._now.set()
        return HTTPStatus.OK, {"result": result.value}


def _asked(request: http_server.Request) -> Asked:
    """The promotion that a request asks for; InvalidInputError when it is none."""
    fields = _fields(request)
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise InvalidInputError.at("request", f"unknown: {', '.join(unknown)}", remedy=f"known: {', '.join(FIELDS)}")
    wrong = [name for name, value in fields.items() if not isinstance(value, str) or len(value) > MAX_FIELD]
    if wrong:
        raise InvalidInputError.at("request", f"{', '.join(wrong)}: text of at most {MAX_FIELD} letters is needed")
    missing = [name for name in FIELDS[:2] if not fields.get(name)]
    if missing:
        raise InvalidInputError.at("request", f"missing: {', '.join(missing)}")
    if fields.get("rollback", "") not in ("", "true", "false"):
        raise InvalidInputError.at("request", "rollback is true or false")
    return Asked(
        model=fields["model"],
        version=fields["version"],
        canary=fields.get("canary", ""),
        by=fields.get("by") or "somebody with the gate's token",
        override=fields.get("override", ""),
        is_rollback=fields.get("rollback") == "true",
    )


def _fields(request: http_server.Request) -> dict[str, Any]:
    try:
        if request.method == b"GET":
            return dict(parse_qsl(request.query.decode(), keep_blank_values=True, strict_parsing=bool(request.query)))
        document = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError.at("request", f"not readable: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInputError.at("request", "the body is no JSON object")
    return document
