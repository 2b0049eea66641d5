"""The gate's service answers about promotions beside its verdicts, and publishes them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from midwatch.errors import MidwatchError
from midwatch.http_server import Request
from monitors.gate import service
from monitors.promotion import remote
from tests.promotion.conftest import SmallMlflow, asked, judged, loaded, written


def answered(
    gate: service.Gate, method: bytes, path: bytes, query: bytes = b"", body: bytes = b""
) -> tuple[int, bytes]:
    """What the service answers, on a loop of its own."""
    given: list[tuple[int, bytes]] = []

    def respond(status: int, content: bytes, _type: str, *, headers: str = "") -> None:
        given.append((int(status), content))

    async def ask() -> None:
        gate._handle(Request(method=method, path=path, query=query, headers={}, body=body), respond)
        await asyncio.gather(*gate._tasks)

    asyncio.run(ask())
    return given[0]


def test_questions_about_promotions_are_answered_beside_verdicts(
    mlflow: SmallMlflow, platform_file: Path, audit: Path
) -> None:
    gate = service.Gate(service.Options(host="127.0.0.1", port=0, platform=loaded(platform_file), audit=audit))
    status, content = answered(gate, b"GET", b"/promotion", b"model=fraud&version=2")
    assert (status, json.loads(content)["lacking"]) == (409, ["verdict"])
    judged(audit, at=time.time())
    assert answered(gate, b"GET", b"/promotion", b"model=fraud&version=2")[0] == 200
    assert b"promotion_webhooks_total" in answered(gate, b"GET", b"/metrics")[1]
    assert b"/promotion" in answered(gate, b"GET", b"/nowhere")[1]
    assert answered(gate, b"POST", b"/promote", body=b'{"model": "fraud", "version": "2"}')[0] == 403


def test_a_gate_without_promotions_has_none_of_their_paths(mlflow: SmallMlflow, tmp_path: Path, audit: Path) -> None:
    platform = loaded(written(tmp_path, mlflow.url))
    models = [model.model_copy(update={"promotion": None}) for model in platform.models]
    without = platform.model_copy(update={"models": models})
    gate = service.Gate(service.Options(host="127.0.0.1", port=0, platform=without, audit=audit))
    assert answered(gate, b"GET", b"/promotion", b"model=fraud&version=2")[0] == 404
    assert b"promotion" not in answered(gate, b"GET", b"/metrics")[1]


def test_a_command_says_what_a_server_is_that_is_no_gate(mlflow: SmallMlflow) -> None:
    for url, said in ((mlflow.url, "404"), ("http://127.0.0.1:9", "no answer")):
        with pytest.raises(MidwatchError, match=said):
            remote.Gate(url=url).ask(asked(), promote=False)
