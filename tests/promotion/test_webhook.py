"""Deliveries of MLflow's webhook: signed, recent, each once, and never waited for."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from midwatch import http_access
from midwatch.http_server import Head, Request
from monitors.gate.promotions import Promotions, admission
from monitors.promotion import webhook
from monitors.promotion.webhook import DeliveryError, Receiver, Result
from tests.promotion.conftest import NOW, SmallMlflow, judged, loaded, written
from tests.promotion.test_promote import kinds

SECRET = b"s3cr3t"
EVENT = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2027-01-15T08:00:00+00:00",
    "data": {"name": "fraud", "alias": "champion", "version": "2"},
}


def signed(
    document: Any = EVENT, *, said: str = "d-1", at: float = NOW, secret: bytes = SECRET
) -> tuple[dict[bytes, bytes], bytes]:
    body, sent = json.dumps(document).encode(), str(int(at)).encode()
    headers = {webhook.ID: said.encode(), webhook.TIMESTAMP: sent}
    return {**headers, webhook.SIGNATURE: webhook.signature(secret, said, sent, body)}, body


RECORDED = (
    {
        webhook.ID: b"216529c5-1fc4-46a1-ab77-be96f253c96e",
        webhook.TIMESTAMP: b"1795815135",
        webhook.SIGNATURE: b"v1,0+OOG9sNydKon0htXWZhroSSsws9PWA+yQ0Swg+gKDU=",
    },
    b'{"entity": "model_version_alias", "action": "created", "timestamp": "2026-11-27T21:32:15.078483+00:00", '
    b'"data": {"name": "fraud", "alias": "champion", "version": "2"}}',
)
"""What MLflow 3.17.2 delivered for a webhook with this secret, when the alias was set by its REST API."""


def test_what_a_real_server_delivered_is_read() -> None:
    delivery = Receiver().read(*RECORDED, [SECRET], 1795815135.4)
    assert (delivery.entity, delivery.alias()) == ("model_version_alias", ("fraud", "champion", "2"))


def test_a_signed_delivery_is_read() -> None:
    delivery = Receiver().read(*signed(), [SECRET], NOW)
    assert delivery.alias() == ("fraud", "champion", "2")


def test_while_a_secret_is_rotated_both_are_good(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("new\ns3cr3t\n")
    assert Receiver().read(*signed(), webhook.read_secrets(file), NOW).id == "d-1"


@pytest.mark.parametrize(
    ("change", "result"),
    [
        ({webhook.SIGNATURE: b""}, Result.BAD_SIGNATURE),
        ({webhook.SIGNATURE: b"v1,AAAA"}, Result.BAD_SIGNATURE),
        ({webhook.SIGNATURE: "v1,ü".encode()}, Result.BAD_SIGNATURE),
        ({webhook.ID: b"another"}, Result.BAD_SIGNATURE),
        ({webhook.ID: b""}, Result.BAD_SIGNATURE),
        ({webhook.TIMESTAMP: str(int(NOW) + 1).encode()}, Result.BAD_SIGNATURE),
    ],
)
def test_what_is_not_signed_so_is_refused(change: dict[bytes, bytes], result: Result) -> None:
    headers, body = signed()
    with pytest.raises(DeliveryError) as error:
        Receiver().read({**headers, **change}, body, [SECRET], NOW)
    assert error.value.result is result


def test_another_body_or_secret_is_refused() -> None:
    headers, body = signed()
    for given in ((headers, body + b" ", [SECRET]), (headers, body, [b"other"]), (headers, body, [])):
        with pytest.raises(DeliveryError) as error:
            Receiver().read(*given, NOW)
        assert error.value.result is Result.BAD_SIGNATURE


def test_an_old_delivery_is_a_replay_and_one_from_the_future_too() -> None:
    for at in (NOW - 301, NOW + 301):
        with pytest.raises(DeliveryError) as error:
            Receiver().read(*signed(at=at), [SECRET], NOW)
        assert error.value.result is Result.STALE


def test_a_delivery_is_taken_once_and_only_when_it_was_kept() -> None:
    receiver = Receiver()
    delivery = receiver.read(*signed(), [SECRET], NOW)
    assert receiver.read(*signed(), [SECRET], NOW).id == delivery.id  # the first attempt came to nothing
    receiver.took(delivery, NOW)
    with pytest.raises(DeliveryError) as error:
        receiver.read(*signed(), [SECRET], NOW)
    assert error.value.result is Result.REPEATED


def test_ids_are_forgotten_when_they_would_be_stale_and_never_more_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "MAX_REMEMBERED", 3)
    receiver = Receiver()
    for number in range(10):
        receiver.took(receiver.read(*signed(said=f"d-{number}"), [SECRET], NOW), NOW)
    assert len(receiver._seen) == 3
    receiver.took(receiver.read(*signed(said="late", at=NOW + 900), [SECRET], NOW + 900), NOW + 900)
    assert list(receiver._seen) == ["late"]


@pytest.mark.parametrize("document", [[], {"entity": 1}, {"entity": "x", "action": "y", "data": []}, "text"])
def test_a_body_that_is_no_event_is_refused(document: Any) -> None:
    with pytest.raises(DeliveryError) as error:
        Receiver().read(*signed(document), [SECRET], NOW)
    assert error.value.result is Result.UNREADABLE


def test_a_body_nested_without_end_is_refused() -> None:
    body, sent = b"[" * 60_000, str(int(NOW)).encode()
    headers = {webhook.ID: b"d", webhook.TIMESTAMP: sent, webhook.SIGNATURE: webhook.signature(SECRET, "d", sent, body)}
    with pytest.raises(DeliveryError) as error:
        Receiver().read(headers, body, [SECRET], NOW)
    assert error.value.result is Result.UNREADABLE


# At the gate -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(mlflow: SmallMlflow, audit: Path, tmp_path: Path) -> Promotions:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    platform = loaded(written(tmp_path, mlflow.url, gate={"webhook_secret_file": str(secret)}))
    return Promotions(platform, audit, has_token=True)


def ask(
    gate: Promotions, method: str, path: str, body: bytes = b"", headers: dict[bytes, bytes] | None = None
) -> tuple[int, dict[str, Any]]:
    target, _, query = path.partition("?")
    request = Request(
        method=method.encode(), path=target.encode(), query=query.encode(), headers=headers or {}, body=body
    )
    status, document = asyncio.run(gate.answer(request))
    json.dumps(document)
    return int(status), document


def test_a_delivery_makes_the_gate_look_at_once_and_tells_of_a_promotion_by_hand(
    gate: Promotions, audit: Path, mlflow: SmallMlflow
) -> None:
    gate._watch.look()
    headers, body = signed(at=time.time())
    assert ask(gate, "POST", "/mlflow", body, headers) == (200, {"result": "taken"})
    assert gate._now.is_set()
    assert kinds(audit) == ["promotion-first-seen", "promotion-around-gate"]
    assert ask(gate, "POST", "/mlflow", body, headers)[1]["result"] == "repeated"
    assert ask(gate, "POST", "/mlflow", body, {**headers, webhook.SIGNATURE: b"v1,x"})[0] == 401
    assert ask(gate, "GET", "/mlflow")[0] == 405
    text = gate.text().decode()
    for result, count in (("taken", 1), ("repeated", 1), ("bad_signature", 1), ("stale", 0)):
        assert f'promotion_webhooks_total{{result="{result}"}} {count}.0' in text


def test_who_asks_by_http_reads_what_lacks_from_the_status(gate: Promotions, audit: Path, mlflow: SmallMlflow) -> None:
    status, said = ask(gate, "GET", "/promotion?model=fraud&version=2")
    assert (status, said["lacking"]) == (409, ["verdict"])
    judged(audit, "inconclusive", at=time.time())
    assert ask(gate, "GET", "/promotion?model=fraud&version=2")[0] == 503
    judged(audit, at=time.time())
    assert ask(gate, "GET", "/promotion?model=fraud&version=2")[0] == 200
    asked = json.dumps({"model": "fraud", "version": "2", "by": "ana"}).encode()
    status, said = ask(gate, "POST", "/promote", asked)
    assert (status, said["promoted"], mlflow.aliases["champion"]) == (200, True, "2")
    assert 'promotion_events_total{event="promoted",model="fraud"} 1.0' in gate.text().decode()


@pytest.mark.parametrize(
    "path",
    [
        "/promotion?model=fraud",
        "/promotion?model=nope&version=2",
        "/promotion?model=fraud&version=2&x=1",
        "/promotion?%ff",
        f"/promotion?model=fraud&version={'9' * 600}",
        "/promotion?model=fraud&version=2&rollback=perhaps",
    ],
)
def test_a_question_that_is_none_is_refused_with_words(gate: Promotions, path: str) -> None:
    status, said = ask(gate, "GET", path)
    assert status == 400
    assert said["error"]


def test_a_gate_that_anybody_may_ask_promotes_nothing(mlflow: SmallMlflow, platform_file: Path, audit: Path) -> None:
    gate = Promotions(loaded(platform_file), audit, has_token=False)
    judged(audit, at=time.time())
    asked = json.dumps({"model": "fraud", "version": "2"}).encode()
    assert ask(gate, "POST", "/promote", asked)[0] == 403
    assert ask(gate, "POST", "/mlflow", *reversed(signed(at=time.time())))[0] == 404
    assert mlflow.told == []


def test_only_the_webhooks_path_is_open_to_who_has_no_token(mlflow: SmallMlflow, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    for settings, is_open in (({"webhook_secret_file": str(secret)}, True), ({}, False)):
        admit = admission(loaded(written(tmp_path, mlflow.url, gate=settings)).gate, http_access.admission(b"token"))
        assert (admit(Head(method=b"POST", path=b"/mlflow", headers={})) is None) == is_open
        assert admit(Head(method=b"POST", path=b"/promote", headers={})) is not None
