"""`midwatch loop serve` publishes what is said of histories, also where it has no episode to follow."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest
import urllib3

from midwatch import http_service
from midwatch.errors import MidwatchError
from monitors.loop import service
from monitors.regression import judged, watch
from monitors.regression.change import Verdict
from tests.promotion.conftest import SmallMlflow, mlflow  # noqa: F401 - a fixture
from tests.regression.test_histories import filled, with_regression

NOBODY = "http://127.0.0.1:1"
VERDICT = 'ml_regression_verdict{{model="fraud",series="accuracy",verdict="{}"}} 1.0'


def test_the_service_of_the_loop_publishes_the_verdict_that_the_alert_reads(
    mlflow: SmallMlflow,  # noqa: F811
    tmp_path: Path,
) -> None:
    filled(mlflow, [0.9 + 0.001 * (number % 5) for number in range(20)] + [0.8, 0.81, 0.79, 0.8])
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    options = service.Options(platform=platform, base=tmp_path, state=tmp_path / "state", prometheus=NOBODY)
    looked = threading.Event()
    scraped: list[str] = []
    loop = service.Loop(options)

    def look() -> None:
        watch.Watch.look(loop.regressions)
        looked.set()

    def scrape(url: str) -> None:
        looked.wait(60)
        scraped.append(urllib3.request("GET", f"{url}/metrics", retries=False).data.decode())
        os.kill(os.getpid(), signal.SIGTERM)  # as an init asks it to end

    def begin(url: str) -> None:
        threading.Thread(target=scrape, args=(url,), daemon=True).start()

    loop.regressions.look = look  # type: ignore[method-assign]
    address = http_service.Address(host="127.0.0.1", port=0)
    asyncio.run(service.serve(loop, address, begin))
    assert VERDICT.format("regressed") in scraped[0]
    assert VERDICT.format("steady").removesuffix("1.0") + "0.0" in scraped[0]


@pytest.mark.parametrize("error", [MidwatchError("no answer"), ValueError("an answer of a new form")])
def test_what_was_said_before_is_not_published_once_nobody_can_say_it(
    mlflow: SmallMlflow,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    platform = with_regression(tmp_path, mlflow.url, metrics={"accuracy": {}})
    told = iter([[judged.Judged(series="accuracy", verdict=Verdict.STEADY, reason="", values=20)], error])
    texts: list[str] = []

    def judge(*_: object, **__: object) -> list[judged.Judged]:
        said = next(told)
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(judged, "judge", judge)
    watched = watch.Watch(platform, NOBODY)

    class Twice(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            texts.append(watched.text().decode())
            if len(texts) == 2:
                self.set()
            return True

    watched.run(Twice())
    assert VERDICT.format("steady") in texts[0]
    assert "accuracy" not in texts[1]
